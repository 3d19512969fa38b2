//! Databases of other versions, and what isn't ours.

use clusterbook_engine::state::{Home, Kind, StateError};

use crate::{assert_helps, begin, everything, new_home};

#[test]
fn an_empty_database_gets_its_tables() {
    let (_folder, home) = new_home();
    fs_err::write(home.path().join("state.db"), "").unwrap();
    let store = home.store().unwrap();
    begin(&store, "demo").unwrap();
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    let format: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(format, 1);
}

#[test]
fn a_state_from_a_newer_version_is_not_touched() {
    let (_folder, home) = new_home();
    begin(&home.store().unwrap(), "demo").unwrap();
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    // First with everything in the file.
    drop(database);
    let before = everything(home.path());
    let error = home.store().unwrap_err();
    assert!(matches!(
        error,
        StateError::NewerState {
            found: 99,
            known: 1,
            ..
        }
    ));
    assert_helps(&error, Kind::Configuration, "newer version", "newer version");
    assert!(everything(home.path()) == before, "not a byte");

    // Then with the newer program still at work, and something in its log.
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    database.execute_batch("CREATE TABLE news (x)").unwrap();
    let before = everything(home.path());
    home.store().unwrap_err();
    assert!(everything(home.path()) == before, "not a byte");
}

#[test]
fn a_log_that_a_newer_version_left_behind_stays() {
    let (_folder, home) = new_home();
    begin(&home.store().unwrap(), "demo").unwrap();
    let left = tempfile::tempdir().unwrap();
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    database.pragma_update(None, "user_version", 99).unwrap();
    // As a crash leaves them: a copy of both files while the log isn't empty.
    let crashed = Home::open(left.path()).unwrap();
    for file in ["state.db", "state.db-wal"] {
        fs_err::copy(home.path().join(file), left.path().join(file)).unwrap();
    }
    let content = |file: &str| fs_err::read(left.path().join(file)).unwrap();
    let before = (content("state.db"), content("state.db-wal"));
    assert!(!before.1.is_empty());
    let error = crashed.store().unwrap_err();
    assert!(matches!(error, StateError::NewerState { found: 99, .. }), "{error:?}");
    assert!((content("state.db"), content("state.db-wal")) == before);
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let (_folder, home) = new_home();
    let path = home.path().join("state.db");
    fs_err::write(&path, "this was never a database, but it is long enough to be one").unwrap();
    let before = everything(home.path());
    let error = home.store().unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
    assert_helps(&error, Kind::Configuration, "isn't ours", "backup");
    assert_eq!(everything(home.path()), before);

    fs_err::remove_file(&path).unwrap();
    let foreign = rusqlite::Connection::open(&path).unwrap();
    foreign.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(foreign);
    let before = everything(home.path());
    let error = home.store().unwrap_err();
    assert_helps(&error, Kind::Configuration, "another program", "move it away");
    assert!(everything(home.path()) == before);
}
