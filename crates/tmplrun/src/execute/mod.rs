//! Running the cells of one notebook in a started kernel.

mod journal;
mod metadata;
mod outputs;
mod save;
mod widgets;

use std::process::ExitStatus;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub use outputs::RESULT_TYPE;

pub(crate) use journal::{Writer, recover};
pub(crate) use metadata::{NotebookEntry, Span, add_markers, notebook_entry};
pub(crate) use save::{Saver, masked};

use outputs::{Outputs, Shown, tagged_result};

use crate::error::Result;
use crate::events::{Event, EventSink, Status, Stream, tell};
use crate::json::{Json, Object, Shelf};
use crate::kernel::{Incoming, Kernel};
use crate::mask::{Masker, StreamMask};
use crate::notebook::{Cell, CellKind, Notebook};
use crate::parameters::merge;
use crate::run::{CellFailure, CellResult};

/// Cells tagged so are passed over.
const SKIP: &str = "skip-execution";
/// Cells tagged so may raise.
const MAY_RAISE: &str = "raises-exception";
/// The last output of cells tagged so is a result, for kernels that cannot display data of the type for it.
const RESULT: &str = "result";
/// How long an interrupted kernel has before it is killed.
const INTERRUPT_GRACE: Duration = Duration::from_secs(5);
/// How long broadcasts may trail the reply; some kernels forget to say that they are idle.
const IDLE_GRACE: Duration = Duration::from_secs(4);
/// A request that shows no sign of life for so long is nudged.
const NUDGE: Duration = Duration::from_millis(300);
/// Text kept back for masking is shown after so long without more.
const FLUSH: Duration = Duration::from_millis(200);

/// What running a notebook's cells depends on.
pub(crate) struct Execution<'a> {
    pub(crate) step: usize,
    pub(crate) cell_timeout: Option<Duration>,
    /// Saves while a cell runs, so often; none if zero.
    pub(crate) autosave: Duration,
    pub(crate) allow_errors: bool,
    pub(crate) allow_error_names: &'a [String],
    pub(crate) repeat: u32,
    /// Cells with one of these tags are passed over, too.
    pub(crate) skip_tags: &'a [String],
    pub(crate) masker: &'a Masker,
    pub(crate) sink: &'a dyn EventSink,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) saver: &'a mut Saver,
    /// Where outputs go that memory need not hold.
    pub(crate) shelf: &'a Shelf,
    /// The first cell to run: those before it have run in this kernel.
    pub(crate) first: usize,
    /// When the notebook as a whole must have ended.
    pub(crate) end_by: Option<Instant>,
}

/// How a notebook's cells ended.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) status: Status,
    pub(crate) failure: Option<CellFailure>,
    pub(crate) cells: Vec<CellResult>,
    pub(crate) results: Object,
}

impl Executed {
    /// A notebook none of whose cells ran.
    pub(crate) fn without_cells(status: Status) -> Self {
        Self {
            status,
            failure: None,
            cells: Vec::new(),
            results: Object::new(),
        }
    }
}

/// How one cell ended.
enum End {
    Done,
    /// The code asked to end the notebook here, successfully.
    EarlyExit,
    Raised {
        name: String,
        value: String,
        traceback: Vec<String>,
    },
    TimedOut,
    Died(ExitStatus),
    /// The kernel lives and cannot be talked with.
    Lost(String),
    Interrupted,
}

/// When something is to be done if nothing else happens before.
#[derive(Default)]
struct Alarms {
    /// The cell, or the notebook, has run too long.
    deadline: Option<Instant>,
    /// The kernel shows no sign of life.
    nudge: Option<Instant>,
    autosave: Option<Instant>,
    /// Text that is kept back is shown.
    flush: Option<Instant>,
    /// The interrupt had no effect.
    kill: Option<Instant>,
    /// The kernel forgot to say that it is idle.
    give_up: Option<Instant>,
}

impl Alarms {
    fn next(&self) -> Instant {
        [
            self.deadline,
            self.nudge,
            self.autosave,
            self.flush,
            self.kill,
            self.give_up,
        ]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or_else(|| soon(Duration::from_secs(365 * 24 * 3600)))
    }
}

fn soon(period: Duration) -> Instant {
    Instant::now() + period
}

/// Whether an alarm has gone off; it does so once.
fn due(alarm: &mut Option<Instant>, now: Instant) -> bool {
    alarm.take_if(|at| *at <= now).is_some()
}

/// A stream's name and text, without a copy of the text.
fn stream_parts(mut content: Json) -> (String, String) {
    let mut take = |key: &str| match content.as_object_mut().and_then(|content| content.remove(key)) {
        Some(Json::String(text)) => text.into_decoded(),
        _ => String::new(),
    };
    (take("name"), take("text"))
}

/// Takes an earlier run's marks away and, if the cells are to `run`, empties each and marks it as not yet run.
pub(crate) fn prepare(notebook: &mut Notebook, run: bool) {
    metadata::prepare(notebook, run);
}

/// The places of the cells that will run.
pub(crate) fn runnable(notebook: &Notebook, skip_tags: &[String]) -> Vec<usize> {
    let skipped = |cell: Cell<'_>| cell.has_tag(SKIP) || skip_tags.iter().any(|tag| cell.has_tag(tag));
    notebook
        .cells()
        .enumerate()
        .filter(|(_, cell)| cell.kind() == CellKind::Code && !skipped(*cell) && !cell.source().trim().is_empty())
        .map(|(index, _)| index)
        .collect()
}

/// What the first `count` cells handed on, as their outputs show it.
pub(crate) fn handed_on(notebook: &Notebook, count: usize) -> Object {
    let mut results = Object::new();
    for cell in notebook.cells().take(count) {
        let outputs = cell.outputs();
        let shown = outputs
            .iter()
            .filter_map(|output| output.get("data")?.get(RESULT_TYPE)?.as_object());
        shown.for_each(|result| merge(&mut results, result.clone()));
        if cell.has_tag(RESULT) {
            merge(&mut results, outputs.last().and_then(tagged_result).unwrap_or_default());
        }
    }
    results
}

impl Execution<'_> {
    /// Runs every cell in order until one ends the notebook.
    pub(crate) async fn run(&mut self, kernel: &mut Kernel, notebook: &mut Notebook) -> Result<Executed> {
        let runnable = runnable(notebook, self.skip_tags);
        let mut outputs = Outputs::with_shelf(self.shelf.clone());
        let mut executed = Executed::without_cells(Status::Completed);
        let mut number = runnable.iter().filter(|index| **index < self.first).count();
        let mut used = kernel.usage();
        self.saver.begin(notebook, self.masker)?;
        for index in self.first..notebook.cell_count() {
            if !runnable.contains(&index) {
                // What there is nothing to run in has run, as far as readers of these keys are concerned.
                let now = Span::since(Timestamp::now());
                metadata::cell_finished(notebook, index, now, false, true);
                continue;
            }
            if self.cancel.is_cancelled() {
                executed.status = Status::Interrupted;
                break;
            }
            let heading = notebook
                .heading(index)
                .map(|heading| self.masker.mask(&heading).into_owned());
            let started = Event::CellStarted {
                step: self.step,
                index,
                number,
                of: runnable.len(),
                heading: heading.clone(),
            };
            tell(self.sink, started);
            number += 1;
            let start = Timestamp::now();
            metadata::cell_started(notebook, index, start);
            let source = notebook
                .cell(index)
                .map(|cell| cell.source().into_owned())
                .unwrap_or_default();
            let mut end = End::Done;
            for _ in 0..self.repeat.max(1) {
                let last = runnable.last() == Some(&index);
                end = self.cell(kernel, notebook, &mut outputs, index, &source, last).await?;
                if !matches!(end, End::Done) {
                    break;
                }
            }
            let span = Span::since(start);
            let before = std::mem::replace(&mut used, kernel.usage());
            let processor_seconds = (used.processor_seconds - before.processor_seconds).max(0.0);
            let memory = used.memory;
            let memory_growth = memory.cast_signed() - before.memory.cast_signed();
            let raised = matches!(end, End::Raised { .. });
            let named = matches!(&end, End::Raised { name, .. } if self.allow_error_names.contains(name));
            let tagged = notebook.cell(index).is_some_and(|cell| cell.has_tag(MAY_RAISE));
            let tolerated = raised && (self.allow_errors || named || tagged);
            let (status, failure) = self.judge(notebook, index, heading.as_deref(), &source, end, kernel);
            let ended = status != Status::Completed || failure.is_early_exit();
            let status = if tolerated { Status::Completed } else { status };
            metadata::cell_finished(notebook, index, span, raised && !tolerated, status == Status::Completed);
            self.saver.cell_ended(index, notebook, self.masker)?;
            executed.cells.push(CellResult {
                index,
                heading,
                status,
                seconds: span.seconds(),
                processor_seconds,
                memory,
                memory_growth,
            });
            tell(
                self.sink,
                Event::CellFinished {
                    step: self.step,
                    index,
                    status,
                    seconds: span.seconds(),
                    processor_seconds,
                    memory,
                    memory_growth,
                },
            );
            if ended && !tolerated {
                executed.status = status;
                executed.failure = failure.into_failure();
                break;
            }
            if status == Status::Completed && notebook.cell(index).is_some_and(|cell| cell.has_tag(RESULT)) {
                self.take_result(notebook, index, &mut outputs);
            }
            self.saver.save_now_and_then(notebook, self.masker)?;
        }
        outputs.store_widgets(notebook, self.first > 0);
        executed.results = outputs.results;
        Ok(executed)
    }

    /// Makes a result of the last output of a cell that is tagged for it.
    fn take_result(&self, notebook: &Notebook, index: usize, outputs: &mut Outputs) {
        let last = notebook.cell(index).and_then(|cell| cell.last_output());
        match last.and_then(tagged_result) {
            Some(result) => merge(&mut outputs.results, result),
            None => tell(
                self.sink,
                Event::Warning {
                    step: Some(self.step),
                    message: format!(
                        "cell {} is tagged `{RESULT}`, but its last output is no JSON object: it hands nothing on",
                        index + 1
                    ),
                },
            ),
        }
    }

    fn next_autosave(&self) -> Option<Instant> {
        (!self.autosave.is_zero()).then(|| soon(self.autosave))
    }

    /// Turns a cell's end into its status and, if it ends the notebook, the reason.
    fn judge(
        &self,
        notebook: &mut Notebook,
        index: usize,
        heading: Option<&str>,
        source: &str,
        end: End,
        kernel: &Kernel,
    ) -> (Status, Verdict) {
        let mut outputs = Outputs::default();
        let count = notebook.cell(index).and_then(|cell| cell.execution_count());
        let failure = |name: &str, value: String, traceback: Vec<String>| CellFailure {
            index,
            execution_count: count,
            heading: heading.map(str::to_owned),
            source: self.masker.mask(source).into_owned(),
            name: name.to_owned(),
            value: self.masker.mask(&value).into_owned(),
            traceback,
        };
        let last_words = || -> Vec<String> {
            let lines = kernel.last_lines();
            lines
                .iter()
                .map(|line| self.masker.mask_coloured(line).into_owned())
                .collect()
        };
        let (status, failure) = match end {
            End::Done => return (Status::Completed, Verdict::GoOn),
            End::EarlyExit => return (Status::Completed, Verdict::EarlyExit),
            End::Raised { name, value, traceback } => (Status::Failed, failure(&name, value, traceback)),
            End::TimedOut => {
                let notebook_is_late = self.end_by.is_some_and(|end_by| end_by <= Instant::now());
                let (name, value) = match self.cell_timeout.filter(|_| !notebook_is_late) {
                    Some(limit) => (
                        "CellTimeout",
                        format!("the cell ran longer than {} s", limit.as_secs_f64()),
                    ),
                    None => ("NotebookTimeout", "the notebook's time ran out in this cell".to_owned()),
                };
                (Status::TimedOut, failure(name, value, Vec::new()))
            }
            End::Interrupted => {
                let failure = failure(
                    "Interrupted",
                    "the run was interrupted in this cell".to_owned(),
                    Vec::new(),
                );
                return (Status::Interrupted, Verdict::Stop(failure));
            }
            End::Died(exit) => {
                let value = format!("the kernel's process ended while this cell ran ({exit})");
                (Status::KernelDied, failure("KernelDied", value, last_words()))
            }
            End::Lost(why) => {
                let value = format!("the kernel cannot be talked with any more: {why}");
                (Status::KernelDied, failure("KernelDied", value, last_words()))
            }
        };
        if status != Status::Failed {
            outputs_at(&mut outputs, notebook, index, self.masker, &failure);
        }
        (status, Verdict::Stop(failure))
    }

    /// Runs one cell once.
    async fn cell(
        &mut self,
        kernel: &mut Kernel,
        notebook: &mut Notebook,
        outputs: &mut Outputs,
        index: usize,
        source: &str,
        last: bool,
    ) -> Result<End> {
        outputs.begin(notebook, index);
        self.saver.cell_started(index, Timestamp::now())?;
        let request = kernel.execute(source, last).await?;
        // Whichever comes first: the cell's time or the notebook's.
        let deadline = [self.cell_timeout.map(soon), self.end_by].into_iter().flatten().min();
        let mut alarms = Alarms {
            deadline,
            nudge: Some(soon(NUDGE)),
            autosave: self.next_autosave(),
            ..Alarms::default()
        };
        let (mut timed_out, mut interrupted) = (false, false);
        let (mut idle, mut reply): (bool, Option<Json>) = (false, None);
        let mut error: Option<(String, String, Vec<String>)> = None;
        let mut watched = Watched::default();
        let mut lost = None;
        // One timer for everything that may be due: setting many anew for each message would cost more than the message.
        let timer = sleep_until(alarms.next());
        let cancelled = self.cancel.cancelled();
        tokio::pin!(timer, cancelled);
        while !(idle && reply.is_some()) {
            if timer.deadline() != alarms.next() {
                timer.as_mut().reset(alarms.next());
            }
            tokio::select! {
                biased;
                () = &mut cancelled, if !interrupted && !timed_out => {
                    interrupted = true;
                    kernel.interrupt().await;
                    alarms.kill = Some(soon(INTERRUPT_GRACE));
                }
                () = &mut timer => {
                    let now = Instant::now();
                    if due(&mut alarms.deadline, now) {
                        timed_out = true;
                        kernel.interrupt().await;
                        alarms.kill = Some(soon(INTERRUPT_GRACE));
                    }
                    if due(&mut alarms.kill, now) {
                        kernel.kill();
                    }
                    if due(&mut alarms.give_up, now) {
                        idle = true;
                    }
                    if due(&mut alarms.nudge, now) {
                        alarms.nudge = Some(soon(NUDGE * 4));
                        kernel.nudge().await?;
                    }
                    if due(&mut alarms.flush, now) {
                        self.flush(&mut watched, index);
                    }
                    if due(&mut alarms.autosave, now) {
                        outputs.write_streams(notebook);
                        self.saver.save(notebook, self.masker)?;
                        alarms.autosave = self.next_autosave();
                    }
                }
                incoming = kernel.next() => match incoming {
                    Incoming::Broadcast(message) if message.parent == request => {
                        alarms.nudge = None;
                        match message.kind.as_str() {
                            "status" => {
                                let state = message.content.text("execution_state").unwrap_or_default();
                                idle |= state == "idle";
                                self.time(notebook, index, &format!("iopub.status.{state}"), message.date);
                                continue;
                            }
                            "stream" => {
                                self.saver.message(&message, self.masker)?;
                                let (name, text) = stream_parts(message.content);
                                self.show_stream(&mut watched, index, name == "stderr", &text);
                                outputs.take_stream(notebook, self.masker, &request, &name, text);
                                alarms.flush = watched.holds().then(|| soon(FLUSH));
                                continue;
                            }
                            "execute_input" => self.time(notebook, index, "iopub.execute_input", message.date.clone()),
                            _ => {}
                        }
                        self.saver.message(&message, self.masker)?;
                        match outputs.take(notebook, self.masker, &message) {
                            Shown::Nothing => {}
                            Shown::Display(text) => self.show(index, Stream::Display, self.masker.mask(&text).into_owned()),
                            Shown::Error { name, value, traceback } => {
                                self.show(index, Stream::Error, traceback.join("\n"));
                                error = Some((name, value, traceback));
                            }
                        }
                    }
                    Incoming::Reply(message) if message.parent == request => {
                        self.time(notebook, index, "shell.execute_reply", message.date);
                        alarms.nudge = None;
                        alarms.give_up = Some(soon(IDLE_GRACE));
                        reply = Some(message.content);
                    }
                    Incoming::Broadcast(_) | Incoming::Reply(_) => {}
                    Incoming::Died(status) => {
                        lost = Some(End::Died(status));
                        break;
                    }
                    Incoming::Lost(why) => {
                        lost = Some(End::Lost(why));
                        break;
                    }
                },
            }
        }
        self.flush(&mut watched, index);
        outputs.close_streams(notebook, self.masker);
        if lost.is_none() {
            for content in outputs.unsent() {
                kernel.send("comm_msg", content).await?;
            }
        }
        Ok(if interrupted {
            End::Interrupted
        } else if timed_out {
            End::TimedOut
        } else if let Some(end) = lost {
            end
        } else {
            self.reply(&reply.unwrap_or(Json::Null), error)
        })
    }

    fn reply(&self, reply: &Json, error: Option<(String, String, Vec<String>)>) -> End {
        if reply.text("status").as_deref() == Some("ok") {
            let exits = reply.get("payload").and_then(Json::as_array).unwrap_or_default();
            let exits = exits
                .iter()
                .any(|payload| payload.text("source").as_deref() == Some("ask_exit"));
            return if exits { End::EarlyExit } else { End::Done };
        }
        let (name, value, traceback) = error.unwrap_or_else(|| {
            let text = |key: &str| {
                reply
                    .text(key)
                    .map(|text| self.masker.mask(&text).into_owned())
                    .unwrap_or_default()
            };
            let name = Some(text("ename")).filter(|name| !name.is_empty());
            (name.unwrap_or_else(|| "Error".to_owned()), text("evalue"), Vec::new())
        });
        if name == "SystemExit" && matches!(value.as_str(), "" | "0" | "None") {
            return End::EarlyExit;
        }
        End::Raised { name, value, traceback }
    }

    /// nbclient's timing entries.
    fn time(&self, notebook: &mut Notebook, index: usize, key: &str, date: Option<String>) {
        if let (Some(cell), Some(date)) = (notebook.cell_mut(index), date) {
            cell.object_mut("metadata").object_mut("execution").set(key, date);
        }
    }

    fn show(&self, index: usize, stream: Stream, text: String) {
        if !text.is_empty() {
            tell(
                self.sink,
                Event::Output {
                    step: self.step,
                    index,
                    stream,
                    text,
                },
            );
        }
    }

    fn show_stream(&self, watched: &mut Watched, index: usize, stderr: bool, text: &str) {
        /// Whoever watches gets large texts in pieces of this length.
        const PIECE: usize = 64 * 1024;
        let (mask, stream) = watched.side(stderr);
        let mut rest = text;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(rest.floor_char_boundary(PIECE));
            let safe = mask.feed(self.masker, piece);
            self.show(index, stream, safe);
            rest = more;
        }
    }

    fn flush(&self, watched: &mut Watched, index: usize) {
        for stderr in [false, true] {
            let (mask, stream) = watched.side(stderr);
            let rest = mask.flush(self.masker);
            self.show(index, stream, rest);
        }
    }
}

/// Masks for those who watch. They differ from the notebook's own in that they do not wait when nothing comes.
#[derive(Default)]
struct Watched {
    stdout: StreamMask,
    stderr: StreamMask,
}

impl Watched {
    fn holds(&self) -> bool {
        self.stdout.held() + self.stderr.held() > 0
    }

    fn side(&mut self, stderr: bool) -> (&mut StreamMask, Stream) {
        if stderr {
            (&mut self.stderr, Stream::Stderr)
        } else {
            (&mut self.stdout, Stream::Stdout)
        }
    }
}

enum Verdict {
    GoOn,
    EarlyExit,
    Stop(CellFailure),
}

impl Verdict {
    fn is_early_exit(&self) -> bool {
        matches!(self, Self::EarlyExit)
    }

    fn into_failure(self) -> Option<CellFailure> {
        match self {
            Self::Stop(failure) => Some(failure),
            Self::GoOn | Self::EarlyExit => None,
        }
    }
}

/// Adds the reason to the cell after what it put out.
fn outputs_at(outputs: &mut Outputs, notebook: &mut Notebook, index: usize, masker: &Masker, failure: &CellFailure) {
    outputs.resume(index);
    let mut value = failure.value.clone();
    if !failure.traceback.is_empty() {
        value = format!("{value}\n{}", failure.traceback.join("\n"));
    }
    outputs.add_error(notebook, masker, &failure.name, &value);
}
