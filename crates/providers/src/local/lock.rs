//! Locks between processes that build images, released by the system when a process dies.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use crate::{ErrorKind, ProviderError};

/// The folder that holds the locks of one user.
#[derive(Clone, Debug)]
pub(super) struct Locks {
    folder: PathBuf,
}

/// A lock that is held until dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Locks {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Tells apart builders whose locks lie here from everybody else's.
    pub(super) fn domain(&self) -> String {
        let path = fs_err::canonicalize(&self.folder).unwrap_or_else(|_| self.folder.clone());
        let digest = Sha256::digest(path.as_os_str().as_encoded_bytes());
        digest[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn open(&self, name: &str) -> Result<File, ProviderError> {
        let failed = |error: std::io::Error| {
            ProviderError::new(
                ErrorKind::Invalid,
                format!("image {name}"),
                format!("its build can't be locked: {error}"),
            )
            .with_hint("name a folder for caches that can be written")
        };
        if self.folder.as_os_str().is_empty() {
            return Err(failed(std::io::Error::other("no folder was named")));
        }
        fs_err::create_dir_all(&self.folder).map_err(failed)?;
        let path = self.folder.join(format!("build-{name}.lock"));
        let file = fs_err::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(failed)?;
        Ok(file.into_parts().0)
    }

    /// Takes the lock if nobody has it.
    pub(super) fn try_take(&self, name: &str) -> Result<Option<Lock>, ProviderError> {
        let file = self.open(name)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(ProviderError::new(
                ErrorKind::Unsupported,
                format!("image {name}"),
                format!("files in {} can't be locked: {error}", self.folder.display()),
            )
            .with_hint("name a folder for caches on a local disk")),
        }
    }

    /// Takes the lock, waiting for whoever has it; `waiting` is called once before it waits.
    pub(super) async fn take(
        &self,
        name: &str,
        cancel: &CancellationToken,
        waiting: impl FnOnce() + Send,
    ) -> Result<Lock, ProviderError> {
        let mut waiting = Some(waiting);
        loop {
            if let Some(lock) = self.try_take(name)? {
                return Ok(lock);
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            tokio::select! {
                () = cancel.cancelled() => {
                    return Err(ProviderError::new(
                        ErrorKind::Cancelled,
                        format!("image {name}"),
                        "stopped while another process was building it",
                    ));
                }
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_waits_and_can_be_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let locks = Locks::new(folder.path());
        let first = locks.try_take("common-1").unwrap().unwrap();
        assert!(locks.try_take("common-1").unwrap().is_none());
        assert!(locks.try_take("common-2").unwrap().is_some());
        let cancel = CancellationToken::new();
        let stop = cancel.clone();
        let error = locks.take("common-1", &cancel, || stop.cancel()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Cancelled);
        drop(first);
        let cancel = CancellationToken::new();
        locks.take("common-1", &cancel, || ()).await.unwrap();
    }
}
