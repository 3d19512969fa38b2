//! Everything about the caller's surroundings that a run depends on, gathered by the program.
//!
//! The library reads no variable itself: a run does what its inputs say, in a test and in a service alike.

use std::path::PathBuf;

/// The surroundings of a run.
#[derive(Debug, Clone)]
pub struct Environment {
    /// Folders that hold `kernels/`, the first winning (Jupyter's data path).
    pub jupyter_paths: Vec<PathBuf>,
    /// Variables that kernels get.
    pub variables: Vec<(String, String)>,
    /// The interpreter that stands for a bare `python` in a kernel's command, as Jupyter does with its own.
    pub python: Option<PathBuf>,
    /// Folders that may hold programs of ours beside this one, the first winning.
    pub programs: Vec<PathBuf>,
    /// Where the kernels' private folders go; kept short, since socket paths are limited to about 100 bytes.
    pub temporary: PathBuf,
    /// Where kernels live that go on after a run; made when it is needed, for its owner only. Kept short, too.
    pub kept: PathBuf,
    /// The folder that relative paths start from.
    pub current: PathBuf,
}

impl Environment {
    /// The value of a variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}
