//! Nodes as Slurm sees them.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

use crate::wire::{Number, Text, Words};
use crate::words::{self, Word};

/// One row of [`Slurm::nodes`](crate::Slurm::nodes). Memory is in MiB, times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// The name in slurm.conf.
    pub name: String,
    /// Its state; a text such as `IDLE+DRAIN` when serialised.
    pub state: NodeState,
    /// Why it was drained or set down, and who did it.
    pub reason: Option<String>,
    /// The user who gave the reason.
    pub reason_by: Option<String>,
    /// Partitions it belongs to.
    pub partitions: Vec<String>,
    /// Address that slurmctld uses.
    pub address: String,
    /// Host name that it reports.
    pub hostname: String,
    /// CPUs that jobs may use.
    pub cpus: u64,
    /// CPUs in use by jobs.
    pub allocated_cpus: u64,
    /// Configured memory.
    pub memory_mib: u64,
    /// Memory in use by jobs.
    pub allocated_memory_mib: u64,
    /// Memory that its system reports as free.
    pub free_memory_mib: Option<u64>,
    /// Load as its system reports it: 1.0 is one busy CPU.
    pub load: Option<f64>,
    /// Features, such as `skylake`.
    pub features: Vec<String>,
    /// Generic resources, such as `gpu:2`.
    pub gres: Option<String>,
    /// Version of its slurmd; none before it registered.
    pub version: Option<String>,
    /// When it booted.
    pub boot_time: Option<u64>,
    /// When its slurmd started.
    pub slurmd_start_time: Option<u64>,
}

/// A node's state: one base, any number of flags. Serialises as Slurm writes it, `IDLE+DRAIN`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct NodeState {
    /// What it is doing.
    pub base: NodeBase,
    /// What else is true of it.
    pub flags: Vec<NodeFlag>,
}

/// What a node is doing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeBase {
    /// Nothing; jobs may start.
    Idle,
    /// All of it is used by jobs.
    Allocated,
    /// Some of it is used by jobs.
    Mixed,
    /// It can't be used.
    Down,
    /// Something is wrong with it.
    Error,
    /// It is defined, and doesn't exist yet.
    Future,
    /// It has not registered since slurmctld started.
    Unknown,
    /// A word that we don't know.
    Other(String),
}

/// What else is true of a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NodeFlag {
    /// It takes no new jobs.
    Drain,
    /// It is about to fail, somebody said.
    Fail,
    /// Its slurmd does not answer.
    NotResponding,
    /// What it registered contradicts slurm.conf.
    InvalidRegistration,
    /// Jobs are ending on it.
    Completing,
    /// It is inside a maintenance reservation.
    Maintenance,
    /// It is inside another reservation.
    Reserved,
    /// Backfill has plans for it.
    Planned,
    /// It will reboot when free.
    RebootRequested,
    /// It is rebooting.
    RebootIssued,
    /// It is switched on and off by Slurm.
    Cloud,
    /// It is being switched on.
    PoweringUp,
    /// It will be switched off.
    PowerDown,
    /// It is being switched off.
    PoweringDown,
    /// It is off.
    PoweredDown,
    /// It was made at run time.
    Dynamic,
    /// A job has the node next to it exclusively.
    Blocked,
    /// A word that we don't know.
    Other(String),
}

impl Word for NodeBase {
    const KNOWN: &'static [(&'static str, Self)] = &[
        ("IDLE", Self::Idle),
        ("ALLOCATED", Self::Allocated),
        ("MIXED", Self::Mixed),
        ("DOWN", Self::Down),
        ("ERROR", Self::Error),
        ("FUTURE", Self::Future),
        ("UNKNOWN", Self::Unknown),
    ];

    fn other(word: String) -> Self {
        Self::Other(word)
    }

    fn unknown(&self) -> Option<&str> {
        if let Self::Other(word) = self { Some(word) } else { None }
    }
}

impl Word for NodeFlag {
    const KNOWN: &'static [(&'static str, Self)] = &[
        ("DRAIN", Self::Drain),
        ("FAIL", Self::Fail),
        ("NOT_RESPONDING", Self::NotResponding),
        ("INVALID_REG", Self::InvalidRegistration),
        ("COMPLETING", Self::Completing),
        ("MAINTENANCE", Self::Maintenance),
        ("RESERVED", Self::Reserved),
        ("PLANNED", Self::Planned),
        ("REBOOT_REQUESTED", Self::RebootRequested),
        ("REBOOT_ISSUED", Self::RebootIssued),
        ("CLOUD", Self::Cloud),
        ("POWERING_UP", Self::PoweringUp),
        ("POWER_DOWN", Self::PowerDown),
        ("POWERING_DOWN", Self::PoweringDown),
        ("POWERED_DOWN", Self::PoweredDown),
        ("DYNAMIC_NORM", Self::Dynamic),
        ("DYNAMIC_FUTURE", Self::Dynamic),
        ("BLOCKED", Self::Blocked),
    ];

    fn other(word: String) -> Self {
        Self::Other(word)
    }

    fn unknown(&self) -> Option<&str> {
        if let Self::Other(word) = self { Some(word) } else { None }
    }
}

impl NodeState {
    /// Reads Slurm's words, the base wherever it stands among them.
    pub(crate) fn read(words: &[String]) -> NodeState {
        let (base, flags) = words::read(words, NodeBase::known);
        NodeState { base, flags }
    }

    /// Whether it has this flag.
    pub fn has(&self, flag: &NodeFlag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether it does or would do work now: idle, mixed or allocated, and nothing that keeps jobs away.
    pub fn is_ready(&self) -> bool {
        let away = [
            NodeFlag::Drain,
            NodeFlag::Fail,
            NodeFlag::NotResponding,
            NodeFlag::InvalidRegistration,
            NodeFlag::PoweringUp,
            NodeFlag::PowerDown,
            NodeFlag::PoweringDown,
            NodeFlag::PoweredDown,
            NodeFlag::RebootIssued,
        ];
        matches!(self.base, NodeBase::Idle | NodeBase::Mixed | NodeBase::Allocated)
            && !away.iter().any(|flag| self.has(flag))
    }

    /// Whether it takes no new jobs and runs none: safe to work on.
    pub fn is_drained(&self) -> bool {
        self.has(&NodeFlag::Drain)
            && matches!(self.base, NodeBase::Idle | NodeBase::Down)
            && !self.has(&NodeFlag::Completing)
    }
}

impl fmt::Display for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::write(f, &self.base, &self.flags)
    }
}

impl Serialize for NodeState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A change of a node's state, for [`Slurm::update_node`](crate::Slurm::update_node).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NodeUpdate {
    /// Give it no new jobs; those running go on.
    Drain {
        /// Why, for everybody who looks at the node.
        reason: String,
    },
    /// Give it jobs again.
    Resume,
    /// Use it no more, and end its jobs at once.
    Down {
        /// Why, for everybody who looks at the node.
        reason: String,
    },
}

/// A node as it stands in the JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Raw {
    name: String,
    #[serde(default)]
    state: Words,
    /// A list of its own in versions before 23.02.
    #[serde(default)]
    state_flags: Words,
    #[serde(default)]
    reason: Text,
    #[serde(default)]
    reason_set_by_user: Text,
    #[serde(default)]
    partitions: Words,
    #[serde(default)]
    address: Text,
    #[serde(default)]
    hostname: Text,
    #[serde(default)]
    cpus: Number,
    #[serde(default)]
    effective_cpus: Number,
    #[serde(default)]
    alloc_cpus: Number,
    #[serde(default)]
    real_memory: Number,
    #[serde(default)]
    alloc_memory: Number,
    #[serde(default, alias = "free_memory")]
    free_mem: Number,
    #[serde(default)]
    cpu_load: Number,
    #[serde(default)]
    features: Words,
    #[serde(default)]
    gres: Text,
    #[serde(default, alias = "slurmd_version")]
    version: Text,
    #[serde(default)]
    boot_time: Number,
    #[serde(default)]
    slurmd_start_time: Number,
}

impl From<Raw> for Node {
    fn from(raw: Raw) -> Node {
        let mut words = raw.state.0;
        words.extend(raw.state_flags.0);
        Node {
            name: raw.name,
            state: NodeState::read(&words),
            reason: raw.reason.some(),
            reason_by: raw.reason_set_by_user.some(),
            partitions: raw.partitions.0,
            address: raw.address.0,
            hostname: raw.hostname.0,
            cpus: raw
                .effective_cpus
                .whole()
                .filter(|cpus| *cpus > 0)
                .or(raw.cpus.whole())
                .unwrap_or(0),
            allocated_cpus: raw.alloc_cpus.whole().unwrap_or(0),
            memory_mib: raw.real_memory.whole().unwrap_or(0),
            allocated_memory_mib: raw.alloc_memory.whole().unwrap_or(0),
            free_memory_mib: raw.free_mem.whole(),
            // Slurm counts in hundredths, and says 2^32 - 2 for "unknown".
            load: raw
                .cpu_load
                .float()
                .filter(|load| (0.0..4e9).contains(load))
                .map(|load| load / 100.0),
            features: raw.features.0,
            gres: raw.gres.some(),
            version: raw.version.some(),
            boot_time: raw.boot_time.time(),
            slurmd_start_time: raw.slurmd_start_time.time(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(words: &[&str]) -> NodeState {
        NodeState::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn states_are_typed_and_written_as_slurm_does() {
        assert_eq!(state(&["IDLE", "DRAIN"]).to_string(), "IDLE+DRAIN");
        assert!(state(&["IDLE", "DRAIN"]).is_drained());
        assert!(!state(&["MIXED", "DRAIN"]).is_drained());
        assert!(state(&["MIXED", "PLANNED"]).is_ready());
        assert!(!state(&["IDLE", "NOT_RESPONDING"]).is_ready());
        assert_eq!(state(&["drain", "idle"]).base, NodeBase::Idle);
    }

    #[test]
    fn unknown_words_are_kept() {
        let strange = state(&["HIBERNATING", "DRAIN", "LEVITATING"]);
        assert_eq!(strange.base, NodeBase::Other("HIBERNATING".to_owned()));
        assert_eq!(
            strange.flags,
            [NodeFlag::Drain, NodeFlag::Other("LEVITATING".to_owned())]
        );
        assert!(!strange.is_ready());
        assert_eq!(strange.to_string(), "HIBERNATING+DRAIN+LEVITATING");
        assert_eq!(state(&[]).base, NodeBase::Unknown);
    }
}
