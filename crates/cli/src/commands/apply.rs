//! `clusterbook apply`

use std::path::PathBuf;
use std::sync::Arc;

use clusterbook_engine::{ApplyOptions, Engine, Plan, Stop, Verb};

use crate::context::Context;
use crate::design;
use crate::error::{CommandError, Ending};
use crate::output::{count, seconds};
use crate::plan_view;
use crate::progress::Progress;
use crate::signals;
use crate::terminal;

/// Make a cluster as designed: show the plan, then carry it out. Safe to repeat and to interrupt
#[derive(clap::Args)]
#[command(after_help = "\
If the plan deletes anything, you are asked first; where there is no terminal, --yes is needed. \
The first Ctrl-C finishes what has begun, the second stops now; applying again goes on from there.

Examples:
  clusterbook apply
  clusterbook apply demo --yes
  clusterbook apply demo --events demo.events.jsonl")]
pub(crate) struct Arguments {
    /// Path of a *.cluster.yaml, or a cluster's name for NAME.cluster.yaml here; default: the only one in this folder
    design: Option<String>,
    /// Don't ask before something is deleted
    #[arg(long, short)]
    yes: bool,
    /// Add everything that happens to this file, one JSON object a line
    #[arg(long, value_name = "FILE")]
    events: Option<PathBuf>,
}

pub(crate) async fn run(context: &Arc<Context>, arguments: &Arguments) -> Result<Ending, CommandError> {
    let output = &context.output;
    let loaded = design::load(arguments.design.as_deref())?;
    let engine = context.engine("apply")?;
    let plan = engine.plan(&loaded.design, &Stop::new()).await?;
    plan_view::show(output, &plan);
    if plan.is_empty()
        && let Some(applied) = engine.already_applied(&loaded.design, &plan)?
    {
        output.document(&applied);
        return Ok(Ending::Done);
    }
    if plan.destroys() && !arguments.yes {
        confirm(context, &plan)?;
    }
    let options = ApplyOptions {
        design_path: Some(loaded.path),
        agreed: (!arguments.yes).then(|| plan.changes.iter().map(|change| change.id.clone()).collect()),
    };
    let progress = Progress::begin(context, arguments.events.as_deref())?;
    let stop = signals::stop_on_signals(signals::SOON, progress.teller())?;
    let applied = apply(&engine, &loaded.design, &options, &progress, &stop).await;
    progress.end().await?;
    let applied = applied?;
    if !applied.plan.is_empty() {
        output.text(&format!(
            "Cluster {} is as designed: {} made in {}.",
            applied.cluster,
            count(applied.plan.changes.len(), "change"),
            seconds(applied.stages.iter().map(|(_, milliseconds)| milliseconds).sum())
        ));
    }
    output.document(&applied);
    Ok(Ending::Done)
}

async fn apply(
    engine: &Engine,
    design: &clusterbook_model::Design,
    options: &ApplyOptions,
    progress: &Progress,
    stop: &Stop,
) -> Result<clusterbook_engine::Applied, CommandError> {
    Ok(Box::pin(engine.apply(design, options, progress.events(), stop)).await?)
}

fn confirm(context: &Context, plan: &Plan) -> Result<(), CommandError> {
    let deletions = count(plan.count(Verb::Delete), "deletion");
    if !terminal::is_there() {
        return Err(CommandError::input(format!(
            "the plan for cluster {} holds {deletions}, and there is no terminal to ask at",
            plan.cluster
        ))
        .hint("read the plan, then give --yes; nothing was changed"));
    }
    let answer = terminal::ask(&context.output, &format!("Carry this out, with {deletions}? [y/N] "))?;
    match answer.to_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(CommandError::interrupted("not confirmed: nothing was changed")),
    }
}
