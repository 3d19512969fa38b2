//! The interpreter that forks kernels.
//!
//! Most of an IPython kernel's start is the import of the same packages each time. Where several notebooks of a run want
//! the same interpreter, one process imports them once and forks for each kernel. It tells of every child's end, and the
//! child's own descriptor, which comes with the answer, tells even if the server is gone.

use std::collections::HashMap;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::fd::{AsFd as _, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType,
};
use rustix::process::Pid;
use tokio::io::unix::AsyncFd;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::guard::Guard;
use super::launch::{self, Plain};
use super::process::Process;
use crate::environment::Environment;
use crate::json::{self, Json, Object};

/// No packet is longer.
const LONGEST: usize = 128 * 1024;
/// An interpreter that takes longer over its imports than this is not waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
#[derive(Debug)]
pub(super) struct Server {
    process: Process,
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    channel: AsyncFd<OwnedFd>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    closed: bool,
    number: i64,
    asked: HashMap<i64, oneshot::Sender<Answer>>,
    ends: HashMap<i32, oneshot::Sender<i32>>,
}

#[derive(Debug)]
enum Answer {
    Started {
        pid: Pid,
        watch: OwnedFd,
        status: oneshot::Receiver<i32>,
    },
    /// Nothing has changed since the server's start.
    Fresh,
    /// A kernel started now would find other packages.
    Changed,
}

impl Server {
    pub(super) fn start(
        plain: &Plain,
        debugger: bool,
        environment: &Environment,
        guard: &Arc<Guard>,
    ) -> std::io::Result<Self> {
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        let process = launch::start_server(plain, debugger, theirs, environment, guard)?;
        let shared = Arc::new(Shared {
            channel: super::readiness::watched(ours)?,
            state: Mutex::default(),
        });
        let reader = tokio::spawn(read(Arc::clone(&shared)));
        Ok(Self {
            process,
            shared,
            reader,
        })
    }

    /// Forks a kernel that works in `folder`; `None` if it must be started in another way.
    pub(super) async fn fork<'a>(
        &self,
        folder: &Path,
        variables: impl Iterator<Item = (&'a str, &'a str)>,
        connection_file: &Path,
        guard: &Arc<Guard>,
    ) -> Option<Process> {
        let mut own = Object::new();
        for (name, value) in variables {
            own.set(name, value);
        }
        let arguments: Vec<Json> = launch::arguments(connection_file).into_iter().map(Json::from).collect();
        let start = Object::new()
            .with("folder", folder.to_str()?)
            .with("variables", own)
            .with("arguments", arguments);
        let (stdout, out) = std::io::pipe().ok()?;
        let (stderr, err) = std::io::pipe().ok()?;
        let (out, err) = (OwnedFd::from(out), OwnedFd::from(err));
        match self.ask(Json::from(start), &[&out, &err]).await? {
            Answer::Started { pid, watch, status } => {
                let streams = (reading(stdout.into())?, reading(stderr.into())?);
                Process::adopt(pid, watch, status, streams, guard).ok()
            }
            Answer::Fresh | Answer::Changed => None,
        }
    }

    /// Whether a kernel that was forked earlier is what one started now would be.
    pub(super) async fn is_fresh(&self) -> bool {
        matches!(self.ask(Json::Null, &[]).await, Some(Answer::Fresh))
    }

    async fn ask(&self, start: Json, descriptors: &[&OwnedFd]) -> Option<Answer> {
        let (answered, answer) = oneshot::channel();
        let number = {
            let mut state = self.shared.lock();
            if state.closed {
                return None;
            }
            state.number += 1;
            let number = state.number;
            state.asked.insert(number, answered);
            number
        };
        let packet = Json::from(Object::new().with("number", number).with("start", start)).to_compact();
        if packet.len() > LONGEST {
            return None;
        }
        self.shared.send(packet.as_bytes(), descriptors).await.ok()?;
        tokio::time::timeout(PATIENCE, answer).await.ok()?.ok()
    }

    /// Ends the server; its kernels must have ended.
    pub(super) async fn end(self) {
        self.reader.abort();
        self.process.kill();
        self.process.end_session().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, packet: &[u8], descriptors: &[&OwnedFd]) -> std::io::Result<()> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let borrowed: Vec<_> = descriptors.iter().map(|each| each.as_fd()).collect();
            if !borrowed.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(&borrowed));
            }
            let sent = rustix::net::sendmsg(
                self.channel.get_ref(),
                &[IoSlice::new(packet)],
                &mut ancillary,
                SendFlags::NOSIGNAL,
            );
            match sent {
                Ok(_) => return Ok(()),
                Err(Errno::AGAIN) => self.channel.writable().await?.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The next packet and the descriptor that came with it.
    async fn receive(&self, buffer: &mut [u8]) -> std::io::Result<(usize, Option<OwnedFd>)> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let received = rustix::net::recvmsg(
                self.channel.get_ref(),
                &mut [IoSliceMut::new(buffer)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            );
            match received {
                Ok(received) => {
                    let descriptor = ancillary.drain().find_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
                        _ => None,
                    });
                    return Ok((received.bytes, descriptor));
                }
                Err(Errno::AGAIN) => {
                    let mut ready = self.channel.readable().await?;
                    ready.clear_ready();
                    // What came between the two looks is seen by the next turn; what comes later wakes.
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take(&self, packet: &Json, descriptor: Option<OwnedFd>) {
        let number = |key: &str| packet.get(key).and_then(Json::as_i64);
        let pid = |key: &str| number(key).and_then(|pid| i32::try_from(pid).ok());
        let mut state = self.lock();
        if let Some(ended) = pid("ended") {
            if let Some(told) = state.ends.remove(&ended) {
                let _ = told.send(pid("status").unwrap_or_default());
            }
        } else if let Some(answered) = number("answer").and_then(|number| state.asked.remove(&number)) {
            let answer = match (pid("pid").and_then(Pid::from_raw), descriptor) {
                (Some(pid), Some(watch)) => {
                    let (told, status) = oneshot::channel();
                    state.ends.insert(pid.as_raw_nonzero().get(), told);
                    Answer::Started { pid, watch, status }
                }
                _ if matches!(packet.get("changed"), Some(Json::Null)) => Answer::Fresh,
                _ => Answer::Changed,
            };
            let _ = answered.send(answer);
        }
    }
}

async fn read(shared: Arc<Shared>) {
    let mut buffer = vec![0; 4096];
    while let Ok((count, descriptor)) = shared.receive(&mut buffer).await {
        match json::parse(&String::from_utf8_lossy(&buffer[..count])) {
            Ok(packet) if packet.get("refused").is_none() => shared.take(&packet, descriptor),
            _ => break,
        }
    }
    let mut state = shared.lock();
    state.closed = true;
    // Whoever waits learns that there is nobody.
    state.asked.clear();
    state.ends.clear();
}

fn reading(descriptor: OwnedFd) -> Option<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(descriptor).ok()
}
