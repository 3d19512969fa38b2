//! The state's folder: whom it lets in, and where it may lie.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use clusterbook_engine::state::{FileSystem, Home, HomeOptions, Kind, Locks, StateError};
use clusterbook_model::Secret;

use crate::{assert_helps, begin, holder, mode, new_home};

#[test]
fn a_file_in_the_folders_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    fs_err::write(&path, "precious").unwrap();
    let error = Home::open(&path).unwrap_err();
    assert!(matches!(error, StateError::Unwritable { .. }), "{error:?}");
    assert_helps(&error, Kind::Configuration, "can't be written to", "CLUSTERBOOK_HOME");
    assert!(error.to_string().contains(path.to_str().unwrap()));
    assert_eq!(fs_err::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_folder_that_cannot_be_made_is_refused() {
    // Not even root makes folders here.
    let error = Home::open(Path::new("/proc/clusterbook/state")).unwrap_err();
    assert_helps(
        &error,
        Kind::Configuration,
        "/proc/clusterbook/state",
        "CLUSTERBOOK_HOME",
    );
}

#[test]
fn everything_is_for_the_owner_only() {
    let (_folder, home) = new_home();
    home.store().unwrap();
    home.secrets().put("abc", "key", &Secret::new("x")).unwrap();
    let _lock = home.lock("demo", &holder()).unwrap();
    let path = home.path();
    for folder in ["", "secrets", "secrets/abc", "locks"] {
        assert_eq!(mode(&path.join(folder)), 0o700, "{folder}");
    }
    for file in ["state.db", "secrets/abc/key", "locks/demo.lock"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_database_that_others_could_read_is_closed_to_them() {
    let (_folder, home) = new_home();
    let database = home.path().join("state.db");
    drop(home.store().unwrap());
    fs_err::set_permissions(&database, PermissionsExt::from_mode(0o644)).unwrap();
    home.store().unwrap();
    assert_eq!(mode(&database), 0o600);
}

fn on(name: &str, locks: Locks) -> HomeOptions {
    HomeOptions {
        pretend_file_system: Some(FileSystem {
            name: name.to_owned(),
            network: true,
            locks,
        }),
        ..HomeOptions::default()
    }
}

fn journal_mode(home: &Home) -> String {
    // Which of the two it is stands in the file itself.
    let header = fs_err::read(home.path().join("state.db")).unwrap();
    match header[18] {
        1 => "delete",
        2 => "wal",
        _ => "unknown",
    }
    .to_owned()
}

#[test]
fn a_network_file_system_without_locks_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let missing = Locks::Missing {
        reason: "No locks available".to_owned(),
    };
    let error = Home::open_with(&path, &on("NFS", missing)).unwrap_err();
    assert!(matches!(error, StateError::UnsafeFileSystem { .. }));
    assert_helps(&error, Kind::Configuration, "is on NFS", "local disk");
    assert!(error.to_string().contains("No locks available"));

    let here_only = Locks::ThisMachine {
        option: "localflock".to_owned(),
    };
    let error = Home::open_with(&path, &on("Lustre", here_only)).unwrap_err();
    assert_helps(&error, Kind::Configuration, "localflock", "Lustre: with flock");
    assert!(!path.join("state.db").exists());
}

#[test]
fn the_write_ahead_log_stays_on_local_disks() {
    let (_folder, home) = new_home();
    assert!(!home.file_system().network, "{:?}", home.file_system());
    home.store().unwrap();
    assert_eq!(journal_mode(&home), "wal");

    let folder = tempfile::tempdir().unwrap();
    let home = Home::open_with(folder.path(), &on("NFS", Locks::Everywhere)).unwrap();
    let store = home.store().unwrap();
    begin(&store, "demo").unwrap();
    assert_eq!(journal_mode(&home), "delete");
    assert!(!folder.path().join("state.db-wal").exists());
    // A second one isn't kept out by the first.
    let second = home.store().unwrap();
    begin(&second, "demo").unwrap();
    assert_eq!(begin(&store, "demo").unwrap().1, 3);
}

#[test]
fn a_state_that_moves_to_a_network_file_system_leaves_its_log_behind() {
    let (_folder, home) = new_home();
    begin(&home.store().unwrap(), "demo").unwrap();
    assert_eq!(journal_mode(&home), "wal");

    let moved = Home::open_with(home.path(), &on("NFS", Locks::Everywhere)).unwrap();
    let store = moved.store().unwrap();
    assert_eq!(store.clusters().unwrap().len(), 1);
    assert_eq!(journal_mode(&moved), "delete");
    // And back.
    drop(store);
    assert_eq!(home.store().unwrap().clusters().unwrap().len(), 1);
    assert_eq!(journal_mode(&home), "wal");
}
