//! What people read on standard error: results, warnings, errors.

use std::path::Path;

use anstream::eprintln;
use anstyle::{AnsiColor, Style};
use tmplrun::events::Status;
use tmplrun::report::duration;
use tmplrun::run::{CellFailure, StepResult};
use tmplrun::{Error, RunResult};

use super::level::Level;

const BOLD: Style = Style::new().bold();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// An error, its causes once each, and what to do.
pub(crate) fn error(error: &Error) {
    eprintln!("{RED}error:{RED:#} {error}");
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        eprintln!("  {BOLD}because:{BOLD:#} {cause}");
        source = cause.source();
    }
    if let Some(help) = error.help_text() {
        eprintln!("  {BOLD}help:{BOLD:#} {help}");
    }
}

pub(crate) fn warning(message: &str) {
    eprintln!("{YELLOW}warning:{YELLOW:#} {message}");
}

pub(crate) fn note(message: &str) {
    eprintln!("{BOLD}note:{BOLD:#} {message}");
}

pub(crate) fn status(status: Status) -> String {
    let style = match status {
        Status::Completed | Status::DoneBefore => GREEN,
        Status::Pending | Status::Running | Status::Prepared | Status::Skipped => Style::new(),
        Status::Interrupted => YELLOW,
        _ => RED,
    };
    format!("{style}{}{style:#}", status.word())
}

/// The end of a run: failures in full, then one line.
pub(crate) fn result(result: &RunResult, report: Option<&Path>, level: Level) {
    for step in &result.steps {
        if let Some(found) = &step.error {
            eprintln!("{BOLD}{}{BOLD:#}", step.name);
            error(found);
        }
        if let Some(found) = &step.failure {
            failure(step, found);
        }
    }
    for (step, kept) in result
        .steps
        .iter()
        .filter_map(|step| Some((step, step.kernel.as_ref()?)))
    {
        note(&format!(
            "the kernel of {} goes on (process {}):\n    jupyter console --existing {}\n  (leave it with `exit(keep_kernel=True)`) \
             --resume goes on in it, `tmplrun --end-kernel {}` ends it",
            step.name,
            kept.pid,
            kept.connection_file.display(),
            kept.pid
        ));
    }
    for left in &result.left {
        note(&format!(
            "still running, in a session of its own: {} {}",
            left.pid, left.command
        ));
    }
    if !level.shows_progress() {
        return;
    }
    eprintln!(
        "{}: {} in {}",
        result.name,
        status(result.status),
        duration(result.seconds)
    );
    match result.steps.as_slice() {
        [only] => {
            if let Some(output) = only.output.as_ref().filter(|output| output.as_os_str() != "-") {
                eprintln!("  notebook: {}", output.display());
            }
        }
        several => {
            let folder = several
                .iter()
                .find_map(|step| step.output.as_deref())
                .and_then(Path::parent);
            if let Some(folder) = folder {
                eprintln!("  notebooks: {}", folder.display());
            }
        }
    }
    if let Some(report) = report {
        eprintln!("  report: {}", report.display());
    }
}

fn failure(step: &StepResult, failure: &CellFailure) {
    let count = failure
        .execution_count
        .map(|count| format!(", In [{count}]"))
        .unwrap_or_default();
    let heading = failure
        .heading
        .as_deref()
        .map(|heading| format!(", under \"{heading}\""))
        .unwrap_or_default();
    eprintln!(
        "\n{RED}{}{RED:#}, cell {}{count}{heading}:",
        step.name_and_file(),
        failure.index + 1
    );
    for line in failure.source.lines() {
        eprintln!("    {line}");
    }
    eprintln!("{RED}{}{RED:#}: {}", failure.name, failure.value);
    for frame in &failure.traceback {
        eprintln!("{frame}");
    }
    eprintln!();
}
