//! `clusterbook export`

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::files::{self, Readers};
use crate::passphrase::{self, PassphraseSource};

/// Pack a cluster's state and secrets into an encrypted file, for a colleague or another computer
#[derive(clap::Args)]
#[command(after_help = "\
The file can be read by its owner only, and opened with the passphrase only. The cluster stays here too: from then on, \
change it from one of the two places.

Examples:
  clusterbook export demo demo.clusterbook
  clusterbook export demo demo.clusterbook --passphrase file:secret.txt
  clusterbook export demo demo.clusterbook --passphrase env:WORD")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
    /// The file to make; nothing may be there yet
    file: PathBuf,
    /// Where the passphrase is: file:PATH or env:NAME; default: you are asked
    #[arg(long, value_name = "SOURCE")]
    passphrase: Option<PassphraseSource>,
}

#[derive(Serialize)]
struct Exported<'a> {
    cluster: &'a str,
    file: &'a Path,
}

pub(crate) fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    files::must_be_free(&arguments.file)?;
    let engine = context.engine("export")?;
    // A name that isn't there is worth saying before a passphrase is thought up.
    engine.cluster(&arguments.name)?;
    let passphrase = passphrase::get(&context.output, arguments.passphrase.as_ref(), true)?;
    let bytes = engine.export(&arguments.name, &passphrase)?;
    files::create(&arguments.file, &bytes, Readers::Owner)?;
    let file = arguments.file.display();
    context
        .output
        .text(&format!("Cluster {} is packed into {file}.", arguments.name));
    context.output.document(&Exported {
        cluster: &arguments.name,
        file: &arguments.file,
    });
    Ok(Ending::Done)
}
