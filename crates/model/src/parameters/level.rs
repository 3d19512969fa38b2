//! One level of the raw mapping, and reading values of each type out of it.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::fault;
use crate::Fault;
use crate::error::{ExpressionError, nearest};

/// One level of the raw mapping: what is in it, what may be in it, and where it is.
pub(super) struct Level<'a, 'f> {
    pub(super) path: String,
    object: &'a Map<String, Value>,
    faults: &'f mut Vec<Fault>,
}

impl<'a, 'f> Level<'a, 'f> {
    /// Enters `value`, which should be a mapping with only `known` keys.
    pub(super) fn enter(path: String, value: &'a Value, known: &[&str], faults: &'f mut Vec<Fault>) -> Option<Self> {
        let Value::Object(object) = value else {
            fault(
                faults,
                path,
                format!("this is {} where a mapping belongs", kind(value)),
                format!("write a mapping with {}", known.join(", ")),
            );
            return None;
        };
        for key in object.keys() {
            if !known.contains(&key.as_str()) {
                let help = match nearest(key, known.iter().copied()) {
                    Some(name) => format!("did you mean '{name}'?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                fault(faults, join(&path, key), "unknown parameter", help);
            }
        }
        Some(Self { path, object, faults })
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn fault(&mut self, key: &str, message: impl Into<String>, help: impl Into<String>) {
        fault(self.faults, join(&self.path, key), message, help);
    }

    pub(super) fn require(&mut self, key: &str, message: &str, help: &str) {
        if self.get(key).is_none() {
            self.fault(key, message, help);
        }
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::String(text) => Some(text.clone()),
            number @ Value::Number(_) => {
                self.fault(
                    key,
                    format!("this is the number {number} where text belongs"),
                    format!("put quotes around it: \"{number}\""),
                );
                None
            }
            other => {
                self.fault(
                    key,
                    format!("this is {} where text belongs", kind(other)),
                    text_help(other),
                );
                None
            }
        }
    }

    pub(super) fn number(&mut self, key: &str, least: u32, most: u32) -> Option<u32> {
        let value = self.get(key)?;
        let help = format!("write a whole number from {least} to {most}");
        if let Some(number) = value.as_u64()
            && let Ok(number) = u32::try_from(number)
            && (least..=most).contains(&number)
        {
            return Some(number);
        }
        let message = match value {
            Value::Number(number) => format!("{number} is out of range"),
            other => format!("this is {} where a number belongs", kind(other)),
        };
        self.fault(key, message, help);
        None
    }

    pub(super) fn flag(&mut self, key: &str) -> Option<bool> {
        match self.get(key)? {
            Value::Bool(flag) => Some(*flag),
            other => {
                self.fault(key, format!("this is {}", kind(other)), "write true or false");
                None
            }
        }
    }

    fn list(&mut self, key: &str) -> Option<&'a [Value]> {
        match self.get(key)? {
            Value::Array(items) => Some(items),
            other => {
                self.fault(
                    key,
                    format!("this is {} where a list belongs", kind(other)),
                    "write a list, even for one item",
                );
                None
            }
        }
    }

    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        let items = self.list(key)?;
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                other => self.fault(
                    &format!("{key}[{index}]"),
                    format!("this is {} where text belongs", kind(other)),
                    text_help(other),
                ),
            }
        }
        Some(texts)
    }

    /// Reads a list of mappings, each with only `known` keys.
    pub(super) fn items<T>(
        &mut self,
        key: &str,
        known: &[&str],
        read_item: impl Fn(&mut Level<'_, '_>) -> T,
    ) -> Option<Vec<T>> {
        let items = self.list(key)?;
        let mut found = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = join(&self.path, &format!("{key}[{index}]"));
            if let Some(mut level) = Level::enter(path, item, known, self.faults) {
                found.push(read_item(&mut level));
            }
        }
        Some(found)
    }

    pub(super) fn parsed<T: FromStr<Err = ExpressionError>>(&mut self, key: &str) -> Option<T> {
        self.parsed_by(key, str::parse)
    }

    pub(super) fn parsed_by<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, ExpressionError>) -> Option<T> {
        let text = match self.get(key)? {
            // A size without its unit arrives as a number; its parser knows best what to say.
            Value::Number(number) => number.to_string(),
            _ => self.text(key)?,
        };
        match parse(&text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(key, error.message, error.help);
                None
            }
        }
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// What a value is, in words that a YAML writer and a Python user both know.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a mapping",
    }
}

/// YAML reads some words as something else, which surprises people who meant text.
pub(super) fn text_help(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "text with a colon and a space in it needs quotes around it",
        Value::Array(_) => "write one text, not a list",
        _ => "put quotes around it",
    }
}
