//! Kernels: started, talked to, ended.
//!
//! [`Kernels`] starts them, each as quickly as it safely can be. Whoever drives a [`Kernel`] waits on `Kernel::next`, which
//! brings the next message or the kernel's death, whichever comes first; nothing here asks again and again. Standard input
//! is never offered to a kernel (`allow_stdin` is false), so there is no such channel.

mod guard;
mod kept;
mod launch;
mod pool;
mod process;
mod readiness;
mod rest;
mod server;
mod table;
mod wire;
mod zmtp;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use kept::{Kept, end as end_kept, list as list_kept};
pub use pool::{Kernels, Warmth};
pub use process::{LeftProcess, MARKER};
pub use table::Usage;
pub(crate) use wire::Message;
#[doc(hidden)]
pub use wire::read_frames;

use kept::Home;
use launch::{Channels, Endpoints};
use process::Process;
use rest::Rest;
use wire::{Read, Session};
use zmtp::Socket;

use crate::error::{Error, ErrorKind, Result};
use crate::json::{Json, Object};

/// After this, a request that shows no sign of life is followed by a small one: some kernels miss a wake-up.
const NUDGE: Duration = Duration::from_millis(200);
/// How long messages that a dead kernel sent before its death may take to arrive.
const DRAIN: Duration = Duration::from_millis(100);
/// A kernel that dies closes its channels a moment before its end is known; one that only closes a channel goes on.
const CLOSED_GRACE: Duration = Duration::from_secs(1);
/// How long a kernel may take over its own shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How a kernel is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartOptions {
    /// The kernel's working folder.
    pub folder: PathBuf,
    /// More variables for the kernel; `{kernel_folder}` stands for its private folder.
    pub variables: Vec<(String, String)>,
    /// The run's id, put into the environment as [`MARKER`].
    pub run: String,
    /// How long the kernel may take to answer for the first time.
    pub patience: Duration,
    /// The kernel may be kept when the program ends: its private folder is made in this one, which is the user's alone.
    pub keep: Option<PathBuf>,
    /// The debugger is to be at hand, which makes an IPython kernel's start longer by a quarter.
    pub debugger: bool,
}

/// What arrives from a kernel.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// A reply on the shell channel.
    Reply(Message),
    /// A message for everybody.
    Broadcast(Message),
    /// The process ended; nothing more will come.
    Died(ExitStatus),
    /// The process lives and cannot be talked with any more; why, in one clause.
    Lost(String),
}

/// A running kernel.
pub struct Kernel {
    process: Process,
    session: Session,
    shell: Socket,
    iopub: Socket,
    control: Socket,
    interrupt_by_message: bool,
    language_info: Json,
    died: Option<ExitStatus>,
    /// What its processes carry in their environment as [`process::KERNEL_MARKER`].
    marker: String,
    /// What it had when it was ready, if it was forked.
    rest: Option<Rest>,
    /// A channel that the kernel closed, and until when its death may explain that.
    closed: Option<(&'static str, Instant)>,
    /// Holds the connection file and the sockets; removed with the kernel.
    home: Home,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Kernel")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Kernel {
    /// Asks for the kernel's description until both the answer and a broadcast about it have come: only then is it
    /// certain that no output of the first cell is missed.
    async fn handshake(&mut self) -> Result<()> {
        let mut asked: Vec<String> = Vec::new();
        let (mut replied, mut heard) = (false, false);
        while !(replied && heard) {
            asked.push(self.send("kernel_info_request", Object::new()).await?);
            let until = tokio::time::Instant::now() + NUDGE;
            while !(replied && heard) {
                match tokio::time::timeout_at(until, self.next()).await {
                    Err(_) => break,
                    Ok(Incoming::Reply(message)) if asked.contains(&message.parent) => {
                        if let Some(info) = message.content.get("language_info") {
                            self.language_info = info.clone();
                        }
                        replied = true;
                    }
                    Ok(Incoming::Broadcast(message)) => heard |= asked.contains(&message.parent),
                    Ok(Incoming::Died(status)) => {
                        let lines = self.process.last_lines().join("\n    ");
                        return Err(Error::kernel(format!(
                            "the kernel ended while it started ({status})\n    {lines}"
                        )));
                    }
                    Ok(Incoming::Lost(why)) => {
                        return Err(Error::kernel(format!("the kernel cannot be talked with: {why}")));
                    }
                    Ok(Incoming::Reply(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// Two faults of ipykernel are kept away from: it drops outputs once a thousand wait to be sent, which happens on a
    /// busy machine, so its queue is made unlimited, on the thread that owns it; and at its end it may wait ten seconds
    /// for streams that nobody reads any more, so at its end it waits less. Where that does not work, the kernel stays as
    /// it was; nobody waits for the answer.
    async fn avoid_faults(&mut self) -> Result<()> {
        const CODE: &str = "(lambda t, o, a: (t and t.schedule(lambda: t.socket.setsockopt(23, 0)), \
                            hasattr(o, 'flush_timeout') and a.register(setattr, type(o), 'flush_timeout', 0.02)))\
                            (getattr(getattr(get_ipython(), 'kernel', None), 'iopub_thread', None), \
                            __import__('sys').stdout, __import__('atexit'))";
        if self.language_info.text("name").as_deref() != Some("python") {
            return Ok(());
        }
        let asked = self.execute_and_tell(CODE, true, self.rest.is_some()).await?;
        let (open, memory) = (self.process.alone_with(), self.usage().memory);
        if let Some(rest) = &mut self.rest {
            rest.begin(asked, open, memory);
        }
        Ok(())
    }

    /// The folder that holds the connection file.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// The file that tells other clients how to reach the kernel.
    #[must_use]
    pub fn connection_file(&self) -> PathBuf {
        self.home.path().join(kept::CONNECTION)
    }

    /// Writes beside the connection file whose kernel this is, so that it is found should nobody be left to end it.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn announce(&self, mut kept: Kept) -> Result<Kept> {
        kept.pid = self.process.pid();
        kept.started = table::started_at(kept.pid).unwrap_or_default();
        kept.connection_file = self.connection_file();
        kept.interrupt_by_message = self.interrupt_by_message;
        kept.marker.clone_from(&self.marker);
        kept.write(self.home.path())?;
        Ok(kept)
    }

    /// Lets the kernel go on without us; it must have been started to be kept. `kept` is written beside its connection
    /// file, with its process.
    ///
    /// # Errors
    /// When that cannot be written; the kernel does not go on then.
    pub fn keep(&mut self, kept: Kept) -> Result<Kept> {
        let kept = self.announce(kept)?;
        self.process.detach();
        self.home.keep();
        Ok(kept)
    }

    /// Goes on with a kept kernel, after interrupting what it may still run if it is `busy`. `None` if it does not live any
    /// more, or does not answer in time.
    ///
    /// # Errors
    /// When the caller cancels.
    pub async fn attach(
        kept: &Kept,
        busy: bool,
        patience: Duration,
        cancel: &CancellationToken,
    ) -> Result<Option<Self>> {
        let folder = kept.folder();
        let Ok((endpoints, key)) = Endpoints::read_file(&kept.connection_file) else {
            return Ok(None);
        };
        let Some(mut process) = Process::attach(kept.pid, kept.started, &folder.join(kept::LOG)) else {
            return Ok(None);
        };
        let connected = tokio::select! {
            connected = tokio::time::timeout(patience, endpoints.connect(folder)) => connected.ok().and_then(Result::ok),
            _ = process.exited() => None,
            () = cancel.cancelled() => None,
        };
        let Some(Channels { shell, iopub, control }) = connected else {
            // Whoever asked decides what becomes of it.
            process.detach();
            return if cancel.is_cancelled() {
                Err(interrupted())
            } else {
                Ok(None)
            };
        };
        let mut kernel = Self {
            process,
            session: Session::with_key(key),
            shell,
            iopub,
            control,
            interrupt_by_message: kept.interrupt_by_message,
            language_info: Json::Null,
            died: None,
            marker: kept.marker.clone(),
            rest: None,
            closed: None,
            home: Home::taken_over(folder),
        };
        if busy {
            kernel.interrupt().await;
        }
        let answered = tokio::select! {
            answered = tokio::time::timeout(patience, kernel.handshake()) => answered,
            () = cancel.cancelled() => {
                kernel.process.detach();
                kernel.home.keep();
                return Err(interrupted());
            }
        };
        match answered {
            Ok(Ok(())) => Ok(Some(kernel)),
            _ => {
                kernel.process.detach();
                kernel.home.keep();
                Ok(None)
            }
        }
    }

    /// Whether its process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.process.has_exited()
    }

    /// What the kernel says about its language.
    #[must_use]
    pub fn language_info(&self) -> &Json {
        &self.language_info
    }

    /// The last lines that the process wrote outside the protocol.
    #[must_use]
    pub fn last_lines(&self) -> Vec<String> {
        self.process.last_lines()
    }

    /// What the kernel and everything in its session use now.
    pub(crate) fn usage(&self) -> Usage {
        self.process.usage()
    }

    /// Sends a request on the shell channel and gives its id.
    pub(crate) async fn send(&mut self, kind: &str, content: Object) -> Result<String> {
        let request = self.session.request(kind, content).ok_or_else(unsent)?;
        self.iopub.expect_answer();
        // A socket whose peer just died may take no more; the death itself is what `next` will report.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shell.send(&request.frames())).await;
        Ok(request.id)
    }

    /// Asks the kernel to run `code`. Whether it is at rest can be known only after code that was the `last`.
    pub(crate) async fn execute(&mut self, code: &str, last: bool) -> Result<String> {
        let tell = last && self.rest.is_some();
        let asked = self.execute_and_tell(code, false, tell).await?;
        if let Some(rest) = self.rest.as_mut().filter(|_| tell) {
            rest.ask_again(asked.clone());
        }
        Ok(asked)
    }

    async fn execute_and_tell(&mut self, code: &str, silent: bool, tell: bool) -> Result<String> {
        let expressions = if tell { rest::expressions() } else { Object::new() };
        let content = Object::new()
            .with("code", code)
            .with("silent", silent)
            .with("store_history", !silent)
            .with("user_expressions", expressions)
            .with("allow_stdin", false)
            .with("stop_on_error", false);
        self.send("execute_request", content).await
    }

    /// Follows a request that seems unheard with a small one.
    pub(crate) async fn nudge(&mut self) -> Result<()> {
        self.send("kernel_info_request", Object::new()).await.map(drop)
    }

    /// The next thing that happens. May be dropped and called again without losing anything.
    pub(crate) async fn next(&mut self) -> Incoming {
        loop {
            if let Some(status) = self.died {
                // Broadcasts of the last moments may still be on their way.
                return match tokio::time::timeout(DRAIN, self.iopub.receive()).await {
                    Ok(Ok(frames)) => match self.session.read(frames) {
                        Read::Message(message) => Incoming::Broadcast(message),
                        Read::BadSignature | Read::Unreadable => continue,
                    },
                    _ => Incoming::Died(status),
                };
            }
            let judged = self.closed.map_or_else(Instant::now, |(_, until)| until);
            tokio::select! {
                biased;
                received = self.iopub.receive(), if self.iopub.is_open() => match received {
                    Ok(frames) => if let Read::Message(message) = self.session.read(frames) {
                        return Incoming::Broadcast(message);
                    },
                    Err(_) => self.note_closed("iopub"),
                },
                received = self.shell.receive(), if self.shell.is_open() => match received {
                    Ok(frames) => match self.session.read(frames) {
                        Read::Message(message) => {
                            if let Some(rest) = &mut self.rest {
                                rest.hear(&message);
                            }
                            return Incoming::Reply(message);
                        }
                        // Replies are for us alone: what is signed with another key comes from a kernel that is not ours,
                        // or from one whose answers cannot be trusted.
                        Read::BadSignature => return Incoming::Lost("its reply has a wrong signature".to_owned()),
                        Read::Unreadable => return Incoming::Lost("its reply cannot be read".to_owned()),
                    },
                    Err(_) => self.note_closed("shell"),
                },
                status = self.process.exited() => self.died = Some(status),
                () = tokio::time::sleep_until(judged), if self.closed.is_some() => {
                    let name = self.closed.map(|(name, _)| name).unwrap_or_default();
                    return Incoming::Lost(format!("it closed its {name} channel"));
                }
            }
        }
    }

    fn note_closed(&mut self, channel: &'static str) {
        self.closed.get_or_insert((channel, Instant::now() + CLOSED_GRACE));
    }

    /// Interrupts what runs, the way the kernel wants it.
    pub(crate) async fn interrupt(&mut self) {
        if self.interrupt_by_message {
            if let Some(request) = self.session.request("interrupt_request", Object::new()) {
                let _ = tokio::time::timeout(Duration::from_secs(1), self.control.send(&request.frames())).await;
            }
        } else {
            self.process.interrupt();
        }
    }

    /// Ends the kernel's process at once.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Whether nobody can tell its end now from its end in a moment; known only after the last cell, and of forked kernels.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.rest
            .as_ref()
            .is_some_and(|rest| rest.is_unchanged(self.process.alone_with(), self.usage().memory))
    }

    /// Ends the kernel and everything in its session; gives the processes that left it.
    pub async fn shut_down(mut self, gently: bool) -> Vec<LeftProcess> {
        let left = self.left();
        if gently && !self.process.has_exited() {
            if let Some(request) = self
                .session
                .request("shutdown_request", Object::new().with("restart", false))
            {
                let _ = tokio::time::timeout(Duration::from_secs(1), self.control.send(&request.frames())).await;
            }
            let _ = tokio::time::timeout(SHUTDOWN_GRACE, self.process.exited()).await;
        }
        self.process.end_session().await;
        merge_left(left, self.left())
    }

    fn left(&self) -> Vec<LeftProcess> {
        self.process.left(&self.marker)
    }
}

/// Seen before the end by descent or after it by the marker; only what still lives counts.
fn merge_left(before: Vec<LeftProcess>, mut after: Vec<LeftProcess>) -> Vec<LeftProcess> {
    for each in before {
        let alive = std::path::Path::new(&format!("/proc/{}", each.pid)).exists();
        if alive && !after.iter().any(|known| known.pid == each.pid) {
            after.push(each);
        }
    }
    after
}

fn interrupted() -> Box<Error> {
    Error::new(ErrorKind::Interrupted, "interrupted while the kernel started")
}

fn unsent() -> Box<Error> {
    Error::new(ErrorKind::Bug, "a message for the kernel could not be made")
}

fn unreachable_kernel(error: &(dyn std::error::Error + 'static)) -> Box<Error> {
    Error::kernel("the kernel's sockets cannot be reached").because(error.to_string())
}
