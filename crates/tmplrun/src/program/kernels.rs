//! What a run may leave behind: kept kernels, journals of runs that were killed.

use std::fmt::Write as _;
use std::path::Path;

use tmplrun::kernel::{end_kept, list_kept};
use tmplrun::{Environment, Error, ErrorKind, Result, run};

use super::{FAILED, print, show};

/// Lists kept kernels.
pub(crate) fn list(environment: &Environment, json: bool) -> Result<()> {
    let kernels = list_kept(&environment.kept);
    if json {
        let text = serde_json::json!({"schema": 1, "kernels": kernels});
        return print(&format!("{text:#}\n"));
    }
    let mut out = String::new();
    for kept in &kernels {
        let _ = writeln!(
            out,
            "{}  {}  {}  since {}\n    jupyter console --existing {}",
            kept.pid,
            kept.kernel,
            kept.output.as_ref().unwrap_or(&kept.notebook).display(),
            kept.since,
            kept.connection_file.display()
        );
    }
    if kernels.is_empty() {
        show::note("no kernel is kept");
    }
    print(&out)
}

/// Ends one kept kernel, or all.
pub(crate) async fn end(environment: &Environment, which: &str) -> Result<u8> {
    let mut kernels = list_kept(&environment.kept);
    if which != "all" {
        kernels.retain(|kept| kept.pid.to_string() == which);
        if kernels.is_empty() {
            return Err(Error::new(
                ErrorKind::Yours,
                format!("no kept kernel has the process number `{which}`"),
            )
            .help("--list-kernels shows those there are"));
        }
    }
    for kept in &kernels {
        end_kept(kept).await;
    }
    let still = kernels.iter().filter(|kept| kept.lives()).count();
    show::note(&format!("{} of {} ended", kernels.len() - still, kernels.len()));
    Ok(if still > 0 { FAILED } else { 0 })
}

/// Puts notebooks together from journals.
pub(crate) fn recover(path: &Path, another: Option<&str>) -> Result<u8> {
    if let Some(another) = another {
        return Err(Error::new(
            ErrorKind::Yours,
            "--recover takes one path, the output of the run that was killed",
        )
        .help(format!("if that is {another}, write `tmplrun --recover {another}`")));
    }
    let found = run::recover(path)?;
    if found.is_empty() && !path.exists() {
        return Err(
            Error::new(ErrorKind::Yours, "there is nothing to recover: no such file or folder")
                .at(path)
                .help("name the notebook, or the folder, that the killed run was writing"),
        );
    }
    for (output, ended, running) in &found {
        let rest = if *running {
            ", and what the running one had put out"
        } else {
            ""
        };
        show::note(&format!("{}: recovered {ended} cells{rest}", output.display()));
    }
    if found.is_empty() {
        show::note("nothing to recover: no run was cut short here");
    }
    Ok(0)
}
