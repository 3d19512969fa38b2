//! `clusterbook plan`

use clusterbook_engine::Stop;

use crate::context::Context;
use crate::design;
use crate::error::{CommandError, Ending};
use crate::plan_view;

/// Show the changes that would make a cluster as designed. Changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Ends with status 0 whether or not there are changes; with --exit-code, with status 3 if there are.

Examples:
  clusterbook plan
  clusterbook plan demo --exit-code
  clusterbook plan --destroy demo
  clusterbook plan demo --json | jq -r '.changes[].id'")]
pub(crate) struct Arguments {
    /// Path of a *.cluster.yaml, or a cluster's name for NAME.cluster.yaml here; default: the only one in this folder
    design: Option<String>,
    /// Show what removing this cluster would delete instead
    #[arg(long, value_name = "NAME", conflicts_with = "design")]
    destroy: Option<String>,
    /// End with status 3 if there are changes
    #[arg(long)]
    exit_code: bool,
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let plan = match &arguments.destroy {
        Some(name) => context.engine("plan")?.plan_destroy(name).await?,
        None => {
            let loaded = design::load(arguments.design.as_deref())?;
            context.engine("plan")?.plan(&loaded.design, &Stop::new()).await?
        }
    };
    plan_view::show(&context.output, &plan);
    context.output.document(&plan);
    Ok(if arguments.exit_code && !plan.is_empty() {
        Ending::Changes
    } else {
        Ending::Done
    })
}
