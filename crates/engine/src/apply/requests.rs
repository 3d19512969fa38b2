//! The provider's part of an apply: batches, asked again where that helps, waited for where they are pending.

use std::collections::BTreeMap;

use clusterbook_model::{Design, Role};
use clusterbook_providers::{
    Ack, Birth, Context, ErrorKind, Inventory, Mark, NodeSpec, NodeState, ProviderError, Request, Scope,
};

use super::{Backoff, Patience, Run};
use crate::engine::Prospect;
use crate::error::{Error, Failure};
use crate::events::Event;
use crate::inventory::{self, NETWORK};
use crate::plan::{Action, Change};

/// Lists that may show a finished request as unfinished before it counts as failed.
const LISTS: u32 = 200;

impl Run<'_> {
    /// Carries out the changes of one stage.
    pub(super) async fn request(
        &mut self,
        design: Option<&Design>,
        prospect: &Prospect,
        changes: &[&Change],
    ) -> Result<(), Error> {
        self.journal_begin(changes.iter().copied())?;
        let mut requests = Vec::new();
        for change in changes {
            requests.push(self.request_of(design, prospect, change)?);
        }
        let results = if matches!(changes[0].action, Action::BuildImage(_)) {
            self.build(&requests).await
        } else {
            self.submit(&requests).await
        };
        let results = self.settle(changes, results).await?;
        let mut ends = Vec::new();
        for (change, result) in changes.iter().zip(results) {
            match result {
                Ok(()) => {
                    ends.push((change.id.clone(), Ok(())));
                    self.changed(&change.id, format!("{} {}", change.verb.past(), change.what));
                }
                Err(error) => {
                    ends.push((change.id.clone(), Err(error.message.clone())));
                    if let Action::CreateNode(node) | Action::PowerOn(node) = &change.action {
                        self.lost.insert(node.clone());
                    }
                    if error.kind != ErrorKind::Cancelled {
                        self.failed(Failure {
                            what: change.what.clone(),
                            doing: change.verb.word().to_owned(),
                            message: error.message,
                            hint: error.hint,
                        });
                    }
                }
            }
        }
        self.journal_end(&ends)
    }

    fn mark(&self, resource: &str) -> Mark {
        Mark {
            cluster: self.session.cluster.clone(),
            cluster_id: self.session.cluster_id.clone(),
            resource: resource.to_owned(),
            apply: self.number,
        }
    }

    fn request_of(&self, design: Option<&Design>, prospect: &Prospect, change: &Change) -> Result<Request, Error> {
        let lost = || {
            Error::Bug(format!(
                "{} is planned for something that the design doesn't hold",
                change.id
            ))
        };
        Ok(match &change.action {
            Action::BuildImage(tag) => {
                let recipe = prospect
                    .recipes
                    .iter()
                    .find(|recipe| recipe.tag() == *tag)
                    .ok_or_else(lost)?;
                Request::BuildImage(recipe.clone())
            }
            Action::CreateNetwork => Request::CreateNetwork {
                mark: self.mark(NETWORK),
                subnet: design.ok_or_else(lost)?.network.subnet,
            },
            Action::CreateDisk(name) => {
                let disks = &design.ok_or_else(lost)?.disks;
                Request::CreateDisk {
                    mark: self.mark(name),
                    size: disks.iter().find(|disk| disk.name == *name).ok_or_else(lost)?.size,
                }
            }
            Action::CreateNode(name) => {
                let design = design.ok_or_else(lost)?;
                Request::CreateNode(Box::new(self.node_spec(design, prospect, name)?.ok_or_else(lost)?))
            }
            Action::PowerOn(name) => Request::PowerOn(self.mark(name)),
            Action::PowerOff(name) => Request::PowerOff(self.mark(name)),
            Action::DeleteNode(name) => Request::DeleteNode(self.mark(name)),
            Action::DeleteDisk(name) => Request::DeleteDisk(self.mark(name)),
            Action::DeleteNetwork => Request::DeleteNetwork(self.mark(NETWORK)),
            Action::ConfigureNew | Action::ConfigureUnseen | Action::Step(..) | Action::Drain(_) => return Err(lost()),
        })
    }

    fn node_spec(&self, design: &Design, prospect: &Prospect, name: &str) -> Result<Option<NodeSpec>, Error> {
        let Some(node) = prospect.nodes.iter().find(|node| node.name == name) else {
            return Ok(None);
        };
        let (Some(flavor), Some(key)) = (prospect.flavors.get(&node.flavor), self.session.host_keys.get(name)) else {
            return Ok(None);
        };
        let image = inventory::image_name(node, &prospect.flavors);
        let Some(recipe) = prospect.recipes.iter().find(|recipe| recipe.name == image) else {
            return Ok(None);
        };
        debug_assert!(node.role == Role::Master || node.role == Role::Compute);
        let authorized_key = self
            .engine
            .identity(&self.session.cluster, &self.session.cluster_id)?
            .public_openssh()
            .to_owned();
        Ok(Some(NodeSpec {
            mark: self.mark(name),
            flavor: flavor.clone(),
            image: recipe.tag(),
            address: node.address,
            disks: design
                .disks
                .iter()
                .map(|disk| (disk.name.clone(), disk.mount.clone()))
                .collect(),
            birth: Birth {
                host_key: clusterbook_model::Secret::new(&key.private),
                host_key_public: key.public.clone(),
                authorized_key,
            },
        }))
    }

    /// Images one after the other, since each may build on the one before; a failure ends the row.
    async fn build(&self, requests: &[Request]) -> Vec<Result<Ack, ProviderError>> {
        let mut results = Vec::new();
        for request in requests {
            if results.iter().any(Result::is_err) {
                results.push(Err(ProviderError::new(
                    ErrorKind::Conflict,
                    "image",
                    "not begun, since an image before it failed",
                )));
                continue;
            }
            results.extend(self.submit(std::slice::from_ref(request)).await);
        }
        results
    }

    /// Submits a batch, and again what may work when asked again. A request whose answer was lost is simply repeated: it
    /// then says that the thing exists, or is gone.
    async fn submit(&self, requests: &[Request]) -> Vec<Result<Ack, ProviderError>> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel::<clusterbook_providers::Progress>();
        let events = self.events.clone();
        let forward = tokio::spawn(async move {
            while let Some(progress) = receiver.recv().await {
                events.send(Event::Progress {
                    what: progress.resource,
                    text: progress.text,
                });
            }
        });
        let context = Context {
            cancel: self.stop.now_token().clone(),
            progress: Some(sender),
        };
        let mut results: Vec<Option<Result<Ack, ProviderError>>> = vec![None; requests.len()];
        let mut patience = Patience::new();
        loop {
            let open: Vec<usize> = (0..requests.len()).filter(|index| results[*index].is_none()).collect();
            if open.is_empty() {
                break;
            }
            let batch: Vec<Request> = open.iter().map(|index| requests[*index].clone()).collect();
            let answers = self.session.provider.submit(&batch, &context).await;
            let mut worst = None;
            for (index, answer) in open.iter().zip(answers) {
                match settled(&requests[*index], answer) {
                    Ok(ack) => results[*index] = Some(Ok(ack)),
                    Err(error) if error.is_transient() && !self.stop.is_asked() => worst = Some((*index, error)),
                    Err(error) => results[*index] = Some(Err(error)),
                }
            }
            if let Some((_, error)) = worst
                && let Err(error) = patience.pause(error).await
            {
                for slot in results.iter_mut().filter(|slot| slot.is_none()) {
                    *slot = Some(Err(error.clone()));
                }
            }
        }
        drop(context);
        // Ends by itself once every sender is gone.
        let _ = forward.await;
        results
            .into_iter()
            .map(|result| {
                result.unwrap_or_else(|| {
                    Err(ProviderError::new(
                        ErrorKind::Bug,
                        "",
                        "a request was left without an answer",
                    ))
                })
            })
            .collect()
    }

    /// Waits until the provider's list shows what was asked for.
    async fn settle(
        &self,
        changes: &[&Change],
        results: Vec<Result<Ack, ProviderError>>,
    ) -> Result<Vec<Result<(), ProviderError>>, Error> {
        let mut open: BTreeMap<usize, &Change> = BTreeMap::new();
        let mut settled = Vec::new();
        for (index, result) in results.into_iter().enumerate() {
            if matches!(result, Ok(Ack::Pending)) {
                open.insert(index, changes[index]);
            }
            settled.push(result.map(|_| ()));
        }
        let scope = Scope::Cluster(self.session.cluster_id.clone());
        let mut wait = Backoff::new();
        for _ in 0..LISTS {
            if open.is_empty() {
                return Ok(settled);
            }
            wait.pause().await;
            if self.stop.now_token().is_cancelled() {
                break;
            }
            let found = self.engine.inventory(self.session.provider.as_ref(), &scope).await?;
            open.retain(|index, change| match reached(&change.action, &found) {
                None => true,
                Some(result) => {
                    settled[*index] = result;
                    false
                }
            });
        }
        for (index, change) in open {
            let kind = if self.stop.is_asked() {
                ErrorKind::Cancelled
            } else {
                ErrorKind::TimedOut
            };
            settled[index] =
                Err(
                    ProviderError::new(kind, &change.what, "the provider took it on and hasn't finished it yet")
                        .with_hint("apply again in a while: it goes on from there"),
                );
        }
        Ok(settled)
    }
}

/// Whether a list shows that an action is finished; `None` while it doesn't.
fn reached(action: &Action, found: &Inventory) -> Option<Result<(), ProviderError>> {
    let node = |name: &str| found.nodes.iter().find(|node| node.mark.resource == name);
    let disk = |name: &str| found.disks.iter().any(|disk| disk.mark.resource == name);
    let done = match action {
        Action::BuildImage(tag) => found.images.contains(tag),
        Action::CreateNetwork => !found.networks.is_empty(),
        Action::DeleteNetwork => found.networks.is_empty(),
        Action::CreateDisk(name) => disk(name),
        Action::DeleteDisk(name) => !disk(name),
        Action::CreateNode(name) | Action::PowerOn(name) => match node(name).map(|node| &node.state) {
            Some(NodeState::Failed(reason)) => {
                return Some(Err(ProviderError::new(
                    ErrorKind::Unavailable,
                    format!("node {name}"),
                    format!("the provider gave up on it: {reason}"),
                )
                .with_hint("apply again: the node is then replaced")));
            }
            state => state == Some(&NodeState::Running),
        },
        Action::PowerOff(name) => node(name).is_some_and(|node| node.state == NodeState::Stopped),
        Action::DeleteNode(name) => node(name).is_none(),
        Action::ConfigureNew | Action::ConfigureUnseen | Action::Step(..) | Action::Drain(_) => true,
    };
    done.then_some(Ok(()))
}

/// An answer that says that there is nothing left to do is success.
fn settled(request: &Request, answer: Result<Ack, ProviderError>) -> Result<Ack, ProviderError> {
    let creates = matches!(
        request,
        Request::BuildImage(_) | Request::CreateNetwork { .. } | Request::CreateDisk { .. } | Request::CreateNode(_)
    );
    let deletes = matches!(
        request,
        Request::DeleteNode(_) | Request::DeleteDisk(_) | Request::DeleteNetwork(_)
    );
    match answer {
        // It may still be on its way, so the list is asked.
        Err(error) if creates && error.kind == ErrorKind::AlreadyExists => Ok(Ack::Pending),
        Err(error) if deletes && error.kind == ErrorKind::NotFound => Ok(Ack::Done),
        other => other,
    }
}
