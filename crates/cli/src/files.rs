//! Files of ours appear whole or not at all, and only a design takes the place of another.

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

/// Puts a new content into the place of a file's, in one step for whoever reads it. Its permissions stay.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<(), CommandError> {
    let failed = |error: io::Error| {
        CommandError::configuration(format!("{} can't be written; it is as it was", path.display())).because(&error)
    };
    // Through a link to the file itself: a design may lie in another folder that is under version control.
    let path = fs_err::canonicalize(path).map_err(failed)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let permissions = fs_err::metadata(&path).map_err(failed)?.permissions();
    let mut file = tempfile::Builder::new()
        .prefix(".clusterbook-")
        .permissions(permissions)
        .tempfile_in(folder)
        .map_err(failed)?;
    file.write_all(content).map_err(failed)?;
    file.as_file().sync_all().map_err(failed)?;
    file.persist(&path).map_err(|refused| failed(refused.error))?;
    Ok(())
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
    fn a_file_is_replaced_where_a_link_points() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("design"), folder.path().join("link"));
        create(&path, b"first", Readers::Owner).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        replace(&link, b"second").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"second");
        assert_eq!(fs_err::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs_err::symlink_metadata(&link).unwrap().is_symlink());
        assert!(replace(&folder.path().join("none"), b"x").is_err());
    }

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
