//! What a cluster's nodes are doing.

use std::collections::BTreeMap;

use clusterbook_providers::{NodeState, Scope};
use serde::Serialize;

use crate::engine::{ClusterSummary, Engine};
use crate::error::Error;

/// A cluster and its nodes, as the provider sees them now.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// The cluster.
    pub cluster: ClusterSummary,
    /// Its nodes: the design's in the design's order, then any others.
    pub nodes: Vec<NodeStatus>,
    /// Its disks, by name, with their size.
    pub disks: BTreeMap<String, String>,
    /// Its network's range, if it exists.
    pub network: Option<String>,
}

/// One node of a [`Status`].
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Host name.
    pub name: String,
    /// Its group; `master` for the master, empty if the design doesn't name the node.
    pub group: String,
    /// Flavor.
    pub flavor: String,
    /// Address in the cluster's network.
    pub address: String,
    /// What it is doing.
    pub state: Availability,
    /// More about it, for example why it failed.
    pub detail: String,
}

/// What a node is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Availability {
    /// It is designed and isn't there.
    Missing,
    /// It is being made or started.
    Starting,
    /// It runs.
    Running,
    /// It is being stopped.
    Stopping,
    /// It is powered off.
    Off,
    /// It is being removed.
    Deleting,
    /// The provider gave up on it.
    Failed,
}

impl Engine {
    /// A cluster and its nodes as the provider sees them now.
    ///
    /// # Errors
    /// When there is no such cluster, or the provider can't be asked.
    pub async fn status(&self, name: &str) -> Result<Status, Error> {
        let cluster = self.cluster(name)?;
        let design = self.design(name)?;
        let provider = self.provider(&cluster.provider)?;
        let found = self
            .inventory(provider.as_ref(), &Scope::Cluster(cluster.id.clone()))
            .await?;
        let mut rest: BTreeMap<String, _> = found
            .nodes
            .into_iter()
            .map(|node| (node.mark.resource.clone(), node))
            .collect();
        let mut nodes = Vec::new();
        for node in design.nodes() {
            let resource = rest.remove(&node.name);
            let (state, detail) = availability(resource.as_ref().map(|resource| &resource.state));
            nodes.push(NodeStatus {
                name: node.name,
                group: node.group,
                flavor: node.flavor,
                address: node.address.to_string(),
                state,
                detail,
            });
        }
        for (name, resource) in rest {
            let (state, _) = availability(Some(&resource.state));
            nodes.push(NodeStatus {
                name,
                group: String::new(),
                flavor: resource.flavor,
                address: resource.address.map_or_else(String::new, |address| address.to_string()),
                state,
                detail: "not in the design".to_owned(),
            });
        }
        Ok(Status {
            cluster,
            nodes,
            disks: found
                .disks
                .into_iter()
                .map(|disk| (disk.mark.resource, disk.detail))
                .collect(),
            network: found.networks.into_iter().next().map(|network| network.detail),
        })
    }
}

impl Availability {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Off => "off",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        }
    }
}

/// What a node whose resource is in this state (or isn't there) is doing, and more about it.
pub(crate) fn availability(state: Option<&NodeState>) -> (Availability, String) {
    let state = match state {
        None => Availability::Missing,
        Some(NodeState::Starting) => Availability::Starting,
        Some(NodeState::Running) => Availability::Running,
        Some(NodeState::Stopping) => Availability::Stopping,
        Some(NodeState::Stopped) => Availability::Off,
        Some(NodeState::Deleting) => Availability::Deleting,
        Some(NodeState::Failed(reason)) => return (Availability::Failed, reason.clone()),
    };
    (state, String::new())
}
