//! The kernel's process: started so that it cannot outlive us by accident, ended with everything in its session.
//!
//! A kernel gets a session of its own. Whatever is still in that session at the end is ended with it. What left for
//! another session (a daemon, a container's monitor) did so on purpose: it is reported, and left alone.

use std::collections::{HashMap, VecDeque};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::guard::Guard;
use super::table::{self, Usage};

/// The variable that names the run to the processes that it started.
pub const MARKER: &str = "TMPLRUN_RUN";
/// The variable by which processes that come from one kernel are found again: several kernels of a run live at once.
pub(super) const KERNEL_MARKER: &str = "TMPLRUN_KERNEL";

/// So much of what the kernel's process wrote outside the protocol is kept.
const KEPT_LINES: usize = 20;

/// A running kernel process.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    /// When it was seen to be there, if it was young then.
    since: Option<Instant>,
    exit: watch::Receiver<Option<ExitStatus>>,
    lines: Arc<Mutex<VecDeque<String>>>,
    /// Where a process that may outlive us writes instead of to us.
    log: Option<PathBuf>,
    /// It is to go on without us.
    detached: bool,
    /// Who ends its session should we be killed; nobody does for one that may outlive us.
    guard: Option<Arc<Guard>>,
    /// Its session has been ended.
    ended: AtomicBool,
    /// Lets the starting thread go; see [`Process::start`].
    _keeper: Option<std::sync::mpsc::Sender<()>>,
}

/// A process that left the kernel's session.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeftProcess {
    /// Its number.
    pub pid: i32,
    /// When it started, in clock ticks after boot; with `pid`, its identity.
    pub started: u64,
    /// Its command line.
    pub command: String,
}

/// What becomes of a process when we end.
#[derive(Clone, Copy)]
enum Bond<'a> {
    /// It ends, and the guard ends what it started.
    EndsWithUs(&'a Arc<Guard>),
    /// It may go on, and writes to this file.
    MayOutlive(&'a Path),
}

impl Process {
    /// Starts `command` in a session of its own. `keep` stays open in it.
    ///
    /// The parent-death signal is sent when the *thread* that started the child ends, so a thread is kept for that.
    pub(super) fn start(command: Command, guard: &Arc<Guard>, keep: Option<OwnedFd>) -> std::io::Result<Self> {
        Self::start_as(command, Bond::EndsWithUs(guard), keep)
    }

    /// Starts `command` in a session of its own, so that it may outlive us: it writes to `log`, no signal follows our death,
    /// and no guard ends it.
    pub(super) fn start_to_be_kept(command: Command, log: &Path) -> std::io::Result<Self> {
        Self::start_as(command, Bond::MayOutlive(log), None)
    }

    fn start_as(mut command: Command, bond: Bond<'_>, keep: Option<OwnedFd>) -> std::io::Result<Self> {
        command.stdin(Stdio::null());
        match bond {
            Bond::MayOutlive(log) => {
                let log = fs_err::File::create(log)?.into_parts().0;
                command.stdout(log.try_clone()?).stderr(log)
            }
            Bond::EndsWithUs(_) => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        };
        let outlives = matches!(bond, Bond::MayOutlive(_));
        let parent = rustix::process::getpid();
        let before_exec = move || {
            rustix::process::setsid()?;
            if outlives {
                return Ok(());
            }
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above.
            if rustix::process::getppid() != Some(parent) {
                return Err(std::io::Error::other("the runner has ended"));
            }
            if let Some(keep) = &keep {
                rustix::io::fcntl_setfd(keep, rustix::io::FdFlags::empty())?;
            }
            Ok(())
        };
        // SAFETY: the closure makes system calls only: no allocation, no lock, nothing another thread could have held
        // at the fork.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(before_exec);
        }
        let runtime = tokio::runtime::Handle::current();
        let (keeper, kept) = std::sync::mpsc::channel::<()>();
        let (started, starts) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new()
            .name("kernel-parent".to_owned())
            .stack_size(128 * 1024)
            .spawn(move || {
                let guard = runtime.enter();
                let mut command = tokio::process::Command::from(command);
                let _ = started.send(command.spawn());
                drop(command);
                drop(guard);
                let _ = kept.recv();
            })?;
        let mut child = starts
            .recv()
            .map_err(|_| std::io::Error::other("the starting thread ended"))??;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()))
            .ok_or_else(|| std::io::Error::other("the kernel ended at once"))?;
        let (exited, exit) = watch::channel(None);
        let process = Self::new(pid, exit, bond, Some(keeper));
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let reader = process.keep_lines(stdout, stderr);
        tokio::spawn(async move {
            let status = child.wait().await.unwrap_or_else(|_| ExitStatus::from_raw(0));
            tell_end(reader, exited, status).await;
        });
        Ok(process)
    }

    /// A process that the fork server started: its end is seen through `watch`, and `status` says how it was.
    pub(super) fn adopt(
        pid: Pid,
        watch: OwnedFd,
        status: tokio::sync::oneshot::Receiver<i32>,
        streams: (pipe::Receiver, pipe::Receiver),
        guard: &Arc<Guard>,
    ) -> std::io::Result<Self> {
        let watch = super::readiness::watched(watch)?;
        let (exited, exit) = watch::channel(None);
        let process = Self::new(pid, exit, Bond::EndsWithUs(guard), None);
        let reader = process.keep_lines(Some(streams.0), Some(streams.1));
        tokio::spawn(async move {
            let _ = watch.readable().await;
            // Should the server have died too, nobody knows how it ended; killed, most likely.
            let status = tokio::time::timeout(Duration::from_millis(500), status).await;
            let status = status.ok().and_then(Result::ok).unwrap_or(Signal::KILL.as_raw());
            tell_end(reader, exited, ExitStatus::from_raw(status)).await;
        });
        Ok(process)
    }

    fn new(
        pid: Pid,
        exit: watch::Receiver<Option<ExitStatus>>,
        bond: Bond<'_>,
        keeper: Option<std::sync::mpsc::Sender<()>>,
    ) -> Self {
        let (guard, log) = match bond {
            Bond::EndsWithUs(guard) => (Some(Arc::clone(guard)), None),
            Bond::MayOutlive(log) => (None, Some(log.to_path_buf())),
        };
        if let Some(guard) = &guard {
            guard.watch(pid.as_raw_nonzero().get());
        }
        Self {
            pid,
            since: Some(Instant::now()),
            exit,
            lines: Arc::default(),
            log,
            detached: false,
            guard,
            ended: AtomicBool::new(false),
            _keeper: keeper,
        }
    }

    /// Keeps the last lines of both streams; gives the reader of standard error.
    fn keep_lines<O, E>(&self, stdout: Option<O>, stderr: Option<E>) -> Option<JoinHandle<()>>
    where
        O: AsyncRead + Unpin + Send + 'static,
        E: AsyncRead + Unpin + Send + 'static,
    {
        if let Some(stdout) = stdout {
            tokio::spawn(keep_lines(stdout, Arc::clone(&self.lines)));
        }
        stderr.map(|stderr| tokio::spawn(keep_lines(stderr, Arc::clone(&self.lines))))
    }

    /// Takes over a process that is not our child: the one with this number that started at `started`.
    pub(crate) fn attach(pid: i32, started: u64, log: &Path) -> Option<Self> {
        let pid = Pid::from_raw(pid)?;
        let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK).ok()?;
        // Looked at after it was opened: from here on the descriptor is of this very process.
        if table::started_at(pid.as_raw_nonzero().get()) != Some(started) {
            return None;
        }
        let (exited, exit) = watch::channel(None);
        tokio::spawn(async move {
            if let Ok(descriptor) = super::readiness::watched(descriptor) {
                let _ = descriptor.readable().await;
            }
            // How somebody else's child ended is told to its parent only.
            let _ = exited.send(Some(ExitStatus::from_raw(0)));
        });
        let mut process = Self::new(pid, exit, Bond::MayOutlive(log), None);
        process.since = None;
        Some(process)
    }

    /// Lets the process go on after us; it must have been started with a log.
    pub(crate) fn detach(&mut self) {
        self.detached = true;
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Resolves when the kernel's process has ended.
    pub(crate) async fn exited(&self) -> ExitStatus {
        let mut exit = self.exit.clone();
        match exit.wait_for(Option::is_some).await {
            Ok(status) => status.unwrap_or_default(),
            Err(_) => ExitStatus::from_raw(0),
        }
    }

    pub(crate) fn has_exited(&self) -> bool {
        self.exit.borrow().is_some()
    }

    /// The last lines that the process wrote on its own standard streams.
    pub(crate) fn last_lines(&self) -> Vec<String> {
        if let Some(log) = &self.log {
            let text = fs_err::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
            let first = lines.len().saturating_sub(KEPT_LINES);
            return lines[first..].iter().map(|line| line.trim_end().to_owned()).collect();
        }
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    pub(crate) fn interrupt(&self) {
        // The whole group, so that a command which the cell waits for is interrupted too, as in a terminal.
        let _ = rustix::process::kill_process_group(self.pid, Signal::INT);
    }

    pub(crate) fn kill(&self) {
        if !self.has_exited() {
            let _ = rustix::process::kill_process(self.pid, Signal::KILL);
        }
    }

    /// Ends everything in the kernel's session: asked first, then killed.
    pub(crate) async fn end_session(&self) {
        for (signal, patience) in [(Signal::TERM, 500), (Signal::KILL, 500), (Signal::KILL, 500)] {
            let members = self.members();
            if members.is_empty() {
                break;
            }
            for pid in &members {
                let _ = rustix::process::kill_process(*pid, signal);
            }
            let ends = members.iter().map(|pid| process_end(*pid));
            let _ = tokio::time::timeout(Duration::from_millis(patience), futures::future::join_all(ends)).await;
        }
        self.session_ended();
    }

    fn session_ended(&self) {
        if !self.ended.swap(true, Ordering::Relaxed)
            && let Some(guard) = &self.guard
        {
            guard.forget(self.pid());
        }
    }

    fn members(&self) -> Vec<Pid> {
        let session = self.pid();
        table::since(self.pid(), self.since)
            .into_iter()
            .filter(|each| each.session == session)
            .filter_map(|each| Pid::from_raw(each.pid))
            .collect()
    }

    /// Processes that come from this kernel and are in another session: found by descent and by the kernel's marker.
    pub(super) fn left(&self, marker: &str) -> Vec<LeftProcess> {
        let all = table::since(self.pid(), self.since);
        let parents: HashMap<i32, i32> = all.iter().map(|each| (each.pid, each.parent)).collect();
        let kernel = self.pid();
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let descends = |pid: i32| {
            let mut at = pid;
            // The table is read while it changes, so a walk may go round in circles.
            for _ in 0..64 {
                match parents.get(&at) {
                    Some(parent) if *parent == kernel => return true,
                    Some(parent) => at = *parent,
                    None => return false,
                }
            }
            false
        };
        let wanted = format!("{KERNEL_MARKER}={marker}");
        let mut left = Vec::new();
        for each in &all {
            if each.session == kernel || each.pid == own {
                continue;
            }
            let marked = || {
                fs_err::read(format!("/proc/{}/environ", each.pid))
                    .is_ok_and(|block| block.split(|byte| *byte == 0).any(|entry| entry == wanted.as_bytes()))
            };
            if descends(each.pid) || marked() {
                let line = fs_err::read(format!("/proc/{}/cmdline", each.pid)).unwrap_or_default();
                let words: Vec<_> = line
                    .split(|byte| *byte == 0)
                    .filter(|word| !word.is_empty())
                    .map(String::from_utf8_lossy)
                    .collect();
                left.push(LeftProcess {
                    pid: each.pid,
                    started: each.started,
                    command: words.join(" "),
                });
            }
        }
        left
    }

    /// What the kernel has open, if there is no other process in its session.
    pub(super) fn alone_with(&self) -> Option<table::Open> {
        (self.members() == [self.pid])
            .then(|| table::open(self.pid()))
            .flatten()
    }

    /// What the kernel and everything in its session use now.
    pub(crate) fn usage(&self) -> Usage {
        table::usage(self.pid())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Reached only when a run was dropped half-way; an orderly end has been through `end_session`.
        if !self.ended.load(Ordering::Relaxed) && !self.detached {
            for pid in self.members() {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
            self.session_ended();
        }
    }
}

async fn tell_end(reader: Option<JoinHandle<()>>, exited: watch::Sender<Option<ExitStatus>>, status: ExitStatus) {
    // What it wrote last is what explains its death; a child that inherited the pipe must not hold us up.
    if let Some(reader) = reader.filter(|_| !status.success()) {
        let _ = tokio::time::timeout(Duration::from_millis(50), reader).await;
    }
    let _ = exited.send(Some(status));
}

/// Resolves when `pid` has ended, without asking again and again.
async fn process_end(pid: Pid) {
    let Ok(descriptor) = rustix::process::pidfd_open(pid, PidfdFlags::NONBLOCK) else {
        return;
    };
    if let Ok(descriptor) = super::readiness::watched(descriptor) {
        let _ = descriptor.readable().await;
    }
}

async fn keep_lines(mut source: impl AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>) {
    let mut buffer = vec![0; 4096];
    let mut open: Vec<u8> = Vec::new();
    loop {
        let count = source.read(&mut buffer).await.unwrap_or(0);
        open.extend_from_slice(&buffer[..count]);
        while let Some(end) = open.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = open.drain(..=end).collect();
            keep(&lines, &line);
        }
        // A line without an end must not grow for ever.
        if count == 0 || open.len() > 64 * 1024 {
            keep(&lines, &open);
            open.clear();
        }
        if count == 0 {
            return;
        }
    }
}

fn keep(lines: &Mutex<VecDeque<String>>, line: &[u8]) {
    let text = String::from_utf8_lossy(line).trim_end().to_owned();
    if text.is_empty() {
        return;
    }
    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == KEPT_LINES {
        lines.pop_front();
    }
    lines.push_back(text);
}
