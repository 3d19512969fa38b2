//! Files that a person edits on nodes: what they hold is part of the design, so it is kept true, and every apply's stored
//! design is a version to go back to.
//!
//! Paths are those of configuration: what the template writes itself is refused with the parameter to use instead, and so is
//! whatever wouldn't outlive a restart or belongs to somebody else.

use std::collections::BTreeSet;

use super::fault;
use super::level::{Level, join};
use crate::{Design, Disk, EditedFile, Fault};

/// The largest file, in bytes. Contents lie in the design, which people read.
const LARGEST: usize = 256 * 1024;

const FILE: [&str; 7] = ["path", "nodes", "mode", "owner", "reload", "restart", "content"];

pub(super) struct RawFile {
    place: String,
    path: Option<String>,
    nodes: Option<Vec<String>>,
    mode: Option<String>,
    owner: Option<String>,
    reload: Vec<String>,
    restart: Vec<String>,
    content: Option<String>,
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Vec<RawFile> {
    root.items("files", &FILE, read_file).unwrap_or_default()
}

fn read_file(level: &mut Level<'_, '_>) -> RawFile {
    level.require("path", "the file has no path", "write a path such as /etc/motd");
    level.require(
        "content",
        "the file has no content",
        "write what it holds; \"\" for an empty file",
    );
    RawFile {
        place: level.path.clone(),
        path: level.text("path"),
        nodes: level.texts("nodes"),
        mode: level.text("mode"),
        owner: level.text("owner"),
        reload: level.texts("reload").unwrap_or_default(),
        restart: level.texts("restart").unwrap_or_default(),
        content: level.text("content"),
    }
}

pub(super) fn resolve(
    raw: Vec<RawFile>,
    groups: &[String],
    disks: &[Disk],
    faults: &mut Vec<Fault>,
) -> Vec<EditedFile> {
    let mut files: Vec<(String, EditedFile)> = Vec::with_capacity(raw.len());
    for file in raw {
        let (Some(path), Some(content)) = (file.path, file.content) else {
            continue;
        };
        let nodes = file.nodes.unwrap_or_else(|| vec!["all".to_owned()]);
        check_path(&path, &join(&file.place, "path"), disks, faults);
        check_nodes(&nodes, &join(&file.place, "nodes"), groups, faults);
        check_content(&content, &join(&file.place, "content"), faults);
        let mode = mode(file.mode, &join(&file.place, "mode"), faults);
        let owner = owner(file.owner, &join(&file.place, "owner"), faults);
        let reload = units(file.reload, &join(&file.place, "reload"), faults);
        let restart = units(file.restart, &join(&file.place, "restart"), faults);
        if let Some(both) = reload.iter().find(|unit| restart.contains(unit)) {
            fault(
                faults,
                join(&file.place, "reload"),
                format!("{both} is to be restarted, too"),
                "name it in one of the two",
            );
        }
        let done = EditedFile {
            path,
            nodes,
            mode,
            owner,
            reload,
            restart,
            content,
        };
        let clash = files
            .iter()
            .find(|(_, other)| other.path == done.path && overlap(&other.nodes, &done.nodes));
        if let Some((other, _)) = clash {
            fault(
                faults,
                join(&file.place, "path"),
                format!("{other} is the same file on the same nodes"),
                "write each file once, or name different nodes",
            );
        }
        files.push((file.place, done));
    }
    files.into_iter().map(|(_, file)| file).collect()
}

fn overlap(one: &[String], other: &[String]) -> bool {
    one.iter().any(|word| word == "all")
        || other.iter().any(|word| word == "all")
        || one.iter().any(|word| other.contains(word))
}

/// Files that the template writes itself, or that belong to the system, and what to do instead. A path that ends with a slash
/// stands for all that is in it.
const MANAGED: [(&str, &str); 33] = [
    ("/etc/slurm/slurm.conf", "set slurm_conf instead"),
    (
        "/etc/slurm/cgroup.conf",
        "it follows from the nodes' cgroups; leave it out",
    ),
    ("/etc/default/slurmd", "set master.address instead"),
    (
        "/etc/hosts",
        "set master.host, master.address, groups[].hosts and groups[].addresses instead",
    ),
    ("/etc/hostname", "set master.host or groups[].hosts instead"),
    ("/etc/slurm/gres.conf", "set groups[].gpus instead"),
    ("/etc/slurm/slurmdbd.conf", "set accounting instead"),
    (
        "/etc/systemd/system/multi-user.target.wants/",
        "which services start with a node follows from the design; leave it out",
    ),
    (
        "/etc/systemd/system/remote-fs.target.wants/",
        "describe the storage in mounts instead",
    ),
    ("/etc/resolv.conf", "set network.dns_forwarders instead"),
    ("/etc/fstab", "describe the disk in disks instead"),
    ("/etc/machine-id", "each node has its own; leave it out"),
    ("/etc/munge/", "the cluster's key is made for it; leave it out"),
    ("/etc/passwd", "describe people in users instead"),
    ("/etc/shadow", "describe people in users instead"),
    ("/etc/group", "describe people in users instead"),
    ("/etc/gshadow", "describe people in users instead"),
    ("/etc/subuid", "describe people in users instead"),
    ("/etc/subgid", "describe people in users instead"),
    (
        "/etc/containers/containers.conf",
        "write a file such as /etc/containers/containers.conf.d/20-site.conf instead",
    ),
    (
        "/etc/containers/storage.conf",
        "a user's own is ~/.config/containers/storage.conf; leave it out",
    ),
    (
        "/etc/profile.d/z90-clusterbook-modules.sh",
        "set default_modules instead",
    ),
    ("/etc/sudoers", "set users[].sudo, or write a file in /etc/sudoers.d"),
    (
        "/etc/sudoers.d/clusterbook",
        "set users[].sudo, or write a file of another name beside it",
    ),
    (
        "/etc/ssh/sshd_config",
        "write a file such as /etc/ssh/sshd_config.d/20-site.conf instead",
    ),
    ("/root/.ssh/", "clusterbook logs in by it; leave it out"),
    ("/etc/clusterbook/", "clusterbook knows the node by it; leave it out"),
    (
        "/var/lib/clusterbook/",
        "clusterbook keeps its notes there; leave it out",
    ),
    ("/var/lib/slurm/", "Slurm keeps its state there; leave it out"),
    ("/proc/", "it is no file on a disk; write one below /etc"),
    ("/sys/", "it is no file on a disk; write one below /etc"),
    ("/dev/", "it is no file on a disk; write one below /etc"),
    ("/boot/", "nodes start from their image; leave it out"),
];

/// Folders that a restart empties.
const PASSING: [&str; 3] = ["/run/", "/tmp/", "/var/run/"];

fn check_path(path: &str, place: &str, disks: &[Disk], faults: &mut Vec<Fault>) {
    let plain = path.len() <= 255
        && path.strip_prefix('/').is_some_and(|rest| {
            rest.split('/').all(|part| {
                !part.is_empty()
                    && part != "."
                    && part != ".."
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@+:".contains(&byte))
            })
        });
    if !plain {
        let help =
            "write an absolute path such as /etc/motd, of letters, digits and -_.@+: with single slashes between";
        fault(faults, place, format!("{path:?} is not the path of a file"), help);
        return;
    }
    let name = path.rsplit('/').next().unwrap_or_default();
    let managed = MANAGED
        .iter()
        .find(|(managed, _)| path == *managed || managed.ends_with('/') && path.starts_with(managed));
    if let Some((_, instead)) = managed {
        fault(faults, place, format!("{path} is kept by clusterbook itself"), *instead);
    } else if path.starts_with("/etc/systemd/system/") && name.ends_with(".mount") {
        fault(
            faults,
            place,
            format!("{path} is kept by clusterbook itself"),
            "describe the storage in mounts instead",
        );
    } else if name == "10-clusterbook.conf" {
        fault(
            faults,
            place,
            format!("{path} is kept by clusterbook itself"),
            "write a file of another name beside it, such as 20-site.conf",
        );
    } else if name.starts_with("ssh_host_") {
        fault(
            faults,
            place,
            format!("{path} is part of the node's identity"),
            "its host key is made for it; leave it out",
        );
    } else if PASSING.iter().any(|folder| path.starts_with(folder)) {
        fault(
            faults,
            place,
            format!("{path} doesn't outlive a restart of the node"),
            "write a file below /etc",
        );
    } else if let Some(disk) = disks.iter().find(|disk| path.starts_with(&format!("{}/", disk.mount))) {
        fault(
            faults,
            place,
            format!(
                "{path} lies on the disk {}, which all nodes share and its users own",
                disk.name
            ),
            "write a file below /etc, or write it there yourself",
        );
    }
}

fn check_nodes(nodes: &[String], place: &str, groups: &[String], faults: &mut Vec<Fault>) {
    let known = || ["all", "master"].into_iter().chain(groups.iter().map(String::as_str));
    if nodes.is_empty() {
        fault(
            faults,
            place,
            "no nodes are named",
            "write all, master or names of groups",
        );
    }
    let mut seen = BTreeSet::new();
    for word in nodes {
        if !known().any(|name| name == word) {
            let help = match crate::error::nearest(word, known()) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
            };
            fault(faults, place, format!("there is no group '{word}'"), help);
        } else if !seen.insert(word) {
            fault(
                faults,
                place,
                format!("'{word}' is named twice"),
                "write each group once",
            );
        }
    }
    if nodes.len() > 1 && nodes.iter().any(|word| word == "all") {
        fault(
            faults,
            place,
            "'all' holds every other group",
            "write all alone, or leave it out",
        );
    }
}

fn check_content(content: &str, place: &str, faults: &mut Vec<Fault>) {
    if content.len() > LARGEST {
        fault(
            faults,
            place,
            format!("it is {} KiB long", content.len() / 1024),
            format!(
                "configuration of at most {} KiB belongs into a design; put larger files onto a shared disk",
                LARGEST / 1024
            ),
        );
    } else if content.to_ascii_uppercase().contains("PRIVATE KEY-----") {
        // The text is not repeated: faults end up in notebooks and logs.
        fault(
            faults,
            place,
            "it holds a private key, and a design is no place for secrets",
            "put it onto the node by another way, owned by who needs it; a design is read, sent and committed",
        );
    } else if content
        .chars()
        .any(|character| character.is_control() && !"\n\t\r".contains(character))
    {
        fault(
            faults,
            place,
            "it is not text",
            "write a text file; other files belong onto a shared disk or into an image",
        );
    }
}

fn mode(given: Option<String>, place: &str, faults: &mut Vec<Fault>) -> String {
    let Some(text) = given else { return "0644".to_owned() };
    let digits = text.strip_prefix('0').unwrap_or(&text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if digits.len() == 3 && mode & 0o002 == 0 && mode & 0o400 != 0 => format!("0{digits}"),
        Ok(mode) if digits.len() == 3 && mode & 0o002 != 0 => {
            fault(
                faults,
                place,
                format!("with mode {text} everybody could change it"),
                "write a mode such as \"0644\", or \"0755\" for a program",
            );
            text
        }
        _ => {
            fault(
                faults,
                place,
                format!("{text:?} is not a mode of a file"),
                "write three octal digits such as \"0644\", or \"0755\" for a program",
            );
            text
        }
    }
}

fn owner(given: Option<String>, place: &str, faults: &mut Vec<Fault>) -> String {
    let Some(text) = given else {
        return "root:root".to_owned();
    };
    let is_name = |name: &str| {
        (1..=32).contains(&name.len())
            && name.starts_with(|character: char| character.is_ascii_lowercase() || character == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte))
    };
    match text.split_once(':') {
        Some((user, group)) if is_name(user) && is_name(group) => text,
        None if is_name(&text) => format!("{text}:{text}"),
        _ => {
            fault(
                faults,
                place,
                format!("{text:?} is not an owner"),
                "write USER:GROUP such as root:root",
            );
            text
        }
    }
}

fn units(given: Vec<String>, place: &str, faults: &mut Vec<Fault>) -> Vec<String> {
    let mut units = Vec::with_capacity(given.len());
    for word in given {
        let unit = word.strip_suffix(".service").unwrap_or(&word);
        let other = [".timer", ".socket", ".target", ".mount", ".path", ".slice", ".scope"];
        let good = !unit.is_empty()
            && unit.len() <= 128
            && !unit.starts_with(['-', '.'])
            && unit
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.@:".contains(&byte))
            && !other.iter().any(|ending| unit.ends_with(ending));
        if !good {
            fault(
                faults,
                place,
                format!("{word:?} is not the name of a service"),
                "write a systemd service such as ssh",
            );
        } else if units.iter().any(|known| known == unit) {
            fault(
                faults,
                place,
                format!("{unit} is named twice"),
                "write each service once",
            );
        }
        units.push(unit.to_owned());
    }
    units
}

impl EditedFile {
    /// Whether nodes of this group hold it; the master's group is `master`.
    pub fn is_on(&self, group: &str) -> bool {
        self.nodes.iter().any(|word| word == "all" || word == group)
    }

    /// Its permission bits.
    pub fn bits(&self) -> u32 {
        // A checked design's modes are octal digits.
        u32::from_str_radix(&self.mode, 8).unwrap_or(0o644)
    }
}

impl Design {
    /// The edited file of this path for these nodes; without nodes, the only one of this path.
    pub fn file(&self, path: &str, nodes: Option<&[String]>) -> Option<&EditedFile> {
        let mut found = self
            .files
            .iter()
            .filter(|file| file.path == path && nodes.is_none_or(|nodes| file.nodes == nodes));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }
}
