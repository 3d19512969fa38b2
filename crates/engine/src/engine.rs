//! The engine's face: clusters by name, and what can be done with them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clusterbook_model::{Design, Flavor, Node, Recipe, Renderer, Secret};
use clusterbook_providers::{Endpoint, Inventory, NodeState, Provider, Scope};
use clusterbook_transport::{Identity, Pool, PoolOptions};
use serde::Serialize;

use crate::error::{Error, Failure};
use crate::events::Events;
use crate::inventory::{self, Doubtful, Sight};
use crate::observe;
use crate::plan::{Action, Plan};
use crate::reach::{Access, Pretended, Reach, Ssh};
use crate::settings::Settings;
use crate::stacks::{self, Stack};
use crate::state::{Home, Store};
use crate::status::availability;
use crate::stop::Stop;

/// Names of a cluster's secrets.
pub(crate) const ACCESS_KEY: &str = "access-key";
pub(crate) const MUNGE_KEY: &str = "munge-key";
pub(crate) const HOST_KEYS: &str = "host-keys";

/// Clusters, and what can be done with them. Cheap to clone; safe to share.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    home: Home,
    store: Mutex<Store>,
    providers: Mutex<BTreeMap<String, Arc<dyn Provider>>>,
    reaches: Mutex<BTreeMap<String, Arc<dyn Reach>>>,
}

/// A cluster in a list.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterSummary {
    /// Name.
    pub name: String,
    /// Identity, never used twice.
    pub id: String,
    /// Provider.
    pub provider: String,
    /// When it was first applied, RFC 3339.
    pub created: String,
    /// Number of its last apply.
    pub applies: u64,
    /// The design file that it was last applied from, if it was a file.
    pub design_path: Option<PathBuf>,
}

/// How an apply goes about it.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// The file that the design came from, remembered so that the cluster can be opened by name.
    pub design_path: Option<PathBuf>,
    /// Ids of the changes that a person has seen; `None` when nobody was asked. The plan is made again under the cluster's lock,
    /// and a removal that isn't among these stops the apply before anything is done.
    pub agreed: Option<BTreeSet<String>>,
}

/// What an apply did.
#[derive(Clone, Debug, Serialize)]
pub struct Applied {
    /// The cluster.
    pub cluster: String,
    /// The apply's number.
    pub number: u64,
    /// The plan that it carried out.
    pub plan: Plan,
    /// How long each part took, in milliseconds, in order.
    pub stages: Vec<(String, u64)>,
}

/// A cluster with everything needed to work on it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) cluster: String,
    pub(crate) cluster_id: String,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) reach: Arc<dyn Reach>,
    /// Host keys by node.
    pub(crate) host_keys: HostKeys,
}

/// A node's host key: `private` in OpenSSH's format, and the public line.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct HostKey {
    pub(crate) private: String,
    pub(crate) public: String,
}

/// Host keys by node. Never shown: it holds private keys.
pub(crate) type HostKeys = BTreeMap<String, HostKey>;

/// What a plan was made from; an apply needs it again.
pub(crate) struct Prospect {
    pub(crate) plan: Plan,
    pub(crate) nodes: Vec<Node>,
    pub(crate) flavors: BTreeMap<String, Flavor>,
    pub(crate) recipes: Vec<Recipe>,
}

impl Engine {
    /// Opens the state folder.
    ///
    /// # Errors
    /// When the folder can't be written, holds the state of a newer version or lies on a file system that can't lock.
    pub fn open(settings: Settings) -> Result<Self, Error> {
        let home = Home::open(&settings.home)?;
        let store = home.store()?;
        Ok(Self {
            inner: Arc::new(Inner {
                settings,
                home,
                store: Mutex::new(store),
                providers: Mutex::default(),
                reaches: Mutex::default(),
            }),
        })
    }

    /// The settings that it was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    pub(crate) fn journalled(&self) {
        if let Some(hook) = self.inner.settings.journalled {
            hook();
        }
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    /// The store; never held over an await.
    pub(crate) fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        self.inner.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider of this name.
    pub(crate) fn provider(&self, name: &str) -> Result<Arc<dyn Provider>, Error> {
        let mut providers = self.inner.providers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(provider) = providers.get(name) {
            return Ok(provider.clone());
        }
        let provider = clusterbook_providers::open(name, &self.inner.settings.provider)
            .map_err(|error| Error::provider(name, error))?;
        providers.insert(name.to_owned(), provider.clone());
        Ok(provider)
    }

    /// Every cluster of this state folder that exists or was begun.
    ///
    /// # Errors
    /// When the state can't be read.
    pub fn clusters(&self) -> Result<Vec<ClusterSummary>, Error> {
        let rows = self.store().clusters()?;
        rows.into_iter()
            .filter(|row| !row.is_removed())
            .map(|row| self.summary(row))
            .collect()
    }

    /// One cluster.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn cluster(&self, name: &str) -> Result<ClusterSummary, Error> {
        match self.find(name)? {
            Some(row) => self.summary(row),
            None => Err(Error::NoCluster {
                name: name.to_owned(),
                known: self.clusters()?.into_iter().map(|one| one.name).collect(),
            }),
        }
    }

    fn summary(&self, row: crate::state::ClusterRow) -> Result<ClusterSummary, Error> {
        let applies = self.store().applies(&row.id)?;
        Ok(ClusterSummary {
            applies: applies.iter().map(|apply| apply.number).max().unwrap_or(0),
            // A destroy has no file; the design's is still the one before it.
            design_path: applies.into_iter().rev().find_map(|apply| apply.design_path),
            name: row.name,
            id: row.id,
            provider: row.provider,
            created: row.created_at.to_string(),
        })
    }

    fn find(&self, name: &str) -> Result<Option<crate::state::ClusterRow>, Error> {
        Ok(self.store().cluster(name)?)
    }

    /// The design that a cluster was last applied with.
    ///
    /// # Errors
    /// When there is no such cluster, or its stored design is of a newer version.
    pub fn design(&self, name: &str) -> Result<Design, Error> {
        let cluster = self.cluster(name)?;
        let text = self
            .store()
            .last_design(&cluster.id)?
            .ok_or_else(|| Error::Bug(format!("cluster {name} is stored without a design")))?;
        crate::versions::stored(name, &text)
    }

    /// The changes that would make the cluster as designed. Changes nothing.
    ///
    /// # Errors
    /// When the design doesn't fit the provider, or the provider can't be asked. Nodes that don't answer are no error.
    pub async fn plan(&self, design: &Design, stop: &Stop) -> Result<Plan, Error> {
        let session = match self.find(&design.name)? {
            Some(row) => Some(self.session(&row.name, &row.id, &row.provider).await?),
            None => None,
        };
        Ok(self.prospect(design, session.as_ref(), stop).await?.plan)
    }

    /// The changes that would remove a cluster with everything it holds.
    ///
    /// # Errors
    /// When there is no such cluster, or the provider can't be asked.
    pub async fn plan_destroy(&self, name: &str) -> Result<Plan, Error> {
        let cluster = self.cluster(name)?;
        let provider = self.provider(&cluster.provider)?;
        self.prospect_destroy(&cluster, provider.as_ref()).await
    }

    pub(crate) async fn prospect_destroy(
        &self,
        cluster: &ClusterSummary,
        provider: &dyn Provider,
    ) -> Result<Plan, Error> {
        let scope = Scope::Cluster(cluster.id.clone());
        let found = self.inventory(provider, &scope).await?;
        let unfinished = self.store().unfinished(&cluster.id)?;
        let lag = provider.capabilities().lists_lag;
        let doubtful = if lag {
            Doubtful::from_changes(unfinished.iter().map(|row| row.change.as_str()))
        } else {
            Doubtful::default()
        };
        let mut plan = Plan {
            cluster: cluster.name.clone(),
            provider: cluster.provider.clone(),
            changes: Vec::new(),
            notes: Vec::new(),
        };
        inventory::remove_all(&mut plan, &found, &doubtful);
        Ok(plan)
    }

    /// A listing; asked again while the provider is out of breath.
    pub(crate) async fn inventory(&self, provider: &dyn Provider, scope: &Scope) -> Result<Inventory, Error> {
        let mut patience = crate::apply::Patience::new();
        loop {
            match provider.inventory(scope).await {
                Ok(found) => return Ok(found),
                Err(error) => patience
                    .pause(error)
                    .await
                    .map_err(|error| Error::provider(provider.name(), error))?,
            }
        }
    }

    pub(crate) async fn prospect(
        &self,
        design: &Design,
        session: Option<&Session>,
        stop: &Stop,
    ) -> Result<Prospect, Error> {
        let provider = match session {
            Some(session) => session.provider.clone(),
            None => self.provider(&design.provider)?,
        };
        let provider_name = provider.name().to_owned();
        if design.provider != provider_name {
            return Err(Error::Refused {
                what: format!(
                    "cluster {} is on {provider_name} and can't move to {}",
                    design.name, design.provider
                ),
                hint: "destroy it and make it anew, or give the new one another name".to_owned(),
            });
        }
        let fitted = fitted(design, provider.as_ref());
        let design = &fitted;
        capable(design, provider.as_ref())?;
        let mut patience = crate::apply::Patience::new();
        let flavors = loop {
            match provider.flavors().await {
                Ok(flavors) => break flavors,
                Err(error) => patience
                    .pause(error)
                    .await
                    .map_err(|error| Error::provider(&provider_name, error))?,
            }
        };
        let architecture = crate::check::fits(design, &flavors, provider.as_ref()).map_err(Error::Design)?;
        let flavors: BTreeMap<String, Flavor> = flavors
            .into_iter()
            .map(|flavor| (flavor.name.clone(), flavor))
            .collect();
        let recipes =
            clusterbook_model::recipes(&design.image, architecture, &design.containers).map_err(Error::Image)?;
        let all = self.inventory(provider.as_ref(), &Scope::All).await?;
        let found = inventory::ours(
            all,
            &design.name,
            session.map(|session| session.cluster_id.as_str()),
            &provider_name,
        )?;
        if session.is_some() {
            self.keeps_master(design, &found)?;
        }
        let nodes = design.nodes();
        let mut plan = Plan {
            cluster: design.name.clone(),
            provider: provider_name,
            changes: Vec::new(),
            notes: Vec::new(),
        };
        // Rendered even where no node can be looked at yet: a template that can't be rendered is found before anything is made.
        let cluster_id = session.map(|session| session.cluster_id.as_str());
        let stack = self.stack(design, &flavors, provider.as_ref(), cluster_id)?;
        let sights = inventory::compare(&mut plan, design, &nodes, &recipes, &flavors, &found)?;
        let mut seen = Vec::new();
        for node in &nodes {
            match sights.get(&node.name).copied().unwrap_or(Sight::Off) {
                Sight::New => observe::push_whole(
                    &mut plan,
                    &node.name,
                    Action::ConfigureNew,
                    "everything, since it is new",
                ),
                Sight::Unseen => {
                    observe::push_whole(
                        &mut plan,
                        &node.name,
                        Action::ConfigureUnseen,
                        "whatever differs once it runs",
                    );
                }
                Sight::Running => {
                    let endpoint = found
                        .nodes
                        .iter()
                        .find(|resource| resource.mark.resource == node.name)
                        .and_then(|resource| resource.endpoint.clone());
                    match (endpoint, session) {
                        (Some(endpoint), Some(session)) => seen.push((node, session.access(&node.name, endpoint)?)),
                        _ => observe::push_whole(
                            &mut plan,
                            &node.name,
                            Action::ConfigureUnseen,
                            "whatever differs once it answers",
                        ),
                    }
                }
                Sight::Off => {}
            }
        }
        if let (Some(session), false) = (session, seen.is_empty()) {
            let fan_out = self.inner.settings.fan_out;
            observe::compare(
                &mut plan,
                session.reach.as_ref(),
                stack.as_ref(),
                seen,
                fan_out,
                stop.now_token(),
            )
            .await
            .map_err(|_| Error::Interrupted {
                cluster: design.name.clone(),
            })?;
        }
        Ok(Prospect {
            plan,
            nodes,
            flavors,
            recipes,
        })
    }

    /// A master under another name would be a new one: the old one would be removed, with the jobs that wait and all that Slurm knows.
    fn keeps_master(&self, design: &Design, found: &Inventory) -> Result<(), Error> {
        let old = self.design(&design.name)?.master.host;
        let is_there = found.nodes.iter().any(|node| node.mark.resource == old);
        if old == design.master.host || !is_there {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!(
                "the master {old} of cluster {} can't be removed while the cluster lives, and the design names {} instead",
                design.name, design.master.host
            ),
            hint: format!("write master.host: {old} again, or destroy the cluster and make it anew"),
        })
    }

    pub(crate) fn stack(
        &self,
        design: &Design,
        flavors: &BTreeMap<String, Flavor>,
        provider: &dyn Provider,
        cluster_id: Option<&str>,
    ) -> Result<Box<dyn Stack>, Error> {
        let capabilities = provider.capabilities();
        let renderer = Renderer::new(self.inner.settings.templates.clone())?;
        // Until the first apply has made the cluster's key there is no node that could hold it; any key will then differ.
        let munge_key = match cluster_id {
            Some(id) => self.home().secrets().get(id, MUNGE_KEY)?,
            None => None,
        };
        let munge_key = munge_key.unwrap_or_else(|| Secret::new("not made yet"));
        stacks::of(&stacks::Context {
            design,
            flavors,
            munge_key,
            shared_disks: capabilities.shared_disks,
            cgroups: capabilities.own_cgroups,
            renderer: &renderer,
        })
    }

    /// Everything needed to work on a cluster. Connections are kept between calls.
    pub(crate) async fn session(&self, cluster: &str, cluster_id: &str, provider: &str) -> Result<Session, Error> {
        let provider = self.provider(provider)?;
        let secrets = self.home().secrets();
        let host_keys = match secrets.get(cluster_id, HOST_KEYS)? {
            Some(text) => serde_json::from_str(text.reveal())
                .map_err(|error| Error::Bug(format!("the stored host keys of {cluster}: {error}")))?,
            None => HostKeys::new(),
        };
        let known = {
            let reaches = self.inner.reaches.lock().unwrap_or_else(PoisonError::into_inner);
            reaches.get(cluster_id).cloned()
        };
        let reach = match known {
            Some(reach) => reach,
            None => {
                let reach: Arc<dyn Reach> = if provider.name() == "memory" {
                    let world = clusterbook_providers::open_memory(&self.inner.settings.provider)
                        .map_err(|error| Error::provider(provider.name(), error))?;
                    Arc::new(Pretended::new(world))
                } else {
                    let identity = self.identity(cluster, cluster_id)?;
                    Arc::new(Ssh::new(Arc::new(Pool::new(
                        Arc::new(identity),
                        PoolOptions::default(),
                    ))))
                };
                self.inner
                    .reaches
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(cluster_id.to_owned(), reach.clone());
                reach
            }
        };
        Ok(Session {
            cluster: cluster.to_owned(),
            cluster_id: cluster_id.to_owned(),
            provider,
            reach,
            host_keys,
        })
    }

    /// The key that we log in to a cluster's nodes with, made at its first use.
    pub(crate) fn identity(&self, cluster: &str, cluster_id: &str) -> Result<Identity, Error> {
        let bug = |error: clusterbook_transport::Error| Error::Bug(format!("the access key of {cluster}: {error}"));
        let secrets = self.home().secrets();
        let key = match secrets.get(cluster_id, ACCESS_KEY)? {
            Some(key) => key,
            None => {
                let fresh = Identity::generate_ed25519(&format!("clusterbook {cluster}")).map_err(bug)?;
                let fresh = Secret::new(fresh.private_openssh().map_err(bug)?.reveal());
                secrets.get_or_create(cluster_id, ACCESS_KEY, || fresh.clone())?
            }
        };
        Identity::from_openssh(key.reveal()).map_err(bug)
    }

    /// What applying this design would answer without doing anything: its plan is empty and it is the very design of the last
    /// apply. One that says the same in effect but not in letter is still to be applied, so that it is recorded.
    ///
    /// # Errors
    /// When the state can't be read.
    pub fn already_applied(&self, design: &Design, plan: &Plan) -> Result<Option<Applied>, Error> {
        if !plan.is_empty() || self.find(&design.name)?.is_none() || self.design(&design.name)? != *design {
            return Ok(None);
        }
        Ok(Some(Applied {
            cluster: design.name.clone(),
            number: self.cluster(&design.name)?.applies,
            plan: plan.clone(),
            stages: Vec::new(),
        }))
    }

    /// Makes the cluster as designed, and returns what was done. Safe to repeat, and to stop at any point.
    ///
    /// # Errors
    /// When the plan can't be made, another apply holds the cluster, or parts of it failed; what succeeded is kept.
    pub async fn apply(
        &self,
        design: &Design,
        options: &ApplyOptions,
        events: &Events,
        stop: &Stop,
    ) -> Result<Applied, Error> {
        crate::apply::apply(self, design, options, events, stop).await
    }

    /// Removes a cluster with everything it holds, and proves by the provider's listing that nothing is left.
    ///
    /// # Errors
    /// When there is no such cluster, another apply holds it, or parts couldn't be removed; the next destroy goes on.
    pub async fn destroy(
        &self,
        name: &str,
        options: &ApplyOptions,
        events: &Events,
        stop: &Stop,
    ) -> Result<Applied, Error> {
        crate::apply::destroy(self, name, options, events, stop).await
    }

    /// Moves a cluster's state and secrets, encrypted with a passphrase, into bytes for [`Engine::import`].
    ///
    /// # Errors
    /// When there is no such cluster or it is being changed.
    pub fn export(&self, name: &str, passphrase: &Secret) -> Result<Vec<u8>, Error> {
        self.cluster(name)?;
        let _lock = self.home().lock(name, &self.inner.settings.holder)?;
        Ok(crate::state::export(self.home(), name, passphrase)?)
    }

    /// Takes over a cluster from [`Engine::export`]'s bytes; returns its name.
    ///
    /// # Errors
    /// When the passphrase is wrong, the bytes are damaged or newer, or a cluster of that name is here. Nothing is changed then.
    pub fn import(&self, bytes: &[u8], passphrase: &Secret) -> Result<String, Error> {
        Ok(crate::state::import(self.home(), bytes, passphrase)?)
    }

    /// Where the state lies.
    pub fn state_folder(&self) -> &Path {
        &self.inner.settings.home
    }

    /// Nodes by name, group or `all`, with the way to reach each.
    pub(crate) async fn select(
        &self,
        name: &str,
        selection: &[String],
    ) -> Result<(Session, Vec<(String, Result<Access, Failure>)>), Error> {
        let cluster = self.cluster(name)?;
        let design = self.design(name)?;
        let session = self.session(&cluster.name, &cluster.id, &cluster.provider).await?;
        let found = self
            .inventory(session.provider.as_ref(), &Scope::Cluster(cluster.id.clone()))
            .await?;
        let all = design.nodes();
        let mut chosen: Vec<&Node> = Vec::new();
        for word in selection {
            let matches: Vec<&Node> = all
                .iter()
                .filter(|node| word == "all" || node.name == *word || node.group == *word)
                .collect();
            if matches.is_empty() {
                let mut known: Vec<String> = vec!["all".to_owned(), "master".to_owned()];
                known.extend(design.groups.iter().map(|group| group.name.clone()));
                known.extend(all.iter().take(8).map(|node| node.name.clone()));
                known.dedup();
                return Err(Error::NoNode {
                    cluster: name.to_owned(),
                    name: word.clone(),
                    known,
                });
            }
            for node in matches {
                if !chosen.iter().any(|other| other.name == node.name) {
                    chosen.push(node);
                }
            }
        }
        let accesses = chosen
            .into_iter()
            .map(|node| {
                let resource = found.nodes.iter().find(|resource| resource.mark.resource == node.name);
                let running = resource.filter(|resource| resource.state == NodeState::Running);
                let access = match running.and_then(|resource| resource.endpoint.clone()) {
                    Some(endpoint) => session.access(&node.name, endpoint).map_err(|error| error.to_string()),
                    None => {
                        let (state, _) = availability(resource.map(|resource| &resource.state));
                        Err(format!("the node is {}", state.word()))
                    }
                };
                let access = access.map_err(|message| Failure {
                    what: node.name.clone(),
                    doing: "reaching it".to_owned(),
                    message,
                    hint: "apply the design to bring the node up".to_owned(),
                });
                (node.name.clone(), access)
            })
            .collect();
        Ok((session, accesses))
    }
}

impl Session {
    /// The way to a node whose host key we made.
    pub(crate) fn access(&self, node: &str, endpoint: Endpoint) -> Result<Access, Error> {
        let key = self.host_keys.get(node).ok_or_else(|| Error::Refused {
            what: format!(
                "node {node} of cluster {} has no host key in this state folder",
                self.cluster
            ),
            hint: "remove the node from the design and apply, then add it again".to_owned(),
        })?;
        Ok(Access {
            node: node.to_owned(),
            cluster_id: self.cluster_id.clone(),
            endpoint,
            host_key: key.public.clone(),
        })
    }
}

/// The design as this provider makes it.
pub(crate) fn fitted(design: &Design, provider: &dyn Provider) -> Design {
    if provider.capabilities().network_mounts {
        design.clone()
    } else {
        design.with_stand_ins()
    }
}

/// Whether the provider can do what the design needs.
fn capable(design: &Design, provider: &dyn Provider) -> Result<(), Error> {
    let can = provider.capabilities();
    let missing = if design.power == clusterbook_model::Power::Off && !can.power {
        Some("stop nodes and keep them")
    } else if !design.disks.is_empty() && !can.shared_disks {
        Some("attach one disk to several nodes")
    } else if !can.fixed_addresses {
        Some("give nodes fixed addresses")
    } else {
        None
    };
    match missing {
        None => Ok(()),
        Some(what) => Err(Error::Capability {
            provider: provider.name().to_owned(),
            what,
            others: clusterbook_providers::PROVIDERS
                .iter()
                .copied()
                .filter(|name| *name != provider.name() && *name != "memory")
                .collect(),
        }),
    }
}
