//! `clusterbook gpus`

use clusterbook_engine::Stop;
use clusterbook_model::GpuState;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::{Tone, plain};

/// Show the GPUs that a cluster's workers have, beside what its design says. Changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Ends with status 1 if a node lacks what its design says.

Examples:
  clusterbook gpus demo
  clusterbook gpus demo --json | jq .proposals")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let engine = context.engine("gpus")?;
    // Nothing is changed, so a signal may end the program at any time.
    let found = engine.gpus(&arguments.name, &Stop::new()).await?;
    let rows = found
        .rows
        .iter()
        .map(|row| {
            let (word, tone) = match row.state {
                GpuState::Good => ("good", Tone::Good),
                GpuState::Note => ("note", Tone::Note),
                GpuState::Bad => ("bad", Tone::Bad),
            };
            vec![
                plain(&row.node),
                plain(&row.group),
                plain(&row.designed),
                plain(&row.found),
                (word.to_owned(), tone),
                plain(&row.detail),
                plain(&row.help),
            ]
        })
        .collect();
    context.output.table(
        &["NODE", "GROUP", "DESIGNED", "FOUND", "STATE", "DETAIL", "WHAT TO DO"],
        rows,
    );
    context.output.document(&found);
    let good = found.rows.iter().all(|row| row.state != GpuState::Bad);
    Ok(if good { Ending::Done } else { Ending::Failed })
}
