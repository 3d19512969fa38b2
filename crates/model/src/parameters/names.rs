//! Names of things and of hosts.

use std::collections::HashMap;

use super::level::join;
use super::{MOST_NODES, fault};
use crate::{Fault, hostlist};

pub(super) fn default_text(given: Option<String>, default: &str, path: &str, faults: &mut Vec<Fault>) -> String {
    match given {
        None => default.to_owned(),
        Some(text) => {
            let plain = !text.is_empty()
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
            if !plain {
                fault(
                    faults,
                    path,
                    format!("{text:?} is not a name"),
                    format!("write letters, digits, '-', '.' or '_', such as {default}; or leave it out"),
                );
            }
            text
        }
    }
}

pub(super) fn check_label(text: &str, longest: usize, path: &str, faults: &mut Vec<Fault>) -> bool {
    if is_label(text, longest) {
        return true;
    }
    fault(
        faults,
        path,
        format!("{text:?} can't be a name in a network"),
        format!("write at most {longest} lower-case letters, digits and '-', a letter first and no '-' last"),
    );
    false
}

fn is_label(text: &str, longest: usize) -> bool {
    text.len() <= longest
        && text.starts_with(|character: char| character.is_ascii_lowercase())
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// `compute` is `c[1-16]`, short because it is typed daily; another group's names are its own.
pub(super) fn default_hosts(group: &str, room: u32) -> String {
    if group == "compute" {
        format!("c[1-{room}]")
    } else if group.ends_with(|character: char| character.is_ascii_digit()) {
        // gpu2[1-16] would begin with gpu21, which reads as the twenty-first of gpu.
        format!("{group}-[1-{room}]")
    } else {
        format!("{group}[1-{room}]")
    }
}

pub(super) fn check_hosts(
    hosts: &str,
    nodes: u32,
    group: &str,
    owner: &mut HashMap<String, String>,
    faults: &mut Vec<Fault>,
) -> bool {
    let path = join(group, "hosts");
    // Names beyond the largest cluster can never be in use; everything below is checked now, so that growing a group later can't
    // run into another group's names.
    let names = match hostlist::take(hosts, MOST_NODES as usize) {
        Ok(names) => names,
        Err(error) => {
            fault(faults, path, error.message, error.help);
            return false;
        }
    };
    if names.len() < nodes as usize {
        fault(
            faults,
            path.clone(),
            format!(
                "{hosts} has {} for {nodes} nodes",
                counted(names.len() as u128, "name", "names")
            ),
            "write a longer expression, or fewer nodes",
        );
    }
    if let Some(bad) = names.iter().find(|name| !is_label(name, 63)) {
        check_label(bad, 63, &path, faults);
        return false;
    }
    owner.reserve(names.len());
    let mut twice = Vec::new();
    for name in names {
        if let Some(other) = owner.insert(name.clone(), group.to_owned()) {
            twice.push((name, other));
        }
    }
    // One report for the first of them: a hundred lines for one slip would hide the other faults.
    if let Some((name, other)) = twice.first() {
        let more = match twice.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        let whose = if other == group {
            "twice in this group".to_owned()
        } else {
            format!("also in {other}")
        };
        fault(
            faults,
            path,
            format!("the host name {name} is {whose}{more}"),
            "write names that no other node has",
        );
    }
    true
}

/// A count with its word, for messages.
pub(super) fn counted(count: u128, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
