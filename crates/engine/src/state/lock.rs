//! One writer for each cluster.

use std::fmt;
use std::io::{Read, Seek, Write};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::error::StateError;
use super::files;

/// Who holds a lock. The caller fills it, because a library doesn't look at its surroundings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Login name.
    pub user: String,
    /// Name of the machine.
    pub host: String,
    /// Number of the process.
    pub pid: u32,
    /// When it began.
    pub since: Timestamp,
    /// What it does, for example `apply`.
    pub what: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            host,
            pid,
            since,
            what,
        } = self;
        write!(formatter, "{user} on {host} ({what}, process {pid}, since {since:.0})")
    }
}

/// The right to change one cluster. Dropping it gives it back, and so does the end of the process, however it ends.
///
/// A child that was forked without running another program shares the open file: its copy gives nothing back, but keeps
/// the lock if the parent is killed, for as long as the child lives.
#[derive(Debug)]
pub struct ClusterLock {
    file: fs_err::File,
    process: u32,
    cluster: String,
}

impl ClusterLock {
    /// Takes the lock, or tells who has it.
    pub(super) fn take(path: PathBuf, cluster: &str, holder: &Holder) -> Result<Self, StateError> {
        let failed = |doing| {
            let path = path.clone();
            move |error| StateError::from_io(&path, doing, error)
        };
        let mut file = files::open_own(&path).map_err(failed("open"))?;
        let mut last_seen = None;
        // The winner has the lock a moment before its name is in the file, and until then its predecessor's may be. So
        // the loser believes what it has read twice, and meanwhile may find itself the winner.
        for _ in 0..20 {
            match rustix::fs::flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    let lock = Self {
                        file,
                        process: std::process::id(),
                        cluster: cluster.to_owned(),
                    };
                    // From here on an error drops the lock, which gives it back.
                    lock.sign(holder).map_err(failed("write"))?;
                    return Ok(lock);
                }
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => {}
                Err(error) => return Err(failed("lock")(error.into())),
            }
            let mut text = String::new();
            let seen = file
                .rewind()
                .and_then(|()| file.read_to_string(&mut text))
                .ok()
                .and_then(|_| serde_json::from_str::<Holder>(&text).ok());
            if seen.is_some() && seen == last_seen {
                break;
            }
            last_seen = seen;
            std::thread::sleep(Duration::from_millis(15));
        }
        Err(StateError::Locked {
            cluster: cluster.to_owned(),
            holder: last_seen.map(Box::new),
        })
    }

    /// Name of the cluster.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// Writes into the file who holds it. It needn't outlive a power cut, since the lock doesn't.
    fn sign(&self, holder: &Holder) -> std::io::Result<()> {
        let mut file = self.file.file();
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(&serde_json::to_vec(holder)?)
    }
}

impl Drop for ClusterLock {
    fn drop(&mut self) {
        // In a forked child this is a copy, and the lock is the parent's.
        if self.process == std::process::id() {
            // Nobody can be told if this fails; closing the file gives the lock back too.
            let _ = self.file.set_len(0);
            let _ = rustix::fs::flock(self.file.file(), FlockOperation::NonBlockingUnlock);
        }
    }
}
