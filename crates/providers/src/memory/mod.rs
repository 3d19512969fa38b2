//! A world in memory, for tests: it has no machines, and every way of failing that real providers have.
//!
//! A [`World`] holds networks, disks, images and nodes. Each node also has a store of keys and values, which stands for
//! its file system, so that what is done *on* nodes can be tested without any. [`Memory`] is the provider over a world,
//! in this process or in another one behind a socket (see [`serve`]); the second outlives an engine that is killed.

mod faults;
mod listing;
mod state;
mod store;
mod wire;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use clusterbook_model::Flavor;
use serde::{Deserialize, Serialize};

use crate::checks::{flavors, request_name};
use crate::{Ack, Capabilities, Context, ErrorKind, Inventory, MarkStyle, Provider, ProviderError, Request, Scope};

use faults::Chance;
pub use faults::{Calls, Fault, FaultPlan, Operation, Scripted};
use state::{Manner, State};
pub use wire::serve;
use wire::{Call, Client, Reply};

/// One change to a node's store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeWrite {
    /// Which key.
    pub key: String,
    /// What must be there now; `None` means that the key must be absent.
    pub expected: Option<String>,
    /// What shall be there; `None` removes the key.
    pub value: Option<String>,
}

/// What became of a [`NodeWrite`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WriteOutcome {
    /// Done.
    Written,
    /// Left alone, because something else than expected was there.
    Drift {
        /// What was there.
        found: Option<String>,
    },
}

/// Machines that exist only in memory.
#[derive(Debug)]
pub struct World {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    chance: Chance,
    withheld: Option<String>,
}

impl World {
    /// An empty world. The same seed and plan give the same faults.
    pub fn new(seed: u64, plan: FaultPlan) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                state: State::default(),
                chance: Chance::new(seed, plan),
                withheld: None,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // The state is never left half-changed by a panic: every change is made by one insertion or removal.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the faults from now on.
    pub fn set_faults(&self, plan: FaultPlan) {
        self.lock().chance.set_plan(plan);
    }

    /// From now on, whoever wants to change this key of a node waits for an answer that never comes, as for a daemon that waits for
    /// another; `None` lets everybody through again.
    pub fn withhold(&self, key: Option<&str>) {
        self.lock().withheld = key.map(str::to_owned);
    }

    /// Doesn't end while one of these keys is withheld.
    async fn let_through(&self, writes: &[NodeWrite]) {
        let withheld = self.lock().withheld.clone();
        if withheld.is_some_and(|key| writes.iter().any(|write| write.key == key)) {
            std::future::pending::<()>().await;
        }
    }

    /// What was asked so far.
    pub fn calls(&self) -> Calls {
        self.lock().chance.calls.clone()
    }

    /// What really exists: no faults, not counted, and no time passes.
    pub fn truth(&self, scope: &Scope) -> Inventory {
        self.lock().state.list(scope, true)
    }

    /// Makes a node fail, as hardware does. Says whether the node was there.
    pub fn fail_node(&self, cluster_id: &str, node: &str, why: &str) -> bool {
        self.lock().state.fail(cluster_id, node, why)
    }

    /// Makes an image usable without building it.
    pub fn add_image(&self, recipe: &clusterbook_model::Recipe) {
        // Already there is as good as added.
        let _ = self
            .lock()
            .state
            .apply(&Request::BuildImage(recipe.clone()), Manner::default());
    }

    /// Keys of a node that is running; keys that are missing are absent from the answer.
    pub fn node_read(
        &self,
        cluster_id: &str,
        node: &str,
        keys: &[String],
    ) -> Result<BTreeMap<String, String>, ProviderError> {
        let mut inner = self.lock();
        if inner.chance.draw(Operation::NodeRead, node).is_some() {
            return Err(lost(node));
        }
        let mut files = inner.state.running(cluster_id, node)?;
        Ok(keys
            .iter()
            .filter_map(|key| Some((key.clone(), files.get(key)?)))
            .collect())
    }

    /// Changes keys of a node that is running, in order. A number of an apply that is lower than the highest one seen by the
    /// node is refused with [`ErrorKind::Denied`].
    pub fn node_write(
        &self,
        cluster_id: &str,
        node: &str,
        apply: u64,
        writes: &[NodeWrite],
    ) -> Result<Vec<WriteOutcome>, ProviderError> {
        let mut inner = self.lock();
        let arrives = match inner.chance.draw(Operation::NodeWrite, node) {
            // Even a connection that breaks after the last write leaves the caller without an answer.
            Some(Fault::ConnectionLost { after }) => Some(after as usize),
            _ => None,
        };
        let mut files = inner.state.running(cluster_id, node)?;
        if arrives == Some(0) {
            return Err(lost(node));
        }
        if apply < *files.fence {
            return Err(ProviderError::new(
                ErrorKind::Denied,
                format!("node {node}"),
                format!(
                    "apply {apply} is refused: apply {} has worked on this node since",
                    files.fence
                ),
            ));
        }
        *files.fence = apply;
        let outcomes = writes
            .iter()
            .take(arrives.unwrap_or(usize::MAX))
            .map(|write| {
                let found = files.get(&write.key);
                if found == write.expected {
                    files.set(&write.key, write.value.clone());
                    WriteOutcome::Written
                } else {
                    WriteOutcome::Drift { found }
                }
            })
            .collect();
        if arrives.is_some() {
            return Err(lost(node));
        }
        Ok(outcomes)
    }

    fn inventory(&self, scope: &Scope) -> Result<Inventory, ProviderError> {
        let mut inner = self.lock();
        if let Some(fault) = inner.chance.draw(Operation::Inventory, "") {
            return Err(refusal(fault, "inventory", inner.chance.plan()));
        }
        inner.state.tick();
        Ok(inner.state.list(scope, false))
    }

    fn submit(&self, requests: &[Request]) -> Vec<Result<Ack, ProviderError>> {
        let mut inner = self.lock();
        if let Some(fault) = inner.chance.draw(Operation::Batch, "") {
            return requests
                .iter()
                .map(|request| Err(refusal(fault, &request_name(request), inner.chance.plan())))
                .collect();
        }
        requests.iter().map(|request| inner.one(request)).collect()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            power: true,
            shared_disks: true,
            fixed_addresses: true,
            images: true,
            disk_quota: true,
            lists_lag: self.lock().chance.plan().lists_lag(),
            own_cgroups: true,
            network_mounts: true,
            counted_gpus: true,
            marks: MarkStyle::Tags,
        }
    }

    fn latency(&self) -> Duration {
        self.lock().chance.plan().latency
    }
}

impl Inner {
    fn one(&mut self, request: &Request) -> Result<Ack, ProviderError> {
        let (operation, resource) = operation(request);
        let name = request_name(request);
        let mut manner = Manner::default();
        match self.chance.draw(operation, &resource) {
            None => {}
            Some(Fault::Pending { listings }) => manner.pending = listings,
            Some(Fault::Stale { listings }) => manner.stale = listings,
            Some(Fault::BornFailed) => manner.born_failed = true,
            Some(Fault::TimedOutDone) => {
                // What came of it is what nobody learns.
                let _ = self.state.apply(request, manner);
                return Err(refusal(Fault::TimedOutDone, &name, self.chance.plan()));
            }
            Some(fault) => return Err(refusal(fault, &name, self.chance.plan())),
        }
        self.state.apply(request, manner)
    }
}

fn operation(request: &Request) -> (Operation, String) {
    let operation = match request {
        Request::BuildImage(recipe) => return (Operation::BuildImage, recipe.name.clone()),
        Request::CreateNetwork { .. } => Operation::CreateNetwork,
        Request::CreateDisk { .. } => Operation::CreateDisk,
        Request::CreateNode(_) => Operation::CreateNode,
        Request::PowerOn(_) => Operation::PowerOn,
        Request::PowerOff(_) => Operation::PowerOff,
        Request::DeleteNode(_) => Operation::DeleteNode,
        Request::DeleteDisk(_) => Operation::DeleteDisk,
        Request::DeleteNetwork(_) => Operation::DeleteNetwork,
    };
    let resource = crate::checks::request_mark(request).map(|mark| mark.resource.clone());
    (operation, resource.unwrap_or_default())
}

fn refusal(fault: Fault, resource: &str, plan: &FaultPlan) -> ProviderError {
    let (kind, message) = match fault {
        Fault::Throttled => (
            ErrorKind::Throttled {
                retry_after: Some(plan.retry_after),
            },
            "too many requests",
        ),
        Fault::TimedOutDone | Fault::TimedOutLost => (ErrorKind::TimedOut, "no answer came in time"),
        _ => (ErrorKind::Unavailable, "the service is out of order"),
    };
    ProviderError::new(kind, resource, message)
}

fn lost(node: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::TimedOut,
        format!("node {node}"),
        "the connection to the node was lost",
    )
}

/// The provider over a [`World`].
#[derive(Debug)]
pub struct Memory {
    link: Link,
    capabilities: Capabilities,
}

#[derive(Debug)]
enum Link {
    Here(Arc<World>),
    There(Client),
}

impl Memory {
    /// Over a world in this process.
    pub fn new(world: Arc<World>) -> Self {
        Self {
            capabilities: world.capabilities(),
            link: Link::Here(world),
        }
    }

    /// Over a world that another process serves at a Unix socket. Asks it once for its capabilities, so a world that isn't
    /// there is noticed at once.
    pub fn connect(socket: &Path) -> Result<Self, ProviderError> {
        let client = Client::new(socket);
        let capabilities = client.hello()?;
        Ok(Self {
            link: Link::There(client),
            capabilities,
        })
    }

    async fn ask(&self, client: &Client, call: Call) -> Result<Reply, ProviderError> {
        client.call(&call).await
    }

    async fn delay(&self, world: &World) {
        let latency = world.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
    }

    /// See [`World::node_read`].
    pub async fn node_read(
        &self,
        cluster_id: &str,
        node: &str,
        keys: &[String],
    ) -> Result<BTreeMap<String, String>, ProviderError> {
        match &self.link {
            Link::Here(world) => {
                self.delay(world).await;
                world.node_read(cluster_id, node, keys)
            }
            Link::There(client) => {
                let call = Call::NodeRead {
                    cluster_id: cluster_id.to_owned(),
                    node: node.to_owned(),
                    keys: keys.to_vec(),
                };
                match self.ask(client, call).await? {
                    Reply::NodeRead(answer) => answer,
                    other => Err(other.unexpected()),
                }
            }
        }
    }

    /// See [`World::node_write`].
    pub async fn node_write(
        &self,
        cluster_id: &str,
        node: &str,
        apply: u64,
        writes: &[NodeWrite],
    ) -> Result<Vec<WriteOutcome>, ProviderError> {
        match &self.link {
            Link::Here(world) => {
                self.delay(world).await;
                world.let_through(writes).await;
                world.node_write(cluster_id, node, apply, writes)
            }
            Link::There(client) => {
                let call = Call::NodeWrite {
                    cluster_id: cluster_id.to_owned(),
                    node: node.to_owned(),
                    apply,
                    writes: writes.to_vec(),
                };
                match self.ask(client, call).await? {
                    Reply::NodeWrite(answer) => answer,
                    other => Err(other.unexpected()),
                }
            }
        }
    }

    /// What was asked of the world so far, by everybody.
    pub async fn calls(&self) -> Result<Calls, ProviderError> {
        match &self.link {
            Link::Here(world) => Ok(world.calls()),
            Link::There(client) => match self.ask(client, Call::Calls).await? {
                Reply::Calls(calls) => Ok(calls),
                other => Err(other.unexpected()),
            },
        }
    }

    /// See [`World::truth`].
    pub async fn truth(&self, scope: &Scope) -> Result<Inventory, ProviderError> {
        match &self.link {
            Link::Here(world) => Ok(world.truth(scope)),
            Link::There(client) => match self.ask(client, Call::Truth(scope.clone())).await? {
                Reply::Inventory(answer) => answer,
                other => Err(other.unexpected()),
            },
        }
    }

    /// See [`World::fail_node`].
    pub async fn fail_node(&self, cluster_id: &str, node: &str, why: &str) -> Result<bool, ProviderError> {
        match &self.link {
            Link::Here(world) => Ok(world.fail_node(cluster_id, node, why)),
            Link::There(client) => {
                let call = Call::FailNode {
                    cluster_id: cluster_id.to_owned(),
                    node: node.to_owned(),
                    why: why.to_owned(),
                };
                match self.ask(client, call).await? {
                    Reply::FailNode(was_there) => Ok(was_there),
                    other => Err(other.unexpected()),
                }
            }
        }
    }

    /// See [`World::set_faults`].
    pub async fn set_faults(&self, plan: FaultPlan) -> Result<(), ProviderError> {
        match &self.link {
            Link::Here(world) => {
                world.set_faults(plan);
                Ok(())
            }
            Link::There(client) => match self.ask(client, Call::SetFaults(plan)).await? {
                Reply::Done => Ok(()),
                other => Err(other.unexpected()),
            },
        }
    }
}

#[async_trait]
impl Provider for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn check(&self) -> Result<(), ProviderError> {
        match &self.link {
            Link::Here(_) => Ok(()),
            Link::There(client) => self.ask(client, Call::Hello).await.map(|_| ()),
        }
    }

    async fn flavors(&self) -> Result<Vec<Flavor>, ProviderError> {
        Ok(flavors())
    }

    async fn inventory(&self, scope: &Scope) -> Result<Inventory, ProviderError> {
        match &self.link {
            Link::Here(world) => {
                self.delay(world).await;
                world.inventory(scope)
            }
            Link::There(client) => match self.ask(client, Call::Inventory(scope.clone())).await? {
                Reply::Inventory(answer) => answer,
                other => Err(other.unexpected()),
            },
        }
    }

    async fn submit(&self, requests: &[Request], context: &Context) -> Vec<Result<Ack, ProviderError>> {
        let refuse = |error: &ProviderError| {
            requests
                .iter()
                .map(|request| {
                    let mut error = error.clone();
                    error.resource = request_name(request);
                    Err(error)
                })
                .collect()
        };
        if context.cancel.is_cancelled() {
            let error = ProviderError::new(ErrorKind::Cancelled, "", "stopped before it began");
            return refuse(&error);
        }
        match &self.link {
            Link::Here(world) => {
                self.delay(world).await;
                world.submit(requests)
            }
            Link::There(client) => {
                let call = Call::Submit(requests.iter().map(Into::into).collect());
                match self.ask(client, call).await {
                    Ok(Reply::Submit(answers)) if answers.len() == requests.len() => answers,
                    Ok(other) => refuse(&other.unexpected()),
                    Err(error) => refuse(&error),
                }
            }
        }
    }
}
