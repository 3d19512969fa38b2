//! Parameters: where they come from, what type they have, which wins.
//!
//! The rules are papermill's, to the letter, because people switch with their scripts: `-b` < `-f` < `-y` < `-p` < `-r`,
//! and `-p` values become what Python's `int()` and `float()` would take.

mod format;
mod inject;
mod inspect;
mod template;
mod translate;
mod typing;
mod yaml;

use std::path::{Path, PathBuf};

use base64::Engine as _;

pub use inject::{Injection, inject};
pub use inspect::{Declared, declared};
pub use template::{BuiltIn, template};
pub use translate::{Translator, translator};
pub use typing::typed;

use crate::error::{Error, Result};
use crate::json::{Json, Object};

/// The parameter that holds the notebook's path, where that is asked for.
pub const INPUT_PATH: &str = "PAPERMILL_INPUT_PATH";
/// The parameter that holds the executed notebook's path.
pub const OUTPUT_PATH: &str = "PAPERMILL_OUTPUT_PATH";

/// Parameters as given, unresolved, one list for each way to give them.
#[derive(Debug, Clone, Default)]
pub struct RawParameters {
    /// Base64 of YAML mappings (`-b`).
    pub base64: Vec<String>,
    /// Files that hold YAML mappings (`-f`).
    pub files: Vec<ParameterFile>,
    /// YAML mappings (`-y`).
    pub yaml: Vec<String>,
    /// Names and values whose type is guessed (`-p`).
    pub typed: Vec<(String, String)>,
    /// Names and values that stay strings (`-r`).
    pub raw: Vec<(String, String)>,
}

/// A file of parameters.
#[derive(Debug, Clone)]
pub struct ParameterFile {
    /// Where it is, for messages too.
    pub path: PathBuf,
    /// Its content, where that does not come from the local file.
    pub content: Option<Vec<u8>>,
}

impl From<PathBuf> for ParameterFile {
    fn from(path: PathBuf) -> Self {
        Self { path, content: None }
    }
}

impl ParameterFile {
    fn read(&self) -> Result<Object> {
        let bytes = match &self.content {
            Some(content) => content.clone(),
            None => fs_err::read(&self.path).map_err(|error| {
                Error::yours("the parameters file cannot be read")
                    .at(&self.path)
                    .because(error)
            })?,
        };
        let yaml = String::from_utf8(bytes).map_err(|error| {
            Error::yours("the parameters file is not UTF-8 text")
                .at(&self.path)
                .because(error)
        })?;
        mapping(&yaml, Some(&self.path))
    }
}

impl RawParameters {
    /// Reads everything and lets the later source win.
    ///
    /// # Errors
    /// When a file cannot be read or a text is not a YAML mapping.
    pub fn resolve(&self) -> Result<Object> {
        let mut parameters = Object::new();
        for text in &self.base64 {
            // The program `base64` breaks its lines.
            let text: String = text.split_ascii_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| Error::yours("the value of -b is not base64").because(error))?;
            let yaml = String::from_utf8(bytes)
                .map_err(|error| Error::yours("the value of -b is not UTF-8 text once decoded").because(error))?;
            merge(&mut parameters, mapping(&yaml, None)?);
        }
        for file in &self.files {
            merge(&mut parameters, file.read()?);
        }
        for yaml in &self.yaml {
            merge(&mut parameters, mapping(yaml, None)?);
        }
        for (name, value) in &self.typed {
            parameters.set(name, typed(value));
        }
        for (name, value) in &self.raw {
            parameters.set(name, value.as_str());
        }
        Ok(parameters)
    }
}

/// Lets every entry of `over` win in `parameters`.
pub fn merge(parameters: &mut Object, over: Object) {
    for (name, value) in over.iter() {
        parameters.set(&name, value.clone());
    }
}

/// A JSON number as Python has it.
#[derive(Debug, Clone, Copy)]
enum Number<'a> {
    /// Its digits, with a sign.
    Whole(&'a str),
    Float(f64),
}

fn number(text: &str) -> Number<'_> {
    match text {
        "-0" => Number::Whole("0"),
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => Number::Whole(text),
        "NaN" => Number::Float(f64::NAN),
        // Rust reads the other two as JSON has them.
        _ => Number::Float(text.parse().unwrap_or(f64::NAN)),
    }
}

/// How flow files are read.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    options
}

/// Reads YAML as parameters are read; says what is wrong, and in which line.
pub(crate) fn read_yaml(text: &str) -> std::result::Result<Json, (String, Option<usize>)> {
    yaml::read(text).map_err(|wrong| (wrong.message, wrong.line))
}

fn mapping(yaml: &str, path: Option<&Path>) -> Result<Object> {
    let place = |error: Box<Error>| match path {
        Some(path) => error.at(path),
        None => error,
    };
    let value = yaml::read(yaml).map_err(|wrong| {
        let error = place(Error::yours("the parameters are not valid YAML").because(wrong.message));
        match wrong.line {
            Some(line) => error.line(line),
            None => error,
        }
    })?;
    match value {
        Json::Object(object) => Ok(object),
        Json::Null => Ok(Object::new()),
        _ => Err(place(
            Error::yours("the parameters are YAML, but not a mapping of names to values")
                .help("write one `name: value` per line"),
        )),
    }
}
