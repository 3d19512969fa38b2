//! Events as lines of JSON.

use fs_err::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use tmplrun::events::{EventSink, Record};
use tmplrun::{Error, ErrorKind, Result};

/// Writes every event on a line.
pub(crate) struct JsonLines(Mutex<File>);

impl JsonLines {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        prove_writable(path)?;
        let file = File::create(path).map_err(|error| unwritable(path, error))?;
        Ok(Self(Mutex::new(file)))
    }
}

impl EventSink for JsonLines {
    fn take(&self, record: &Record) {
        if let Ok(mut line) = serde_json::to_vec(record) {
            line.push(b'\n');
            // A full disk must not end a run whose notebook may still be saved elsewhere.
            let _ = self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line);
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
