//! A run: one notebook, or the steps of a flow, from start to result.
//!
//! Steps that do not need each other run side by side, all of them on the caller's task: each is a future that mostly waits
//! for its kernel. What one hands on, the states of the others and the record belong to the loop that starts them.

mod kept;
mod plan;
mod record;
mod result;
mod resume;
mod schedule;
mod values;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use plan::{Plan, Source, StepPlan, plan};
pub use record::{RECORD_NAME, Record, StepRecord};
pub use result::{CellFailure, CellResult, RESULT_SCHEMA, RunResult, StepResult};
pub use resume::recover;
pub use schedule::{Next, Schedule, Standing};

use crate::clock;
use crate::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::events::{Event, EventSink, Status, tell};
use crate::execute::{self, Executed, Execution, NotebookEntry, Saver, Span, Writer};
use crate::flow::{Flow, Graph, Selection};
use crate::json::{Json, Object, Shelf};
use crate::kernel::{Kept, Kernel, Kernels, LeftProcess, StartOptions, Warmth};
use crate::kernelspec::KernelSpec;
use crate::mask::{Channel, Masker, Secret};
use crate::notebook::Notebook;
use crate::parameters::{inject, merge, translator};
use crate::place::{Finished, Place, Task};

/// The variable that tells code in a kernel where to register values to mask.
pub const MASK_VARIABLE: &str = "TMPLRUN_MASK";

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// The notebook's or the flow's name.
    pub name: String,
    /// The notebooks, as they are listed.
    pub steps: Vec<StepRequest>,
    /// Where the record of a flow's run goes, beside its executed notebooks; nowhere without one.
    pub folder: Option<PathBuf>,
    /// It goes on with an earlier run: kernels kept for it are used.
    pub resumes: bool,
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
    /// How the output is recorded and reported, where that is not its own path: it may be sent on from there.
    pub output_name: Option<String>,
    /// The kernel's working folder.
    pub folder: PathBuf,
    /// Parameters of this step alone.
    pub parameters: Object,
    /// The places of the steps that it needs: they end before it starts, and it gets what they and those before them hand
    /// on.
    pub needs: Vec<usize>,
    /// It runs also when a step that it needs failed.
    pub always: bool,
    /// Whether it is to run.
    pub wanted: bool,
    /// How an earlier run completed it; it does not run again then.
    pub done: Option<StepRecord>,
}

/// When a kernel goes on after its notebook's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepKernel {
    /// It does not.
    #[default]
    Never,
    /// When the notebook did not come to a good end and the kernel still lives.
    OnFailure,
    /// Whenever it still lives.
    Always,
}

impl StepRequest {
    /// Reads the notebook.
    ///
    /// # Errors
    /// When there is none that can be run.
    pub fn read(&self) -> Result<Notebook> {
        match &self.content {
            Some(content) => Notebook::read(content, &self.path),
            None => {
                let bytes = fs_err::read(&self.path).map_err(|error| {
                    Error::yours("the notebook cannot be read")
                        .at(&self.path)
                        .because(error)
                })?;
                Notebook::read(&bytes, &self.path)
            }
        }
    }

    /// The output as it is recorded and reported.
    fn shown_output(&self) -> Option<PathBuf> {
        self.output_name
            .as_ref()
            .map(PathBuf::from)
            .or_else(|| self.output.clone())
    }
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
    /// The language to write parameters in, and to find a kernel for where a notebook names none that is installed.
    pub language: Option<String>,
    /// A parameter without a taker is an error.
    pub strict: bool,
    /// What may be done before a kernel is needed.
    pub warmth: Warmth,
    /// IPython kernels have their debugger at hand.
    pub debugger: bool,
    /// How long a kernel may take to answer for the first time.
    pub start_timeout: Duration,
    /// How long a cell may run.
    pub cell_timeout: Option<Duration>,
    /// How long a notebook may run, its kernel's start left out.
    pub notebook_timeout: Option<Duration>,
    /// How many notebooks may run side by side; one if zero.
    pub jobs: usize,
    /// When kernels go on after their notebooks.
    pub keep_kernel: KeepKernel,
    /// A notebook is saved while it runs, and not only at its end.
    pub save_between_cells: bool,
    /// How often a notebook is saved while a cell runs; never if zero.
    pub autosave: Duration,
    /// Raising cells do not end a notebook.
    pub allow_errors: bool,
    /// Cells that raise an exception of one of these names do not end a notebook.
    pub allow_error_names: Vec<String>,
    /// How many times in a row each cell is run.
    pub repeat: u32,
    /// Cells with one of these tags are passed over, as are those tagged `skip-execution`.
    pub skip_tags: Vec<String>,
    /// Parameters are injected and the notebook is written, and nothing runs.
    pub prepare_only: bool,
    /// Sources are hidden in the executed notebook.
    pub report_mode: bool,
    /// Where notebooks run, if not in kernels of this process.
    pub place: Option<Arc<dyn Place>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parameters: Object::new(),
            secrets: Vec::new(),
            kernel: None,
            language: None,
            strict: false,
            warmth: Warmth::default(),
            debugger: false,
            start_timeout: Duration::from_secs(60),
            cell_timeout: None,
            notebook_timeout: None,
            jobs: 1,
            keep_kernel: KeepKernel::Never,
            save_between_cells: true,
            autosave: Duration::from_secs(30),
            allow_errors: false,
            allow_error_names: Vec::new(),
            repeat: 1,
            skip_tags: Vec::new(),
            prepare_only: false,
            report_mode: false,
            place: None,
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
            output_name: None,
            folder: folder.to_path_buf(),
            parameters: Object::new(),
            needs: Vec::new(),
            always: false,
            wanted: true,
            done: None,
        };
        Self {
            name,
            steps: vec![step],
            folder: None,
            resumes: false,
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
                output: output.map(|folder| folder.join(&step.name)),
                output_name: None,
                folder: step.path.parent().unwrap_or(Path::new(".")).to_path_buf(),
                parameters: step.parameters.clone(),
                needs: step.needs.clone(),
                always: step.always,
                wanted,
                done: None,
            })
            .collect();
        Ok(Self {
            name: name.to_owned(),
            steps,
            folder: output.map(Path::to_path_buf),
            resumes: false,
            inject_undeclared: false,
            options: Options::default(),
        })
    }
}

/// Runs `request`. A failing cell is a result, not an error; whatever ran has been written when this returns.
///
/// The first cancellation interrupts the running cells; dropping the future ends kernels at once.
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
    let run = uuid::Uuid::new_v4().to_string();
    let (mut warnings, savers) = (planned.warnings, lock_outputs(request, &run)?);
    for (step, saver) in savers.iter().enumerate().filter(|(_, saver)| saver.recovered()) {
        let message = "an earlier run of this notebook did not come to its end; what it had done was put together from its \
                       journal, and is being replaced now";
        let name = saver.path().map(|path| path.display().to_string()).unwrap_or_default();
        if !request.resumes {
            warnings.push((Some(step), format!("{name}: {message}")));
        }
    }
    let may_be_kept = request.options.keep_kernel != KeepKernel::Never;
    let specs: Vec<KernelSpec> = planned.steps.iter().map(|plan| plan.kernel.clone()).collect();
    let will_run = |step: &StepRequest| step.wanted && step.done.is_none() && !request.options.prepare_only;
    // Named before it is made, so that whoever cleans up after a killed runner knows of it at every moment.
    let name = format!("tmplrun-{}", &run[..13]);
    let kernels = Kernels::open(
        &environment.temporary.join(&name),
        environment,
        // Kernels that may be kept are each started by themselves.
        if may_be_kept {
            Warmth::Cold
        } else {
            request.options.warmth
        },
        request.options.debugger,
        request.options.jobs,
        request
            .steps
            .iter()
            .zip(&specs)
            .filter(|(step, _)| will_run(step))
            .map(|(_, spec)| spec),
    );
    let folder = tempfile::Builder::new()
        .prefix(&name)
        .rand_bytes(0)
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir_in(&environment.temporary)
        .map_err(|error| {
            Error::configuration("no private folder can be made")
                .at(&environment.temporary)
                .because(error)
        })?;
    let channel =
        Channel::open(folder.path(), Arc::clone(&masker)).map_err(|error| no_channel(folder.path(), error))?;
    let started = Timestamp::now();
    let names: Vec<String> = request.steps.iter().map(|step| step.name.clone()).collect();
    tell(
        sink,
        Event::RunStarted {
            run: run.clone(),
            steps: names.clone(),
            needs: request.steps.iter().map(|step| step.needs.clone()).collect(),
        },
    );
    for (step, message) in warnings {
        tell(
            sink,
            Event::Warning {
                step,
                message: masker.mask(&message).into_owned(),
            },
        );
    }
    let mut keeping = Keeping::begin(request, &run, started, &planned.steps, &masker)?;
    let running = Running {
        environment,
        options: &request.options,
        kernels: &kernels,
        masker: &masker,
        sink,
        cancel,
        run: &run,
        channel: &channel,
        resumes: request.resumes,
        alone: request.folder.is_none(),
        left: Mutex::default(),
        // Beside the outputs: where temporary files go, they may well be in memory.
        shelf: Shelf::new(request.steps.iter().find_map(beside).unwrap_or(&environment.temporary)),
        specs: &specs,
        coming: Mutex::default(),
    };
    let steps = running
        .all(request, &planned.graph, planned.steps, savers, &mut keeping)
        .await;
    let left = running.left.into_inner().unwrap_or_else(PoisonError::into_inner);
    kernels.close().await;
    let steps = steps?;
    let bad = |result: &&StepResult| !matches!(result.status, Status::Completed | Status::Skipped | Status::DoneBefore);
    let interrupted = steps.iter().any(|result| result.status == Status::Interrupted);
    let status = match steps.iter().find(bad) {
        _ if interrupted => Status::Interrupted,
        Some(result) => result.status,
        // Stopped between two notebooks: none of them was interrupted, and not all of them ran.
        None if cancel.is_cancelled() && planned_but_skipped(request, &steps) => Status::Interrupted,
        None => Status::Completed,
    };
    keeping.end(status)?;
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

fn planned_but_skipped(request: &Request, results: &[StepResult]) -> bool {
    let mut both = request.steps.iter().zip(results);
    both.any(|(step, result)| step.wanted && result.status == Status::Skipped)
}

/// Takes the outputs of all notebooks that will run, or none.
fn lock_outputs(request: &Request, run: &str) -> Result<Vec<Saver>> {
    let writer = Writer { run: run.to_owned() };
    let mut savers = Vec::new();
    for (index, step) in request.steps.iter().enumerate() {
        let output = step.output.as_deref().filter(|_| step.wanted);
        let twice = request.steps[..index]
            .iter()
            .any(|other| other.wanted && other.output.as_deref() == output);
        if let (true, Some(output)) = (twice, output) {
            return Err(Error::yours("two notebooks would be written to the same file").at(output));
        }
        savers.push(Saver::new(output, &writer)?.only_when_asked(!request.options.save_between_cells));
    }
    Ok(savers)
}

/// The channel of a kernel that may outlive this run, in the kernel's folder.
fn open_keeping(folder: &Path, masker: &Arc<Masker>) -> Result<Channel> {
    Channel::open_keeping(folder, Arc::clone(masker)).map_err(|error| no_channel(folder, error))
}

fn no_channel(folder: &Path, error: std::io::Error) -> Box<Error> {
    Error::configuration("the channel for secrets cannot be opened")
        .at(folder)
        .because(error)
}

/// Keeps the record of a flow's run.
struct Keeping<'a> {
    folder: Option<&'a Path>,
    record: Record,
}

impl<'a> Keeping<'a> {
    fn begin(request: &'a Request, run: &str, started: Timestamp, plans: &[StepPlan], masker: &Masker) -> Result<Self> {
        let mut given = Json::Object(plan::given(&request.options));
        masker.mask_json(&mut given);
        let steps = request.steps.iter().zip(plans);
        let steps = steps.map(|(step, plan)| match &step.done {
            Some(done) => done.clone(),
            None => StepRecord::new(&step.name, &plan.notebook),
        });
        let given = given.as_object().cloned().unwrap_or_default();
        let record = Record::of(request, run, &clock::format(started), given, steps.collect());
        let keeping = Self {
            folder: request.folder.as_deref(),
            record,
        };
        if let Some(folder) = keeping.folder {
            execute::sweep(&folder.join(RECORD_NAME));
        }
        keeping.write()?;
        Ok(keeping)
    }

    fn started(&mut self, step: usize) -> Result<()> {
        self.record.steps[step].status = Status::Running;
        self.write()
    }

    fn ended(&mut self, step: usize, result: &StepResult) -> Result<()> {
        self.record.steps[step].ended(result);
        self.write()
    }

    fn end(&mut self, status: Status) -> Result<()> {
        self.record.status = Some(status);
        self.write()
    }

    fn write(&self) -> Result<()> {
        self.folder.map_or(Ok(()), |folder| self.record.write(folder))
    }
}

struct Running<'a> {
    options: &'a Options,
    environment: &'a Environment,
    kernels: &'a Kernels,
    masker: &'a Arc<Masker>,
    sink: &'a dyn EventSink,
    cancel: &'a CancellationToken,
    run: &'a str,
    channel: &'a Channel,
    resumes: bool,
    /// It is no flow but one notebook.
    alone: bool,
    left: Mutex<Vec<LeftProcess>>,
    /// Where outputs go that memory need not hold.
    shelf: Shelf,
    /// Each step's kernel.
    specs: &'a [KernelSpec],
    /// The steps that are likely to start next, the likeliest first.
    coming: Mutex<Vec<(StartOptions, &'a KernelSpec)>>,
}

/// A kernel that is ready for a notebook.
struct Started {
    kernel: Kernel,
    /// Where code in a kernel that may outlive the run registers values to mask.
    channel: Option<Channel>,
}

/// One step on its way.
struct Job<'a> {
    index: usize,
    step: &'a StepRequest,
    plan: StepPlan,
    saver: Saver,
    /// What earlier notebooks handed on to it, or why that cannot be said.
    handed: Result<Object>,
}

impl<'a> Running<'a> {
    /// Runs every step when its turn comes; gives a result for each.
    async fn all(
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
                            schedule.ended(index, result.status == Status::Completed);
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
        let mut shown = Json::Object(parameters);
        self.masker.mask_json(&mut shown);
        let result = StepResult {
            name: step.name.clone(),
            title,
            input: step.path.clone(),
            output: step.shown_output(),
            needs: step.needs.clone(),
            status: executed.status,
            seconds: span.seconds(),
            parameters: shown.as_object().cloned().unwrap_or_default(),
            results: executed.results,
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
        let input = step.path.display().to_string();
        let output = step
            .shown_output()
            .map_or_else(|| "-".to_owned(), |path| path.display().to_string());
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
            return Ok(Executed::without_cells(Status::Completed));
        }
        let taken_up = self.take_up(index, step, notebook).await?;
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
fn beside(step: &StepRequest) -> Option<&Path> {
    let folder = step.output.as_deref().filter(|_| step.wanted)?.parent()?;
    Some(folder).filter(|folder| !folder.as_os_str().is_empty())
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
