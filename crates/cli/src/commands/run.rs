//! `clusterbook run`

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};

use anstyle::{AnsiColor, Style};
use clusterbook_engine::{RunOutcome, RunResult};
use serde::Serialize;

use crate::context::Context;
use crate::error::{CommandError, Ending};
use crate::output::Output;
use crate::signals;

const NODE: Style = AnsiColor::Cyan.on_default();

/// Run a command on nodes, all at once, with live output
#[derive(clap::Args)]
#[command(after_help = "\
Every line of output is led by its node. One word after -- is given to the nodes' shell as it is; several words are \
quoted one by one. Ends with the highest exit status on any node; a node that could not be reached counts as 1.

Examples:
  clusterbook run demo --on all -- uptime
  clusterbook run demo --on c1,c2 -- 'df -h | grep home'
  clusterbook run demo --on compute --stdin -- sh -s < script.sh")]
pub(crate) struct Arguments {
    /// The cluster
    name: String,
    /// Nodes or groups, with commas between them; or `all`
    #[arg(long, value_name = "NODES", value_delimiter = ',', required = true)]
    on: Vec<String>,
    /// Give our standard input to the command on every node
    #[arg(long)]
    stdin: bool,
    /// The command
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Serialize)]
struct Results<'a> {
    cluster: &'a str,
    shell_command: &'a str,
    exit_status: u8,
    results: &'a [RunResult],
}

pub(crate) async fn run(context: &Arc<Context>, arguments: &Arguments) -> Result<Ending, CommandError> {
    let output = &context.output;
    let command = shell_command(&arguments.command);
    let mut stdin = Vec::new();
    if arguments.stdin {
        std::io::stdin()
            .lock()
            .read_to_end(&mut stdin)
            .map_err(|error| CommandError::input("standard input can't be read").because(&error))?;
    }
    let engine = context.engine("run")?;
    let teller = context.clone();
    let stop = signals::stop_on_signals("Stopping: what a node has begun may go on there.", move |text| {
        teller.output.note(text);
    })?;
    let lines = Mutex::new(Lines::default());
    let show = |node: &str, error: bool, bytes: &[u8]| {
        if !output.is_json() {
            lines
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .add(output, node, error, bytes);
        }
    };
    let results = Box::pin(engine.run(&arguments.name, &arguments.on, &command, &stdin, &show, &stop)).await?;
    lines.into_inner().unwrap_or_else(PoisonError::into_inner).end(output);
    for result in &results {
        match &result.result {
            RunOutcome::Ran(ran) if ran.code != 0 => {
                output.note(&format!("{}: ended with status {}", result.node, ran.code));
            }
            RunOutcome::Ran(_) => {}
            RunOutcome::Failed(failure) => {
                output.note(&format!("{}: {}: {}", result.node, failure.doing, failure.message));
                if !failure.hint.is_empty() {
                    output.note(&format!("  help: {}", failure.hint));
                }
            }
        }
    }
    let ending = if stop.is_asked() {
        Ending::Interrupted
    } else {
        worst(&results)
    };
    output.document(&Results {
        cluster: &arguments.name,
        shell_command: &command,
        exit_status: ending.status(),
        results: &results,
    });
    Ok(ending)
}

/// The highest status on any node.
fn worst(results: &[RunResult]) -> Ending {
    let status = |result: &RunResult| match &result.result {
        // A status that is no status is still a failure.
        RunOutcome::Ran(ran) => u8::try_from(ran.code).unwrap_or(u8::MAX),
        RunOutcome::Failed(_) => 1,
    };
    match results.iter().map(status).max().unwrap_or(0) {
        0 => Ending::Done,
        status => Ending::Command(status),
    }
}

/// One word is a shell's business; several are one command's name and arguments.
fn shell_command(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
    }
}

fn quote(word: &str) -> String {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./=:,@%+".contains(&byte);
    if !word.is_empty() && word.bytes().all(harmless) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Output arrives in pieces; people read lines.
#[derive(Default)]
struct Lines(BTreeMap<(String, bool), Vec<u8>>);

impl Lines {
    fn add(&mut self, output: &Output, node: &str, error: bool, bytes: &[u8]) {
        let begun = self.0.entry((node.to_owned(), error)).or_default();
        begun.extend_from_slice(bytes);
        if let Some(end) = begun.iter().rposition(|byte| *byte == b'\n') {
            let rest = begun.split_off(end + 1);
            let whole = std::mem::replace(begun, rest);
            output.bytes(error, &led(node, &whole));
        }
    }

    /// What ended without an end of line.
    fn end(self, output: &Output) {
        for ((node, error), mut rest) in self.0 {
            if !rest.is_empty() {
                rest.push(b'\n');
                output.bytes(error, &led(&node, &rest));
            }
        }
    }
}

/// Whole lines, each led by the node's name.
fn led(node: &str, lines: &[u8]) -> Vec<u8> {
    let lead = format!("{NODE}{node}:{NODE:#} ");
    lines
        .split_inclusive(|byte| *byte == b'\n')
        .flat_map(|line| [lead.as_bytes(), line].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn one_word_is_a_shell_line_and_several_are_quoted() {
        assert_eq!(shell_command(&words(&["df -h | tail -1"])), "df -h | tail -1");
        assert_eq!(
            shell_command(&words(&["echo", "it's", "", "$HOME"])),
            r"echo 'it'\''s' '' '$HOME'"
        );
    }

    #[test]
    fn every_line_is_led_by_its_node() {
        let text = String::from_utf8_lossy(&led("c1", b"one\ntwo\n")).into_owned();
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), "c1: one\nc1: two\n");
    }

    #[test]
    fn the_worst_status_counts() {
        use clusterbook_engine::{Failure, NodeOutput};
        let ran = |code| RunResult {
            node: "c1".to_owned(),
            result: RunOutcome::Ran(NodeOutput {
                stdout: String::new(),
                stderr: String::new(),
                code,
            }),
        };
        let failed = RunResult {
            node: "c2".to_owned(),
            result: RunOutcome::Failed(Failure {
                what: "c2".to_owned(),
                doing: "reaching it".to_owned(),
                message: "off".to_owned(),
                hint: String::new(),
            }),
        };
        assert_eq!(worst(&[ran(0), ran(0)]), Ending::Done);
        assert_eq!(worst(&[ran(0), failed.clone()]), Ending::Command(1));
        assert_eq!(worst(&[ran(3), failed, ran(2)]), Ending::Command(3));
        assert_eq!(worst(&[ran(70_000)]), Ending::Command(255));
    }
}
