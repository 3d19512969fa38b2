//! The vocabulary of the features, one file per group of steps.

mod cluster;
mod design;
mod elsewhere;
mod images;
mod linpack;
mod notebooks;
mod programs;
mod provider;
pub(crate) mod secrets;
mod surroundings;
