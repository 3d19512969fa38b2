//! The calls.

use std::collections::HashMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use crate::association::{self, Association, FairShare};
use crate::controller::{self, Controller, Setting};
use crate::error::{Error, ErrorKind};
use crate::job::{self, AccountingRecord, Job, JobId, JobState};
use crate::node::{self, Node, NodeUpdate};
use crate::partition::{self, Partition};
use crate::runner::{Ran, Runner};
use crate::submit::SubmitOptions;
use crate::wire;

/// The first pause between two looks at a job.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest such pause. Each look costs slurmctld a little, and it may have thousands of jobs.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How many looks in a row may fail before waiting ends: enough for a restart of slurmctld.
const PATIENCE: u32 = 5;

/// What Slurm's programs say on a cluster that keeps no books.
const NO_BOOKS: [&str; 2] = [
    "accounting storage is disabled",
    "not running a supported accounting_storage plugin",
];

/// Which jobs of the past to tell. Times are in Slurm's words: `2026-04-01`, `2026-04-01T12:00:00`, `now-7days`, `midnight`.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Jobs of this user; of all where there is none.
    pub user: Option<String>,
    /// Jobs charged to this account.
    pub account: Option<String>,
    /// Jobs that were there after this time; a day ago where there is none.
    pub since: Option<String>,
    /// Jobs that were there before this time.
    pub until: Option<String>,
}

/// A Slurm cluster, reached through a [`Runner`].
#[derive(Debug, Clone)]
pub struct Slurm<R> {
    runner: R,
}

impl<R: Runner> Slurm<R> {
    /// A cluster whose programs are run by `runner`, on a machine and as a user of its choice.
    pub fn new(runner: R) -> Slurm<R> {
        Slurm { runner }
    }

    /// The runner.
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// All nodes.
    pub async fn nodes(&self) -> Result<Vec<Node>, Error> {
        let rows: Vec<node::Raw> = self.list(&["scontrol", "show", "nodes", "--json"], "nodes").await?;
        Ok(rows.into_iter().map(Node::from).collect())
    }

    /// All partitions.
    pub async fn partitions(&self) -> Result<Vec<Partition>, Error> {
        let rows: Vec<partition::Raw> = self
            .list(&["scontrol", "show", "partitions", "--json"], "partitions")
            .await?;
        Ok(rows.into_iter().map(Partition::from).collect())
    }

    /// The jobs that wait or run.
    pub async fn jobs(&self) -> Result<Vec<Job>, Error> {
        let rows: Vec<job::Raw> = self.list(&["squeue", "--json"], "jobs").await?;
        Ok(rows.into_iter().map(Job::from).collect())
    }

    /// The jobs that wait or run, and those that ended a short while ago (`MinJobAge`, five minutes by default).
    pub async fn jobs_with_finished(&self) -> Result<Vec<Job>, Error> {
        let rows: Vec<job::Raw> = self.list(&["squeue", "--states=all", "--json"], "jobs").await?;
        Ok(rows.into_iter().map(Job::from).collect())
    }

    /// One job, if Slurm still knows it. Of an array, the job that has the array's number.
    pub async fn job(&self, id: JobId) -> Result<Option<Job>, Error> {
        let mut jobs = self.jobs_of(id).await?;
        let place = jobs.iter().position(|job| job.id == id).unwrap_or(0);
        Ok(if jobs.is_empty() {
            None
        } else {
            Some(jobs.swap_remove(place))
        })
    }

    /// A job by its number, or all jobs of an array by the array's. Empty if Slurm doesn't know it.
    pub async fn jobs_of(&self, id: JobId) -> Result<Vec<Job>, Error> {
        match self
            .list::<job::Raw>(&["scontrol", "show", "job", &id.to_string(), "--json"], "jobs")
            .await
        {
            Ok(rows) => Ok(rows.into_iter().map(Job::from).collect()),
            Err(Error::Failed { stderr, .. }) if stderr.contains("Invalid job id") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Those of `ids` that Slurm still knows, in one question: for callers that watch many jobs at once.
    pub async fn jobs_among(&self, ids: &[JobId]) -> Result<Vec<Job>, Error> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let numbers: Vec<String> = ids.iter().map(JobId::to_string).collect();
        let jobs = format!("--jobs={}", numbers.join(","));
        match self
            .list::<job::Raw>(&["squeue", "--states=all", &jobs, "--json"], "jobs")
            .await
        {
            Ok(rows) => Ok(rows.into_iter().map(Job::from).collect()),
            // What it says of a single job that it has forgotten; of several it only leaves the forgotten ones out.
            Err(Error::Failed { stderr, .. }) if stderr.contains("Invalid job id") => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// What the books say about a job; none if the cluster keeps no books. Jobs of an array have a record each.
    pub async fn accounting(&self, id: JobId) -> Result<Option<Vec<AccountingRecord>>, Error> {
        self.if_kept::<job::RawRecord, _>(&["sacct", "--json", "-j", &id.to_string()], "jobs")
            .await
    }

    /// What the books say about jobs of the past, the oldest first; none if the cluster keeps no books.
    pub async fn history(&self, history: &History) -> Result<Option<Vec<AccountingRecord>>, Error> {
        let mut argv = vec!["sacct".to_owned(), "--json".to_owned()];
        match &history.user {
            Some(user) => argv.push(format!("--user={user}")),
            None => argv.push("--allusers".to_owned()),
        }
        argv.extend(history.account.iter().map(|account| format!("--accounts={account}")));
        argv.push(format!(
            "--starttime={}",
            history.since.as_deref().unwrap_or("now-1days")
        ));
        argv.extend(history.until.iter().map(|until| format!("--endtime={until}")));
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        self.if_kept::<job::RawRecord, _>(&argv, "jobs").await
    }

    /// Accounts and the users in them, with their limits; none if the cluster keeps no books.
    pub async fn associations(&self) -> Result<Option<Vec<Association>>, Error> {
        self.if_kept::<association::Raw, _>(&["sacctmgr", "--json", "show", "associations"], "associations")
            .await
    }

    /// Shares and use of accounts and users; none if the cluster keeps no books.
    pub async fn fair_share(&self) -> Result<Option<Vec<FairShare>>, Error> {
        self.if_kept::<association::RawShare, _>(&["sshare", "--all", "--json"], "shares/shares")
            .await
    }

    /// A list that only a cluster with books has.
    async fn if_kept<Raw: DeserializeOwned, T: From<Raw>>(
        &self,
        argv: &[&str],
        name: &str,
    ) -> Result<Option<Vec<T>>, Error> {
        match self.list::<Raw>(argv, name).await {
            Ok(rows) => Ok(Some(rows.into_iter().map(T::from).collect())),
            Err(Error::Failed { stderr, .. }) if NO_BOOKS.iter().any(|words| stderr.contains(words)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Submits a job.
    pub async fn submit(&self, options: &SubmitOptions) -> Result<JobId, Error> {
        let argv = options.argv();
        let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
        let answer = self.run(&argv, options.script.as_bytes()).await?.stdout;
        let text = String::from_utf8_lossy(&answer).into_owned();
        // `--parsable` gives the number, and after a semicolon the cluster's name if there are several.
        let number = text
            .lines()
            .last()
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        number.parse().map_err(|_| Error::Unreadable {
            command: "sbatch --parsable".to_owned(),
            reason: "it has no job number".to_owned(),
            beginning: text.chars().take(200).collect(),
        })
    }

    /// Waits until a job has ended, and returns its last state. `on_state` is called whenever its state or its reason to wait
    /// changes, first with the state it has now. Given an array's number it waits for all its jobs, and returns one that did not
    /// succeed if there is one.
    ///
    /// It looks often at first and seldom later (50 ms growing to 5 s), and bears with a slurmctld that doesn't answer for a while.
    /// Cancelling ends the waiting and leaves the job alone; it may still be stopped with [`Slurm::cancel`].
    pub async fn wait(
        &self,
        id: JobId,
        on_state: &mut (dyn FnMut(&Job) + Send),
        cancel: &CancellationToken,
    ) -> Result<Job, Error> {
        let mut seen: HashMap<JobId, (JobState, Option<String>)> = HashMap::new();
        let mut pause = FIRST_PAUSE;
        let mut failures = 0;
        loop {
            let looked = tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::Cancelled { id }),
                looked = self.jobs_of(id) => looked,
            };
            match looked {
                Ok(mut jobs) => {
                    failures = 0;
                    for job in &jobs {
                        let now = (job.state.clone(), job.reason.clone());
                        if seen.get(&job.id) != Some(&now) {
                            on_state(job);
                            seen.insert(job.id, now);
                            pause = FIRST_PAUSE;
                        }
                    }
                    if jobs.is_empty() {
                        return Err(Error::UnknownJob { id });
                    }
                    if jobs.iter().all(|job| job.state.is_finished()) {
                        let place = jobs.iter().position(|job| !job.succeeded()).unwrap_or(0);
                        return Ok(jobs.swap_remove(place));
                    }
                }
                Err(error) => {
                    failures += 1;
                    let may_pass = matches!(error.kind(), ErrorKind::NotAnswering | ErrorKind::Runner);
                    if !may_pass || failures >= PATIENCE {
                        return Err(error);
                    }
                }
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(Error::Cancelled { id }),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
    }

    /// Stops a job. One that has ended already is fine, too; so is, for most versions of Slurm, one that never was.
    pub async fn cancel(&self, id: JobId) -> Result<(), Error> {
        match self.run(&["scancel", &id.to_string()], &[]).await {
            Err(Error::Failed { stderr, .. }) if stderr.contains("Invalid job id") => Err(Error::UnknownJob { id }),
            Err(Error::Failed { stderr, .. }) if stderr.contains("already completing or completed") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Sends a signal, such as `USR2`, to a running job's script alone, which decides what becomes of the rest.
    pub async fn signal_script(&self, id: JobId, signal: &str) -> Result<(), Error> {
        let signal = format!("--signal={signal}");
        match self.run(&["scancel", "--batch", &signal, &id.to_string()], &[]).await {
            Err(Error::Failed { stderr, .. }) if stderr.contains("Invalid job id") => Err(Error::UnknownJob { id }),
            Err(Error::Failed { stderr, .. }) if stderr.contains("already completing or completed") => Ok(()),
            other => other.map(drop),
        }
    }

    /// Drains, resumes or sets down a node, or several as a hostlist (`c[1-4]`).
    pub async fn update_node(&self, nodes: &str, update: &NodeUpdate) -> Result<(), Error> {
        let name = format!("NodeName={nodes}");
        let (state, reason) = match update {
            NodeUpdate::Drain { reason } => ("State=DRAIN", Some(format!("Reason={reason}"))),
            NodeUpdate::Resume => ("State=RESUME", None),
            NodeUpdate::Down { reason } => ("State=DOWN", Some(format!("Reason={reason}"))),
        };
        let mut argv = vec!["scontrol", "update", &name, state];
        argv.extend(reason.as_deref());
        self.run(&argv, &[]).await.map(drop)
    }

    /// Makes all daemons read their configuration again. This is also how new nodes are taken up.
    pub async fn reconfigure(&self) -> Result<(), Error> {
        self.run(&["scontrol", "reconfigure"], &[]).await.map(drop)
    }

    /// Asks the controllers for a sign of life. A controller that is down is a row that says so, not an error.
    pub async fn ping(&self) -> Result<Vec<Controller>, Error> {
        let argv = ["scontrol", "ping", "--json"];
        let ran = self.start(&argv, &[]).await?;
        let read = wire::list::<controller::Raw>(&argv.join(" "), "pings", &ran.stdout);
        match read {
            Ok(rows) => Ok(rows.into_iter().map(Controller::from).collect()),
            Err(error) => Err(checked(&argv, ran).err().unwrap_or(error)),
        }
    }

    /// What the controller runs with.
    pub async fn configuration(&self) -> Result<Vec<Setting>, Error> {
        let ran = self.run(&["scontrol", "show", "config"], &[]).await?;
        Ok(controller::settings(&String::from_utf8_lossy(&ran.stdout)))
    }

    async fn list<T: DeserializeOwned>(&self, argv: &[&str], name: &str) -> Result<Vec<T>, Error> {
        let ran = self.run(argv, &[]).await?;
        wire::list(&argv.join(" "), name, &ran.stdout)
    }

    /// Runs a command that has to succeed.
    async fn run(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, Error> {
        let ran = self.start(argv, stdin).await?;
        checked(argv, ran)
    }

    async fn start(&self, argv: &[&str], stdin: &[u8]) -> Result<Ran, Error> {
        let failed = |source| Error::Runner {
            command: argv.join(" "),
            source,
        };
        self.runner.run(argv, stdin).await.map_err(failed)
    }
}

fn checked(argv: &[&str], ran: Ran) -> Result<Ran, Error> {
    if ran.code == Some(0) {
        return Ok(ran);
    }
    let stderr = String::from_utf8_lossy(&ran.stderr).into_owned();
    Err(Error::Failed {
        command: argv.join(" "),
        code: ran.code,
        stderr,
    })
}
