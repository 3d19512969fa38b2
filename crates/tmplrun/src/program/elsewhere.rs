//! The options that say where notebooks run, and what is said of jobs that are left there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use clap::ValueEnum;
use tmplrun::events::{Event, EventSink, Record};
use tmplrun::mask::Secret;
use tmplrun::place::{Place, Shell, Slurm, SlurmSettings};
use tmplrun::{Environment, Error, ErrorKind, Result};

use super::{show, surroundings};

/// Where notebooks can run, other than on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Where {
    /// Each notebook is a job of Slurm.
    Slurm,
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Running elsewhere")]
pub(crate) struct Elsewhere {
    /// Runs each notebook elsewhere: with `slurm`, as a job.
    #[arg(long, value_name = "PLACE")]
    pub(crate) on: Option<Where>,

    /// A command that leads to the cluster and takes a command line as one more argument, such as "ssh cluster"
    /// [default: this machine is on the cluster].
    #[arg(long, value_name = "COMMAND", requires = "on")]
    pub(crate) on_prefix: Option<String>,

    /// A folder on the cluster that all nodes share, for jobs and programs [default: ~/.cache/tmplrun].
    #[arg(long, value_name = "FOLDER", requires = "on")]
    pub(crate) on_folder: Option<String>,

    /// tmplrun on the cluster [default: this one, or a tmplrun-ARCHITECTURE beside it, is sent once].
    #[arg(long, value_name = "PATH", requires = "on")]
    pub(crate) tmplrun: Option<String>,

    /// The Python on the cluster whose environment holds the kernels.
    #[arg(long, value_name = "PATH", requires = "on")]
    pub(crate) python: Option<String>,

    /// A shell command that prepares a job's environment, such as "module load python"; may be given several times.
    #[arg(long, value_name = "COMMAND", requires = "on")]
    pub(crate) setup: Vec<String>,

    /// An option of sbatch by its long name: partition=gpu, time=1:30:00, mem=8G, gres=gpu:1, account=lab, exclusive.
    #[arg(long, value_name = "NAME[=VALUE]", requires = "on")]
    pub(crate) slurm: Vec<String>,
}

impl Elsewhere {
    /// Whether paths of this machine mean nothing there.
    pub(crate) fn is_far(&self) -> bool {
        self.on_prefix.is_some()
    }

    /// The place that was asked for. `in_home`: no working folder was named.
    pub(crate) fn place(
        &self,
        environment: &Environment,
        secrets: &[Secret],
        in_home: bool,
    ) -> Result<Option<Arc<dyn Place>>> {
        let Some(Where::Slurm) = self.on else { return Ok(None) };
        let mut settings = SlurmSettings {
            folder: self.on_folder.clone(),
            tmplrun: self.tmplrun.clone(),
            programs: surroundings::programs(),
            python: self.python.clone(),
            setup: self.setup.clone(),
            in_home: in_home && self.is_far(),
            ..SlurmSettings::default()
        };
        for option in &self.slurm {
            let (name, value) = match option.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (option.as_str(), None),
            };
            settings
                .options
                .set(name, value)
                .map_err(|error| Error::new(ErrorKind::Yours, "an option for Slurm cannot be used").because(error))?;
        }
        let shell = Shell::new(self.on_prefix.as_deref(), environment, secrets)?;
        Ok(Some(Arc::new(Slurm::new(shell, settings))))
    }
}

/// Remembers the jobs that have not ended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Left(Arc<Mutex<BTreeMap<usize, Event>>>);

impl EventSink for Left {
    fn take(&self, record: &Record) {
        let mut jobs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &record.event {
            Event::Submitted { step, .. } => drop(jobs.insert(*step, record.event.clone())),
            Event::NotebookFinished { step, .. } => drop(jobs.remove(step)),
            _ => {}
        }
    }
}

impl Left {
    /// Says how to find them.
    pub(crate) fn say(&self) {
        for event in self.0.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let Event::Submitted {
                prefix, job, folder, ..
            } = event
            else {
                continue;
            };
            let prefix = prefix.as_ref().map(|prefix| format!("{prefix} ")).unwrap_or_default();
            let quote = if prefix.is_empty() { "" } else { "'" };
            show::note(&format!(
                "job {job} was left running; see it with: {prefix}{quote}squeue -j {job}{quote}; end it with: \
                 {prefix}{quote}scancel {job}{quote}; its notebook is saved as {folder}/output.ipynb on the cluster"
            ));
        }
    }
}
