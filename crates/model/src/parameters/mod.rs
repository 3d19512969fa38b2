//! Raw parameters → a checked [`Design`].
//!
//! Two steps with different types. *Reading* walks the raw mapping, knows every parameter's name and type, and leaves out
//! what a person left out. *Resolving* fills in defaults and checks what parts of a design mean to each other. Both add to
//! one list of faults, so that a person sees everything at once; a part that could not be read is skipped by the checks that
//! would need it instead of being reported twice.
//!
//! Each part of a design has a file with both steps for it. The order of the parts is in here.
//!
//! `null` means "as if it were not there", because a notebook's parameter cell writes `None` for "the default".

mod accounting;
mod containers;
mod disks;
mod files;
mod flavors;
mod gpus;
mod groups;
mod keys;
mod level;
mod master;
mod mounts;
mod names;
mod network;
mod partitions;
mod slurm_conf;
mod users;

use std::collections::BTreeMap;

use serde_json::Value;

use self::accounting::RawAccounting;
use self::disks::RawDisk;
use self::files::RawFile;
use self::groups::RawGroup;
use self::level::Level;
use self::master::RawMaster;
use self::mounts::RawMount;
use self::names::{check_label, default_text};
use self::network::RawNetwork;
use self::partitions::RawPartition;
use self::users::{RawUnixGroup, RawUser};
use crate::{Architecture, Design, Fault, Faults, Power, SCHEMA};

/// The most nodes that one design may have.
pub const MOST_NODES: u32 = 100_000;

impl Design {
    /// Checks raw parameters, in the shape of the design file, and fills in defaults. Only `name` is required.
    pub fn from_parameters(parameters: &Value) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let raw = read(parameters, &mut faults);
        let design = resolve(raw, &mut faults);
        match design {
            Some(design) if faults.is_empty() => Ok(design),
            _ => {
                faults.sort_by_key(|fault| place(&fault.path));
                Err(Faults(faults))
            }
        }
    }
}

fn fault(faults: &mut Vec<Fault>, path: impl Into<String>, message: impl Into<String>, help: impl Into<String>) {
    faults.push(Fault {
        path: path.into(),
        message: message.into(),
        help: help.into(),
    });
}

/// Where a path stands in the order of a design file, so that faults read from its top to its bottom.
fn place(path: &str) -> (usize, usize) {
    let top = path.split(['.', '[']).next().unwrap_or_default();
    let index = path
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']')?.0.parse().ok());
    (
        ROOT.iter().position(|known| *known == top).unwrap_or(0),
        index.unwrap_or(0),
    )
}

const ROOT: [&str; 19] = [
    "schema",
    "name",
    "provider",
    "image",
    "architecture",
    "power",
    "network",
    "master",
    "groups",
    "disks",
    "mounts",
    "partitions",
    "accounting",
    "unix_groups",
    "users",
    "slurm_conf",
    "files",
    "containers",
    "default_modules",
];

#[derive(Default)]
struct Raw {
    name: Option<String>,
    provider: Option<String>,
    image: Option<String>,
    architecture: Option<Architecture>,
    power: Option<Power>,
    network: RawNetwork,
    master: RawMaster,
    groups: Option<Vec<RawGroup>>,
    disks: Option<Vec<RawDisk>>,
    mounts: Vec<RawMount>,
    partitions: Option<Vec<RawPartition>>,
    accounting: RawAccounting,
    unix_groups: Vec<RawUnixGroup>,
    users: Vec<RawUser>,
    slurm_conf: BTreeMap<String, String>,
    files: Vec<RawFile>,
    containers: Option<Vec<String>>,
    default_modules: Vec<String>,
}

fn read(parameters: &Value, faults: &mut Vec<Fault>) -> Raw {
    let mut raw = Raw::default();
    let Some(mut root) = Level::enter(String::new(), parameters, &ROOT, faults) else {
        return raw;
    };
    if let Some(schema) = root.get("schema")
        && schema.as_u64() != Some(u64::from(SCHEMA))
    {
        root.fault(
            "schema",
            format!("schema {schema} is not one that this version knows"),
            format!("write {SCHEMA}"),
        );
    }
    raw.name = root.text("name");
    root.require("name", "the cluster has no name", "write a name such as demo");
    raw.provider = root.text("provider");
    raw.image = root.text("image");
    raw.architecture = root.text("architecture").and_then(|name| {
        let known = Architecture::of(&name);
        if known.is_none() {
            root.fault(
                "architecture",
                format!("there is no architecture {name:?}"),
                "write native, x86_64 or aarch64",
            );
        }
        known
    });
    raw.power = match root.get("power") {
        // YAML readers disagree on whether a bare `off` is a word or a truth value, and people mean the same by both.
        Some(Value::Bool(true)) => Some(Power::On),
        Some(Value::Bool(false)) => Some(Power::Off),
        Some(Value::String(word)) if word == "on" => Some(Power::On),
        Some(Value::String(word)) if word == "off" => Some(Power::Off),
        Some(other) => {
            let message = format!("power can't be {other}");
            root.fault("power", message, "write on or off");
            None
        }
        None => None,
    };
    raw.unix_groups = users::read_groups(&mut root);
    raw.users = users::read(&mut root);
    raw.files = files::read(&mut root);
    raw.containers = root.texts("containers");
    raw.default_modules = root.texts("default_modules").unwrap_or_default();
    raw.groups = groups::read(&mut root);
    raw.disks = disks::read(&mut root);
    raw.mounts = mounts::read(&mut root);
    raw.partitions = partitions::read(&mut root);

    let (network, master, extra) = (root.get("network"), root.get("master"), root.get("slurm_conf"));
    let accounting = root.get("accounting");
    if let Some(network) = network {
        raw.network = network::read(network, faults);
    }
    if let Some(master) = master {
        raw.master = master::read(master, faults);
    }
    if let Some(accounting) = accounting {
        raw.accounting = accounting::read(accounting, faults);
    }
    if let Some(extra) = extra {
        raw.slurm_conf = slurm_conf::read(extra, faults);
    }
    raw
}

fn resolve(raw: Raw, faults: &mut Vec<Fault>) -> Option<Design> {
    let Raw {
        name,
        provider,
        image,
        architecture,
        power,
        network,
        master,
        groups,
        disks,
        mounts,
        partitions,
        accounting,
        unix_groups,
        users,
        slurm_conf,
        files,
        containers,
        default_modules,
    } = raw;
    if let Some(name) = &name {
        check_label(name, 32, "name", faults);
    }
    let provider = default_text(provider, "local", "provider", faults);
    let image = default_text(image, "debian-13", "image", faults);

    let groups = groups.unwrap_or_else(groups::default_groups);
    let total = groups
        .iter()
        .fold(0u32, |sum, group| sum.saturating_add(group.node_count()));
    if total > MOST_NODES {
        fault(
            faults,
            "groups",
            format!("there are {total} nodes in all"),
            format!("a cluster has at most {MOST_NODES}"),
        );
        return None;
    }

    let room = groups.iter().map(RawGroup::room).fold(0, u32::saturating_add);
    let subnet = network::resolve(&network, name.as_deref(), room);
    let master = master::resolve(master, subnet.as_ref(), faults);
    let groups = groups::resolve(groups, subnet.as_ref(), master.as_ref(), faults);
    let disks = disks::resolve(disks, faults);
    let mounts = mounts::resolve(mounts, &disks, faults);
    let users = users::resolve(users, faults);
    let unix_groups = users::resolve_groups(unix_groups, &users, faults);
    let partitions = partitions::resolve(partitions, &groups, &users, &unix_groups, faults);
    let group_names: Vec<String> = groups.iter().filter_map(|group| group.name.clone()).collect();
    let files = files::resolve(files, &group_names, &disks, faults);
    let accounting = accounting::resolve(accounting, &users, faults);
    if !groups.iter().any(|group| group.gpus) {
        accounting::check_no_gpus(&accounting, &users, faults);
    }
    slurm_conf::check_accounting(&slurm_conf, &accounting, faults);
    let containers = containers::resolve(containers, faults);
    let default_modules = containers::resolve_modules(default_modules, &containers, faults);

    let network = subnet.map(|subnet| {
        let is_node = |address| {
            master.as_ref().is_some_and(|master| master.address == address)
                || groups
                    .iter()
                    .filter_map(|group| group.done.as_ref())
                    .any(|group| group.addresses.contains(address))
        };
        network.with(subnet, is_node, faults)
    });

    Some(Design {
        schema: SCHEMA,
        name: name?,
        provider,
        image,
        architecture: architecture.unwrap_or(Architecture::Native),
        power: power.unwrap_or(Power::On),
        network: network?,
        master: master?,
        groups: groups.into_iter().filter_map(|group| group.done).collect(),
        disks,
        mounts,
        partitions,
        accounting,
        unix_groups,
        users,
        slurm_conf,
        files,
        containers,
        default_modules,
    })
}
