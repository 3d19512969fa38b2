//! Python's format specifications, for the values that parameters have.
//!
//! `[[fill]align][sign][#][0][width][,_][.precision][type]`, with Python's defaults: text stands left and numbers right,
//! `g` drops zeros, and a time takes `strftime`'s letters.

use std::borrow::Cow;
use std::fmt::Write as _;

use jiff::Zoned;

use crate::json::{Json, Object, python_float};

/// Something that a path can name.
#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    /// The digits of a whole number, with its sign.
    Whole(String),
    Float(f64),
    Text(Cow<'a, str>),
    List(&'a [Json]),
    Map(&'a Object),
    /// A time; a local one does not say its zone, as Python's does not.
    Moment {
        time: Zoned,
        zone: bool,
    },
}

impl<'a> From<&'a Json> for Value<'a> {
    fn from(value: &'a Json) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(text) => match super::number(text) {
                super::Number::Whole(digits) => Self::Whole(digits.to_owned()),
                super::Number::Float(value) => Self::Float(value),
            },
            Json::String(text) => Self::Text(text.decode()),
            Json::Array(array) => Self::List(&array.items),
            Json::Object(object) => Self::Map(object),
        }
    }
}

impl<'a> Value<'a> {
    /// `value[key]`: a key of a mapping, or a place in a list or a text, from 0.
    pub(super) fn index(&self, key: &str) -> Option<Value<'a>> {
        let place = || {
            key.bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| key.parse::<usize>().ok())?
        };
        match self {
            Self::List(items) => items.get(place()?).map(Value::from),
            Self::Map(object) => object.get(key).map(Value::from),
            Self::Text(text) => text.chars().nth(place()?).map(|c| Value::Text(c.to_string().into())),
            _ => None,
        }
    }

    /// `value.name`: the parts of a time.
    pub(super) fn attribute(&self, name: &str) -> Option<Value<'a>> {
        let Self::Moment { time, .. } = self else { return None };
        let number: i32 = match name {
            "year" => time.year().into(),
            "month" => time.month().into(),
            "day" => time.day().into(),
            "hour" => time.hour().into(),
            "minute" => time.minute().into(),
            "second" => time.second().into(),
            "microsecond" => time.subsec_nanosecond() / 1000,
            _ => return None,
        };
        Some(Value::Whole(number.to_string()))
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "None",
            Self::Bool(_) | Self::Whole(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
            Self::Moment { .. } => "a time",
        }
    }
}

/// What Python's `str()` makes of it.
pub(super) fn text(value: &Value<'_>) -> String {
    match value {
        Value::Text(text) => text.clone().into_owned(),
        Value::Moment { time, zone } => {
            let offset = if *zone { "%:z" } else { "" };
            let fraction = if time.subsec_nanosecond() / 1000 == 0 {
                ""
            } else {
                ".%6f"
            };
            time.strftime(&format!("%Y-%m-%d %H:%M:%S{fraction}{offset}"))
                .to_string()
        }
        other => repr(other),
    }
}

/// What Python's `repr()` makes of it.
pub(super) fn repr(value: &Value<'_>) -> String {
    let inner = |item: &Json| repr(&Value::from(item));
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Whole(digits) => digits.clone(),
        Value::Float(value) => plain_float(*value),
        Value::Text(text) => quoted(text),
        Value::List(items) => format!("[{}]", items.iter().map(inner).collect::<Vec<_>>().join(", ")),
        Value::Map(object) => {
            let entries: Vec<String> = object
                .iter()
                .map(|(key, value)| format!("{}: {}", quoted(&key), inner(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Moment { .. } => text(value),
    }
}

fn plain_float(value: f64) -> String {
    match python_float(value).as_str() {
        "NaN" => "nan".to_owned(),
        "Infinity" => "inf".to_owned(),
        "-Infinity" => "-inf".to_owned(),
        text => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::from(quote);
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if c == quote => write!(out, "\\{c}"),
            c if c.is_control() && code < 0x100 => write!(out, "\\x{code:02x}"),
            c => write!(out, "{c}"),
        };
    }
    out.push(quote);
    out
}

/// Python's escapes for what is not ASCII.
pub(super) fn ascii(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let code = c as u32;
        let _ = match code {
            0..0x80 => write!(out, "{c}"),
            0x80..0x100 => write!(out, "\\x{code:02x}"),
            0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
            _ => write!(out, "\\U{code:08x}"),
        };
    }
    out
}

/// What Python's `format()` makes of it, or why it makes nothing.
pub(super) fn format(value: &Value<'_>, specification: &str) -> Result<String, String> {
    if specification.is_empty() {
        return Ok(text(value));
    }
    if let Value::Moment { time, zone } = value {
        return moment(time, *zone, specification);
    }
    let spec = Spec::read(specification).ok_or_else(|| format!("`{specification}` is no format"))?;
    let unfit = || format!("the format `{specification}` does not fit {}", value.kind());
    match value {
        Value::Text(text) => spec.of_text(text).ok_or_else(unfit),
        Value::Bool(value) => spec.of_whole(if *value { "1" } else { "0" }).ok_or_else(unfit),
        Value::Whole(digits) => spec.of_whole(digits).ok_or_else(unfit),
        Value::Float(value) => spec.of_float(*value).ok_or_else(unfit),
        _ => Err(unfit()),
    }
}

fn moment(time: &Zoned, zone: bool, letters: &str) -> Result<String, String> {
    // Python's %f has six digits; a local time that says no zone has no text for one.
    let mut wanted = String::new();
    let mut rest = letters.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            wanted.push(c);
            continue;
        }
        match rest.next() {
            Some('f') => wanted.push_str("%6f"),
            Some('z' | 'Z') if !zone => {}
            Some(letter) => {
                wanted.push('%');
                wanted.push(letter);
            }
            None => wanted.push_str("%%"),
        }
    }
    jiff::fmt::strtime::format(&wanted, time).map_err(|error| error.to_string())
}

#[derive(Debug, Default)]
struct Spec {
    fill: Option<char>,
    align: Option<char>,
    sign: Option<char>,
    alternate: bool,
    zeros: bool,
    width: usize,
    grouping: Option<char>,
    precision: Option<usize>,
    kind: Option<char>,
}

/// No width or precision of a path is larger.
const WIDEST: usize = 4096;

impl Spec {
    fn read(text: &str) -> Option<Self> {
        let chars: Vec<char> = text.chars().collect();
        let mut spec = Self::default();
        let mut at = 0;
        let aligns = |c: Option<&char>| c.copied().filter(|c| "<>=^".contains(*c));
        if let Some(align) = aligns(chars.get(1)) {
            spec.fill = chars.first().copied();
            spec.align = Some(align);
            at = 2;
        } else if let Some(align) = aligns(chars.first()) {
            spec.align = Some(align);
            at = 1;
        }
        let take = |at: &mut usize, wanted: &str| {
            let found = chars.get(*at).copied().filter(|c| wanted.contains(*c));
            *at += usize::from(found.is_some());
            found
        };
        spec.sign = take(&mut at, "+- ");
        spec.alternate = take(&mut at, "#").is_some();
        spec.zeros = take(&mut at, "0").is_some();
        spec.width = digits(&chars, &mut at)?.unwrap_or(0);
        spec.grouping = take(&mut at, ",_");
        if take(&mut at, ".").is_some() {
            spec.precision = Some(digits(&chars, &mut at)??);
        }
        spec.kind = chars.get(at).copied();
        at += usize::from(spec.kind.is_some());
        (at == chars.len()).then_some(spec)
    }

    fn of_text(&self, text: &str) -> Option<String> {
        if !matches!(self.kind, None | Some('s'))
            || self.sign.is_some()
            || self.alternate
            || self.grouping.is_some()
            || self.align == Some('=')
        {
            return None;
        }
        let cut: String = match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text.to_owned(),
        };
        Some(self.pad("", &cut, '<'))
    }

    fn of_whole(&self, digits: &str) -> Option<String> {
        let (negative, digits) = match digits.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        let (body, prefix, group) = match self.kind {
            None | Some('d' | 'n') if self.kind != Some('n') || self.grouping.is_none() => (digits.to_owned(), "", 3),
            Some(kind @ ('b' | 'o' | 'x' | 'X')) => {
                let value: u128 = digits.parse().ok()?;
                let (body, prefix) = match kind {
                    'b' => (format!("{value:b}"), "0b"),
                    'o' => (format!("{value:o}"), "0o"),
                    'x' => (format!("{value:x}"), "0x"),
                    _ => (format!("{value:X}"), "0X"),
                };
                if self.grouping == Some(',') {
                    return None;
                }
                (body, if self.alternate { prefix } else { "" }, 4)
            }
            Some('c') if self.sign.is_none() && self.grouping.is_none() && self.precision.is_none() && !negative => {
                let c = char::from_u32(digits.parse().ok()?)?;
                return Some(self.pad("", &c.to_string(), '<'));
            }
            Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%') => {
                let value: f64 = digits.parse().ok()?;
                return self.of_float(if negative { -value } else { value });
            }
            _ => return None,
        };
        if self.precision.is_some() {
            return None;
        }
        Some(self.number(negative, prefix, &body, "", group))
    }

    fn of_float(&self, value: f64) -> Option<String> {
        let kind = self.kind;
        if !matches!(kind, None | Some('e' | 'E' | 'f' | 'F' | 'g' | 'G' | 'n' | '%'))
            || (kind == Some('n') && self.grouping.is_some())
        {
            return None;
        }
        let negative = value.is_sign_negative() && !value.is_nan();
        let size = value.abs();
        let upper = matches!(kind, Some('E' | 'F' | 'G'));
        let mut body = if size.is_nan() {
            "nan".to_owned()
        } else if size.is_infinite() {
            "inf".to_owned()
        } else {
            let precision = self.precision.unwrap_or(6);
            match kind {
                Some('f' | 'F') => self.pointed(format!("{size:.precision$}")),
                Some('%') => self.pointed(format!("{:.precision$}", size * 100.0)),
                Some('e' | 'E') => self.exponent(&format!("{size:.precision$e}")),
                Some('g' | 'G' | 'n') => self.general(size, precision, false),
                _ => match self.precision {
                    Some(precision) => self.general(size, precision, true),
                    None => python_float(size),
                },
            }
        };
        if kind == Some('%') {
            body.push('%');
        }
        if upper {
            body = body.to_uppercase();
        }
        let split = body.find(|c: char| !c.is_ascii_digit()).unwrap_or(body.len());
        let (whole, rest) = body.split_at(split);
        Some(self.number(negative, "", whole, rest, 3))
    }

    /// `#` keeps the point.
    fn pointed(&self, text: String) -> String {
        if self.alternate && !text.contains('.') {
            return text + ".";
        }
        text
    }

    /// Rust's `1.5e-9` as Python's `1.5e-09`.
    fn exponent(&self, text: &str) -> String {
        let (digits, exponent) = text.split_once('e').unwrap_or((text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or(0);
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", self.pointed(digits.to_owned()), exponent.abs())
    }

    /// So many digits that count, plain or with an exponent, whichever suits; `point` keeps one digit after the point, as a
    /// precision without a type does.
    fn general(&self, value: f64, precision: usize, point: bool) -> String {
        let precision = precision.max(1);
        let scientific = format!("{value:.*e}", precision - 1);
        let exponent: i32 = scientific
            .split_once('e')
            .and_then(|(_, exponent)| exponent.parse().ok())
            .unwrap_or(0);
        let most = i32::try_from(precision).unwrap_or(i32::MAX);
        let plain = (-4..if point { most - 1 } else { most }).contains(&exponent);
        let trimmed = |text: &str| -> String {
            if self.alternate || !text.contains('.') {
                return text.to_owned();
            }
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        };
        if plain {
            let decimals = usize::try_from(most - 1 - exponent).unwrap_or(0);
            let text = self.pointed(trimmed(&format!("{value:.decimals$}")));
            if point && !text.contains('.') {
                return text + ".0";
            }
            return text;
        }
        let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        self.exponent(&format!("{}e{exponent}", trimmed(digits)))
    }

    /// Sign, prefix, grouped digits and the rest, padded.
    fn number(&self, negative: bool, prefix: &str, whole: &str, rest: &str, group: usize) -> String {
        let sign = match self.sign {
            _ if negative => "-",
            Some('+') => "+",
            Some(' ') => " ",
            _ => "",
        };
        let lead = format!("{sign}{prefix}");
        let inside = self.align == Some('=') || (self.zeros && self.align.is_none());
        let zeros = inside && self.fill.unwrap_or(if self.zeros { '0' } else { ' ' }) == '0';
        let body = match self.grouping {
            Some(separator) if !whole.is_empty() => {
                // Zeros that fill are grouped too.
                let room = self.width.saturating_sub(lead.len() + rest.chars().count());
                let mut whole = whole.to_owned();
                let mut out = grouped(&whole, group, separator);
                while zeros && out.len() < room {
                    whole.insert(0, '0');
                    out = grouped(&whole, group, separator);
                }
                out + rest
            }
            _ => format!("{whole}{rest}"),
        };
        self.pad(&lead, &body, '>')
    }

    fn pad(&self, lead: &str, body: &str, default: char) -> String {
        let width = lead.chars().count() + body.chars().count();
        let missing = self.width.saturating_sub(width);
        let fill = self.fill.unwrap_or(if self.zeros { '0' } else { ' ' });
        let align = self
            .align
            .unwrap_or(if self.zeros && default == '>' { '=' } else { default });
        let (before, inside, after) = match align {
            '<' => (0, 0, missing),
            '^' => (missing / 2, 0, missing - missing / 2),
            '=' => (0, missing, 0),
            _ => (missing, 0, 0),
        };
        let fill = |count: usize| fill.to_string().repeat(count);
        format!("{}{lead}{}{body}{}", fill(before), fill(inside), fill(after))
    }
}

fn grouped(digits: &str, size: usize, separator: char) -> String {
    let mut out = String::new();
    for (index, c) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(size) {
            out.push(separator);
        }
        out.push(c);
    }
    out
}

/// `None` for a number that is too large, `Some(None)` for no number.
fn digits(chars: &[char], at: &mut usize) -> Option<Option<usize>> {
    let start = *at;
    let mut value = 0_usize;
    while let Some(digit) = chars.get(*at).and_then(|c| c.to_digit(10)) {
        value = value * 10 + digit as usize;
        if value > WIDEST {
            return None;
        }
        *at += 1;
    }
    Some((*at > start).then_some(value))
}
