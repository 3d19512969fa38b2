//! Owner-only folders, whole-or-nothing files, and short waits for a lock file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err::os::unix::fs::OpenOptionsExt;
use rustix::fs::{FlockOperation, OFlags};
use rustix::io::Errno;

use super::error::StateError;

/// How long we wait for another process that writes.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The longest name that leaves room for our own additions in the 255 bytes of most file systems.
const LONGEST_NAME: usize = 200;

/// Makes a folder, and those above it, for the owner only. Existing ones stay as they are.
pub(super) fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Opens a file of ours for reading and writing, made for the owner only if it isn't there.
pub(super) fn open_own(path: &Path) -> io::Result<fs_err::File> {
    fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

/// Writes a file so that readers see the old content or the new, and so that it outlives a power cut. The caller makes
/// sure that nobody else writes the same file at the same time.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let half = folder.join(format!(".{}.half", name.to_string_lossy()));
    let written = (|| {
        // What a killed process left is of no use, and may have other permissions than ours.
        match fs_err::remove_file(&half) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs_err::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&half)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs_err::rename(&half, path)
    })();
    if let Err(error) = written {
        // On a full disk the half file holds on to space that the person will need.
        let _ = fs_err::remove_file(&half);
        return Err(error);
    }
    sync_folder(folder)
}

/// Makes names in a folder outlive a power cut.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    match fs_err::File::open(folder)?.sync_all() {
        // Some network file systems don't know this call for folders; there the server answers for it.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
        done => done,
    }
}

/// Holds a lock file until the returned file is dropped. Waits for others for as long as [`PATIENCE`].
pub(super) fn wait_for_lock(path: &Path) -> Result<fs_err::File, StateError> {
    let file = open_own(path).map_err(|error| StateError::from_io(path, "open", error))?;
    let begun = Instant::now();
    loop {
        match rustix::fs::flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(Errno::AGAIN) if begun.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(Errno::AGAIN) => {
                return Err(StateError::Busy { path: path.to_owned() });
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(StateError::from_io(path, "lock", error.into())),
        }
    }
}

/// Refuses names that mean something to the file system, or that we use for ourselves.
pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), StateError> {
    let good = name.len() <= LONGEST_NAME
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    match good {
        true => Ok(()),
        false => Err(StateError::UnusableName {
            what,
            name: name.to_owned(),
        }),
    }
}

/// A path in `folder` for a checked name.
pub(super) fn path_for(folder: &Path, what: &'static str, name: &str) -> Result<PathBuf, StateError> {
    check_name(what, name)?;
    Ok(folder.join(name))
}
