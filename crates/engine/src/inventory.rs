//! What the provider lists against what is designed: images, network, disks, nodes and their power.

use std::collections::{BTreeMap, BTreeSet};

use clusterbook_model::{Base, Design, Flavor, Node, Power, Recipe, Role};
use clusterbook_providers::{Inventory, NodeResource, NodeState};

use crate::error::Error;
use crate::plan::{Action, Plan, Verb};

/// Name of the network's mark.
pub(crate) const NETWORK: &str = "network";

/// What is to be done about a designed node's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    /// It will be made: nothing on it is known or needs to be.
    New,
    /// It can be looked at now.
    Running,
    /// It exists but can't be looked at until it is started.
    Unseen,
    /// It stays, or will be, powered off.
    Off,
}

/// Splits a listing of everything into this cluster's part, and refuses a name that another cluster bears.
pub(crate) fn ours(
    all: Inventory,
    cluster: &str,
    cluster_id: Option<&str>,
    provider: &str,
) -> Result<Inventory, Error> {
    let is_ours = |id: &str| Some(id) == cluster_id;
    let mut foreign = BTreeSet::new();
    let mut note = |kind: &str, mark: &clusterbook_providers::Mark| {
        if mark.cluster == cluster && !is_ours(&mark.cluster_id) {
            foreign.insert(if kind == NETWORK {
                kind.to_owned()
            } else {
                format!("{kind} {}", mark.resource)
            });
        }
    };
    for node in &all.nodes {
        note("node", &node.mark);
    }
    for disk in &all.disks {
        note("disk", &disk.mark);
    }
    for network in &all.networks {
        note(NETWORK, &network.mark);
    }
    if !foreign.is_empty() {
        return Err(Error::NameInUse {
            name: cluster.to_owned(),
            provider: provider.to_owned(),
            resources: foreign.into_iter().take(8).collect::<Vec<_>>().join(", "),
        });
    }
    Ok(Inventory {
        networks: all
            .networks
            .into_iter()
            .filter(|found| is_ours(&found.mark.cluster_id))
            .collect(),
        disks: all
            .disks
            .into_iter()
            .filter(|found| is_ours(&found.mark.cluster_id))
            .collect(),
        nodes: all
            .nodes
            .into_iter()
            .filter(|found| is_ours(&found.mark.cluster_id))
            .collect(),
        images: all.images,
    })
}

/// Adds the provider's part of a plan, and says of each designed node what can be seen of it.
pub(crate) fn compare(
    plan: &mut Plan,
    design: &Design,
    nodes: &[Node],
    recipes: &[Recipe],
    flavors: &BTreeMap<String, Flavor>,
    found: &Inventory,
) -> Result<BTreeMap<String, Sight>, Error> {
    let existing: BTreeMap<&str, &NodeResource> = found
        .nodes
        .iter()
        .map(|node| (node.mark.resource.as_str(), node))
        .collect();
    images(plan, nodes, recipes, flavors, found, &existing);
    if found.networks.is_empty() {
        plan.push(
            "network",
            Verb::Create,
            "network",
            design.network.subnet.to_string(),
            Action::CreateNetwork,
        );
    } else if let Some(other) = found
        .networks
        .iter()
        .find(|network| network.detail != design.network.subnet.to_string())
    {
        return Err(Error::Refused {
            what: format!(
                "the network of cluster {} is {}, and a network's range can't be changed to {} while nodes use it",
                design.name, other.detail, design.network.subnet
            ),
            hint: "write the old range into the design again, or destroy the cluster and make it anew".to_owned(),
        });
    }
    let disks: BTreeSet<&str> = found.disks.iter().map(|disk| disk.mark.resource.as_str()).collect();
    for disk in &design.disks {
        if !disks.contains(disk.name.as_str()) {
            plan.push(
                "disks",
                Verb::Create,
                format!("disk {}", disk.name),
                format!("{} at {}", disk.size, disk.mount),
                Action::CreateDisk(disk.name.clone()),
            );
        }
    }
    let mut sights = BTreeMap::new();
    for node in nodes {
        let sight = one_node(plan, design, node, existing.get(node.name.as_str()).copied())?;
        sights.insert(node.name.clone(), sight);
    }
    surplus(plan, design, nodes, found);
    Ok(sights)
}

/// Images that nodes to be made need, parents first.
fn images(
    plan: &mut Plan,
    nodes: &[Node],
    recipes: &[Recipe],
    flavors: &BTreeMap<String, Flavor>,
    found: &Inventory,
    existing: &BTreeMap<&str, &NodeResource>,
) {
    let made = nodes.iter().filter(|node| {
        !existing
            .get(node.name.as_str())
            .is_some_and(|found| !matches!(found.state, NodeState::Failed(_)) && found.flavor == node.flavor)
    });
    for recipe in missing_images(made, recipes, flavors, found) {
        let packages = plural(recipe.packages.len(), "package");
        plan.push(
            "images",
            Verb::Build,
            format!("image {}", recipe.name),
            format!("{packages} and what they need"),
            Action::BuildImage(recipe.tag()),
        );
    }
}

/// The recipes of images that these nodes are made from and that the provider hasn't got, in build order.
pub(crate) fn missing_images<'a, 'b>(
    nodes: impl Iterator<Item = &'b Node>,
    recipes: &'a [Recipe],
    flavors: &BTreeMap<String, Flavor>,
    found: &Inventory,
) -> Vec<&'a Recipe> {
    let mut missing = BTreeSet::new();
    for node in nodes {
        let name = image_name(node, flavors);
        let mut next = recipes.iter().find(|recipe| recipe.name == name);
        while let Some(recipe) = next {
            let tag = recipe.tag();
            if found.images.contains(&tag) {
                break;
            }
            next = match &recipe.base {
                Base::Recipe(parent) => recipes.iter().find(|recipe| recipe.tag() == *parent),
                Base::Distribution(_) => None,
            };
            missing.insert(tag);
        }
    }
    recipes
        .iter()
        .filter(|recipe| missing.contains(&recipe.tag()))
        .collect()
}

/// The recipe that a node is made from: GPUs that are only counted need none of CUDA's libraries, which are large.
pub(crate) fn image_name(node: &Node, flavors: &BTreeMap<String, Flavor>) -> &'static str {
    match node.role {
        Role::Master => "master",
        Role::Compute if flavors.get(&node.flavor).is_some_and(|flavor| flavor.gpus > 0) => "compute-gpu",
        Role::Compute => "compute",
    }
}

fn one_node(plan: &mut Plan, design: &Design, node: &Node, found: Option<&NodeResource>) -> Result<Sight, Error> {
    let name = &node.name;
    let what = format!("node {name}");
    let wanted_on = design.power == Power::On;
    let create = |plan: &mut Plan| {
        plan.push(
            "nodes",
            Verb::Create,
            &what,
            format!("{} at {}", node.flavor, node.address),
            Action::CreateNode(name.clone()),
        );
        Sight::New
    };
    let Some(found) = found else {
        if wanted_on {
            return Ok(create(plan));
        }
        plan.notes.push(format!(
            "node {name} doesn't exist; it is made when the cluster is powered on"
        ));
        return Ok(Sight::Off);
    };
    let mut replace = None;
    if let NodeState::Failed(reason) = &found.state {
        replace = Some(format!("the provider gave up on it: {reason}"));
    } else if found.flavor != node.flavor {
        replace = Some(format!("its flavor is {}, not {}", found.flavor, node.flavor));
    } else if let Some(address) = found.address.filter(|address| *address != node.address) {
        replace = Some(format!("its address is {address}, not {}", node.address));
    }
    if let Some(reason) = replace {
        let failed = matches!(found.state, NodeState::Failed(_));
        if node.role == Role::Master && !failed {
            return Err(Error::Refused {
                what: format!("the master {name} can't be replaced while the cluster lives ({reason})"),
                hint: "write its old flavor and address into the design again, or destroy the cluster and make it anew"
                    .to_owned(),
            });
        }
        plan.push("replace", Verb::Delete, &what, reason, Action::DeleteNode(name.clone()));
        return Ok(if wanted_on { create(plan) } else { Sight::Off });
    }
    Ok(match (&found.state, wanted_on) {
        (NodeState::Running, true) => Sight::Running,
        (NodeState::Starting, true) => Sight::Unseen,
        (NodeState::Deleting, true) => create(plan),
        (NodeState::Stopped | NodeState::Stopping, true) => {
            plan.push(
                "power",
                Verb::Start,
                &what,
                "it is powered off",
                Action::PowerOn(name.clone()),
            );
            Sight::Unseen
        }
        (NodeState::Running | NodeState::Starting, false) => {
            plan.push(
                "power",
                Verb::Stop,
                &what,
                "it is powered on",
                Action::PowerOff(name.clone()),
            );
            Sight::Off
        }
        _ => Sight::Off,
    })
}

/// What exists beyond the design. Disks hold data, so a disk that left the design is told of and kept.
fn surplus(plan: &mut Plan, design: &Design, nodes: &[Node], found: &Inventory) {
    let designed: BTreeSet<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
    let surplus: Vec<&str> = found
        .nodes
        .iter()
        .map(|node| node.mark.resource.as_str())
        .filter(|name| !designed.contains(name))
        .collect();
    if design.power == Power::On {
        for name in &surplus {
            plan.push(
                "drain",
                Verb::Update,
                format!("drain {name}"),
                "it will be removed once its jobs are done",
                Action::Drain((*name).to_owned()),
            );
        }
    }
    for name in surplus {
        plan.push(
            "removal",
            Verb::Delete,
            format!("node {name}"),
            "not in the design",
            Action::DeleteNode(name.to_owned()),
        );
    }
    for disk in &found.disks {
        let name = &disk.mark.resource;
        if !design.disks.iter().any(|designed| designed.name == *name) {
            plan.notes.push(format!(
                "disk {name} is no longer in the design; it is kept, with its data, until the cluster is destroyed"
            ));
        }
    }
}

/// Everything that exists, to be removed: nodes, then disks, then the network. `doubtful` are resources that a call was
/// begun for and whose fate isn't known; a listing that lags may not show them yet.
pub(crate) fn remove_all(plan: &mut Plan, found: &Inventory, doubtful: &Doubtful) {
    let mut nodes: BTreeSet<&str> = found.nodes.iter().map(|node| node.mark.resource.as_str()).collect();
    nodes.extend(doubtful.nodes.iter().map(String::as_str));
    for name in nodes {
        plan.push(
            "removal",
            Verb::Delete,
            format!("node {name}"),
            "",
            Action::DeleteNode(name.to_owned()),
        );
    }
    let mut disks: BTreeSet<&str> = found.disks.iter().map(|disk| disk.mark.resource.as_str()).collect();
    disks.extend(doubtful.disks.iter().map(String::as_str));
    for name in disks {
        plan.push(
            "removal",
            Verb::Delete,
            format!("disk {name}"),
            "with what is on it",
            Action::DeleteDisk(name.to_owned()),
        );
    }
    if !found.networks.is_empty() || doubtful.network {
        plan.push("removal", Verb::Delete, "network", "", Action::DeleteNetwork);
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Resources that may exist although no list shows them.
#[derive(Debug, Default)]
pub(crate) struct Doubtful {
    pub(crate) nodes: BTreeSet<String>,
    pub(crate) disks: BTreeSet<String>,
    pub(crate) network: bool,
}

impl Doubtful {
    /// From the changes of the journal that were begun and never ended.
    pub(crate) fn from_changes<'a>(changes: impl Iterator<Item = &'a str>) -> Self {
        let mut doubtful = Self::default();
        for change in changes {
            if let Some(name) = change.strip_prefix("create node ") {
                doubtful.nodes.insert(name.to_owned());
            } else if let Some(name) = change.strip_prefix("create disk ") {
                doubtful.disks.insert(name.to_owned());
            } else if change == "create network" {
                doubtful.network = true;
            }
        }
        doubtful
    }
}
