//! The nodes' part of an apply. Every node goes on by itself: it is waited for, looked at where the plan couldn't, and given
//! one script per barrier of its stack.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clusterbook_model::{Design, Node, Role};
use clusterbook_providers::{NodeState, Scope};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::{Semaphore, watch};

use super::{Backoff, Run};
use crate::engine::Prospect;
use crate::error::{Error, Failure};
use crate::events::Event;
use crate::item::Item;
use crate::observe::{self, Difference, Wanted};
use crate::plan::{Action, Change};
use crate::reach::{Access, NodeError};
use crate::script::{Step, StepOutcome};
use crate::stacks::{Barrier, Stack};

/// How often the provider is asked whether the nodes still run.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Where the master is, as far as workers care.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// Its controller isn't asked to start yet.
    Shut,
    /// Its controller starts, or runs.
    Open,
    /// It has failed, so its controller may never answer.
    Failed,
}

/// What is to be done on a node.
enum Work<'a> {
    /// Everything.
    New,
    /// What is found to differ.
    Unseen,
    /// These steps, with the ids of their changes.
    Steps(Vec<(Barrier, &'a str, Step)>),
}

/// One script's worth of steps.
struct Round<'a> {
    barrier: Barrier,
    /// Ids of the changes, one for each step; the same one throughout for a whole configuration.
    changes: Vec<&'a str>,
    steps: Vec<Step>,
}

/// How a node's configuration went.
struct Outcome<'a> {
    node: &'a str,
    /// Steps that were carried out, with the change and a description.
    done: Vec<(&'a str, String)>,
    failures: Vec<Failure>,
    /// Changes that weren't carried out to their end, though parts of them may have been.
    unfinished: BTreeSet<&'a str>,
    /// Rounds that wait for the workers.
    last: Option<Round<'a>>,
    access: Option<Access>,
}

impl Run<'_> {
    /// Carries out the configuration stage.
    pub(super) async fn configure(
        &mut self,
        design: &Design,
        prospect: &Prospect,
        changes: &[&Change],
    ) -> Result<(), Error> {
        self.journal_begin(changes.iter().copied())?;
        let drained = self.drain(design, changes).await?;
        let stack = self.engine.stack(
            design,
            &prospect.flavors,
            self.session.provider.as_ref(),
            Some(&self.session.cluster_id),
        )?;
        let mut works = works(&prospect.nodes, changes);
        works.retain(|(node, _)| !self.lost.contains(&node.name));
        let accesses = self
            .accesses(works.iter().map(|(node, _)| node.name.as_str()).collect())
            .await?;
        let starts = works.iter().any(|(node, _)| node.role == Role::Master);
        let gate = watch::channel(if starts { Gate::Shut } else { Gate::Open }).0;
        let permits = Semaphore::new(self.engine.settings().fan_out.max(1));
        let mut outcomes = Vec::new();
        {
            let this = &*self;
            let dead = watch::channel(BTreeSet::new()).0;
            let mut under_way = FuturesUnordered::new();
            for (node, work) in works {
                let access = accesses.get(node.name.as_str()).cloned();
                let mut deaths = dead.subscribe();
                let (stack, gate, permits) = (stack.as_ref(), &gate, &permits);
                under_way.push(async move {
                    let outcome = tokio::select! {
                        outcome = this.node(node, work, access, stack, gate, permits) => outcome,
                        // The sender outlives every receiver, so waiting can't fail.
                        _ = deaths.wait_for(|dead: &BTreeSet<String>| dead.contains(&node.name)) => Outcome::died(&node.name),
                    };
                    if node.role == Role::Master {
                        gate.send_replace(if outcome.failures.is_empty() { Gate::Open } else { Gate::Failed });
                    }
                    outcome
                });
            }
            // A node that dies is given up at once instead of when its connection times out.
            let mut rounds = tokio::time::interval_at(tokio::time::Instant::now() + WATCH_EVERY, WATCH_EVERY);
            loop {
                tokio::select! {
                    outcome = under_way.next() => match outcome {
                        Some(outcome) => outcomes.push(outcome),
                        None => break,
                    },
                    _ = rounds.tick() => {
                        let found = this.dead(&accesses).await;
                        dead.send_if_modified(|dead| {
                            let before = dead.len();
                            dead.extend(found);
                            dead.len() != before
                        });
                    }
                }
            }
        }
        self.last_rounds(&mut outcomes).await;
        // Told in the plan's order, and not in that of their ends.
        outcomes.sort_by_key(|outcome| {
            changes
                .iter()
                .position(|change| change.node.as_deref() == Some(outcome.node))
        });
        let mut ends: BTreeMap<String, Result<(), String>> = drained;
        for outcome in outcomes {
            for (change, text) in outcome.done {
                if !outcome.unfinished.contains(change) {
                    ends.entry(change.to_owned()).or_insert(Ok(()));
                }
                self.events.send(Event::Progress {
                    what: outcome.node.to_owned(),
                    text,
                });
            }
            for failure in outcome.failures {
                for change in changes
                    .iter()
                    .filter(|change| change.node.as_deref() == Some(outcome.node))
                {
                    if !matches!(ends.get(&change.id), Some(Ok(()))) || !matches!(change.action, Action::Step(..)) {
                        ends.insert(change.id.clone(), Err(failure.message.clone()));
                    }
                }
                self.failed(failure);
            }
        }
        for (change, result) in &ends {
            if result.is_ok() {
                self.changed(change, change.clone());
            }
        }
        self.journal_end(&ends.into_iter().collect::<Vec<_>>())
    }

    /// Nodes that the provider no longer lists as running. A listing that fails tells nothing.
    async fn dead(&self, accesses: &BTreeMap<String, Access>) -> Vec<String> {
        let provider = &self.session.provider;
        if provider.capabilities().lists_lag {
            return Vec::new();
        }
        let Ok(found) = provider
            .inventory(&Scope::Cluster(self.session.cluster_id.clone()))
            .await
        else {
            return Vec::new();
        };
        let runs = |name: &str| {
            found.nodes.iter().any(|node| {
                node.mark.resource == name && matches!(node.state, NodeState::Running | NodeState::Starting)
            })
        };
        accesses.keys().filter(|name| !runs(name)).cloned().collect()
    }

    /// Nodes that will be removed take no more jobs, and those that they run are waited for.
    async fn drain(
        &mut self,
        design: &Design,
        changes: &[&Change],
    ) -> Result<BTreeMap<String, Result<(), String>>, Error> {
        let mut ends = BTreeMap::new();
        let drains: Vec<(&str, &str)> = changes
            .iter()
            .filter_map(|change| match &change.action {
                Action::Drain(node) => Some((change.id.as_str(), node.as_str())),
                _ => None,
            })
            .collect();
        if drains.is_empty() {
            return Ok(ends);
        }
        let master = design.master.host.clone();
        let access = self.accesses(BTreeSet::from([master.as_str()])).await?.remove(&master);
        for (change, node) in drains {
            let step = Step::blind(Item::slurm_drained(node));
            self.events.send(Event::Progress {
                what: node.to_owned(),
                text: "waiting until its jobs are done".to_owned(),
            });
            let result = match &access {
                None => Err("the master can't be reached".to_owned()),
                Some(access) => {
                    let outcome = self
                        .session
                        .reach
                        .apply(access, self.number, &[step], self.stop.soon_token())
                        .await;
                    match outcome {
                        Err(error) => Err(error.message),
                        Ok(outcomes) => match outcomes.into_iter().next() {
                            Some(StepOutcome::Failed(message)) => Err(message),
                            _ => Ok(()),
                        },
                    }
                }
            };
            if let Err(message) = &result {
                self.failed(Failure {
                    what: node.to_owned(),
                    doing: "drain".to_owned(),
                    message: message.clone(),
                    hint: "the node is kept; apply again once its jobs are done".to_owned(),
                });
            }
            ends.insert(change.to_owned(), result);
        }
        Ok(ends)
    }

    /// The ways to these nodes. A list that lags is asked again until it shows them.
    async fn accesses(&self, nodes: BTreeSet<&str>) -> Result<BTreeMap<String, Access>, Error> {
        let scope = Scope::Cluster(self.session.cluster_id.clone());
        let lists = if self.session.provider.capabilities().lists_lag {
            40
        } else {
            3
        };
        let mut wait = Backoff::new();
        let mut accesses = BTreeMap::new();
        for _ in 0..lists {
            let found = self.engine.inventory(self.session.provider.as_ref(), &scope).await?;
            for resource in found.nodes {
                let name = resource.mark.resource.as_str();
                if let (true, NodeState::Running, Some(endpoint)) =
                    (nodes.contains(name), &resource.state, resource.endpoint)
                {
                    accesses.insert(name.to_owned(), self.session.access(name, endpoint)?);
                }
            }
            if accesses.len() == nodes.len() || self.stop.is_asked() {
                break;
            }
            wait.pause().await;
        }
        Ok(accesses)
    }

    /// Brings one node as far as it gets without waiting for all workers.
    async fn node<'p>(
        &self,
        node: &'p Node,
        work: (Option<&'p str>, Work<'p>),
        access: Option<Access>,
        stack: &dyn Stack,
        gate: &watch::Sender<Gate>,
        permits: &Semaphore,
    ) -> Outcome<'p> {
        let mut outcome = Outcome {
            node: &node.name,
            done: Vec::new(),
            failures: Vec::new(),
            unfinished: BTreeSet::new(),
            last: None,
            access: access.clone(),
        };
        let is_master = node.role == Role::Master;
        let Some(access) = access else {
            outcome.failures.push(node_failure(
                &node.name,
                "reaching it",
                "the provider doesn't list it as running",
                "",
            ));
            return outcome;
        };
        let rounds = match self.rounds(node, work, &access, stack, permits).await {
            Ok(rounds) => rounds,
            Err(error) => {
                outcome.push(&node.name, "reaching it", error);
                return outcome;
            }
        };
        for round in rounds {
            match round.barrier {
                Barrier::Nothing => {}
                // The controller itself has nothing to wait for, and the workers need not wait for what it does now.
                Barrier::Controller if is_master => drop(gate.send_replace(Gate::Open)),
                Barrier::Controller => {
                    // The sender outlives every receiver, so waiting can't fail.
                    let _ = gate.subscribe().wait_for(|gate| *gate != Gate::Shut).await;
                }
                Barrier::Workers => {
                    outcome.last = Some(round);
                    continue;
                }
            }
            if self.stop.is_asked() || !outcome.failures.is_empty() {
                outcome.unfinished.extend(round.changes);
                continue;
            }
            let permit = permits.acquire().await;
            let needs_controller = round.barrier == Barrier::Controller && !is_master;
            let ended = tokio::select! {
                () = self.round(&access, &round, &mut outcome) => true,
                () = self.too_late(gate), if needs_controller => false,
            };
            if !ended {
                outcome.unfinished.extend(round.changes);
            }
            drop(permit);
        }
        outcome
    }

    /// Ends a while after the master has failed: slurmd waits for its controller as long as it takes, and this one may never come. What
    /// it left undone is in the next plan, and the failure to mend is the master's.
    async fn too_late(&self, gate: &watch::Sender<Gate>) {
        // The sender outlives every receiver, so waiting can't fail.
        let _ = gate.subscribe().wait_for(|gate| *gate == Gate::Failed).await;
        tokio::time::sleep(self.engine.settings().patience).await;
    }

    /// Waits for a node and says what to do on it, one round for each barrier.
    async fn rounds<'p>(
        &self,
        node: &Node,
        work: (Option<&'p str>, Work<'p>),
        access: &Access,
        stack: &dyn Stack,
        permits: &Semaphore,
    ) -> Result<Vec<Round<'p>>, NodeError> {
        let cancel = self.stop.now_token();
        let (whole, work) = work;
        let whole = whole.unwrap_or_default();
        if !matches!(work, Work::Steps(_)) {
            self.session.reach.forget(access).await;
            self.session.reach.wait_ready(access, self.stop.soon_token()).await?;
            self.events.send(Event::Ready {
                node: node.name.clone(),
            });
        }
        let steps: Vec<(Barrier, &str, Step)> = match work {
            Work::Steps(steps) => steps,
            Work::New => observe::wanted(stack, node)
                .into_iter()
                .map(|(_, barrier, item)| (barrier, whole, Step::blind(item)))
                .collect(),
            Work::Unseen => {
                let permit = permits.acquire().await;
                let mut wanted = observe::wanted(stack, node);
                let facts = observe::look(self.session.reach.as_ref(), access, &mut wanted, cancel).await?;
                drop(permit);
                // Whether workers take jobs is found out after they had their turn.
                let last: Wanted = wanted
                    .extract_if(.., |(_, barrier, _)| *barrier == Barrier::Workers)
                    .collect();
                let steps =
                    observe::differences(wanted, &facts)
                        .into_iter()
                        .map(|Difference { barrier, mut step, .. }| {
                            // A daemon of a node that is starting moves on between this look and the script.
                            if step.item.moves() {
                                step.expected = None;
                            }
                            (barrier, whole, step)
                        });
                steps
                    .chain(
                        last.into_iter()
                            .map(|(_, barrier, item)| (barrier, whole, Step::blind(item))),
                    )
                    .collect()
            }
        };
        let mut rounds: BTreeMap<Barrier, Round<'p>> = BTreeMap::new();
        for (barrier, change, step) in steps {
            let round = rounds.entry(barrier).or_insert_with(|| Round {
                barrier,
                changes: Vec::new(),
                steps: Vec::new(),
            });
            round.changes.push(change);
            round.steps.push(step);
        }
        Ok(rounds.into_values().collect())
    }

    /// One script on one node.
    async fn round<'p>(&self, access: &Access, round: &Round<'p>, outcome: &mut Outcome<'p>) {
        let result = self
            .session
            .reach
            .apply(access, self.number, &round.steps, self.stop.now_token())
            .await;
        let before = outcome.done.len();
        match result {
            Err(error) => {
                outcome.unfinished.extend(&round.changes);
                outcome.push(&access.node, "configuration", error);
            }
            Ok(results) => {
                for ((step, change), result) in round.steps.iter().zip(&round.changes).zip(results) {
                    let what = step.item.describe();
                    match result {
                        StepOutcome::Done => outcome.done.push((change, what)),
                        StepOutcome::Drift { found } => outcome.failures.push(node_failure(
                            &access.node,
                            &what,
                            &format!("it changed after it was planned for: {}", step.item.difference(&found)),
                            "nothing was done about it: plan again and look whether you agree",
                        )),
                        StepOutcome::Failed(message) => {
                            let message = if message.is_empty() {
                                "it failed without a word".to_owned()
                            } else {
                                message
                            };
                            outcome.failures.push(node_failure(&access.node, &what, &message, ""));
                        }
                        StepOutcome::NotReached => {
                            outcome.unfinished.insert(change);
                        }
                    }
                }
                if outcome.failures.is_empty() && outcome.done.len() - before < round.steps.len() {
                    outcome.failures.push(node_failure(
                        &access.node,
                        "configuration",
                        "the script broke off on the node",
                        "apply again: it goes on from there",
                    ));
                }
            }
        }
    }

    /// What waits for all workers: nodes that failed are left out of it, so that their failure isn't told twice.
    async fn last_rounds(&self, outcomes: &mut [Outcome<'_>]) {
        let failed: BTreeSet<String> = outcomes
            .iter()
            .filter(|outcome| !outcome.failures.is_empty())
            .map(|outcome| format!("slurm-node:{}", outcome.node))
            .collect();
        for outcome in outcomes {
            let (Some(mut round), Some(access)) = (outcome.last.take(), outcome.access.clone()) else {
                continue;
            };
            if self.stop.is_asked() || !outcome.failures.is_empty() {
                outcome.unfinished.extend(round.changes);
                continue;
            }
            let (steps, changes) = round
                .steps
                .into_iter()
                .zip(round.changes)
                .filter(|(step, _)| !failed.contains(&step.item.key))
                .unzip();
            (round.steps, round.changes) = (steps, changes);
            if !round.steps.is_empty() {
                self.round(&access, &round, outcome).await;
            }
        }
    }
}

impl<'a> Outcome<'a> {
    fn died(node: &'a str) -> Self {
        Self {
            node,
            done: Vec::new(),
            failures: vec![node_failure(
                node,
                "configuration",
                "the node stopped running while it was worked on",
                "apply again: it is started, or made anew, and the rest goes on from where it was",
            )],
            unfinished: BTreeSet::new(),
            last: None,
            access: None,
        }
    }

    fn push(&mut self, node: &str, doing: &str, error: NodeError) {
        if !error.interrupted {
            self.failures
                .push(node_failure(node, doing, &error.message, &error.hint));
        }
    }
}

fn node_failure(node: &str, doing: &str, message: &str, hint: &str) -> Failure {
    Failure {
        what: node.to_owned(),
        doing: doing.to_owned(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}

/// What the changes ask of each node, in the design's order, with the change that stands for a whole configuration.
fn works<'a>(nodes: &'a [Node], changes: &[&'a Change]) -> Vec<(&'a Node, (Option<&'a str>, Work<'a>))> {
    let mut by_node: BTreeMap<&str, (Option<&'a str>, Work<'a>)> = BTreeMap::new();
    for change in changes {
        let Some(node) = change.node.as_deref() else { continue };
        match &change.action {
            Action::ConfigureNew => {
                by_node.insert(node, (Some(&change.id), Work::New));
            }
            Action::ConfigureUnseen => {
                by_node.insert(node, (Some(&change.id), Work::Unseen));
            }
            Action::Step(barrier, step) => {
                let entry = by_node.entry(node).or_insert_with(|| (None, Work::Steps(Vec::new())));
                if let Work::Steps(steps) = &mut entry.1 {
                    steps.push((*barrier, &change.id, (**step).clone()));
                }
            }
            _ => {}
        }
    }
    nodes
        .iter()
        .filter_map(|node| by_node.remove(node.name.as_str()).map(|work| (node, work)))
        .collect()
}
