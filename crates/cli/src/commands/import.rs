//! `clusterbook import`

use std::path::PathBuf;

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::passphrase::{self, PassphraseSource};

/// Take over a cluster from a file that `export` made
#[derive(clap::Args)]
#[command(after_help = "\
If anything is wrong with the file or the passphrase, nothing is changed.

Examples:
  clusterbook import demo.clusterbook
  clusterbook import demo.clusterbook --passphrase file:secret.txt")]
pub(crate) struct Arguments {
    /// The file
    file: PathBuf,
    /// Where the passphrase is: file:PATH or env:NAME; default: you are asked
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<PassphraseSource>,
}

#[derive(Serialize)]
struct Imported<'a> {
    cluster: &'a str,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let bytes = fs_err::read(&arguments.file)
        .map_err(|error| CommandError::input("the export can't be read").because(&error))?;
    let engine = context.engine("import")?;
    let passphrase = passphrase::get(&context.output, arguments.passphrase.as_ref(), false)?;
    let cluster = engine.import(&bytes, &passphrase)?;
    context.output.text(&format!(
        "Cluster {cluster} is here now; `clusterbook status {cluster}` shows it."
    ));
    context.output.document(&Imported { cluster: &cluster });
    Ok(Ending::Done)
}
