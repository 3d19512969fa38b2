//! What a document must be to be run, and where it is not.
//!
//! Only what running or writing depends on is looked at; the rest of the schema is nobody's business here, and what it does
//! not know is kept.

use crate::json::{Json, Object, Step};

/// Something of the wrong type.
pub(super) struct Fault {
    /// Where, from the outermost object inwards.
    pub(super) path: Vec<Step>,
    /// What is wrong.
    pub(super) message: String,
}

type Checked = Result<(), Fault>;

fn fault(path: &[Step], message: impl Into<String>) -> Checked {
    Err(Fault {
        path: path.to_vec(),
        message: message.into(),
    })
}

fn below(path: &[Step], step: impl Into<Step>) -> Vec<Step> {
    let mut path = path.to_vec();
    path.push(step.into());
    path
}

/// Checks a notebook of format 4.
pub(super) fn current(root: &Object) -> Checked {
    minor(root)?;
    metadata(root)?;
    let path = [Step::from("cells")];
    let Some(cells) = root.get("cells") else {
        return fault(&[], "this notebook has no list of `cells`");
    };
    let Some(cells) = cells.as_array() else {
        return fault(&path, "this notebook has no list of `cells`: it is something else");
    };
    for (index, value) in cells.iter().enumerate() {
        let path = below(&path, index);
        let cell = cell(value, index + 1, &path, "source")?;
        text(cell, "id", index + 1, &path)?;
        number_or_null(cell, "execution_count", index + 1, &path)?;
    }
    Ok(())
}

/// Checks a notebook of format 3, whose cells stand on worksheets.
pub(super) fn old(root: &Object) -> Checked {
    minor(root)?;
    metadata(root)?;
    let path = [Step::from("worksheets")];
    let Some(sheets) = root.get("worksheets") else {
        return Ok(());
    };
    let Some(sheets) = sheets.as_array() else {
        return fault(&path, "`worksheets` is not a list");
    };
    let mut number = 0;
    for (index, sheet) in sheets.iter().enumerate() {
        let path = below(&path, index);
        if sheet.as_object().is_none() {
            return fault(&path, format!("worksheet {} is not an object", index + 1));
        }
        let path = below(&path, "cells");
        let Some(cells) = sheet.get("cells").and_then(Json::as_array) else {
            return fault(&path, format!("worksheet {} has no list of `cells`", index + 1));
        };
        for (index, value) in cells.iter().enumerate() {
            number += 1;
            let path = below(&path, index);
            let cell = cell(value, number, &path, "source")?;
            joined(cell, "input", number, &path)?;
            number_or_null(cell, "prompt_number", number, &path)?;
            number_or_null(cell, "execution_count", number, &path)?;
        }
    }
    Ok(())
}

fn minor(root: &Object) -> Checked {
    match root.get("nbformat_minor") {
        None => Ok(()),
        Some(value) if value.as_i64().is_some_and(|minor| minor >= 0) => Ok(()),
        Some(_) => fault(&["nbformat_minor".into()], "`nbformat_minor` is not a whole number"),
    }
}

fn metadata(root: &Object) -> Checked {
    let path = [Step::from("metadata")];
    let Some(metadata) = root.get("metadata") else {
        return Ok(());
    };
    if metadata.as_object().is_none() {
        return fault(&path, "the notebook's `metadata` is not an object");
    }
    for (key, inner) in [
        ("kernelspec", ["name", "language"]),
        ("language_info", ["name", "name"]),
    ] {
        let Some(value) = metadata.get(key) else { continue };
        let path = below(&path, key);
        if value.as_object().is_none() {
            return fault(&path, format!("`metadata.{key}` is not an object"));
        }
        for inner in inner {
            if !matches!(value.get(inner), None | Some(Json::Null | Json::String(_))) {
                return fault(&below(&path, inner), format!("`metadata.{key}.{inner}` is not text"));
            }
        }
    }
    Ok(())
}

fn cell<'a>(value: &'a Json, number: usize, path: &[Step], source: &'static str) -> Result<&'a Object, Fault> {
    let refuse = |path: &[Step], message: String| Fault {
        path: path.to_vec(),
        message,
    };
    let Some(cell) = value.as_object() else {
        return Err(refuse(path, format!("cell {number} is not an object")));
    };
    match cell.get("cell_type") {
        Some(Json::String(_)) => {}
        None => return Err(refuse(path, format!("cell {number} has no `cell_type`"))),
        Some(_) => {
            let message = format!("cell {number}: `cell_type` is not text");
            return Err(refuse(&below(path, "cell_type"), message));
        }
    }
    joined(cell, source, number, path)?;
    let metadata = cell.get("metadata");
    let inner = below(path, "metadata");
    if metadata.is_some_and(|metadata| metadata.as_object().is_none()) {
        return Err(refuse(&inner, format!("cell {number}: `metadata` is not an object")));
    }
    if let Some(tags) = metadata.and_then(|metadata| metadata.get("tags")) {
        let texts = tags
            .as_array()
            .is_some_and(|tags| tags.iter().all(|tag| matches!(tag, Json::String(_))));
        if !texts {
            let message = format!("cell {number}: `metadata.tags` is not a list of texts");
            return Err(refuse(&below(&inner, "tags"), message));
        }
    }
    let Some(outputs) = cell.get("outputs") else {
        return Ok(cell);
    };
    let inner = below(path, "outputs");
    let Some(outputs) = outputs.as_array() else {
        return Err(refuse(&inner, format!("cell {number}: `outputs` is not a list")));
    };
    for (index, output) in outputs.iter().enumerate() {
        if !matches!(output.get("output_type"), Some(Json::String(_))) {
            let message = format!("cell {number}: output {} has no `output_type`", index + 1);
            return Err(refuse(&below(&inner, index), message));
        }
    }
    Ok(cell)
}

fn joined(cell: &Object, key: &'static str, number: usize, path: &[Step]) -> Checked {
    match cell.get(key) {
        Some(value) if value.joined().is_none() => {
            fault(&below(path, key), format!("cell {number}: `{key}` is not text"))
        }
        _ => Ok(()),
    }
}

fn text(cell: &Object, key: &'static str, number: usize, path: &[Step]) -> Checked {
    match cell.get(key) {
        None | Some(Json::String(_)) => Ok(()),
        Some(_) => fault(&below(path, key), format!("cell {number}: `{key}` is not text")),
    }
}

fn number_or_null(cell: &Object, key: &'static str, number: usize, path: &[Step]) -> Checked {
    match cell.get(key) {
        None | Some(Json::Null | Json::Number(_)) => Ok(()),
        Some(_) => fault(&below(path, key), format!("cell {number}: `{key}` is not a number")),
    }
}
