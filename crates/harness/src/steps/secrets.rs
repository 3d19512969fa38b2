//! Secrets, and where they must not be.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cucumber::then;
use tokio::task::JoinHandle;

use crate::place::Place;
use crate::problem::{Outcome, ensure};
use crate::shared;
use crate::trial::Trial;

/// Somebody who runs `ps` all the time.
pub(crate) struct Onlooker {
    stop: Arc<AtomicBool>,
    seen: JoinHandle<BTreeSet<String>>,
}

impl Onlooker {
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let ended = stop.clone();
        let seen = tokio::task::spawn_blocking(move || {
            let mut seen = BTreeSet::new();
            while !ended.load(Ordering::Relaxed) {
                look(&mut seen);
                std::thread::sleep(Duration::from_millis(25));
            }
            seen
        });
        Self { stop, seen }
    }

    /// Every command line that was seen.
    pub(crate) async fn stop(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.seen.await.unwrap_or_default().into_iter().collect()
    }
}

/// Command lines of all processes, those on nodes included where nodes share this machine's kernel.
fn look(seen: &mut BTreeSet<String>) {
    let Ok(entries) = fs_err::read_dir("/proc") else { return };
    for entry in entries.flatten() {
        if entry
            .file_name()
            .to_string_lossy()
            .bytes()
            .all(|byte| byte.is_ascii_digit())
            && let Ok(line) = fs_err::read(entry.path().join("cmdline"))
        {
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            if !line.is_empty() {
                seen.insert(line);
            }
        }
    }
}

/// Files below a folder.
fn files(folder: &Path, found: &mut Vec<PathBuf>) -> Outcome {
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            files(&entry.path(), found)?;
        } else {
            found.push(entry.path());
        }
    }
    Ok(())
}

/// Pieces of the cluster's secrets, each long enough to mean only that.
fn pieces(place: &Place) -> Outcome<Vec<String>> {
    let mut paths = Vec::new();
    files(&place.state().join("secrets"), &mut paths)?;
    let mut pieces = BTreeSet::new();
    for path in paths {
        let text = fs_err::read_to_string(&path)?;
        // The public half of a host key is no secret, so only the private one is taken from that file.
        let private: Vec<String> = match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(serde_json::Value::Object(nodes)) => nodes
                .values()
                .filter_map(|key| key["private"].as_str().map(str::to_owned))
                .collect(),
            _ => vec![text],
        };
        for text in private {
            for line in text.lines().filter(|line| !line.starts_with("-----")) {
                pieces.extend(chunks(line));
            }
        }
    }
    // An ed25519 key's text begins alike for every key, and holds its public half.
    Ok(pieces.into_iter().collect())
}

/// The second half of a line of a key: its beginning may be a format's own words, or public.
fn chunks(line: &str) -> Option<String> {
    let line = line.trim();
    (line.len() >= 32 && line.is_ascii() && line.contains(|c: char| c.is_ascii_digit()))
        .then(|| line[line.len() / 2..].to_owned())
}

#[then("no secret of the cluster is in anything that the run has written, nor in the design")]
async fn not_written(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let pieces = pieces(&place)?;
    ensure(pieces.len() >= 3, || {
        format!("only {} pieces of secrets were found in the state", pieces.len())
    })?;
    let mut written = Vec::new();
    files(&place.out(), &mut written)?;
    files(&place.work(), &mut written)?;
    ensure(written.len() > 5, || format!("only {written:?} was written"))?;
    for path in written {
        let text = String::from_utf8_lossy(&fs_err::read(&path)?).into_owned();
        let found = pieces.iter().find(|piece| text.contains(piece.as_str()));
        ensure(found.is_none(), || format!("{} holds a secret", path.display()))?;
    }
    Ok(())
}

#[then("no secret of the cluster was in the command line of any process while it was built")]
async fn not_in_ps(trial: &mut Trial) -> Outcome {
    let place = trial.place()?;
    let pieces = pieces(&place)?;
    let (_, built) = shared::cluster().await?;
    ensure(built.commands.len() > 20, || {
        format!("only {} command lines were seen", built.commands.len())
    })?;
    for line in &built.commands {
        let found = pieces.iter().any(|piece| line.contains(piece.as_str()));
        ensure(!found, || "a process had a secret in its command line".to_owned())?;
    }
    Ok(())
}

#[then("the files that hold secrets can be read by their owner only")]
async fn owner_only(trial: &mut Trial) -> Outcome {
    use std::os::unix::fs::PermissionsExt as _;
    let place = trial.place()?;
    let mut paths = Vec::new();
    files(&place.state().join("secrets"), &mut paths)?;
    for path in paths {
        let mode = fs_err::metadata(&path)?.permissions().mode() & 0o777;
        ensure(mode & 0o077 == 0, || format!("{} has mode {mode:o}", path.display()))?;
    }
    Ok(())
}
