//! What exists in the world, and how it changes. No faults in here: callers decide beforehand what goes wrong.

use std::collections::BTreeMap;
use std::net::IpAddr;

use clusterbook_model::{Size, Subnet};

use crate::checks::{flavors, request_name, unknown_image, wrong_flavor};
use crate::{Ack, Endpoint, ErrorKind, Mark, NodeResource, NodeSpec, NodeState, ProviderError, Request, Resource};

/// How a change comes about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Manner {
    /// Listings until it is finished.
    pub(super) pending: u32,
    /// Listings that don't show it yet.
    pub(super) stale: u32,
    /// The node comes up broken.
    pub(super) born_failed: bool,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) clusters: BTreeMap<String, Cluster>,
    pub(super) images: BTreeMap<String, u32>,
    /// Gone, and still listed for so many listings.
    pub(super) ghosts: Vec<(Ghost, u32)>,
    pub(super) next_id: u64,
}

#[derive(Debug, Default)]
pub(super) struct Cluster {
    pub(super) networks: BTreeMap<String, NetworkRecord>,
    pub(super) disks: BTreeMap<String, DiskRecord>,
    pub(super) nodes: BTreeMap<String, NodeRecord>,
    pub(super) addresses: BTreeMap<IpAddr, String>,
}

#[derive(Debug)]
pub(super) struct NetworkRecord {
    pub(super) resource: Resource,
    pub(super) subnet: Subnet,
    pub(super) life: Life,
}

#[derive(Debug)]
pub(super) struct DiskRecord {
    pub(super) resource: Resource,
    pub(super) files: BTreeMap<String, String>,
    pub(super) life: Life,
}

#[derive(Debug)]
pub(super) struct NodeRecord {
    pub(super) resource: NodeResource,
    pub(super) disks: BTreeMap<String, String>,
    pub(super) files: BTreeMap<String, String>,
    pub(super) fence: u64,
    pub(super) life: Life,
}

/// What a record is on its way to.
#[derive(Debug, Default)]
pub(super) struct Life {
    pub(super) hidden: u32,
    pub(super) pending: u32,
    pub(super) becomes: Option<Becomes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Becomes {
    State(NodeState),
    Ready,
    Gone,
}

#[derive(Debug)]
pub(super) enum Ghost {
    Network(Resource),
    Disk(Resource),
    Node(Box<NodeResource>),
}

impl Life {
    fn new(manner: Manner, becomes: Becomes) -> Self {
        Self {
            hidden: manner.stale,
            pending: manner.pending,
            becomes: (manner.pending > 0).then_some(becomes),
        }
    }

    /// One listing passes. Says what the record became, if it became something now.
    pub(super) fn tick(&mut self) -> Option<Becomes> {
        self.hidden = self.hidden.saturating_sub(1);
        self.pending = self.pending.saturating_sub(1);
        if self.pending == 0 { self.becomes.take() } else { None }
    }

    fn is_going(&self) -> bool {
        self.becomes == Some(Becomes::Gone)
    }

    fn is_busy(&self) -> bool {
        self.becomes.is_some()
    }
}

pub(super) fn error(kind: ErrorKind, resource: &str, message: impl Into<String>) -> ProviderError {
    ProviderError::new(kind, resource, message)
}

fn ack(manner: Manner) -> Ack {
    if manner.pending > 0 { Ack::Pending } else { Ack::Done }
}

impl State {
    /// Carries out one request.
    pub(super) fn apply(&mut self, request: &Request, manner: Manner) -> Result<Ack, ProviderError> {
        let name = request_name(request);
        match request {
            Request::BuildImage(recipe) => {
                let tag = recipe.tag();
                if self.images.contains_key(&tag) {
                    return Err(error(ErrorKind::AlreadyExists, &name, "the image is there already"));
                }
                if let clusterbook_model::Base::Recipe(parent) = &recipe.base
                    && !self.images.contains_key(parent)
                {
                    return Err(error(
                        ErrorKind::NotFound,
                        &name,
                        format!("its base image {parent} is not there"),
                    ));
                }
                self.images.insert(tag, manner.stale);
                Ok(Ack::Done)
            }
            Request::CreateNetwork { mark, subnet } => self.create_network(&name, mark, *subnet, manner),
            Request::CreateDisk { mark, size } => self.create_disk(&name, mark, *size, manner),
            Request::CreateNode(spec) => self.create_node(&name, spec, manner),
            Request::PowerOn(mark) => self.power(&name, mark, NodeState::Running, manner),
            Request::PowerOff(mark) => self.power(&name, mark, NodeState::Stopped, manner),
            Request::DeleteNode(mark) => self.delete_node(&name, mark, manner),
            Request::DeleteDisk(mark) => self.delete_disk(&name, mark, manner),
            Request::DeleteNetwork(mark) => self.delete_network(&name, mark, manner),
        }
    }

    fn id(&mut self) -> String {
        self.next_id += 1;
        format!("m-{:06}", self.next_id)
    }

    fn create_network(
        &mut self,
        name: &str,
        mark: &Mark,
        subnet: Subnet,
        manner: Manner,
    ) -> Result<Ack, ProviderError> {
        let id = self.id();
        let cluster = self.clusters.entry(mark.cluster_id.clone()).or_default();
        if let Some(record) = cluster.networks.get(&mark.resource) {
            return Err(already(name, &record.life));
        }
        cluster.networks.insert(
            mark.resource.clone(),
            NetworkRecord {
                resource: Resource {
                    mark: mark.clone(),
                    id,
                    detail: subnet.to_string(),
                },
                subnet,
                life: Life::new(manner, Becomes::Ready),
            },
        );
        Ok(ack(manner))
    }

    fn create_disk(&mut self, name: &str, mark: &Mark, size: Size, manner: Manner) -> Result<Ack, ProviderError> {
        let id = self.id();
        let cluster = self.clusters.entry(mark.cluster_id.clone()).or_default();
        if let Some(record) = cluster.disks.get(&mark.resource) {
            return Err(already(name, &record.life));
        }
        cluster.disks.insert(
            mark.resource.clone(),
            DiskRecord {
                resource: Resource {
                    mark: mark.clone(),
                    id,
                    detail: size.to_string(),
                },
                files: BTreeMap::new(),
                life: Life::new(manner, Becomes::Ready),
            },
        );
        Ok(ack(manner))
    }

    fn create_node(&mut self, name: &str, spec: &NodeSpec, manner: Manner) -> Result<Ack, ProviderError> {
        let id = self.id();
        let mark = &spec.mark;
        if let Some(record) = self
            .clusters
            .get(&mark.cluster_id)
            .and_then(|cluster| cluster.nodes.get(&mark.resource))
        {
            return Err(already(name, &record.life));
        }
        wrong_flavor(name, &spec.flavor, &flavors())?;
        if !self.images.contains_key(&spec.image) {
            return Err(unknown_image(name, &spec.image, self.images.keys().map(String::as_str)));
        }
        let cluster = self.clusters.entry(mark.cluster_id.clone()).or_default();
        let Some(network) = cluster
            .networks
            .values()
            .find(|network| network.subnet.contains(spec.address))
        else {
            return Err(if cluster.networks.is_empty() {
                error(ErrorKind::NotFound, name, "the cluster has no network yet")
            } else {
                error(
                    ErrorKind::Invalid,
                    name,
                    format!("{} is outside the cluster's network", spec.address),
                )
            });
        };
        if network.life.is_busy() {
            return Err(error(
                ErrorKind::Conflict,
                name,
                "the cluster's network isn't ready yet",
            ));
        }
        for disk in spec.disks.keys() {
            match cluster.disks.get(disk) {
                None => {
                    return Err(error(ErrorKind::NotFound, name, format!("there is no disk {disk}")));
                }
                Some(record) if record.life.is_busy() => {
                    return Err(error(
                        ErrorKind::Conflict,
                        name,
                        format!("the disk {disk} isn't ready yet"),
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(other) = cluster.addresses.get(&spec.address) {
            return Err(error(
                ErrorKind::Conflict,
                name,
                format!("the address {} belongs to {other}", spec.address),
            ));
        }
        let goal = if manner.born_failed {
            NodeState::Failed("the host ran out of memory while starting it".to_owned())
        } else {
            NodeState::Running
        };
        let files = [
            ("/etc/hostname", mark.resource.as_str()),
            ("/etc/ssh/ssh_host_ed25519_key.pub", spec.birth.host_key_public.as_str()),
            ("/root/.ssh/authorized_keys", spec.birth.authorized_key.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()));
        cluster.addresses.insert(spec.address, mark.resource.clone());
        cluster.nodes.insert(
            mark.resource.clone(),
            NodeRecord {
                resource: NodeResource {
                    mark: mark.clone(),
                    id,
                    state: if manner.pending > 0 {
                        NodeState::Starting
                    } else {
                        goal.clone()
                    },
                    address: Some(spec.address),
                    endpoint: Some(Endpoint {
                        host: spec.address.to_string(),
                        port: 22,
                    }),
                    flavor: spec.flavor.name.clone(),
                    image: spec.image.clone(),
                },
                disks: spec.disks.clone(),
                files: BTreeMap::from(files),
                fence: 0,
                life: Life::new(manner, Becomes::State(goal)),
            },
        );
        Ok(ack(manner))
    }

    fn node(&mut self, name: &str, mark: &Mark) -> Result<&mut NodeRecord, ProviderError> {
        self.clusters
            .get_mut(&mark.cluster_id)
            .and_then(|cluster| cluster.nodes.get_mut(&mark.resource))
            .ok_or_else(|| error(ErrorKind::NotFound, name, "there is no such node"))
    }

    fn power(&mut self, name: &str, mark: &Mark, goal: NodeState, manner: Manner) -> Result<Ack, ProviderError> {
        let node = self.node(name, mark)?;
        if node.resource.state == goal && !node.life.is_busy() {
            return Ok(Ack::Done);
        }
        if node.life.becomes == Some(Becomes::State(goal.clone())) {
            return Ok(Ack::Pending);
        }
        if node.life.is_busy() {
            return Err(error(
                ErrorKind::Conflict,
                name,
                "another operation on the node isn't finished",
            ));
        }
        if let NodeState::Failed(why) = &node.resource.state {
            return Err(error(ErrorKind::Invalid, name, format!("the node failed: {why}"))
                .with_hint("remove the node and make it again"));
        }
        node.resource.state = match (&goal, manner.pending) {
            (_, 0) => goal.clone(),
            (NodeState::Running, _) => NodeState::Starting,
            _ => NodeState::Stopping,
        };
        node.life = Life::new(Manner { stale: 0, ..manner }, Becomes::State(goal));
        Ok(ack(manner))
    }

    fn delete_node(&mut self, name: &str, mark: &Mark, manner: Manner) -> Result<Ack, ProviderError> {
        let node = self.node(name, mark)?;
        if node.life.is_going() {
            return Ok(Ack::Pending);
        }
        if manner.pending > 0 {
            node.resource.state = NodeState::Deleting;
            node.life = Life::new(Manner { stale: 0, ..manner }, Becomes::Gone);
            return Ok(Ack::Pending);
        }
        self.drop_node(&mark.cluster_id, &mark.resource, manner.stale);
        Ok(Ack::Done)
    }

    pub(super) fn drop_node(&mut self, cluster_id: &str, node: &str, stale: u32) {
        let Some(cluster) = self.clusters.get_mut(cluster_id) else {
            return;
        };
        if let Some(record) = cluster.nodes.remove(node) {
            if let Some(address) = record.resource.address {
                cluster.addresses.remove(&address);
            }
            if stale > 0 {
                self.ghosts.push((Ghost::Node(Box::new(record.resource)), stale));
            }
        }
    }

    fn delete_disk(&mut self, name: &str, mark: &Mark, manner: Manner) -> Result<Ack, ProviderError> {
        let missing = || error(ErrorKind::NotFound, name, "there is no such disk");
        let cluster = self.clusters.get_mut(&mark.cluster_id).ok_or_else(missing)?;
        let record = cluster.disks.get_mut(&mark.resource).ok_or_else(missing)?;
        if let Some(user) = cluster
            .nodes
            .values()
            .find(|node| node.disks.contains_key(&mark.resource))
        {
            return Err(error(
                ErrorKind::Conflict,
                name,
                format!("the node {} still uses it", user.resource.mark.resource),
            ));
        }
        if record.life.is_going() {
            return Ok(Ack::Pending);
        }
        if manner.pending > 0 {
            record.life = Life::new(Manner { stale: 0, ..manner }, Becomes::Gone);
        } else if let Some(record) = cluster.disks.remove(&mark.resource)
            && manner.stale > 0
        {
            self.ghosts.push((Ghost::Disk(record.resource), manner.stale));
        }
        Ok(ack(manner))
    }

    fn delete_network(&mut self, name: &str, mark: &Mark, manner: Manner) -> Result<Ack, ProviderError> {
        let missing = || error(ErrorKind::NotFound, name, "there is no such network");
        let cluster = self.clusters.get_mut(&mark.cluster_id).ok_or_else(missing)?;
        let record = cluster.networks.get_mut(&mark.resource).ok_or_else(missing)?;
        if let Some(user) = cluster.nodes.keys().next() {
            return Err(error(
                ErrorKind::Conflict,
                name,
                format!("{} nodes still use it, {user} first", cluster.nodes.len()),
            ));
        }
        if record.life.is_going() {
            return Ok(Ack::Pending);
        }
        if manner.pending > 0 {
            record.life = Life::new(Manner { stale: 0, ..manner }, Becomes::Gone);
        } else if let Some(record) = cluster.networks.remove(&mark.resource)
            && manner.stale > 0
        {
            self.ghosts.push((Ghost::Network(record.resource), manner.stale));
        }
        Ok(ack(manner))
    }
}

fn already(name: &str, life: &Life) -> ProviderError {
    if life.is_going() {
        error(ErrorKind::Conflict, name, "its removal isn't finished")
    } else {
        error(ErrorKind::AlreadyExists, name, "it is there already")
    }
}
