//! Which file system a folder lies on, and whether its locks can be relied on.
//!
//! SQLite's write-ahead log needs memory shared by all who use the database, so it works on one machine only. Its other
//! journal and our own locks need byte-range and whole-file locks that every machine sees. Network file systems differ in
//! both, by kind and by how they were mounted, and a lock that silently holds on one machine only is worse than none.
//!
//! What can't be seen from a client stays unseen: BeeGFS, for one, decides in its servers' configuration whether locks
//! reach other machines.

use std::fs::File;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::io::Errno;

/// A file system, as far as a state folder cares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// What people call it, for example `NFS`.
    pub name: String,
    /// Whether other machines may have it mounted too.
    pub network: bool,
    /// Whether its locks work.
    pub locks: Locks,
}

/// How far file locks reach.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Locks {
    /// To everyone who can see the file.
    Everywhere,
    /// Not beyond this machine, although others can see the file.
    ThisMachine {
        /// The mount option that says so.
        option: String,
    },
    /// There are none.
    Missing {
        /// What the system said.
        reason: String,
    },
}

impl FileSystem {
    /// Looks at the file system of a folder. `probe` is a file in it, open for writing, whose locks nobody else needs.
    pub(super) fn of(folder: &Path, probe: &File) -> Self {
        let Ok(found) = rustix::fs::fstatfs(probe) else {
            // Unknown is treated like the worst that still works.
            return Self {
                name: "an unknown file system".to_owned(),
                network: true,
                locks: try_locks(probe),
            };
        };
        let mount = fs_err::read_to_string("/proc/self/mountinfo")
            .ok()
            .and_then(|table| {
                let folder = fs_err::canonicalize(folder).ok()?;
                Mount::of(&folder, &table)
            })
            .unwrap_or_default();
        // The constants of statfs are 32 bits wide; some platforms sign-extend them.
        let (name, network) = classify(found.f_type as u32, &mount.kind);
        let locks = match network {
            false => Locks::Everywhere,
            true => match mount.local_locks() {
                Some(option) => Locks::ThisMachine {
                    option: option.to_owned(),
                },
                None => try_locks(probe),
            },
        };
        Self { name, network, locks }
    }

    /// What speaks against keeping state here.
    pub(super) fn problem(&self) -> Option<String> {
        match &self.locks {
            _ if !self.network => None,
            Locks::Everywhere => None,
            Locks::ThisMachine { option } => Some(format!(
                "other machines don't see a lock taken on this one (mount option {option})"
            )),
            Locks::Missing { reason } => Some(format!("file locks don't work ({reason})")),
        }
    }
}

/// Names a file system by the number that `statfs` gives and the type in the table of mounts; `true` if it is a network's.
fn classify(magic: u32, mount_kind: &str) -> (String, bool) {
    let network = match magic {
        0x6969 => "NFS",
        0x0BD0_0BD0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x517B | 0xFF53_4D42 | 0xFE53_4D42 => "CIFS",
        0x00C3_6400 => "CephFS",
        0x5346_414F | 0x6B41_4653 => "AFS",
        0x7375_7245 => "Coda",
        0x2003_0528 => "OrangeFS",
        0xAAD7_AAEA => "PanFS",
        0x1803_1977 => "WekaFS",
        0x0116_1970 => "GFS2",
        0x7461_636F => "OCFS2",
        0x0102_1997 => "9p",
        0x786F_4256 => "a VirtualBox shared folder",
        0xBACB_ACBC => "a VMware shared folder",
        0x7C7C_6673 => "a Parallels shared folder",
        // FUSE says nothing about what is behind it; the mount's type does. Anything unknown counts as a network: that
        // costs a little speed, the other mistake costs the state.
        0x6573_5546 => match mount_kind {
            "fuseblk" | "fuse.fuse-overlayfs" | "fuse.ntfs-3g" => {
                return (mount_kind.to_owned(), false);
            }
            "virtiofs" => "virtiofs",
            "fuse.sshfs" => "sshfs",
            "" => "FUSE",
            other => return (other.to_owned(), true),
        },
        _ => {
            let name = match mount_kind {
                "" => "a local disk",
                kind => kind,
            };
            return (name.to_owned(), false);
        }
    };
    (network.to_owned(), true)
}

/// A line of the table of mounts.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mount {
    /// For example `nfs4`.
    kind: String,
    /// Options of the mount and of the file system.
    options: Vec<String>,
}

impl Mount {
    /// The mount that holds `folder`, which is absolute and without links, from the text of `/proc/self/mountinfo`.
    fn of(folder: &Path, table: &str) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(point), Some(options)) = (left.get(4), left.get(5)) else {
                continue;
            };
            let point = unescape(point);
            let point = Path::new(&point);
            if !folder.starts_with(point) {
                continue;
            }
            let depth = point.components().count();
            // The last of equals covers the ones before.
            if best.as_ref().is_none_or(|(found, _)| depth >= *found) {
                let all = [options, right.get(2).unwrap_or(&"")];
                let mount = Self {
                    kind: (*right.first().unwrap_or(&"")).to_owned(),
                    options: all.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect(),
                };
                best = Some((depth, mount));
            }
        }
        best.map(|(_, mount)| mount)
    }

    /// The option, if any, that keeps locks on this machine.
    fn local_locks(&self) -> Option<&str> {
        self.options.iter().map(String::as_str).find(|option| {
            matches!(
                *option,
                "nolock" | "local_lock=all" | "local_lock=posix" | "local_lock=flock" | "localflock" | "nobrl"
            )
        })
    }
}

/// Undoes the octal escapes of the table of mounts.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ")
        .replace("\\011", "\t")
        .replace("\\012", "\n")
        .replace("\\134", "\\")
}

/// Takes and gives back a lock of either sort. NFS turns one into the other, so that they'd be in each other's way.
fn try_locks(probe: &File) -> Locks {
    let byte_range = |how| rustix::fs::fcntl_lock(probe, how);
    let whole_file = |how| rustix::fs::flock(probe, how);
    match try_lock(byte_range).and_then(|()| try_lock(whole_file)) {
        Ok(()) => Locks::Everywhere,
        Err(error) => Locks::Missing {
            reason: error.to_string(),
        },
    }
}

fn try_lock(apply: impl Fn(FlockOperation) -> Result<(), Errno>) -> Result<(), Errno> {
    match apply(FlockOperation::NonBlockingLockExclusive) {
        // Somebody else probes at this moment, and we were told: that is a lock at work.
        Ok(()) | Err(Errno::AGAIN | Errno::ACCESS) => {}
        Err(error) => return Err(error),
    }
    // Closing the file would do the same a moment later.
    let _ = apply(FlockOperation::NonBlockingUnlock);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_told_apart_by_their_number() {
        for (magic, kind, name, network) in [
            (0x6969, "nfs4", "NFS", true),
            (0x0BD0_0BD0, "lustre", "Lustre", true),
            (0x4750_4653, "gpfs", "GPFS", true),
            (0x1983_0326, "beegfs", "BeeGFS", true),
            (0xFF53_4D42, "cifs", "CIFS", true),
            (0xFE53_4D42, "smb3", "CIFS", true),
            (0x6573_5546, "fuse.sshfs", "sshfs", true),
            (0x6573_5546, "fuse.glusterfs", "fuse.glusterfs", true),
            (0x6573_5546, "", "FUSE", true),
            (0x6573_5546, "fuseblk", "fuseblk", false),
            (0xEF53, "ext4", "ext4", false),
            (0x5846_5342, "xfs", "xfs", false),
            (0x9123_683E, "btrfs", "btrfs", false),
            (0x794C_7630, "overlay", "overlay", false),
            (0x0102_1994, "tmpfs", "tmpfs", false),
            (0xEF53, "", "a local disk", false),
        ] {
            assert_eq!(classify(magic, kind), (name.to_owned(), network), "{kind}");
        }
    }

    const TABLE: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
31 30 0:41 / /home/old\\040disk rw - nfs server:/old rw,vers=3,nolock,local_lock=all
32 22 0:42 / /scratch rw - lustre mgs@tcp:/scratch rw,localflock
33 22 0:43 / /data rw - lustre mgs@tcp:/data rw,flock
broken line
";

    #[test]
    fn the_deepest_mount_counts_and_its_options_tell_how_far_locks_reach() {
        for (folder, kind, option) in [
            ("/root/state", "ext4", None),
            ("/home/ann/state", "nfs4", None),
            ("/home/old disk/ann", "nfs", Some("nolock")),
            ("/home/old", "nfs4", None),
            ("/scratch/x", "lustre", Some("localflock")),
            ("/data/x", "lustre", None),
            ("/database", "ext4", None),
        ] {
            let mount = Mount::of(Path::new(folder), TABLE).unwrap();
            assert_eq!(mount.kind, kind, "{folder}");
            assert_eq!(mount.local_locks(), option, "{folder}");
        }
        assert_eq!(Mount::of(Path::new("/anywhere"), ""), None);
    }

    #[test]
    fn locks_of_a_local_disk_pass_the_trial() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(try_locks(&file), Locks::Everywhere);
    }

    #[test]
    fn a_file_without_write_access_has_no_exclusive_byte_range_lock() {
        let named = tempfile::NamedTempFile::new().unwrap();
        let read_only: File = fs_err::File::open(named.path()).unwrap().into_parts().0;
        assert!(matches!(try_locks(&read_only), Locks::Missing { .. }));
    }

    #[test]
    fn only_a_network_can_have_a_problem() {
        let mut system = FileSystem {
            name: "NFS".to_owned(),
            network: true,
            locks: Locks::Everywhere,
        };
        assert_eq!(system.problem(), None);
        system.locks = Locks::Missing {
            reason: "No locks available".to_owned(),
        };
        assert!(system.problem().unwrap().contains("No locks available"));
        system.locks = Locks::ThisMachine {
            option: "nolock".to_owned(),
        };
        assert!(system.problem().unwrap().contains("nolock"));
        system.network = false;
        assert_eq!(system.problem(), None);
    }
}
