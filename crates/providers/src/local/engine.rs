//! The container engine behind the socket: which one it is, what it may do here, and what its errors mean.

use std::path::{Path, PathBuf};

use bollard::models::{ResourcesUlimits, SystemInfo, SystemInfoCgroupVersionEnum};
use bollard::{API_DEFAULT_VERSION, ClientVersion, Docker};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;

use crate::{ErrorKind, ProviderError};

/// Seconds after which a call that gave no answer counts as timed out.
const TIMEOUT: u64 = 60;
/// The same for calls that copy whole images.
const LONG_TIMEOUT: u64 = 900;
/// Number of `CAP_SYS_RESOURCE`, see capabilities(7).
const CAP_SYS_RESOURCE: u64 = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Product {
    Docker,
    Podman,
}

/// An engine that answers, and the facts about it that matter.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) docker: Docker,
    /// The same with patience for calls that copy whole images.
    pub(super) patient: Docker,
    pub(super) product: Product,
    pub(super) version: String,
    pub(super) socket: PathBuf,
    machine: OnceCell<Machine>,
    /// Limits to ask for, where the engine can't set its own defaults.
    pub(super) ulimits: Option<Vec<ResourcesUlimits>>,
}

/// What the engine says about the machine that it runs on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    /// Only version 2 of control groups: what a recent systemd expects.
    pub(super) cgroup2: bool,
    pub(super) cpus: u32,
    pub(super) limits_cpu: bool,
    pub(super) limits_memory: bool,
}

impl Engine {
    /// The first engine that answers at one of the sockets.
    pub(super) async fn connect(sockets: &[PathBuf]) -> Result<Self, ProviderError> {
        let mut tried = Vec::new();
        let mut kind = ErrorKind::Invalid;
        for socket in sockets {
            match UnixStream::connect(socket).await {
                Ok(stream) => return Self::ask(socket, stream).await,
                Err(error) => {
                    let why = match error.kind() {
                        std::io::ErrorKind::NotFound => "no such socket".to_owned(),
                        std::io::ErrorKind::PermissionDenied => {
                            kind = ErrorKind::Denied;
                            "permission denied".to_owned()
                        }
                        std::io::ErrorKind::ConnectionRefused => {
                            if kind == ErrorKind::Invalid {
                                kind = ErrorKind::Unavailable;
                            }
                            "nothing listens".to_owned()
                        }
                        _ => error.to_string(),
                    };
                    tried.push(format!("{} ({why})", socket.display()));
                }
            }
        }
        let hint = match kind {
            ErrorKind::Denied => {
                "add yourself to the engine's group (`sudo usermod -aG docker $USER`, then log in again) or run as root"
            }
            _ => {
                "start Docker (`sudo systemctl start docker`) or Podman (`sudo systemctl start podman.socket`), \
                 or name the engine's socket in CLUSTERBOOK_ENGINE"
            }
        };
        let tried = if tried.is_empty() {
            "no socket was named".to_owned()
        } else {
            format!("tried {}", tried.join(", "))
        };
        Err(ProviderError::new(kind, "engine", format!("no container engine answers: {tried}")).with_hint(hint))
    }

    async fn ask(socket: &Path, mut stream: UnixStream) -> Result<Self, ProviderError> {
        let failed = |error: bollard::errors::Error| explain(error, "engine");
        let Greeting { product, version, api } = greet(&mut stream).await?;
        let docker = Docker::connect_with_unix(&socket.to_string_lossy(), TIMEOUT, &api).map_err(failed)?;
        let peer = stream.peer_cred().ok();
        let pid = peer.and_then(|peer| peer.pid());
        let engine = Self {
            patient: docker
                .clone()
                .with_timeout(std::time::Duration::from_secs(LONG_TIMEOUT)),
            docker,
            product,
            version,
            socket: socket.to_owned(),
            machine: OnceCell::new(),
            ulimits: pid.and_then(|pid| ulimits(Path::new("/proc"), pid)),
        };
        match product {
            // Podman runs a program of the system's package manager for every question about itself, which takes longer than
            // listing a cluster. Whether it is rootless shows in whose process answers.
            Product::Podman => refuse(peer.is_some_and(|peer| peer.uid() != 0), false, product)?,
            Product::Docker => {
                engine.machine().await?;
            }
        }
        Ok(engine)
    }

    /// What it says about its machine; asked once.
    pub(super) async fn machine(&self) -> Result<&Machine, ProviderError> {
        self.machine
            .get_or_try_init(|| async {
                let info = self.docker.info().await.map_err(|error| explain(error, "engine"))?;
                let rootless = info
                    .security_options
                    .iter()
                    .flatten()
                    .any(|option| option.contains("rootless"));
                let desktop = info
                    .operating_system
                    .as_ref()
                    .is_some_and(|system| system.contains("Docker Desktop"));
                refuse(rootless, desktop, self.product)?;
                Ok(Machine {
                    cgroup2: cgroup2(&info),
                    cpus: info.ncpu.and_then(|cpus| u32::try_from(cpus).ok()).unwrap_or(1).max(1),
                    limits_cpu: info.cpu_cfs_quota.unwrap_or(true),
                    limits_memory: info.memory_limit.unwrap_or(true),
                })
            })
            .await
    }

    /// For people: which engine this is.
    pub(super) fn describe(&self) -> String {
        let product = match self.product {
            Product::Docker => "Docker",
            Product::Podman => "Podman",
        };
        let mut text = format!("{product} {} at {}", self.version, self.socket.display());
        if let Some(machine) = self.machine.get() {
            text.push_str(&format!(
                ", control groups version {}",
                if machine.cgroup2 { 2 } else { 1 }
            ));
        }
        if let Some(limits) = &self.ulimits {
            let limits: Vec<String> = limits
                .iter()
                .filter_map(|limit| Some(format!("{} {}", limit.name.as_ref()?, limit.hard?)))
                .collect();
            text.push_str(&format!(
                "; the engine may not raise limits, so containers get its own: {}",
                limits.join(", ")
            ));
        }
        text
    }
}

/// What the headers of an engine's answer to a ping tell.
#[derive(Debug, PartialEq)]
struct Greeting {
    product: Product,
    version: String,
    /// The newest of its interfaces that we speak too.
    api: ClientVersion,
}

async fn greet(stream: &mut UnixStream) -> Result<Greeting, ProviderError> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let silent = |error: std::io::Error| {
        ProviderError::new(
            ErrorKind::Unavailable,
            "engine",
            format!("the container engine's socket gives no answer: {error}"),
        )
    };
    let mut answer = Vec::new();
    let talk = async {
        stream
            .write_all(b"GET /_ping HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n")
            .await?;
        stream.take(64 * 1024).read_to_end(&mut answer).await
    };
    match tokio::time::timeout(std::time::Duration::from_secs(TIMEOUT), talk).await {
        Ok(result) => result.map_err(silent)?,
        Err(_) => return Err(silent(std::io::ErrorKind::TimedOut.into())),
    };
    Ok(greeting(&String::from_utf8_lossy(&answer)))
}

fn greeting(answer: &str) -> Greeting {
    let header = |wanted: &str| {
        answer.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
        })
    };
    let api = header("Api-Version")
        .and_then(|text| {
            let (major, minor) = text.split_once('.')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .map_or(*API_DEFAULT_VERSION, |theirs| {
            let ours = (API_DEFAULT_VERSION.major_version, API_DEFAULT_VERSION.minor_version);
            let (major_version, minor_version) = ours.min(theirs);
            ClientVersion {
                major_version,
                minor_version,
            }
        });
    let (product, version) = match header("Libpod-API-Version") {
        Some(version) => (Product::Podman, version),
        // `Server: Docker/28.2.2 (linux)`
        None => {
            let server = header("Server").unwrap_or_default();
            let version = server.split(['/', ' ']).nth(1).unwrap_or_default();
            (Product::Docker, version.to_owned())
        }
    };
    Greeting { product, version, api }
}

/// Engines whose containers we couldn't reach.
fn refuse(rootless: bool, desktop: bool, product: Product) -> Result<(), ProviderError> {
    let why = if rootless {
        "it runs rootless, and this machine can't reach addresses on a rootless engine's networks"
    } else if desktop {
        "it runs inside Docker Desktop's virtual machine, whose networks this machine can't reach"
    } else {
        return Ok(());
    };
    let hint = match product {
        Product::Podman => "start the system's Podman: `sudo systemctl start podman.socket`",
        Product::Docker => "start the system's Docker: `sudo systemctl start docker`",
    };
    Err(ProviderError::new(
        ErrorKind::Unsupported,
        "engine",
        format!("this container engine can't serve: {why}"),
    )
    .with_hint(hint))
}

fn cgroup2(info: &SystemInfo) -> bool {
    match info.cgroup_version {
        Some(SystemInfoCgroupVersionEnum::_2) => true,
        Some(SystemInfoCgroupVersionEnum::_1) => false,
        _ => fs_err::metadata("/sys/fs/cgroup/cgroup.controllers").is_ok(),
    }
}

/// An engine without `CAP_SYS_RESOURCE` can't raise a hard limit, and the defaults of containers are higher than what it has
/// itself. Only then do we ask for limits: exactly the engine's own.
fn ulimits(proc: &Path, pid: i32) -> Option<Vec<ResourcesUlimits>> {
    let folder = proc.join(pid.to_string());
    let status = fs_err::read_to_string(folder.join("status")).ok()?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|word| u64::from_str_radix(word.trim(), 16).ok())?;
    if effective & (1 << CAP_SYS_RESOURCE) != 0 {
        return None;
    }
    let limits = fs_err::read_to_string(folder.join("limits")).ok()?;
    let hard = |name: &str| -> Option<i64> {
        let line = limits.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let limit = |name: &str, value: i64| ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    };
    let wanted = [
        hard("Max open files").map(|value| limit("nofile", value)),
        hard("Max processes").map(|value| limit("nproc", value)),
    ];
    Some(wanted.into_iter().flatten().collect())
}

/// What an engine's answer means to us. Podman answers 500 to nearly everything, so its words have to be read.
pub(super) fn explain(error: bollard::errors::Error, resource: &str) -> ProviderError {
    use bollard::errors::Error;
    let (kind, message) = match error {
        Error::DockerResponseServerError { status_code, message } => (classify(status_code, &message), message),
        // Told in the middle of an answer that began well, so without a status.
        Error::DockerStreamError { error } => (classify(500, &error), error),
        Error::RequestTimeoutError => (
            ErrorKind::TimedOut,
            "the container engine gave no answer in time".to_owned(),
        ),
        Error::HyperLegacyError { err } if err.is_connect() => (
            ErrorKind::Unavailable,
            format!("the container engine can't be reached: {err}"),
        ),
        Error::HyperLegacyError { .. } | Error::HyperResponseError { .. } | Error::IOError { .. } => (
            ErrorKind::TimedOut,
            format!("the connection to the container engine was lost: {error}"),
        ),
        Error::JsonDataError { .. } | Error::JsonSerdeError { .. } => (
            ErrorKind::Unavailable,
            format!("the container engine's answer makes no sense: {error}"),
        ),
        Error::SocketNotFoundError(path) => (
            ErrorKind::Unavailable,
            format!("the container engine's socket {path} is gone"),
        ),
        other => (ErrorKind::Unavailable, other.to_string()),
    };
    let hint = if message.contains("rlimit") {
        "the engine can't set the limits that containers ask for: it runs without CAP_SYS_RESOURCE"
    } else if message.contains("no space left") {
        "free space where the engine keeps its images"
    } else {
        ""
    };
    ProviderError::new(kind, resource, message).with_hint(hint)
}

fn classify(status: u16, message: &str) -> ErrorKind {
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "already used on the host",
        "overlaps with other one",
        "subnet overlaps",
        "is already used by",
    ]) {
        return ErrorKind::Invalid;
    }
    if says(&[
        "being used",
        "active endpoints",
        "volume is in use",
        "already allocated",
        "Address already in use",
        "container state improper",
        "removal of container",
    ]) {
        return ErrorKind::Conflict;
    }
    if says(&["already in use", "already used", "already exists"]) {
        return ErrorKind::AlreadyExists;
    }
    if says(&["rlimit", "no space left"]) {
        return ErrorKind::Quota;
    }
    match status {
        404 => ErrorKind::NotFound,
        409 => ErrorKind::Conflict,
        429 => ErrorKind::Throttled { retry_after: None },
        401 | 403 => ErrorKind::Denied,
        400 | 406 => ErrorKind::Invalid,
        _ if says(&["no such", "not found", "image not known"]) => ErrorKind::NotFound,
        _ => ErrorKind::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_asked_for_only_where_the_engine_cannot_raise_them() {
        let proc = tempfile::tempdir().unwrap();
        let write = |pid: &str, capabilities: &str| {
            let folder = proc.path().join(pid);
            fs_err::create_dir(&folder).unwrap();
            fs_err::write(
                folder.join("status"),
                format!("Name:\tengine\nCapEff:\t{capabilities}\n"),
            )
            .unwrap();
            fs_err::write(
                folder.join("limits"),
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             32768                32768                processes \n\
                 Max open files            1024                 20000                files     \n",
            )
            .unwrap();
        };
        write("1", "000001ffffffffff");
        write("2", "000001fffeffffff");
        assert_eq!(ulimits(proc.path(), 1), None);
        let limits = ulimits(proc.path(), 2).unwrap();
        let hard: Vec<_> = limits
            .iter()
            .map(|limit| (limit.name.as_deref().unwrap(), limit.hard.unwrap()))
            .collect();
        assert_eq!(hard, [("nofile", 20000), ("nproc", 32768)]);
        assert_eq!(ulimits(proc.path(), 3), None);
    }

    #[test]
    fn what_engines_say_is_understood() {
        for (status, message, kind) in [
            (
                500,
                "\"cb-demo-network\" has associated containers with it. Use -f to forcibly delete containers and pods: network is being used",
                ErrorKind::Conflict,
            ),
            (
                409,
                "volume cb-demo-home is being used by the following container(s): d1: volume is being used",
                ErrorKind::Conflict,
            ),
            (
                500,
                "subnet 10.77.0.0/24 is already used on the host or by another config",
                ErrorKind::Invalid,
            ),
            (
                403,
                "Pool overlaps with other one on this address space",
                ErrorKind::Invalid,
            ),
            (
                403,
                "error while removing network: network cb-demo-network has active endpoints",
                ErrorKind::Conflict,
            ),
            (
                500,
                "container create: creating container storage: the container name \"cb-demo-c1\" is already in use by 1",
                ErrorKind::AlreadyExists,
            ),
            (
                409,
                "Conflict. The container name \"/cb-demo-c1\" is already in use by container \"1\"",
                ErrorKind::AlreadyExists,
            ),
            (404, "no such container", ErrorKind::NotFound),
            (
                500,
                "runc: error setting rlimit type 6: operation not permitted",
                ErrorKind::Quota,
            ),
            (500, "something new", ErrorKind::Unavailable),
        ] {
            assert_eq!(classify(status, message), kind, "{message}");
        }
    }

    #[tokio::test]
    async fn a_missing_engine_is_named_with_what_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("docker.sock");
        let error = Engine::connect(std::slice::from_ref(&socket)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.message.contains(&*socket.to_string_lossy()), "{error}");
        assert!(error.hint.contains("systemctl start"), "{}", error.hint);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        let error = Engine::connect(&[socket]).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unavailable);
        assert!(error.message.contains("nothing listens"), "{error}");
    }

    #[test]
    fn a_rootless_engine_is_refused_with_the_reason() {
        let error = refuse(true, false, Product::Podman).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unsupported);
        assert!(error.message.contains("rootless"), "{error}");
        assert!(
            refuse(false, true, Product::Docker).is_err(),
            "Docker Desktop's networks are out of reach"
        );
        assert!(refuse(false, false, Product::Docker).is_ok());
    }

    #[test]
    fn the_greeting_tells_which_engine_it_is() {
        let podman = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 4.3.1\r\nServer: Libpod/4.3.1 (linux)\r\n\r\nOK";
        let found = greeting(podman);
        assert_eq!((found.product, found.version.as_str()), (Product::Podman, "4.3.1"));
        assert_eq!((found.api.major_version, found.api.minor_version), (1, 41));
        let docker = "HTTP/1.1 200 OK\r\nServer: Docker/28.2.2 (linux)\r\n\r\nOK";
        let found = greeting(docker);
        assert_eq!((found.product, found.version.as_str()), (Product::Docker, "28.2.2"));
        assert_eq!(
            found.api, *API_DEFAULT_VERSION,
            "an engine that doesn't say gets what we know"
        );
    }
}
