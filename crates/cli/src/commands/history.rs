//! `clusterbook history`

use clusterbook_engine::state::{ActionRow, ApplyInfo, ClusterRow, Home, JournalEnd, JournalRow, Outcome, Store};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::{Tone, plain};

/// Show what was done to a cluster: applies, and commands run on its nodes
#[derive(clap::Args)]
#[command(after_help = "\
A cluster that was destroyed keeps its history until one of the same name is made.

Examples:
  clusterbook history demo
  clusterbook history demo --apply 3
  clusterbook history demo --json")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
    /// Show the single changes of this apply instead
    #[arg(long, value_name = "NUMBER")]
    apply: Option<u64>,
    /// Show at most this many actions
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    limit: usize,
}

#[derive(Serialize)]
struct History<'a> {
    cluster: &'a ClusterRow,
    applies: &'a [ApplyInfo],
    actions: &'a [ActionRow],
}

#[derive(Serialize)]
struct Changes<'a> {
    cluster: &'a ClusterRow,
    apply: u64,
    changes: &'a [JournalRow],
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let engine = context.engine("history")?;
    let store = Home::open(engine.state_folder())?.store()?;
    let cluster = match store
        .clusters()?
        .into_iter()
        .rev()
        .find(|row| row.name == arguments.name)
    {
        Some(cluster) => cluster,
        // The engine knows best how to say that there is none.
        None => engine.cluster(&arguments.name).map(|_| Ending::Done).map_or_else(
            |error| Err(CommandError::from(error)),
            |_| Err(CommandError::bug("a cluster was found that is in no list")),
        )?,
    };
    match arguments.apply {
        Some(number) => changes(context, &store, &cluster, number),
        None => history(context, &store, &cluster, arguments.limit),
    }
}

fn history(context: &Context, store: &Store, cluster: &ClusterRow, limit: usize) -> Result<Ending, CommandError> {
    let applies = store.applies(&cluster.id)?;
    let actions = store.actions(&cluster.id, limit)?;
    let mut rows: Vec<_> = applies
        .iter()
        .map(|apply| {
            let (word, tone, why) = match &apply.outcome {
                None => ("under way", Tone::Note, ""),
                Some(Outcome::Done) => ("done", Tone::Good, ""),
                Some(Outcome::Failed(why)) => ("failed", Tone::Bad, why.as_str()),
                Some(Outcome::Interrupted) => ("interrupted", Tone::Note, ""),
                Some(_) => ("other", Tone::Plain, ""),
            };
            let row = vec![
                plain(format!("{:.0}", apply.started_at)),
                plain(format!("{} {}", apply.what, apply.number)),
                plain(format!("{}@{}", apply.user, apply.host)),
                (word.to_owned(), tone),
                plain(why),
            ];
            (apply.started_at, row)
        })
        .chain(actions.iter().map(|action| {
            let tone = if action.outcome == "done" {
                Tone::Good
            } else {
                Tone::Note
            };
            let row = vec![
                plain(format!("{:.0}", action.at)),
                plain(&action.what),
                plain("-"),
                (action.outcome.clone(), tone),
                plain(&action.detail),
            ];
            (action.at, row)
        }))
        .collect();
    rows.sort_by_key(|(at, _)| *at);
    context.output.table(
        &["WHEN", "WHAT", "WHO", "ENDED", "DETAIL"],
        rows.into_iter().map(|(_, row)| row).collect(),
    );
    if let Some(removed) = cluster.removed_at {
        context
            .output
            .text(&format!("Cluster {} was destroyed at {removed:.0}.", cluster.name));
    }
    context.output.document(&History {
        cluster,
        applies: &applies,
        actions: &actions,
    });
    Ok(Ending::Done)
}

fn changes(context: &Context, store: &Store, cluster: &ClusterRow, number: u64) -> Result<Ending, CommandError> {
    let applies = store.applies(&cluster.id)?;
    if !applies.iter().any(|apply| apply.number == number) {
        let last = applies.last().map_or(0, |apply| apply.number);
        return Err(
            CommandError::input(format!("cluster {} had no apply {number}", cluster.name))
                .hint(format!("its applies are numbered 1 to {last}")),
        );
    }
    let changes = store.journal(&cluster.id, Some(number))?;
    let rows = changes
        .iter()
        .map(|change| {
            let (word, tone, why) = match &change.end {
                None => ("unknown", Tone::Note, String::new()),
                Some(JournalEnd::Done) => ("done", Tone::Good, String::new()),
                Some(JournalEnd::Failed(why)) => ("failed", Tone::Bad, why.clone()),
                Some(JournalEnd::TakenOver { by }) => ("taken over", Tone::Note, format!("by apply {by}")),
                Some(_) => ("other", Tone::Plain, String::new()),
            };
            vec![
                plain(format!("{:.0}", change.begun_at)),
                plain(&change.change),
                (word.to_owned(), tone),
                plain(why),
            ]
        })
        .collect();
    context.output.table(&["BEGUN", "CHANGE", "ENDED", "DETAIL"], rows);
    context.output.document(&Changes {
        cluster,
        apply: number,
        changes: &changes,
    });
    Ok(Ending::Done)
}
