//! What travels to a place, and what comes back.
//!
//! A parcel is a folder of files that only its owner may read, and a command line of `tmplrun` that works on them. Nothing
//! of a notebook, its parameters or its secrets is in the command line or in a variable of whatever starts the program: both
//! can be seen by others on most systems.

use std::collections::HashMap;
use std::io::{Cursor, Read as _};
use std::path::Path;

use serde::Deserialize;

use super::{Finished, Task};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Status;
use crate::execute;
use crate::json::{self, Json, Object, Style};
use crate::kernel::LeftProcess;
use crate::notebook::Notebook;
use crate::run::{CellFailure, CellResult};

pub(super) const INPUT: &str = "input.ipynb";
pub(super) const OUTPUT: &str = "output.ipynb";
pub(super) const EVENTS: &str = "events.jsonl";
/// What is put together to a notebook if the program did not come to write one.
pub(super) const JOURNAL: &str = ".output.ipynb.journal";
pub(super) const RESULT: &str = "result.json";
pub(super) const LOG: &str = "log.txt";
pub(super) const SECRETS: &str = "secrets";
const PARAMETERS: &str = "parameters.yaml";

/// Everything for one notebook.
#[derive(Debug)]
pub(super) struct Parcel {
    /// Files by their name in the folder.
    pub(super) files: Vec<(String, Vec<u8>)>,
    /// Arguments of `tmplrun`; `{}` at the start of a word stands for the folder.
    pub(super) arguments: Vec<String>,
    /// Variables that the kernel gets, each from a file, to be set by whatever starts the program there.
    pub(super) variables: Vec<(String, String)>,
}

impl Parcel {
    /// Packs a task. `folder` is the kernel's working folder there; none for where the program is started.
    pub(super) fn pack(task: &Task<'_>, folder: Option<&str>) -> Result<Self> {
        let options = task.options;
        let mut files = vec![(INPUT.to_owned(), task.notebook.write().into_bytes())];
        let mut arguments: Vec<String> = Vec::new();
        let mut say = |words: &[&str]| arguments.extend(words.iter().map(|word| (*word).to_owned()));
        say(&[
            &format!("{{}}/{INPUT}"),
            &format!("{{}}/{OUTPUT}"),
            "--json",
            "--no-progress-bar",
        ]);
        say(&["--events", &format!("{{}}/{EVENTS}")]);
        if !task.parameters.is_empty() {
            files.push((PARAMETERS.to_owned(), yaml(task.parameters).into_bytes()));
            say(&["--parameters_file", &format!("{{}}/{PARAMETERS}")]);
        }
        let mut variables = Vec::new();
        for (number, secret) in task.secrets.iter().enumerate() {
            let file = format!("{SECRETS}/{number}");
            files.push((file.clone(), secret.value().to_vec()));
            let name = &secret.name;
            match secret.reference.strip_prefix("env:") {
                Some(variable) => {
                    if !is_name(variable) {
                        return Err(Error::yours(format!(
                            "the secret `{name}` names a variable that a shell cannot set: {variable}"
                        ))
                        .help("give it another name, of letters, digits and _, or put the secret into a file"));
                    }
                    say(&["--secret", &format!("{name}=env:{variable}")]);
                    variables.push((variable.to_owned(), file));
                }
                None => say(&["--secret", &format!("{name}=file:{{}}/{file}")]),
            }
        }
        for (option, value) in [("--kernel", &options.kernel), ("--language", &options.language)] {
            if let Some(value) = value {
                say(&[option, value]);
            }
        }
        if let Some(folder) = folder {
            say(&["--cwd", folder]);
        }
        say(&["--start-timeout", &options.start_timeout.as_secs().to_string()]);
        if let Some(limit) = options.cell_timeout {
            say(&["--execution-timeout", &limit.as_secs().to_string()]);
        }
        if let Some(limit) = options.notebook_timeout {
            say(&["--timeout", &limit.as_secs().to_string()]);
        }
        say(&["--autosave-cell-every", &options.autosave.as_secs().to_string()]);
        say(&["--repeat-cells", &options.repeat.max(1).to_string()]);
        for (option, values) in [
            ("--allow-error-name", &options.allow_error_names),
            ("--skip-tag", &options.skip_tags),
        ] {
            values.iter().for_each(|value| say(&[option, value]));
        }
        for (option, given) in [
            ("--allow-errors", options.allow_errors),
            ("--report-mode", options.report_mode),
            ("--debugger", options.debugger),
            ("--no-request-save-on-cell-execute", !options.save_between_cells),
        ] {
            if given {
                say(&[option]);
            }
        }
        // There already, so that it can be followed before the program has started.
        files.push((EVENTS.to_owned(), Vec::new()));
        Ok(Self {
            files,
            arguments,
            variables,
        })
    }

    /// The files as one tar archive, each for its owner alone.
    pub(super) fn archive(&self) -> std::io::Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(jiff::Timestamp::now().as_second().max(0).unsigned_abs());
            archive.append_data(&mut header, name, content.as_slice())?;
        }
        archive.into_inner()
    }
}

/// Whether a shell takes it as a variable's name.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && text.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// JSON is YAML, apart from the numbers that JSON doesn't have, and from powers of ten: YAML 1.1 wants both a point and a
/// sign in these, and reads text otherwise.
fn yaml(parameters: &Object) -> String {
    let mut value = Json::Object(parameters.clone());
    plain_numbers(&mut value);
    Style::notebook().write(&value)
}

fn plain_numbers(value: &mut Json) {
    match value {
        Json::Number(text) => {
            let word = match text.as_str() {
                "NaN" => ".nan",
                "Infinity" => ".inf",
                "-Infinity" => "-.inf",
                _ => {
                    if let Some((digits, power)) = text.split_once(['e', 'E']) {
                        let point = if digits.contains('.') { "" } else { ".0" };
                        let sign = if power.starts_with(['+', '-']) { "" } else { "+" };
                        *text = format!("{digits}{point}e{sign}{power}");
                    }
                    return;
                }
            };
            word.clone_into(text);
        }
        Json::Array(array) => array.items.iter_mut().for_each(plain_numbers),
        Json::Object(object) => object.values_mut().for_each(|(_, value)| plain_numbers(value)),
        _ => {}
    }
}

/// What came back.
#[derive(Debug, Default)]
pub(super) struct Returned {
    files: HashMap<String, Vec<u8>>,
}

/// The part of what `tmplrun --json` prints that is ours to know.
#[derive(Debug, Deserialize)]
struct Answer {
    steps: Vec<AnsweredStep>,
    #[serde(default)]
    left: Vec<LeftProcess>,
}

#[derive(Debug, Deserialize)]
struct AnsweredStep {
    status: Status,
    #[serde(default)]
    cells: Vec<CellResult>,
    failure: Option<CellFailure>,
    error: Option<String>,
}

impl Returned {
    /// Reads a tar archive of the folder's files.
    pub(super) fn unpack(archive: &[u8]) -> std::io::Result<Self> {
        let mut files = HashMap::new();
        for entry in tar::Archive::new(Cursor::new(archive)).entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            files.insert(name, content);
        }
        Ok(Self { files })
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8_lossy(self.files.get(name).map(Vec::as_slice).unwrap_or_default()).into_owned()
    }

    /// The last lines that the program, or whatever started it, had to say.
    pub(super) fn log(&self) -> String {
        const LINES: usize = 12;
        let text = self.text(LOG);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|line| !line.is_empty())
            .collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    /// How it ended, as far as the program came; none if it left no result. `cells` are those that were heard of.
    /// A notebook that was not finished is put together in a folder below `temporary`.
    pub(super) fn finished(&self, cells: Vec<CellResult>, temporary: &Path) -> Finished {
        let mut finished = Finished {
            status: Status::Failed,
            failure: None,
            cells,
            results: Object::new(),
            notebook: self.notebook(temporary),
            error: None,
            left: Vec::new(),
        };
        let text = self.text(RESULT);
        let Some((answer, step)) = serde_json::from_str::<Answer>(&text)
            .ok()
            .and_then(|mut answer| answer.steps.pop().map(|step| (answer, step)))
        else {
            finished.error = Some(Error::new(ErrorKind::Bug, "tmplrun left no result there"));
            return finished;
        };
        finished.status = step.status;
        finished.failure = step.failure;
        finished.cells = step.cells;
        finished.left = answer.left;
        // Read by our own reader, which keeps numbers as they were written.
        if let Some(results) = json::parse(&text)
            .ok()
            .as_ref()
            .and_then(|value| value.get("steps")?.as_array()?.last()?.get("results")?.as_object())
        {
            finished.results = results.clone();
        }
        finished.error = step.error.map(|text| {
            let kind = match step.status {
                Status::KernelDied => ErrorKind::Kernel,
                Status::Interrupted => ErrorKind::Interrupted,
                _ => ErrorKind::Configuration,
            };
            Error::new(kind, text)
        });
        finished
    }

    fn notebook(&self, temporary: &Path) -> Option<Notebook> {
        let path = Path::new(OUTPUT);
        let saved = || Notebook::read(self.files.get(OUTPUT)?, path).ok();
        let Some(journal) = self.files.get(JOURNAL) else {
            return saved();
        };
        let recovered = || -> Option<Notebook> {
            let folder = tempfile::Builder::new()
                .prefix("tmplrun-")
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .tempdir_in(temporary)
                .ok()?;
            fs_err::write(folder.path().join(JOURNAL), journal).ok()?;
            Some(execute::recover(&folder.path().join(OUTPUT)).ok()??.notebook)
        };
        // The journal knows more than what was saved last, if it can be read.
        recovered().or_else(saved)
    }

    /// Whether the program left a result.
    pub(super) fn has_result(&self) -> bool {
        serde_json::from_str::<Answer>(&self.text(RESULT)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::Environment;
    use crate::mask::Secret;
    use crate::parameters::RawParameters;
    use crate::run::Options;

    fn notebook() -> Notebook {
        let text = br#"{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}"#;
        Notebook::read(text, Path::new("n.ipynb")).unwrap()
    }

    fn environment(folder: &Path) -> Environment {
        Environment {
            variables: vec![
                ("KEY".to_owned(), "from-a-variable\n".to_owned()),
                ("1X".to_owned(), "v".to_owned()),
            ],
            jupyter_paths: Vec::new(),
            python: None,
            programs: Vec::new(),
            temporary: folder.to_path_buf(),
            kept: folder.to_path_buf(),
            current: folder.to_path_buf(),
        }
    }

    fn pack(parameters: &Object, secrets: Vec<&Secret>) -> Result<Parcel> {
        let task = Task {
            run: "r",
            step: 0,
            name: "n.ipynb",
            notebook: &notebook(),
            parameters,
            secrets,
            folder: Path::new("/w"),
            options: &Options::default(),
            temporary: Path::new("/t"),
        };
        Parcel::pack(&task, Some("/w"))
    }

    #[test]
    fn parameters_arrive_as_they_were() {
        let text = "a: 1\nb: 1.5\nc: .nan\nd: -.inf\ne: '1e5'\nf: 1.0e+16\ng: 'yes'\nh: [true, null, {x: '2020-01-01'}]\n\
                    i: 123456789012345678901234567890\nj: \"\\u00e9 \\\"'\"\nk: '0x10'\nl: '1:30'\nm: ''\n";
        let raw = |yaml: String| RawParameters {
            yaml: vec![yaml],
            ..RawParameters::default()
        };
        let parameters = raw(text.to_owned()).resolve().unwrap();
        assert_eq!(parameters.len(), 13);
        let parcel = pack(&parameters, Vec::new()).unwrap();
        let (_, sent) = parcel.files.iter().find(|(name, _)| name == PARAMETERS).unwrap();
        let arrived = raw(String::from_utf8(sent.clone()).unwrap()).resolve().unwrap();
        for (name, value) in parameters.iter() {
            assert_eq!(arrived.get(&name), Some(value), "{name}");
        }
    }

    #[test]
    fn what_was_asked_of_a_run_is_asked_of_the_program_there() {
        let options = Options {
            kernel: Some("k".to_owned()),
            language: Some("l".to_owned()),
            allow_errors: true,
            allow_error_names: vec!["A".to_owned(), "B".to_owned()],
            skip_tags: vec!["slow".to_owned()],
            report_mode: true,
            debugger: true,
            save_between_cells: false,
            cell_timeout: Some(std::time::Duration::from_secs(7)),
            notebook_timeout: Some(std::time::Duration::from_secs(8)),
            repeat: 2,
            ..Options::default()
        };
        let task = Task {
            run: "r",
            step: 0,
            name: "n.ipynb",
            notebook: &notebook(),
            parameters: &Object::new(),
            secrets: Vec::new(),
            folder: Path::new("/w"),
            options: &options,
            temporary: Path::new("/t"),
        };
        let line = Parcel::pack(&task, None).unwrap().arguments.join(" ");
        assert_eq!(
            line,
            "{}/input.ipynb {}/output.ipynb --json --no-progress-bar --events {}/events.jsonl --kernel k --language l \
             --start-timeout 60 --execution-timeout 7 --timeout 8 --autosave-cell-every 30 --repeat-cells 2 \
             --allow-error-name A --allow-error-name B --skip-tag slow --allow-errors --report-mode --debugger \
             --no-request-save-on-cell-execute"
        );
    }

    #[test]
    fn secrets_travel_in_files_and_nowhere_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs_err::write(&path, "in-a-file\n").unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        fs_err::set_permissions(&path, mode).unwrap();
        let environment = environment(folder.path());
        let token = Secret::read("token=file:token", &environment).unwrap();
        let key = Secret::read("key=env:KEY", &environment).unwrap();
        let parcel = pack(&Object::new(), vec![&token, &key]).unwrap();
        let content = |file: &str| {
            let (_, content) = parcel.files.iter().find(|(name, _)| name == file).unwrap();
            String::from_utf8(content.clone()).unwrap()
        };
        assert_eq!(content("secrets/0"), "in-a-file\n");
        assert_eq!(content("secrets/1"), "from-a-variable\n");
        assert_eq!(parcel.variables, [("KEY".to_owned(), "secrets/1".to_owned())]);
        let line = parcel.arguments.join(" ");
        assert!(
            line.contains("--secret token=file:{}/secrets/0 --secret key=env:KEY"),
            "{line}"
        );
        assert!(
            !line.contains("in-a-file") && !line.contains("from-a-variable"),
            "{line}"
        );
        let odd = Secret::read("odd=env:1X", &environment).unwrap();
        assert!(pack(&Object::new(), vec![&odd]).unwrap_err().to_string().contains("1X"));
    }

    #[test]
    fn an_archive_is_its_owner_s_alone_and_comes_back() {
        let parcel = pack(&Object::new(), Vec::new()).unwrap();
        let archive = parcel.archive().unwrap();
        for entry in tar::Archive::new(Cursor::new(&archive)).entries().unwrap() {
            assert_eq!(entry.unwrap().header().mode().unwrap(), 0o600);
        }
        let back = Returned::unpack(&archive).unwrap();
        assert_eq!(back.files[INPUT], notebook().write().into_bytes());
        assert!(!back.has_result());
        assert!(Returned::unpack(b"no archive at all, but longer than nothing").is_err());
    }
}
