//! How a design becomes real.
//!
//! [`Engine::plan`] compares a [`Design`](clusterbook_model::Design) with what the provider lists and what the nodes say, and
//! returns a [`Plan`]: a typed list of changes. [`Engine::apply`] makes exactly those changes, as wide as their dependencies
//! allow, each one journalled before it is begun. Starting, resizing, stopping and removing a cluster are all this same
//! way with another design; there is no second one.
//!
//! The engine prints nothing, reads no environment and owns no runtime. Programs hand in [`Settings`], listen to
//! [`Event`]s and stop it through [`Stop`].

mod apply;
mod check;
mod engine;
mod error;
mod events;
mod gpus;
mod inventory;
mod item;
mod nodes;
mod observe;
mod plan;
mod reach;
mod script;
mod settings;
mod slurm;
mod stacks;
pub mod state;
mod status;
mod stop;
mod versions;

pub use check::{Check, CheckState};
pub use engine::{Applied, ApplyOptions, ClusterSummary, Engine};
pub use error::{Error, ErrorKind, Failure};
pub use events::{EVENTS_SCHEMA, Event, Events};
pub use gpus::Discovery;
pub use nodes::{NodeOutput, Outcome as RunOutcome, RunResult};
pub use plan::{Change, Plan, Verb};
pub use settings::Settings;
pub use slurm::Controller;
pub use status::{Availability, NodeStatus, Status};
pub use stop::Stop;
pub use versions::{FileOnNode, Found, Part, Version};
