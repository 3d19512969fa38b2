//! Telling JupyterLab about this program.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::problem::{Problem, Result};

const NAME: &str = "rust";

/// Writes the kernel's description; says where.
pub(crate) fn install() -> Result<String> {
    let folder = folder()?;
    let program =
        std::env::current_exe().map_err(|error| Problem::new("where this program lies is unknown").because(&error))?;
    if let Some(other) = installed(&folder)
        && !is_ours(&other)
    {
        return Err(Problem::new(format!(
            "{} is another program's: {}",
            folder.display(),
            command(&other)
        ))
        .hint("remove it first (`jupyter kernelspec remove rust`), or keep it: the notebooks are the same"));
    }
    let description = json!({
        "argv": [program.display().to_string(), "-f", "{connection_file}"],
        "display_name": "Rust",
        "language": "rust",
        "interrupt_mode": "message",
    });
    let file = folder.join("kernel.json");
    fs_err::create_dir_all(&folder)
        .and_then(|()| fs_err::write(&file, format!("{description:#}\n")))
        .map_err(|error| Problem::new("the kernel's description cannot be written").because(&error))?;
    Ok(format!(
        "installed: {}\nJupyterLab offers it as Rust from its next start on.",
        file.display()
    ))
}

/// Removes what [`install`] wrote.
pub(crate) fn uninstall() -> Result<String> {
    let folder = folder()?;
    match installed(&folder) {
        None => Ok(format!("nothing to remove: there is no {}", folder.display())),
        Some(other) if !is_ours(&other) => Err(Problem::new(format!(
            "{} is another program's, and left alone: {}",
            folder.display(),
            command(&other)
        ))),
        Some(_) => {
            fs_err::remove_dir_all(&folder)
                .map_err(|error| Problem::new("the kernel's description cannot be removed").because(&error))?;
            Ok(format!("removed: {}", folder.display()))
        }
    }
}

fn installed(folder: &Path) -> Option<Value> {
    let text = fs_err::read_to_string(folder.join("kernel.json")).ok()?;
    Some(serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn is_ours(description: &Value) -> bool {
    let program = description["argv"][0].as_str().unwrap_or("");
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == "tmplrun-rust")
}

fn command(description: &Value) -> String {
    let words = description["argv"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// The user's own folder for it.
fn folder() -> Result<PathBuf> {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = variable("JUPYTER_DATA_DIR")
        .or_else(|| variable("XDG_DATA_HOME").map(|data| data.join("jupyter")))
        .or_else(|| variable("HOME").map(|home| home.join(".local/share/jupyter")))
        .ok_or_else(|| Problem::new("there is no home folder to install into").hint("set HOME or JUPYTER_DATA_DIR"))?;
    Ok(data.join("kernels").join(NAME))
}
