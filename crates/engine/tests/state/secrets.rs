//! Secrets: one file each, their owner's alone.

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Child;
use std::thread;

use clusterbook_engine::state::{Kind, Secrets, StateError};
use clusterbook_model::Secret;

use crate::process::{another_process, hear};
use crate::{assert_helps, new_home};

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
