//! What is kept true on a node: a list of items, each with a key, the state that is wanted and the way to get there.
//!
//! An item's state is one short line of text, its *fingerprint*. Observing a node yields fingerprints by key; planning
//! compares them with what is wanted; applying checks once more that a fingerprint is what the plan saw. That one idea
//! serves files, accounts and daemons alike, and lets a pretend node be a table of text.

use std::sync::Arc;

use clusterbook_model::{Account, EditedFile, Limits, Secret, UnixGroup, User};
use sha2::{Digest, Sha256};

/// The fingerprint of something that isn't there.
pub(crate) const ABSENT: &str = "absent";

/// The fingerprint of an edited file whose edits are undone.
pub(crate) const ORIGINAL: &str = "original";

/// What marks an account of Slurm's as one that we made: its organization.
pub(crate) const OURS: &str = "clusterbook";

/// One thing that is kept true on one node.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    /// Unique on the node, for example `file:/etc/slurm/slurm.conf`.
    pub(crate) key: String,
    /// The fingerprint that is wanted.
    pub(crate) want: String,
    /// How to get there.
    pub(crate) kind: Kind,
}

/// The kinds of item.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A regular file with this content.
    File {
        /// Absolute path.
        path: String,
        /// Permission bits; a file of ours is never executable.
        mode: u32,
        /// `user:group`.
        owner: String,
        /// What it holds; text without NUL.
        content: Content,
    },
    /// A file that a person edits through the design. What was there before is kept on the node.
    Edited {
        /// Absolute path, of letters, digits and `-_.@+:`.
        path: String,
        /// Permission bits; it may be executable.
        mode: u32,
        /// `user:group`.
        owner: String,
        /// What it holds; text without NUL.
        content: Arc<str>,
        /// Services that nothing but edited files tells to run, each with how it is told. A file that leaves the design takes them
        /// along, so the node notes who reads it.
        readers: Vec<(String, Refresh)>,
    },
    /// A file that the design no longer names: what was there before its first edit is put back.
    NotEdited {
        /// Absolute path.
        path: String,
    },
    /// A folder. What is in it is nobody's business here.
    Directory {
        /// Absolute path.
        path: String,
        /// Permission bits.
        mode: u32,
        /// `user:group`, by name or number.
        owner: String,
    },
    /// A symbolic link.
    Link {
        /// Absolute path.
        path: String,
        /// Where it points.
        target: String,
    },
    /// A person's account, its primary group included.
    Account {
        /// Login name.
        name: String,
        /// Number of user and group.
        uid: u32,
        /// Home folder; made by a [`Kind::Directory`], because it may be shared.
        home: String,
    },
    /// An account, with its group, that must not exist. Its processes are ended; its home stays.
    NoAccount {
        /// Login name.
        name: String,
    },
    /// A group that users share, with exactly these members.
    UnixGroup {
        /// Name.
        name: String,
        /// Number.
        gid: u32,
        /// Its members, sorted; accounts of the design, which stand before it in the list.
        members: Vec<String>,
    },
    /// A group that must not exist. Files that it owns stay, with its number.
    NoUnixGroup {
        /// Name.
        name: String,
    },
    /// A running systemd unit that has read its present configuration.
    Service {
        /// Unit without `.service`.
        unit: String,
        /// Digest of everything that the daemon reads at its start.
        digest: String,
        /// What makes it read its configuration again.
        refresh: Refresh,
        /// Keys of the items that it reads at its start.
        inputs: Vec<String>,
        /// What is done before the first of them is changed.
        trial: Trial,
    },
    /// A systemd unit that must not run.
    NoService {
        /// Unit without `.service`.
        unit: &'static str,
    },
    /// An account of Slurm's: parent, shares and limits.
    SlurmAccount {
        /// Name.
        name: String,
        /// The account above it.
        parent: String,
        /// Words for `sacctmgr modify account … set`.
        settings: Vec<String>,
    },
    /// An account of Slurm's that must be gone. What was charged to it stays in the books.
    NoSlurmAccount {
        /// Name.
        name: String,
    },
    /// A user of Slurm's: who may charge jobs to which accounts, and how much.
    SlurmUser {
        /// Login name.
        name: String,
        /// Their accounts, the default first.
        accounts: Vec<String>,
        /// Words for `sacctmgr modify user … set`.
        settings: Vec<String>,
    },
    /// A user of Slurm's that must be gone, after their jobs. What they used stays in the books.
    NoSlurmUser {
        /// Login name.
        name: String,
    },
    /// A path where a file system must be mounted. Mounting is the provider's work, so this can only be found wanting.
    Mount {
        /// Absolute path.
        path: String,
    },
    /// A program that the node's image must hold. Images are made before nodes, so this can only be found wanting.
    Program {
        /// Absolute path.
        path: String,
    },
    /// Storage of another machine that a systemd unit mounts.
    MountUnit {
        /// The unit.
        unit: String,
        /// Where it mounts.
        path: String,
        /// Digest of the unit's file.
        digest: String,
        /// Key of the unit's file.
        input: String,
    },
    /// A Slurm node that takes no more jobs and runs none.
    SlurmDrained {
        /// Slurm's name of it.
        name: String,
    },
    /// A Slurm node that takes jobs, or that a person has drained. Held true on the controller.
    SlurmNode {
        /// Slurm's name of it.
        name: String,
        /// Key of what tells Slurm about its GPUs, if it has any.
        input: Option<String>,
    },
}

/// What a file holds.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// Ordinary text.
    Text(Arc<str>),
    /// Text that nobody may see on its way.
    Secret(Secret),
}

/// How a daemon takes up a changed configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Whatever runs is right; it only has to.
    Start,
    /// It must be restarted.
    Restart,
    /// `scontrol reconfigure`, which keeps running jobs and takes up added and removed nodes.
    ScontrolReconfigure,
    /// It is told to read its configuration again, by its unit's own way.
    Reload,
}

/// How a changed configuration is tried before it replaces the one that a daemon runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trial {
    /// It isn't: the daemon finds faults itself.
    None,
    /// A second slurmctld starts with it, in a network of its own and without the cluster's state. What it refuses never
    /// reaches the first one.
    Slurmctld,
    /// The service belongs to a person's file, and nothing is known of it: that it runs is looked at after it was told.
    Runs,
}

impl Content {
    /// The bytes themselves.
    pub(crate) fn reveal(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Secret(secret) => secret.reveal(),
        }
    }
}

/// The first sixteen hexadecimal digits of SHA-256: enough to tell versions of a configuration apart.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    hex(&hash.finalize()[..8])
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

impl Item {
    /// A file of ordinary text, owned by root.
    pub(crate) fn file(path: &str, mode: u32, content: impl Into<Arc<str>>) -> Self {
        Self::file_of(path, mode, "root:root", Content::Text(content.into()))
    }

    /// A file of any owner and secrecy.
    pub(crate) fn file_of(path: &str, mode: u32, owner: impl Into<String>, content: Content) -> Self {
        let owner = owner.into();
        let sum = hex(&Sha256::digest(content.reveal().as_bytes()));
        Self {
            key: format!("file:{path}"),
            want: format!("{mode:o} {owner} {sum}"),
            kind: Kind::File {
                path: path.to_owned(),
                mode,
                owner,
                content,
            },
        }
    }

    /// A file that a person edits through the design.
    pub(crate) fn edited(file: &EditedFile, readers: Vec<(String, Refresh)>) -> Self {
        let (mode, owner) = (file.bits(), &file.owner);
        let sum = hex(&Sha256::digest(file.content.as_bytes()));
        Self {
            key: format!("edit:{}", file.path),
            want: format!("{mode:o} {owner} {sum}"),
            kind: Kind::Edited {
                path: file.path.clone(),
                mode,
                owner: owner.clone(),
                content: file.content.as_str().into(),
                readers,
            },
        }
    }

    /// A file that is as it was before the design named it.
    pub(crate) fn not_edited(path: &str) -> Self {
        Self {
            key: format!("edit:{path}"),
            want: ORIGINAL.to_owned(),
            kind: Kind::NotEdited { path: path.to_owned() },
        }
    }

    /// A folder.
    pub(crate) fn directory(path: &str, mode: u32, owner: &str) -> Self {
        Self {
            key: format!("dir:{path}"),
            want: format!("{mode:o} {owner}"),
            kind: Kind::Directory {
                path: path.to_owned(),
                mode,
                owner: owner.to_owned(),
            },
        }
    }

    /// A symbolic link.
    pub(crate) fn link(path: &str, target: &str) -> Self {
        Self {
            key: format!("link:{path}"),
            want: target.to_owned(),
            kind: Kind::Link {
                path: path.to_owned(),
                target: target.to_owned(),
            },
        }
    }

    /// A person's account.
    pub(crate) fn account(name: &str, uid: u32, home: &str) -> Self {
        Self {
            key: format!("user:{name}"),
            want: format!("{uid}:{uid}:{home}:/bin/bash"),
            kind: Kind::Account {
                name: name.to_owned(),
                uid,
                home: home.to_owned(),
            },
        }
    }

    /// An account that must be gone.
    pub(crate) fn no_account(name: &str) -> Self {
        Self {
            key: format!("user:{name}"),
            want: ABSENT.to_owned(),
            kind: Kind::NoAccount { name: name.to_owned() },
        }
    }

    /// A group that users share.
    pub(crate) fn unix_group(group: &UnixGroup, users: &[User]) -> Self {
        let mut members: Vec<String> = users
            .iter()
            .filter(|user| user.groups.contains(&group.name))
            .map(|user| user.name.clone())
            .collect();
        members.sort();
        Self {
            key: format!("unix-group:{}", group.name),
            want: format!("{}:{}", group.gid, members.join(",")),
            kind: Kind::UnixGroup {
                name: group.name.clone(),
                gid: group.gid,
                members,
            },
        }
    }

    /// A group that must be gone.
    pub(crate) fn no_unix_group(name: &str) -> Self {
        Self {
            key: format!("unix-group:{name}"),
            want: ABSENT.to_owned(),
            kind: Kind::NoUnixGroup { name: name.to_owned() },
        }
    }

    /// A daemon that runs with the configuration made of `inputs`, items that stand before it in the list.
    pub(crate) fn service(unit: &str, refresh: Refresh, inputs: &[&Item]) -> Self {
        let digest = digest(inputs.iter().map(|item| item.want.as_str()));
        Self {
            key: format!("service:{unit}"),
            want: format!("active {digest}"),
            kind: Kind::Service {
                unit: unit.to_owned(),
                digest,
                refresh,
                inputs: inputs.iter().map(|item| item.key.clone()).collect(),
                trial: Trial::None,
            },
        }
    }

    /// The same service, whose changed configuration is tried first.
    pub(crate) fn tried(mut self, how: Trial) -> Self {
        if let Kind::Service { trial, .. } = &mut self.kind {
            *trial = how;
        }
        self
    }

    /// A service that reads another item, too. `restart` where telling it to read again isn't enough.
    pub(crate) fn read_also(&mut self, input: &Self, restart: bool) {
        if let Kind::Service {
            digest: known,
            refresh,
            inputs,
            ..
        } = &mut self.kind
        {
            *known = digest([known.as_str(), input.want.as_str()]);
            inputs.push(input.key.clone());
            if restart {
                *refresh = Refresh::Restart;
            }
            self.want = format!("active {known}");
        }
    }

    /// A daemon that doesn't run.
    pub(crate) fn no_service(unit: &'static str) -> Self {
        Self {
            key: format!("service:{unit}"),
            want: ABSENT.to_owned(),
            kind: Kind::NoService { unit },
        }
    }

    /// An account of Slurm's. `inherited` are its own limits and those from above, as Slurm shows them.
    pub(crate) fn slurm_account(account: &Account, inherited: &Limits) -> Self {
        let mut settings = vec![format!("fairshare={}", account.fairshare)];
        settings.extend(account.limits.settings());
        Self {
            key: format!("slurm-account:{}", account.name),
            want: format!(
                "{}|{}|{}|{OURS}",
                account.parent,
                account.fairshare,
                inherited.printed()
            ),
            kind: Kind::SlurmAccount {
                name: account.name.clone(),
                parent: account.parent.clone(),
                settings,
            },
        }
    }

    /// An account of Slurm's that must be gone.
    pub(crate) fn no_slurm_account(name: &str) -> Self {
        Self {
            key: format!("slurm-account:{name}"),
            want: ABSENT.to_owned(),
            kind: Kind::NoSlurmAccount { name: name.to_owned() },
        }
    }

    /// A user of Slurm's in these accounts, the default first, each with the limits that hold in it.
    pub(crate) fn slurm_user(user: &User, accounts: &[(&str, Limits)]) -> Self {
        let mut settings = vec![format!("fairshare={}", user.fairshare)];
        settings.extend(user.limits.settings());
        let mut lines: Vec<String> = accounts
            .iter()
            .map(|(account, limits)| format!("{account}|{}|{};", user.fairshare, limits.printed()))
            .collect();
        lines.sort();
        let default = accounts.first().map_or("", |(account, _)| account);
        Self {
            key: format!("slurm-user:{}", user.name),
            want: format!("{default};{}", lines.concat()),
            kind: Kind::SlurmUser {
                name: user.name.clone(),
                accounts: accounts.iter().map(|(account, _)| (*account).to_owned()).collect(),
                settings,
            },
        }
    }

    /// A user of Slurm's that must be gone.
    pub(crate) fn no_slurm_user(name: &str) -> Self {
        Self {
            key: format!("slurm-user:{name}"),
            want: ABSENT.to_owned(),
            kind: Kind::NoSlurmUser { name: name.to_owned() },
        }
    }

    /// A mounted file system.
    pub(crate) fn mount(path: &str) -> Self {
        Self {
            key: format!("mount:{path}"),
            want: "mounted".to_owned(),
            kind: Kind::Mount { path: path.to_owned() },
        }
    }

    /// A program of the image.
    pub(crate) fn program(path: &str) -> Self {
        Self {
            key: format!("program:{path}"),
            want: "there".to_owned(),
            kind: Kind::Program { path: path.to_owned() },
        }
    }

    /// Storage that the unit of the item `file` mounts.
    pub(crate) fn mount_unit(unit: &str, path: &str, file: &Item) -> Self {
        let digest = digest([file.want.as_str()]);
        Self {
            key: format!("mount-unit:{unit}"),
            want: format!("active {digest}"),
            kind: Kind::MountUnit {
                unit: unit.to_owned(),
                path: path.to_owned(),
                digest,
                input: file.key.clone(),
            },
        }
    }

    /// A Slurm node that can take jobs; `gpus` is what tells Slurm about its GPUs, if it has any.
    pub(crate) fn slurm_node(name: &str, gpus: Option<&Item>) -> Self {
        Self {
            key: format!("slurm-node:{name}"),
            want: "up".to_owned(),
            kind: Kind::SlurmNode {
                name: name.to_owned(),
                input: gpus.map(|item| item.key.clone()),
            },
        }
    }

    /// Keys of the items that it goes by: when one of those changes, it must be brought about again.
    pub(crate) fn inputs(&self) -> &[String] {
        match &self.kind {
            Kind::Service { inputs, .. } => inputs,
            Kind::MountUnit { input, .. } => std::slice::from_ref(input),
            Kind::SlurmNode { input, .. } => input.as_slice(),
            _ => &[],
        }
    }

    /// A Slurm node on its way out.
    pub(crate) fn slurm_drained(name: &str) -> Self {
        Self {
            key: format!("slurm-drained:{name}"),
            want: "drained".to_owned(),
            kind: Kind::SlurmDrained { name: name.to_owned() },
        }
    }

    /// Whether its state may change by itself, without anybody having edited the node.
    pub(crate) fn moves(&self) -> bool {
        // The database starts by itself, and is asked again when it is there.
        self.in_database()
            || matches!(
                self.kind,
                Kind::Service { .. }
                    | Kind::NoService { .. }
                    | Kind::Mount { .. }
                    | Kind::MountUnit { .. }
                    | Kind::SlurmNode { .. }
                    | Kind::SlurmDrained { .. }
            )
    }

    /// Whether what was found is on its way to something else, and may have got there before anything is done about it.
    pub(crate) fn passes(&self, found: &str) -> bool {
        match self.kind {
            Kind::Service { .. } | Kind::NoService { .. } | Kind::MountUnit { .. } => {
                // What systemd brings about, or tries again and again; see systemctl(1).
                let passing = ["activating", "deactivating", "reloading", "refreshing"];
                found.split(' ').next().is_some_and(|state| passing.contains(&state))
            }
            // A database that doesn't run has nothing in it.
            _ => self.in_database() && found == ABSENT,
        }
    }

    /// Whether it is kept in Slurm's database.
    pub(crate) fn in_database(&self) -> bool {
        matches!(
            self.kind,
            Kind::SlurmAccount { .. } | Kind::NoSlurmAccount { .. } | Kind::SlurmUser { .. } | Kind::NoSlurmUser { .. }
        )
    }

    /// A few words for a plan: what changes, never what it holds.
    pub(crate) fn describe(&self) -> String {
        match &self.kind {
            Kind::File { path, .. }
            | Kind::Edited { path, .. }
            | Kind::NotEdited { path }
            | Kind::Link { path, .. } => path.clone(),
            Kind::Directory { path, .. } => format!("{path}/"),
            Kind::Account { name, .. } => format!("account {name}"),
            Kind::NoAccount { name } => format!("no account {name}"),
            Kind::UnixGroup { name, .. } => format!("group {name}"),
            Kind::NoUnixGroup { name } => format!("no group {name}"),
            Kind::Service { unit, .. } => format!("service {unit}"),
            Kind::NoService { unit } => format!("no service {unit}"),
            Kind::SlurmAccount { name, .. } => format!("Slurm account {name}"),
            Kind::NoSlurmAccount { name } => format!("no Slurm account {name}"),
            Kind::SlurmUser { name, .. } => format!("Slurm user {name}"),
            Kind::NoSlurmUser { name } => format!("no Slurm user {name}"),
            Kind::Program { path } => format!("program {path}"),
            Kind::Mount { path } | Kind::MountUnit { path, .. } => format!("mount {path}"),
            Kind::SlurmNode { name, .. } => format!("Slurm node {name}"),
            Kind::SlurmDrained { name } => format!("jobs of Slurm node {name}"),
        }
    }
}

impl Item {
    /// A few words for a plan: how what was found differs from what is wanted.
    pub(crate) fn difference(&self, found: &str) -> String {
        match &self.kind {
            _ if found == ABSENT => "not there".to_owned(),
            _ if self.want == ABSENT => "not in the design".to_owned(),
            Kind::NotEdited { .. } => "not in the design: what was there before it is put back".to_owned(),
            Kind::File { .. } | Kind::Edited { .. } => {
                let parts = |text: &str| {
                    text.rsplit_once(' ')
                        .map(|(mode, sum)| (mode.to_owned(), sum.to_owned()))
                };
                match (parts(found), parts(&self.want)) {
                    (Some((mode, sum)), Some((want_mode, want_sum))) => match (mode == want_mode, sum == want_sum) {
                        (true, _) => "its content differs".to_owned(),
                        (false, true) => format!("mode and owner are {mode}, not {want_mode}"),
                        (false, false) => {
                            format!("its content differs, and mode and owner are {mode}, not {want_mode}")
                        }
                    },
                    _ => "it differs".to_owned(),
                }
            }
            Kind::Account { uid, .. } if !found.starts_with(&format!("{uid}:")) => format!(
                "it has the uid {}, which an apply doesn't change to {uid}: remove the user first, or write that number",
                found.split(':').next().unwrap_or(found)
            ),
            Kind::UnixGroup { gid, .. } if found.starts_with(&format!("{gid}:")) => "its members differ".to_owned(),
            Kind::SlurmAccount { .. } | Kind::SlurmUser { .. } => "its account, shares or limits differ".to_owned(),
            Kind::SlurmNode { .. } if found == self.want => "its GPUs have changed".to_owned(),
            Kind::Service { .. } | Kind::MountUnit { .. } if found.starts_with("active ") => {
                "runs with an older configuration".to_owned()
            }
            Kind::Service { .. } | Kind::MountUnit { .. } => format!("is {}", found.split(' ').next().unwrap_or(found)),
            _ => format!("is {found}, not {}", self.want),
        }
    }
}
