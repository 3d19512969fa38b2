//! What can go wrong, and what to do about it.
//!
//! A cell that raises is not an error of ours: it is an [`crate::run::Outcome`]. An [`Error`] means that the run could
//! not be carried out as asked. Its text never repeats its source; the program prints the chain once.

use std::path::{Path, PathBuf};

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input or the command line: the caller can put it right.
    Yours,
    /// The machine's set-up: a kernel that is not installed, a folder that cannot be written.
    Configuration,
    /// The kernel did not start, did not answer or died.
    Kernel,
    /// The caller asked to stop.
    Interrupted,
    /// Something that must not happen.
    Bug,
}

/// An error with its place and the next step.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.place())]
pub struct Error {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    line: Option<usize>,
    help: Option<String>,
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Everything here fails with [`Error`]. It is boxed because it carries much and happens rarely.
pub type Result<T, E = Box<Error>> = std::result::Result<T, E>;

impl Error {
    /// A new error of `kind`; `message` says what is wrong in one clause.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            kind,
            message: message.into(),
            path: None,
            line: None,
            help: None,
            source: None,
        })
    }

    pub(crate) fn yours(message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Yours, message)
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Configuration, message)
    }

    pub(crate) fn kernel(message: impl Into<String>) -> Box<Self> {
        Self::new(ErrorKind::Kernel, message)
    }

    /// Adds the file it is about.
    #[must_use]
    pub fn at(mut self: Box<Self>, path: &Path) -> Box<Self> {
        self.path = Some(path.to_path_buf());
        self
    }

    /// Adds the line it is about, from 1.
    #[must_use]
    pub fn line(mut self: Box<Self>, line: usize) -> Box<Self> {
        self.line = Some(line);
        self
    }

    /// Adds what to do next.
    #[must_use]
    pub fn help(mut self: Box<Self>, help: impl Into<String>) -> Box<Self> {
        self.help = Some(help.into());
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self: Box<Self>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Box<Self> {
        self.source = Some(source.into());
        self
    }

    /// Whose turn it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file it is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// What to do next.
    #[must_use]
    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    fn place(&self) -> String {
        match (&self.path, self.line) {
            (Some(path), Some(line)) => format!("{}:{line}: {}", path.display(), self.message),
            (Some(path), None) => format!("{}: {}", path.display(), self.message),
            _ => self.message.clone(),
        }
    }
}
