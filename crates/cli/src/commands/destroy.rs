//! `clusterbook destroy`

use std::path::PathBuf;
use std::sync::Arc;

use clusterbook_engine::ApplyOptions;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::seconds;
use crate::plan_view;
use crate::progress::Progress;
use crate::signals;
use crate::terminal;

/// Remove a cluster with everything it holds, and prove by the provider's listing that nothing is left
#[derive(clap::Args)]
#[command(after_help = "\
What would be deleted is shown first, and you are asked to type the cluster's name; where there is no terminal, --yes is \
needed. The design file stays.

Examples:
  clusterbook plan --destroy demo
  clusterbook destroy demo
  clusterbook destroy demo --yes")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
    /// Don't ask
    #[arg(long, short)]
    yes: bool,
    /// Add everything that happens to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

pub(crate) async fn run(context: &Arc<Context>, arguments: &Arguments) -> Result<Ending, CommandError> {
    let output = &context.output;
    let engine = context.engine("destroy")?;
    let plan = engine.plan_destroy(&arguments.name).await?;
    if plan.is_empty() {
        output.text(&format!("Nothing of cluster {} exists any more.", plan.cluster));
    } else {
        plan_view::show(output, &plan);
    }
    if !arguments.yes {
        confirm(context, &arguments.name)?;
    }
    let options = ApplyOptions {
        agreed: (!arguments.yes).then(|| plan.changes.iter().map(|change| change.id.clone()).collect()),
        ..ApplyOptions::default()
    };
    let progress = Progress::begin(context, arguments.events.as_deref())?;
    let stop = signals::stop_on_signals(signals::SOON, progress.teller())?;
    let applied = Box::pin(engine.destroy(&arguments.name, &options, progress.events(), &stop)).await;
    progress.end().await?;
    let applied = applied?;
    output.text(&format!(
        "Cluster {} is gone, in {}.",
        applied.cluster,
        seconds(applied.stages.iter().map(|(_, milliseconds)| milliseconds).sum())
    ));
    output.document(&applied);
    Ok(Ending::Done)
}

fn confirm(context: &Context, name: &str) -> Result<(), CommandError> {
    if !terminal::is_there() {
        return Err(CommandError::input(format!(
            "destroying cluster {name} must be confirmed, and there is no terminal to ask at"
        ))
        .hint("give --yes; nothing was changed"));
    }
    let question = format!("Everything above is lost for good. Type {name} to go on: ");
    if terminal::ask(&context.output, &question)? == name {
        Ok(())
    } else {
        Err(CommandError::interrupted("not confirmed: nothing was changed"))
    }
}
