//! The state layer against real files, real locks and real processes.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use clusterbook_engine::state::{
    ActionRow, FileSystem, Holder, Home, HomeOptions, JournalEnd, JournalEntry, Kind, Locks, NewApply, Outcome,
    Secrets, StateError, Store, export, import,
};
use clusterbook_model::Secret;
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

// ---- another process ----

/// Runs this test program again as another process that plays `role` on `home`.
fn another_process(role: &str, home: &Path) -> Child {
    player(Command::new(std::env::current_exe().unwrap()), role, home)
}

fn player(mut command: Command, role: &str, home: &Path) -> Child {
    command
        .args(["plays_another_process", "--exact", "--ignored", "--nocapture"])
        .env("STATE_ROLE", role)
        .env("STATE_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a line that another process says, and returns what follows its first word.
fn hear(child: &mut Child, word: &str) -> String {
    // Byte by byte, so that nothing of what comes later is lost in a buffer.
    let mut output = BufReader::with_capacity(1, child.stdout.as_mut().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert!(output.read_line(&mut line).unwrap() > 0, "it never said {word}");
        if let Some(at) = line.find(word) {
            return line[at + word.len()..].trim().to_owned();
        }
    }
}

fn say(text: &str) {
    let mut output = std::io::stdout().lock();
    writeln!(output, "\n{text}").unwrap();
    output.flush().unwrap();
}

#[test]
#[ignore = "only other tests run it, as a process of its own"]
fn plays_another_process() {
    let (Ok(role), Some(path)) = (std::env::var("STATE_ROLE"), std::env::var_os("STATE_HOME")) else {
        return;
    };
    let path = PathBuf::from(path);
    match role.as_str() {
        "hold the lock" => {
            let home = Home::open(&path).unwrap();
            let _lock = home.lock("demo", &holder()).unwrap();
            say("locked");
            thread::sleep(Duration::from_secs(60));
        }
        "hold the lock and have a child" => {
            let home = Home::open(&path).unwrap();
            let _lock = home.lock("demo", &holder()).unwrap();
            let mut child = Command::new("sleep").arg("30").spawn().unwrap();
            say(&format!("child {}", child.id()));
            child.wait().unwrap();
        }
        "make a secret" => {
            let secrets = Home::open(&path).unwrap().secrets();
            let mine = format!("made by {}", std::process::id());
            say("ready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            let secret = secrets.get_or_create("abc", "key", || Secret::new(mine));
            say(&format!("secret {}", secret.unwrap().reveal()));
        }
        "write for ever" => {
            let store = Home::open(&path).unwrap().store().unwrap();
            for round in 0.. {
                let (id, number) = begin(&store, "demo").unwrap();
                let names: Vec<String> = (0..10).map(|node| format!("node:{node}")).collect();
                let entries: Vec<_> = names.iter().map(|name| entry(name)).collect();
                store.journal_begin(&id, number, &entries, at(2)).unwrap();
                let ends: Vec<_> = names.iter().map(|name| ended(name, Ok(()))).collect();
                store.journal_end(&id, number, &ends, at(3)).unwrap();
                if round == 0 {
                    say("writing");
                }
            }
        }
        "fill the disk" => fill_the_disk(&path),
        other => panic!("nobody plays {other}"),
    }
}

// ---- the folder ----

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

// ---- the lock ----

#[test]
fn the_second_is_told_who_holds_the_lock() {
    let (_folder, home) = new_home();
    let lock = home.lock("demo", &holder()).unwrap();
    assert_eq!(lock.cluster(), "demo");
    let error = home.lock("demo", &holder()).unwrap_err();
    let StateError::Locked {
        cluster,
        holder: Some(seen),
    } = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!((cluster.as_str(), seen.as_ref()), ("demo", &holder()));
    assert_helps(&error, Kind::Yours, "ann on laptop", "end process");
    assert!(error.to_string().contains("2023-11-14T22:13:20Z"), "{error}");

    // Another cluster is free, and so is this one afterwards.
    home.lock("other", &holder()).unwrap();
    drop(lock);
    home.lock("demo", &holder()).unwrap();
}

#[test]
fn a_lock_without_a_readable_holder_still_locks() {
    let (_folder, home) = new_home();
    let _lock = home.lock("demo", &holder()).unwrap();
    fs_err::write(home.path().join("locks/demo.lock"), "{ half").unwrap();
    let error = home.lock("demo", &holder()).unwrap_err();
    assert_helps(&error, Kind::Yours, "another process", "Wait");
}

#[test]
fn a_killed_process_lets_go_of_its_lock() {
    let (_folder, home) = new_home();
    let mut other = another_process("hold the lock", home.path());
    hear(&mut other, "locked");
    match home.lock("demo", &holder()).unwrap_err() {
        StateError::Locked { holder: Some(seen), .. } => assert_eq!(seen.pid, other.id()),
        error => panic!("{error:?}"),
    }
    other.kill().unwrap();
    other.wait().unwrap();
    // Its name is still in the file, and keeps nobody out.
    home.lock("demo", &holder()).unwrap();
}

#[test]
fn a_child_does_not_inherit_the_lock() {
    let (_folder, home) = new_home();
    let mut other = another_process("hold the lock and have a child", home.path());
    let child = hear(&mut other, "child ");
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(Path::new("/proc").join(&child).exists(), "the child lives on");
    let lock = home.lock("demo", &holder());
    Command::new("kill").arg(&child).status().unwrap();
    lock.unwrap();
}

#[test]
fn a_cluster_name_is_no_path() {
    let (_folder, home) = new_home();
    for name in ["", "../demo", "a/b", ".hidden", "-x", "ü", &"x".repeat(201)] {
        let error = home.lock(name, &holder()).unwrap_err();
        assert!(matches!(error, StateError::UnusableName { .. }), "{error:?}");
        assert_helps(&error, Kind::Yours, "name of a cluster", "letters");
        let error = begin(&home.store().unwrap(), name).unwrap_err();
        assert!(matches!(error, StateError::UnusableName { .. }), "{error:?}");
    }
}

// ---- clusters and applies ----

#[test]
fn an_apply_is_recorded_from_its_beginning_to_its_end() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    assert_eq!(store.cluster("demo").unwrap(), None);
    let (id, number) = begin(&store, "demo").unwrap();
    assert_eq!(number, 1);
    assert_eq!(id.len(), 12);
    assert!(id.bytes().all(|byte| byte.is_ascii_hexdigit()));

    let cluster = store.cluster("demo").unwrap().unwrap();
    assert_eq!((cluster.id.as_str(), cluster.provider.as_str()), (id.as_str(), "local"));
    assert_eq!((cluster.created_at, cluster.is_removed()), (at(1), false));
    let applies = store.applies(&id).unwrap();
    assert_eq!(applies.len(), 1);
    assert_eq!(applies[0].outcome, None);
    assert_eq!(applies[0].user, "ann");
    assert_eq!(applies[0].run_id.as_deref(), Some("run-1"));
    assert_eq!(
        applies[0].design_path.as_deref(),
        Some(Path::new("/home/ann/demo.cluster.yaml"))
    );

    let failed = Outcome::Failed("no room".to_owned());
    store.finish_apply(&id, 1, failed.clone(), at(5)).unwrap();
    assert_eq!(begin(&store, "demo").unwrap(), (id.clone(), 2));
    assert_eq!(begin(&store, "demo").unwrap(), (id.clone(), 3));
    assert_eq!(store.mark_interrupted(&id, at(6)).unwrap(), [2, 3]);
    assert_eq!(store.mark_interrupted(&id, at(7)).unwrap(), [0; 0]);
    let ends: Vec<_> = store
        .applies(&id)
        .unwrap()
        .into_iter()
        .map(|apply| (apply.ended_at.unwrap(), apply.outcome.unwrap()))
        .collect();
    assert_eq!(
        ends,
        [
            (at(5), failed),
            (at(6), Outcome::Interrupted),
            (at(6), Outcome::Interrupted)
        ]
    );
    let design = r#"{"name":"demo"}"#;
    assert_eq!(store.last_design(&id).unwrap().as_deref(), Some(design));
    assert_eq!(store.design(&id, 1).unwrap().as_deref(), Some(design));
    assert_eq!(store.design(&id, 9).unwrap(), None);

    // What has ended doesn't end again.
    let error = store.finish_apply(&id, 2, Outcome::Done, at(8)).unwrap_err();
    assert!(matches!(error, StateError::ApplyNotRunning { number: 2, .. }));
    assert_eq!(error.kind(), Kind::Bug);
}

#[test]
fn a_cluster_stays_at_its_provider() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    begin(&store, "demo").unwrap();
    let error = store
        .begin_apply(&NewApply {
            cluster: "demo",
            provider: "aws",
            design: "{}",
            design_path: None,
            what: "apply",
            holder: &holder(),
            run_id: None,
            now: at(2),
        })
        .unwrap_err();
    assert_helps(&error, Kind::Yours, "made at provider local, not aws", "local");
    let id = store.cluster("demo").unwrap().unwrap().id;
    assert_eq!(store.applies(&id).unwrap().len(), 1);
}

#[test]
fn a_design_that_is_not_json_begins_nothing() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let error = store
        .begin_apply(&NewApply {
            cluster: "demo",
            provider: "local",
            design: "name: demo",
            design_path: None,
            what: "apply",
            holder: &holder(),
            run_id: None,
            now: at(2),
        })
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Bug);
    assert_eq!(store.clusters().unwrap(), [], "not even the cluster");
}

#[test]
fn a_removed_cluster_frees_its_name_and_keeps_its_history() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let (first, _) = begin(&store, "demo").unwrap();
    store.remove_cluster(&first, at(9)).unwrap();
    store.remove_cluster(&first, at(10)).unwrap();
    assert_eq!(store.cluster("demo").unwrap(), None);

    let (second, number) = begin(&store, "demo").unwrap();
    assert_ne!(first, second);
    assert_eq!(number, 1);
    let all = store.clusters().unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!((&all[0].id, all[0].removed_at), (&first, Some(at(9))));
    assert_eq!((&all[1].id, all[1].removed_at), (&second, None));
    assert_eq!(store.applies(&first).unwrap().len(), 1);

    let error = store.remove_cluster("unknown", at(11)).unwrap_err();
    assert_helps(&error, Kind::Yours, "unknown", "clusterbook list");
}

#[test]
fn writers_at_the_same_time_get_numbers_of_their_own() {
    let (_folder, home) = new_home();
    // Each opens the database for itself, which nobody has made yet.
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let home = home.clone();
            thread::spawn(move || {
                let store = home.store().unwrap();
                (0..5).map(|_| begin(&store, "demo").unwrap()).collect::<Vec<_>>()
            })
        })
        .collect();
    let rows: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let ids: BTreeSet<_> = rows.iter().map(|(id, _)| id).collect();
    let numbers: BTreeSet<_> = rows.iter().map(|(_, number)| *number).collect();
    assert_eq!(ids.len(), 1, "one cluster, not eight");
    assert_eq!(numbers, (1..=40).collect());
}

#[test]
fn many_may_open_a_new_home_at_once() {
    for _ in 0..20 {
        let (_folder, home) = new_home();
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let home = home.clone();
                thread::spawn(move || home.store().map(drop))
            })
            .collect();
        for thread in threads {
            thread.join().unwrap().unwrap();
        }
    }
}

#[test]
fn a_writer_that_never_ends_is_waited_for_but_not_for_ever() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let other = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begun = Instant::now();
    let error = begin(&store, "demo").unwrap_err();
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert_helps(&error, Kind::Yours, "in use", "Try again");
    // Readers don't wait.
    assert_eq!(store.clusters().unwrap(), []);
    other.execute_batch("ROLLBACK").unwrap();
    begin(&store, "demo").unwrap();
}

// ---- the journal ----

#[test]
fn a_change_is_unfinished_until_its_end_is_known() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let (id, one) = begin(&store, "demo").unwrap();
    let entries = [entry("node:c1"), entry("node:c2"), entry("node:c3")];
    store.journal_begin(&id, one, &entries, at(2)).unwrap();
    let ends = [ended("node:c1", Ok(())), ended("node:c2", Err("no room"))];
    store.journal_end(&id, one, &ends, at(3)).unwrap();

    let rows = store.journal(&id, Some(one)).unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.change.as_str(), row.ended_at, row.end.clone()))
        .collect();
    assert_eq!(
        seen,
        [
            ("node:c1", Some(at(3)), Some(JournalEnd::Done)),
            ("node:c2", Some(at(3)), Some(JournalEnd::Failed("no room".to_owned()))),
            ("node:c3", None, None),
        ]
    );
    assert_eq!(rows[0].action, r#"{"create":"node:c1"}"#);
    let unfinished = store.unfinished(&id).unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!((unfinished[0].number, unfinished[0].change.as_str()), (1, "node:c3"));
}

#[test]
fn a_later_apply_settles_what_an_earlier_one_left() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let (id, one) = begin(&store, "demo").unwrap();
    let entries = [entry("node:c1"), entry("node:c2"), entry("node:c3")];
    store.journal_begin(&id, one, &entries, at(2)).unwrap();
    store.mark_interrupted(&id, at(3)).unwrap();

    let (_, two) = begin(&store, "demo").unwrap();
    let again = [entry("node:c1"), entry("node:c2")];
    store.journal_begin(&id, two, &again, at(4)).unwrap();
    assert_eq!(store.unfinished(&id).unwrap().len(), 5);
    let ends = [ended("node:c1", Ok(())), ended("node:c2", Err("no room"))];
    store.journal_end(&id, two, &ends, at(5)).unwrap();
    // A failure settles nothing but itself.
    let left: Vec<_> = store.unfinished(&id).unwrap();
    let left: Vec<_> = left.iter().map(|row| (row.number, row.change.as_str())).collect();
    assert_eq!(left, [(1, "node:c2"), (1, "node:c3")]);
    assert_eq!(
        store.journal(&id, Some(one)).unwrap()[0].end,
        Some(JournalEnd::TakenOver { by: two })
    );

    // An apply that wasn't done in full settles nothing more; one that was settles all before it.
    let failed = Outcome::Failed("no room".to_owned());
    store.finish_apply(&id, two, failed, at(6)).unwrap();
    assert_eq!(store.unfinished(&id).unwrap().len(), 2);
    let (_, three) = begin(&store, "demo").unwrap();
    store.finish_apply(&id, three, Outcome::Done, at(7)).unwrap();
    assert_eq!(store.unfinished(&id).unwrap(), []);
    assert_eq!(
        store.journal(&id, None).unwrap().len(),
        5,
        "and all of it is still told"
    );
}

#[test]
fn a_batch_is_written_whole_or_not_at_all() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let (id, one) = begin(&store, "demo").unwrap();
    store.journal_begin(&id, one, &[entry("a")], at(2)).unwrap();
    let ends = [ended("a", Ok(())), ended("never begun", Ok(()))];
    let error = store.journal_end(&id, one, &ends, at(3)).unwrap_err();
    assert!(matches!(error, StateError::ChangeNotBegun { .. }));
    assert_eq!(error.kind(), Kind::Bug);
    assert_eq!(store.unfinished(&id).unwrap().len(), 1, "the first isn't ended either");

    // A change begun once more is open once more.
    store.journal_end(&id, one, &ends[..1], at(4)).unwrap();
    store.journal_begin(&id, one, &[entry("a")], at(5)).unwrap();
    assert_eq!(store.unfinished(&id).unwrap()[0].begun_at, at(5));

    store.finish_apply(&id, one, Outcome::Interrupted, at(6)).unwrap();
    let error = store.journal_begin(&id, one, &[entry("b")], at(7)).unwrap_err();
    assert!(matches!(error, StateError::ApplyNotRunning { .. }));
    // How a change of it ended may still be learnt.
    store.journal_end(&id, one, &[ended("a", Ok(()))], at(8)).unwrap();
    assert_eq!(store.unfinished(&id).unwrap(), []);
}

#[test]
fn a_killed_writer_leaves_whole_transactions() {
    let (_folder, home) = new_home();
    let mut applies = 0;
    for round in 0..6 {
        let mut other = another_process("write for ever", home.path());
        hear(&mut other, "writing");
        thread::sleep(Duration::from_millis(7 * round));
        other.kill().unwrap();
        other.wait().unwrap();

        let store = home.store().unwrap();
        let id = store.cluster("demo").unwrap().unwrap().id;
        let numbers: Vec<_> = store.applies(&id).unwrap().iter().map(|apply| apply.number).collect();
        assert!(numbers.len() > applies);
        applies = numbers.len();
        assert_eq!(numbers, (1..=applies as u64).collect::<Vec<_>>());
        for number in numbers {
            let rows = store.journal(&id, Some(number)).unwrap();
            let open = rows.iter().filter(|row| row.ended_at.is_none()).count();
            assert!([0, 10].contains(&rows.len()), "{} begun", rows.len());
            assert!([0, rows.len()].contains(&open), "{open} open");
        }
    }
    let database = rusqlite::Connection::open(home.path().join("state.db")).unwrap();
    let verdict: String = database
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

// ---- actions ----

#[test]
fn the_last_actions_come_back_newest_first() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let (id, _) = begin(&store, "demo").unwrap();
    for second in 0..4 {
        let action = ActionRow {
            what: "run".to_owned(),
            detail: r#"{"command":"nproc"}"#.to_owned(),
            outcome: "exit 0".to_owned(),
            at: at(second),
            run_id: None,
        };
        store.record_action(&id, &action).unwrap();
    }
    let last = store.actions(&id, 2).unwrap();
    assert_eq!(last.iter().map(|action| action.at).collect::<Vec<_>>(), [at(3), at(2)]);
    assert_eq!(store.actions(&id, usize::MAX).unwrap().len(), 4);
    assert!(store.record_action("unknown", &last[0]).is_err());
}

// ---- formats ----

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

// ---- a full disk ----

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
fn fill_the_disk(path: &Path) {
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

// ---- secrets ----

#[test]
fn a_secret_comes_back_and_is_replaced_whole() {
    let (_folder, home) = new_home();
    let secrets = home.secrets();
    assert!(secrets.get("abc", "key").unwrap().is_none());
    assert_eq!(secrets.names("abc").unwrap(), [""; 0]);
    secrets.put("abc", "key", &Secret::new("first")).unwrap();
    secrets.put("abc", "key", &Secret::new("second\n")).unwrap();
    secrets.put("abc", "host-key.c1", &Secret::new("third")).unwrap();
    assert_eq!(secrets.get("abc", "key").unwrap().unwrap().reveal(), "second\n");
    // What a killed process left half written is no secret, and is in nobody's way.
    fs_err::write(home.path().join("secrets/abc/.key.half"), "half").unwrap();
    assert_eq!(secrets.names("abc").unwrap(), ["host-key.c1", "key"]);
    secrets.put("abc", "key", &Secret::new("third")).unwrap();
    assert!(!home.path().join("secrets/abc/.key.half").exists());

    secrets.remove_all("abc").unwrap();
    secrets.remove_all("abc").unwrap();
    assert!(!home.path().join("secrets/abc").exists());
    for (id, name) in [("..", "key"), ("abc", "../key"), ("abc", ""), ("a/b", "key")] {
        let error = secrets.put(id, name, &Secret::new("x")).unwrap_err();
        assert!(matches!(error, StateError::UnusableName { .. }), "{error:?}");
        assert!(secrets.get(id, name).is_err());
    }
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let (_folder, home) = new_home();
    let secrets = home.secrets();
    secrets.put("abc", "key", &Secret::new("hush")).unwrap();
    let path = home.path().join("secrets/abc/key");
    for open in [0o640, 0o604, 0o620, 0o601] {
        fs_err::set_permissions(&path, PermissionsExt::from_mode(open)).unwrap();
        let error = secrets.get("abc", "key").unwrap_err();
        assert!(matches!(error, StateError::Exposed { .. }), "{error:?}");
        assert_helps(&error, Kind::Configuration, "by other users", "chmod");
        assert!(!format!("{error:?}").contains("hush"));
        // Nor is it silently replaced by a new one.
        assert!(secrets.get_or_create("abc", "key", || Secret::new("new")).is_err());
    }
    fs_err::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
    assert_eq!(secrets.get("abc", "key").unwrap().unwrap().reveal(), "hush");
    // Who may write to the folder may put another file there.
    let folder = home.path().join("secrets/abc");
    fs_err::set_permissions(&folder, PermissionsExt::from_mode(0o770)).unwrap();
    let error = secrets.get("abc", "key").unwrap_err();
    assert!(matches!(error, StateError::Exposed { .. }), "{error:?}");
}

#[test]
fn a_link_in_a_secrets_place_is_not_followed() {
    let (folder, home) = new_home();
    let secrets = home.secrets();
    secrets.put("abc", "key", &Secret::new("hush")).unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs_err::write(&elsewhere, "planted").unwrap();
    fs_err::set_permissions(&elsewhere, PermissionsExt::from_mode(0o600)).unwrap();
    symlink(&elsewhere, home.path().join("secrets/abc/link")).unwrap();
    assert!(secrets.get("abc", "link").is_err());
    secrets.put("abc", "link", &Secret::new("mine")).unwrap();
    assert_eq!(fs_err::read_to_string(&elsewhere).unwrap(), "planted");
    assert_eq!(secrets.get("abc", "link").unwrap().unwrap().reveal(), "mine");
}

#[test]
fn bytes_that_are_not_text_are_no_secret() {
    let (_folder, home) = new_home();
    let secrets = home.secrets();
    secrets.put("abc", "key", &Secret::new("x")).unwrap();
    fs_err::write(home.path().join("secrets/abc/key"), [0xff, 0xfe]).unwrap();
    let error = secrets.get("abc", "key").unwrap_err();
    assert_helps(&error, Kind::Configuration, "isn't text", "backup");
}

#[test]
fn two_who_make_the_same_secret_get_the_same() {
    let (_folder, home) = new_home();
    let mut processes: Vec<Child> = (0..4).map(|_| another_process("make a secret", home.path())).collect();
    for process in &mut processes {
        hear(process, "ready");
    }
    for process in &mut processes {
        process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
    let made: BTreeSet<_> = processes.iter_mut().map(|process| hear(process, "secret ")).collect();
    for mut process in processes {
        process.wait().unwrap();
    }
    assert_eq!(made.len(), 1, "{made:?}");

    // Threads too, and making one may itself need another.
    let secrets = home.secrets();
    let threads: Vec<_> = (0..8)
        .map(|number| {
            let secrets: Secrets = secrets.clone();
            thread::spawn(move || {
                let secret = secrets.get_or_create("abc", "outer", || {
                    let inner = secrets
                        .get_or_create("abc", "inner", || Secret::new(number.to_string()))
                        .unwrap();
                    Secret::new(format!("{number} {}", inner.reveal()))
                });
                secret.unwrap().reveal().to_owned()
            })
        })
        .collect();
    let made: BTreeSet<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(made.len(), 1, "{made:?}");
}

// ---- export and import ----

fn passphrase() -> Secret {
    Secret::new("correct horse")
}

/// A home with one cluster that has a bit of everything.
fn full_home() -> (TempDir, Home, String) {
    let (folder, home) = new_home();
    let store = home.store().unwrap();
    let (id, one) = begin(&store, "demo").unwrap();
    store
        .journal_begin(&id, one, &[entry("node:c1"), entry("node:c2"), entry("node:c3")], at(2))
        .unwrap();
    store.mark_interrupted(&id, at(3)).unwrap();
    let (_, two) = begin(&store, "demo").unwrap();
    store
        .journal_begin(&id, two, &[entry("node:c1"), entry("node:c2")], at(4))
        .unwrap();
    let ends = [ended("node:c1", Ok(())), ended("node:c2", Err("no room"))];
    store.journal_end(&id, two, &ends, at(5)).unwrap();
    store
        .finish_apply(&id, two, Outcome::Failed("no room".to_owned()), at(6))
        .unwrap();
    begin(&store, "demo").unwrap();
    for second in [7, 8] {
        let action = ActionRow {
            what: "run".to_owned(),
            detail: r#"{"command":"nproc"}"#.to_owned(),
            outcome: "exit 0".to_owned(),
            at: at(second),
            run_id: Some("run-1".to_owned()),
        };
        store.record_action(&id, &action).unwrap();
    }
    home.secrets().put(&id, "key", &Secret::new("hush")).unwrap();
    home.secrets().put(&id, "munge", &Secret::new("quiet\n")).unwrap();
    (folder, home, id)
}

fn assert_empty(home: &Home) {
    assert_eq!(home.store().unwrap().clusters().unwrap(), []);
    let left: Vec<_> = fs_err::read_dir(home.path().join("secrets")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_exported_cluster_arrives_whole() {
    let (_folder, from, id) = full_home();
    let bytes = export(&from, "demo", &passphrase()).unwrap();
    let (_other, to) = new_home();
    assert_eq!(import(&to, &bytes, &passphrase()).unwrap(), "demo");

    let (old, new) = (from.store().unwrap(), to.store().unwrap());
    assert_eq!(new.clusters().unwrap(), old.clusters().unwrap());
    assert_eq!(new.applies(&id).unwrap(), old.applies(&id).unwrap());
    assert_eq!(new.journal(&id, None).unwrap(), old.journal(&id, None).unwrap());
    assert_eq!(new.unfinished(&id).unwrap(), old.unfinished(&id).unwrap());
    assert_eq!(new.actions(&id, 10).unwrap(), old.actions(&id, 10).unwrap());
    assert_eq!(new.last_design(&id).unwrap(), old.last_design(&id).unwrap());
    assert_eq!(to.secrets().names(&id).unwrap(), ["key", "munge"]);
    assert_eq!(to.secrets().get(&id, "munge").unwrap().unwrap().reveal(), "quiet\n");
    assert_eq!(mode(&to.path().join("secrets").join(&id)), 0o700);
    assert_eq!(mode(&to.path().join("secrets").join(&id).join("key")), 0o600);
    // The next apply there carries the next number, so that nodes accept it.
    assert_eq!(begin(&new, "demo").unwrap(), (id, 4));

    // Once more is refused, and costs the new history nothing.
    let error = import(&to, &bytes, &passphrase()).unwrap_err();
    assert!(matches!(error, StateError::ClusterExists { .. }), "{error:?}");
    assert_helps(&error, Kind::Yours, "already a cluster \"demo\"", "Destroy");
    assert_eq!(new.clusters().unwrap().len(), 1);
    assert_eq!(to.secrets().names("munge").unwrap(), [""; 0]);
}

#[test]
fn only_a_known_cluster_is_exported() {
    let (_folder, home) = new_home();
    let error = export(&home, "demo", &passphrase()).unwrap_err();
    assert_helps(&error, Kind::Yours, "no cluster \"demo\"", "clusterbook list");
}

/// Encrypts any text as an export is encrypted, but with less work.
fn sealed(text: &str) -> Vec<u8> {
    let mut recipient = age::scrypt::Recipient::new(passphrase().reveal().into());
    recipient.set_work_factor(2);
    age::encrypt(&recipient, text.as_bytes()).unwrap()
}

/// What is in an export of [`full_home`], and the id of its cluster.
fn document() -> (String, String) {
    // Made once, because the encryption is meant to be slow.
    static MADE: OnceLock<(String, String)> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let (_folder, from, id) = full_home();
        let bytes = export(&from, "demo", &passphrase()).unwrap();
        let mut identity = age::scrypt::Identity::new(passphrase().reveal().into());
        identity.set_max_work_factor(20);
        let text = String::from_utf8(age::decrypt(&identity, &bytes).unwrap()).unwrap();
        assert!(text.contains("hush") && !String::from_utf8_lossy(&bytes).contains("hush"));
        (text, id)
    });
    made.clone()
}

#[test]
fn a_broken_or_foreign_export_leaves_nothing_behind() {
    let bytes = sealed(&document().0);
    let (_folder, to) = new_home();
    let refused = |bytes: &[u8]| {
        let error = import(&to, bytes, &passphrase()).unwrap_err();
        assert_eq!(error.kind(), Kind::Yours, "{error:?}");
        assert!(error.hint().is_some());
        assert_empty(&to);
        error
    };

    let error = import(&to, &bytes, &Secret::new("wrong horse")).unwrap_err();
    assert!(matches!(error, StateError::WrongPassphrase), "{error:?}");
    assert_helps(&error, Kind::Yours, "passphrase", "passphrase");
    assert_empty(&to);

    for kept in [bytes.len() - 1, bytes.len() / 2, 30] {
        let error = refused(&bytes[..kept]);
        assert!(matches!(error, StateError::BrokenExport { .. }), "{kept}: {error:?}");
    }
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(refused(&flipped), StateError::BrokenExport { .. }));
    for foreign in [&b"{}"[..], b"", b"age-encryption.org/v1\nnonsense\n"] {
        let error = refused(foreign);
        assert!(
            matches!(error, StateError::NotAnExport { .. } | StateError::BrokenExport { .. }),
            "{error:?}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused_whole() {
    let (text, id) = document();
    let (_folder, home) = new_home();
    let refused = |text: &str| {
        let error = import(&home, &sealed(text), &passphrase()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
        assert_eq!(error.kind(), Kind::Yours, "{error:?}");
        assert_empty(&home);
        error
    };
    let changed = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} isn't in {text}");
        text.replace(from, to)
    };

    let error = refused(&changed(r#""schema":1"#, r#""schema":2"#));
    assert!(
        matches!(error, StateError::NewerExport { found: 2, known: 1 }),
        "{error:?}"
    );
    assert_helps(&error, Kind::Yours, "newer version", "newer version");
    // A newer format may look quite different.
    let error = refused(r#"{"content":"clusterbook cluster","schema":7,"clusters":[]}"#);
    assert!(matches!(error, StateError::NewerExport { found: 7, .. }), "{error:?}");

    for foreign in [
        "not even JSON".to_owned(),
        r#"{"content":"cake","schema":1}"#.to_owned(),
        changed(r#""secrets":{"#, r#""secrets":"hush","more":{"#),
        changed(r#""removed_at":null"#, r#""removed_at":"2024-01-01T00:00:00Z""#),
        // A change of an apply that isn't in it.
        changed(r#""number":3"#, r#""number":4"#).replace(r#""number":2,"change""#, r#""number":3,"change""#),
    ] {
        let error = refused(&foreign);
        assert!(matches!(error, StateError::NotAnExport { .. }), "{error:?}");
    }
    for hostile in [
        changed(r#""key":"hush""#, r#""../../key":"hush""#),
        changed(r#""munge":"#, r#"".munge":"#),
        changed(&id, "../../evil"),
        changed(r#""name":"demo","provider""#, r#""name":"../demo","provider""#),
    ] {
        let error = refused(&hostile);
        assert!(matches!(error, StateError::UnusableName { .. }), "{error:?}");
    }
    assert!(!home.path().join("evil").exists());
    import(&home, &sealed(&text), &passphrase()).unwrap();
}

#[test]
fn an_import_that_was_killed_can_be_repeated() {
    let (text, id) = document();
    let (_folder, home) = new_home();
    // The worst moments: secrets half staged, and in place without their cluster.
    let secrets = home.path().join("secrets");
    for left in [format!(".{id}.half"), id.clone()] {
        fs_err::create_dir_all(secrets.join(&left)).unwrap();
        fs_err::write(secrets.join(&left).join("stale"), "x").unwrap();
    }
    import(&home, &sealed(&text), &passphrase()).unwrap();
    assert_eq!(home.secrets().names(&id).unwrap(), ["key", "munge"]);
    assert_eq!(fs_err::read_dir(&secrets).unwrap().count(), 1);
}

#[test]
fn a_cluster_comes_back_to_the_home_that_it_left() {
    let (text, id) = document();
    let (_folder, home) = new_home();
    import(&home, &sealed(&text), &passphrase()).unwrap();
    let store = home.store().unwrap();
    store.remove_cluster(&id, at(20)).unwrap();
    import(&home, &sealed(&text), &passphrase()).unwrap();
    assert_eq!(store.clusters().unwrap().len(), 1);
    assert_eq!(store.actions(&id, 10).unwrap().len(), 2);

    // But not after it was destroyed here, which the export knows nothing of.
    begin(&store, "demo").unwrap();
    store.remove_cluster(&id, at(21)).unwrap();
    home.secrets().remove_all(&id).unwrap();
    let error = import(&home, &sealed(&text), &passphrase()).unwrap_err();
    assert!(
        matches!(
            error,
            StateError::OutdatedExport {
                exported: 3,
                known: 4,
                ..
            }
        ),
        "{error:?}"
    );
    assert_helps(&error, Kind::Yours, "removed here", "design");
    assert_eq!(store.applies(&id).unwrap().len(), 4);
    assert_eq!(home.secrets().names(&id).unwrap(), [""; 0]);
}
