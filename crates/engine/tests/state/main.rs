//! The state layer against real files, real locks and real processes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod applies;
mod exports;
mod folder;
mod formats;
mod full_disk;
mod lock;
mod process;
mod secrets;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use clusterbook_engine::state::{Holder, Home, JournalEntry, Kind, NewApply, StateError, Store};
use jiff::Timestamp;
use tempfile::TempDir;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn holder() -> Holder {
    Holder {
        user: "ann".to_owned(),
        host: "laptop".to_owned(),
        pid: std::process::id(),
        since: at(0),
        what: "apply".to_owned(),
    }
}

fn new_home() -> (TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::open(&folder.path().join("state")).unwrap();
    (folder, home)
}

/// Begins an apply of a cluster at provider `local`.
fn begin(store: &Store, cluster: &str) -> Result<(String, u64), StateError> {
    let row = store.begin_apply(&NewApply {
        cluster,
        provider: "local",
        design: r#"{"name":"demo"}"#,
        design_path: Some(Path::new("/home/ann/demo.cluster.yaml")),
        what: "apply",
        holder: &holder(),
        run_id: Some("run-1"),
        now: at(1),
    })?;
    Ok((row.cluster_id, row.number))
}

fn entry(change: &str) -> JournalEntry {
    JournalEntry {
        change: change.to_owned(),
        action: format!(r#"{{"create":"{change}"}}"#),
    }
}

fn ended(change: &str, result: Result<(), &str>) -> (String, Result<(), String>) {
    (change.to_owned(), result.map_err(str::to_owned))
}

fn mode(path: &Path) -> u32 {
    fs_err::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Every file below a folder with its content, except for what says nothing lasting: locks and shared memory.
fn everything(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("locks") {
                    folders.push(path);
                }
            } else if path.extension().is_none_or(|extension| extension != "db-shm") {
                let content = fs_err::read(&path).unwrap();
                found.push((path, content));
            }
        }
    }
    found.sort();
    found
}

/// A person must get a sentence, advice where there is some, and no cause twice.
#[track_caller]
fn assert_helps(error: &StateError, kind: Kind, says: &str, advises: &str) {
    let text = error.to_string();
    assert_eq!(error.kind(), kind, "{text}");
    assert!(text.contains(says), "{text:?} doesn't say {says:?}");
    if let Some(source) = std::error::Error::source(error) {
        assert!(!text.contains(&source.to_string()), "{text:?} repeats {source}");
    }
    let hint = error.hint().unwrap_or_default();
    assert!(hint.contains(advises), "{hint:?} doesn't advise {advises:?}");
}
