//! The commands, one file each. This list is the program.

mod apply;
mod check;
mod completions;
mod destroy;
mod export;
mod files;
mod gpus;
mod history;
mod import;
mod list;
mod new;
mod plan;
mod run;
mod status;

use std::sync::Arc;

use clap::Subcommand;

use crate::context::Context;
use crate::error::{CommandError, Ending};

/// Every command with its arguments, in the order in which a cluster meets them.
#[derive(Subcommand)]
pub(crate) enum Command {
    New(new::Arguments),
    Check(check::Arguments),
    Plan(plan::Arguments),
    Apply(apply::Arguments),
    List(list::Arguments),
    Status(status::Arguments),
    Gpus(gpus::Arguments),
    Run(run::Arguments),
    Files(files::Arguments),
    History(history::Arguments),
    Export(export::Arguments),
    Import(import::Arguments),
    Destroy(destroy::Arguments),
    Completions(completions::Arguments),
}

impl Command {
    /// Its word, as JSON documents carry it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::New(_) => "new",
            Self::Check(_) => "check",
            Self::Plan(_) => "plan",
            Self::Apply(_) => "apply",
            Self::List(_) => "list",
            Self::Status(_) => "status",
            Self::Gpus(_) => "gpus",
            Self::Run(_) => "run",
            Self::Files(_) => "files",
            Self::History(_) => "history",
            Self::Export(_) => "export",
            Self::Import(_) => "import",
            Self::Destroy(_) => "destroy",
            Self::Completions(_) => "completions",
        }
    }

    /// Does it.
    pub(crate) async fn run(self, context: &Arc<Context>) -> Result<Ending, CommandError> {
        match self {
            Self::New(arguments) => new::run(context, &arguments),
            Self::Check(arguments) => check::run(context, &arguments).await,
            Self::Plan(arguments) => plan::run(context, &arguments).await,
            Self::Apply(arguments) => apply::run(context, &arguments).await,
            Self::List(arguments) => list::run(context, &arguments),
            Self::Status(arguments) => status::run(context, &arguments).await,
            Self::Gpus(arguments) => gpus::run(context, &arguments).await,
            Self::Run(arguments) => run::run(context, &arguments).await,
            Self::Files(arguments) => files::run(context, &arguments).await,
            Self::History(arguments) => history::run(context, &arguments),
            Self::Export(arguments) => export::run(context, &arguments),
            Self::Import(arguments) => import::run(context, &arguments),
            Self::Destroy(arguments) => destroy::run(context, &arguments).await,
            Self::Completions(arguments) => completions::run(context, &arguments),
        }
    }
}
