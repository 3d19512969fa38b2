//! What to run, and how.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::StepRecord;
use crate::error::{Error, Result};
use crate::flow::{Flow, Selection};
use crate::json::Object;
use crate::kernel::Warmth;
use crate::mask::{Masker, Secret};
use crate::notebook::Notebook;
use crate::place::Place;

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

    /// The notebook's path and its output's, as they are recorded in the notebook.
    pub(super) fn shown_paths(&self) -> (String, String) {
        let output = self.shown_output();
        let output = output.map_or_else(|| "-".to_owned(), |path| path.display().to_string());
        (self.path.display().to_string(), output)
    }

    /// The output as it is recorded and reported.
    pub(super) fn shown_output(&self) -> Option<PathBuf> {
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

impl Options {
    /// What masks the secrets that were given.
    #[must_use]
    pub fn masker(&self) -> Masker {
        let masker = Masker::new();
        self.secrets.iter().for_each(|secret| masker.register(secret.value()));
        masker
    }
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
