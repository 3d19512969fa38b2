//! Which parameters a notebook declares.
//!
//! A parameters cell is read as assignments at the start of a statement: enough Python to know where a statement starts
//! and ends (strings, brackets, comments, continued lines), so that values over several lines and annotated names are
//! seen. For the other languages one assignment per line is what people write there.

use crate::notebook::Notebook;

/// One declared parameter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its type, where the cell or a comment says one.
    pub kind: Option<String>,
    /// Its default, as written.
    pub default: String,
    /// The comment beside it.
    pub help: Option<String>,
}

/// What the cell tagged `parameters` declares; `None` if the notebook has no such cell.
#[must_use]
pub fn declared(notebook: &Notebook, language: &str) -> Option<Vec<Declared>> {
    let cell = notebook.cell(notebook.tagged("parameters")?)?;
    let source = cell.source();
    let language = language.to_lowercase();
    let statements = match language.as_str() {
        "python" => python_statements(&source),
        _ => source.lines().map(|line| (line.to_owned(), None)).collect(),
    };
    let mut found: Vec<Declared> = Vec::new();
    for (statement, help) in statements {
        let Some(mut declared) = assignment(&statement, &language) else {
            continue;
        };
        declared.help = help;
        if let Some(text) = declared.help.as_deref().and_then(|help| help.strip_prefix("type:")) {
            let (kind, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
            declared.kind.get_or_insert_with(|| kind.to_owned());
            declared.help = Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty());
        }
        match found.iter_mut().find(|earlier| earlier.name == declared.name) {
            Some(earlier) => *earlier = declared,
            None => found.push(declared),
        }
    }
    Some(found)
}

/// `name = value` or `name: type = value` in Python; `name <- value`, `name=value`, `let name: type = value;` elsewhere.
fn assignment(statement: &str, language: &str) -> Option<Declared> {
    // An indented line belongs to a block, and a block's names are no parameters.
    if statement.starts_with([' ', '\t']) {
        return None;
    }
    let statement = match language {
        "rust" => {
            let rest = statement.strip_prefix("let ")?;
            rest.strip_prefix("mut ")
                .unwrap_or(rest)
                .trim_end()
                .trim_end_matches(';')
        }
        "bash" => statement.strip_prefix("export ").unwrap_or(statement),
        _ => statement,
    };
    let name: String = statement
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_' || (*c == '.' && language == "r"))
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_numeric()) {
        return None;
    }
    let rest = statement[name.len()..].trim_start();
    let (kind, value) = if let Some(value) = rest.strip_prefix("<-").filter(|_| language == "r") {
        (None, value)
    } else if let Some(annotated) = rest.strip_prefix(':') {
        let (kind, value) = annotated.split_once('=')?;
        (Some(kind.trim().to_owned()), value)
    } else {
        (None, rest.strip_prefix('=').filter(|rest| !rest.starts_with('='))?)
    };
    Some(Declared {
        name,
        kind,
        default: value.trim().to_owned(),
        help: None,
    })
}

/// Splits Python source into logical lines, each with the comment that ends it.
fn python_statements(source: &str) -> Vec<(String, Option<String>)> {
    let mut statements = Vec::new();
    let mut current = String::new();
    let mut comment = None;
    let mut depth = 0_usize;
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        match c {
            '\'' | '"' => {
                let end = string_end(rest);
                current.push_str(&rest[..end]);
                rest = &rest[end..];
                continue;
            }
            '#' => {
                let end = rest.find('\n').unwrap_or(rest.len());
                comment = Some(rest[1..end].trim().to_owned());
                rest = &rest[end..];
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            '\\' if rest[1..].starts_with('\n') => {
                rest = &rest[2..];
                continue;
            }
            '\n' | ';' if depth == 0 => {
                statements.push((std::mem::take(&mut current), comment.take()));
                rest = if c == ';' {
                    rest[1..].trim_start_matches(' ')
                } else {
                    &rest[1..]
                };
                continue;
            }
            _ => {}
        }
        current.push(c);
        rest = &rest[c.len_utf8()..];
    }
    statements.push((current, comment));
    statements
}

/// Where the string literal at the start of `text` ends.
fn string_end(text: &str) -> usize {
    let quote = &text[..1];
    let triple = quote.repeat(3);
    let delimiter = if text.starts_with(&triple) {
        triple.as_str()
    } else {
        quote
    };
    let mut at = delimiter.len();
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with(delimiter) {
            return at + delimiter.len();
        }
        if rest.starts_with('\n') && delimiter.len() == 1 {
            return at;
        }
        let c = rest.chars().next().map_or(1, char::len_utf8);
        at += if rest.starts_with('\\') {
            c + rest[c..].chars().next().map_or(0, char::len_utf8)
        } else {
            c
        };
    }
    text.len()
}
