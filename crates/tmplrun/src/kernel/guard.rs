//! What ends a run's kernels when the runner itself was killed.
//!
//! The kernel's own process is ended by the system then, by its parent-death signal. What it started is not: a command
//! that a cell waits for would go on for ever. So each run has a guard beside it, a shell that waits for the end of a
//! pipe which only the runner holds, in a session of its own so that no signal meant for the runner reaches it. It ends
//! what is left in the kernels' sessions and removes the run's private folder. It knows nothing that the runner did not
//! tell it, so a process that took a session of its own is left alone as always.

use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Mutex, PoisonError};

const SCRIPT: &str = include_str!("guard.sh");

/// The guard of one run. Dropping it tells the guard that the run has ended.
#[derive(Debug)]
pub(super) struct Guard {
    parts: Mutex<Option<(Child, ChildStdin)>>,
}

impl Guard {
    /// Starts a guard for a run whose private folder is `folder`. A system on which that does not work has none.
    pub(super) fn start(folder: &Path) -> Self {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "tmplrun-guard"])
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let before_exec = || {
            rustix::process::setsid()?;
            Ok(())
        };
        // SAFETY: the closure makes one system call: no allocation, no lock.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(before_exec);
        }
        let parts = command.spawn().ok().and_then(|mut child| {
            let stdin = child.stdin.take()?;
            Some((child, stdin))
        });
        let guard = Self {
            parts: Mutex::new(parts),
        };
        guard.tell(&format!("folder {}", folder.display()));
        guard
    }

    /// Everything in this session is to end with the runner.
    pub(super) fn watch(&self, session: i32) {
        self.tell(&format!("+ {session}"));
    }

    /// The session has ended.
    pub(super) fn forget(&self, session: i32) {
        self.tell(&format!("- {session}"));
    }

    fn tell(&self, line: &str) {
        // A path with a line break would be taken for two lines.
        if line.contains('\n') {
            return;
        }
        if let Some((_, pipe)) = &mut *self.parts.lock().unwrap_or_else(PoisonError::into_inner) {
            // A guard that is gone guards nothing; the run goes on.
            let _ = pipe.write_all(format!("{line}\n").as_bytes());
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Who drops it has cleaned up.
        self.tell("folder ");
        let parts = self.parts.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some((mut child, pipe)) = parts.take() {
            drop(pipe);
            // It ends at once, unless it has something to end.
            let _ = child.wait();
        }
    }
}
