//! A kernel: started, talked to, ended.
//!
//! Whoever drives it waits on `Kernel::next`, which brings the next message or the kernel's death, whichever comes
//! first; nothing here asks again and again. Standard input is never offered to a kernel (`allow_stdin` is false), so
//! there is no such channel.

mod launch;
mod process;
mod readiness;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zeromq::{DealerSocket, Socket as _, SocketSend as _, SubSocket, ZmqError};

pub use process::{LeftProcess, MARKER};
pub(crate) use wire::Message;
#[doc(hidden)]
pub use wire::read_frames;

use launch::{Channel, Endpoints};
use process::Process;
use wire::Session;

use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::json::{Json, Object};
use crate::kernelspec::KernelSpec;

/// After this, a request that shows no sign of life is followed by a small one: some kernels miss a wake-up.
const NUDGE: Duration = Duration::from_millis(200);
/// How long messages that a dead kernel sent before its death may take to arrive.
const DRAIN: Duration = Duration::from_millis(100);
/// How long a kernel may take over its own shutdown.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// How a kernel is to be started.
#[derive(Debug, Clone)]
pub struct StartOptions {
    /// The kernel's working folder.
    pub folder: PathBuf,
    /// More variables for the kernel.
    pub variables: Vec<(String, String)>,
    /// The run's id, put into the environment as [`MARKER`].
    pub run: String,
    /// How long the kernel may take to answer for the first time.
    pub patience: Duration,
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
}

/// A running kernel.
pub struct Kernel {
    process: Process,
    session: Session,
    shell: DealerSocket,
    iopub: SubSocket,
    control: DealerSocket,
    interrupt_by_message: bool,
    language_info: Json,
    died: Option<ExitStatus>,
    run: String,
    /// Holds the connection file and the sockets; removed with the kernel.
    _folder: tempfile::TempDir,
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
    /// Starts a kernel and waits until it answers.
    ///
    /// # Errors
    /// When it cannot be started, ends, does not answer in time, or the caller cancels.
    pub async fn start(
        spec: &KernelSpec,
        options: &StartOptions,
        environment: &Environment,
        cancel: &CancellationToken,
    ) -> Result<Self> {
        let folder = private_folder(&environment.temporary)?;
        let session = Session::new();
        let connection_file = folder.path().join("connection.json");
        let endpoints = Endpoints::choose(spec, folder.path())
            .and_then(|endpoints| {
                endpoints.write_file(&connection_file, session.key(), &spec.name)?;
                Ok(endpoints)
            })
            .map_err(|error| {
                Error::configuration("the kernel's connection file cannot be written")
                    .at(&connection_file)
                    .because(error)
            })?;
        let process = launch::start(spec, &connection_file, options, environment)?;
        let reached = async {
            endpoints
                .ready(folder.path())
                .await
                .map_err(|error| unreachable_kernel(&error))?;
            connect(&endpoints).await.map_err(|error| unreachable_kernel(&error))
        };
        let start_failed = |what: String| {
            let mut message = format!("the kernel `{}` {what}", spec.name);
            let lines = process.last_lines();
            if !lines.is_empty() {
                message = format!("{message}; it wrote:\n    {}", lines.join("\n    "));
            }
            Error::kernel(message)
        };
        let deadline = tokio::time::Instant::now() + options.patience;
        let too_late = || {
            start_failed(format!("did not answer within {} s", options.patience.as_secs()))
                .help("give it longer with --start-timeout")
        };
        let (shell, iopub, control) = tokio::select! {
            reached = tokio::time::timeout_at(deadline, reached) => match reached {
                Ok(sockets) => sockets?,
                Err(_) => return Err(end_after(&process, too_late()).await),
            },
            status = process.exited() => {
                return Err(end_after(&process, start_failed(format!("ended while it started ({status})"))
                    .help(format!("run `{}` by hand to see what it needs", spec.argv.join(" ")))).await);
            }
            () = cancel.cancelled() => return Err(end_after(&process, interrupted()).await),
        };
        let mut kernel = Self {
            process,
            session,
            shell,
            iopub,
            control,
            interrupt_by_message: spec.interrupt_by_message,
            language_info: Json::Null,
            died: None,
            run: options.run.clone(),
            _folder: folder,
        };
        let answered = tokio::select! {
            answered = tokio::time::timeout_at(deadline, kernel.handshake()) => answered,
            () = cancel.cancelled() => {
                kernel.process.end_session().await;
                return Err(interrupted());
            }
        };
        match answered {
            Ok(Ok(())) => {
                kernel.keep_every_output().await?;
                Ok(kernel)
            }
            outcome => {
                let lines = kernel.process.last_lines().join("\n    ");
                kernel.process.end_session().await;
                Err(match outcome {
                    Ok(Err(error)) => error,
                    _ => Error::kernel(format!(
                        "the kernel `{}` did not answer within {} s\n    {lines}",
                        spec.name,
                        options.patience.as_secs()
                    ))
                    .help("give it longer with --start-timeout"),
                })
            }
        }
    }

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
                    Ok(Incoming::Reply(_)) => {}
                }
            }
        }
        Ok(())
    }

    /// ipykernel drops outputs once a thousand wait to be sent, which happens on a busy machine. Its queue is made
    /// unlimited, on the thread that owns it. Where that does not work, the kernel stays as it was; nobody waits for the
    /// answer.
    async fn keep_every_output(&mut self) -> Result<()> {
        const SEND_HIGH_WATER_MARK: u8 = 23;
        if self.language_info.text("name").as_deref() != Some("python") {
            return Ok(());
        }
        let code = format!(
            "(lambda t: t and t.schedule(lambda: t.socket.setsockopt({SEND_HIGH_WATER_MARK}, 0)))\
             (getattr(getattr(get_ipython(), 'kernel', None), 'iopub_thread', None))"
        );
        self.execute(&code, true).await.map(drop)
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

    /// Sends a request on the shell channel and gives its id.
    pub(crate) async fn send(&mut self, kind: &str, content: Object) -> Result<String> {
        let (id, message) = self.session.request(kind, content).ok_or_else(unsent)?;
        // A socket whose peer just died may take no more; the death itself is what `next` will report.
        let _ = tokio::time::timeout(Duration::from_secs(5), self.shell.send(message)).await;
        Ok(id)
    }

    /// Asks the kernel to run `code`.
    pub(crate) async fn execute(&mut self, code: &str, silent: bool) -> Result<String> {
        let content = Object::new()
            .with("code", code)
            .with("silent", silent)
            .with("store_history", !silent)
            .with("user_expressions", Object::new())
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
        if let Some(status) = self.died {
            // Broadcasts of the last moments may still be on their way.
            return match tokio::time::timeout(DRAIN, receive(&mut self.iopub, &self.session)).await {
                Ok(Some(message)) => Incoming::Broadcast(message),
                _ => Incoming::Died(status),
            };
        }
        tokio::select! {
            biased;
            Some(message) = receive(&mut self.iopub, &self.session) => Incoming::Broadcast(message),
            Some(message) = receive(&mut self.shell, &self.session) => Incoming::Reply(message),
            status = self.process.exited() => {
                self.died = Some(status);
                Box::pin(self.next()).await
            }
        }
    }

    /// Interrupts what runs, the way the kernel wants it.
    pub(crate) async fn interrupt(&mut self) {
        if self.interrupt_by_message {
            if let Some((_, message)) = self.session.request("interrupt_request", Object::new()) {
                let _ = tokio::time::timeout(Duration::from_secs(1), self.control.send(message)).await;
            }
        } else {
            self.process.interrupt();
        }
    }

    /// Ends the kernel's process at once.
    pub(crate) fn kill(&self) {
        self.process.kill();
    }

    /// Ends the kernel and everything in its session; gives the processes that left it.
    pub async fn shut_down(mut self, gently: bool) -> Vec<LeftProcess> {
        if gently && !self.process.has_exited() {
            // ipykernel may wait for seconds, at its end, for streams that nobody reads.
            let quick = "import sys as _s\nfor _o in (_s.stdout, _s.stderr):\n    if hasattr(_o, 'flush_timeout'): \
                         _o.flush_timeout = 0.02\ndel _s, _o";
            if self.language_info.text("name").as_deref() == Some("python") {
                let _ = self.execute(quick, true).await;
            }
            let left = self.process.left(&self.run);
            if let Some((_, message)) = self
                .session
                .request("shutdown_request", Object::new().with("restart", false))
            {
                let _ = tokio::time::timeout(Duration::from_secs(1), self.control.send(message)).await;
            }
            let _ = tokio::time::timeout(SHUTDOWN_GRACE, self.process.exited()).await;
            self.process.end_session().await;
            return merge_left(left, self.process.left(&self.run));
        }
        let left = self.process.left(&self.run);
        self.process.end_session().await;
        merge_left(left, self.process.left(&self.run))
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

async fn end_after(process: &Process, error: Box<Error>) -> Box<Error> {
    process.end_session().await;
    error
}

async fn connect(endpoints: &Endpoints) -> Result<(DealerSocket, SubSocket, DealerSocket), ZmqError> {
    let mut iopub = SubSocket::new();
    let (mut shell, mut control) = (DealerSocket::new(), DealerSocket::new());
    let (iopub_address, shell_address) = (endpoints.address(Channel::Iopub), endpoints.address(Channel::Shell));
    let control_address = endpoints.address(Channel::Control);
    futures::try_join!(
        async {
            iopub.connect(&iopub_address).await?;
            iopub.subscribe("").await
        },
        shell.connect(&shell_address),
        control.connect(&control_address),
    )?;
    Ok((shell, iopub, control))
}

/// The next message of our conversation; others, and broken ones, are passed over. `None` once the socket is closed.
async fn receive(socket: &mut impl zeromq::SocketRecv, session: &Session) -> Option<Message> {
    loop {
        let frames = socket.recv().await.ok()?;
        if let Some(message) = session.read(frames) {
            return Some(message);
        }
    }
}

fn private_folder(temporary: &Path) -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("tmplrun-")
        .tempdir_in(temporary)
        .map_err(|error| {
            Error::configuration("no private folder can be made for the kernel")
                .at(temporary)
                .because(error)
        })
}
