//! What can go wrong on the way to a machine.
//!
//! Every error carries the target's id as a field, so that failures of many machines stay a list that can be
//! sorted, counted and shown as a table. An error's own text never repeats its source; whoever shows it prints the chain.

use std::sync::Arc;
use std::time::Duration;

/// The cause below an error. Shared, because all callers who waited for one connection get the same failure.
pub type Source = Arc<dyn std::error::Error + Send + Sync>;

/// A failure to reach, trust or use a machine.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing answered at the address, or not as an SSH server.
    #[error("{target} cannot be reached at {address}")]
    Unreachable {
        /// Id of the target.
        target: String,
        /// `host:port`.
        address: String,
        /// What the network said.
        source: Source,
    },
    /// The machine proved an identity other than the expected one. Nothing was sent to it.
    #[error("{target} at {address} is not the machine it should be: expected host key {}, offered {}", .expected.join(" or "), list_or_none(.offered))]
    HostKeyMismatch {
        /// Id of the target.
        target: String,
        /// `host:port`.
        address: String,
        /// SHA-256 fingerprints that would have been accepted.
        expected: Vec<String>,
        /// SHA-256 fingerprints that the machine offered; empty when it has no key of a known type.
        offered: Vec<String>,
    },
    /// The machine is the right one, and doesn't let us in.
    #[error("{target} refused the login of {user} with our key")]
    LoginRefused {
        /// Id of the target.
        target: String,
        /// The user whose login was tried.
        user: String,
        /// Fingerprint of the key that we offered.
        key: String,
        /// Ways to log in that the machine still offers, in its own words.
        offered_methods: Vec<String>,
    },
    /// Something took longer than allowed.
    #[error("{target} did not answer within {after:?} while {doing}")]
    Timeout {
        /// Id of the target.
        target: String,
        /// What we waited for.
        doing: &'static str,
        /// How long.
        after: Duration,
        /// The last failure seen while waiting, if there was one.
        source: Option<Source>,
    },
    /// The connection ended before the answer was complete.
    #[error("the connection to {target} was lost {}", if *.started { "while a command was running there; whether it finished is unknown" } else { "before the command was started" })]
    Closed {
        /// Id of the target.
        target: String,
        /// Whether a command had already been sent.
        started: bool,
        /// What the connection said, if anything.
        source: Option<Source>,
    },
    /// The caller's token was cancelled.
    #[error("cancelled {} {target}", if *.started { "while a command was running on" } else { "before a command was started on" })]
    Cancelled {
        /// Id of the target.
        target: String,
        /// Whether a command had already been sent.
        started: bool,
    },
    /// A key or fingerprint can't be used.
    #[error("{what} cannot be used: {reason}")]
    Key {
        /// Which key, in words.
        what: &'static str,
        /// Why not.
        reason: String,
        /// What to do about it.
        hint: &'static str,
    },
    /// The machine let us in, and then declined to open a channel or run a command.
    #[error("{target} declined {what}")]
    Declined {
        /// Id of the target.
        target: String,
        /// What was asked for.
        what: String,
        /// The machine's reason, if it gave one.
        source: Option<Source>,
    },
    /// A file could not be written or read on the far side.
    #[error("{target}: {doing} {path} failed ({}){}", code_text(.code), indent(.stderr))]
    Transfer {
        /// Id of the target.
        target: String,
        /// "writing" or "reading".
        doing: &'static str,
        /// The path on the target.
        path: String,
        /// Exit status of the command that did it.
        code: Option<u32>,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// The two sides can't agree on how to talk.
    #[error("{target} at {address} does not speak SSH as we do")]
    Protocol {
        /// Id of the target.
        target: String,
        /// `host:port`.
        address: String,
        /// What was wrong.
        source: Source,
    },
}

/// The class of an [`Error`], to decide by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// [`Error::Unreachable`]
    Unreachable,
    /// [`Error::HostKeyMismatch`]
    HostKeyMismatch,
    /// [`Error::LoginRefused`]
    LoginRefused,
    /// [`Error::Timeout`]
    Timeout,
    /// [`Error::Closed`]
    Closed,
    /// [`Error::Cancelled`]
    Cancelled,
    /// [`Error::Key`]
    Key,
    /// [`Error::Declined`]
    Declined,
    /// [`Error::Transfer`]
    Transfer,
    /// [`Error::Protocol`]
    Protocol,
}

impl Error {
    /// The class of this error.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Error::Unreachable { .. } => ErrorKind::Unreachable,
            Error::HostKeyMismatch { .. } => ErrorKind::HostKeyMismatch,
            Error::LoginRefused { .. } => ErrorKind::LoginRefused,
            Error::Timeout { .. } => ErrorKind::Timeout,
            Error::Closed { .. } => ErrorKind::Closed,
            Error::Cancelled { .. } => ErrorKind::Cancelled,
            Error::Key { .. } => ErrorKind::Key,
            Error::Declined { .. } => ErrorKind::Declined,
            Error::Transfer { .. } => ErrorKind::Transfer,
            Error::Protocol { .. } => ErrorKind::Protocol,
        }
    }

    /// The id of the target concerned; none for a key that was never used with a machine.
    pub fn target(&self) -> Option<&str> {
        match self {
            Error::Unreachable { target, .. }
            | Error::HostKeyMismatch { target, .. }
            | Error::LoginRefused { target, .. }
            | Error::Timeout { target, .. }
            | Error::Closed { target, .. }
            | Error::Cancelled { target, .. }
            | Error::Declined { target, .. }
            | Error::Transfer { target, .. }
            | Error::Protocol { target, .. } => Some(target),
            Error::Key { .. } => None,
        }
    }

    /// What to do next, if there is something a person can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Error::Unreachable { .. } => {
                Some("check that the machine is running, that its address is right, and that no firewall is in the way")
            }
            Error::HostKeyMismatch { offered, .. } if offered.is_empty() => Some(
                "the machine offers no host key of the expected type; read its keys on its own console with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`",
            ),
            Error::HostKeyMismatch { .. } => Some(
                "either another machine answers at this address, or this one was reinstalled; compare on its own console with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`, and only if they agree change the expected fingerprint",
            ),
            Error::LoginRefused { .. } => Some(
                "put our public key into the user's ~/.ssh/authorized_keys there (owner-only, in a home that others can't write to), or name another user",
            ),
            Error::Timeout { .. } => Some("the machine may be overloaded or starting; try again, or allow more time"),
            Error::Closed { started: true, .. } => {
                Some("look on the machine whether the command took effect before running it again")
            }
            Error::Closed { started: false, .. } => Some("nothing was started; try again"),
            Error::Key { hint, .. } => Some(hint),
            Error::Declined { .. } => Some(
                "the machine's sshd limits what a login may do: look at MaxSessions, AllowTcpForwarding, ForceCommand",
            ),
            Error::Transfer { .. } => Some("check the path, its permissions and the free space on the machine"),
            Error::Protocol { .. } => Some(
                "check that the port belongs to an SSH server, and that it offers curve25519-sha256 and AES-GCM or AES-CTR",
            ),
            Error::Cancelled { .. } => None,
        }
    }

    /// Whether a command may have been started on the machine before this error.
    pub fn started(&self) -> bool {
        matches!(
            self,
            Error::Closed { started: true, .. } | Error::Cancelled { started: true, .. } | Error::Transfer { .. }
        )
    }
}

fn list_or_none(fingerprints: &[String]) -> String {
    if fingerprints.is_empty() {
        "none of a known type".to_owned()
    } else {
        fingerprints.join(" and ")
    }
}

fn code_text(code: &Option<u32>) -> String {
    match code {
        Some(code) => format!("exit status {code}"),
        None => "no exit status".to_owned(),
    }
}

fn indent(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}
