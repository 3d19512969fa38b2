//! What a run came to.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::events::Status;
use crate::json::Object;
use crate::kernel::{Kept, LeftProcess};
use crate::notebook::Notebook;

/// The version of the result's shape.
pub const RESULT_SCHEMA: u32 = 1;

/// A finished run. Texts in it are masked.
#[derive(Debug, Serialize)]
pub struct RunResult {
    /// [`RESULT_SCHEMA`].
    pub schema: u32,
    /// The run's id, which processes it started carry in their environment.
    pub run: String,
    /// The notebook's or the flow's name.
    pub name: String,
    /// How it ended.
    pub status: Status,
    /// When it began, in UTC.
    pub started: String,
    /// How long it took.
    pub seconds: f64,
    /// Each notebook.
    pub steps: Vec<StepResult>,
    /// Processes that left their kernel's session and still run.
    pub left: Vec<LeftProcess>,
}

/// One notebook of a run.
#[derive(Debug, Serialize)]
pub struct StepResult {
    /// The step's name.
    pub name: String,
    /// The notebook's title.
    pub title: Option<String>,
    /// The notebook that was run.
    pub input: PathBuf,
    /// The executed notebook.
    pub output: Option<PathBuf>,
    /// The places of the steps that it needs.
    pub needs: Vec<usize>,
    /// How it ended.
    pub status: Status,
    /// How long it took, the kernel's start and end included.
    pub seconds: f64,
    /// The parameters it got.
    pub parameters: Object,
    /// What it handed on.
    pub results: Object,
    /// Each cell that ran.
    pub cells: Vec<CellResult>,
    /// The cell that ended it, if one did.
    pub failure: Option<CellFailure>,
    /// Why it could not be carried through, if that was no cell's doing.
    #[serde(serialize_with = "as_text")]
    pub error: Option<Box<Error>>,
    /// Its kernel, if that was kept.
    pub kernel: Option<Kept>,
    /// The executed notebook, masked.
    #[serde(skip)]
    pub notebook: Option<Notebook>,
}

/// One cell that ran.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// The cell's place in the notebook that was run, from 0.
    pub index: usize,
    /// The heading above it.
    pub heading: Option<String>,
    /// How it ended.
    pub status: Status,
    /// How long it took.
    pub seconds: f64,
    /// Processor time that the kernel and what runs in its session used for it, in seconds, to a hundredth.
    pub processor_seconds: f64,
    /// Memory that these use at its end, in bytes; 0 if the kernel has died.
    pub memory: u64,
    /// How much more that is than at its start.
    pub memory_growth: i64,
}

/// The cell that ended a notebook.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CellFailure {
    /// The cell's place in the notebook that was run, from 0.
    pub index: usize,
    /// The number in `In [n]`.
    pub execution_count: Option<i64>,
    /// The heading above it.
    pub heading: Option<String>,
    /// Its source.
    pub source: String,
    /// The error's name.
    pub name: String,
    /// The error's text.
    pub value: String,
    /// The traceback, with the kernel's colours; or the kernel's last words.
    pub traceback: Vec<String>,
}

impl StepResult {
    /// The step's name, with the notebook's file behind it where that is called otherwise.
    #[must_use]
    pub fn name_and_file(&self) -> String {
        name_and_file(&self.name, &self.input)
    }
}

/// A step's name, with the file of the notebook that it runs behind it where that is called otherwise: that is where people
/// have to look.
#[must_use]
pub fn name_and_file(name: &str, notebook: &Path) -> String {
    match notebook.file_name() {
        Some(file) if !notebook.ends_with(name) => format!("{name} ({})", file.display()),
        _ => name.to_owned(),
    }
}

impl Serialize for Object {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[allow(clippy::ref_option, reason = "the shape that serde asks for")]
fn as_text<S: serde::Serializer>(error: &Option<Box<Error>>, serializer: S) -> Result<S::Ok, S::Error> {
    match error {
        Some(error) => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&**error);
            while let Some(cause) = source {
                text = format!("{text}: {cause}");
                source = cause.source();
            }
            serializer.serialize_some(&text)
        }
        None => serializer.serialize_none(),
    }
}
