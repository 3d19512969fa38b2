//! Following a file that grows on the cluster, through one command that runs as long as the job.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdout};
use tokio::time::{Instant, sleep_until};

use super::super::shell::{Shell, quote};
use crate::error::Result;

/// How many times in a row the command may end without having brought anything. With the pauses in between, which double from
/// one second, that is about two minutes: a network that comes back is waited for.
const PATIENCE: u32 = 7;

/// What following came to.
pub(super) enum Followed {
    /// A line, without its newline.
    Line(Vec<u8>),
    /// The file cannot be followed any more; what the command said last.
    Lost(String),
}

/// A file being followed. The command ends with its standard input, also when the connection breaks.
pub(super) struct Follower<'a> {
    shell: &'a Shell,
    path: String,
    /// So many bytes of whole lines have come.
    offset: u64,
    partial: Vec<u8>,
    running: Option<(Child, BufReader<ChildStdout>, ChildStderr)>,
    failures: u32,
    start_at: Instant,
}

impl<'a> Follower<'a> {
    pub(super) fn new(shell: &'a Shell, path: &str) -> Result<Self> {
        Ok(Self {
            shell,
            path: quote(path)?.into_owned(),
            offset: 0,
            partial: Vec::new(),
            running: None,
            failures: 0,
            start_at: Instant::now(),
        })
    }

    /// The next line. May be dropped and called again: nothing is lost.
    pub(super) async fn next(&mut self) -> Followed {
        loop {
            let Some((child, stdout, stderr)) = &mut self.running else {
                sleep_until(self.start_at).await;
                let line = format!(
                    "exec 3>&1 >/dev/null; tail -c +{} -f {} >&3 & exec 3>&-; cat; kill $!",
                    self.offset + 1,
                    self.path
                );
                let started = self.shell.start(&line);
                match started.map(|mut child| (child.stdout.take(), child.stderr.take(), child)) {
                    Ok((Some(stdout), Some(stderr), child)) => {
                        self.running = Some((child, BufReader::new(stdout), stderr));
                    }
                    Ok(_) => return Followed::Lost(String::new()),
                    Err(error) => return Followed::Lost(error.to_string()),
                }
                continue;
            };
            let read = stdout.read_until(b'\n', &mut self.partial).await;
            if self.partial.ends_with(b"\n") {
                self.failures = 0;
                self.offset += self.partial.len() as u64;
                self.partial.pop();
                return Followed::Line(std::mem::take(&mut self.partial));
            }
            if read.is_ok_and(|count| count > 0) {
                // The last piece before the end.
                continue;
            }
            // Its end of the pipe is closed.
            drop(child.stdin.take());
            let mut said = Vec::new();
            let _ = tokio::time::timeout(Duration::from_secs(1), stderr.read_to_end(&mut said)).await;
            self.running = None;
            self.partial.clear();
            self.failures += 1;
            if self.failures >= PATIENCE {
                return Followed::Lost(String::from_utf8_lossy(&said).trim().to_owned());
            }
            self.start_at = Instant::now() + Duration::from_secs(1 << self.failures);
        }
    }

    /// Ends the command there, and waits until it has ended here.
    pub(super) async fn end(&mut self) {
        if let Some((mut child, stdout, stderr)) = self.running.take() {
            drop((child.stdin.take(), stdout, stderr));
            if tokio::time::timeout(Duration::from_secs(5), child.wait())
                .await
                .is_err()
            {
                // A connection that hangs.
                let _ = child.kill().await;
            }
        }
    }
}
