//! Keeping secrets out of everything that is written or shown.
//!
//! A secret is looked for as it is, and in the forms in which it leaks in practice. Overlapping finds are
//! covered by one mark, so a text masked in pieces and the same text masked at once come out equal: [`StreamMask`] keeps
//! back only what could still become a secret, at most the longest secret's length.

mod channel;
mod forms;
mod secret;
mod words;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aho_corasick::AhoCorasick;

pub use channel::Channel;
pub use secret::Secret;

use crate::json::{Json, Object, Place};

/// What stands where a secret stood.
pub const MARK: &str = "••••••";

/// The secrets of a run. Shared; registering takes effect for every text masked afterwards.
#[derive(Debug, Default)]
pub struct Masker {
    needles: RwLock<Arc<Needles>>,
    generation: AtomicU64,
}

#[derive(Default)]
struct Needles {
    values: Vec<Vec<u8>>,
    sorted: Vec<String>,
    longest: usize,
    automaton: Option<AhoCorasick>,
}

impl Masker {
    /// A masker without secrets.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers one secret. Blank values are ignored: masking them would mask every text.
    pub fn register(&self, value: &[u8]) {
        let added = forms::of(value);
        if added.is_empty() {
            return;
        }
        let mut guard = self.needles.write().unwrap_or_else(PoisonError::into_inner);
        let mut all: BTreeSet<String> = guard.sorted.iter().cloned().collect();
        all.extend(added);
        let sorted: Vec<String> = all.into_iter().collect();
        let longest = sorted.iter().map(String::len).max().unwrap_or(0);
        // Building fails only beyond two thousand million states.
        let automaton = AhoCorasick::new(&sorted).ok();
        let mut values = guard.values.clone();
        if !values.iter().any(|known| known == value) {
            values.push(value.to_vec());
        }
        *guard = Arc::new(Needles {
            values,
            sorted,
            longest,
            automaton,
        });
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Every registered secret: for an owner-only place, so that another run can mask them too.
    pub(crate) fn values(&self) -> Vec<Vec<u8>> {
        self.needles().values.clone()
    }

    /// Whether no secret is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.generation() == 0
    }

    /// Grows with every registered secret.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// `text` without secrets.
    #[must_use]
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        let needles = self.needles();
        if !needles.found_in(text) {
            return Cow::Borrowed(text);
        }
        let mut stream = StreamMask {
            held: text.to_owned(),
            covered: 0,
        };
        Cow::Owned(stream.release(&needles, true))
    }

    /// `text` without secrets, also where colour codes stand inside one; the colours of such a text are lost.
    #[must_use]
    pub fn mask_coloured<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if self.is_empty() {
            return Cow::Borrowed(text);
        }
        if text.contains('\u{1b}') {
            let plain = crate::ansi::strip(text);
            // Hidden by colours means: found without them, and still there once the coloured text is masked.
            if crate::ansi::strip(&self.mask(text)) != self.mask(&plain) {
                return Cow::Owned(self.mask(&plain).into_owned());
            }
        }
        self.mask(text)
    }

    /// Masks every text below `value`: strings, numbers, which become text then, and keys but those that give notebooks
    /// and messages their shape.
    pub fn mask_json(&self, value: &mut Json) {
        if self.is_empty() {
            return;
        }
        value.map_texts(&mut |place, text| self.replacement(place, text));
    }

    /// The same for the keys of `object` alone.
    pub(crate) fn mask_keys(&self, object: &mut Object) {
        if self.is_empty() {
            return;
        }
        object.map_keys(&mut |key| self.replacement(Place::Key, key));
    }

    /// What stands for a text of a document, if it holds a secret.
    fn replacement(&self, place: Place, text: &str) -> Option<String> {
        match self.mask_coloured(text) {
            Cow::Owned(_) if place == Place::Key && words::is_known(text) => None,
            Cow::Owned(masked) => Some(masked),
            Cow::Borrowed(_) => None,
        }
    }

    /// Masks an output, or what a message about one holds: the count of executions is no secret, and has to stay a number.
    pub(crate) fn mask_output(&self, output: &mut Json) {
        let Some(object) = output.as_object_mut().filter(|_| !self.is_empty()) else {
            return self.mask_json(output);
        };
        for (key, value) in object.values_mut() {
            if key != "execution_count" {
                self.mask_json(value);
            }
        }
    }

    fn needles(&self) -> Arc<Needles> {
        Arc::clone(&self.needles.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl std::fmt::Debug for Needles {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Needles").finish_non_exhaustive()
    }
}

impl Needles {
    fn found_in(&self, text: &str) -> bool {
        self.automaton
            .as_ref()
            .is_some_and(|automaton| automaton.is_match(text))
    }

    /// Where secrets stand; finds that overlap are one range. Ranges come in order.
    fn ranges(&self, text: &str, covered: usize) -> Vec<(usize, usize)> {
        let mut found: Vec<(usize, usize)> = match &self.automaton {
            Some(automaton) => automaton
                .find_overlapping_iter(text)
                .map(|hit| (hit.start(), hit.end()))
                .collect(),
            None => Vec::new(),
        };
        if covered > 0 {
            found.push((0, covered));
        }
        found.sort_unstable();
        let mut merged: Vec<(usize, usize)> = Vec::new();
        for (start, end) in found {
            match merged.last_mut() {
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        merged
    }

    /// The first place from which the rest of `text` could grow into a secret.
    fn unfinished(&self, text: &str) -> usize {
        let first = text.len().saturating_sub(self.longest.saturating_sub(1));
        (first..text.len())
            .filter(|at| text.is_char_boundary(*at))
            .find(|at| {
                let tail = &text[*at..];
                // A needle equal to the tail is finished; only longer ones keep it back.
                let next = self.sorted.partition_point(|needle| needle.as_str() <= tail);
                self.sorted.get(next).is_some_and(|needle| needle.starts_with(tail))
            })
            .unwrap_or(text.len())
    }
}

/// Masks a text that comes in pieces.
#[derive(Debug, Default)]
pub struct StreamMask {
    held: String,
    /// So many bytes at the start of `held` belong to a secret whose mark is already out.
    covered: usize,
}

impl StreamMask {
    /// Takes the next piece and gives out what is safe to show.
    pub fn feed(&mut self, masker: &Masker, piece: &str) -> String {
        if masker.is_empty() {
            return std::mem::take(&mut self.held) + piece;
        }
        self.held.push_str(piece);
        self.release(&masker.needles(), false)
    }

    /// Gives out what was kept back: the text has ended, or nothing came for a while.
    pub fn flush(&mut self, masker: &Masker) -> String {
        if self.held.is_empty() {
            return String::new();
        }
        self.release(&masker.needles(), true)
    }

    /// How many bytes are kept back.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn release(&mut self, needles: &Needles, all: bool) -> String {
        let text = std::mem::take(&mut self.held);
        let hold = if all { text.len() } else { needles.unfinished(&text) };
        let mut out = String::new();
        let mut at = 0;
        let mut covered = 0;
        for (start, end) in needles.ranges(&text, self.covered) {
            // One that starts in what is kept back is found again next time.
            if start >= hold && !(start == 0 && self.covered > 0) {
                break;
            }
            out.push_str(&text[at..start]);
            if !(start == 0 && self.covered > 0) {
                out.push_str(MARK);
            }
            at = end.min(hold);
            covered = end.saturating_sub(hold);
        }
        if at < hold {
            out.push_str(&text[at..hold]);
        }
        self.covered = covered;
        self.held = text[hold..].to_owned();
        out
    }
}
