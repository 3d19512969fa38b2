//! What a person is told when a command doesn't do what was asked: what happened, its causes once, and what to do next.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clusterbook_engine::state::StateError;
use clusterbook_engine::{Error as EngineError, ErrorKind, Failure};
use clusterbook_model::{Fault, Faults};
use serde::Serialize;

use crate::output::Output;

const RED: Style = AnsiColor::Red.on_default().bold();
const CYAN: Style = AnsiColor::Cyan.on_default().bold();

/// How a command ended; each has its exit status, which scripts may rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Done.
    Done,
    /// Parts failed: nodes, the provider, a check.
    Failed,
    /// Bad usage or bad input.
    Refused,
    /// There are changes to make, and the caller wanted to know.
    Changes,
    /// The state folder or the machine's settings.
    Configuration,
    /// Somebody else changes the cluster.
    Locked,
    /// A fault of ours.
    Bug,
    /// Stopped by a person.
    Interrupted,
    /// A command on nodes ended so.
    Command(u8),
}

impl Ending {
    /// The exit status.
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Changes => 3,
            Self::Configuration => 4,
            Self::Locked => 5,
            Self::Bug => 70,
            Self::Interrupted => 130,
            Self::Command(status) => status,
        }
    }

    /// The word in JSON documents.
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed | Self::Command(_) => "failed",
            Self::Refused => "input",
            Self::Changes => "changes",
            Self::Configuration => "configuration",
            Self::Locked => "locked",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Ending> for ExitCode {
    fn from(ending: Ending) -> Self {
        Self::from(ending.status())
    }
}

/// A command's failure, ready to be shown.
#[derive(Debug)]
pub(crate) struct CommandError {
    pub(crate) ending: Ending,
    message: String,
    parts: Parts,
    causes: Vec<String>,
    hint: Option<String>,
}

/// What a failure consists of, where it is more than one thing.
#[derive(Debug)]
enum Parts {
    None,
    /// Of a design.
    Faults(Vec<Fault>),
    /// Of nodes and resources.
    Failures(Vec<Failure>),
}

impl Parts {
    fn faults(&self) -> &[Fault] {
        match self {
            Self::Faults(faults) => faults,
            _ => &[],
        }
    }

    fn failures(&self) -> &[Failure] {
        match self {
            Self::Failures(failures) => failures,
            _ => &[],
        }
    }
}

#[derive(Serialize)]
struct Shown<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    kind: &'static str,
    exit_status: u8,
    message: &'a str,
    causes: &'a [String],
    hint: Option<&'a str>,
    faults: &'a [Fault],
    failures: &'a [Failure],
}

impl CommandError {
    fn new(ending: Ending, message: impl Into<String>) -> Self {
        Self {
            ending,
            message: message.into(),
            parts: Parts::None,
            causes: Vec::new(),
            hint: None,
        }
    }

    /// What was asked for can't be done.
    pub(crate) fn input(message: impl Into<String>) -> Self {
        Self::new(Ending::Refused, message)
    }

    /// Something about this machine.
    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(Ending::Configuration, message)
    }

    /// The person stopped it.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self::new(Ending::Interrupted, message)
    }

    /// A fault of ours.
    pub(crate) fn bug(message: impl Into<String>) -> Self {
        Self::new(Ending::Bug, message).hint("this is a fault of clusterbook: please report it with this text")
    }

    /// A design with faults, each shown with its path and what to write instead.
    pub(crate) fn faults(design: &str, faults: Faults) -> Self {
        let count = match faults.0.len() {
            1 => "a fault".to_owned(),
            count => format!("{count} faults"),
        };
        Self {
            parts: Parts::Faults(faults.0),
            ..Self::input(format!("{design} has {count}"))
        }
        .hint("correct what is named above; nothing was changed")
    }

    /// With what led to it, and what led to that.
    pub(crate) fn because(mut self, error: &(dyn StdError + 'static)) -> Self {
        self.causes
            .extend(std::iter::successors(Some(error), |error| (*error).source()).map(ToString::to_string));
        self
    }

    /// With what to do next.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        let hint = hint.into();
        self.hint = (!hint.is_empty()).then_some(hint);
        self
    }

    /// Tells the person, and a program that reads JSON.
    pub(crate) fn show(&self, output: &Output) {
        output.document(&Shown {
            error: Body {
                kind: self.ending.word(),
                exit_status: self.ending.status(),
                message: &self.message,
                causes: &self.causes,
                hint: self.hint.as_deref(),
                faults: self.parts.faults(),
                failures: self.parts.failures(),
            },
        });
        output.note(self.text().trim_end());
    }

    fn text(&self) -> String {
        let mut text = format!("{RED}Error:{RED:#} {}\n", self.message);
        for fault in self.parts.faults() {
            text.push_str(&fault_text(fault));
        }
        for failure in self.parts.failures() {
            text.push_str(&failure_text(failure, self.hint.as_deref()));
        }
        match self.causes.as_slice() {
            [] => {}
            [cause] => {
                let _ = writeln!(text, "Caused by: {cause}");
            }
            causes => {
                text.push_str("Caused by:\n");
                for (index, cause) in causes.iter().enumerate() {
                    let _ = writeln!(text, "  {}: {cause}", index + 1);
                }
            }
        }
        if let Some(hint) = &self.hint {
            let _ = writeln!(text, "{CYAN}Hint:{CYAN:#} {hint}");
        }
        text
    }
}

/// One fault: where and what, then what to write instead.
fn fault_text(fault: &Fault) -> String {
    let mut text = match fault.path.as_str() {
        "" => format!("  {}\n", fault.message),
        path => format!("  {path}: {}\n", fault.message),
    };
    if !fault.help.is_empty() {
        let _ = writeln!(text, "    help: {}", fault.help);
    }
    text
}

/// One failure; its hint only where it isn't the one that is shown at the end.
fn failure_text(failure: &Failure, shown: Option<&str>) -> String {
    let mut text = format!("  {} ({}): {}\n", failure.what, failure.doing, failure.message);
    if !failure.hint.is_empty() && shown != Some(failure.hint.as_str()) {
        let _ = writeln!(text, "    help: {}", failure.hint);
    }
    text
}

impl From<EngineError> for CommandError {
    fn from(error: EngineError) -> Self {
        let ending = match (&error, error.kind()) {
            (EngineError::State(StateError::Locked { .. }), _) => Ending::Locked,
            (_, ErrorKind::Yours) => Ending::Refused,
            (_, ErrorKind::Configuration) => Ending::Configuration,
            (_, ErrorKind::Provider | ErrorKind::Node) => Ending::Failed,
            (_, ErrorKind::Interrupted) => Ending::Interrupted,
            (_, ErrorKind::Bug) => Ending::Bug,
        };
        let hint = error.hint().unwrap_or_default();
        let mut chain = error.chain().into_iter();
        let message = chain.next().unwrap_or_default();
        let shown = match error {
            EngineError::Design(faults) => Self::faults("the design", faults),
            EngineError::Failures { cluster, failures } => {
                let count = match failures.len() {
                    1 => "one part".to_owned(),
                    count => format!("{count} parts"),
                };
                Self {
                    parts: Parts::Failures(failures),
                    ..Self::new(ending, format!("{count} of cluster {cluster} failed"))
                }
            }
            // The state says itself what is wrong; that it is the state adds nothing.
            EngineError::State(_) => {
                let message = chain.next().unwrap_or(message);
                Self {
                    causes: chain.collect(),
                    ..Self::new(ending, message)
                }
            }
            EngineError::Render(render) if !render.help.is_empty() => {
                return Self {
                    causes: chain.collect(),
                    ..Self::new(ending, message)
                }
                .hint(render.help);
            }
            _ => Self {
                causes: chain.collect(),
                ..Self::new(ending, message)
            },
        };
        Self { ending, ..shown }.hint(hint)
    }
}

impl From<StateError> for CommandError {
    fn from(error: StateError) -> Self {
        EngineError::from(error).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_chain_is_numbered_and_said_once() {
        let inner = std::io::Error::other("the disk is gone");
        let error = CommandError::configuration("the file can't be read")
            .because(&inner)
            .hint("look at the disk");
        let text = anstream::adapter::strip_str(&error.text()).to_string();
        assert_eq!(
            text,
            "Error: the file can't be read\nCaused by: the disk is gone\nHint: look at the disk\n"
        );
    }

    #[test]
    fn a_fault_without_path_or_help_is_one_line() {
        let fault = Fault {
            path: String::new(),
            message: "there is no master".to_owned(),
            help: String::new(),
        };
        assert_eq!(fault_text(&fault), "  there is no master\n");
    }
}
