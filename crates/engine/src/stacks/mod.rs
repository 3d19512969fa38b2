//! What is kept true on nodes, by the kind of cluster that they make up. Each stack is a readable list of phases.

mod containers;
mod files;
pub(crate) mod slurm;

use std::collections::BTreeMap;

use clusterbook_model::{Design, Flavor, Node, Secret};

use crate::error::Error;
use crate::item::Item;

/// What must have happened elsewhere before an item's turn comes. Items with the same barrier share one round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Barrier {
    /// Nothing: all nodes at once.
    Nothing,
    /// The controller answers.
    Controller,
    /// Every worker has been through all of its own.
    Workers,
}

/// One phase: what it keeps true on one node.
#[derive(Clone)]
pub(crate) struct Phase {
    /// Name, as plans and the journal write it.
    pub(crate) name: &'static str,
    /// When its turn comes.
    pub(crate) after: Barrier,
    /// In order; later items may build on earlier ones.
    pub(crate) items: Vec<Item>,
}

/// Everything that phases are made from.
pub(crate) struct Context<'a> {
    pub(crate) design: &'a Design,
    pub(crate) flavors: &'a BTreeMap<String, Flavor>,
    pub(crate) munge_key: Secret,
    pub(crate) shared_disks: bool,
    /// Whether daemons on nodes may use control groups of their own (version 2); containers share the machine's.
    pub(crate) cgroups: bool,
    pub(crate) renderer: &'a clusterbook_model::Renderer,
}

/// A stack, made ready for one design: rendered once, asked for each node.
pub(crate) trait Stack: Send + Sync {
    /// The phases of one node.
    fn phases(&self, node: &Node) -> &[Phase];
}

/// The stack of a design.
pub(crate) fn of(context: &Context<'_>) -> Result<Box<dyn Stack>, Error> {
    Ok(Box::new(slurm::Slurm::new(context)?))
}
