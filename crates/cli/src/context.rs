//! What every command is given, and the engine made from it.

use std::path::PathBuf;

use clusterbook_engine::{Engine, Settings};

use crate::error::CommandError;
use crate::output::Output;
use crate::templates;

/// What every command is given.
pub(crate) struct Context {
    pub(crate) output: Output,
    templates: Option<PathBuf>,
}

impl Context {
    pub(crate) fn new(output: Output, templates: Option<PathBuf>) -> Self {
        Self { output, templates }
    }

    /// The engine. `what` is told to whoever finds a cluster locked by this process.
    pub(crate) fn engine(&self, what: &str) -> Result<Engine, CommandError> {
        let lookup = |name: &str| std::env::var(name).ok();
        let mut settings = Settings::from_lookup(lookup, what, jiff::Timestamp::now());
        if let Some(folder) = &self.templates {
            settings.templates = templates::read(folder)?;
        }
        Ok(Engine::open(settings)?)
    }
}
