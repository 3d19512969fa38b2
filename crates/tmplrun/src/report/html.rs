//! The page for people.
//!
//! Rich outputs come from notebooks, so they are untrusted: HTML goes into a sandboxed frame without scripts, SVG into an
//! image, where scripts do not run either.

use std::fmt::Write as _;

use base64::Engine as _;

use super::picture::{class, flow};
use crate::ansi::{escape_html, strip, to_html};
use crate::json::Json;
use crate::notebook::{Cell, CellKind, Notebook};
use crate::run::{CellFailure, RunResult, StepResult};

const STYLE: &str = include_str!("report.css");
/// More of one text than this is cut: the executed notebook has it all.
const LONGEST_TEXT: usize = 200_000;

pub(super) fn page(result: &RunResult) -> String {
    let mut out = String::new();
    let name = escape_html(&result.name);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:; \
         frame-src 'self'\"><title>{name}: {}</title><style>{STYLE}</style></head><body>\
         <h1>{name} <span class=\"badge {}\">{}</span></h1>\
         <p class=\"facts\">started {} · took {} · run <code>{}</code></p>",
        result.status.word(),
        class(result.status),
        result.status.word(),
        escape_html(&result.started),
        super::duration(result.seconds),
        escape_html(&result.run),
    );
    for (index, step) in result.steps.iter().enumerate() {
        if let Some(failure) = &step.failure {
            failing_cell(&mut out, index, step, failure);
        }
        if let Some(error) = &step.error {
            let _ = write!(
                out,
                "<section class=\"failure\"><h2>{}</h2><pre>{}</pre></section>",
                escape_html(&step.name),
                escape_html(&error.to_string())
            );
        }
    }
    out.push_str(&flow(result));
    table(&mut out, result);
    if !result.left.is_empty() {
        out.push_str(
            "<h2>Processes still running</h2><p>They left their kernel's session, so they were left alone.</p><ul>",
        );
        for left in &result.left {
            let _ = write!(out, "<li><code>{} {}</code></li>", left.pid, escape_html(&left.command));
        }
        out.push_str("</ul>");
    }
    for (index, step) in result.steps.iter().enumerate() {
        if let Some(notebook) = &step.notebook {
            section(&mut out, index, step, notebook);
        }
    }
    out.push_str("</body></html>\n");
    out
}

fn failing_cell(out: &mut String, index: usize, step: &StepResult, failure: &CellFailure) {
    let count = failure
        .execution_count
        .map_or(String::new(), |count| format!(" In [{count}]"));
    let _ = write!(
        out,
        "<section class=\"failure\"><h2><a href=\"#step-{index}\">{}</a>{count}{}</h2><pre class=\"source\">{}</pre>\
         <p><strong>{}</strong>: {}</p><pre>{}</pre></section>",
        escape_html(&step.name_and_file()),
        failure
            .heading
            .as_deref()
            .map_or(String::new(), |heading| format!(" · {}", escape_html(heading))),
        escape_html(&failure.source),
        escape_html(&failure.name),
        escape_html(&strip(&failure.value)),
        to_html(&failure.traceback.join("\n")),
    );
}

fn table(out: &mut String, result: &RunResult) {
    out.push_str("<table><thead><tr><th>notebook</th><th>status</th><th>cells</th><th>time</th></tr></thead><tbody>");
    for (index, step) in result.steps.iter().enumerate() {
        let _ = write!(
            out,
            "<tr><td><a href=\"#step-{index}\">{}</a> {}</td><td><span class=\"badge {}\">{}</span></td>\
             <td>{}</td><td>{}</td></tr>",
            escape_html(&step.name),
            step.title.as_deref().map(escape_html).unwrap_or_default(),
            class(step.status),
            step.status.word(),
            step.cells.len(),
            super::duration(step.seconds),
        );
    }
    out.push_str("</tbody></table>");
}

fn section(out: &mut String, index: usize, step: &StepResult, notebook: &Notebook) {
    let _ = write!(
        out,
        "<section id=\"step-{index}\"><h2>{} <span class=\"badge {}\">{}</span></h2>",
        escape_html(&step.name_and_file()),
        class(step.status),
        step.status.word()
    );
    if let Some(kept) = &step.kernel {
        let _ = write!(
            out,
            "<p>Its kernel goes on: <code>jupyter console --existing {}</code></p>",
            escape_html(&kept.connection_file.display().to_string())
        );
    }
    if !step.parameters.is_empty() {
        out.push_str("<table class=\"parameters\">");
        for (name, value) in step.parameters.iter() {
            let value = value.to_compact();
            let _ = write!(
                out,
                "<tr><td>{}</td><td><code>{}</code></td></tr>",
                escape_html(&name),
                escape_html(&value)
            );
        }
        out.push_str("</table>");
    }
    for cell in notebook.cells() {
        match cell.kind() {
            CellKind::Markdown => markdown(out, &cell),
            CellKind::Code => code(out, &cell),
            CellKind::Other => {}
        }
    }
    out.push_str("</section>");
}

/// Headings as headings, the rest as text: enough to find one's way, without a Markdown engine.
fn markdown(out: &mut String, cell: &Cell<'_>) {
    if cell.has_tag("papermill-error-cell-tag") {
        return;
    }
    let source = cell.source();
    let mut paragraph = String::new();
    let flush = |out: &mut String, paragraph: &mut String| {
        if !paragraph.trim().is_empty() {
            let _ = write!(out, "<p class=\"text\">{}</p>", escape_html(paragraph.trim()));
        }
        paragraph.clear();
    };
    for line in source.lines() {
        let heading = line.trim_start_matches('#');
        if heading.len() < line.len() && heading.starts_with(' ') {
            flush(out, &mut paragraph);
            let level = (line.len() - heading.len() + 2).min(6);
            let _ = write!(out, "<h{level}>{}</h{level}>", escape_html(heading.trim()));
        } else if line.trim().is_empty() {
            flush(out, &mut paragraph);
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    flush(out, &mut paragraph);
}

fn code(out: &mut String, cell: &Cell<'_>) {
    let source = cell.source();
    if source.trim().is_empty() {
        return;
    }
    let entry = cell.metadata("papermill");
    let seconds = entry
        .and_then(|entry| entry.get("duration"))
        .and_then(|value| match value {
            Json::Number(text) => text.parse::<f64>().ok(),
            _ => None,
        });
    let status = entry.and_then(|entry| entry.text("status")).unwrap_or_default();
    let status_class = match &*status {
        "completed" => "good",
        "failed" => "bad",
        _ => "idle",
    };
    let hidden = cell
        .metadata("jupyter")
        .and_then(|jupyter| jupyter.get("source_hidden"))
        == Some(&Json::Bool(true));
    let _ = write!(
        out,
        "<div class=\"cell {status_class}\"><details{}><summary>In [{}] <span>{}</span></summary>\
         <pre class=\"source\">{}</pre></details>",
        if hidden { "" } else { " open" },
        cell.execution_count().map_or(" ".to_owned(), |count| count.to_string()),
        seconds.map(super::duration).unwrap_or_default(),
        escape_html(&source),
    );
    for output in cell.outputs().iter() {
        self::output(out, output);
    }
    out.push_str("</div>");
}

fn output(out: &mut String, output: &Json) {
    match output.text("output_type").as_deref() {
        Some("stream") => {
            let text = output.get("text").and_then(Json::joined).unwrap_or_default();
            let kind = output.text("name").unwrap_or_default();
            let _ = write!(
                out,
                "<pre class=\"out {}\">{}</pre>",
                escape_html(&kind),
                to_html(cut(&text))
            );
        }
        Some("error") => {
            let frames = output.get("traceback").and_then(Json::as_array).unwrap_or_default();
            let frames: Vec<_> = frames.iter().filter_map(Json::as_str).collect();
            let _ = write!(
                out,
                "<pre class=\"out error\">{}</pre>",
                to_html(cut(&frames.join("\n")))
            );
        }
        _ => rich(out, output),
    }
}

/// The richest form that can be shown without running anything.
fn rich(out: &mut String, output: &Json) {
    let Some(data) = output.get("data") else { return };
    let form = |mime: &str| data.get(mime).and_then(Json::joined);
    if let Some(html) = form("text/html") {
        let _ = write!(
            out,
            "<iframe sandbox class=\"out\" loading=\"lazy\" srcdoc=\"{}\"></iframe>",
            escape_html(&format!("<style>{}</style>{html}", include_str!("frame.css")))
        );
    } else if let Some(svg) = form("image/svg+xml") {
        let data = base64::engine::general_purpose::STANDARD.encode(svg.as_bytes());
        let _ = write!(
            out,
            "<img class=\"out\" alt=\"output\" src=\"data:image/svg+xml;base64,{data}\">"
        );
    } else if let Some((mime, image)) = ["image/png", "image/jpeg", "image/gif"]
        .iter()
        .find_map(|mime| Some((mime, form(mime)?)))
    {
        let image: String = image
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c))
            .collect();
        let _ = write!(
            out,
            "<img class=\"out\" alt=\"output\" src=\"data:{mime};base64,{image}\">"
        );
    } else if let Some(text) = form("text/markdown").or_else(|| form("text/plain")) {
        let _ = write!(out, "<pre class=\"out\">{}</pre>", to_html(cut(&text)));
    } else if let Some(object) = data.as_object() {
        for (mime, value) in object.iter() {
            let text = value.to_compact();
            let _ = write!(
                out,
                "<pre class=\"out\">{}: {}</pre>",
                escape_html(&mime),
                escape_html(cut(&text))
            );
        }
    }
}

fn cut(text: &str) -> &str {
    if text.len() <= LONGEST_TEXT {
        return text;
    }
    let mut end = LONGEST_TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
