//! `clusterbook check`

use std::path::Path;

use clusterbook_engine::{Check, CheckState};
use serde::Serialize;

use crate::context::Context;
use crate::design;
use crate::error::{CommandError, Ending};
use crate::output::{Tone, plain};

/// Check a design: parameters, provider, flavors, name, images, keys. Changes nothing
#[derive(clap::Args)]
#[command(after_help = "\
Ends with status 1 if an apply of the design would fail, and with status 2 if the design itself has faults.

Examples:
  clusterbook check
  clusterbook check demo
  clusterbook check designs/demo.cluster.yaml --json")]
pub(crate) struct Arguments {
    /// Path of a *.cluster.yaml, or a cluster's name for NAME.cluster.yaml here; default: the only one in this folder
    design: Option<String>,
}

#[derive(Serialize)]
struct Checks<'a> {
    cluster: &'a str,
    design: &'a Path,
    good: bool,
    checks: &'a [Check],
}

pub(crate) async fn run(context: &Context, arguments: &Arguments) -> Result<Ending, CommandError> {
    let loaded = design::load(arguments.design.as_deref())?;
    let checks = context.engine("check")?.check(&loaded.design).await;
    let good = checks.iter().all(|check| check.state != CheckState::Bad);
    let rows = checks
        .iter()
        .map(|check| {
            let (word, tone) = match check.state {
                CheckState::Good => ("good", Tone::Good),
                CheckState::Note => ("note", Tone::Note),
                CheckState::Bad => ("bad", Tone::Bad),
            };
            vec![
                plain(&check.what),
                (word.to_owned(), tone),
                plain(&check.detail),
                plain(&check.help),
            ]
        })
        .collect();
    context.output.table(&["CHECK", "STATE", "FOUND", "WHAT TO DO"], rows);
    context.output.document(&Checks {
        cluster: &loaded.design.name,
        design: &loaded.path,
        good,
        checks: &checks,
    });
    Ok(if good { Ending::Done } else { Ending::Failed })
}
