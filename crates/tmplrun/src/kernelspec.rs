//! Finding kernels where Jupyter keeps them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::json::{self, Json};

/// The program that serves notebooks in Rust where no kernel is installed for them.
pub const RUST_PROGRAM: &str = "tmplrun-rust";

/// How a kernel is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSpec {
    /// The folder's name, which notebooks refer to.
    pub name: String,
    /// What people see.
    pub display_name: String,
    /// The language.
    pub language: String,
    /// The command; `{connection_file}` and `{resource_dir}` stand for paths.
    pub argv: Vec<String>,
    /// Variables for the kernel.
    pub env: Vec<(String, String)>,
    /// Whether it is interrupted by a message; by a signal otherwise.
    pub interrupt_by_message: bool,
    /// Whether it says (`metadata.tmplrun.prestart`) that nothing a notebook does can make a difference to its start, so
    /// that it may be started while an earlier notebook still runs.
    pub prestart: bool,
    /// The folder that holds `kernel.json`.
    pub folder: PathBuf,
}

impl KernelSpec {
    /// A kernel of another machine, of which only the name is known.
    pub(crate) fn elsewhere(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            display_name: name.to_owned(),
            language: String::new(),
            argv: Vec::new(),
            env: Vec::new(),
            interrupt_by_message: false,
            prestart: false,
            folder: PathBuf::new(),
        }
    }
}

/// Every kernel below `data_paths`, the first path's winning where names repeat.
#[must_use]
pub fn installed(data_paths: &[PathBuf]) -> BTreeMap<String, PathBuf> {
    let mut found = BTreeMap::new();
    for path in data_paths {
        let Ok(entries) = fs_err::read_dir(path.join("kernels")) else {
            continue;
        };
        for entry in entries.flatten() {
            let folder = entry.path();
            if folder.join("kernel.json").is_file() {
                let name = entry.file_name().to_string_lossy().to_lowercase();
                found.entry(name).or_insert(folder);
            }
        }
    }
    found
}

/// Finds the kernel called `name`.
///
/// # Errors
/// When there is none (the message lists those that are installed) or its file is broken.
pub fn find(name: &str, data_paths: &[PathBuf]) -> Result<KernelSpec> {
    let all = installed(data_paths);
    let Some(folder) = all.get(&name.to_lowercase()) else {
        let help = if all.is_empty() {
            "no kernel is installed: `pip install ipykernel` brings one for Python".to_owned()
        } else {
            let names: Vec<&str> = all.keys().map(String::as_str).collect();
            format!("installed are: {}; choose one with --kernel", names.join(", "))
        };
        return Err(Error::configuration(format!("there is no kernel called `{name}`")).help(help));
    };
    read(&name.to_lowercase(), folder)
}

/// Finds a kernel for a language: the first by name.
///
/// # Errors
/// When there is none; the message lists the languages that there are kernels for.
pub fn for_language(language: &str, data_paths: &[PathBuf]) -> Result<KernelSpec> {
    let mut others = Vec::new();
    for (name, folder) in installed(data_paths) {
        // A broken kernel is a fault only for who asks for it.
        let Ok(spec) = read(&name, &folder) else { continue };
        if spec.language.eq_ignore_ascii_case(language) {
            return Ok(spec);
        }
        others.push(format!("{} ({name})", spec.language));
    }
    let error = Error::configuration(format!("no kernel for the language `{language}` is installed"));
    Err(if others.is_empty() {
        error.help("no kernel is installed: `pip install ipykernel` brings one for Python")
    } else {
        error.help(format!("there are kernels for {}", others.join(", ")))
    })
}

impl KernelSpec {
    /// A kernel that is known by name, and cannot be started.
    pub(crate) fn only_named(name: &str, language: &str) -> Self {
        Self {
            name: name.to_owned(),
            display_name: name.to_owned(),
            language: language.to_owned(),
            argv: Vec::new(),
            env: Vec::new(),
            interrupt_by_message: false,
            prestart: false,
            folder: PathBuf::new(),
        }
    }
}

/// Finds the kernel called `name` for a notebook in `language`. One in Rust needs no Jupyter: unless a kernel of that name
/// is installed, [`RUST_PROGRAM`] serves it.
///
/// # Errors
/// As [`find`]; and for Rust, when that program is not there either.
pub fn find_for(name: &str, language: Option<&str>, environment: &Environment) -> Result<KernelSpec> {
    let rust = |word: &str| word.eq_ignore_ascii_case("rust");
    let paths = &environment.jupyter_paths;
    if !(rust(name) || language.is_some_and(rust)) || installed(paths).contains_key(&name.to_lowercase()) {
        return find(name, paths);
    }
    let folder = environment
        .programs
        .iter()
        .find(|folder| folder.join(RUST_PROGRAM).is_file())
        .ok_or_else(|| {
            Error::configuration(format!(
                "there is no kernel called `{name}`, and no {RUST_PROGRAM}, which serves notebooks in Rust without Jupyter"
            ))
            .help(format!(
                "in a checkout of clusterbook, ci/rust-kernel builds {RUST_PROGRAM}; put it beside tmplrun or on PATH"
            ))
        })?;
    Ok(KernelSpec {
        name: name.to_lowercase(),
        display_name: "Rust".to_owned(),
        language: "rust".to_owned(),
        argv: vec![
            folder.join(RUST_PROGRAM).display().to_string(),
            "-f".to_owned(),
            "{connection_file}".to_owned(),
        ],
        env: Vec::new(),
        interrupt_by_message: true,
        prestart: true,
        folder: folder.clone(),
    })
}

fn read(name: &str, folder: &Path) -> Result<KernelSpec> {
    let path = folder.join("kernel.json");
    let broken = |message: &str| Error::configuration(format!("the kernel's file is broken: {message}")).at(&path);
    let text = fs_err::read_to_string(&path).map_err(|error| {
        Error::configuration("the kernel's file cannot be read")
            .at(&path)
            .because(error)
    })?;
    let spec = json::parse(&text).map_err(|error| broken("it is not JSON").line(error.line).because(error))?;
    let argv: Vec<String> = spec
        .get("argv")
        .and_then(Json::as_array)
        .map(|items| {
            items
                .iter()
                .filter_map(|item| item.as_str().map(|text| text.into_owned()))
                .collect()
        })
        .unwrap_or_default();
    if argv.is_empty() {
        return Err(broken("`argv` is missing"));
    }
    let env = spec
        .get("env")
        .and_then(Json::as_object)
        .map(|env| {
            env.iter()
                .filter_map(|(key, value)| Some((key.into_owned(), value.as_str()?.into_owned())))
                .collect()
        })
        .unwrap_or_default();
    let text = |key: &str, otherwise: &str| spec.text(key).map_or(otherwise.to_owned(), |text| text.into_owned());
    Ok(KernelSpec {
        name: name.to_owned(),
        display_name: text("display_name", name),
        language: text("language", ""),
        argv,
        env,
        interrupt_by_message: spec.text("interrupt_mode").as_deref() == Some("message"),
        prestart: spec
            .get("metadata")
            .and_then(|metadata| metadata.get("tmplrun"))
            .and_then(|ours| ours.get("prestart"))
            .is_some_and(|prestart| *prestart == Json::Bool(true)),
        folder: folder.to_path_buf(),
    })
}
