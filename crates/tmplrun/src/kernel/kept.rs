//! Kernels that go on after the program: where they live, what is known about them, how they end.
//!
//! Each has a folder of its own in one that is the user's alone: its connection file, its sockets, what it wrote outside
//! the protocol, and `kernel.json`, which says whose it is. The folder is there from the kernel's start, so that also one
//! whose runner was killed is found.

use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::process::Process;
use super::table::started_at;
use crate::error::{Error, Result};
use crate::json::{self, Json, Object, Style};

/// The connection file's name.
pub(super) const CONNECTION: &str = "connection.json";
/// The file for what a kernel writes outside the protocol.
pub(super) const LOG: &str = "kernel.log";
const ABOUT: &str = "kernel.json";
const SCHEMA: i64 = 1;

/// A kernel that was kept.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Kept {
    /// The kernel's name.
    pub kernel: String,
    /// The notebook that it ran.
    pub notebook: PathBuf,
    /// Where the executed notebook is.
    pub output: Option<PathBuf>,
    /// The run's id.
    pub run: String,
    /// When the notebook's run began, as the executed notebook has it.
    #[serde(skip)]
    pub began: String,
    /// Since when it is kept, in UTC.
    pub since: String,
    /// The file that tells clients how to reach it.
    pub connection_file: PathBuf,
    /// Its process.
    pub pid: i32,
    /// When that started, in clock ticks after boot; with `pid`, its identity.
    pub started: u64,
    /// Whether it is interrupted by a message; by a signal otherwise.
    #[serde(skip)]
    pub interrupt_by_message: bool,
    /// What its processes carry in their environment.
    #[serde(skip)]
    pub marker: String,
    /// What a run needs to go on in it; `Null` if nobody can.
    #[serde(skip)]
    pub state: Json,
}

impl Kept {
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let text = |path: &Path| path.display().to_string();
        let content = Object::new()
            .with("schema", SCHEMA)
            .with("kernel", self.kernel.as_str())
            .with("notebook", text(&self.notebook))
            .with("output", self.output.as_deref().map(text))
            .with("run", self.run.as_str())
            .with("began", self.began.as_str())
            .with("since", self.since.as_str())
            .with("pid", i64::from(self.pid))
            .with("started", Json::Number(self.started.to_string()))
            .with("interrupt_by_message", self.interrupt_by_message)
            .with("marker", self.marker.as_str())
            .with("state", self.state.clone());
        let path = folder.join(ABOUT);
        let write = || -> std::io::Result<()> {
            // Replaced at once, and never readable by others: the folder lets nobody else in.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            std::io::Write::write_all(&mut file, Style::notebook().write(&Json::from(content)).as_bytes())?;
            file.persist(&path).map(drop).map_err(|error| error.error)
        };
        write().map_err(|error| {
            Error::configuration("what is needed to find the kernel again cannot be written")
                .at(&path)
                .because(error)
        })
    }

    /// Reads what a kernel's folder says; `None` if there is nothing that can be read.
    fn read(folder: &Path) -> Option<Self> {
        let content = json::parse(&fs_err::read_to_string(folder.join(ABOUT)).ok()?)
            .ok()?
            .restyled();
        if content.get("schema")?.as_i64() != Some(SCHEMA) {
            return None;
        }
        let text = |key: &str| content.text(key).map(|text| text.into_owned());
        Some(Self {
            kernel: text("kernel")?,
            notebook: text("notebook")?.into(),
            output: text("output").map(PathBuf::from),
            run: text("run")?,
            began: text("began").unwrap_or_default(),
            since: text("since")?,
            connection_file: folder.join(CONNECTION),
            pid: i32::try_from(content.get("pid")?.as_i64()?).ok()?,
            started: u64::try_from(content.get("started")?.as_i64()?).ok()?,
            interrupt_by_message: content.get("interrupt_by_message") == Some(&Json::Bool(true)),
            marker: text("marker")?,
            state: content.get("state")?.clone(),
        })
    }

    /// Its private folder.
    pub(crate) fn folder(&self) -> &Path {
        self.connection_file.parent().unwrap_or(Path::new("/nonexistent"))
    }

    /// Whether its process lives.
    #[must_use]
    pub fn lives(&self) -> bool {
        started_at(self.pid) == Some(self.started)
    }
}

/// The kept kernels that live, the oldest first. What dead ones left is removed.
#[must_use]
pub fn list(base: &Path) -> Vec<Kept> {
    let mut found = Vec::new();
    // A folder of somebody else's making may say anything; looking makes none.
    if is_own(base).is_err() {
        return found;
    }
    for entry in fs_err::read_dir(base).into_iter().flatten().flatten() {
        match Kept::read(&entry.path()) {
            Some(kept) if kept.lives() => found.push(kept),
            Some(_) => {
                let _ = fs_err::remove_dir_all(entry.path());
            }
            // One that is just being started.
            None => {}
        }
    }
    found.sort_by(|one, other| one.since.cmp(&other.since));
    found
}

/// Ends a kept kernel and everything in its session.
pub async fn end(kept: &Kept) {
    let folder = kept.folder();
    if let Some(process) = Process::attach(kept.pid, kept.started, &folder.join(LOG)) {
        process.end_session().await;
    }
    let _ = fs_err::remove_dir_all(folder);
}

/// A kernel's private folder, removed with it unless it is kept.
#[derive(Debug)]
pub(super) struct Home {
    path: PathBuf,
    kept: bool,
}

impl Home {
    /// For a kernel that ends with us, in the run's folder.
    pub(super) fn private(run: &Path) -> Result<Self> {
        Self::make(run)
    }

    /// For a kernel that may be kept, in a folder that only its owner enters.
    pub(super) fn keepable(base: &Path) -> Result<Self> {
        own(base).map_err(|error| {
            Error::configuration("the folder for kept kernels is not yours alone")
                .at(base)
                .help("remove it, or set XDG_RUNTIME_DIR to a folder of yours")
                .because(error)
        })?;
        Self::make(base)
    }

    /// That of a kernel which was kept before.
    pub(super) fn taken_over(path: &Path) -> Self {
        Self {
            path: path.to_path_buf(),
            kept: false,
        }
    }

    fn make(base: &Path) -> Result<Self> {
        let owner_only = std::fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new()
            .prefix("k")
            .permissions(owner_only)
            .tempdir_in(base);
        let made = made.map_err(|error| {
            Error::configuration("no private folder can be made for the kernel")
                .at(base)
                .because(error)
        })?;
        Ok(Self {
            path: made.keep(),
            kept: false,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs_err::remove_dir_all(&self.path);
        }
    }
}

/// Makes the folder, or proves that it is ours alone.
fn own(base: &Path) -> std::io::Result<()> {
    match std::fs::DirBuilder::new().recursive(false).mode(0o700).create(base) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => is_own(base),
        Err(error) => Err(error),
    }
}

/// Proves that the folder is ours alone.
fn is_own(base: &Path) -> std::io::Result<()> {
    let metadata = fs_err::symlink_metadata(base)?;
    if !metadata.is_dir() || metadata.uid() != rustix::process::getuid().as_raw() || metadata.mode() & 0o077 != 0 {
        return Err(std::io::Error::other(
            "others may enter it, or it belongs to somebody else",
        ));
    }
    Ok(())
}
