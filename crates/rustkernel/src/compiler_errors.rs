//! Compile errors as evcxr's own kernel shows them: the cell's lines, with the places that the compiler means marked.

use evcxr::{CompilationError, Theme};

const RED: &str = "\u{1b}[91m";
const BLUE: &str = "\u{1b}[94m";
const BOLD: &str = "\u{1b}[1m";
const PLAIN: &str = "\u{1b}[0m";

/// The lines to show for one error in a cell.
pub(crate) fn traceback(error: &CompilationError, code: &str, number: u32) -> Vec<String> {
    if !error.is_from_user_code() {
        return vec![format!("{RED}{}{PLAIN}", error.message())];
    }
    let file = format!("command_{number}");
    if let Some(report) = error.build_report(file.clone(), code.to_owned(), Theme::Light) {
        let mut text = Vec::new();
        if report.write(ariadne::sources([(file, code)]), &mut text).is_ok() {
            return String::from_utf8_lossy(&text).lines().map(str::to_owned).collect();
        }
    }
    // evcxr draws no picture of cells with characters beyond ASCII.
    let mut lines = Vec::new();
    for message in error.spanned_messages() {
        lines.extend(message.lines.iter().cloned());
        match &message.span {
            Some(span) => {
                let before = " ".repeat(span.start_column.saturating_sub(1));
                let marks = "^".repeat(span.end_column.saturating_sub(span.start_column));
                lines.push(format!("{RED}{before}{marks}{PLAIN} {BLUE}{}{PLAIN}", message.label));
            }
            None => lines.push(message.label.clone()),
        }
    }
    lines.push(error.message());
    lines.extend(
        error
            .help()
            .into_iter()
            .map(|help| format!("{BOLD}help{PLAIN}: {help}")),
    );
    lines
}
