//! The one place that writes: text for people, one JSON document for programs.
//!
//! Results go to standard output, everything about the way there (progress, questions, errors) to standard error, so that a
//! pipe gets results only. Colours are always asked for and taken out again where nobody can see them.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Mutex, PoisonError};

use anstream::{AutoStream, ColorChoice};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, LineStyle, Table, TableStyle};
use serde::Serialize;

/// Version of the JSON documents' shape.
pub(crate) const SCHEMA: u32 = 1;

/// Where a command's results go.
pub(crate) struct Output {
    command: &'static str,
    json: bool,
    trouble: Mutex<Option<io::Error>>,
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: u32,
    command: &'a str,
    #[serde(flatten)]
    body: &'a T,
}

/// How a cell stands out where colours can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Note,
    Bad,
}

impl Output {
    pub(crate) fn new(command: &'static str, json: bool) -> Self {
        Self {
            command,
            json,
            trouble: Mutex::new(None),
        }
    }

    /// Whether a program reads along.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Text for people, a line or more; nothing where JSON is wanted.
    pub(crate) fn text(&self, text: &str) {
        if !self.json {
            self.write(&mut anstream::stdout().lock(), text.as_bytes(), true);
        }
    }

    /// The JSON document; nothing where text is wanted.
    pub(crate) fn document(&self, body: &impl Serialize) {
        if !self.json {
            return;
        }
        let document = Document {
            schema: SCHEMA,
            command: self.command,
            body,
        };
        match serde_json::to_string(&document) {
            Ok(text) => self.write(&mut io::stdout().lock(), text.as_bytes(), true),
            Err(error) => self.keep(error.into()),
        }
    }

    /// A line about the way to the result.
    pub(crate) fn note(&self, text: &str) {
        self.write(&mut anstream::stderr().lock(), text.as_bytes(), true);
    }

    /// A question, without an end of line.
    pub(crate) fn ask(&self, text: &str) {
        self.write(&mut anstream::stderr().lock(), text.as_bytes(), false);
    }

    /// Bytes as they came from a node, to standard output or standard error.
    pub(crate) fn bytes(&self, error: bool, bytes: &[u8]) {
        if error {
            self.write(&mut anstream::stderr().lock(), bytes, false);
        } else {
            self.write(&mut anstream::stdout().lock(), bytes, false);
        }
    }

    /// A table: lines and colours on a terminal, aligned columns in a pipe.
    pub(crate) fn table(&self, header: &[&str], rows: Vec<Vec<(String, Tone)>>) {
        if self.json {
            return;
        }
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        let colours = AutoStream::choice(&stdout) != ColorChoice::Never;
        self.text(&table(header, rows, terminal, colours));
    }

    /// What went wrong with writing. That a reader went away is nothing wrong.
    pub(crate) fn trouble(&self) -> Option<io::Error> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn write(&self, stream: &mut dyn Write, bytes: &[u8], end_of_line: bool) {
        let written = stream
            .write_all(bytes)
            .and_then(|()| if end_of_line { stream.write_all(b"\n") } else { Ok(()) })
            .and_then(|()| stream.flush());
        match written {
            // `clusterbook list | head` ends well.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => self.keep(error),
            Ok(()) => {}
        }
    }

    fn keep(&self, error: io::Error) {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(error);
    }
}

/// A cell in no colour.
pub(crate) fn plain(text: impl Into<String>) -> (String, Tone) {
    (text.into(), Tone::Plain)
}

/// "1 change", "2 changes".
pub(crate) fn count(number: usize, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        number => format!("{number} {one}s"),
    }
}

/// A time that a person has waited.
pub(crate) fn seconds(milliseconds: u64) -> String {
    format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100)
}

fn table(header: &[&str], rows: Vec<Vec<(String, Tone)>>, terminal: bool, colours: bool) -> String {
    let mut table = Table::new();
    // Whether there are colours is decided here and nowhere else.
    table.force_no_tty();
    if colours {
        table.enforce_styling();
    }
    table.load_style(if terminal {
        TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'))
    } else {
        TableStyle::new()
    });
    // Narrower than this is no width that anybody reads tables in.
    if terminal
        && let Ok(size) = rustix::termios::tcgetwinsize(io::stdout())
        && size.ws_col > 20
    {
        table.set_width(size.ws_col);
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    table.set_header(header.iter().map(|title| {
        let cell = Cell::new(title);
        if colours {
            cell.add_attribute(Attribute::Bold)
        } else {
            cell
        }
    }));
    for row in rows {
        table.add_row(row.into_iter().map(|(text, tone)| {
            // One row is one line, or `grep` and `awk` find half of it.
            let text = if terminal { text } else { text.replace('\n', " ") };
            let cell = Cell::new(text);
            match tone {
                Tone::Plain => cell,
                _ if !colours => cell,
                Tone::Good => cell.fg(Color::Green),
                Tone::Note => cell.fg(Color::Yellow),
                Tone::Bad => cell.fg(Color::Red),
            }
        }));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_pipe_a_row_is_a_line_and_columns_are_aligned() {
        let rows = vec![
            vec![plain("c1"), plain("running")],
            vec![plain("a-longer-name"), ("broken\nbadly".to_owned(), Tone::Bad)],
        ];
        assert_eq!(
            table(&["NODE", "STATE"], rows, false, false),
            "NODE           STATE\nc1             running\na-longer-name  broken badly"
        );
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        let rows = || vec![vec![("off".to_owned(), Tone::Bad)]];
        assert!(table(&["STATE"], rows(), false, true).contains('\u{1b}'));
        assert!(!table(&["STATE"], rows(), true, false).contains('\u{1b}'));
    }
}
