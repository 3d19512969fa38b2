//! Runs whose runner, kernel or fork server is killed at any moment: nothing is left, every cell that had ended is there, and
//! the next run brings the flow to its end.
//!
//! A moment is the arrival of an event, with or without a short wait after it; which one, and who is killed, comes from a
//! seed. `TMPLRUN_TEST_KILLS` says how many flows are tried, `TMPLRUN_TEST_SEED` which one is tried first: a failure names
//! its own.
#![allow(
    clippy::print_stderr,
    reason = "shown only beside a failure: what was killed, and when"
)]

use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::lab::{Lab, Run, code, signal, stream};

const NOTEBOOKS: [&str; 4] = ["a.ipynb", "b.ipynb", "c.ipynb", "d.ipynb"];
const CELLS: usize = 4;
/// Each flow is killed so often before it may end.
const KILLS: usize = 2;
/// Longer than from one event to the next, mostly.
const LONGEST_WAIT: u64 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Runner,
    Kernel,
    Server,
}

/// Numbers that are the same for the same seed (SplitMix64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).unwrap()
    }
}

fn source(notebook: usize, cell: usize) -> String {
    let child = if cell == 0 {
        "import subprocess, time\nsubprocess.Popen(['sleep', '1000'])\n"
    } else {
        ""
    };
    format!(
        "{child}for line in range(5):\n    print('notebook {notebook} cell {cell} line', line, flush=True)\n    time.sleep(0.003)"
    )
}

fn expected(notebook: usize, cell: usize) -> String {
    (0..5)
        .map(|line| format!("notebook {notebook} cell {cell} line {line}\n"))
        .collect()
}

fn flow(lab: &Lab) {
    for (index, name) in NOTEBOOKS.iter().enumerate() {
        let cells: Vec<Value> = (0..CELLS).map(|cell| code(&source(index, cell))).collect();
        lab.notebook(&format!("f/{name}"), &cells);
    }
    lab.write(
        "f/flow.yaml",
        "schema: 1\nflows:\n  main:\n    steps:\n      - a.ipynb\n      - {notebook: b.ipynb, needs: [a]}\n      \
         - {notebook: c.ipynb, needs: [a]}\n      - {notebook: d.ipynb, needs: [b, c]}\n",
    );
}

/// The whole lines of the events file.
fn events(lab: &Lab) -> Vec<Value> {
    let text = std::fs::read_to_string(lab.path("events")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A process's parent, and the words of its command.
fn about(pid: &str) -> Option<(String, Vec<String>)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let parent = stat.rsplit(')').next()?.split_whitespace().nth(1)?.to_owned();
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = command.split(|byte| *byte == 0);
    Some((
        parent,
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
    ))
}

/// Who lives now that may be killed. A forked kernel's command is its server's; their parents differ.
fn candidates(lab: &Lab, runner: u32, victim: Victim) -> Vec<u32> {
    let all: Vec<(String, String, Vec<String>)> = lab
        .processes()
        .into_iter()
        .filter_map(|pid| about(&pid).map(|(parent, words)| (pid, parent, words)))
        .collect();
    let runner_pid = runner.to_string();
    let starts = |words: &[String], how: &str| words.get(3).is_some_and(|word| word == how);
    let servers: Vec<&String> = all
        .iter()
        .filter(|(_, parent, words)| *parent == runner_pid && starts(words, "many"))
        .map(|(pid, ..)| pid)
        .collect();
    let found: Vec<&String> = match victim {
        Victim::Runner => return vec![runner],
        Victim::Server => servers,
        Victim::Kernel => all
            .iter()
            .filter(|(_, parent, words)| {
                (servers.contains(&parent) && starts(words, "many")) || (*parent == runner_pid && starts(words, "one"))
            })
            .map(|(pid, ..)| pid)
            .collect(),
    };
    found.into_iter().map(|pid| pid.parse().unwrap()).collect()
}

/// Kills the victim as soon as so many events have come and there is one; false if the run ended before.
fn kill(lab: &Lab, runner: &mut Child, victim: Victim, after: usize, wait: Duration, chance: &mut Chance) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        assert!(Instant::now() < deadline, "the run comes to no end");
        if runner.try_wait().unwrap().is_some() {
            return false;
        }
        if events(lab).len() >= after {
            std::thread::sleep(wait);
            let found = candidates(lab, runner.id(), victim);
            if !found.is_empty() {
                let pid = rustix::process::Pid::from_raw(found[chance.below(found.len())].cast_signed()).unwrap();
                // It may have ended by itself meanwhile.
                return rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok();
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What every executed notebook must hold, given what was told while it ran.
fn check(lab: &Lab, told: &[Value]) {
    for (index, name) in NOTEBOOKS.iter().enumerate() {
        let path = format!("o/{name}");
        if !lab.path(&path).exists() {
            continue;
        }
        let notebook = lab.read(&path);
        let cells: Vec<&Value> = notebook["cells"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|cell| cell["cell_type"] == "code")
            .collect();
        assert_eq!(cells.len(), CELLS, "{name}");
        let mut unfinished = 0;
        for (number, cell) in cells.into_iter().enumerate() {
            let one = serde_json::json!({"cells": [cell]});
            let (text, all) = (stream(&one, 0), expected(index, number));
            let status = cell["metadata"]["papermill"]["status"].as_str().unwrap();
            assert!(all.starts_with(&text), "{name}, cell {number}: {text:?}");
            match status {
                "completed" => assert_eq!(text, all, "{name}, cell {number}"),
                "failed" => unfinished += 1,
                "pending" => assert_eq!(text, "", "{name}, cell {number}"),
                other => panic!("{name}, cell {number} is {other}"),
            }
            let had_ended = told.iter().any(|event| {
                event["event"] == "cell_finished"
                    && event["step"] == index
                    && event["index"] == number
                    && event["status"] == "completed"
            });
            assert!(
                !had_ended || status == "completed",
                "{name}, cell {number} had ended and is {status}"
            );
        }
        assert!(unfinished <= 1, "{name}: {unfinished} cells were running at once");
    }
}

fn round(lab: &Lab, chance: &mut Chance) {
    flow(lab);
    let mut resume = false;
    for turn in 0..=KILLS {
        let mut arguments = vec!["f", "o", "--jobs", "2", "--events", "events"];
        if resume {
            arguments.push("--resume");
        }
        let _ = std::fs::remove_file(lab.path("events"));
        if turn == KILLS {
            lab.run(&arguments).expect(0);
            break;
        }
        let victim = [Victim::Runner, Victim::Kernel, Victim::Server][chance.below(3)];
        // Less is left to do after the first kill.
        let moment = chance.below(if turn == 0 { 120 } else { 60 });
        let wait = match chance.below(2) {
            0 => Duration::ZERO,
            _ => Duration::from_millis(chance.below(LONGEST_WAIT as usize) as u64),
        };
        let mut runner = lab.start(&arguments);
        let killed = kill(lab, &mut runner, victim, moment, wait, chance);
        let run = Run {
            code: None,
            ..Run::from(runner.wait_with_output().unwrap())
        };
        lab.await_nothing();
        let told = events(lab);
        eprintln!(
            "  {victim:?} {} after event {moment} and {wait:?}",
            if killed { "killed" } else { "not met" }
        );
        // Without a record nothing has run; a run begins with it.
        resume = lab.path("o/run.json").exists();
        if killed && victim == Victim::Runner && resume {
            lab.run(&["--recover", "o"]).expect(0);
        }
        assert!(
            resume || told.iter().all(|event| event["event"] != "cell_started"),
            "{}",
            run.stderr
        );
        check(lab, &told);
    }
    lab.await_nothing();
    check(lab, &[]);
    for (index, name) in NOTEBOOKS.iter().enumerate() {
        let notebook = lab.read(&format!("o/{name}"));
        for cell in 0..CELLS {
            assert_eq!(stream(&notebook, cell), expected(index, cell), "{name}");
        }
    }
    let mut left: Vec<String> = std::fs::read_dir(lab.path("o"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, [&NOTEBOOKS[..], &["report.html", "run.json"]].concat());
}

#[test]
fn a_kill_at_any_moment_leaves_nothing_and_loses_no_cell_that_had_ended() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let first = number("TMPLRUN_TEST_SEED", 1);
    for seed in first..first + number("TMPLRUN_TEST_KILLS", 6) {
        eprintln!("TMPLRUN_TEST_SEED={seed}");
        round(&Lab::new(), &mut Chance(seed));
    }
}

#[test]
fn what_a_killed_writer_left_is_removed_by_the_next() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[code("import os, time\nopen('here', 'w').write('1')\ntime.sleep(1000)")],
    );
    let mut runner = lab.start(&["n.ipynb", "o.ipynb"]);
    lab.await_file("here");
    signal(runner.id(), "KILL");
    runner.wait().unwrap();
    // As if the kill had met it in the middle of saving. What belongs to another output is not ours to judge.
    let aside = |output: &str| {
        let digest = <sha2::Sha256 as sha2::Digest>::digest(output);
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        format!(".tmplrun-{digest}.Ab12Cd.new")
    };
    lab.write(&aside("o.ipynb"), "{");
    lab.write(&aside("other.ipynb"), "{");
    lab.run(&["--recover", "o.ipynb"]).expect(0);
    assert!(!lab.path(&aside("o.ipynb")).exists());
    assert!(lab.path(&aside("other.ipynb")).exists());
    lab.await_nothing();
}
