//! Tar archives in memory, as engines want files.

use crate::{ErrorKind, ProviderError};

/// An archive whose entries all belong to root.
#[derive(Default)]
pub(super) struct Archive {
    builder: Option<tar::Builder<Vec<u8>>>,
    failed: Option<std::io::Error>,
}

impl Archive {
    /// A folder. Parents are made by whoever unpacks.
    pub(super) fn folder(&mut self, path: &str, mode: u32) {
        self.entry(tar::EntryType::Directory, &format!("{path}/"), mode, &[]);
    }

    /// A file.
    pub(super) fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(tar::EntryType::Regular, path, mode, content);
    }

    fn entry(&mut self, kind: tar::EntryType, path: &str, mode: u32, content: &[u8]) {
        let builder = self.builder.get_or_insert_with(|| tar::Builder::new(Vec::new()));
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(content.len() as u64);
        if let Err(error) = builder.append_data(&mut header, path, content) {
            self.failed.get_or_insert(error);
        }
    }

    /// The bytes. The first entry that couldn't be written, for instance because its path leaves the archive, fails it all.
    pub(super) fn finish(self, resource: &str) -> Result<Vec<u8>, ProviderError> {
        let failed = |error: std::io::Error| ProviderError::new(ErrorKind::Invalid, resource, error.to_string());
        if let Some(error) = self.failed {
            return Err(failed(error));
        }
        self.builder
            .unwrap_or_else(|| tar::Builder::new(Vec::new()))
            .into_inner()
            .map_err(failed)
    }
}
