//! Flows: the notebooks of a folder and which of them need which, as its `flow.yaml` says.

mod file;
mod graph;
mod select;

pub use file::{FILE_NAME, Flow, FlowFile, Text};
pub use graph::{Graph, Row};
pub use select::Selection;

use std::path::PathBuf;

use crate::error::Result;
use crate::json::Object;

/// One notebook of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowStep {
    /// The step's name, which is its executed notebook's file name: the notebook's own if the flow gives no other.
    pub name: String,
    /// Where the notebook is.
    pub path: PathBuf,
    /// Parameters that the flow gives it.
    pub parameters: Object,
    /// The places in the flow of the steps that it needs: they end before it starts. Where the flow file says nothing,
    /// these are all the steps before it.
    pub needs: Vec<usize>,
    /// It runs also when a step that it needs failed.
    pub always: bool,
}

/// The graph of `steps`.
///
/// # Errors
/// When steps need each other in a circle.
pub fn graph(steps: &[FlowStep]) -> Result<Graph> {
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    Graph::new(steps.iter().map(|step| step.needs.clone()).collect(), &names)
}
