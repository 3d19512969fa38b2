//! What a cluster's applies have stored, as versions to compare with and to go back to; and what files hold on nodes now.

use clusterbook_model::Design;
use clusterbook_transport::RemoteCommand;
use serde::Serialize;

use crate::engine::Engine;
use crate::error::{Error, Failure};
use crate::state::{ApplyInfo, Outcome};
use crate::stop::Stop;

/// The outcome of an apply that made all of its changes.
const DONE: &str = "done";

/// The part of a design whose versions are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Further keys of `slurm.conf`.
    SlurmConf,
    /// An edited file.
    File {
        /// Its path.
        path: String,
        /// Its nodes, where several files have the path.
        nodes: Option<Vec<String>>,
    },
}

/// An apply that gave a part of the design another value; where it failed at first, the later one that succeeded with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Version {
    /// The apply's number.
    pub apply: u64,
    /// When it began.
    pub at: jiff::Timestamp,
    /// Who began it, `user@host`.
    pub by: String,
    /// How it ended: `done`, `failed`, `interrupted`, `under way`.
    pub outcome: &'static str,
    /// The part as text: a file's content, or lines of `KEY=VALUE`. `None` where the design had none.
    pub text: Option<String>,
    /// The difference from the version before, in unified format.
    pub diff: String,
}

/// What a file holds on one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileOnNode {
    /// The node.
    pub node: String,
    /// What was found there.
    #[serde(flatten)]
    pub found: Found,
}

/// A file on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "lowercase")]
pub enum Found {
    /// It is there.
    There {
        /// Permission bits as octal digits, for example `0644`.
        mode: String,
        /// `user:group`.
        owner: String,
        /// What it holds; bytes that are no text are replaced.
        content: String,
    },
    /// Nothing is there.
    Absent,
    /// The node couldn't be asked, or the path is no file.
    Failed(Failure),
}

impl Part {
    /// This part of a design, as text.
    fn text(&self, design: &Design) -> Option<String> {
        match self {
            Self::SlurmConf => {
                let lines: Vec<String> = design
                    .slurm_conf
                    .iter()
                    .map(|(key, value)| format!("{key}={value}\n"))
                    .collect();
                (!lines.is_empty()).then(|| lines.concat())
            }
            Self::File { path, nodes } => design.file(path, nodes.as_deref()).map(|file| file.content.clone()),
        }
    }
}

impl Engine {
    /// The design of one apply.
    ///
    /// # Errors
    /// When there is no such cluster or apply, or its design is of a newer version.
    pub fn design_of(&self, name: &str, apply: u64) -> Result<Design, Error> {
        let cluster = self.cluster(name)?;
        let text = self.store().design(&cluster.id, apply)?;
        match text {
            Some(text) => stored(name, &text),
            None => Err(Error::Refused {
                what: format!("cluster {name} had no apply {apply}"),
                hint: format!("its applies are numbered 1 to {}", cluster.applies),
            }),
        }
    }

    /// The applies that changed a part of the design, the oldest first. Applies that were refused or interrupted are among them.
    ///
    /// # Errors
    /// When there is no such cluster, or a design is of a newer version.
    pub fn versions(&self, name: &str, part: &Part) -> Result<Vec<Version>, Error> {
        let cluster = self.cluster(name)?;
        let applies = self.store().applies(&cluster.id)?;
        let mut versions: Vec<Version> = Vec::new();
        for apply in applies {
            let Some(text) = self.store().design(&cluster.id, apply.number)? else {
                continue;
            };
            let text = part.text(&stored(name, &text)?);
            let before = versions.last().and_then(|version| version.text.clone());
            if text == before {
                // One that failed or was interrupted at first, and was applied to its end by a later apply.
                if let Some(version) = versions.last_mut()
                    && version.outcome != DONE
                    && apply.outcome == Some(Outcome::Done)
                {
                    (version.apply, version.at, version.outcome) = (apply.number, apply.started_at, DONE);
                }
            } else {
                versions.push(Version {
                    apply: apply.number,
                    at: apply.started_at,
                    by: format!("{}@{}", apply.user, apply.host),
                    outcome: outcome(&apply),
                    diff: clusterbook_model::diff(
                        before.as_deref().unwrap_or_default(),
                        text.as_deref().unwrap_or_default(),
                    ),
                    text,
                });
            }
        }
        Ok(versions)
    }

    /// What a file holds on nodes, all of them asked at once. `selection` holds node names, group names or `all`. Nothing is
    /// changed, and the history doesn't mention it.
    ///
    /// # Errors
    /// When there is no such cluster or node.
    pub async fn read_file(
        &self,
        name: &str,
        selection: &[String],
        path: &str,
        stop: &Stop,
    ) -> Result<Vec<FileOnNode>, Error> {
        let (session, accesses) = self.select(name, selection).await?;
        let path = clusterbook_transport::quote(path);
        let command = format!(
            "if [ -f {path} ]; then stat -L -c '0%a %U:%G' {path} && cat {path}; \
             elif [ -e {path} ]; then echo 'it is no file' >&2; exit 65; else exit 66; fi"
        );
        let doing = "reading the file";
        let answers = self
            .ask(
                &session,
                accesses,
                &RemoteCommand::new(&command),
                doing,
                &|_, _, _| {},
                stop,
            )
            .await;
        Ok(answers
            .into_iter()
            .map(|(node, answer)| {
                let found = answer.map_or_else(Found::Failed, |output| {
                    let text = String::from_utf8_lossy(&output.stdout);
                    match (output.code, text.split_once('\n')) {
                        (Some(0), Some((facts, content))) => {
                            let (mode, owner) = facts.split_once(' ').unwrap_or((facts, ""));
                            Found::There {
                                mode: mode.to_owned(),
                                owner: owner.to_owned(),
                                content: content.to_owned(),
                            }
                        }
                        (Some(66), _) => Found::Absent,
                        _ => Found::Failed(Failure {
                            what: node.clone(),
                            doing: doing.to_owned(),
                            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                            hint: String::new(),
                        }),
                    }
                });
                FileOnNode { node, found }
            })
            .collect())
    }
}

/// A stored design, read again.
pub(crate) fn stored(name: &str, text: &str) -> Result<Design, Error> {
    let value =
        serde_json::from_str(text).map_err(|error| Error::Bug(format!("a stored design of {name}: {error}")))?;
    Design::from_parameters(&value).map_err(Error::Design)
}

fn outcome(apply: &ApplyInfo) -> &'static str {
    match &apply.outcome {
        None => "under way",
        Some(Outcome::Done) => DONE,
        Some(Outcome::Failed(_)) => "failed",
        Some(Outcome::Interrupted) => "interrupted",
    }
}
