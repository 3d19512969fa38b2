//! Writing the executed notebook so that a reader never sees half of it.
//!
//! What happens in between is in the journal, so that the notebook itself need not be written after every cell.

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::journal::{self, Journal, Writer};
use crate::destination::Destination;
use crate::error::Result;
use crate::json::Json;
use crate::kernel::Message;
use crate::mask::Masker;
use crate::notebook::Notebook;

/// Saving takes at most this share of the time: one part in twenty.
const SHARE: u32 = 20;
/// Never more often than this, however quick it is.
const SHORTEST: Duration = Duration::from_millis(500);

/// Where a notebook is saved, and how often.
#[derive(Debug)]
pub(crate) struct Saver {
    destination: Option<Destination>,
    /// Saves only when it must.
    reluctant: bool,
    last: Instant,
    cost: Duration,
    journal: Option<Journal>,
    recovered: bool,
}

impl Saver {
    /// Locks `path` and proves that it can be written, before anything has run.
    pub(crate) fn new(path: Option<&Path>, writer: &Writer) -> Result<Self> {
        let (mut journal, mut recovered) = (None, false);
        let destination = path.map(Destination::find).transpose()?;
        // A device or a pipe keeps nothing that could be gone on with, and anybody may write to it.
        if let Some(destination) = destination.as_ref().filter(|destination| !destination.is_stream()) {
            let path = destination.path();
            // What an earlier run had come to is not lost even if this one is refused after all.
            recovered = journal::recover(path)?.is_some();
            journal = Some(Journal::lock(path, writer)?);
        }
        Ok(Self {
            destination,
            reluctant: false,
            last: Instant::now(),
            cost: Duration::ZERO,
            journal,
            recovered,
        })
    }

    /// Whether an earlier run had not come to its end, and the notebook was put together from its journal.
    pub(crate) fn recovered(&self) -> bool {
        self.recovered
    }

    /// Where the notebook goes.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.destination.as_ref().map(Destination::path)
    }

    /// The first cell is about to run.
    pub(crate) fn begin(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.begin(&masked(notebook, masker)),
            None => Ok(()),
        }
    }

    /// A cell begins, without outputs.
    pub(crate) fn cell_started(&mut self, index: usize, start: Timestamp) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.cell_started(index, start),
            None => Ok(()),
        }
    }

    /// A message came for the running cell.
    pub(crate) fn message(&mut self, message: &Message, masker: &Masker) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.message(message, masker),
            None => Ok(()),
        }
    }

    /// A cell ended.
    pub(crate) fn cell_ended(&mut self, index: usize, notebook: &Notebook, masker: &Masker) -> Result<()> {
        match &mut self.journal {
            Some(journal) => journal.cell_ended(index, notebook, masker),
            None => Ok(()),
        }
    }

    /// Leaves out the saves between cells.
    #[must_use]
    pub(crate) fn only_when_asked(mut self, reluctant: bool) -> Self {
        self.reluctant = reluctant;
        self
    }

    /// Saves if enough time has passed.
    pub(crate) fn save_now_and_then(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        if !self.reluctant && self.last.elapsed() >= SHORTEST.max(self.cost * SHARE) {
            self.save(notebook, masker)
        } else {
            Ok(())
        }
    }

    /// Saves, but to a device or a pipe, which get the notebook once.
    pub(crate) fn save(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        match &self.destination {
            Some(destination) if !destination.is_stream() => self.write(notebook, masker),
            _ => Ok(()),
        }
    }

    fn write(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        if let Some(destination) = &self.destination {
            let start = Instant::now();
            destination.write(|file| masked(notebook, masker).write_to(file))?;
            self.last = Instant::now();
            self.cost = start.elapsed();
        }
        Ok(())
    }

    /// Saves for the last time: the notebook is complete, and the journal is no longer needed.
    pub(crate) fn finish(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        self.write(notebook, masker)?;
        if let Some(journal) = &mut self.journal {
            journal.complete();
        }
        Ok(())
    }
}

/// A copy without secrets: outputs are masked as they come, but a secret may be registered after it was put out, and may
/// stand in a source or a parameter.
pub(crate) fn masked<'a>(notebook: &'a Notebook, masker: &Masker) -> std::borrow::Cow<'a, Notebook> {
    if masker.is_empty() {
        return std::borrow::Cow::Borrowed(notebook);
    }
    let mut copy = notebook.clone();
    let metadata = copy.metadata_mut();
    masker.mask_keys(metadata);
    for (key, value) in metadata.values_mut() {
        keep_duration(&key, value, |value| masker.mask_json(value));
    }
    for cell in copy.cells_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        for (key, value) in cell.values_mut() {
            match (&*key, value.joined()) {
                // A list of lines is masked as one text: a secret may span lines.
                ("source", Some(text)) => {
                    if let std::borrow::Cow::Owned(text) = masker.mask(&text) {
                        *value = crate::notebook::lines(&text);
                    }
                }
                ("outputs", _) => match value.as_list_mut() {
                    Some(outputs) => {
                        outputs.unpack();
                        outputs.items.iter_mut().for_each(|output| mask_output(output, masker));
                    }
                    None => mask_lines(value, masker),
                },
                ("metadata", _) => {
                    if let Some(metadata) = value.as_object_mut() {
                        masker.mask_keys(metadata);
                        for (key, value) in metadata.values_mut() {
                            keep_duration(&key, value, |value| mask_lines(value, masker));
                        }
                    }
                }
                ("attachments", _) => mask_lines(value, masker),
                _ => {}
            }
        }
    }
    std::borrow::Cow::Owned(copy)
}

/// Masks what papermill's key holds but for how long something took: digits of that are no secret, and it is a number.
fn keep_duration(key: &str, value: &mut Json, mask: impl FnOnce(&mut Json)) {
    let duration = value.get("duration").filter(|_| key == "papermill").cloned();
    mask(value);
    if let (Some(duration @ Json::Number(_)), Some(entry)) = (duration, value.as_object_mut()) {
        entry.set("duration", duration);
    }
}

fn mask_output(output: &mut Json, masker: &Masker) {
    let Some(entries) = output.as_object_mut() else {
        return mask_lines(output, masker);
    };
    for (_, value) in entries.values_mut().filter(|(key, _)| key != "execution_count") {
        mask_lines(value, masker);
    }
}

fn mask_lines(value: &mut Json, masker: &Masker) {
    if let Some(list) = value.as_list_mut() {
        list.unpack();
    }
    if let Json::Array(array) = &*value {
        // Lines of one text, unlike a traceback's frames or tags, end with newlines.
        let before_last = array.items.len().saturating_sub(1);
        let is_text = array.items[..before_last]
            .iter()
            .all(|item| item.as_str().is_some_and(|line| line.ends_with('\n')));
        if let Some(text) = value.joined().filter(|_| is_text) {
            if let std::borrow::Cow::Owned(text) = masker.mask_coloured(&text) {
                *value = crate::notebook::lines(&text);
            }
            return;
        }
    }
    match value {
        Json::Array(array) => array.items.iter_mut().for_each(|item| mask_lines(item, masker)),
        Json::Object(object) => {
            masker.mask_keys(object);
            object.values_mut().for_each(|(_, value)| mask_lines(value, masker));
        }
        other => masker.mask_json(other),
    }
}
