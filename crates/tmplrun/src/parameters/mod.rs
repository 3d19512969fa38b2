//! Parameters: where they come from, what type they have, which wins.
//!
//! The rules are papermill's, to the letter, because people switch with their scripts: `-b` < `-f` < `-y` < `-p` < `-r`,
//! and `-p` values become what Python's `int()` and `float()` would take.

mod inject;
mod inspect;
mod translate;

use std::path::{Path, PathBuf};

use base64::Engine as _;

pub use inject::{Injection, inject};
pub use inspect::{Declared, declared};
pub use translate::{Translator, translator};

use crate::error::{Error, Result};
use crate::json::{Json, Object};

/// Parameters as given, unresolved, one list for each way to give them.
#[derive(Debug, Clone, Default)]
pub struct RawParameters {
    /// Base64 of YAML mappings (`-b`).
    pub base64: Vec<String>,
    /// Files that hold YAML mappings (`-f`).
    pub files: Vec<PathBuf>,
    /// YAML mappings (`-y`).
    pub yaml: Vec<String>,
    /// Names and values whose type is guessed (`-p`).
    pub typed: Vec<(String, String)>,
    /// Names and values that stay strings (`-r`).
    pub raw: Vec<(String, String)>,
}

impl RawParameters {
    /// Reads everything and lets the later source win.
    ///
    /// # Errors
    /// When a file cannot be read or a text is not a YAML mapping.
    pub fn resolve(&self) -> Result<Object> {
        let mut parameters = Object::new();
        for text in &self.base64 {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(text.trim())
                .map_err(|error| Error::yours("the value of -b is not base64").because(error))?;
            let yaml = String::from_utf8(bytes)
                .map_err(|error| Error::yours("the value of -b is not UTF-8 text once decoded").because(error))?;
            merge(&mut parameters, mapping(&yaml, None)?);
        }
        for path in &self.files {
            let yaml = fs_err::read_to_string(path).map_err(|error| {
                Error::yours("the parameters file cannot be read")
                    .at(path)
                    .because(error)
            })?;
            merge(&mut parameters, mapping(&yaml, Some(path))?);
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

/// The value that papermill's `-p` makes of a text.
#[must_use]
pub fn typed(text: &str) -> Json {
    match text {
        "True" => return true.into(),
        "False" => return false.into(),
        "None" => return Json::Null,
        _ => {}
    }
    if let Some(digits) = whole_number(text) {
        return Json::Number(digits);
    }
    match decimal(text) {
        Some(value) => value.into(),
        None => text.into(),
    }
}

/// What Python's `int()` takes, without its sign of plus, underscores and leading zeros.
fn whole_number(text: &str) -> Option<String> {
    let text = text.trim();
    let (minus, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let plain = without_underscores(digits)?;
    if plain.is_empty() || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let plain = plain.trim_start_matches('0');
    Some(if plain.is_empty() {
        "0".to_owned()
    } else {
        format!("{minus}{plain}")
    })
}

fn decimal(text: &str) -> Option<f64> {
    without_underscores(text.trim())?.parse().ok()
}

/// Python allows single underscores between digits and nowhere else.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('_') {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        if !digit(at.checked_sub(1)) || !digit(Some(at + 1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}

/// Reads YAML into any value, in the dialect of YAML 1.1 that papermill's reader takes; dates stay strings.
pub(crate) fn yaml_options() -> serde_saphyr::Options {
    let mut options = serde_saphyr::Options::default();
    options.legacy_octal_numbers = true;
    options.with_snippet = false;
    options
}

fn mapping(yaml: &str, path: Option<&Path>) -> Result<Object> {
    let place = |error: Box<Error>, line: Option<usize>| {
        let error = match path {
            Some(path) => error.at(path),
            None => error,
        };
        match line {
            Some(line) => error.line(line),
            None => error,
        }
    };
    if yaml.trim().is_empty() {
        return Ok(Object::new());
    }
    let value: Json = serde_saphyr::from_str_with_options(yaml, yaml_options()).map_err(|error| {
        let line = error.location().map(|location| location.line() as usize);
        place(
            Error::yours("the parameters are not valid YAML").because(error.to_string()),
            line,
        )
    })?;
    match value {
        Json::Object(object) => Ok(object),
        Json::Null => Ok(Object::new()),
        _ => Err(place(
            Error::yours("the parameters are YAML, but not a mapping of names to values")
                .help("write one `name: value` per line"),
            None,
        )),
    }
}
