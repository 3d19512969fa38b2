//! Slurm as a place: each notebook is a job.
//!
//! Everything goes through shell commands, here or behind a prefix. For each job: the parcel is unpacked into a folder of
//! its own on the cluster's shared storage, `sbatch` gets a script over standard input, one command follows the events file
//! for as long as the job lasts, and when it has ended, however it has ended, the folder's files are fetched and the folder
//! is removed. Slurm itself is asked for a job's state only while nothing is heard of it: when it waits in the queue, when its
//! node may have failed.
//!
//! A notebook is not run twice unless that was asked for: the job is not put back into the queue when its node fails.

mod follow;
mod programs;
mod script;
mod watch;

use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use clusterbook_slurm::{JobFlag, JobId, JobPhase, JobState, SubmitOptions};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::parcel::{EVENTS, JOURNAL, LOG, OUTPUT, Parcel, RESULT, Returned};
use super::shell::{Shell, quote};
use super::telling::{End, Line, Telling};
use super::{Finished, Place, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventSink, Status, tell};
use crate::json::Object;
use follow::{Followed, Follower};
use watch::{Seen, Watch};

/// The first pause between two looks at a silent job; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many looks in a row may fail: with their pauses, some minutes.
const PATIENCE: u32 = 10;
/// How long a shared file system may take to show the last lines of a job that has ended.
const LAST_LINES: Duration = Duration::from_secs(4);
/// How long a job that was asked to stop may take to interrupt its cell and save.
const GRACE: Duration = Duration::from_secs(30);
/// Where jobs' folders and programs are, unless another folder is named.
const FOLDER: &str = ".cache/tmplrun";
/// Marks our own lines among what a login shell may print by itself.
const MARK: &str = "tmplrun:";

/// What jobs ask for, and what they find.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// What every job asks for. Its script, folder and output are ours.
    pub options: SubmitOptions,
    /// The folder for jobs and programs, which all nodes share; by default `~/.cache/tmplrun` there.
    pub folder: Option<String>,
    /// `tmplrun` on the cluster, for every node. By default one of `programs` is sent.
    pub tmplrun: Option<String>,
    /// Programs here that may be sent, the first for each architecture winning.
    pub programs: Vec<PathBuf>,
    /// The interpreter on the cluster whose environment holds the kernels.
    pub python: Option<String>,
    /// Lines of shell that prepare a job's environment, such as `module load python`.
    pub setup: Vec<String>,
    /// Kernels work in the home there, rather than in the folder that a step names.
    pub in_home: bool,
}

/// Runs each notebook as a job of Slurm.
#[derive(Debug)]
pub struct Slurm {
    shell: Shell,
    slurm: clusterbook_slurm::Slurm<Shell>,
    settings: Settings,
    ready: OnceCell<Ready>,
    watch: Watch,
}

/// What is found out and done there once, before the first job.
#[derive(Debug)]
struct Ready {
    folder: String,
    programs: Vec<(Option<String>, String)>,
}

/// A job that was submitted.
struct Job<'a> {
    id: JobId,
    folder: &'a str,
}

/// What following a job came to.
struct Heard {
    /// What the script said at its end; none if it never did.
    end: Option<End>,
    /// What Slurm said last.
    seen: Option<Seen>,
    /// It was we who stopped it.
    stopped: bool,
}

impl Slurm {
    /// Slurm as reached through `shell`.
    #[must_use]
    pub fn new(shell: Shell, settings: Settings) -> Self {
        Self {
            slurm: clusterbook_slurm::Slurm::new(shell.clone()),
            shell,
            settings,
            ready: OnceCell::new(),
            watch: Watch::default(),
        }
    }

    async fn ready(&self) -> Result<&Ready> {
        self.ready.get_or_try_init(|| self.prepare()).await
    }

    /// Finds the folder, and sends the programs that are not there yet.
    async fn prepare(&self) -> Result<Ready> {
        let folder = match &self.settings.folder {
            Some(folder) => match folder.strip_prefix("~/") {
                Some(rest) => format!("\"$HOME\"/{}", quote(rest)?),
                None => quote(folder)?.into_owned(),
            },
            None => format!("\"$HOME\"/{FOLDER}"),
        };
        let line = format!(
            "umask 077; mkdir -p {folder}/bin {folder}/jobs && cd {folder} && echo \"{MARK}$(pwd)\" && \
             for name in bin/*; do echo \"{MARK}$name\"; done"
        );
        let doing = "the folder for jobs cannot be made on the cluster";
        let answer = self.shell.must(doing, &line, &[]).await?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let mut lines = answer.lines().filter_map(|line| line.trim_end().strip_prefix(MARK));
        let folder = lines
            .next()
            .ok_or_else(|| Error::configuration(doing).because(format!("it answered: {}", answer.trim())))?
            .to_owned();
        let there: Vec<&str> = lines.filter_map(|name| name.strip_prefix("bin/")).collect();
        if let Some(tmplrun) = &self.settings.tmplrun {
            let programs = vec![(None, tmplrun.clone())];
            return Ok(Ready { folder, programs });
        }
        let found = programs::find(&self.settings.programs)?;
        if found.is_empty() {
            return Err(Error::configuration("there is no tmplrun to send to the cluster")
                .help("name one that is there with --tmplrun PATH, or make one with ci/static-tmplrun"));
        }
        let mut programs = Vec::new();
        for program in found {
            let name = &program.name;
            if !there.contains(&name.as_str()) {
                let content = fs_err::read(&program.path)
                    .map_err(|error| Error::configuration("the program to send cannot be read").because(error))?;
                // Renamed when it is whole, so that a broken connection leaves no half of it.
                let line = format!(
                    "umask 077; cd {}/bin && cat >.{name}.$$ && [ \"$(wc -c <.{name}.$$)\" -eq {} ] && \
                     chmod 700 .{name}.$$ && mv -f .{name}.$$ {name}",
                    quote(&folder)?,
                    program.size
                );
                self.shell
                    .must("tmplrun cannot be sent to the cluster", &line, &content)
                    .await?;
            }
            programs.push((Some(program.architecture.to_owned()), format!("{folder}/bin/{name}")));
        }
        Ok(Ready { folder, programs })
    }

    /// Sends the parcel; gives the job's folder.
    async fn stage(&self, ready: &Ready, task: &Task<'_>, parcel: &Parcel) -> Result<String> {
        let folder = format!("{}/jobs/{}-{}", ready.folder, task.run, task.step + 1);
        let archive = parcel
            .archive()
            .map_err(|error| Error::new(ErrorKind::Bug, "the notebook cannot be packed").because(error))?;
        let quoted = quote(&folder)?;
        let line = format!("umask 077; mkdir {quoted} && cd {quoted} && tar -xf -");
        let sent = self
            .shell
            .must("the notebook cannot be sent to the cluster", &line, &archive)
            .await;
        if let Err(error) = sent {
            self.remove(&folder).await;
            return Err(error);
        }
        Ok(folder)
    }

    async fn submit(&self, ready: &Ready, task: &Task<'_>, parcel: &Parcel, folder: &str) -> Result<JobId> {
        let job = script::Job {
            run: task.run,
            folder,
            programs: &ready.programs,
            python: self.settings.python.as_deref(),
            setup: &self.settings.setup,
        };
        let settings = &self.settings.options;
        let name = task.name.strip_suffix(".ipynb").unwrap_or(task.name);
        let mut options = SubmitOptions {
            script: script::script(&job, parcel)?,
            name: settings.name.clone().or_else(|| Some(name.to_owned())),
            chdir: Some(folder.to_owned()),
            output: Some(format!("{folder}/{LOG}")),
            requeue: settings.requeue.or(Some(false)),
            ..settings.clone()
        };
        // A job whose number got lost with a connection can be found by its run.
        options.extra.push(format!("--comment=tmplrun {}", task.run));
        self.slurm.submit(&options).await.map_err(|error| {
            let asked_for = "Slurm did not take the job";
            match &error {
                clusterbook_slurm::Error::Failed { stderr, code, .. } if *code != Some(127) => {
                    let said = stderr.trim().to_owned();
                    Error::configuration(asked_for)
                        .because(if said.is_empty() { error.to_string() } else { said })
                        .help("change what is asked for with --slurm NAME=VALUE; `sinfo` lists the partitions")
                }
                _ => slurm_error(asked_for, error),
            }
        })
    }

    /// Follows the job to its end.
    async fn follow(
        &self,
        job: &Job<'_>,
        telling: &mut Telling<'_>,
        task: &Task<'_>,
        sink: &dyn EventSink,
        cancel: &CancellationToken,
    ) -> Result<Heard> {
        let mut follower = Follower::new(&self.shell, &format!("{}/{EVENTS}", job.folder))?;
        let heard = self.listen(job, telling, task, sink, cancel, &mut follower).await;
        follower.end().await;
        heard
    }

    async fn listen(
        &self,
        job: &Job<'_>,
        telling: &mut Telling<'_>,
        task: &Task<'_>,
        sink: &dyn EventSink,
        cancel: &CancellationToken,
        follower: &mut Follower<'_>,
    ) -> Result<Heard> {
        let mut heard = Heard {
            end: None,
            seen: None,
            stopped: false,
        };
        let mut pause = FIRST_PAUSE;
        let mut next = Instant::now();
        let mut failures = 0;
        let mut began = false;
        let mut lost: Option<String> = None;
        let mut last_lines: Option<Instant> = None;
        let mut kill_at: Option<Instant> = None;
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled(), if !heard.stopped => {
                    heard.stopped = true;
                    kill_at = Some(Instant::now() + GRACE);
                    self.stop(job, began).await?;
                    (pause, next) = (FIRST_PAUSE, Instant::now());
                }
                followed = follower.next(), if lost.is_none() => match followed {
                    Followed::Line(line) => {
                        match telling.take(&line) {
                            Line::End(end) => {
                                heard.end = Some(end);
                                return Ok(heard);
                            }
                            Line::Began => began = true,
                            Line::Plain => {}
                        }
                        if !heard.stopped {
                            next = next.max(Instant::now() + pause);
                        }
                    }
                    Followed::Lost(said) => lost = Some(said),
                },
                () = sleep_until(next) => {
                    match self.watch.look(&self.slurm, job.id).await {
                        Ok(seen) => {
                            failures = 0;
                            if heard.seen.as_ref() != Some(&seen) {
                                pause = FIRST_PAUSE;
                                tell_state(sink, task.step, job.id, &seen);
                            }
                            if seen.is_finished() {
                                let until = *last_lines.get_or_insert(Instant::now() + LAST_LINES);
                                let nothing_to_come = lost.is_some() || (heard.stopped && !began);
                                if nothing_to_come || Instant::now() >= until {
                                    heard.seen = Some(seen);
                                    return Ok(heard);
                                }
                            }
                            heard.seen = Some(seen);
                        }
                        Err(error) => {
                            failures += 1;
                            if failures >= PATIENCE && lost.is_some() {
                                return Err(left_alone(job, slurm_error("the job's state cannot be found out", error)));
                            }
                        }
                    }
                    if kill_at.is_some_and(|at| Instant::now() >= at) {
                        kill_at = None;
                        let cancelled = self.slurm.cancel(job.id).await;
                        cancelled.map_err(|error| left_alone(job, slurm_error("the job cannot be stopped", error)))?;
                    }
                    next = Instant::now() + pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if last_lines.is_some() || heard.stopped {
                        pause = FIRST_PAUSE;
                    }
                }
            }
        }
    }

    /// Asks the job to end: one that runs a notebook to interrupt and save it, another one at once.
    async fn stop(&self, job: &Job<'_>, began: bool) -> Result<()> {
        let stopped = if began {
            self.slurm.signal_script(job.id, script::STOP).await
        } else {
            self.slurm.cancel(job.id).await
        };
        match stopped {
            Ok(()) | Err(clusterbook_slurm::Error::UnknownJob { .. }) => Ok(()),
            Err(error) => Err(left_alone(job, slurm_error("the job cannot be stopped", error))),
        }
    }

    /// Waits a moment until Slurm says how the job ended.
    async fn last_state(&self, id: JobId) -> Option<Seen> {
        let until = Instant::now() + LAST_LINES;
        loop {
            let seen = self.watch.look(&self.slurm, id).await.ok();
            if seen.as_ref().is_some_and(Seen::is_finished) || Instant::now() >= until {
                return seen;
            }
            sleep_until(Instant::now() + FIRST_PAUSE).await;
        }
    }

    async fn fetch(&self, folder: &str) -> Result<Returned> {
        let quoted = quote(folder)?;
        // What isn't there is not asked for, since tar would fail.
        let line = format!(
            "cd {quoted} && set -- && for name in {OUTPUT} {JOURNAL} {RESULT} {LOG}; do \
             [ ! -s $name ] || set -- \"$@\" $name; done; [ $# -eq 0 ] || exec tar -cf - \"$@\""
        );
        let archive = self
            .shell
            .must("the executed notebook cannot be fetched", &line, &[])
            .await?;
        Returned::unpack(&archive)
            .map_err(|error| Error::configuration("what was fetched from the cluster is no archive").because(error))
    }

    /// Removes a job's folder, which holds its notebook and perhaps a secret that the job did not come to remove.
    async fn remove(&self, folder: &str) {
        if let Ok(folder) = quote(folder) {
            let _ = self.shell.line(&format!("rm -rf {folder}"), &[]).await;
        }
    }

    /// From what was heard and fetched to how it ended.
    fn judge(&self, job: &Job<'_>, heard: &Heard, back: &Returned, telling: Telling<'_>, temporary: &Path) -> Finished {
        let mut finished = back.finished(telling.cells, temporary);
        let seen = heard.seen.as_ref();
        let fate = seen.and_then(|seen| fate(job.id, seen, &self.settings));
        if heard.stopped && (!back.has_result() || finished.status == Status::Interrupted) {
            finished.status = Status::Interrupted;
            finished.error = None;
        } else if let Some((status, error)) = fate.filter(|_| !matches!(finished.status, Status::Completed)) {
            // Slurm knows why better than whoever it happened to.
            finished.status = status;
            finished.error = Some(error);
        } else if !back.has_result() {
            let (status, error) = self.no_result(job, heard, back);
            finished.status = status;
            finished.error = Some(error);
        }
        finished
    }

    /// The program left no result: why.
    fn no_result(&self, job: &Job<'_>, heard: &Heard, back: &Returned) -> (Status, Box<Error>) {
        let id = job.id;
        let log = back.log();
        let because = |error: Box<Error>| {
            if log.is_empty() {
                error
            } else {
                error.because(log.clone())
            }
        };
        let Some(end) = &heard.end else {
            let state = heard.seen.as_ref().and_then(|seen| seen.state.as_ref());
            let word = state.map_or("is no longer known to Slurm".to_owned(), |state| {
                format!("ended as {state}")
            });
            let error = Error::configuration(format!("job {id} {word}, and nothing was heard of it")).help(format!(
                "a node that does not see {} cannot work in it: name a folder that all nodes share with --on-folder",
                job.folder
            ));
            return (Status::Failed, because(error));
        };
        let detail = &end.detail;
        let error = match end.end.as_str() {
            "architecture" => Error::configuration(format!("the node is of the architecture {detail}, and no tmplrun for it was sent"))
                .help(format!(
                    "put a static tmplrun-{detail} beside this program (ci/static-tmplrun makes one), or name one that is \
                     there with --tmplrun PATH"
                )),
            "program" => Error::configuration(format!("tmplrun does not start on the node, whose architecture is {detail}"))
                .help("a static one starts on every node of its architecture (ci/static-tmplrun makes one); or name one that is there with --tmplrun PATH"),
            "python" => Error::configuration(format!("{detail} has no such Python: {}", self.settings.python.as_deref().unwrap_or_default()))
                .help("name one on a file system that all nodes share with --python PATH"),
            "exit" => {
                let kind = match end.status {
                    138 => ErrorKind::Kernel,
                    130 | 143 => ErrorKind::Interrupted,
                    70 => ErrorKind::Bug,
                    _ => ErrorKind::Configuration,
                };
                Error::new(kind, format!("tmplrun could not run the notebook in job {id} (exit status {})", end.status))
            }
            other => Error::configuration(format!("job {id} could not begin: {other} {detail}")),
        };
        let status = match error.kind() {
            ErrorKind::Kernel => Status::KernelDied,
            ErrorKind::Interrupted => Status::Interrupted,
            _ => Status::Failed,
        };
        (status, because(error))
    }
}

#[async_trait]
impl Place for Slurm {
    async fn run(&self, task: &Task<'_>, sink: &dyn EventSink, cancel: &CancellationToken) -> Result<Finished> {
        let stopped = || Error::new(ErrorKind::Interrupted, "stopped before the job was submitted");
        let folder = task.folder.to_string_lossy();
        let parcel = Parcel::pack(task, (!self.settings.in_home).then_some(&*folder))?;
        let ready = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(stopped()),
            ready = self.ready() => ready?,
        };
        let folder = self.stage(ready, task, &parcel).await?;
        if cancel.is_cancelled() {
            self.remove(&folder).await;
            return Err(stopped());
        }
        let id = match self.submit(ready, task, &parcel, &folder).await {
            Ok(id) => id,
            Err(error) => {
                self.remove(&folder).await;
                return Err(error);
            }
        };
        let job = Job { id, folder: &folder };
        tell(
            sink,
            Event::Submitted {
                step: task.step,
                place: "slurm".to_owned(),
                prefix: Some(self.shell.shown()).filter(|prefix| !prefix.is_empty()),
                job: id.to_string(),
                folder: folder.clone(),
            },
        );
        self.watch.add(id).await;
        let mut telling = Telling::new(task.step, sink);
        let heard = Box::pin(self.follow(&job, &mut telling, task, sink, cancel)).await;
        let mut heard = match heard {
            Ok(heard) => heard,
            Err(error) => {
                self.watch.remove(id).await;
                return Ok(lost(telling, error));
            }
        };
        let back = self.fetch(&folder).await;
        let back = match back {
            Ok(back) => back,
            Err(error) => {
                self.watch.remove(id).await;
                let help = format!("it is in {folder} on the cluster");
                return Ok(lost(telling, error.help(help)));
            }
        };
        // Whether Slurm had a hand in it is asked only where it may have had one.
        let by_itself = heard
            .end
            .as_ref()
            .is_some_and(|end| end.end == "exit" && end.status < 128);
        if heard.end.is_some() && !by_itself && !heard.stopped {
            heard.seen = self.last_state(id).await;
        }
        self.watch.remove(id).await;
        self.remove(&folder).await;
        Ok(self.judge(&job, &heard, &back, telling, task.temporary))
    }
}

fn lost(telling: Telling<'_>, error: Box<Error>) -> Finished {
    Finished {
        status: Status::Failed,
        failure: None,
        cells: telling.cells,
        results: Object::new(),
        notebook: None,
        error: Some(error),
        left: Vec::new(),
    }
}

fn tell_state(sink: &dyn EventSink, step: usize, id: JobId, seen: &Seen) {
    let Some(state) = &seen.state else { return };
    let event = Event::JobState {
        step,
        job: id.to_string(),
        state: state.to_string(),
        reason: seen.reason.clone(),
        nodes: Some(seen.nodes.clone()).filter(|nodes| !nodes.is_empty()),
    };
    tell(sink, event);
}

/// What Slurm did to a job that did not end by itself.
fn fate(id: JobId, seen: &Seen, settings: &Settings) -> Option<(Status, Box<Error>)> {
    let state: &JobState = seen.state.as_ref()?;
    let node = if seen.nodes.is_empty() {
        String::new()
    } else {
        format!(" on {}", seen.nodes)
    };
    let kernel = |message: String| Error::kernel(message);
    Some(match &state.phase {
        JobPhase::Timeout | JobPhase::Deadline => (
            Status::TimedOut,
            kernel(format!("job {id} ran into its time limit{node}"))
                .help("ask for more with --slurm time=TIME; what had run is in the notebook"),
        ),
        JobPhase::NodeFailed | JobPhase::BootFailed => (
            Status::KernelDied,
            kernel(format!("the node of job {id} failed{node}"))
                .help("what had run is in the notebook; run it again, or let Slurm do so with --slurm requeue"),
        ),
        JobPhase::OutOfMemory => {
            let had = settings
                .options
                .memory_mib
                .map_or(String::new(), |memory| format!("; it had asked for {memory} MiB"));
            (
                Status::KernelDied,
                kernel(format!("job {id} used more memory than it was given{node}"))
                    .help(format!("ask for more with --slurm mem=SIZE{had}")),
            )
        }
        JobPhase::Preempted => (
            Status::KernelDied,
            kernel(format!("job {id} made room for a more important one"))
                .help("run it again, or in another partition"),
        ),
        JobPhase::Cancelled => (
            Status::KernelDied,
            kernel(format!("somebody cancelled job {id}")).help("what had run is in the notebook"),
        ),
        _ if state.has(&JobFlag::LaunchFailed) => (
            Status::Failed,
            Error::configuration(format!("job {id} could not be started{node}"))
                .help(format!("`scontrol show job {id}` says more")),
        ),
        _ => return None,
    })
}

fn left_alone(job: &Job<'_>, error: Box<Error>) -> Box<Error> {
    error.help(format!(
        "job {} is left as it is: `squeue -j {}` shows it, and its notebook is in {}",
        job.id, job.id, job.folder
    ))
}

/// An error of Slurm's as one of ours, with what it says to do.
fn slurm_error(message: &str, error: clusterbook_slurm::Error) -> Box<Error> {
    let hint = error.hint();
    let error = Error::configuration(message).because(error);
    match hint {
        Some(hint) => error.help(hint),
        None => error,
    }
}
