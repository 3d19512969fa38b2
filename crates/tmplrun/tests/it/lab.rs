//! A folder to work in, notebooks made on the spot, and the program with a clean environment.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) struct Lab {
    folder: tempfile::TempDir,
}

pub(crate) fn python() -> PathBuf {
    let named = std::env::var_os("TMPLRUN_TEST_PYTHON").map(PathBuf::from);
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let python = named.unwrap_or(own);
    assert!(
        python.exists(),
        "these tests need a Python with ipykernel: make one with `python3 -m venv .venv && .venv/bin/pip install \
         ipykernel`, or set TMPLRUN_TEST_PYTHON ({} does not exist)",
        python.display()
    );
    python
}

/// Looks until nothing is wrong any more. What happens here takes moments; the patience is for a machine that is busy.
#[track_caller]
pub(crate) fn until(mut wrong: impl FnMut() -> Option<String>) {
    let begun = Instant::now();
    while let Some(wrong) = wrong() {
        assert!(begun.elapsed() < Duration::from_secs(120), "{wrong}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn code(source: &str) -> Value {
    tagged(source, &[])
}

pub(crate) fn tagged(source: &str, tags: &[&str]) -> Value {
    let id = uuid::Uuid::new_v4().simple().to_string();
    json!({"cell_type": "code", "execution_count": null, "id": &id[..8], "metadata": {"tags": tags}, "outputs": [],
        "source": source})
}

pub(crate) fn text(source: &str) -> Value {
    let id = uuid::Uuid::new_v4().simple().to_string();
    json!({"cell_type": "markdown", "id": &id[..8], "metadata": {}, "source": source})
}

pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "standard error:\n{}\nstandard output:\n{}",
            self.stderr,
            self.stdout
        );
        self
    }

    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "{text:?} is not in:\n{}", self.stderr);
        self
    }
}

impl From<Output> for Run {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Lab {
    pub(crate) fn new() -> Self {
        let lab = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for folder in ["t", "home"] {
            std::fs::create_dir(lab.path(folder)).unwrap();
        }
        lab
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn notebook(&self, name: &str, cells: &[Value]) -> PathBuf {
        let notebook = json!({"cells": cells, "metadata": {"kernelspec": {"display_name": "Python 3",
            "language": "python", "name": "python3"}}, "nbformat": 4, "nbformat_minor": 5});
        self.write(name, serde_json::to_string_pretty(&notebook).unwrap())
    }

    pub(crate) fn read(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.path(name)).unwrap()).unwrap()
    }

    pub(crate) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tmplrun"));
        let bin = python().parent().unwrap().to_path_buf();
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", bin.display()))
            .env("HOME", self.path("home"))
            .env("TMPDIR", self.path("t"))
            .env("LANG", "C.UTF-8")
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        self.command(arguments).output().unwrap().into()
    }

    /// The same with a terminal as standard output.
    pub(crate) fn run_on_a_terminal(&self, arguments: &[&str]) -> Run {
        let (_ours, theirs) = terminal();
        let mut command = self.command(arguments);
        command.stdout(theirs).stderr(Stdio::piped());
        command.spawn().unwrap().wait_with_output().unwrap().into()
    }

    /// The same with a terminal as standard error: what was written to it is all in [`Run::stderr`].
    pub(crate) fn run_with_errors_on_a_terminal(&self, arguments: &[&str]) -> Run {
        use std::io::Read as _;

        let (ours, theirs) = terminal();
        let mut command = self.command(arguments);
        command.env("TERM", "xterm").stdout(Stdio::null()).stderr(theirs);
        let mut child = command.spawn().unwrap();
        // The last end of theirs is the child's.
        drop(command);
        let mut seen = Vec::new();
        let mut piece = [0; 4096];
        let mut ours = std::fs::File::from(ours);
        // When the other end has gone, a terminal fails instead of ending.
        while let Ok(count @ 1..) = ours.read(&mut piece) {
            seen.extend_from_slice(&piece[..count]);
        }
        Run {
            code: child.wait().unwrap().code(),
            stdout: String::new(),
            stderr: String::from_utf8(seen).unwrap(),
        }
    }

    /// The same with text on a pipe as standard input.
    pub(crate) fn run_with_input(&self, arguments: &[&str], input: &[u8]) -> Run {
        use std::io::Write as _;

        let mut command = self.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A program that does not read its input is no fault of the pipe.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until a file that a notebook writes is there, and reads it.
    pub(crate) fn await_file(&self, name: &str) -> String {
        self.await_text(name, "")
    }

    /// Waits until a file that is written meanwhile holds this, and reads it.
    pub(crate) fn await_text(&self, name: &str, holds: &str) -> String {
        let mut text = String::new();
        until(|| {
            text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            (text.is_empty() || !text.contains(holds)).then(|| format!("{name} doesn't come to hold {holds:?}: {text}"))
        });
        text
    }

    /// The processes that were started from here, whoever their parent is now.
    pub(crate) fn processes(&self) -> Vec<String> {
        let home = format!("HOME={}", self.path("home").display());
        std::fs::read_dir("/proc")
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && alive(pid))
            .filter(|pid| {
                std::fs::read(format!("/proc/{pid}/environ"))
                    .is_ok_and(|block| block.split(|byte| *byte == 0).any(|entry| entry == home.as_bytes()))
            })
            .collect()
    }

    /// Waits until nothing that was started from here lives, and no file or socket of the runner is left.
    pub(crate) fn await_nothing(&self) {
        until(|| {
            let processes = self.processes();
            let files: Vec<_> = std::fs::read_dir(self.path("t"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            let folder = self.path("t").display().to_string();
            let sockets = std::fs::read_to_string("/proc/net/unix").unwrap().contains(&folder);
            (!processes.is_empty() || !files.is_empty() || sockets)
                .then(|| format!("left behind: processes {processes:?}, files {files:?}, sockets: {sockets}"))
        });
    }

    /// The runner's private folders are gone.
    pub(crate) fn assert_clean(&self) {
        let left: Vec<_> = std::fs::read_dir(self.path("t"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .filter(|name| name.to_string_lossy().starts_with("tmplrun-"))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

/// How wide a test's terminal is.
pub(crate) const COLUMNS: u16 = 100;

/// Both ends of a terminal.
fn terminal() -> (rustix::fd::OwnedFd, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let size = Winsize {
        ws_row: 30,
        ws_col: COLUMNS,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&ours, size).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap().into_string().unwrap();
    let theirs = std::fs::OpenOptions::new().read(true).write(true).open(name).unwrap();
    (ours, theirs)
}

/// The stream text of a cell.
pub(crate) fn stream(notebook: &Value, cell: usize) -> String {
    notebook["cells"][cell]["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|output| output["output_type"] == "stream")
        .flat_map(|output| {
            output["text"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line.as_str().unwrap().to_owned())
        })
        .collect()
}

pub(crate) fn signal(pid: u32, signal: &str) {
    let done = Command::new("/bin/kill")
        .args([&format!("-{signal}"), "--", &pid.to_string()])
        .status();
    assert!(done.unwrap().success());
}

/// Whether a process lives; one that nobody has waited for yet does not.
pub(crate) fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| {
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim_start().starts_with('Z'))
    })
}
