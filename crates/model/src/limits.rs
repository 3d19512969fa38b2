//! Limits of Slurm's accounts and users, in Slurm's own words.
//!
//! A limit is kept in the form in which `sacctmgr` prints it, so that what a node says can be compared with what is wanted as text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::nearest;

/// What a limit counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Count,
    /// Trackable resources: `cpu=8,mem=4G`.
    Tres,
    /// Wall-clock time.
    Time,
}

/// Every limit in the order in which we ask for it, and whether those below an account inherit it.
const LIMITS: [(&str, Sort, bool); 12] = [
    ("GrpJobs", Sort::Count, false),
    ("GrpSubmitJobs", Sort::Count, false),
    ("GrpTRES", Sort::Tres, false),
    ("GrpTRESMins", Sort::Tres, false),
    ("GrpTRESRunMins", Sort::Tres, false),
    ("GrpWall", Sort::Time, false),
    ("MaxJobs", Sort::Count, true),
    ("MaxSubmitJobs", Sort::Count, true),
    ("MaxTRESPerJob", Sort::Tres, true),
    ("MaxTRESPerNode", Sort::Tres, true),
    ("MaxTRESMinsPerJob", Sort::Tres, true),
    ("MaxWall", Sort::Time, true),
];

/// The resources that a limit may name. Slurm knows `gres/gpu` only where the cluster counts GPUs.
const RESOURCES: [&str; 5] = ["billing", "cpu", "gres/gpu", "mem", "node"];

/// Limits by Slurm's name of them, such as `MaxJobs` or `GrpTRESMins`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limits(BTreeMap<String, String>);

impl Limits {
    /// Reads one limit and keeps it. On failure: what is wrong with it, and what to write instead.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<(), (String, String)> {
        let Some((name, sort, _)) = LIMITS.iter().find(|(known, ..)| *known == name) else {
            let known = LIMITS.map(|(known, ..)| known);
            let help = match nearest(name, known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("there are {}", known.join(", ")),
            };
            return Err((
                format!("Slurm's accounts have no limit '{name}' that is known here"),
                help,
            ));
        };
        let canonical = match sort {
            Sort::Count => count(value).map(|number| number.to_string()).ok_or_else(|| {
                (
                    format!("{value:?} is not a number of jobs"),
                    "write a whole number, or leave the limit out".to_owned(),
                )
            }),
            Sort::Tres => resources(value),
            Sort::Time => minutes(value).map(clock).ok_or_else(|| {
                (
                    format!("{value:?} is not a time"),
                    "write minutes, hours:minutes:00, days-hours or days-hours:minutes:00".to_owned(),
                )
            }),
        }?;
        self.0.insert((*name).to_owned(), canonical);
        Ok(())
    }

    /// The limits that hold for a member of an account with the limits `above`: its own, and of those that are inherited what the account says.
    pub fn below(&self, above: &Limits) -> Limits {
        let mut held = self.clone();
        for (name, sort, inherited) in LIMITS {
            let Some(from_above) = above.0.get(name).filter(|_| inherited) else {
                continue;
            };
            let mine = held.0.entry(name.to_owned()).or_default();
            if sort == Sort::Tres {
                let mut both: BTreeMap<&str, &str> = pairs(from_above).collect();
                both.extend(pairs(mine));
                *mine = joined(both);
            } else if mine.is_empty() {
                mine.clone_from(from_above);
            }
        }
        held
    }

    /// The values as `sacctmgr --parsable2` prints them, in the order of [`Self::COLUMNS`].
    pub fn printed(&self) -> String {
        let values: Vec<&str> = LIMITS
            .iter()
            .map(|(name, ..)| self.0.get(*name).map_or("", String::as_str))
            .collect();
        values.join("|")
    }

    /// The columns to ask `sacctmgr show assoc` for.
    pub const COLUMNS: &'static str = "GrpJobs,GrpSubmit,GrpTRES,GrpTRESMins,GrpTRESRunMins,GrpWall,MaxJobs,MaxSubmit,MaxTRES,MaxTRESPerNode,MaxTRESMins,MaxWall";

    /// Words for `sacctmgr modify … set` that set these limits and lift every other.
    pub fn settings(&self) -> Vec<String> {
        LIMITS
            .iter()
            .map(|(name, sort, _)| {
                let value = self.0.get(*name).map_or("", String::as_str);
                match sort {
                    Sort::Tres => {
                        let mut all: BTreeMap<&str, &str> = RESOURCES
                            .iter()
                            // A cluster without GPUs doesn't know the word; the node adds it where it does.
                            .filter(|resource| **resource != "gres/gpu")
                            .map(|resource| (*resource, "-1"))
                            .collect();
                        all.extend(pairs(value));
                        format!("{name}={}", joined(all))
                    }
                    _ if value.is_empty() => format!("{name}=-1"),
                    _ => format!("{name}={value}"),
                }
            })
            .collect()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The limits by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|pair| pair.split_once('='))
}

fn joined(pairs: BTreeMap<&str, &str>) -> String {
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.join(",")
}

/// A whole number that Slurm can hold.
fn count(text: &str) -> Option<u64> {
    let plain = (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

/// Resources by name, in the form that sacctmgr prints: in the order of their names, memory in the largest unit that fits exactly.
fn resources(text: &str) -> Result<String, (String, String)> {
    let mut found = BTreeMap::new();
    for pair in text.split(',') {
        let wrong = || {
            (
                format!("{:?} is not an amount of a resource", pair.trim()),
                format!(
                    "write for example cpu=8,mem=4G; the resources are {}",
                    RESOURCES.join(", ")
                ),
            )
        };
        let (name, amount) = pair.trim().split_once('=').ok_or_else(wrong)?;
        let name = RESOURCES.iter().find(|known| **known == name).ok_or_else(wrong)?;
        let amount = if *name == "mem" {
            memory(amount)
        } else {
            count(amount).map(|number| number.to_string())
        };
        if found.insert(*name, amount.ok_or_else(wrong)?).is_some() {
            return Err((format!("{name} is there twice"), "write each resource once".to_owned()));
        }
    }
    Ok(joined(
        found.iter().map(|(name, value)| (*name, value.as_str())).collect(),
    ))
}

/// Memory: a number of MiB, or with one of K, M, G, T behind it.
fn memory(text: &str) -> Option<String> {
    let (digits, unit) = text.split_at(text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).len());
    let mut amount = count(digits)?;
    let mut units = ["M", "G", "T", "P"].iter();
    match unit.to_ascii_uppercase().trim_end_matches('B') {
        "" | "M" => {}
        "K" if amount.is_multiple_of(1024) => amount /= 1024,
        "G" => amount *= 1024,
        "T" => amount *= 1024 * 1024,
        _ => return None,
    }
    if amount == 0 {
        return Some("0".to_owned());
    }
    let mut unit = units.next()?;
    while amount.is_multiple_of(1024) {
        let Some(larger) = units.next() else { break };
        amount /= 1024;
        unit = larger;
    }
    Some(format!("{amount}{unit}"))
}

/// Slurm's notations of a time, in whole minutes: minutes, hours:minutes:seconds, days-hours[:minutes[:seconds]].
fn minutes(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once('-') {
        Some((days, clock)) => (Some(count(days)?), clock),
        None => (None, text),
    };
    let parts: Vec<u64> = clock.split(':').map(count).collect::<Option<_>>()?;
    let minutes = match (days, parts.as_slice()) {
        (None, [minutes]) => *minutes,
        (None, [hours, minutes, 0]) => hours * 60 + minutes,
        (Some(days), [hours]) => (days * 24 + hours) * 60,
        (Some(days), [hours, minutes] | [hours, minutes, 0]) => (days * 24 + hours) * 60 + minutes,
        _ => return None,
    };
    (minutes > 0).then_some(minutes)
}

fn clock(minutes: u64) -> String {
    let (days, hours, minutes) = (minutes / 1440, minutes / 60 % 24, minutes % 60);
    if days > 0 {
        format!("{days}-{hours:02}:{minutes:02}:00")
    } else {
        format!("{hours:02}:{minutes:02}:00")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(pairs: &[(&str, &str)]) -> Limits {
        let mut limits = Limits::default();
        for (name, value) in pairs {
            limits.read(name, value).expect("a limit");
        }
        limits
    }

    /// What sacctmgr of Slurm 24.11.5 printed for the same.
    #[test]
    fn limits_are_written_as_sacctmgr_prints_them() {
        let lab = limits(&[
            ("GrpJobs", "5"),
            ("GrpSubmitJobs", "7"),
            ("GrpTRES", "node=2,cpu=8,mem=1500M,billing=9"),
            ("GrpTRESMins", "mem=1025,cpu=5"),
            ("GrpTRESRunMins", "cpu=77"),
            ("GrpWall", "100"),
            ("MaxJobs", "1"),
            ("MaxSubmitJobs", "3"),
            ("MaxTRESPerJob", "cpu=4"),
            ("MaxTRESPerNode", "cpu=2"),
            ("MaxTRESMinsPerJob", "cpu=100"),
            ("MaxWall", "90"),
        ]);
        assert_eq!(
            lab.printed(),
            "5|7|billing=9,cpu=8,mem=1500M,node=2|cpu=5,mem=1025M|cpu=77|01:40:00|1|3|cpu=4|cpu=2|cpu=100|01:30:00"
        );
        assert_eq!(limits(&[("MaxWall", "1-0")]).printed(), "|||||||||||1-00:00:00");
        assert_eq!(
            limits(&[("GrpTRESMins", "mem=2048000")]).printed(),
            "|||mem=2000G||||||||"
        );
        let member = limits(&[("MaxTRESPerJob", "mem=3G")]).below(&lab);
        assert_eq!(member.printed(), "||||||1|3|cpu=4,mem=3G|cpu=2|cpu=100|01:30:00");
    }

    #[test]
    fn settings_lift_what_is_not_wanted() {
        let settings = limits(&[("MaxJobs", "2"), ("GrpTRES", "gres/gpu=1,cpu=4")]).settings();
        assert!(settings.contains(&"MaxJobs=2".to_owned()), "{settings:?}");
        assert!(settings.contains(&"MaxWall=-1".to_owned()), "{settings:?}");
        assert!(
            settings.contains(&"GrpTRES=billing=-1,cpu=4,gres/gpu=1,mem=-1,node=-1".to_owned()),
            "{settings:?}"
        );
        assert!(
            settings.contains(&"MaxTRESPerJob=billing=-1,cpu=-1,mem=-1,node=-1".to_owned()),
            "{settings:?}"
        );
    }

    #[test]
    fn what_was_read_once_reads_again() {
        let first = limits(&[
            ("MaxWall", "26:00:00"),
            ("GrpTRES", "mem=3T,cpu=1"),
            ("GrpWall", "3-4:30"),
        ]);
        let mut again = Limits::default();
        for (name, value) in first.iter() {
            again.read(name, value).expect("a limit");
        }
        assert_eq!(first, again);
    }

    #[test]
    fn says_what_is_wrong_with_a_limit() {
        for (name, value, reason) in [
            ("MaxJob", "1", "did you mean 'MaxJobs'"),
            ("MaxJobs", "many", "whole number"),
            ("MaxJobs", "-1", "whole number"),
            ("GrpTRES", "cpus=4", "the resources are"),
            ("GrpTRES", "cpu", "the resources are"),
            ("GrpTRES", "cpu=4,cpu=5", "once"),
            ("GrpTRES", "mem=4X", "the resources are"),
            ("MaxWall", "0", "days-hours"),
            ("MaxWall", "1:30", "days-hours"),
            ("MaxWall", "forever", "days-hours"),
        ] {
            let (message, help) = Limits::default().read(name, value).expect_err(name);
            assert!(help.contains(reason), "{name}: {message}: {help}");
        }
    }
}
