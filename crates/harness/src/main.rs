//! Runs the Gherkin features in `features/`.
//!
//! A feature drives the programs `tmplrun` and `clusterbook` as a person would, and believes only what the cluster, Slurm and the
//! provider say afterwards: never what a notebook printed. Every scenario has a place of its own (home, state, working
//! folder), so that it sees nothing of the machine's owner; scenarios that leave a cluster as they found it share one, because building one
//! is what takes long. Whatever a scenario made is removed after it, also when it failed.
//!
//! ```text
//! clusterbook-harness --tags @commit --junit out/features.xml
//! clusterbook-harness --name 'power' --keep
//! ```

mod engine;
mod place;
mod problem;
mod program;
mod shared;
mod steps;
mod trial;
mod watch;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use cucumber::writer::Stats as _;
use cucumber::{World as _, WriterExt as _, cli, writer};

use trial::Trial;

/// What this program understands beside cucumber's own options.
#[derive(Clone, Debug, Default, clap::Args)]
struct Arguments {
    /// Write JUnit XML.
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Leave the clusters of failed scenarios, and the shared one, for a look; says where they are.
    #[arg(long)]
    keep: bool,

    /// The folder of features [default: the one in this repository].
    #[arg(long, value_name = "FOLDER", env = "CLUSTERBOOK_FEATURES")]
    folder: Option<PathBuf>,
}

impl cli::Colored for Arguments {}

#[tokio::main]
async fn main() -> ExitCode {
    let options = cli::Opts::<_, _, _, Arguments>::parsed();
    let arguments = options.custom.clone();
    let features = arguments
        .folder
        .clone()
        .unwrap_or_else(|| place::repository().join("features"));
    let junit: Box<dyn Write> = match arguments.junit.as_deref().map(create) {
        None => Box::new(std::io::sink()),
        Some(Ok(file)) => Box::new(file),
        Some(Err(error)) => return failed(&format!("the JUnit file can't be written: {error}")),
    };
    if let Err(problem) = place::check_programs() {
        return failed(&problem.to_string());
    }
    place::keep_failed(arguments.keep);

    let run = Trial::cucumber()
        .max_concurrent_scenarios(1)
        .with_writer(
            writer::Basic::stdout()
                .summarized()
                .tee::<Trial, _>(writer::JUnit::for_tee(junit, 0))
                .fail_on_skipped()
                .normalized(),
        )
        .after(|_, _, _, ending, trial| Box::pin(trial::end(ending, trial)))
        .with_cli(options)
        .run(features);
    let passed = tokio::select! {
        writer = run => !writer.execution_has_failed(),
        () = signalled() => false,
    };
    let left = if arguments.keep {
        shared::announce().await;
        Vec::new()
    } else {
        place::remove_all().await
    };
    for line in &left {
        let _ = writeln!(std::io::stderr(), "left behind: {line}");
    }
    if passed && left.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// An empty file at `path`, with the folders that lead to it.
fn create(path: &Path) -> std::io::Result<fs_err::File> {
    if let Some(folder) = path.parent() {
        fs_err::create_dir_all(folder)?;
    }
    fs_err::File::create(path)
}

/// Ends when somebody wants this to end; what was made is removed all the same.
async fn signalled() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

fn failed(message: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "error: {message}");
    ExitCode::from(2)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_report_may_lie_in_a_folder_that_does_not_exist_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out/today/features.xml");
        super::create(&path).unwrap();
        assert!(path.exists());
    }
}
