//! Where a passphrase comes from. It is never an argument: those are seen by everyone on the machine.

use std::path::PathBuf;
use std::str::FromStr;

use clusterbook_model::Secret;

use crate::error::CommandError;
use crate::output::Output;
use crate::terminal;

/// `file:PATH` or `env:NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PassphraseSource {
    File(PathBuf),
    Environment(String),
}

impl FromStr for PassphraseSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            Some(("env", name)) if !name.is_empty() => Ok(Self::Environment(name.to_owned())),
            _ => {
                Err("write file:PATH or env:NAME; the passphrase itself doesn't belong into a command line".to_owned())
            }
        }
    }
}

/// The passphrase, from where the caller said or from the person at the terminal. A new one is asked for twice.
pub(crate) fn get(output: &Output, source: Option<&PassphraseSource>, new: bool) -> Result<Secret, CommandError> {
    let text = match source {
        Some(PassphraseSource::File(path)) => fs_err::read_to_string(path)
            .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
            .map_err(|error| CommandError::input("the passphrase can't be read").because(&error))?,
        Some(PassphraseSource::Environment(name)) => std::env::var(name).map_err(|error| {
            CommandError::input(format!("the passphrase can't be read from the variable {name}")).because(&error)
        })?,
        None if terminal::is_there() => ask(output, new)?,
        None => {
            return Err(
                CommandError::input("a passphrase is needed, and there is no terminal to ask for it")
                    .hint("give --passphrase file:PATH or --passphrase env:NAME"),
            );
        }
    };
    if text.is_empty() {
        return Err(CommandError::input("the passphrase is empty").hint("use a sentence that nobody can guess"));
    }
    Ok(Secret::new(text))
}

fn ask(output: &Output, new: bool) -> Result<String, CommandError> {
    let first = terminal::ask_unseen(output, "Passphrase: ")?;
    if new && !first.is_empty() && terminal::ask_unseen(output, "The same again: ")? != first {
        return Err(CommandError::input("the two passphrases differ").hint("begin again"));
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passphrase_in_the_command_line_is_refused() {
        assert_eq!("file:/a:b".parse(), Ok(PassphraseSource::File("/a:b".into())));
        assert_eq!("env:WORD".parse(), Ok(PassphraseSource::Environment("WORD".to_owned())));
        for wrong in ["correct horse", "env:", "file:", "pass:word"] {
            assert!(wrong.parse::<PassphraseSource>().is_err(), "{wrong}");
        }
    }
}
