//! Kernels that do what no kernel should.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::lab::{Lab, code, python, stream};

/// A laboratory with a notebook for a kernel that misbehaves in one way.
fn lab(how: &str) -> Lab {
    let lab = Lab::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fake_kernel.py");
    let spec = serde_json::json!({
        "argv": [python(), script, how, "{connection_file}"], "display_name": "Fake", "language": "python",
    });
    lab.write("home/.local/share/jupyter/kernels/fake/kernel.json", spec.to_string());
    let notebook = serde_json::json!({"cells": [code("1"), code("2")], "metadata": {"kernelspec": {"display_name": "Fake",
        "language": "python", "name": "fake"}}, "nbformat": 4, "nbformat_minor": 5});
    lab.write("n.ipynb", notebook.to_string());
    lab
}

fn died(how: &str, says: &str) -> Lab {
    let lab = lab(how);
    lab.run(&["n.ipynb", "o.ipynb", "--execution-timeout", "50"])
        .expect(138)
        .says(says);
    let made = lab.read("o.ipynb");
    let statuses: Vec<&str> = made["cells"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|cell| cell["metadata"]["papermill"]["status"].as_str())
        .collect();
    assert_eq!(statuses, ["failed", "pending"], "{how}");
    lab.assert_clean();
    lab
}

#[test]
fn an_unknown_kernel_is_answered_with_those_that_are_installed() {
    let lab = lab("mixes");
    lab.run(&["n.ipynb", "o.ipynb", "-k", "nowhere"])
        .expect(2)
        .says("there is no kernel called `nowhere`")
        .says("fake, python3");
}

#[test]
fn a_kernel_that_never_answers_is_given_up() {
    let lab = lab("mute");
    lab.run(&["n.ipynb", "o.ipynb", "--start-timeout", "3"])
        .expect(138)
        .says("did not answer within 3 s");
    lab.assert_clean();
}

#[test]
fn a_kernel_that_signs_with_another_key_is_refused() {
    let lab = lab("imposes");
    lab.run(&["n.ipynb", "o.ipynb", "--start-timeout", "50"])
        .expect(138)
        .says("its reply has a wrong signature");
    lab.assert_clean();
}

#[test]
fn a_kernel_that_dies_in_a_cell_leaves_its_last_words() {
    let lab = died("dies", "exit status: 7");
    let text = lab.text("o.ipynb");
    assert!(text.contains("before") && text.contains("the last line"), "{text}");
}

#[test]
fn a_forged_reply_ends_the_cell() {
    died("forges", "its reply has a wrong signature");
}

#[test]
fn a_closed_channel_ends_the_cell() {
    died("closes-iopub", "it closed its iopub channel");
    died("closes-shell", "it closed its shell channel");
}

#[test]
fn a_kernel_that_ignores_interrupts_is_killed() {
    let lab = lab("deaf");
    lab.run(&["n.ipynb", "o.ipynb", "--execution-timeout", "1"])
        .expect(1)
        .says("CellTimeout");
    lab.assert_clean();
}

#[test]
fn messages_of_another_session_and_forged_ones_are_passed_over() {
    let lab = lab("mixes");
    lab.run(&["n.ipynb", "o.ipynb"]).expect(0);
    let made = lab.read("o.ipynb");
    for cell in [0, 1] {
        assert_eq!(stream(&made, cell), "yours\n");
    }
}

#[test]
fn a_flood_is_taken_whole_and_masked() {
    let lab = lab("floods");
    let secret = lab.write("secret", "secret-word");
    std::fs::set_permissions(secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    lab.run(&["n.ipynb", "o.ipynb", "--secret", "word=file:secret"])
        .expect(0);
    let text = lab.text("o.ipynb");
    assert_eq!(text.matches("secret-word").count(), 0);
    // One cell is the injected parameter's.
    assert!(stream(&lab.read("o.ipynb"), 1).starts_with("0 •••••• xxx"));
    assert!(text.len() > 30_000_000, "{}", text.len());
}
