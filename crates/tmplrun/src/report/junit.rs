//! JUnit XML.

use std::fmt::Write as _;

use crate::ansi::{escape_html, strip};
use crate::events::Status;
use crate::run::{RunResult, StepResult};

pub(super) fn document(result: &RunResult) -> String {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites name=\"{}\" time=\"{:.3}\">",
        escape_html(&result.name),
        result.seconds
    );
    result.steps.iter().for_each(|step| suite(&mut out, step));
    out.push_str("</testsuites>\n");
    out
}

fn suite(out: &mut String, step: &StepResult) {
    let skipped = usize::from(matches!(step.status, Status::Skipped | Status::Prepared));
    // A notebook that could not be carried through, or ran no cell, is one case by itself.
    let alone = step.cells.is_empty() || step.error.is_some();
    let failures = step
        .cells
        .iter()
        .filter(|cell| step.failure.as_ref().is_some_and(|failure| failure.index == cell.index))
        .count();
    let errors = usize::from(step.error.is_some());
    let _ = writeln!(
        out,
        "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\" time=\"{:.3}\">",
        escape_html(&step.name),
        step.cells.len() + usize::from(alone),
        step.seconds
    );
    for cell in &step.cells {
        let heading = cell.heading.as_deref().unwrap_or("");
        let name = escape_html(format!("cell {} {heading}", cell.index + 1).trim());
        let _ = write!(
            out,
            "    <testcase classname=\"{}\" name=\"{name}\" time=\"{:.3}\"",
            escape_html(&step.name),
            cell.seconds
        );
        match step.failure.as_ref().filter(|failure| failure.index == cell.index) {
            Some(failure) => {
                let _ = writeln!(
                    out,
                    ">\n      <failure type=\"{}\" message=\"{}\">{}</failure>\n    </testcase>",
                    escape_html(&failure.name),
                    escape_html(&strip(&failure.value)),
                    escape_html(&strip(&failure.traceback.join("\n")))
                );
            }
            None => out.push_str("/>\n"),
        }
    }
    if alone {
        let name = escape_html(&step.name);
        let _ = write!(
            out,
            "    <testcase classname=\"{name}\" name=\"{name}\" time=\"{:.3}\">",
            step.seconds
        );
        if let Some(error) = &step.error {
            let _ = write!(out, "<error message=\"{}\"/>", escape_html(&error.to_string()));
        } else if skipped > 0 {
            out.push_str("<skipped/>");
        } else if step.status == Status::DoneBefore {
            out.push_str("<system-out>done before</system-out>");
        }
        out.push_str("</testcase>\n");
    }
    out.push_str("  </testsuite>\n");
}
