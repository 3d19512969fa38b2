//! What papermill's `-p` makes of a text: exactly `True`, `False` or `None`, else what Python's `int()` takes, else what
//! `float()` takes, else text.
//!
//! Python reads the digits of every script and a few more blanks than Rust.

use std::borrow::Cow;

use crate::json::Json;

/// Python reads no whole number of more digits than this from a text; it becomes a float.
const LONGEST: usize = 4300;

/// The zeros of Unicode's decimal digits outside ASCII; nine digits follow each.
const ZEROS: &[u32] = &[
    0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6, 0x0e50,
    0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50,
    0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0, 0x11136,
    0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50, 0x11da0,
    0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950, 0x1fbf0,
];

/// The value that papermill's `-p` makes of a text.
#[must_use]
pub fn typed(text: &str) -> Json {
    match text {
        "True" => return true.into(),
        "False" => return false.into(),
        "None" => return Json::Null,
        _ => {}
    }
    let plain = plain(text);
    if let Some(digits) = whole_number(&plain) {
        return Json::Number(digits);
    }
    match decimal(&plain) {
        Some(value) => value.into(),
        None => text.into(),
    }
}

/// The text without surrounding blanks, its digits in ASCII.
fn plain(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text.trim_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']));
    }
    let blank = |c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c);
    Cow::Owned(text.trim_matches(blank).chars().map(ascii_digit).collect())
}

fn ascii_digit(c: char) -> char {
    let code = c as u32;
    let after = ZEROS.partition_point(|zero| *zero <= code);
    after
        .checked_sub(1)
        .and_then(|at| code.checked_sub(*ZEROS.get(at)?))
        .and_then(|digit| char::from_digit(digit, 10))
        .unwrap_or(c)
}

/// What Python's `int()` takes, without its sign of plus, underscores and leading zeros.
fn whole_number(text: &str) -> Option<String> {
    let (minus, digits) = match text.as_bytes().first()? {
        b'-' => ("-", &text[1..]),
        b'+' => ("", &text[1..]),
        _ => ("", text),
    };
    let plain = without_underscores(digits)?;
    if plain.is_empty() || plain.len() > LONGEST || !plain.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(match plain.trim_start_matches('0') {
        "" => "0".to_owned(),
        plain => format!("{minus}{plain}"),
    })
}

fn decimal(text: &str) -> Option<f64> {
    without_underscores(text)?.parse().ok()
}

/// Python allows single underscores between digits and nowhere else.
fn without_underscores(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('_') {
        let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        if !digit(at.checked_sub(1)) || !digit(Some(at + 1)) {
            return None;
        }
    }
    Some(text.replace('_', ""))
}
