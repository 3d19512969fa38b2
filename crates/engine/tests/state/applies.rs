//! Clusters, applies, their journal and the actions that a person reads back.

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;
use std::time::Duration;

use clusterbook_engine::state::{ActionRow, Holder, JournalEnd, Kind, NewApply, Outcome, StateError};

use crate::process::{another_process, hear};
use crate::{assert_helps, at, begin, ended, entry, holder, new_home};

// ---- clusters and applies ----

/// One of cluster `demo` that nobody's file or run asks for.
fn an_apply<'a>(provider: &'a str, design: &'a str, holder: &'a Holder) -> NewApply<'a> {
    NewApply {
        cluster: "demo",
        provider,
        design,
        design_path: None,
        what: "apply",
        holder,
        run_id: None,
        now: at(2),
    }
}

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
    let error = store.begin_apply(&an_apply("aws", "{}", &holder())).unwrap_err();
    assert_helps(&error, Kind::Yours, "made at provider local, not aws", "local");
    let id = store.cluster("demo").unwrap().unwrap().id;
    assert_eq!(store.applies(&id).unwrap().len(), 1);
}

#[test]
fn a_design_that_is_not_json_begins_nothing() {
    let (_folder, home) = new_home();
    let store = home.store().unwrap();
    let error = store
        .begin_apply(&an_apply("local", "name: demo", &holder()))
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
    let error = begin(&store, "demo").unwrap_err();
    assert_helps(&error, Kind::Yours, "in use", "Try again");
    // Readers don't wait, nor does who opens the database.
    assert_eq!(store.clusters().unwrap(), []);
    assert_eq!(home.store().unwrap().clusters().unwrap(), []);
    // Without waiting, this would be refused too.
    let ends = thread::spawn(move || {
        thread::sleep(Duration::from_secs(3));
        other.execute_batch("ROLLBACK").unwrap();
    });
    begin(&store, "demo").unwrap();
    ends.join().unwrap();
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
