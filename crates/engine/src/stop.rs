//! Two ways to stop: at the next journalled point, or now.

use tokio_util::sync::CancellationToken;

/// A pair of tokens. The first Ctrl-C (or stop button) asks for [`Stop::soon`], the second for [`Stop::now`].
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soon: CancellationToken,
    now: CancellationToken,
}

impl Stop {
    /// Nothing has been asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Finish what has begun, begin nothing else.
    pub fn soon(&self) {
        self.soon.cancel();
    }

    /// Drop everything. What is on its way at a provider or node goes on there and is found by the next apply.
    pub fn now(&self) {
        self.soon.cancel();
        self.now.cancel();
    }

    /// Asks for more each time it is called: soon, then now.
    pub fn press(&self) {
        if self.soon.is_cancelled() {
            self.now();
        } else {
            self.soon();
        }
    }

    /// Whether nothing new may begin.
    pub fn is_asked(&self) -> bool {
        self.soon.is_cancelled()
    }

    /// The token of [`Stop::soon`].
    pub(crate) fn soon_token(&self) -> &CancellationToken {
        &self.soon
    }

    /// The token of [`Stop::now`].
    pub(crate) fn now_token(&self) -> &CancellationToken {
        &self.now
    }
}
