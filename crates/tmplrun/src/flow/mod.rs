//! Flows: the ordered notebooks of a folder, as its `flow.yaml` names them.

mod file;
mod select;

pub use file::{FILE_NAME, Flow, FlowFile, Text};
pub use select::Selection;

use std::path::PathBuf;

use crate::json::Object;

/// One notebook of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowStep {
    /// The file's name, which is the step's name.
    pub name: String,
    /// Where the notebook is.
    pub path: PathBuf,
    /// Parameters that the flow gives it.
    pub parameters: Object,
    /// It runs also when an earlier step failed.
    pub always: bool,
}
