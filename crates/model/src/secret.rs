//! A value that must never be seen by accident.

use std::fmt;

/// Text that stays out of `Debug`, plans, events and logs. The only way to the text is [`Secret::reveal`], so a search for
/// that word finds every place where one is used.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps the text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Whoever calls this answers for where it goes.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(••••••)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // Overwritten rather than merely freed, so that a later core dump of the process doesn't hold it.
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        std::hint::black_box(&bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing_of_it() {
        let secret = Secret::new("correct horse");
        let shown = format!("{:?} {:#?}", secret, Some(&secret));
        assert!(!shown.contains("horse") && !shown.contains("13"), "{shown}");
        assert_eq!(secret.reveal(), "correct horse");
    }
}
