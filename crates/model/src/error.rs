//! What is wrong with a person's input, said all at once.
//!
//! A design is checked to its end before anything is reported: someone who made four mistakes wants to read four lines,
//! not to meet them one by one over four attempts.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One thing that is wrong with a design.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Where, as the parameter's path: `groups[1].addresses`. Indexes count from zero. Empty for the design as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Everything that is wrong with a design. Never empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => write!(formatter, "the design has a fault:")?,
            count => write!(formatter, "the design has {count} faults:")?,
        }
        for fault in &self.0 {
            write!(formatter, "\n  {fault}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message, help } = self;
        if path.is_empty() {
            write!(formatter, "{message}")?;
        } else {
            write!(formatter, "{path}: {message}")?;
        }
        if !help.is_empty() {
            write!(formatter, " ({help})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// A short expression (hosts, addresses, a size) that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, with the offending text in it.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

impl ExpressionError {
    pub(crate) fn new(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            help: help.into(),
        }
    }
}

/// The known name that `wrong` was most likely meant to be, if any is close enough to be worth offering.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lowered = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&lowered, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.78)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, name)| name)
}
