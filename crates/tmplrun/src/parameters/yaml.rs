//! YAML as papermill's reader takes it: YAML 1.1's plain scalars, and dates that stay text.
//!
//! The parser is a crate's; what a plain scalar means is decided here, because that is where readers differ: `yes` is a
//! truth value, `010` is eight, `1:30` is ninety, and `1e5` is text.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use crate::json::{Json, Object};

/// Aliases repeat what they name; a small text must not fill the memory.
const MOST_NODES: usize = 1_000_000;

/// Why a text could not be read, and where.
#[derive(Debug)]
pub(super) struct YamlError {
    pub(super) message: String,
    pub(super) line: Option<usize>,
}

/// Reads the one document in `text`; nothing at all is null.
pub(super) fn read(text: &str) -> Result<Json, YamlError> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        line: 1,
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut content = text.lines().enumerate().skip_while(|(_, line)| line.trim().is_empty());
    if let Some((line, _)) = content.next().filter(|(_, line)| line.starts_with('\t')) {
        return Err(YamlError {
            message: "a tab indents nothing in YAML: write spaces".to_owned(),
            line: Some(line + 1),
        });
    }
    let mut document = None;
    loop {
        match reader.next()? {
            Some(Event::StreamEnd) | None => return Ok(document.unwrap_or(Json::Null)),
            Some(Event::DocumentStart(..)) if document.is_some() => {
                return Err(reader.wrong("there is a second document, and parameters are one"));
            }
            Some(Event::DocumentStart(..)) => {
                let first = reader.expect_node()?;
                document = Some(reader.node(first)?);
            }
            Some(_) => {}
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, granit_parser::StrInput<'a>>,
    line: usize,
    anchors: HashMap<usize, Json>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, message: impl Into<String>) -> YamlError {
        YamlError {
            message: message.into(),
            line: Some(self.line),
        }
    }

    /// The next event that is not a comment.
    fn next(&mut self) -> Result<Option<Event<'a>>, YamlError> {
        loop {
            match self.parser.next() {
                None => return Ok(None),
                Some(Ok((event, span))) => {
                    self.line = span.start.line();
                    if !matches!(event, Event::Comment(..)) {
                        return Ok(Some(event));
                    }
                }
                Some(Err(error)) => {
                    return Err(YamlError {
                        line: Some(error.marker().line()),
                        message: error.info(),
                    });
                }
            }
        }
    }

    fn expect_node(&mut self) -> Result<Event<'a>, YamlError> {
        match self.next()? {
            Some(event) => Ok(event),
            None => Err(self.wrong("the text ends in the middle of a value")),
        }
    }

    fn count(&mut self, nodes: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MOST_NODES {
            return Err(self.wrong("its aliases repeat more than can be read"));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>) -> Result<Json, YamlError> {
        self.count(1)?;
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, tag) => (anchor, self.scalar(&text, style, tag.as_deref())?),
            Event::SequenceStart(_, anchor, tag) => {
                self.plain_tag(tag.as_deref(), "seq")?;
                let mut items = Vec::new();
                loop {
                    match self.expect_node()? {
                        Event::SequenceEnd => break,
                        event => items.push(self.node(event)?),
                    }
                }
                (anchor, Json::from(items))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.plain_tag(tag.as_deref(), "map")?;
                (anchor, Json::Object(self.mapping()?))
            }
            Event::Alias(id) => {
                let value = self
                    .anchors
                    .get(&id)
                    .cloned()
                    .ok_or_else(|| self.wrong("an alias stands inside of what it names"))?;
                self.count(size(&value))?;
                return Ok(value);
            }
            _ => return Err(self.wrong("a value is missing")),
        };
        if anchor != 0 {
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    /// What is merged comes first and loses, as in Python's reader.
    fn mapping(&mut self) -> Result<Object, YamlError> {
        let mut merged = Object::new();
        let mut own = Vec::new();
        loop {
            let key = match self.expect_node()? {
                Event::MappingEnd => break,
                Event::Scalar(text, ScalarStyle::Plain, 0, None) if text == "<<" => {
                    let event = self.expect_node()?;
                    match self.node(event)? {
                        Json::Object(object) => super::merge(&mut merged, object),
                        Json::Array(array) => {
                            // The first mapping wins.
                            for item in array.items.into_iter().rev() {
                                let Json::Object(object) = item else {
                                    return Err(self.wrong("`<<` merges mappings only"));
                                };
                                super::merge(&mut merged, object);
                            }
                        }
                        _ => return Err(self.wrong("`<<` merges mappings only")),
                    }
                    continue;
                }
                event @ (Event::Scalar(..) | Event::Alias(_)) => self.node(event)?,
                _ => return Err(self.wrong("a key is a list or a mapping")),
            };
            let event = self.expect_node()?;
            own.push((self.key(&key)?, self.node(event)?));
        }
        for (key, value) in own {
            merged.set(&key, value);
        }
        Ok(merged)
    }

    /// The text that a key becomes where a name is needed: Python's.
    fn key(&self, key: &Json) -> Result<String, YamlError> {
        Ok(match key {
            Json::Null => "None".to_owned(),
            Json::Bool(true) => "True".to_owned(),
            Json::Bool(false) => "False".to_owned(),
            Json::Number(text) => match text.as_str() {
                "NaN" => "nan".to_owned(),
                "Infinity" => "inf".to_owned(),
                "-Infinity" => "-inf".to_owned(),
                text => text.to_owned(),
            },
            Json::String(text) => text.decode().into_owned(),
            Json::Array(_) | Json::Object(_) => return Err(self.wrong("a key is a list or a mapping")),
        })
    }

    fn plain_tag(&self, tag: Option<&Tag>, kind: &str) -> Result<(), YamlError> {
        match tag.and_then(core) {
            None if tag.is_none() => Ok(()),
            Some(named) if named == kind => Ok(()),
            _ => Err(self.unknown_tag(tag)),
        }
    }

    fn unknown_tag(&self, tag: Option<&Tag>) -> YamlError {
        let tag = tag.map(ToString::to_string).unwrap_or_default();
        self.wrong(format!("the tag `{tag}` makes no parameter"))
    }

    fn scalar(&self, text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Json, YamlError> {
        let number = |found: Option<Result<Json, String>>| match found {
            Some(found) => found.map_err(|message| self.wrong(message)),
            None => Err(self.wrong(format!("`{text}` is not what its tag says"))),
        };
        match tag.map(core) {
            None if style == ScalarStyle::Plain => match plain(text) {
                Ok(value) => Ok(value),
                Err(message) => Err(self.wrong(message)),
            },
            None | Some(Some("str")) => Ok(text.into()),
            Some(Some("null")) => Ok(Json::Null),
            Some(Some("bool")) => number(truth(&text.to_lowercase()).map(Ok)),
            Some(Some("int")) => number(whole(text)),
            Some(Some("float")) => number(
                fraction(text)
                    .or_else(|| text.parse().ok())
                    .map(|value| Ok(value.into())),
            ),
            Some(_) => Err(self.unknown_tag(tag)),
        }
    }
}

fn size(value: &Json) -> usize {
    1 + match value {
        Json::Array(array) => array.items.iter().map(size).sum(),
        Json::Object(object) => object.iter().map(|(_, value)| size(value)).sum(),
        _ => 0,
    }
}

/// The name of one of YAML's own tags.
fn core(tag: &Tag) -> Option<&str> {
    (tag.handle() == "tag:yaml.org,2002:").then(|| tag.suffix())
}

/// What a scalar without quotes and tag means.
fn plain(text: &str) -> Result<Json, String> {
    if matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        return Ok(Json::Null);
    }
    if let Some(value) = truth(text) {
        return Ok(value);
    }
    if let Some(value) = fraction(text) {
        return Ok(value.into());
    }
    whole(text).unwrap_or_else(|| Ok(text.into()))
}

fn truth(text: &str) -> Option<Json> {
    match text {
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Some(true.into()),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Some(false.into()),
        _ => None,
    }
}

fn signed(text: &str) -> (&str, &str) {
    match text.as_bytes().first() {
        Some(b'-') => ("-", &text[1..]),
        Some(b'+') => ("", &text[1..]),
        _ => ("", text),
    }
}

fn all(text: &str, allowed: fn(&u8) -> bool) -> bool {
    text.bytes().all(|byte| allowed(&byte) || byte == b'_')
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// A whole number in any of YAML 1.1's spellings; an error if it is one that is too large.
fn whole(text: &str) -> Option<Result<Json, String>> {
    let (minus, digits) = signed(text);
    let radix = |digits: &str, radix: u32| {
        let plain = digits.replace('_', "");
        if plain.is_empty() {
            return None;
        }
        Some(
            u128::from_str_radix(&plain, radix)
                .map(|value| number(minus, &value.to_string()))
                .map_err(|_| format!("`{text}` is too large")),
        )
    };
    if let Some(rest) = digits.strip_prefix("0b") {
        return all(rest, |byte| matches!(byte, b'0' | b'1')).then(|| radix(rest, 2))?;
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return all(rest, u8::is_ascii_hexdigit).then(|| radix(rest, 16))?;
    }
    if digits == "0" {
        return Some(Ok(number("", "0")));
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return all(rest, |byte| (b'0'..=b'7').contains(byte)).then(|| radix(digits, 8))?;
    }
    if !starts_with_digit(digits) {
        return None;
    }
    if let Some(parts) = sixties(digits) {
        let total = parts
            .into_iter()
            .try_fold(0_u128, |total, part| total.checked_mul(60)?.checked_add(part.into()));
        return Some(match total {
            Some(total) => Ok(number(minus, &total.to_string())),
            None => Err(format!("`{text}` is too large")),
        });
    }
    all(digits, u8::is_ascii_digit).then(|| Ok(number(minus, &digits.replace('_', ""))))
}

fn number(minus: &str, digits: &str) -> Json {
    if digits == "0" {
        return Json::Number("0".to_owned());
    }
    Json::Number(format!("{minus}{digits}"))
}

/// The parts of hours, minutes and seconds, all but the first at most 59.
fn sixties(text: &str) -> Option<Vec<u64>> {
    let (first, rest) = text.split_once(':')?;
    if !starts_with_digit(first) || !all(first, u8::is_ascii_digit) {
        return None;
    }
    let mut parts = vec![first.replace('_', "").parse().ok()?];
    for part in rest.split(':') {
        let short = (1..=2).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        parts.push(part.parse().ok().filter(|value| short && *value < 60)?);
    }
    Some(parts)
}

/// A number with a point: YAML 1.1 knows no other fraction, and wants a sign in an exponent.
fn fraction(text: &str) -> Option<f64> {
    let (minus, rest) = signed(text);
    let sign = if minus.is_empty() { 1.0 } else { -1.0 };
    match rest {
        ".inf" | ".Inf" | ".INF" => return Some(sign * f64::INFINITY),
        ".nan" | ".NaN" | ".NAN" if rest.len() == text.len() => return Some(f64::NAN),
        _ => {}
    }
    let (before, after) = rest.split_once('.')?;
    let signless = rest.len() == text.len();
    if before.is_empty() {
        if !signless || !starts_with_digit(after) {
            return None;
        }
    } else if !starts_with_digit(before) {
        return None;
    }
    if let Some(parts) = sixties(before) {
        let decimals = all(after, u8::is_ascii_digit).then(|| after.replace('_', ""))?;
        let seconds: f64 = format!("{}.{decimals}", parts.last()?).parse().ok()?;
        let above = parts[..parts.len() - 1]
            .iter()
            .fold(0.0, |total, part| total * 60.0 + *part as f64);
        return Some(sign * (above * 60.0 + seconds));
    }
    let (decimals, exponent) = match after.find(['e', 'E']) {
        Some(at) => (&after[..at], Some(&after[at + 1..])),
        None => (after, None),
    };
    if !all(before, u8::is_ascii_digit) || !all(decimals, u8::is_ascii_digit) {
        return None;
    }
    if let Some(exponent) = exponent {
        let digits = exponent.strip_prefix(['+', '-'])?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
    }
    let plain: Cow<'_, str> = rest.replace('_', "").into();
    plain.parse::<f64>().ok().map(|value| sign * value)
}
