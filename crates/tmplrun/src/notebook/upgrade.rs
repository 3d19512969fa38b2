//! Format 3 becomes 4.5, as Jupyter's own upgrade has it.
//!
//! The `nbformat` crate has such an upgrade, which keeps only the keys that it knows: it loses the kernelspec, unknown
//! metadata and headings of several lines. So the document is changed where the formats differ, and the rest stays; the
//! tests hold the result against the crate's for what both keep.

use crate::json::{Json, Object};

/// Names of representations in format 3, and what they are called now.
const TYPES: &[(&str, &str)] = &[
    ("text", "text/plain"),
    ("html", "text/html"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("jpeg", "image/jpeg"),
    ("latex", "text/latex"),
    ("json", "application/json"),
    ("javascript", "application/javascript"),
];

/// What comes to stand deeper than it did must not stand deeper than what is read.
const DEEPEST: usize = 200;

/// Turns a checked document of format 3 into one of format 4.5.
pub(super) fn upgrade(root: &mut Object) {
    let mut cells = Vec::new();
    let mut sheets = Vec::new();
    if let Some(Json::Array(array)) = root.remove("worksheets") {
        for sheet in array.items {
            let Json::Object(mut sheet) = sheet else { continue };
            if let Some(Json::Array(own)) = sheet.remove("cells") {
                cells.extend(own.items);
            }
            if sheet
                .get("metadata")
                .and_then(Json::as_object)
                .is_some_and(Object::is_empty)
            {
                sheet.remove("metadata");
            }
            sheets.push(Json::from(sheet));
        }
    }
    cells.iter_mut().filter_map(Json::as_object_mut).for_each(cell);
    // Notes of programs to themselves, which are not written.
    root.remove("orig_nbformat");
    root.remove("orig_nbformat_minor");
    let metadata = root.object_mut("metadata");
    metadata.remove("name");
    metadata.remove("signature");
    // Format 4 has no worksheets; what was said about them is kept, if anything was.
    let said = sheets.iter().filter_map(Json::as_object).any(|sheet| !sheet.is_empty());
    if said && sheets.iter().all(|sheet| sheet.depth() < DEEPEST) {
        metadata.set("worksheets", Json::from(sheets));
    }
    root.set("cells", Json::from(cells));
    root.set("nbformat", 4_i64);
    root.set("nbformat_minor", 5_i64);
}

fn cell(cell: &mut Object) {
    cell.object_mut("metadata");
    cell.set("id", super::new_id());
    match cell.get("cell_type").and_then(Json::as_str).as_deref() {
        Some("code") => {
            cell.remove("language");
            if let Some(collapsed) = cell.remove("collapsed") {
                cell.object_mut("metadata").set("collapsed", collapsed);
            }
            if !cell.rename("input", "source") && cell.get("source").is_none() {
                cell.set("source", Json::from(Vec::new()));
            }
            rename_or(cell, "prompt_number", "execution_count", Json::Null);
            if cell.get("outputs").is_none() {
                cell.set("outputs", Json::from(Vec::new()));
            }
            let outputs = cell.get_mut("outputs").and_then(Json::as_array_mut);
            outputs
                .into_iter()
                .flatten()
                .filter_map(Json::as_object_mut)
                .for_each(output);
        }
        Some("heading") => {
            let level = cell.remove("level").and_then(|level| level.as_i64()).unwrap_or(1);
            let hashes = "#".repeat(usize::try_from(level).unwrap_or(1).clamp(1, 6));
            let text = cell.get("source").and_then(Json::joined).unwrap_or_default();
            let line = text.lines().collect::<Vec<_>>().join(" ");
            cell.set("source", format!("{hashes} {line}"));
            cell.set("cell_type", "markdown");
        }
        Some("html") => cell.set("cell_type", "markdown"),
        _ => {}
    }
}

fn output(output: &mut Object) {
    let kind = output
        .get("output_type")
        .and_then(Json::as_str)
        .unwrap_or_default()
        .into_owned();
    match kind.as_str() {
        "pyout" | "display_data" => {
            if kind == "pyout" {
                output.set("output_type", "execute_result");
                rename_or(output, "prompt_number", "execution_count", Json::Null);
            }
            let mut data = Object::new();
            for (key, value) in output.iter() {
                if !matches!(&*key, "output_type" | "execution_count" | "metadata") {
                    data.set(&key, value.clone());
                }
            }
            let names: Vec<String> = data.iter().map(|(key, _)| key.into_owned()).collect();
            for name in names {
                output.remove(&name);
            }
            current_types(&mut data);
            // It was text that held JSON; now it is JSON.
            if let Some(text) = data.get("application/json").and_then(Json::joined)
                && let Ok(value) = crate::json::parse(&text)
                && value.depth() < DEEPEST
            {
                data.set("application/json", value.restyled());
            }
            output.set("data", data);
            current_types(output.object_mut("metadata"));
        }
        "pyerr" => output.set("output_type", "error"),
        "stream" => rename_or(output, "stream", "name", "stdout"),
        _ => {}
    }
}

/// Gives a key its present name, or sets that to what it means when it is missing.
fn rename_or(object: &mut Object, old: &str, new: &str, missing: impl Into<Json>) {
    if !object.rename(old, new) {
        object.set(new, missing);
    }
}

fn current_types(bundle: &mut Object) {
    for (old, new) in TYPES {
        bundle.rename(old, new);
    }
}
