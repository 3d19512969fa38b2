//! Events as lines of JSON, and notebooks' streams as files.

use fs_err::File;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tmplrun::destination;
use tmplrun::events::{Event, EventSink, Record, Stream};
use tmplrun::{Error, ErrorKind, Result};

use super::arguments::Arguments;
use super::request::Prepared;

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
        Ok(Self(Mutex::new((destination::create(path)?, Vec::new()))))
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

type Sink = Arc<Mutex<dyn Write + Send>>;

/// Refuses two things that would be mixed on standard output, by whatever name each goes there.
pub(crate) fn check_stdout(arguments: &Arguments, prepared: &Prepared) -> Result<()> {
    let there = |path: &Path| destination::is_stdout(path);
    let streams = [&arguments.stdout_file, &arguments.stderr_file].into_iter().flatten();
    let outputs = prepared.request.steps.iter().filter_map(|step| step.output.as_deref());
    let takers: Vec<&str> = [
        (prepared.to_stdout || outputs.into_iter().any(there), "the notebook"),
        (arguments.json, "--json"),
        (
            streams.into_iter().any(|path| there(stream_file(path))),
            "what the cells print",
        ),
        (arguments.report.as_deref().is_some_and(there), "--report"),
        (arguments.junit.as_deref().is_some_and(there), "--junit"),
        (arguments.events.as_deref().is_some_and(there), "--events"),
    ]
    .into_iter()
    .filter_map(|(taken, who)| taken.then_some(who))
    .collect();
    match takers.as_slice() {
        [] | [_] => Ok(()),
        takers => Err(Error::new(
            ErrorKind::Yours,
            format!("standard output is taken by {}", takers.join(" and by ")),
        )
        .help("name a file for all but one of them")),
    }
}

/// The file of `--stdout-file` or `--stderr-file`, where `-` means standard output.
fn stream_file(path: &Path) -> &Path {
    match path == Path::new("-") {
        true => Path::new("/dev/stdout"),
        false => path,
    }
}

/// Writes what notebooks put on their standard streams, as it comes.
pub(crate) struct Streams {
    stdout: Option<Sink>,
    stderr: Option<Sink>,
}

impl Streams {
    pub(crate) fn create(arguments: &Arguments) -> Result<Option<Self>> {
        let (stdout, stderr) = (&arguments.stdout_file, &arguments.stderr_file);
        let open = |path: &Path| -> Result<Sink> { Ok(Arc::new(Mutex::new(destination::create(stream_file(path))?))) };
        let out = stdout.as_deref().map(open).transpose()?;
        // One file for both holds both in order.
        let err = match &out {
            Some(out) if stderr == stdout => Some(Arc::clone(out)),
            _ => stderr.as_deref().map(open).transpose()?,
        };
        Ok((out.is_some() || err.is_some()).then_some(Self {
            stdout: out,
            stderr: err,
        }))
    }
}

impl EventSink for Streams {
    fn take(&self, record: &Record) {
        let Event::Output { stream, text, .. } = &record.event else {
            return;
        };
        let sink = match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
            Stream::Display | Stream::Error => return,
        };
        if let Some(sink) = sink {
            let mut sink = sink.lock().unwrap_or_else(PoisonError::into_inner);
            // As for events: a full disk must not end a run.
            let _ = sink.write_all(text.as_bytes()).and_then(|()| sink.flush());
        }
    }
}
