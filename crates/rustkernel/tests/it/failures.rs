//! Cells that go wrong.

use crate::client::Client;

#[tokio::test]
async fn a_panic_is_an_error_and_spares_other_variables() {
    let mut client = Client::start().await;
    client.run("let kept = vec![1, 2]; let moved = vec![3];").await.fine();
    let panic = client
        .run("println!(\"before\");\nlet gone = 1;\ndrop(moved);\nlet count = kept.len();\nassert_eq!(count, 3, \"three are needed\");")
        .await;
    let (name, value, status) = panic.error();
    assert_eq!((name, status), ("Panic", "error"));
    assert_eq!(
        value,
        "assertion `left == right` failed: three are needed\n  left: 2\n right: 3"
    );
    assert_eq!(panic.text("stdout"), "before\n");
    assert!(panic.text("stderr").contains("panicked at"), "{}", panic.text("stderr"));
    assert_eq!(panic.reply["evalue"], value);
    assert!(panic.traceback().contains("three are needed"));
    assert_eq!(client.run("kept.len()").await.fine().plain(), "2");
    for lost in ["gone", "moved", "count"] {
        let cell = client.run(&format!("{lost}.clone()")).await;
        assert!(
            cell.error().1.contains("cannot find value"),
            "{lost}: {:?}",
            cell.errors
        );
    }

    // A panic that the cell itself catches, or that only ends a thread, is the cell's own business.
    let caught = client
        .run("let caught = std::panic::catch_unwind(|| panic!(\"caught\")).is_err();\nlet joined = std::thread::spawn(|| panic!(\"in a thread\")).join().is_err();\n(caught, joined)")
        .await
        .fine();
    assert_eq!(caught.plain(), "(true, true)");
    assert!(caught.text("stderr").contains("in a thread"));
    let shown = client
        .run("println!(\"EVCXR_BEGIN_CONTENT text/plain\"); panic!(\"within content\")")
        .await;
    assert_eq!(shown.error().1, "within content");
    client.shut_down().await;
}

#[tokio::test]
async fn a_question_mark_that_meets_an_error_is_an_error() {
    let mut client = Client::start().await;
    let failed = client
        .run("println!(\"before\");\nlet number: i32 = \"twelve\".parse()?;\nprintln!(\"after\");")
        .await;
    assert_eq!(failed.error(), ("Error", "invalid digit found in string", "error"));
    assert_eq!(failed.text("stdout"), "before\n");
    let fine = client.run("let number: i32 = \"12\".parse()?;\nnumber").await;
    assert_eq!(fine.fine().plain(), "12");
    client.shut_down().await;
}

#[tokio::test]
async fn compile_errors_show_the_place() {
    let mut client = Client::start().await;
    client.run("let kept = 5;").await.fine();
    let wrong = client.run("let fine = 1;\nlet number: i32 = \"text\";").await;
    assert_eq!(wrong.error(), ("Error", "mismatched types", "error"));
    let traceback = strip(&wrong.traceback());
    assert!(traceback.contains("[E0308] Error: mismatched types"), "{traceback}");
    assert!(traceback.contains(" 2 │ let number: i32 = \"text\";"), "{traceback}");
    assert!(traceback.contains("expected `i32`, found `&str`"), "{traceback}");
    // A cell with other characters gets carets instead of a drawing.
    let wrong = client.run("let 数: i32 = \"文字\";").await;
    let traceback = strip(&wrong.traceback());
    assert!(
        traceback.contains("let 数: i32 = \"文字\";\n             ^^^^ expected `i32`, found `&str`"),
        "{traceback}"
    );
    let several = client.run("unknown_one();\nunknown_two();").await;
    let values: Vec<_> = several
        .errors
        .iter()
        .map(|error| error["evalue"].as_str().unwrap())
        .collect();
    assert_eq!(
        values,
        [
            "cannot find function `unknown_one` in this scope",
            "cannot find function `unknown_two` in this scope"
        ]
    );
    let command = client.run(":no_such_command").await;
    assert_eq!(
        command.error(),
        ("Error", "Unrecognised command :no_such_command", "error")
    );
    assert_eq!(client.run("kept").await.fine().plain(), "5");
    client.shut_down().await;
}

#[tokio::test]
async fn a_program_that_dies_is_shown_and_the_next_cell_runs() {
    let mut client = Client::start().await;
    client.run("let kept = 5;").await.fine();
    let aborted = client
        .run("print!(\"last words\");\nstd::io::Write::flush(&mut std::io::stdout()).unwrap();\nstd::process::abort();")
        .await;
    let (name, value, status) = aborted.error();
    assert_eq!((name, status), ("Error", "error"));
    assert!(
        value.starts_with("Subprocess terminated with status: signal: 6 (SIGABRT)"),
        "{value}"
    );
    assert_eq!(aborted.text("stdout"), "last words");
    assert!(client.run("kept").await.error().1.contains("cannot find value"));
    let left = client.run("std::process::exit(3)").await;
    assert_eq!(left.error().1, "Subprocess terminated with status: exit status: 3");
    assert_eq!(client.run("1 + 1").await.fine().plain(), "2");
    client.shut_down().await;
}

/// Without its colours.
fn strip(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    out + rest
}
