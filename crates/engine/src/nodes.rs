//! Commands on nodes: actions, recorded in the history and not planned.

use clusterbook_transport::{Output, RemoteCommand, Stream};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use serde::Serialize;

use crate::engine::{Engine, Session};
use crate::error::{Error, Failure};
use crate::reach::Access;
use crate::state::ActionRow;
use crate::stop::Stop;

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeOutput {
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit status; 128 plus the signal's number where a signal ended it, as a shell says it.
    pub code: u32,
}

/// A command's result on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RunResult {
    /// The node.
    pub node: String,
    /// What it gave, or why it couldn't be run there.
    #[serde(flatten)]
    pub result: Outcome,
}

/// Ran or didn't.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Outcome {
    /// It ran to its end, whatever its status.
    Ran(NodeOutput),
    /// It didn't run, or its end wasn't seen.
    Failed(Failure),
}

impl Engine {
    /// Runs a shell command on nodes, all at once. `selection` holds node names, group names or `all`. One result per node, in
    /// the design's order; one node's failure never hides another's.
    ///
    /// # Errors
    /// When there is no such cluster or node.
    pub async fn run(
        &self,
        cluster: &str,
        selection: &[String],
        command: &str,
        stdin: &[u8],
        on_output: &(dyn Fn(&str, bool, &[u8]) + Sync),
        stop: &Stop,
    ) -> Result<Vec<RunResult>, Error> {
        let (session, accesses) = self.select(cluster, selection).await?;
        let remote = RemoteCommand::new(command).with_stdin(stdin.to_vec());
        let answers = self
            .ask(&session, accesses, &remote, "running a command", on_output, stop)
            .await;
        let results: Vec<RunResult> = answers
            .into_iter()
            .map(|(node, answer)| {
                let result = match answer {
                    Ok(output) => Outcome::Ran(NodeOutput {
                        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
                        code: output.code.unwrap_or(255),
                    }),
                    Err(failure) => Outcome::Failed(failure),
                };
                RunResult { node, result }
            })
            .collect();
        let failed = results
            .iter()
            .filter(|result| !matches!(&result.result, Outcome::Ran(output) if output.code == 0))
            .count();
        self.record(
            &session.cluster_id,
            "run",
            &serde_json::json!({"command": command, "nodes": results.len()}),
            if failed == 0 {
                "done".to_owned()
            } else {
                format!("failed on {failed}")
            },
        )?;
        Ok(results)
    }

    /// One command on selected nodes, all at once up to the limit: one round trip each, the answers in the selection's order. What
    /// a node has not answered says what was being done there; nothing is written into the history.
    pub(crate) async fn ask(
        &self,
        session: &Session,
        accesses: Vec<(String, Result<Access, Failure>)>,
        command: &RemoteCommand,
        doing: &str,
        on_output: &(dyn Fn(&str, bool, &[u8]) + Sync),
        stop: &Stop,
    ) -> Vec<(String, Result<Output, Failure>)> {
        // Boxed one by one: a stream over a closure that borrows can't be shown to be `Send`.
        let asked: Vec<BoxFuture<'_, (String, Result<Output, Failure>)>> = accesses
            .into_iter()
            .map(|(node, access)| {
                let (reach, stop) = (session.reach.clone(), stop.clone());
                async move {
                    let answer = match access {
                        Err(failure) => Err(failure),
                        Ok(access) => {
                            let mut sink =
                                |stream: Stream, bytes: &[u8]| on_output(&node, stream == Stream::Stderr, bytes);
                            reach
                                .run(&access, command, &mut sink, stop.soon_token())
                                .await
                                .map_err(|error| Failure {
                                    what: node.clone(),
                                    doing: doing.to_owned(),
                                    message: error.message,
                                    hint: error.hint,
                                })
                        }
                    };
                    (node, answer)
                }
                .boxed()
            })
            .collect();
        futures::stream::iter(asked)
            .buffered(self.settings().fan_out.max(1))
            .collect()
            .await
    }

    /// Writes an action into the history.
    pub(crate) fn record(
        &self,
        cluster_id: &str,
        what: &str,
        detail: &serde_json::Value,
        outcome: String,
    ) -> Result<(), Error> {
        self.store().record_action(
            cluster_id,
            &ActionRow {
                what: what.to_owned(),
                detail: detail.to_string(),
                outcome,
                at: crate::apply::now(),
                run_id: self.settings().run_id.clone(),
            },
        )?;
        Ok(())
    }
}
