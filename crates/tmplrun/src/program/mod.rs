//! The program.

mod arguments;
mod elsewhere;
mod kernels;
mod level;
mod listing;
mod manual;
mod progress;
mod request;
mod show;
mod signals;
mod surroundings;
mod writers;

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use tmplrun::destination::Destination;
use tmplrun::events::{Nobody, Status, Tee};
use tmplrun::stores::Upload;
use tmplrun::{Environment, Error, ErrorKind, Request, Result, RunResult, report};
use tokio_util::sync::CancellationToken;

use arguments::Arguments;
use elsewhere::Left;
use request::Prepared;
use signals::Stop;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;
const KERNEL_DIED: u8 = 138;
const TERMINATED: u8 = 143;
const BUG: u8 = 70;

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::read();
    if let Some(shell) = arguments.completions {
        clap_complete::generate(shell, &mut Arguments::definition(), "tmplrun", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    if arguments.man_page {
        return match manual::write(&mut std::io::stdout()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(FAILED),
        };
    }
    if arguments.wants_input() && arguments.input.is_none() && !surroundings::stdin_is_a_pipe() {
        let message = "a notebook, or a folder that holds a flow.yaml, is missing";
        Arguments::definition()
            .error(clap::error::ErrorKind::MissingRequiredArgument, message)
            .exit();
    }
    // One thread: a runner waits for one kernel at a time, and passing messages between threads would cost most of the
    // time that many small outputs take.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            show::error(&Error::new(ErrorKind::Bug, "the runtime cannot be started").because(error));
            return ExitCode::from(BUG);
        }
    };
    let code = runtime.block_on(go(&arguments)).unwrap_or_else(|error| {
        show::error(&error);
        match error.kind() {
            ErrorKind::Kernel => KERNEL_DIED,
            ErrorKind::Interrupted => INTERRUPTED,
            ErrorKind::Bug => BUG,
            _ => USAGE,
        }
    });
    // A thread that still waits for a kernel's pipe must not hold the program up.
    runtime.shutdown_background();
    ExitCode::from(code)
}

async fn go(arguments: &Arguments) -> Result<u8> {
    let environment = surroundings::gather()?;
    if arguments.list_kernels {
        kernels::list(&environment, arguments.json)?;
        return Ok(0);
    }
    if let Some(which) = &arguments.end_kernel {
        return kernels::end(&environment, which).await;
    }
    if arguments.recover {
        return kernels::recover(
            Path::new(arguments.input.as_deref().unwrap_or_default()),
            arguments.output.as_deref(),
        );
    }
    let mut prepared = request::prepare(arguments, &environment).await?;
    if arguments.help_notebook {
        let found = listing::parameters(&prepared.request, &Arguments::definition().render_usage().to_string())?;
        return Ok(if found { 0 } else { FAILED });
    }
    if arguments.dry_run {
        listing::steps(
            &prepared,
            &tmplrun::plan(&prepared.request, &environment)?,
            arguments.json,
        )?;
        return Ok(0);
    }
    prepared.notes.iter().for_each(|note| show::warning(note));
    let mut upload = prepared.upload.take();
    let mut sinks = sinks(arguments, &prepared)?;
    let jobs = Left::default();
    sinks.0.push(Box::new(jobs.clone()));
    if let Some(upload) = &mut upload {
        try_out(&prepared.request, &environment, upload).await?;
        sinks.0.push(Box::new(upload.follow()));
    }
    let mut stop = Stop::listen()?;
    let cancel = stop.token();
    let run = Box::pin(tmplrun::run(&prepared.request, &environment, &sinks, &cancel));
    let finished = tokio::select! {
        finished = run => finished,
        () = stop.now() => {
            show::note("stopped at once; --recover or --resume puts together what was not saved");
            jobs.say();
            return Ok(stop.exit_code());
        }
    };
    drop(sinks);
    let result = finished?;
    let sent = match upload {
        Some(upload) => upload.finish().await,
        None => Ok(()),
    };
    finish(arguments, &prepared, &result)?;
    sent?;
    Ok(match result.status {
        Status::Completed | Status::Prepared | Status::Skipped | Status::DoneBefore => 0,
        Status::Interrupted => stop.exit_code(),
        Status::KernelDied => KERNEL_DIED,
        _ => match result.steps.iter().find_map(|step| step.error.as_ref()) {
            Some(error) if error.kind() == ErrorKind::Configuration => USAGE,
            _ => FAILED,
        },
    })
}

/// Sends the notebook as it will begin, so that a place which does not take it is found before anything runs.
async fn try_out(request: &Request, environment: &Environment, upload: &Upload) -> Result<()> {
    let mut only = request.clone();
    only.options.prepare_only = true;
    Box::pin(tmplrun::run(&only, environment, &Nobody, &CancellationToken::new())).await?;
    upload.send().await
}

fn sinks(arguments: &Arguments, prepared: &Prepared) -> Result<Tee> {
    writers::check_stdout(arguments, prepared)?;
    let mut sinks = Tee::default();
    if let Some(path) = &arguments.events {
        sinks.0.push(Box::new(writers::JsonLines::create(path)?));
    }
    if let Some(streams) = writers::Streams::create(arguments)? {
        sinks.0.push(Box::new(streams));
    }
    // Reports are written at the end; that they can be is found out now.
    for path in [&arguments.report, &arguments.junit].into_iter().flatten() {
        Destination::find(path)?.prove()?;
    }
    sinks.0.push(progress::choose(arguments, prepared));
    Ok(sinks)
}

fn finish(arguments: &Arguments, prepared: &Prepared, result: &RunResult) -> Result<()> {
    let beside = prepared.folder.as_ref().map(|folder| folder.join("report.html"));
    let page = arguments.report.clone().or(beside);
    if let Some(path) = &page {
        report::write(path, &report::html(result))?;
    }
    if let Some(path) = &arguments.junit {
        report::write(path, &report::junit(result))?;
    }
    if prepared.to_stdout {
        for notebook in result.steps.iter().filter_map(|step| step.notebook.as_ref()) {
            print(&notebook.write())?;
        }
    }
    if arguments.json {
        let text = serde_json::to_string_pretty(result)
            .map_err(|error| Error::new(ErrorKind::Bug, "the result cannot be written").because(error))?;
        print(&format!("{text}\n"))?;
    }
    show::result(result, page.as_deref(), arguments.log_level);
    Ok(())
}

/// Writes to standard output; a reader that went away is no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout()
        .write_all(text.as_bytes())
        .and_then(|()| std::io::stdout().flush())
    {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::new(
            ErrorKind::Configuration,
            "standard output cannot be written",
        )
        .at(Path::new("-"))
        .because(error)),
        _ => Ok(()),
    }
}
