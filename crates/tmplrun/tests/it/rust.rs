//! Notebooks in Rust: which program serves them, and what is said when none does. The kernel itself has tests of its own.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::lab::{Lab, code};

fn rust_notebook(lab: &Lab, kernel: &str) {
    let notebook = json!({"cells": [code("1 + 1")], "metadata": {"kernelspec": {"display_name": "Rust",
        "language": "rust", "name": kernel}}, "nbformat": 4, "nbformat_minor": 5});
    lab.write("n.ipynb", notebook.to_string());
}

#[test]
fn a_rust_notebook_without_a_kernel_says_how_to_get_one() {
    let lab = Lab::new();
    for kernel in ["rust", "Rust-nightly"] {
        rust_notebook(&lab, kernel);
        lab.run(&["n.ipynb", "o.ipynb"])
            .expect(2)
            .says(&format!(
                "n.ipynb: there is no kernel called `{kernel}`, and no tmplrun-rust"
            ))
            .says("ci/rust-kernel builds tmplrun-rust");
    }
    // Asked for on the command line, for a notebook in another language.
    lab.notebook("n.ipynb", &[code("1 + 1")]);
    lab.run(&["n.ipynb", "o.ipynb", "-k", "rust"])
        .expect(2)
        .says("ci/rust-kernel builds tmplrun-rust");
    rust_notebook(&lab, "rust");
    lab.run(&["n.ipynb", "o.ipynb", "-k", "nope"])
        .expect(2)
        .says("installed are");
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
    let run = || {
        let mut command = lab.command(&["n.ipynb", "o.ipynb"]);
        command.env("PATH", format!("{}:/usr/bin:/bin", lab.path("bin").display()));
        crate::lab::Run::from(command.output().unwrap())
    };
    let said = run();
    assert_ne!(said.code, Some(0));
    said.says(&format!("{} -f", own.display()));
    let theirs = stand_in("theirs");
    let spec =
        json!({"argv": [theirs, "--control_file", "{connection_file}"], "display_name": "Rust", "language": "rust"});
    lab.write("home/.local/share/jupyter/kernels/rust/kernel.json", spec.to_string());
    run().says(&format!("{} --control_file", theirs.display()));
    lab.assert_clean();
}
