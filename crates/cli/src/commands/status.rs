//! `clusterbook status`

use clusterbook_engine::Availability;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::{Tone, plain};

/// Show a cluster's nodes, disks and network as the provider sees them now
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  clusterbook status demo
  clusterbook status demo --json | jq -r '.nodes[] | select(.state != \"running\").name'")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let status = context.engine("status")?.status(&arguments.name).await?;
    let output = &context.output;
    let cluster = &status.cluster;
    output.text(&format!(
        "Cluster {} on {}, last apply {}",
        cluster.name, cluster.provider, cluster.applies
    ));
    let rows = status
        .nodes
        .iter()
        .map(|node| {
            vec![
                plain(&node.name),
                plain(if node.group.is_empty() {
                    "-"
                } else {
                    node.group.as_str()
                }),
                plain(&node.flavor),
                plain(&node.address),
                (node.state.word().to_owned(), tone(node.state)),
                plain(&node.detail),
            ]
        })
        .collect();
    output.table(&["NODE", "GROUP", "FLAVOR", "ADDRESS", "STATE", "DETAIL"], rows);
    if !status.disks.is_empty() {
        let disks: Vec<String> = status
            .disks
            .iter()
            .map(|(name, size)| format!("{name} ({size})"))
            .collect();
        output.text(&format!("Disks: {}", disks.join(", ")));
    }
    if let Some(network) = &status.network {
        output.text(&format!("Network: {network}"));
    }
    output.document(&status);
    Ok(Ending::Done)
}

fn tone(state: Availability) -> Tone {
    match state {
        Availability::Running => Tone::Good,
        Availability::Missing | Availability::Failed => Tone::Bad,
        _ => Tone::Note,
    }
}
