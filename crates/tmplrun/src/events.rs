//! What happens during a run, as typed events.
//!
//! The library tells; writers show. A terminal, a log and a file of JSON lines are all writers of the same events.
//! Texts in events are masked already.

use serde::{Deserialize, Serialize};

use crate::clock;
use crate::run::CellFailure;

/// The version of the events' shape; it changes only when a field changes its meaning or goes away.
pub const SCHEMA: u32 = 1;

/// One event with its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`].
    pub schema: u32,
    /// When, in UTC.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened. Steps and cells count from 0.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A run begins.
    RunStarted {
        /// The run's id.
        run: String,
        /// The names of the steps.
        steps: Vec<String>,
        /// For each step, the places of the steps that it needs.
        needs: Vec<Vec<usize>>,
    },
    /// A notebook begins; its kernel is being started.
    NotebookStarted {
        /// Which step.
        step: usize,
        /// The step's name.
        name: String,
        /// The notebook's title.
        title: Option<String>,
        /// How many cells will run.
        cells: usize,
        /// Where the executed notebook goes.
        output: Option<String>,
    },
    /// A notebook was handed to another place, and waits or runs there.
    Submitted {
        /// Which step.
        step: usize,
        /// The place's kind, `slurm`.
        place: String,
        /// The command prefix that leads there, if one does.
        prefix: Option<String>,
        /// What it is called there: a job's number.
        job: String,
        /// The folder there with its notebook.
        folder: String,
    },
    /// What the place says of it has changed.
    JobState {
        /// Which step.
        step: usize,
        /// What it is called there.
        job: String,
        /// Its state, in the place's words.
        state: String,
        /// Why it waits or ended, in the place's words.
        reason: Option<String>,
        /// Where it runs.
        nodes: Option<String>,
    },
    /// A code cell begins.
    CellStarted {
        /// Which step.
        step: usize,
        /// The cell's place in the notebook, in which every cell counts.
        index: usize,
        /// How many code cells ran before it.
        number: usize,
        /// How many will run.
        of: usize,
        /// The heading above it.
        heading: Option<String>,
    },
    /// A cell put something out.
    Output {
        /// Which step.
        step: usize,
        /// The cell's place in the notebook.
        index: usize,
        /// Where it went.
        stream: Stream,
        /// The text, or the plain form of something richer.
        text: String,
    },
    /// A code cell ended.
    CellFinished {
        /// Which step.
        step: usize,
        /// The cell's place in the notebook.
        index: usize,
        /// How.
        status: Status,
        /// How long it took.
        seconds: f64,
        /// Processor time that the kernel and what runs in its session used for it, in seconds, to a hundredth.
        processor_seconds: f64,
        /// Memory that these use at its end, in bytes; 0 if the kernel has died.
        memory: u64,
        /// How much more that is than at its start.
        memory_growth: i64,
    },
    /// Something to know that does not stop the run.
    Warning {
        /// Which step, if one.
        step: Option<usize>,
        /// What.
        message: String,
    },
    /// A notebook goes on in the kernel that was kept for it.
    KernelResumed {
        /// Which step.
        step: usize,
        /// The first cell that runs, by its place in the notebook.
        index: usize,
    },
    /// A notebook's kernel goes on after the run.
    KernelKept {
        /// Which step.
        step: usize,
        /// The kernel's process.
        pid: i32,
        /// The file that tells clients how to reach it.
        connection_file: String,
    },
    /// A notebook ended, or was passed over.
    NotebookFinished {
        /// Which step.
        step: usize,
        /// The step's name.
        name: String,
        /// How.
        status: Status,
        /// How long it took, the kernel's start and end included.
        seconds: f64,
        /// The cell that ended it, if one did.
        failure: Option<CellFailure>,
    },
    /// The run ended.
    RunFinished {
        /// How.
        status: Status,
        /// How long it took.
        seconds: f64,
    },
}

/// Where a text came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The value of the cell, or something displayed.
    Display,
    /// A traceback.
    Error,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Status {
    /// It has not run.
    Pending,
    /// It runs.
    Running,
    /// Its parameters were injected, and it was not to run.
    Prepared,
    /// As wanted.
    Completed,
    /// A cell raised.
    Failed,
    /// A cell ran longer than allowed.
    TimedOut,
    /// The kernel ended by itself.
    KernelDied,
    /// The caller stopped it.
    Interrupted,
    /// It was not asked for, or a step that it needs had failed.
    Skipped,
    /// An earlier run, which this one goes on with, completed it.
    DoneBefore,
}

impl Status {
    /// The word for people.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Pending => "not run",
            Self::Running => "running",
            Self::Prepared => "prepared",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::KernelDied => "kernel died",
            Self::Interrupted => "interrupted",
            Self::Skipped => "skipped",
            Self::DoneBefore => "done before",
        }
    }
}

/// Takes events. Notebooks that run side by side tell theirs in turns. Called from the task that runs them, so it must
/// not block for long.
pub trait EventSink: Send + Sync {
    /// Takes one event.
    fn take(&self, record: &Record);
}

/// Hands events to several takers.
#[derive(Default)]
pub struct Tee(pub Vec<Box<dyn EventSink>>);

impl EventSink for Tee {
    fn take(&self, record: &Record) {
        self.0.iter().for_each(|sink| sink.take(record));
    }
}

/// Drops events.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nobody;

impl EventSink for Nobody {
    fn take(&self, _: &Record) {}
}

pub(crate) fn tell(sink: &dyn EventSink, event: Event) {
    sink.take(&Record {
        schema: SCHEMA,
        time: clock::now(),
        event,
    });
}
