//! Which `tmplrun` runs on the nodes.
//!
//! A node may have another architecture than the machine that asks, and an older C library; so what is sent is a static
//! program for each architecture that there is one of, and the job takes the one that fits its node.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};

/// A program here that can be sent.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// As `uname -m` calls it.
    pub(super) architecture: &'static str,
    /// Its name there, which no other content has.
    pub(super) name: String,
    pub(super) size: u64,
}

/// The first program for each architecture among `paths`; what doesn't exist or is no program is passed over.
pub(super) fn find(paths: &[PathBuf]) -> Result<Vec<Program>> {
    let mut found: Vec<Program> = Vec::new();
    for path in paths {
        let Some(architecture) = architecture(path) else {
            continue;
        };
        if found.iter().any(|program| program.architecture == architecture) {
            continue;
        }
        let (hash, size) = digest(path).map_err(|error| {
            Error::configuration("the program to send cannot be read")
                .at(path)
                .because(error)
        })?;
        found.push(Program {
            path: path.clone(),
            architecture,
            name: format!("tmplrun-{architecture}-{hash}"),
            size,
        });
    }
    Ok(found)
}

/// The architecture that a program is for, by its ELF header.
fn architecture(path: &Path) -> Option<&'static str> {
    let mut header = [0; 20];
    fs_err::File::open(path).ok()?.read_exact(&mut header).ok()?;
    if !header.starts_with(b"\x7fELF") {
        return None;
    }
    let little = header[5] == 1;
    let machine = [header[18], header[19]];
    match (
        if little {
            u16::from_le_bytes(machine)
        } else {
            u16::from_be_bytes(machine)
        },
        little,
    ) {
        (62, true) => Some("x86_64"),
        (183, true) => Some("aarch64"),
        (243, true) => Some("riscv64"),
        (21, true) => Some("ppc64le"),
        (22, false) => Some("s390x"),
        _ => None,
    }
}

fn digest(path: &Path) -> std::io::Result<(String, u64)> {
    let mut file = fs_err::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
    let hash = hasher.finalize();
    Ok((hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect(), size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_told_apart_by_their_header() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, machine: u8, more: &[u8]| {
            let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
            bytes.extend([machine, 0]);
            bytes.extend(more);
            let path = folder.path().join(name);
            fs_err::write(&path, bytes).unwrap();
            path
        };
        let paths = [
            write("arm", 183, b"1"),
            write("intel", 62, b"2"),
            write("second-arm", 183, b"3"),
            write("strange", 9, b""),
            folder.path().join("missing"),
        ];
        fs_err::write(folder.path().join("script"), "#!/bin/sh\n# longer than a header is\n").unwrap();
        let mut found = find(&paths).unwrap();
        found.extend(find(&[folder.path().join("script")]).unwrap());
        let architectures: Vec<_> = found.iter().map(|program| program.architecture).collect();
        assert_eq!(architectures, ["aarch64", "x86_64"]);
        assert_eq!(found[0].path, paths[0]);
        assert_ne!(
            found[0].name,
            find(&paths[2..3]).unwrap()[0].name,
            "the content decides the name"
        );
    }
}
