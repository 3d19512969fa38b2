//! What a job asks for.

use std::time::Duration;

/// A job to submit. Everything that is left out is Slurm's or the partition's default, or comes from `#SBATCH` lines in the script;
/// what is given here wins over those.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SubmitOptions {
    /// The script itself, beginning with `#!`. It travels over standard input; no file is left behind.
    pub script: String,
    /// Its name in the queue.
    pub name: Option<String>,
    /// How many tasks.
    pub ntasks: Option<u32>,
    /// How many nodes.
    pub nodes: Option<u32>,
    /// How many tasks on each node.
    pub ntasks_per_node: Option<u32>,
    /// How many CPUs for each task.
    pub cpus_per_task: Option<u32>,
    /// Memory for each node, in MiB.
    pub memory_mib: Option<u64>,
    /// Partition.
    pub partition: Option<String>,
    /// How long it may run, rounded up to whole seconds.
    pub time_limit: Option<Duration>,
    /// The account that it is charged to.
    pub account: Option<String>,
    /// Generic resources for each node, as Slurm writes them (`gpu:2`, `gpu:a100:1,license:3`).
    pub gres: Option<String>,
    /// GPUs for the whole job, with their type if it matters (`2`, `a100:2`).
    pub gpus: Option<String>,
    /// Whether it goes back to the queue when its node fails. Left to the cluster where it isn't given.
    pub requeue: Option<bool>,
    /// The folder to run in.
    pub chdir: Option<String>,
    /// The file for its standard output and, without `error`, its standard error.
    pub output: Option<String>,
    /// The file for its standard error.
    pub error: Option<String>,
    /// Variables for its environment, besides those of the place that it is submitted from. Others can see them: no secrets here.
    pub environment: Vec<(String, String)>,
    /// Further options of `sbatch`, one word each.
    pub extra: Vec<String>,
}

impl SubmitOptions {
    /// A script and nothing else.
    pub fn new(script: impl Into<String>) -> SubmitOptions {
        SubmitOptions {
            script: script.into(),
            ..SubmitOptions::default()
        }
    }

    /// Sets an option by the name that `sbatch` has for it (`partition`, `time`, `cpus-per-task`), with its value as `sbatch` takes it.
    ///
    /// What has a field here is read into it, so that a wrong value is found now and not by Slurm. Any other option is passed on as
    /// it is: clusters have options of their own. Options that other fields or calls stand for are refused.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), OptionError> {
        let name = name.trim_start_matches("--").replace('_', "-");
        let fault = |reason: &'static str| OptionError {
            name: name.clone(),
            value: value.map(str::to_owned),
            reason,
        };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if !is_name {
            return Err(fault(
                "that is no option's name; write NAME=VALUE with a long name of sbatch's, without dashes",
            ));
        }
        if name.len() == 1 {
            return Err(fault(
                "a letter is no name here; write the long name, such as `partition` for p",
            ));
        }
        if OURS.contains(&name.as_str()) {
            return Err(fault("this option is not the caller's to set"));
        }
        let text = || value.map(str::to_owned).ok_or_else(|| fault("it needs a value"));
        let count = || {
            let number = value
                .and_then(|value| value.parse::<u32>().ok())
                .filter(|number| *number > 0);
            number.ok_or_else(|| fault("it wants a number of at least 1"))
        };
        match name.as_str() {
            "job-name" => self.name = Some(text()?),
            "ntasks" => self.ntasks = Some(count()?),
            // A range (`2-4`) is sbatch's to read.
            "nodes" if !value.is_some_and(|value| value.contains(['-', ','])) => self.nodes = Some(count()?),
            "ntasks-per-node" => self.ntasks_per_node = Some(count()?),
            "cpus-per-task" => self.cpus_per_task = Some(count()?),
            "partition" => self.partition = Some(text()?),
            "account" => self.account = Some(text()?),
            "gres" => self.gres = Some(text()?),
            "gpus" => self.gpus = Some(text()?),
            "mem" => {
                let memory = read_memory(&text()?);
                self.memory_mib =
                    Some(memory.ok_or_else(|| fault("it wants a size such as 4G or 512M; 0 is all of a node's"))?);
            }
            "time" => {
                let time = read_time(&text()?);
                let reason = "it wants a time such as 30 (minutes), 1:30:00 or 2-12 (days and hours)";
                self.time_limit = Some(time.ok_or_else(|| fault(reason))?);
            }
            "requeue" | "no-requeue" if value.is_none() => self.requeue = Some(name == "requeue"),
            _ => {
                let option = match value {
                    Some(value) => format!("--{name}={value}"),
                    None => format!("--{name}"),
                };
                self.extra.push(option);
            }
        }
        Ok(())
    }

    /// The command line. Values are joined to their option, so that a value with a dash in front stays a value.
    pub(crate) fn argv(&self) -> Vec<String> {
        let mut argv = Vec::new();
        if !self.environment.is_empty() {
            // Not `sbatch --export=NAME=value`: that splits values at commas.
            argv.push("env".to_owned());
            argv.extend(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        }
        argv.push("sbatch".to_owned());
        argv.push("--parsable".to_owned());
        let mut option = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                argv.push(format!("--{name}={value}"));
            }
        };
        option("job-name", self.name.clone());
        option("ntasks", self.ntasks.map(|n| n.to_string()));
        option("nodes", self.nodes.map(|n| n.to_string()));
        option("ntasks-per-node", self.ntasks_per_node.map(|n| n.to_string()));
        option("cpus-per-task", self.cpus_per_task.map(|n| n.to_string()));
        option("mem", self.memory_mib.map(|n| format!("{n}M")));
        option("partition", self.partition.clone());
        option("time", self.time_limit.map(time_text));
        option("account", self.account.clone());
        option("gres", self.gres.clone());
        option("gpus", self.gpus.clone());
        option("chdir", self.chdir.clone());
        option("output", self.output.clone());
        option("error", self.error.clone());
        if let Some(requeue) = self.requeue {
            argv.push(if requeue { "--requeue" } else { "--no-requeue" }.to_owned());
        }
        argv.extend(self.extra.iter().cloned());
        argv
    }
}

/// Options that would break what the calls of this crate, or the caller's other fields, mean.
const OURS: [&str; 12] = [
    "array",
    "chdir",
    "error",
    "help",
    "input",
    "output",
    "parsable",
    "quiet",
    "test-only",
    "usage",
    "version",
    "wrap",
];

/// An option that was refused before Slurm saw it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{name}{}: {reason}", .value.as_ref().map(|value| format!("={value}")).unwrap_or_default())]
pub struct OptionError {
    /// The option's name, without dashes.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// MiB from a size as `sbatch --mem` takes it; a bare number is MiB, a size below one is one.
fn read_memory(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().ok()?;
    match text[digits.len()..].to_ascii_uppercase().trim_end_matches('B') {
        "K" => Some(number.div_ceil(1024)),
        "" | "M" => Some(number),
        "G" => number.checked_mul(1024),
        "T" => number.checked_mul(1024 * 1024),
        _ => None,
    }
}

/// A time as `sbatch --time` takes it: `M`, `M:S`, `H:M:S`, `D-H`, `D-H:M`, `D-H:M:S`.
fn read_time(text: &str) -> Option<Duration> {
    let numbers = |text: &str| -> Option<Vec<u64>> { text.split(':').map(|part| part.parse().ok()).collect() };
    let seconds = match text.split_once('-') {
        Some((days, rest)) => {
            let rest = numbers(rest)?;
            let (hours, minutes, seconds) = match rest.as_slice() {
                [hours] => (*hours, 0, 0),
                [hours, minutes] => (*hours, *minutes, 0),
                [hours, minutes, seconds] => (*hours, *minutes, *seconds),
                _ => return None,
            };
            days.parse::<u64>()
                .ok()?
                .checked_mul(24)?
                .checked_add(hours)?
                .checked_mul(60)?
                .checked_add(minutes)?
                .checked_mul(60)?
                .checked_add(seconds)?
        }
        None => match numbers(text)?.as_slice() {
            [minutes] => minutes.checked_mul(60)?,
            [minutes, seconds] => minutes.checked_mul(60)?.checked_add(*seconds)?,
            [hours, minutes, seconds] => hours
                .checked_mul(60)?
                .checked_add(*minutes)?
                .checked_mul(60)?
                .checked_add(*seconds)?,
            _ => return None,
        },
    };
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// `HOURS:MINUTES:SECONDS`, with as many hours as it takes.
fn time_text(time: Duration) -> String {
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_passed_on() {
        assert_eq!(SubmitOptions::new("#!/bin/sh").argv(), ["sbatch", "--parsable"]);
        let options = SubmitOptions {
            name: Some("-n1".to_owned()),
            ntasks: Some(4),
            nodes: Some(2),
            time_limit: Some(Duration::from_millis(90_001)),
            environment: vec![("LIST".to_owned(), "a,b c".to_owned())],
            extra: vec!["--exclusive".to_owned()],
            ..SubmitOptions::new("#!/bin/sh")
        };
        assert_eq!(
            options.argv(),
            [
                "env",
                "LIST=a,b c",
                "sbatch",
                "--parsable",
                "--job-name=-n1",
                "--ntasks=4",
                "--nodes=2",
                "--time=00:01:31",
                "--exclusive"
            ]
        );
        assert_eq!(time_text(Duration::from_secs(100 * 3600)), "100:00:00");
    }

    fn set(options: &[(&str, Option<&str>)]) -> Result<Vec<String>, String> {
        let mut all = SubmitOptions::new("#!/bin/sh");
        for (name, value) in options {
            all.set(name, *value).map_err(|error| error.to_string())?;
        }
        Ok(all.argv().split_off(2))
    }

    #[test]
    fn options_are_set_by_sbatch_s_names() {
        let given = [
            ("partition", Some("gpu")),
            ("nodes", Some("2")),
            ("cpus_per_task", Some("8")),
            ("mem", Some("4G")),
            ("time", Some("90")),
            ("account", Some("lab")),
            ("gres", Some("gpu:a100:1")),
            ("gpus", Some("2")),
            ("no-requeue", None),
            ("qos", Some("long one")),
            ("exclusive", None),
        ];
        let wanted = [
            "--nodes=2",
            "--cpus-per-task=8",
            "--mem=4096M",
            "--partition=gpu",
            "--time=01:30:00",
            "--account=lab",
            "--gres=gpu:a100:1",
            "--gpus=2",
            "--no-requeue",
            "--qos=long one",
            "--exclusive",
        ];
        assert_eq!(set(&given).unwrap(), wanted);
        assert_eq!(set(&[("nodes", Some("2-4"))]).unwrap(), ["--nodes=2-4"]);
    }

    #[test]
    fn a_wrong_value_is_found_before_slurm_sees_it() {
        for (name, value, reason) in [
            ("nodes", Some("many"), "a number"),
            ("ntasks", Some("0"), "at least 1"),
            ("mem", Some("lots"), "4G"),
            ("time", Some("tomorrow"), "1:30:00"),
            ("time", Some("0"), "1:30:00"),
            ("partition", None, "needs a value"),
            ("output", Some("x"), "not the caller's"),
            ("array", Some("1-4"), "not the caller's"),
            ("p", Some("gpu"), "the long name"),
            ("no such name", None, "no option's name"),
            ("", None, "no option's name"),
        ] {
            let error = set(&[(name, value)]).unwrap_err();
            assert!(error.contains(reason), "{name}: {error}");
        }
    }

    #[test]
    fn times_and_sizes_are_read_as_sbatch_reads_them() {
        let seconds = |text| read_time(text).map(|time| time.as_secs());
        for (text, wanted) in [
            ("5", 300),
            ("5:30", 330),
            ("1:00:01", 3601),
            ("1-0", 86400),
            ("1-1:01", 86400 + 3660),
            ("1-01:01:01", 86400 + 3661),
        ] {
            assert_eq!(seconds(text), Some(wanted), "{text}");
        }
        for text in ["", "-1", "1:2:3:4", "1-", "x", "UNLIMITED", "99999999999999999999"] {
            assert_eq!(seconds(text), None, "{text}");
        }
        for (text, wanted) in [("512", 512), ("0", 0), ("1500K", 2), ("2GB", 2048), ("1t", 1024 * 1024)] {
            assert_eq!(read_memory(text), Some(wanted), "{text}");
        }
        assert_eq!(read_memory("G"), None);
        assert_eq!(read_memory("4P"), None);
    }
}
