//! Every integration test in one program: linking costs more than running them.
//!
//! Tests with a kernel need a Python that has ipykernel: `TMPLRUN_TEST_PYTHON`, or the workspace's `.venv`. Without one they
//! fail, since a test that did not run proves nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod bad_kernels;
mod destinations;
mod documents;
mod ends;
mod example;
mod flows;
mod graphs;
mod inputs;
mod kept;
mod kernels;
mod kills;
mod lab;
mod masking;
mod memory;
mod options;
mod papermill;
mod parameters;
mod progress;
mod resume;
mod rust;
mod secrets;
mod slurm;
mod stores;
mod warmth;
