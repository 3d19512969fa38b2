//! A run: one notebook, or the steps of a flow, from start to result.
//!
//! Steps that do not need each other run side by side, all of them on the caller's task: each is a future that mostly waits
//! for its kernel. What one hands on, the states of the others and the record belong to the loop that starts them.

mod kept;
mod plan;
mod record;
mod request;
mod result;
mod resume;
mod schedule;
mod steps;
mod values;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

pub use plan::{Plan, Source, StepPlan, plan};
pub use record::{RECORD_NAME, Record, StepRecord};
pub use request::{KeepKernel, Options, Request, StepRequest};
pub use result::{CellFailure, CellResult, RESULT_SCHEMA, RunResult, StepResult, name_and_file};
pub use resume::recover;
pub use schedule::{Next, Schedule, Standing};

use crate::clock;
use crate::destination;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::events::{Event, EventSink, Status, tell};
use crate::execute::{Saver, Span, Writer};
use crate::json::{Json, Shelf};
use crate::kernel::{Kernels, Warmth};
use crate::kernelspec::KernelSpec;
use crate::mask::{Channel, Masker};
use steps::{Running, beside};

/// The variable that tells code in a kernel where to register values to mask.
pub const MASK_VARIABLE: &str = "TMPLRUN_MASK";

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
    let masker = Arc::new(request.options.masker());
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
    let bad = |result: &&StepResult| {
        let status = result.status;
        !matches!(
            status,
            Status::Completed | Status::Prepared | Status::Skipped | Status::DoneBefore
        )
    };
    let interrupted = steps.iter().any(|result| result.status == Status::Interrupted);
    let status = match steps.iter().find(bad) {
        _ if interrupted => Status::Interrupted,
        Some(result) => result.status,
        // Stopped between two notebooks: none of them was interrupted, and not all of them ran.
        None if cancel.is_cancelled() && planned_but_skipped(request, &steps) => Status::Interrupted,
        None if request.options.prepare_only => Status::Prepared,
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
            // Others that were accepted for the run as a whole are not asked about again.
            Some(done) => StepRecord {
                own: Some(record::own(step, masker)),
                ..done.clone()
            },
            None => StepRecord::new(step, &plan.notebook, masker),
        });
        let given = given.as_object().cloned().unwrap_or_default();
        let record = Record::of(request, run, &clock::format(started), given, steps.collect());
        let keeping = Self {
            folder: request.folder.as_deref(),
            record,
        };
        if let Some(folder) = keeping.folder {
            destination::sweep(&folder.join(RECORD_NAME));
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
