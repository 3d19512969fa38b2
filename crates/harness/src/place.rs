//! A scenario's place: a home, a state folder and a working folder that nothing else uses, and the programs run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::engine::Engine;
use crate::problem::{Outcome, Problem, ensure};
use crate::program::{Ran, Running};

/// Variables of the caller that the programs get too: where programs are, how the network is reached, which engine serves.
const PASSED: [&str; 10] = [
    "CLUSTERBOOK_ENGINE",
    "DOCKER_HOST",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "USER",
];

/// Every place of this run that still holds something.
static PLACES: Mutex<Vec<Arc<Place>>> = Mutex::new(Vec::new());
static KEEP: AtomicBool = AtomicBool::new(false);

/// A place.
#[derive(Debug)]
pub(crate) struct Place {
    root: TempDir,
    /// The cluster's name, which no other place has.
    cluster: String,
    environment: Mutex<BTreeMap<String, String>>,
}

/// The folder of this repository.
pub(crate) fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// Where the programs are: beside this one, or where `CLUSTERBOOK_BIN_DIR` says.
pub(crate) fn programs() -> PathBuf {
    match std::env::var_os("CLUSTERBOOK_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()
            .ok()
            .and_then(|path| path.parent().map(Path::to_path_buf))
            .unwrap_or_else(|| repository().join("target/debug")),
    }
}

/// The Python environment that holds the `clusterbook` package and a kernel.
fn python() -> PathBuf {
    std::env::var_os("CLUSTERBOOK_VENV").map_or_else(|| repository().join(".venv"), PathBuf::from)
}

/// Says what is missing before the first scenario fails for want of it.
pub(crate) fn check_programs() -> Outcome {
    for name in ["tmplrun", "clusterbook"] {
        let path = programs().join(name);
        ensure(path.is_file(), || {
            format!(
                "{} is missing: run `cargo build --workspace`, or name the folder in CLUSTERBOOK_BIN_DIR",
                path.display()
            )
        })?;
    }
    let path = python().join("bin/python");
    ensure(path.exists(), || {
        format!(
            "{} is missing: make the environment, or name another in CLUSTERBOOK_VENV",
            path.display()
        )
    })
}

/// Whether failed scenarios' places stay.
pub(crate) fn keep_failed(keep: bool) {
    KEEP.store(keep, Ordering::Relaxed);
}

pub(crate) fn keeps_failed() -> bool {
    KEEP.load(Ordering::Relaxed)
}

/// Removes what every place still holds; returns what could not be removed.
pub(crate) async fn remove_all() -> Vec<String> {
    let places = std::mem::take(&mut *PLACES.lock().unwrap_or_else(PoisonError::into_inner));
    let mut left = Vec::new();
    for place in places {
        if let Err(problem) = place.empty().await {
            left.push(format!("{}: {problem}", place.cluster));
        }
        // The shared place is never dropped, and it holds secrets.
        let _ = fs_err::remove_dir_all(place.root());
    }
    left
}

impl Place {
    /// A new place, with the notebooks in its working folder, laid out as in the repository.
    pub(crate) fn new() -> Outcome<Arc<Self>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        // Short, because sockets lie below it and their paths may have about a hundred bytes.
        let root = tempfile::Builder::new().prefix("cbf-").tempdir()?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let cluster = format!("feat-{:x}-{number}", std::process::id());
        for folder in ["home", "state", "notebooks/hpc", "out", "run"] {
            fs_err::create_dir_all(root.path().join(folder))?;
        }
        // Where the notebooks that are written in Rust look for the engine.
        std::os::unix::fs::symlink(repository().join("crates"), root.path().join("crates"))?;
        let source = repository().join("notebooks/hpc");
        for entry in fs_err::read_dir(&source)? {
            let entry = entry?;
            let name = entry.file_name();
            let wanted = Path::new(&name)
                .extension()
                .is_some_and(|extension| extension == "ipynb" || extension == "yaml");
            if wanted && entry.file_type()?.is_file() && !name.to_string_lossy().ends_with(".cluster.yaml") {
                fs_err::copy(entry.path(), root.path().join("notebooks/hpc").join(name))?;
            }
        }
        let variable = |name: &str| std::env::var(name).ok();
        let mut environment: BTreeMap<String, String> = PASSED
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), variable(name)?)))
            .collect();
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let path = format!(
            "{}:{}:{}",
            text(python().join("bin")),
            text(programs()),
            variable("PATH").unwrap_or_else(|| "/usr/bin:/bin".to_owned())
        );
        // Images take long to build and belong to the engine, whose builders take their locks in the cache: it is shared on purpose.
        let shared = |name: &str, below: &str| {
            variable(name)
                .unwrap_or_else(|| format!("{}/{below}", variable("HOME").unwrap_or_else(|| "/tmp".to_owned())))
        };
        let cache = shared("XDG_CACHE_HOME", ".cache");
        for (name, value) in [
            ("PATH", path),
            ("VIRTUAL_ENV", text(python())),
            ("HOME", text(root.path().join("home"))),
            ("CLUSTERBOOK_HOME", text(root.path().join("state"))),
            ("EVCXR_TMPDIR", format!("{cache}/clusterbook/rust-cells")),
            ("XDG_CACHE_HOME", cache),
            // So do the compiler and the crates that a notebook in Rust needs, and what it has compiled.
            ("CARGO_HOME", shared("CARGO_HOME", ".cargo")),
            ("RUSTUP_HOME", shared("RUSTUP_HOME", ".rustup")),
            ("XDG_RUNTIME_DIR", text(root.path().join("run"))),
            ("LANG", "C.UTF-8".to_owned()),
            ("TZ", "UTC".to_owned()),
        ] {
            environment.insert(name.to_owned(), value);
        }
        let place = Arc::new(Self {
            root,
            cluster,
            environment: Mutex::new(environment),
        });
        PLACES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(place.clone());
        Ok(place)
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.cluster
    }

    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// Where the programs work, and where the design file is.
    pub(crate) fn work(&self) -> PathBuf {
        self.root.path().join("notebooks/hpc")
    }

    /// Where executed notebooks, reports and events go.
    pub(crate) fn out(&self) -> PathBuf {
        self.root.path().join("out")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("state")
    }

    pub(crate) fn design_path(&self) -> PathBuf {
        self.work().join(format!("{}.cluster.yaml", self.cluster))
    }

    /// Replaces what features write for the things that only a run knows.
    pub(crate) fn fill(&self, text: &str) -> String {
        text.replace("{cluster}", &self.cluster)
            .replace("{place}", &self.root.path().to_string_lossy())
    }

    /// Sets a variable for every program from now on.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.environment
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.to_owned(), value.to_owned());
    }

    /// Starts a program, in the working folder, in this place's environment and no other.
    pub(crate) fn start(&self, program: &str, arguments: &[String]) -> Outcome<Running> {
        let line = format!("{program} {}", arguments.join(" "));
        let path = match program {
            "tmplrun" | "clusterbook" | "clusterbook-world" => programs().join(program),
            "python" => python().join("bin/python"),
            other => PathBuf::from(other),
        };
        let mut command = Command::new(path);
        command
            .args(arguments)
            .current_dir(self.work())
            .env_clear()
            .envs(self.environment.lock().unwrap_or_else(PoisonError::into_inner).iter());
        Running::start(line, command)
    }

    /// Runs a program to its end.
    pub(crate) async fn run(&self, program: &str, arguments: &[String]) -> Outcome<Ran> {
        self.start(program, arguments)?.finish().await
    }

    /// Runs `clusterbook` to its end.
    pub(crate) async fn clusterbook(&self, arguments: &[&str]) -> Outcome<Ran> {
        let arguments: Vec<String> = arguments.iter().map(|argument| self.fill(argument)).collect();
        self.run("clusterbook", &arguments).await
    }

    /// Runs a shell command on nodes through `clusterbook run`; what each node printed, by node.
    ///
    /// A command that fails on a node fails the step.
    pub(crate) async fn on_nodes(&self, nodes: &str, command: &str) -> Outcome<BTreeMap<String, String>> {
        let ran = self
            .clusterbook(&["run", "{cluster}", "--on", nodes, "--json", "--", command])
            .await?;
        ran.succeeded()?;
        let mut printed = BTreeMap::new();
        for result in ran.json()?["results"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let node = result["node"].as_str().unwrap_or_default().to_owned();
            printed.insert(node, result["stdout"].as_str().unwrap_or_default().to_owned());
        }
        ensure(!printed.is_empty(), || {
            format!("`{}` gave no results\n{}", ran.line, ran.tail())
        })?;
        Ok(printed)
    }

    /// The same on the master alone.
    pub(crate) async fn on_master(&self, command: &str) -> Outcome<String> {
        let printed = self.on_nodes("master", command).await?;
        printed
            .into_values()
            .next()
            .ok_or_else(|| Problem::new("the master printed nothing"))
    }

    /// The design as it is saved, checked by nobody.
    pub(crate) fn design(&self) -> Outcome<Value> {
        let text = fs_err::read_to_string(self.design_path())?;
        Ok(serde_saphyr::from_str(&text)?)
    }

    /// Processes of this place that still run, by id and command: those whose environment names its folder.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let root = self.root.path().to_string_lossy().into_owned();
        let Ok(entries) = fs_err::read_dir("/proc") else {
            return Vec::new();
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else {
                continue;
            };
            let read = |name: &str| fs_err::read(entry.path().join(name)).unwrap_or_default();
            if String::from_utf8_lossy(&read("environ")).contains(&root) {
                let command = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
                // One that has ended and wasn't waited for yet has no command any more.
                if !command.is_empty() {
                    found.push((pid, command.trim().to_owned()));
                }
            }
        }
        found
    }

    /// Removes the cluster, by our own means first and then by force; fails if our own means left anything.
    pub(crate) async fn empty(&self) -> Outcome {
        let Ok(engine) = Engine::find() else { return Ok(()) };
        if engine.listing(&self.cluster).await?.is_empty() {
            return Ok(());
        }
        let mut ran = self.clusterbook(&["destroy", "{cluster}", "--yes"]).await?;
        if ran.code != Some(0) {
            // Something of the scenario may still have held the cluster; it is gone by now.
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            ran = self.clusterbook(&["destroy", "{cluster}", "--yes"]).await?;
        }
        let left = engine.listing(&self.cluster).await?;
        if left.is_empty() {
            return Ok(());
        }
        engine.sweep(&self.cluster).await?;
        Err(Problem::new(format!(
            "`clusterbook destroy` left {left:?}\n{}",
            ran.tail()
        )))
    }

    /// Forgets a place that is empty.
    pub(crate) fn forget(&self) {
        PLACES
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|place| place.cluster != self.cluster);
    }
}
