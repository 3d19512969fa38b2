//! Elements of long lists that lie in a file.
//!
//! What cells put out is looked at once, when it comes, and again when the notebook is written. In between it need not be in
//! memory, where a small output costs ten times its text. So a list can put elements away: its first ones are then text in a
//! file, in parts that are brought back one at a time, and the list is written as if all of them were there.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{Array, Json, Object, Style, large};

/// About so much text is brought back at once.
const PART: usize = 64 * 1024;

/// A file without a name for what memory need not hold. It is made when it is needed and goes with the last list that has
/// something in it.
#[derive(Debug, Clone)]
pub(crate) struct Shelf(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    file: OnceLock<Mutex<File>>,
}

/// Elements, one after the other.
#[derive(Debug, Clone)]
enum Part {
    /// They lie in the file.
    Away {
        shelf: Shelf,
        at: u64,
        length: usize,
        count: usize,
    },
    /// One that is mostly away itself.
    Here(Json),
}

/// The elements of a list that were put away: they come before those in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Packed {
    parts: Vec<Part>,
    count: usize,
    /// What has changed since.
    changed: BTreeMap<usize, Json>,
}

impl PartialEq for Part {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Here(ours), Self::Here(theirs)) => ours == theirs,
            (
                Self::Away { shelf, at, .. },
                Self::Away {
                    shelf: other,
                    at: there,
                    ..
                },
            ) => Arc::ptr_eq(&shelf.0, &other.0) && at == there,
            _ => false,
        }
    }
}

impl Shelf {
    /// A file in `folder`, once there is something to put into it.
    pub(crate) fn new(folder: &Path) -> Self {
        Self(Arc::new(Inner {
            folder: folder.to_path_buf(),
            file: OnceLock::new(),
        }))
    }

    fn file(&self) -> io::Result<&Mutex<File>> {
        if let Some(file) = self.0.file.get() {
            return Ok(file);
        }
        let file = tempfile::tempfile_in(&self.0.folder)?;
        Ok(self.0.file.get_or_init(|| Mutex::new(file)))
    }

    fn put(&self, items: &[Json]) -> io::Result<Part> {
        let mut file = self.file()?.lock().unwrap_or_else(PoisonError::into_inner);
        let at = file.seek(SeekFrom::End(0))?;
        let mut out = BufWriter::new(&mut *file);
        Style::compact().write_items_to(items, &mut out)?;
        out.flush()?;
        drop(out);
        let length = usize::try_from(file.stream_position()? - at).map_err(io::Error::other)?;
        Ok(Part::Away {
            shelf: self.clone(),
            at,
            length,
            count: items.len(),
        })
    }
}

impl Part {
    fn count(&self) -> usize {
        match self {
            Self::Away { count, .. } => *count,
            Self::Here(_) => 1,
        }
    }

    fn read(&self) -> io::Result<Cow<'_, [Json]>> {
        let (shelf, at, length) = match self {
            Self::Here(item) => return Ok(Cow::Borrowed(std::slice::from_ref(item))),
            Self::Away { shelf, at, length, .. } => (shelf, *at, *length),
        };
        let mut bytes = vec![0; length];
        let file = shelf.file()?.lock().unwrap_or_else(PoisonError::into_inner);
        file.read_exact_at(&mut bytes, at)?;
        drop(file);
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        match large::parse_owned(text).map_err(io::Error::other)?.restyled() {
            Json::Array(array) => Ok(Cow::Owned(array.items)),
            _ => Err(io::Error::other("what was put away is not what came back")),
        }
    }
}

impl Packed {
    /// Calls `take` on every element that was put away.
    fn each(&self, take: &mut dyn FnMut(&Json)) -> io::Result<()> {
        let mut index = 0;
        for part in &self.parts {
            for item in part.read()?.iter() {
                take(self.changed.get(&index).unwrap_or(item));
                index += 1;
            }
        }
        Ok(())
    }

    fn read(&self, index: usize) -> io::Result<Json> {
        let mut first = 0;
        for part in &self.parts {
            if index < first + part.count() {
                let item = part.read()?.get(index - first).cloned();
                return item.ok_or_else(|| io::ErrorKind::NotFound.into());
            }
            first += part.count();
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

impl Array {
    /// How many elements there are, in memory or not.
    pub(crate) fn len(&self) -> usize {
        self.put_away() + self.items.len()
    }

    /// How many of them are not in memory.
    pub(crate) fn put_away(&self) -> usize {
        self.packed.as_ref().map_or(0, |packed| packed.count)
    }

    /// Calls `take` on every element.
    ///
    /// # Errors
    /// When those in the file cannot be read.
    pub(crate) fn each(&self, mut take: impl FnMut(&Json)) -> io::Result<()> {
        if let Some(packed) = &self.packed {
            packed.each(&mut take)?;
        }
        self.items.iter().for_each(take);
        Ok(())
    }

    /// The element at `index`, to change it; in memory from then on.
    pub(crate) fn item_mut(&mut self, index: usize) -> Option<&mut Json> {
        let away = self.put_away();
        if index >= away {
            return self.items.get_mut(index - away);
        }
        let packed = self.packed.as_mut()?;
        if !packed.changed.contains_key(&index) {
            let item = packed.read(index).ok()?;
            packed.changed.insert(index, item);
        }
        packed.changed.get_mut(&index)
    }

    /// Puts all elements away.
    ///
    /// # Errors
    /// When the file takes no more: those that it did not take stay in memory.
    pub(crate) fn pack(&mut self, shelf: &Shelf) -> io::Result<()> {
        let mut done = 0;
        let mut packed = self.packed.take().unwrap_or_default();
        let mut outcome = Ok(());
        while done < self.items.len() && outcome.is_ok() {
            let part = if self.items[done].is_partly_away() {
                // To bring it back as one piece would need the memory that it spares.
                Ok(Part::Here(std::mem::replace(&mut self.items[done], Json::Null)))
            } else {
                let mut text = 0;
                let fitting = self.items[done..].iter().take_while(|item| {
                    let fits = text < PART && !item.is_partly_away();
                    text += item.weight();
                    fits
                });
                shelf.put(&self.items[done..done + fitting.count()])
            };
            outcome = part.map(|part| {
                done += part.count();
                packed.count += part.count();
                packed.parts.push(part);
            });
        }
        self.items.drain(..done);
        self.items.shrink_to_fit();
        self.packed = Some(packed).filter(|packed| packed.count > 0);
        outcome
    }

    /// Brings everything into memory. What cannot be read is left out.
    pub(crate) fn unpack(&mut self) {
        if self.packed.is_none() {
            return;
        }
        let mut all = Vec::with_capacity(self.len());
        let _ = self.each(|item| all.push(item.clone()));
        self.packed = None;
        self.items = all;
    }
}

impl Json {
    /// About how long the text is.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) => 5,
            Self::Number(text) => text.len() + 1,
            Self::String(text) => text.literal().len() + 3,
            Self::Array(array) => 2 + array.items.iter().map(Self::weight).sum::<usize>(),
            Self::Object(object) => 2 + object.weight(),
        }
    }

    fn is_partly_away(&self) -> bool {
        match self {
            Self::Array(array) => array.packed.is_some() || array.items.iter().any(Self::is_partly_away),
            Self::Object(object) => object.entries.iter().any(|(_, value)| value.is_partly_away()),
            _ => false,
        }
    }

    /// The list, to change it, if it is one.
    pub(crate) fn as_list_mut(&mut self) -> Option<&mut Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl Object {
    fn weight(&self) -> usize {
        self.entries
            .iter()
            .map(|(key, value)| key.literal().len() + 3 + value.weight())
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::{PART, Shelf};
    use crate::json::{Array, Json, Object, Style, parse};

    fn list(count: usize) -> Array {
        let items = (0..count).map(|index| {
            let text = format!("{index} é \"quoted\" \n").repeat(1 + index % 50);
            Json::from(
                Object::new()
                    .with("text", text)
                    .with("more", vec![Json::from(index as i64)]),
            )
        });
        Array {
            items: items.collect(),
            ..Array::default()
        }
    }

    /// All but the last.
    fn pack(array: &mut Array, shelf: &Shelf) {
        let last = array.items.pop();
        array.pack(shelf).unwrap();
        array.items.extend(last);
    }

    fn text(array: &Array) -> String {
        Style::notebook().write(&Json::Array(array.clone()))
    }

    #[test]
    fn a_list_is_written_alike_wherever_its_elements_are() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let whole = list(900);
        let mut packed = whole.clone();
        pack(&mut packed, &shelf);
        assert_eq!((packed.items.len(), packed.put_away(), packed.len()), (1, 899, 900));
        assert!(packed.packed.as_ref().unwrap().parts.len() > text(&whole).len() / PART / 2);
        assert_eq!(text(&packed), text(&whole));
        assert_eq!(Json::Array(packed.clone()).joined(), None);
        // More come, one changes, and everything is put away.
        let mut whole = whole;
        for array in [&mut whole, &mut packed] {
            array.items.extend(list(30).items);
            *array.item_mut(7).unwrap() = Json::from("another");
            *array.item_mut(915).unwrap() = Json::from("one more");
        }
        packed.pack(&shelf).unwrap();
        assert_eq!((packed.items.len(), packed.len()), (0, 930));
        assert_eq!(text(&packed), text(&whole));
        assert!(packed.item_mut(930).is_none());
        packed.unpack();
        assert_eq!(packed, whole);
        // The file has no name.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn lines_in_a_file_join_those_in_memory_and_large_ones_keep_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path());
        let literal = format!("[\"a\\n\", \"{}\\ud800\\n\", \"end\"]", "x\\u00e9".repeat(300_000));
        let Json::Array(whole) = parse(&literal).unwrap().restyled() else {
            panic!()
        };
        let mut packed = whole.clone();
        pack(&mut packed, &shelf);
        // A list that is partly away, in one that is.
        let outer = |inner: Array| Array {
            items: vec![Json::from("first"), Json::Array(inner), Json::from("last")],
            ..Array::default()
        };
        let mut around = outer(packed.clone());
        around.pack(&shelf).unwrap();
        assert_eq!(around.len(), 3);
        assert_eq!(text(&around), text(&outer(whole.clone())));
        let (whole, packed) = (Json::Array(whole), Json::Array(packed));
        assert_eq!(packed.joined(), whole.joined());
        assert_eq!(packed.to_compact(), whole.to_compact());
        assert_eq!(
            serde_json::to_string(&packed).unwrap(),
            serde_json::to_string(&whole).unwrap()
        );
    }

    #[test]
    fn what_the_file_does_not_take_stays() {
        let mut array = list(3);
        let whole = array.clone();
        assert!(array.pack(&Shelf::new(std::path::Path::new("/nowhere"))).is_err());
        assert_eq!(array, whole);
    }
}
