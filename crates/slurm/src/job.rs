//! Jobs, in the queue and in the books.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::wire::{ExitCode, Limit, Number, Text, Words, resources};
use crate::words::{self, Word};

/// A job's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u32);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = std::num::ParseIntError;
    fn from_str(text: &str) -> Result<JobId, Self::Err> {
        text.trim().parse().map(JobId)
    }
}

/// One row of [`Slurm::jobs`](crate::Slurm::jobs). Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// The number of the array that it belongs to, and its place in it.
    pub array: Option<JobId>,
    /// Its place in the array.
    pub array_task: Option<u64>,
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub user: String,
    /// Its state; a text such as `COMPLETED` when serialised.
    pub state: JobState,
    /// Why it waits or ended, in Slurm's word; none when there is nothing to say.
    pub reason: Option<String>,
    /// The same in more words, if Slurm has them.
    pub reason_text: Option<String>,
    /// Its partition.
    pub partition: String,
    /// Its nodes as a hostlist; empty before it starts.
    pub nodes: String,
    /// How many nodes it has or asks for.
    pub node_count: u64,
    /// How many CPUs it has or asks for.
    pub cpus: u64,
    /// How many tasks it has.
    pub tasks: u64,
    /// When it was submitted.
    pub submit_time: Option<u64>,
    /// When it started. For a job that waits, when Slurm expects it to start.
    pub start_time: Option<u64>,
    /// When it ended. For a job that runs, when its time will be up.
    pub end_time: Option<u64>,
    /// How long it may run, in minutes.
    pub time_limit_minutes: Option<Limit>,
    /// Exit status of its script; none before its end.
    pub exit_code: Option<u64>,
    /// The signal that ended its script.
    pub signal: Option<u64>,
    /// The folder that it runs in.
    pub folder: String,
    /// The file with its standard output.
    pub output: String,
}

impl Job {
    /// Whether it ended, and well.
    pub fn succeeded(&self) -> bool {
        self.state.is_finished() && self.state.phase == JobPhase::Completed && self.exit_code.unwrap_or(0) == 0
    }
}

/// A job's state: where it is in its life, and what else is true. Serialises as Slurm writes it, `COMPLETED+COMPLETING`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JobState {
    /// Where it is in its life.
    pub phase: JobPhase,
    /// What else is true of it.
    pub flags: Vec<JobFlag>,
}

/// Where a job is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobPhase {
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// It has its nodes and was stopped for a while.
    Suspended,
    /// It ended well.
    Completed,
    /// Somebody ended it.
    Cancelled,
    /// Its script ended with another status than 0.
    Failed,
    /// It ran for longer than it was allowed to.
    Timeout,
    /// One of its nodes failed.
    NodeFailed,
    /// A more important job took its place.
    Preempted,
    /// Its nodes did not start.
    BootFailed,
    /// It could not end before its deadline.
    Deadline,
    /// It used more memory than it was allowed to.
    OutOfMemory,
    /// A word that we don't know.
    Other(String),
}

/// What else is true of a job.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobFlag {
    /// Its nodes are being cleaned up.
    Completing,
    /// Its nodes are being prepared.
    Configuring,
    /// It could not be started.
    LaunchFailed,
    /// It goes back to the queue.
    Requeued,
    /// It waits until somebody releases it.
    RequeueHold,
    /// A word that we don't know.
    Other(String),
}

impl Word for JobPhase {
    const KNOWN: &'static [(&'static str, Self)] = &[
        ("PENDING", Self::Pending),
        ("RUNNING", Self::Running),
        ("SUSPENDED", Self::Suspended),
        ("COMPLETED", Self::Completed),
        ("CANCELLED", Self::Cancelled),
        ("FAILED", Self::Failed),
        ("TIMEOUT", Self::Timeout),
        ("NODE_FAIL", Self::NodeFailed),
        ("PREEMPTED", Self::Preempted),
        ("BOOT_FAIL", Self::BootFailed),
        ("DEADLINE", Self::Deadline),
        ("OUT_OF_MEMORY", Self::OutOfMemory),
    ];

    fn other(word: String) -> Self {
        Self::Other(word)
    }

    fn unknown(&self) -> Option<&str> {
        if let Self::Other(word) = self { Some(word) } else { None }
    }
}

impl Word for JobFlag {
    const KNOWN: &'static [(&'static str, Self)] = &[
        ("COMPLETING", Self::Completing),
        ("CONFIGURING", Self::Configuring),
        ("LAUNCH_FAILED", Self::LaunchFailed),
        ("REQUEUED", Self::Requeued),
        ("REQUEUE_HOLD", Self::RequeueHold),
    ];

    fn other(word: String) -> Self {
        Self::Other(word)
    }

    fn unknown(&self) -> Option<&str> {
        if let Self::Other(word) = self { Some(word) } else { None }
    }
}

impl JobState {
    /// Reads Slurm's words, the phase wherever it stands among them.
    pub(crate) fn read(words: &[String]) -> JobState {
        let (phase, flags) = words::read(words, |word| {
            // sacct adds who did it: `CANCELLED by 1000`.
            JobPhase::known(word.split(' ').next().unwrap_or_default())
        });
        JobState { phase, flags }
    }

    /// Whether it has this flag.
    pub fn has(&self, flag: &JobFlag) -> bool {
        self.flags.contains(flag)
    }

    /// Whether it has ended for good: not on its way back to the queue, and its nodes are free again. A phase that we don't
    /// know counts as not ended, because giving up a job that runs is worse than waiting.
    pub fn is_finished(&self) -> bool {
        let ended = matches!(
            self.phase,
            JobPhase::Completed
                | JobPhase::Cancelled
                | JobPhase::Failed
                | JobPhase::Timeout
                | JobPhase::NodeFailed
                | JobPhase::Preempted
                | JobPhase::BootFailed
                | JobPhase::Deadline
                | JobPhase::OutOfMemory
        );
        ended
            && ![JobFlag::Completing, JobFlag::Requeued, JobFlag::RequeueHold]
                .iter()
                .any(|flag| self.has(flag))
    }
}

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        words::write(f, &self.phase, &self.flags)
    }
}

impl Serialize for JobState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One row of [`Slurm::accounting`](crate::Slurm::accounting). Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountingRecord {
    /// The job's number.
    pub id: JobId,
    /// Its name.
    pub name: String,
    /// Who submitted it.
    pub user: String,
    /// The account that it was charged to.
    pub account: String,
    /// Its partition.
    pub partition: String,
    /// Its state.
    pub state: JobState,
    /// Its nodes as a hostlist.
    pub nodes: String,
    /// When it was submitted.
    pub submit_time: Option<u64>,
    /// When it started.
    pub start_time: Option<u64>,
    /// When it ended.
    pub end_time: Option<u64>,
    /// How long it ran, in seconds.
    pub elapsed_seconds: u64,
    /// Exit status of its script.
    pub exit_code: Option<u64>,
    /// What it was given, such as `cpu=4,mem=8192,node=2`; memory in MiB.
    pub allocated: String,
    /// The most memory that a task of it was seen to use, in bytes; none where nobody looked.
    pub peak_memory_bytes: Option<u64>,
    /// Processor seconds, of its own code and the system's for it.
    pub processor_seconds: Option<u64>,
}

/// A job as it stands in the JSON of squeue and scontrol.
#[derive(Debug, Deserialize)]
pub(crate) struct Raw {
    job_id: JobId,
    #[serde(default)]
    array_job_id: Number,
    #[serde(default)]
    array_task_id: Number,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    user_name: Text,
    #[serde(default)]
    job_state: Words,
    #[serde(default)]
    state_reason: Text,
    #[serde(default)]
    state_description: Text,
    #[serde(default)]
    partition: Text,
    #[serde(default)]
    nodes: Text,
    #[serde(default)]
    node_count: Number,
    #[serde(default)]
    cpus: Number,
    #[serde(default)]
    tasks: Number,
    #[serde(default)]
    submit_time: Number,
    #[serde(default)]
    start_time: Number,
    #[serde(default)]
    end_time: Number,
    #[serde(default)]
    time_limit: Number,
    #[serde(default, deserialize_with = "exit_code")]
    exit_code: ExitCode,
    #[serde(default)]
    current_working_directory: Text,
    #[serde(default)]
    standard_output: Text,
}

/// An object in current versions, a number in older ones.
fn exit_code<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<ExitCode, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    if value.is_object() {
        return serde_json::from_value(value).map_err(serde::de::Error::custom);
    }
    // As wait(2) gives it: the status above, the signal below.
    let number = value.as_u64().unwrap_or(0);
    let mut code = ExitCode {
        return_code: Number::Is((number >> 8) as f64),
        ..ExitCode::default()
    };
    if number & 0x7f != 0 {
        code.signal.id = Number::Is((number & 0x7f) as f64);
    }
    Ok(code)
}

impl From<Raw> for Job {
    fn from(raw: Raw) -> Job {
        let state = JobState::read(&raw.job_state.0);
        // Slurm gives an exit status of 0 to jobs that haven't even started.
        let ended = !matches!(state.phase, JobPhase::Pending | JobPhase::Running | JobPhase::Suspended);
        Job {
            id: raw.job_id,
            array: raw
                .array_job_id
                .whole()
                .filter(|id| *id != 0)
                .and_then(|id| u32::try_from(id).ok())
                .map(JobId),
            array_task: raw.array_task_id.whole(),
            name: raw.name.0,
            user: raw.user_name.0,
            reason: raw.state_reason.some(),
            reason_text: raw.state_description.some(),
            partition: raw.partition.0,
            nodes: raw.nodes.0,
            node_count: raw.node_count.whole().unwrap_or(0),
            cpus: raw.cpus.whole().unwrap_or(0),
            tasks: raw.tasks.whole().unwrap_or(0),
            submit_time: raw.submit_time.time(),
            start_time: raw.start_time.time(),
            end_time: raw.end_time.time(),
            time_limit_minutes: raw.time_limit.limit(),
            exit_code: raw.exit_code.return_code.whole().filter(|_| ended),
            signal: raw.exit_code.signal.id.whole().filter(|signal| ended && *signal != 0),
            folder: raw.current_working_directory.0,
            output: raw.standard_output.0,
            state,
        }
    }
}

/// A job as it stands in the JSON of sacct.
#[derive(Debug, Deserialize)]
pub(crate) struct RawRecord {
    job_id: JobId,
    #[serde(default)]
    name: Text,
    #[serde(default)]
    user: Text,
    #[serde(default)]
    account: Text,
    #[serde(default)]
    partition: Text,
    #[serde(default)]
    state: RawRecordState,
    #[serde(default)]
    nodes: Text,
    #[serde(default)]
    time: RawRecordTime,
    #[serde(default, deserialize_with = "exit_code")]
    exit_code: ExitCode,
    #[serde(default)]
    tres: RawRecordResources,
    #[serde(default)]
    steps: Vec<RawStep>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRecordState {
    current: Words,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRecordTime {
    submission: Number,
    start: Number,
    end: Number,
    elapsed: Number,
}

/// Part of [`RawRecord`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawRecordResources {
    allocated: Value,
}

/// Part of [`RawRecord`]: one step, such as the batch script.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RawStep {
    tres: Value,
    time: Value,
}

impl RawStep {
    fn peak_memory_bytes(&self) -> Option<u64> {
        let rows = self.tres.pointer("/requested/max")?.as_array()?;
        let memory = rows
            .iter()
            .find(|row| row.get("type").and_then(Value::as_str) == Some("mem"))?;
        Number::read(memory.get("count")?).whole().filter(|bytes| *bytes > 0)
    }

    fn processor_seconds(&self) -> Option<f64> {
        let part = |name: &str| Number::read(self.time.pointer(name)?).float();
        Some(part("/total/seconds")? + part("/total/microseconds").unwrap_or(0.0) / 1e6)
    }
}

impl From<RawRecord> for AccountingRecord {
    fn from(raw: RawRecord) -> AccountingRecord {
        AccountingRecord {
            id: raw.job_id,
            name: raw.name.0,
            user: raw.user.0,
            account: raw.account.0,
            partition: raw.partition.0,
            state: JobState::read(&raw.state.current.0),
            nodes: raw.nodes.0,
            submit_time: raw.time.submission.time(),
            start_time: raw.time.start.time(),
            end_time: raw.time.end.time(),
            elapsed_seconds: raw.time.elapsed.whole().unwrap_or(0),
            exit_code: raw.exit_code.return_code.whole(),
            allocated: resources(&raw.tres.allocated),
            peak_memory_bytes: raw.steps.iter().filter_map(RawStep::peak_memory_bytes).max(),
            processor_seconds: raw
                .steps
                .iter()
                .filter_map(RawStep::processor_seconds)
                .reduce(|sum, seconds| sum + seconds)
                .map(|seconds| seconds.round() as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(words: &[&str]) -> JobState {
        JobState::read(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_job_is_finished_only_when_it_stays_so() {
        assert!(state(&["COMPLETED"]).is_finished());
        assert!(!state(&["COMPLETED", "COMPLETING"]).is_finished());
        assert!(!state(&["NODE_FAIL", "REQUEUED"]).is_finished());
        assert!(!state(&["PENDING"]).is_finished());
        assert!(state(&["CANCELLED by 1000"]).is_finished());
    }

    #[test]
    fn unknown_words_are_kept() {
        let strange = state(&["DREAMING", "COMPLETING"]);
        assert_eq!(strange.phase, JobPhase::Other("DREAMING".to_owned()));
        assert!(!strange.is_finished());
        assert_eq!(strange.to_string(), "DREAMING+COMPLETING");
        assert_eq!(
            state(&["RUNNING", "SINGING"]).flags,
            [JobFlag::Other("SINGING".to_owned())]
        );
        assert_eq!(state(&[]).phase, JobPhase::Other("UNKNOWN".to_owned()));
    }
}
