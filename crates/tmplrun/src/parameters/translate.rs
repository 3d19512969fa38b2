//! How each language writes `name = value`.
//!
//! One table; a kernel's name is looked up before its language, because a few kernels share a language and not its syntax.

use std::fmt::Write as _;

use crate::error::{Error, Result};
use crate::json::{Json, Object};

/// How one language writes parameters.
#[derive(Debug, Clone, Copy)]
pub struct Translator {
    /// Kernel names that mean this language whatever their spec says.
    kernels: &'static [&'static str],
    /// Language names, in lower case.
    languages: &'static [&'static str],
    comment: &'static str,
    assign: fn(&str, &Json) -> Result<String>,
}

const TABLE: &[Translator] = &[
    Translator {
        kernels: &["python2", "python3"],
        languages: &["python"],
        comment: "# ",
        assign: |name, value| Ok(format!("{name} = {}", python(value))),
    },
    Translator {
        kernels: &["ir"],
        languages: &["r"],
        comment: "# ",
        // A leading underscore is no name in R.
        assign: |name, value| Ok(format!("{} = {}", name.trim_start_matches('_'), r(value))),
    },
    Translator {
        kernels: &["bash"],
        languages: &["bash"],
        comment: "# ",
        assign: |name, value| Ok(format!("{name}={}", bash(name, value)?)),
    },
    Translator {
        kernels: &["rust", "evcxr"],
        languages: &["rust"],
        comment: "// ",
        assign: |name, value| Ok(format!("let {name} = {};", rust(value))),
    },
];

/// The translator for a kernel.
///
/// # Errors
/// When parameters cannot be written in that language.
pub fn translator(kernel: &str, language: &str) -> Result<&'static Translator> {
    let language = language.to_lowercase();
    TABLE
        .iter()
        .find(|entry| entry.kernels.contains(&kernel))
        .or_else(|| TABLE.iter().find(|entry| entry.languages.contains(&language.as_str())))
        .ok_or_else(|| {
            let known: Vec<&str> = TABLE.iter().flat_map(|entry| entry.languages).copied().collect();
            Error::yours(format!(
                "parameters cannot be written in `{language}` (kernel `{kernel}`)"
            ))
            .help(format!(
                "parameters are known for {}; run it without parameters",
                known.join(", ")
            ))
        })
}

impl Translator {
    /// The source of a cell that assigns every parameter, under a comment.
    ///
    /// # Errors
    /// When a name is not a name or a value cannot be written.
    pub fn cell(&self, parameters: &Object, comment: &str) -> Result<String> {
        let mut source = format!("{}{comment}\n", self.comment);
        for (name, value) in parameters.iter() {
            let first = name.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
            if !first || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') {
                return Err(Error::yours(format!("`{name}` cannot be the name of a parameter"))
                    .help("a name holds letters, digits and underscores, and starts with no digit"));
            }
            source.push_str(&(self.assign)(&name, value)?);
            source.push('\n');
        }
        Ok(source)
    }

    /// Whether this language's parameter cells can be read back.
    #[must_use]
    pub fn is(&self, language: &str) -> bool {
        self.languages.contains(&language)
    }
}

/// What Python's `unicode_escape` makes of a text, with double quotes escaped as well.
fn escaped(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => write!(out, "\\\\"),
            '"' => write!(out, "\\\""),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            ' '..='~' => write!(out, "{c}"),
            _ if code < 0x100 => write!(out, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out.push('"');
    out
}

fn number<'a>(text: &'a str, nan: &'a str, infinity: &'a str, minus: &'a str) -> &'a str {
    match text {
        "NaN" => nan,
        "Infinity" => infinity,
        "-Infinity" => minus,
        other => other,
    }
}

fn python(value: &Json) -> String {
    match value {
        Json::Null => "None".to_owned(),
        Json::Bool(true) => "True".to_owned(),
        Json::Bool(false) => "False".to_owned(),
        Json::Number(text) => number(text, "float('nan')", "float('inf')", "float('-inf')").to_owned(),
        Json::String(text) => escaped(&text.decode()),
        Json::Array(array) => format!("[{}]", list(&array.items, python)),
        Json::Object(object) => {
            let entries: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{}: {}", escaped(&key), python(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}

fn r(value: &Json) -> String {
    match value {
        Json::Null => "NULL".to_owned(),
        Json::Bool(true) => "TRUE".to_owned(),
        Json::Bool(false) => "FALSE".to_owned(),
        Json::Number(text) => number(text, "NaN", "Inf", "-Inf").to_owned(),
        Json::String(text) => escaped(&text.decode()),
        Json::Array(array) => format!("list({})", list(&array.items, r)),
        Json::Object(object) => {
            let entries: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{} = {}", escaped(&key), r(value)))
                .collect();
            format!("list({})", entries.join(", "))
        }
    }
}

fn list(items: &[Json], write: fn(&Json) -> String) -> String {
    items.iter().map(write).collect::<Vec<_>>().join(", ")
}

fn bash(name: &str, value: &Json) -> Result<String> {
    Ok(match value {
        Json::Null => "''".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => text.clone(),
        Json::String(text) => shell_quoted(&text.decode()),
        Json::Array(array) => {
            let items: Result<Vec<String>> = array.items.iter().map(|item| bash(name, item)).collect();
            format!("({})", items?.join(" "))
        }
        Json::Object(_) => {
            return Err(Error::yours(format!(
                "the value of `{name}` is a mapping, which Bash has no literal for"
            )));
        }
    })
}

/// One word for a POSIX shell, bare where that is safe.
fn shell_quoted(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    if !text.is_empty() && text.chars().all(safe) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\"'\"'"))
    }
}

fn rust(value: &Json) -> String {
    match value {
        Json::Null => "None::<String>".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => match text.parse::<i64>() {
            Ok(large) if i32::try_from(large).is_err() => format!("{text}i64"),
            _ => number(text, "f64::NAN", "f64::INFINITY", "f64::NEG_INFINITY").to_owned(),
        },
        // Rust's own escapes: what `{:?}` writes is a literal again.
        Json::String(text) => format!("{:?}.to_string()", text.decode()),
        Json::Array(array) => format!("vec![{}]", list(&array.items, rust)),
        Json::Object(object) => {
            let entries: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("({key:?}.to_string(), {})", rust(value)))
                .collect();
            format!("std::collections::BTreeMap::from([{}])", entries.join(", "))
        }
    }
}
