//! What a cluster *is*: raw parameters become a checked [`Design`], and a design renders into files.
//!
//! Everything here is pure: no file, network, clock or environment is touched. Callers hand in text and facts and get
//! text and types back, which is why every rule about a cluster can be tested without one.

mod address;
mod design;
mod error;
mod file;
mod gpus;
mod hostlist;
mod limits;
mod parameters;
mod recipe;
mod render;
mod secret;
mod size;
mod slurm;
mod templates;

pub use address::{AddressRange, Subnet};
pub use design::{
    Account, Accounting, Architecture, Container, Design, Disk, EditedFile, FairShare, Flavor, Gpu, Group, Master,
    Mount, Network, Node, Partition, Power, Role, SCHEMA, UnixGroup, User,
};
pub use error::{ExpressionError, Fault, Faults, nearest};
pub use file::{DesignFile, FileError, diff};
pub use gpus::{FoundGpu, GpuReport, GpuRow, GpuState, compare_gpus};
pub use hostlist::{
    MOST_HOSTS, compress as compress_hosts, count as count_hosts, expand as expand_hosts, take as take_hosts,
};
pub use limits::Limits;
pub use parameters::MOST_NODES;
pub use recipe::{Base, DISTRIBUTIONS, Recipe, RecipeError, RecipeFile, recipes};
pub use render::{RenderError, Renderer};
pub use secret::Secret;
pub use size::Size;
pub use slurm::{Cgroups, SlurmAccounting, SlurmGres, SlurmMaster, SlurmNode, SlurmPartition, SlurmValues};
