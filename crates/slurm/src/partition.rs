//! Partitions: the queues of a cluster.

use serde::{Deserialize, Serialize};

use crate::wire::{Limit, Number, Text, Words};

/// One row of [`Slurm::partitions`](crate::Slurm::partitions). Times are in minutes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its name.
    pub name: String,
    /// `UP`, `DOWN`, `DRAIN` or `INACTIVE`.
    pub state: String,
    /// Its nodes as a hostlist, such as `c[1-16]`.
    pub nodes: String,
    /// How many nodes that is.
    pub node_count: u64,
    /// CPUs of all its nodes.
    pub cpus: u64,
    /// The longest that a job may run.
    pub max_time_minutes: Option<Limit>,
    /// How long a job may run that doesn't say.
    pub default_time_minutes: Option<Limit>,
}

/// A partition as it stands in the JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Raw {
    name: String,
    #[serde(default)]
    partition: RawState,
    #[serde(default)]
    nodes: RawNodes,
    #[serde(default)]
    cpus: RawCpus,
    #[serde(default)]
    maximums: RawTime,
    #[serde(default)]
    defaults: RawTime,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawState {
    state: Words,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawNodes {
    configured: Text,
    total: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawCpus {
    total: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawTime {
    time: Number,
}

impl From<Raw> for Partition {
    fn from(raw: Raw) -> Partition {
        Partition {
            name: raw.name,
            state: raw.partition.state.0.join("+"),
            nodes: raw.nodes.configured.0,
            node_count: raw.nodes.total.whole().unwrap_or(0),
            cpus: raw.cpus.total.whole().unwrap_or(0),
            max_time_minutes: raw.maximums.time.limit(),
            default_time_minutes: raw.defaults.time.limit(),
        }
    }
}
