//! A run: one notebook, or the steps of a flow, from start to result.

mod plan;
mod result;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use plan::{Plan, StepPlan, plan};
pub use result::{CellFailure, CellResult, RESULT_SCHEMA, RunResult, StepResult};

use crate::clock;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventSink, Status, tell};
use crate::execute::{self, Executed, Execution, NotebookEntry, Saver, Span};
use crate::flow::{Flow, Selection};
use crate::json::{Json, Object};
use crate::kernel::{Kernel, LeftProcess, StartOptions};
use crate::mask::{Channel, Masker, Secret};
use crate::parameters::{inject, merge, translator};

/// The variable that tells code in a kernel where to register values to mask.
pub const MASK_VARIABLE: &str = "TMPLRUN_MASK";

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The notebook's or the flow's name.
    pub name: String,
    /// The notebooks in order.
    pub steps: Vec<StepRequest>,
    /// Whether a notebook gets parameters that it does not declare, as papermill has it for a single notebook.
    pub inject_undeclared: bool,
    /// Everything else.
    pub options: Options,
}

/// One notebook to run.
#[derive(Debug, Clone)]
pub struct StepRequest {
    /// The step's name.
    pub name: String,
    /// The notebook's file.
    pub path: PathBuf,
    /// Its content, where it does not come from the file.
    pub content: Option<Vec<u8>>,
    /// Where the executed notebook goes; nowhere without one.
    pub output: Option<PathBuf>,
    /// The kernel's working folder.
    pub folder: PathBuf,
    /// Parameters of this step alone.
    pub parameters: Object,
    /// It runs also when an earlier step failed.
    pub always: bool,
    /// Whether it is to run.
    pub wanted: bool,
}

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Parameters for every notebook; these win.
    pub parameters: Object,
    /// Secrets, given by reference.
    pub secrets: Vec<Secret>,
    /// The kernel to use in place of the notebooks' own.
    pub kernel: Option<String>,
    /// A parameter without a taker is an error.
    pub strict: bool,
    /// How long a kernel may take to answer for the first time.
    pub start_timeout: Duration,
    /// How long a cell may run.
    pub cell_timeout: Option<Duration>,
    /// How often a notebook is saved while a cell runs; never if zero.
    pub autosave: Duration,
    /// Raising cells do not end a notebook.
    pub allow_errors: bool,
    /// Cells that raise an exception of one of these names do not end a notebook.
    pub allow_error_names: Vec<String>,
    /// How many times in a row each cell is run.
    pub repeat: u32,
    /// Parameters are injected and the notebook is written, and nothing runs.
    pub prepare_only: bool,
    /// Sources are hidden in the executed notebook.
    pub report_mode: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parameters: Object::new(),
            secrets: Vec::new(),
            kernel: None,
            strict: false,
            start_timeout: Duration::from_secs(60),
            cell_timeout: None,
            autosave: Duration::from_secs(30),
            allow_errors: false,
            allow_error_names: Vec::new(),
            repeat: 1,
            prepare_only: false,
            report_mode: false,
        }
    }
}

impl Request {
    /// A request for one notebook, whose kernel works in `folder`.
    #[must_use]
    pub fn notebook(path: &Path, output: Option<PathBuf>, folder: &Path) -> Self {
        let name = path.file_name().map_or_else(
            || path.display().to_string(),
            |name| name.to_string_lossy().into_owned(),
        );
        let step = StepRequest {
            name: name.clone(),
            path: path.to_path_buf(),
            content: None,
            output,
            folder: folder.to_path_buf(),
            parameters: Object::new(),
            always: false,
            wanted: true,
        };
        Self {
            name,
            steps: vec![step],
            inject_undeclared: true,
            options: Options::default(),
        }
    }

    /// A request for the selected steps of a flow; each kernel works in its notebook's folder, as in JupyterLab.
    ///
    /// # Errors
    /// When the selection does not fit the flow.
    pub fn flow(name: &str, flow: &Flow, selection: &Selection, output: Option<&Path>) -> Result<Self> {
        let wanted = selection.apply(&flow.steps)?;
        let steps = flow
            .steps
            .iter()
            .zip(wanted)
            .map(|(step, wanted)| StepRequest {
                name: step.name.clone(),
                path: step.path.clone(),
                content: None,
                output: output.filter(|_| wanted).map(|folder| folder.join(&step.name)),
                folder: step.path.parent().unwrap_or(Path::new(".")).to_path_buf(),
                parameters: step.parameters.clone(),
                always: step.always,
                wanted,
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            steps,
            inject_undeclared: false,
            options: Options::default(),
        })
    }
}

/// Runs `request`. A failing cell is a result, not an error; whatever ran has been written when this returns.
///
/// The first cancellation interrupts the running cell; dropping the future ends kernels at once.
///
/// # Errors
/// When the request itself is wrong: found before anything has run.
pub async fn run(
    request: &Request,
    environment: &Environment,
    sink: &dyn EventSink,
    cancel: &CancellationToken,
) -> Result<RunResult> {
    let planned = plan(request, environment)?;
    let masker = Arc::new(Masker::new());
    for secret in &request.options.secrets {
        masker.register(secret.value());
    }
    let mut savers = Vec::new();
    for (index, step) in request.steps.iter().enumerate() {
        let twice = request.steps[..index]
            .iter()
            .any(|other| other.output.is_some() && other.output == step.output);
        if let (true, Some(output)) = (twice, &step.output) {
            return Err(Error::yours("two notebooks would be written to the same file").at(output));
        }
        savers.push(Saver::new(step.output.as_deref().filter(|_| step.wanted))?);
    }
    let run = uuid::Uuid::new_v4().to_string();
    let folder = tempfile::Builder::new()
        .prefix("tmplrun-")
        .tempdir_in(&environment.temporary)
        .map_err(|error| {
            Error::configuration("no private folder can be made")
                .at(&environment.temporary)
                .because(error)
        })?;
    let channel = Channel::open(folder.path(), Arc::clone(&masker)).map_err(|error| {
        Error::configuration("the channel for secrets cannot be opened")
            .at(folder.path())
            .because(error)
    })?;
    let started = Timestamp::now();
    let names = request.steps.iter().map(|step| step.name.clone()).collect();
    tell(
        sink,
        Event::RunStarted {
            run: run.clone(),
            steps: names,
        },
    );
    for (step, message) in planned.warnings {
        tell(
            sink,
            Event::Warning {
                step,
                message: masker.mask(&message).into_owned(),
            },
        );
    }
    let mut running = Running {
        options: &request.options,
        environment,
        masker: &masker,
        sink,
        cancel,
        run: &run,
        channel: &channel,
        results: Object::new(),
        left: Vec::new(),
    };
    let mut status = Status::Completed;
    let mut steps = Vec::new();
    for (index, ((step, plan), saver)) in request.steps.iter().zip(planned.steps).zip(savers).enumerate() {
        let blocked = match status {
            Status::Completed => false,
            Status::Interrupted => true,
            _ => !step.always,
        };
        let result = if !step.wanted || blocked {
            let name = step.name.clone();
            let skipped = Status::Skipped;
            tell(
                sink,
                Event::NotebookFinished {
                    step: index,
                    name,
                    status: skipped,
                    seconds: 0.0,
                    failure: None,
                },
            );
            StepResult {
                name: step.name.clone(),
                title: plan.notebook.title(),
                input: step.path.clone(),
                output: None,
                status: skipped,
                seconds: 0.0,
                parameters: Object::new(),
                results: Object::new(),
                cells: Vec::new(),
                failure: None,
                error: None,
                notebook: None,
            }
        } else {
            Box::pin(running.step(index, step, plan, saver)).await
        };
        if status == Status::Completed && result.status != Status::Skipped {
            status = result.status;
        }
        steps.push(result);
    }
    let left = running.left;
    let seconds = Span::since(started).seconds();
    tell(sink, Event::RunFinished { status, seconds });
    Ok(RunResult {
        schema: RESULT_SCHEMA,
        run,
        name: request.name.clone(),
        status,
        started: clock::format(started),
        seconds,
        steps,
        left,
    })
}

struct Running<'a> {
    options: &'a Options,
    environment: &'a Environment,
    masker: &'a Masker,
    sink: &'a dyn EventSink,
    cancel: &'a CancellationToken,
    run: &'a str,
    channel: &'a Channel,
    /// What earlier notebooks handed on.
    results: Object,
    left: Vec<LeftProcess>,
}

impl Running<'_> {
    async fn step(&mut self, index: usize, step: &StepRequest, mut plan: StepPlan, mut saver: Saver) -> StepResult {
        let start = Timestamp::now();
        let title = plan.notebook.title().map(|title| self.masker.mask(&title).into_owned());
        tell(
            self.sink,
            Event::NotebookStarted {
                step: index,
                name: step.name.clone(),
                title: title.clone(),
                cells: execute::runnable(&plan.notebook).len(),
                output: step.output.as_ref().map(|path| path.display().to_string()),
            },
        );
        let mut parameters = Object::new();
        for (name, value) in self.results.iter().filter(|(name, _)| plan.declares(name)) {
            parameters.set(&name, value.clone());
        }
        merge(&mut parameters, plan.parameters.clone());
        let outcome = self
            .carry_out(index, step, &mut plan, &parameters, &mut saver, start)
            .await;
        let (executed, error) = match outcome {
            Ok(executed) => (executed, None),
            Err(error) => {
                let status = match error.kind() {
                    ErrorKind::Interrupted => Status::Interrupted,
                    ErrorKind::Kernel => Status::KernelDied,
                    _ => Status::Failed,
                };
                (
                    Executed {
                        status,
                        failure: None,
                        cells: Vec::new(),
                        results: Object::new(),
                    },
                    Some(error),
                )
            }
        };
        merge(&mut self.results, executed.results.clone());
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
        let mut shown = Json::Object(parameters);
        self.masker.mask_json(&mut shown);
        StepResult {
            name: step.name.clone(),
            title,
            input: step.path.clone(),
            output: step.output.clone(),
            status: executed.status,
            seconds: span.seconds(),
            parameters: shown.as_object().cloned().unwrap_or_default(),
            results: executed.results,
            cells: executed.cells,
            failure: executed.failure,
            error,
            notebook: Some(execute::masked(&plan.notebook, self.masker).into_owned()),
        }
    }

    /// Injects, runs, writes; the executed notebook stays in `plan`.
    async fn carry_out(
        &mut self,
        index: usize,
        step: &StepRequest,
        plan: &mut StepPlan,
        parameters: &Object,
        saver: &mut Saver,
        start: Timestamp,
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
        let input = step.path.display().to_string();
        let output = step
            .output
            .as_ref()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        let mut entry = NotebookEntry {
            parameters,
            input: &input,
            output: &output,
            start: run.then_some(start),
            end: None,
        };
        execute::notebook_entry(notebook, &entry);
        let nothing = Executed {
            status: Status::Completed,
            failure: None,
            cells: Vec::new(),
            results: Object::new(),
        };
        if self.options.prepare_only {
            saver.save(notebook, self.masker)?;
            return Ok(nothing);
        }
        let started = self.start(step, plan).await;
        let notebook = &mut plan.notebook;
        let mut kernel = match started {
            Ok(kernel) => kernel,
            Err(error) => {
                entry.end = Some((Span::since(start), Json::Bool(true)));
                execute::notebook_entry(notebook, &entry);
                saver.save(notebook, self.masker)?;
                return Err(error);
            }
        };
        if let Json::Object(info) = kernel.language_info() {
            notebook.metadata_mut().set("language_info", info.clone());
        }
        let mut execution = Execution {
            step: index,
            cell_timeout: self.options.cell_timeout,
            autosave: self.options.autosave,
            allow_errors: self.options.allow_errors,
            allow_error_names: &self.options.allow_error_names,
            repeat: self.options.repeat,
            masker: self.masker,
            sink: self.sink,
            cancel: self.cancel,
            saver,
        };
        let outcome = Box::pin(execution.run(&mut kernel, notebook)).await;
        let status = outcome.as_ref().map_or(Status::Failed, |executed| executed.status);
        entry.end = Some((Span::since(start), Json::Bool(status != Status::Completed)));
        execute::notebook_entry(notebook, &entry);
        if let Ok(Executed {
            failure: Some(failure), ..
        }) = &outcome
        {
            execute::add_markers(notebook, failure.index);
        }
        // Written before the kernel ends: its end may take a while, and nothing more is to come.
        let saved = saver.save(notebook, self.masker);
        let gently = matches!(status, Status::Completed | Status::Failed | Status::Interrupted);
        for mut left in Box::pin(kernel.shut_down(gently)).await {
            left.command = self.masker.mask(&left.command).into_owned();
            if !self
                .left
                .iter()
                .any(|known| known.pid == left.pid && known.started == left.started)
            {
                self.left.push(left);
            }
        }
        saved?;
        outcome
    }

    async fn start(&self, step: &StepRequest, plan: &StepPlan) -> Result<Kernel> {
        let options = StartOptions {
            folder: step.folder.clone(),
            variables: vec![(MASK_VARIABLE.to_owned(), self.channel.path().display().to_string())],
            run: self.run.to_owned(),
            patience: self.options.start_timeout,
        };
        Kernel::start(&plan.kernel, &options, self.environment, self.cancel).await
    }
}

/// Tells viewers to fold the code away.
fn hide_sources(notebook: &mut crate::notebook::Notebook) {
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
