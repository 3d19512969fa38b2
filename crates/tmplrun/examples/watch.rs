//! Runs a notebook and prints what happens: `cargo run -p tmplrun --example watch -- notebook.ipynb executed.ipynb`.
//!
//! The library prints nothing and reads no variable; both are done here.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};

use tmplrun::events::{Event, EventSink, Record, Status};
use tmplrun::parameters::typed;
use tmplrun::{Environment, Request, Result, RunResult};
use tokio_util::sync::CancellationToken;

/// Turns the events that matter here into lines.
pub(crate) struct Lines<W>(pub(crate) Mutex<W>);

impl<W: FnMut(String) + Send> EventSink for Lines<W> {
    fn take(&self, record: &Record) {
        let line = match &record.event {
            Event::NotebookStarted { name, cells, .. } => format!("{name}: {cells} cells"),
            Event::CellStarted { number, heading, .. } => {
                format!("cell {}: {}", number + 1, heading.as_deref().unwrap_or("no heading"))
            }
            Event::Output { stream, text, .. } => format!("  {stream:?}: {}", text.trim_end()),
            Event::CellFinished { status, .. } => format!("  {}", status.word()),
            Event::NotebookFinished { name, status, .. } => format!("{name}: {}", status.word()),
            _ => return,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner)(line);
    }
}

/// Runs one notebook with one parameter.
pub(crate) async fn watch(
    notebook: &Path,
    executed: PathBuf,
    environment: &Environment,
    print: impl FnMut(String) + Send,
) -> Result<RunResult> {
    let mut request = Request::notebook(notebook, Some(executed), &environment.current);
    request.options.parameters.set("greeting", typed("hello"));
    // Cancelled, it would interrupt the running cell and save.
    let cancel = CancellationToken::new();
    tmplrun::run(&request, environment, &Lines(Mutex::new(print)), &cancel).await
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [notebook, executed] = arguments.as_slice() else {
        eprintln!("usage: watch NOTEBOOK EXECUTED");
        return ExitCode::from(2);
    };
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let environment = Environment {
        jupyter_paths: vec![
            home.join(".local/share/jupyter"),
            PathBuf::from("/usr/local/share/jupyter"),
        ],
        variables: std::env::vars().collect(),
        python: None,
        programs: Vec::new(),
        temporary: std::env::temp_dir(),
        kept: std::env::temp_dir(),
        current: std::env::current_dir().unwrap_or_default(),
    };
    match watch(notebook, executed.clone(), &environment, |line| println!("{line}")).await {
        Ok(result) if result.status == Status::Completed => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
