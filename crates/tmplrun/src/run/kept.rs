//! Going on in a kernel that was kept.
//!
//! A kept kernel holds what the cells before the failing one made. Going on in it is right only if those cells are still the
//! same; what comes after them may have been put right meanwhile. Where its runner was killed nobody wrote down how far it
//! had come, but the journal did, and the notebook that was put together from it says so: the cell that was running then is
//! interrupted, and runs again.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::record::real;
use super::steps::{Running, Started};
use super::{KeepKernel, StepPlan, StepRequest, open_keeping};
use crate::clock;
use crate::error::Result;
use crate::events::{Event, Status, tell};
use crate::execute::{self, Executed};
use crate::json::{Json, Object};
use crate::kernel::{self, Kept, Kernel};
use crate::mask::{Channel, Masker};
use crate::notebook::Notebook;

/// A kept kernel with a notebook whose first cells have run in it.
pub(super) struct TakenUp {
    pub(super) started: Started,
    /// The first cell that has not run in it.
    pub(super) first: usize,
    /// What the cells before it handed on.
    pub(super) results: Object,
}

/// What going on later needs; `None` if there is no cell to go on from. The notebook is as it ran, without error markers.
pub(super) fn state(executed: &Executed, notebook: &Notebook, masker: &Masker) -> Option<Json> {
    let first = match (&executed.failure, executed.status) {
        (Some(failure), _) => failure.index,
        // Stopped between two cells.
        (None, Status::Interrupted) => executed.cells.last().map_or(0, |cell| cell.index + 1),
        _ => return None,
    };
    // What other kernels of this run registered may have been handed on to this one; a later run must mask it, too. This goes
    // into a file that only its owner reads, beside the key of the very kernel that holds the secrets.
    let values = masker.values();
    let secrets: Vec<Json> = values.iter().map(|value| Json::from(STANDARD.encode(value))).collect();
    let masked = execute::masked(notebook, masker);
    let widgets = masked.metadata().and_then(|metadata| metadata.get("widgets"));
    Some(Json::from(
        Object::new()
            .with("first", Json::Number(first.to_string()))
            .with("cells", cells(notebook, first, masker))
            .with("results", executed.results.clone())
            .with("widgets", widgets.cloned())
            .with("secrets", secrets),
    ))
}

/// When the run began that this notebook is from: to the microsecond, and so another one's for every run.
fn began(notebook: &Notebook) -> String {
    let entry = notebook.metadata().and_then(|metadata| metadata.get("papermill"));
    let time = entry.and_then(|entry| entry.text("start_time"));
    time.map(|time| time.into_owned()).unwrap_or_default()
}

/// The first `count` cells as they ran, masked.
fn cells(notebook: &Notebook, count: usize, masker: &Masker) -> Vec<Json> {
    let masked = execute::masked(notebook, masker);
    let all = masked.cells_raw();
    all[..count.min(all.len())].to_vec()
}

impl Running<'_> {
    /// What is known about the kernel of `step`.
    pub(super) fn about(&self, step: &StepRequest, plan: &StepPlan) -> Kept {
        let current = &self.environment.current;
        Kept {
            kernel: plan.kernel.name.clone(),
            began: began(&plan.notebook),
            notebook: real(&step.path, current),
            output: step.output.as_ref().map(|output| real(output, current)),
            run: self.run.to_owned(),
            since: clock::now(),
            connection_file: std::path::PathBuf::new(),
            pid: 0,
            started: 0,
            interrupt_by_message: false,
            marker: String::new(),
            state: Json::Null,
        }
    }

    /// Lets the kernel go on if that was asked for; `None` if it is to end.
    pub(super) fn keep(
        &self,
        index: usize,
        step: &StepRequest,
        plan: &StepPlan,
        status: Status,
        state: Option<Json>,
        kernel: &mut Kernel,
    ) -> Option<Kept> {
        let wanted = match self.options.keep_kernel {
            KeepKernel::Never => false,
            KeepKernel::OnFailure => status != Status::Completed,
            KeepKernel::Always => true,
        };
        if !wanted || kernel.has_ended() {
            return None;
        }
        let about = Kept {
            state: state.unwrap_or(Json::Null),
            ..self.about(step, plan)
        };
        match kernel.keep(about) {
            Ok(kept) => {
                tell(
                    self.sink,
                    Event::KernelKept {
                        step: index,
                        pid: kept.pid,
                        connection_file: kept.connection_file.display().to_string(),
                    },
                );
                Some(kept)
            }
            Err(error) => {
                self.warn(index, error.to_string());
                None
            }
        }
    }

    /// Goes on in the kernel that was kept for this step, if it lives and what ran in it is what would run now.
    pub(super) async fn take_up(
        &self,
        index: usize,
        step: &StepRequest,
        notebook: &mut Notebook,
    ) -> Result<Option<TakenUp>> {
        if !self.resumes {
            return Ok(None);
        }
        let Some(output) = &step.output else { return Ok(None) };
        let output = real(output, &self.environment.current);
        let mut found = None;
        for kept in kernel::list_kept(&self.environment.kept) {
            if kept.output.as_ref() == Some(&output) {
                // The youngest is the one that the output comes from.
                if let Some(older) = found.replace(kept) {
                    kernel::end_kept(&older).await;
                }
            }
        }
        let Some(mut kept) = found else {
            // In a flow, most notebooks that are left have not begun yet.
            if self.alone {
                self.warn(index, "no kernel was kept: the notebook runs from its start".to_owned());
            }
            return Ok(None);
        };
        for value in Channel::kept_values(kept.folder()) {
            self.masker.register(&value);
        }
        let killed = kept.state == Json::Null;
        if killed {
            kept.state = self.cut_short(&kept, &output);
        }
        let secrets = kept.state.get("secrets").and_then(Json::as_array).unwrap_or_default();
        for value in secrets.iter().filter_map(Json::as_str) {
            if let Ok(value) = STANDARD.decode(value.as_bytes()) {
                self.masker.register(&value);
            }
        }
        let why = match self.cells_that_ran(&kept, notebook) {
            Err(why) => why,
            Ok(ran) => match Kernel::attach(&kept, killed, self.options.start_timeout, self.cancel).await? {
                None => "the kernel that was kept does not answer",
                Some(kernel) => {
                    let channel = open_keeping(kernel.folder(), self.masker)?;
                    let first = ran.len();
                    for (place, cell) in ran.into_iter().enumerate() {
                        notebook.replace_cell(place, cell);
                    }
                    if let Some(widgets @ Json::Object(_)) = kept.state.get("widgets") {
                        notebook.metadata_mut().set("widgets", widgets.clone());
                    }
                    tell(
                        self.sink,
                        Event::KernelResumed {
                            step: index,
                            index: first,
                        },
                    );
                    let results = kept.state.get("results").and_then(Json::as_object).cloned();
                    return Ok(Some(TakenUp {
                        started: Started {
                            kernel,
                            channel: Some(channel),
                        },
                        first,
                        results: results.unwrap_or_default(),
                    }));
                }
            },
        };
        kernel::end_kept(&kept).await;
        self.warn(index, format!("{why}: the notebook runs from its start in a new one"));
        Ok(None)
    }

    /// How far a kernel had come whose runner was killed, by the notebook that was put together from the run's journal;
    /// `Null` if that is another run's.
    fn cut_short(&self, kept: &Kept, output: &Path) -> Json {
        let notebook = fs_err::read(output)
            .ok()
            .and_then(|bytes| Notebook::read(&bytes, output).ok());
        let Some(notebook) = notebook.filter(|notebook| !kept.began.is_empty() && began(notebook) == kept.began) else {
            return Json::Null;
        };
        let ended = |index: &usize| {
            let entry = notebook.cell(*index).and_then(|cell| cell.metadata("papermill"));
            entry.and_then(|entry| entry.text("status")).as_deref() == Some("completed")
        };
        let runnable = execute::runnable(&notebook, &self.options.skip_tags);
        let Some(first) = runnable.into_iter().find(|index| !ended(index)) else {
            return Json::Null;
        };
        let widgets = notebook.metadata().and_then(|metadata| metadata.get("widgets"));
        Json::from(
            Object::new()
                .with("cells", cells(&notebook, first, self.masker))
                .with("results", execute::handed_on(&notebook, first))
                .with("widgets", widgets.cloned()),
        )
    }

    /// The cells that ran in the kept kernel, if the notebook still begins with them.
    fn cells_that_ran(&self, kept: &Kept, notebook: &Notebook) -> std::result::Result<Vec<Json>, &'static str> {
        let Some(ran) = kept.state.get("cells").and_then(Json::as_array) else {
            return Err("the kernel that was kept is not at a cell from which one can go on");
        };
        let now = cells(notebook, ran.len(), self.masker);
        let same = |(one, other): (&Json, &Json)| {
            let text = |cell: &Json, key: &str| cell.get(key).and_then(Json::joined).map(|text| text.into_owned());
            text(one, "cell_type") == text(other, "cell_type") && text(one, "source") == text(other, "source")
        };
        if now.len() != ran.len() || !now.iter().zip(ran).all(same) {
            return Err("cells before the failed one, or the parameters, have changed since the kernel was kept");
        }
        Ok(ran.to_vec())
    }

    pub(super) fn warn(&self, step: usize, message: String) {
        tell(
            self.sink,
            Event::Warning {
                step: Some(step),
                message: self.masker.mask(&message).into_owned(),
            },
        );
    }
}
