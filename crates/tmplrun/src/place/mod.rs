//! Where a notebook runs.
//!
//! By default a notebook runs in a kernel of this machine, started by this process. A [`Place`] is somewhere else. It is
//! handed one notebook at a time, with everything that this notebook needs; it tells what happens there as it happens, and
//! gives the executed notebook back. Steps that run side by side are calls side by side.
//!
//! Every place runs the same program: `tmplrun`, on files that are put where it runs ([`parcel`]), and hears from it in the
//! same way, by the lines of its events file ([`telling`]). So a place has to know two things only, how files get there
//! and how a program is started, watched and stopped there. [`Slurm`] submits a job; Kubernetes would make a Job whose
//! container gets the same parcel.
//!
//! What was given up: a place decides for itself which kernels it has, so a kernel that is missing there is found out
//! there, and not before the run.

mod parcel;
mod shell;
mod slurm;
mod telling;

use std::path::Path;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

pub use shell::Shell;
pub use slurm::{Settings as SlurmSettings, Slurm};

use crate::error::{Error, Result};
use crate::events::{EventSink, Status};
use crate::json::Object;
use crate::kernel::LeftProcess;
use crate::mask::Secret;
use crate::notebook::Notebook;
use crate::run::{CellFailure, CellResult, Options};

/// Somewhere that notebooks run, other than in this process.
#[async_trait]
pub trait Place: std::fmt::Debug + Send + Sync {
    /// Runs one notebook there to its end, whatever that is, and brings back what there is to bring.
    ///
    /// Cancelling stops it in an orderly way: its running cell is interrupted and it is saved. Dropping the future leaves
    /// it to itself; what it is called there has been told as [`Event::Submitted`](crate::events::Event::Submitted).
    ///
    /// # Errors
    /// When it could not be handed over at all. Whatever goes wrong afterwards is part of [`Finished`].
    async fn run(&self, task: &Task<'_>, sink: &dyn EventSink, cancel: &CancellationToken) -> Result<Finished>;
}

/// One notebook to run, with everything that it needs.
#[derive(Debug)]
pub struct Task<'a> {
    /// The run's id.
    pub run: &'a str,
    /// Which step of the run, from 0; the events carry it.
    pub step: usize,
    /// The step's name.
    pub name: &'a str,
    /// The notebook, as it is to be run.
    pub notebook: &'a Notebook,
    /// The parameters that it gets, apart from secrets.
    pub parameters: &'a Object,
    /// The secrets that it gets.
    pub secrets: Vec<&'a Secret>,
    /// The kernel's working folder.
    pub folder: &'a Path,
    /// How to run it.
    pub options: &'a Options,
    /// Where a private folder may be made here.
    pub temporary: &'a Path,
}

/// How a notebook ended elsewhere.
#[derive(Debug)]
pub struct Finished {
    /// How it ended.
    pub status: Status,
    /// The cell that ended it, if one did.
    pub failure: Option<CellFailure>,
    /// Each cell that ran.
    pub cells: Vec<CellResult>,
    /// What it handed on.
    pub results: Object,
    /// The notebook as far as it came; none if nothing came back.
    pub notebook: Option<Notebook>,
    /// Why it could not be carried through, if that was no cell's doing.
    pub error: Option<Box<Error>>,
    /// Processes there that left their kernel's session and still ran.
    pub left: Vec<LeftProcess>,
}
