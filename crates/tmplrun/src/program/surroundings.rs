//! Reading the environment: the only place that does.

use std::path::{Path, PathBuf};

use tmplrun::{Environment, Error, ErrorKind, Result};

/// Unix socket paths are limited to about 100 bytes, so a longer temporary folder than this is not used.
const LONGEST_TEMPORARY: usize = 60;

/// Whether somebody sends something: a terminal, a file and nothing at all are no pipes.
pub(crate) fn stdin_is_a_pipe() -> bool {
    rustix::fs::fstat(std::io::stdin())
        .is_ok_and(|found| rustix::fs::FileType::from_raw_mode(found.st_mode) == rustix::fs::FileType::Fifo)
}

pub(crate) fn gather() -> Result<Environment> {
    let current = std::env::current_dir()
        .map_err(|error| Error::new(ErrorKind::Configuration, "the current folder cannot be found").because(error))?;
    let variables: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(key, value)| Some((key.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let temporary = std::env::temp_dir();
    let temporary = if temporary.as_os_str().len() > LONGEST_TEMPORARY {
        PathBuf::from("/tmp")
    } else {
        current.join(temporary)
    };
    let mut environment = Environment {
        jupyter_paths: Vec::new(),
        variables,
        python: None,
        kept: PathBuf::new(),
        programs: Vec::new(),
        temporary,
        current,
    };
    environment.kept = kept(&environment);
    environment.python = python_on_path(&environment);
    environment.jupyter_paths = jupyter_paths(&environment);
    environment.programs = program_folders(&environment);
    Ok(environment)
}

/// This program, and those of other architectures that lie beside it as `tmplrun-ARCHITECTURE`; a static one of the same
/// architecture comes before this one.
pub(crate) fn programs() -> Vec<PathBuf> {
    let Ok(own) = std::env::current_exe() else {
        return Vec::new();
    };
    let mut programs: Vec<PathBuf> = ["x86_64", "aarch64", "riscv64", "ppc64le", "s390x"]
        .iter()
        .map(|architecture| own.with_file_name(format!("tmplrun-{architecture}")))
        .filter(|path| path.is_file())
        .collect();
    programs.push(own);
    programs
}

/// The folder for this login's run-time files, which the system made for its owner only, or one by the user's number.
fn kept(environment: &Environment) -> PathBuf {
    match environment.variable("XDG_RUNTIME_DIR").map(PathBuf::from) {
        Some(folder) if folder.is_dir() && folder.as_os_str().len() <= LONGEST_TEMPORARY => folder.join("tmplrun"),
        _ => {
            let user = rustix::process::getuid().as_raw();
            environment.temporary.join(format!("tmplrun-kernels-{user}"))
        }
    }
}

/// Beside this program, then on `PATH`.
fn program_folders(environment: &Environment) -> Vec<PathBuf> {
    let own = std::env::current_exe().ok();
    let own = own.as_deref().and_then(Path::parent).map(Path::to_path_buf);
    let path = environment.variable("PATH").unwrap_or("");
    own.into_iter()
        .chain(std::env::split_paths(path).filter(|folder| !folder.as_os_str().is_empty()))
        .map(|folder| environment.current.join(folder))
        .collect()
}

fn python_on_path(environment: &Environment) -> Option<PathBuf> {
    let path = environment.variable("PATH")?;
    std::env::split_paths(path)
        .flat_map(|folder| ["python", "python3"].map(|name| folder.join(name)))
        .find(|candidate| candidate.is_file())
}

/// Jupyter's data path: what was asked for, the active environment, the one that this program is installed in, the
/// user's, the interpreter's, the system's.
fn jupyter_paths(environment: &Environment) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut add = |path: PathBuf| {
        if !paths.contains(&path) {
            paths.push(path);
        }
    };
    for path in std::env::split_paths(environment.variable("JUPYTER_PATH").unwrap_or("")) {
        if !path.as_os_str().is_empty() {
            add(path);
        }
    }
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(prefix) = environment.variable(variable).filter(|prefix| !prefix.is_empty()) {
            add(Path::new(prefix).join("share/jupyter"));
        }
    }
    if let Some(prefix) = std::env::current_exe()
        .ok()
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent)
    {
        add(prefix.join("share/jupyter"));
    }
    match (
        environment.variable("JUPYTER_DATA_DIR"),
        environment.variable("XDG_DATA_HOME"),
        environment.variable("HOME"),
    ) {
        (Some(data), _, _) if !data.is_empty() => add(PathBuf::from(data)),
        (_, Some(data), _) if !data.is_empty() => add(Path::new(data).join("jupyter")),
        (_, _, Some(home)) => add(Path::new(home).join(".local/share/jupyter")),
        _ => {}
    }
    if let Some(prefix) = environment
        .python
        .as_deref()
        .and_then(Path::parent)
        .and_then(Path::parent)
    {
        add(prefix.join("share/jupyter"));
    }
    add(PathBuf::from("/usr/local/share/jupyter"));
    add(PathBuf::from("/usr/share/jupyter"));
    paths
}
