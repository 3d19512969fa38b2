//! Writing the executed notebook so that a reader never sees half of it.
//!
//! What happens in between is in the journal, so that the notebook itself need not be written after every cell.

use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::journal::{self, Journal, Writer};
use crate::error::{Error, Result};
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
    path: Option<PathBuf>,
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
        if let Some(path) = path {
            prove_writable(path)?;
            // What an earlier run had come to is not lost even if this one is refused after all.
            recovered = journal::recover(path)?.is_some();
            journal = Some(Journal::lock(path, writer)?);
        }
        Ok(Self {
            path: path.map(Path::to_path_buf),
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
        self.path.as_deref()
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

    /// Saves.
    pub(crate) fn save(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        if let Some(path) = &self.path {
            let start = Instant::now();
            write_atomically_with(path, |file| masked(notebook, masker).write_to(file))?;
            self.last = Instant::now();
            self.cost = start.elapsed();
        }
        Ok(())
    }

    /// Saves for the last time: the notebook is complete, and the journal is no longer needed.
    pub(crate) fn finish(&mut self, notebook: &Notebook, masker: &Masker) -> Result<()> {
        self.save(notebook, masker)?;
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
    copy.metadata_mut()
        .values_mut()
        .for_each(|(_, value)| masker.mask_json(value));
    for cell in copy.cells_mut().into_iter().flatten().filter_map(Json::as_object_mut) {
        for (key, value) in cell.values_mut() {
            match (&*key, value.joined()) {
                // A list of lines is masked as one text: a secret may span lines.
                ("source", Some(text)) => {
                    if let std::borrow::Cow::Owned(text) = masker.mask(&text) {
                        *value = crate::notebook::lines(&text);
                    }
                }
                ("outputs" | "metadata" | "attachments", _) => {
                    mask_lines(value, masker);
                }
                _ => {}
            }
        }
    }
    std::borrow::Cow::Owned(copy)
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
        Json::Object(object) => object.values_mut().for_each(|(_, value)| mask_lines(value, masker)),
        other => masker.mask_json(other),
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

pub(super) fn unwritable(path: &Path, error: std::io::Error) -> Box<Error> {
    Error::configuration("the output cannot be written")
        .at(path)
        .help("choose another output path, or make its folder writable")
        .because(error)
}

fn prove_writable(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(unwritable(path, std::io::Error::from(std::io::ErrorKind::IsADirectory)));
    }
    // The notebook replaces the old file by renaming, so the folder is what must be writable: the journal's file proves it.
    fs_err::create_dir_all(folder_of(path)).map_err(|error| unwritable(path, error))
}

/// What a file that is about to replace `path` is called: something of its own between these two.
fn beside(path: &Path) -> (String, &'static str) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    (format!(".{name}."), ".new")
}

/// Removes what writers of `path` left that were killed. The caller knows that nobody writes it now.
pub(crate) fn sweep(path: &Path) {
    let (start, end) = beside(path);
    for entry in fs_err::read_dir(folder_of(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&start) && name.ends_with(end) && name.len() > start.len() + end.len() {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}

/// Writes a file beside `path` and renames it over it.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically_with(path, |file| file.write_all(bytes))
}

fn write_atomically_with(path: &Path, content: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let write = || -> std::io::Result<()> {
        // A file that was there keeps its mode; a new one gets what an ordinary file gets, which the umask limits.
        let old = fs_err::metadata(path).map(|old| old.permissions()).ok();
        let (start, end) = beside(path);
        let mut file = tempfile::Builder::new()
            .prefix(&start)
            .suffix(end)
            .permissions(match old {
                Some(_) => std::fs::Permissions::from_mode(0o600),
                None => std::fs::Permissions::from_mode(0o666),
            })
            .tempfile_in(folder_of(path))?;
        content(file.as_file_mut())?;
        if let Some(old) = old {
            file.as_file().set_permissions(old)?;
        }
        file.persist(path).map(drop).map_err(|error| error.error)
    };
    write().map_err(|error| unwritable(path, error))
}
