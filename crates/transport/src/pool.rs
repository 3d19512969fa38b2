//! The pool: one session per machine, made when first needed, replaced when lost.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use russh::client::Msg;
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind};
use crate::exec::{Output, RemoteCommand, Stream, exec};
use crate::fan_out::fan_out;
use crate::key::Identity;
use crate::session::{self, Session, Setup, SetupError};
use crate::target::{HostKey, Target};
use crate::tunnel::Tunnel;

/// The first pause between two attempts to reach a machine that is starting.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// How long the first attempts wait for a TCP connection: a packet to a machine that isn't there yet is simply lost,
/// and asking again is quicker than waiting for the kernel to do it.
const FIRST_PATIENCE: Duration = Duration::from_millis(250);

/// How a pool behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolOptions {
    /// How long setting up a TCP connection may take, and then again the SSH session over it.
    pub connect_timeout: Duration,
    /// A silent machine is asked for a sign of life this often; after three without answer it counts as lost.
    pub keepalive: Duration,
    /// How many commands may run on one target at once; more wait for their turn. OpenSSH's servers allow 10.
    pub max_sessions_per_target: usize,
    /// How many targets [`Pool::run_on`] works on at once.
    pub fan_out_limit: usize,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            connect_timeout: Duration::from_secs(10),
            keepalive: Duration::from_secs(15),
            max_sessions_per_target: 8,
            fan_out_limit: 64,
        }
    }
}

/// What a pool has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Sessions that were set up completely.
    pub connections: u64,
    /// Channels that were opened, for commands and for tunnels.
    pub channels: u64,
}

/// Connections to machines, all with one identity. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

struct Inner {
    identity: Arc<Identity>,
    options: PoolOptions,
    slots: Mutex<HashMap<Target, Arc<Slot>>>,
    connections: AtomicU64,
    channels: AtomicU64,
}

/// The place of one target in the pool.
#[derive(Default)]
struct Slot {
    /// Held while connecting, so that callers who come together make one connection together.
    state: tokio::sync::Mutex<SlotState>,
    /// Counts attempts to connect, also those under way.
    attempts: AtomicU64,
}

#[derive(Default)]
struct SlotState {
    session: Option<Arc<Session>>,
    /// The attempt that failed last, and how.
    failed: Option<(u64, Error)>,
}

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

trait ByteStream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> ByteStream for S {}

impl Pool {
    /// An empty pool. Nothing is connected before it is needed.
    pub fn new(identity: Arc<Identity>, options: PoolOptions) -> Pool {
        let inner = Inner {
            identity,
            options,
            slots: Mutex::default(),
            connections: AtomicU64::new(0),
            channels: AtomicU64::new(0),
        };
        Pool { inner: Arc::new(inner) }
    }

    /// The options it was made with.
    pub fn options(&self) -> &PoolOptions {
        &self.inner.options
    }

    /// What was done so far; tests count round trips with it.
    pub fn statistics(&self) -> Statistics {
        Statistics {
            connections: self.inner.connections.load(Ordering::Relaxed),
            channels: self.inner.channels.load(Ordering::Relaxed),
        }
    }

    /// Runs a command and returns what it left behind, whatever its exit status.
    ///
    /// `on_output` gets each piece of output as it arrives; the same bytes are in the result. When `cancel` fires, the command gets
    /// SIGTERM and its channel is closed; the same happens when the returned future is dropped. OpenSSH passes no signals on to commands of
    /// root: those end when they next read or write, so a long and silent one has to be told by other means. A process that the command leaves in
    /// the background with its standard output still open delays the result until it ends, as with `ssh`.
    pub async fn run(
        &self,
        target: &Target,
        command: &RemoteCommand,
        on_output: &mut (dyn FnMut(Stream, &[u8]) + Send),
        cancel: &CancellationToken,
    ) -> Result<Output, Error> {
        let not_started = || Error::Cancelled {
            target: target.id.clone(),
            started: false,
        };
        let mut attempt = 0;
        loop {
            attempt += 1;
            let session = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(not_started()),
                session = self.session(target, None) => session?,
            };
            let opened = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(not_started()),
                opened = self.open_channel(target, &session) => opened,
            };
            match opened {
                Ok((_place, channel)) => return exec(target, &session, channel, command, on_output, cancel).await,
                // The session had died while nobody looked. Nothing was started, so a new one is harmless.
                Err(Error::Closed { started: false, .. } | Error::Timeout { .. }) if attempt == 1 => {
                    self.discard(target, &session).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Runs one command on many targets at once and returns every result, in the order of the targets.
    pub async fn run_on(
        &self,
        targets: &[Target],
        command: &RemoteCommand,
        on_output: &(dyn Fn(&Target, Stream, &[u8]) + Sync),
        cancel: &CancellationToken,
    ) -> Vec<(Target, Result<Output, Error>)> {
        fan_out(
            targets.iter().cloned(),
            self.inner.options.fan_out_limit,
            |target| async move {
                let mut on_piece = |stream: Stream, bytes: &[u8]| on_output(&target, stream, bytes);
                self.run(&target, command, &mut on_piece, cancel).await
            },
        )
        .await
    }

    /// Waits until a machine can be logged in to, and keeps the connection for the commands to come.
    ///
    /// A machine that is starting refuses, is unreachable or stays silent; it is asked again, quickly at first. A wrong host key or a
    /// refused login doesn't get better by waiting, so they end the wait at once. At the deadline the error is [`Error::Timeout`] with
    /// the last failure as its source.
    pub async fn wait_ready(
        &self,
        target: &Target,
        deadline: Duration,
        cancel: &CancellationToken,
    ) -> Result<(), Error> {
        let end = Instant::now() + deadline;
        let mut pause = FIRST_PAUSE;
        let mut patience = FIRST_PATIENCE;
        let mut last: Option<Error> = None;
        let timeout = |last: Option<Error>| Error::Timeout {
            target: target.id.clone(),
            doing: "waiting for it to become ready",
            after: deadline,
            source: last.map(|error| Arc::new(error) as _),
        };
        loop {
            let attempt = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    return Err(Error::Cancelled { target: target.id.clone(), started: false });
                }
                attempt = tokio::time::timeout_at(end, self.session(target, Some(patience))) => attempt,
            };
            match attempt {
                Ok(Ok(_)) => return Ok(()),
                Ok(Err(error)) => match error.kind() {
                    ErrorKind::Unreachable | ErrorKind::Timeout | ErrorKind::Closed => last = Some(error),
                    _ => return Err(error),
                },
                Err(_) => return Err(timeout(last)),
            }
            if Instant::now() + pause >= end {
                return Err(timeout(last));
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    return Err(Error::Cancelled { target: target.id.clone(), started: false });
                }
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
            patience = (patience * 2).min(self.inner.options.connect_timeout);
        }
    }

    /// Connects from the target to an address that the target can reach, as `ssh -W` does.
    pub async fn open_tcp(
        &self,
        target: &Target,
        host: &str,
        port: u16,
        cancel: &CancellationToken,
    ) -> Result<Tunnel, Error> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(Error::Cancelled { target: target.id.clone(), started: false }),
            tunnel = self.tunnel(target, host, port) => tunnel,
        }
    }

    /// Forgets a target: its connection is closed, and the next call makes a new one. For a machine that is
    /// about to be stopped, so that nobody waits for a connection to something that is gone.
    pub async fn forget(&self, target: &Target) {
        let slot = self.slots().remove(target);
        if let Some(slot) = slot {
            let session = slot.state.lock().await.session.take();
            if let Some(session) = session {
                session.disconnect().await;
            }
        }
    }

    /// Closes all connections. Commands that are still running lose theirs. The pool stays usable.
    pub async fn close(&self) {
        let slots: Vec<_> = self.slots().drain().map(|(_, slot)| slot).collect();
        let goodbyes = slots.iter().map(|slot| async {
            let session = slot.state.lock().await.session.take();
            if let Some(session) = session {
                session.disconnect().await;
            }
        });
        futures::future::join_all(goodbyes).await;
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Target, Arc<Slot>>> {
        // Nothing panics while this is held, and a map of connections has no state that could be half-changed.
        self.inner.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session with a target, made now if there is none. Callers who come while one is being made share it, and share its failure.
    fn session<'a>(&'a self, target: &'a Target, patience: Option<Duration>) -> Boxed<'a, Result<Arc<Session>, Error>> {
        Box::pin(async move {
            let slot = Arc::clone(self.slots().entry(target.clone()).or_default());
            let seen = slot.attempts.load(Ordering::SeqCst);
            let mut state = slot.state.lock().await;
            if let Some(session) = &state.session
                && !session.is_closed()
            {
                return Ok(Arc::clone(session));
            }
            state.session = None;
            // An attempt that was under way or began while we waited has failed: that is our answer, too. Otherwise callers
            // of a dead machine would wait for one timeout after the other.
            if let Some((attempt, error)) = &state.failed
                && *attempt > seen
            {
                return Err(error.clone());
            }
            let made = self.establish(target, patience).await;
            let attempt = slot.attempts.fetch_add(1, Ordering::SeqCst) + 1;
            match made {
                Ok(session) => {
                    let session = Arc::new(session);
                    state.session = Some(Arc::clone(&session));
                    state.failed = None;
                    self.inner.connections.fetch_add(1, Ordering::Relaxed);
                    Ok(session)
                }
                Err(error) => {
                    state.failed = Some((attempt, error.clone()));
                    Err(error)
                }
            }
        })
    }

    /// Takes a dead session out of the pool, unless somebody has replaced it already.
    async fn discard(&self, target: &Target, dead: &Arc<Session>) {
        let slot = self.slots().get(target).cloned();
        if let Some(slot) = slot {
            let mut state = slot.state.lock().await;
            if state.session.as_ref().is_some_and(|session| Arc::ptr_eq(session, dead)) {
                state.session = None;
            }
        }
    }

    async fn establish(&self, target: &Target, patience: Option<Duration>) -> Result<Session, Error> {
        let options = &self.inner.options;
        let setup = Setup {
            identity: &self.inner.identity,
            timeout: options.connect_timeout,
            keepalive: options.keepalive,
            places: options.max_sessions_per_target,
        };
        let mut algorithms = session::algorithms_for(&target.host_key);
        let mut offered = Vec::new();
        loop {
            let stream = self
                .open_stream(target, patience.unwrap_or(options.connect_timeout))
                .await?;
            match Box::pin(session::set_up(target, stream, &algorithms, &setup)).await {
                Ok(session) => return Ok(session),
                Err(SetupError::Stranger {
                    offered: fingerprint,
                    algorithm,
                }) => {
                    offered.push(fingerprint.to_string());
                    session::without(&mut algorithms, &algorithm);
                    // A fingerprint doesn't say which type of key it belongs to, and a machine shows one key per
                    // connection. So the other types get their chance before we call it a stranger.
                    if matches!(target.host_key, HostKey::Fingerprint(_)) && !algorithms.is_empty() {
                        continue;
                    }
                }
                Err(SetupError::NoSuchKey) => {}
                Err(SetupError::Other(error)) => return Err(error),
            }
            return Err(Error::HostKeyMismatch {
                target: target.id.clone(),
                address: target.address(),
                expected: target.host_key.fingerprints(),
                offered,
            });
        }
    }

    async fn open_stream(&self, target: &Target, patience: Duration) -> Result<Box<dyn ByteStream>, Error> {
        let unreachable = |source| Error::Unreachable {
            target: target.id.clone(),
            address: target.address(),
            source,
        };
        let Some(jump) = &target.jump else {
            let connect = TcpStream::connect((target.host.as_str(), target.port));
            let stream = tokio::time::timeout(patience, connect)
                .await
                .map_err(|_| Error::Timeout {
                    target: target.id.clone(),
                    doing: "connecting to it",
                    after: patience,
                    source: None,
                })?
                .map_err(|error| unreachable(Arc::new(error)))?;
            // Only costs speed if it fails.
            let _ = stream.set_nodelay(true);
            return Ok(Box::new(stream));
        };
        match self.tunnel(jump, &target.host, target.port).await {
            Ok(tunnel) => Ok(Box::new(tunnel)),
            Err(Error::Unreachable { source, .. }) => Err(unreachable(source)),
            Err(error) => Err(error),
        }
    }

    async fn tunnel(&self, target: &Target, host: &str, port: u16) -> Result<Tunnel, Error> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let session = self.session(target, None).await?;
            let open = session
                .handle()
                .channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
            match self.opened(target, &session, "a TCP connection", open).await {
                Ok(channel) => return Ok(Tunnel::new(channel, session)),
                Err(Error::Closed { started: false, .. } | Error::Timeout { .. }) if attempt == 1 => {
                    self.discard(target, &session).await;
                }
                Err(Error::Declined {
                    source: Some(source), ..
                }) if is_connect_failure(&source) => {
                    let address = if host.contains(':') {
                        format!("[{host}]:{port}")
                    } else {
                        format!("{host}:{port}")
                    };
                    return Err(Error::Unreachable {
                        target: target.id.clone(),
                        address: format!("{address} from {}", target.id),
                        source,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a channel for a command once there is a place for it. The place is free again when the permit is dropped.
    async fn open_channel<'s>(
        &self,
        target: &Target,
        session: &'s Arc<Session>,
    ) -> Result<(tokio::sync::SemaphorePermit<'s>, Channel<Msg>), Error> {
        let closed = || Error::Closed {
            target: target.id.clone(),
            started: false,
            source: session.lost(),
        };
        let place = session.places.acquire().await.map_err(|_| closed())?;
        let open = session.handle().channel_open_session();
        Ok((
            place,
            self.opened(target, session, "a channel for a command", open).await?,
        ))
    }

    async fn opened(
        &self,
        target: &Target,
        session: &Arc<Session>,
        what: &str,
        open: impl Future<Output = Result<Channel<Msg>, russh::Error>>,
    ) -> Result<Channel<Msg>, Error> {
        let patience = self.inner.options.connect_timeout;
        match tokio::time::timeout(patience, open).await {
            Ok(Ok(channel)) => {
                self.inner.channels.fetch_add(1, Ordering::Relaxed);
                Ok(channel)
            }
            Ok(Err(error @ russh::Error::ChannelOpenFailure(_))) => Err(Error::Declined {
                target: target.id.clone(),
                what: what.to_owned(),
                source: Some(Arc::new(error)),
            }),
            Ok(Err(error)) => Err(Error::Closed {
                target: target.id.clone(),
                started: false,
                source: Some(session.lost().unwrap_or_else(|| Arc::new(error))),
            }),
            Err(_) => Err(Error::Timeout {
                target: target.id.clone(),
                doing: "opening a channel",
                after: patience,
                source: None,
            }),
        }
    }
}

fn is_connect_failure(source: &crate::error::Source) -> bool {
    matches!(
        source.downcast_ref::<russh::Error>(),
        Some(russh::Error::ChannelOpenFailure(ChannelOpenFailure::ConnectFailed))
    )
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("options", &self.inner.options)
            .field("statistics", &self.statistics())
            .finish_non_exhaustive()
    }
}
