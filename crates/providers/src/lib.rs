//! Where machines and disks come from.
//!
//! One trait, [`Provider`], shaped by what clouds do: batches succeed in part, calls are accepted before they are done,
//! lists lag behind, requests are throttled, and a call that timed out may have worked. The engine copes with all of that in
//! one place, so a provider only says truthfully what happened. One file per provider, one conformance suite for all.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod checks;
mod error;
mod local;
mod memory;
mod table;

use std::collections::BTreeMap;
use std::net::IpAddr;

use async_trait::async_trait;
use clusterbook_model::{Flavor, Recipe, Secret, Size, Subnet};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

pub use error::{ErrorKind, ProviderError};
pub use local::Local;
pub use memory::{Calls, Fault, FaultPlan, Memory, NodeWrite, Operation, Scripted, World, WriteOutcome, serve};
pub use table::{PROVIDERS, ProviderOptions, open, open_memory};

/// A place that machines come from.
///
/// Every call may be repeated: creating what exists answers [`ErrorKind::AlreadyExists`] without touching it, deleting
/// what is gone answers [`ErrorKind::NotFound`].
#[async_trait]
pub trait Provider: Send + Sync {
    /// The name that designs write, for example `local`.
    fn name(&self) -> &str;

    /// What this provider can do. A plan that needs more fails while it is still a plan.
    fn capabilities(&self) -> Capabilities;

    /// Whether the provider can be used now: service reachable, credentials valid, permissions sufficient.
    async fn check(&self) -> Result<(), ProviderError>;

    /// The flavors that a design may name.
    async fn flavors(&self) -> Result<Vec<Flavor>, ProviderError>;

    /// Everything that carries our mark, of one cluster or of all. May lag behind recent calls where
    /// [`Capabilities::lists_lag`] says so.
    async fn inventory(&self, scope: &Scope) -> Result<Inventory, ProviderError>;

    /// Carries out a batch, as wide as the provider allows. One answer per request, in the same order; one request's
    /// failure never stops another.
    async fn submit(&self, requests: &[Request], context: &Context) -> Vec<Result<Ack, ProviderError>>;
}

/// Which resources a listing is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scope {
    /// All clusters'.
    All,
    /// One cluster's, by [`Mark::cluster_id`]. Images are shared between clusters and always listed.
    Cluster(String),
}

/// What a provider can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Nodes can be stopped and started with address and disks kept.
    pub power: bool,
    /// One disk can be attached to many nodes at once; otherwise the master exports it.
    pub shared_disks: bool,
    /// Nodes get the address that the design asks for.
    pub fixed_addresses: bool,
    /// Images are built from recipes; otherwise the recipe runs at first boot.
    pub images: bool,
    /// Disk sizes are enforced.
    pub disk_quota: bool,
    /// Lists may miss what was just made, or show what was just removed.
    pub lists_lag: bool,
    /// Nodes have control groups (version 2) of their own, which daemons there may manage; containers share the machine's.
    pub own_cgroups: bool,
    /// Nodes can mount storage of other machines (NFS); otherwise a disk of the cluster stands for it.
    pub network_mounts: bool,
    /// A group may have GPUs that its flavor hasn't: they are counted only, for trying out schedules.
    pub counted_gpus: bool,
    /// How ownership is marked.
    pub marks: MarkStyle,
}

/// How a provider remembers what is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MarkStyle {
    /// Tags that are set by the very call that creates.
    Tags,
    /// The resource's name holds the identity.
    Name,
    /// A file on the node.
    MarkerFile,
}

/// Whose a resource is. Set in the call that creates it, so that nothing of ours is ever without one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The cluster's name.
    pub cluster: String,
    /// The cluster's identity: unlike the name never used twice.
    pub cluster_id: String,
    /// The resource's name within the cluster: a host name, a disk's name, `network`.
    pub resource: String,
    /// Number of the apply that asked for it.
    pub apply: u64,
}

/// One thing asked of a provider. Resources are addressed by mark, never by a provider's own id, so that a request
/// means the same after a crash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make an image from a recipe, tagged by content.
    BuildImage(Recipe),
    /// Make the cluster's network.
    CreateNetwork {
        /// Whose.
        mark: Mark,
        /// Its range.
        subnet: Subnet,
    },
    /// Make a disk.
    CreateDisk {
        /// Whose.
        mark: Mark,
        /// Capacity.
        size: Size,
    },
    /// Make and start a node.
    CreateNode(Box<NodeSpec>),
    /// Start a stopped node.
    PowerOn(Mark),
    /// Stop a node, keeping address, disks and host key.
    PowerOff(Mark),
    /// Remove a node.
    DeleteNode(Mark),
    /// Remove a disk and what is on it.
    DeleteDisk(Mark),
    /// Remove the network.
    DeleteNetwork(Mark),
}

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSpec {
    /// Whose; `mark.resource` is the host name.
    pub mark: Mark,
    /// Flavor, as [`Provider::flavors`] listed it.
    pub flavor: Flavor,
    /// [`Recipe::tag`] of its image.
    pub image: String,
    /// Fixed address in the cluster's network.
    pub address: IpAddr,
    /// Disks, by their resource name, and where the node sees them.
    pub disks: BTreeMap<String, String>,
    /// What the node knows from birth.
    pub birth: Birth,
}

/// What a node is given before it first runs, so that the first connection to it is already verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Birth {
    /// The node's private host key, OpenSSH format.
    pub host_key: Secret,
    /// The matching public key.
    pub host_key_public: String,
    /// The public key that may log in as root.
    pub authorized_key: String,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ack {
    /// Finished.
    Done,
    /// Accepted; the inventory tells when it is finished.
    Pending,
}

/// What goes along with a batch.
#[derive(Clone, Debug)]
pub struct Context {
    /// Ends what is still waiting.
    pub cancel: CancellationToken,
    /// Progress of long requests; `None` when nobody looks.
    pub progress: Option<UnboundedSender<Progress>>,
}

/// Progress of one long request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Which resource, for example `image compute`.
    pub resource: String,
    /// What is happening, one line.
    pub text: String,
}

/// What exists.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// Networks.
    pub networks: Vec<Resource>,
    /// Disks.
    pub disks: Vec<Resource>,
    /// Nodes.
    pub nodes: Vec<NodeResource>,
    /// Tags of the images that can be used now.
    pub images: Vec<String>,
}

/// A network or disk that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resource {
    /// Whose.
    pub mark: Mark,
    /// The provider's own id, for people.
    pub id: String,
    /// What was asked for when it was made: the subnet or the size.
    pub detail: String,
}

/// A node that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeResource {
    /// Whose; `mark.resource` is the host name.
    pub mark: Mark,
    /// The provider's own id, for people.
    pub id: String,
    /// What it is doing.
    pub state: NodeState,
    /// Its address in the cluster's network.
    pub address: Option<IpAddr>,
    /// Where SSH reaches it from here.
    pub endpoint: Option<Endpoint>,
    /// Name of its flavor.
    pub flavor: String,
    /// Tag of its image.
    pub image: String,
}

/// State of a node, as the provider sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeState {
    /// Being made or started.
    Starting,
    /// Running, which doesn't yet mean that SSH answers.
    Running,
    /// Being stopped.
    Stopping,
    /// Stopped.
    Stopped,
    /// Being removed.
    Deleting,
    /// The provider gave up on it; the text says why.
    Failed(String),
}

/// Where a node's SSH is reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address or name.
    pub host: String,
    /// TCP port.
    pub port: u16,
}
