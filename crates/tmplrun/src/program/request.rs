//! From the command line to a request.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tmplrun::flow::{FILE_NAME, FlowFile, Selection};
use tmplrun::json::Object;
use tmplrun::kernel::Warmth;
use tmplrun::mask::Secret;
use tmplrun::parameters::RawParameters;
use tmplrun::run::{KeepKernel, Record, recover};
use tmplrun::{Environment, Error, ErrorKind, Options, Request, Result};

use super::arguments::{Arguments, Keep};

/// What the program is about to do.
pub(crate) struct Prepared {
    pub(crate) request: Request,
    /// A flow's folder of executed notebooks.
    pub(crate) folder: Option<PathBuf>,
    /// The executed notebook goes to standard output.
    pub(crate) to_stdout: bool,
    /// What to know about a run that is gone on with.
    pub(crate) notes: Vec<String>,
}

pub(crate) fn prepare(arguments: &Arguments, environment: &Environment) -> Result<Prepared> {
    let parameters = RawParameters {
        base64: arguments.parameters_base64.clone(),
        files: arguments.parameters_file.clone(),
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
    let input = arguments.input.clone().unwrap_or_default();
    let mut prepared = if is_flow(&input) {
        flow(arguments, &input, &parameters)?
    } else {
        notebook(arguments, &input, environment, &parameters)?
    };
    if let Some(folder) = &arguments.cwd {
        if !folder.is_dir() {
            return Err(Error::new(ErrorKind::Yours, "the kernel's working folder does not exist").at(folder));
        }
        prepared
            .request
            .steps
            .iter_mut()
            .for_each(|step| step.folder = environment.current.join(folder));
    }
    prepared.request.options = Options {
        parameters,
        secrets,
        kernel: arguments.kernel.clone(),
        strict: arguments.strict,
        warmth: match (arguments.cold_kernels, arguments.no_prestart) {
            (true, _) => Warmth::Cold,
            (false, true) => Warmth::Forked,
            (false, false) => Warmth::Ahead,
        },
        debugger: arguments.debugger,
        start_timeout: Duration::from_secs(arguments.start_timeout),
        cell_timeout: arguments.execution_timeout.map(Duration::from_secs),
        notebook_timeout: arguments.timeout.map(Duration::from_secs),
        jobs: arguments.jobs.map_or_else(processors, |jobs| jobs as usize),
        keep_kernel: match arguments.keep_kernel {
            None => KeepKernel::Never,
            Some(Keep::Failure) => KeepKernel::OnFailure,
            Some(Keep::Always) => KeepKernel::Always,
        },
        autosave: Duration::from_secs(arguments.autosave_cell_every),
        allow_errors: arguments.allow_errors,
        allow_error_names: arguments.allow_error_name.clone(),
        repeat: arguments.repeat_cells,
        prepare_only: arguments.prepare_only,
        report_mode: arguments.report_mode,
    };
    if arguments.resume {
        resume(arguments, &mut prepared)?;
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
        let chosen = arguments.from.is_some() || arguments.until.is_some() || !arguments.only.is_empty();
        let notes = request.resume(&record, chosen, arguments.new_parameters)?;
        prepared.notes.extend(notes.into_iter().map(|(_, note)| note));
    }
    Ok(())
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

fn flow(arguments: &Arguments, input: &Path, parameters: &Object) -> Result<Prepared> {
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
    let folder = match &arguments.output {
        Some(output) if output == Path::new("-") => {
            return Err(
                Error::new(ErrorKind::Yours, "a flow's output is a folder, not standard output")
                    .help("name a folder, or leave it out for out/NAME-TIME; --json prints the result"),
            );
        }
        Some(output) => Some(PathBuf::from(template(output, parameters)?)),
        None if arguments.resume => Some(PathBuf::from("out/latest")),
        None if arguments.dry_run => None,
        None => Some(dated_folder(name)?),
    };
    // Where a link leads now, not where it may lead later.
    let folder = folder.map(|folder| match fs_err::read_link(&folder) {
        Ok(to) if arguments.resume => folder.parent().unwrap_or(Path::new("")).join(to),
        _ => folder,
    });
    let request = Request::flow(name, flow, &selection, folder.as_deref())?;
    if let Some(folder) = &folder {
        refuse_own_folder(folder, &request)?;
    }
    Ok(Prepared {
        request,
        folder: folder.filter(|_| !arguments.dry_run),
        to_stdout: false,
        notes: Vec::new(),
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

fn notebook(arguments: &Arguments, input: &Path, environment: &Environment, parameters: &Object) -> Result<Prepared> {
    if arguments.flow.is_some() || arguments.from.is_some() || arguments.until.is_some() || !arguments.only.is_empty() {
        return Err(Error::new(
            ErrorKind::Yours,
            "--flow, --from, --until and --only choose among a flow's notebooks",
        )
        .help(format!(
            "give a folder that holds a {FILE_NAME} instead of one notebook"
        )));
    }
    let input = PathBuf::from(template(input, parameters)?);
    let content = if input == Path::new("-") {
        let mut content = Vec::new();
        std::io::stdin()
            .read_to_end(&mut content)
            .map_err(|error| Error::new(ErrorKind::Yours, "standard input cannot be read").because(error))?;
        Some(content)
    } else {
        None
    };
    let to_stdout = arguments.output.as_deref() == Some(Path::new("-"));
    let quiet = arguments.dry_run || arguments.help_notebook;
    let output = match &arguments.output {
        // A dry run that goes on with an earlier one looks into what that wrote.
        Some(output) if arguments.resume && arguments.dry_run && !to_stdout => {
            Some(PathBuf::from(template(output, parameters)?))
        }
        _ if quiet || to_stdout => None,
        Some(output) => Some(PathBuf::from(template(output, parameters)?)),
        None => {
            return Err(Error::new(ErrorKind::Yours, "where should the executed notebook go?")
                .help("name an OUTPUT file, or `-` for standard output; --dry-run only shows what would be done"));
        }
    };
    if to_stdout && arguments.json {
        return Err(Error::new(
            ErrorKind::Yours,
            "the notebook and the result cannot both go to standard output",
        ));
    }
    let mut request = Request::notebook(&input, output, &environment.current);
    if let Some(step) = request.steps.first_mut() {
        step.content = content;
    }
    Ok(Prepared {
        request,
        folder: None,
        to_stdout,
        notes: Vec::new(),
    })
}

/// Puts parameters where `{name}` stands in a path; `{{` and `}}` stand for braces.
fn template(path: &Path, parameters: &Object) -> Result<String> {
    let text = path.to_string_lossy().into_owned();
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
            continue;
        }
        let Some((name, after)) = rest.split_once('}').filter(|_| brace == "{") else {
            return Err(Error::new(ErrorKind::Yours, "a brace in the path is not closed")
                .at(path)
                .help("write {{ and }} for braces that belong to the name"));
        };
        match parameters.get(name) {
            Some(value) => match value.as_str() {
                Some(text) => out.push_str(&text),
                None => out.push_str(&value.to_compact()),
            },
            None => {
                return Err(Error::new(
                    ErrorKind::Yours,
                    format!("the path names the parameter `{name}`, which was not given"),
                )
                .at(path)
                .help(format!("give it with -p {name} VALUE")));
            }
        }
        rest = after;
    }
    Ok(out + rest)
}
