//! What can go wrong with the state, each with what to do next.

use std::io;
use std::path::{Path, PathBuf};

use super::lock::Holder;

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// What was asked for can't be done; ask for something else, or later.
    Yours,
    /// The state folder, its disk or its permissions need attention.
    Configuration,
    /// We made a mistake.
    Bug,
}

/// A failure of the state layer. Nothing is half done when one is returned.
///
/// The text doesn't repeat [`std::error::Error::source`]; whoever shows it walks the chain.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// The folder can't be made or written to.
    #[error("the state folder {} can't be written to", path.display())]
    Unwritable {
        /// The state folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder lies on a file system whose locks can't be relied on.
    #[error("the state folder {} is on {file_system}, where {problem}", path.display())]
    UnsafeFileSystem {
        /// The state folder.
        path: PathBuf,
        /// Name of the file system.
        file_system: String,
        /// What is wrong with its locks.
        problem: String,
    },
    /// Somebody else changes the cluster.
    #[error("cluster {cluster} is being changed by {}", match holder {
        Some(holder) => holder.to_string(),
        None => "another process".to_owned(),
    })]
    Locked {
        /// Name of the cluster.
        cluster: String,
        /// Who holds the lock, if that could be read.
        holder: Option<Box<Holder>>,
    },
    /// Another process keeps writing for longer than we wait.
    #[error("{} was in use by another process for too long", path.display())]
    Busy {
        /// The file that was waited for.
        path: PathBuf,
    },
    /// The state was written by a newer version of this program.
    #[error(
        "{} was written by a newer version (its format is {found}, this version knows up to {known})",
        path.display()
    )]
    NewerState {
        /// The database.
        path: PathBuf,
        /// Format of the database.
        found: i64,
        /// Newest format that this version knows.
        known: i64,
    },
    /// The file isn't what it should be.
    #[error("{} is damaged or isn't ours: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No room on the disk, or the quota is used up.
    #[error("no space left to write {}", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
        /// What the system or the database said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A secret lies open to other users.
    #[error("{} can be {} by other users (mode {mode:04o})", path.display(), if *mode & 0o044 == 0 { "changed" } else { "read" })]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A name that can't be used as a file's name.
    #[error("{name:?} can't be used as {what}")]
    UnusableName {
        /// What the name was meant for.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A cluster of this name isn't known here.
    #[error("there is no cluster {cluster:?} in this state folder")]
    NoSuchCluster {
        /// Name or id that was asked for.
        cluster: String,
    },
    /// A cluster of this name exists already.
    #[error("there is already a cluster {cluster:?} in this state folder")]
    ClusterExists {
        /// Its name.
        cluster: String,
    },
    /// The cluster lives at another provider.
    #[error("cluster {cluster} was made at provider {recorded}, not {wanted}")]
    OtherProvider {
        /// Name of the cluster.
        cluster: String,
        /// Where it is.
        recorded: String,
        /// What the design says.
        wanted: String,
    },
    /// The apply doesn't exist or has ended.
    #[error("apply {number} of cluster {cluster_id} isn't running")]
    ApplyNotRunning {
        /// Id of the cluster.
        cluster_id: String,
        /// Number of the apply.
        number: u64,
    },
    /// The end of a change was reported whose beginning wasn't.
    #[error("change {change:?} of apply {number} of cluster {cluster_id} was never begun")]
    ChangeNotBegun {
        /// Id of the cluster.
        cluster_id: String,
        /// Number of the apply.
        number: u64,
        /// Key of the change.
        change: String,
    },
    /// The bytes aren't an export.
    #[error("this isn't an exported cluster: {problem}")]
    NotAnExport {
        /// What is wrong with them.
        problem: String,
    },
    /// The passphrase doesn't open the export.
    #[error("the passphrase doesn't open this export")]
    WrongPassphrase,
    /// The export ends too early or was changed on its way.
    #[error("the export is cut off or was changed on its way")]
    BrokenExport {
        /// What failed.
        source: io::Error,
    },
    /// The export was written by a newer version of this program.
    #[error("the export was written by a newer version (its format is {found}, this version knows up to {known})")]
    NewerExport {
        /// Format of the export.
        found: u64,
        /// Newest format that this version knows.
        known: u64,
    },
    /// The cluster was removed here after the export was made.
    #[error("cluster {cluster} was removed here by apply {known}; the export ends with apply {exported}")]
    OutdatedExport {
        /// Name of the cluster.
        cluster: String,
        /// Last apply in the export.
        exported: u64,
        /// Last apply known here.
        known: u64,
    },
    /// The system refused something else.
    #[error("can't {doing}")]
    System {
        /// What was being done, path included.
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The database refused something else.
    #[error("{} failed to {doing}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: Box<rusqlite::Error>,
    },
}

impl StateError {
    /// Who can do something about it.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Locked { .. }
            | Self::Busy { .. }
            | Self::UnusableName { .. }
            | Self::NoSuchCluster { .. }
            | Self::ClusterExists { .. }
            | Self::OtherProvider { .. }
            | Self::NotAnExport { .. }
            | Self::WrongPassphrase
            | Self::BrokenExport { .. }
            | Self::NewerExport { .. }
            | Self::OutdatedExport { .. } => Kind::Yours,
            Self::Unwritable { .. }
            | Self::UnsafeFileSystem { .. }
            | Self::NewerState { .. }
            | Self::Damaged { .. }
            | Self::DiskFull { .. }
            | Self::Exposed { .. }
            | Self::System { .. } => Kind::Configuration,
            Self::ApplyNotRunning { .. } | Self::ChangeNotBegun { .. } => Kind::Bug,
            // What a disk or a file system does to the database isn't our mistake; a refused statement is.
            Self::Database { source, .. } => match source.sqlite_error_code() {
                Some(
                    rusqlite::ErrorCode::SystemIoFailure
                    | rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::ReadOnly
                    | rusqlite::ErrorCode::PermissionDenied
                    | rusqlite::ErrorCode::FileLockingProtocolFailed
                    | rusqlite::ErrorCode::OutOfMemory,
                ) => Kind::Configuration,
                _ => Kind::Bug,
            },
        }
    }

    /// What to do next, where there is something useful to say.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unwritable { .. } => "Set CLUSTERBOOK_HOME to a folder that you may write to.".to_owned(),
            Self::UnsafeFileSystem { .. } => {
                "Set CLUSTERBOOK_HOME to a folder on a local disk, or have the file system mounted with locks that all \
                 machines see (NFS: without nolock and local_lock; Lustre: with flock; CIFS: without nobrl)."
                    .to_owned()
            }
            Self::Locked {
                holder: Some(holder), ..
            } => format!(
                "Wait until it has finished, or end process {} on {}; the lock goes with the process.",
                holder.pid, holder.host
            ),
            Self::Locked { holder: None, .. } => {
                "Wait until it has finished; the lock goes with its process.".to_owned()
            }
            Self::Busy { .. } => "Try again when the other process has finished.".to_owned(),
            Self::NewerState { .. } | Self::NewerExport { .. } => {
                "Use the newer version of clusterbook. Nothing was changed.".to_owned()
            }
            Self::Damaged { path, .. } => format!(
                "Restore {} from a backup, or move it away and import the cluster from an export.",
                path.display()
            ),
            Self::DiskFull { .. } => {
                "Free some space or raise your quota, then do the same again. What was saved before is unharmed."
                    .to_owned()
            }
            Self::Exposed { path, .. } => format!(
                "Run `chmod go-rwx {}`, and consider the secret known to others.",
                path.display()
            ),
            Self::UnusableName { .. } => {
                "Use letters, digits, '.', '_' and '-', beginning with a letter or digit, 200 at most.".to_owned()
            }
            Self::NoSuchCluster { .. } => "`clusterbook list` shows the clusters that are known here.".to_owned(),
            Self::ClusterExists { .. } => "Destroy that cluster first, or use another state folder.".to_owned(),
            Self::OtherProvider { recorded, .. } => format!(
                "Set the provider back to {recorded}, or use another name for the new cluster; a cluster can't change \
                 its provider."
            ),
            Self::NotAnExport { .. } => "Give the file that `clusterbook export` has written.".to_owned(),
            Self::WrongPassphrase => "Use the passphrase that was given when the cluster was exported.".to_owned(),
            Self::BrokenExport { .. } => "Copy the file once more, or export again.".to_owned(),
            Self::OutdatedExport { .. } => {
                "The machines of this export are gone. Build the cluster anew from its design.".to_owned()
            }
            Self::ApplyNotRunning { .. }
            | Self::ChangeNotBegun { .. }
            | Self::System { .. }
            | Self::Database { .. } => return None,
        })
    }

    /// Sorts an error of the file system. `path` is what was touched.
    pub(super) fn from_io(path: &Path, doing: &str, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                path: path.to_owned(),
                source: source.into(),
            },
            _ => Self::System {
                doing: format!("{doing} {}", path.display()),
                source,
            },
        }
    }

    /// Sorts an error of the database. `path` is the database's.
    pub(super) fn from_sql(path: &Path, doing: &'static str, source: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull {
                path,
                source: source.into(),
            },
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { path },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged {
                path,
                problem: source.to_string(),
            },
            // SQLite tells only some full disks by name: a used-up quota, or a shared-memory file that can't grow, are
            // "I/O errors" to it. A write of our own finds out.
            Some(ErrorCode::SystemIoFailure | ErrorCode::CannotOpen) if no_space_beside(&path) => Self::DiskFull {
                path,
                source: source.into(),
            },
            Some(ErrorCode::ReadOnly) => Self::Unwritable {
                path: path.parent().unwrap_or(&path).to_owned(),
                source: io::Error::other(source),
            },
            _ => Self::Database {
                path,
                doing,
                source: Box::new(source),
            },
        }
    }
}

/// Whether a small file beside `path` can't be written for lack of space.
fn no_space_beside(path: &Path) -> bool {
    let probe = path.with_extension(format!("space-{}", std::process::id()));
    let written = fs_err::write(&probe, [0u8; 64 * 1024]);
    // Whether it is there or not, it mustn't stay; there is nobody to tell if it does.
    let _ = fs_err::remove_file(&probe);
    written.is_err_and(|error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
}
