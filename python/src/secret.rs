//! Secrets: text that becomes a Python string only by `reveal()`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;

use crate::error::{Problem, guarded};

/// The runner of notebooks names its channel here.
const CHANNEL: &str = "TMPLRUN_MASK";
/// How long the runner may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// A key file fits; a disk image doesn't.
const LONGEST: u64 = 1 << 20;

/// A secret. Nothing but `reveal()` gives its text away, and that first tells the notebook's runner to mask it.
#[pyclass(module = "clusterbook", frozen)]
pub(crate) struct Secret {
    reference: String,
    text: clusterbook_model::Secret,
}

#[pymethods]
impl Secret {
    /// Reads the secret that `reference` points to: `env:NAME` or `file:/path`.
    #[new]
    fn new(py: Python<'_>, reference: String) -> PyResult<Self> {
        let text = match reference.split_once(':') {
            Some(("env", name)) => from_environment(py, name)?,
            Some(("file", path)) => {
                let path: PathBuf = py.import("os.path")?.call_method1("expanduser", (path,))?.extract()?;
                py.detach(|| guarded(|| from_file(&path)))?
            }
            _ => {
                // Somebody may have passed the secret itself: it isn't repeated.
                return Err(Problem::Secret(
                    "a secret is given by reference, and this is none".to_owned(),
                    "write env:NAME for a variable or file:/path for a file".to_owned(),
                )
                .into());
            }
        };
        Ok(Self {
            reference,
            text: clusterbook_model::Secret::new(text),
        })
    }

    /// Where it comes from; never the secret itself.
    #[getter]
    fn reference(&self) -> &str {
        &self.reference
    }

    /// The text. Whoever calls this answers for where it goes.
    fn reveal(&self, py: Python<'_>) -> PyResult<String> {
        let channel: Option<PathBuf> = py
            .import("os")?
            .getattr("environ")?
            .call_method1("get", (CHANNEL,))?
            .extract()?;
        let text = self.text.reveal();
        if let Some(channel) = channel.filter(|path| !path.as_os_str().is_empty() && !text.is_empty()) {
            py.detach(|| guarded(|| register(&channel, text)))?;
        }
        Ok(text.to_owned())
    }

    fn __repr__(&self) -> String {
        format!("Secret({}, ••••••)", self.reference)
    }

    fn __str__(&self) -> &'static str {
        "••••••"
    }

    fn __format__(&self, _specification: &str) -> &'static str {
        "••••••"
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "a secret can't be pickled: pass its reference on instead",
        ))
    }
}

fn from_environment(py: Python<'_>, name: &str) -> PyResult<String> {
    let value: Option<String> = py
        .import("os")?
        .getattr("environ")?
        .call_method1("get", (name,))?
        .extract()?;
    value.ok_or_else(|| {
        Problem::Secret(
            format!("the variable {name} isn't set"),
            "set it before the notebook's kernel starts, or use file:/path".to_owned(),
        )
        .into()
    })
}

fn from_file(path: &Path) -> Result<String, Problem> {
    let problem = |error: std::io::Error| {
        Problem::Secret(
            format!("the secret can't be read: {error}"),
            "give the path of a text file that you may read".to_owned(),
        )
    };
    let mut text = String::new();
    let file = fs_err::File::open(path).map_err(problem)?;
    file.take(LONGEST + 1).read_to_string(&mut text).map_err(problem)?;
    if text.len() as u64 > LONGEST {
        return Err(Problem::Secret(
            format!("{} is too large for a secret", path.display()),
            "give a file of at most 1 MiB".to_owned(),
        ));
    }
    // Editors end a file with a newline that isn't part of the secret.
    let end = text.strip_suffix('\n').map_or(text.len(), str::len);
    text.truncate(end);
    Ok(text)
}

/// Tells the runner, and returns only when it has answered: from then on the text is masked.
fn register(channel: &Path, text: &str) -> Result<(), Problem> {
    let problem = |reason: String| {
        Problem::Secret(
            format!("the secret isn't revealed, because the notebook's runner doesn't mask it: {reason}"),
            format!("run the notebook again; outside of a runner, unset {CHANNEL}"),
        )
    };
    let talk = || -> std::io::Result<String> {
        let mut stream = UnixStream::connect(channel)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.set_write_timeout(Some(ANSWER_WITHIN))?;
        let mut line = serde_json::json!({ "mask": text }).to_string();
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream.take(1024)).read_line(&mut answer)?;
        Ok(answer)
    };
    match talk() {
        Ok(answer) if answer.trim() == "ok" => Ok(()),
        Ok(answer) => Err(problem(format!("it answered {:?}", answer.trim()))),
        Err(error) => Err(problem(error.to_string())),
    }
}
