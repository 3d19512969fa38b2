//! GPUs that nodes have, held against the design that the cluster was last applied with. Changes nothing.

use std::collections::BTreeMap;

use clusterbook_model::{Gpu, GpuReport, GpuRow, GpuState, Role, compare_gpus};
use clusterbook_transport::RemoteCommand;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::Error;
use crate::stop::Stop;

/// What nodes have, and how that agrees with the design.
#[derive(Clone, Debug, Serialize)]
pub struct Discovery {
    /// A row for each worker, in the design's order.
    pub rows: Vec<GpuRow>,
    /// By group, what could be written into the design as it is: the GPUs that all of its nodes have.
    pub proposals: BTreeMap<String, Vec<Gpu>>,
}

impl Engine {
    /// Looks at the GPUs of all workers at once, one round trip each. A node that doesn't answer is a row, never an error.
    ///
    /// # Errors
    /// When there is no such cluster, it has no workers, or its provider can't be asked.
    pub async fn gpus(&self, cluster: &str, stop: &Stop) -> Result<Discovery, Error> {
        let design = self.design(cluster)?;
        let provider = self.provider(&design.provider)?;
        let flavors = provider
            .flavors()
            .await
            .map_err(|error| Error::provider(provider.name(), error))?;
        let architecture = design.common_architecture(&flavors).map_err(Error::Design)?;
        let workers: Vec<_> = design
            .nodes()
            .into_iter()
            .filter(|node| node.role == Role::Compute)
            .collect();
        if workers.is_empty() {
            return Ok(Discovery {
                rows: Vec::new(),
                proposals: BTreeMap::new(),
            });
        }
        let names: Vec<String> = workers.iter().map(|node| node.name.clone()).collect();
        let (session, accesses) = self.select(cluster, &names).await?;
        let command = RemoteCommand::new("/bin/sh -s").with_stdin(include_str!("node/gpus.sh"));
        let looks: Vec<BoxFuture<'_, _>> = accesses
            .into_iter()
            .map(|(node, access)| {
                let (reach, command) = (session.reach.clone(), &command);
                async move {
                    let looked = match access {
                        Err(failure) => Err((failure.message, failure.hint)),
                        Ok(access) => reach
                            .run(&access, command, &mut |_, _| {}, stop.soon_token())
                            .await
                            .map_err(|error| (error.message, error.hint))
                            .and_then(|output| {
                                GpuReport::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| {
                                    (
                                        "it broke off while it was looked at".to_owned(),
                                        "log in and look at it".to_owned(),
                                    )
                                })
                            }),
                    };
                    (node, looked)
                }
                .boxed()
            })
            .collect();
        let looks: Vec<_> = futures::stream::iter(looks)
            .buffered(self.settings().fan_out.max(1))
            .collect()
            .await;
        let mut reports: BTreeMap<String, GpuReport> = BTreeMap::new();
        let mut unseen: BTreeMap<String, (String, String)> = BTreeMap::new();
        for (node, looked) in looks {
            match looked {
                Ok(report) => drop(reports.insert(node, report)),
                Err(error) => drop(unseen.insert(node, error)),
            }
        }
        let (mut seen, mut proposals) = compare_gpus(&design, architecture, &reports);
        // Nothing is said of a group that was seen in part.
        proposals.retain(|group, _| {
            !workers
                .iter()
                .any(|node| node.group == *group && unseen.contains_key(&node.name))
        });
        let mut rows = Vec::new();
        for node in workers {
            if let Some((message, hint)) = unseen.remove(&node.name) {
                let designed: Vec<String> = design
                    .group(&node.group)
                    .map(|group| group.gpus.iter().map(ToString::to_string).collect())
                    .unwrap_or_default();
                rows.push(GpuRow {
                    node: node.name,
                    group: node.group,
                    designed: designed.join(","),
                    found: "unknown".to_owned(),
                    state: GpuState::Bad,
                    detail: message,
                    help: hint,
                });
            } else if let Some(place) = seen.iter().position(|row| row.node == node.name) {
                rows.push(seen.remove(place));
            }
        }
        Ok(Discovery { rows, proposals })
    }
}
