//! A folder, a state and a world for one test.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Longest that any command of a test may take, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that a test's commands see.
pub(crate) struct Place {
    folder: TempDir,
    world: Option<Child>,
}

/// How a command went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Place {
    /// Without a world.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir(folder.path().join("place")).unwrap();
        Self { folder, world: None }
    }

    /// With a world in which everything works at once.
    pub(crate) fn with_world() -> Self {
        Self::with_faults("{}")
    }

    /// With a world and its faults, as JSON.
    pub(crate) fn with_faults(plan: &str) -> Self {
        let mut place = Self::new();
        let socket = place.socket();
        let world = Command::new(world_program())
            .args(["--plan", plan, "--socket"])
            .arg(&socket)
            .env_clear()
            .spawn()
            .unwrap();
        place.world = Some(world);
        wait_for("the world", || socket.exists());
        place
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("world.sock")
    }

    /// Where the commands run.
    pub(crate) fn work(&self) -> PathBuf {
        self.folder.path().join("place")
    }

    /// The state folder.
    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes a file into the working folder.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.work().join(name);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }

    /// A small design of the in-memory world, with more lines after it.
    pub(crate) fn design(&self, name: &str, more: &str) {
        let text = format!("schema: 1\nname: {name}\nprovider: memory\nnetwork: {{ subnet: 10.7.0.0/24 }}\n{more}");
        self.write(&format!("{name}.cluster.yaml"), &text);
    }

    /// The program's path and environment, ready to be started.
    pub(crate) fn process(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clusterbook"));
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .env("USER", "tester")
            .env("CLUSTERBOOK_HOME", self.home())
            .env("CLUSTERBOOK_WORLD", self.socket())
            .env("CLUSTERBOOK_ENGINE", "/nonexistent/engine.sock")
            .current_dir(self.work())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, &[])
    }

    /// The same, with more in its environment.
    pub(crate) fn run_with(&self, arguments: &[&str], environment: &[(&str, &Path)]) -> Ran {
        let mut command = self.process(arguments);
        command.envs(environment.iter().copied());
        let output = assert_cmd::Command::from_std(command)
            .timeout(PATIENCE)
            .output()
            .unwrap();
        Ran::of(output)
    }

    /// Runs the program, which must succeed.
    pub(crate) fn good(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {ran:?}");
        ran
    }

    /// Runs the program with `--json` and reads its document, whatever the exit status.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[&["--json"], arguments].concat());
        let document: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"));
        assert_eq!(document["schema"], 1);
        assert_eq!(document["command"], arguments[0]);
        document
    }

    /// The changes that a plan for the cluster holds for somebody with another state folder: every resource is still to be
    /// made only if the world holds nothing of that name.
    pub(crate) fn nothing_exists(&self, name: &str) {
        let elsewhere = self.folder.path().join("elsewhere");
        let ran = self.run_with(&["plan", name, "--json"], &[("CLUSTERBOOK_HOME", &elsewhere)]);
        let plan: Value = serde_json::from_str(&ran.stdout).unwrap();
        let ids: Vec<&str> = plan["changes"]
            .as_array()
            .unwrap_or_else(|| panic!("{ran:?}"))
            .iter()
            .map(|change| change["id"].as_str().unwrap())
            .collect();
        assert!(
            ids.contains(&"create network") && ids.contains(&"create node master"),
            "{ids:?}"
        );
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(world) = &mut self.world {
            let _ = world.kill();
            let _ = world.wait();
        }
    }
}

impl Ran {
    pub(crate) fn of(output: std::process::Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// It ended with this status, and told each of these things to the person.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, told: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains("Error: "), "{self:?}");
        for text in told {
            assert!(self.stderr.contains(text), "{text:?} is missing in {}", self.stderr);
        }
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} didn't come");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The program that serves a world. It belongs to another package, so Cargo doesn't build it for these tests by itself:
/// `cargo build --workspace --bins` before `cargo test --workspace` does, which is what the test script calls. Where
/// somebody tests this package alone and it isn't there yet, it is built here.
fn world_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let beside = Path::new(env!("CARGO_BIN_EXE_clusterbook")).with_file_name("clusterbook-world");
        if !beside.exists() {
            let build = [
                "build",
                "--quiet",
                "-p",
                "clusterbook-providers",
                "--bin",
                "clusterbook-world",
            ];
            let built = Command::new(env!("CARGO"))
                .args(build)
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status()
                .unwrap();
            assert!(
                built.success() && beside.exists(),
                "clusterbook-world can't be built at {}",
                beside.display()
            );
        }
        beside
    })
}
