//! Files of ours appear whole or not at all, and never in another's place.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::error::CommandError;

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// The owner alone.
    Owner,
    /// Whoever the umask lets.
    Umask,
}

/// Refuses a path where something is already. Worth a question before much work; [`create`] asks again.
pub(crate) fn must_be_free(path: &Path) -> Result<(), CommandError> {
    match fs_err::symlink_metadata(path) {
        Ok(_) => Err(taken(path)),
        Err(_) => Ok(()),
    }
}

/// Makes a file with its whole content, safely on the disk. Nothing that is there already is touched.
pub(crate) fn create(path: &Path, content: &[u8], readers: Readers) -> Result<(), CommandError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::Umask => 0o666,
    };
    let failed =
        |error: io::Error| CommandError::configuration(format!("{} can't be written", path.display())).because(&error);
    let mut file = tempfile::Builder::new()
        .prefix(".clusterbook-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(refused) if refused.error.kind() == io::ErrorKind::AlreadyExists => Err(taken(path)),
        Err(refused) => Err(failed(refused.error)),
    }
}

fn taken(path: &Path) -> CommandError {
    CommandError::input(format!("{} exists already", path.display()))
        .hint("choose another name, or move the file away; nothing was changed")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        create(&path, b"first", Readers::Owner).unwrap();
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path, b"second", Readers::Owner).is_err());
        assert_eq!(fs_err::read(&path).unwrap(), b"first");
        assert_eq!(
            fs_err::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing half is left"
        );
    }
}
