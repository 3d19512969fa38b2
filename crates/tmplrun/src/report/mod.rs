//! Reports of a finished run: a page for people, JUnit XML for build servers.

mod html;
mod junit;
mod picture;

use std::path::Path;

use crate::destination;
use crate::error::Result;
use crate::run::RunResult;

/// One self-contained page; it fetches nothing and runs no script of ours.
#[must_use]
pub fn html(result: &RunResult) -> String {
    html::page(result)
}

/// JUnit XML: a suite for each notebook, a case for each cell.
#[must_use]
pub fn junit(result: &RunResult) -> String {
    junit::document(result)
}

/// Writes a report so that a reader never sees half of it.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    destination::sweep(path);
    destination::write(path, text.as_bytes())
}

/// A duration for people.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else if seconds < 3600.0 {
        format!(
            "{:.0} min {:02.0} s",
            (seconds / 60.0).floor(),
            (seconds % 60.0).floor()
        )
    } else {
        format!(
            "{:.0} h {:02.0} min",
            (seconds / 3600.0).floor(),
            (seconds / 60.0 % 60.0).floor()
        )
    }
}
