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
        option("chdir", self.chdir.clone());
        option("output", self.output.clone());
        option("error", self.error.clone());
        argv.extend(self.extra.iter().cloned());
        argv
    }
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
}
