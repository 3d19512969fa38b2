//! GPUs that nodes have, held against the design that the cluster was last applied with. Changes nothing.

use std::collections::BTreeMap;

use clusterbook_model::{Gpu, GpuReport, GpuRow, GpuState, Role, compare_gpus};
use clusterbook_transport::RemoteCommand;
use serde::Serialize;

use crate::engine::Engine;
use crate::error::{Error, Failure};
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
        let doing = "looking at its GPUs";
        let answers = self.ask(&session, accesses, &command, doing, &|_, _, _| {}, stop).await;
        let mut reports: BTreeMap<String, GpuReport> = BTreeMap::new();
        let mut unseen: BTreeMap<String, Failure> = BTreeMap::new();
        for (node, answer) in answers {
            let looked = answer.and_then(|output| {
                GpuReport::parse(&String::from_utf8_lossy(&output.stdout)).ok_or_else(|| Failure {
                    what: node.clone(),
                    doing: doing.to_owned(),
                    message: "it broke off while it was looked at".to_owned(),
                    hint: "log in and look at it".to_owned(),
                })
            });
            match looked {
                Ok(report) => drop(reports.insert(node, report)),
                Err(failure) => drop(unseen.insert(node, failure)),
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
            if let Some(failure) = unseen.remove(&node.name) {
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
                    detail: failure.message,
                    help: failure.hint,
                });
            } else if let Some(place) = seen.iter().position(|row| row.node == node.name) {
                rows.push(seen.remove(place));
            }
        }
        Ok(Discovery { rows, proposals })
    }
}

#[cfg(test)]
mod tests;
