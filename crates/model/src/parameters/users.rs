//! Users: their names and numbers.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::accounting::{MOST_SHARES, read_limits};
use super::fault;
use super::keys::check_key;
use super::level::{Level, join};
use crate::{Fault, Limits, User};

const LEAST_UID: u32 = 1000;
const MOST_UID: u32 = 59999;

const USER: [&str; 7] = ["name", "uid", "keys", "sudo", "accounts", "fairshare", "limits"];

pub(super) struct RawUser {
    path: String,
    name: Option<String>,
    uid: Option<u32>,
    uid_given: bool,
    keys: Vec<String>,
    sudo: Option<bool>,
    accounts: Vec<String>,
    fairshare: Option<u32>,
    limits: Limits,
}

pub(super) fn read(root: &mut Level<'_, '_>) -> Vec<RawUser> {
    root.items("users", &USER, read_user).unwrap_or_default()
}

fn read_user(level: &mut Level<'_, '_>) -> RawUser {
    level.require("name", "the user has no name", "write a login name such as alice");
    RawUser {
        path: level.path.clone(),
        name: level.text("name"),
        uid_given: level.get("uid").is_some(),
        uid: level.number("uid", LEAST_UID, MOST_UID),
        keys: level.texts("keys").unwrap_or_default(),
        sudo: level.flag("sudo"),
        accounts: level.texts("accounts").unwrap_or_default(),
        fairshare: level.number("fairshare", 0, MOST_SHARES),
        limits: read_limits(level),
    }
}

pub(super) fn resolve(raw: Vec<RawUser>, faults: &mut Vec<Fault>) -> Vec<User> {
    let mut names: HashSet<String> = HashSet::new();
    let mut uids: HashMap<u32, String> = HashMap::new();
    let mut users = Vec::with_capacity(raw.len());
    for user in raw {
        let path = join(&user.path, "name");
        let Some(name) = user.name else { continue };
        check_user_name(&name, &path, faults);
        if !names.insert(name.clone()) {
            fault(
                faults,
                path,
                format!("another user is named '{name}'"),
                "write each user once",
            );
        }
        let uid = match user.uid {
            Some(uid) => Some(uid),
            None if user.uid_given => None,
            None => Some(default_uid(&name)),
        };
        if let Some(uid) = uid
            && let Some(other) = uids.insert(uid, name.clone())
            && other != name
        {
            fault(
                faults,
                join(&user.path, "uid"),
                format!("the uid {uid} is also that of {other}"),
                format!("write another number from {LEAST_UID} to {MOST_UID}"),
            );
        }
        for (index, key) in user.keys.iter().enumerate() {
            check_key(key, &format!("{}.keys[{index}]", user.path), faults);
        }
        if let Some(uid) = uid {
            users.push(User {
                name,
                uid,
                keys: user.keys.iter().map(|key| key.trim().to_owned()).collect(),
                sudo: user.sudo.unwrap_or(false),
                accounts: user.accounts,
                fairshare: user.fairshare.unwrap_or(1),
                limits: user.limits,
            });
        }
    }
    users
}

/// Accounts and groups that the images hold. A user's primary group has the user's name, so group names count too.
const RESERVED_USERS: [&str; 54] = [
    "adm",
    "audio",
    "backup",
    "bin",
    "cdrom",
    "clock",
    "crontab",
    "daemon",
    "dialout",
    "dip",
    "disk",
    "docker",
    "fax",
    "floppy",
    "games",
    "input",
    "irc",
    "kmem",
    "kvm",
    "list",
    "lp",
    "mail",
    "man",
    "messagebus",
    "munge",
    "mysql",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "operator",
    "plugdev",
    "polkitd",
    "proxy",
    "render",
    "root",
    "sasl",
    "sgx",
    "shadow",
    "slurm",
    "src",
    "ssh",
    "sshd",
    "staff",
    "sudo",
    "sync",
    "sys",
    "tape",
    "tty",
    "users",
    "utmp",
    "uucp",
    "video",
    "voice",
];

fn check_user_name(name: &str, path: &str, faults: &mut Vec<Fault>) {
    let posix = name.len() <= 32
        && name.starts_with(|character: char| character.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    if !posix {
        fault(
            faults,
            path,
            format!("{name:?} can't be a login name"),
            "write at most 32 lower-case letters, digits, '-' and '_', a letter first",
        );
    } else if RESERVED_USERS.contains(&name) || name == "www-data" || name.starts_with("systemd-") {
        fault(
            faults,
            path,
            format!("'{name}' belongs to the system"),
            "write another login name",
        );
    }
}

/// A uid that follows from the name alone, so that it stays when people are added, removed or listed in another order: files on the
/// shared disks carry the number.
fn default_uid(name: &str) -> u32 {
    let hash = Sha256::digest(name.as_bytes());
    10_000 + u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % 50_000
}
