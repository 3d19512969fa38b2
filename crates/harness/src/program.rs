//! Running the programs, and what they gave.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::problem::{Outcome, Problem, ensure};

/// Longer than anything here takes; a program that needs more hangs.
const LONGEST: Duration = Duration::from_secs(1800);

/// A program that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    /// The command line, for reports.
    pub(crate) line: String,
    /// Exit status; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) seconds: f64,
}

/// A program that runs.
#[derive(Debug)]
pub(crate) struct Running {
    line: String,
    child: Child,
    stdout: JoinHandle<String>,
    stderr: JoinHandle<String>,
    since: Instant,
}

impl Ran {
    /// Everything that it said, for looking for words.
    pub(crate) fn said(&self) -> String {
        plain(&format!("{}\n{}", self.stdout, self.stderr))
    }

    pub(crate) fn succeeded(&self) -> Outcome {
        self.ended_with(0)
    }

    pub(crate) fn ended_with(&self, code: i32) -> Outcome {
        ensure(self.code == Some(code), || {
            let ended = self
                .code
                .map_or_else(|| "a signal".to_owned(), |code| format!("exit code {code}"));
            format!(
                "expected exit code {code}, but {ended} ended `{}` after {:.1} s\n{}",
                self.line,
                self.seconds,
                self.tail()
            )
        })
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> Outcome<Value> {
        serde_json::from_str(&self.stdout)
            .map_err(|error| Problem::new(format!("`{}` did not print JSON ({error})\n{}", self.line, self.tail())))
    }

    /// The end of what it said, for reports.
    pub(crate) fn tail(&self) -> String {
        const SHOWN: usize = 6000;
        let said = self.said();
        let start = said.len().saturating_sub(SHOWN);
        let start = (start..=said.len()).find(|at| said.is_char_boundary(*at)).unwrap_or(0);
        said[start..].trim().to_owned()
    }
}

impl Running {
    /// Starts a command; it dies with its handle.
    pub(crate) fn start(line: String, mut command: Command) -> Outcome<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Problem::new(format!("`{line}` can't be started: {error}")))?;
        let stdout = collect(child.stdout.take());
        let stderr = collect(child.stderr.take());
        Ok(Self {
            line,
            child,
            stdout,
            stderr,
            since: Instant::now(),
        })
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Ends it the hard way, with no chance to put anything in order.
    pub(crate) fn kill(&mut self) -> Outcome {
        self.child.start_kill()?;
        Ok(())
    }

    /// Halts it where it is, or lets it go on.
    pub(crate) fn halt(&self, halt: bool) -> Outcome {
        use rustix::process::{Pid, Signal, kill_process};
        let pid = self
            .pid()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| Problem::new(format!("`{}` has ended", self.line)))?;
        Ok(kill_process(pid, if halt { Signal::STOP } else { Signal::CONT })?)
    }

    /// Waits for its end.
    pub(crate) async fn finish(mut self) -> Outcome<Ran> {
        let Ok(status) = tokio::time::timeout(LONGEST, self.child.wait()).await else {
            let _ = self.child.kill().await;
            return Err(Problem::new(format!(
                "`{}` did not end in {} s",
                self.line,
                LONGEST.as_secs()
            )));
        };
        // A process that it started may still hold the pipes; what was said until now is enough.
        let soon = Duration::from_secs(5);
        let stdout = tokio::time::timeout(soon, self.stdout).await;
        let stderr = tokio::time::timeout(soon, self.stderr).await;
        Ok(Ran {
            line: self.line,
            code: status?.code(),
            stdout: stdout.ok().and_then(Result::ok).unwrap_or_default(),
            stderr: stderr.ok().and_then(Result::ok).unwrap_or_default(),
            seconds: self.since.elapsed().as_secs_f64(),
        })
    }
}

fn collect(pipe: Option<impl tokio::io::AsyncRead + Unpin + Send + 'static>) -> JoinHandle<String> {
    tokio::spawn(async move {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes).await;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Text without terminal colours.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after
            .find(|character: char| character.is_ascii_alphabetic())
            .map_or(after.len(), |end| end + 1);
        rest = &after[end..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_no_words() {
        assert_eq!(plain("\u{1b}[1;31merror:\u{1b}[0m no"), "error: no");
        assert_eq!(plain("as it is"), "as it is");
    }
}
