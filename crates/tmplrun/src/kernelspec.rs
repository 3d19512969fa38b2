//! Finding kernels where Jupyter keeps them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::json::{self, Json};

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
