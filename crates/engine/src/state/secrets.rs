//! Secrets in owner-only files.

use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clusterbook_model::Secret;
use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::OFlags;

use super::error::StateError;
use super::files;

/// The secrets of all clusters: one file each, which only its owner can read.
#[derive(Clone, Debug)]
pub struct Secrets {
    folder: PathBuf,
    lock: PathBuf,
}

impl Secrets {
    pub(super) fn in_folder(folder: PathBuf, lock: PathBuf) -> Self {
        Self { folder, lock }
    }

    /// The secret of this name, if there is one. Refuses one that others can read or could have replaced.
    pub fn get(&self, cluster_id: &str, name: &str) -> Result<Option<Secret>, StateError> {
        let path = self.file(cluster_id, name)?;
        let failed = |error| StateError::from_io(&path, "read", error);
        let opened = fs_err::OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::NOFOLLOW.bits() as i32)
            .open(&path);
        let mut file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(failed)?,
        };
        // The open file is asked, so that nobody can put another one in its place in between.
        refuse_exposed(&path, file.metadata().map_err(failed)?.permissions(), 0o077)?;
        let folder = self.folder_of(cluster_id)?;
        let of_folder = fs_err::metadata(&folder).map_err(failed)?.permissions();
        refuse_exposed(&folder, of_folder, 0o022)?;
        let mut text = String::new();
        match file.read_to_string(&mut text) {
            Ok(_) => Ok(Some(Secret::new(text))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(StateError::Damaged {
                path,
                problem: "it isn't text".to_owned(),
            }),
            Err(error) => Err(failed(error)),
        }
    }

    /// Saves a secret, in the place of an earlier one if there is one. Readers see the one or the other.
    pub fn put(&self, cluster_id: &str, name: &str, secret: &Secret) -> Result<(), StateError> {
        let _writing = files::wait_for_lock(&self.lock)?;
        self.put_locked(cluster_id, name, secret)
    }

    /// The secret of this name; made if there is none. Of two processes that make one at the same time both get the same.
    pub fn get_or_create(
        &self,
        cluster_id: &str,
        name: &str,
        create: impl FnOnce() -> Secret,
    ) -> Result<Secret, StateError> {
        if let Some(secret) = self.get(cluster_id, name)? {
            return Ok(secret);
        }
        // Made before the lock is taken: however long it takes, and whatever it asks of us, nobody waits for it.
        let secret = create();
        let _writing = files::wait_for_lock(&self.lock)?;
        if let Some(other) = self.get(cluster_id, name)? {
            return Ok(other);
        }
        self.put_locked(cluster_id, name, &secret)?;
        Ok(secret)
    }

    /// The names of a cluster's secrets, in order.
    pub fn names(&self, cluster_id: &str) -> Result<Vec<String>, StateError> {
        let folder = self.folder_of(cluster_id)?;
        let failed = |error| StateError::from_io(&folder, "list", error);
        let entries = match fs_err::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed)?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(failed)?.file_name();
            // Files that are still being written begin with a dot.
            if let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Removes all secrets of a cluster. One without any is fine.
    pub fn remove_all(&self, cluster_id: &str) -> Result<(), StateError> {
        let _writing = files::wait_for_lock(&self.lock)?;
        remove_folder(&self.folder_of(cluster_id)?)
    }

    fn put_locked(&self, cluster_id: &str, name: &str, secret: &Secret) -> Result<(), StateError> {
        let path = self.file(cluster_id, name)?;
        let folder = self.folder_of(cluster_id)?;
        let failed = |error| StateError::from_io(&path, "write", error);
        let new = !fs_err::exists(&folder).map_err(failed)?;
        files::make_folder(&folder).map_err(failed)?;
        if new {
            files::sync_folder(&self.folder).map_err(failed)?;
        }
        files::write_whole(&path, secret.reveal().as_bytes()).map_err(failed)
    }

    /// Puts a whole set of secrets in place for a cluster that is being imported; what an import that died had left there
    /// gives way. Nothing else may write at the same time.
    pub(super) fn put_set(&self, cluster_id: &str, secrets: &[(String, Secret)]) -> Result<(), StateError> {
        let _writing = files::wait_for_lock(&self.lock)?;
        let target = self.folder_of(cluster_id)?;
        let staged = self.folder.join(format!(".{cluster_id}.half"));
        let placed = (|| {
            remove_folder(&staged)?;
            let failed = |error| StateError::from_io(&staged, "write", error);
            files::make_folder(&staged).map_err(failed)?;
            for (name, secret) in secrets {
                let path = files::path_for(&staged, SECRET, name)?;
                files::write_whole(&path, secret.reveal().as_bytes())
                    .map_err(|error| StateError::from_io(&path, "write", error))?;
            }
            remove_folder(&target)?;
            fs_err::rename(&staged, &target).map_err(failed)?;
            files::sync_folder(&self.folder).map_err(failed)
        })();
        if placed.is_err() {
            // The reason is worth more than a second failure on the way back.
            let _ = remove_folder(&staged);
        }
        placed
    }

    fn folder_of(&self, cluster_id: &str) -> Result<PathBuf, StateError> {
        files::path_for(&self.folder, "the id of a cluster", cluster_id)
    }

    fn file(&self, cluster_id: &str, name: &str) -> Result<PathBuf, StateError> {
        files::path_for(&self.folder_of(cluster_id)?, SECRET, name)
    }
}

const SECRET: &str = "the name of a secret";

fn refuse_exposed(path: &Path, permissions: std::fs::Permissions, forbidden: u32) -> Result<(), StateError> {
    let mode = permissions.mode() & 0o7777;
    match mode & forbidden {
        0 => Ok(()),
        _ => Err(StateError::Exposed {
            path: path.to_owned(),
            mode,
        }),
    }
}

fn remove_folder(folder: &Path) -> Result<(), StateError> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StateError::from_io(folder, "remove", error)),
        _ => Ok(()),
    }
}
