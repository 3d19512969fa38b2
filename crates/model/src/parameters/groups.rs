//! Groups of nodes.
//!
//! Names and addresses that people wrote are gathered from all groups before any default is made, so that defaults fit around
//! them.

use std::collections::HashMap;

use super::gpus::RawGpu;
use super::level::{Level, join};
use super::names::{check_hosts, check_label, counted, default_hosts};
use super::network::{check_range, free_block};
use super::{MOST_NODES, fault, flavors, gpus};
use crate::{AddressRange, Fault, Group, Master, Subnet};

/// How many nodes a group has when nothing is said.
const DEFAULT_NODES: u32 = 2;
/// How many nodes a group can grow to when nothing else is said.
const DEFAULT_ROOM: u32 = 16;

const GROUP: [&str; 7] = ["name", "nodes", "flavor", "hosts", "addresses", "features", "gpus"];

#[derive(Default)]
pub(super) struct RawGroup {
    path: String,
    name: Option<String>,
    name_given: bool,
    nodes: Option<u32>,
    flavor: Option<String>,
    hosts: Option<String>,
    addresses: Option<AddressRange>,
    addresses_given: bool,
    features: Vec<String>,
    gpus: Vec<RawGpu>,
}

impl RawGroup {
    /// How many nodes it has.
    pub(super) fn node_count(&self) -> u32 {
        self.nodes.unwrap_or(DEFAULT_NODES)
    }

    /// How many nodes it can grow to.
    pub(super) fn room(&self) -> u32 {
        self.node_count().max(DEFAULT_ROOM)
    }
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Option<Vec<RawGroup>> {
    root.items("groups", &GROUP, read_group)
}

fn read_group(level: &mut Level<'_, '_>) -> RawGroup {
    RawGroup {
        path: level.path.clone(),
        name_given: level.get("name").is_some(),
        name: level.text("name"),
        nodes: level.number("nodes", 0, MOST_NODES),
        flavor: level.text("flavor"),
        hosts: level.text("hosts"),
        addresses_given: level.get("addresses").is_some(),
        addresses: level.parsed("addresses"),
        features: level.texts("features").unwrap_or_default(),
        gpus: gpus::read(level),
    }
}

/// What a design has that says nothing about groups.
pub(super) fn default_groups() -> Vec<RawGroup> {
    vec![RawGroup {
        path: "groups[0]".to_owned(),
        ..RawGroup::default()
    }]
}

/// A group on its way: `done` stays empty when a part of it could not be read.
pub(super) struct ResolvedGroup {
    pub(super) name: Option<String>,
    /// Whether it asks for GPUs, readable or not.
    pub(super) gpus: bool,
    pub(super) done: Option<Group>,
}

pub(super) fn resolve(
    raw: Vec<RawGroup>,
    subnet: Option<&Subnet>,
    master: Option<&Master>,
    faults: &mut Vec<Fault>,
) -> Vec<ResolvedGroup> {
    // What is already spoken for, written down by people first: defaults then fit around it, wherever in the list they stand.
    let mut taken: Vec<(String, AddressRange)> = Vec::new();
    if let Some(master) = master
        && let Ok(range) = AddressRange::between(master.address, master.address)
    {
        taken.push(("the master".to_owned(), range));
    }
    let mut seen_names: HashMap<String, usize> = HashMap::new();
    let mut names = Vec::with_capacity(raw.len());
    for (index, group) in raw.iter().enumerate() {
        let path = join(&group.path, "name");
        let name = match &group.name {
            Some(name) => name.clone(),
            // Only one group can go without a name, or else two would have the same.
            None if index == 0 && !group.name_given => "compute".to_owned(),
            None if group.name_given => {
                names.push(None);
                continue;
            }
            None => {
                fault(faults, path, "the group has no name", "write a name such as gpu");
                names.push(None);
                continue;
            }
        };
        let mut good = check_label(&name, 32, &path, faults);
        if name == "master" || name == "all" {
            fault(
                faults,
                path.clone(),
                format!("'{name}' has a meaning of its own"),
                "write another name",
            );
            good = false;
        }
        if let Some(first) = seen_names.insert(name.clone(), index) {
            fault(
                faults,
                path,
                format!("groups[{first}] is also named '{name}'"),
                "write another name",
            );
            good = false;
        }
        names.push(good.then_some(name));

        if let Some(addresses) = &group.addresses {
            let path = join(&group.path, "addresses");
            check_range(addresses, subnet, &path, faults);
            for (owner, other) in &taken {
                if let Some(both) = addresses.overlaps(other) {
                    fault(
                        faults,
                        path.clone(),
                        format!("{both} also belongs to {owner}"),
                        "write ranges that don't overlap",
                    );
                }
            }
            taken.push((group.path.clone(), addresses.clone()));
        }
    }

    let mut host_owner: HashMap<String, String> = HashMap::new();
    if let Some(master) = master {
        host_owner.insert(master.host.clone(), "the master".to_owned());
    }
    let mut resolved = Vec::with_capacity(raw.len());
    for (group, name) in raw.into_iter().zip(names) {
        let gpus = !group.gpus.is_empty();
        let done = resolve_group(group, name.clone(), subnet, &mut taken, &mut host_owner, faults);
        resolved.push(ResolvedGroup { name, gpus, done });
    }
    resolved
}

fn resolve_group(
    raw: RawGroup,
    name: Option<String>,
    subnet: Option<&Subnet>,
    taken: &mut Vec<(String, AddressRange)>,
    host_owner: &mut HashMap<String, String>,
    faults: &mut Vec<Fault>,
) -> Option<Group> {
    let (nodes, room) = (raw.node_count(), raw.room());
    let flavor = flavors::resolve(raw.flavor, &join(&raw.path, "flavor"), faults);
    for (index, feature) in raw.features.iter().enumerate() {
        let plain = feature.starts_with(|character: char| character.is_ascii_alphabetic())
            && feature
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte));
        if !plain {
            fault(
                faults,
                format!("{}.features[{index}]", raw.path),
                format!("{feature:?} can't be a feature"),
                "write a letter, then letters, digits, '_', '-', '.' or ':'",
            );
        }
    }

    let gpus = gpus::resolve(raw.gpus, faults);
    let hosts = raw
        .hosts
        .or_else(|| name.as_ref().map(|name| default_hosts(name, room)));
    let hosts = hosts.and_then(|hosts| check_hosts(&hosts, nodes, &raw.path, host_owner, faults).then_some(hosts));

    let path = join(&raw.path, "addresses");
    let addresses = match (raw.addresses, subnet) {
        (Some(addresses), _) => Some(addresses),
        (None, Some(subnet)) if !raw.addresses_given => {
            let found = free_block(subnet, room, taken).or_else(|| free_block(subnet, nodes.max(1), taken));
            match &found {
                Some(block) => taken.push((raw.path.clone(), block.clone())),
                None => fault(
                    faults,
                    path.clone(),
                    format!("the subnet {subnet} has no {nodes} free addresses in a row"),
                    "write a larger network.subnet",
                ),
            }
            found
        }
        _ => None,
    };
    if let Some(addresses) = &addresses
        && addresses.len() < u128::from(nodes)
    {
        fault(
            faults,
            path,
            format!(
                "{addresses} has {} for {nodes} nodes",
                counted(addresses.len(), "address", "addresses")
            ),
            "write a longer range, or fewer nodes",
        );
    }
    Some(Group {
        name: name?,
        nodes,
        flavor,
        hosts: hosts?,
        addresses: addresses?,
        features: raw.features,
        gpus,
    })
}
