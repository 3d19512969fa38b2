//! Which faults the world injects, and when.
//!
//! Whether a call meets a fault depends on the seed, the operation, the resource and how often that pair was seen before,
//! and on nothing else. So a run repeats itself even though the engine's calls arrive in another order each time.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How likely each fault is. Probabilities are per request, 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultPlan {
    /// A request is refused because there were too many; nothing is done.
    pub throttled: f64,
    /// One request of a batch fails while its neighbours succeed; nothing is done for it.
    pub partial: f64,
    /// A whole call (batch or listing) fails; nothing is done.
    pub unavailable: f64,
    /// No answer comes, though the request was carried out.
    pub timed_out_done: f64,
    /// No answer comes, and nothing was done.
    pub timed_out_lost: f64,
    /// The request is accepted and finishes only after some listings.
    pub pending: f64,
    /// A new node ends up failed.
    pub born_failed: f64,
    /// Lists miss what was just made and still show what was just removed.
    pub stale: f64,
    /// The connection to a node breaks: before anything is written, or after a part was.
    pub connection_lost: f64,
    /// Most listings that a pending operation takes.
    pub longest_pending: u32,
    /// Most listings that stay stale after a change.
    pub longest_stale: u32,
    /// What throttled answers ask to wait.
    pub retry_after: Duration,
    /// How long every call takes.
    pub latency: Duration,
    /// No more than this many faults in all; `None` means no limit.
    pub limit: Option<u64>,
    /// Faults at chosen places, each used once and before any chance is drawn.
    pub script: Vec<Scripted>,
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self {
            throttled: 0.0,
            partial: 0.0,
            unavailable: 0.0,
            timed_out_done: 0.0,
            timed_out_lost: 0.0,
            pending: 0.0,
            born_failed: 0.0,
            stale: 0.0,
            connection_lost: 0.0,
            longest_pending: 3,
            longest_stale: 2,
            retry_after: Duration::from_millis(1),
            latency: Duration::ZERO,
            limit: None,
            script: Vec::new(),
        }
    }
}

impl FaultPlan {
    /// A world where everything works at once.
    pub fn none() -> Self {
        Self::default()
    }

    /// Every fault, often enough that a run of a few nodes meets most of them.
    pub fn all() -> Self {
        Self {
            throttled: 0.05,
            partial: 0.05,
            unavailable: 0.03,
            timed_out_done: 0.05,
            timed_out_lost: 0.05,
            pending: 0.3,
            born_failed: 0.04,
            stale: 0.2,
            connection_lost: 0.05,
            ..Self::default()
        }
    }

    /// Whether lists may lag behind.
    pub fn lists_lag(&self) -> bool {
        self.stale > 0.0
            || self
                .script
                .iter()
                .any(|scripted| matches!(scripted.fault, Fault::Stale { .. }))
    }

    fn is_quiet(&self) -> bool {
        self.script.is_empty()
            && [
                self.throttled,
                self.partial,
                self.unavailable,
                self.timed_out_done,
                self.timed_out_lost,
                self.pending,
                self.born_failed,
                self.stale,
                self.connection_lost,
            ]
            .iter()
            .all(|chance| *chance <= 0.0)
    }
}

/// A fault at a chosen place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scripted {
    /// When.
    pub operation: Operation,
    /// For which resource; empty means the next one, whichever it is.
    pub resource: String,
    /// What.
    pub fault: Fault,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// See [`FaultPlan::throttled`].
    Throttled,
    /// See [`FaultPlan::partial`] and [`FaultPlan::unavailable`].
    Unavailable,
    /// See [`FaultPlan::timed_out_done`].
    TimedOutDone,
    /// See [`FaultPlan::timed_out_lost`].
    TimedOutLost,
    /// See [`FaultPlan::pending`].
    Pending {
        /// Listings until it is finished.
        listings: u32,
    },
    /// See [`FaultPlan::born_failed`].
    BornFailed,
    /// See [`FaultPlan::stale`].
    Stale {
        /// Listings that stay stale.
        listings: u32,
    },
    /// See [`FaultPlan::connection_lost`].
    ConnectionLost {
        /// Writes that still arrive.
        after: u32,
    },
}

/// What can be asked of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A listing.
    Inventory,
    /// A batch, whatever is in it.
    Batch,
    /// An image is built.
    BuildImage,
    /// A network is made.
    CreateNetwork,
    /// A disk is made.
    CreateDisk,
    /// A node is made.
    CreateNode,
    /// A node is started.
    PowerOn,
    /// A node is stopped.
    PowerOff,
    /// A node is removed.
    DeleteNode,
    /// A disk is removed.
    DeleteDisk,
    /// A network is removed.
    DeleteNetwork,
    /// Keys of a node are read.
    NodeRead,
    /// Keys of a node are written.
    NodeWrite,
}

/// How often what was asked, and which faults were met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calls {
    /// By operation.
    pub operations: BTreeMap<Operation, u64>,
    /// By fault, named as [`FaultPlan`]'s fields.
    pub faults: BTreeMap<String, u64>,
}

/// Draws faults and counts.
#[derive(Debug)]
pub(super) struct Chance {
    seed: u64,
    plan: FaultPlan,
    quiet: bool,
    seen: HashMap<u64, u64>,
    spent: u64,
    pub(super) calls: Calls,
}

impl Chance {
    pub(super) fn new(seed: u64, plan: FaultPlan) -> Self {
        Self {
            seed,
            quiet: plan.is_quiet(),
            plan,
            seen: HashMap::new(),
            spent: 0,
            calls: Calls::default(),
        }
    }

    pub(super) fn plan(&self) -> &FaultPlan {
        &self.plan
    }

    pub(super) fn set_plan(&mut self, plan: FaultPlan) {
        self.quiet = plan.is_quiet();
        self.plan = plan;
    }

    /// Counts one call and says which fault it meets. At most one: a fault on top of a fault teaches nothing new.
    pub(super) fn draw(&mut self, operation: Operation, resource: &str) -> Option<Fault> {
        *self.calls.operations.entry(operation).or_default() += 1;
        if self.quiet {
            return None;
        }
        if let Some(fault) = self.scripted(operation, resource) {
            return Some(self.spend(fault));
        }
        if self.plan.limit.is_some_and(|limit| self.spent >= limit) {
            return None;
        }
        let key = mix(&[self.seed, operation as u64, hash(resource)]);
        let times = self.seen.entry(key).or_default();
        *times += 1;
        let draw = mix(&[key, *times]);
        let amount = mix(&[draw, 1]);
        self.chosen(operation, unit(draw), amount)
            .map(|fault| self.spend(fault))
    }

    fn scripted(&mut self, operation: Operation, resource: &str) -> Option<Fault> {
        let index = self.plan.script.iter().position(|scripted| {
            scripted.operation == operation && (scripted.resource.is_empty() || scripted.resource == resource)
        })?;
        Some(self.plan.script.remove(index).fault)
    }

    fn spend(&mut self, fault: Fault) -> Fault {
        self.spent += 1;
        let name = match fault {
            Fault::Throttled => "throttled",
            Fault::Unavailable => "unavailable",
            Fault::TimedOutDone => "timed_out_done",
            Fault::TimedOutLost => "timed_out_lost",
            Fault::Pending { .. } => "pending",
            Fault::BornFailed => "born_failed",
            Fault::Stale { .. } => "stale",
            Fault::ConnectionLost { .. } => "connection_lost",
        };
        *self.calls.faults.entry(name.to_owned()).or_default() += 1;
        fault
    }

    /// The fault whose slice of 0..1 holds `draw`. The slices lie one after another, so chances add up.
    fn chosen(&self, operation: Operation, draw: f64, amount: u64) -> Option<Fault> {
        let plan = &self.plan;
        let up_to = |most: u32| 1 + (amount % u64::from(most.max(1))) as u32;
        let pending = Fault::Pending {
            listings: up_to(plan.longest_pending),
        };
        let stale = Fault::Stale {
            listings: up_to(plan.longest_stale),
        };
        let slices: &[(f64, Fault)] = match operation {
            Operation::Inventory => &[
                (plan.throttled, Fault::Throttled),
                (plan.unavailable, Fault::Unavailable),
                (plan.timed_out_lost, Fault::TimedOutLost),
            ],
            Operation::Batch => &[(plan.unavailable, Fault::Unavailable)],
            Operation::NodeRead => &[(plan.connection_lost, Fault::ConnectionLost { after: 0 })],
            Operation::NodeWrite => &[(
                plan.connection_lost,
                Fault::ConnectionLost {
                    after: (amount % 4) as u32,
                },
            )],
            Operation::BuildImage => &[
                (plan.throttled, Fault::Throttled),
                (plan.partial, Fault::Unavailable),
                (plan.timed_out_done, Fault::TimedOutDone),
                (plan.timed_out_lost, Fault::TimedOutLost),
                (plan.stale, stale),
            ],
            Operation::PowerOn | Operation::PowerOff => &[
                (plan.throttled, Fault::Throttled),
                (plan.partial, Fault::Unavailable),
                (plan.timed_out_done, Fault::TimedOutDone),
                (plan.timed_out_lost, Fault::TimedOutLost),
                (plan.pending, pending),
            ],
            Operation::CreateNode => &[
                (plan.throttled, Fault::Throttled),
                (plan.partial, Fault::Unavailable),
                (plan.timed_out_done, Fault::TimedOutDone),
                (plan.timed_out_lost, Fault::TimedOutLost),
                (plan.pending, pending),
                (plan.stale, stale),
                (plan.born_failed, Fault::BornFailed),
            ],
            Operation::CreateNetwork
            | Operation::CreateDisk
            | Operation::DeleteNode
            | Operation::DeleteDisk
            | Operation::DeleteNetwork => &[
                (plan.throttled, Fault::Throttled),
                (plan.partial, Fault::Unavailable),
                (plan.timed_out_done, Fault::TimedOutDone),
                (plan.timed_out_lost, Fault::TimedOutLost),
                (plan.pending, pending),
                (plan.stale, stale),
            ],
        };
        let mut edge = 0.0;
        slices.iter().find_map(|(chance, fault)| {
            edge += chance;
            (draw < edge).then_some(*fault)
        })
    }
}

fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// SplitMix64 over several words: good spread, no state, the same on every platform and release.
fn mix(words: &[u64]) -> u64 {
    words.iter().fold(0x9e37_79b9_7f4a_7c15, |state, word| {
        let mut mixed = (state ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn unit(word: u64) -> f64 {
    (word >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_faults_in_any_order() {
        let names: Vec<String> = (0..200).map(|n| format!("c{n}")).collect();
        let draw = |names: Vec<&String>| {
            let mut chance = Chance::new(7, FaultPlan::all());
            let mut drawn: Vec<_> = names
                .into_iter()
                .map(|name| (name.clone(), chance.draw(Operation::CreateNode, name)))
                .collect();
            drawn.sort();
            drawn
        };
        let forward = draw(names.iter().collect());
        assert_eq!(forward, draw(names.iter().rev().collect()));
        let met = forward.iter().filter(|(_, fault)| fault.is_some()).count();
        assert!((60..160).contains(&met), "{met} of 200 met a fault");
    }

    #[test]
    fn a_script_comes_first_and_once() {
        let plan = FaultPlan {
            script: vec![Scripted {
                operation: Operation::CreateNode,
                resource: "c2".to_owned(),
                fault: Fault::BornFailed,
            }],
            ..FaultPlan::none()
        };
        let mut chance = Chance::new(0, plan);
        assert_eq!(chance.draw(Operation::CreateNode, "c1"), None);
        assert_eq!(chance.draw(Operation::CreateNode, "c2"), Some(Fault::BornFailed));
        assert_eq!(chance.draw(Operation::CreateNode, "c2"), None);
    }

    #[test]
    fn a_limit_ends_the_faults() {
        let plan = FaultPlan {
            partial: 1.0,
            limit: Some(2),
            ..FaultPlan::none()
        };
        let mut chance = Chance::new(0, plan);
        let met = (0..10)
            .filter(|_| chance.draw(Operation::CreateDisk, "home").is_some())
            .count();
        assert_eq!(met, 2);
    }
}
