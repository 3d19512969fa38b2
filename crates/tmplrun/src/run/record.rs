//! What is known about a flow's run after it: `run.json` in its output folder.
//!
//! It is written whenever a step starts or ends, so that a run which was cut short can be taken up again: which steps were
//! completed, what they handed on, with which parameters. Texts in it are masked. Values are kept in source form, so that a
//! number comes back as it was.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{CellFailure, CellResult, Request, StepRequest, StepResult};
use crate::destination;
use crate::error::{Error, Result};
use crate::events::Status;
use crate::json::{self, Json, Object, Style};
use crate::mask::Masker;
use crate::notebook::{Cell, CellKind, Notebook};
use crate::parameters::{INPUT_PATH, OUTPUT_PATH};

/// The file's name.
pub const RECORD_NAME: &str = "run.json";
/// The version of the file's shape.
const SCHEMA: i64 = 1;

/// A run as far as it has come.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The run's id.
    pub run: String,
    /// The flow's name.
    pub name: String,
    /// When it began, in UTC.
    pub started: String,
    /// How it ended; running until then.
    pub status: Option<Status>,
    /// The parameters given for the whole run, secrets as references.
    pub parameters: Object,
    /// Each step.
    pub steps: Vec<StepRecord>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// The step's name.
    pub name: String,
    /// The notebook's title.
    pub title: Option<String>,
    /// What stands for the notebook's content: see [`digest`].
    pub digest: String,
    /// How it ended; running or not begun until then.
    pub status: Status,
    /// How long it took.
    pub seconds: f64,
    /// The parameters it got.
    pub parameters: Object,
    /// Those that the flow file gave it; not known of a single notebook.
    pub own: Option<Object>,
    /// What it handed on.
    pub results: Object,
    /// Each cell that ran.
    pub cells: Vec<CellResult>,
    /// The cell that ended it, if one did.
    pub failure: Option<CellFailure>,
}

impl Record {
    /// Reads the record in a flow's output folder.
    ///
    /// # Errors
    /// When there is none, or it is not one that is understood.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(RECORD_NAME);
        let text = fs_err::read_to_string(&path).map_err(|error| {
            Error::yours("there is no run to go on with")
                .at(&path)
                .help("name the output folder of an earlier run of this flow")
                .because(error)
        })?;
        let wrong = |what: &str| {
            Error::yours(format!("this is not the record of a run: {what}"))
                .at(&path)
                .help("run the flow anew, into another folder")
        };
        let content = json::parse(&text)
            .map_err(|error| wrong("it is not JSON").because(error))?
            .restyled();
        match content.get("schema").and_then(Json::as_i64) {
            Some(SCHEMA) => {}
            Some(other) => return Err(wrong(&format!("schema {other} is not known here"))),
            None => return Err(wrong("it does not say its schema")),
        }
        Self::from_json(&content).ok_or_else(|| wrong("something is missing in it"))
    }

    /// What an executed notebook says about the run that wrote it; `None` if that run did not come to a good end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of_output(output: &Path, step: &str) -> Result<Option<Self>> {
        let nothing = || {
            Error::yours("there is no run to go on with")
                .at(output)
                .help("name the output of an earlier run of this notebook")
        };
        // A pipe would have to be waited for.
        if fs_err::metadata(output).is_ok_and(|found| !found.is_file()) {
            return Err(nothing().because("it is no file"));
        }
        let bytes = fs_err::read(output).map_err(|error| nothing().because(error))?;
        let notebook = Notebook::read(&bytes, output)?;
        let Some(entry) = notebook.metadata().and_then(|metadata| metadata.get("papermill")) else {
            return Ok(None);
        };
        let ended = entry.get("end_time").is_some_and(|time| *time != Json::Null);
        // Whether it failed is said only if it did, as papermill has it.
        let good = ended && entry.get("exception") != Some(&Json::Bool(true)) && !prepared_since(&notebook);
        let parameters = entry
            .get("parameters")
            .and_then(Json::as_object)
            .cloned()
            .unwrap_or_default();
        Ok(Some(Self {
            run: String::new(),
            name: step.to_owned(),
            started: entry.text("start_time").unwrap_or_default().into_owned(),
            status: None,
            parameters: parameters.clone(),
            steps: vec![StepRecord {
                name: step.to_owned(),
                title: notebook.title(),
                digest: digest(&notebook),
                status: if good { Status::Completed } else { Status::Failed },
                seconds: number(entry.get("duration")).unwrap_or_default(),
                parameters,
                own: None,
                results: Object::new(),
                cells: Vec::new(),
                failure: None,
            }],
        }))
    }

    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        destination::write(
            &folder.join(RECORD_NAME),
            Style::notebook().write(&self.to_json()).as_bytes(),
        )
    }

    /// A new run's record.
    pub(super) fn of(request: &Request, run: &str, started: &str, parameters: Object, steps: Vec<StepRecord>) -> Self {
        Self {
            run: run.to_owned(),
            name: request.name.clone(),
            started: started.to_owned(),
            status: None,
            parameters,
            steps,
        }
    }

    fn to_json(&self) -> Json {
        let steps: Vec<Json> = self.steps.iter().map(StepRecord::to_json).collect();
        Json::from(
            Object::new()
                .with("schema", SCHEMA)
                .with("program", concat!("tmplrun ", env!("CARGO_PKG_VERSION")))
                .with("run", self.run.as_str())
                .with("name", self.name.as_str())
                .with("started", self.started.as_str())
                .with("status", self.status.map(plain))
                .with("parameters", self.parameters.clone())
                .with("steps", steps),
        )
    }

    fn from_json(content: &Json) -> Option<Self> {
        let text = |key: &str| content.text(key).map(|text| text.into_owned());
        Some(Self {
            run: text("run")?,
            name: text("name")?,
            started: text("started")?,
            status: read_back(content.get("status")?),
            parameters: content.get("parameters")?.as_object()?.clone(),
            steps: content
                .get("steps")?
                .as_array()?
                .iter()
                .map(StepRecord::from_json)
                .collect::<Option<_>>()?,
        })
    }
}

impl StepRecord {
    pub(super) fn new(step: &StepRequest, notebook: &Notebook, masker: &Masker) -> Self {
        Self {
            name: step.name.clone(),
            title: None,
            digest: digest(notebook),
            status: Status::Pending,
            seconds: 0.0,
            parameters: Object::new(),
            own: Some(own(step, masker)),
            results: Object::new(),
            cells: Vec::new(),
            failure: None,
        }
    }

    /// Takes over how the step ended.
    pub(super) fn ended(&mut self, result: &StepResult) {
        self.title.clone_from(&result.title);
        self.status = result.status;
        self.seconds = result.seconds;
        self.parameters = result.parameters.clone();
        self.results = result.results.clone();
        self.cells.clone_from(&result.cells);
        self.failure.clone_from(&result.failure);
    }

    fn to_json(&self) -> Json {
        let cells: Vec<Json> = self.cells.iter().map(plain).collect();
        Json::from(
            Object::new()
                .with("name", self.name.as_str())
                .with("title", self.title.as_deref())
                .with("digest", self.digest.as_str())
                .with("status", plain(self.status))
                .with("seconds", self.seconds)
                .with("parameters", self.parameters.clone())
                .with("own", self.own.clone())
                .with("results", self.results.clone())
                .with("cells", cells)
                .with("failure", self.failure.as_ref().map(plain)),
        )
    }

    fn from_json(content: &Json) -> Option<Self> {
        let text = |key: &str| content.text(key).map(|text| text.into_owned());
        Some(Self {
            name: text("name")?,
            title: text("title"),
            digest: text("digest")?,
            status: read_back(content.get("status")?)?,
            seconds: number(content.get("seconds"))?,
            parameters: content.get("parameters")?.as_object()?.clone(),
            own: content.get("own").and_then(Json::as_object).cloned(),
            results: content.get("results")?.as_object()?.clone(),
            cells: content
                .get("cells")?
                .as_array()?
                .iter()
                .map(read_back)
                .collect::<Option<_>>()?,
            failure: content.get("failure").and_then(read_back),
        })
    }
}

/// What the flow file gives `step`, masked. Paths that an option adds are left out: where the output is says nothing about
/// what is in it.
pub(super) fn own(step: &StepRequest, masker: &Masker) -> Object {
    let mut own = step.parameters.clone();
    own.remove(INPUT_PATH);
    own.remove(OUTPUT_PATH);
    let mut own = Json::Object(own);
    masker.mask_json(&mut own);
    own.as_object().cloned().unwrap_or_default()
}

/// What our own types look like as JSON.
fn plain<T: serde::Serialize>(value: T) -> Json {
    let text = serde_json::to_string(&value).unwrap_or_default();
    json::parse(&text).map_or(Json::Null, Json::restyled)
}

fn read_back<T: serde::de::DeserializeOwned>(value: &Json) -> Option<T> {
    serde_json::from_str(&value.to_compact()).ok()
}

fn number(value: Option<&Json>) -> Option<f64> {
    match value? {
        Json::Number(text) => text.parse().ok(),
        _ => None,
    }
}

/// Whether parameters were injected after the run that the notebook's other cells are from: such a cell has not run.
fn prepared_since(notebook: &Notebook) -> bool {
    let injected = notebook
        .tagged("injected-parameters")
        .and_then(|index| notebook.cell(index));
    let ran = |cell: Cell<'_>| {
        cell.metadata("papermill")
            .is_some_and(|entry| entry.text("status").is_some())
    };
    injected.is_some_and(|cell| !ran(cell))
}

/// Stands for what a notebook does: its code cells' sources, without those that a run adds.
pub(super) fn digest(notebook: &Notebook) -> String {
    let mut hash = Sha256::new();
    for cell in notebook.cells() {
        if cell.kind() == CellKind::Code && !cell.has_tag("injected-parameters") {
            let source = cell.source();
            hash.update(source.len().to_le_bytes());
            hash.update(source.as_bytes());
        }
    }
    let bytes = hash.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where an executed notebook really is, for comparing.
pub(super) fn real(path: &Path, current: &Path) -> PathBuf {
    let path = current.join(path);
    match (
        path.parent().and_then(|folder| folder.canonicalize().ok()),
        path.file_name(),
    ) {
        (Some(folder), Some(name)) => folder.join(name),
        _ => path,
    }
}
