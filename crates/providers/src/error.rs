//! What can go wrong at a provider, told so that the engine knows whether to try again and a person knows what to do.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What sort of failure.
    pub kind: ErrorKind,
    /// Which resource, for example `node c1` or `image compute`; empty for the provider itself.
    pub resource: String,
    /// What happened.
    pub message: String,
    /// What to do next; empty when there is nothing useful to say.
    pub hint: String,
}

/// Sort of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Too many requests: the same call works later.
    Throttled {
        /// How long the provider asks us to wait.
        retry_after: Option<Duration>,
    },
    /// The provider is out of order for now: the same call may work later.
    Unavailable,
    /// No answer came. Whether the request was carried out is unknown until the inventory tells.
    TimedOut,
    /// A resource with this mark is already there.
    AlreadyExists,
    /// No resource with this mark is there.
    NotFound,
    /// Something else still needs the resource, or its state forbids the request for now.
    Conflict,
    /// A limit of the account or machine is reached.
    Quota,
    /// The request can never work as it is.
    Invalid,
    /// This provider can't do that.
    Unsupported,
    /// Not allowed.
    Denied,
    /// The caller asked to stop.
    Cancelled,
    /// A bug of ours.
    Bug,
}

impl ProviderError {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, resource: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            resource: resource.into(),
            message: message.into(),
            hint: String::new(),
        }
    }

    /// The same error with advice.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Whether repeating the same request may help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Throttled { .. } | ErrorKind::Unavailable | ErrorKind::TimedOut | ErrorKind::Conflict
        )
    }
}
