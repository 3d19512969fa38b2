//! slurmctld itself.

use serde::{Deserialize, Serialize};

use crate::wire::{Number, Text};

/// One row of [`Slurm::ping`](crate::Slurm::ping): a controller and whether it answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Controller {
    /// Its host name.
    pub hostname: String,
    /// `primary` or `backup`, with a number.
    pub mode: String,
    /// Whether it answers.
    pub up: bool,
    /// How long the answer took, in microseconds.
    pub latency_microseconds: Option<u64>,
}

/// One row of [`Slurm::configuration`](crate::Slurm::configuration).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its name, in `slurm.conf`'s spelling.
    pub key: String,
    /// Its value as Slurm writes it; `(null)` where there is none.
    pub value: String,
}

/// Reads `scontrol show config`, which Slurm has as text only: `Key = value` lines, and headings around them.
pub(crate) fn settings(text: &str) -> Vec<Setting> {
    text.lines()
        .filter_map(|line| line.split_once(" = ").or_else(|| Some((line.strip_suffix(" =")?, ""))))
        .map(|(key, value)| Setting {
            key: key.trim().to_owned(),
            value: value.trim().to_owned(),
        })
        .collect()
}

/// A controller as it stands in the JSON.
#[derive(Debug, Deserialize)]
pub(crate) struct Raw {
    #[serde(default)]
    hostname: Text,
    #[serde(default)]
    mode: Text,
    #[serde(default)]
    pinged: Text,
    #[serde(default)]
    responding: Option<bool>,
    #[serde(default)]
    latency: Number,
}

impl From<Raw> for Controller {
    fn from(raw: Raw) -> Controller {
        Controller {
            hostname: raw.hostname.0,
            mode: raw.mode.0,
            up: raw.responding.unwrap_or(raw.pinged.0 == "UP"),
            latency_microseconds: raw.latency.whole(),
        }
    }
}
