//! Making a plan's changes: each journalled before it is begun, all of a stage at once, nothing beyond the plan.
//!
//! The stages stand in [`stages`]; their order is the only dependency between provider changes. Within the configuration
//! stage nodes go on by themselves and wait only at the [`Barrier`]s of their stack.

mod configure;
mod requests;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine as _;
use clusterbook_model::{Design, Secret};
use clusterbook_providers::{ErrorKind, ProviderError, Scope};
use rand::Rng;

use crate::engine::{
    Applied, ApplyOptions, ClusterSummary, Engine, HOST_KEYS, HostKey, HostKeys, MUNGE_KEY, Prospect, Session,
};
use crate::error::{Error, Failure};
use crate::events::{Event, Events};
use crate::plan::{Action, Change, Plan, Verb};
use crate::state::{JournalEntry, NewApply, Outcome};
use crate::stop::Stop;

/// Whether a change belongs to a stage.
type Belongs = fn(&Change) -> bool;

/// The stages of every apply: a name for people, and the changes that belong to it.
fn stages() -> [(&'static str, Belongs); 8] {
    [
        ("images", |change| matches!(change.action, Action::BuildImage(_))),
        ("network and disks", |change| {
            matches!(change.action, Action::CreateNetwork | Action::CreateDisk(_))
        }),
        ("nodes to replace", |change| {
            change.phase == "replace" && matches!(change.action, Action::DeleteNode(_))
        }),
        ("nodes", |change| {
            matches!(change.action, Action::CreateNode(_) | Action::PowerOn(_))
        }),
        ("configuration", |change| {
            matches!(
                change.action,
                Action::ConfigureNew | Action::ConfigureUnseen | Action::Step(..) | Action::Drain(_)
            )
        }),
        ("power off", |change| matches!(change.action, Action::PowerOff(_))),
        ("nodes to remove", |change| {
            change.phase == "removal" && matches!(change.action, Action::DeleteNode(_))
        }),
        ("disks and network to remove", |change| {
            matches!(change.action, Action::DeleteDisk(_) | Action::DeleteNetwork)
        }),
    ]
}

/// One apply under way.
pub(crate) struct Run<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) session: Session,
    pub(crate) number: u64,
    pub(crate) events: &'a Events,
    pub(crate) stop: &'a Stop,
    pub(crate) failures: Vec<Failure>,
    /// Nodes that could not be made or started: nothing more is tried on them.
    pub(crate) lost: BTreeSet<String>,
    pub(crate) changed: usize,
}

pub(crate) async fn apply(
    engine: &Engine,
    design: &Design,
    options: &ApplyOptions,
    events: &Events,
    stop: &Stop,
) -> Result<Applied, Error> {
    let _lock = engine.home().lock(&design.name, &engine.settings().holder)?;
    let known = engine.store().cluster(&design.name)?;
    let session = match &known {
        Some(row) => Some(engine.session(&row.name, &row.id, &row.provider).await?),
        None => None,
    };
    let prospect = engine.prospect(design, session.as_ref(), stop).await?;
    agreed(&prospect.plan, options)?;
    if let Some(applied) = engine.already_applied(design, &prospect.plan)? {
        return Ok(applied);
    }
    let (cluster_id, number) = begin(engine, design, options, "apply")?;
    let mut session = match session {
        Some(session) => session,
        None => engine.session(&design.name, &cluster_id, &design.provider).await?,
    };
    prepare_secrets(engine, &mut session, &prospect)?;
    let mut run = Run::new(engine, session, number, events, stop);
    let fitted = crate::engine::fitted(design, run.session.provider.as_ref());
    let outcome = run.carry_out(Some(&fitted), &prospect).await;
    finish(engine, &cluster_id, number, &outcome)?;
    Ok(Applied {
        cluster: design.name.clone(),
        number,
        plan: prospect.plan,
        stages: outcome?,
    })
}

pub(crate) async fn destroy(
    engine: &Engine,
    name: &str,
    options: &ApplyOptions,
    events: &Events,
    stop: &Stop,
) -> Result<Applied, Error> {
    let _lock = engine.home().lock(name, &engine.settings().holder)?;
    let cluster = engine.cluster(name)?;
    let session = engine.session(&cluster.name, &cluster.id, &cluster.provider).await?;
    let plan = engine.prospect_destroy(&cluster, session.provider.as_ref()).await?;
    agreed(&plan, options)?;
    // What is stored stays the last design; a cluster whose removal was interrupted can be applied again instead.
    let design = engine.store().last_design(&cluster.id)?.unwrap_or_default();
    let number = {
        let store = engine.store();
        store.mark_interrupted(&cluster.id, now())?;
        store
            .begin_apply(&NewApply {
                cluster: name,
                provider: &cluster.provider,
                design: &design,
                design_path: None,
                what: "destroy",
                holder: &engine.settings().holder,
                run_id: engine.settings().run_id.as_deref(),
                now: now(),
            })?
            .number
    };
    let prospect = Prospect {
        plan,
        nodes: Vec::new(),
        flavors: Default::default(),
        recipes: Vec::new(),
    };
    let mut run = Run::new(engine, session, number, events, stop);
    let mut outcome = run.carry_out(None, &prospect).await;
    if outcome.is_ok()
        && let Err(error) = run.prove_empty(&cluster).await
    {
        outcome = Err(error);
    }
    finish(engine, &cluster.id, number, &outcome)?;
    let stages = outcome?;
    // In this order: ended in between, the cluster is still known, and removing it again needs no secret.
    engine.home().secrets().remove_all(&cluster.id)?;
    engine.store().remove_cluster(&cluster.id, now())?;
    Ok(Applied {
        cluster: name.to_owned(),
        number,
        plan: prospect.plan,
        stages,
    })
}

/// Whether a person who was shown a plan has agreed to all of this one.
fn agreed(plan: &Plan, options: &ApplyOptions) -> Result<(), Error> {
    let Some(agreed) = &options.agreed else { return Ok(()) };
    let unseen = |change: &&Change| change.verb == Verb::Delete && !agreed.contains(&change.id);
    match plan.changes.iter().find(unseen) {
        None => Ok(()),
        Some(change) => Err(Error::Refused {
            what: format!(
                "the plan for {} has changed since it was shown: now it would also {}",
                plan.cluster, change.id
            ),
            hint: "nothing was done: look at the plan again".to_owned(),
        }),
    }
}

/// Records the intention before anything is done.
fn begin(engine: &Engine, design: &Design, options: &ApplyOptions, what: &str) -> Result<(String, u64), Error> {
    let text =
        serde_json::to_string(design).map_err(|error| Error::Bug(format!("a design that can't be stored: {error}")))?;
    let store = engine.store();
    if let Some(row) = store.cluster(&design.name)? {
        store.mark_interrupted(&row.id, now())?;
    }
    let row = store.begin_apply(&NewApply {
        cluster: &design.name,
        provider: &design.provider,
        design: &text,
        design_path: options.design_path.as_deref(),
        what,
        holder: &engine.settings().holder,
        run_id: engine.settings().run_id.as_deref(),
        now: now(),
    })?;
    Ok((row.cluster_id, row.number))
}

fn finish<T>(engine: &Engine, cluster_id: &str, number: u64, outcome: &Result<T, Error>) -> Result<(), Error> {
    let outcome = match outcome {
        Ok(_) => Outcome::Done,
        Err(Error::Interrupted { .. }) => Outcome::Interrupted,
        Err(error) => Outcome::Failed(error.chain().join(": ")),
    };
    Ok(engine.store().finish_apply(cluster_id, number, outcome, now())?)
}

/// Makes what nodes will be told at their birth and stores it, before anything is asked of the provider: a node whose host
/// key was lost could never be trusted again.
fn prepare_secrets(engine: &Engine, session: &mut Session, prospect: &Prospect) -> Result<(), Error> {
    let secrets = engine.home().secrets();
    let mut bytes = [0_u8; 128];
    rand::rng().fill_bytes(&mut bytes);
    // MUNGE takes any 32 to 1024 bytes as its key; text keeps it in one piece on its way through a script.
    let fresh = Secret::new(base64::engine::general_purpose::STANDARD.encode(bytes) + "\n");
    secrets.get_or_create(&session.cluster_id, MUNGE_KEY, || fresh.clone())?;
    let mut keys = session.host_keys.clone();
    for change in &prospect.plan.changes {
        if let Action::CreateNode(name) = &change.action
            && !keys.contains_key(name)
        {
            let pair = clusterbook_transport::generate_host_key(name)
                .map_err(|error| Error::Bug(format!("a host key for {name}: {error}")))?;
            keys.insert(
                name.clone(),
                HostKey {
                    private: pair.private_openssh.reveal().to_owned(),
                    public: pair.public_openssh.as_str().to_owned(),
                },
            );
        }
    }
    if keys.len() != session.host_keys.len() {
        secrets.put(&session.cluster_id, HOST_KEYS, &host_keys_text(&keys)?)?;
        session.host_keys = keys;
    }
    Ok(())
}

fn host_keys_text(keys: &HostKeys) -> Result<Secret, Error> {
    serde_json::to_string(keys)
        .map(Secret::new)
        .map_err(|error| Error::Bug(format!("host keys that can't be stored: {error}")))
}

impl<'a> Run<'a> {
    fn new(engine: &'a Engine, session: Session, number: u64, events: &'a Events, stop: &'a Stop) -> Self {
        Self {
            engine,
            session,
            number,
            events,
            stop,
            failures: Vec::new(),
            lost: BTreeSet::new(),
            changed: 0,
        }
    }

    /// Goes through the stages; returns how long each took, in milliseconds.
    async fn carry_out(&mut self, design: Option<&Design>, prospect: &Prospect) -> Result<Vec<(String, u64)>, Error> {
        let begun = Instant::now();
        let plan = &prospect.plan;
        self.events.send(Event::Started {
            what: if design.is_some() { "apply" } else { "destroy" }.to_owned(),
            cluster: plan.cluster.clone(),
            apply: self.number,
            changes: plan.changes.len(),
        });
        let mut times = Vec::new();
        let mut reached = 0;
        for (name, belongs) in stages() {
            let changes: Vec<&Change> = plan.changes.iter().filter(|change| belongs(change)).collect();
            if changes.is_empty() {
                continue;
            }
            if self.stop.is_asked() {
                break;
            }
            // Removing what others may still need, after something failed, would take away what a repair builds on.
            if !self.failures.is_empty() && changes.iter().all(|change| change.phase == "removal") {
                break;
            }
            self.events.send(Event::Stage {
                name: name.to_owned(),
                changes: changes.len(),
            });
            let started = Instant::now();
            reached += changes.len();
            match design {
                Some(design) if name == "configuration" => self.configure(design, prospect, &changes).await?,
                _ => self.request(design, prospect, &changes).await?,
            }
            times.push((name.to_owned(), milliseconds(started)));
        }
        self.events.send(Event::Finished {
            cluster: plan.cluster.clone(),
            apply: self.number,
            changed: self.changed,
            failed: plan.changes.len().saturating_sub(self.changed),
            milliseconds: milliseconds(begun),
        });
        if self.stop.is_asked() && (reached < plan.changes.len() || self.changed < reached) {
            return Err(Error::Interrupted {
                cluster: plan.cluster.clone(),
            });
        }
        if !self.failures.is_empty() {
            return Err(Error::Failures {
                cluster: plan.cluster.clone(),
                failures: std::mem::take(&mut self.failures),
            });
        }
        Ok(times)
    }

    /// After a removal: asks until the listing is empty, since it may lag.
    async fn prove_empty(&self, cluster: &ClusterSummary) -> Result<(), Error> {
        let scope = Scope::Cluster(cluster.id.clone());
        let lag = self.session.provider.capabilities().lists_lag;
        // Where lists lag, one empty list may be an old one.
        let mut empty_lists_needed = if lag { 3 } else { 1 };
        let mut wait = Backoff::new();
        for _ in 0..40 {
            let found = self.engine.inventory(self.session.provider.as_ref(), &scope).await?;
            if found.nodes.is_empty() && found.disks.is_empty() && found.networks.is_empty() {
                empty_lists_needed -= 1;
                if empty_lists_needed == 0 {
                    return Ok(());
                }
            }
            if self.stop.is_asked() {
                return Err(Error::Interrupted {
                    cluster: cluster.name.clone(),
                });
            }
            wait.pause().await;
        }
        let plan: Plan = self
            .engine
            .prospect_destroy(cluster, self.session.provider.as_ref())
            .await?;
        Err(Error::Failures {
            cluster: cluster.name.clone(),
            failures: plan
                .changes
                .into_iter()
                .map(|change| Failure {
                    what: change.what,
                    doing: "removal".to_owned(),
                    message: "the provider still lists it".to_owned(),
                    hint: "destroy again in a while".to_owned(),
                })
                .collect(),
        })
    }

    /// Writes down that these changes are begun. From here on, a crash leaves a trace that the next apply follows.
    pub(crate) fn journal_begin<'c>(&self, changes: impl IntoIterator<Item = &'c Change>) -> Result<(), Error> {
        let entries: Vec<JournalEntry> = changes
            .into_iter()
            .map(|change| JournalEntry {
                change: change.id.clone(),
                action: serde_json::json!({"verb": change.verb, "what": change.what, "reason": change.reason})
                    .to_string(),
            })
            .collect();
        self.engine
            .store()
            .journal_begin(&self.session.cluster_id, self.number, &entries, now())?;
        self.engine.journalled();
        Ok(())
    }

    /// Writes down how they ended.
    pub(crate) fn journal_end(&self, ends: &[(String, Result<(), String>)]) -> Result<(), Error> {
        self.engine
            .store()
            .journal_end(&self.session.cluster_id, self.number, ends, now())?;
        self.engine.journalled();
        Ok(())
    }

    pub(crate) fn changed(&mut self, change: &str, text: impl Into<String>) {
        self.changed += 1;
        self.events.send(Event::Changed {
            change: change.to_owned(),
            text: text.into(),
        });
    }

    pub(crate) fn failed(&mut self, failure: Failure) {
        self.events.send(Event::Failed(failure.clone()));
        self.failures.push(failure);
    }
}

/// Pauses that grow from 20 ms to 2 s.
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(Duration::from_millis(20))
    }

    pub(crate) async fn pause(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(Duration::from_secs(2));
    }
}

/// How often a provider that is out of breath is asked again.
pub(crate) struct Patience {
    left: u32,
    wait: Backoff,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            left: 12,
            wait: Backoff::new(),
        }
    }

    /// Waits if asking again may help, else gives the error back.
    pub(crate) async fn pause(&mut self, error: ProviderError) -> Result<(), ProviderError> {
        if !error.is_transient() || self.left == 0 {
            return Err(error);
        }
        self.left -= 1;
        if let ErrorKind::Throttled {
            retry_after: Some(pause),
        } = error.kind
        {
            tokio::time::sleep(pause).await;
        } else {
            self.wait.pause().await;
        }
        Ok(())
    }
}

fn milliseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}
