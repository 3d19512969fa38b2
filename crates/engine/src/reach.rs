//! How the engine gets at a node: scripts over SSH, or a table of text where the node is pretended.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clusterbook_providers::{Endpoint, Memory, NodeWrite, WriteOutcome};
use clusterbook_transport::{HostKey, Output, Pool, RemoteCommand, Stream, Target};
use tokio_util::sync::CancellationToken;

use crate::error::chain;
use crate::item::{ABSENT, Item};
use crate::script::{self, Facts, Refused, Step, StepOutcome};

/// How long a node may take from its start until SSH answers.
const READY_WITHIN: Duration = Duration::from_secs(300);

/// A node that can be reached.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    /// Host name.
    pub(crate) node: String,
    /// The cluster's identity.
    pub(crate) cluster_id: String,
    /// Where SSH is.
    pub(crate) endpoint: Endpoint,
    /// The host key that it was born with.
    pub(crate) host_key: String,
}

/// Why a node could not be worked with.
#[derive(Clone, Debug)]
pub(crate) struct NodeError {
    pub(crate) message: String,
    pub(crate) hint: String,
    pub(crate) interrupted: bool,
}

/// Output as it comes.
pub(crate) type OnOutput<'a> = &'a mut (dyn FnMut(Stream, &[u8]) + Send);

/// A way to nodes.
#[async_trait]
pub(crate) trait Reach: Send + Sync {
    /// Drops what is kept open to a node that was off since: its end wouldn't be noticed before something is said on it.
    async fn forget(&self, access: &Access);

    /// Returns once the node answers, or says why it never will.
    async fn wait_ready(&self, access: &Access, cancel: &CancellationToken) -> Result<(), NodeError>;

    /// The fingerprints of `items`, found without changing anything. One round trip.
    async fn observe(&self, access: &Access, items: &[Item], cancel: &CancellationToken) -> Result<Facts, NodeError>;

    /// Carries out `steps` in order as part of apply `number`. One round trip.
    async fn apply(
        &self,
        access: &Access,
        number: u64,
        steps: &[Step],
        cancel: &CancellationToken,
    ) -> Result<Vec<StepOutcome>, NodeError>;

    /// Runs one command.
    async fn run(
        &self,
        access: &Access,
        command: &RemoteCommand,
        on_output: OnOutput<'_>,
        cancel: &CancellationToken,
    ) -> Result<Output, NodeError>;
}

/// Nodes behind SSH.
pub(crate) struct Ssh {
    pool: Arc<Pool>,
}

impl Ssh {
    pub(crate) fn new(pool: Arc<Pool>) -> Self {
        Self { pool }
    }

    fn target(access: &Access) -> Result<Target, NodeError> {
        let key = HostKey::from_public_key(&access.host_key).map_err(NodeError::from)?;
        Ok(Target::new(
            &access.node,
            &access.endpoint.host,
            access.endpoint.port,
            "root",
            key,
        ))
    }

    async fn script(
        &self,
        access: &Access,
        script: String,
        cancel: &CancellationToken,
    ) -> Result<(Output, String, String), NodeError> {
        let command = RemoteCommand::new("/bin/sh -s").with_stdin(script);
        let output = self
            .pool
            .run(&Self::target(access)?, &command, &mut |_, _| {}, cancel)
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        Ok((output, stdout, stderr))
    }
}

#[async_trait]
impl Reach for Ssh {
    async fn forget(&self, access: &Access) {
        if let Ok(target) = Self::target(access) {
            self.pool.forget(&target).await;
        }
    }

    async fn wait_ready(&self, access: &Access, cancel: &CancellationToken) -> Result<(), NodeError> {
        Ok(self
            .pool
            .wait_ready(&Self::target(access)?, READY_WITHIN, cancel)
            .await?)
    }

    async fn observe(&self, access: &Access, items: &[Item], cancel: &CancellationToken) -> Result<Facts, NodeError> {
        let (_, stdout, stderr) = self.script(access, script::observe(items), cancel).await?;
        script::read_facts(items, &stdout).ok_or_else(|| NodeError {
            message: format!("the node broke off while it was looked at: {}", stderr.trim()),
            hint: "log in and look at it, or replace the node".to_owned(),
            interrupted: false,
        })
    }

    async fn apply(
        &self,
        access: &Access,
        number: u64,
        steps: &[Step],
        cancel: &CancellationToken,
    ) -> Result<Vec<StepOutcome>, NodeError> {
        let (_, stdout, stderr) = self
            .script(access, script::apply(&access.cluster_id, number, steps), cancel)
            .await?;
        script::read_outcomes(steps.len(), &stdout, &stderr).map_err(NodeError::from)
    }

    async fn run(
        &self,
        access: &Access,
        command: &RemoteCommand,
        on_output: OnOutput<'_>,
        cancel: &CancellationToken,
    ) -> Result<Output, NodeError> {
        Ok(self
            .pool
            .run(&Self::target(access)?, command, on_output, cancel)
            .await?)
    }
}

/// Nodes of the in-memory world.
pub(crate) struct Pretended {
    world: Arc<Memory>,
}

impl Pretended {
    pub(crate) fn new(world: Arc<Memory>) -> Self {
        Self { world }
    }
}

#[async_trait]
impl Reach for Pretended {
    async fn forget(&self, _access: &Access) {}

    async fn wait_ready(&self, access: &Access, cancel: &CancellationToken) -> Result<(), NodeError> {
        self.observe(access, &[], cancel).await.map(|_| ())
    }

    async fn observe(&self, access: &Access, items: &[Item], _cancel: &CancellationToken) -> Result<Facts, NodeError> {
        let keys: Vec<String> = items.iter().map(|item| item.key.clone()).collect();
        let mut facts = self.world.node_read(&access.cluster_id, &access.node, &keys).await?;
        for key in keys {
            facts.entry(key).or_insert_with(|| ABSENT.to_owned());
        }
        Ok(facts)
    }

    async fn apply(
        &self,
        access: &Access,
        number: u64,
        steps: &[Step],
        _cancel: &CancellationToken,
    ) -> Result<Vec<StepOutcome>, NodeError> {
        // The world always compares; what moves on by itself, a daemon or Slurm's view of a node, is taken as it is found.
        let any: Vec<String> = steps
            .iter()
            .filter(|step| step.expected.is_none() && step.item.moves())
            .map(|step| step.item.key.clone())
            .collect();
        let found = if any.is_empty() {
            Facts::new()
        } else {
            self.world.node_read(&access.cluster_id, &access.node, &any).await?
        };
        let writes: Vec<NodeWrite> = steps
            .iter()
            .map(|step| NodeWrite {
                key: step.item.key.clone(),
                expected: step
                    .expected
                    .clone()
                    .filter(|text| text != ABSENT)
                    .or_else(|| found.get(&step.item.key).cloned()),
                value: (step.item.want != ABSENT).then(|| step.item.want.clone()),
            })
            .collect();
        let outcomes = self
            .world
            .node_write(&access.cluster_id, &access.node, number, &writes)
            .await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| match outcome {
                WriteOutcome::Written => StepOutcome::Done,
                WriteOutcome::Drift { found } => StepOutcome::Drift {
                    found: found.unwrap_or_else(|| ABSENT.to_owned()),
                },
            })
            .collect())
    }

    async fn run(
        &self,
        access: &Access,
        _command: &RemoteCommand,
        _on_output: OnOutput<'_>,
        _cancel: &CancellationToken,
    ) -> Result<Output, NodeError> {
        Err(NodeError {
            message: format!(
                "{} is pretended: it keeps a configuration, but runs no commands",
                access.node
            ),
            hint: "use the provider `local` for nodes that run commands".to_owned(),
            interrupted: false,
        })
    }
}

impl From<clusterbook_transport::Error> for NodeError {
    fn from(error: clusterbook_transport::Error) -> Self {
        Self {
            message: chain(&error).join(": "),
            hint: error.hint().unwrap_or_default().to_string(),
            interrupted: error.kind() == clusterbook_transport::ErrorKind::Cancelled,
        }
    }
}

impl From<clusterbook_providers::ProviderError> for NodeError {
    fn from(error: clusterbook_providers::ProviderError) -> Self {
        Self {
            message: error.message,
            hint: error.hint,
            interrupted: error.kind == clusterbook_providers::ErrorKind::Cancelled,
        }
    }
}

impl From<Refused> for NodeError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy => Self {
                message: "another script of ours has held this node for two minutes".to_owned(),
                hint: "wait until it ends, then apply again".to_owned(),
                interrupted: false,
            },
            Refused::Fence(number) => Self {
                message: format!("apply {number}, newer than this one, has already been here"),
                hint: "somebody else applies to this cluster: use the state folder that it was made with".to_owned(),
                interrupted: false,
            },
        }
    }
}
