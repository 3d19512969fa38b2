//! Commands, here or behind a prefix such as `ssh cluster`.

use std::process::Stdio;

use async_trait::async_trait;
use clusterbook_slurm::{Ran, Runner, RunnerError};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::mask::Secret;

/// A terminal's Ctrl-C and hanging up reach every program that it started, and these must outlive them: it is for us to say
/// when a job is stopped. What is given after it is run in its place.
const UNDISTURBED: &str = r#"trap '' INT HUP; exec "$@""#;

/// Runs shell command lines, on this machine or behind a prefix.
#[derive(Debug, Clone)]
pub struct Shell {
    prefix: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Shell {
    /// A shell behind `prefix`, whose words are split as a shell splits them. It is given each command line as one further
    /// argument, which is what `ssh cluster` takes; where a program is to be run without a shell of its own, end the prefix
    /// with `sh -c`. Without a prefix, commands run on this machine.
    ///
    /// The commands get the environment's variables, apart from those that hold one of `secrets`.
    ///
    /// # Errors
    /// When the prefix has an open quote or no words.
    pub fn new(prefix: Option<&str>, environment: &Environment, secrets: &[Secret]) -> Result<Self> {
        let prefix = match prefix {
            None => vec!["sh".to_owned(), "-c".to_owned()],
            Some(text) => shlex::split(text).filter(|words| !words.is_empty()).ok_or_else(|| {
                Error::yours("the command prefix cannot be read")
                    .help("write a command such as \"ssh cluster\", every quote closed")
            })?,
        };
        let secret = |name: &str| {
            let is_it = |secret: &Secret| secret.reference.strip_prefix("env:") == Some(name);
            secrets.iter().any(is_it)
        };
        let variables = environment.variables.iter().filter(|(name, _)| !secret(name));
        Ok(Self {
            prefix,
            variables: variables.cloned().collect(),
        })
    }

    /// The prefix as it would be typed; nothing for this machine.
    pub(super) fn shown(&self) -> String {
        match self.prefix.as_slice() {
            [sh, c] if sh == "sh" && c == "-c" => String::new(),
            words => words.join(" "),
        }
    }

    fn command(&self, line: &str) -> Command {
        let line = match shlex::try_quote(line) {
            // The shell behind a prefix may be one that reads only part of what `sh` reads.
            Ok(quoted) if !self.shown().is_empty() => format!("sh -c {quoted}"),
            _ => line.to_owned(),
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", UNDISTURBED, "tmplrun"])
            .args(&self.prefix)
            .arg(line)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Starts a command line that ends when its standard input does; its three streams are pipes. Killing it would leave
    /// what it has started, here or behind the prefix.
    pub(super) fn start(&self, line: &str) -> std::io::Result<Child> {
        self.command(line).spawn()
    }

    /// Runs a command line to its end.
    pub(super) async fn line(&self, line: &str, input: &[u8]) -> std::io::Result<Ran> {
        let mut child = self.command(line).kill_on_drop(true).spawn()?;
        let pipe = child.stdin.take();
        let feed = async {
            if let Some(mut pipe) = pipe {
                // One that doesn't want all of its input says by its exit status whether that is a failure.
                let _ = pipe.write_all(input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output?;
        Ok(Ran {
            code: output.status.code().and_then(|code| u32::try_from(code).ok()),
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }

    /// Runs a command line that has to succeed; `doing` says in an error what it was for.
    pub(super) async fn must(&self, doing: &str, line: &str, input: &[u8]) -> Result<Vec<u8>> {
        let shown = self.shown();
        let command = if shown.is_empty() { "a shell" } else { &shown };
        let ran = self
            .line(line, input)
            .await
            .map_err(|error| Error::configuration(format!("{doing}: {command} could not be started")).because(error))?;
        if ran.code == Some(0) {
            return Ok(ran.stdout);
        }
        let code = ran
            .code
            .map_or("ended by a signal".to_owned(), |code| format!("exit status {code}"));
        let error = Error::configuration(format!("{doing}: {command} failed ({code})"));
        let error = match String::from_utf8_lossy(&ran.stderr).trim() {
            "" => error,
            text => error.because(text.to_owned()),
        };
        Err(if shown.is_empty() {
            error
        } else {
            error.help(format!("see whether this works by itself: {shown} true"))
        })
    }
}

#[async_trait]
impl Runner for Shell {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        let line = shlex::try_join(argv.iter().copied())?;
        Ok(self.line(&line, stdin).await?)
    }
}

/// A word for a shell's command line.
pub(super) fn quote(word: &str) -> Result<std::borrow::Cow<'_, str>> {
    shlex::try_quote(word).map_err(|error| Error::yours("a name holds a NUL character").because(error))
}
