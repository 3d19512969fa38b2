//! No more room on the disk.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use clusterbook_engine::state::{Home, HomeOptions, JournalEntry, Kind, StateError, Store};
use clusterbook_model::Secret;

use crate::process::{hear, player, say};
use crate::{assert_helps, at, begin, ended, entry};

/// Writes until nothing more fits; returns the error and how many changes were journalled before.
fn write_until_full(store: &Store, id: &str, number: u64) -> (StateError, usize) {
    for round in 0..100_000 {
        let big = JournalEntry {
            change: format!("change {round}"),
            action: "x".repeat(2000),
        };
        if let Err(error) = store.journal_begin(id, number, &[big], at(2)) {
            return (error, round);
        }
    }
    panic!("it never got full");
}

#[test]
fn a_full_disk_costs_nothing_that_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    let small = HomeOptions {
        most_pages: Some(64),
        ..HomeOptions::default()
    };
    let home = Home::open_with(folder.path(), &small).unwrap();
    let store = home.store().unwrap();
    let (id, number) = begin(&store, "demo").unwrap();
    let (error, saved) = write_until_full(&store, &id, number);
    assert!(matches!(error, StateError::DiskFull { .. }), "{error:?}");
    assert_helps(&error, Kind::Configuration, "no space left", "Free some space");
    assert!(saved > 10);
    assert_eq!(store.unfinished(&id).unwrap().len(), saved);
    // With room again it goes on where it stopped.
    let store = Home::open(folder.path()).unwrap().store().unwrap();
    assert_eq!(store.journal(&id, None).unwrap().len(), saved);
    store.journal_begin(&id, number, &[entry("more")], at(3)).unwrap();
}

/// On a disk of half a megabyte.
pub(crate) fn fill_the_disk(path: &Path) {
    let home = Home::open(path).unwrap();
    let secrets = home.secrets();
    secrets.put("abc", "key", &Secret::new("old")).unwrap();
    // What a person will find to delete.
    let ballast = path.join("ballast");
    fs_err::write(&ballast, vec![0; 128 * 1024]).unwrap();
    let store = home.store().unwrap();
    let (id, number) = begin(&store, "demo").unwrap();
    let (error, saved) = write_until_full(&store, &id, number);
    assert!(matches!(error, StateError::DiskFull { .. }), "{error:?}");
    assert_eq!(store.unfinished(&id).unwrap().len(), saved);

    let rest = path.join("rest");
    let mut file = fs_err::File::create(&rest).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    let long = Secret::new("new".repeat(10_000));
    let error = secrets.put("abc", "key", &long).unwrap_err();
    assert!(matches!(error, StateError::DiskFull { .. }), "{error:?}");
    assert_helps(&error, Kind::Configuration, "no space left", "Free some space");
    assert_eq!(secrets.get("abc", "key").unwrap().unwrap().reveal(), "old");
    assert_eq!(secrets.names("abc").unwrap(), ["key"]);
    assert!(!path.join("secrets/abc/.key.half").exists());

    // Whoever comes to a full disk learns that, and not something else.
    let other = Home::open(&path.join("other")).and_then(|home| home.store());
    let error = other.unwrap_err();
    assert!(matches!(error, StateError::DiskFull { .. }), "{error:?}");

    fs_err::remove_file(&ballast).unwrap();
    secrets.put("abc", "key", &Secret::new("new")).unwrap();
    drop(store);
    // Closing it has emptied the log, and with it made room.
    let store = home.store().unwrap();
    assert_eq!(store.unfinished(&id).unwrap().len(), saved);
    store
        .journal_end(&id, number, &[ended("change 0", Ok(()))], at(3))
        .unwrap();
    say("survived");
}

#[test]
fn a_disk_that_is_really_full_costs_nothing_either() {
    let folder = tempfile::tempdir().unwrap();
    // A disk that nobody else sees, and that is gone with the process.
    let mount = r#"mount -t tmpfs -o size=512k small "$STATE_HOME""#;
    let unshare = |then: &str| {
        let mut command = Command::new("unshare");
        let script = format!("{mount} && {then}");
        command.args(["-rm", "sh", "-c", &script, "sh"]);
        command
    };
    let permitted = unshare("true")
        .env("STATE_HOME", folder.path())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !permitted {
        // This machine doesn't let us mount; the test before this one has shown the same with a pretended end of the disk.
        return;
    }
    let mut command = unshare(r#"exec "$@""#);
    command.arg(std::env::current_exe().unwrap());
    let mut other = player(command, "fill the disk", folder.path());
    hear(&mut other, "survived");
    assert!(other.wait().unwrap().success());
}
