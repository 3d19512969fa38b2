//! The program `clusterbook`: the primitives of the notebooks, from a shell.
//!
//! A command is a file in [`commands`]. Each one turns its arguments into calls of the engine and hands what comes back to
//! [`output`], the only module that writes to the terminal. Errors become [`error::CommandError`] and are shown once, here.

mod commands;
mod context;
mod design;
mod error;
mod files;
mod output;
mod panic;
mod passphrase;
mod plan_view;
mod progress;
mod signals;
mod templates;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;

use crate::commands::Command;
use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::Output;

const AFTER_HELP: &str = "\
Exit status:
  0    done
  1    parts failed: a node, the provider or a check; what succeeded is kept
  2    bad usage or bad input; nothing was changed
  3    there is something to change (`plan --exit-code`, `files diff`)
  4    the state folder, a file, a template or a setting of this machine needs attention
  5    somebody else is changing the cluster
  70   a fault of clusterbook
  130  interrupted; doing the same again goes on from there
  `run` ends with the highest exit status that the command had on any node.

Environment:
  CLUSTERBOOK_HOME    state folder; default: clusterbook in $XDG_STATE_HOME or ~/.local/state
  CLUSTERBOOK_ENGINE  socket of the container engine for `local`; default: DOCKER_HOST, usual places
  NO_COLOR            any value: no colours

Examples:
  clusterbook new demo && clusterbook check demo
  clusterbook apply demo
  clusterbook run demo --on all -- uptime
  clusterbook destroy demo";

/// Build, look at, change and remove HPC clusters from a shell.
///
/// A cluster is described by a design file, NAME.cluster.yaml. `plan` shows what would make the cluster as designed, `apply`
/// does it, and nothing else changes a cluster. The notebooks do the same through the same engine and share its state.
#[derive(Parser)]
#[command(name = "clusterbook", version, max_term_width = 120, after_help = AFTER_HELP)]
struct Arguments {
    /// Print one JSON document on standard output instead of text: {"schema": 1, "command": …}
    #[arg(long, global = true)]
    json: bool,
    /// Folder with templates that replace built-in ones of the same name, for example slurm/slurm.conf.j2
    #[arg(long, global = true, value_name = "DIR")]
    templates: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

fn main() -> ExitCode {
    panic::install_hook();
    let arguments = Arguments::parse();
    let output = Output::new(arguments.command.name(), arguments.json);
    let context = Arc::new(Context::new(output, arguments.templates));
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| CommandError::configuration("the asynchronous runtime can't be started").because(&error))
        .and_then(|runtime| {
            let result = runtime.block_on(arguments.command.run(&context));
            // What still hangs on a connection is no reason to wait.
            runtime.shutdown_background();
            result
        });
    let ending = result.unwrap_or_else(|error| {
        error.show(&context.output);
        error.ending
    });
    // Output that could not be written makes the whole a failure, unless its reader just went away.
    match (ending, context.output.trouble()) {
        (Ending::Done, Some(error)) => {
            let error = CommandError::configuration("the output can't be written").because(&error);
            error.show(&context.output);
            error.ending.into()
        }
        (ending, _) => ending.into(),
    }
}
