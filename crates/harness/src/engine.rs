//! The container engine, asked directly: what is really there, whatever our own programs say.
//!
//! A few requests of the Docker Engine API over its socket, in HTTP/1.0 so that answers end with the connection. Independent of the
//! provider that is being tested, and of which command-line client is installed.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::problem::{Outcome, Problem};

/// Label that every resource of a cluster carries.
const CLUSTER: &str = "org.clusterbook.cluster";
/// Label with the resource's name in its cluster.
const RESOURCE: &str = "org.clusterbook.resource";

/// The engine at a socket.
#[derive(Clone, Debug)]
pub(crate) struct Engine {
    socket: PathBuf,
}

/// A cluster's resources as the engine lists them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Containers, by the node's name.
    pub(crate) nodes: Vec<Container>,
    /// Names of volumes.
    pub(crate) disks: Vec<String>,
    /// Names of networks.
    pub(crate) networks: Vec<String>,
}

/// A node's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub(crate) node: String,
    pub(crate) id: String,
    pub(crate) running: bool,
}

/// What a container's details say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Details {
    pub(crate) started: String,
    pub(crate) addresses: Vec<String>,
}

impl Listing {
    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.is_empty() && self.disks.is_empty() && self.networks.is_empty()
    }

    /// Names of the nodes, in order.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.nodes.iter().map(|node| node.node.as_str()).collect()
    }
}

impl Engine {
    /// The engine that the programs would find too.
    pub(crate) fn find() -> Outcome<Self> {
        let given = ["CLUSTERBOOK_ENGINE", "DOCKER_HOST"]
            .iter()
            .find_map(|name| std::env::var(name).ok());
        let candidates = match given {
            Some(socket) => vec![PathBuf::from(socket.trim_start_matches("unix://"))],
            None => vec![
                PathBuf::from("/run/podman/podman.sock"),
                PathBuf::from("/var/run/docker.sock"),
            ],
        };
        match candidates.iter().find(|path| path.exists()) {
            Some(socket) => Ok(Self { socket: socket.clone() }),
            None => Err(Problem::new(format!(
                "no container engine answers at {}; start its service, or name its socket in CLUSTERBOOK_ENGINE",
                candidates
                    .iter()
                    .map(|path| path.display().to_string())
                    .collect::<Vec<_>>()
                    .join(" or ")
            ))),
        }
    }

    /// Everything that carries the cluster's label.
    pub(crate) async fn listing(&self, cluster: &str) -> Outcome<Listing> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct RawContainer {
            id: String,
            state: String,
            #[serde(default)]
            labels: std::collections::BTreeMap<String, String>,
        }
        let label = percent(&format!("{{\"label\":[\"{CLUSTER}={cluster}\"]}}"));
        let containers: Vec<RawContainer> =
            serde_json::from_value(self.get(&format!("/containers/json?all=true&filters={label}")).await?)?;
        let mut nodes: Vec<Container> = containers
            .into_iter()
            .map(|raw| Container {
                node: raw.labels.get(RESOURCE).cloned().unwrap_or_default(),
                id: raw.id,
                running: raw.state == "running",
            })
            .collect();
        nodes.sort_by(|one, other| one.node.cmp(&other.node));
        let volumes = self.get(&format!("/volumes?filters={label}")).await?;
        let networks = self.get(&format!("/networks?filters={label}")).await?;
        Ok(Listing {
            nodes,
            disks: names(&volumes["Volumes"]),
            networks: names(&networks),
        })
    }

    /// When a container was started, and its addresses.
    pub(crate) async fn details(&self, container: &Container) -> Outcome<Details> {
        let found = self.get(&format!("/containers/{}/json", container.id)).await?;
        let networks = found["NetworkSettings"]["Networks"]
            .as_object()
            .cloned()
            .unwrap_or_default();
        Ok(Details {
            started: found["State"]["StartedAt"].as_str().unwrap_or_default().to_owned(),
            addresses: networks
                .values()
                .filter_map(|network| network["IPAddress"].as_str().map(str::to_owned))
                .collect(),
        })
    }

    /// Ends a container's processes at once, as a power cut would.
    pub(crate) async fn kill(&self, container: &Container) -> Outcome {
        self.request("POST", &format!("/containers/{}/kill", container.id))
            .await
            .map(drop)
    }

    /// Removes whatever is left of a cluster, without asking anybody.
    pub(crate) async fn sweep(&self, cluster: &str) -> Outcome {
        let left = self.listing(cluster).await?;
        for container in &left.nodes {
            self.request("DELETE", &format!("/containers/{}?force=true", container.id))
                .await?;
        }
        for disk in &left.disks {
            self.request("DELETE", &format!("/volumes/{disk}?force=true")).await?;
        }
        for network in &left.networks {
            self.request("DELETE", &format!("/networks/{network}")).await?;
        }
        Ok(())
    }

    async fn get(&self, path: &str) -> Outcome<Value> {
        let body = self.request("GET", path).await?;
        Ok(serde_json::from_str(&body)?)
    }

    async fn request(&self, method: &str, path: &str) -> Outcome<String> {
        let mut stream = UnixStream::connect(&self.socket).await?;
        let request = format!("{method} /v1.41{path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split_whitespace().nth(1).unwrap_or("none");
        if status.starts_with('2') {
            Ok(body.to_owned())
        } else {
            Err(Problem::new(format!(
                "{method} {path}: the engine answers {status}: {}",
                body.trim()
            )))
        }
    }
}

fn names(list: &Value) -> Vec<String> {
    let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = list
        .iter()
        .filter_map(|each| each["Name"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    names
}

fn percent(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
