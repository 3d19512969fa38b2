//! Slurm's JSON as it comes: reading all the forms that the same value has had in different versions.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::error::Error;

/// A limit: a number, or none at all. Serialises as a number, or as the word `UNLIMITED`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// There is no limit.
    Unlimited,
    /// The limit.
    Number(u64),
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Limit::Unlimited => f.write_str("UNLIMITED"),
            Limit::Number(number) => number.fmt(f),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Limit::Unlimited => serializer.serialize_str("UNLIMITED"),
            Limit::Number(number) => serializer.serialize_u64(*number),
        }
    }
}

/// A value in any of the forms that Slurm gives to numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) enum Number {
    #[default]
    Unset,
    Infinite,
    Is(f64),
}

impl Number {
    pub(crate) fn read(value: &Value) -> Number {
        match value {
            Value::Number(number) => number.as_f64().map_or(Number::Unset, Number::Is),
            Value::String(text) => match text.trim() {
                "UNLIMITED" | "INFINITE" => Number::Infinite,
                text => text.parse().map_or(Number::Unset, Number::Is),
            },
            Value::Object(object) => {
                let is = |name: &str| object.get(name).and_then(Value::as_bool);
                if is("infinite") == Some(true) {
                    Number::Infinite
                } else if is("set") == Some(false) {
                    Number::Unset
                } else {
                    object.get("number").map_or(Number::Unset, Number::read)
                }
            }
            _ => Number::Unset,
        }
    }

    pub(crate) fn float(self) -> Option<f64> {
        if let Number::Is(number) = self {
            Some(number)
        } else {
            None
        }
    }

    /// The number, if there is one and it isn't negative. Everything Slurm counts fits into a float's 53 bits.
    pub(crate) fn whole(self) -> Option<u64> {
        self.float()
            .filter(|number| *number >= 0.0 && *number < 9e15)
            .map(|number| number as u64)
    }

    pub(crate) fn limit(self) -> Option<Limit> {
        match self {
            Number::Infinite => Some(Limit::Unlimited),
            _ => self.whole().map(Limit::Number),
        }
    }

    /// A time in seconds since 1970. Slurm says 0 for "not yet".
    pub(crate) fn time(self) -> Option<u64> {
        self.whole().filter(|time| *time != 0)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        Ok(Number::read(&Value::deserialize(deserializer)?))
    }
}

/// Words: a list of them, or one text with commas or plus signs in between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Words(pub(crate) Vec<String>);

impl<'de> Deserialize<'de> for Words {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Words, D::Error> {
        let words = match Value::deserialize(deserializer)? {
            Value::String(text) => text.split([',', '+']).map(str::trim).map(str::to_owned).collect(),
            Value::Array(values) => values
                .into_iter()
                .filter_map(|v| if let Value::String(s) = v { Some(s) } else { None })
                .collect(),
            _ => Vec::new(),
        };
        Ok(Words(
            words.into_iter().filter(|word: &String| !word.is_empty()).collect(),
        ))
    }
}

/// A text; anything else counts as empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) String);

impl Text {
    /// The text, unless it is one of the ways to say "nothing".
    pub(crate) fn some(self) -> Option<String> {
        match self.0.as_str() {
            "" | "(null)" | "None" | "N/A" => None,
            _ => Some(self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Text(text),
            Value::Number(number) => Text(number.to_string()),
            _ => Text::default(),
        })
    }
}

/// `exit_code` of jobs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ExitCode {
    pub(crate) return_code: Number,
    pub(crate) signal: Signal,
}

/// Part of [`ExitCode`]; `signal_id` in older versions.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Signal {
    #[serde(alias = "signal_id")]
    pub(crate) id: Number,
}

/// Amounts of trackable resources as Slurm writes them, `cpu=8,gres/gpu=1`; empty where there are none. Memory is in MiB.
pub(crate) fn resources(value: &Value) -> String {
    let rows = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let texts: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let kind = row.get("type")?.as_str()?;
            let name = row.get("name").and_then(Value::as_str).unwrap_or_default();
            let slash = if name.is_empty() { "" } else { "/" };
            let count = Number::read(row.get("count")?).whole()?;
            Some(format!("{kind}{slash}{name}={count}"))
        })
        .collect();
    texts.join(",")
}

/// Takes the list called `name` out of an answer; `a/b` is the list `b` in the object `a`.
pub(crate) fn list<T: DeserializeOwned>(command: &str, name: &str, answer: &[u8]) -> Result<Vec<T>, Error> {
    let unreadable = |reason: String| Error::Unreadable {
        command: command.to_owned(),
        reason,
        beginning: String::from_utf8_lossy(answer).chars().take(200).collect(),
    };
    // Slurm writes a string's bytes as they are, whatever they are: one odd byte in one field must not hide a whole answer.
    let text = String::from_utf8_lossy(answer);
    let mut value: Value = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    let place = format!("/{name}");
    let rows = match value.pointer_mut(&place).map(Value::take) {
        Some(Value::Array(rows)) => rows,
        _ => return Err(unreadable(format!("it has no list named `{name}`"))),
    };
    let read = |(index, row)| serde_json::from_value(row).map_err(|error| format!("{name}[{index}]: {error}"));
    rows.into_iter()
        .enumerate()
        .map(read)
        .collect::<Result<_, _>>()
        .map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_read_in_every_form() {
        let read = |value: Value| serde_json::from_value::<Number>(value).unwrap();
        assert_eq!(read(json!(5)).whole(), Some(5));
        assert_eq!(read(json!("5")).whole(), Some(5));
        assert_eq!(
            read(json!({"set": true, "infinite": false, "number": 5})).whole(),
            Some(5)
        );
        assert_eq!(
            read(json!({"set": false, "infinite": false, "number": 5})).whole(),
            None
        );
        assert_eq!(
            read(json!({"set": false, "infinite": true, "number": 0})).limit(),
            Some(Limit::Unlimited)
        );
        assert_eq!(read(json!(-2)).whole(), None);
        assert_eq!(read(json!(null)), Number::Unset);
        assert_eq!(read(json!(["odd"])), Number::Unset);
        assert_eq!(read(json!({"set": true, "number": 0})).time(), None);
    }

    #[test]
    fn a_byte_that_is_no_character_spoils_its_own_field_only() {
        let rows: Vec<Value> = list(
            "scontrol",
            "jobs",
            b"{\"jobs\": [{\"job_id\": 23, \"comment\": \"a\xffb\"}]}",
        )
        .unwrap();
        assert_eq!(rows, [json!({"job_id": 23, "comment": "a\u{fffd}b"})]);
    }

    #[test]
    fn words_are_read_in_every_form() {
        let read = |value: Value| serde_json::from_value::<Words>(value).unwrap().0;
        assert_eq!(read(json!(["IDLE", "DRAIN"])), ["IDLE", "DRAIN"]);
        assert_eq!(read(json!("IDLE+DRAIN")), ["IDLE", "DRAIN"]);
        assert_eq!(read(json!("a,b")), ["a", "b"]);
        assert!(read(json!("")).is_empty());
        assert!(read(json!(null)).is_empty());
    }
}
