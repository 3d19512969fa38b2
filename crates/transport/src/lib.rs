//! How a machine is reached: SSH sessions, fan-out, host identity, file transfer.
//!
//! This room knows machines and commands, and nothing of clusters. A caller describes a machine by a
//! [`Target`], holds one [`Pool`], and runs commands; everything about connections stays in here.
//!
//! What was decided, and what was given up for it:
//!
//! * **One connection per machine, many channels on it.** Setting up a session costs a key exchange
//!   and a login; a channel costs one round trip. So the pool keeps one session per target for as long as it
//!   lives. The price is head-of-line blocking: a caller whose `on_output` is slow delays the other
//!   channels of the same machine.
//! * **A command is never started twice.** A session that has died is noticed and replaced before a
//!   command is sent. Once it was sent, a lost connection is an error that says so, because only the caller knows
//!   whether a second run does harm.
//! * **The host key is checked before anything else is said.** A [`HostKey`] is part of every target and
//!   has no "accept any" form, so a place that forgot to ask for one doesn't compile.
//! * **No local `ssh` program.** Its configuration, agents and control sockets would make results depend
//!   on the person's machine. In exchange we don't read `~/.ssh/config`: a jump host is part of the target.
//! * **Files travel over a command's standard input and output.** This needs a POSIX shell on the far
//!   side and nothing else, no SFTP subsystem; it keeps a file in memory, so it suits configuration files and
//!   scripts, not data sets.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use clusterbook_transport::{HostKey, Identity, Pool, PoolOptions, RemoteCommand, Target};
//! # use tokio_util::sync::CancellationToken;
//! # async fn example() -> Result<(), clusterbook_transport::Error> {
//! let identity = Arc::new(Identity::generate_ed25519("demo")?);
//! let pool = Pool::new(identity, PoolOptions::default());
//! let c1 = Target::new("c1", "10.0.0.11", 22, "root", HostKey::from_fingerprint("SHA256:…")?);
//! let cancel = CancellationToken::new();
//! let output = pool.run(&c1, &RemoteCommand::argv(["nproc"]), &mut |_, _| {}, &cancel).await?;
//! assert_eq!(output.code, Some(0));
//! # Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod error;
mod exec;
mod fan_out;
mod key;
mod pool;
mod quote;
mod session;
mod target;
mod transfer;
mod tunnel;

pub use error::{Error, ErrorKind, Source};
pub use exec::{Output, RemoteCommand, Stream};
pub use fan_out::fan_out;
pub use key::{Fingerprint, HostKeyPair, Identity, PublicKeyText, SecretText, generate_host_key};
pub use pool::{Pool, PoolOptions, Statistics};
pub use quote::quote;
pub use target::{HostKey, Target};
pub use tunnel::Tunnel;
