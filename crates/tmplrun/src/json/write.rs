//! Writing JSON in the style in which it was read.

use std::fmt::Write as _;
use std::io;

use super::{Json, Object};

/// The habits of one file: indent, separators, line ends, last newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Style {
    indent: Option<String>,
    item_separator: &'static str,
    key_separator: &'static str,
    newline: &'static str,
    trailing: String,
    mark: bool,
}

impl Style {
    /// One line, with Python's separators.
    #[must_use]
    pub fn compact() -> Self {
        Self {
            indent: None,
            item_separator: ", ",
            key_separator: ": ",
            newline: "\n",
            trailing: String::new(),
            mark: false,
        }
    }

    /// How Jupyter writes notebooks: one space, a newline at the end.
    #[must_use]
    pub fn notebook() -> Self {
        Self {
            indent: Some(" ".to_owned()),
            trailing: "\n".to_owned(),
            ..Self::compact()
        }
    }

    /// Reads the habits off a document whose outermost value is an object.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let body = text.trim_start_matches('\u{feff}');
        let mark = body.len() != text.len();
        let trailing = body[body.trim_end().len()..].to_owned();
        let open = body.trim_start().strip_prefix(['{', '[']).unwrap_or("");
        let space: String = open.chars().take_while(|c| c.is_ascii_whitespace()).collect();
        let mut style = Self {
            trailing,
            mark,
            ..Self::compact()
        };
        if let Some((before, indent)) = space.split_once('\n') {
            style.indent = Some(indent.rsplit('\n').next().unwrap_or("").to_owned());
            style.newline = if before.ends_with('\r') { "\r\n" } else { "\n" };
        }
        // The first key of a notebook never holds a quote, so this finds its own colon.
        let after_key = open
            .trim_start()
            .strip_prefix('"')
            .and_then(|rest| rest.split_once('"'))
            .map(|(_, rest)| rest);
        let after_colon = after_key.and_then(|rest| rest.strip_prefix(':'));
        if after_colon.is_some_and(|rest| !rest.starts_with([' ', '\t', '\n', '\r'])) {
            style.key_separator = ":";
            style.item_separator = ",";
        }
        style
    }

    /// The text of `value`.
    #[must_use]
    pub fn write(&self, value: &Json) -> String {
        let mut out = Out::default();
        self.document(&mut out, value);
        out.text
    }

    /// Writes the text of an object to `to`, without having all of it in memory.
    ///
    /// # Errors
    /// When `to` takes no more.
    pub(crate) fn write_to(&self, value: &Object, to: &mut dyn io::Write) -> io::Result<()> {
        let mut out = Out {
            to: Some(to),
            ..Out::default()
        };
        if self.mark {
            out.push('\u{feff}');
        }
        self.object(&mut out, value, 0, self.indent.is_none());
        out.push_str(&self.trailing);
        out.finish()
    }

    /// Writes `items` as an array on one line.
    ///
    /// # Errors
    /// When `to` takes no more.
    pub(super) fn write_items_to(&self, items: &[Json], to: &mut dyn io::Write) -> io::Result<()> {
        let mut out = Out {
            to: Some(to),
            ..Out::default()
        };
        out.push('[');
        for (index, item) in items.iter().enumerate() {
            self.between(&mut out, index, 0, true);
            self.value(&mut out, item, 1, true);
        }
        out.push(']');
        out.finish()
    }

    fn document(&self, out: &mut Out<'_>, value: &Json) {
        if self.mark {
            out.push('\u{feff}');
        }
        self.value(out, value, 0, self.indent.is_none());
        out.push_str(&self.trailing);
    }

    fn line(&self, out: &mut Out<'_>, depth: usize) {
        out.push_str(self.newline);
        for _ in 0..depth {
            out.push_str(self.indent.as_deref().unwrap_or(""));
        }
    }

    fn value(&self, out: &mut Out<'_>, value: &Json, depth: usize, inline: bool) {
        match value {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            Json::Number(text) => out.push_str(text),
            Json::String(text) => quoted(out, text.literal()),
            Json::Array(array) => {
                let inline = inline || array.inline;
                out.push('[');
                let mut index = 0;
                let read = array.each(|item| {
                    self.between(out, index, depth, inline);
                    self.value(out, item, depth + 1, inline);
                    index += 1;
                });
                if let Err(error) = read {
                    out.failed.get_or_insert(error);
                }
                if !inline && array.len() > 0 {
                    self.line(out, depth);
                }
                out.push(']');
            }
            Json::Object(object) => self.object(out, object, depth, inline),
        }
    }

    fn object(&self, out: &mut Out<'_>, Object { entries, inline: own }: &Object, depth: usize, inline: bool) {
        let inline = inline || *own;
        out.push('{');
        for (index, (key, item)) in entries.iter().enumerate() {
            self.between(out, index, depth, inline);
            quoted(out, key.literal());
            out.push_str(self.key_separator);
            self.value(out, item, depth + 1, inline);
        }
        if !inline && !entries.is_empty() {
            self.line(out, depth);
        }
        out.push('}');
    }

    fn between(&self, out: &mut Out<'_>, index: usize, depth: usize, inline: bool) {
        if index > 0 {
            out.push_str(if inline { self.item_separator } else { "," });
        }
        if !inline {
            self.line(out, depth + 1);
        }
    }
}

/// Text on its way: kept, or passed on in pieces.
#[derive(Default)]
struct Out<'a> {
    text: String,
    to: Option<&'a mut dyn io::Write>,
    failed: Option<io::Error>,
}

impl Out<'_> {
    /// So much is gathered before it is passed on.
    const PIECE: usize = 64 * 1024;

    fn push(&mut self, c: char) {
        self.text.push(c);
    }

    fn push_str(&mut self, text: &str) {
        if self.text.len() + text.len() > Self::PIECE && self.to.is_some() {
            self.pass_on(text);
        } else {
            self.text.push_str(text);
        }
    }

    fn pass_on(&mut self, more: &str) {
        if let (Some(to), None) = (&mut self.to, &self.failed) {
            self.failed = to
                .write_all(self.text.as_bytes())
                .and_then(|()| to.write_all(more.as_bytes()))
                .err();
        }
        self.text.clear();
    }

    fn finish(mut self) -> io::Result<()> {
        self.pass_on("");
        self.failed.map_or(Ok(()), Err)
    }
}

fn quoted(out: &mut Out<'_>, literal: &str) {
    out.push('"');
    out.push_str(literal);
    out.push('"');
}

/// How many bytes [`escape`] makes of one.
pub(super) fn escaped_length(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x8 | 0xc => 2,
        0..0x20 => 6,
        _ => 1,
    }
}

pub(super) fn escape(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

/// A double the way Python's `repr` and `json` write it.
pub(crate) fn python_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') {
            plain
        } else {
            format!("{plain}.0")
        };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}
