//! One writer at a time.

use std::path::Path;
use std::process::Command;

use clusterbook_engine::state::{Kind, StateError};

use crate::process::{another_process, hear};
use crate::{assert_helps, begin, holder, new_home};

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
