//! How a world is served to other processes: one JSON object a line, one answer a line, over a Unix socket of the owner's.
//!
//! This is the only place where a [`Secret`] becomes plain text: the birth keys of nodes that don't exist.

use std::collections::BTreeMap;
use std::io::{BufRead as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clusterbook_model::{Flavor, Recipe, Secret, Size, Subnet};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use super::{Calls, FaultPlan, NodeWrite, World, WriteOutcome};
use crate::{Ack, Birth, Capabilities, ErrorKind, Inventory, Mark, NodeSpec, ProviderError, Request, Scope};

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Call {
    Hello,
    Inventory(Scope),
    Truth(Scope),
    Submit(Vec<PlainRequest>),
    NodeRead {
        cluster_id: String,
        node: String,
        keys: Vec<String>,
    },
    NodeWrite {
        cluster_id: String,
        node: String,
        apply: u64,
        writes: Vec<NodeWrite>,
    },
    FailNode {
        cluster_id: String,
        node: String,
        why: String,
    },
    SetFaults(FaultPlan),
    Calls,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Hello(Capabilities),
    Inventory(Result<Inventory, ProviderError>),
    Submit(Vec<Result<Ack, ProviderError>>),
    NodeRead(Result<BTreeMap<String, String>, ProviderError>),
    NodeWrite(Result<Vec<WriteOutcome>, ProviderError>),
    FailNode(bool),
    Calls(Calls),
    Done,
    Refused(String),
}

impl Reply {
    pub(super) fn unexpected(&self) -> ProviderError {
        let message = match self {
            Self::Refused(why) => format!("the world refused the call: {why}"),
            _ => "the world answered another question than it was asked".to_owned(),
        };
        ProviderError::new(ErrorKind::Bug, "world", message)
    }
}

/// A [`Request`] whose secrets are plain text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum PlainRequest {
    BuildImage(Recipe),
    CreateNetwork { mark: Mark, subnet: Subnet },
    CreateDisk { mark: Mark, size: Size },
    CreateNode(Box<PlainNode>),
    PowerOn(Mark),
    PowerOff(Mark),
    DeleteNode(Mark),
    DeleteDisk(Mark),
    DeleteNetwork(Mark),
}

impl std::fmt::Debug for PlainRequest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("PlainRequest")
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct PlainNode {
    mark: Mark,
    flavor: Flavor,
    image: String,
    address: IpAddr,
    disks: BTreeMap<String, String>,
    host_key: String,
    host_key_public: String,
    authorized_key: String,
}

impl From<&Request> for PlainRequest {
    fn from(request: &Request) -> Self {
        match request.clone() {
            Request::BuildImage(recipe) => Self::BuildImage(recipe),
            Request::CreateNetwork { mark, subnet } => Self::CreateNetwork { mark, subnet },
            Request::CreateDisk { mark, size } => Self::CreateDisk { mark, size },
            Request::CreateNode(spec) => {
                let spec = *spec;
                Self::CreateNode(Box::new(PlainNode {
                    mark: spec.mark,
                    flavor: spec.flavor,
                    image: spec.image,
                    address: spec.address,
                    disks: spec.disks,
                    host_key: spec.birth.host_key.reveal().to_owned(),
                    host_key_public: spec.birth.host_key_public,
                    authorized_key: spec.birth.authorized_key,
                }))
            }
            Request::PowerOn(mark) => Self::PowerOn(mark),
            Request::PowerOff(mark) => Self::PowerOff(mark),
            Request::DeleteNode(mark) => Self::DeleteNode(mark),
            Request::DeleteDisk(mark) => Self::DeleteDisk(mark),
            Request::DeleteNetwork(mark) => Self::DeleteNetwork(mark),
        }
    }
}

impl From<PlainRequest> for Request {
    fn from(request: PlainRequest) -> Self {
        match request {
            PlainRequest::BuildImage(recipe) => Self::BuildImage(recipe),
            PlainRequest::CreateNetwork { mark, subnet } => Self::CreateNetwork { mark, subnet },
            PlainRequest::CreateDisk { mark, size } => Self::CreateDisk { mark, size },
            PlainRequest::CreateNode(node) => Self::CreateNode(Box::new(NodeSpec {
                mark: node.mark,
                flavor: node.flavor,
                image: node.image,
                address: node.address,
                disks: node.disks,
                birth: Birth {
                    host_key: Secret::new(node.host_key),
                    host_key_public: node.host_key_public,
                    authorized_key: node.authorized_key,
                },
            })),
            PlainRequest::PowerOn(mark) => Self::PowerOn(mark),
            PlainRequest::PowerOff(mark) => Self::PowerOff(mark),
            PlainRequest::DeleteNode(mark) => Self::DeleteNode(mark),
            PlainRequest::DeleteDisk(mark) => Self::DeleteDisk(mark),
            PlainRequest::DeleteNetwork(mark) => Self::DeleteNetwork(mark),
        }
    }
}

/// Serves a world at a Unix socket (made with mode 0600) until cancelled. A socket that a dead server left is replaced; one
/// where somebody still listens is an error.
pub async fn serve(world: Arc<World>, socket: &Path, cancel: CancellationToken) -> std::io::Result<()> {
    if UnixStream::connect(socket).await.is_ok() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AddrInUse,
            format!("a world is served at {} already", socket.display()),
        ));
    }
    // Bound under another name and moved into place, so that nobody can connect before the mode is set.
    let mut fresh = socket.as_os_str().to_owned();
    fresh.push(format!(".{}", std::process::id()));
    let fresh = PathBuf::from(fresh);
    let _ = fs_err::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    fs_err::set_permissions(&fresh, std::fs::Permissions::from_mode(0o600))?;
    fs_err::rename(&fresh, socket)?;
    loop {
        let stream = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted?.0,
        };
        let world = world.clone();
        let cancel = cancel.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                // A client that goes away is no fault of the world's.
                _ = talk(&world, stream) => {}
            }
        });
    }
    fs_err::remove_file(socket)
}

async fn talk(world: &World, stream: UnixStream) -> std::io::Result<()> {
    let mut stream = BufStream::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let latency = world.latency();
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let reply = match serde_json::from_str(&line) {
            Ok(call) => {
                if let Call::NodeWrite { writes, .. } = &call {
                    world.let_through(writes).await;
                }
                answer(world, call)
            }
            Err(error) => Reply::Refused(error.to_string()),
        };
        let mut text = serde_json::to_vec(&reply)?;
        text.push(b'\n');
        stream.write_all(&text).await?;
        stream.flush().await?;
    }
}

fn answer(world: &World, call: Call) -> Reply {
    match call {
        Call::Hello => Reply::Hello(world.capabilities()),
        Call::Inventory(scope) => Reply::Inventory(world.inventory(&scope)),
        Call::Truth(scope) => Reply::Inventory(Ok(world.truth(&scope))),
        Call::Submit(requests) => {
            let requests: Vec<Request> = requests.into_iter().map(Into::into).collect();
            Reply::Submit(world.submit(&requests))
        }
        Call::NodeRead { cluster_id, node, keys } => Reply::NodeRead(world.node_read(&cluster_id, &node, &keys)),
        Call::NodeWrite {
            cluster_id,
            node,
            apply,
            writes,
        } => Reply::NodeWrite(world.node_write(&cluster_id, &node, apply, &writes)),
        Call::FailNode { cluster_id, node, why } => Reply::FailNode(world.fail_node(&cluster_id, &node, &why)),
        Call::SetFaults(plan) => {
            world.set_faults(plan);
            Reply::Done
        }
        Call::Calls => Reply::Calls(world.calls()),
    }
}

/// The other end.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    idle: Mutex<Vec<BufStream<UnixStream>>>,
}

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
            idle: Mutex::new(Vec::new()),
        }
    }

    fn unreachable(&self, source: &std::io::Error) -> ProviderError {
        ProviderError::new(
            ErrorKind::Unavailable,
            "world",
            format!("no world answers at {}: {source}", self.socket.display()),
        )
        .with_hint("start one with `clusterbook-world --socket PATH`")
    }

    /// Blocking, because opening a provider isn't asynchronous; the answer comes from a process on this machine.
    pub(super) fn hello(&self) -> Result<Capabilities, ProviderError> {
        let ask = || -> std::io::Result<String> {
            let mut stream = std::os::unix::net::UnixStream::connect(&self.socket)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"\"hello\"\n")?;
            let mut line = String::new();
            std::io::BufReader::new(stream).read_line(&mut line)?;
            Ok(line)
        };
        let line = ask().map_err(|error| self.unreachable(&error))?;
        match serde_json::from_str(&line) {
            Ok(Reply::Hello(capabilities)) => Ok(capabilities),
            Ok(other) => Err(other.unexpected()),
            Err(error) => Err(ProviderError::new(
                ErrorKind::Bug,
                "world",
                format!("the answer makes no sense: {error}"),
            )),
        }
    }

    pub(super) async fn call(&self, call: &Call) -> Result<Reply, ProviderError> {
        let bug = |error: serde_json::Error| {
            ProviderError::new(ErrorKind::Bug, "world", format!("a message makes no sense: {error}"))
        };
        let mut text = serde_json::to_vec(call).map_err(bug)?;
        text.push(b'\n');
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => BufStream::new(
                UnixStream::connect(&self.socket)
                    .await
                    .map_err(|error| self.unreachable(&error))?,
            ),
        };
        let mut line = String::new();
        let exchange = async {
            stream.write_all(&text).await?;
            stream.flush().await?;
            stream.read_line(&mut line).await
        };
        match exchange.await {
            Ok(length) if length > 0 => {}
            // Whether the call had arrived can't be known, as with any lost connection.
            _ => {
                return Err(ProviderError::new(
                    ErrorKind::TimedOut,
                    "world",
                    "the connection to the world was lost",
                ));
            }
        }
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
        serde_json::from_str(&line).map_err(bug)
    }
}
