//! Runs Jupyter notebooks, and flows of notebooks, headless.
//!
//! The library starts kernels, speaks their protocol, and keeps the document as it was written apart from what a run adds.
//! It prints nothing and reads nothing of its surroundings: the caller passes an [`Environment`], takes typed [`events`],
//! and gets a [`RunResult`]. It makes no runtime: everything is async and stops when the caller's token is cancelled.
//!
//! Start at [`run()`]; [`plan`] says what it would do.

pub mod ansi;
mod clock;
pub mod destination;
pub mod environment;
mod error;
pub mod events;
mod execute;
pub mod flow;
pub mod json;
pub mod kernel;
pub mod kernelspec;
pub mod mask;
pub mod notebook;
pub mod parameters;
pub mod place;
pub mod report;
pub mod run;
pub mod stores;

pub use environment::Environment;
pub use error::{Error, ErrorKind, Result};
pub use execute::RESULT_TYPE;
pub use run::{Options, Request, RunResult, StepPlan, plan, run};
