//! Notebooks in Rust: which program serves them, and what is said when none does. The kernel itself has tests of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::json;

use crate::lab::{Lab, Run, code};

fn rust_notebook(lab: &Lab, kernel: &str) {
    let notebook = json!({"cells": [code("1 + 1")], "metadata": {"kernelspec": {"display_name": "Rust",
        "language": "rust", "name": kernel}}, "nbformat": 4, "nbformat_minor": 5});
    lab.write("n.ipynb", notebook.to_string());
}

/// `tmplrun` in a folder of its own: where it was built, a real kernel for Rust may lie beside it.
fn run(lab: &Lab, path: &str, arguments: &[&str]) -> Run {
    let program = lab.path("own/tmplrun");
    if !program.exists() {
        std::fs::create_dir(lab.path("own")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_tmplrun"), &program).unwrap();
    }
    let usual = lab.command(arguments);
    let variables = usual.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(lab.path("."))
        .env_clear()
        .envs(variables)
        .env("PATH", path);
    command.output().unwrap().into()
}

#[test]
fn a_rust_notebook_without_a_kernel_says_how_to_get_one() {
    let lab = Lab::new();
    let path = lab.path("empty").display().to_string();
    for kernel in ["rust", "Rust-nightly"] {
        rust_notebook(&lab, kernel);
        run(&lab, &path, &["n.ipynb", "o.ipynb"])
            .expect(2)
            .says(&format!(
                "n.ipynb: there is no kernel called `{kernel}`, and no tmplrun-rust"
            ))
            .says("ci/rust-kernel builds tmplrun-rust");
    }
    // A kernel that was asked for by name counts, not the notebook's language.
    run(&lab, &path, &["n.ipynb", "o.ipynb", "-k", "nope"])
        .expect(2)
        .says("there is no kernel called `nope`");
    lab.notebook("n.ipynb", &[code("1 + 1")]);
    run(&lab, &path, &["n.ipynb", "o.ipynb", "-k", "rust"])
        .expect(2)
        .says("ci/rust-kernel builds tmplrun-rust");
}

#[test]
fn the_program_on_the_path_serves_unless_a_kernel_is_installed() {
    let lab = Lab::new();
    rust_notebook(&lab, "rust");
    // Stands in for the kernel: ends at once, and names itself in its last words.
    let stand_in = |name: &str| {
        let path = lab.write(name, "#!/bin/sh\necho \"$0 $1\" >&2\nexit 7\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let own = stand_in("bin/tmplrun-rust");
    let path = format!("{}:{}", lab.path("empty").display(), lab.path("bin").display());
    let said = run(&lab, &path, &["n.ipynb", "o.ipynb"]);
    assert_ne!(said.code, Some(0));
    said.says(&format!("{} -f", own.display()));
    // The folder that the program itself lies in comes first.
    let beside = stand_in("own/tmplrun-rust");
    run(&lab, &path, &["n.ipynb", "o.ipynb"]).says(&format!("{} -f", beside.display()));
    let theirs = stand_in("theirs");
    let spec =
        json!({"argv": [theirs, "--control_file", "{connection_file}"], "display_name": "Rust", "language": "rust"});
    lab.write("home/.local/share/jupyter/kernels/rust/kernel.json", spec.to_string());
    run(&lab, &path, &["n.ipynb", "o.ipynb"]).says(&format!("{} --control_file", theirs.display()));
    lab.assert_clean();
}
