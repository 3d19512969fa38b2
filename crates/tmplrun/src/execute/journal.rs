//! The journal: what a running notebook has come to, written as it happens.
//!
//! Beside `OUTPUT` lies `.OUTPUT.journal`: lines of JSON, only ever appended to, one for each thing that changes the notebook.
//! A line costs what it holds, not what the notebook holds, so every output can be written down at once. After a crash the
//! notebook is put together from it by the very code that puts messages into cells during a run: the journal holds the
//! messages, with secrets masked before they are written.
//!
//! The file is the output's lock too: the system releases it when its holder dies. It is removed when the notebook itself is
//! complete. It survives the end of the program, not of the machine: nothing is forced to the disk.

use std::io::{BufRead as _, BufReader, BufWriter, Seek as _, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fs_err::File;
use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock};

use super::metadata;
use super::outputs::Outputs;
use crate::clock;
use crate::destination;
use crate::error::{Error, Result};
use crate::json::{self, Json, Object};
use crate::kernel::Message;
use crate::mask::{Masker, StreamMask};
use crate::notebook::Notebook;

/// The version of the journal's shape.
const SCHEMA: i64 = 1;
/// How often the lock is tried again when the file was removed between opening and locking it.
const TRIES: usize = 100;

/// Where the journal of `output` is: beside the file, where that is a link.
pub(crate) fn path_of(output: &Path) -> PathBuf {
    destination::companion(&destination::real(output), ".journal")
}

/// Who writes an output.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) run: String,
}

/// An output's lock and journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
    /// Texts that come in pieces, as in the notebook itself.
    masks: Vec<(String, StreamMask)>,
    /// Something is in it that would be missed.
    begun: bool,
}

impl Journal {
    /// Locks `output` for this process.
    pub(crate) fn lock(output: &Path, writer: &Writer) -> Result<Self> {
        let path = path_of(output);
        let mut file = locked(&path, output)?;
        let header = Object::new()
            .with("tmplrun_journal", SCHEMA)
            .with("program", env!("CARGO_PKG_VERSION"))
            .with("output", file_name(output))
            .with("run", writer.run.as_str())
            .with("pid", i64::from(std::process::id()))
            .with("host", host())
            .with("since", clock::now());
        let begin = |file: &mut File| -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(format!("{}\n", Json::from(header).to_compact()).as_bytes())
        };
        begin(&mut file).map_err(|error| broken(&path, error))?;
        Ok(Self {
            path,
            file: BufWriter::with_capacity(64 * 1024, file),
            masks: Vec::new(),
            begun: false,
        })
    }

    /// Begins with the notebook as it is before its first cell, masked.
    pub(crate) fn begin(&mut self, notebook: &Notebook) -> Result<()> {
        self.begun = true;
        let record = Object::new().with("notebook", notebook.write());
        self.put(&Json::from(record))
    }

    /// The cell at `index` begins, with no outputs.
    pub(crate) fn cell_started(&mut self, index: usize, start: Timestamp) -> Result<()> {
        self.masks.clear();
        let record = Object::new()
            .with("cell", place(index))
            .with("at", clock::format(start));
        self.put(&Json::from(record))
    }

    /// A message for the running cell.
    pub(crate) fn message(&mut self, message: &Message, masker: &Masker) -> Result<()> {
        let (kind, content) = (message.kind.as_str(), &message.content);
        if kind == "stream" && !masker.is_empty() {
            let name = content.text("name").unwrap_or_default();
            let at = self
                .masks
                .iter()
                .position(|(known, _)| *known == name)
                .unwrap_or_else(|| {
                    self.masks.push((name.clone().into_owned(), StreamMask::default()));
                    self.masks.len() - 1
                });
            let safe = self.masks[at].1.feed(masker, &content.text("text").unwrap_or_default());
            return self.stream(&name, &safe);
        }
        if matches!(kind, "comm_open" | "comm_msg") {
            return self.comm(message, masker);
        }
        let wanted = [
            "stream",
            "display_data",
            "execute_result",
            "error",
            "clear_output",
            "update_display_data",
            "execute_input",
        ];
        if !wanted.contains(&kind) {
            return Ok(());
        }
        if matches!(kind, "display_data" | "execute_result" | "error") {
            self.end_streams(masker)?;
        }
        if kind == "execute_input" {
            // The source is in the notebook already.
            let count = content.get("execution_count").cloned().unwrap_or(Json::Null);
            return self.record(kind, &Json::from(Object::new().with("execution_count", count)));
        }
        if masker.is_empty() {
            return self.record(kind, content);
        }
        let mut content = content.clone();
        masker.mask_output(&mut content);
        self.record(kind, &content)
    }

    /// A widget's message: with the request that it belongs to, since widgets capture what a request puts out, and with its
    /// binary parts.
    fn comm(&mut self, message: &Message, masker: &Masker) -> Result<()> {
        let buffers: Vec<Json> = message
            .buffers
            .iter()
            .map(|bytes| Json::from(STANDARD.encode(bytes)))
            .collect();
        let mut record = Json::from(
            Object::new()
                .with("kind", message.kind.as_str())
                .with("request", message.parent.as_str())
                .with("buffers", buffers)
                .with("content", message.content.clone()),
        );
        masker.mask_json(&mut record);
        self.put(&record)
    }

    /// The cell at `index` ended; `cell` holds its metadata.
    pub(crate) fn cell_ended(&mut self, index: usize, notebook: &Notebook, masker: &Masker) -> Result<()> {
        self.end_streams(masker)?;
        let mut entries = Object::new();
        if let Some(cell) = notebook.cell(index) {
            for key in ["papermill", "execution"] {
                if let Some(value) = cell.metadata(key) {
                    entries.set(key, value.clone());
                }
            }
        }
        self.put(&Json::from(
            Object::new().with("ended", place(index)).with("metadata", entries),
        ))
    }

    /// The notebook is complete: the journal may go.
    pub(crate) fn complete(&mut self) {
        self.begun = false;
    }

    fn end_streams(&mut self, masker: &Masker) -> Result<()> {
        for (name, mut mask) in std::mem::take(&mut self.masks) {
            let rest = mask.flush(masker);
            self.stream(&name, &rest)?;
        }
        Ok(())
    }

    fn stream(&mut self, name: &str, text: &str) -> Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let content = Object::new().with("name", name).with("text", text);
        self.record("stream", &Json::from(content))
    }

    fn record(&mut self, kind: &str, content: &Json) -> Result<()> {
        let write = |out: &mut BufWriter<File>| -> std::io::Result<()> {
            write!(out, "{{\"kind\":\"{kind}\",\"content\":")?;
            compact(out, content)?;
            out.write_all(b"}\n")?;
            out.flush()
        };
        write(&mut self.file).map_err(|error| broken(&self.path, error))
    }

    fn put(&mut self, record: &Json) -> Result<()> {
        let write = |out: &mut BufWriter<File>| -> std::io::Result<()> {
            compact(out, record)?;
            out.write_all(b"\n")?;
            out.flush()
        };
        write(&mut self.file).map_err(|error| broken(&self.path, error))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What was begun and is not complete stays, for whoever resumes. The lock goes with the file.
        if !self.begun {
            let _ = fs_err::remove_file(&self.path);
        }
    }
}

/// Writes on one line, piece by piece: an output of many megabytes is not copied first.
fn compact(out: &mut impl Write, value: &Json) -> std::io::Result<()> {
    match value {
        Json::Null => out.write_all(b"null"),
        Json::Bool(value) => write!(out, "{value}"),
        Json::Number(text) => out.write_all(text.as_bytes()),
        Json::String(text) => quoted(out, text.literal()),
        Json::Array(array) => {
            out.write_all(b"[")?;
            let (mut first, mut outcome) = (true, Ok(()));
            array.each(|item| {
                if outcome.is_ok() {
                    let separator: &[u8] = if std::mem::take(&mut first) { b"" } else { b"," };
                    outcome = out.write_all(separator).and_then(|()| compact(out, item));
                }
            })?;
            outcome?;
            out.write_all(b"]")
        }
        Json::Object(object) => {
            out.write_all(b"{")?;
            for (index, (key, item)) in object.iter().enumerate() {
                if index > 0 {
                    out.write_all(b",")?;
                }
                quoted(out, json::Text::new(&key).literal())?;
                out.write_all(b":")?;
                compact(out, item)?;
            }
            out.write_all(b"}")
        }
    }
}

/// A string's source text. The lenient reader takes raw line ends in it, which would end our line.
fn quoted(out: &mut impl Write, literal: &str) -> std::io::Result<()> {
    out.write_all(b"\"")?;
    for (index, part) in literal.split('\n').enumerate() {
        if index > 0 {
            out.write_all(b"\\n")?;
        }
        out.write_all(part.as_bytes())?;
    }
    out.write_all(b"\"")
}

fn place(index: usize) -> Json {
    Json::Number(index.to_string())
}

fn file_name(output: &Path) -> String {
    let name = destination::real(output);
    name.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn broken(path: &Path, error: std::io::Error) -> Box<Error> {
    Error::configuration("the journal of the running notebook cannot be written")
        .at(path)
        .help("choose another output path, or make room on its disk")
        .because(error)
}

/// Opens the journal and takes its lock.
fn locked(path: &Path, output: &Path) -> Result<File> {
    for _ in 0..TRIES {
        let mut options = fs_err::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        fs_err::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .map_err(|error| destination::unwritable(output, error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(held(path, output)),
            // A file system without locks: the run goes on as it would have without them.
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::NOLCK | rustix::io::Errno::NOSYS) => return Ok(file),
            Err(error) => return Err(broken(path, error.into())),
        }
        // Its last holder may have removed it meanwhile; the lock would be on a file that nobody finds.
        let same = match (file.metadata(), fs_err::metadata(path)) {
            (Ok(ours), Ok(there)) => ours.ino() == there.ino() && ours.dev() == there.dev(),
            _ => false,
        };
        if same {
            return Ok(file);
        }
    }
    Err(held(path, output))
}

fn held(path: &Path, output: &Path) -> Box<Error> {
    let first = File::open(path).ok().and_then(|file| {
        let mut line = String::new();
        BufReader::new(file).read_line(&mut line).ok()?;
        json::parse(&line).ok()
    });
    let by = first.as_ref().and_then(|header| {
        let (host, since) = (header.text("host")?, header.text("since")?);
        let pid = header.get("pid")?.as_i64()?;
        Some(format!("process {pid} on {host}, since {since}"))
    });
    let by = by.unwrap_or_else(|| "another run, which has just begun".to_owned());
    Error::yours(format!("another run is writing this output: {by}"))
        .at(output)
        .help("wait until it has ended, or choose another output")
}

/// What a journal says.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) notebook: Notebook,
    /// Cells that ended.
    pub(crate) ended: usize,
    /// The cell that was running.
    pub(crate) running: Option<usize>,
}

/// Puts the notebook of `output` together from its journal, writes it, and removes the journal; nothing if there is none.
pub(crate) fn recover(output: &Path) -> Result<Option<Recovered>> {
    let path = path_of(output);
    if !path.exists() {
        return Ok(None);
    }
    // Whoever holds the lock is alive, and will write the notebook itself.
    let file = locked(&path, output)?;
    destination::sweep(output);
    let recovered = read(file, &path, output)?;
    if let Some(recovered) = &recovered {
        destination::write(output, recovered.notebook.write().as_bytes())?;
    }
    fs_err::remove_file(&path).map_err(|error| broken(&path, error))?;
    Ok(recovered)
}

fn read(file: File, path: &Path, output: &Path) -> Result<Option<Recovered>> {
    let unreadable = |error: std::io::Error| {
        Error::configuration("the journal cannot be read")
            .at(path)
            .because(error)
    };
    let mut lines = Lines {
        reader: BufReader::new(file),
        number: 0,
    };
    let Some(header) = lines.next_record().map_err(unreadable)? else {
        return Ok(None);
    };
    check(&header, path, output)?;
    let Some(start) = lines.next_record().map_err(unreadable)? else {
        return Ok(None);
    };
    let text = start.text("notebook").unwrap_or_default();
    let notebook = Notebook::read(text.as_bytes(), path)?;
    let mut replay = Replay {
        recovered: Recovered {
            notebook,
            ended: 0,
            running: None,
        },
        outputs: Outputs::default(),
        request: String::new(),
        masker: Masker::new(),
    };
    while let Some(record) = lines.next_record().map_err(unreadable)? {
        replay.take(&record);
    }
    Ok(Some(replay.end()))
}

fn check(header: &Json, path: &Path, output: &Path) -> Result<()> {
    match header.get("tmplrun_journal").and_then(Json::as_i64) {
        Some(SCHEMA) => {}
        Some(other) => {
            let by = header.text("program").unwrap_or_default().into_owned();
            return Err(Error::yours(format!(
                "this journal has the version {other}, which is not known here; tmplrun {by} wrote it"
            ))
            .at(path)
            .help(format!("recover it with tmplrun {by}, or remove it")));
        }
        None => {
            return Err(Error::yours("this is not a journal of tmplrun")
                .at(path)
                .help("move it away"));
        }
    }
    let of = header.text("output").unwrap_or_default();
    if of != file_name(output) {
        return Err(Error::yours(format!("this journal is of another notebook, {of}"))
            .at(path)
            .help("put it back beside that notebook, or remove it"));
    }
    Ok(())
}

struct Lines {
    reader: BufReader<File>,
    number: usize,
}

impl Lines {
    /// The next whole record. A line without an end was being written when the end came, and so was everything after one
    /// that cannot be read.
    fn next_record(&mut self) -> std::io::Result<Option<Json>> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        self.number += 1;
        if line.pop() != Some(b'\n') {
            return Ok(None);
        }
        Ok(std::str::from_utf8(&line)
            .ok()
            .and_then(|line| json::parse(line).ok())
            .map(Json::restyled))
    }
}

struct Replay {
    recovered: Recovered,
    outputs: Outputs,
    /// The running cell's, as far as widgets know it.
    request: String,
    /// Without secrets: everything in a journal is masked.
    masker: Masker,
}

impl Replay {
    fn take(&mut self, record: &Json) {
        let at = |key: &str| {
            record
                .get(key)
                .and_then(Json::as_i64)
                .and_then(|index| usize::try_from(index).ok())
        };
        let Recovered {
            notebook,
            ended,
            running,
        } = &mut self.recovered;
        if let Some(index) = at("cell") {
            self.outputs.close_streams(notebook, &self.masker);
            self.outputs.begin(notebook, index);
            self.request.clear();
            *running = Some(index);
            let start = record.text("at").and_then(|text| text.parse::<Timestamp>().ok());
            metadata::cell_started(notebook, index, start.unwrap_or_else(Timestamp::now));
        } else if let Some(index) = at("ended") {
            self.outputs.close_streams(notebook, &self.masker);
            *running = None;
            *ended += 1;
            let entries = record.get("metadata").and_then(Json::as_object);
            if let Some(cell) = notebook.cell_mut(index) {
                for (key, value) in entries.into_iter().flat_map(Object::iter) {
                    cell.object_mut("metadata").set(&key, value.clone());
                }
            }
        } else if let (Some(kind), Some(content)) = (record.text("kind"), record.get("content")) {
            if kind == "stream" {
                let text = |key: &str| content.text(key).unwrap_or_default().into_owned();
                self.outputs
                    .take_stream(notebook, &self.masker, &self.request, &text("name"), text("text"));
                return;
            }
            // Nothing is captured before a widget asked for it, in a message of the same cell.
            if let Some(request) = record.text("request") {
                self.request = request.into_owned();
            }
            let buffers = record.get("buffers").and_then(Json::as_array).unwrap_or_default();
            let buffers = buffers.iter().filter_map(Json::as_str);
            let message = Message {
                kind: kind.into_owned(),
                parent: self.request.clone(),
                date: None,
                content: content.clone(),
                buffers: buffers
                    .map(|text| STANDARD.decode(text.as_bytes()).unwrap_or_default())
                    .collect(),
            };
            self.outputs.take(notebook, &self.masker, &message);
        }
    }

    fn end(mut self) -> Recovered {
        let Recovered { notebook, running, .. } = &mut self.recovered;
        self.outputs.close_streams(notebook, &self.masker);
        if let Some(index) = *running {
            self.outputs.resume(index);
            self.outputs.add_error(
                notebook,
                &self.masker,
                "RunnerEnded",
                "the program that ran this notebook ended while this cell ran",
            );
            let now = metadata::Span::since(Timestamp::now());
            metadata::cell_finished(notebook, index, now, true, false);
        }
        self.outputs.store_widgets(notebook, false);
        let entry = notebook.metadata_mut().object_mut("papermill");
        entry.set("exception", true);
        self.recovered
    }
}
