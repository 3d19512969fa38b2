//! The forms in which a secret shows up.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};

/// A shorter encoded form would match innocent text.
const SHORTEST_ENCODED: usize = 6;
/// A shorter line of a many-line secret is not worth masking by itself.
const SHORTEST_LINE: usize = 8;

/// Every text to look for so that `value` is not shown.
pub(super) fn of(value: &[u8]) -> BTreeSet<String> {
    let mut forms = BTreeSet::new();
    let text = String::from_utf8_lossy(value);
    let trimmed = text.trim_matches(['\n', '\r']);
    if trimmed.trim().is_empty() {
        return forms;
    }
    let bytes = if text.len() == value.len() {
        trimmed.as_bytes()
    } else {
        value
    };
    if text.len() == value.len() {
        forms.insert(trimmed.to_owned());
        written(trimmed, &mut forms);
        // Keys are often printed line by line.
        if trimmed.contains('\n') {
            for line in trimmed
                .lines()
                .map(str::trim)
                .filter(|line| line.len() >= SHORTEST_LINE)
            {
                forms.insert(line.to_owned());
                written(line, &mut forms);
            }
        }
    }
    bytes_written(bytes, &mut forms);
    base64_forms(bytes, &mut forms);
    forms
}

fn add(forms: &mut BTreeSet<String>, form: String) {
    if form.len() >= SHORTEST_ENCODED {
        forms.insert(form);
    }
}

/// Source forms of a text: Python's `repr` and `ascii`, JSON, HTML, percent-encoding.
fn written(text: &str, forms: &mut BTreeSet<String>) {
    for quotes in ["", "'", "\""] {
        for ascii in [Ascii::No, Ascii::Python, Ascii::Json] {
            add(forms, escaped(text, quotes, ascii));
        }
    }
    let html = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    add(forms, html.replace('"', "&quot;").replace('\'', "&#x27;"));
    add(forms, html.replace('"', "&quot;").replace('\'', "&#39;"));
    add(forms, html);
    for safe in ["-._~", "-._~/"] {
        let mut percent = String::new();
        for byte in text.bytes() {
            if byte.is_ascii_alphanumeric() || safe.as_bytes().contains(&byte) {
                percent.push(char::from(byte));
            } else {
                let _ = write!(percent, "%{byte:02X}");
            }
        }
        add(forms, percent.replace("%20", "+"));
        add(forms, percent);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Ascii {
    No,
    Python,
    Json,
}

fn escaped(text: &str, quotes: &str, ascii: Ascii) -> String {
    let mut out = String::new();
    for c in text.chars() {
        let code = c as u32;
        let _ = match c {
            '\\' => write!(out, "\\\\"),
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            '\t' => write!(out, "\\t"),
            c if quotes.contains(c) => write!(out, "\\{c}"),
            _ if ascii == Ascii::Json && !(0x20..=0x7e).contains(&code) => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units)
                    .iter()
                    .try_for_each(|unit| write!(out, "\\u{unit:04x}"))
            }
            _ if code < 0x20 || code == 0x7f => write!(out, "\\x{code:02x}"),
            _ if ascii == Ascii::Python && code > 0x7f => match code {
                0..0x100 => write!(out, "\\x{code:02x}"),
                0x100..0x1_0000 => write!(out, "\\u{code:04x}"),
                _ => write!(out, "\\U{code:08x}"),
            },
            c => write!(out, "{c}"),
        };
    }
    out
}

/// Python's `repr` of bytes, and hexadecimal.
fn bytes_written(bytes: &[u8], forms: &mut BTreeSet<String>) {
    for quote in [None, Some(b'\'')] {
        let mut repr = String::new();
        for byte in bytes {
            let _ = match byte {
                b'\\' => write!(repr, "\\\\"),
                b'\n' => write!(repr, "\\n"),
                b'\r' => write!(repr, "\\r"),
                b'\t' => write!(repr, "\\t"),
                byte if Some(*byte) == quote => write!(repr, "\\'"),
                b' '..=b'~' => write!(repr, "{}", char::from(*byte)),
                byte => write!(repr, "\\x{byte:02x}"),
            };
        }
        add(forms, repr);
    }
    let hex: String = bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    add(forms, hex.to_uppercase());
    add(forms, hex);
}

/// Base64 of the secret, and of any text that holds it: where it starts within three bytes decides which characters
/// depend on the secret alone, and those are the form.
fn base64_forms(bytes: &[u8], forms: &mut BTreeSet<String>) {
    for engine in [STANDARD, URL_SAFE] {
        let whole = engine.encode(bytes);
        // Writers that wrap lines do so at 76 or 64 characters.
        for width in [76, 64] {
            let mut rest = whole.as_str();
            while rest.len() > width {
                add(forms, rest[..width].to_owned());
                rest = &rest[width..];
            }
            if rest.len() >= 16 {
                add(forms, rest.to_owned());
            }
        }
        add(forms, whole.trim_end_matches('=').to_owned());
        add(forms, whole);
        for shift in 0..3_usize {
            let mut shifted = vec![0; shift];
            shifted.extend_from_slice(bytes);
            let encoded = engine.encode(&shifted);
            let first = [0, 2, 3][shift];
            let last = shifted.len() * 8 / 6;
            if first < last {
                add(forms, encoded[first..last].to_owned());
            }
        }
    }
}
