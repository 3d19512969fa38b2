//! Other processes: this test program, run again to play a role.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use clusterbook_engine::state::Home;
use clusterbook_model::Secret;

use crate::full_disk::fill_the_disk;
use crate::{at, begin, ended, entry, holder};

/// Runs this test program again as another process that plays `role` on `home`.
pub(crate) fn another_process(role: &str, home: &Path) -> Child {
    player(Command::new(std::env::current_exe().unwrap()), role, home)
}

pub(crate) fn player(mut command: Command, role: &str, home: &Path) -> Child {
    command
        .args(["process::plays_another_process", "--exact", "--ignored", "--nocapture"])
        .env("STATE_ROLE", role)
        .env("STATE_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for a line that another process says, and returns what follows its first word.
pub(crate) fn hear(child: &mut Child, word: &str) -> String {
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

pub(crate) fn say(text: &str) {
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
