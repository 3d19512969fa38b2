//! Slurm: a controller that hands its configuration to the workers ("configless"), MUNGE between them, one shared home.
//!
//! The phases, in their order:
//!
//! | phase | nodes | keeps true |
//! | --- | --- | --- |
//! | identity | all | host names and addresses |
//! | storage | all | the design's disks are mounted |
//! | munge | all | the cluster's key, the daemon |
//! | modules | all | what login shells load |
//! | containers | all | what runs containers is in the image; on compute nodes, what Podman needs to run without root |
//! | users | all | accounts; homes and keys once, on the master |
//! | files | as designed | files that a person edits, before whatever reads them; see [`super::files`] |
//! | accounting | master | the database, slurmdbd and what it reads; or that neither runs |
//! | controller | master | `slurm.conf`, `cgroup.conf`, slurmctld |
//! | accounts | master | Slurm's accounts, users and limits, beside the workers' own phases |
//! | worker | compute | slurmd, once the controller answers |
//! | verify | master | every worker takes jobs |

use std::collections::BTreeMap;

use clusterbook_model::{Accounting, Cgroups, Disk, Flavor, Node, Role, Secret, SlurmValues, User};

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

impl Slurm {
    pub(crate) fn new(context: &Context<'_>) -> Result<Self, Error> {
        let design = context.design;
        let flavors: Vec<Flavor> = context.flavors.values().cloned().collect();
        let cgroups = if context.cgroups { Cgroups::V2 } else { Cgroups::None };
        let values = SlurmValues::new(design, &flavors, cgroups).map_err(Error::Design)?;
        let render = |name: &str| context.renderer.render(name, &values);
        let everywhere = [
            identity(render("slurm/hosts")?),
            storage(if context.shared_disks { &design.disks } else { &[] }),
            munge(&context.munge_key),
            containers::modules(&design.default_modules),
        ];
        let mut master = everywhere.to_vec();
        // Before the users: whoever leaves takes the numbers of their containers along.
        master.extend(containers::containers(design, Role::Master, context.cgroups));
        master.push(users(&design.users, Role::Master));
        master.push(accounting(design.accounting.enabled, render("slurm/slurmdbd.conf")?));
        master.push(controller(render("slurm/slurm.conf")?, render("slurm/cgroup.conf")?));
        if design.accounting.enabled {
            master.push(accounts(&design.accounting, &design.users));
        }
        master.push(verify(values.nodes.iter().map(|node| node.name.as_str())));
        let mut worker = everywhere.to_vec();
        worker.extend(containers::containers(design, Role::Compute, context.cgroups));
        worker.push(users(&design.users, Role::Compute));
        worker.push(self::worker(render("slurm/slurmd.default")?));
        files::add(&mut master, &design.files, "master")?;
        let mut workers = BTreeMap::new();
        for group in &design.groups {
            let mut worker = worker.clone();
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

fn identity(hosts: String) -> Phase {
    Phase {
        name: "identity",
        after: Barrier::Nothing,
        items: vec![Item::file("/etc/hosts", 0o644, hosts)],
    }
}

fn storage(disks: &[Disk]) -> Phase {
    Phase {
        name: "storage",
        after: Barrier::Nothing,
        items: disks.iter().map(|disk| Item::mount(&disk.mount)).collect(),
    }
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

/// Accounts everywhere; homes, which all nodes share, on the master only.
fn users(users: &[User], role: Role) -> Phase {
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

fn controller(slurm_conf: String, cgroup_conf: String) -> Phase {
    let slurm_conf = Item::file("/etc/slurm/slurm.conf", 0o644, slurm_conf);
    let cgroup_conf = Item::file("/etc/slurm/cgroup.conf", 0o644, cgroup_conf);
    let service =
        Item::service("slurmctld", Refresh::ScontrolReconfigure, &[&slurm_conf, &cgroup_conf]).tried(Trial::Slurmctld);
    Phase {
        name: "controller",
        after: Barrier::Nothing,
        items: vec![
            Item::directory("/var/lib/slurm/slurmctld", 0o755, "slurm:slurm"),
            slurm_conf,
            cgroup_conf,
            at_boot("slurmctld"),
            service,
        ],
    }
}

fn worker(defaults: String) -> Phase {
    let defaults = Item::file("/etc/default/slurmd", 0o644, defaults);
    let service = Item::service("slurmd", Refresh::Restart, &[&defaults]);
    Phase {
        name: "worker",
        after: Barrier::Controller,
        items: vec![defaults, at_boot("slurmd"), service],
    }
}

fn verify<'a>(workers: impl Iterator<Item = &'a str>) -> Phase {
    Phase {
        name: "verify",
        after: Barrier::Workers,
        items: workers.map(Item::slurm_node).collect(),
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
