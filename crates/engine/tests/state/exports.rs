//! A cluster that moves to another home.

use std::sync::OnceLock;

use clusterbook_engine::state::{ActionRow, Home, Kind, Outcome, StateError, export, import};
use clusterbook_model::Secret;
use tempfile::TempDir;

use crate::{assert_helps, at, begin, ended, entry, mode, new_home};

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
