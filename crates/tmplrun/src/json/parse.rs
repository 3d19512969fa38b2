//! Reading JSON leniently, with a place for every fault.

use std::borrow::Cow;

use super::{Array, Json, Object, Text};

/// Deeper than any notebook, shallow enough for any stack.
const DEEPEST: usize = 256;

/// Where and why a text is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line}, column {column}")]
pub struct ParseError {
    /// What is wrong.
    pub message: String,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// The text ended too early, as a truncated file does.
    pub truncated: bool,
}

/// Reads one JSON value that fills `text`.
///
/// # Errors
/// When `text` is not JSON; Python's `NaN` and infinities are taken.
pub fn parse(text: &str) -> Result<Json, ParseError> {
    read(&mut Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        cut: None,
    })
}

/// Reads one JSON value, the first large string apart: a [`super::large::PLACE`] stands for it, and where it lies is told.
pub(super) fn parse_but_one(text: &str) -> Result<(Json, Option<(usize, usize)>), ParseError> {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        cut: Some(None),
    };
    Ok((read(&mut reader)?, reader.cut.flatten()))
}

fn read(reader: &mut Reader<'_>) -> Result<Json, ParseError> {
    reader.space();
    let value = reader.value(0)?;
    reader.space();
    if reader.at < reader.bytes.len() {
        return Err(reader.fault("something follows the end of the document"));
    }
    Ok(value)
}

/// One step from a value to one inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The value of an object's key.
    Key(String),
    /// An element of an array, from 0.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// The line and column, from 1, at which the value stands that `path` leads to, or the last one on the way that is there.
/// The text is read again for it: places are needed only when something is wrong.
#[must_use]
pub fn locate(text: &str, path: &[Step]) -> (usize, usize) {
    let mut reader = Reader {
        text,
        bytes: text.as_bytes(),
        at: 0,
        cut: None,
    };
    reader.space();
    for step in path {
        let here = reader.at;
        match reader.inside(step) {
            Some(at) => reader.at = at,
            None => {
                reader.at = here;
                break;
            }
        }
    }
    let fault = reader.fault("");
    (fault.line, fault.column)
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// Whether a large string is to be left out, and the one that was.
    cut: Option<Option<(usize, usize)>>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Skips white space; says whether a line ended in it.
    fn space(&mut self) -> bool {
        let mut newline = false;
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            newline |= byte == b'\n';
            self.at += 1;
        }
        newline
    }

    fn fault(&self, message: &str) -> ParseError {
        let mut at = self.at.min(self.bytes.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        let before = &self.text[..at];
        let truncated = at >= self.text.trim_end().len();
        ParseError {
            message: if truncated {
                "the text ends in the middle of a value".to_owned()
            } else {
                message.to_owned()
            },
            line: before.matches('\n').count() + 1,
            column: before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1,
            truncated,
        }
    }

    /// Where the value stands that `step` leads to from the value here.
    fn inside(&mut self, step: &Step) -> Option<usize> {
        let opening = self.peek()?;
        let mut found = None;
        let mut index = 0;
        self.at += 1;
        self.space();
        while !matches!(self.peek()?, b']' | b'}') {
            let hit = match (step, opening) {
                (Step::Key(key), b'{') => {
                    let name = self.string().ok()?;
                    self.space();
                    self.at += 1;
                    self.space();
                    name.decode() == key.as_str()
                }
                (Step::Index(wanted), b'[') => *wanted == index,
                _ => return None,
            };
            // Of a key that is there twice, the last one counts.
            if hit {
                found = Some(self.at);
            }
            self.value(0).ok()?;
            index += 1;
            self.space();
            if self.peek() == Some(b',') {
                self.at += 1;
                self.space();
            }
        }
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, ParseError> {
        if depth > DEEPEST {
            return Err(self.fault("values are nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Json::String(self.string()?)),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => {
                for (word, value) in [
                    ("true", Json::Bool(true)),
                    ("false", Json::Bool(false)),
                    ("null", Json::Null),
                    ("NaN", Json::Number("NaN".to_owned())),
                    ("Infinity", Json::Number("Infinity".to_owned())),
                ] {
                    if self.text[self.at..].starts_with(word) {
                        self.at += word.len();
                        return Ok(value);
                    }
                }
                Err(self.fault("a JSON value was expected"))
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, ParseError> {
        self.at += 1;
        let mut object = Object {
            entries: Vec::new(),
            inline: !self.space(),
        };
        if self.peek() == Some(b'}') {
            self.at += 1;
            // What is added to it later should look like the rest of the document.
            object.inline = false;
            return Ok(Json::Object(object));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err(self.fault("a quoted key was expected"));
            }
            let key = self.string()?;
            self.space();
            if self.peek() != Some(b':') {
                return Err(self.fault("a colon was expected after the key"));
            }
            self.at += 1;
            self.space();
            object.entries.push((key, self.value(depth + 1)?));
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(object));
                }
                _ => return Err(self.fault("a comma or a closing brace was expected")),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Json, ParseError> {
        self.at += 1;
        let mut array = Array {
            inline: !self.space(),
            ..Array::default()
        };
        if self.peek() == Some(b']') {
            self.at += 1;
            array.inline = false;
            return Ok(Json::Array(array));
        }
        loop {
            array.items.push(self.value(depth + 1)?);
            self.space();
            match self.peek() {
                Some(b',') => {
                    self.at += 1;
                    self.space();
                }
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(array));
                }
                _ => return Err(self.fault("a comma or a closing bracket was expected")),
            }
        }
    }

    fn string(&mut self) -> Result<Text, ParseError> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    if self.cut == Some(None) && self.at - start >= super::large::LARGE {
                        self.cut = Some(Some((start, self.at)));
                        self.at += 1;
                        return Ok(Text::from_literal(super::large::PLACE.to_owned()));
                    }
                    let literal = self.text[start..self.at].to_owned();
                    self.at += 1;
                    return Ok(Text::from_literal(literal));
                }
                Some(b'\\') => {
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                                    return Err(self.fault("four hexadecimal digits were expected after \\u"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.fault("this escape does not exist in JSON")),
                    }
                }
                Some(byte) if byte < 0x20 => {
                    return Err(self.fault("a control character stands in a string"));
                }
                Some(_) => self.at += 1,
                None => return Err(self.fault("a string is not closed")),
            }
        }
    }

    fn number(&mut self) -> Result<Json, ParseError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
            if self.text[self.at..].starts_with("Infinity") {
                self.at += "Infinity".len();
                return Ok(Json::Number("-Infinity".to_owned()));
            }
        }
        let leading = self.at;
        self.digits()?;
        if self.bytes[leading] == b'0' && self.at - leading > 1 {
            self.at = leading + 1;
            return Err(self.fault("a number starts with a zero"));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) -> Result<(), ParseError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at {
            Err(self.fault("a digit was expected"))
        } else {
            Ok(())
        }
    }
}

/// Decodes what stood between the quotes. Only literals that the reader or the writer made come here.
pub(super) fn unescape(literal: &str) -> Cow<'_, str> {
    if !literal.contains('\\') {
        return Cow::Borrowed(literal);
    }
    let mut out = String::with_capacity(literal.len());
    let mut rest = literal;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let escape = rest.as_bytes().get(at + 1).copied().unwrap_or(b'\\');
        rest = rest.get(at + 2..).unwrap_or("");
        match escape {
            b'n' => out.push('\n'),
            b't' => out.push('\t'),
            b'r' => out.push('\r'),
            b'b' => out.push('\u{8}'),
            b'f' => out.push('\u{c}'),
            b'u' => {
                let unit = code_unit(rest);
                rest = rest.get(4..).unwrap_or("");
                let pair = if (0xd800..0xdc00).contains(&unit) && rest.starts_with("\\u") {
                    Some(code_unit(&rest[2..])).filter(|low| (0xdc00..0xe000).contains(low))
                } else {
                    None
                };
                match pair {
                    Some(low) => {
                        rest = rest.get(6..).unwrap_or("");
                        let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                        out.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                    }
                    None => out.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER)),
                }
            }
            other => out.push(char::from(other)),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn code_unit(text: &str) -> u32 {
    text.get(..4)
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .unwrap_or(0xfffd)
}
