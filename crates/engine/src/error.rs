//! The engine's errors: what happened, to whom, whose fault it is and what to do next.
//!
//! An error's own text never repeats its source; [`Error::chain`] gives the whole story once, for whoever shows it.

use clusterbook_model::{Faults, RenderError};
use clusterbook_providers::{ErrorKind as ProviderErrorKind, ProviderError};

use crate::state::{self, StateError};

/// A failure of the engine.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The design is not sound.
    #[error("the design of this cluster has faults")]
    Design(#[source] Faults),
    /// No image recipe serves the design.
    #[error("the nodes' image can't be made")]
    Image(#[source] clusterbook_model::RecipeError),
    /// No cluster has this name.
    #[error("there is no cluster named {name}")]
    NoCluster {
        /// The name asked for.
        name: String,
        /// Clusters that exist.
        known: Vec<String>,
    },
    /// No node has this name.
    #[error("cluster {cluster} has no node or group named {name}")]
    NoNode {
        /// The cluster.
        cluster: String,
        /// The name asked for.
        name: String,
        /// Names that exist.
        known: Vec<String>,
    },
    /// The provider holds a cluster of this name that isn't this one.
    #[error("the name {name} is already used by another cluster on {provider}: {resources}")]
    NameInUse {
        /// The name.
        name: String,
        /// The provider.
        provider: String,
        /// What was found there.
        resources: String,
    },
    /// The plan needs what the provider can't do.
    #[error("the provider {provider} cannot {what}, which this design needs")]
    Capability {
        /// The provider.
        provider: String,
        /// What is missing.
        what: &'static str,
        /// Providers that have it.
        others: Vec<&'static str>,
    },
    /// The change would destroy what it must not.
    #[error("{what}")]
    Refused {
        /// What was asked for, and why it isn't done.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// The state folder.
    #[error("the state folder cannot be used")]
    State(#[from] StateError),
    /// The provider as a whole.
    #[error("the provider {provider} cannot be used")]
    Provider {
        /// The provider.
        provider: String,
        /// What it said.
        #[source]
        source: ProviderError,
    },
    /// A template.
    #[error("a file of the cluster cannot be rendered")]
    Render(#[from] RenderError),
    /// Single resources or nodes failed; others may have succeeded.
    #[error("{} of cluster {cluster} failed: {}", count(.failures.len()), summary(.failures))]
    Failures {
        /// The cluster.
        cluster: String,
        /// Each failure, by resource or node.
        failures: Vec<Failure>,
    },
    /// The caller asked to stop. What was done is journalled; applying again goes on from there.
    #[error("stopped before cluster {cluster} was as designed")]
    Interrupted {
        /// The cluster.
        cluster: String,
    },
    /// Something that can't happen did.
    #[error("{0}")]
    Bug(String),
}

/// One resource's or node's failure.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// A node's name, or a resource such as `image compute`.
    pub what: String,
    /// What was being done, for example `phase munge`.
    pub doing: String,
    /// What happened, cause chain included.
    pub message: String,
    /// What to do next; may be empty.
    pub hint: String,
}

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// What the caller asked for.
    Yours,
    /// The machine that clusterbook runs on, or its settings.
    Configuration,
    /// The provider.
    Provider,
    /// A node.
    Node,
    /// The caller stopped it.
    Interrupted,
    /// Ours.
    Bug,
}

impl Error {
    /// Whose fault it is.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Design(_)
            | Self::Image(_)
            | Self::NoCluster { .. }
            | Self::NoNode { .. }
            | Self::NameInUse { .. }
            | Self::Capability { .. }
            | Self::Refused { .. } => ErrorKind::Yours,
            Self::State(error) => match error.kind() {
                state::Kind::Yours => ErrorKind::Yours,
                state::Kind::Configuration => ErrorKind::Configuration,
                _ => ErrorKind::Bug,
            },
            Self::Provider { source, .. } => match source.kind {
                ProviderErrorKind::Denied | ProviderErrorKind::Invalid => ErrorKind::Configuration,
                ProviderErrorKind::Cancelled => ErrorKind::Interrupted,
                _ => ErrorKind::Provider,
            },
            Self::Failures { .. } => ErrorKind::Node,
            Self::Interrupted { .. } => ErrorKind::Interrupted,
            Self::Render(_) => ErrorKind::Configuration,
            Self::Bug(_) => ErrorKind::Bug,
        }
    }

    /// What to do next.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            Self::Design(_) => "correct the parameters named above; nothing was changed".to_owned(),
            Self::Image(error) => error.help.clone(),
            Self::NoCluster { known, .. } if known.is_empty() => {
                "make one with notebook 010, or `clusterbook apply DESIGN.cluster.yaml`".to_owned()
            }
            Self::NoCluster { known, .. } | Self::NoNode { known, .. } => format!("there are: {}", known.join(", ")),
            Self::NameInUse { .. } => {
                "choose another name; or, if it is yours from another computer, bring its state here with `clusterbook export` there and `clusterbook import` here".to_owned()
            }
            Self::Capability { others, .. } if others.is_empty() => "no provider can".to_owned(),
            Self::Capability { others, .. } => format!("these can: {}", others.join(", ")),
            Self::Refused { hint, .. } => hint.clone(),
            Self::State(error) => return error.hint().map(|hint| hint.to_string()),
            Self::Provider { source, .. } => source.hint.clone(),
            Self::Render(error) => error.help.clone(),
            Self::Failures { failures, .. } => failures
                .iter()
                .map(|failure| failure.hint.as_str())
                .find(|hint| !hint.is_empty())
                .unwrap_or("what succeeded is kept: mend the cause and apply again, it goes on from there")
                .to_owned(),
            Self::Interrupted { .. } => "apply again to go on from there, or destroy the cluster".to_owned(),
            Self::Bug(_) => "this is a fault of clusterbook: please report it with this text".to_owned(),
        };
        (!text.is_empty()).then_some(text)
    }

    /// This error and its causes, outermost first.
    pub fn chain(&self) -> Vec<String> {
        chain(self)
    }

    pub(crate) fn provider(name: &str, source: ProviderError) -> Self {
        Self::Provider {
            provider: name.to_owned(),
            source,
        }
    }
}

/// An error and its causes, outermost first.
pub(crate) fn chain(error: &dyn std::error::Error) -> Vec<String> {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect()
}

fn count(failures: usize) -> String {
    if failures == 1 {
        "one part".to_owned()
    } else {
        format!("{failures} parts")
    }
}

fn summary(failures: &[Failure]) -> String {
    const SHOWN: usize = 8;
    let mut lines: Vec<String> = failures
        .iter()
        .take(SHOWN)
        .map(|failure| format!("\n  {} ({}): {}", failure.what, failure.doing, failure.message))
        .collect();
    if failures.len() > SHOWN {
        lines.push(format!("\n  … and {} more", failures.len() - SHOWN));
    }
    lines.concat()
}
