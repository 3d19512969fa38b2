//! The checked design of a cluster: the one description of everything that is kept true.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{AddressRange, Limits, Size, Subnet, hostlist};

/// The version of the design's shape, written as `schema:` into every file.
pub const SCHEMA: u32 = 1;

/// The size of a disk that stands for storage of others, whose own size isn't known here.
const STAND_IN: Size = Size::from_gib(16);

/// A whole cluster, checked: names are unique, addresses lie in the network and don't overlap, partitions name groups that
/// exist. Made only by [`crate::DesignFile`] and [`Design::from_parameters`], so holding one means that it is sound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Design {
    /// Version of this shape, see [`SCHEMA`].
    pub schema: u32,
    /// The cluster's name: a DNS label, at most 32 characters.
    pub name: String,
    /// The provider's name, for example `local`.
    pub provider: String,
    /// The distribution of the node images, for example `debian-13`.
    pub image: String,
    /// The nodes' instruction set: `x86_64`, `aarch64`, or `native` for that of the provider's flavors.
    pub architecture: Architecture,
    /// Whether the nodes should be running.
    pub power: Power,
    /// The network that the nodes share.
    pub network: Network,
    /// The node that runs the controller and serves the shared storage.
    pub master: Master,
    /// Groups of like compute nodes.
    pub groups: Vec<Group>,
    /// Disks shared by all nodes.
    pub disks: Vec<Disk>,
    /// Storage of others that every node mounts, such as an NFS export.
    pub mounts: Vec<Mount>,
    /// Slurm partitions.
    pub partitions: Vec<Partition>,
    /// Who used what, who may use how much, and whose turn is next.
    #[serde(default)]
    pub accounting: Accounting,
    /// Groups that users share, with the same gid on every node.
    #[serde(default)]
    pub unix_groups: Vec<UnixGroup>,
    /// Users that exist, with the same uid, on every node.
    pub users: Vec<User>,
    /// Extra `slurm.conf` keys; keys that this template manages are refused.
    pub slurm_conf: BTreeMap<String, String>,
    /// Configuration files that a person has edited; files that this template manages are refused.
    pub files: Vec<EditedFile>,
    /// What the nodes run containers with. Their images hold these.
    pub containers: Vec<Container>,
    /// Environment modules that every login shell loads by itself.
    pub default_modules: Vec<String>,
}

/// What runs containers on nodes, for ordinary users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// Apptainer, formerly Singularity, on every node: images are files.
    Apptainer,
    /// Podman without root, on compute nodes; also under the name `docker`.
    Podman,
}

impl Container {
    /// All of them, in the order in which images are built.
    pub const ALL: [Self; 2] = [Self::Apptainer, Self::Podman];

    /// The name in designs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apptainer => "apptainer",
            Self::Podman => "podman",
        }
    }
}

/// An instruction set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// In a design: whatever the provider's flavors have. In a flavor: one that isn't known.
    Native,
    /// Intel's and AMD's 64 bits.
    X86_64,
    /// Arm's 64 bits.
    Aarch64,
}

impl Architecture {
    /// Reads the name that `uname -m`, Rust and designs use.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "native" => Some(Self::Native),
            "x86_64" | "amd64" => Some(Self::X86_64),
            "aarch64" | "arm64" => Some(Self::Aarch64),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }
}

impl std::fmt::Display for Architecture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// Desired power of all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// Every node runs.
    On,
    /// Every node is stopped; addresses, disks and host keys stay.
    Off,
}

/// The cluster's own network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// The range that all nodes' addresses lie in. The first host address is the gateway's.
    pub subnet: Subnet,
    /// Name servers that the nodes ask, at most three; empty leaves them the provider's.
    pub dns_forwarders: Vec<IpAddr>,
    /// The nodes' domain, such as `hpc.example.org`; empty when they have none.
    pub dns_domain: String,
}

/// The controller node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Master {
    /// Host name.
    pub host: String,
    /// Fixed address.
    pub address: IpAddr,
    /// Name of the provider's flavor.
    pub flavor: String,
}

/// Compute nodes that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Name, unique in the design.
    pub name: String,
    /// How many nodes there are now.
    pub nodes: u32,
    /// Name of the provider's flavor.
    pub flavor: String,
    /// Host name expression such as `c[1-16]`; its first `nodes` names are in use.
    pub hosts: String,
    /// Address expression such as `10.0.0.21-36`; its first `nodes` addresses are in use.
    pub addresses: AddressRange,
    /// Slurm features of the nodes.
    pub features: Vec<String>,
    /// GPUs of each node, by type.
    pub gpus: Vec<Gpu>,
}

/// GPUs of one type on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// What Slurm calls them, for example `t4` or `a100_1g.5gb`; empty where nobody asks for a type.
    #[serde(rename = "type")]
    pub model: String,
    /// How many.
    pub count: u32,
    /// One entry for each: its device file, or with MIG several joined by commas. Empty when they are only counted.
    pub devices: Vec<String>,
}

impl std::fmt::Display for Gpu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.model.as_str() {
            "" => write!(f, "{}", self.count),
            model => write!(f, "{model}:{}", self.count),
        }
    }
}

/// A disk that every node mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// Name, unique in the design.
    pub name: String,
    /// Capacity. A provider without quotas treats it as a statement of intent and says so.
    pub size: Size,
    /// Absolute path where every node sees it.
    pub mount: String,
}

/// Storage of others that every node mounts. The words are those of `/etc/fstab`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Name, unique among mounts and disks.
    pub name: String,
    /// What is mounted, for example `nas.example.org:/export/data`.
    pub source: String,
    /// Absolute path where every node sees it.
    pub mount: String,
    /// Type of the file system: `nfs`, `nfs4` or `lustre`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// A Slurm partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// Name, unique in the design.
    pub name: String,
    /// Names of the groups whose nodes belong to it.
    pub groups: Vec<String>,
    /// Whether jobs without `--partition` go here. Exactly one partition is the default.
    pub default: bool,
    /// Longest job, in Slurm's notation (`1-00:00:00`), or `infinite`.
    pub max_time: String,
    /// Unix groups that may submit; empty means all.
    pub allow_groups: Vec<String>,
    /// CPUs that a job gets for each GPU unless it asks; zero leaves it to the job.
    pub cpus_per_gpu: u32,
}

/// Accounting: jobs are written into a database, belong to accounts, and are limited and ordered by them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounting {
    /// Whether it is kept.
    pub enabled: bool,
    /// Slurm's accounts, parents before their children. The first is that of users who name none.
    pub accounts: Vec<Account>,
    /// How use in the past orders the jobs that wait.
    pub fair_share: FairShare,
}

/// One of Slurm's accounts: whom jobs are charged to, a project or a laboratory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// Name, unique in the design.
    pub name: String,
    /// The account above it; `root` where there is none.
    pub parent: String,
    /// Its shares of what its siblings have together.
    pub fairshare: u32,
    /// Limits of all its jobs together (`Grp…`) and of each member's (`Max…`).
    pub limits: Limits,
}

/// What orders the jobs that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FairShare {
    /// After so many days, use counts half.
    pub half_life_days: u32,
    /// Weight of how much an account and a user have used of their share.
    pub weight: u32,
    /// Weight of how long a job has waited.
    pub age_weight: u32,
}

impl Default for Accounting {
    fn default() -> Self {
        Self {
            enabled: true,
            accounts: vec![Account {
                name: "users".to_owned(),
                parent: "root".to_owned(),
                fairshare: 1,
                limits: Limits::default(),
            }],
            fair_share: FairShare {
                half_life_days: 7,
                weight: 10_000,
                age_weight: 1_000,
            },
        }
    }
}

impl Accounting {
    /// The account that a user's jobs belong to unless they say otherwise.
    pub fn default_account<'a>(&'a self, user: &'a User) -> Option<&'a str> {
        self.accounts_of(user).into_iter().next()
    }

    /// All accounts of a user.
    pub fn accounts_of<'a>(&'a self, user: &'a User) -> Vec<&'a str> {
        if user.accounts.is_empty() {
            self.accounts
                .iter()
                .take(1)
                .map(|account| account.name.as_str())
                .collect()
        } else {
            user.accounts.iter().map(String::as_str).collect()
        }
    }

    /// The limits that hold for an account itself, those from above included.
    pub fn limits_of(&self, name: &str) -> Limits {
        // Parents stand before their children, so this ends.
        match self.accounts.iter().find(|account| account.name == name) {
            Some(account) => account.limits.below(&self.limits_of(&account.parent)),
            None => Limits::default(),
        }
    }
}

/// A group that users share, for example a project's, on every node. A user's own group isn't one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnixGroup {
    /// Its name; no user has the same.
    pub name: String,
    /// The same on every node, 1000 to 59999; no user has the same number.
    pub gid: u32,
}

/// A person with an account on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// Login name.
    pub name: String,
    /// The same on every node, 1000 to 59999; the primary group has the same number.
    pub uid: u32,
    /// Public SSH keys, one line each.
    pub keys: Vec<String>,
    /// Whether the person may use `sudo` without a password.
    pub sudo: bool,
    /// Names of [`UnixGroup`]s that the person is in beside their own.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Slurm's accounts that the person's jobs may belong to, the default first; empty means the first of the design.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Their shares of what the members of an account have together.
    #[serde(default = "one_share")]
    pub fairshare: u32,
    /// Limits of their own, in each of their accounts.
    #[serde(default)]
    pub limits: Limits,
}

fn one_share() -> u32 {
    1
}

/// A configuration file that is the same on some nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditedFile {
    /// Absolute path, of letters, digits and `-_.@+:` only.
    pub path: String,
    /// Where: `all`, `master`, names of groups.
    pub nodes: Vec<String>,
    /// Permission bits as octal digits, for example `0644`.
    pub mode: String,
    /// `user:group`, both known on the nodes.
    pub owner: String,
    /// Services, without `.service`, that are told to read their configuration again when it changes.
    pub reload: Vec<String>,
    /// Services that are restarted when it changes.
    pub restart: Vec<String>,
    /// What it holds: text of at most 256 KiB, never a secret.
    pub content: String,
}

/// What a provider offers for one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flavor {
    /// Name as designs write it.
    pub name: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory.
    pub memory: Size,
    /// GPUs; zero where there are none.
    pub gpus: u32,
    /// Instruction set.
    pub architecture: Architecture,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Runs the controller.
    Master,
    /// Runs jobs.
    Compute,
}

/// One node, expanded from the master or a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Host name, unique in the design.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// Name of its group; `master` for the master.
    pub group: String,
    /// Fixed address.
    pub address: IpAddr,
    /// Name of its flavor.
    pub flavor: String,
}

impl Design {
    /// Every node: the master, then the groups in order, each with its first names and addresses.
    pub fn nodes(&self) -> Vec<Node> {
        let total: usize = self.groups.iter().map(|group| group.nodes as usize).sum();
        let mut nodes = Vec::with_capacity(total + 1);
        nodes.push(self.master_node());
        for group in &self.groups {
            // A checked design's expressions can be read and are long enough.
            let names = hostlist::take(&group.hosts, group.nodes as usize).unwrap_or_default();
            nodes.extend(
                names
                    .into_iter()
                    .zip(group.addresses.iter())
                    .map(|(name, address)| Node {
                        name,
                        role: Role::Compute,
                        group: group.name.clone(),
                        address,
                        flavor: group.flavor.clone(),
                    }),
            );
        }
        nodes
    }

    /// The master as a node.
    pub fn master_node(&self) -> Node {
        Node {
            name: self.master.host.clone(),
            role: Role::Master,
            group: "master".to_owned(),
            address: self.master.address,
            flavor: self.master.flavor.clone(),
        }
    }

    /// The node with this host name.
    pub fn node(&self, name: &str) -> Option<Node> {
        self.nodes().into_iter().find(|node| node.name == name)
    }

    /// The design as a provider makes it that can't mount others' storage: a shared disk of its own stands for each of them.
    #[must_use]
    pub fn with_stand_ins(&self) -> Self {
        let mut design = self.clone();
        design.disks.extend(design.mounts.drain(..).map(|mount| Disk {
            name: mount.name,
            size: STAND_IN,
            mount: mount.mount,
        }));
        design
    }

    /// Whether any group has GPUs.
    pub fn has_gpus(&self) -> bool {
        self.groups.iter().any(|group| !group.gpus.is_empty())
    }

    /// The group with this name.
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.name == name)
    }
}
