//! Crates that cells use, and the program's other ways to be started.

use std::path::Path;
use std::process::{Command, Output};

use crate::client::{Client, PROGRAM, Transport};

#[tokio::test]
async fn a_crate_beside_the_notebook_is_used_offline_and_kept_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let (own, kept) = (folder.path().join("own"), folder.path().join("kept"));
    std::fs::create_dir_all(own.join("src")).unwrap();
    std::fs::write(
        own.join("Cargo.toml"),
        "[package]\nname = \"own\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
    )
    .unwrap();
    std::fs::write(own.join("src/lib.rs"), "pub fn answer() -> i32 { 42 }\n").unwrap();
    let compiled = || {
        let parts = ["kernel-1", "kernel-2"].map(|part| kept.join(part).join("target"));
        parts.map(|target| target.exists())
    };
    let variables = [("EVCXR_TMPDIR", kept.as_path())];
    let mut client = Client::start_with(&Transport::Ipc, &variables).await;
    // A cell's answer to a command comes before its own result, as evcxr has it, so the commands get a cell.
    let offline = ":offline 1";
    let code = format!(":dep own = {{ path = {own:?} }}\nown::answer()");
    assert_eq!(client.run(offline).await.fine().plain(), "Offline mode: true\n");
    // Where cells are kept, Rust's own library may not lie where a cell looks for it.
    let path = client
        .run("println!(\"{}\", std::env::var(\"LD_LIBRARY_PATH\").unwrap());")
        .await;
    let library = Command::new("rustc")
        .args(["--print", "target-libdir"])
        .output()
        .unwrap();
    assert_eq!(path.fine().text("stdout"), text(&library.stdout));
    assert_eq!(client.run(&code).await.fine().plain(), "42");
    assert_eq!(compiled(), [true, false]);
    // A second kernel at the same time would overwrite the first one's cells.
    let mut beside = Client::start_with(&Transport::Ipc, &variables).await;
    beside.run(offline).await.fine();
    assert_eq!(beside.run(&code).await.fine().plain(), "42");
    assert_eq!(compiled(), [true, true]);
    beside.shut_down().await;
    assert_eq!(client.run("own::answer() + 1").await.fine().plain(), "43");
    client.shut_down().await;
    // Kept for the next run.
    assert_eq!(compiled(), [true, true]);
}

#[test]
fn jupyterlab_is_told_and_untold() {
    let data = tempfile::tempdir().unwrap();
    let file = data.path().join("kernels/rust/kernel.json");
    let said = program(&["--install"], data.path());
    assert!(said.status.success());
    assert!(text(&said.stdout).contains(file.to_str().unwrap()), "{said:?}");
    let written: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written["argv"], serde_json::json!([PROGRAM, "-f", "{connection_file}"]));
    assert_eq!(
        (&written["language"], &written["interrupt_mode"]),
        (&"rust".into(), &"message".into())
    );
    // Again is no harm.
    assert!(program(&["--install"], data.path()).status.success());
    assert!(program(&["--uninstall"], data.path()).status.success());
    assert!(!file.exists());
    assert!(text(&program(&["--uninstall"], data.path()).stdout).starts_with("nothing to remove"));

    // evcxr's own kernel has the same name.
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    let theirs = "{\"argv\": [\"/usr/bin/evcxr_jupyter\", \"--control_file\", \"{connection_file}\"]}";
    std::fs::write(&file, theirs).unwrap();
    for option in ["--install", "--uninstall"] {
        let refused = program(&[option], data.path());
        assert!(!refused.status.success());
        assert!(text(&refused.stderr).contains("evcxr_jupyter"), "{refused:?}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), theirs);
}

#[test]
fn wrong_starts_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("connection.json");
    let refused = |arguments: &[&str], words: &str| {
        let said = program(arguments, folder.path());
        assert_eq!(said.status.code(), Some(1));
        assert!(text(&said.stderr).contains(words), "{said:?}");
    };
    refused(&[], "not understood");
    refused(&["-f"], "not understood");
    refused(&["-f", file.to_str().unwrap()], "cannot be read");
    std::fs::write(&file, "no JSON").unwrap();
    refused(&["-f", file.to_str().unwrap()], "not JSON");
    std::fs::write(&file, "{\"transport\": \"tcp\", \"ip\": \"127.0.0.1\"}").unwrap();
    refused(&["-f", file.to_str().unwrap()], "`shell_port` is missing");
    assert!(text(&program(&["--version"], folder.path()).stdout).starts_with("tmplrun-rust "));
}

fn program(arguments: &[&str], data: &Path) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .env("JUPYTER_DATA_DIR", data)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
