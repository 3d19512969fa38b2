//! Looking at nodes: which items differ, found in one read-only round trip per node, all nodes at once.

use std::collections::BTreeSet;

use clusterbook_model::Node;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio_util::sync::CancellationToken;

use crate::item::{ABSENT, Item, Kind};
use crate::plan::{Action, Change, Plan, Verb};
use crate::reach::{Access, NodeError, Reach};
use crate::script::{Facts, Step};
use crate::stacks::{Barrier, Stack};

/// A node's items, each with its phase and barrier, in order.
pub(crate) type Wanted = Vec<(&'static str, Barrier, Item)>;

/// What a stack wants on a node.
pub(crate) fn wanted(stack: &dyn Stack, node: &Node) -> Wanted {
    stack
        .phases(node)
        .iter()
        .flat_map(|phase| phase.items.iter().map(|item| (phase.name, phase.after, item.clone())))
        .collect()
}

/// Looks at one node.
pub(crate) async fn look(
    reach: &dyn Reach,
    access: &Access,
    wanted: &mut Wanted,
    cancel: &CancellationToken,
) -> Result<Facts, NodeError> {
    let items: Vec<Item> = wanted.iter().map(|(_, _, item)| item.clone()).collect();
    let facts = reach.observe(access, &items, cancel).await?;
    // Accounts and edits that we made and that left the design are found by their mark on the node, not by remembering old designs. Slurm's users go
    // while the system still knows them, so that their jobs can be ended; its accounts go when nobody is in them any more.
    let keeps_accounts = items.iter().any(|item| matches!(item.kind, Kind::SlurmAccount { .. }));
    let barrier = if keeps_accounts {
        Barrier::Controller
    } else {
        Barrier::Nothing
    };
    let left = |prefix: &'static str| {
        let items = &items;
        facts
            .keys()
            .filter(move |key| !items.iter().any(|item| item.key == **key))
            .filter_map(move |key| key.strip_prefix(prefix))
    };
    if keeps_accounts {
        wanted.extend(left("slurm-user:").map(|name| ("accounts", barrier, Item::no_slurm_user(name))));
        wanted.extend(left("slurm-account:").map(|name| ("accounts", barrier, Item::no_slurm_account(name))));
    }
    wanted.extend(left("user:").map(|name| ("users", barrier, Item::no_account(name))));
    wanted.extend(left("unix-group:").map(|name| ("users", barrier, Item::no_unix_group(name))));
    for path in left("edit:") {
        // First, since services that are told anyway must read what was put back.
        wanted.insert(0, ("files", Barrier::Nothing, Item::not_edited(path)));
    }
    Ok(facts)
}

/// Something on a node that isn't as wanted.
pub(crate) struct Difference {
    pub(crate) phase: &'static str,
    pub(crate) barrier: Barrier,
    pub(crate) step: Step,
    /// The fingerprint that was found.
    pub(crate) found: String,
}

/// What differs on a node that was looked at. A daemon also differs when something that it reads does: it may run with what
/// somebody else wrote there.
pub(crate) fn differences(wanted: Wanted, facts: &Facts) -> Vec<Difference> {
    let mut changed = BTreeSet::new();
    let mut differences = Vec::new();
    for (phase, barrier, item) in wanted {
        let found = facts.get(&item.key).map_or(ABSENT, String::as_str);
        let stale = item.inputs().iter().any(|key| changed.contains(key));
        if found == item.want && !stale {
            continue;
        }
        changed.insert(item.key.clone());
        differences.push(Difference {
            phase,
            barrier,
            found: found.to_owned(),
            step: Step {
                expected: (!stale && !item.passes(found)).then(|| found.to_owned()),
                stale,
                item,
            },
        });
    }
    differences
}

/// Adds to the plan what differs on these nodes. A node that doesn't answer becomes a change and a note, never an error:
/// the rest of the plan is still true.
pub(crate) async fn compare(
    plan: &mut Plan,
    reach: &dyn Reach,
    stack: &dyn Stack,
    nodes: Vec<(&Node, Access)>,
    fan_out: usize,
    cancel: &CancellationToken,
) -> Result<(), NodeError> {
    // Boxed one by one: a stream over a closure that borrows can't be shown to be `Send`.
    let looks: Vec<BoxFuture<'_, _>> = nodes
        .into_iter()
        .map(|(node, access)| {
            async move {
                let mut wanted = wanted(stack, node);
                let facts = look(reach, &access, &mut wanted, cancel).await;
                (node, wanted, facts)
            }
            .boxed()
        })
        .collect();
    let mut looks = futures::stream::iter(looks).buffered(fan_out.max(1));
    while let Some((node, wanted, facts)) = looks.next().await {
        match facts {
            Ok(facts) => plan.push_steps(&node.name, differences(wanted, &facts)),
            Err(error) if error.interrupted => return Err(error),
            Err(error) => {
                plan.notes
                    .push(format!("node {} could not be looked at: {}", node.name, error.message));
                push_whole(
                    plan,
                    &node.name,
                    Action::ConfigureUnseen,
                    "whatever differs once it answers",
                );
            }
        }
    }
    Ok(())
}

/// Adds the configuration of a node of which nothing is known yet.
pub(crate) fn push_whole(plan: &mut Plan, node: &str, action: Action, reason: &str) {
    plan.changes.push(Change {
        id: format!("{node}: configure"),
        phase: "configuration",
        verb: Verb::Update,
        what: "configuration".to_owned(),
        node: Some(node.to_owned()),
        reason: reason.to_owned(),
        action,
    });
}
