//! The notebook document, kept raw.
//!
//! Nothing is ever mapped onto a schema and back: cells are views into the JSON that was read, so what this program does
//! not know survives. Reading checks only what running needs, and says where the fault is. Format 4 keeps its minor
//! version; format 3 becomes 4.5 in memory, since nothing writes it any more. [`Notebook::typed`] gives a copy as the
//! `nbformat` crate's types.

mod check;
mod typed;
mod upgrade;

use std::borrow::Cow;
use std::path::Path;

use crate::error::{Error, Result};
use crate::json::{self, Json, Object, Shelf, Style};

pub use typed::{Adaptation, AdaptationKind, Typed};

/// A notebook of format 4.
#[derive(Debug, Clone)]
pub struct Notebook {
    root: Object,
    style: Style,
}

/// What a cell is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellKind {
    /// Something to run.
    Code,
    /// Something to read.
    Markdown,
    /// Anything else.
    Other,
}

/// One cell, for reading.
#[derive(Debug, Clone, Copy)]
pub struct Cell<'a>(&'a Json);

impl Notebook {
    /// Reads a notebook; `path` is for messages only.
    ///
    /// # Errors
    /// When the bytes are not a notebook that can be run, with the place.
    pub fn read(bytes: &[u8], path: &Path) -> Result<Self> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()]
                .iter()
                .filter(|byte| **byte == b'\n')
                .count()
                + 1;
            Error::yours("this is not a notebook: the file is not UTF-8 text")
                .at(path)
                .line(line)
        })?;
        let body = text.trim_start_matches('\u{feff}');
        if body.trim().is_empty() {
            return Err(Error::yours("this is not a notebook: the file is empty").at(path));
        }
        let document = json::parse(body).map_err(|error| {
            let help = if error.truncated {
                "the file is cut off: copy it again, or take an earlier version of it"
            } else {
                "a notebook is a JSON file, as Jupyter saves it; check that this is the right file"
            };
            let message = format!("this is not a notebook: column {}: {}", error.column, error.message);
            Error::yours(message).at(path).line(error.line).help(help)
        })?;
        let Json::Object(root) = document else {
            return Err(Error::yours("this is not a notebook: its outermost value is not an object").at(path));
        };
        let mut notebook = Self {
            root,
            style: Style::of(text),
        };
        notebook.format(body, path)?;
        Ok(notebook)
    }

    /// Checks the document, and brings it to format 4.
    fn format(&mut self, body: &str, path: &Path) -> Result<()> {
        let located = |fault: check::Fault| {
            let (line, column) = json::locate(body, &fault.path);
            Error::yours(format!("column {column}: {}", fault.message))
                .at(path)
                .line(line)
                .help("open it in Jupyter and save it, or correct the file by hand")
        };
        match self.root.get("nbformat").and_then(Json::as_i64) {
            Some(4) => check::current(&self.root).map_err(located),
            Some(3) => {
                check::old(&self.root).map_err(located)?;
                upgrade::upgrade(&mut self.root);
                Ok(())
            }
            Some(version @ 1..=2) => Err(Error::yours(format!("notebook format {version} is too old"))
                .at(path)
                .help("open it in Jupyter and save it, or run `jupyter nbconvert --to notebook` on it")),
            Some(version) => Err(Error::yours(format!("notebook format {version} is not known here"))
                .at(path)
                .help("formats 3 and 4 can be run")),
            None => Err(
                Error::yours("this is JSON, but not a notebook: `nbformat` is missing or not a number")
                    .at(path)
                    .help("check that this is the right file"),
            ),
        }
    }

    /// The notebook as the `nbformat` crate's types, for reading, and what they cannot hold.
    ///
    /// # Errors
    /// When it does not fit these types even so.
    pub fn typed(&self) -> Result<Typed> {
        typed::typed(&Json::Object(self.root.clone()))
    }

    /// The file's text, in the style in which it was read.
    #[must_use]
    pub fn write(&self) -> String {
        let mut bytes = Vec::new();
        // Memory takes everything.
        let _ = self.write_to(&mut bytes);
        String::from_utf8(bytes).unwrap_or_default()
    }

    /// Writes the file's text to `to`, without having all of it in memory a second time.
    ///
    /// # Errors
    /// When `to` takes no more.
    pub fn write_to(&self, to: &mut dyn std::io::Write) -> std::io::Result<()> {
        self.style.write_to(&self.root, to)
    }

    /// The cells, for reading.
    pub fn cells(&self) -> impl DoubleEndedIterator<Item = Cell<'_>> + ExactSizeIterator {
        self.cell_values().iter().map(Cell)
    }

    /// How many cells there are.
    #[must_use]
    pub fn cell_count(&self) -> usize {
        self.cell_values().len()
    }

    /// The cell at `index`.
    #[must_use]
    pub fn cell(&self, index: usize) -> Option<Cell<'_>> {
        self.cell_values().get(index).map(Cell)
    }

    /// The cells as they stand in the document.
    pub(crate) fn cells_raw(&self) -> &[Json] {
        self.cell_values()
    }

    /// Puts another cell in the place of the one at `index`.
    pub(crate) fn replace_cell(&mut self, index: usize, cell: Json) {
        if let Some(place) = self.cells_mut().and_then(|cells| cells.get_mut(index)) {
            *place = cell;
        }
    }

    fn cell_values(&self) -> &[Json] {
        self.root.get("cells").and_then(Json::as_array).unwrap_or_default()
    }

    /// The object of the cell at `index`, to change it.
    pub fn cell_mut(&mut self, index: usize) -> Option<&mut Object> {
        self.root
            .get_mut("cells")?
            .as_array_mut()?
            .get_mut(index)?
            .as_object_mut()
    }

    pub(crate) fn cells_mut(&mut self) -> Option<&mut Vec<Json>> {
        self.root.get_mut("cells")?.as_array_mut()
    }

    /// Puts a new cell before the one at `index`.
    pub fn insert(&mut self, index: usize, cell: Object) {
        if let Some(cells) = self.cells_mut() {
            cells.insert(index.min(cells.len()), Json::Object(cell));
        }
    }

    /// A new cell of `kind` with tags; it gets an id where the format has them.
    #[must_use]
    pub fn new_cell(&self, kind: CellKind, source: &str, tags: &[&str]) -> Object {
        let tags: Vec<Json> = tags.iter().map(|tag| Json::from(*tag)).collect();
        let mut cell = Object::new();
        let code = kind == CellKind::Code;
        cell.set("cell_type", if code { "code" } else { "markdown" });
        if code {
            cell.set("execution_count", Json::Null);
        }
        if self.minor() >= 5 {
            cell.set("id", new_id());
        }
        cell.set("metadata", Object::new().with("tags", Json::from(tags)));
        if code {
            cell.set("outputs", Json::from(Vec::new()));
        }
        cell.set("source", lines(source));
        cell
    }

    /// `nbformat_minor`.
    #[must_use]
    pub fn minor(&self) -> i64 {
        self.root.get("nbformat_minor").and_then(Json::as_i64).unwrap_or(0)
    }

    /// The notebook's metadata.
    #[must_use]
    pub fn metadata(&self) -> Option<&Object> {
        self.root.get("metadata")?.as_object()
    }

    /// Puts what its cells put out away, to be read again when it is needed.
    pub(crate) fn put_outputs_away(&mut self, shelf: &Shelf) {
        /// Less than this is not worth it.
        const LITTLE: usize = 16 * 1024;
        for cell in self.cells_mut().into_iter().flatten() {
            let outputs = cell.as_object_mut().and_then(|cell| cell.get_mut("outputs"));
            if let Some(outputs) = outputs
                .filter(|outputs| outputs.weight() > LITTLE)
                .and_then(Json::as_list_mut)
            {
                // What does not go there stays.
                let _ = outputs.pack(shelf);
            }
        }
    }

    /// The notebook's metadata, to change it.
    pub fn metadata_mut(&mut self) -> &mut Object {
        self.root.object_mut("metadata")
    }

    /// The kernel that the notebook names.
    #[must_use]
    pub fn kernel_name(&self) -> Option<Cow<'_, str>> {
        self.metadata()?.get("kernelspec")?.text("name")
    }

    /// The language that the notebook names.
    #[must_use]
    pub fn language(&self) -> Option<Cow<'_, str>> {
        let metadata = self.metadata()?;
        metadata
            .get("kernelspec")
            .and_then(|spec| spec.text("language"))
            .or_else(|| metadata.get("language_info").and_then(|info| info.text("name")))
    }

    /// The first cell that carries `tag`.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> Option<usize> {
        self.cells().position(|cell| cell.has_tag(tag))
    }

    /// The heading over the cell at `index`: the last Markdown heading at or before it.
    #[must_use]
    pub fn heading(&self, index: usize) -> Option<String> {
        self.cells()
            .take(index + 1)
            .rev()
            .filter(|cell| cell.kind() == CellKind::Markdown)
            .find_map(|cell| {
                let source = cell.source();
                let heading = source.lines().rev().find(|line| line.starts_with('#'))?;
                Some(heading.trim_start_matches('#').trim().to_owned()).filter(|text| !text.is_empty())
            })
    }

    /// The notebook's own title: its first Markdown heading.
    #[must_use]
    pub fn title(&self) -> Option<String> {
        self.cells()
            .filter(|cell| cell.kind() == CellKind::Markdown)
            .find_map(|cell| {
                let source = cell.source();
                let heading = source.lines().find(|line| line.starts_with('#'))?;
                Some(heading.trim_start_matches('#').trim().to_owned()).filter(|text| !text.is_empty())
            })
    }
}

impl<'a> Cell<'a> {
    /// What the cell is for.
    #[must_use]
    pub fn kind(&self) -> CellKind {
        match self.0.text("cell_type").as_deref() {
            Some("code") => CellKind::Code,
            Some("markdown") => CellKind::Markdown,
            _ => CellKind::Other,
        }
    }

    /// The cell's text.
    #[must_use]
    pub fn source(&self) -> Cow<'a, str> {
        self.0.get("source").and_then(Json::joined).unwrap_or_default()
    }

    /// Whether the cell carries `tag`.
    #[must_use]
    pub fn has_tag(&self, tag: &str) -> bool {
        self.0
            .get("metadata")
            .and_then(|metadata| metadata.get("tags"))
            .and_then(Json::as_array)
            .is_some_and(|tags| tags.iter().any(|each| each.as_str().as_deref() == Some(tag)))
    }

    /// The cell's outputs. Those that were put away during a run are read for this.
    #[must_use]
    pub fn outputs(&self) -> Cow<'a, [Json]> {
        match self.0.get("outputs") {
            Some(Json::Array(array)) if array.put_away() > 0 => {
                let mut all = array.clone();
                all.unpack();
                Cow::Owned(all.items)
            }
            Some(Json::Array(array)) => Cow::Borrowed(&array.items),
            _ => Cow::Borrowed(&[]),
        }
    }

    /// The last of the cell's outputs.
    pub(crate) fn last_output(&self) -> Option<&'a Json> {
        self.0.get("outputs").and_then(Json::as_array)?.last()
    }

    /// The cell's metadata under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&'a Json> {
        self.0.get("metadata")?.get(key)
    }

    /// The number in `In [n]`.
    #[must_use]
    pub fn execution_count(&self) -> Option<i64> {
        self.0.get("execution_count")?.as_i64()
    }
}

/// A cell's id, as nbformat makes them where no words are wanted.
fn new_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()[..8].to_owned()
}

/// Text the way notebooks keep it: a list of lines, each with its newline.
#[must_use]
pub fn lines(text: &str) -> Json {
    Json::from(text.split_inclusive('\n').map(Json::from).collect::<Vec<_>>())
}

/// [`lines`] of a text that is not needed any more; a single large line keeps its memory, and the text's memory goes back
/// while its lines are made.
pub(crate) fn into_lines(mut text: String) -> Json {
    const STEP: usize = 4 << 20;
    let mut items = Vec::new();
    let mut give_back = text.len().saturating_sub(STEP);
    while let Some(at) = text.as_bytes()[..text.len().saturating_sub(1)]
        .iter()
        .rposition(|byte| *byte == b'\n')
    {
        items.push(Json::from(&text[at + 1..]));
        text.truncate(at + 1);
        if text.len() < give_back {
            text.shrink_to_fit();
            give_back = text.len().saturating_sub(STEP);
        }
    }
    if !text.is_empty() {
        items.push(Json::from(text));
    }
    items.reverse();
    Json::from(items)
}
