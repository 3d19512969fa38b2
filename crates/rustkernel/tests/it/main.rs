//! The kernel as a front end sees it. Each test has a kernel of its own, which takes seconds to start, so a test looks at
//! several things that belong together. `ci/rust-kernel test` runs them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)]

mod client;
mod compare;
mod ends;
mod failures;
mod notebook;
mod outputs;
mod programs;
