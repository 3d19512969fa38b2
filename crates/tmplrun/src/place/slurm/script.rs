//! The job's script.
//!
//! It travels to `sbatch` over standard input, and Slurm keeps it where administrators can read it: it holds paths and
//! options, and nothing of a notebook or a secret.

use std::fmt::Write as _;

use super::super::parcel::{EVENTS, LOG, Parcel, RESULT, SECRETS};
use super::super::shell::quote;
use crate::error::Result;

/// The signal on which the script stops the notebook in an orderly way. Not one that Slurm sends by itself: at its time limit
/// a job gets SIGTERM, tmplrun included, and a second one from the script would make tmplrun stop at once.
pub(super) const STOP: &str = "USR2";

/// What the script depends on, besides the parcel.
pub(super) struct Job<'a> {
    pub(super) run: &'a str,
    /// The job's folder on the cluster.
    pub(super) folder: &'a str,
    /// `tmplrun` on the cluster, for each architecture; the only one if it has none.
    pub(super) programs: &'a [(Option<String>, String)],
    /// The interpreter whose environment the kernels are in.
    pub(super) python: Option<&'a str>,
    /// Lines that prepare the environment.
    pub(super) setup: &'a [String],
}

pub(super) fn script(job: &Job<'_>, parcel: &Parcel) -> Result<String> {
    let folder = quote(job.folder)?;
    let mut text = String::from("#!/bin/sh\n");
    let mut add = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    add(&format!(
        "# Made by tmplrun {} for the run {}.",
        env!("CARGO_PKG_VERSION"),
        job.run
    ));
    add("umask 077");
    add(&format!("folder={folder}"));
    add(&format!(
        "end() {{ printf '{{\"end\":\"%s\",\"status\":%d,\"detail\":\"%s\"}}\\n' \"$1\" \"$2\" \"$3\" >>\"$folder/{EVENTS}\"; \
         exit \"$2\"; }}"
    ));
    // A folder that is not shared isn't there at all, or is another one of the same name.
    add("[ -f \"$folder/input.ipynb\" ] || exit 97");
    add(&format!("exec 2>>\"$folder/{LOG}\""));
    for line in job.setup {
        add(line);
    }
    if let Some(python) = job.python {
        add(&format!("python={}", quote(python)?));
        add("case $python in '~/'*) python=$HOME/${python#'~/'} ;; esac");
        add("[ -x \"$python\" ] || end python 126 \"$(hostname)\"");
        add("bin=$(dirname \"$python\")");
        add("PATH=$bin:$PATH VIRTUAL_ENV=$(dirname \"$bin\")");
        add("export PATH VIRTUAL_ENV");
    }
    add("case $(uname -m) in");
    for (architecture, program) in job.programs {
        let pattern = architecture.as_deref().unwrap_or("*");
        add(&format!("{pattern}) tmplrun={} ;;", quote(program)?));
    }
    if job.programs.iter().all(|(architecture, _)| architecture.is_some()) {
        add("*) end architecture 126 \"$(uname -m)\" ;;");
    }
    add("esac");
    add("case $tmplrun in '~/'*) tmplrun=$HOME/${tmplrun#'~/'} ;; esac");
    add("\"$tmplrun\" --version >/dev/null || end program $? \"$(uname -m)\"");
    for (variable, file) in &parcel.variables {
        // The end is marked, because `$(…)` would take newlines off it.
        add(&format!(
            "{variable}=$(cat \"$folder/{file}\" && printf x) || end secret 1 {variable}"
        ));
        add(&format!("{variable}=${{{variable}%x}}"));
        add(&format!("export {variable}"));
        add(&format!("rm -f \"$folder/{file}\""));
    }
    add("cd \"$HOME\" || end home 1 \"$HOME\"");
    add("program=");
    // Signals that Slurm sends go to tmplrun as well; the script only stays alive to say how it ended.
    add("trap : TERM INT HUP");
    add(&format!("trap '[ -z \"$program\" ] || kill -TERM \"$program\"' {STOP}"));
    let mut line = String::from("\"$tmplrun\"");
    for argument in &parcel.arguments {
        let (before, rest) = match argument.split_once("{}") {
            // Only where we have put it: at the start, or after `NAME=file:`.
            Some((before, rest)) if before.is_empty() || before.ends_with("=file:") => (before, rest),
            _ => {
                let _ = write!(line, " {}", quote(argument)?);
                continue;
            }
        };
        if !before.is_empty() {
            let _ = write!(line, " {}\"$folder\"{}", quote(before)?, quote(rest)?);
        } else {
            let _ = write!(line, " \"$folder\"{}", quote(rest)?);
        }
    }
    add(&format!("{line} >\"$folder/{RESULT}\" &"));
    add("program=$!");
    // A signal ends a wait early; the program has ended only when it is gone.
    add("while :; do wait \"$program\"; status=$?; kill -0 \"$program\" 2>/dev/null || break; done");
    add(&format!("rm -rf \"$folder/{SECRETS}\""));
    add("end exit \"$status\" ''");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_holds_every_name_as_data() {
        let parcel = Parcel {
            files: Vec::new(),
            arguments: [
                "{}/input.ipynb",
                "--secret",
                "a b=file:{}/secrets/0",
                "--cwd",
                "/x/{}/$(id)",
                "-k",
                "it's",
            ]
            .map(str::to_owned)
            .to_vec(),
            variables: vec![("KEY".to_owned(), "secrets/1".to_owned())],
        };
        let programs = [(Some("x86_64".to_owned()), "/h/bin/a b".to_owned())];
        let setup = ["module load python".to_owned()];
        let job = Job {
            run: "r",
            folder: "/home/o'neill/j",
            programs: &programs,
            python: Some("~/venv/bin/python"),
            setup: &setup,
        };
        let text = script(&job, &parcel).unwrap();
        assert!(text.starts_with("#!/bin/sh\n"));
        assert!(text.contains("folder=\"/home/o'neill/j\"\n"), "{text}");
        let line = text
            .lines()
            .find(|line| line.starts_with("\"$tmplrun\" \"$folder\""))
            .unwrap();
        let wanted = "\"$tmplrun\" \"$folder\"/input.ipynb --secret 'a b=file:'\"$folder\"/secrets/0 --cwd '/x/{}/$(id)' -k \
                      \"it's\" >\"$folder/result.json\" &";
        assert_eq!(line, wanted);
        assert!(text.contains("module load python\n"));
        assert!(text.contains("x86_64) tmplrun='/h/bin/a b' ;;\n*) end architecture"));
        // Read as a shell reads it.
        let mut child = std::process::Command::new("sh")
            .arg("-n")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
}
