//! Interrupts, and the kernel's end.

use std::process::Command;

use crate::client::{Client, below, wait};

const LOOP: &str = "println!(\"begun\");\nloop { std::thread::sleep(std::time::Duration::from_millis(10)); }";

#[tokio::test]
async fn an_interrupt_ends_a_loop() {
    let mut client = Client::start().await;
    let id = client.begin(LOOP).await;
    client.finish(&id, |cell| cell.text("stdout") == "begun\n").await;
    assert_eq!(client.control_request("interrupt_request").await["status"], "ok");
    let stopped = client.finish(&id, |_| false).await;
    assert_eq!(
        stopped.error(),
        (
            "Interrupted",
            "the cell was interrupted, and all variables are lost",
            "error"
        )
    );
    assert_eq!(client.run("1 + 1").await.fine().plain(), "2");

    // By a signal, as a terminal sends it.
    let id = client.begin(LOOP).await;
    client.finish(&id, |cell| cell.text("stdout") == "begun\n").await;
    signal(client.child.id(), "INT");
    assert_eq!(client.finish(&id, |_| false).await.error().0, "Interrupted");
    assert_eq!(client.run("2 + 2").await.fine().plain(), "4");

    // A cell that does not listen is ended the second time.
    let deaf = format!(
        "extern \"C\" {{ fn signal(number: i32, handler: usize) -> usize; }}\nunsafe {{ signal(2, 1); }}\n{LOOP}"
    );
    let deaf = deaf.replace("extern", "unsafe extern");
    let id = client.begin(&deaf).await;
    client.finish(&id, |cell| cell.text("stdout") == "begun\n").await;
    client.control_request("interrupt_request").await;
    client.control_request("interrupt_request").await;
    assert_eq!(client.finish(&id, |_| false).await.error().0, "Interrupted");
    // Between cells there is nothing to interrupt.
    client.run("let kept = 6;").await.fine();
    client.control_request("interrupt_request").await;
    assert_eq!(client.run("kept").await.fine().plain(), "6");
    client.shut_down().await;
}

#[tokio::test]
async fn an_interrupt_of_the_compiler_loses_nothing() {
    let mut client = Client::start().await;
    client.run("let kept = 6;").await.fine();
    // A build script that says when it runs, and would run for a long time.
    let folder = client.folder.path().join("slow");
    std::fs::create_dir_all(folder.join("src")).unwrap();
    std::fs::write(
        folder.join("Cargo.toml"),
        "[package]\nname = \"slow\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    std::fs::write(folder.join("src/lib.rs"), "").unwrap();
    let begun = folder.join("begun");
    std::fs::write(
        folder.join("build.rs"),
        format!("fn main() {{ std::fs::write({begun:?}, \"\").unwrap(); std::thread::sleep(std::time::Duration::from_secs(600)); }}"),
    )
    .unwrap();
    let id = client
        .begin(&format!(":offline 1\n:dep slow = {{ path = {folder:?} }}\n1"))
        .await;
    while !begun.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client.control_request("interrupt_request").await;
    let stopped = client.finish(&id, |_| false).await;
    assert_eq!(
        stopped.error().1,
        "the cell was interrupted before it ran; no variable is lost"
    );
    assert_eq!(client.run("kept").await.fine().plain(), "6");
    client.shut_down().await;
}

#[tokio::test]
async fn nothing_is_left_however_the_kernel_ends() {
    // While a cell runs that has started a process of its own.
    let busy = "let mut other = std::process::Command::new(\"sleep\").arg(\"600\").spawn().unwrap();\nprintln!(\"begun\");\nother.wait().unwrap();";
    let mut client = Client::start().await;
    let id = client.begin(busy).await;
    client.finish(&id, |cell| cell.text("stdout") == "begun\n").await;
    client.shut_down().await;

    let mut client = Client::start().await;
    client.run("1").await.fine();
    let family = below(client.child.id());
    assert_eq!(family.len(), 2, "a relay and the program behind it: {family:?}");
    signal(client.child.id(), "TERM");
    assert!(wait(&mut client.child).await.success());
    client.nothing_left(&family).await;

    let mut client = Client::start().await;
    let id = client.begin(LOOP).await;
    client.finish(&id, |cell| cell.text("stdout") == "begun\n").await;
    let family = below(client.child.id());
    signal(client.child.id(), "KILL");
    wait(&mut client.child).await;
    client.nothing_left(&family).await;
}

#[tokio::test]
async fn messages_with_a_wrong_signature_are_not_obeyed() {
    let mut client = Client::start().await;
    let file = client.folder.path().join("obeyed");
    let code = format!("std::fs::write({file:?}, \"\").unwrap();");
    client
        .forge("execute_request", serde_json::json!({"code": code, "silent": false}))
        .await;
    // Cells run in order, so the forged one would have been run by now.
    assert_eq!(client.run("1").await.fine().reply["execution_count"], 1);
    assert!(!file.exists());
    client.shut_down().await;
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status()
        .unwrap();
    assert!(sent.success());
}
