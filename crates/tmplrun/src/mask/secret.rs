//! Secrets named on the command line.
//!
//! What a notebook gets is the reference, never the value: the injected cell is saved, and a saved secret is a lost one.
//! The code in the notebook resolves the reference; the runner reads the value only to mask it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Result};

/// A secret parameter.
#[derive(Clone)]
pub struct Secret {
    /// The parameter's name.
    pub name: String,
    /// What the parameter holds: `file:/absolute/path` or `env:NAME`.
    pub reference: String,
    value: Vec<u8>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Secret")
            .field("name", &self.name)
            .field("reference", &self.reference)
            .finish()
    }
}

impl Secret {
    /// Reads `NAME=file:PATH` or `NAME=env:VARIABLE`.
    ///
    /// # Errors
    /// When the text has another shape, the value is missing or empty, or others can read the file.
    pub fn read(text: &str, environment: &Environment) -> Result<Self> {
        let shape = || {
            // The text is not repeated: somebody may have put the secret itself there.
            Error::yours("a secret is written NAME=file:PATH or NAME=env:VARIABLE")
                .help("put the value into a file of yours (chmod 600) and name that file")
        };
        let (name, source) = text.split_once('=').ok_or_else(shape)?;
        let (reference, value) = match source.split_once(':') {
            Some(("file", path)) if !path.is_empty() => read_file(path, environment)?,
            Some(("env", variable)) if !variable.is_empty() => {
                let value = environment.variable(variable).ok_or_else(|| {
                    Error::yours(format!(
                        "the variable {variable}, which the secret `{name}` names, is not set"
                    ))
                })?;
                (format!("env:{variable}"), value.as_bytes().to_vec())
            }
            _ => return Err(shape()),
        };
        if value.iter().all(u8::is_ascii_whitespace) {
            return Err(Error::yours(format!("the secret `{name}` is empty")));
        }
        Ok(Self {
            name: name.to_owned(),
            reference,
            value,
        })
    }

    /// The value, for masking.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

fn read_file(path: &str, environment: &Environment) -> Result<(String, Vec<u8>)> {
    let home = environment.variable("HOME").map(PathBuf::from);
    let path = match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => environment.current.join(path),
    };
    refuse_readable_by_others(&path)?;
    let value = fs_err::read(&path).map_err(|error| {
        Error::yours("the secret's file cannot be read")
            .at(&path)
            .because(error)
    })?;
    Ok((format!("file:{}", path.display()), value))
}

fn refuse_readable_by_others(path: &Path) -> Result<()> {
    let metadata = fs_err::metadata(path)
        .map_err(|error| Error::yours("the secret's file cannot be read").at(path).because(error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(Error::yours("others can read this secret's file")
            .at(path)
            .help(format!("chmod 600 {}", path.display())));
    }
    Ok(())
}
