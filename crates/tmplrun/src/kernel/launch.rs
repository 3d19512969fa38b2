//! Starting a kernel's process and reaching its sockets.
//!
//! Unix sockets where the kernel is known to take them: they appear in a folder that only we can enter, and the system
//! tells us when. Other kernels get TCP on the loopback, where asking again is the only way to learn that they listen.

use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use tokio::io::unix::AsyncFd;

use super::guard::Guard;
use super::kept::LOG;
use super::process::{MARKER, Process};
use super::zmtp::{Role, Socket};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::json::{Json, Object, Style};
use crate::kernelspec::{KernelSpec, RUST_PROGRAM};

/// What starts kernels in their own interpreter.
const START: &str = include_str!("start.py");

/// The variable by which a kernel knows whose end to notice.
const PARENT: &str = "JPY_PARENT_PID";

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
    /// Unix sockets for our own kernel and those built on ipykernel, if the folder's path is short enough.
    pub(super) fn choose(spec: &KernelSpec, folder: &Path) -> std::io::Result<Self> {
        let prefix = folder.join("k");
        let known = spec
            .argv
            .iter()
            .any(|word| word.contains("ipykernel") || word.contains("bash_kernel") || word.ends_with(RUST_PROGRAM));
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

    /// Connects to every channel that we use as soon as it accepts connections.
    pub(super) async fn connect(&self, folder: &Path) -> std::io::Result<Channels> {
        let watch = match self {
            Self::Ipc { .. } => Some(Watch::new(folder)?),
            Self::Tcp { .. } => None,
        };
        // In the order in which ipykernel opens them.
        let shell = self.reach(Channel::Shell, watch.as_ref()).await?;
        let control = self.reach(Channel::Control, watch.as_ref()).await?;
        let iopub = self.reach(Channel::Iopub, watch.as_ref()).await?;
        Ok(Channels { shell, iopub, control })
    }

    async fn reach(&self, channel: Channel, watch: Option<&Watch>) -> std::io::Result<Socket> {
        let role = match channel {
            Channel::Iopub => Role::Subscriber,
            Channel::Shell | Channel::Control => Role::Dealer,
        };
        match (self, watch) {
            (Self::Ipc { prefix }, Some(watch)) => {
                let path = PathBuf::from(format!("{}-{}", prefix.display(), channel as usize + 1));
                while !path.exists() {
                    watch.changed().await?;
                }
                loop {
                    match Socket::unix(&path, role).await {
                        // Between its binding and its listening lie microseconds.
                        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                            tokio::time::sleep(Duration::from_millis(1)).await;
                        }
                        reached => return reached,
                    }
                }
            }
            (Self::Tcp { ports }, _) => loop {
                match Socket::tcp(ports[channel as usize], role).await {
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    reached => return reached,
                }
            },
            (Self::Ipc { .. }, None) => Err(std::io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// Our ends of a kernel's channels.
pub(super) struct Channels {
    pub(super) shell: Socket,
    pub(super) iopub: Socket,
    pub(super) control: Socket,
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

/// How a kernel is started when its command is the plain one of ipykernel.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Plain {
    interpreter: String,
    flags: Vec<String>,
    env: Vec<(String, String)>,
}

impl Plain {
    /// `python [-Xfrozen_modules=off] -m ipykernel_launcher -f {connection_file}`, and nothing else: any other word may
    /// mean that the kernel is to be different.
    pub(super) fn of(spec: &KernelSpec, environment: &Environment) -> Option<Self> {
        let (program, words) = spec.argv.split_first()?;
        let flags = words.strip_suffix(&["-m", "ipykernel_launcher", "-f", "{connection_file}"].map(str::to_owned))?;
        let known = |flag: &String| flag == "-Xfrozen_modules=off";
        let name = Path::new(program).file_name()?.to_str()?;
        if !name.starts_with("python") || !flags.iter().all(known) {
            return None;
        }
        let program = fill_in(program, spec, Path::new("{connection_file}"), environment);
        Some(Self {
            interpreter: interpreter(&program, spec, environment),
            flags: flags.to_vec(),
            env: spec.env.clone(),
        })
    }

    /// The command that runs our program in the interpreter.
    fn command(&self, mode: &str, debugger: bool) -> Command {
        let mut command = Command::new(&self.interpreter);
        let debug = if debugger { "debug-" } else { "" };
        command
            .args(&self.flags)
            .args(["-c", START])
            .arg(format!("{debug}{mode}"));
        command
    }
}

fn interpreter(program: &str, spec: &KernelSpec, environment: &Environment) -> String {
    let own = match program {
        "python" | "python3" => own_python(spec, environment),
        _ if program.starts_with("python3.") && !program.contains('/') => own_python(spec, environment)
            .map(|python| Path::new(&python).with_file_name(program))
            .filter(|python| python.exists())
            .map(|python| python.display().to_string()),
        _ => None,
    };
    own.unwrap_or_else(|| program.to_owned())
}

/// The arguments after the launcher's name.
pub(super) fn arguments(connection_file: &Path) -> Vec<String> {
    vec!["-f".to_owned(), connection_file.display().to_string()]
}

/// The variables that one kernel has and others do not.
pub(super) fn own_variables(options: &super::StartOptions) -> impl Iterator<Item = (&str, &str)> {
    options
        .variables
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .chain([(MARKER, options.run.as_str())])
}

fn common_variables(command: &mut Command, spec_env: &[(String, String)], environment: &Environment) {
    command.env_clear();
    command.envs(environment.variables.iter().map(|(key, value)| (key, value)));
    for (key, value) in spec_env {
        command.env(key, expand(value, environment));
    }
    // Lets a kernel notice our end where the parent-death signal does not reach (a kernel started through a wrapper).
    command.env(PARENT, std::process::id().to_string());
    // The debugger warns about frozen modules on standard error of every kernel otherwise.
    command.env("PYDEVD_DISABLE_FILE_VALIDATION", "1");
}

/// Starts the process that `spec` describes.
pub(super) fn start(
    spec: &KernelSpec,
    connection_file: &Path,
    options: &super::StartOptions,
    environment: &Environment,
    guard: &Arc<Guard>,
) -> Result<Process> {
    let mut command = match Plain::of(spec, environment) {
        Some(plain) => {
            let mut command = plain.command("one", options.debugger);
            command.args(arguments(connection_file));
            command
        }
        None => {
            let mut words = spec
                .argv
                .iter()
                .map(|word| fill_in(word, spec, connection_file, environment));
            let program = words.next().unwrap_or_default();
            let mut command = Command::new(interpreter(&program, spec, environment));
            command.args(words);
            command
        }
    };
    command.current_dir(&options.folder);
    common_variables(&mut command, &spec.env, environment);
    command.envs(own_variables(options));
    let program = command.get_program().to_string_lossy().into_owned();
    let log = options.keep.as_ref().and(connection_file.parent());
    let started = match log.map(|folder| folder.join(LOG)) {
        Some(log) => {
            // It must not notice our end.
            command.env_remove(PARENT);
            Process::start_to_be_kept(command, &log)
        }
        None => Process::start(command, guard, None),
    };
    started.map_err(|error| {
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

/// Starts the interpreter that forks kernels; `channel` is its end of the conversation.
pub(super) fn start_server(
    plain: &Plain,
    debugger: bool,
    channel: OwnedFd,
    environment: &Environment,
    guard: &Arc<Guard>,
) -> std::io::Result<Process> {
    use std::os::fd::AsRawFd as _;
    let mut command = plain.command("many", debugger);
    command.arg(channel.as_raw_fd().to_string()).current_dir("/");
    common_variables(&mut command, &plain.env, environment);
    Process::start(command, guard, Some(channel))
}

/// A word of a kernel's command: Jupyter's names in braces stand for paths, and other braces for themselves.
fn fill_in(word: &str, spec: &KernelSpec, connection_file: &Path, environment: &Environment) -> String {
    let mut out = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let name = rest[1..].split_once('}').map(|(name, _)| name);
        let path = match name {
            Some("connection_file") => Some(connection_file.display().to_string()),
            Some("resource_dir") => Some(spec.folder.display().to_string()),
            // What holds the interpreter.
            Some("prefix") => own_python(spec, environment)
                .and_then(|python| Some(Path::new(&python).parent()?.parent()?.display().to_string())),
            _ => None,
        };
        match (name, path) {
            (Some(name), Some(path)) => {
                out.push_str(&path);
                rest = &rest[name.len() + 2..];
            }
            _ => {
                out.push('{');
                rest = &rest[1..];
            }
        }
    }
    out + rest
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

/// `${NAME}` and `$NAME` in a kernel's variables stand for ours and `$$` for `$`, by the rules of Python's
/// `string.Template.safe_substitute`, as Jupyter has it: what we don't have stays as it is written.
fn expand(value: &str, environment: &Environment) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
            continue;
        }
        let braced = rest.starts_with('{');
        let word = &rest[usize::from(braced)..];
        let end = word
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .unwrap_or(word.len());
        let (name, after) = word.split_at(end);
        let begins_well = !name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit());
        let after = if braced { after.strip_prefix('}') } else { Some(after) };
        match (environment.variable(name), after) {
            (Some(value), Some(after)) if begins_well => {
                out.push_str(value);
                rest = after;
            }
            _ => out.push('$'),
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{expand, fill_in};
    use crate::environment::Environment;
    use crate::kernelspec::KernelSpec;

    fn environment() -> Environment {
        Environment {
            jupyter_paths: Vec::new(),
            variables: vec![
                ("HOME".to_owned(), "/h".to_owned()),
                ("_x1".to_owned(), "$HOME".to_owned()),
            ],
            python: Some(PathBuf::from("/v/bin/python")),
            programs: Vec::new(),
            temporary: PathBuf::from("/t"),
            kept: PathBuf::from("/k"),
            current: PathBuf::from("/c"),
        }
    }

    #[test]
    fn variables_are_filled_in_as_by_pythons_templates() {
        // What string.Template(text).safe_substitute({"HOME": "/h", "_x1": "$HOME"}) gives.
        for (text, filled) in [
            ("${HOME}/lib:$HOME/bin", "/h/lib:/h/bin"),
            ("$_x1 ${_x1}y $_x1y", "$HOME $HOMEy $_x1y"),
            ("$$HOME $${HOME} $$", "$HOME ${HOME} $"),
            ("${GONE}:$GONE", "${GONE}:$GONE"),
            ("${HOME $ $1 ${} ${1} é$é", "${HOME $ $1 ${} ${1} é$é"),
            ("$", "$"),
        ] {
            assert_eq!(expand(text, &environment()), filled, "{text}");
        }
    }

    #[test]
    fn names_in_braces_are_filled_in_once() {
        let mut spec = KernelSpec::only_named("k", "l");
        spec.folder = PathBuf::from("/s/{prefix}");
        let fill = |word: &str| fill_in(word, &spec, Path::new("/c.json"), &environment());
        assert_eq!(fill("{prefix}/bin/k"), "/v/bin/k");
        assert_eq!(fill("--at={resource_dir}/x"), "--at=/s/{prefix}/x");
        assert_eq!(fill("{connection_file}{connection_file}"), "/c.json/c.json");
        assert_eq!(fill("{other} {{prefix}} { {"), "{other} {/v} { {");
    }
}
