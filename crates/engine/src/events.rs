//! What happens during an apply, as typed events. A terminal, a notebook cell or a file of JSON lines are writers of them;
//! nothing in the engine prints.

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use crate::error::Failure;

/// Version of the events' shape, written beside them where they are stored.
pub const EVENTS_SCHEMA: u32 = 1;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// An apply has the lock and its plan.
    Started {
        /// `apply` or `destroy`.
        what: String,
        /// The cluster.
        cluster: String,
        /// The apply's number.
        apply: u64,
        /// How many changes it will make.
        changes: usize,
    },
    /// A part of the apply begins.
    Stage {
        /// For people: `nodes`, `configuration`, …
        name: String,
        /// How many changes it holds.
        changes: usize,
    },
    /// A long change tells how far it is.
    Progress {
        /// Node or resource.
        what: String,
        /// One line.
        text: String,
    },
    /// A node answers.
    Ready {
        /// The node.
        node: String,
    },
    /// A change was made.
    Changed {
        /// [`crate::Change::id`].
        change: String,
        /// For people.
        text: String,
    },
    /// A change failed; others go on.
    Failed(Failure),
    /// The apply is over.
    Finished {
        /// The cluster.
        cluster: String,
        /// The apply's number.
        apply: u64,
        /// Changes made.
        changed: usize,
        /// Changes that failed or weren't reached.
        failed: usize,
        /// How long it took, in milliseconds.
        milliseconds: u64,
    },
}

/// Where events go. Cheap to clone; sending never waits.
#[derive(Clone, Debug, Default)]
pub struct Events(Option<UnboundedSender<Event>>);

impl Events {
    /// Events to this channel.
    pub fn to(sender: UnboundedSender<Event>) -> Self {
        Self(Some(sender))
    }

    /// Events to nobody.
    pub fn none() -> Self {
        Self(None)
    }

    pub(crate) fn send(&self, event: Event) {
        if let Some(sender) = &self.0 {
            // Nobody listening any more is no reason to stop.
            let _ = sender.send(event);
        }
    }
}
