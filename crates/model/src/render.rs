//! Templates → files.
//!
//! Every template is embedded, so a program needs no folder beside it; any of them can be replaced by name. Variables that aren't there are
//! errors: a configuration file with a hole in it is worse than none.

use std::collections::BTreeMap;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior, Value};
use serde::Serialize;

use crate::error::nearest;
use crate::templates::TEMPLATES;

/// Renders embedded templates and what replaces them.
pub struct Renderer {
    environment: Environment<'static>,
    overrides: BTreeMap<String, String>,
}

/// A template that can't be rendered, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", self.place())]
pub struct RenderError {
    /// The template's name, for example `slurm/slurm.conf`.
    pub template: String,
    /// Line in the template, from one, where it is known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl RenderError {
    fn place(&self) -> String {
        match self.line {
            Some(line) => format!("template {}, line {line}", self.template),
            None => format!("template {}", self.template),
        }
    }
}

impl Renderer {
    /// A renderer over the embedded templates, some of them replaced: name → source. A name that no template has is an error, because a replacement
    /// that is never used is a typing slip; so is one that can't be parsed.
    pub fn new(overrides: BTreeMap<String, String>) -> Result<Self, RenderError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_syntax(line_wise_syntax()?);
        // These are configuration files, in which &amp; would be nonsense.
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        // Keeps the source next to an error, which is how the undefined variable gets its name.
        environment.set_debug(true);
        let known = || TEMPLATES.iter().map(|(name, _)| *name);
        for (name, source) in TEMPLATES {
            if !overrides.contains_key(*name) {
                environment
                    .add_template(name, source)
                    .map_err(|error| from_engine(name, &error))?;
            }
        }
        for (name, source) in &overrides {
            if !known().any(|known| known == name) {
                return Err(RenderError {
                    template: name.clone(),
                    line: None,
                    message: "there is no template of this name to replace".to_owned(),
                    help: match nearest(name, known()) {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                    },
                });
            }
            environment
                .add_template_owned(name.clone(), source.clone())
                .map_err(|error| from_engine(name, &error))?;
        }
        Ok(Self { environment, overrides })
    }

    /// Renders the template `name` with the fields of `values`.
    pub fn render(&self, name: &str, values: &impl Serialize) -> Result<String, RenderError> {
        let template = self
            .environment
            .get_template(name)
            .map_err(|error| from_engine(name, &error))?;
        template
            .render(Value::from(Serde(values)))
            .map_err(|error| from_engine(name, &error))
    }

    /// The names of all templates.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        TEMPLATES.iter().map(|(name, _)| *name)
    }

    /// The source that is in force for `name`.
    pub fn source(&self, name: &str) -> Option<&str> {
        self.overrides.get(name).map(String::as_str).or_else(|| {
            TEMPLATES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, source)| *source)
        })
    }
}

/// A tag on a line of its own leaves no empty line behind, and a file ends as its template does.
fn line_wise_syntax() -> Result<SyntaxConfig, RenderError> {
    SyntaxConfig::builder()
        .keep_trailing_newline(true)
        .trim_blocks(true)
        .lstrip_blocks(true)
        .build()
        .map_err(|error| from_engine("", &error))
}

fn from_engine(name: &str, error: &minijinja::Error) -> RenderError {
    let undefined = || {
        let source = error.template_source()?;
        source.get(error.range()?).map(str::trim)
    };
    let (message, help) = match error.kind() {
        ErrorKind::UndefinedError => (
            match undefined() {
                Some(expression) => format!("'{expression}' is not defined"),
                None => "a variable is not defined".to_owned(),
            },
            "correct the name, or give it a default with the 'default' filter".to_owned(),
        ),
        ErrorKind::TemplateNotFound => (
            "there is no such template".to_owned(),
            match nearest(name, TEMPLATES.iter().map(|(known, _)| *known)) {
                Some(near) => format!("did you mean '{near}'?"),
                None => String::new(),
            },
        ),
        _ => (
            match error.detail() {
                Some(detail) => format!("{}: {detail}", error.kind()),
                None => error.kind().to_string(),
            },
            "correct the template".to_owned(),
        ),
    };
    RenderError {
        template: error.name().unwrap_or(name).to_owned(),
        line: error.line(),
        message,
        help,
    }
}
