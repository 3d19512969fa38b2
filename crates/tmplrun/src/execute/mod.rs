//! Running the cells of one notebook in a started kernel.

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

pub(crate) use metadata::{NotebookEntry, Span, add_markers, notebook_entry};
pub(crate) use save::{Saver, masked, write_atomically};

use outputs::{Outputs, Shown};

use crate::error::Result;
use crate::events::{Event, EventSink, Status, Stream, tell};
use crate::json::{Json, Object};
use crate::kernel::{Incoming, Kernel};
use crate::mask::{Masker, StreamMask};
use crate::notebook::{CellKind, Notebook};
use crate::run::{CellFailure, CellResult};

/// Cells tagged so are passed over.
const SKIP: &str = "skip-execution";
/// Cells tagged so may raise.
const MAY_RAISE: &str = "raises-exception";
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
    pub(crate) masker: &'a Masker,
    pub(crate) sink: &'a dyn EventSink,
    pub(crate) cancel: &'a CancellationToken,
    pub(crate) saver: &'a mut Saver,
}

/// How a notebook's cells ended.
#[derive(Debug)]
pub(crate) struct Executed {
    pub(crate) status: Status,
    pub(crate) failure: Option<CellFailure>,
    pub(crate) cells: Vec<CellResult>,
    pub(crate) results: Object,
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
    Interrupted,
}

/// Takes an earlier run's marks away and, if the cells are to `run`, empties each and marks it as not yet run.
pub(crate) fn prepare(notebook: &mut Notebook, run: bool) {
    metadata::prepare(notebook, run);
}

/// The places of the cells that will run.
pub(crate) fn runnable(notebook: &Notebook) -> Vec<usize> {
    notebook
        .cells()
        .enumerate()
        .filter(|(_, cell)| cell.kind() == CellKind::Code && !cell.has_tag(SKIP) && !cell.source().trim().is_empty())
        .map(|(index, _)| index)
        .collect()
}

impl Execution<'_> {
    /// Runs every cell in order until one ends the notebook.
    pub(crate) async fn run(&mut self, kernel: &mut Kernel, notebook: &mut Notebook) -> Result<Executed> {
        let runnable = runnable(notebook);
        let mut outputs = Outputs::default();
        let mut executed = Executed {
            status: Status::Completed,
            failure: None,
            cells: Vec::new(),
            results: Object::new(),
        };
        let mut number = 0;
        for index in 0..notebook.cell_count() {
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
                end = self.cell(kernel, notebook, &mut outputs, index, &source).await?;
                if !matches!(end, End::Done) {
                    break;
                }
            }
            let span = Span::since(start);
            let raised = matches!(end, End::Raised { .. });
            let named = matches!(&end, End::Raised { name, .. } if self.allow_error_names.contains(name));
            let tagged = notebook.cell(index).is_some_and(|cell| cell.has_tag(MAY_RAISE));
            let tolerated = raised && (self.allow_errors || named || tagged);
            let (status, failure) = self.judge(notebook, index, heading.as_deref(), &source, end, kernel);
            let ended = status != Status::Completed || failure.is_early_exit();
            let status = if tolerated { Status::Completed } else { status };
            metadata::cell_finished(notebook, index, span, raised && !tolerated, status == Status::Completed);
            executed.cells.push(CellResult {
                index,
                heading,
                status,
                seconds: span.seconds(),
            });
            tell(
                self.sink,
                Event::CellFinished {
                    step: self.step,
                    index,
                    status,
                    seconds: span.seconds(),
                },
            );
            if ended && !tolerated {
                executed.status = status;
                executed.failure = failure.into_failure();
                break;
            }
            self.saver.save_now_and_then(notebook, self.masker)?;
        }
        outputs.store_widgets(notebook);
        executed.results = outputs.results;
        Ok(executed)
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
        let (status, failure) = match end {
            End::Done => return (Status::Completed, Verdict::GoOn),
            End::EarlyExit => return (Status::Completed, Verdict::EarlyExit),
            End::Raised { name, value, traceback } => (Status::Failed, failure(&name, value, traceback)),
            End::TimedOut => {
                let limit = self.cell_timeout.unwrap_or_default().as_secs_f64();
                (
                    Status::TimedOut,
                    failure("CellTimeout", format!("the cell ran longer than {limit} s"), Vec::new()),
                )
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
                let lines: Vec<String> = kernel
                    .last_lines()
                    .iter()
                    .map(|line| self.masker.mask_coloured(line).into_owned())
                    .collect();
                let value = format!("the kernel's process ended while this cell ran ({exit})");
                (Status::KernelDied, failure("KernelDied", value, lines))
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
    ) -> Result<End> {
        outputs.begin(notebook, index);
        let request = kernel.execute(source, false).await?;
        let far = Instant::now() + Duration::from_secs(365 * 24 * 3600);
        let soon = |period: Duration| if period.is_zero() { far } else { Instant::now() + period };
        let mut deadline = self.cell_timeout.map_or(far, soon);
        let mut nudge_at = soon(NUDGE);
        let mut autosave_at = soon(self.autosave);
        let mut flush_at = far;
        let mut kill_at = far;
        let mut give_up_at = far;
        let (mut timed_out, mut interrupted) = (false, false);
        let (mut idle, mut reply): (bool, Option<Json>) = (false, None);
        let mut error: Option<(String, String, Vec<String>)> = None;
        let mut watched = Watched::default();
        let mut died = None;
        while !(idle && reply.is_some()) {
            let cancelled = !interrupted && !timed_out;
            tokio::select! {
                biased;
                () = self.cancel.cancelled(), if cancelled => {
                    interrupted = true;
                    kernel.interrupt().await;
                    kill_at = soon(INTERRUPT_GRACE);
                }
                () = sleep_until(deadline) => {
                    timed_out = true;
                    deadline = far;
                    kernel.interrupt().await;
                    kill_at = soon(INTERRUPT_GRACE);
                }
                () = sleep_until(kill_at) => {
                    kill_at = far;
                    kernel.kill();
                }
                () = sleep_until(give_up_at) => idle = true,
                incoming = kernel.next() => match incoming {
                    Incoming::Broadcast(message) if message.parent == request => {
                        nudge_at = far;
                        if message.kind == "status" {
                            idle |= message.content.text("execution_state").as_deref() == Some("idle");
                            self.time(notebook, index, &format!("iopub.status.{}",
                                message.content.text("execution_state").unwrap_or_default()), message.date);
                            continue;
                        }
                        if message.kind == "execute_input" {
                            self.time(notebook, index, "iopub.execute_input", message.date.clone());
                        }
                        match outputs.take(notebook, self.masker, &message) {
                            Shown::Nothing => {}
                            Shown::Stream { stderr, text } => {
                                self.show_stream(&mut watched, index, stderr, &text);
                                flush_at = if watched.holds() { soon(FLUSH) } else { far };
                            }
                            Shown::Display(text) => self.show(index, Stream::Display, self.masker.mask(&text).into_owned()),
                            Shown::Error { name, value, traceback } => {
                                self.show(index, Stream::Error, traceback.join("\n"));
                                error = Some((name, value, traceback));
                            }
                        }
                    }
                    Incoming::Reply(message) if message.parent == request => {
                        self.time(notebook, index, "shell.execute_reply", message.date);
                        nudge_at = far;
                        give_up_at = soon(IDLE_GRACE);
                        reply = Some(message.content);
                    }
                    Incoming::Broadcast(_) | Incoming::Reply(_) => {}
                    Incoming::Died(status) => {
                        died = Some(status);
                        break;
                    }
                },
                () = sleep_until(nudge_at) => {
                    nudge_at = soon(NUDGE * 4);
                    kernel.nudge().await?;
                }
                () = sleep_until(flush_at) => {
                    flush_at = far;
                    self.flush(&mut watched, index);
                }
                () = sleep_until(autosave_at) => {
                    outputs.write_streams(notebook);
                    self.saver.save(notebook, self.masker)?;
                    autosave_at = soon(self.autosave);
                }
            }
        }
        self.flush(&mut watched, index);
        outputs.close_streams(notebook, self.masker);
        if died.is_none() {
            for content in outputs.unsent() {
                kernel.send("comm_msg", content).await?;
            }
        }
        Ok(if interrupted {
            End::Interrupted
        } else if timed_out {
            End::TimedOut
        } else if let Some(status) = died {
            End::Died(status)
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
        let (mask, stream) = watched.side(stderr);
        let safe = mask.feed(self.masker, text);
        self.show(index, stream, safe);
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
