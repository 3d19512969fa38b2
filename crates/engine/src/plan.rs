//! A plan: the changes that would make what exists as it is designed. Printing it is the dry run.

use serde::Serialize;

use crate::item::ABSENT;
use crate::observe::Difference;
use crate::script::Step;
use crate::stacks::Barrier;

/// What happens to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// An image is built.
    Build,
    /// It is made.
    Create,
    /// It is brought to its designed state.
    Update,
    /// It is started.
    Start,
    /// It is stopped.
    Stop,
    /// It is removed, with what it holds.
    Delete,
}

/// One change.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Unique in its plan, for example `create node c1` or `c1: file:/etc/hosts`.
    pub id: String,
    /// The part of the work that it belongs to: `images`, `network`, `nodes`, `munge`, …
    pub phase: &'static str,
    /// What happens.
    pub verb: Verb,
    /// To what.
    pub what: String,
    /// On which node, for changes on nodes.
    pub node: Option<String>,
    /// Why; never holds a secret.
    pub reason: String,
    /// How it is made.
    #[serde(skip)]
    pub(crate) action: Action,
}

/// How a change is made. Provider changes hold names only: what they need is looked up when they are made, so that no
/// secret lies in a plan.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    BuildImage(String),
    CreateNetwork,
    CreateDisk(String),
    CreateNode(String),
    PowerOn(String),
    PowerOff(String),
    DeleteNode(String),
    DeleteDisk(String),
    DeleteNetwork,
    /// Everything on a node that is new: nothing is expected to be there.
    ConfigureNew,
    /// Whatever is found to differ once the node answers.
    ConfigureUnseen,
    /// One step on a node that was looked at.
    Step(Barrier, Box<Step>),
    /// A node that will be removed stops taking jobs.
    Drain(String),
}

/// The changes that would make a cluster as it is designed, in the order in which they begin.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The cluster.
    pub cluster: String,
    /// The provider.
    pub provider: String,
    /// The changes; empty when everything is as designed.
    pub changes: Vec<Change>,
    /// What a reader should know beside the changes, for example nodes that could not be looked at.
    pub notes: Vec<String>,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes there are of each verb.
    pub fn count(&self, verb: Verb) -> usize {
        self.changes.iter().filter(|change| change.verb == verb).count()
    }

    /// Whether anything is removed with what it holds.
    pub fn destroys(&self) -> bool {
        self.count(Verb::Delete) > 0
    }

    pub(crate) fn push(
        &mut self,
        phase: &'static str,
        verb: Verb,
        what: impl Into<String>,
        reason: impl Into<String>,
        action: Action,
    ) {
        let what = what.into();
        self.changes.push(Change {
            id: format!("{} {what}", verb.word()),
            phase,
            verb,
            what,
            node: None,
            reason: reason.into(),
            action,
        });
    }

    /// Adds what differs on a node.
    pub(crate) fn push_steps(&mut self, node: &str, differences: Vec<Difference>) {
        for Difference {
            phase,
            barrier,
            step,
            found,
        } in differences
        {
            let item = &step.item;
            let verb = match (found.as_str(), item.want.as_str()) {
                (_, ABSENT) => Verb::Delete,
                (ABSENT, _) => Verb::Create,
                _ => Verb::Update,
            };
            self.changes.push(Change {
                id: format!("{node}: {}", item.key),
                phase,
                verb,
                what: item.describe(),
                node: Some(node.to_owned()),
                reason: item.difference(&found),
                action: Action::Step(barrier, Box::new(step)),
            });
        }
    }
}

impl Verb {
    /// The word as people and identifiers write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Create => "create",
            Self::Update => "update",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Delete => "delete",
        }
    }

    /// The word for a change that was made.
    pub fn past(self) -> &'static str {
        match self {
            Self::Build => "built",
            Self::Create => "created",
            Self::Update => "updated",
            Self::Start => "started",
            Self::Stop => "stopped",
            Self::Delete => "deleted",
        }
    }
}
