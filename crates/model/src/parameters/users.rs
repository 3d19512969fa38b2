//! Users and the groups that they share: their names and numbers.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::accounting::{MOST_SHARES, read_limits};
use super::fault;
use super::keys::check_key;
use super::level::{Level, join};
use crate::error::nearest;
use crate::{Fault, Limits, UnixGroup, User};

/// Numbers of people and their groups; those below belong to the system.
const LEAST: u32 = 1000;
const MOST: u32 = 59999;

const UNIX_GROUP: [&str; 2] = ["name", "gid"];
const USER: [&str; 8] = [
    "name",
    "uid",
    "keys",
    "sudo",
    "groups",
    "accounts",
    "fairshare",
    "limits",
];

pub(super) struct RawUnixGroup {
    path: String,
    name: Option<String>,
    gid: Option<u32>,
    gid_given: bool,
}

pub(super) struct RawUser {
    path: String,
    name: Option<String>,
    uid: Option<u32>,
    uid_given: bool,
    keys: Vec<String>,
    sudo: Option<bool>,
    groups: Vec<String>,
    accounts: Vec<String>,
    fairshare: Option<u32>,
    limits: Limits,
}

pub(super) fn read_groups(root: &mut Level<'_, '_>) -> Vec<RawUnixGroup> {
    root.items("unix_groups", &UNIX_GROUP, |level| {
        level.require("name", "the group has no name", "write a name such as lab");
        RawUnixGroup {
            path: level.path.clone(),
            name: level.text("name"),
            gid_given: level.get("gid").is_some(),
            gid: level.number("gid", LEAST, MOST),
        }
    })
    .unwrap_or_default()
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
        uid: level.number("uid", LEAST, MOST),
        keys: level.texts("keys").unwrap_or_default(),
        sudo: level.flag("sudo"),
        groups: level.texts("groups").unwrap_or_default(),
        accounts: level.texts("accounts").unwrap_or_default(),
        fairshare: level.number("fairshare", 0, MOST_SHARES),
        limits: read_limits(level),
    }
}

/// After the users: each of these has a primary group of the same name and number.
pub(super) fn resolve_groups(raw: Vec<RawUnixGroup>, users: &[User], faults: &mut Vec<Fault>) -> Vec<UnixGroup> {
    let known: Vec<String> = raw.iter().filter_map(|group| group.name.clone()).collect();
    for user in users {
        for (index, group) in user.groups.iter().enumerate() {
            let path = format!("users[{}].groups[{index}]", user.name);
            if user.groups[..index].contains(group) {
                fault(
                    faults,
                    path,
                    format!("'{group}' is in the list twice"),
                    "write each group once",
                );
            } else if !known.contains(group) {
                let help = match nearest(group, known.iter().map(String::as_str)) {
                    Some(name) => format!("did you mean '{name}'?"),
                    None => format!("write it among unix_groups: - {{ name: {group} }}"),
                };
                fault(faults, path, format!("there is no Unix group '{group}'"), help);
            }
        }
    }
    let mut gids: HashMap<u32, String> = users.iter().map(|user| (user.uid, user.name.clone())).collect();
    let mut groups: Vec<UnixGroup> = Vec::with_capacity(raw.len());
    for group in raw {
        let path = join(&group.path, "name");
        let Some(name) = group.name else { continue };
        check_name(&name, "a Unix group", &path, faults);
        if users.iter().any(|user| user.name == name) {
            fault(
                faults,
                path,
                format!("'{name}' is a user, whose own group has that name"),
                "write another name",
            );
        } else if groups.iter().any(|other| other.name == name) {
            fault(
                faults,
                path,
                format!("another Unix group is named '{name}'"),
                "write each group once",
            );
        }
        let gid = match group.gid {
            Some(gid) => gid,
            None if group.gid_given => continue,
            None => default_number(&format!("group {name}")),
        };
        if let Some(other) = gids.insert(gid, name.clone())
            && other != name
        {
            fault(
                faults,
                join(&group.path, "gid"),
                format!("the gid {gid} is also that of {other}"),
                format!("write another number from {LEAST} to {MOST}"),
            );
        }
        groups.push(UnixGroup { name, gid });
    }
    groups
}

pub(super) fn resolve(raw: Vec<RawUser>, faults: &mut Vec<Fault>) -> Vec<User> {
    let mut names: HashSet<String> = HashSet::new();
    let mut uids: HashMap<u32, String> = HashMap::new();
    let mut users = Vec::with_capacity(raw.len());
    for user in raw {
        let path = join(&user.path, "name");
        let Some(name) = user.name else { continue };
        check_name(&name, "a login name", &path, faults);
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
            None => Some(default_number(&name)),
        };
        if let Some(uid) = uid
            && let Some(other) = uids.insert(uid, name.clone())
            && other != name
        {
            fault(
                faults,
                join(&user.path, "uid"),
                format!("the uid {uid} is also that of {other}"),
                format!("write another number from {LEAST} to {MOST}"),
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
                groups: user.groups,
                accounts: user.accounts,
                fairshare: user.fairshare.unwrap_or(1),
                limits: user.limits,
            });
        }
    }
    users
}

/// Accounts and groups that the images hold. A user's primary group has the user's name, so group names count too.
const RESERVED_USERS: [&str; 89] = [
    "adm",
    "audio",
    "avahi",
    "backup",
    "bin",
    "cdrom",
    "cgred",
    "chrony",
    "clock",
    "crontab",
    "daemon",
    "dbus",
    "dialout",
    "dip",
    "disk",
    "docker",
    "fax",
    "floppy",
    "ftp",
    "games",
    "gssproxy",
    "halt",
    "input",
    "irc",
    "kmem",
    "kvm",
    "libstoragemgmt",
    "list",
    "lock",
    "lp",
    "lxd",
    "mail",
    "man",
    "mem",
    "messagebus",
    "munge",
    "mysql",
    "netdev",
    "news",
    "nobody",
    "nogroup",
    "nscd",
    "nslcd",
    "ntp",
    "nvidia-dcgm",
    "nvidia-persistenced",
    "operator",
    "pipewire",
    "plugdev",
    "polkitd",
    "postfix",
    "postgres",
    "printadmin",
    "proxy",
    "rdma",
    "render",
    "root",
    "rpc",
    "rpcuser",
    "rtkit",
    "sasl",
    "sgx",
    "shadow",
    "shutdown",
    "slurm",
    "slurmrestd",
    "src",
    "ssh",
    "ssh_keys",
    "sshd",
    "sssd",
    "staff",
    "statd",
    "sudo",
    "sync",
    "sys",
    "tape",
    "tcpdump",
    "tss",
    "tty",
    "unbound",
    "users",
    "utempter",
    "utmp",
    "uucp",
    "video",
    "voice",
    "wheel",
    "www-data",
];

fn check_name(name: &str, what: &str, path: &str, faults: &mut Vec<Fault>) {
    let posix = name.len() <= 32
        && name.starts_with(|character: char| character.is_ascii_lowercase())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte));
    if !posix {
        fault(
            faults,
            path,
            format!("{name:?} can't be {what}"),
            "write at most 32 lower-case letters, digits, '-' and '_', a letter first",
        );
    } else if RESERVED_USERS.contains(&name) || name.starts_with("systemd-") {
        fault(
            faults,
            path,
            format!("'{name}' belongs to the system"),
            "write another name",
        );
    }
}

/// A number that follows from the name alone, so that it stays when people are added, removed or listed in another order: files on the
/// shared disks carry it.
fn default_number(name: &str) -> u32 {
    let hash = Sha256::digest(name.as_bytes());
    10_000 + u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % 50_000
}
