//! The flow as a picture.

use std::fmt::Write as _;

use crate::ansi::escape_html;
use crate::events::Status;
use crate::flow::Graph;
use crate::run::{RunResult, StepResult};

const WIDTH: usize = 190;
const HEIGHT: usize = 56;
const GAP: usize = 26;
/// Between rows there is room for lines that cross.
const ROW_GAP: usize = 40;
const PER_ROW: usize = 4;

/// Where each box stands.
struct Layout {
    places: Vec<(usize, usize)>,
    width: usize,
    height: usize,
    /// Steps run one after the other, in rows that are read like text.
    chain: bool,
}

/// An inline SVG: one box a notebook, coloured by its status, each a link to its section.
pub(super) fn flow(result: &RunResult) -> String {
    let needs = result.steps.iter().map(|step| step.needs.clone()).collect();
    let names: Vec<&str> = result.steps.iter().map(|step| step.name.as_str()).collect();
    // A result that was run has a graph; one made by hand may not.
    let Ok(graph) = Graph::new(needs, &names) else {
        return String::new();
    };
    let layout = Layout::of(&graph);
    let (width, height) = (layout.width, layout.height);
    let mut out = format!(
        "<svg class=\"flow\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" aria-label=\"the flow's notebooks\">"
    );
    out.push_str(
        "<defs><marker id=\"arrow\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" class=\"tip\"/></marker></defs>",
    );
    for step in 0..graph.len() {
        for need in graph.edges(step) {
            let path = layout.line(need, step);
            let _ = write!(out, "<path d=\"{path}\" class=\"line\" marker-end=\"url(#arrow)\"/>");
        }
    }
    for (index, step) in result.steps.iter().enumerate() {
        draw(&mut out, index, step, layout.places[index]);
    }
    out.push_str("</svg>");
    out
}

fn draw(out: &mut String, index: usize, step: &StepResult, (x, y): (usize, usize)) {
    let name = step.name.strip_suffix(".ipynb").unwrap_or(&step.name);
    let short: String = name.chars().take(24).collect();
    let time = if step.status == Status::Skipped {
        String::new()
    } else {
        super::duration(step.seconds)
    };
    let _ = write!(
        out,
        "<a href=\"#step-{index}\"><title>{}</title><rect x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\" \
         class=\"box {}\"/><text x=\"{}\" y=\"{}\">{}</text><text x=\"{}\" y=\"{}\" class=\"small\">{} {time}</text></a>",
        escape_html(&step.name),
        class(step.status),
        x + 12,
        y + 23,
        escape_html(&short),
        x + 12,
        y + 43,
        step.status.word(),
    );
}

impl Layout {
    fn of(graph: &Graph) -> Self {
        let count = graph.len();
        let chain = graph.order().windows(2).all(|pair| graph.edges(pair[1]) == [pair[0]]);
        if chain {
            let columns = count.clamp(1, PER_ROW);
            let rows = count.div_ceil(PER_ROW).max(1);
            let mut places = vec![(0, 0); count];
            for (position, step) in graph.order().iter().enumerate() {
                places[*step] = (
                    2 + position % PER_ROW * (WIDTH + GAP),
                    2 + position / PER_ROW * (HEIGHT + GAP),
                );
            }
            return Self {
                places,
                width: columns * (WIDTH + GAP) - GAP + 4,
                height: rows * (HEIGHT + GAP) - GAP + 4,
                chain,
            };
        }
        // A row for each rank, from top to bottom; in a row, steps stand below what they need.
        let ranks: Vec<usize> = (0..count).map(|step| graph.rank(step)).collect();
        let rows = ranks.iter().max().map_or(1, |rank| rank + 1);
        let mut table: Vec<Vec<usize>> = vec![Vec::new(); rows];
        let mut across = vec![0.0; count];
        for (rank, place) in table.iter_mut().enumerate() {
            let mut row: Vec<usize> = (0..count).filter(|step| ranks[*step] == rank).collect();
            let above = |step: usize| {
                let edges = graph.edges(step);
                edges.iter().map(|need| across[*need]).sum::<f64>() / edges.len().max(1) as f64
            };
            row.sort_by(|one, other| above(*one).total_cmp(&above(*other)));
            for (column, step) in row.iter().enumerate() {
                across[*step] = column as f64 - (row.len() as f64 - 1.0) / 2.0;
            }
            *place = row;
        }
        let columns = table.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let width = columns * (WIDTH + GAP) - GAP + 4;
        let mut places = vec![(0, 0); count];
        for (rank, row) in table.iter().enumerate() {
            let used = (row.len() * (WIDTH + GAP)).saturating_sub(GAP);
            for (column, step) in row.iter().enumerate() {
                places[*step] = (
                    (width - used) / 2 + column * (WIDTH + GAP),
                    2 + rank * (HEIGHT + ROW_GAP),
                );
            }
        }
        Self {
            places,
            width,
            height: rows * (HEIGHT + ROW_GAP) - ROW_GAP + 4,
            chain,
        }
    }

    fn line(&self, from: usize, to: usize) -> String {
        let ((x1, y1), (x2, y2)) = (self.places[from], self.places[to]);
        if self.chain && y1 == y2 {
            return format!("M{} {} H{}", x1 + WIDTH, y1 + HEIGHT / 2, x2 - 1);
        }
        let (x1, x2, y1) = (x1 + WIDTH / 2, x2 + WIDTH / 2, y1 + HEIGHT);
        if self.chain {
            // Down between the rows and back to the left.
            return format!("M{x1} {y1} V{} H{x2} V{}", y1 + GAP / 2, y2 - 1);
        }
        let middle = usize::midpoint(y1, y2);
        format!("M{x1} {y1} C{x1} {middle} {x2} {middle} {x2} {}", y2 - 1)
    }
}

/// The CSS class of a status.
pub(super) fn class(status: Status) -> &'static str {
    match status {
        Status::Completed | Status::DoneBefore => "good",
        Status::Pending | Status::Running | Status::Prepared | Status::Skipped => "idle",
        Status::Interrupted => "stopped",
        Status::Failed | Status::TimedOut | Status::KernelDied => "bad",
    }
}
