//! The program as people and scripts meet it: started as a process, with an environment of its own, in a folder of its own.
//!
//! Where machines are needed, they are those of the in-memory world, which the program `clusterbook-world` serves on a
//! socket; see [`place`] for how it gets here.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod bad_input;
mod files;
mod help;
mod life;
mod place;
mod stopping;
mod templates;
mod terminal;
