//! A notebook as the `nbformat` crate's types, for programs that work with those.
//!
//! The crate refuses or drops some of what notebooks hold. Everything that stands in its way is taken out of a copy first,
//! here and nowhere else, and each such place is named: the typed view is for reading, the document stays what it was.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use crate::error::{Error, ErrorKind, Result};
use crate::json::Json;

/// A typed copy of a notebook, and what it does not hold.
#[derive(Debug, Clone)]
pub struct Typed {
    /// The notebook, as format 4.5.
    pub notebook: nbformat::v4::Notebook,
    /// Where it differs from the document.
    pub adaptations: Vec<Adaptation>,
}

/// A place where the typed copy differs from the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adaptation {
    /// What was done.
    pub kind: AdaptationKind,
    /// Where, such as `cells[2].outputs[0]`.
    pub at: String,
}

/// What was done to a place that the types cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdaptationKind {
    /// Another minor format is given as 4.5.
    Format,
    /// A cell without an id, with a wrong one, or with another cell's has an id of its own.
    CellId,
    /// A result without a number has the number 0.
    ResultCount,
    /// A key that the types do not have is left out.
    UnknownKey,
    /// An output, a cell or a piece of metadata that does not fit is left out.
    LeftOut,
    /// A missing key has the value that it has by default.
    Filled,
    /// An author given as text is an object with a name.
    Author,
    /// A number that is no double, or that a double cannot hold exactly, is `null` or the nearest one.
    Number,
}

struct Adapter {
    made: Vec<Adaptation>,
}

pub(super) fn typed(root: &Json) -> Result<Typed> {
    let mut adapter = Adapter { made: Vec::new() };
    let mut value = adapter.value(root, "");
    adapter.notebook(&mut value);
    let notebook = serde_json::from_value(value)
        .map_err(|error| Error::new(ErrorKind::Yours, "this notebook does not fit nbformat's types").because(error))?;
    Ok(Typed {
        notebook,
        adaptations: adapter.made,
    })
}

impl Adapter {
    fn note(&mut self, kind: AdaptationKind, at: impl Into<String>) {
        self.made.push(Adaptation { kind, at: at.into() });
    }

    fn value(&mut self, json: &Json, at: &str) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => Value::Bool(*value),
            Json::Number(text) => self.number(text, at),
            Json::String(text) => Value::String(text.decode().into_owned()),
            Json::Array(array) => {
                let mut all = array.clone();
                all.unpack();
                let items = all.items.iter().enumerate();
                Value::Array(
                    items
                        .map(|(index, item)| self.value(item, &format!("{at}[{index}]")))
                        .collect(),
                )
            }
            Json::Object(object) => {
                let mut map = Map::new();
                for (key, item) in object.iter() {
                    let item = self.value(item, &join(at, &key));
                    map.insert(key.into_owned(), item);
                }
                Value::Object(map)
            }
        }
    }

    fn number(&mut self, text: &str, at: &str) -> Value {
        if let Ok(whole) = text.parse::<i64>() {
            return whole.into();
        }
        if let Ok(whole) = text.parse::<u64>() {
            return whole.into();
        }
        let double: Option<f64> = text.parse().ok().filter(|double: &f64| double.is_finite());
        if double.is_none() || !text.contains(['.', 'e', 'E']) {
            self.note(AdaptationKind::Number, at);
        }
        double.map_or(Value::Null, Value::from)
    }

    /// Leaves out every key but those of `known`.
    fn only(&mut self, map: &mut Map<String, Value>, known: &[&str], at: &str) {
        let unknown: Vec<String> = map
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            map.remove(&key);
            self.note(AdaptationKind::UnknownKey, join(at, &key));
        }
    }

    fn fill(&mut self, map: &mut Map<String, Value>, key: &str, value: Value, at: &str) {
        if !map.contains_key(key) {
            map.insert(key.to_owned(), value);
            self.note(AdaptationKind::Filled, join(at, key));
        }
    }

    fn notebook(&mut self, value: &mut Value) {
        let Some(root) = value.as_object_mut() else { return };
        self.only(root, &["cells", "metadata", "nbformat", "nbformat_minor"], "");
        if root.get("nbformat_minor").and_then(Value::as_i64) != Some(5) {
            root.insert("nbformat_minor".to_owned(), json!(5));
            self.note(AdaptationKind::Format, "nbformat_minor");
        }
        self.fill(root, "metadata", json!({}), "");
        if let Some(metadata) = root.get_mut("metadata").and_then(Value::as_object_mut) {
            self.metadata(metadata);
        }
        let Some(cells) = root.get_mut("cells").and_then(Value::as_array_mut) else {
            return;
        };
        let mut taken: HashSet<String> = HashSet::new();
        let mut kept = Vec::new();
        for (index, mut cell) in std::mem::take(cells).into_iter().enumerate() {
            let at = format!("cells[{index}]");
            if let Some(object) = cell.as_object_mut() {
                self.cell(object, index, &at, &mut taken);
            }
            match serde_json::from_value::<nbformat::v4::Cell>(cell.clone()) {
                Ok(_) => kept.push(cell),
                Err(_) => self.note(AdaptationKind::LeftOut, at),
            }
        }
        *cells = kept;
    }

    fn metadata(&mut self, metadata: &mut Map<String, Value>) {
        if let Some(spec) = metadata.get_mut("kernelspec").and_then(Value::as_object_mut) {
            let name = spec.get("name").cloned().unwrap_or_else(|| json!(""));
            self.fill(spec, "name", json!(""), "metadata.kernelspec");
            self.fill(spec, "display_name", name, "metadata.kernelspec");
        }
        if let Some(authors) = metadata.get_mut("authors").and_then(Value::as_array_mut) {
            for (index, author) in authors.iter_mut().enumerate() {
                if author.is_string() {
                    *author = json!({"name": author.clone()});
                    self.note(AdaptationKind::Author, format!("metadata.authors[{index}]"));
                }
            }
        }
        self.fitting::<nbformat::v4::Metadata>(metadata, "metadata");
    }

    /// Leaves out the keys whose values do not fit `T`, in which every key is optional.
    fn fitting<T: serde::de::DeserializeOwned>(&mut self, map: &mut Map<String, Value>, at: &str) {
        let misfits: Vec<String> = map
            .iter()
            .filter(|(key, value)| serde_json::from_value::<T>(json!({ key.as_str(): value })).is_err())
            .map(|(key, _)| key.clone())
            .collect();
        for key in misfits {
            map.remove(&key);
            self.note(AdaptationKind::LeftOut, join(at, &key));
        }
    }

    fn cell(&mut self, cell: &mut Map<String, Value>, index: usize, at: &str, taken: &mut HashSet<String>) {
        let common = ["cell_type", "id", "metadata", "source"];
        let own: &[&str] = match cell.get("cell_type").and_then(Value::as_str) {
            Some("code") => &["execution_count", "outputs"],
            Some("markdown") => &["attachments"],
            _ => &[],
        };
        self.only(cell, &[&common, own].concat(), at);
        self.fill(cell, "metadata", json!({}), at);
        self.fill(cell, "source", json!([]), at);
        if let Some(metadata) = cell.get_mut("metadata").and_then(Value::as_object_mut) {
            self.fitting::<nbformat::v4::CellMetadata>(metadata, &join(at, "metadata"));
        }
        let given = cell.get("id").and_then(Value::as_str).map(str::to_owned);
        let fits = |id: &String| nbformat::v4::CellId::new(id).is_ok() && !taken.contains(id);
        let id = given.filter(fits).unwrap_or_else(|| {
            self.note(AdaptationKind::CellId, join(at, "id"));
            let mut id = format!("cell-{index}");
            while taken.contains(&id) {
                id.push('-');
            }
            id
        });
        taken.insert(id.clone());
        cell.insert("id".to_owned(), Value::String(id));
        if own.contains(&"outputs") {
            self.code(cell, at);
        }
    }

    fn code(&mut self, cell: &mut Map<String, Value>, at: &str) {
        self.fill(cell, "execution_count", Value::Null, at);
        self.fill(cell, "outputs", json!([]), at);
        let Some(outputs) = cell.get_mut("outputs").and_then(Value::as_array_mut) else {
            return;
        };
        let mut kept = Vec::new();
        for (index, mut output) in std::mem::take(outputs).into_iter().enumerate() {
            let at = format!("{at}.outputs[{index}]");
            if let Some(object) = output.as_object_mut() {
                self.output(object, &at);
            }
            // The crate would leave it out as well, and write a warning to standard error.
            match serde_json::from_value::<nbformat::v4::Output>(output.clone()) {
                Ok(_) => kept.push(output),
                Err(_) => self.note(AdaptationKind::LeftOut, at),
            }
        }
        *outputs = kept;
    }

    fn output(&mut self, output: &mut Map<String, Value>, at: &str) {
        let own: &[&str] = match output.get("output_type").and_then(Value::as_str) {
            Some("stream") => &["name", "text"],
            Some("display_data") => &["data", "metadata"],
            Some("execute_result") => &["data", "execution_count", "metadata"],
            Some("error") => &["ename", "evalue", "traceback"],
            _ => return,
        };
        self.only(output, &[&["output_type"], own].concat(), at);
        if own.contains(&"metadata") {
            self.fill(output, "metadata", json!({}), at);
        }
        if own.contains(&"execution_count") && !output.get("execution_count").is_some_and(Value::is_u64) {
            output.insert("execution_count".to_owned(), json!(0));
            self.note(AdaptationKind::ResultCount, join(at, "execution_count"));
        }
    }
}

fn join(at: &str, key: &str) -> String {
    if at.is_empty() {
        key.to_owned()
    } else {
        format!("{at}.{key}")
    }
}
