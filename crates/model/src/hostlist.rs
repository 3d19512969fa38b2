//! Host name expressions as HPC people write them: `c[1-16]`, `gpu[01-03,7],login1`.
//!
//! Names come out in the order written, numerically inside brackets, so that growing a group by raising its number never
//! moves a name from one node to another. Zero padding is part of the name and is kept.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::ExpressionError;

/// The most names that one expression may stand for. A slip such as `c[1-999999999]` must be an error, not an attempt to
/// hold a billion strings.
pub const MOST_HOSTS: u64 = 1_000_000;

const HELP: &str = "write names like c[1-16] or c[01-08],gpu[1-4]";

/// All names of an expression.
pub fn expand(expression: &str) -> Result<Vec<String>, ExpressionError> {
    take(expression, usize::MAX)
}

/// The first `limit` names of an expression; fewer when it has fewer. The whole expression is checked, only the names that are asked for are
/// made.
pub fn take(expression: &str, limit: usize) -> Result<Vec<String>, ExpressionError> {
    let terms = parse(expression)?;
    let mut names = Vec::new();
    for term in &terms {
        if names.len() >= limit {
            break;
        }
        term.append(String::new(), 0, limit, &mut names);
    }
    Ok(names)
}

/// How many names an expression stands for, without making them.
pub fn count(expression: &str) -> Result<u64, ExpressionError> {
    Ok(parse(expression)?.iter().map(Term::count).sum())
}

/// The shortest expression for some names: duplicates go, numbers are sorted and joined into ranges.
///
/// Only the last number of a name is folded into brackets. Numbers with leading zeros are only joined with numbers of the same width, since
/// `c08` and `c8` are different hosts.
pub fn compress<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    // Keyed by what surrounds the number; the width separates c08 from c8. A width of zero means "as it is".
    let mut numbered: BTreeMap<(String, String, usize), BTreeSet<u64>> = BTreeMap::new();
    let mut plain = BTreeSet::new();
    for name in names {
        let name = name.as_ref();
        match split_last_number(name) {
            Some((before, digits, after)) => {
                let width = if digits.len() > 1 && digits.starts_with('0') {
                    digits.len()
                } else {
                    0
                };
                let Ok(number) = digits.parse() else {
                    plain.insert(name.to_owned());
                    continue;
                };
                numbered
                    .entry((before.to_owned(), after.to_owned(), width))
                    .or_default()
                    .insert(number);
            }
            None => {
                plain.insert(name.to_owned());
            }
        }
    }
    // c[08-10] reads as one range although c10 alone shows no padding: hand numbers that need no padding to reach the
    // width over to the padded set that they continue.
    let padded: Vec<_> = numbered.keys().filter(|key| key.2 > 0).cloned().collect();
    for key in padded {
        let unpadded_key = (key.0.clone(), key.1.clone(), 0);
        let Some(unpadded) = numbered.get_mut(&unpadded_key) else {
            continue;
        };
        let moved: Vec<u64> = unpadded
            .iter()
            .copied()
            .filter(|number| number.to_string().len() == key.2)
            .collect();
        for number in &moved {
            unpadded.remove(number);
        }
        if unpadded.is_empty() {
            numbered.remove(&unpadded_key);
        }
        if let Some(set) = numbered.get_mut(&key) {
            set.extend(moved);
        }
    }

    let mut terms: Vec<String> = plain.into_iter().collect();
    for ((before, after, width), numbers) in numbered {
        let ranges = ranges(&numbers);
        let shown: Vec<String> = ranges
            .iter()
            .map(|&(first, last)| {
                if first == last {
                    format!("{first:0width$}")
                } else {
                    format!("{first:0width$}-{last:0width$}")
                }
            })
            .collect();
        if numbers.len() == 1 {
            terms.push(format!("{before}{}{after}", shown.join(",")));
        } else {
            terms.push(format!("{before}[{}]{after}", shown.join(",")));
        }
    }
    terms.join(",")
}

fn ranges(numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
    let mut found: Vec<(u64, u64)> = Vec::new();
    for &number in numbers {
        match found.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => found.push((number, number)),
        }
    }
    found
}

fn split_last_number(name: &str) -> Option<(&str, &str, &str)> {
    let end = name.rfind(|character: char| character.is_ascii_digit())? + 1;
    let start = name[..end]
        .rfind(|character: char| !character.is_ascii_digit())
        .map_or(0, |position| position + 1);
    Some((&name[..start], &name[start..end], &name[end..]))
}

struct Term {
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    Numbers(Vec<Span>),
}

struct Span {
    first: u64,
    last: u64,
    width: usize,
}

impl Term {
    fn count(&self) -> u64 {
        self.parts
            .iter()
            .map(|part| match part {
                Part::Text(_) => 1,
                Part::Numbers(spans) => spans.iter().fold(0, |sum: u64, span| {
                    sum.saturating_add((span.last - span.first).saturating_add(1))
                }),
            })
            .fold(1, u64::saturating_mul)
    }

    fn append(&self, so_far: String, index: usize, limit: usize, names: &mut Vec<String>) {
        match self.parts.get(index) {
            None => names.push(so_far),
            Some(Part::Text(text)) => self.append(so_far + text, index + 1, limit, names),
            Some(Part::Numbers(spans)) => {
                for span in spans {
                    for number in span.first..=span.last {
                        if names.len() >= limit {
                            return;
                        }
                        let width = span.width;
                        self.append(format!("{so_far}{number:0width$}"), index + 1, limit, names);
                    }
                }
            }
        }
    }
}

fn parse(expression: &str) -> Result<Vec<Term>, ExpressionError> {
    if expression.trim().is_empty() {
        return Err(ExpressionError::new("no host names are given", HELP));
    }
    let mut terms = Vec::new();
    for text in split_outside_brackets(expression)? {
        let text = text.trim();
        if text.is_empty() {
            return Err(ExpressionError::new(
                format!("'{expression}' has a comma without a name next to it"),
                HELP,
            ));
        }
        terms.push(parse_term(text)?);
    }
    let count = terms.iter().map(Term::count).fold(0, u64::saturating_add);
    if count > MOST_HOSTS {
        return Err(ExpressionError::new(
            format!("'{expression}' stands for more than {MOST_HOSTS} names"),
            "write a smaller range",
        ));
    }
    Ok(terms)
}

fn split_outside_brackets(expression: &str) -> Result<Vec<&str>, ExpressionError> {
    let mut pieces = Vec::new();
    let mut start = 0;
    let mut inside = false;
    for (position, character) in expression.char_indices() {
        match character {
            '[' if inside => {
                return Err(ExpressionError::new(
                    format!("'{expression}' has a bracket inside brackets"),
                    HELP,
                ));
            }
            '[' => inside = true,
            ']' if !inside => {
                return Err(ExpressionError::new(
                    format!("'{expression}' closes a bracket that was not opened"),
                    HELP,
                ));
            }
            ']' => inside = false,
            ',' if !inside => {
                pieces.push(&expression[start..position]);
                start = position + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err(ExpressionError::new(
            format!("'{expression}' opens a bracket and does not close it"),
            HELP,
        ));
    }
    pieces.push(&expression[start..]);
    Ok(pieces)
}

fn parse_term(text: &str) -> Result<Term, ExpressionError> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            // The caller has seen that brackets match.
            let (inner, after) = after.split_once(']').unwrap_or((after, ""));
            parts.push(Part::Numbers(parse_spans(inner, text)?));
            rest = after;
        } else {
            let end = rest.find('[').unwrap_or(rest.len());
            let plain = &rest[..end];
            if let Some(bad) = plain
                .chars()
                .find(|character| !(character.is_ascii_alphanumeric() || "-._".contains(*character)))
            {
                return Err(ExpressionError::new(
                    format!("'{text}' holds {bad:?}, which can't be in a host name"),
                    HELP,
                ));
            }
            parts.push(Part::Text(plain.to_owned()));
            rest = &rest[end..];
        }
    }
    Ok(Term { parts })
}

fn parse_spans(inner: &str, term: &str) -> Result<Vec<Span>, ExpressionError> {
    inner
        .split(',')
        .map(|piece| {
            let piece = piece.trim();
            let (first_text, last_text) = piece.split_once('-').unwrap_or((piece, piece));
            let (first_text, last_text) = (first_text.trim(), last_text.trim());
            let (first, last) = (number(first_text, term)?, number(last_text, term)?);
            if first > last {
                return Err(ExpressionError::new(
                    format!("'{term}' counts down from {first} to {last}"),
                    format!("write [{last}-{first}]"),
                ));
            }
            let width = if first_text.len() > 1 && first_text.starts_with('0') {
                first_text.len()
            } else {
                0
            };
            Ok(Span { first, last, width })
        })
        .collect()
}

fn number(text: &str, term: &str) -> Result<u64, ExpressionError> {
    let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Eighteen digits hold far more than the bound above, and always fit.
    if !digits_only || text.len() > 18 {
        return Err(ExpressionError::new(
            format!("'{term}' has '{text}' in brackets where a number belongs"),
            HELP,
        ));
    }
    text.parse()
        .map_err(|_| ExpressionError::new(format!("'{text}' is not a number"), HELP))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn expands_in_numeric_order_and_keeps_padding() {
        assert_eq!(expand("c[8-11]").unwrap(), ["c8", "c9", "c10", "c11"]);
        assert_eq!(expand("c[01-03,7]").unwrap(), ["c01", "c02", "c03", "c7"]);
        assert_eq!(
            expand("r[1-2]n[08-09], login1").unwrap(),
            ["r1n08", "r1n09", "r2n08", "r2n09", "login1"]
        );
        assert_eq!(expand("a[1-2]-x").unwrap(), ["a1-x", "a2-x"]);
    }

    #[test]
    fn a_huge_range_is_an_error_and_not_memory() {
        for huge in ["c[1-999999999]", "a[1-1000]b[1-1000]c[1-1000]"] {
            let error = expand(huge).unwrap_err();
            assert!(error.message.contains("1000000"), "{error}");
        }
        assert_eq!(take("c[1-1000000]", 2).unwrap(), ["c1", "c2"]);
        assert_eq!(count("r[1-10]n[1-10],x").unwrap(), 101);
    }

    #[test]
    fn says_what_is_wrong() {
        let messages: Vec<String> = [
            "", "c[1-", "c]1", "c[[1]]", "c[3-1]", "c[]", "c[a]", "a,,b", "c 1", "c[1-2-3]",
        ]
        .iter()
        .map(|text| expand(text).unwrap_err().to_string())
        .collect();
        insta::assert_debug_snapshot!(messages);
    }

    #[test]
    fn compresses() {
        assert_eq!(compress(["c10", "c9", "c8", "c8"]), "c[8-10]");
        assert_eq!(compress(["c08", "c09", "c10", "c8"]), "c8,c[08-10]");
        assert_eq!(compress(["login", "c1"]), "login,c1");
        assert_eq!(compress(Vec::<String>::new()), "");
    }

    proptest! {
        #[test]
        fn compressing_loses_nothing(
            numbers in proptest::collection::btree_set(0u64..3000, 1..60),
            width in 0usize..5,
            before in "[a-z]{1,3}",
        ) {
            let names: BTreeSet<String> =
                numbers.iter().map(|number| format!("{before}{number:0width$}")).collect();
            let again: BTreeSet<String> = expand(&compress(&names)).unwrap().into_iter().collect();
            prop_assert_eq!(names, again);
        }

        #[test]
        fn no_text_panics(text in "[a-c0-9\\[\\],-]{0,24}") {
            if let Ok(names) = take(&text, 1000) {
                prop_assert!(names.len() as u64 <= count(&text).unwrap());
            }
        }
    }
}
