//! JSON that survives a round trip.
//!
//! A notebook belongs to whoever wrote it: what we do not change must come out byte for byte. Ordinary JSON libraries
//! normalise on the way in (numbers become doubles, `\u00e9` becomes `é`, `NaN` is refused, a lone surrogate ends the
//! parse). So the document is kept as written: numbers and strings hold their source text and are decoded only when
//! somebody asks. The same lenient reader takes the messages that kernels send.

mod bridge;
mod large;
mod packed;
mod parse;
mod write;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

pub(crate) use large::parse_owned;
pub(crate) use packed::Shelf;
pub use parse::{ParseError, Step, locate, parse};
pub use write::Style;

pub(crate) use write::python_float;

/// One JSON value, in source form.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number as it was written, which includes Python's `NaN`, `Infinity` and `-Infinity`.
    Number(String),
    /// A string.
    String(Text),
    /// An array.
    Array(Array),
    /// An object.
    Object(Object),
}

/// A string as it was written between its quotes, escapes included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    literal: String,
}

/// What a text stands for in a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The key of an entry.
    Key,
    /// A value, or a number as it is written.
    Value,
}

/// An array, remembering whether it stood on one line.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Array {
    /// The elements in order; those that are in memory.
    pub items: Vec<Json>,
    inline: bool,
    /// Elements before those.
    packed: Option<Box<packed::Packed>>,
}

/// An object in source order, remembering whether it stood on one line. A repeated key keeps every occurrence; reading
/// takes the last one, as Python does.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Object {
    entries: Vec<(Text, Json)>,
    inline: bool,
}

impl Text {
    /// Writes `value` the way Python's `json.dumps(ensure_ascii=False)` does.
    #[must_use]
    pub fn new(value: &str) -> Self {
        Self {
            literal: write::escape(value),
        }
    }

    /// The text it stands for. A lone surrogate, which no Rust string can hold, reads as U+FFFD.
    #[must_use]
    pub fn decode(&self) -> Cow<'_, str> {
        parse::unescape(&self.literal)
    }

    pub(crate) fn from_literal(literal: String) -> Self {
        Self { literal }
    }

    pub(crate) fn literal(&self) -> &str {
        &self.literal
    }

    pub(super) fn into_literal(self) -> String {
        self.literal
    }
}

impl Object {
    /// An object with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.entries
            .iter()
            .rev()
            .find(|(name, _)| name.decode() == key)
            .map(|(_, value)| value)
    }

    /// The value of `key`, to change it.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Json> {
        self.entries
            .iter_mut()
            .rev()
            .find(|(name, _)| name.decode() == key)
            .map(|(_, value)| value)
    }

    /// Sets `key` where it stands, or adds it at the end.
    pub fn set(&mut self, key: &str, value: impl Into<Json>) {
        let value = value.into();
        match self.get_mut(key) {
            Some(place) => *place = value,
            None => self.entries.push((Text::new(key), value)),
        }
    }

    /// Builder form of [`Object::set`].
    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.set(key, value);
        self
    }

    /// Takes every occurrence of `key` out and returns the one that counted.
    pub fn remove(&mut self, key: &str) -> Option<Json> {
        let mut found = None;
        self.entries.retain_mut(|(name, value)| {
            let hit = name.decode() == key;
            if hit {
                found = Some(std::mem::replace(value, Json::Null));
            }
            !hit
        });
        found
    }

    /// Gives `key` another name where it stands; a value that has the new name already goes. Says whether there was one.
    pub fn rename(&mut self, key: &str, new: &str) -> bool {
        if self.get(key).is_none() {
            return false;
        }
        if key != new {
            self.remove(new);
            for (name, _) in self.entries.iter_mut().filter(|(name, _)| name.decode() == key) {
                *name = Text::new(new);
            }
        }
        true
    }

    /// Calls `change` on every key; `Some` replaces it. Keys that become equal are numbered.
    pub(crate) fn map_keys(&mut self, change: &mut dyn FnMut(&str) -> Option<String>) {
        let changed: Vec<(usize, String)> = self
            .entries
            .iter()
            .enumerate()
            .filter_map(|(index, (key, _))| Some((index, change(&key.decode())?)))
            .collect();
        if changed.is_empty() {
            return;
        }
        let mut taken: HashSet<String> = self.entries.iter().map(|(key, _)| key.decode().into_owned()).collect();
        let mut last: HashMap<String, usize> = HashMap::new();
        for (index, new) in changed {
            let number = last.entry(new.clone()).or_insert(1);
            let mut name = new.clone();
            while !taken.insert(name.clone()) {
                *number += 1;
                name = format!("{new} {number}");
            }
            self.entries[index].0 = Text::new(&name);
        }
    }

    /// The object under `key`, made if it is missing or something else.
    pub fn object_mut(&mut self, key: &str) -> &mut Object {
        if !matches!(self.get(key), Some(Json::Object(_))) {
            self.set(key, Object::new());
        }
        match self.get_mut(key) {
            Some(Json::Object(object)) => object,
            _ => unreachable!("just set"),
        }
    }

    /// The entries in order.
    pub fn iter(&self) -> impl Iterator<Item = (Cow<'_, str>, &Json)> {
        self.entries.iter().map(|(name, value)| (name.decode(), value))
    }

    /// The values, to change them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = (Cow<'_, str>, &mut Json)> {
        self.entries.iter_mut().map(|(name, value)| (name.decode(), value))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Json {
    /// The decoded text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(text.decode()),
            _ => None,
        }
    }

    /// The value of a whole number that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// The object, if it is one.
    #[must_use]
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The object, to change it, if it is one.
    pub fn as_object_mut(&mut self) -> Option<&mut Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The elements that are in memory, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Json]> {
        match self {
            Self::Array(array) => Some(&array.items),
            _ => None,
        }
    }

    /// The elements that are in memory, to change them, if it is an array.
    pub fn as_array_mut(&mut self) -> Option<&mut Vec<Json>> {
        match self {
            Self::Array(array) => Some(&mut array.items),
            _ => None,
        }
    }

    /// The value of `key`, if this is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Json> {
        self.as_object()?.get(key)
    }

    /// The value of `key` as text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key)?.as_str()
    }

    /// Text held either as one string or as a list of lines, which is how notebooks keep anything long.
    #[must_use]
    pub fn joined(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(text) => Some(text.decode()),
            Self::Array(array) => {
                let mut joined = Some(String::new());
                let read = array.each(|item| match (item.as_str(), &mut joined) {
                    (Some(text), Some(joined)) => joined.push_str(&text),
                    _ => joined = None,
                });
                read.ok().and(joined).map(Cow::Owned)
            }
            _ => None,
        }
    }

    /// How many values stand inside one another here, this one included.
    #[must_use]
    pub fn depth(&self) -> usize {
        let below = match self {
            Self::Array(array) => array.items.iter().map(Self::depth).max(),
            Self::Object(object) => object.entries.iter().map(|(_, value)| value.depth()).max(),
            _ => None,
        };
        1 + below.unwrap_or(0)
    }

    /// Calls `change` on every text below: strings, numbers as they are written, and keys. `Some` replaces the text; a
    /// number becomes a string then, and keys that become equal are numbered, so that no value is lost. Everything is in
    /// memory afterwards, and what cannot be read is left out: better lost than not looked at.
    pub fn map_texts(&mut self, change: &mut dyn FnMut(Place, &str) -> Option<String>) {
        match self {
            Self::String(text) => {
                if let Some(new) = change(Place::Value, &text.decode()) {
                    *text = Text::new(&new);
                }
            }
            Self::Number(text) => {
                if let Some(new) = change(Place::Value, text) {
                    *self = Self::from(new);
                }
            }
            Self::Array(array) => {
                array.unpack();
                array.items.iter_mut().for_each(|item| item.map_texts(change));
            }
            Self::Object(object) => {
                object.map_keys(&mut |key| change(Place::Key, key));
                object.entries.iter_mut().for_each(|(_, value)| value.map_texts(change));
            }
            Self::Null | Self::Bool(_) => {}
        }
    }

    /// Forgets that parts stood on one line, for a value that goes into a document of another style.
    #[must_use]
    pub fn restyled(mut self) -> Self {
        self.restyle();
        self
    }

    fn restyle(&mut self) {
        match self {
            Self::Array(array) => {
                array.inline = false;
                array.items.iter_mut().for_each(Self::restyle);
            }
            Self::Object(object) => {
                object.inline = false;
                object.entries.iter_mut().for_each(|(_, value)| value.restyle());
            }
            _ => {}
        }
    }

    /// Compact text, as Python's `json.dumps` writes it.
    #[must_use]
    pub fn to_compact(&self) -> String {
        Style::compact().write(self)
    }
}

impl From<&str> for Json {
    fn from(value: &str) -> Self {
        Self::String(Text::new(value))
    }
}

impl From<String> for Json {
    fn from(value: String) -> Self {
        Self::String(Text::from_string(value))
    }
}

impl From<Cow<'_, str>> for Json {
    fn from(value: Cow<'_, str>) -> Self {
        Self::String(Text::new(&value))
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Json {
    fn from(value: i64) -> Self {
        Self::Number(value.to_string())
    }
}

impl From<f64> for Json {
    fn from(value: f64) -> Self {
        Self::Number(python_float(value))
    }
}

impl From<Object> for Json {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::Array(Array {
            items,
            ..Array::default()
        })
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
