//! `clusterbook list`

use clusterbook_engine::ClusterSummary;
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::plain;

/// List the clusters of this state folder
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clusterbook list
  clusterbook list --json | jq -r '.clusters[].name'")]
pub(crate) struct Arguments {}

#[derive(Serialize)]
struct Clusters {
    clusters: Vec<ClusterSummary>,
}

pub(crate) fn run(context: &Context, _arguments: &Arguments) -> Result<Ending, CommandError> {
    let engine = context.engine("list")?;
    let clusters = engine.clusters()?;
    if clusters.is_empty() {
        let folder = engine.state_folder().display();
        context.output.text(&format!("No clusters in {folder}."));
    } else {
        let rows = clusters
            .iter()
            .map(|cluster| {
                vec![
                    plain(&cluster.name),
                    plain(&cluster.provider),
                    plain(whole_seconds(&cluster.created)),
                    plain(cluster.applies.to_string()),
                    plain(
                        cluster
                            .design_path
                            .as_ref()
                            .map_or_else(|| "-".to_owned(), |path| path.display().to_string()),
                    ),
                ]
            })
            .collect();
        context
            .output
            .table(&["NAME", "PROVIDER", "CREATED", "APPLIES", "DESIGN"], rows);
    }
    context.output.document(&Clusters { clusters });
    Ok(Ending::Done)
}

/// People compare dates; the fraction of a second stays in the JSON document.
fn whole_seconds(time: &str) -> String {
    time.parse::<jiff::Timestamp>()
        .map_or_else(|_| time.to_owned(), |time| format!("{time:.0}"))
}
