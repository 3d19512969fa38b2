//! What the program says about itself.

use crate::place::Place;

const COMMANDS: &[&str] = &[
    "new",
    "check",
    "plan",
    "apply",
    "list",
    "status",
    "gpus",
    "run",
    "files",
    "history",
    "export",
    "import",
    "destroy",
    "completions",
];

#[test]
fn every_command_has_help_with_examples() {
    let place = Place::new();
    insta::assert_snapshot!("clusterbook", place.good(&["--help"]).stdout);
    for command in COMMANDS {
        let help = place.good(&[command, "--help"]).stdout;
        assert!(help.contains("Examples:"), "{command}");
        insta::assert_snapshot!(*command, help);
    }
}

#[test]
fn the_help_names_every_command_that_is_tested_here() {
    let help = Place::new().good(&["-h"]).stdout;
    let listed: Vec<&str> = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert_eq!(listed, COMMANDS);
}

#[test]
fn completions_are_printed_for_shells() {
    let place = Place::new();
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef clusterbook"),
        ("fish", "complete -c clusterbook"),
    ] {
        assert!(place.good(&["completions", shell]).stdout.contains(mark), "{shell}");
    }
    let document = place.json(&["completions", "bash"]);
    assert!(document["script"].as_str().unwrap().contains("history"));
}

#[test]
fn bad_usage_ends_with_2() {
    let place = Place::new();
    for arguments in [
        &["aply"][..],
        &[],
        &["run", "demo", "--on", "all"],
        &["run", "demo", "--", "true"],
        &["plan", "demo", "--destroy", "demo"],
        &["export", "demo", "file", "--passphrase", "correct horse"],
    ] {
        let ran = place.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stdout.is_empty() && !ran.stderr.is_empty(), "{ran:?}");
    }
}
