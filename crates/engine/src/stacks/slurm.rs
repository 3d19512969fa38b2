//! Slurm: a controller that hands its configuration to the workers ("configless"), MUNGE between them, one shared home.
//!
//! The phases, in their order:
//!
//! | phase | nodes | keeps true |
//! | --- | --- | --- |
//! | identity | all | host names and addresses |
//! | storage | all | the design's disks and others' storage are mounted |
//! | munge | all | the cluster's key, the daemon |
//! | modules | all | what login shells load |
//! | containers | all | what runs containers is in the image; on compute nodes, what Podman needs to run without root |
//! | users | all | accounts; homes and keys once, on the master |
//! | files | as designed | files that a person edits, before whatever reads them; see [`super::files`] |
//! | accounting | master | the database, slurmdbd and what it reads; or that neither runs |
//! | controller | master | `slurm.conf`, `cgroup.conf`, `gres.conf`, slurmctld |
//! | accounts | master | Slurm's accounts, users and limits, beside the workers' own phases |
//! | gpus | compute | something to stand for each GPU that is only counted |
//! | worker | compute | slurmd, once the controller answers |
//! | verify | master | every worker takes jobs |

use std::collections::BTreeMap;

use clusterbook_model::{
    Accounting, Cgroups, Design, Disk, Flavor, Group, Mount, Node, Role, Secret, SlurmNode, SlurmValues, UnixGroup,
    User,
};
use serde::Serialize;

use super::{Barrier, Context, Phase, containers, files};
use crate::error::Error;
use crate::item::{Content, Item, Refresh, Trial};

/// The stack of one design. Everything is rendered and digested once: a cluster's host names alone are long enough that doing so
/// for each of ten thousand nodes would take longer than looking at them.
pub(crate) struct Slurm {
    master: Vec<Phase>,
    /// By group, because groups may hold different files.
    workers: BTreeMap<String, Vec<Phase>>,
}

/// What a mount unit is rendered from.
#[derive(Serialize)]
struct Values<'a> {
    mount: &'a Mount,
}

impl Slurm {
    pub(crate) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let design = context.design;
        let flavors: Vec<Flavor> = context.flavors.values().cloned().collect();
        let cgroups = if context.cgroups { Cgroups::V2 } else { Cgroups::None };
        let values = SlurmValues::new(design, &flavors, cgroups).map_err(Error::Design)?;
        let render = |name: &str| context.renderer.render(name, &values);
        let mounts = design
            .mounts
            .iter()
            .map(|mount| {
                Ok((
                    mount,
                    context.renderer.render("slurm/storage.mount", &Values { mount })?,
                ))
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let everywhere = [
            identity(
                render("slurm/hosts")?,
                // Without name servers of the design's, the provider's stay.
                match design.network.dns_forwarders.is_empty() {
                    true => None,
                    false => Some(render("slurm/resolv.conf")?),
                },
            ),
            storage(if context.shared_disks { &design.disks } else { &[] }, &mounts),
            munge(&context.munge_key),
            containers::modules(&design.default_modules),
        ];
        let mut master = everywhere.to_vec();
        // Before the users: whoever leaves takes the numbers of their containers along.
        master.extend(containers::containers(design, Role::Master, context.cgroups));
        let groups: Vec<Item> = design
            .unix_groups
            .iter()
            .map(|group| Item::unix_group(group, &design.users))
            .collect();
        master.push(users(&design.users, &groups, Role::Master));
        master.push(accounting(design.accounting.enabled, render("slurm/slurmdbd.conf")?));
        let gres_conf = Item::file("/etc/slurm/gres.conf", 0o644, render("slurm/gres.conf")?);
        master.push(controller(
            render("slurm/slurm.conf")?,
            render("slurm/cgroup.conf")?,
            gres_conf.clone(),
            &partition_groups(design, &groups),
        ));
        if design.accounting.enabled {
            master.push(accounts(&design.accounting, &design.users));
        }
        master.push(verify(&values.nodes, &gres_conf));
        let mut worker = everywhere.to_vec();
        worker.extend(containers::containers(design, Role::Compute, context.cgroups));
        worker.push(users(&design.users, &groups, Role::Compute));
        let defaults = render("slurm/slurmd.default")?;
        files::add(&mut master, &design.files, "master")?;
        let mut workers = BTreeMap::new();
        for group in &design.groups {
            let mut worker = worker.clone();
            let gpus = gpus(group);
            let slurmd = self::worker(defaults.clone(), group, &gpus.items);
            worker.extend([gpus, slurmd]);
            files::add(&mut worker, &design.files, &group.name)?;
            workers.insert(group.name.clone(), worker);
        }
        Ok(Self { master, workers })
    }
}

impl super::Stack for Slurm {
    fn phases(&self, node: &Node) -> &[Phase] {
        match node.role {
            Role::Master => &self.master,
            Role::Compute => self.workers.get(&node.group).map_or(&[], Vec::as_slice),
        }
    }
}

/// Who the nodes are, and whom they ask about others.
fn identity(hosts: String, resolver: Option<String>) -> Phase {
    let mut items = vec![Item::file("/etc/hosts", 0o644, hosts)];
    items.extend(resolver.map(|text| Item::file("/etc/resolv.conf", 0o644, text)));
    Phase {
        name: "identity",
        after: Barrier::Nothing,
        items,
    }
}

fn storage(disks: &[Disk], mounts: &[(&Mount, String)]) -> Phase {
    let mut items: Vec<Item> = disks.iter().map(|disk| Item::mount(&disk.mount)).collect();
    for (mount, unit_file) in mounts {
        let unit = format!("{}.mount", unit_name(&mount.mount));
        let file = Item::file(&format!("/etc/systemd/system/{unit}"), 0o644, unit_file.as_str());
        let link = Item::link(
            &format!("/etc/systemd/system/remote-fs.target.wants/{unit}"),
            &format!("/etc/systemd/system/{unit}"),
        );
        let mounted = Item::mount_unit(&unit, &mount.mount, &file);
        items.extend([file, link, mounted]);
    }
    Phase {
        name: "storage",
        after: Barrier::Nothing,
        items,
    }
}

/// The name of the unit that mounts at a path, without its ending, as `systemd-escape --path` makes it. Paths are plain already.
fn unit_name(path: &str) -> String {
    let mut name = String::new();
    for character in path.trim_matches('/').chars() {
        match character {
            '/' => name.push('-'),
            '-' => name.push_str("\\x2d"),
            '.' if name.is_empty() => name.push_str("\\x2e"),
            other => name.push(other),
        }
    }
    name
}

fn munge(key: &Secret) -> Phase {
    let key = Item::file_of(
        "/etc/munge/munge.key",
        0o400,
        "munge:munge",
        Content::Secret(key.clone()),
    );
    let service = Item::service("munge", Refresh::Restart, &[&key]);
    Phase {
        name: "munge",
        after: Barrier::Nothing,
        items: vec![key, at_boot("munge"), service],
    }
}

/// Accounts and groups everywhere; homes, which all nodes share, on the master only.
fn users(users: &[User], groups: &[Item], role: Role) -> Phase {
    let mut sudoers = String::from("# Made by clusterbook from the design's users.\n");
    for user in users.iter().filter(|user| user.sudo) {
        sudoers.push_str(&format!("{} ALL=(ALL) NOPASSWD: ALL\n", user.name));
    }
    let mut items = vec![Item::file("/etc/sudoers.d/clusterbook", 0o440, sudoers)];
    for user in users {
        let home = format!("/home/{}", user.name);
        items.push(Item::account(&user.name, user.uid, &home));
        if role == Role::Master {
            let owner = format!("{0}:{0}", user.name);
            let mut keys = user.keys.join("\n");
            if !keys.is_empty() {
                keys.push('\n');
            }
            items.push(Item::directory(&home, 0o700, &owner));
            items.push(Item::directory(&format!("{home}/.ssh"), 0o700, &owner));
            let keys = Content::Text(keys.into());
            items.push(Item::file_of(
                &format!("{home}/.ssh/authorized_keys"),
                0o600,
                owner,
                keys,
            ));
        }
    }
    items.extend_from_slice(groups);
    Phase {
        name: "users",
        after: Barrier::Nothing,
        items,
    }
}

/// The database is in the image and starts with the node; slurmdbd starts before the controller, whose first start asks it.
fn accounting(enabled: bool, slurmdbd_conf: String) -> Phase {
    let conf = Item::file_of(
        "/etc/slurm/slurmdbd.conf",
        0o600,
        "slurm:slurm",
        Content::Text(slurmdbd_conf.into()),
    );
    let items = if enabled {
        let slurmdbd = Item::service("slurmdbd", Refresh::Restart, &[&conf]);
        vec![
            at_boot("mariadb"),
            Item::service("mariadb", Refresh::Start, &[]),
            conf,
            at_boot("slurmdbd"),
            slurmdbd,
        ]
    } else {
        vec![Item::no_service("slurmdbd"), Item::no_service("mariadb")]
    };
    Phase {
        name: "accounting",
        after: Barrier::Nothing,
        items,
    }
}

/// Slurm's accounts, parents first, and who may charge jobs to them.
fn accounts(accounting: &Accounting, users: &[User]) -> Phase {
    let accounts = accounting
        .accounts
        .iter()
        .map(|account| Item::slurm_account(account, &accounting.limits_of(&account.name)));
    let users = users.iter().map(|user| {
        let held: Vec<_> = accounting
            .accounts_of(user)
            .into_iter()
            .map(|name| (name, user.limits.below(&accounting.limits_of(name))))
            .collect();
        Item::slurm_user(user, &held)
    });
    Phase {
        name: "accounts",
        after: Barrier::Controller,
        items: accounts.chain(users).collect(),
    }
}

/// The groups that partitions are for. Slurm looks at their members when it reads its configuration, and else only every ten minutes.
fn partition_groups<'a>(design: &Design, groups: &'a [Item]) -> Vec<&'a Item> {
    let named = |group: &UnixGroup| {
        design
            .partitions
            .iter()
            .any(|partition| partition.allow_groups.contains(&group.name))
    };
    design
        .unix_groups
        .iter()
        .zip(groups)
        .filter(|(group, _)| named(group))
        .map(|(_, item)| item)
        .collect()
}

fn controller(slurm_conf: String, cgroup_conf: String, gres_conf: Item, groups: &[&Item]) -> Phase {
    let slurm_conf = Item::file("/etc/slurm/slurm.conf", 0o644, slurm_conf);
    let cgroup_conf = Item::file("/etc/slurm/cgroup.conf", 0o644, cgroup_conf);
    let mut inputs = vec![&slurm_conf, &cgroup_conf, &gres_conf];
    inputs.extend(groups);
    let service = Item::service("slurmctld", Refresh::ScontrolReconfigure, &inputs).tried(Trial::Slurmctld);
    Phase {
        name: "controller",
        after: Barrier::Nothing,
        items: vec![
            Item::directory("/var/lib/slurm/slurmctld", 0o755, "slurm:slurm"),
            slurm_conf,
            cgroup_conf,
            gres_conf,
            at_boot("slurmctld"),
            service,
        ],
    }
}

/// Slurm takes a GPU for one only when it has a device file, so each that is only counted has one: whatever is done with it, nothing
/// happens.
fn gpus(group: &Group) -> Phase {
    Phase {
        name: "gpus",
        after: Barrier::Nothing,
        items: group
            .gpu_stand_ins()
            .iter()
            .map(|path| Item::link(path, "/dev/null"))
            .collect(),
    }
}

/// slurmd looks at its GPUs when it starts, so it starts again when the group's change.
fn worker(defaults: String, group: &Group, stand_ins: &[Item]) -> Phase {
    let mut defaults = defaults;
    if !group.gpus.is_empty() {
        let gpus: Vec<String> = group
            .gpus
            .iter()
            .map(|gpu| format!("# {gpu} {}\n", gpu.devices.join(" ")))
            .collect();
        defaults.push_str(&format!(
            "# GPUs of this node, which slurmd looks for when it starts:\n{}",
            gpus.concat()
        ));
    }
    let defaults = Item::file("/etc/default/slurmd", 0o644, defaults);
    let inputs: Vec<&Item> = std::iter::once(&defaults).chain(stand_ins).collect();
    let service = Item::service("slurmd", Refresh::Restart, &inputs);
    Phase {
        name: "worker",
        after: Barrier::Controller,
        items: vec![defaults, at_boot("slurmd"), service],
    }
}

/// Every worker takes jobs; those with GPUs are asked again when what is known of GPUs changed, since Slurm drains a node that has fewer.
fn verify(workers: &[SlurmNode], gres_conf: &Item) -> Phase {
    Phase {
        name: "verify",
        after: Barrier::Workers,
        items: workers
            .iter()
            .map(|node| Item::slurm_node(&node.name, (!node.gres.is_empty()).then_some(gres_conf)))
            .collect(),
    }
}

/// A unit that starts with the node. The link is made by hand, because `systemctl enable` makes systemd read all of its
/// units again, which is most of the time of setting up a node.
fn at_boot(unit: &str) -> Item {
    Item::link(
        &format!("/etc/systemd/system/multi-user.target.wants/{unit}.service"),
        &format!("/usr/lib/systemd/system/{unit}.service"),
    )
}

#[cfg(test)]
mod tests {
    use clusterbook_model::{Architecture, Design, DesignFile, Renderer, Size};

    use super::*;
    use crate::item::Kind;
    use crate::stacks::Stack as _;

    /// Everything that phases place on some node of a design.
    fn placed(design: &Design) -> Vec<String> {
        let flavors = design.nodes().into_iter().map(|node| {
            let flavor = Flavor {
                name: node.flavor.clone(),
                cpus: 8,
                memory: Size::from_gib(16),
                gpus: 8,
                architecture: Architecture::Native,
            };
            (node.flavor, flavor)
        });
        let stack = Slurm::new(&Context {
            design,
            flavors: &flavors.collect(),
            munge_key: Secret::new("key"),
            shared_disks: true,
            cgroups: true,
            renderer: &Renderer::new(BTreeMap::new()).unwrap(),
        })
        .unwrap();
        let mut paths = Vec::new();
        for node in design.nodes() {
            for item in stack.phases(&node).iter().flat_map(|phase| &phase.items) {
                if let Kind::File { path, .. } | Kind::Link { path, .. } = &item.kind {
                    paths.push(path.clone());
                }
            }
        }
        paths.sort();
        paths.dedup();
        paths
    }

    #[test]
    fn what_phases_place_nobody_is_offered_to_edit() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/designs/good");
        let mut seen = 0;
        for entry in fs_err::read_dir(folder).unwrap() {
            let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
            let design = DesignFile::parse(&text).unwrap().design().clone();
            for path in placed(&design) {
                seen += 1;
                let mut value = serde_json::to_value(&design).unwrap();
                value["files"] = serde_json::json!([{"path": path, "content": "mine"}]);
                let faults = Design::from_parameters(&value).expect_err(&path).to_string();
                assert!(faults.contains("files[0]"), "{path}: {faults}");
            }
        }
        assert!(seen > 100, "{seen} paths");
    }
}
