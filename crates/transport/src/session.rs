//! One SSH session: who the machine is, who we are, and when it ends.
//!
//! A session is made for speed of set-up, because a cluster of sixteen nodes is reached all at once from a laptop:
//! one elliptic-curve key exchange, no compression, AES-GCM (which processors have instructions for) first. The
//! hybrid post-quantum exchange is left out: it costs more time and traffic, and what travels here is of no use to somebody
//! who breaks it in twenty years, except for keys that live as long as their cluster.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use russh::client::{self, AuthResult, DisconnectReason, Handle};
use russh::keys::{Algorithm, EcdsaCurve, HashAlg, PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{AlgorithmKind, Preferred, SshId, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use crate::error::{Error, Source};
use crate::key::{Fingerprint, Identity};
use crate::target::{HostKey, Target};

/// Best first. Both ends have the first of these since about 2014; the last serves machines in FIPS mode.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];
const CIPHERS: &[cipher::Name] = &[
    cipher::AES_128_GCM,
    cipher::AES_256_GCM,
    cipher::CHACHA20_POLY1305,
    cipher::AES_128_CTR,
    cipher::AES_256_CTR,
];
const MACS: &[mac::Name] = &[
    mac::HMAC_SHA256_ETM,
    mac::HMAC_SHA512_ETM,
    mac::HMAC_SHA256,
    mac::HMAC_SHA512,
];
const COMPRESSIONS: &[compression::Name] = &[compression::NONE];

/// Every type of host key that we can check, best first.
fn all_algorithms() -> Vec<Algorithm> {
    vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        },
    ]
}

fn same_family(one: &Algorithm, other: &Algorithm) -> bool {
    matches!((one, other), (Algorithm::Rsa { .. }, Algorithm::Rsa { .. })) || one == other
}

/// The types of host key to ask for, in order: those that we know a key of come first, so that a machine with
/// several keys offers the one that we can check.
pub(crate) fn algorithms_for(host_key: &HostKey) -> Vec<Algorithm> {
    let mut algorithms = all_algorithms();
    if let HostKey::Keys(keys) = host_key {
        let known: Vec<Algorithm> = keys.iter().filter_map(|key| key.algorithm()).collect();
        algorithms.sort_by_key(|algorithm| !known.iter().any(|known| same_family(known, algorithm)));
    }
    algorithms
}

/// Takes the types of host key out that were tried.
pub(crate) fn without(algorithms: &mut Vec<Algorithm>, tried: &Algorithm) {
    algorithms.retain(|algorithm| !same_family(algorithm, tried));
}

/// Why a session was not set up.
pub(crate) enum SetupError {
    /// It offered a key of this type that is not the expected one.
    Stranger { offered: Fingerprint, algorithm: Algorithm },
    /// It has no host key of any type that we asked for.
    NoSuchKey,
    /// Everything else.
    Other(Error),
}

/// An established and verified session with a machine.
pub(crate) struct Session {
    handle: Handle<Verifier>,
    /// Places for commands; a server allows only so many at once on a connection.
    pub(crate) places: Semaphore,
    lost: Arc<OnceLock<Source>>,
    /// Ends the connection when the session is dropped.
    _cut: DropGuard,
}

impl Session {
    pub(crate) fn handle(&self) -> &Handle<Verifier> {
        &self.handle
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// What ended this session, if it ended with an error.
    pub(crate) fn lost(&self) -> Option<Source> {
        self.lost.get().cloned()
    }

    /// Says goodbye, and waits for a moment that it gets out.
    pub(crate) async fn disconnect(&self) {
        let goodbye = async {
            let said = self.handle.disconnect(russh::Disconnect::ByApplication, "", "en").await;
            while said.is_ok() && !self.handle.is_closed() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(200), goodbye).await;
    }
}

/// What a session needs to know from the pool.
pub(crate) struct Setup<'a> {
    pub(crate) identity: &'a Identity,
    pub(crate) timeout: Duration,
    pub(crate) keepalive: Duration,
    pub(crate) places: usize,
}

/// Makes a session over a byte stream: key exchange, check of the host key, login.
pub(crate) async fn set_up(
    target: &Target,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    algorithms: &[Algorithm],
    setup: &Setup<'_>,
) -> Result<Session, SetupError> {
    let config = Arc::new(client::Config {
        client_id: SshId::Standard(Cow::Borrowed(concat!(
            "SSH-2.0-clusterbook_",
            env!("CARGO_PKG_VERSION")
        ))),
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            key: Cow::Owned(algorithms.to_vec()),
            cipher: Cow::Borrowed(CIPHERS),
            mac: Cow::Borrowed(MACS),
            compression: Cow::Borrowed(COMPRESSIONS),
            ..Preferred::DEFAULT
        },
        keepalive_interval: Some(setup.keepalive),
        keepalive_max: 3,
        nodelay: true,
        ..client::Config::default()
    });

    // Without the cut, a machine that accepts connections and then stays silent would keep the background task and its
    // socket for as long as it likes after we gave up.
    let cut = CancellationToken::new();
    let guard = cut.clone().drop_guard();
    let stream = Cuttable {
        stream,
        cut: Box::pin(cut.cancelled_owned()),
    };
    let lost = Arc::new(OnceLock::new());
    let verifier = Verifier {
        expected: target.host_key.clone(),
        lost: Arc::clone(&lost),
    };

    let work = async {
        let mut handle = client::connect_stream(config, stream, verifier).await?;
        let key = Arc::clone(setup.identity.key());
        let hash = if key.algorithm().is_rsa() {
            handle.best_supported_rsa_hash().await?.flatten()
        } else {
            None
        };
        let login = handle
            .authenticate_publickey(target.user.clone(), PrivateKeyWithHashAlg::new(key, hash))
            .await?;
        Ok::<_, SessionError>((handle, login))
    };
    let timeout = || Error::Timeout {
        target: target.id.clone(),
        doing: "setting up the SSH session",
        after: setup.timeout,
        source: None,
    };
    let (handle, login) = match tokio::time::timeout(setup.timeout, Box::pin(work)).await {
        Err(_) => return Err(SetupError::Other(timeout())),
        Ok(Err(SessionError::Stranger { offered, algorithm })) => {
            return Err(SetupError::Stranger { offered, algorithm });
        }
        Ok(Err(SessionError::Ssh(russh::Error::NoCommonAlgo {
            kind: AlgorithmKind::Key,
            ..
        }))) => {
            return Err(SetupError::NoSuchKey);
        }
        Ok(Err(SessionError::Ssh(error))) => {
            return Err(SetupError::Other(classify(target, lost.get().cloned(), error)));
        }
        Ok(Ok(done)) => done,
    };
    match login {
        AuthResult::Success => Ok(Session {
            handle,
            places: Semaphore::new(setup.places.max(1)),
            lost,
            _cut: guard,
        }),
        AuthResult::Failure { remaining_methods, .. } => Err(SetupError::Other(Error::LoginRefused {
            target: target.id.clone(),
            user: target.user.clone(),
            key: setup.identity.fingerprint().to_string(),
            offered_methods: remaining_methods.iter().map(String::from).collect(),
        })),
    }
}

/// Sorts a failed set-up into "nobody there" (worth another try) and "can't talk to it" (not worth one).
fn classify(target: &Target, lost: Option<Source>, error: russh::Error) -> Error {
    let protocol = matches!(
        error,
        russh::Error::Version
            | russh::Error::Kex
            | russh::Error::KexInit
            | russh::Error::UnknownAlgo
            | russh::Error::NoCommonAlgo { .. }
            | russh::Error::WrongServerSig
            | russh::Error::PacketAuth
            | russh::Error::PacketSize(_)
            | russh::Error::Inconsistent
            | russh::Error::DecryptionError
            | russh::Error::StrictKeyExchangeViolation { .. }
            | russh::Error::Signature(_)
    );
    let (target, address) = (target.id.clone(), target.address());
    let source: Source = lost.unwrap_or_else(|| Arc::new(error));
    if protocol {
        Error::Protocol {
            target,
            address,
            source,
        }
    } else {
        Error::Unreachable {
            target,
            address,
            source,
        }
    }
}

/// Failures inside the session's background task.
#[derive(Debug)]
pub(crate) enum SessionError {
    Ssh(russh::Error),
    Stranger { offered: Fingerprint, algorithm: Algorithm },
}

impl From<russh::Error> for SessionError {
    fn from(error: russh::Error) -> SessionError {
        SessionError::Ssh(error)
    }
}

/// The other side said goodbye.
#[derive(Debug, thiserror::Error)]
#[error("the machine ended the connection: {0}")]
struct Goodbye(String);

/// Compares the machine's key with the expected one, before anything about us was sent.
pub(crate) struct Verifier {
    expected: HostKey,
    lost: Arc<OnceLock<Source>>,
}

impl client::Handler for Verifier {
    type Error = SessionError;

    async fn check_server_key(&mut self, offered: &PublicKeyOrCertificate) -> Result<bool, SessionError> {
        // Certificates are never asked for; a server that sends one all the same isn't one to talk to.
        let PublicKeyOrCertificate::PublicKey { key, .. } = offered else {
            return Ok(false);
        };
        let fingerprint = Fingerprint::of(key);
        let known = match &self.expected {
            HostKey::Fingerprint(expected) => *expected == fingerprint,
            HostKey::Keys(keys) => keys.iter().any(|expected| *expected.fingerprint() == fingerprint),
        };
        if known {
            Ok(true)
        } else {
            Err(SessionError::Stranger {
                offered: fingerprint,
                algorithm: key.algorithm(),
            })
        }
    }

    async fn disconnected(&mut self, reason: DisconnectReason<SessionError>) -> Result<(), SessionError> {
        let source: Source = match reason {
            DisconnectReason::ReceivedDisconnect(info) => Arc::new(Goodbye(info.message)),
            DisconnectReason::Error(SessionError::Ssh(error)) => Arc::new(error),
            DisconnectReason::Error(SessionError::Stranger { offered, .. }) => {
                Arc::new(Goodbye(format!("it changed its host key to {offered}")))
            }
        };
        let _ = self.lost.set(source);
        Ok(())
    }
}

/// A byte stream that ends at once when its token is cancelled.
struct Cuttable<S> {
    stream: S,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Cuttable<S> {
    fn is_cut(&mut self, cx: &mut Context<'_>) -> bool {
        self.cut.as_mut().poll(cx).is_ready()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cuttable<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.is_cut(cx) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cuttable<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
