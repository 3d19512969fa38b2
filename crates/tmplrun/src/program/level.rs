//! How much is shown, in papermill's words.

use clap::ValueEnum;

/// The least important line that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
#[value(rename_all = "UPPER")]
pub(crate) enum Level {
    Notset,
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

impl Level {
    /// Progress, and what the notebook puts on standard output.
    pub(crate) fn shows_progress(self) -> bool {
        self <= Self::Info
    }

    /// Warnings, and what the notebook puts on standard error.
    pub(crate) fn shows_warnings(self) -> bool {
        self <= Self::Warning
    }
}
