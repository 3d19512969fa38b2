//! Paths with parameters in them: Python's `str.format` over the parameters and three values of ours.
//!
//! `out/{name}-{x:.2f}-{pm[current_datetime_utc]:%Y%m%d}.ipynb` is such a path. Papermill keeps its own values under
//! `pm`; here they have short names as well, which a parameter of the same name takes over.

use std::borrow::Cow;
use std::path::Path;

use jiff::Zoned;

use super::format::{self, Value};
use crate::error::{Error, Result};
use crate::json::Object;

/// How deep a format's width or precision may be a field itself, as in Python.
const DEPTH: usize = 2;

/// What a path may name besides the parameters.
#[derive(Debug, Clone)]
pub struct BuiltIn {
    /// `run_uuid`
    pub run_uuid: String,
    /// `current_datetime_local`, and in UTC `current_datetime_utc`
    pub now: Zoned,
}

impl BuiltIn {
    /// A new id, and the time that the caller took.
    #[must_use]
    pub fn new(now: Zoned) -> Self {
        Self {
            run_uuid: uuid::Uuid::new_v4().to_string(),
            now,
        }
    }

    fn get(&self, name: &str) -> Option<Value<'_>> {
        match name {
            "run_uuid" => Some(Value::Text(Cow::Borrowed(&self.run_uuid))),
            "current_datetime_local" => Some(Value::Moment {
                time: self.now.clone(),
                zone: false,
            }),
            "current_datetime_utc" => Some(Value::Moment {
                time: self.now.with_time_zone(jiff::tz::TimeZone::UTC),
                zone: true,
            }),
            _ => None,
        }
    }
}

/// The names that [`BuiltIn`] gives.
const BUILT_IN: [&str; 3] = ["run_uuid", "current_datetime_local", "current_datetime_utc"];

/// Puts values where `{name}` stands in a path, as Python's `str.format` does.
///
/// # Errors
/// When a field names nothing that is known (the error lists what is), or a format does not fit its value.
pub fn template(path: &str, parameters: &Object, built_in: &BuiltIn) -> Result<String> {
    let template = Template {
        path,
        parameters,
        built_in,
    };
    template.fill(path, DEPTH)
}

struct Template<'a> {
    path: &'a str,
    parameters: &'a Object,
    built_in: &'a BuiltIn,
}

impl<'a> Template<'a> {
    fn wrong(&self, message: impl Into<String>) -> Box<Error> {
        Error::yours(message).at(Path::new(self.path))
    }

    fn brace(&self) -> Box<Error> {
        self.wrong("a brace in the path has no partner")
            .help("write {{ and }} for braces that belong to the name")
    }

    fn fill(&self, text: &str, depth: usize) -> Result<String> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            rest = &rest[at + 1..];
            // A format's own braces are never escaped.
            if let Some(after) = rest.strip_prefix(brace).filter(|_| depth == DEPTH) {
                out.push_str(brace);
                rest = after;
                continue;
            }
            if brace == "}" || depth == 0 {
                return Err(self.brace());
            }
            let end = field_end(rest).ok_or_else(|| self.brace())?;
            out.push_str(&self.field(&rest[..end], depth)?);
            rest = &rest[end + 1..];
        }
        Ok(out + rest)
    }

    /// `name[key].attribute!r:format`
    fn field(&self, field: &str, depth: usize) -> Result<String> {
        let (reference, conversion, format) = split(field);
        let mut value = self.look_up(reference)?;
        let shown = |why: String| {
            self.wrong(format!("`{{{field}}}`: {why}"))
                .help("the part after the colon is Python's: https://docs.python.org/3/library/string.html#formatspec")
        };
        match conversion {
            None => {}
            Some("s") => value = Value::Text(format::text(&value).into()),
            Some("r") => value = Value::Text(format::repr(&value).into()),
            Some("a") => value = Value::Text(format::ascii(&format::repr(&value)).into()),
            Some(other) => {
                return Err(shown(format!(
                    "there is no conversion `!{other}`; there are !s, !r and !a"
                )));
            }
        }
        let format = self.fill(format, depth - 1)?;
        format::format(&value, &format).map_err(shown)
    }

    fn look_up(&self, reference: &str) -> Result<Value<'a>> {
        let end = reference.find(['.', '[']).unwrap_or(reference.len());
        let (name, mut rest) = reference.split_at(end);
        let mut value = match self.parameters.get(name) {
            Some(value) => Value::from(value),
            None if name == "pm" => {
                let (key, after) = rest
                    .strip_prefix('[')
                    .and_then(|inner| inner.split_once(']'))
                    .ok_or_else(|| self.unknown(reference))?;
                rest = after;
                self.built_in.get(key).ok_or_else(|| self.unknown(reference))?
            }
            None => self.built_in.get(name).ok_or_else(|| self.unknown(name))?,
        };
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                let (key, after) = inner.split_once(']').ok_or_else(|| self.brace())?;
                (value.index(key), after)
            } else if let Some(inner) = rest.strip_prefix('.') {
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                (value.attribute(&inner[..end]), &inner[end..])
            } else {
                return Err(self.unknown(reference));
            };
            value =
                step.ok_or_else(|| self.wrong(format!("the path names `{reference}`, which `{name}` does not hold")))?;
            rest = after;
        }
        Ok(value)
    }

    fn unknown(&self, name: &str) -> Box<Error> {
        let mut known: Vec<String> = self.parameters.iter().map(|(name, _)| name.into_owned()).collect();
        known.extend(BUILT_IN.map(str::to_owned));
        let mut help = format!("known are {}", known.join(", "));
        if name.is_empty() || name.bytes().all(|byte| byte.is_ascii_digit()) {
            return self.wrong("a field of the path has no name").help(help);
        }
        if !name.contains('[') {
            help = format!("{help}; give it with -p {name} VALUE");
        }
        self.wrong(format!("the path names the parameter `{name}`, which was not given"))
            .help(help)
    }
}

/// Where the field at the start of `text` ends: at the brace that none inside opened.
fn field_end(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut indexed = false;
    let mut formatted = false;
    for (at, c) in text.char_indices() {
        match c {
            ']' => indexed = false,
            _ if indexed => {}
            '[' if !formatted => indexed = true,
            ':' => formatted = true,
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

/// A field's reference, conversion and format.
fn split(field: &str) -> (&str, Option<&str>, &str) {
    let mut indexed = false;
    let at = field.char_indices().find(|(_, c)| {
        match c {
            '[' => indexed = true,
            ']' => indexed = false,
            _ => {}
        }
        !indexed && matches!(c, '!' | ':')
    });
    let Some((at, c)) = at else {
        return (field, None, "");
    };
    let (reference, rest) = (&field[..at], &field[at + 1..]);
    if c == ':' {
        return (reference, None, rest);
    }
    let (conversion, format) = rest.split_once(':').unwrap_or((rest, ""));
    (reference, Some(conversion), format)
}
