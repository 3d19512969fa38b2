//! The flow as a picture.

use std::fmt::Write as _;

use crate::ansi::escape_html;
use crate::events::Status;
use crate::run::RunResult;

const WIDTH: usize = 190;
const HEIGHT: usize = 56;
const GAP: usize = 26;
const PER_ROW: usize = 4;

/// An inline SVG: one box a notebook, coloured by its status, each a link to its section.
pub(super) fn flow(result: &RunResult) -> String {
    let count = result.steps.len();
    let columns = count.clamp(1, PER_ROW);
    let rows = count.div_ceil(PER_ROW);
    let (width, height) = (columns * (WIDTH + GAP) - GAP + 4, rows * (HEIGHT + GAP) - GAP + 4);
    let mut out = format!(
        "<svg class=\"flow\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"the flow's notebooks\">"
    );
    out.push_str(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" class=\"tip\"/></marker></defs>",
    );
    let place = |index: usize| {
        (
            2 + index % PER_ROW * (WIDTH + GAP),
            2 + index / PER_ROW * (HEIGHT + GAP),
        )
    };
    for index in 1..count {
        let ((x1, y1), (x2, y2)) = (place(index - 1), place(index));
        let path = if y1 == y2 {
            format!("M{} {} H{}", x1 + WIDTH, y1 + HEIGHT / 2, x2 - 1)
        } else {
            // Down between the rows and back to the left.
            let middle = y1 + HEIGHT + GAP / 2;
            format!(
                "M{} {} V{middle} H{} V{}",
                x1 + WIDTH / 2,
                y1 + HEIGHT,
                x2 + WIDTH / 2,
                y2 - 1
            )
        };
        let _ = write!(out, "<path d=\"{path}\" class=\"line\" marker-end=\"url(#arrow)\"/>");
    }
    for (index, step) in result.steps.iter().enumerate() {
        let (x, y) = place(index);
        let name = step.name.strip_suffix(".ipynb").unwrap_or(&step.name);
        let short: String = name.chars().take(24).collect();
        let time = if step.status == Status::Skipped {
            String::new()
        } else {
            super::duration(step.seconds)
        };
        let _ = write!(
            out,
            "<a href=\"#step-{index}\"><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" \
             class=\"box {}\"/><text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" class=\"small\">{} {time}</text></a>",
            class(step.status),
            x + 12,
            y + 23,
            escape_html(&short),
            x + 12,
            y + 43,
            step.status.word(),
        );
    }
    out.push_str("</svg>");
    out
}

/// The CSS class of a status.
pub(super) fn class(status: Status) -> &'static str {
    match status {
        Status::Completed => "good",
        Status::Pending | Status::Skipped => "idle",
        Status::Interrupted => "stopped",
        Status::Failed | Status::TimedOut | Status::KernelDied => "bad",
    }
}
