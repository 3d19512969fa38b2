//! Shared disks, and where they are mounted.

use std::collections::HashSet;

use super::fault;
use super::level::{Level, join};
use super::names::check_label;
use crate::{Disk, Fault, Size};

const DISK: [&str; 3] = ["name", "size", "mount"];

pub(super) struct RawDisk {
    path: String,
    name: Option<String>,
    size: Option<Size>,
    mount: Option<String>,
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Option<Vec<RawDisk>> {
    root.items("disks", &DISK, read_disk)
}

fn read_disk(level: &mut Level<'_, '_>) -> RawDisk {
    level.require("size", "the disk has no size", "write a size such as 16 GiB");
    level.require("name", "the disk has no name", "write a name such as home");
    RawDisk {
        path: level.path.clone(),
        name: level.text("name"),
        size: level.parsed("size"),
        mount: level.text("mount"),
    }
}

pub(super) fn resolve(raw: Option<Vec<RawDisk>>, faults: &mut Vec<Fault>) -> Vec<Disk> {
    let Some(raw) = raw else {
        return vec![Disk {
            name: "home".to_owned(),
            size: Size::from_gib(16),
            mount: "/home".to_owned(),
        }];
    };
    let mut names: HashSet<String> = HashSet::new();
    let mut mounts: Vec<(String, String)> = Vec::new();
    let mut disks = Vec::new();
    for disk in raw {
        let path = join(&disk.path, "name");
        if let Some(name) = &disk.name {
            check_label(name, 32, &path, faults);
            if !names.insert(name.clone()) {
                fault(
                    faults,
                    path,
                    format!("another disk is named '{name}'"),
                    "write another name",
                );
            }
        }
        let path = join(&disk.path, "mount");
        let mount = disk.mount.or_else(|| disk.name.as_ref().map(|name| format!("/{name}")));
        if let Some(mount) = &mount {
            check_mount(mount, &path, faults);
            let clash = mounts
                .iter()
                .find(|(other, _)| is_below(mount, other) || is_below(other, mount));
            if let Some((other, owner)) = clash {
                let message = if mount == other {
                    format!("{owner} is mounted at {mount} too")
                } else if is_below(mount, other) {
                    format!("{mount} lies inside {other}, where {owner} is mounted")
                } else {
                    format!("{other}, where {owner} is mounted, lies inside {mount}")
                };
                fault(faults, path.clone(), message, "mount disks side by side");
            }
            mounts.push((mount.clone(), disk.path.clone()));
        }
        if let (Some(name), Some(size), Some(mount)) = (disk.name, disk.size, mount) {
            disks.push(Disk { name, size, mount });
        }
    }
    disks
}

/// Directories that a node itself lives from. A disk on one of them, or in it, would hide it.
const SYSTEM_DIRECTORIES: [&str; 16] = [
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/root", "/run", "/sbin", "/sys",
    "/tmp", "/usr", "/var",
];

pub(super) fn is_below(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

pub(super) fn check_mount(mount: &str, path: &str, faults: &mut Vec<Fault>) {
    let plain = mount.len() > 1
        && mount[1..].split('/').all(|part| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        });
    if !mount.starts_with('/') {
        fault(
            faults,
            path,
            format!("{mount:?} is not an absolute path"),
            "write a path such as /home",
        );
    } else if mount == "/" {
        fault(
            faults,
            path,
            "a disk can't be mounted over the whole system",
            "write a path such as /home",
        );
    } else if !plain {
        fault(
            faults,
            path,
            format!("{mount:?} is not a plain path"),
            "write names of letters, digits, '-', '_' and '.' with single slashes between them",
        );
    } else if let Some(system) = SYSTEM_DIRECTORIES.iter().find(|directory| is_below(mount, directory)) {
        fault(
            faults,
            path,
            format!("{mount} would hide the node's own {system}"),
            "write a path such as /home, /scratch or /opt/apps",
        );
    }
}
