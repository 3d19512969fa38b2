//! What goes into the database and what comes out.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::lock::Holder;

/// A cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// 12 hexadecimal digits that no other cluster ever has.
    pub id: String,
    /// Its name; unique among the clusters that aren't removed.
    pub name: String,
    /// Where its machines come from.
    pub provider: String,
    /// When its first apply began.
    pub created_at: Timestamp,
    /// When its destruction ended; its name may be used again since then.
    pub removed_at: Option<Timestamp>,
}

impl ClusterRow {
    /// Whether it was destroyed and only its history is left.
    pub fn is_removed(&self) -> bool {
        self.removed_at.is_some()
    }
}

/// An apply that is about to begin.
#[derive(Clone, Copy, Debug)]
pub struct NewApply<'a> {
    /// Name of the cluster, known or new.
    pub cluster: &'a str,
    /// Name of its provider.
    pub provider: &'a str,
    /// The design that is being made true, as JSON.
    pub design: &'a str,
    /// The file that the design came from.
    pub design_path: Option<&'a Path>,
    /// What sort of change, for example `apply` or `destroy`.
    pub what: &'a str,
    /// Who holds the cluster's lock.
    pub holder: &'a Holder,
    /// The notebook run that this belongs to.
    pub run_id: Option<&'a str>,
    /// The present.
    pub now: Timestamp,
}

/// An apply that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRow {
    /// Id of the cluster.
    pub cluster_id: String,
    /// Counts the applies of the cluster from 1. Nodes refuse what carries a number older than one that they have seen.
    pub number: u64,
}

/// How an apply ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// All of it.
    Done,
    /// Some of it; why not the rest.
    Failed(String),
    /// Somebody stopped it, or its process died.
    Interrupted,
}

/// An apply as the history shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyInfo {
    /// Its number.
    pub number: u64,
    /// What sort of change.
    pub what: String,
    /// The file that its design came from.
    pub design_path: Option<PathBuf>,
    /// Login name of who did it.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// In which process.
    pub pid: u32,
    /// The notebook run that it belonged to.
    pub run_id: Option<String>,
    /// Its beginning.
    pub started_at: Timestamp,
    /// Its end, if it had one.
    pub ended_at: Option<Timestamp>,
    /// How it ended, if it did.
    pub outcome: Option<Outcome>,
}

/// A change that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalEntry {
    /// Key of the change; unique within its apply.
    pub change: String,
    /// What will be done, as text for people or as JSON; it is kept as it is.
    pub action: String,
}

/// How a change ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JournalEnd {
    /// It was made.
    Done,
    /// It wasn't; why.
    Failed(String),
    /// Its own apply never said; a later one has dealt with it.
    TakenOver {
        /// Number of the later apply.
        by: u64,
    },
}

/// A change that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalRow {
    /// Number of its apply.
    pub number: u64,
    /// Key of the change.
    pub change: String,
    /// What was to be done, as it was given.
    pub action: String,
    /// When it was begun.
    pub begun_at: Timestamp,
    /// When it ended, if it did.
    pub ended_at: Option<Timestamp>,
    /// How it ended, if it did.
    pub end: Option<JournalEnd>,
}

/// Something that was done on a cluster without a plan: a command run, a job submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionRow {
    /// What sort of action.
    pub what: String,
    /// Particulars, as JSON; kept as it is.
    pub detail: String,
    /// How it ended.
    pub outcome: String,
    /// When.
    pub at: Timestamp,
    /// The notebook run that it belonged to.
    pub run_id: Option<String>,
}
