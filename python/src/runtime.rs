//! Time: one runtime and engine for each process, and the one way in which Python waits for them.
//!
//! [`wait`] runs work in the background while the calling thread comes back to the interpreter every 50 ms: to hand over what was told
//! meanwhile (from the calling thread, so that a notebook shows it in the right cell) and to look at signals. Between those
//! moments the interpreter's lock is free.
//!
//! After a fork nothing of the parent is used, not even dropped: its threads don't exist in the child, and its connections and database
//! handles are the parent's. The child makes everything anew.

use std::collections::HashMap;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clusterbook_engine::{Engine, Event, Events, Settings, Stop};
use pyo3::exceptions::{PyException, PyKeyboardInterrupt};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::convert;
use crate::error::{Problem, panicked};

/// How long the interpreter may be without us.
const SLICE: Duration = Duration::from_millis(50);
/// How long an apply that was told to stop now may take to do so before it is dropped.
const LAST_CHANCE: Duration = Duration::from_secs(1);
/// The same for what leaves nothing half-done.
const SHORT_CHANCE: Duration = Duration::from_millis(150);

/// What belongs to this process.
struct Process {
    pid: u32,
    runtime: Runtime,
    engine: Mutex<Option<Opened>>,
}

/// An engine and what it was opened with.
struct Opened {
    settings: Settings,
    engine: Engine,
}

/// Locked only by threads that are attached to the interpreter, and for as long as they stay so. A fork is made by such a
/// thread too, so no child finds this locked.
static CURRENT: Mutex<Option<Arc<Process>>> = Mutex::new(None);

fn process() -> Result<Arc<Process>, Problem> {
    let mut current = lock(&CURRENT);
    let pid = std::process::id();
    if let Some(process) = current.as_ref().filter(|process| process.pid == pid) {
        return Ok(process.clone());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("clusterbook")
        .enable_all()
        .build()
        .map_err(|error| Problem::Bug(format!("no threads can be started: {error}")))?;
    let process = Arc::new(Process {
        pid,
        runtime,
        engine: Mutex::new(None),
    });
    if let Some(parents) = current.replace(process.clone()) {
        // Dropping it would wait for threads that the fork left behind.
        std::mem::forget(parents);
    }
    Ok(process)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The settings, from Python's own view of the environment: reading the system's while other threads change it isn't safe.
fn settings(py: Python<'_>) -> PyResult<Settings> {
    let environment: HashMap<String, String> = py.import("os")?.getattr("environ")?.call_method0("copy")?.extract()?;
    Ok(Settings::from_lookup(
        |name| environment.get(name).cloned(),
        "notebook",
        jiff::Timestamp::now(),
    ))
}

impl Process {
    /// The engine for these settings; opened again only when another state folder or provider is asked for.
    fn engine(&self, settings: Settings) -> Result<Engine, Problem> {
        let mut opened = lock(&self.engine);
        if let Some(opened) = opened.as_ref() {
            let same = opened.settings.home == settings.home
                && opened.settings.provider == settings.provider
                && opened.settings.run_id == settings.run_id;
            // A folder that was removed meanwhile has to be made again, not written to through handles to nowhere.
            if same && settings.home.exists() {
                return Ok(opened.engine.clone());
            }
        }
        let engine = Engine::open(settings.clone())?;
        *opened = Some(Opened {
            settings,
            engine: engine.clone(),
        });
        Ok(engine)
    }
}

/// What work has at hand.
pub(crate) struct Tools {
    /// The engine.
    pub(crate) engine: Engine,
    /// Where the engine tells what happens.
    pub(crate) events: Events,
    /// Where to tell other things.
    pub(crate) teller: Teller,
    /// Whether to stop.
    pub(crate) stop: Stop,
}

/// Something to hand to Python meanwhile.
pub(crate) enum Message {
    /// The engine's event.
    Event(Event),
    /// A piece of a command's output.
    Output { node: String, stderr: bool, bytes: Vec<u8> },
    /// Anything else, with its kind under `event`.
    Value(Value),
    /// The work is over; nothing follows.
    Done,
}

/// Tells Python what happens.
#[derive(Clone)]
pub(crate) struct Teller(Sender<Message>);

impl Teller {
    /// Tells one thing.
    pub(crate) fn tell(&self, message: Message) {
        // Nobody listening any more is no reason to stop.
        let _ = self.0.send(message);
    }
}

/// What the first press of the stop button means.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Stop at the next safe point, and only the second press means now.
    SafePoint,
    /// Nothing can be left half-done, so stop now.
    None,
}

/// Runs `work` in the background and waits for it. `sink` is a callable that gets lists of what happened, several times a second, also when
/// nothing did.
pub(crate) fn wait<T, F, W>(py: Python<'_>, sink: Option<Bound<'_, PyAny>>, patience: Patience, work: W) -> PyResult<T>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Problem>>,
    W: FnOnce(Tools) -> F + Send + 'static,
{
    let settings = settings(py)?;
    let process = process()?;
    let stop = Stop::new();
    let abandon = CancellationToken::new();
    let (sender, receiver) = std::sync::mpsc::channel();
    let teller = Teller(sender);
    let thread = {
        let (stop, abandon, teller) = (stop.clone(), abandon.clone(), teller.clone());
        let work = move || {
            let told = teller.clone();
            let result = catch_unwind(AssertUnwindSafe(|| {
                carry_out(&process, settings, told, stop, &abandon, work)
            }));
            teller.tell(Message::Done);
            result.unwrap_or_else(|_| Some(Err(panicked())))
        };
        // A thread of its own, so that what waits inside it holds up neither the interpreter nor other work.
        std::thread::Builder::new()
            .name("clusterbook-call".to_owned())
            .stack_size(8 << 20)
            .spawn(work)
            .map_err(|error| Problem::Bug(format!("no thread can be started: {error}")))?
    };
    let mut waiting = Waiting {
        sink,
        patience,
        stop,
        abandon,
        teller,
        receiver,
        pressed: None,
        broken: None,
    };
    let result = waiting.until_done(py, thread);
    waiting.conclude(py, result)
}

/// On the call's own thread: the work, and the engine's events in their order between what the work tells. None when it was abandoned.
fn carry_out<T, F: Future<Output = Result<T, Problem>>>(
    process: &Process,
    settings: Settings,
    teller: Teller,
    stop: Stop,
    abandon: &CancellationToken,
    work: impl FnOnce(Tools) -> F,
) -> Option<Result<T, Problem>> {
    let engine = match process.engine(settings) {
        Ok(engine) => engine,
        Err(problem) => return Some(Err(problem)),
    };
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    process.runtime.block_on(async {
        let mut work = Box::pin(work(Tools {
            engine,
            events: Events::to(sender),
            teller: teller.clone(),
            stop,
        }));
        let mut open = true;
        let result = loop {
            tokio::select! {
                biased;
                () = abandon.cancelled() => break None,
                event = receiver.recv(), if open => match event {
                    Some(event) => teller.tell(Message::Event(event)),
                    None => open = false,
                },
                result = &mut work => break Some(result),
            }
        };
        drop(work);
        while let Ok(event) = receiver.try_recv() {
            teller.tell(Message::Event(event));
        }
        result
    })
}

struct Waiting<'py> {
    sink: Option<Bound<'py, PyAny>>,
    patience: Patience,
    stop: Stop,
    /// Drops the work.
    abandon: CancellationToken,
    teller: Teller,
    receiver: Receiver<Message>,
    /// The first press.
    pressed: Option<Press>,
    /// Why the sink isn't called any more.
    broken: Option<PyErr>,
}

struct Press {
    error: PyErr,
    /// When it came to mean "now".
    now: Option<Instant>,
}

impl Waiting<'_> {
    fn until_done<T: Send>(
        &mut self,
        py: Python<'_>,
        thread: JoinHandle<Option<Result<T, Problem>>>,
    ) -> Option<Result<T, Problem>> {
        loop {
            let receiver = &mut self.receiver;
            let (messages, done) = py.detach(|| slice(receiver));
            self.call_sink(py, messages);
            if done {
                // It has nothing left to do but to end.
                return thread.join().unwrap_or_else(|_| Some(Err(panicked())));
            }
            if let Err(error) = py.check_signals() {
                self.press(error);
            }
            let chance = match self.patience {
                Patience::SafePoint => LAST_CHANCE,
                Patience::None => SHORT_CHANCE,
            };
            let late = |press: &Press| press.now.is_some_and(|since| since.elapsed() > chance);
            if self.pressed.as_ref().is_some_and(late) {
                // A call to the system that hangs may keep the thread; nobody waits for it any more.
                self.abandon.cancel();
                return None;
            }
        }
    }

    fn call_sink(&mut self, py: Python<'_>, messages: Vec<Message>) {
        let Some(sink) = self.sink.as_ref().filter(|_| self.broken.is_none()) else {
            return;
        };
        let told = list(py, messages).and_then(|list| sink.call1((list,)).map(drop));
        if let Err(error) = told {
            if error.is_instance_of::<PyException>(py) {
                // A broken display is told at the end; it is no reason to stop half-way.
                self.broken = Some(error);
            } else {
                self.press(error);
            }
        }
    }

    /// The stop button, Ctrl-C, or whatever else a signal's handler raised.
    fn press(&mut self, error: PyErr) {
        match &mut self.pressed {
            None => {
                let now = self.patience == Patience::None;
                if now {
                    self.stop.now();
                } else {
                    self.stop.soon();
                }
                self.pressed = Some(Press {
                    error,
                    now: now.then(Instant::now),
                });
            }
            Some(press) => {
                self.stop.now();
                press.now = press.now.or_else(|| Some(Instant::now()));
            }
        }
        let now = self.pressed.as_ref().is_some_and(|press| press.now.is_some());
        // Told with the next slice: the sink itself may have raised this, and may raise it again.
        self.teller
            .tell(Message::Value(serde_json::json!({"event": "stopping", "now": now})));
    }

    fn conclude<T>(self, py: Python<'_>, result: Option<Result<T, Problem>>) -> PyResult<T> {
        let Some(press) = self.pressed else {
            if let (Some(Ok(_)), Some(broken)) = (&result, self.broken) {
                broken.write_unraisable(py, None);
            }
            return match result {
                Some(result) => Ok(result?),
                None => Err(Problem::Bug("the work was dropped, and nobody had asked for it".to_owned()).into()),
            };
        };
        if !press.error.is_instance_of::<PyKeyboardInterrupt>(py) {
            return Err(press.error);
        }
        let class = py.import("clusterbook._errors")?.getattr("Interrupted")?;
        let fields = PyDict::new(py);
        let text = match &result {
            _ if self.patience == Patience::None => "stopped",
            Some(Ok(_)) => "stopped; what was under way had just been finished",
            Some(Err(problem)) if problem.is_interruption() => "stopped at a safe point",
            Some(Err(_)) => "stopped, and not everything had gone well before",
            None => "stopped at once",
        };
        if self.patience == Patience::SafePoint && !matches!(result, Some(Ok(_))) {
            fields.set_item("hint", "apply again to go on from there, or destroy the cluster")?;
        }
        let interrupted = PyErr::from_value(class.call((text,), Some(&fields))?);
        if let (Patience::SafePoint, Some(Err(problem))) = (self.patience, result)
            && !problem.is_interruption()
        {
            interrupted.set_cause(py, Some(problem.into()));
        }
        Err(interrupted)
    }
}

/// Waits for a slice of time; less if the work is done.
fn slice(receiver: &mut Receiver<Message>) -> (Vec<Message>, bool) {
    let until = Instant::now() + SLICE;
    let mut messages = Vec::new();
    loop {
        match receiver.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(Message::Done) => return (messages, true),
            Ok(message) => messages.push(message),
            Err(RecvTimeoutError::Timeout) => return (messages, false),
            Err(RecvTimeoutError::Disconnected) => return (messages, true),
        }
    }
}

fn list(py: Python<'_>, messages: Vec<Message>) -> PyResult<Bound<'_, PyList>> {
    let list = PyList::empty(py);
    for message in messages {
        match message {
            Message::Event(event) => list.append(convert::object(py, &event)?)?,
            Message::Value(value) => list.append(convert::to_python(py, &value)?)?,
            Message::Output { node, stderr, bytes } => {
                let dict = PyDict::new(py);
                dict.set_item("event", "output")?;
                dict.set_item("node", node)?;
                dict.set_item("stderr", stderr)?;
                dict.set_item("bytes", PyBytes::new(py, &bytes))?;
                list.append(dict)?;
            }
            Message::Done => {}
        }
    }
    Ok(list)
}
