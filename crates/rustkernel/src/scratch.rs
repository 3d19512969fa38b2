//! The folders that a kernel works in.
//!
//! evcxr compiles in the folder that `EVCXR_TMPDIR` names, or else in one of its own that only an orderly end removes.
//! We always name one. If the person named it, it is kept, with what was compiled in it; two kernels at once would
//! overwrite each other's cells there, so each gets a numbered part of it. If not, it is removed at the end: by the
//! kernel, or by the relay when the kernel was killed.

use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;

use crate::problem::{Problem, Result};

/// The variable that names the folder in which evcxr compiles.
pub(crate) const EVCXR_FOLDER: &str = "EVCXR_TMPDIR";
/// Unix socket paths are limited to about 100 bytes, so a longer temporary folder than this is not used.
const LONGEST_TEMPORARY: usize = 60;

/// A private folder, removed at the end.
#[derive(Debug)]
pub(crate) struct Scratch {
    pub(crate) folder: PathBuf,
    /// Keeps other kernels out of the folder that is compiled in.
    _lock: Option<File>,
}

impl Scratch {
    /// Makes the folders and tells evcxr about them. Only before any thread has started.
    pub(crate) fn make() -> Result<Self> {
        let temporary = std::env::temp_dir();
        let temporary = if temporary.as_os_str().len() > LONGEST_TEMPORARY {
            PathBuf::from("/tmp")
        } else {
            temporary
        };
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let folder = temporary.join(format!("tmplrun-rust-{}", &unique[..12]));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| {
                Problem::new(format!("no private folder can be made in {}", temporary.display()))
                    .because(&error)
                    .hint("set TMPDIR to a folder that can be written")
            })?;
        let (build, lock) = match std::env::var_os(EVCXR_FOLDER).filter(|base| !base.is_empty()) {
            Some(base) => {
                let (build, lock) = free_part(Path::new(&base)).map_err(|error| {
                    Problem::new(format!("{EVCXR_FOLDER} names a folder that cannot be used"))
                        .because(&error)
                        .hint("name one that can be written, or none")
                })?;
                (build, Some(lock))
            }
            None => (folder.join("build"), None),
        };
        // SAFETY: `serve` calls this before it starts any thread, so nobody reads the environment meanwhile.
        #[allow(unsafe_code, clippy::disallowed_methods)]
        unsafe {
            std::env::set_var(EVCXR_FOLDER, &build);
            // Set when a cell of another Rust notebook has started us; evcxr would take us for the one that runs cells.
            std::env::remove_var(crate::relay::EVCXR_RUNS_CELLS);
        }
        Ok(Self { folder, _lock: lock })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

/// Removes a private folder; whoever comes second finds nothing to do.
pub(crate) fn remove(folder: &Path) {
    let _ = fs_err::remove_dir_all(folder);
}

/// The first numbered part of `base` that no living kernel uses.
fn free_part(base: &Path) -> std::io::Result<(PathBuf, File)> {
    let mut number = 1;
    loop {
        let part = base.join(format!("kernel-{number}"));
        fs_err::create_dir_all(&part)?;
        let lock: File = fs_err::OpenOptions::new()
            .create(true)
            .append(true)
            .open(part.join("lock"))?
            .into_parts()
            .0;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok((part, lock)),
            Err(rustix::io::Errno::WOULDBLOCK) => number += 1,
            Err(error) => return Err(error.into()),
        }
    }
}
