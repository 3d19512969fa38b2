//! Looking at jobs. A look costs the controller a little, and it may have thousands of jobs: all of a run's jobs are looked
//! at in one question, and a question is not asked again for another job within a moment.

use std::time::Duration;

use clusterbook_slurm::{Error, JobId, JobState, Slurm};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::shell::Shell;

/// An answer so young serves another job as well.
const FRESH: Duration = Duration::from_millis(250);

/// What a look came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    /// Its state, if Slurm still knows it.
    pub(super) state: Option<JobState>,
    /// Why it waits, or ended.
    pub(super) reason: Option<String>,
    /// Its nodes.
    pub(super) nodes: String,
}

impl Seen {
    /// Whether it has ended for good, or is forgotten, which happens some minutes after its end.
    pub(super) fn is_finished(&self) -> bool {
        self.state.as_ref().is_none_or(JobState::is_finished)
    }
}

/// The jobs of a run that are watched.
#[derive(Debug, Default)]
pub(super) struct Watch(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    watched: Vec<JobId>,
    asked: Option<Instant>,
    seen: Vec<(JobId, Seen)>,
}

impl Watch {
    pub(super) async fn add(&self, id: JobId) {
        let mut answers = self.0.lock().await;
        answers.watched.push(id);
        answers.asked = None;
    }

    pub(super) async fn remove(&self, id: JobId) {
        self.0.lock().await.watched.retain(|watched| *watched != id);
    }

    /// The job as it is now.
    pub(super) async fn look(&self, slurm: &Slurm<Shell>, id: JobId) -> Result<Seen, Error> {
        let mut answers = self.0.lock().await;
        if answers.asked.is_none_or(|asked| asked.elapsed() > FRESH) {
            let jobs = slurm.jobs_among(&answers.watched).await?;
            answers.seen = jobs
                .into_iter()
                .map(|job| {
                    let seen = Seen {
                        state: Some(job.state),
                        reason: job.reason,
                        nodes: job.nodes,
                    };
                    (job.id, seen)
                })
                .collect();
            answers.asked = Some(Instant::now());
        }
        if let Some((_, seen)) = answers.seen.iter().find(|(seen, _)| *seen == id) {
            return Ok(seen.clone());
        }
        drop(answers);
        // The queue has forgotten it. The books may not be kept, which is no fault: then there is nothing to be known.
        let records = slurm.accounting(id).await.ok().flatten().unwrap_or_default();
        let record = records.into_iter().find(|record| record.id == id);
        Ok(match record {
            Some(record) => Seen {
                state: Some(record.state),
                reason: None,
                nodes: record.nodes,
            },
            None => Seen {
                state: None,
                reason: None,
                nodes: String::new(),
            },
        })
    }
}
