//! Storage of others that every node mounts.

use std::collections::HashSet;

use super::disks::{check_mount, is_below};
use super::fault;
use super::level::{Level, join};
use super::names::check_label;
use crate::{Disk, Fault, Mount};

const MOUNT: [&str; 5] = ["name", "source", "mount", "type", "options"];

/// File systems that are mounted from elsewhere.
const TYPES: [&str; 3] = ["nfs", "nfs4", "lustre"];

pub(super) struct RawMount {
    path: String,
    name: Option<String>,
    source: Option<String>,
    mount: Option<String>,
    kind: Option<String>,
    options: Option<Vec<String>>,
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Vec<RawMount> {
    root.items("mounts", &MOUNT, |level| {
        level.require("name", "the storage has no name", "write a name such as data");
        level.require(
            "source",
            "it doesn't say what is mounted",
            "write SERVER:/PATH, such as nas.example.org:/export/data",
        );
        RawMount {
            path: level.path.clone(),
            name: level.text("name"),
            source: level.text("source"),
            mount: level.text("mount"),
            kind: level.text("type"),
            options: level.texts("options"),
        }
    })
    .unwrap_or_default()
}

pub(super) fn resolve(raw: Vec<RawMount>, disks: &[Disk], faults: &mut Vec<Fault>) -> Vec<Mount> {
    let mut names: HashSet<String> = disks.iter().map(|disk| disk.name.clone()).collect();
    let mut places: Vec<(String, String)> = disks
        .iter()
        .map(|disk| (disk.mount.clone(), format!("the disk {}", disk.name)))
        .collect();
    let mut mounts = Vec::new();
    for entry in raw {
        let path = join(&entry.path, "name");
        if let Some(name) = &entry.name {
            check_label(name, 32, &path, faults);
            if !names.insert(name.clone()) {
                fault(
                    faults,
                    path,
                    format!("another disk or mount is named '{name}'"),
                    "write another name",
                );
            }
        }
        let path = join(&entry.path, "mount");
        let mount = entry
            .mount
            .or_else(|| entry.name.as_ref().map(|name| format!("/{name}")));
        if let Some(mount) = &mount {
            check_mount(mount, &path, faults);
            let clash = places
                .iter()
                .find(|(other, _)| is_below(mount, other) || is_below(other, mount));
            if let Some((other, owner)) = clash {
                fault(
                    faults,
                    path,
                    format!("{mount} and {other}, where {owner} is mounted, lie in each other"),
                    "mount storage side by side",
                );
            }
            places.push((mount.clone(), entry.path.clone()));
        }
        let kind = entry.kind.unwrap_or_else(|| "nfs4".to_owned());
        if !TYPES.contains(&kind.as_str()) {
            fault(
                faults,
                join(&entry.path, "type"),
                format!("{kind:?} is not storage of another machine"),
                format!("write {}", TYPES.join(", ")),
            );
        }
        if let Some(source) = &entry.source
            && !is_source(source)
        {
            fault(
                faults,
                join(&entry.path, "source"),
                format!("{source:?} does not say which server and path"),
                "write SERVER:/PATH, such as nas.example.org:/export/data",
            );
        }
        let options = entry.options.unwrap_or_else(|| vec!["hard".to_owned()]);
        for (index, option) in options.iter().enumerate() {
            let plain = !option.is_empty()
                && option
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_=.:/@+".contains(&byte));
            if !plain {
                fault(
                    faults,
                    format!("{}.options[{index}]", entry.path),
                    format!("{option:?} is not one mount option"),
                    "write each option by itself, such as ro or vers=4.2",
                );
            }
        }
        if let (Some(name), Some(source), Some(mount)) = (entry.name, entry.source, mount) {
            mounts.push(Mount {
                name,
                source,
                mount,
                kind,
                options,
            });
        }
    }
    mounts
}

/// `SERVER:/PATH`; the server may be an address in brackets, or Lustre's `10.0.0.1@tcp`.
fn is_source(source: &str) -> bool {
    source.rsplit_once(":/").is_some_and(|(server, path)| {
        !server.is_empty()
            && server
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.:[]@,".contains(&byte))
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_./@+".contains(&byte))
    })
}
