//! Partitions.

use std::collections::HashSet;

use serde_json::Value;

use super::fault;
use super::groups::ResolvedGroup;
use super::level::{Level, join};
use crate::error::nearest;
use crate::{Fault, Partition, UnixGroup, User};

const PARTITION: [&str; 6] = ["name", "groups", "default", "max_time", "allow_groups", "cpus_per_gpu"];

pub(super) struct RawPartition {
    path: String,
    name: Option<String>,
    groups: Option<Vec<String>>,
    default: Option<bool>,
    max_time: Option<String>,
    allow_groups: Vec<String>,
    cpus_per_gpu: u32,
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Option<Vec<RawPartition>> {
    root.items("partitions", &PARTITION, read_partition)
}

fn read_partition(level: &mut Level<'_, '_>) -> RawPartition {
    level.require("name", "the partition has no name", "write a name such as compute");
    RawPartition {
        path: level.path.clone(),
        name: level.text("name"),
        groups: level.texts("groups"),
        default: level.flag("default"),
        max_time: match level.get("max_time") {
            // A bare number of minutes is Slurm's own shortest notation.
            Some(Value::Number(minutes)) => Some(minutes.to_string()),
            _ => level.text("max_time"),
        },
        allow_groups: level.texts("allow_groups").unwrap_or_default(),
        cpus_per_gpu: level.number("cpus_per_gpu", 0, 1024).unwrap_or(0),
    }
}

pub(super) fn resolve(
    raw: Option<Vec<RawPartition>>,
    groups: &[ResolvedGroup],
    users: &[User],
    unix_groups: &[UnixGroup],
    faults: &mut Vec<Fault>,
) -> Vec<Partition> {
    let all_groups: Vec<String> = groups.iter().filter_map(|group| group.name.clone()).collect();
    let Some(raw) = raw else {
        return vec![Partition {
            name: "compute".to_owned(),
            groups: all_groups,
            default: true,
            max_time: "infinite".to_owned(),
            allow_groups: Vec::new(),
            cpus_per_gpu: 0,
        }];
    };
    if raw.is_empty() {
        fault(
            faults,
            "partitions",
            "there is no partition to submit jobs to",
            "describe one, or leave partitions out",
        );
        return Vec::new();
    }
    // A name that could not be used was reported already; who refers to it isn't wrong as well.
    let every_group_is_known = all_groups.len() == groups.len();
    let only_one = raw.len() == 1;
    let mut names: HashSet<String> = HashSet::new();
    let mut defaults = Vec::new();
    let mut partitions = Vec::new();
    for partition in raw {
        let path = join(&partition.path, "name");
        let Some(name) = partition.name else { continue };
        let plain = name.len() <= 64
            && name.starts_with(|character: char| character.is_ascii_alphabetic())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if !plain || name.eq_ignore_ascii_case("default") {
            fault(
                faults,
                path.clone(),
                format!("{name:?} can't name a partition"),
                "write a letter, then letters, digits, '-' and '_'; DEFAULT means something to Slurm",
            );
        }
        if !names.insert(name.clone()) {
            fault(
                faults,
                path,
                format!("another partition is named '{name}'"),
                "write another name",
            );
        }
        let default = partition.default.unwrap_or(only_one);
        if default {
            defaults.push(partition.path.clone());
        }
        let members = partition.groups.unwrap_or_else(|| all_groups.clone());
        for (index, member) in members.iter().enumerate() {
            let path = format!("{}.groups[{index}]", partition.path);
            if members[..index].contains(member) {
                fault(
                    faults,
                    path,
                    format!("'{member}' is in the list twice"),
                    "write each group once",
                );
            } else if !all_groups.contains(member) && every_group_is_known {
                let help = match nearest(member, all_groups.iter().map(String::as_str)) {
                    Some(name) => format!("did you mean '{name}'?"),
                    None => format!("there are {}", all_groups.join(", ")),
                };
                fault(faults, path, format!("there is no group '{member}'"), help);
            }
        }
        for (index, allowed) in partition.allow_groups.iter().enumerate() {
            let known = || {
                let shared = unix_groups.iter().map(|group| group.name.as_str());
                shared.chain(users.iter().map(|user| user.name.as_str()))
            };
            if !known().any(|name| name == allowed) {
                let help = match nearest(allowed, known()) {
                    Some(name) => format!("did you mean '{name}'?"),
                    None => format!(
                        "write it among unix_groups: - {{ name: {allowed} }}; every user also has a group of their own name"
                    ),
                };
                fault(
                    faults,
                    format!("{}.allow_groups[{index}]", partition.path),
                    format!("there is no Unix group '{allowed}'"),
                    help,
                );
            }
        }
        let has_gpus = |member: &String| {
            groups
                .iter()
                .any(|group| group.gpus && group.name.as_ref() == Some(member))
        };
        if partition.cpus_per_gpu > 0 && every_group_is_known && !members.iter().any(has_gpus) {
            let with: Vec<&str> = groups
                .iter()
                .filter(|group| group.gpus)
                .filter_map(|group| group.name.as_deref())
                .collect();
            fault(
                faults,
                join(&partition.path, "cpus_per_gpu"),
                format!("no group of the partition has GPUs ({})", members.join(", ")),
                match with.as_slice() {
                    [] => "write gpus, such as t4:2, for one of them, or leave this out".to_owned(),
                    with => format!("add {} to the partition's groups, or leave this out", with.join(" or ")),
                },
            );
        }
        let max_time = partition.max_time.unwrap_or_else(|| "infinite".to_owned());
        if !is_time_limit(&max_time) {
            fault(
                faults,
                join(&partition.path, "max_time"),
                format!("{max_time:?} is not a time limit"),
                "write minutes, hours:minutes:seconds, days-hours, days-hours:minutes:seconds, or infinite",
            );
        }
        partitions.push(Partition {
            name,
            groups: members,
            default,
            max_time,
            allow_groups: partition.allow_groups,
            cpus_per_gpu: partition.cpus_per_gpu,
        });
    }
    match defaults.as_slice() {
        [_] => {}
        [] if partitions.is_empty() => {}
        [] => fault(
            faults,
            "partitions",
            "no partition is the default",
            "write default: true for the one that jobs go to when they name none",
        ),
        [_, others @ ..] => {
            for other in others {
                fault(
                    faults,
                    join(other, "default"),
                    format!("{} is already the default", defaults[0]),
                    "write default: true for one partition only",
                );
            }
        }
    }
    partitions
}

/// Slurm's notations: minutes, minutes:seconds, hours:minutes:seconds, and with days in front, days-hours[:minutes[:seconds]].
fn is_time_limit(text: &str) -> bool {
    if ["infinite", "unlimited"].contains(&text.to_lowercase().as_str()) {
        return true;
    }
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(days), clock),
        None => (None, text),
    };
    let is_number = |part: &str| (1..=6).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = clock.split(':').collect();
    days.is_none_or(is_number)
        && parts.len() <= 3
        && parts.iter().all(|part| is_number(part))
        // Zero would refuse every job.
        && text.bytes().any(|byte| (b'1'..=b'9').contains(&byte))
}
