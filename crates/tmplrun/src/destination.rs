//! Where a file goes that somebody named.
//!
//! A file is replaced as a whole, so that a reader never sees half of it: it is written beside and renamed. Links are
//! followed, so that the file they lead to is replaced and not they. What must not be replaced is written to as it is: a
//! device or a pipe, and a file that something is mounted on, which the system does not let anybody replace.

use std::fs::FileType;
use std::io::{self, BufWriter, Seek as _, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use fs_err::File;
use rustix::fs::{Access, AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use tempfile::NamedTempFile;

use crate::error::{Error, Result};

/// So many links may lead to one another, as for the system itself.
const LINKS: usize = 40;
/// How many bytes a file's name may have.
const LONGEST_NAME: usize = 255;
/// In such a folder only a file's owner may replace it.
const STICKY: u32 = 0o1000;

/// Where a file goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// As it was named.
    path: PathBuf,
    way: Way,
}

#[derive(Debug, Clone)]
enum Way {
    /// This file is replaced, or made.
    Replace(PathBuf),
    /// This file cannot be replaced: its content is.
    Overwrite(PathBuf),
    /// It is no file.
    Stream(Stream),
}

#[derive(Debug, Clone)]
enum Stream {
    /// The program's own, which need not be one that can be opened a second time.
    Stdout,
    Stderr,
    /// A device or a pipe.
    Named(PathBuf),
}

/// What a path leads to.
enum Found {
    File(PathBuf),
    Stream(Stream),
}

impl Destination {
    /// Finds out what `path` stands for and makes its folder.
    ///
    /// # Errors
    /// When nothing can be written there, as far as that shows without writing.
    pub fn find(path: &Path) -> Result<Self> {
        let way = || -> io::Result<Way> {
            let real = match look(path)? {
                Found::Stream(stream) => return stream.prove().map(|()| Way::Stream(stream)),
                Found::File(real) => real,
            };
            fs_err::create_dir_all(folder_of(&real))?;
            let Ok(old) = fs_err::metadata(&real) else {
                return Ok(Way::Replace(real));
            };
            if is_mounted(&real) {
                fs_err::OpenOptions::new().write(true).open(&real)?;
                return Ok(Way::Overwrite(real));
            }
            let folder = fs_err::metadata(folder_of(&real))?;
            let me = rustix::process::geteuid().as_raw();
            if !may_replace(me, old.uid(), folder.uid(), folder.mode()) {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    "the file there belongs to somebody else, and in this folder only they may replace it",
                ));
            }
            Ok(Way::Replace(real))
        };
        Ok(Self {
            path: path.to_path_buf(),
            way: way().map_err(|error| unwritable(path, error))?,
        })
    }

    /// Finds out by trying whether a file can be written there, and leaves nothing.
    ///
    /// # Errors
    /// When it cannot.
    pub fn prove(&self) -> Result<()> {
        match &self.way {
            Way::Stream(_) => Ok(()),
            Way::Replace(real) | Way::Overwrite(real) => aside(real, 0o600)
                .map(drop)
                .map_err(|error| unwritable(&self.path, error)),
        }
    }

    /// It is a device, a pipe or a standard stream: written once, and never read again.
    pub(crate) fn is_stream(&self) -> bool {
        matches!(self.way, Way::Stream(_))
    }

    /// As it was named.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the whole content.
    pub(crate) fn write(&self, content: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        let write = || match &self.way {
            Way::Stream(stream) => {
                let mut out = BufWriter::new(stream.open()?);
                content(&mut out)?;
                out.flush()
            }
            Way::Replace(real) => {
                // A file that was there keeps its mode; a new one gets what an ordinary file gets, which the umask limits.
                let old = fs_err::metadata(real).map(|old| old.permissions()).ok();
                let mut file = aside(real, if old.is_some() { 0o600 } else { 0o666 })?;
                content(file.as_file_mut())?;
                if let Some(old) = old {
                    file.as_file().set_permissions(old)?;
                }
                match file.persist(real) {
                    Ok(_) => Ok(()),
                    Err(failed) if failed.error.raw_os_error() == Some(Errno::BUSY.raw_os_error()) => {
                        overwrite(real, failed.file)
                    }
                    Err(failed) => Err(failed.error),
                }
            }
            Way::Overwrite(real) => {
                let mut file = aside(real, 0o600)?;
                content(file.as_file_mut())?;
                overwrite(real, file)
            }
        };
        write().map_err(|error| unwritable(&self.path, error))
    }
}

impl Stream {
    fn prove(&self) -> io::Result<()> {
        match self {
            Self::Stdout | Self::Stderr => Ok(()),
            Self::Named(path) => Ok(rustix::fs::access(path, Access::WRITE_OK)?),
        }
    }

    fn open(&self) -> io::Result<File> {
        let (own, name) = match self {
            Self::Stdout => (rustix::stdio::stdout(), "/dev/stdout"),
            Self::Stderr => (rustix::stdio::stderr(), "/dev/stderr"),
            Self::Named(path) => return fs_err::OpenOptions::new().write(true).open(path),
        };
        let own = rustix::io::fcntl_dupfd_cloexec(own, 0)?;
        Ok(File::from_parts(own.into(), name))
    }
}

/// Opens `path` for what comes bit by bit: an old file is emptied, a device or a pipe is taken as it is.
///
/// # Errors
/// When it cannot be written.
pub fn create(path: &Path) -> Result<File> {
    let create = || match look(path)? {
        Found::Stream(stream) => stream.open(),
        Found::File(real) => {
            fs_err::create_dir_all(folder_of(&real))?;
            File::create(real)
        }
    };
    create().map_err(|error| unwritable(path, error))
}

/// Whether `path` is another name for the program's standard output.
#[must_use]
pub fn is_stdout(path: &Path) -> bool {
    matches!(look(path), Ok(Found::Stream(Stream::Stdout)))
}

/// The file that `path` leads to, which need not be there.
pub(crate) fn real(path: &Path) -> PathBuf {
    match look(path) {
        Ok(Found::File(real)) => real,
        _ => path.to_path_buf(),
    }
}

fn look(path: &Path) -> io::Result<Found> {
    let mut real = path.to_path_buf();
    for _ in 0..LINKS {
        match real.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => return Ok(Found::Stream(Stream::Stdout)),
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => return Ok(Found::Stream(Stream::Stderr)),
            _ => {}
        }
        let here = match fs_err::symlink_metadata(&real) {
            Ok(here) => here.file_type(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Links in /proc lead to what has no name as well.
                let nameless = fs_err::metadata(path).is_ok_and(|there| is_stream(there.file_type()));
                return Ok(match nameless {
                    true => Found::Stream(Stream::Named(path.to_path_buf())),
                    false => Found::File(real),
                });
            }
            Err(error) => return Err(error),
        };
        if !here.is_symlink() {
            return kind(real, here);
        }
        real = folder_of(&real).join(fs_err::read_link(&real)?);
    }
    Err(Errno::LOOP.into())
}

fn kind(real: PathBuf, kind: FileType) -> io::Result<Found> {
    if kind.is_file() {
        Ok(Found::File(real))
    } else if is_stream(kind) {
        Ok(Found::Stream(Stream::Named(real)))
    } else if kind.is_dir() {
        Err(io::ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::other("it is neither a file nor a pipe"))
    }
}

fn is_stream(kind: FileType) -> bool {
    kind.is_fifo() || kind.is_char_device()
}

/// Whether something is mounted on the very file, as containers do with single files of their host.
fn is_mounted(real: &Path) -> bool {
    rustix::fs::statx(CWD, real, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn may_replace(me: u32, owner: u32, folders_owner: u32, folders_mode: u32) -> bool {
    folders_mode & STICKY == 0 || [0, owner, folders_owner].contains(&me)
}

pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// The name of a file of ours that belongs to `path`, beside it.
pub(crate) fn companion(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    let plain = format!(".{}{ending}", name.to_string_lossy());
    if plain.len() <= LONGEST_NAME {
        path.with_file_name(plain)
    } else {
        path.with_file_name(format!("{}{ending}", short(path)))
    }
}

/// Stands for the name of `path`, which may be as long as names can be already.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    let digest = Sha256::digest(name.as_encoded_bytes());
    let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    format!(".tmplrun-{digest}")
}

/// What a file that is about to replace `path` is called: something of its own between these two.
fn beside(path: &Path) -> (String, &'static str) {
    (format!("{}.", short(path)), ".new")
}

fn aside(real: &Path, mode: u32) -> io::Result<NamedTempFile> {
    let (start, end) = beside(real);
    tempfile::Builder::new()
        .prefix(&start)
        .suffix(end)
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(folder_of(real))
}

/// Puts the content of `file` into the file that is there. It was written aside first, so that a full disk is found before
/// the old content is gone.
fn overwrite(real: &Path, mut file: NamedTempFile) -> io::Result<()> {
    file.rewind()?;
    let mut there = fs_err::OpenOptions::new().write(true).truncate(true).open(real)?;
    io::copy(file.as_file_mut(), &mut there).map(drop)
}

/// Removes what writers of `path` left that were killed. The caller knows that nobody writes it now.
pub(crate) fn sweep(path: &Path) {
    let real = real(path);
    let (start, end) = beside(&real);
    for entry in fs_err::read_dir(folder_of(&real)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&start) && name.ends_with(end) && name.len() > start.len() + end.len() {
            let _ = fs_err::remove_file(entry.path());
        }
    }
}

/// Writes `bytes` to where `path` leads.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    Destination::find(path)?.write(|file| file.write_all(bytes))
}

pub(crate) fn unwritable(path: &Path, error: io::Error) -> Box<Error> {
    Error::configuration("the output cannot be written")
        .at(path)
        .help("choose another output path, or make its folder writable")
        .because(error)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{LONGEST_NAME, beside, companion, may_replace};

    #[test]
    fn in_a_sticky_folder_only_the_owners_replace_a_file() {
        assert!(may_replace(7, 8, 9, 0o777));
        for (me, may) in [(7, false), (8, true), (9, true), (0, true)] {
            assert_eq!(may_replace(me, 8, 9, 0o1777), may, "{me}");
        }
    }

    #[test]
    fn names_of_our_files_fit_beside_the_longest_name() {
        let (long, other) = ("x".repeat(LONGEST_NAME), "y".repeat(LONGEST_NAME));
        let name = |path: &str| companion(Path::new(path), ".journal").file_name().unwrap().to_owned();
        assert_eq!(name("a/b.ipynb"), ".b.ipynb.journal");
        assert!(
            name(&long).len() < 40 && name(&long) != name(&other),
            "{:?}",
            name(&long)
        );
        assert!(beside(Path::new(&long)).0.len() < 40);
    }
}
