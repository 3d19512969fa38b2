//! Bad input: a clear message, its exit code, nothing run, nothing lost.

use std::os::unix::fs::PermissionsExt as _;

use crate::lab::{Lab, code, tagged};

#[test]
fn a_file_that_is_no_notebook() {
    let lab = Lab::new();
    lab.write("n.ipynb", "print('hello')\n");
    lab.run(&["n.ipynb", "o.ipynb"])
        .expect(2)
        .says("n.ipynb:1: this is not a notebook")
        .says("help:");
    assert!(!lab.path("o.ipynb").exists());
    lab.run(&["absent.ipynb", "o.ipynb"])
        .expect(2)
        .says("absent.ipynb: the notebook cannot be read")
        .says("because:");
}

#[test]
fn an_unknown_kernel_lists_those_there_are() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run(&["n.ipynb", "o.ipynb", "-k", "nope"])
        .expect(2)
        .says("no kernel called `nope`")
        .says("python3");
}

#[test]
fn an_output_that_cannot_be_written_is_found_before_running() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("open('ran', 'w').close()")]);
    lab.write("plain", "x");
    lab.run(&["n.ipynb", "plain/o.ipynb"])
        .expect(2)
        .says("plain/o.ipynb: the output cannot be written");
    lab.run(&["n.ipynb", "t"])
        .expect(2)
        .says("the output cannot be written");
    lab.run(&["n.ipynb", "o.ipynb", "--report", "plain/r.html"])
        .expect(2)
        .says("plain/r.html: the output cannot be written");
    assert!(!lab.path("ran").exists());
}

#[test]
fn a_notebook_without_an_output_path_is_asked_about() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    lab.run_on_a_terminal(&["n.ipynb"])
        .expect(2)
        .says("where should the executed notebook go?");
    lab.run(&["n.ipynb", "o.ipynb", "--from", "1"])
        .expect(2)
        .says("choose among a flow's notebooks");
    lab.run(&["n.ipynb", "o-{who}.ipynb"])
        .expect(2)
        .says("the path names the parameter `who`");
}

#[test]
fn unknown_parameters_warn_or_with_strict_stop() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[tagged("alpha = 1", &["parameters"])]);
    lab.run(&["n.ipynb", "-", "--prepare-only", "-p", "alhpa", "1"])
        .expect(0)
        .says("warning: n.ipynb does not declare `alhpa`; it declares alpha");
    lab.run(&["n.ipynb", "o.ipynb", "--strict", "-p", "alhpa", "1"])
        .expect(2)
        .says("does not declare `alhpa`");
}

#[test]
fn preparing_injects_and_does_not_run() {
    let lab = Lab::new();
    lab.notebook(
        "n.ipynb",
        &[tagged("alpha = 1", &["parameters"]), code("open('ran', 'w').close()")],
    );
    let run = lab
        .run(&["n.ipynb", "-", "--prepare-only", "-p", "alpha", "2"])
        .expect(0);
    assert!(run.stdout.contains("alpha = 2") && !lab.path("ran").exists());
    lab.run(&["n.ipynb", "o-{alpha}.ipynb", "--prepare-only", "-p", "alpha", "2"])
        .expect(0);
    assert!(lab.text("o-2.ipynb").contains("injected-parameters"));
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let lab = Lab::new();
    lab.notebook("n.ipynb", &[code("1")]);
    let path = lab.write("token", "s3cr3t-value");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    lab.run(&["n.ipynb", "o.ipynb", "--secret", "t=file:token"])
        .expect(2)
        .says("others can read this secret's file")
        .says("chmod 600");
    let wrong = lab
        .run(&["n.ipynb", "o.ipynb", "--secret", "t=s3cr3t-value"])
        .expect(2)
        .says("NAME=file:PATH");
    assert!(!wrong.stderr.contains("s3cr3t"), "{}", wrong.stderr);
    lab.run(&["n.ipynb", "o.ipynb", "--secret", "t=env:NOT_SET"])
        .expect(2)
        .says("NOT_SET");
}

#[test]
fn help_and_completions_are_there() {
    let lab = Lab::new();
    let help = lab.run(&["--help"]).expect(0);
    assert!(help.stdout.contains("Exit codes:") && help.stdout.contains("Examples:"));
    for shell in ["bash", "zsh", "fish"] {
        assert!(lab.run(&["--completions", shell]).expect(0).stdout.contains("tmplrun"));
    }
    lab.run(&["--no-such-option"]).expect(2);
    lab.run(&[]).expect(2).says("a notebook, or a folder");
    let page = lab.run(&["--man-page"]).expect(0).stdout;
    assert!(page.starts_with(".ie") && page.contains(".TH tmplrun 1"), "{page}");
    let plain = page.replace('\\', "");
    for option in [
        "--parameters_raw",
        "--inject-paths",
        "--language",
        "--stdout-file",
        "--secret",
        "--log-level",
    ] {
        assert!(plain.contains(option), "{option} is not in the manual page");
    }
    assert!(help.stdout.contains("--man-page"));
    // Examples stand as they are to be copied, not filled into paragraphs.
    let lines = plain
        .lines()
        .skip_while(|line| *line != "Examples:")
        .collect::<Vec<_>>();
    assert_eq!(lines[..2], ["Examples:", ".nf"]);
    assert_eq!(
        lines[2].split_whitespace().take(6).collect::<Vec<_>>().join(" "),
        "tmplrun report.ipynb out.ipynb -p alpha 0.5"
    );
    assert!(lines.contains(&"        - 010-parameters.ipynb"), "{lines:?}");
    for section in [".SH NAME", ".SH OPTIONS", "Exit codes:"] {
        assert!(page.contains(section), "{section}");
    }
}
