//! `tmplrun`: runs a notebook, or a flow of notebooks, headless.
//!
//! The shell around the library: it reads the command line and the environment, shows events, and turns results into exit
//! codes. Everything for people goes to standard error; standard output is for what was asked for (`-`, `--json`).

mod program;

use std::process::ExitCode;

fn main() -> ExitCode {
    program::main()
}
