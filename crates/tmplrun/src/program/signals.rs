//! Ctrl-C and its kin: first time orderly, second time at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tmplrun::{Error, ErrorKind, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{INTERRUPTED, TERMINATED, show};

/// Listens for requests to stop.
pub(crate) struct Stop {
    token: CancellationToken,
    again: Arc<Notify>,
    code: Arc<AtomicU8>,
}

impl Stop {
    /// Begins to listen; from then on the signals no longer end the program by themselves.
    pub(crate) fn listen() -> Result<Self> {
        let deaf = |error| Error::new(ErrorKind::Bug, "signals cannot be listened for").because(error);
        let mut interrupt = signal(SignalKind::interrupt()).map_err(deaf)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(deaf)?;
        let mut hangup = signal(SignalKind::hangup()).map_err(deaf)?;
        let stop = Self {
            token: CancellationToken::new(),
            again: Arc::new(Notify::new()),
            code: Arc::new(AtomicU8::new(INTERRUPTED)),
        };
        let (token, again, code) = (stop.token.clone(), Arc::clone(&stop.again), Arc::clone(&stop.code));
        tokio::spawn(async move {
            loop {
                let asked = tokio::select! {
                    _ = interrupt.recv() => INTERRUPTED,
                    _ = terminate.recv() => TERMINATED,
                    _ = hangup.recv() => TERMINATED,
                };
                code.store(asked, Ordering::Relaxed);
                if token.is_cancelled() {
                    again.notify_one();
                } else {
                    show::note(
                        "stopping: the running cell is interrupted and the notebook saved; again to stop at once",
                    );
                    token.cancel();
                }
            }
        });
        Ok(stop)
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Resolves when the second request comes.
    pub(crate) async fn now(&mut self) {
        self.again.notified().await;
    }

    pub(crate) fn exit_code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }
}
