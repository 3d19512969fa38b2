//! Starting a kernel's process and reaching its sockets.
//!
//! Unix sockets where the kernel is known to take them: they appear in a folder that only we can enter, and the system
//! tells us when. Other kernels get TCP on the loopback, where asking again is the only way to learn that they listen.

use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use super::kept::LOG;
use super::process::{MARKER, Process};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::json::{Json, Object, Style};
use crate::kernelspec::KernelSpec;

/// Longest Unix socket path that the system takes.
const LONGEST_SOCKET_PATH: usize = 107;

/// The keys of the ports in a connection file, in the order of the channels.
const PORTS: [&str; 5] = ["shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"];

/// How the kernel's sockets are reached.
#[derive(Debug, Clone)]
pub(super) enum Endpoints {
    /// `PREFIX-PORT` is a socket's path.
    Ipc { prefix: PathBuf },
    /// Ports on the loopback.
    Tcp { ports: [u16; 5] },
}

/// The five channels, in the order of the connection file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Channel {
    Shell,
    Iopub,
    Control = 3,
}

impl Endpoints {
    /// Unix sockets for kernels built on ipykernel, if the folder's path is short enough.
    pub(super) fn choose(spec: &KernelSpec, folder: &Path) -> std::io::Result<Self> {
        let prefix = folder.join("k");
        let known = spec
            .argv
            .iter()
            .any(|word| word.contains("ipykernel") || word.contains("bash_kernel"));
        if known && prefix.as_os_str().len() + 2 <= LONGEST_SOCKET_PATH {
            return Ok(Self::Ipc { prefix });
        }
        let mut listeners = Vec::new();
        for _ in 0..5 {
            listeners.push(std::net::TcpListener::bind(("127.0.0.1", 0))?);
        }
        let mut ports = [0; 5];
        for (port, listener) in ports.iter_mut().zip(&listeners) {
            *port = listener.local_addr()?.port();
        }
        Ok(Self::Tcp { ports })
    }

    pub(super) fn address(&self, channel: Channel) -> String {
        match self {
            Self::Ipc { prefix } => format!("ipc://{}-{}", prefix.display(), channel as usize + 1),
            Self::Tcp { ports } => format!("tcp://127.0.0.1:{}", ports[channel as usize]),
        }
    }

    /// What a connection file says, and its key.
    pub(super) fn read_file(path: &Path) -> std::io::Result<(Self, String)> {
        let odd = || std::io::Error::other("this is not a connection file of ours");
        let content = crate::json::parse(&fs_err::read_to_string(path)?).map_err(|_| odd())?;
        let key = content.text("key").ok_or_else(odd)?.into_owned();
        let ip = content.text("ip").ok_or_else(odd)?.into_owned();
        if content.text("transport").as_deref() == Some("ipc") {
            return Ok((Self::Ipc { prefix: ip.into() }, key));
        }
        let mut ports = [0; 5];
        for (port, name) in ports.iter_mut().zip(PORTS) {
            let number = content.get(name).and_then(Json::as_i64).ok_or_else(odd)?;
            *port = u16::try_from(number).map_err(|_| odd())?;
        }
        Ok((Self::Tcp { ports }, key))
    }

    /// Writes the connection file, for its owner only.
    pub(super) fn write_file(&self, path: &Path, key: &str, kernel: &str) -> std::io::Result<()> {
        let (transport, ip, ports) = match self {
            Self::Ipc { prefix } => ("ipc", prefix.display().to_string(), [1, 2, 3, 4, 5]),
            Self::Tcp { ports } => ("tcp", "127.0.0.1".to_owned(), *ports),
        };
        let mut content = Object::new().with("transport", transport).with("ip", ip);
        for (name, port) in PORTS.iter().zip(ports) {
            content.set(name, i64::from(port));
        }
        content.set("key", key);
        content.set("signature_scheme", "hmac-sha256");
        content.set("kernel_name", kernel);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        std::io::Write::write_all(&mut file, Style::notebook().write(&Json::from(content)).as_bytes())
    }

    /// Resolves when every channel that we use accepts connections.
    pub(super) async fn ready(&self, folder: &Path) -> std::io::Result<()> {
        match self {
            Self::Ipc { prefix } => {
                let watch = Watch::new(folder)?;
                for channel in [Channel::Shell, Channel::Iopub, Channel::Control] {
                    let path = PathBuf::from(format!("{}-{}", prefix.display(), channel as usize + 1));
                    while !path.exists() {
                        watch.changed().await?;
                    }
                    // Between its binding and its listening lie microseconds.
                    while tokio::net::UnixStream::connect(&path).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
            }
            Self::Tcp { ports } => {
                for channel in [Channel::Shell, Channel::Iopub, Channel::Control] {
                    let port = ports[channel as usize];
                    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells when something appears in a folder.
struct Watch(AsyncFd<rustix::fd::OwnedFd>);

impl Watch {
    fn new(folder: &Path) -> std::io::Result<Self> {
        let descriptor = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        inotify::add_watch(
            &descriptor,
            folder,
            inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
        )?;
        Ok(Self(super::readiness::watched(descriptor)?))
    }

    async fn changed(&self) -> std::io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); 2048];
        let mut reader = inotify::Reader::new(self.0.get_ref(), &mut buffer);
        while reader.next().is_ok() {}
        ready.clear_ready();
        Ok(())
    }
}

/// Starts the process that `spec` describes.
pub(super) fn start(
    spec: &KernelSpec,
    connection_file: &Path,
    options: &super::StartOptions,
    environment: &Environment,
) -> Result<Process> {
    let mut words = spec.argv.iter().map(|word| {
        word.replace("{connection_file}", &connection_file.display().to_string())
            .replace("{resource_dir}", &spec.folder.display().to_string())
    });
    let program = words.next().unwrap_or_default();
    let program = match program.as_str() {
        "python" | "python3" => own_python(spec, environment).unwrap_or(program),
        _ => program,
    };
    let mut command = Command::new(&program);
    command.args(words).current_dir(&options.folder).env_clear();
    command.envs(environment.variables.iter().map(|(key, value)| (key, value)));
    for (key, value) in &spec.env {
        command.env(key, expand(value, environment));
    }
    command.envs(options.variables.iter().map(|(key, value)| (key, value)));
    command.env(MARKER, &options.run);
    // Lets a kernel notice our end where the parent-death signal does not reach (a kernel started through a wrapper).
    // One that may be kept must not notice.
    let log = options
        .keep
        .as_ref()
        .and_then(|_| connection_file.parent())
        .map(|folder| folder.join(LOG));
    if log.is_none() {
        command.env("JPY_PARENT_PID", std::process::id().to_string());
    }
    // The debugger warns about frozen modules on standard error of every kernel otherwise.
    command.env("PYDEVD_DISABLE_FILE_VALIDATION", "1");
    Process::start(command, log.as_deref()).map_err(|error| {
        Error::configuration(format!(
            "the kernel `{}` cannot be started: `{program}` does not run",
            spec.name
        ))
        .at(&spec.folder.join("kernel.json"))
        .help(format!(
            "check that {program} exists, that it can be executed, and the kernel's working folder"
        ))
        .because(error)
    })
}

/// A bare `python` in a kernel's command means the interpreter that the kernel was installed with.
fn own_python(spec: &KernelSpec, environment: &Environment) -> Option<String> {
    // PREFIX/share/jupyter/kernels/NAME
    let beside = spec.folder.ancestors().nth(4).map(|prefix| prefix.join("bin/python"));
    let python = beside
        .filter(|python| python.exists())
        .or_else(|| environment.python.clone())?;
    Some(python.display().to_string())
}

/// `${NAME}` in a kernel's variables stands for ours, as Jupyter has it.
fn expand(value: &str, environment: &Environment) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        match rest[at + 2..].split_once('}') {
            Some((name, after)) => {
                out.push_str(environment.variable(name).unwrap_or(""));
                rest = after;
            }
            None => {
                out.push_str(&rest[at..]);
                rest = "";
            }
        }
    }
    out + rest
}
