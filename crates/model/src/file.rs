//! The design file: what a person edits and commits.
//!
//! Our own edits keep comments, order and every line that they don't concern. An edit is checked by reading the new text again: if anything but the edited
//! value differs, the edit is refused and the text stays as it was.

use std::fmt::Write as _;
use std::str::FromStr as _;

use serde_json::Value;
use yaml_edit::{Document, Mapping, Sequence, YamlNode};

use crate::error::nearest;
use crate::{Design, EditedFile, Faults, SCHEMA, User};

/// A design file's text and the design that it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesignFile {
    text: String,
    raw: Value,
    design: Design,
}

/// A design file that can't be read or edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The text is not YAML.
    #[error("line {line}, column {column}: {message}")]
    Syntax {
        /// Line, from one.
        line: u64,
        /// Column, from one.
        column: u64,
        /// What the YAML reader says.
        message: String,
    },
    /// The file does not say which version of the shape it is written in, or one that we don't know.
    #[error("{message}")]
    Schema {
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
    /// The design has faults.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// An edit that can't be made.
    #[error("{path}: {message}")]
    Edit {
        /// The path that was to be edited.
        path: String,
        /// What is wrong.
        message: String,
        /// What to do about it.
        help: String,
    },
}

impl DesignFile {
    /// A new file for a design, in an order in which it reads well.
    pub fn new(design: &Design) -> Self {
        let raw = to_value(design);
        let mut text = format!(
            "# The cluster {name}: what it should be. Edit it and plan again; nothing happens before an apply.\n",
            name = design.name
        );
        emit(&raw, 0, true, &mut text);
        Self {
            text,
            raw,
            design: design.clone(),
        }
    }

    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let raw = read(text)?;
        check_schema(&raw)?;
        let design = Design::from_parameters(&raw)?;
        Ok(Self {
            text: text.to_owned(),
            raw,
            design,
        })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The design.
    pub fn design(&self) -> &Design {
        &self.design
    }

    /// What has to change in a file of an older schema before [`Self::parse`] reads it, a line for a person each. Empty for a file of this schema; there is no
    /// older one yet.
    pub fn upgrade(text: &str) -> Result<Vec<String>, FileError> {
        check_schema(&read(text)?)?;
        Ok(Vec::new())
    }

    /// Changes one value. A path names list items by their name or index: `power`, `groups[compute].nodes`, `groups[0].features`.
    ///
    /// A value that the file leaves to its default is written into it. The design is checked again; on any error the file is as before.
    pub fn set(&mut self, path: &str, value: impl Into<Value>) -> Result<(), FileError> {
        let edit = self.locate(path)?;
        let value = edit.wrap(path, value.into())?;
        self.carry_out(
            path,
            &edit.place,
            |parent, step| match (parent, step) {
                (Parent::Mapping(mapping), Step::Key(key)) => set_in_mapping(&mapping, key, &value).then_some(()),
                (Parent::Sequence(sequence), Step::Index(index)) => {
                    set_in_sequence(&sequence, *index, &value).then_some(())
                }
                _ => None,
            },
            |raw| {
                put(raw, &edit.place, value.clone());
            },
        )
    }

    /// Adds a user at the end of the list.
    pub fn add_user(&mut self, user: &User) -> Result<(), FileError> {
        self.add_item("users", &format!("users[{}]", user.name), to_value(user))
    }

    /// Removes a user from the list. Comments stay: only a person knows what they were about.
    pub fn remove_user(&mut self, name: &str) -> Result<(), FileError> {
        let path = format!("users[{name}]");
        let known = || self.design.users.iter().map(|user| user.name.as_str());
        let Some(index) = known().position(|known| known == name) else {
            return Err(FileError::Edit {
                path,
                message: format!("there is no user '{name}'"),
                help: help(name, known()),
            });
        };
        self.remove_item("users", &path, index)
    }

    /// Puts an edited file into the list: in the place of the one with the same path and nodes, else at the end.
    pub fn set_file(&mut self, file: &EditedFile) -> Result<(), FileError> {
        let value = to_value(file);
        let same = |known: &EditedFile| known.path == file.path && known.nodes == file.nodes;
        let Some(index) = self.design.files.iter().position(same) else {
            return self.add_item("files", &format!("files[{}]", file.path), value);
        };
        if self.design.files[index] == *file {
            return Ok(());
        }
        // Key by key, so that comments beside the others stay; the whole item where its layout doesn't allow that.
        let mut edited = self.clone();
        let known = to_value(&self.design.files[index]);
        let by_key = value.as_object().into_iter().flatten().try_for_each(|(key, value)| {
            if known.get(key) == Some(value) {
                return Ok(());
            }
            edited.set(&format!("files[{index}].{key}"), value.clone())
        });
        match by_key {
            Ok(()) => {
                *self = edited;
                Ok(())
            }
            Err(FileError::Edit { .. }) => self.set(&format!("files[{index}]"), value),
            Err(error) => Err(error),
        }
    }

    /// Removes an edited file from the list; `nodes` says which one where several have the path.
    pub fn remove_file(&mut self, path: &str, nodes: Option<&[String]>) -> Result<(), FileError> {
        let place = format!("files[{path}]");
        let files = &self.design.files;
        let matches: Vec<usize> = (0..files.len())
            .filter(|&index| files[index].path == path && nodes.is_none_or(|nodes| files[index].nodes == nodes))
            .collect();
        match matches.as_slice() {
            [index] => self.remove_item("files", &place, *index),
            [] => Err(FileError::Edit {
                path: place,
                message: format!("the design has no file {path}"),
                help: help(path, files.iter().map(|file| file.path.as_str())),
            }),
            several => Err(FileError::Edit {
                path: place,
                message: format!("the design has {} files {path}", several.len()),
                help: format!(
                    "say which one by its nodes: {}",
                    several
                        .iter()
                        .map(|&index| files[index].nodes.join(", "))
                        .collect::<Vec<_>>()
                        .join("; ")
                ),
            }),
        }
    }

    /// Adds an item at the end of a list of the top level; `path` names it in errors.
    fn add_item(&mut self, list: &str, path: &str, item: Value) -> Result<(), FileError> {
        if self.raw.get(list).and_then(Value::as_array).is_none_or(Vec::is_empty) {
            return self.set(list, Value::Array(vec![item]));
        }
        let place = [Step::Key(list.to_owned())];
        self.carry_out(
            path,
            &place,
            |parent, _| {
                let Parent::Mapping(mapping) = parent else { return None };
                let node = block(&item)?;
                mapping.get_sequence(list)?.push(node);
                Some(())
            },
            |raw| {
                if let Some(items) = raw.get_mut(list).and_then(Value::as_array_mut) {
                    items.push(item.clone());
                }
            },
        )
    }

    /// Takes an item out of a list of the top level.
    fn remove_item(&mut self, list: &str, path: &str, index: usize) -> Result<(), FileError> {
        let count = self.raw.get(list).and_then(Value::as_array).map_or(0, Vec::len);
        if count == 1 {
            // Taking the last item out of a block list would leave a key without a value.
            return self.set(list, Value::Array(Vec::new()));
        }
        let place = [Step::Key(list.to_owned())];
        self.carry_out(
            path,
            &place,
            |parent, _| {
                let Parent::Mapping(mapping) = parent else { return None };
                mapping.get_sequence(list)?.remove(index).map(|_| ())
            },
            |raw| {
                if let Some(items) = raw.get_mut(list).and_then(Value::as_array_mut) {
                    items.remove(index);
                }
            },
        )
    }

    /// Applies `edit` to the text's tree at the parent of `place`, and `expected` to the raw values; the new text must then read
    /// as exactly those.
    fn carry_out(
        &mut self,
        path: &str,
        place: &[Step],
        edit: impl FnOnce(Parent, &Step) -> Option<()>,
        expected: impl FnOnce(&mut Value),
    ) -> Result<(), FileError> {
        let refused = |message: &str| FileError::Edit {
            path: path.to_owned(),
            message: message.to_owned(),
            help: "edit the file by hand".to_owned(),
        };
        let mut raw = self.raw.clone();
        expected(&mut raw);

        let document = Document::from_str(&self.text)
            .map_err(|_| refused("the file's layout can't be edited without changing other parts"))?;
        let (last, above) = place.split_last().ok_or_else(|| refused("there is nothing to edit"))?;
        descend(&document, above)
            .and_then(|parent| edit(parent, last))
            .ok_or_else(|| refused("the file's layout doesn't allow this edit"))?;
        let mut text = document.to_string();
        if self.text.ends_with('\n') && !text.ends_with('\n') {
            text.push('\n');
        }
        match read(&text) {
            Ok(again) if again == raw => {}
            _ => return Err(refused("the edit would change other parts of the file")),
        }
        let design = Design::from_parameters(&raw)?;
        *self = Self { text, raw, design };
        Ok(())
    }

    /// Finds where in the file `path` is written, or the nearest place above it when it is left to its default.
    fn locate(&self, path: &str) -> Result<Edit, FileError> {
        let wrong = |message: String, help: String| FileError::Edit {
            path: path.to_owned(),
            message,
            help,
        };
        let resolved = to_value(&self.design);
        let mut steps = Vec::new();
        let mut node = &resolved;
        for segment in parse_path(path).ok_or_else(|| {
            wrong(
                "this is not a path".to_owned(),
                "write one like groups[compute].nodes".to_owned(),
            )
        })? {
            let step = match (segment, node) {
                (Segment::Key(key), Value::Object(object)) => {
                    // Whatever key of slurm.conf is set, it may be new.
                    let open = steps == [Step::Key("slurm_conf".to_owned())];
                    if !open && !object.contains_key(key) {
                        let known = || object.keys().map(String::as_str);
                        return Err(wrong(
                            format!("there is no parameter '{key}'"),
                            match nearest(key, known()) {
                                Some(near) => format!("did you mean '{near}'?"),
                                None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                            },
                        ));
                    }
                    Step::Key(key.to_owned())
                }
                (Segment::Item(item), Value::Array(items)) => {
                    let names = || items.iter().filter_map(|item| item.get("name")?.as_str());
                    let index = names()
                        .position(|name| name == item)
                        .or_else(|| item.parse().ok().filter(|index| *index < items.len()));
                    Step::Index(index.ok_or_else(|| {
                        wrong(
                            format!("there is no item '{item}' in the list"),
                            match nearest(item, names()) {
                                Some(near) => format!("did you mean '{near}'?"),
                                None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
                            },
                        )
                    })?)
                }
                (Segment::Key(key), _) => {
                    return Err(wrong(
                        format!("'{key}' is asked of something that has no keys"),
                        "name a list's item in brackets".to_owned(),
                    ));
                }
                (Segment::Item(item), _) => {
                    return Err(wrong(
                        format!("'[{item}]' is asked of something that is no list"),
                        String::new(),
                    ));
                }
            };
            node = step.of(node).unwrap_or(&Value::Null);
            steps.push(step);
        }

        let mut written = &self.raw;
        let mut inside = &resolved;
        for (index, step) in steps.iter().enumerate() {
            let last = index + 1 == steps.len();
            let next = step.of(written).filter(|value| !value.is_null());
            inside = step.of(inside).unwrap_or(&Value::Null);
            match next {
                Some(next) => written = next,
                None if last => break,
                None => {
                    let (place, rest) = steps.split_at(index + 1);
                    return Ok(Edit {
                        place: place.to_vec(),
                        around: Some((inside.clone(), rest.to_vec())),
                    });
                }
            }
        }
        Ok(Edit {
            place: steps,
            around: None,
        })
    }
}

/// What to say about a name that isn't there.
fn help<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(wrong, known.clone()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => match known.collect::<Vec<_>>().as_slice() {
            [] => "there is none".to_owned(),
            known => format!("there are {}", known.join(", ")),
        },
    }
}

/// The difference between two texts in unified format; empty when there is none.
pub fn diff(old: &str, new: &str) -> String {
    similar::TextDiff::from_lines(old, new)
        .unified_diff()
        .context_radius(3)
        .to_string()
}

/// Where an edit is written.
struct Edit {
    place: Vec<Step>,
    /// What the file leaves to its default around the value: the whole part as resolved, and the way to the value inside it.
    around: Option<(Value, Vec<Step>)>,
}

impl Edit {
    fn wrap(&self, path: &str, value: Value) -> Result<Value, FileError> {
        if value.is_null() {
            return Err(FileError::Edit {
                path: path.to_owned(),
                message: "nothing is given to set".to_owned(),
                help: "give a value".to_owned(),
            });
        }
        Ok(match &self.around {
            None => value,
            Some((around, rest)) => {
                let mut whole = around.clone();
                put(&mut whole, rest, value);
                whole
            }
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    fn of<'a>(&self, value: &'a Value) -> Option<&'a Value> {
        match self {
            Self::Key(key) => value.get(key),
            Self::Index(index) => value.get(index),
        }
    }
}

enum Segment<'a> {
    Key(&'a str),
    Item(&'a str),
}

fn parse_path(path: &str) -> Option<Vec<Segment<'_>>> {
    let mut segments = Vec::new();
    for part in path.split('.') {
        let (key, mut rest) = match part.find('[') {
            Some(position) => part.split_at(position),
            None => (part, ""),
        };
        if key.is_empty() {
            return None;
        }
        segments.push(Segment::Key(key));
        while !rest.is_empty() {
            let (item, after) = rest.strip_prefix('[')?.split_once(']')?;
            segments.push(Segment::Item(item));
            rest = after;
        }
    }
    Some(segments)
}

fn put(value: &mut Value, place: &[Step], new: Value) {
    let Some((step, rest)) = place.split_first() else {
        *value = new;
        return;
    };
    match (step, value) {
        (Step::Key(key), Value::Object(object)) => {
            put(object.entry(key.clone()).or_insert(Value::Null), rest, new);
        }
        (Step::Index(index), Value::Array(items)) => {
            if let Some(item) = items.get_mut(*index) {
                put(item, rest, new);
            }
        }
        _ => {}
    }
}

enum Parent {
    Mapping(Mapping),
    Sequence(Sequence),
}

fn descend(document: &Document, place: &[Step]) -> Option<Parent> {
    let mut parent = Parent::Mapping(document.as_mapping()?);
    for step in place {
        let node: YamlNode = match (&parent, step) {
            (Parent::Mapping(mapping), Step::Key(key)) => mapping.get(key.as_str())?,
            (Parent::Sequence(sequence), Step::Index(index)) => sequence.get(*index)?,
            _ => return None,
        };
        parent = if let Some(mapping) = node.as_mapping() {
            Parent::Mapping(mapping.clone())
        } else {
            Parent::Sequence(node.as_sequence()?.clone())
        };
    }
    Some(parent)
}

fn set_in_mapping(mapping: &Mapping, key: &str, value: &Value) -> bool {
    match value {
        Value::Bool(flag) => mapping.set(key, *flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => mapping.set(key, number),
            None => return false,
        },
        Value::String(text) => mapping.set(key, text.as_str()),
        _ => match block(value) {
            Some(node) => mapping.set(key, node),
            None => return false,
        },
    };
    true
}

fn set_in_sequence(sequence: &Sequence, index: usize, value: &Value) -> bool {
    match value {
        Value::Bool(flag) => sequence.set(index, *flag),
        Value::Number(number) => match number.as_i64() {
            Some(number) => sequence.set(index, number),
            None => false,
        },
        Value::String(text) => sequence.set(index, text.as_str()),
        _ => match block(value) {
            Some(node) => sequence.set(index, node),
            None => false,
        },
    }
}

/// A mapping or list as a tree that can be put into another.
fn block(value: &Value) -> Option<YamlNode> {
    let mut text = String::new();
    match value {
        Value::Array(items) if on_one_line(items) => text = inline(value),
        Value::Object(inner) if inner.is_empty() => text = inline(value),
        _ => emit(value, 0, false, &mut text),
    }
    let document = Document::from_str(&text).ok()?;
    document
        .as_mapping()
        .map(YamlNode::Mapping)
        .or_else(|| document.as_sequence().map(YamlNode::Sequence))
}

fn to_value(value: &impl serde::Serialize) -> Value {
    // Plain structures with text keys always have a JSON form.
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// Writes block YAML: mappings and lists of mappings over several lines, short lists of words on one. `spaced` puts an empty line before each
/// part that spans lines.
fn emit(value: &Value, indent: usize, spaced: bool, out: &mut String) {
    let margin = " ".repeat(indent);
    match value {
        Value::Object(object) => {
            let mut after_block = false;
            for (key, value) in object {
                let key = scalar(key);
                if std::mem::take(&mut after_block) && spaced && fits_on_line(value) {
                    out.push('\n');
                }
                after_block = !fits_on_line(value);
                match value {
                    _ if !fits_on_line(value) => {
                        if spaced {
                            out.push('\n');
                        }
                        let _ = writeln!(out, "{margin}{key}:");
                        emit(value, indent + 2, false, out);
                    }
                    Value::String(text) if is_lines(text) => {
                        let _ = writeln!(out, "{margin}{key}: |");
                        for line in text.lines() {
                            // An empty line has no margin: white space at a line's end is lost in many editors.
                            let margin = if line.is_empty() { "" } else { &margin };
                            let _ = writeln!(out, "{margin}{}{line}", if line.is_empty() { "" } else { "  " });
                        }
                    }
                    // Both readings of a bare word, text and truth value, mean the same here, and it reads best.
                    Value::String(word) if spaced && key == "power" => {
                        let _ = writeln!(out, "{margin}{key}: {word}");
                    }
                    _ => {
                        let _ = writeln!(out, "{margin}{key}: {}", inline(value));
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(inner) if !inner.is_empty() => {
                        let mut lines = String::new();
                        emit(item, indent + 2, false, &mut lines);
                        // The first key stands beside the dash.
                        let _ = write!(out, "{margin}- {}", lines.trim_start());
                    }
                    _ => {
                        let _ = writeln!(out, "{margin}- {}", inline(item));
                    }
                }
            }
        }
        _ => {
            let _ = writeln!(out, "{margin}{}", inline(value));
        }
    }
}

/// Whether a value takes the rest of its key's line and no more.
fn fits_on_line(value: &Value) -> bool {
    match value {
        Value::Object(inner) => inner.is_empty(),
        Value::Array(items) => on_one_line(items),
        _ => true,
    }
}

/// Lists of short words fit on a line; keys of users don't.
fn on_one_line(items: &[Value]) -> bool {
    items
        .iter()
        .all(|item| matches!(item, Value::String(text) if text.len() <= 32) || item.is_number())
}

/// Whether a text reads best, and unchanged, as lines of a block: several words a line, an end of line last and nothing that
/// an editor would change.
fn is_lines(text: &str) -> bool {
    text.ends_with('\n')
        && !text.ends_with("\n\n")
        && !text.starts_with([' ', '\n', '\t'])
        && !text
            .chars()
            .any(|character| character.is_control() && character != '\n' && character != '\t')
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
}

fn inline(value: &Value) -> String {
    match value {
        Value::String(text) => scalar(text),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(inline).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(_) => "{}".to_owned(),
        other => other.to_string(),
    }
}

/// Text as a scalar: bare where every YAML reader takes it for text, else in double quotes.
fn scalar(text: &str) -> String {
    let words = ["true", "false", "yes", "no", "on", "off", "y", "n", "null"];
    let bare = text.starts_with(|character: char| character.is_ascii_alphabetic() || character == '/')
        && !text.ends_with(' ')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./@+= ".contains(&byte))
        && !words.contains(&text.to_lowercase().as_str());
    // Addresses and sizes are text that starts with a digit; a letter or a second dot rules out a number.
    let unit_or_address = text.starts_with(|character: char| character.is_ascii_digit())
        && (text.split('.').count() == 4 || text.ends_with('B'))
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-./ ".contains(&byte));
    if bare || unit_or_address {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

fn read(text: &str) -> Result<Value, FileError> {
    let options = serde_saphyr::options! {
        // Only true and false are truth values: a user may be called `no`.
        strict_booleans: true,
        // The reader's own excerpt could show a key that somebody pasted by mistake.
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((0, 0), |location| (location.line(), location.column()));
        // The place is in fields of its own, and advice for programmers is of no use to the writer of a design.
        let message = error.to_string();
        let message = message.split(" at line ").next().unwrap_or_default();
        let message = message.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
        FileError::Syntax {
            line,
            column,
            message: message.to_owned(),
        }
    })
}

fn check_schema(raw: &Value) -> Result<(), FileError> {
    let (message, help) = match raw.get("schema") {
        _ if !raw.is_object() => (
            match raw {
                Value::Null => "the file is empty".to_owned(),
                _ => "the file holds no mapping of parameters".to_owned(),
            },
            format!("write schema: {SCHEMA} and name: demo, each on a line of its own"),
        ),
        Some(schema) if schema.as_u64() == Some(u64::from(SCHEMA)) => return Ok(()),
        Some(schema) if schema.as_u64().is_some_and(|schema| schema > u64::from(SCHEMA)) => (
            format!(
                "the design was written by a newer version of clusterbook (schema {schema}; this version knows {SCHEMA})"
            ),
            "use the newer version".to_owned(),
        ),
        Some(schema) => (
            format!("schema {schema} is not the version of any design"),
            format!("write schema: {SCHEMA}"),
        ),
        None => (
            "the design doesn't say its schema".to_owned(),
            format!("write schema: {SCHEMA} as its first line"),
        ),
    };
    Err(FileError::Schema { message, help })
}
