//! Accounts, who may charge jobs to them, and whose turn is next.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::{Number, Text, resources};

/// One row of [`Slurm::associations`](crate::Slurm::associations): an account, or a user in one, with the limits that hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Association {
    /// The account.
    pub account: String,
    /// The user; empty for the account itself.
    pub user: String,
    /// The account above it; empty for users and for the root.
    pub parent: String,
    /// Whether it is the user's default account.
    pub is_default: bool,
    /// Shares of what its siblings have together.
    pub shares: Option<u64>,
    /// Limits in Slurm's words and notation, such as `MaxJobs` and `GrpTRESMins`; those from above included. Memory is in MiB, time in minutes.
    pub limits: BTreeMap<String, String>,
}

/// One row of [`Slurm::fair_share`](crate::Slurm::fair_share).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FairShare {
    /// The account, or the account that the user is in.
    pub account: String,
    /// The user; empty for the account itself.
    pub user: String,
    /// Shares as they were given.
    pub shares: Option<u64>,
    /// The part of its siblings' shares, from 0 to 1.
    pub share: Option<f64>,
    /// What was used, in weighted processor seconds that fade.
    pub usage: u64,
    /// The part of its siblings' use, from 0 to 1.
    pub used: Option<f64>,
    /// What a user's jobs get into their priority, from 0 to 1; none for accounts.
    pub factor: Option<f64>,
}

#[derive(Deserialize)]
pub(crate) struct Raw {
    #[serde(default)]
    account: Text,
    #[serde(default)]
    user: Text,
    #[serde(default)]
    parent_account: Text,
    #[serde(default)]
    is_default: bool,
    #[serde(default)]
    shares_raw: Number,
    #[serde(default)]
    max: Value,
}

/// Where `sacctmgr` puts each limit: a pointer below `max`.
const NUMBERS: [(&str, &str); 6] = [
    ("GrpJobs", "/jobs/per/count"),
    ("GrpSubmitJobs", "/jobs/per/submitted"),
    ("GrpWall", "/per/account/wall_clock"),
    ("MaxJobs", "/jobs/active"),
    ("MaxSubmitJobs", "/jobs/total"),
    ("MaxWall", "/jobs/per/wall_clock"),
];
const RESOURCES: [(&str, &str); 6] = [
    ("GrpTRES", "/tres/total"),
    ("GrpTRESMins", "/tres/group/minutes"),
    ("GrpTRESRunMins", "/tres/group/active"),
    ("MaxTRESPerJob", "/tres/per/job"),
    ("MaxTRESPerNode", "/tres/per/node"),
    ("MaxTRESMinsPerJob", "/tres/minutes/per/job"),
];

impl From<Raw> for Association {
    fn from(raw: Raw) -> Association {
        let mut limits = BTreeMap::new();
        for (name, place) in NUMBERS {
            if let Some(number) = raw.max.pointer(place).and_then(|value| Number::read(value).whole()) {
                limits.insert(name.to_owned(), number.to_string());
            }
        }
        for (name, place) in RESOURCES {
            let text = raw.max.pointer(place).map(resources).unwrap_or_default();
            if !text.is_empty() {
                limits.insert(name.to_owned(), text);
            }
        }
        Association {
            // Accounts have no default; Slurm marks them all the same.
            is_default: raw.is_default && !raw.user.0.is_empty(),
            account: raw.account.0,
            user: raw.user.0,
            parent: raw.parent_account.0,
            shares: raw.shares_raw.whole(),
            limits,
        }
    }
}

/// What `sshare --json` wraps its list in.
#[derive(Deserialize)]
pub(crate) struct RawShare {
    #[serde(default)]
    name: Text,
    #[serde(default)]
    parent: Text,
    #[serde(default, rename = "type")]
    kinds: crate::wire::Words,
    #[serde(default)]
    shares: Number,
    #[serde(default)]
    shares_normalized: Number,
    #[serde(default)]
    effective_usage: Number,
    #[serde(default)]
    usage: Number,
    #[serde(default)]
    fairshare: RawFactor,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawFactor {
    factor: Number,
}

impl From<RawShare> for FairShare {
    fn from(raw: RawShare) -> FairShare {
        let is_user = raw.kinds.0.iter().any(|word| word == "USER");
        let (account, user) = if is_user {
            (raw.parent.0, raw.name.0)
        } else {
            (raw.name.0, String::new())
        };
        FairShare {
            account,
            user,
            shares: raw.shares.whole(),
            share: raw.shares_normalized.float(),
            usage: raw.usage.whole().unwrap_or(0),
            used: raw.effective_usage.float(),
            factor: raw.fairshare.factor.float().filter(|_| is_user),
        }
    }
}
