//! What this machine remembers about its clusters: which exist, what was intended, what was begun and how it ended.
//!
//! Everything lies under one folder, the [`Home`]:
//!
//! ```text
//! state.db            clusters, applies, journal, actions
//! secrets/<id>/<name> one owner-only file for each secret
//! locks/<name>.lock   held for as long as somebody changes the cluster; names who
//! ```
//!
//! The provider's inventory is the truth about what exists. This is the truth about what was intended, and it is written
//! before anything is done, so that a process that dies leaves behind what its successor has to finish.
//!
//! Three choices and their price:
//!
//! - SQLite rather than files of our own: several notebooks and the command line write at once, and a change of several
//!   rows is seen whole or not at all. The price is its dependence on working file locks. Home folders at universities lie
//!   on NFS and Lustre, so the file system is looked at first: the write-ahead log stays on local disks, and where locks
//!   don't work the folder is refused (see [`FileSystem`]).
//! - Secrets in files rather than in the database: their protection is then something that `ls -l` shows, a copy of
//!   the database gives none away, and deleting one deletes it.
//! - The cluster's lock is a lock of the kernel on an open file, not a row and not the existence of a file: it ends with its
//!   process, however that ends, and nobody has to judge whether an old lock is stale.
//!
//! All calls block, some of them for a disk's write. From async code they belong into `spawn_blocking`.

mod error;
mod file_system;
mod files;
mod home;
mod lock;
mod rows;
mod schema;
mod secrets;
mod store;
mod transfer;

pub use error::{Kind, StateError};
pub use file_system::{FileSystem, Locks};
pub use home::{Home, HomeOptions};
pub use lock::{ClusterLock, Holder};
pub use rows::{ActionRow, ApplyInfo, ApplyRow, ClusterRow, JournalEnd, JournalEntry, JournalRow, NewApply, Outcome};
pub use secrets::Secrets;
pub use store::Store;
pub use transfer::{export, import};
