//! Where Slurm's programs run.

use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::AsyncWriteExt;

/// Why a command could not be run at all: no connection, no such program. Kept as the source of [`Error::Runner`](crate::Error::Runner).
pub type RunnerError = Box<dyn std::error::Error + Send + Sync>;

/// What a command left behind, whatever its exit status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// Exit status; none if a signal ended it.
    pub code: Option<u32>,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
}

/// Runs a program somewhere.
#[async_trait]
pub trait Runner: Send + Sync {
    /// Runs `argv[0]` with the other words as its arguments, and `stdin` as its standard input. The words are data: where a shell
    /// stands in between, the implementation quotes them. A failing program is an `Ok` with its exit status.
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError>;
}

#[async_trait]
impl<R: Runner + ?Sized> Runner for &R {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        (**self).run(argv, stdin).await
    }
}

#[async_trait]
impl<R: Runner + ?Sized> Runner for std::sync::Arc<R> {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        (**self).run(argv, stdin).await
    }
}

#[async_trait]
impl<R: Runner + ?Sized> Runner for Box<R> {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        (**self).run(argv, stdin).await
    }
}

/// Runs programs on this machine, for when it is a login node itself. A program is killed when its caller stops waiting.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

#[async_trait]
impl Runner for Local {
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, RunnerError> {
        let (program, arguments) = argv.split_first().ok_or("no program was named")?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| std::io::Error::new(error.kind(), format!("{program} could not be started: {error}")))?;
        let input = child.stdin.take();
        let feed = async {
            if let Some(mut input) = input {
                // A program that doesn't want all of its input is no failure of ours.
                let _ = input.write_all(stdin).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        let output = output?;
        let code = output.status.code().and_then(|code| u32::try_from(code).ok());
        Ok(Ran {
            code,
            stdout: output.stdout,
            stderr: output.stderr,
        })
    }
}
