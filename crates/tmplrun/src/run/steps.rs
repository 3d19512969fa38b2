//! The steps of a run: each from its kernel's start to its result, side by side where they don't need each other.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::values::Handed;
use super::{
    KeepKernel, Keeping, MASK_VARIABLE, Next, Options, Request, Schedule, Standing, StepPlan, StepRecord, StepRequest,
    StepResult, kept, open_keeping, values,
};
use crate::destination::Destination;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventSink, Status, tell};
use crate::execute::{self, Executed, Execution, NotebookEntry, Saver, Span};
use crate::flow::Graph;
use crate::json::{Json, Object, Shelf};
use crate::kernel::{Kept, Kernel, Kernels, LeftProcess, StartOptions};
use crate::kernelspec::KernelSpec;
use crate::mask::{Channel, MARK, Masker};
use crate::notebook::Notebook;
use crate::parameters::{inject, merge, translator};
use crate::place::{Finished, Place, Task};

/// What the steps of a run share.
pub(super) struct Running<'a> {
    pub(super) options: &'a Options,
    pub(super) environment: &'a Environment,
    pub(super) kernels: &'a Kernels,
    pub(super) masker: &'a Arc<Masker>,
    pub(super) sink: &'a dyn EventSink,
    pub(super) cancel: &'a CancellationToken,
    pub(super) run: &'a str,
    pub(super) channel: &'a Channel,
    pub(super) resumes: bool,
    /// It is no flow but one notebook.
    pub(super) alone: bool,
    pub(super) left: Mutex<Vec<LeftProcess>>,
    /// Where outputs go that memory need not hold.
    pub(super) shelf: Shelf,
    /// Each step's kernel.
    pub(super) specs: &'a [KernelSpec],
    /// The steps that are likely to start next, the likeliest first.
    pub(super) coming: Mutex<Vec<(StartOptions, &'a KernelSpec)>>,
}

/// A kernel that is ready for a notebook.
pub(super) struct Started {
    pub(super) kernel: Kernel,
    /// Where code in a kernel that may outlive the run registers values to mask.
    pub(super) channel: Option<Channel>,
}

/// One step on its way.
pub(super) struct Job<'a> {
    pub(super) index: usize,
    pub(super) step: &'a StepRequest,
    pub(super) plan: StepPlan,
    pub(super) saver: Saver,
    /// What earlier notebooks handed on to it, or why that cannot be said.
    pub(super) handed: Result<Object>,
}

impl<'a> Running<'a> {
    /// Runs every step when its turn comes; gives a result for each.
    pub(super) async fn all(
        &self,
        request: &Request,
        graph: &Graph,
        plans: Vec<StepPlan>,
        savers: Vec<Saver>,
        keeping: &mut Keeping<'_>,
    ) -> Result<Vec<StepResult>> {
        let standing = request.steps.iter().map(|step| Standing {
            wanted: step.wanted,
            always: step.always,
            done: step.done.is_some(),
        });
        let mut schedule = Schedule::new(graph, standing.collect(), self.options.jobs);
        let names: Vec<&str> = request.steps.iter().map(|step| step.name.as_str()).collect();
        let mut waiting: Vec<Option<(StepPlan, Saver)>> = plans.into_iter().zip(savers).map(Some).collect();
        let mut results: Vec<Option<StepResult>> = Vec::new();
        let mut handed_on: Vec<Object> = Vec::new();
        for (index, step) in request.steps.iter().enumerate() {
            let done = step.done.as_ref().map(|done| self.done_before(index, step, done));
            handed_on.push(done.as_ref().map(|done| done.results.clone()).unwrap_or_default());
            if done.is_some() {
                waiting[index] = None;
            }
            results.push(done);
        }
        let mut running = FuturesUnordered::new();
        // Kernels whose end nobody has to wait for, while they end.
        let mut endings = FuturesUnordered::new();
        loop {
            if self.cancel.is_cancelled() {
                schedule.stop();
            }
            // As many may end as may run, and not more.
            let next = if endings.len() > self.options.jobs.max(1) {
                Next::Wait
            } else {
                schedule.next_step()
            };
            match next {
                Next::Start(index) => {
                    let Some((plan, saver)) = waiting[index].take() else {
                        continue;
                    };
                    self.noted(index, keeping.started(index));
                    let takes = |name: &str| plan.declares(name) && plan.parameters.get(name).is_none();
                    let handed = values::handed(graph, index, &handed_on, &takes, &names).map(|found| {
                        found.iter().for_each(|each| self.told_if_masked(index, each, &names));
                        found
                            .into_iter()
                            .fold(Object::new(), |all, each| all.with(&each.name, each.value))
                    });
                    let step = &request.steps[index];
                    running.push(Box::pin(self.step(Job {
                        index,
                        step,
                        plan,
                        saver,
                        handed,
                    })));
                }
                Next::PassOver(index) => {
                    if let Some((plan, _)) = waiting[index].take() {
                        results[index] = Some(self.passed_over(index, &request.steps[index], &plan));
                    }
                }
                Next::Wait => {
                    *self.coming.lock().unwrap_or_else(PoisonError::into_inner) = self.coming(&schedule, request);
                    tokio::select! {
                        biased;
                        Some((index, result, kernel)) = running.next() => {
                            endings.extend(kernel.map(|kernel| Box::pin(self.end(kernel, true))));
                            self.noted(index, keeping.ended(index, &result));
                            let good = matches!(result.status, Status::Completed | Status::Prepared);
                            schedule.ended(index, good);
                            handed_on[index] = result.results.clone();
                            results[index] = Some(result);
                        }
                        Some(()) = endings.next() => {}
                        else => {}
                    }
                }
                Next::Done => break,
            }
        }
        while endings.next().await.is_some() {}
        Ok(results.into_iter().flatten().collect())
    }

    /// The kernels that are likely to start next, at most as many as run at once.
    fn coming(&self, schedule: &Schedule<'_>, request: &Request) -> Vec<(StartOptions, &'a KernelSpec)> {
        let steps = schedule.coming().into_iter().take(self.options.jobs.max(1));
        steps
            .map(|step| (self.start_options(&request.steps[step]), &self.specs[step]))
            .collect()
    }

    /// A record that cannot be written takes away only the going on later: it is no reason to end the run.
    fn noted(&self, step: usize, written: Result<()>) {
        if let Err(error) = written {
            self.warn(
                step,
                format!("the run's record cannot be written, so --resume will not know of this: {error}"),
            );
        }
    }

    /// A notebook that takes a masked value for the true one fails where nobody looks for the reason.
    fn told_if_masked(&self, step: usize, handed: &Handed, names: &[&str]) {
        if handed.value.to_compact().contains(MARK) {
            self.warn(
                step,
                format!(
                    "{} gets `{}` from {} masked, as {}, since it holds a secret; give the secret itself with --secret",
                    names[step],
                    handed.name,
                    names[handed.from],
                    handed.value.to_compact()
                ),
            );
        }
    }

    fn passed_over(&self, index: usize, step: &StepRequest, plan: &StepPlan) -> StepResult {
        let title = plan.notebook.title();
        self.did_not_run(index, step, title, Status::Skipped, 0.0)
    }

    /// What an earlier run made of a step.
    fn done_before(&self, index: usize, step: &StepRequest, done: &StepRecord) -> StepResult {
        let result = self.did_not_run(index, step, done.title.clone(), Status::DoneBefore, done.seconds);
        let output = step.output.clone().filter(|output| output.is_file());
        let notebook = output.as_ref().and_then(|output| {
            let bytes = fs_err::read(output).ok()?;
            Notebook::read(&bytes, output).ok()
        });
        StepResult {
            output,
            parameters: done.parameters.clone(),
            results: done.results.clone(),
            cells: done.cells.clone(),
            notebook,
            ..result
        }
    }

    fn did_not_run(
        &self,
        index: usize,
        step: &StepRequest,
        title: Option<String>,
        status: Status,
        seconds: f64,
    ) -> StepResult {
        tell(
            self.sink,
            Event::NotebookFinished {
                step: index,
                name: step.name.clone(),
                status,
                seconds,
                failure: None,
            },
        );
        StepResult {
            name: step.name.clone(),
            title: title.map(|title| self.masker.mask(&title).into_owned()),
            input: step.path.clone(),
            output: None,
            needs: step.needs.clone(),
            status,
            seconds,
            parameters: Object::new(),
            results: Object::new(),
            cells: Vec::new(),
            failure: None,
            error: None,
            kernel: None,
            notebook: None,
        }
    }

    /// Runs one step. Gives its kernel if that has still to be ended.
    async fn step(&self, job: Job<'_>) -> (usize, StepResult, Option<Kernel>) {
        let Job {
            index,
            step,
            mut plan,
            mut saver,
            handed,
        } = job;
        let start = Timestamp::now();
        let title = plan.notebook.title().map(|title| self.masker.mask(&title).into_owned());
        let parameters = handed.map(|mut all| {
            merge(&mut all, plan.parameters.clone());
            all
        });
        // The cell with parameters is one more, unless it takes an earlier one's place.
        let given = parameters.as_ref().is_ok_and(|all| !all.is_empty());
        let added = given && plan.notebook.tagged("injected-parameters").is_none();
        tell(
            self.sink,
            Event::NotebookStarted {
                step: index,
                name: step.name.clone(),
                title: title.clone(),
                cells: execute::runnable(&plan.notebook, &self.options.skip_tags).len() + usize::from(added),
                output: step.shown_output().map(|path| path.display().to_string()),
            },
        );
        let (mut kernel, mut ending) = (None, None);
        let (parameters, outcome) = match parameters {
            Err(error) => (Object::new(), Err(error)),
            Ok(parameters) => {
                let outcome = match &self.options.place {
                    Some(place) if !self.options.prepare_only => {
                        self.hand_over(place.as_ref(), index, step, &mut plan, &parameters, &mut saver)
                            .await
                    }
                    _ => self
                        .carry_out(
                            index,
                            step,
                            &mut plan,
                            &parameters,
                            &mut saver,
                            start,
                            &mut kernel,
                            &mut ending,
                        )
                        .await
                        .map(|executed| (executed, None)),
                };
                (parameters, outcome)
            }
        };
        let (executed, error) = match outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                let status = match error.kind() {
                    ErrorKind::Interrupted => Status::Interrupted,
                    ErrorKind::Kernel => Status::KernelDied,
                    _ => Status::Failed,
                };
                (Executed::without_cells(status), Some(error))
            }
        };
        let span = Span::since(start);
        tell(
            self.sink,
            Event::NotebookFinished {
                step: index,
                name: step.name.clone(),
                status: executed.status,
                seconds: span.seconds(),
                failure: executed.failure.clone(),
            },
        );
        let masked = match execute::masked(&plan.notebook, self.masker) {
            Cow::Owned(masked) => Some(masked),
            Cow::Borrowed(_) => None,
        };
        let mut notebook = masked.unwrap_or(plan.notebook);
        if !self.alone {
            // It stays for the report, as one of many.
            notebook.put_outputs_away(&self.shelf);
        }
        // What was registered after it was handed on or shown is masked now.
        let masked = |object: Object| {
            let mut value = Json::Object(object);
            self.masker.mask_json(&mut value);
            value.as_object().cloned().unwrap_or_default()
        };
        let result = StepResult {
            name: step.name.clone(),
            title,
            input: step.path.clone(),
            output: step.shown_output(),
            needs: step.needs.clone(),
            status: executed.status,
            seconds: span.seconds(),
            parameters: masked(parameters),
            results: masked(executed.results),
            cells: executed.cells,
            failure: executed.failure,
            error,
            kernel,
            notebook: Some(notebook),
        };
        (index, result, ending)
    }

    /// Injects, runs, writes; the executed notebook stays in `plan`, and its kernel in `kept` if it goes on, in `ending` if
    /// it has still to be ended.
    #[allow(clippy::too_many_arguments, reason = "each is another part of one step")]
    async fn carry_out(
        &self,
        index: usize,
        step: &StepRequest,
        plan: &mut StepPlan,
        parameters: &Object,
        saver: &mut Saver,
        start: Timestamp,
        kept: &mut Option<Kept>,
        ending: &mut Option<Kernel>,
    ) -> Result<Executed> {
        let notebook = &mut plan.notebook;
        let run = !self.options.prepare_only;
        execute::prepare(notebook, run);
        if !parameters.is_empty() {
            inject(notebook, translator(&plan.kernel.name, &plan.language)?, parameters)?;
            // The injected cell is as pending as the others.
            if run {
                execute::prepare(notebook, run);
            }
        }
        if self.options.report_mode {
            hide_sources(notebook);
        }
        let (input, output) = step.shown_paths();
        let mut entry = NotebookEntry {
            parameters,
            input: &input,
            output: &output,
            start: run.then_some(start),
            end: None,
        };
        execute::notebook_entry(notebook, &entry);
        if self.options.prepare_only {
            saver.finish(notebook, self.masker)?;
            return Ok(Executed::without_cells(Status::Prepared));
        }
        // Looks into what an earlier run wrote, which is replaced next.
        let taken_up = self.take_up(index, step, notebook).await?;
        // An earlier run's success must not stand there when this one is killed in its first cell.
        saver.save(notebook, self.masker)?;
        let (first, results, ready) = match taken_up {
            Some(taken) => (taken.first, taken.results, Ok(taken.started)),
            None => (0, Object::new(), self.start(step, plan).await),
        };
        let notebook = &mut plan.notebook;
        let Started { mut kernel, channel } = match ready {
            Ok(started) => started,
            Err(error) => {
                entry.end = Some((Span::since(start), Json::Bool(true)));
                execute::notebook_entry(notebook, &entry);
                saver.finish(notebook, self.masker)?;
                return Err(error);
            }
        };
        self.start_ahead();
        if let Json::Object(info) = kernel.language_info() {
            notebook.metadata_mut().set("language_info", info.clone());
        }
        let mut execution = Execution {
            step: index,
            cell_timeout: self.options.cell_timeout,
            autosave: if self.options.save_between_cells {
                self.options.autosave
            } else {
                Duration::ZERO
            },
            allow_errors: self.options.allow_errors,
            allow_error_names: &self.options.allow_error_names,
            repeat: self.options.repeat,
            skip_tags: &self.options.skip_tags,
            masker: self.masker,
            sink: self.sink,
            cancel: self.cancel,
            saver,
            shelf: &self.shelf,
            first,
            end_by: self.options.notebook_timeout.map(|limit| Instant::now() + limit),
        };
        let mut outcome = Box::pin(execution.run(&mut kernel, notebook)).await;
        if let Ok(executed) = &mut outcome {
            let mut all = results;
            merge(&mut all, executed.results.clone());
            executed.results = all;
        }
        let status = outcome.as_ref().map_or(Status::Failed, |executed| executed.status);
        entry.end = Some((Span::since(start), Json::Bool(status != Status::Completed)));
        execute::notebook_entry(notebook, &entry);
        let state = outcome
            .as_ref()
            .ok()
            .and_then(|executed| kept::state(executed, notebook, self.masker));
        if let Ok(Executed {
            failure: Some(failure), ..
        }) = &outcome
        {
            execute::add_markers(notebook, failure.index);
        }
        // Written before the kernel ends: its end may take a while, and nothing more is to come.
        let saved = saver.finish(notebook, self.masker);
        *kept = self.keep(index, step, plan, status, state, &mut kernel);
        drop(channel);
        if kept.is_some() {
            saved?;
            return outcome;
        }
        if status == Status::Completed && !self.alone && kernel.is_at_rest() {
            *ending = Some(kernel);
        } else {
            let gently = matches!(status, Status::Completed | Status::Failed | Status::Interrupted);
            Box::pin(self.end(kernel, gently)).await;
        }
        saved?;
        outcome
    }

    /// Ends a kernel, and remembers what left it.
    async fn end(&self, kernel: Kernel, gently: bool) {
        let processes = kernel.shut_down(gently).await;
        let mut known = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        for mut left in processes {
            left.command = self.masker.mask(&left.command).into_owned();
            if !known
                .iter()
                .any(|known| known.pid == left.pid && known.started == left.started)
            {
                known.push(left);
            }
        }
    }

    /// Lets another place run it; the executed notebook stays in `plan`.
    async fn hand_over(
        &self,
        place: &dyn Place,
        index: usize,
        step: &StepRequest,
        plan: &mut StepPlan,
        parameters: &Object,
        saver: &mut Saver,
    ) -> Result<(Executed, Option<Box<Error>>)> {
        // A secret's value travels apart from the parameters, and its reference there is another one.
        let mut parameters = parameters.clone();
        let mut secrets = Vec::new();
        for secret in &self.options.secrets {
            if parameters.get(&secret.name).and_then(Json::as_str).as_deref() == Some(&*secret.reference) {
                parameters.remove(&secret.name);
                secrets.push(secret);
            }
        }
        let task = Task {
            run: self.run,
            step: index,
            name: &step.name,
            notebook: &plan.notebook,
            parameters: &parameters,
            secrets,
            folder: &step.folder,
            options: self.options,
            temporary: &self.environment.temporary,
        };
        let (input, output) = step.shown_paths();
        let mut pending = plan.notebook.clone();
        execute::prepare(&mut pending, true);
        execute::notebook_entry(
            &mut pending,
            &NotebookEntry {
                parameters: task.parameters,
                input: &input,
                output: &output,
                start: Some(Timestamp::now()),
                end: None,
            },
        );
        saver.save(&pending, self.masker)?;
        drop(pending);
        let finished = place.run(&task, self.sink, self.cancel).await;
        let notebook = &mut plan.notebook;
        let Finished {
            status,
            failure,
            cells,
            results,
            notebook: executed,
            error,
            left,
        } = match finished {
            Ok(finished) => finished,
            Err(error) => {
                execute::prepare(notebook, true);
                saver.finish(notebook, self.masker)?;
                return Err(error);
            }
        };
        match executed {
            Some(executed) => *notebook = executed,
            None => execute::prepare(notebook, true),
        }
        // It has its paths there; people look for those that they gave.
        let entry = notebook.metadata_mut().object_mut("papermill");
        let output = step.output.as_ref().map(|path| path.display().to_string());
        entry.set("input_path", step.path.display().to_string().as_str());
        entry.set("output_path", output.unwrap_or_default().as_str());
        saver.finish(notebook, self.masker)?;
        self.left.lock().unwrap_or_else(PoisonError::into_inner).extend(left);
        let executed = Executed {
            status,
            failure,
            cells,
            results,
        };
        Ok((executed, error))
    }

    /// Starts the kernel of one step. The only place that does.
    async fn start(&self, step: &StepRequest, plan: &StepPlan) -> Result<Started> {
        let options = self.start_options(step);
        let kernel = self.kernels.start(&plan.kernel, &options, self.cancel).await?;
        let channel = if options.keep.is_some() {
            kernel.announce(self.about(step, plan))?;
            Some(open_keeping(kernel.folder(), self.masker)?)
        } else {
            None
        };
        Ok(Started { kernel, channel })
    }

    fn start_options(&self, step: &StepRequest) -> StartOptions {
        let may_be_kept = self.options.keep_kernel != KeepKernel::Never;
        let mask = match may_be_kept {
            // It must be found where the kernel looks for it also by a later run.
            true => format!("{{kernel_folder}}/{}", Channel::NAME),
            false => self.channel.path().display().to_string(),
        };
        StartOptions {
            folder: self.kernels.absolute(&step.folder),
            variables: vec![(MASK_VARIABLE.to_owned(), mask)],
            run: self.run.to_owned(),
            patience: self.options.start_timeout,
            debugger: self.options.debugger,
            keep: may_be_kept.then(|| self.environment.kept.clone()),
        }
    }

    /// Starts the kernels of the steps that come next, as many as may run at once. Called when a kernel has started: not
    /// before, since the notebook that waits goes first.
    fn start_ahead(&self) {
        let coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        self.kernels
            .prepare(coming.iter().map(|(options, spec)| (*spec, options)));
    }
}

/// The folder of a step's output.
pub(super) fn beside(step: &StepRequest) -> Option<&Path> {
    let output = step.output.as_deref().filter(|_| step.wanted)?;
    let is_stream = Destination::find(output).is_ok_and(|destination| destination.is_stream());
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.filter(|_| !is_stream)
}

/// Tells viewers to fold the code away.
fn hide_sources(notebook: &mut Notebook) {
    for index in 0..notebook.cell_count() {
        let code = notebook
            .cell(index)
            .is_some_and(|cell| cell.kind() == crate::notebook::CellKind::Code);
        if let Some(cell) = notebook.cell_mut(index).filter(|_| code) {
            cell.object_mut("metadata")
                .object_mut("jupyter")
                .set("source_hidden", true);
        }
    }
}
