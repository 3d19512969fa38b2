//! What can keep the program from its work, and what to do about it.

/// An error for the person who started the program, with its causes.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    causes: Vec<String>,
}

pub(crate) type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            causes: Vec::new(),
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn because(mut self, error: &dyn std::error::Error) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            self.causes.push(error.to_string());
            next = error.source();
        }
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "Error: {}", self.message)?;
        for cause in &self.causes {
            writeln!(formatter, "Caused by: {cause}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(formatter, "Hint: {hint}"),
            None => Ok(()),
        }
    }
}
