//! Accounting: Slurm's accounts, their limits, and fair share.

use std::collections::HashSet;

use serde_json::Value;

use super::fault;
use super::level::{Level, join, kind, text_help};
use crate::error::nearest;
use crate::{Account, Accounting, FairShare, Fault, Limits, User};

/// The largest weight that a factor of a job's priority can have.
const MOST_WEIGHT: u32 = 1_000_000;
/// The most shares; more than anybody needs to write down a proportion.
pub(super) const MOST_SHARES: u32 = 1_000_000;

const ACCOUNTING: [&str; 3] = ["enabled", "accounts", "fair_share"];
const ACCOUNT: [&str; 4] = ["name", "parent", "fairshare", "limits"];
const FAIR_SHARE: [&str; 3] = ["half_life_days", "weight", "age_weight"];

#[derive(Default)]
pub(super) struct RawAccounting {
    enabled: Option<bool>,
    accounts: Option<Vec<RawAccount>>,
    half_life_days: Option<u32>,
    weight: Option<u32>,
    age_weight: Option<u32>,
}

struct RawAccount {
    path: String,
    name: Option<String>,
    parent: Option<String>,
    fairshare: Option<u32>,
    limits: Limits,
}

pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> RawAccounting {
    let mut raw = RawAccounting::default();
    let Some(mut level) = Level::enter("accounting".to_owned(), value, &ACCOUNTING, faults) else {
        return raw;
    };
    raw.enabled = level.flag("enabled");
    raw.accounts = level.items("accounts", &ACCOUNT, |level| {
        level.require("name", "the account has no name", "write a name such as physics");
        RawAccount {
            path: level.path.clone(),
            name: level.text("name"),
            parent: level.text("parent"),
            fairshare: level.number("fairshare", 0, MOST_SHARES),
            limits: read_limits(level),
        }
    });
    if let Some(value) = level.get("fair_share")
        && let Some(mut level) = Level::enter("accounting.fair_share".to_owned(), value, &FAIR_SHARE, faults)
    {
        raw.half_life_days = level.number("half_life_days", 1, 3650);
        raw.weight = level.number("weight", 0, MOST_WEIGHT);
        raw.age_weight = level.number("age_weight", 0, MOST_WEIGHT);
    }
    raw
}

/// The `limits` of an account or a user.
pub(super) fn read_limits(level: &mut Level<'_, '_>) -> Limits {
    let mut limits = Limits::default();
    let entries = match level.get("limits") {
        None => return limits,
        Some(Value::Object(entries)) => entries,
        Some(other) => {
            level.fault(
                "limits",
                format!("this is {} where a mapping belongs", kind(other)),
                "write Slurm's names of limits and their values, such as MaxJobs: 4",
            );
            return limits;
        }
    };
    for (name, value) in entries {
        let path = format!("limits.{name}");
        let text = match value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            other => {
                level.fault(
                    &path,
                    format!("this is {} where text belongs", kind(other)),
                    text_help(other),
                );
                continue;
            }
        };
        if let Err((message, help)) = limits.read(name, text.trim()) {
            level.fault(&path, message, help);
        }
    }
    limits
}

pub(super) fn resolve(raw: RawAccounting, users: &[User], faults: &mut Vec<Fault>) -> Accounting {
    let default = Accounting::default();
    let accounts = match raw.accounts {
        None => default.accounts,
        Some(accounts) if accounts.is_empty() => {
            fault(
                faults,
                "accounting.accounts",
                "there is no account for jobs to belong to",
                "describe one, or leave accounts out",
            );
            Vec::new()
        }
        Some(accounts) => resolve_accounts(accounts, faults),
    };
    let known = || accounts.iter().map(|account| account.name.as_str());
    for user in users {
        for (index, name) in user.accounts.iter().enumerate() {
            let path = format!("users[{}].accounts[{index}]", user.name);
            if user.accounts[..index].contains(name) {
                fault(
                    faults,
                    path,
                    format!("'{name}' is in the list twice"),
                    "write each account once",
                );
            } else if !known().any(|known| known == name) {
                let help = match nearest(name, known()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!(
                        "accounting.accounts has {}; describe it there, or write one of those",
                        known().collect::<Vec<_>>().join(", ")
                    ),
                };
                fault(faults, path, format!("there is no account '{name}'"), help);
            }
        }
    }
    Accounting {
        enabled: raw.enabled.unwrap_or(default.enabled),
        accounts,
        fair_share: FairShare {
            half_life_days: raw.half_life_days.unwrap_or(default.fair_share.half_life_days),
            weight: raw.weight.unwrap_or(default.fair_share.weight),
            age_weight: raw.age_weight.unwrap_or(default.fair_share.age_weight),
        },
    }
}

/// Limits of GPUs in a cluster that counts none: Slurm doesn't know the word there, and would refuse it when nodes are made already.
pub(super) fn check_no_gpus(accounting: &Accounting, users: &[User], faults: &mut Vec<Fault>) {
    let accounts = accounting.accounts.iter();
    let accounts = accounts.map(|account| (format!("accounting.accounts[{}]", account.name), &account.limits));
    let users = users.iter().map(|user| (format!("users[{}]", user.name), &user.limits));
    for (path, limits) in accounts.chain(users) {
        for (name, value) in limits.iter().filter(|(_, value)| value.contains("gres/gpu")) {
            fault(
                faults,
                format!("{path}.limits.{name}"),
                format!("{value:?} limits GPUs, and no group has any"),
                "give a group GPUs (gpus: t4:2), or take gres/gpu out",
            );
        }
    }
}

fn resolve_accounts(raw: Vec<RawAccount>, faults: &mut Vec<Fault>) -> Vec<Account> {
    let mut names: HashSet<String> = HashSet::new();
    let mut accounts: Vec<Account> = Vec::with_capacity(raw.len());
    let all: Vec<String> = raw.iter().filter_map(|account| account.name.clone()).collect();
    for account in raw {
        let path = join(&account.path, "name");
        let Some(name) = account.name else { continue };
        let plain = name.len() <= 64
            && name.starts_with(|character: char| character.is_ascii_lowercase())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
        if !plain || name == "root" {
            fault(
                faults,
                path.clone(),
                format!("{name:?} can't name an account"),
                "write a lower-case letter, then lower-case letters, digits, '-' and '_'; root is Slurm's own",
            );
        }
        if !names.insert(name.clone()) {
            fault(
                faults,
                path,
                format!("another account is named '{name}'"),
                "write another name",
            );
        }
        let parent = account.parent.unwrap_or_else(|| "root".to_owned());
        // Parents come first, so there can't be a circle, and they are made in the order of the list.
        if parent != "root" && !accounts.iter().any(|above| above.name == parent) {
            let help = if all.contains(&parent) && parent != name {
                "write the parent before it".to_owned()
            } else {
                match nearest(&parent, all.iter().map(String::as_str).filter(|other| *other != name)) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "write an account that stands before it, or leave parent out".to_owned(),
                }
            };
            fault(
                faults,
                join(&account.path, "parent"),
                format!("no account '{parent}' stands before it"),
                help,
            );
        }
        accounts.push(Account {
            name,
            parent,
            fairshare: account.fairshare.unwrap_or(1),
            limits: account.limits,
        });
    }
    accounts
}
