//! A person at a terminal: questions, and passphrases that nobody sees.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::place::{PATIENCE, Place};

/// A program at a terminal of its own, and the person's side of it.
struct Session {
    child: Child,
    keys: File,
    shown: Receiver<String>,
    seen: String,
}

impl Session {
    fn start(place: &Place, arguments: &[&str]) -> Self {
        let keys = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&keys).unwrap();
        unlockpt(&keys).unwrap();
        let name = ptsname(&keys, Vec::new()).unwrap().into_string().unwrap();
        let end = || {
            Stdio::from(
                fs_err::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&name)
                    .unwrap()
                    .into_file(),
            )
        };
        let child = place
            .process(arguments)
            .env("TERM", "xterm")
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let keys = File::from(keys);
        let mut screen = keys.try_clone().unwrap();
        let (sender, shown) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The terminal's end is an error on Linux.
            while let Ok(count @ 1..) = screen.read(&mut buffer) {
                if sender
                    .send(String::from_utf8_lossy(&buffer[..count]).into_owned())
                    .is_err()
                {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            shown,
            seen: String::new(),
        }
    }

    /// Waits for a question and answers it.
    #[track_caller]
    fn answer(&mut self, question: &str, answer: &str) {
        while !self.seen.contains(question) {
            match self.shown.recv_timeout(PATIENCE) {
                Ok(text) => self.seen.push_str(&text),
                Err(_) => panic!("{question:?} wasn't asked: {}", self.seen),
            }
        }
        self.seen = self.seen.split_once(question).unwrap().1.to_owned();
        self.keys.write_all(answer.as_bytes()).unwrap();
    }

    /// Waits for the end; returns the exit status and what was seen since the last question.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap();
        while let Ok(text) = self.shown.recv_timeout(PATIENCE) {
            self.seen.push_str(&text);
        }
        (status.code(), self.seen)
    }
}

#[test]
fn a_destroy_is_confirmed_by_the_clusters_name() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);

    let mut session = Session::start(&place, &["destroy", "demo"]);
    session.answer("Type demo to go on: ", "dmo\n");
    let (code, seen) = session.end();
    assert_eq!(code, Some(130), "{seen}");
    assert!(seen.contains("nothing was changed"), "{seen}");
    place.good(&["plan", "--exit-code"]);

    let mut session = Session::start(&place, &["destroy", "demo"]);
    session.answer("Type demo to go on: ", "demo\n");
    let (code, seen) = session.end();
    assert_eq!(code, Some(0), "{seen}");
    place.nothing_exists("demo");
}

#[test]
fn an_apply_that_deletes_asks_first() {
    let place = Place::with_world();
    place.design("demo", "groups: [{ name: compute, nodes: 2 }]\n");
    place.good(&["apply"]);
    place.design("demo", "groups: [{ name: compute, nodes: 1 }]\n");
    for (answer, code, nodes) in [("\n", 130, 3), ("y\n", 0, 2)] {
        let mut session = Session::start(&place, &["apply"]);
        session.answer("[y/N] ", answer);
        let (ended, seen) = session.end();
        assert_eq!(ended, Some(code), "{seen}");
        assert_eq!(
            place.json(&["status", "demo"])["nodes"].as_array().unwrap().len(),
            nodes
        );
    }
}

#[test]
fn a_passphrase_is_asked_twice_and_never_shown() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);

    let mut session = Session::start(&place, &["export", "demo", "out"]);
    session.answer("Passphrase: ", "correct horsd\u{7f}e\n");
    session.answer("The same again: ", "correct horse\n");
    let (code, seen) = session.end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(!seen.contains("horse"), "{seen}");

    let elsewhere = place.work().join("elsewhere");
    place.write("word", "correct horse");
    let import = ["import", "out", "--passphrase", "file:word"];
    let ran = place.run_with(&import, &[("CLUSTERBOOK_HOME", &elsewhere)]);
    assert_eq!(ran.code, Some(0), "{ran:?}");

    let mut session = Session::start(&place, &["export", "demo", "other"]);
    session.answer("Passphrase: ", "correct horse\n");
    session.answer("The same again: ", "battery staple\n");
    let (code, seen) = session.end();
    assert_eq!(code, Some(2), "{seen}");
    assert!(seen.contains("differ"), "{seen}");

    let mut session = Session::start(&place, &["export", "demo", "other"]);
    session.answer("Passphrase: ", "corr\u{3}");
    let (code, seen) = session.end();
    assert_eq!(code, Some(130), "{seen}");
    assert!(!place.work().join("other").exists());
}

#[test]
fn tables_and_progress_are_for_people_at_a_terminal() {
    let place = Place::with_world();
    place.design("demo", "");
    let (code, seen) = Session::start(&place, &["apply"]).end();
    assert_eq!(code, Some(0), "{seen}");
    assert!(seen.contains('─') && seen.contains("\u{1b}["), "{seen}");
    let mut child = Session::start(&place, &["status", "demo"]);
    child.child.wait().unwrap();
    let (_, seen) = child.end();
    assert!(
        seen.contains("\u{1b}[38;5;10mrunning") || seen.contains("\u{1b}[32mrunning"),
        "{seen:?}"
    );
}
