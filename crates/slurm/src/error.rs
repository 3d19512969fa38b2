//! What can go wrong when talking to Slurm.

use crate::job::JobId;
use crate::runner::RunnerError;

/// A failed conversation with Slurm. Its own text never repeats its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The program could not be run at all.
    #[error("{command} could not be run")]
    Runner {
        /// The command, without its input.
        command: String,
        /// Why.
        source: RunnerError,
    },
    /// The program ran and failed.
    #[error("{command} failed ({}): {}", code_text(.code), stderr_text(.stderr))]
    Failed {
        /// The command, without its input.
        command: String,
        /// Exit status; none if a signal ended it.
        code: Option<u32>,
        /// What it wrote to standard error, whole.
        stderr: String,
    },
    /// The program answered something that isn't what it should be.
    #[error("{command} answered something unreadable: {reason}")]
    Unreadable {
        /// The command, without its input.
        command: String,
        /// What was wrong, and where.
        reason: String,
        /// The beginning of the answer.
        beginning: String,
    },
    /// Slurm doesn't know this job, or has forgotten it.
    #[error("Slurm does not know job {id}")]
    UnknownJob {
        /// The job asked for.
        id: JobId,
    },
    /// The caller's token was cancelled. Jobs are left as they are.
    #[error("cancelled while waiting for job {id}")]
    Cancelled {
        /// The job waited for.
        id: JobId,
    },
}

/// The class of an [`Error`], to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The program could not be run: no connection, or not installed.
    Runner,
    /// slurmctld did not answer; the same call may work later.
    NotAnswering,
    /// Slurm understood and said no.
    Refused,
    /// The answer was unreadable.
    Unreadable,
    /// There is no such job.
    UnknownJob,
    /// The caller gave up.
    Cancelled,
}

/// What the programs say when slurmctld is down, starting, or out of reach.
const NOT_ANSWERING: [&str; 5] = [
    "Unable to contact slurm controller",
    "Socket timed out",
    "Connection refused",
    "Slurm backup controller in standby mode",
    "Zero Bytes were transmitted or received",
];

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Runner { .. } => ErrorKind::Runner,
            Error::Failed { stderr, .. } if NOT_ANSWERING.iter().any(|words| stderr.contains(words)) => {
                ErrorKind::NotAnswering
            }
            Error::Failed { .. } => ErrorKind::Refused,
            Error::Unreadable { .. } => ErrorKind::Unreadable,
            Error::UnknownJob { .. } => ErrorKind::UnknownJob,
            Error::Cancelled { .. } => ErrorKind::Cancelled,
        }
    }

    /// What to do next, if there is something a person can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Failed { code: Some(127), .. } => Some("Slurm's programs are not installed there, or not in PATH"),
            Error::Unreadable { .. } => {
                Some("this needs Slurm 21.08 or later with its JSON serializer; try the same command with --json there")
            }
            Error::UnknownJob { .. } => {
                Some("Slurm forgets a job some minutes after its end (MinJobAge) unless accounting is configured")
            }
            _ => match self.kind() {
                ErrorKind::Runner => Some("check that the machine is reachable and that Slurm is installed there"),
                ErrorKind::NotAnswering => {
                    Some("look at the controller with `systemctl status slurmctld` and `journalctl -u slurmctld`")
                }
                _ => None,
            },
        }
    }
}

fn code_text(code: &Option<u32>) -> String {
    match code {
        Some(code) => format!("exit status {code}"),
        None => "ended by a signal".to_owned(),
    }
}

fn stderr_text(stderr: &str) -> &str {
    let text = stderr.trim();
    if text.is_empty() { "it gave no reason" } else { text }
}
