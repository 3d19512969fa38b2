//! The command line, as given. Names are papermill's where papermill has the thing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Command, CommandFactory as _, FromArgMatches as _, Parser};
use clap_complete::Shell;

use super::level::Level;

pub(crate) const AFTER: &str = "\
Examples:
  tmplrun report.ipynb out.ipynb -p alpha 0.5     run one notebook with a parameter
  tmplrun notebooks/                              run the folder's default flow
  tmplrun notebooks/ --dry-run                    show the steps and their parameters
  tmplrun notebooks/ --from 020 --until 121       run a part of it
  tmplrun notebooks/ out/latest --resume           go on where an earlier run stopped
  tmplrun n.ipynb out.ipynb --keep-kernel         leave the kernel of a failed notebook up, to look into it
  tmplrun n.ipynb out.ipynb --secret token=file:~/.token
                                                  pass a secret by reference, masked in everything written
  tmplrun n.ipynb out.ipynb --on slurm --on-prefix \"ssh cluster\" --slurm time=1:00:00
                                                  run it as a job of a cluster (docs/tmplrun/on-slurm.md)
  tmplrun n.ipynb - --no-progress-bar > out.ipynb  write to standard output
  tmplrun s3://bucket/n.ipynb 's3://bucket/out/{region}.ipynb' -p region eu
                                                  read and write elsewhere

A flow is run as the folder's flow.yaml says:
  schema: 1
  default: main
  flows:
    main:
      about: {en: \"Build and use it\"}
      steps:
        - 010-parameters.ipynb
        - notebook: 110-hello.ipynb
          needs: [010-parameters] # waits for these alone; without `needs`, for every step before it
        - notebook: 120-other.ipynb
          needs: [010-parameters] # runs beside 110-hello; `needs: []` waits for nothing
        - {notebook: 120-other.ipynb, name: again, parameters: {size: 2}}
                                  # one notebook several times: each step has a name, written to again.ipynb
        - notebook: 920-remove.ipynb
          parameters: {force: true}
          always: true            # runs also when a step that it needs failed

Display data of the type application/vnd.tmplrun.result+json (an object), or the last output of a cell tagged `result` if it
is a JSON object, become parameters of the notebooks that need this one and declare those names. Precedence: results < the step's parameters < -b < -f < -y < -p < -r.

Code in a kernel may register values to mask: connect to the Unix socket that TMPLRUN_MASK names, send
{\"mask\": \"value\"} on a line, and wait for the line `ok`.

Exit codes:
  0    everything ran
  1    a cell raised, or ran longer than --execution-timeout; --help-notebook found no parameters cell
  2    the command line, the input or the set-up is wrong (nearly always found before anything ran)
  70   a fault of this program
  130  interrupted (Ctrl-C: once to stop the running cell and save, twice to stop at once)
  138  the kernel died, or did not start; a job was lost with its node
  143  ended by SIGTERM or SIGHUP, in the same orderly way";

/// So long that nobody lives to see it, and that any clock can still add it to the present.
pub(crate) const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// When a kernel is left up.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Keep {
    /// When the notebook failed or was interrupted.
    Failure,
    /// Whenever it lives.
    Always,
}

/// Runs a Jupyter notebook, or a flow of notebooks, headless.
#[derive(Debug, Parser)]
#[command(name = "tmplrun", version, after_long_help = AFTER, args_override_self = true)]
pub(crate) struct Arguments {
    /// A notebook, a folder with a flow.yaml, a flow file, or `-` for a notebook on standard input. A notebook may also
    /// lie at an address: s3://, gs://, abs://, abfss://, https://, github://.
    #[arg(value_name = "INPUT")]
    pub(crate) input: Option<String>,

    /// The executed notebook (`-`: standard output; an address), or the folder for a flow's [default for a flow:
    /// out/NAME-TIME]. `{name}` stands for a parameter, as in Python's str.format.
    #[arg(value_name = "OUTPUT")]
    pub(crate) output: Option<String>,

    /// A parameter whose type is guessed: True, False, None, a number or text.
    #[arg(short = 'p', long = "parameters", num_args = 2, value_names = ["NAME", "VALUE"], action = ArgAction::Append,
        allow_hyphen_values = true)]
    pub(crate) parameters: Vec<String>,

    /// A parameter that stays text.
    #[arg(short = 'r', long = "parameters_raw", num_args = 2, value_names = ["NAME", "VALUE"],
        action = ArgAction::Append, allow_hyphen_values = true)]
    pub(crate) parameters_raw: Vec<String>,

    /// A YAML file of parameters; `-` and addresses as for INPUT.
    #[arg(
        short = 'f',
        long = "parameters_file",
        value_name = "FILE",
        allow_hyphen_values = true
    )]
    pub(crate) parameters_file: Vec<String>,

    /// Parameters as YAML text.
    #[arg(
        short = 'y',
        long = "parameters_yaml",
        value_name = "YAML",
        allow_hyphen_values = true
    )]
    pub(crate) parameters_yaml: Vec<String>,

    /// Parameters as base64 of YAML text.
    #[arg(
        short = 'b',
        long = "parameters_base64",
        value_name = "BASE64",
        allow_hyphen_values = true
    )]
    pub(crate) parameters_base64: Vec<String>,

    /// Gives the notebook its own path as the parameter PAPERMILL_INPUT_PATH.
    #[arg(long)]
    pub(crate) inject_input_path: bool,

    /// Gives the notebook its output's path as the parameter PAPERMILL_OUTPUT_PATH.
    #[arg(long)]
    pub(crate) inject_output_path: bool,

    /// Both.
    #[arg(long)]
    pub(crate) inject_paths: bool,

    /// A secret parameter by reference: NAME=file:PATH or NAME=env:VARIABLE. The notebook gets the reference; the value
    /// is masked in everything written.
    #[arg(long, value_name = "NAME=SOURCE")]
    pub(crate) secret: Vec<String>,

    /// A parameter that no notebook declares is an error.
    #[arg(long)]
    pub(crate) strict: bool,

    /// The flow to run [default: the flow file's].
    #[arg(long, value_name = "NAME")]
    pub(crate) flow: Option<String>,

    /// The step to begin with, by number or name, and all that need it.
    #[arg(long, value_name = "STEP")]
    pub(crate) from: Option<String>,

    /// The step to end with, and all that it needs.
    #[arg(long, value_name = "STEP")]
    pub(crate) until: Option<String>,

    /// The only step to run; may be given several times.
    #[arg(long, value_name = "STEP")]
    pub(crate) only: Vec<String>,

    /// How many notebooks of a flow may run side by side [default: the number of processors].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) jobs: Option<u32>,

    /// Goes on with the run that wrote OUTPUT [default for a flow: out/latest]: what it completed is not run again.
    #[arg(long)]
    pub(crate) resume: bool,

    /// Lets --resume go on with other parameters than the earlier run had.
    #[arg(long, requires = "resume")]
    pub(crate) new_parameters: bool,

    /// Puts the notebook INPUT, or those in a flow's output folder INPUT, together from what a killed run left, and runs
    /// nothing.
    #[arg(long, conflicts_with_all = ["resume", "dry_run"])]
    pub(crate) recover: bool,

    /// Leaves a kernel up after its notebook: on `failure` (which the bare option means) or `always`.
    #[arg(long, value_name = "WHEN", num_args = 0..=1, default_missing_value = "failure", require_equals = true)]
    pub(crate) keep_kernel: Option<Keep>,

    /// Lists the kernels that were kept.
    #[arg(long)]
    pub(crate) list_kernels: bool,

    /// Ends a kept kernel, by its process number; `all` ends every one.
    #[arg(long, value_name = "PID|all")]
    pub(crate) end_kernel: Option<String>,

    /// Shows the steps and their parameters, and runs nothing.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,

    /// Shows the notebook's parameters.
    #[arg(long)]
    pub(crate) help_notebook: bool,

    /// Injects parameters and writes the notebook, and runs nothing.
    #[arg(long, overrides_with = "prepare_execute")]
    pub(crate) prepare_only: bool,

    #[arg(long, hide = true, overrides_with = "prepare_only")]
    pub(crate) prepare_execute: bool,

    /// The kernel to use in place of the notebook's own.
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) kernel: Option<String>,

    /// The language that parameters are written in; where the notebook names no kernel that is installed, the one to
    /// find a kernel for.
    #[arg(short, long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) language: Option<String>,

    /// Papermill's choice of a Python entry point; there is no such thing here, and the error says what there is.
    #[arg(long, value_name = "NAME", hide_short_help = true, allow_hyphen_values = true)]
    pub(crate) engine: Option<String>,

    /// Starts each kernel by itself when it is needed. Otherwise, in a flow, the next notebook's kernel starts early, and
    /// IPython kernels share the import of their packages, where that cannot change what a notebook does.
    #[arg(long)]
    pub(crate) cold_kernels: bool,

    /// Starts no kernel before it is needed.
    #[arg(long)]
    pub(crate) no_prestart: bool,

    /// Loads the debugger into IPython kernels, which then take longer to start.
    #[arg(long)]
    pub(crate) debugger: bool,

    /// The kernel's working folder [default: the current one for a notebook, the notebook's own in a flow].
    #[arg(long, value_name = "FOLDER", allow_hyphen_values = true)]
    pub(crate) cwd: Option<PathBuf>,

    /// How long the kernel may take to answer for the first time, in seconds; 0 or less for no limit.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, allow_hyphen_values = true)]
    pub(crate) start_timeout: i64,

    /// How long a cell may run, in seconds; 0 or less for no limit [default].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) execution_timeout: Option<i64>,

    /// How long a notebook may run, in seconds; 0 or less for no limit [default].
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true)]
    pub(crate) timeout: Option<i64>,

    /// Saves the notebook after every cell [default].
    #[arg(long, overrides_with = "no_request_save_on_cell_execute")]
    pub(crate) request_save_on_cell_execute: bool,

    /// Saves it only at the end.
    #[arg(long, overrides_with = "request_save_on_cell_execute")]
    pub(crate) no_request_save_on_cell_execute: bool,

    /// How often the notebook is saved while a cell runs, in seconds; 0 for never.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, allow_hyphen_values = true)]
    pub(crate) autosave_cell_every: i64,

    /// Goes on after a cell that raises.
    #[arg(long)]
    pub(crate) allow_errors: bool,

    /// Goes on after a cell that raises an exception of this name; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_error_name: Vec<String>,

    /// Runs every code cell so many times in a row; each time must succeed.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) repeat_cells: u32,

    /// Passes over cells with this tag, as over those tagged `skip-execution`; may be given several times.
    #[arg(long, alias = "skip-cells-with-tag", value_name = "TAG")]
    pub(crate) skip_tag: Vec<String>,

    /// Hides the code in the executed notebook.
    #[arg(long, overrides_with = "no_report_mode")]
    pub(crate) report_mode: bool,

    #[arg(long, hide = true, overrides_with = "report_mode")]
    pub(crate) no_report_mode: bool,

    /// Shows the notebook's output as it comes.
    #[arg(long, overrides_with = "no_log_output")]
    pub(crate) log_output: bool,

    #[arg(long, hide = true, overrides_with = "log_output")]
    pub(crate) no_log_output: bool,

    /// The least important lines to show: with WARNING no progress, with ERROR no warnings; a notebook's standard output
    /// counts as INFO and its standard error as WARNING.
    #[arg(long, value_name = "LEVEL", ignore_case = true, default_value = "INFO")]
    pub(crate) log_level: Level,

    /// Writes what the notebook puts on standard output to a file, masked.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) stdout_file: Option<PathBuf>,

    /// Writes what the notebook puts on standard error to a file, masked.
    #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
    pub(crate) stderr_file: Option<PathBuf>,

    /// Shows a live line for each running notebook on a terminal, which is the default. Elsewhere each cell has a line.
    #[arg(long, overrides_with = "no_progress_bar")]
    pub(crate) progress_bar: bool,

    /// Shows a line for each cell also on a terminal.
    #[arg(long, overrides_with = "progress_bar")]
    pub(crate) no_progress_bar: bool,

    /// Writes an HTML report [default for a flow: report.html beside the notebooks].
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Writes JUnit XML.
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Writes every event as a line of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,

    /// Prints the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) elsewhere: super::elsewhere::Elsewhere,

    /// Prints a completion script.
    #[arg(long, value_name = "SHELL")]
    pub(crate) completions: Option<Shell>,

    /// Prints the manual page.
    #[arg(long)]
    pub(crate) man_page: bool,
}

impl Arguments {
    /// Reads the command line; ends the program where that is wrong, or asks for help.
    pub(crate) fn read() -> Self {
        Self::from_arg_matches(&Self::definition().get_matches()).unwrap_or_else(|error| error.exit())
    }

    /// The command line's definition. Papermill has options with `_` and options with `-`; both are taken everywhere.
    pub(crate) fn definition() -> Command {
        Self::command().mut_args(|arg| {
            let names = arg
                .get_long()
                .into_iter()
                .chain(arg.get_all_aliases().unwrap_or_default());
            let others: Vec<String> = names
                .map(|name| {
                    if name.contains('_') {
                        name.replace('_', "-")
                    } else {
                        name.replace('-', "_")
                    }
                })
                .filter(|other| arg.get_long() != Some(other))
                .collect();
            arg.aliases(others)
        })
    }

    /// A limit in seconds, as nbclient reads it: none if it is not above zero.
    pub(crate) fn limit(seconds: Option<i64>) -> Option<Duration> {
        let seconds = u64::try_from(seconds?).ok().filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.min(NEVER.as_secs())))
    }

    /// Whether there is something to run; some options only look after what earlier runs have left.
    pub(crate) fn wants_input(&self) -> bool {
        !self.list_kernels && self.end_kernel.is_none()
    }
}
