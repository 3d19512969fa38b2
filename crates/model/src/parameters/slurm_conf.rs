//! Further keys of `slurm.conf`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fault;
use super::level::{kind, text_help};
use crate::{Accounting, Fault};

pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let Value::Object(object) = value else {
        fault(
            faults,
            "slurm_conf",
            format!("this is {} where a mapping belongs", kind(value)),
            "write slurm.conf keys and values, such as SchedulerType: sched/backfill",
        );
        return found;
    };
    for (key, value) in object {
        let path = format!("slurm_conf.{key}");
        if let Some((_, instead)) = MANAGED.iter().find(|(managed, _)| managed.eq_ignore_ascii_case(key)) {
            fault(faults, path, "this key of slurm.conf follows from the design", *instead);
            continue;
        }
        // Slurm doesn't tell capitals from small letters in keys; the template knows those that it has defaults for by one spelling.
        let key = DEFAULTS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(key))
            .copied()
            .unwrap_or(key.as_str());
        if let Some(other) = found.keys().find(|other: &&String| other.eq_ignore_ascii_case(key)) {
            fault(
                faults,
                path,
                format!("{other} is the same key, because slurm.conf doesn't tell capitals from small letters"),
                "write each key once",
            );
            continue;
        }
        if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            fault(
                faults,
                path,
                "this is not a key of slurm.conf",
                "write a key such as SchedulerType",
            );
            continue;
        }
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            // Slurm spells truth so.
            Value::Bool(flag) => if *flag { "YES" } else { "NO" }.to_owned(),
            other => {
                fault(
                    faults,
                    path,
                    format!("this is {} where text belongs", kind(other)),
                    text_help(other),
                );
                continue;
            }
        };
        if text.trim().is_empty() || text.chars().any(|character| character.is_control() || character == '#') {
            fault(
                faults,
                path,
                "the value is empty, spans lines or holds a '#', which starts a comment in slurm.conf",
                "write it on one line without '#', or leave the key out",
            );
            continue;
        }
        found.insert(key.to_owned(), text);
    }
    found
}

/// Keys that the template sets unless the design does.
const DEFAULTS: [&str; 11] = [
    "MailProg",
    "MpiDefault",
    "ReturnToService",
    "SelectType",
    "SelectTypeParameters",
    "SchedulerParameters",
    "JobCompType",
    "AccountingStorageType",
    "JobAcctGatherType",
    "PriorityType",
    "PriorityCalcPeriod",
];

/// Keys that accounting sets: they are free where the design keeps none, for example to use another site's database.
pub(super) fn check_accounting(extra: &BTreeMap<String, String>, accounting: &Accounting, faults: &mut Vec<Fault>) {
    if !accounting.enabled {
        return;
    }
    for key in extra.keys() {
        if let Some((_, instead)) = ACCOUNTING.iter().find(|(known, _)| known.eq_ignore_ascii_case(key)) {
            fault(
                faults,
                format!("slurm_conf.{key}"),
                "this key of slurm.conf follows from the design's accounting",
                *instead,
            );
        }
    }
}

const ACCOUNTING: [(&str, &str); 6] = [
    (
        "AccountingStorageType",
        "set accounting.enabled to false to set it here",
    ),
    (
        "AccountingStorageHost",
        "set accounting.enabled to false to set it here",
    ),
    (
        "AccountingStorageEnforce",
        "set accounting.enabled to false to set it here",
    ),
    (
        "PriorityDecayHalfLife",
        "set accounting.fair_share.half_life_days instead",
    ),
    ("PriorityWeightFairshare", "set accounting.fair_share.weight instead"),
    ("PriorityWeightAge", "set accounting.fair_share.age_weight instead"),
];

/// Keys of `slurm.conf` that follow from the design, and what to write instead of setting them by hand.
const MANAGED: [(&str, &str); 29] = [
    ("ClusterName", "set name instead"),
    ("SlurmctldHost", "set master.host and master.address instead"),
    ("ControlMachine", "set master.host instead"),
    ("ControlAddr", "set master.address instead"),
    ("NodeName", "describe nodes in groups instead"),
    ("NodeSet", "describe nodes in groups instead"),
    ("NodeAddr", "set groups[].addresses instead"),
    ("NodeHostname", "set groups[].hosts instead"),
    ("GresTypes", "set groups[].gpus instead"),
    ("DownNodes", "use scontrol update for a node's state instead"),
    ("PartitionName", "describe it in partitions instead"),
    ("Include", "write the keys here instead"),
    ("SlurmUser", "every daemon must agree on slurm; leave it out"),
    ("SlurmdUser", "slurmd needs root to start jobs; leave it out"),
    ("AuthType", "nodes trust each other through MUNGE; leave it out"),
    ("AuthInfo", "nodes trust each other through MUNGE; leave it out"),
    ("AuthAltTypes", "nodes trust each other through MUNGE; leave it out"),
    ("CredType", "nodes trust each other through MUNGE; leave it out"),
    ("CryptoType", "nodes trust each other through MUNGE; leave it out"),
    ("SlurmctldPort", "firewalls open the default port; leave it out"),
    ("SlurmdPort", "firewalls open the default port; leave it out"),
    (
        "SlurmctldPidFile",
        "the service's unit expects the default; leave it out",
    ),
    ("SlurmdPidFile", "the service's unit expects the default; leave it out"),
    (
        "StateSaveLocation",
        "the controller's state lives where images prepare it; leave it out",
    ),
    ("SlurmdSpoolDir", "images prepare the default; leave it out"),
    (
        "SlurmctldParameters",
        "nodes fetch their configuration through it; leave it out",
    ),
    (
        "SlurmdParameters",
        "the nodes' sizes come from their flavor through it; leave it out",
    ),
    ("ProctrackType", "it follows from the nodes' cgroups; leave it out"),
    ("TaskPlugin", "it follows from the nodes' cgroups; leave it out"),
];
