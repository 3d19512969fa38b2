//! What papermill writes into an executed notebook, under its keys, so that tools which read them go on working.

use jiff::Timestamp;

use crate::clock;
use crate::json::{Json, Object};
use crate::notebook::{CellKind, Notebook};

/// The tag of the cells that mark where an earlier run failed.
const ERROR_MARKER: &str = "papermill-error-cell-tag";

/// Times of something that runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl Span {
    pub(crate) fn since(start: Timestamp) -> Self {
        Self {
            start,
            end: Timestamp::now(),
        }
    }

    pub(crate) fn seconds(self) -> f64 {
        (self.end.as_microsecond() - self.start.as_microsecond()) as f64 / 1e6
    }
}

/// Takes an earlier run's marks away and, if the cells are to `run`, empties each and marks it as not yet run.
pub(super) fn prepare(notebook: &mut Notebook, run: bool) {
    remove_markers(notebook);
    for index in 0..notebook.cell_count() {
        let code = notebook.cell(index).is_some_and(|cell| cell.kind() == CellKind::Code);
        let Some(cell) = notebook.cell_mut(index) else { continue };
        if code && run {
            cell.set("execution_count", Json::Null);
            cell.set("outputs", Json::from(Vec::new()));
        }
        let metadata = cell.object_mut("metadata");
        if metadata.get("tags").is_none() {
            metadata.set("tags", Json::from(Vec::new()));
        }
        if run {
            metadata.remove("execution");
            metadata.set("papermill", cell_entry(None, None, Json::Null, "pending"));
        } else if metadata.get("papermill").is_none() {
            metadata.set("papermill", Object::new());
        }
    }
}

fn cell_entry(start: Option<Timestamp>, span: Option<Span>, exception: Json, status: &str) -> Object {
    Object::new()
        .with("duration", span.map(Span::seconds))
        .with("end_time", span.map(|span| clock::format(span.end)))
        .with("exception", exception)
        .with("start_time", start.map(clock::format))
        .with("status", status)
}

pub(super) fn cell_started(notebook: &mut Notebook, index: usize, start: Timestamp) {
    let failed = Json::Bool(false);
    set(notebook, index, cell_entry(Some(start), None, failed, "running"));
}

pub(super) fn cell_finished(notebook: &mut Notebook, index: usize, span: Span, failed: bool, completed: bool) {
    let status = if completed { "completed" } else { "failed" };
    set(
        notebook,
        index,
        cell_entry(Some(span.start), Some(span), Json::Bool(failed), status),
    );
}

fn set(notebook: &mut Notebook, index: usize, entry: Object) {
    if let Some(cell) = notebook.cell_mut(index) {
        cell.object_mut("metadata").set("papermill", entry);
    }
}

/// What the notebook's own entry holds.
pub(crate) struct NotebookEntry<'a> {
    pub(crate) parameters: &'a Object,
    pub(crate) input: &'a str,
    pub(crate) output: &'a str,
    /// `None` if it is not to run.
    pub(crate) start: Option<Timestamp>,
    /// `None` while it runs.
    pub(crate) end: Option<(Span, Json)>,
}

/// What an earlier run left is kept where this run has nothing to say: as long as the cell that it injected stands, its
/// parameters are the notebook's.
pub(crate) fn notebook_entry(notebook: &mut Notebook, entry: &NotebookEntry<'_>) {
    let mut metadata = match notebook.metadata_mut().remove("papermill") {
        Some(Json::Object(earlier)) => earlier,
        _ => Object::new(),
    };
    for key in ["default_parameters", "environment_variables", "parameters"] {
        if !matches!(metadata.get(key), Some(Json::Object(_))) {
            metadata.set(key, Object::new());
        }
    }
    if let Some(start) = entry.start {
        let (span, exception) = match &entry.end {
            Some((span, Json::Bool(true))) => (Some(*span), Json::Bool(true)),
            Some((span, _)) => (Some(*span), Json::Null),
            None => (None, Json::Null),
        };
        metadata.set("duration", span.map(Span::seconds));
        metadata.set("end_time", span.map(|span| clock::format(span.end)));
        metadata.set("exception", exception);
        metadata.set("start_time", clock::format(start));
    }
    metadata.set("input_path", entry.input);
    metadata.set("output_path", entry.output);
    if !entry.parameters.is_empty() {
        metadata.set("parameters", entry.parameters.clone());
    }
    metadata.set("version", concat!("tmplrun ", env!("CARGO_PKG_VERSION")));
    notebook.metadata_mut().set("papermill", metadata);
}

fn remove_markers(notebook: &mut Notebook) {
    let marked: Vec<usize> = notebook
        .cells()
        .enumerate()
        .filter(|(_, cell)| cell.has_tag(ERROR_MARKER))
        .map(|(index, _)| index)
        .collect();
    if let Some(cells) = notebook.cells_mut() {
        for index in marked.into_iter().rev() {
            cells.remove(index);
        }
    }
}

/// Marks the failing cell: a note at the top that leads to a note right before the cell. The words and the anchor are
/// papermill's, since people search for them.
pub(crate) fn add_markers(notebook: &mut Notebook, index: usize) {
    let count = notebook.cell(index).and_then(|cell| cell.execution_count());
    let label = count.map_or("In [ ]".to_owned(), |count| format!("In [{count}]"));
    let style = "style=\"color:red; font-family:Helvetica Neue, Helvetica, Arial, sans-serif; font-size:2em;\"";
    let at_cell = format!(
        "<span id=\"papermill-error-cell\" {style}>Execution using tmplrun encountered an exception here and stopped:</span>"
    );
    let at_top = format!(
        "<span {style}>An Exception was encountered at '<a href=\"#papermill-error-cell\">{label}</a>'.</span>"
    );
    let at_cell = notebook.new_cell(CellKind::Markdown, &at_cell, &[ERROR_MARKER]);
    let at_top = notebook.new_cell(CellKind::Markdown, &at_top, &[ERROR_MARKER]);
    notebook.insert(index, at_cell);
    notebook.insert(0, at_top);
}
