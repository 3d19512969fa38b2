//! What the templates under `slurm/` are rendered from.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use serde::Serialize;

use crate::{Design, Fault, Faults, Flavor, Group, hostlist};

/// Which cgroups the nodes have, as observed on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cgroups {
    /// A writable cgroup v2 hierarchy: jobs are confined to what they asked for.
    V2,
    /// None that Slurm could use.
    None,
}

/// The values of every template under `slurm/`.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmValues {
    /// The cluster's name.
    pub cluster: String,
    /// The controller.
    pub master: SlurmMaster,
    /// Compute nodes in the design's order.
    pub nodes: Vec<SlurmNode>,
    /// Partitions.
    pub partitions: Vec<SlurmPartition>,
    /// What accounting asks for; none where it is off.
    pub accounting: Option<SlurmAccounting>,
    /// Whether any group has GPUs, even one without nodes now.
    pub gpus: bool,
    /// Lines of `gres.conf`.
    pub gres: Vec<SlurmGres>,
    /// Name servers that nodes ask; empty leaves them the provider's.
    pub dns_forwarders: Vec<IpAddr>,
    /// The nodes' domain; empty when they have none.
    pub dns_domain: String,
    /// What confines jobs.
    pub cgroups: Cgroups,
    /// Further keys of `slurm.conf`.
    pub extra: BTreeMap<String, String>,
}

/// The controller.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmMaster {
    /// Host name.
    pub name: String,
    /// Address.
    pub address: IpAddr,
}

/// Accounting and what orders jobs.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmAccounting {
    /// After so many days, use counts half.
    pub half_life_days: u32,
    /// Weight of fair share in a job's priority.
    pub fair_share_weight: u32,
    /// Weight of waiting in a job's priority.
    pub age_weight: u32,
}

/// A compute node.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmNode {
    /// Host name.
    pub name: String,
    /// Address.
    pub address: IpAddr,
    /// CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Features.
    pub features: Vec<String>,
    /// GPUs as Slurm counts them, such as `gpu:t4:2`; empty when it has none.
    pub gres: String,
}

/// A line of `gres.conf`: GPUs of some nodes.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmGres {
    /// Nodes as a host expression.
    pub nodes: String,
    /// Type; empty when it has none.
    pub model: String,
    /// Device files as Slurm writes them.
    pub files: String,
    /// Whether the files are all of one GPU, as MIG makes them.
    pub parts: bool,
}

/// A partition.
#[derive(Clone, Debug, Serialize)]
pub struct SlurmPartition {
    /// Name.
    pub name: String,
    /// Its nodes as a host expression; empty when it has none now.
    pub nodes: String,
    /// Whether it is the default.
    pub default: bool,
    /// Longest job.
    pub max_time: String,
    /// Memory in MiB that a job gets for each CPU unless it asks: what the leanest of its nodes has. Without it, a job that says nothing about
    /// memory would take a node's all, and with that the node. Zero when the partition has no nodes now.
    pub memory_per_cpu_mib: u64,
    /// Unix groups that may submit; empty means all.
    pub allow_groups: Vec<String>,
    /// CPUs that a job gets for each GPU unless it asks; zero leaves it to the job.
    pub cpus_per_gpu: u32,
}

impl Group {
    /// Files that stand for the GPUs of this group that are only counted, on each of its nodes: Slurm takes a GPU for one only when it
    /// has a device file.
    pub fn gpu_stand_ins(&self) -> Vec<String> {
        let counted: u32 = self
            .gpus
            .iter()
            .filter(|gpu| gpu.devices.is_empty())
            .map(|gpu| gpu.count)
            .sum();
        (0..counted).map(|number| format!("{STAND_INS}/gpu{number}")).collect()
    }

    /// Its lines of `gres.conf`.
    fn gres(&self, nodes: &str) -> Vec<SlurmGres> {
        let mut stand_ins = self.gpu_stand_ins().into_iter();
        let mut lines = Vec::new();
        for gpu in &self.gpus {
            let line = |files, parts| SlurmGres {
                nodes: nodes.to_owned(),
                model: gpu.model.clone(),
                files,
                parts,
            };
            let (parts, whole): (Vec<&String>, Vec<&String>) =
                gpu.devices.iter().partition(|device| device.contains(','));
            if gpu.devices.is_empty() {
                let files: Vec<String> = stand_ins.by_ref().take(gpu.count as usize).collect();
                lines.push(line(hostlist::compress(files), false));
            } else if !whole.is_empty() {
                lines.push(line(hostlist::compress(whole), false));
            }
            lines.extend(parts.into_iter().map(|files| line(files.clone(), true)));
        }
        lines
    }
}

/// The folder of [`Group::gpu_stand_ins`] on nodes.
const STAND_INS: &str = "/var/lib/clusterbook/gpu";

impl SlurmValues {
    /// The values for a design, with nodes as large as their flavors say.
    pub fn new(design: &Design, flavors: &[Flavor], cgroups: Cgroups) -> Result<Self, Faults> {
        design.check_flavors(flavors)?;
        let by_name: HashMap<&str, &Flavor> = flavors.iter().map(|flavor| (flavor.name.as_str(), flavor)).collect();
        let mut nodes = Vec::new();
        let mut gres = Vec::new();
        let mut names_of_group: HashMap<&str, Vec<String>> = HashMap::new();
        for group in &design.groups {
            let names = hostlist::take(&group.hosts, group.nodes as usize).map_err(|error| {
                Faults(vec![Fault {
                    path: format!("groups[{}].hosts", group.name),
                    message: error.message,
                    help: error.help,
                }])
            })?;
            let Some(flavor) = by_name.get(group.flavor.as_str()) else {
                continue;
            };
            let counts: Vec<String> = group.gpus.iter().map(|gpu| format!("gpu:{gpu}")).collect();
            if !names.is_empty() && !group.gpus.is_empty() {
                gres.extend(group.gres(&hostlist::compress(&names)));
            }
            nodes.extend(
                names
                    .iter()
                    .zip(group.addresses.iter())
                    .map(|(name, address)| SlurmNode {
                        name: name.clone(),
                        address,
                        cpus: flavor.cpus,
                        memory_mib: flavor.memory.mib(),
                        features: group.features.clone(),
                        gres: counts.join(","),
                    }),
            );
            names_of_group.insert(&group.name, names);
        }
        let partitions = design
            .partitions
            .iter()
            .map(|partition| {
                let groups: Vec<_> = partition
                    .groups
                    .iter()
                    .filter_map(|name| design.group(name))
                    .filter(|group| group.nodes > 0)
                    .collect();
                SlurmPartition {
                    name: partition.name.clone(),
                    nodes: hostlist::compress(
                        groups
                            .iter()
                            .filter_map(|group| names_of_group.get(group.name.as_str()))
                            .flatten(),
                    ),
                    default: partition.default,
                    max_time: partition.max_time.to_uppercase(),
                    memory_per_cpu_mib: groups
                        .iter()
                        .filter_map(|group| by_name.get(group.flavor.as_str()))
                        .map(|flavor| flavor.memory.mib() / u64::from(flavor.cpus.max(1)))
                        .min()
                        .unwrap_or(0),
                    allow_groups: partition.allow_groups.clone(),
                    cpus_per_gpu: partition.cpus_per_gpu,
                }
            })
            .collect();
        Ok(Self {
            cluster: design.name.clone(),
            master: SlurmMaster {
                name: design.master.host.clone(),
                address: design.master.address,
            },
            nodes,
            partitions,
            accounting: design.accounting.enabled.then_some(SlurmAccounting {
                half_life_days: design.accounting.fair_share.half_life_days,
                fair_share_weight: design.accounting.fair_share.weight,
                age_weight: design.accounting.fair_share.age_weight,
            }),
            gpus: design.has_gpus(),
            gres,
            dns_forwarders: design.network.dns_forwarders.clone(),
            dns_domain: design.network.dns_domain.clone(),
            cgroups,
            extra: design.slurm_conf.clone(),
        })
    }
}
