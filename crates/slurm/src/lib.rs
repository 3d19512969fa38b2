//! Typed Slurm, over anything that can run a command.
//!
//! This room turns Slurm's own command line programs into typed calls: [`Slurm::nodes`], [`Slurm::jobs`], [`Slurm::submit`],
//! [`Slurm::wait`] and so on. Where the programs run is the business of a [`Runner`]: over SSH on a login node, on this machine
//! ([`Local`]), or in a test. Nothing in here knows which clusters we make.
//!
//! What was decided, and what was given up for it:
//!
//! * **The programs' `--json`, not libslurm or the REST service.** libslurm must have exactly the version of the cluster; the REST
//!   service has to be installed, started and given tokens. The programs are on every cluster. The price is a process per
//!   call, some 10 ms.
//! * **Read leniently, answer typed.** Field types have changed between versions of Slurm's JSON (a number may be plain, or an object
//!   `{set, infinite, number}`; a state a word or a list of words). All forms are read, fields that we don't know are skipped, and
//!   words that we don't know are kept as `Other`. Only JSON that is broken, or lacks the list that was asked for, is an error.
//! * **Rows are flat.** Each row serialises to plain values, so that it becomes a line of a table or of a pandas DataFrame as it is.
//!
//! ```no_run
//! # use clusterbook_slurm::{Local, Slurm, SubmitOptions};
//! # use tokio_util::sync::CancellationToken;
//! # async fn example() -> Result<(), clusterbook_slurm::Error> {
//! let slurm = Slurm::new(Local);
//! let id = slurm.submit(&SubmitOptions { ntasks: Some(4), ..SubmitOptions::new("#!/bin/sh\nsrun hostname\n") }).await?;
//! let job = slurm.wait(id, &mut |job| drop(job.state.to_string()), &CancellationToken::new()).await?;
//! assert!(job.succeeded());
//! # Ok(()) }
//! ```

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod association;
mod client;
mod controller;
mod error;
mod job;
mod node;
mod partition;
mod runner;
mod submit;
mod wire;
mod words;

pub use association::{Association, FairShare};
pub use client::{History, Slurm};
pub use controller::{Controller, Setting};
pub use error::{Error, ErrorKind};
pub use job::{AccountingRecord, Job, JobFlag, JobId, JobPhase, JobState};
pub use node::{Node, NodeBase, NodeFlag, NodeState, NodeUpdate};
pub use partition::Partition;
pub use runner::{Local, Ran, Runner, RunnerError};
pub use submit::{OptionError, SubmitOptions};
pub use wire::Limit;
