//! From the command line to a request.

use std::io::{IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tmplrun::flow::{FILE_NAME, FlowFile, Selection};
use tmplrun::json::Object;
use tmplrun::kernel::Warmth;
use tmplrun::mask::Secret;
use tmplrun::parameters::{BuiltIn, INPUT_PATH, OUTPUT_PATH, ParameterFile, RawParameters, merge, template};
use tmplrun::run::{KeepKernel, RECORD_NAME, Record, recover};
use tmplrun::stores::{Place, Stores, Upload};
use tmplrun::{Environment, Error, ErrorKind, Options, Request, Result};

use super::arguments::{Arguments, Keep, NEVER};
use super::surroundings;

/// What the program is about to do.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    /// A flow's folder of executed notebooks.
    pub(crate) folder: Option<PathBuf>,
    /// The executed notebook goes to standard output.
    pub(crate) to_stdout: bool,
    /// What to know about a run that is gone on with.
    pub(crate) notes: Vec<String>,
    /// It is sent elsewhere.
    pub(crate) upload: Option<Upload>,
}

/// What the paths on the command line are read with.
struct Reader<'a> {
    arguments: &'a Arguments,
    environment: &'a Environment,
    stores: Arc<Stores>,
    built_in: BuiltIn,
    /// Standard input, once it was read.
    stdin_taken: bool,
}

impl Reader<'_> {
    fn place(&self, path: &str, parameters: &Object) -> Result<Place> {
        Place::read(&template(path, parameters, &self.built_in)?)
    }

    /// The content of what is not a local file.
    async fn fetch(&mut self, place: &Place) -> Result<Option<Vec<u8>>> {
        match place {
            Place::Local(_) => Ok(None),
            Place::Remote(remote) => self.stores.read(remote).await.map(Some),
            Place::Streams => {
                if std::mem::replace(&mut self.stdin_taken, true) {
                    return Err(Error::new(ErrorKind::Yours, "standard input can be read only once"));
                }
                let mut content = Vec::new();
                std::io::stdin()
                    .read_to_end(&mut content)
                    .map_err(|error| Error::new(ErrorKind::Yours, "standard input cannot be read").because(error))?;
                Ok(Some(content))
            }
        }
    }

    async fn parameter_files(&mut self) -> Result<Vec<ParameterFile>> {
        let mut files = Vec::new();
        for path in &self.arguments.parameters_file {
            let place = Place::read(path)?;
            files.push(ParameterFile {
                path: PathBuf::from(place.shown()),
                content: self.fetch(&place).await?,
            });
        }
        Ok(files)
    }
}

pub(crate) async fn prepare(arguments: &Arguments, environment: &Environment) -> Result<Prepared> {
    if let Some(engine) = &arguments.engine {
        return Err(no_engine(engine));
    }
    let mut reader = Reader {
        arguments,
        environment,
        stores: Arc::new(Stores::new(environment)),
        built_in: BuiltIn::new(jiff::Zoned::now()),
        stdin_taken: false,
    };
    let mut parameters = RawParameters {
        base64: arguments.parameters_base64.clone(),
        files: reader.parameter_files().await?,
        yaml: arguments.parameters_yaml.clone(),
        typed: pairs(&arguments.parameters),
        raw: pairs(&arguments.parameters_raw),
    }
    .resolve()?;
    let secrets = arguments
        .secret
        .iter()
        .map(|text| Secret::read(text, environment))
        .collect::<Result<Vec<_>>>()?;
    let (input, output) = positions(arguments);
    let mut prepared = if is_flow(Path::new(&input)) {
        flow(&reader, Path::new(&input), &parameters)?
    } else {
        notebook(&mut reader, &input, output, &mut parameters).await?
    };
    let place = arguments
        .elsewhere
        .place(environment, &secrets, arguments.cwd.is_none())?;
    if let Some(folder) = &arguments.cwd {
        if !arguments.elsewhere.is_far() && !folder.is_dir() {
            return Err(Error::new(ErrorKind::Yours, "the kernel's working folder does not exist").at(folder));
        }
        prepared.request.steps.iter_mut().for_each(|step| {
            step.folder = if arguments.elsewhere.is_far() {
                folder.clone()
            } else {
                environment.current.join(folder)
            };
        });
    }
    if place.is_some() && arguments.keep_kernel.is_some() {
        return Err(Error::new(
            ErrorKind::Yours,
            "--keep-kernel is for kernels of this machine, and --on runs them elsewhere",
        )
        .help("a job's kernel ends with its job; leave --keep-kernel out"));
    }
    if place.is_some() && !arguments.elsewhere.is_far() {
        // Jobs start in another folder, and find this one by its whole name only.
        for step in &mut prepared.request.steps {
            step.folder = environment.current.join(&step.folder);
        }
    }
    prepared.request.options = Options {
        parameters,
        secrets,
        kernel: arguments.kernel.clone(),
        language: arguments.language.clone(),
        strict: arguments.strict,
        warmth: match (arguments.cold_kernels, arguments.no_prestart) {
            (true, _) => Warmth::Cold,
            (false, true) => Warmth::Forked,
            (false, false) => Warmth::Ahead,
        },
        debugger: arguments.debugger,
        start_timeout: Arguments::limit(Some(arguments.start_timeout)).unwrap_or(NEVER),
        cell_timeout: Arguments::limit(arguments.execution_timeout),
        notebook_timeout: Arguments::limit(arguments.timeout),
        jobs: match (arguments.jobs, &place) {
            (Some(jobs), _) => jobs as usize,
            // How many of them run at once is for the cluster to say.
            (None, Some(_)) => usize::MAX,
            (None, None) => processors(),
        },
        keep_kernel: match arguments.keep_kernel {
            None => KeepKernel::Never,
            Some(Keep::Failure) => KeepKernel::OnFailure,
            Some(Keep::Always) => KeepKernel::Always,
        },
        save_between_cells: !arguments.no_request_save_on_cell_execute,
        autosave: match arguments.autosave_cell_every {
            0 => Duration::ZERO,
            // Below zero papermill saves after every output; oftener than this nobody looks.
            seconds => Arguments::limit(Some(seconds)).unwrap_or(Duration::from_secs(1)),
        },
        allow_errors: arguments.allow_errors,
        allow_error_names: arguments.allow_error_name.clone(),
        repeat: arguments.repeat_cells,
        skip_tags: arguments.skip_tag.clone(),
        prepare_only: arguments.prepare_only,
        report_mode: arguments.report_mode,
        place,
    };
    if arguments.resume {
        resume(arguments, &mut prepared)?;
    } else if chooses(arguments) {
        take_over(&mut prepared);
    }
    Ok(prepared)
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Makes the request go on with the run that wrote its output.
fn resume(arguments: &Arguments, prepared: &mut Prepared) -> Result<()> {
    let request = &mut prepared.request;
    let output = match &request.folder {
        Some(folder) => Some(folder.clone()),
        None => request.steps.first().and_then(|step| step.output.clone()),
    };
    let Some(output) = output else {
        return Err(Error::new(
            ErrorKind::Yours,
            "--resume goes on with a run that wrote a file or a folder",
        )
        .help("name that file or folder as OUTPUT"));
    };
    if !arguments.dry_run {
        recover(&output)?;
    }
    let record = match &request.folder {
        Some(folder) => Some(Record::read(folder)?),
        None => Record::of_output(&output, &request.name)?,
    };
    request.resumes = true;
    if let Some(record) = record {
        let notes = request.resume(&record, chooses(arguments), arguments.new_parameters)?;
        prepared.notes.extend(notes.into_iter().map(|(_, note)| note));
    }
    Ok(())
}

/// Whether steps of a flow were named.
fn chooses(arguments: &Arguments) -> bool {
    arguments.from.is_some() || arguments.until.is_some() || !arguments.only.is_empty()
}

/// Lets steps that were not named keep what an earlier run in the same folder made of them, so that it is handed on to
/// those that were. Only if that run had the same parameters: its results would not be those of this one.
fn take_over(prepared: &mut Prepared) {
    let request = &mut prepared.request;
    let Some(folder) = request
        .folder
        .clone()
        .filter(|folder| folder.join(RECORD_NAME).is_file())
    else {
        return;
    };
    match Record::read(&folder).and_then(|record| request.resume(&record, true, false)) {
        Ok(notes) => prepared.notes.extend(notes.into_iter().map(|(_, note)| note)),
        Err(error) => prepared.notes.push(format!(
            "{}: what is left of an earlier run is not handed on: {error}",
            folder.display()
        )),
    }
    // Each step that was named begins anew, also where a kernel was kept.
    request.resumes = false;
}

fn pairs(flat: &[String]) -> Vec<(String, String)> {
    flat.chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

fn is_flow(input: &Path) -> bool {
    let ending = input.extension().and_then(|ending| ending.to_str());
    input.is_dir() || matches!(ending, Some("yaml" | "yml"))
}

fn no_engine(name: &str) -> Box<Error> {
    Error::new(
        ErrorKind::Yours,
        format!("`--engine {name}` names Python code that would run the notebook, and no Python runs it here"),
    )
    .help(
        "leave it out. What engines are written for is here without one: another kernel (--kernel, --language), cells that \
         may raise (--allow-errors, the tag raises-exception), a notebook's time and cells as they happen (--events FILE, \
         or the library's EventSink), what is run where (the library's run function)",
    )
}

/// Papermill's rules for what a pipe stands for: with one on standard input, a single path is where the notebook goes.
fn positions(arguments: &Arguments) -> (String, Option<String>) {
    let piped = surroundings::stdin_is_a_pipe();
    let shown = arguments.dry_run || arguments.help_notebook;
    let output = arguments.output.clone();
    match &arguments.input {
        Some(path) if piped && output.is_none() && !shown && path != "-" && !is_flow(Path::new(path)) => {
            ("-".to_owned(), Some(path.clone()))
        }
        Some(input) => (input.clone(), output),
        None => ("-".to_owned(), output),
    }
}

fn flow(reader: &Reader<'_>, input: &Path, parameters: &Object) -> Result<Prepared> {
    let arguments = reader.arguments;
    if arguments.help_notebook {
        return Err(Error::new(ErrorKind::Yours, "--help-notebook wants one notebook")
            .at(input)
            .help("--dry-run shows a flow's notebooks and their parameters"));
    }
    let file = FlowFile::read(input)?;
    let (name, flow) = file.flow(arguments.flow.as_deref())?;
    let selection = Selection {
        from: arguments.from.clone(),
        until: arguments.until.clone(),
        only: arguments.only.clone(),
    };
    let output = match &arguments.output {
        Some(output) => Some(reader.place(output, parameters)?),
        None => None,
    };
    let folder = match output {
        Some(Place::Streams) => {
            return Err(
                Error::new(ErrorKind::Yours, "a flow's output is a folder, not standard output")
                    .help("name a folder, or leave it out for out/NAME-TIME; --json prints the result"),
            );
        }
        Some(Place::Remote(remote)) => {
            return Err(
                Error::new(ErrorKind::Yours, "a flow's output is a folder on this machine")
                    .at(Path::new(remote.shown()))
                    .help("copy the folder when the flow has run, or run the notebooks one by one"),
            );
        }
        Some(Place::Local(folder)) => Some(folder),
        None if arguments.resume => Some(PathBuf::from("out/latest")),
        None if arguments.dry_run => None,
        None => Some(dated_folder(name)?),
    };
    // Where a link leads now, not where it may lead later.
    let folder = folder.map(|folder| match fs_err::read_link(&folder) {
        Ok(to) if arguments.resume => folder.parent().unwrap_or(Path::new("")).join(to),
        _ => folder,
    });
    let mut request = Request::flow(name, flow, &selection, folder.as_deref())?;
    if let Some(folder) = &folder {
        refuse_own_folder(folder, &request)?;
    }
    for step in &mut request.steps {
        let mut paths = Object::new();
        if arguments.inject_paths || arguments.inject_input_path {
            paths.set(INPUT_PATH, step.path.display().to_string());
        }
        if let Some(output) = step
            .output
            .as_ref()
            .filter(|_| arguments.inject_paths || arguments.inject_output_path)
        {
            paths.set(OUTPUT_PATH, output.display().to_string());
        }
        merge(&mut paths, std::mem::take(&mut step.parameters));
        step.parameters = paths;
    }
    Ok(Prepared {
        request,
        folder: folder.filter(|_| !arguments.dry_run),
        to_stdout: false,
        notes: Vec::new(),
        upload: None,
    })
}

/// Executed copies must not replace the notebooks they were made from.
fn refuse_own_folder(folder: &Path, request: &Request) -> Result<()> {
    let real = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let same = |step: &tmplrun::run::StepRequest| step.folder.canonicalize().is_ok_and(|own| own == real);
    if request.steps.iter().any(same) {
        return Err(Error::new(
            ErrorKind::Yours,
            "the output folder is the flow's own; the notebooks would be replaced",
        )
        .at(folder)
        .help("choose another folder, or leave it out for out/NAME-TIME"));
    }
    Ok(())
}

/// `out/NAME-TIME`, which nobody else has, with `out/latest` leading to it.
fn dated_folder(name: &str) -> Result<PathBuf> {
    let stamp = jiff::Zoned::now().strftime("%Y%m%d-%H%M%S").to_string();
    let unwritable = |path: &Path, error: std::io::Error| {
        Error::new(ErrorKind::Configuration, "the output folder cannot be made")
            .at(path)
            .help("run it in a folder that you can write to, or name an OUTPUT folder")
            .because(error)
    };
    let out = PathBuf::from("out");
    fs_err::create_dir_all(&out).map_err(|error| unwritable(&out, error))?;
    let mut folder = format!("{name}-{stamp}");
    let mut count = 1;
    while let Err(error) = fs_err::create_dir(out.join(&folder)) {
        if error.kind() != std::io::ErrorKind::AlreadyExists {
            return Err(unwritable(&out.join(&folder), error));
        }
        count += 1;
        folder = format!("{name}-{stamp}-{count}");
    }
    // Made aside and renamed, so that the link is never missing. It is a convenience: not having it is no fault.
    let aside = out.join(format!(".latest-{}", std::process::id()));
    let _ = std::os::unix::fs::symlink(&folder, &aside).and_then(|()| fs_err::rename(&aside, out.join("latest")));
    let _ = fs_err::remove_file(&aside);
    Ok(out.join(folder))
}

async fn notebook(
    reader: &mut Reader<'_>,
    input: &str,
    output: Option<String>,
    parameters: &mut Object,
) -> Result<Prepared> {
    let arguments = reader.arguments;
    if arguments.flow.is_some() || arguments.from.is_some() || arguments.until.is_some() || !arguments.only.is_empty() {
        return Err(Error::new(
            ErrorKind::Yours,
            "--flow, --from, --until and --only choose among a flow's notebooks",
        )
        .help(format!(
            "give a folder that holds a {FILE_NAME} instead of one notebook"
        )));
    }
    // The paths themselves lose against every other way to give a parameter.
    let mut all = Object::new();
    let input = reader.place(input, parameters)?;
    if arguments.inject_paths || arguments.inject_input_path {
        all.set(INPUT_PATH, input.shown());
    }
    merge(&mut all, parameters.clone());
    let quiet = arguments.dry_run || arguments.help_notebook;
    let output = match output {
        Some(output) => Some(reader.place(&output, &all)?),
        None if surroundings::stdin_is_a_pipe() || !std::io::stdout().is_terminal() => Some(Place::Streams),
        None => None,
    };
    if output.is_none() && !quiet {
        return Err(Error::new(ErrorKind::Yours, "where should the executed notebook go?")
            .help("name an OUTPUT file, or `-` for standard output; --dry-run only shows what would be done"));
    }
    if let Some(output) = output
        .as_ref()
        .filter(|_| arguments.inject_paths || arguments.inject_output_path)
    {
        let mut with_output = Object::new();
        if let Some(input) = all.remove(INPUT_PATH) {
            with_output.set(INPUT_PATH, input);
        }
        with_output.set(OUTPUT_PATH, output.shown());
        merge(&mut with_output, all);
        all = with_output;
    }
    *parameters = all;
    let to_stdout = !quiet && output == Some(Place::Streams);
    let content = reader.fetch(&input).await?;
    if let (Some([]), Place::Streams, None) = (content.as_deref(), &input, &arguments.output) {
        let taken = arguments.input.as_deref().filter(|path| *path != "-").map(|path| {
            format!("`{path}` was taken as the output, since standard input is a pipe; write `tmplrun {path} -` if it is the input")
        });
        return Err(Error::new(ErrorKind::Yours, "standard input holds no notebook")
            .help(taken.unwrap_or_else(|| "send a notebook to it, or name a file".to_owned())));
    }
    let mut upload = None;
    let file = match output {
        // A dry run that goes on with an earlier one looks into what that wrote.
        Some(Place::Local(path)) if arguments.resume && arguments.dry_run => Some(path),
        _ if quiet => None,
        Some(Place::Local(path)) => Some(path),
        Some(Place::Remote(remote)) => {
            let made = Upload::new(Arc::clone(&reader.stores), remote, reader.environment)?;
            let file = made.file().to_path_buf();
            upload = Some(made);
            Some(file)
        }
        Some(Place::Streams) | None => None,
    };
    let mut request = Request::notebook(Path::new(&input.shown()), file, &reader.environment.current);
    if let Some(step) = request.steps.first_mut() {
        step.content = content;
        step.output_name = match &upload {
            Some(upload) => Some(upload.place().shown().to_owned()),
            None => to_stdout.then(|| "-".to_owned()),
        };
    }
    Ok(Prepared {
        request,
        folder: None,
        to_stdout,
        notes: Vec::new(),
        upload,
    })
}
