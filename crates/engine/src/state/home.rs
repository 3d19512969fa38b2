//! The folder that everything lies in.

use std::io;
use std::path::{Path, PathBuf};

use super::error::StateError;
use super::file_system::FileSystem;
use super::files;
use super::lock::{ClusterLock, Holder};
use super::secrets::Secrets;
use super::store::Store;

/// The state folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Home {
    path: PathBuf,
    file_system: FileSystem,
    most_pages: Option<u32>,
}

/// What tests need to pretend.
#[derive(Clone, Debug, Default)]
pub struct HomeOptions {
    /// Takes this for the folder's file system instead of looking.
    pub pretend_file_system: Option<FileSystem>,
    /// Lets the database grow to this many pages only, as if the disk ended there.
    pub most_pages: Option<u32>,
}

impl Home {
    /// Opens the folder, which is made if it isn't there. Refuses one that can't be written to, and one on a file system
    /// whose locks don't work.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        Self::open_with(path, &HomeOptions::default())
    }

    /// The same, with something pretended.
    pub fn open_with(path: &Path, options: &HomeOptions) -> Result<Self, StateError> {
        // Whoever reads an error may stand in another folder than the process does.
        let path = std::path::absolute(path).map_err(|source| StateError::Unwritable {
            path: path.to_owned(),
            source,
        })?;
        let unwritable = |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StateError::from_io(&path, "write", source),
            _ => StateError::Unwritable {
                path: path.clone(),
                source,
            },
        };
        files::make_folder(&path.join("secrets")).map_err(unwritable)?;
        files::make_folder(&path.join("locks")).map_err(unwritable)?;
        // Folders that were there already tell nothing; this does.
        let probe = files::open_own(&path.join("locks/.probe")).map_err(unwritable)?;
        let file_system = match &options.pretend_file_system {
            Some(pretended) => pretended.clone(),
            None => FileSystem::of(&path, probe.file()),
        };
        if let Some(problem) = file_system.problem() {
            return Err(StateError::UnsafeFileSystem {
                path,
                file_system: file_system.name,
                problem,
            });
        }
        Ok(Self {
            path,
            file_system,
            most_pages: options.most_pages,
        })
    }

    /// The folder, absolute.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the folder lies on.
    pub fn file_system(&self) -> &FileSystem {
        &self.file_system
    }

    /// Opens the database, which is made or brought up to date if need be.
    pub fn store(&self) -> Result<Store, StateError> {
        Store::open(self)
    }

    /// The secrets.
    pub fn secrets(&self) -> Secrets {
        Secrets::in_folder(self.path.join("secrets"), self.path.join("locks/.secrets.lock"))
    }

    /// Takes the right to change a cluster, known or not, or says at once who has it.
    pub fn lock(&self, cluster: &str, holder: &Holder) -> Result<ClusterLock, StateError> {
        files::check_name("the name of a cluster", cluster)?;
        let path = self.path.join("locks").join(format!("{cluster}.lock"));
        ClusterLock::take(path, cluster, holder)
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("state.db")
    }

    /// Held while the database is opened.
    pub(super) fn opening_lock(&self) -> PathBuf {
        self.path.join("locks/.state.lock")
    }

    pub(super) fn most_pages(&self) -> Option<u32> {
        self.most_pages
    }
}
