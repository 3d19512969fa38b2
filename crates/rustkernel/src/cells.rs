//! Running cells, one after the other, on a thread of their own.
//!
//! The outputs are those of evcxr's own kernel. What is different is when a cell counts as failed: evcxr answers a panic
//! and a failed `?` as if nothing had happened, which a notebook that runs unattended must not.

use std::cell::Cell;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use evcxr::{CommandContext, EvalCallbacks, EvalContext, EvalOutputs};
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

use crate::message::Request;
use crate::server::{Outlet, kernel_info};
use crate::streams::{Notes, Streams};
use crate::{compiler_errors, family, relay};

const RED: &str = "\u{1b}[91m";
const PLAIN: &str = "\u{1b}[0m";

/// The way to the thread that runs cells.
#[derive(Clone)]
pub(crate) struct Cells {
    tasks: mpsc::Sender<Task>,
    shared: Arc<Shared>,
}

enum Task {
    Answer(Box<Request>),
    End(oneshot::Sender<()>),
}

struct Shared {
    streams: Arc<Streams>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// While a cell runs: how often it was asked to stop.
    interrupts: Option<u32>,
    /// The kernel is about to end; no further cell is begun.
    ending: bool,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the thread; relays will reach the kernel at `socket`.
pub(crate) fn start(socket: &Path, streams: Arc<Streams>, outlet: Outlet) -> std::io::Result<Cells> {
    let (sender, tasks) = mpsc::channel();
    let shared = Arc::new(Shared {
        streams,
        state: Mutex::default(),
    });
    let mut runner = Runner {
        tasks,
        shared: Arc::clone(&shared),
        outlet,
        evcxr: Evcxr::start(socket),
        count: 0,
    };
    std::thread::Builder::new()
        .name("cells".to_owned())
        // The compiler's front end recurses deeply.
        .stack_size(64 << 20)
        .spawn(move || {
            let asked = runner.work();
            drop(runner);
            if let Some(asked) = asked {
                let _ = asked.send(());
            }
        })?;
    Ok(Cells { tasks: sender, shared })
}

impl Cells {
    /// Has a request of the shell channel answered, after those before it.
    pub(crate) fn take(&self, request: Request) {
        let _ = self.tasks.send(Task::Answer(Box::new(request)));
    }

    /// Asks the running cell to stop, the second time with force. Nothing happens between cells.
    pub(crate) fn interrupt(&self) {
        let mut state = self.shared.state();
        let Some(times) = &mut state.interrupts else {
            return;
        };
        *times += 1;
        let signal = if *times == 1 { Signal::INT } else { Signal::KILL };
        drop(state);
        family::stop_cell(self.shared.streams.relay(), signal);
    }

    /// Begins no further cell; resolves when evcxr has come to its end.
    pub(crate) fn end(&self) -> oneshot::Receiver<()> {
        self.shared.state().ending = true;
        let (asked, ended) = oneshot::channel();
        let _ = self.tasks.send(Task::End(asked));
        ended
    }
}

/// evcxr, which takes seconds to start; that goes on beside the first requests.
enum Evcxr {
    Starting(JoinHandle<Result<CommandContext, String>>),
    Running(Box<CommandContext>),
    Failed,
}

impl Evcxr {
    fn start(socket: &Path) -> Self {
        let socket = socket.to_owned();
        Self::Starting(std::thread::spawn(move || create(socket)))
    }

    /// Gives evcxr once it runs; starts it again if it did not.
    fn get(&mut self, socket: &Path) -> Result<&mut CommandContext, String> {
        if matches!(self, Self::Failed) {
            *self = Self::start(socket);
        }
        if let Self::Starting(_) = self
            && let Self::Starting(starting) = std::mem::replace(self, Self::Failed)
        {
            let created = starting.join();
            *self = Self::Running(Box::new(
                created.map_err(|_| "evcxr panicked while it started".to_owned())??,
            ));
        }
        match self {
            Self::Running(context) => Ok(context),
            _ => Err("evcxr does not run".to_owned()),
        }
    }
}

fn create(socket: PathBuf) -> Result<CommandContext, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = std::process::Command::new(program);
    command.env(relay::SOCKET, socket);
    // What it would hand on line by line reaches us over the socket, whole.
    let (context, _outputs) = EvalContext::with_subprocess_command(command).map_err(|error| error.to_string())?;
    let mut context = CommandContext::with_eval_context(context);
    context
        .execute(":load_config --quiet")
        .map_err(|error| error.to_string())?;
    Ok(context)
}

/// What a front end shows when a cell has failed.
struct Failure {
    name: &'static str,
    value: String,
    traceback: Vec<String>,
}

impl Failure {
    fn new(name: &'static str, value: impl Into<String>, note: &str) -> Self {
        let value = value.into();
        let mut traceback: Vec<String> = format!("{RED}{name}{PLAIN}: {value}")
            .lines()
            .map(str::to_owned)
            .collect();
        traceback.extend(note.lines().map(str::to_owned));
        Self { name, value, traceback }
    }

    fn content(&self) -> Value {
        json!({"ename": self.name, "evalue": self.value, "traceback": self.traceback})
    }
}

struct Runner {
    tasks: mpsc::Receiver<Task>,
    shared: Arc<Shared>,
    outlet: Outlet,
    evcxr: Evcxr,
    /// The number of the last cell.
    count: u32,
}

impl Runner {
    /// Answers requests until the end; gives who is to be told then.
    fn work(&mut self) -> Option<oneshot::Sender<()>> {
        loop {
            match self.tasks.recv().ok()? {
                Task::End(asked) => return Some(asked),
                Task::Answer(_) if self.shared.state().ending => {}
                Task::Answer(request) => {
                    let go_on = self.within_status(&request, Self::answer);
                    if !go_on && let Some(asked) = self.pass_over_waiting() {
                        return Some(asked);
                    }
                }
            }
        }
    }

    fn within_status<T>(&mut self, request: &Request, answer: impl FnOnce(&mut Self, &Request) -> T) -> T {
        let status = |state: &str| json!({"execution_state": state});
        self.outlet.broadcast(&request.header, "status", status("busy"));
        let answered = answer(self, request);
        self.outlet.broadcast(&request.header, "status", status("idle"));
        answered
    }

    /// After a failed cell, those that a front end has already sent are not run.
    fn pass_over_waiting(&mut self) -> Option<oneshot::Sender<()>> {
        while let Ok(task) = self.tasks.try_recv() {
            match task {
                Task::End(asked) => return Some(asked),
                Task::Answer(request) => self.within_status(&request, |runner, request| {
                    if request.kind() == "execute_request" {
                        runner.outlet.reply(request, json!({"status": "aborted"}));
                    } else {
                        runner.answer(request);
                    }
                }),
            }
        }
        None
    }

    /// Answers a request; says whether to go on with those that wait.
    fn answer(&mut self, request: &Request) -> bool {
        let reply = match request.kind() {
            "execute_request" => return self.execute(request),
            "kernel_info_request" => kernel_info(),
            // What is incomplete is a compile error, which says so better.
            "is_complete_request" => json!({"status": "complete"}),
            "complete_request" => self.complete(request),
            "inspect_request" => self.inspect(request),
            "history_request" => json!({"status": "ok", "history": []}),
            "comm_info_request" => json!({"status": "ok", "comms": {}}),
            _ => return true,
        };
        self.outlet.reply(request, reply);
        true
    }

    fn execute(&mut self, request: &Request) -> bool {
        let code = request.content["code"].as_str().unwrap_or("").to_owned();
        let silent = request.flag("silent", false);
        if !silent {
            self.count += 1;
            let content = json!({"execution_count": self.count, "code": code});
            self.outlet.broadcast(&request.header, "execute_input", content);
        }
        let failures = self.run(request, &code, silent);
        if !silent {
            for failure in &failures {
                self.outlet.broadcast(&request.header, "error", failure.content());
            }
        }
        let mut reply = match failures.first() {
            Some(failure) => {
                let mut content = failure.content();
                content["status"] = json!("error");
                content
            }
            None => json!({"status": "ok", "payload": [], "user_expressions": {}}),
        };
        reply["execution_count"] = json!(self.count);
        self.outlet.reply(request, reply);
        failures.is_empty() || !request.flag("stop_on_error", true)
    }

    /// Runs a cell, sends its result and gives what was wrong with it.
    fn run(&mut self, request: &Request, code: &str, silent: bool) -> Vec<Failure> {
        let socket = self.shared.streams.path();
        self.shared.state().interrupts = Some(0);
        let context = match self.evcxr.get(&socket) {
            Ok(context) => context,
            Err(error) => {
                let interrupted = self.shared.state().interrupts.take().is_some_and(|times| times > 0);
                if interrupted {
                    let value = "evcxr was interrupted while it started; the next cell starts it again";
                    return vec![Failure::new("Interrupted", value, "")];
                }
                let note = "A Rust notebook needs Rust's compiler, `cargo` and `rustc` on PATH (https://rustup.rs), and a \
                            linker (on Debian and Ubuntu: apt install gcc).";
                return vec![Failure::new("Error", error, note)];
            }
        };
        self.shared.streams.begin(&request.header);
        let asked_for_input = Cell::new(false);
        let ran = std::panic::catch_unwind(AssertUnwindSafe(|| {
            context.execute_with_callbacks(
                code,
                &mut EvalCallbacks {
                    input_reader: &|_| {
                        asked_for_input.set(true);
                        String::new()
                    },
                },
            )
        }));
        let notes = self.shared.streams.settle();
        let interrupted = self.shared.state().interrupts.take().is_some_and(|times| times > 0);
        let outcome = match ran {
            Ok(outcome) => outcome,
            Err(_) => {
                // Its state may be anything, and so may be what its processes are at.
                family::end_all();
                self.evcxr = Evcxr::Failed;
                let value = "evcxr itself panicked, and is started again: all variables and definitions are lost";
                return vec![Failure::new("Error", value, "")];
            }
        };
        let died = notes.ended.is_some();
        if died && !matches!(outcome, Err(evcxr::Error::SubprocessTerminated(_))) {
            // It went down while something else was wrong already, so evcxr doesn't know yet.
            let _ = context.execute(":restart");
        }
        match outcome {
            Ok(output) => {
                if !silent {
                    self.send_result(request, output);
                }
                quiet_failure(&notes, asked_for_input.get()).into_iter().collect()
            }
            Err(_) if interrupted => {
                let value = if died {
                    "the cell was interrupted, and all variables are lost"
                } else {
                    "the cell was interrupted before it ran; no variable is lost"
                };
                vec![Failure::new("Interrupted", value, "")]
            }
            Err(evcxr::Error::CompilationErrors(errors)) => errors
                .iter()
                .map(|error| Failure {
                    name: "Error",
                    value: error.message(),
                    traceback: compiler_errors::traceback(error, code, self.count),
                })
                .collect(),
            Err(error) => {
                let value = match notes.ended {
                    Some(status) => format!("Subprocess terminated with status: {status}"),
                    None => error.to_string(),
                };
                vec![Failure {
                    name: "Error",
                    traceback: vec![value.clone()],
                    value,
                }]
            }
        }
    }

    /// Sends what the cell's last expression, or the cell itself, has to show.
    fn send_result(&self, request: &Request, output: EvalOutputs) {
        let send = |data: Map<String, Value>| {
            let content = json!({"execution_count": self.count, "data": data, "metadata": {}});
            self.outlet.broadcast(&request.header, "execute_result", content);
        };
        if !output.is_empty() {
            let mut data: Map<String, Value> = output
                .content_by_mime_type
                .into_iter()
                .map(|(kind, text)| {
                    let json = kind
                        .contains("json")
                        .then(|| serde_json::from_str(&text).ok())
                        .flatten();
                    (kind, json.unwrap_or(Value::String(text)))
                })
                .collect();
            data.sort_keys();
            send(data);
        }
        if let Some(time) = output.timing {
            let html = format!(
                "<span style=\"color: rgba(0,0,0,0.4);\">Took {}ms</span>",
                time.as_millis()
            );
            send(Map::from_iter([("text/html".to_owned(), Value::String(html))]));
        }
    }

    fn complete(&mut self, request: &Request) -> Value {
        let code = request.content["code"].as_str().unwrap_or("");
        let nothing =
            |at: usize| json!({"status": "ok", "matches": [], "cursor_start": at, "cursor_end": at, "metadata": {}});
        let cursor = cursor(request, code);
        let socket = self.shared.streams.path();
        let found = match self.evcxr.get(&socket) {
            Ok(context) => context.completions(code, cursor),
            Err(_) => return nothing(characters(code, cursor)),
        };
        let Ok(found) = found else {
            return nothing(characters(code, cursor));
        };
        let (start, end) = (characters(code, found.start_offset), characters(code, found.end_offset));
        let matches: Vec<&str> = found.completions.iter().map(|one| one.code.as_str()).collect();
        let kinds: Vec<Value> = found
            .completions
            .iter()
            .map(|one| json!({"text": one.label, "type": one.kind, "start": start, "end": end}))
            .collect();
        json!({
            "status": "ok",
            "matches": matches,
            "cursor_start": start,
            "cursor_end": end,
            "metadata": {"_jupyter_types_experimental": kinds},
        })
    }

    fn inspect(&mut self, request: &Request) -> Value {
        let code = request.content["code"].as_str().unwrap_or("");
        let cursor = cursor(request, code);
        let socket = self.shared.streams.path();
        let found = self
            .evcxr
            .get(&socket)
            .ok()
            .and_then(|context| context.hover_at(code, cursor).ok());
        match found {
            Some((plain, html)) if plain != "No documentation found" => json!({
                "status": "ok",
                "found": true,
                "data": {"text/plain": plain, "text/html": html},
                "metadata": {},
            }),
            _ => json!({"status": "ok", "found": false, "data": {}, "metadata": {}}),
        }
    }
}

/// What evcxr keeps quiet about.
fn quiet_failure(notes: &Notes, asked_for_input: bool) -> Option<Failure> {
    if notes.panicked {
        let note = "Variables that this cell made or moved are lost; the others are as they were.";
        return Some(Failure::new("Panic", panic_message(&notes.errors), note));
    }
    if notes.failed {
        let last = notes.errors.lines().rev().find(|line| !line.trim().is_empty());
        let note = "A `?` ended the cell here; variables that it made are lost.";
        return Some(Failure::new("Error", last.unwrap_or("`?` met an error"), note));
    }
    asked_for_input.then(|| {
        let value = "the cell asked for input, which nobody can give here: it got an empty line";
        Failure::new(
            "StdinNotImplementedError",
            value,
            "Make what it asks for a parameter of the notebook.",
        )
    })
}

/// A panic's message from what the cell wrote on standard error; of several, the last.
fn panic_message(errors: &str) -> String {
    let message = errors.rfind(" panicked at ").and_then(|at| {
        let (_, rest) = errors[at..].split_once('\n')?;
        let end = ["\nstack backtrace:\n", "\nnote: run with `RUST_BACKTRACE"]
            .iter()
            .filter_map(|mark| rest.find(mark))
            .min()
            .unwrap_or(rest.len());
        let message = rest[..end].trim_end();
        (!message.is_empty()).then(|| message.to_owned())
    });
    message.unwrap_or_else(|| "the cell panicked".to_owned())
}

/// The cursor as an offset in bytes; Jupyter counts characters.
fn cursor(request: &Request, code: &str) -> usize {
    let characters = request.content["cursor_pos"]
        .as_u64()
        .and_then(|at| usize::try_from(at).ok());
    characters
        .and_then(|characters| code.char_indices().nth(characters))
        .map_or(code.len(), |(at, _)| at)
}

/// The number of characters in so many bytes.
fn characters(code: &str, bytes: usize) -> usize {
    code.char_indices().take_while(|(at, _)| *at < bytes).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_panics_message_is_found() {
        let errors = "warning\n\nthread '<unnamed>' (7) panicked at src/lib.rs:1:1:\ninner\nnote: run with `RUST_BACKTRACE=1`\n\
                      \nthread 'main' (1) panicked at src/lib.rs:121:9:\nassertion `left == right` failed\n  left: 1\n right: 2\n\
                      stack backtrace:\n   0: __rustc::rust_begin_unwind\n";
        assert_eq!(
            panic_message(errors),
            "assertion `left == right` failed\n  left: 1\n right: 2"
        );
        assert_eq!(panic_message("nothing of the kind"), "the cell panicked");
    }

    #[test]
    fn the_cursor_counts_characters() {
        assert_eq!(characters("let 計 = 1", 7), 5);
        assert_eq!(characters("let 計 = 1", 0), 0);
    }
}
