//! The database: what was intended, begun and ended.

use std::mem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::error::StateError;
use super::files;
use super::home::Home;
use super::rows::{
    ActionRow, ApplyInfo, ApplyRow, ClusterRow, JournalEnd, JournalEntry, JournalRow, NewApply, Outcome,
};
use super::schema;

/// An open database. Cheap to clone; clones share one connection and take turns.
///
/// After a fork the child opens a connection of its own, because two processes with one would damage the file.
#[derive(Clone)]
pub struct Store {
    home: Home,
    connected: Arc<Mutex<Connected>>,
}

struct Connected {
    connection: Connection,
    process: u32,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Store")
            .field("path", &self.home.database())
            .finish_non_exhaustive()
    }
}

/// Why a transaction is given up.
pub(super) enum Fault {
    Sql(rusqlite::Error),
    State(StateError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StateError> for Fault {
    fn from(error: StateError) -> Self {
        Self::State(error)
    }
}

impl Store {
    pub(super) fn open(home: &Home) -> Result<Self, StateError> {
        Ok(Self {
            home: home.clone(),
            connected: Arc::new(Mutex::new(Connected::new(home)?)),
        })
    }

    /// Every cluster that there is or was, the oldest first.
    pub fn clusters(&self) -> Result<Vec<ClusterRow>, StateError> {
        self.read("list clusters", |transaction| {
            let sql = format!("SELECT {CLUSTER} FROM clusters ORDER BY created_at, rowid");
            Ok(transaction
                .prepare_cached(&sql)?
                .query_map([], cluster_row)?
                .collect::<Result<_, _>>()?)
        })
    }

    /// The cluster of this name that isn't removed.
    pub fn cluster(&self, name: &str) -> Result<Option<ClusterRow>, StateError> {
        self.read("find a cluster", |transaction| Ok(alive(transaction, name)?))
    }

    /// Begins an apply, and the cluster with it if it is new. What is intended is safely on the disk when this returns.
    /// The caller holds the cluster's lock.
    pub fn begin_apply(&self, new: &NewApply<'_>) -> Result<ApplyRow, StateError> {
        files::check_name("the name of a cluster", new.cluster)?;
        self.write("begin an apply", |transaction| {
            let cluster_id = match alive(transaction, new.cluster)? {
                Some(known) if known.provider != new.provider => {
                    return Err(Fault::State(StateError::OtherProvider {
                        cluster: known.name,
                        recorded: known.provider,
                        wanted: new.provider.to_owned(),
                    }));
                }
                Some(known) => known.id,
                None => {
                    let id = new_id(transaction)?;
                    transaction.execute(
                        "INSERT INTO clusters (id, name, provider, created_at) VALUES (?1, ?2, ?3, ?4)",
                        params![id, new.cluster, new.provider, new.now.to_string()],
                    )?;
                    id
                }
            };
            let number: i64 = transaction.query_row(
                "SELECT coalesce(max(number), 0) + 1 FROM applies WHERE cluster_id = ?1",
                [&cluster_id],
                |row| row.get(0),
            )?;
            transaction.execute(
                "INSERT INTO applies
                    (cluster_id, number, what, design, design_path, user, host, pid, run_id, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                params![
                    cluster_id,
                    number,
                    new.what,
                    new.design,
                    new.design_path.map(|path| path.to_string_lossy()),
                    new.holder.user,
                    new.holder.host,
                    new.holder.pid,
                    new.run_id,
                    new.now.to_string(),
                ],
            )?;
            Ok(ApplyRow {
                cluster_id,
                number: from_sql_number(number),
            })
        })
    }

    /// Ends an apply. If all of it was done, what earlier applies had left unfinished is settled with it.
    pub fn finish_apply(
        &self,
        cluster_id: &str,
        number: u64,
        outcome: Outcome,
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.write("end an apply", |transaction| {
            let (word, message) = outcome_columns(&outcome);
            let ended = transaction.execute(
                "UPDATE applies SET ended_at = ?3, outcome = ?4, message = ?5
                 WHERE cluster_id = ?1 AND number = ?2 AND ended_at IS NULL",
                params![cluster_id, to_sql_number(number), now.to_string(), word, message],
            )?;
            if ended == 0 {
                return Err(Fault::State(StateError::ApplyNotRunning {
                    cluster_id: cluster_id.to_owned(),
                    number,
                }));
            }
            if outcome == Outcome::Done {
                // What was left unfinished is either as the design wants it by now, or no longer wanted.
                transaction.execute(
                    "UPDATE journal SET ended_at = ?3, outcome = 'taken over', taken_over_by = ?2
                     WHERE cluster_id = ?1 AND number < ?2 AND ended_at IS NULL",
                    params![cluster_id, to_sql_number(number), now.to_string()],
                )?;
            }
            Ok(())
        })
    }

    /// Notes that every apply without an end was interrupted, and returns their numbers. The caller holds the cluster's
    /// lock, and so knows that none of them still runs.
    pub fn mark_interrupted(&self, cluster_id: &str, now: Timestamp) -> Result<Vec<u64>, StateError> {
        self.write("mark interrupted applies", |transaction| {
            let mut numbers = transaction
                .prepare_cached(
                    "UPDATE applies SET ended_at = ?2, outcome = 'interrupted'
                     WHERE cluster_id = ?1 AND ended_at IS NULL RETURNING number",
                )?
                .query_map(params![cluster_id, now.to_string()], |row| {
                    row.get(0).map(from_sql_number)
                })?
                .collect::<Result<Vec<_>, _>>()?;
            numbers.sort_unstable();
            Ok(numbers)
        })
    }

    /// Notes that changes are about to be made: all of them or none. A change that is begun again within its apply
    /// counts from then on.
    pub fn journal_begin(
        &self,
        cluster_id: &str,
        number: u64,
        entries: &[JournalEntry],
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.write("begin changes", |transaction| {
            let running = transaction
                .prepare_cached("SELECT 1 FROM applies WHERE cluster_id = ?1 AND number = ?2 AND ended_at IS NULL")?
                .exists(params![cluster_id, to_sql_number(number)])?;
            if !running {
                return Err(Fault::State(StateError::ApplyNotRunning {
                    cluster_id: cluster_id.to_owned(),
                    number,
                }));
            }
            let mut insert = transaction.prepare_cached(
                "INSERT INTO journal (cluster_id, number, change, action, begun_at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (cluster_id, number, change) DO UPDATE SET
                    action = excluded.action, begun_at = excluded.begun_at,
                    ended_at = NULL, outcome = NULL, message = NULL, taken_over_by = NULL",
            )?;
            let now = now.to_string();
            for entry in entries {
                insert.execute(params![
                    cluster_id,
                    to_sql_number(number),
                    entry.change,
                    entry.action,
                    now
                ])?;
            }
            Ok(())
        })
    }

    /// Notes how changes ended: all of them or none. One that was made also settles what earlier applies had left
    /// unfinished under the same key. The apply itself may have ended before.
    pub fn journal_end(
        &self,
        cluster_id: &str,
        number: u64,
        ends: &[(String, Result<(), String>)],
        now: Timestamp,
    ) -> Result<(), StateError> {
        self.write("end changes", |transaction| {
            let mut end = transaction.prepare_cached(
                "UPDATE journal SET ended_at = ?4, outcome = ?5, message = ?6, taken_over_by = NULL
                 WHERE cluster_id = ?1 AND number = ?2 AND change = ?3",
            )?;
            let mut settle = transaction.prepare_cached(
                "UPDATE journal SET ended_at = ?4, outcome = 'taken over', taken_over_by = ?2
                 WHERE cluster_id = ?1 AND change = ?3 AND ended_at IS NULL AND number < ?2",
            )?;
            let now = now.to_string();
            let sql_number = to_sql_number(number);
            for (change, result) in ends {
                let (word, message) = match result {
                    Ok(()) => ("done", None),
                    Err(message) => ("failed", Some(message)),
                };
                let known = end.execute(params![cluster_id, sql_number, change, now, word, message])?;
                if known == 0 {
                    return Err(Fault::State(StateError::ChangeNotBegun {
                        cluster_id: cluster_id.to_owned(),
                        number,
                        change: change.clone(),
                    }));
                }
                if result.is_ok() {
                    settle.execute(params![cluster_id, sql_number, change, now])?;
                }
            }
            Ok(())
        })
    }

    /// The journal of one apply or of all, in the order in which changes were first begun.
    pub fn journal(&self, cluster_id: &str, number: Option<u64>) -> Result<Vec<JournalRow>, StateError> {
        self.read("read the journal", |transaction| {
            let sql = format!(
                "SELECT {JOURNAL} FROM journal
                 WHERE cluster_id = ?1 AND (?2 IS NULL OR number = ?2) ORDER BY number, id"
            );
            Ok(transaction
                .prepare_cached(&sql)?
                .query_map(params![cluster_id, number.map(to_sql_number)], journal_row)?
                .collect::<Result<_, _>>()?)
        })
    }

    /// Changes of any apply that were begun, and of which nobody knows how they ended.
    pub fn unfinished(&self, cluster_id: &str) -> Result<Vec<JournalRow>, StateError> {
        self.read("read unfinished changes", |transaction| {
            let sql =
                format!("SELECT {JOURNAL} FROM journal WHERE cluster_id = ?1 AND ended_at IS NULL ORDER BY number, id");
            Ok(transaction
                .prepare_cached(&sql)?
                .query_map([cluster_id], journal_row)?
                .collect::<Result<_, _>>()?)
        })
    }

    /// The applies of a cluster, the oldest first.
    pub fn applies(&self, cluster_id: &str) -> Result<Vec<ApplyInfo>, StateError> {
        self.read("read applies", |transaction| {
            let sql = format!("SELECT {APPLY} FROM applies WHERE cluster_id = ?1 ORDER BY number");
            Ok(transaction
                .prepare_cached(&sql)?
                .query_map([cluster_id], apply_info)?
                .collect::<Result<_, _>>()?)
        })
    }

    /// The design of the last apply, however that ended, as JSON.
    pub fn last_design(&self, cluster_id: &str) -> Result<Option<String>, StateError> {
        self.read("read the last design", |transaction| {
            Ok(transaction
                .prepare_cached("SELECT design FROM applies WHERE cluster_id = ?1 ORDER BY number DESC LIMIT 1")?
                .query_row([cluster_id], |row| row.get(0))
                .optional()?)
        })
    }

    /// The design of one apply, as JSON.
    pub fn design(&self, cluster_id: &str, number: u64) -> Result<Option<String>, StateError> {
        self.read("read a design", |transaction| {
            Ok(transaction
                .prepare_cached("SELECT design FROM applies WHERE cluster_id = ?1 AND number = ?2")?
                .query_row(params![cluster_id, to_sql_number(number)], |row| row.get(0))
                .optional()?)
        })
    }

    /// Adds an action to the history.
    pub fn record_action(&self, cluster_id: &str, action: &ActionRow) -> Result<(), StateError> {
        self.write("record an action", |transaction| {
            insert_action(transaction, cluster_id, action)?;
            Ok(())
        })
    }

    /// The last actions, the newest first, `limit` at most.
    pub fn actions(&self, cluster_id: &str, limit: usize) -> Result<Vec<ActionRow>, StateError> {
        self.read("read actions", |transaction| {
            Ok(transaction
                .prepare_cached(
                    "SELECT what, detail, outcome, at, run_id FROM actions
                     WHERE cluster_id = ?1 ORDER BY id DESC LIMIT ?2",
                )?
                .query_map(
                    params![cluster_id, i64::try_from(limit).unwrap_or(i64::MAX)],
                    action_row,
                )?
                .collect::<Result<_, _>>()?)
        })
    }

    /// Notes that a cluster was destroyed: its name is free again, its history stays. Doing it again changes nothing. Its
    /// secrets are the caller's to remove.
    pub fn remove_cluster(&self, cluster_id: &str, now: Timestamp) -> Result<(), StateError> {
        self.write("remove a cluster", |transaction| {
            let known = transaction.execute(
                "UPDATE clusters SET removed_at = coalesce(removed_at, ?2) WHERE id = ?1",
                params![cluster_id, now.to_string()],
            )?;
            if known == 0 {
                return Err(Fault::State(StateError::NoSuchCluster {
                    cluster: cluster_id.to_owned(),
                }));
            }
            Ok(())
        })
    }

    /// Reads at one moment in time.
    pub(super) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        self.transact(doing, TransactionBehavior::Deferred, work)
    }

    /// Writes all or nothing.
    pub(super) fn write<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        // The right to write is taken first: a transaction that reads and then finds that another has written can only
        // give up.
        self.transact(doing, TransactionBehavior::Immediate, work)
    }

    fn transact<T>(
        &self,
        doing: &'static str,
        behavior: TransactionBehavior,
        work: impl FnOnce(&Transaction<'_>) -> Result<T, Fault>,
    ) -> Result<T, StateError> {
        let mut connected = self.connected()?;
        let done = (|| {
            let transaction = connected.connection.transaction_with_behavior(behavior)?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        })();
        done.map_err(|fault| match fault {
            Fault::State(error) => error,
            Fault::Sql(error) => StateError::from_sql(&self.home.database(), doing, error),
        })
    }

    fn connected(&self) -> Result<MutexGuard<'_, Connected>, StateError> {
        // A panic while the lock was held has rolled its transaction back.
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if connected.process != std::process::id() {
            let inherited = mem::replace(&mut *connected, Connected::new(&self.home)?);
            // Closing it would tidy up files that the parent is using.
            mem::forget(inherited);
        }
        Ok(connected)
    }
}

impl Connected {
    fn new(home: &Home) -> Result<Self, StateError> {
        let path = home.database();
        let failed = |error| StateError::from_sql(&path, "open", error);
        // Switching the journal's mode and making tables don't wait for each other by themselves. One at a time, then;
        // it takes a millisecond.
        let _opening = files::wait_for_lock(&home.opening_lock())?;

        let log_left = fs_err::exists(path.with_extension("db-wal"))
            .map_err(|error| StateError::from_io(&path, "look beside", error))?;
        let mut connection = Connection::open_with_flags(
            &path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )
        .map_err(failed)?;
        connection.busy_timeout(files::PATIENCE).map_err(failed)?;
        if home.file_system().network {
            // A database that was made on a local disk has a write-ahead log, and can be read without shared memory only
            // by one who has it alone.
            connection
                .pragma_update(None, "locking_mode", "EXCLUSIVE")
                .map_err(failed)?;
        }
        // Until its format is known, nothing in it may change, not even by closing it: what a program that died has left in
        // the log is that program's to sort out.
        let hold_still = |still| {
            connection
                .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, still)
                .map_err(failed)
        };
        hold_still(log_left)?;
        schema::check(&connection, &path)?;
        hold_still(false)?;

        use_journal(&connection, home.file_system().network).map_err(failed)?;
        connection
            .pragma_update(None, "synchronous", "FULL")
            .and_then(|()| connection.pragma_update(None, "foreign_keys", true))
            .map_err(failed)?;
        if let Some(most_pages) = home.most_pages() {
            connection
                .pragma_update_and_check(None, "max_page_count", most_pages, |_| Ok(()))
                .map_err(failed)?;
        }
        schema::migrate(&mut connection, &path)?;
        make_owner_only(&path)?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(Self {
            connection,
            process: std::process::id(),
        })
    }
}

/// A log on local disks, where it lets readers and a writer work side by side; a journal elsewhere.
fn use_journal(connection: &Connection, network: bool) -> rusqlite::Result<()> {
    let mode = match network {
        true => "DELETE",
        false => "WAL",
    };
    let _: String = connection.pragma_update_and_check(None, "journal_mode", mode, |row| row.get(0))?;
    if network {
        connection.pragma_update(None, "locking_mode", "NORMAL")?;
        // The lock is let go by the next read.
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))?;
    }
    Ok(())
}

/// By path and not by opening it: closing any handle of a database lets go of all locks that this process has on it.
fn make_owner_only(path: &Path) -> Result<(), StateError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error| StateError::from_io(path, "protect", error);
    let mode = fs_err::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(failed)?;
    }
    Ok(())
}

pub(super) const CLUSTER: &str = "id, name, provider, created_at, removed_at";
pub(super) const APPLY: &str =
    "number, what, design_path, user, host, pid, run_id, started_at, ended_at, outcome, message";
pub(super) const JOURNAL: &str = "number, change, action, begun_at, ended_at, outcome, message, taken_over_by";

/// The cluster of this name that isn't removed.
pub(super) fn alive(transaction: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<ClusterRow>> {
    transaction
        .prepare_cached(&format!(
            "SELECT {CLUSTER} FROM clusters WHERE name = ?1 AND removed_at IS NULL"
        ))?
        .query_row([name], cluster_row)
        .optional()
}

/// An id that no cluster here has or had.
fn new_id(transaction: &Transaction<'_>) -> rusqlite::Result<String> {
    loop {
        let mut id = uuid::Uuid::new_v4().simple().to_string();
        id.truncate(12);
        let taken = transaction
            .prepare_cached("SELECT 1 FROM clusters WHERE id = ?1")?
            .exists([&id])?;
        if !taken {
            return Ok(id);
        }
    }
}

pub(super) fn insert_action(
    transaction: &Transaction<'_>,
    cluster_id: &str,
    action: &ActionRow,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "INSERT INTO actions (cluster_id, what, detail, outcome, at, run_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            cluster_id,
            action.what,
            action.detail,
            action.outcome,
            action.at.to_string(),
            action.run_id
        ])
}

pub(super) fn cluster_row(row: &Row<'_>) -> rusqlite::Result<ClusterRow> {
    Ok(ClusterRow {
        id: row.get("id")?,
        name: row.get("name")?,
        provider: row.get("provider")?,
        created_at: time(row, "created_at")?,
        removed_at: maybe_time(row, "removed_at")?,
    })
}

pub(super) fn apply_info(row: &Row<'_>) -> rusqlite::Result<ApplyInfo> {
    let outcome: Option<String> = row.get("outcome")?;
    let message: Option<String> = row.get("message")?;
    Ok(ApplyInfo {
        number: row.get("number").map(from_sql_number)?,
        what: row.get("what")?,
        design_path: row.get::<_, Option<String>>("design_path")?.map(PathBuf::from),
        user: row.get("user")?,
        host: row.get("host")?,
        pid: row.get("pid")?,
        run_id: row.get("run_id")?,
        started_at: time(row, "started_at")?,
        ended_at: maybe_time(row, "ended_at")?,
        outcome: outcome.map(|word| match word.as_str() {
            "done" => Outcome::Done,
            "failed" => Outcome::Failed(message.unwrap_or_default()),
            _ => Outcome::Interrupted,
        }),
    })
}

pub(super) fn journal_row(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    let outcome: Option<String> = row.get("outcome")?;
    let message: Option<String> = row.get("message")?;
    let taken_over_by: Option<i64> = row.get("taken_over_by")?;
    Ok(JournalRow {
        number: row.get("number").map(from_sql_number)?,
        change: row.get("change")?,
        action: row.get("action")?,
        begun_at: time(row, "begun_at")?,
        ended_at: maybe_time(row, "ended_at")?,
        end: outcome.map(|word| match word.as_str() {
            "done" => JournalEnd::Done,
            "failed" => JournalEnd::Failed(message.unwrap_or_default()),
            _ => JournalEnd::TakenOver {
                by: from_sql_number(taken_over_by.unwrap_or_default()),
            },
        }),
    })
}

pub(super) fn action_row(row: &Row<'_>) -> rusqlite::Result<ActionRow> {
    Ok(ActionRow {
        what: row.get("what")?,
        detail: row.get("detail")?,
        outcome: row.get("outcome")?,
        at: time(row, "at")?,
        run_id: row.get("run_id")?,
    })
}

/// The columns `outcome` and `message` of an apply.
pub(super) fn outcome_columns(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Done => ("done", None),
        Outcome::Failed(message) => ("failed", Some(message)),
        Outcome::Interrupted => ("interrupted", None),
    }
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    parse_time(row.get(column)?)
}

fn maybe_time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<String>>(column)?.map(parse_time).transpose()
}

fn parse_time(text: String) -> rusqlite::Result<Timestamp> {
    text.parse()
        .map_err(|error: jiff::Error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, error.into()))
}

/// SQLite's integers are signed. Numbers count applies from 1, so neither direction loses anything.
pub(super) fn to_sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn from_sql_number(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_from_before_a_fork_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = Home::open(folder.path()).unwrap().store().unwrap();
        // To the store this is what a child finds: a connection that another process has opened.
        store.connected.lock().unwrap().process = 0;
        assert_eq!(store.clusters().unwrap(), []);
        assert_eq!(store.connected.lock().unwrap().process, std::process::id());
    }

    #[test]
    fn a_panic_in_a_transaction_takes_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let store = Home::open(folder.path()).unwrap().store().unwrap();
        let other = store.clone();
        let broken = std::thread::spawn(move || {
            other.write("panic", |transaction| -> Result<(), Fault> {
                transaction.execute(
                    "INSERT INTO clusters (id, name, provider, created_at) VALUES ('a', 'a', 'a', 'a')",
                    [],
                )?;
                panic!("halfway");
            })
        });
        assert!(broken.join().is_err());
        assert_eq!(store.clusters().unwrap(), []);
    }
}
