//! The kernel: Jupyter's channels on one side, the cells on the other.
//!
//! Cells run on a thread of their own, one after the other (see [`crate::cells`]); what must work while one runs, the
//! control channel and the heartbeat, is served here. The kernel ends when it is asked to, when it is told to by a
//! signal, or when the process that started it ends, and takes everything that it started with it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags};
use serde_json::{Value, json};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use zeromq::{RepSocket, SocketRecv, SocketSend, ZmqMessage};

use crate::cells::{self, Cells};
use crate::connection::Connection;
use crate::family;
use crate::message::{Messages, Request};
use crate::problem::{Problem, Result};
use crate::scratch::Scratch;
use crate::streams::Streams;

/// So long the cells get to come to an end before everything ends without them.
const PATIENCE: Duration = Duration::from_millis(1000);
/// So long the last messages get to leave; the sockets don't tell when they have.
const LAST_MESSAGES: Duration = Duration::from_millis(20);

/// Where messages go out, from any thread.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    messages: Arc<Messages>,
    iopub: mpsc::Sender<ZmqMessage>,
    shell: mpsc::Sender<ZmqMessage>,
}

impl Outlet {
    /// Tells everybody; waits while too much is on its way. Not for asynchronous code.
    pub(crate) fn broadcast(&self, parent: &Value, kind: &str, content: Value) {
        // Before the first cell there is nothing that an output could belong to.
        if parent.is_null() {
            return;
        }
        if let Some(message) = self.messages.broadcast(parent, kind, content) {
            let _ = self.iopub.blocking_send(message);
        }
    }

    /// Answers on the shell channel. Not for asynchronous code.
    pub(crate) fn reply(&self, request: &Request, content: Value) {
        if let Some(message) = self.messages.reply(request, content) {
            let _ = self.shell.blocking_send(message);
        }
    }

    async fn status(&self, request: &Request, state: &str) {
        let content = json!({"execution_state": state});
        if let Some(message) = self.messages.broadcast(&request.header, "status", content) {
            let _ = self.iopub.send(message).await;
        }
    }
}

/// Serves a connection until the kernel is to end.
pub(crate) fn serve(path: &Path) -> Result<()> {
    let connection = Connection::read(path)?;
    let scratch = Scratch::make()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Problem::new("the kernel cannot start").because(&error))?;
    let served = runtime.block_on(run(connection, &scratch));
    runtime.shutdown_background();
    family::end_all();
    served
}

async fn run(connection: Connection, scratch: &Scratch) -> Result<()> {
    let sockets = connection.bind().await?;
    let messages = Arc::new(Messages::new(connection.key));
    let (iopub, iopub_messages) = mpsc::channel(1024);
    let (shell, shell_messages) = mpsc::channel(1024);
    let outlet = Outlet {
        messages: Arc::clone(&messages),
        iopub,
        shell,
    };
    let cannot_start = |error: std::io::Error| Problem::new("the kernel cannot start").because(&error);
    let socket = scratch.folder.join("streams");
    let streams = Streams::listen(&socket, outlet.clone()).map_err(cannot_start)?;
    let cells = cells::start(&socket, streams, outlet.clone()).map_err(cannot_start)?;

    let (replies, mut requests) = sockets.shell.split();
    tokio::spawn(send_all(iopub_messages, sockets.iopub));
    tokio::spawn(send_all(shell_messages, replies));
    tokio::spawn(beat(sockets.heartbeat));
    tokio::spawn({
        let (messages, cells) = (Arc::clone(&messages), cells.clone());
        async move {
            while let Ok(message) = requests.recv().await {
                if let Some(request) = messages.read(message) {
                    cells.take(request);
                }
            }
        }
    });
    let _nobody_asks = sockets.stdin;

    let mut control = sockets.control;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(cannot_start)?;
    let mut terminations = signal(SignalKind::terminate()).map_err(cannot_start)?;
    let parent = Parent::watch();
    loop {
        tokio::select! {
            message = control.recv() => {
                let Ok(message) = message else {
                    break;
                };
                let Some(request) = messages.read(message) else {
                    continue;
                };
                outlet.status(&request, "busy").await;
                let reply = answer(&request, &cells);
                if let Some(reply) = reply.and_then(|reply| messages.reply(&request, reply)) {
                    let _ = control.send(reply).await;
                }
                outlet.status(&request, "idle").await;
                if request.kind() == "shutdown_request" {
                    break;
                }
            }
            _ = interrupts.recv() => cells.interrupt(),
            _ = terminations.recv() => break,
            () = parent.ended() => break,
        }
    }
    let ending = cells.end();
    family::end_all();
    let _ = tokio::time::timeout(PATIENCE, ending).await;
    tokio::time::sleep(LAST_MESSAGES).await;
    Ok(())
}

/// What is answered on the control channel.
fn answer(request: &Request, cells: &Cells) -> Option<Value> {
    match request.kind() {
        "kernel_info_request" => Some(kernel_info()),
        "shutdown_request" => Some(json!({"status": "ok", "restart": request.flag("restart", false)})),
        "interrupt_request" => {
            cells.interrupt();
            Some(json!({"status": "ok"}))
        }
        _ => None,
    }
}

/// The kernel's description; the language's part is that of evcxr's own kernel.
pub(crate) fn kernel_info() -> Value {
    json!({
        "status": "ok",
        "protocol_version": "5.3",
        "implementation": env!("CARGO_PKG_NAME"),
        "implementation_version": env!("CARGO_PKG_VERSION"),
        "language_info": {
            "name": "Rust",
            "version": "",
            "mimetype": "text/rust",
            "file_extension": ".rs",
            "pygments_lexer": "rust",
            "codemirror_mode": "rust",
        },
        "banner": concat!("Rust notebooks by evcxr, tmplrun-rust ", env!("CARGO_PKG_VERSION")),
        "help_links": [{"text": "Rust's standard library", "url": "https://doc.rust-lang.org/stable/std/"}],
    })
}

async fn send_all(mut messages: mpsc::Receiver<ZmqMessage>, mut socket: impl SocketSend) {
    while let Some(message) = messages.recv().await {
        // Who has gone away gets no answer; the others still do.
        let _ = socket.send(message).await;
    }
}

async fn beat(mut socket: RepSocket) {
    while let Ok(message) = socket.recv().await {
        let _ = socket.send(message).await;
    }
}

/// The process that started the kernel, if it said which it is.
struct Parent(Option<AsyncFd<OwnedFd>>);

impl Parent {
    fn watch() -> Self {
        let pid = std::env::var("JPY_PARENT_PID").ok();
        let pid = pid.and_then(|pid| Pid::from_raw(pid.parse().ok()?));
        let descriptor = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok());
        Self(descriptor.and_then(|descriptor| watched(descriptor).ok()))
    }

    async fn ended(&self) {
        let ended = match &self.0 {
            Some(descriptor) => descriptor.readable().await.is_ok(),
            None => false,
        };
        if !ended {
            std::future::pending::<()>().await;
        }
    }
}

/// Lets the runtime wait for `descriptor`.
fn watched(descriptor: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the value owns its descriptor and gives out the same one until it is dropped.
    #[allow(unsafe_code)]
    unsafe {
        AsyncFd::register(descriptor).map_err(Into::into)
    }
}
