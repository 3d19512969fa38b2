//! Large texts without copies.
//!
//! One output can be larger than everything else in a run together. Its text is cut out of the message that brought it,
//! decoded and encoded in place, and written to the file from where it lies: it is in memory once.

use super::parse::{self, ParseError};
use super::{Json, Text};

/// Texts from this length on are worth it.
pub(super) const LARGE: usize = 256 * 1024;
/// Stands in the tree for the text that is cut out. No literal holds it: control characters are escaped in JSON.
pub(super) const PLACE: &str = "\u{0}";

/// Reads one JSON value; the longest large string in it keeps `text`'s own memory.
///
/// # Errors
/// When `text` is not JSON.
pub(crate) fn parse_owned(mut text: String) -> Result<Json, ParseError> {
    if text.len() < LARGE {
        return parse::parse(&text);
    }
    let (mut value, cut) = parse::parse_but_one(&text)?;
    if let Some((start, end)) = cut {
        text.truncate(end);
        text.drain(..start);
        let mut text = Some(text);
        place(&mut value, &mut text);
    }
    Ok(value)
}

fn place(value: &mut Json, text: &mut Option<String>) {
    match value {
        Json::String(at) if at.literal() == PLACE => {
            if let Some(literal) = text.take() {
                *at = Text::from_literal(literal);
            }
        }
        Json::Array(array) => array.items.iter_mut().for_each(|item| place(item, text)),
        Json::Object(object) => object.values_mut().for_each(|(_, value)| place(value, text)),
        _ => {}
    }
}

impl Text {
    /// [`Text::decode`] in the memory of the literal.
    pub(crate) fn into_decoded(self) -> String {
        let literal = self.into_literal();
        if literal.len() < LARGE {
            return parse::unescape(&literal).into_owned();
        }
        let mut bytes = literal.into_bytes();
        let (mut from, mut to) = (0, 0);
        // What an escape stands for is never longer than the escape.
        while let Some(length) = bytes[from..].iter().position(|byte| *byte == b'\\') {
            bytes.copy_within(from..from + length, to);
            (from, to) = (from + length, to + length);
            let escape = escape_length(&bytes[from..]);
            let meant = parse::unescape(&String::from_utf8_lossy(&bytes[from..from + escape])).into_owned();
            bytes[to..to + meant.len()].copy_from_slice(meant.as_bytes());
            (from, to) = (from + escape, to + meant.len());
        }
        let rest = bytes.len() - from;
        bytes.copy_within(from.., to);
        bytes.truncate(to + rest);
        String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
    }

    /// [`Text::new`] in the memory of the value.
    pub(crate) fn from_string(value: String) -> Self {
        if value.len() < LARGE {
            return Self::new(&value);
        }
        let longer: usize = value.bytes().map(|byte| super::write::escaped_length(byte) - 1).sum();
        if longer == 0 {
            return Self::from_literal(value);
        }
        let mut bytes = value.into_bytes();
        let (mut from, mut to) = (bytes.len(), bytes.len() + longer);
        bytes.resize(to, 0);
        // From the end, until nothing that follows has to move.
        while from < to {
            from -= 1;
            let byte = bytes[from];
            if super::write::escaped_length(byte) == 1 {
                to -= 1;
                bytes[to] = byte;
            } else {
                let escaped = super::write::escape(char::from(byte).encode_utf8(&mut [0; 4]));
                to -= escaped.len();
                bytes[to..to + escaped.len()].copy_from_slice(escaped.as_bytes());
            }
        }
        Self::from_literal(
            String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
        )
    }
}

/// How many bytes the escape at the start of `bytes` takes; a pair of surrogates is one.
fn escape_length(bytes: &[u8]) -> usize {
    let unit = |at: usize| {
        bytes
            .get(at..at + 6)
            .filter(|escape| escape.starts_with(b"\\u"))
            .and_then(|escape| std::str::from_utf8(&escape[2..]).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
    };
    match (unit(0), unit(6)) {
        (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
        (Some(_), _) => 6,
        (None, _) => 2.min(bytes.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::{LARGE, parse_owned};
    use crate::json::{Json, Text, parse};

    #[test]
    fn a_large_text_comes_out_as_a_small_one_would() {
        let filler = "é日x".repeat(LARGE / 4);
        for (literal, meant) in [
            ("", ""),
            ("\\n", "\n"),
            ("a\\\\\\\"b\\u00e9", "a\\\"bé"),
            ("\\ud83d\\ude00\\ud83d.", "😀\u{fffd}."),
            ("\\u0001\\t\\r", "\u{1}\t\r"),
        ] {
            for literal in [
                format!("{literal}{filler}"),
                format!("{filler}{literal}"),
                format!("{filler}{literal}{filler}"),
            ] {
                let text = format!("{{\"name\": \"stdout\", \"text\": \"{literal}\", \"more\": [\"{literal}x\", 1]}}");
                let value = parse_owned(text.clone()).unwrap();
                assert_eq!(value, parse(&text).unwrap());
                let decoded = Text::from_literal(literal.clone()).into_decoded();
                assert_eq!(decoded, Text::from_literal(literal).decode());
                assert!(decoded.contains(meant));
                assert_eq!(Text::from_string(decoded.clone()), Text::new(&decoded));
                let Json::Object(object) = value else { panic!() };
                assert_eq!(object.get("text").unwrap().as_str().unwrap(), decoded);
            }
        }
        assert!(parse_owned(format!("{{\"a\": \"{filler}")).is_err());
    }
}
