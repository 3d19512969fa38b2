//! Which parameters a notebook declares.
//!
//! A parameters cell is read as assignments at the start of a statement: for Python, enough of it to know where a
//! statement starts and ends (strings, brackets, comments, continued lines, magics), so that values over several lines,
//! annotated names and several names at once are seen. For the other languages one assignment per line is what people
//! write there.

use crate::notebook::Notebook;

/// One declared parameter.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Declared {
    /// Its name.
    pub name: String,
    /// Its type, where the cell or a comment says one.
    pub kind: Option<String>,
    /// Its default, as written, its lines put together.
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
    let mut found: Vec<Declared> = Vec::new();
    let mut add = |mut declared: Declared, comment: Option<&str>| {
        declared.help = comment.map(str::to_owned).filter(|help| !help.is_empty());
        if let Some(text) = comment.and_then(|comment| comment.strip_prefix("type:")) {
            let (kind, rest) = text.trim().split_once(char::is_whitespace).unwrap_or((text.trim(), ""));
            declared.kind.get_or_insert_with(|| kind.to_owned());
            declared.help = Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty());
        }
        match found.iter_mut().find(|earlier| earlier.name == declared.name) {
            Some(earlier) => *earlier = declared,
            None => found.push(declared),
        }
    };
    if language == "python" {
        for statement in Statements::of(&source) {
            for declared in python(&statement.code) {
                add(declared, statement.comment.as_deref());
            }
        }
    } else {
        for line in source.lines() {
            let (code, comment) = uncommented(line, &language);
            if let Some(declared) = assignment(code, &language) {
                add(declared, comment);
            }
        }
    }
    Some(found)
}

impl Declared {
    fn new(name: &str, kind: Option<&str>, default: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: kind.map(|kind| kind.trim().trim_matches(['"', '\'']).trim().to_owned()),
            default: default.trim().to_owned(),
            help: None,
        }
    }
}

/// Words that begin a statement which is no assignment, although it may look like an annotated one.
const NO_NAMES: &[&str] = &[
    "and", "as", "assert", "async", "await", "break", "class", "continue", "def", "del", "elif", "else", "except",
    "finally", "for", "from", "global", "if", "import", "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise",
    "return", "try", "while", "with", "yield", "None", "True", "False",
];

/// The name at the start of a text, and what follows it.
fn name(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let starts = name.chars().next().is_some_and(|c| !c.is_numeric());
    (starts && !NO_NAMES.contains(&name)).then(|| (name, rest.trim_start()))
}

/// What follows the `=` of an assignment at the start of a text.
fn assigned(text: &str) -> Option<&str> {
    text.strip_prefix('=').filter(|rest| !rest.starts_with('='))
}

/// `a = 1`, `a: int = 1`, `a = b = 1`, `a, b = 1, 2`.
fn python(code: &str) -> Vec<Declared> {
    // An indented line belongs to a block, and a block's names are no parameters.
    let Some((first, rest)) = name(code) else {
        return Vec::new();
    };
    if let Some(annotated) = rest.strip_prefix(':') {
        let parts = top_level(annotated, '=');
        return match parts.as_slice() {
            [_] | [] => Vec::new(),
            [kind, ..] => vec![Declared::new(first, Some(kind), &annotated[kind.len() + 1..])],
        };
    }
    if rest.starts_with(',') {
        return several(code);
    }
    let Some(mut value) = assigned(rest) else {
        return Vec::new();
    };
    let mut names = vec![first];
    while let Some((next, after)) = name(value.trim_start()).and_then(|(next, rest)| Some((next, assigned(rest)?))) {
        names.push(next);
        value = after;
    }
    names.into_iter().map(|name| Declared::new(name, None, value)).collect()
}

/// Names side by side; each gets its own value where there are as many.
fn several(code: &str) -> Vec<Declared> {
    let parts = top_level(code, '=');
    let [targets, ..] = parts.as_slice() else {
        return Vec::new();
    };
    let Some(value) = code.get(targets.len() + 1..) else {
        return Vec::new();
    };
    let names: Vec<&str> = top_level(targets, ',')
        .into_iter()
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect();
    let values = top_level(value, ',');
    names
        .iter()
        .enumerate()
        .filter(|(_, target)| name(target).is_some_and(|(_, rest)| rest.is_empty()))
        .map(|(index, target)| {
            let own = values.get(index).filter(|_| values.len() == names.len());
            Declared::new(target, None, own.copied().unwrap_or(value))
        })
        .collect()
}

/// Splits at a character outside of strings and brackets; a doubled one, or one of a comparison, is none.
fn top_level(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut depth = 0_usize;
    let (mut start, mut at) = (0, 0);
    while let Some(c) = text[at..].chars().next() {
        match c {
            '\'' | '"' => {
                at += string_end(&text[at..]);
                continue;
            }
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 => {
                let compares =
                    c == '=' && (text[at + 1..].starts_with('=') || text[..at].ends_with(['=', '!', '<', '>', ':']));
                if !compares {
                    parts.push(&text[start..at]);
                    start = at + 1;
                }
            }
            _ => {}
        }
        at += c.len_utf8();
    }
    parts.push(&text[start..]);
    parts
}

/// A logical line and the comment that ends it.
#[derive(Debug, Default)]
struct Statement {
    code: String,
    comment: Option<String>,
}

/// Python source as logical lines.
struct Statements<'a> {
    rest: &'a str,
    /// What stands before the next `;` belongs to a block.
    block: bool,
    done: bool,
}

impl<'a> Statements<'a> {
    fn of(source: &'a str) -> Self {
        Self {
            rest: source,
            block: false,
            done: false,
        }
    }

    /// Goes over blanks, and the line end where there is one, and says whether it was there.
    fn pass_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
    }
}

/// Words that begin a block, whose statements may stand on the same line.
const BLOCKS: &[&str] = &[
    "if", "elif", "else", "for", "while", "try", "except", "finally", "with", "def", "class", "async", "match", "case",
];

impl Iterator for Statements<'_> {
    type Item = Statement;

    fn next(&mut self) -> Option<Statement> {
        if self.done {
            return None;
        }
        let mut statement = Statement::default();
        let mut depth = 0_usize;
        loop {
            let Some(c) = self.rest.chars().next() else {
                self.done = true;
                break;
            };
            match c {
                // IPython's own lines: anything may stand there.
                '%' | '!' | '?' if statement.code.trim().is_empty() => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    self.rest = &self.rest[end..];
                    continue;
                }
                '\'' | '"' => {
                    let end = string_end(self.rest);
                    statement.code.push_str(&self.rest[..end]);
                    self.rest = &self.rest[end..];
                    continue;
                }
                '#' => {
                    let end = self.rest.find('\n').unwrap_or(self.rest.len());
                    statement.comment = Some(self.rest[1..end].trim().to_owned());
                    self.rest = &self.rest[end..];
                    continue;
                }
                '(' | '[' | '{' => depth += 1,
                ')' | ']' | '}' => depth = depth.saturating_sub(1),
                '\\' if self.rest[1..].trim_start_matches('\r').starts_with('\n') => {
                    self.rest = &self.rest[1..];
                    self.pass_blanks();
                    continue;
                }
                '\n' if depth > 0 => {
                    // Only the comment on the last line is about the whole.
                    statement.comment = None;
                    statement.code.truncate(statement.code.trim_end().len());
                    self.pass_blanks();
                    continue;
                }
                '\n' | ';' if depth == 0 => {
                    self.rest = &self.rest[1..];
                    let word = name_like(&statement.code);
                    let inside = self.block || statement.code.starts_with([' ', '\t']) || BLOCKS.contains(&word);
                    if std::mem::replace(&mut self.block, inside && c == ';') {
                        statement.code.clear();
                    }
                    if c == ';' {
                        self.rest = self.rest.trim_start_matches([' ', '\t']);
                    }
                    return Some(statement);
                }
                _ => {}
            }
            statement.code.push(c);
            self.rest = &self.rest[c.len_utf8()..];
        }
        if self.block {
            statement.code.clear();
        }
        Some(statement)
    }
}

fn name_like(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
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

/// A line without its comment, and the comment.
fn uncommented<'a>(line: &'a str, language: &str) -> (&'a str, Option<&'a str>) {
    let mark = match language {
        "scala" | "c#" | "f#" | "rust" => "//",
        "matlab" => "%",
        _ => "#",
    };
    let mut quote = None;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, _) if line[at..].starts_with(mark) => {
                return (line[..at].trim_end(), Some(line[at + mark.len()..].trim()));
            }
            _ => {}
        }
    }
    (line, None)
}

/// One assignment as the language writes it: `x <- 1`, `val x: Int = 1`, `$x = 1`, `int x = 1;`, `export x=1`.
fn assignment(line: &str, language: &str) -> Option<Declared> {
    if line.starts_with([' ', '\t']) {
        return None;
    }
    let line = line.trim_end().trim_end_matches(';');
    let words: &[&str] = match language {
        "rust" | "f#" => &["let"],
        "scala" => &["val", "var"],
        "bash" => &["export", "declare", "readonly"],
        "julia" => &["const", "global"],
        _ => &[],
    };
    let mut rest = line;
    let mut introduced = false;
    for word in words.iter().chain(&["mut", "mutable"]) {
        if let Some(after) = rest.strip_prefix(word).filter(|after| after.starts_with(' ')) {
            rest = after.trim_start();
            introduced = true;
        }
    }
    if !introduced && matches!(language, "rust" | "f#" | "scala") {
        return None;
    }
    let mut kind = None;
    if language == "powershell" {
        if let Some(after) = rest.strip_prefix('[') {
            let (named, after) = after.split_once(']')?;
            kind = Some(named);
            rest = after.trim_start();
        }
        rest = rest.strip_prefix('$')?;
    }
    let dotted = |c: char| c == '.' && language == "r";
    let end = |text: &str| {
        text.find(|c: char| !c.is_alphanumeric() && c != '_' && !dotted(c))
            .unwrap_or(text.len())
    };
    if language == "c#" {
        // The type, or `var`, stands before the name.
        let space = rest.find([' ', '\t'])?;
        kind = Some(&rest[..space]).filter(|kind| *kind != "var");
        rest = rest[space..].trim_start();
    }
    let (name, rest) = rest.split_at(end(rest));
    if name.is_empty() || name.starts_with(char::is_numeric) {
        return None;
    }
    let rest = rest.trim_start();
    let value = match language {
        "r" => rest
            .strip_prefix("<-")
            .or_else(|| rest.strip_prefix("<<-"))
            .or_else(|| assigned(rest))?,
        _ => match rest.strip_prefix("::").or_else(|| rest.strip_prefix(':')) {
            Some(annotated) => {
                let (named, value) = annotated.split_once('=')?;
                kind = Some(named);
                value
            }
            None => assigned(rest)?,
        },
    };
    Some(Declared::new(name, kind, value))
}
