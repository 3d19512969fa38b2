//! Events as lines of JSON.

use fs_err::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tmplrun::events::{Event, EventSink, Record};
use tmplrun::{Error, ErrorKind, Result};

/// Writes every event on a line, with the name of the step that it is about.
pub(crate) struct JsonLines(Mutex<(File, Vec<String>)>);

#[derive(serde::Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    record: &'a Record,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

impl JsonLines {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        prove_writable(path)?;
        let file = File::create(path).map_err(|error| unwritable(path, error))?;
        Ok(Self(Mutex::new((file, Vec::new()))))
    }
}

impl EventSink for JsonLines {
    fn take(&self, record: &Record) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, names) = &mut *state;
        if let Event::RunStarted { steps, .. } = &record.event {
            names.clone_from(steps);
        }
        let step = match &record.event {
            Event::CellStarted { step, .. }
            | Event::Output { step, .. }
            | Event::CellFinished { step, .. }
            | Event::KernelResumed { step, .. }
            | Event::KernelKept { step, .. } => Some(*step),
            Event::Warning { step, .. } => *step,
            // The others have the name themselves, or are about no step.
            _ => None,
        };
        let name = step.and_then(|step| names.get(step)).map(String::as_str);
        if let Ok(mut line) = serde_json::to_vec(&Line { record, name }) {
            line.push(b'\n');
            // A full disk must not end a run whose notebook may still be saved elsewhere.
            let _ = file.write_all(&line);
        }
    }
}

/// Finds out, before anything runs, whether a report can be written.
pub(crate) fn prove_writable(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    fs_err::create_dir_all(folder).map_err(|error| unwritable(path, error))?;
    tempfile::Builder::new()
        .prefix(".tmplrun-")
        .tempfile_in(folder)
        .map(drop)
        .map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, error: std::io::Error) -> Box<Error> {
    Error::new(ErrorKind::Configuration, "this file cannot be written")
        .at(path)
        .because(error)
}
