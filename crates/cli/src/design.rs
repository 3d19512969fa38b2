//! Which design file is meant, and its reading.

use std::path::{Path, PathBuf};

use clusterbook_model::{Design, DesignFile, FileError, nearest};

use crate::error::CommandError;

/// The ending of design files.
pub(crate) const ENDING: &str = ".cluster.yaml";

/// A design and the file that it was read from.
pub(crate) struct Loaded {
    /// The file, absolute.
    pub(crate) path: PathBuf,
    pub(crate) design: Design,
}

/// A design file that may be edited.
pub(crate) struct Opened {
    /// The file, absolute.
    pub(crate) path: PathBuf,
    pub(crate) file: DesignFile,
}

/// Reads the design that `word` names: a path, a cluster's name, or nothing for the only one in the current folder.
pub(crate) fn load(word: Option<&str>) -> Result<Loaded, CommandError> {
    let Opened { path, file } = open(word)?;
    Ok(Loaded {
        path,
        design: file.design().clone(),
    })
}

/// The cluster that `word` names: by the design's file, or where there is none by its name.
pub(crate) fn name(word: &str) -> Result<String, CommandError> {
    if !is_path(word) && !Path::new(&format!("{word}{ENDING}")).exists() {
        return Ok(word.to_owned());
    }
    Ok(load(Some(word))?.design.name)
}

/// The same, to be edited.
pub(crate) fn open(word: Option<&str>) -> Result<Opened, CommandError> {
    let path = match word {
        Some(word) if is_path(word) => PathBuf::from(word),
        Some(name) => PathBuf::from(format!("{name}{ENDING}")),
        None => only_one()?,
    };
    let text = fs_err::read_to_string(&path).map_err(|error| missing(&path, &error))?;
    let file = DesignFile::parse(&text).map_err(|error| refused(&path, error))?;
    Ok(Opened {
        path: std::path::absolute(&path).unwrap_or(path),
        file,
    })
}

/// A name is a DNS label, so whatever has a dot or slash in it is a path.
fn is_path(word: &str) -> bool {
    word.contains(['/', '.'])
}

/// Designs in the current folder, by file name.
fn here() -> Vec<String> {
    let mut names: Vec<String> = fs_err::read_dir(".")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(ENDING) && !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

fn only_one() -> Result<PathBuf, CommandError> {
    match here().as_slice() {
        [] => Err(
            CommandError::input(format!("there is no design file (*{ENDING}) in this folder"))
                .hint("name one, or make one with `clusterbook new NAME`"),
        ),
        [only] => Ok(PathBuf::from(only)),
        several => Err(CommandError::input("this folder holds several design files")
            .hint(format!("say which one: {}", several.join(", ")))),
    }
}

fn missing(path: &Path, error: &std::io::Error) -> CommandError {
    let shown = CommandError::input(format!("the design {} can't be read", path.display())).because(error);
    let wanted = path.to_string_lossy();
    let here = here();
    match nearest(&wanted, here.iter().map(String::as_str)) {
        Some(near) => shown.hint(format!("did you mean {near}?")),
        None if here.is_empty() => shown.hint("make one with `clusterbook new NAME`"),
        None => shown.hint(format!("there are here: {}", here.join(", "))),
    }
}

pub(crate) fn refused(path: &Path, error: FileError) -> CommandError {
    let path = path.display();
    match error {
        FileError::Faults(faults) => CommandError::faults(&format!("the design {path}"), faults),
        FileError::Schema { message, help } => CommandError::input(format!("{path}: {message}")).hint(help),
        FileError::Syntax { line, column, message } => {
            CommandError::input(format!("{path}:{line}:{column}: {message}"))
                .hint("this is not YAML as it stands; correct the line")
        }
        FileError::Edit {
            path: place,
            message,
            help,
        } => CommandError::input(format!("{path}: {place}: {message}")).hint(help),
        other => CommandError::input(format!("{path} can't be used")).because(&other),
    }
}
