//! The tables, and how an older database becomes a present one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::error::StateError;

/// Marks a database as ours in its header: `clbk`.
pub(super) const APPLICATION: i64 = 0x636C_626B;

/// Step *n* (from 0) makes format *n + 1* out of format *n*. A step that was released is never edited.
const STEPS: &[&str] = &["
CREATE TABLE clusters (
    id         TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL,
    provider   TEXT NOT NULL,
    created_at TEXT NOT NULL,
    removed_at TEXT
) STRICT;
-- A name is free again once its cluster is removed.
CREATE UNIQUE INDEX clusters_alive ON clusters (name) WHERE removed_at IS NULL;

CREATE TABLE applies (
    cluster_id  TEXT NOT NULL REFERENCES clusters (id),
    number      INTEGER NOT NULL CHECK (number > 0),
    what        TEXT NOT NULL,
    design      TEXT NOT NULL CHECK (json_valid(design)),
    design_path TEXT,
    user        TEXT NOT NULL,
    host        TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    run_id      TEXT,
    started_at  TEXT NOT NULL,
    ended_at    TEXT,
    outcome     TEXT CHECK (outcome IN ('done', 'failed', 'interrupted')),
    message     TEXT,
    PRIMARY KEY (cluster_id, number),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT;

CREATE TABLE journal (
    id         INTEGER PRIMARY KEY,
    cluster_id TEXT NOT NULL,
    number     INTEGER NOT NULL,
    change     TEXT NOT NULL,
    action     TEXT NOT NULL,
    begun_at   TEXT NOT NULL,
    ended_at   TEXT,
    outcome    TEXT CHECK (outcome IN ('done', 'failed', 'taken over')),
    message    TEXT,
    taken_over_by INTEGER,
    UNIQUE (cluster_id, number, change),
    FOREIGN KEY (cluster_id, number) REFERENCES applies (cluster_id, number),
    CHECK ((ended_at IS NULL) = (outcome IS NULL))
) STRICT;
-- Asked for at the beginning of every apply, and short even when the journal is long.
CREATE INDEX journal_unfinished ON journal (cluster_id, change) WHERE ended_at IS NULL;

CREATE TABLE actions (
    id         INTEGER PRIMARY KEY,
    cluster_id TEXT NOT NULL REFERENCES clusters (id),
    what       TEXT NOT NULL,
    detail     TEXT NOT NULL,
    outcome    TEXT NOT NULL,
    at         TEXT NOT NULL,
    run_id     TEXT
) STRICT;
CREATE INDEX actions_of_cluster ON actions (cluster_id);
"];

/// The format that this version writes.
pub(super) const FORMAT: i64 = STEPS.len() as i64;

/// Which format the database has; refuses a newer one and one of another program. Writes nothing.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<i64, StateError> {
    let failed = |error| StateError::from_sql(path, "read its format", error);
    let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let application = number("application_id").map_err(failed)?;
    let found = number("user_version").map_err(failed)?;
    let foreign = |problem: &str| StateError::Damaged {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    match (application, found) {
        (APPLICATION, found) if found > FORMAT => Err(StateError::NewerState {
            path: path.to_owned(),
            found,
            known: FORMAT,
        }),
        (APPLICATION, 0..) => Ok(found),
        (0, 0) => {
            let tables: i64 = connection
                .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
                .map_err(failed)?;
            match tables {
                0 => Ok(0),
                _ => Err(foreign("it is another program's database")),
            }
        }
        _ => Err(foreign("it is another program's database")),
    }
}

/// Brings the database up to date: all steps or none. One that is up to date is only read, so that opening it waits for no
/// writer.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StateError> {
    migrate_by(connection, path, STEPS)
}

fn migrate_by(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), StateError> {
    let failed = |error| StateError::from_sql(path, "bring its tables up to date", error);
    let missing_from = |found| {
        usize::try_from(found)
            .ok()
            .and_then(|done| steps.get(done..))
            .unwrap_or_default()
    };
    if missing_from(check(connection, path)?).is_empty() {
        return Ok(());
    }
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(failed)?;
    // Asked again by one who alone may write: another process may have done it meanwhile.
    let missing = missing_from(check(&transaction, path)?);
    if missing.is_empty() {
        return Ok(());
    }
    for step in missing {
        transaction.execute_batch(step).map_err(failed)?;
    }
    transaction
        .pragma_update(None, "application_id", APPLICATION)
        .and_then(|()| transaction.pragma_update(None, "user_version", steps.len() as i64))
        .map_err(failed)?;
    transaction.commit().map_err(failed)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_takes_the_ones_before_it_back() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("state.db");
        let steps = ["CREATE TABLE first (x TEXT) STRICT", "CREATE TABLE nonsense ("];
        assert!(migrate_by(&mut connection, path, &steps).is_err());
        assert_eq!(check(&connection, path).unwrap(), 0, "nothing is left behind");
        migrate(&mut connection, path).unwrap();
        assert_eq!(check(&connection, path).unwrap(), FORMAT);
        // Once more changes nothing.
        migrate(&mut connection, path).unwrap();
    }
}
