//! States in Slurm's words: one that says what a thing is doing, and any number of flags.
//!
//! Jobs and nodes have different words and the same grammar, so each kind of word is an enum with a table, and reading and
//! writing are in here once. Words that we don't know are kept, because newer versions of Slurm have more of them.

use std::fmt;

/// Stands for a base when there is no word to take for it.
const UNKNOWN: &str = "UNKNOWN";

/// An enum with a variant for each known word, and one that keeps any other.
pub(crate) trait Word: Clone + PartialEq + 'static {
    /// Slurm's words, in upper case. Of two words for a variant, the first is the one that is written.
    const KNOWN: &'static [(&'static str, Self)];

    /// The variant that keeps a word that we don't know.
    fn other(word: String) -> Self;

    /// The word, if it is one that we don't know.
    fn unknown(&self) -> Option<&str>;

    /// Reads a word in upper case, if it is one that we know.
    fn known(word: &str) -> Option<Self> {
        let (_, known) = Self::KNOWN.iter().find(|(name, _)| *name == word)?;
        Some(known.clone())
    }

    /// The word as Slurm writes it.
    fn name(&self) -> &str {
        self.unknown().unwrap_or_else(|| {
            Self::KNOWN
                .iter()
                .find(|(_, known)| known == self)
                .map_or(UNKNOWN, |(name, _)| name)
        })
    }
}

/// Sorts words into the base, wherever it stands among them, and the flags. `known_base` reads a word in upper case.
pub(crate) fn read<B: Word, F: Word>(words: &[String], known_base: impl Fn(&str) -> Option<B>) -> (B, Vec<F>) {
    let mut base = None;
    let mut flags = Vec::new();
    for word in words {
        let upper = word.to_ascii_uppercase();
        if let Some(known) = known_base(&upper) {
            base = Some(known);
        } else {
            flags.push(F::known(&upper).unwrap_or_else(|| F::other(upper)));
        }
    }
    let base = base.unwrap_or_else(|| {
        // Slurm always gives a base. If it isn't among those that we know, it is the first of the unknown words.
        let first = flags.iter().position(|flag| flag.unknown().is_some());
        match first.map(|place| flags.remove(place)) {
            Some(flag) => B::other(flag.name().to_owned()),
            None => B::known(UNKNOWN).unwrap_or_else(|| B::other(UNKNOWN.to_owned())),
        }
    });
    (base, flags)
}

/// Writes a state as Slurm does, `IDLE+DRAIN`.
pub(crate) fn write<B: Word, F: Word>(f: &mut fmt::Formatter<'_>, base: &B, flags: &[F]) -> fmt::Result {
    f.write_str(base.name())?;
    for flag in flags {
        write!(f, "+{}", flag.name())?;
    }
    Ok(())
}
