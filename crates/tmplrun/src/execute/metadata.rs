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

/// Empties every cell and marks it as not yet run.
pub(super) fn prepare(notebook: &mut Notebook) {
    remove_markers(notebook);
    for index in 0..notebook.cell_count() {
        let code = notebook.cell(index).is_some_and(|cell| cell.kind() == CellKind::Code);
        let Some(cell) = notebook.cell_mut(index) else { continue };
        if code {
            cell.set("execution_count", Json::Null);
            cell.set("outputs", Json::from(Vec::new()));
        }
        let metadata = cell.object_mut("metadata");
        metadata.remove("execution");
        if metadata.get("tags").is_none() {
            metadata.set("tags", Json::from(Vec::new()));
        }
        metadata.set("papermill", cell_entry(None, None, Json::Null, "pending"));
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
    set(notebook, index, cell_entry(Some(start), None, Json::Null, "running"));
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
    pub(crate) start: Timestamp,
    /// `None` while it runs.
    pub(crate) end: Option<(Span, Json)>,
}

pub(crate) fn notebook_entry(notebook: &mut Notebook, entry: &NotebookEntry<'_>) {
    let (span, exception) = match &entry.end {
        Some((span, exception)) => (Some(*span), exception.clone()),
        None => (None, Json::Null),
    };
    let metadata = Object::new()
        .with("default_parameters", Object::new())
        .with("duration", span.map(Span::seconds))
        .with("end_time", span.map(|span| clock::format(span.end)))
        .with("environment_variables", Object::new())
        .with("exception", exception)
        .with("input_path", entry.input)
        .with("output_path", entry.output)
        .with("parameters", entry.parameters.clone())
        .with("start_time", clock::format(entry.start))
        .with("version", concat!("tmplrun ", env!("CARGO_PKG_VERSION")));
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

/// Marks the failing cell: a note at the top that leads to a note right before the cell.
pub(crate) fn add_markers(notebook: &mut Notebook, index: usize) {
    let count = notebook.cell(index).and_then(|cell| cell.execution_count());
    let label = count.map_or("In [ ]".to_owned(), |count| format!("In [{count}]"));
    let style = "color: #c62828; font-weight: bold";
    let at_cell = format!(
        "<span id=\"papermill-error-cell\" style=\"{style}\">The run stopped here: the next cell failed.</span>"
    );
    let at_top =
        format!("<span style=\"{style}\">This run failed at <a href=\"#papermill-error-cell\">{label}</a>.</span>");
    let at_cell = notebook.new_cell(CellKind::Markdown, &at_cell, &[ERROR_MARKER]);
    let at_top = notebook.new_cell(CellKind::Markdown, &at_top, &[ERROR_MARKER]);
    notebook.insert(index, at_cell);
    notebook.insert(0, at_top);
}
