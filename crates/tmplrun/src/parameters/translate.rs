//! How each language writes `name = value`.
//!
//! One table; a kernel's name is looked up before its language, because a few kernels share a language and not its syntax.
//! Kernels whose name says no more than their language are looked up after it: a language that was asked for counts.
//! The texts are papermill's to the byte, because a notebook's history shows every changed one; only where papermill
//! writes a number that is none in that language (`nan` and `inf`) does the language's own stand here.

use std::fmt::Write as _;

use super::{Number, number};
use crate::error::{Error, Result};
use crate::json::{Json, Object};

/// How one language writes parameters.
#[derive(Debug, Clone, Copy)]
pub struct Translator {
    /// Kernel names that mean this language whatever their spec says, in lower case.
    kernels: &'static [&'static str],
    /// Kernels that are for it where no language says otherwise.
    usual: &'static [&'static str],
    /// Language names, in lower case.
    languages: &'static [&'static str],
    comment: (&'static str, &'static str),
    /// What stands before a name, between it and the value, and after that.
    assign: (&'static str, &'static str, &'static str),
    /// Leading characters that no name of the language has.
    unnamed: &'static str,
    /// Rust has none: what its literals are depends on what stands beside them.
    literals: Option<Literals>,
}

/// The literals of a language.
#[derive(Debug, Clone, Copy)]
struct Literals {
    null: Option<&'static str>,
    truth: (&'static str, &'static str),
    /// Not a number, infinity, minus infinity.
    not_finite: [&'static str; 3],
    /// Whether a whole number of more than 32 bits ends with `L`.
    long: bool,
    text: fn(&str) -> String,
    list: (&'static str, &'static str, &'static str),
    map: Option<Map>,
}

#[derive(Debug, Clone, Copy)]
enum Map {
    Pairs {
        open: &'static str,
        /// Before a key, between it and its value, and after that.
        pair: (&'static str, &'static str, &'static str),
        between: &'static str,
        close: &'static str,
    },
    /// Matlab's, which lists keys and values apart.
    Apart,
}

const HASH: (&str, &str) = ("# ", "");
const SLASHES: (&str, &str) = ("// ", "");
const EQUALS: (&str, &str, &str) = ("", " = ", "");
const NUMBERS: [&str; 3] = ["NaN", "Inf", "-Inf"];

const PYTHON: Translator = Translator {
    kernels: &["pysparkkernel"],
    usual: &["python2", "python3"],
    languages: &["python"],
    comment: HASH,
    assign: EQUALS,
    unnamed: "",
    literals: Some(Literals {
        null: Some("None"),
        truth: ("True", "False"),
        not_finite: ["float('nan')", "float('inf')", "float('-inf')"],
        long: false,
        text: |text| quoted(text, "\\\""),
        list: ("[", ", ", "]"),
        map: Some(Map::Pairs {
            open: "{",
            pair: ("", ": ", ""),
            between: ", ",
            close: "}",
        }),
    }),
};

const R: Translator = Translator {
    kernels: &["sparkrkernel"],
    usual: &["ir"],
    languages: &["r"],
    comment: HASH,
    assign: EQUALS,
    unnamed: "_",
    literals: Some(Literals {
        null: Some("NULL"),
        truth: ("TRUE", "FALSE"),
        not_finite: NUMBERS,
        long: false,
        text: |text| quoted(text, "\\\""),
        list: ("list(", ", ", ")"),
        map: Some(Map::Pairs {
            open: "list(",
            pair: ("", " = ", ""),
            between: ", ",
            close: ")",
        }),
    }),
};

const SCALA: Translator = Translator {
    kernels: &["sparkkernel"],
    usual: &[],
    languages: &["scala"],
    comment: SLASHES,
    assign: ("val ", " = ", ""),
    unnamed: "",
    literals: Some(Literals {
        null: Some("None"),
        truth: ("true", "false"),
        not_finite: ["Double.NaN", "Double.PositiveInfinity", "Double.NegativeInfinity"],
        long: true,
        text: |text| quoted(text, "\\\""),
        list: ("Seq(", ", ", ")"),
        map: Some(Map::Pairs {
            open: "Map(",
            pair: ("", " -> ", ""),
            between: ", ",
            close: ")",
        }),
    }),
};

const JULIA: Translator = Translator {
    kernels: &[],
    usual: &[],
    languages: &["julia"],
    comment: HASH,
    assign: EQUALS,
    unnamed: "",
    literals: Some(Literals {
        null: Some("nothing"),
        truth: ("true", "false"),
        not_finite: NUMBERS,
        long: false,
        text: |text| quoted(text, "\\\""),
        list: ("[", ", ", "]"),
        map: Some(Map::Pairs {
            open: "Dict(",
            pair: ("", " => ", ""),
            between: ", ",
            close: ")",
        }),
    }),
};

const MATLAB: Translator = Translator {
    kernels: &[],
    usual: &[],
    languages: &["matlab"],
    comment: ("% ", ""),
    assign: ("", " = ", ";"),
    unnamed: "",
    literals: Some(Literals {
        null: Some("NaN"),
        truth: ("true", "false"),
        not_finite: NUMBERS,
        long: false,
        text: |text| quoted(text, "\"\""),
        list: ("{", ", ", "}"),
        map: Some(Map::Apart),
    }),
};

const CSHARP: Translator = Translator {
    kernels: &[".net-csharp"],
    usual: &[],
    languages: &["c#", "csharp"],
    comment: SLASHES,
    assign: ("var ", " = ", ";"),
    unnamed: "",
    literals: Some(Literals {
        // `var` has no type to take from a null.
        null: None,
        truth: ("true", "false"),
        not_finite: ["double.NaN", "double.PositiveInfinity", "double.NegativeInfinity"],
        long: true,
        text: |text| quoted(text, "\\\""),
        list: ("new [] { ", ", ", " }"),
        map: Some(Map::Pairs {
            open: "new Dictionary<string,Object>{ ",
            pair: ("{ ", " , ", " }"),
            between: ", ",
            close: " }",
        }),
    }),
};

const FSHARP: Translator = Translator {
    kernels: &[".net-fsharp"],
    usual: &[],
    languages: &["f#", "fsharp"],
    comment: ("(* ", " *)"),
    assign: ("let ", " = ", ""),
    unnamed: "",
    literals: Some(Literals {
        null: Some("None"),
        truth: ("true", "false"),
        not_finite: ["nan", "infinity", "-infinity"],
        long: true,
        text: |text| quoted(text, "\\\""),
        list: ("[ ", "; ", " ]"),
        map: Some(Map::Pairs {
            open: "[ ",
            pair: ("(", ", ", " :> IComparable)"),
            between: "; ",
            close: " ] |> Map.ofList",
        }),
    }),
};

const POWERSHELL: Translator = Translator {
    kernels: &[".net-powershell"],
    usual: &[],
    languages: &["powershell", "pwsh"],
    comment: HASH,
    assign: ("$", " = ", ""),
    unnamed: "",
    literals: Some(Literals {
        null: Some("$Null"),
        truth: ("$True", "$False"),
        not_finite: [
            "[double]::NaN",
            "[double]::PositiveInfinity",
            "[double]::NegativeInfinity",
        ],
        long: false,
        text: |text| quoted(text, "`\""),
        list: ("@(", ", ", ")"),
        map: Some(Map::Pairs {
            open: "@{",
            pair: ("", " = ", ""),
            between: "\n ",
            close: "}",
        }),
    }),
};

const BASH: Translator = Translator {
    kernels: &["bash"],
    usual: &[],
    languages: &["bash"],
    comment: HASH,
    assign: ("", "=", ""),
    unnamed: "",
    literals: Some(Literals {
        null: Some(""),
        truth: ("true", "false"),
        not_finite: ["nan", "inf", "-inf"],
        long: false,
        text: shell_quoted,
        list: ("(", " ", ")"),
        map: None,
    }),
};

const RUST: Translator = Translator {
    kernels: &[],
    usual: &["rust", "evcxr"],
    languages: &["rust"],
    comment: SLASHES,
    assign: ("let ", " = ", ";"),
    unnamed: "",
    literals: None,
};

const TABLE: &[Translator] = &[PYTHON, R, SCALA, JULIA, MATLAB, CSHARP, FSHARP, POWERSHELL, BASH, RUST];

/// The translator for a kernel.
///
/// # Errors
/// When parameters cannot be written in that language.
pub fn translator(kernel: &str, language: &str) -> Result<&'static Translator> {
    let (known_kernel, known_language) = (kernel.to_lowercase(), language.to_lowercase());
    TABLE
        .iter()
        .find(|entry| entry.kernels.contains(&known_kernel.as_str()))
        .or_else(|| {
            TABLE
                .iter()
                .find(|entry| entry.languages.contains(&known_language.as_str()))
        })
        .or_else(|| TABLE.iter().find(|entry| entry.usual.contains(&known_kernel.as_str())))
        .ok_or_else(|| {
            let known: Vec<&str> = TABLE
                .iter()
                .filter_map(|entry| entry.languages.first())
                .copied()
                .collect();
            Error::yours(format!(
                "parameters cannot be written in `{language}` (kernel `{kernel}`)"
            ))
            .help(format!(
                "parameters are known for {}; name one of them with --language, or run it without parameters",
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
        let (open, close) = self.comment;
        let mut source = format!("{}\n", format!("{open}{comment}{close}").trim());
        for (name, value) in parameters.iter() {
            let own = name.trim_start_matches(|c| self.unnamed.contains(c));
            let first = own.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
            if !first || !own.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.') {
                return Err(Error::yours(format!("`{name}` cannot be the name of a parameter"))
                    .help("a name holds letters, digits and underscores, and starts with no digit"));
            }
            let value = match &self.literals {
                Some(literals) => literals.write(value),
                None => rust(value),
            }
            .map_err(|what| {
                Error::yours(format!(
                    "the value of `{name}` is {what}, which {} has no literal for",
                    self.languages.first().unwrap_or(&"the language")
                ))
                .help("give it as text, and let the notebook read it")
            })?;
            let (before, between, after) = self.assign;
            let _ = writeln!(source, "{before}{own}{between}{value}{after}");
        }
        Ok(source)
    }

    /// The language's name, in lower case.
    #[must_use]
    pub fn language(&self) -> &'static str {
        self.languages.first().copied().unwrap_or_default()
    }
}

/// What a value is that cannot be written.
type Unwritable = &'static str;

impl Literals {
    fn write(&self, value: &Json) -> Result<String, Unwritable> {
        Ok(match value {
            Json::Null => self.null.ok_or("null")?.to_owned(),
            Json::Bool(true) => self.truth.0.to_owned(),
            Json::Bool(false) => self.truth.1.to_owned(),
            Json::Number(text) => self.number(text),
            Json::String(text) => (self.text)(&text.decode()),
            Json::Array(array) => {
                let items = array.items.iter().map(|item| self.write(item));
                let items: Vec<String> = items.collect::<Result<_, _>>()?;
                let (open, between, close) = self.list;
                format!("{open}{}{close}", items.join(between))
            }
            Json::Object(object) => self.map(object)?,
        })
    }

    fn number(&self, text: &str) -> String {
        match number(text) {
            Number::Whole(digits) if self.long && digits.parse::<i32>().is_err() => format!("{digits}L"),
            Number::Whole(digits) => digits.to_owned(),
            Number::Float(value) => {
                let [nan, infinity, minus] = self.not_finite;
                if value.is_nan() {
                    nan.to_owned()
                } else if value.is_infinite() {
                    if value > 0.0 { infinity } else { minus }.to_owned()
                } else {
                    crate::json::python_float(value)
                }
            }
        }
    }

    fn map(&self, object: &Object) -> Result<String, Unwritable> {
        let mut keys = Vec::new();
        let mut values = Vec::new();
        for (key, value) in object.iter() {
            keys.push(key);
            values.push(self.write(value)?);
        }
        match self.map.ok_or("a mapping")? {
            Map::Pairs {
                open,
                pair: (before, middle, after),
                between,
                close,
            } => {
                let pairs: Vec<String> = keys
                    .iter()
                    .zip(values)
                    .map(|(key, value)| format!("{before}{}{middle}{value}{after}", (self.text)(key)))
                    .collect();
                Ok(format!("{open}{}{close}", pairs.join(between)))
            }
            Map::Apart => {
                let keys: Vec<String> = keys
                    .iter()
                    .map(|key| format!("'{}'", escaped(key).replace('\'', "''")))
                    .collect();
                Ok(format!(
                    "containers.Map({{{}}}, {{{}}})",
                    keys.join(", "),
                    values.join(", ")
                ))
            }
        }
    }
}

/// What Python's `unicode_escape` makes of a text.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            ' '..='~' => write!(out, "{c}"),
            _ if code < 0x100 => write!(out, "\\x{code:02x}"),
            _ if code < 0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out
}

/// The same between double quotes; `quote` is how a double quote is written there.
fn quoted(text: &str, quote: &str) -> String {
    format!("\"{}\"", escaped(text).replace('"', quote))
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

/// Rust's literals. What stands together in a list or a mapping must have one type.
fn rust(value: &Json) -> Result<String, Unwritable> {
    Ok(match value {
        Json::Null => "None::<String>".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Number(text) => match number(text) {
            Number::Whole(digits) => match rust_width(digits)? {
                Width::Default => digits.to_owned(),
                Width::Long => format!("{digits}i64"),
                Width::Longest => format!("{digits}i128"),
            },
            Number::Float(value) => rust_float(value),
        },
        // Rust's own escapes: what `{:?}` writes is a literal again.
        Json::String(text) => format!("{:?}.to_string()", text.decode()),
        Json::Array(array) if array.items.is_empty() => "Vec::<String>::new()".to_owned(),
        Json::Array(array) => {
            let items: Vec<&Json> = array.items.iter().collect();
            format!("vec![{}]", rust_alike(&items)?.join(", "))
        }
        Json::Object(object) if object.is_empty() => "std::collections::BTreeMap::<String, String>::new()".to_owned(),
        Json::Object(object) => {
            let (keys, values): (Vec<_>, Vec<_>) = object.iter().unzip();
            let entries: Vec<String> = keys
                .iter()
                .zip(rust_alike(&values)?)
                .map(|(key, value)| format!("({key:?}.to_string(), {value})"))
                .collect();
            format!("std::collections::BTreeMap::from([{}])", entries.join(", "))
        }
    })
}

/// The widths of Rust's whole numbers that are needed, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Default,
    Long,
    Longest,
}

fn rust_width(digits: &str) -> Result<Width, Unwritable> {
    if digits.parse::<i32>().is_ok() {
        Ok(Width::Default)
    } else if digits.parse::<i64>().is_ok() {
        Ok(Width::Long)
    } else if digits.parse::<i128>().is_ok() {
        Ok(Width::Longest)
    } else {
        Err("a number of more than 128 bits")
    }
}

fn rust_float(value: f64) -> String {
    if value.is_nan() {
        "f64::NAN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 {
            "f64::INFINITY"
        } else {
            "f64::NEG_INFINITY"
        }
        .to_owned()
    } else {
        format!("{value:?}")
    }
}

/// The type of a value as far as it decides whether it may stand beside another.
fn rust_type(value: &Json) -> Result<String, Unwritable> {
    Ok(match value {
        Json::Null => "none".to_owned(),
        Json::Bool(_) => "bool".to_owned(),
        Json::Number(_) => "number".to_owned(),
        Json::String(_) => "text".to_owned(),
        Json::Array(array) => match array.items.first() {
            // An empty list is written as one of texts.
            None => "list of text".to_owned(),
            Some(Json::Number(_)) => format!("list of {}", rust_number(&array.items)),
            Some(first) => format!("list of {}", rust_type(first)?),
        },
        Json::Object(object) => match object.iter().next() {
            None => "map of text".to_owned(),
            Some((_, first)) => format!("map of {}", rust_type(first)?),
        },
    })
}

/// Lists of numbers that stand beside each other hold whole numbers, or none of them does.
fn rust_number(items: &[Json]) -> &'static str {
    let float = |item: &Json| matches!(item, Json::Number(text) if matches!(number(text), Number::Float(_)));
    if items.iter().any(float) {
        "floats"
    } else {
        "whole numbers"
    }
}

/// Values of one type; numbers become floats if one of them is, and as wide as the widest.
fn rust_alike(values: &[&Json]) -> Result<Vec<String>, Unwritable> {
    let mut types = values.iter().map(|value| rust_type(value));
    let first = types.next().unwrap_or_else(|| Ok(String::new()))?;
    for other in types {
        if other? != first {
            return Err("a list or mapping of different types");
        }
    }
    if first != "number" {
        return values.iter().map(|value| rust(value)).collect();
    }
    let numbers = || {
        values.iter().filter_map(|value| match value {
            Json::Number(text) => Some(number(text)),
            _ => None,
        })
    };
    if numbers().any(|each| matches!(each, Number::Float(_))) {
        return Ok(numbers()
            .map(|each| match each {
                Number::Float(value) => rust_float(value),
                Number::Whole(digits) => rust_float(digits.parse().unwrap_or(f64::NAN)),
            })
            .collect());
    }
    let mut widest = Width::Default;
    for each in numbers() {
        if let Number::Whole(digits) = each {
            widest = widest.max(rust_width(digits)?);
        }
    }
    let ending = match widest {
        Width::Default => "",
        Width::Long => "i64",
        Width::Longest => "i128",
    };
    Ok(numbers()
        .map(|each| match each {
            Number::Whole(digits) => format!("{digits}{ending}"),
            Number::Float(value) => rust_float(value),
        })
        .collect())
}
