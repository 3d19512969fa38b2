//! The processes below this one: which are there, and how they are told to stop.

use rustix::process::{Pid, Signal};

/// This process ends with the one that started it.
pub(crate) fn end_with_parent() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

/// Stops what the cell is at: the compiler if it runs, so that no variable is lost by that; else the program itself.
pub(crate) fn stop_cell(relay: Option<i32>, signal: Signal) {
    let all = processes();
    let own = own_pid();
    let compilers: Vec<i32> = children(&all, own).filter(|pid| Some(*pid) != relay).collect();
    let roots: Vec<i32> = match relay {
        _ if !compilers.is_empty() => compilers,
        // The relay itself lives on: it reports how the program ended.
        Some(relay) => children(&all, relay).collect(),
        None => Vec::new(),
    };
    signal_all(&all, roots, signal);
}

/// Ends every process below this one.
pub(crate) fn end_all() {
    let all = processes();
    let roots = children(&all, own_pid()).collect();
    signal_all(&all, roots, Signal::KILL);
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

fn signal_all(all: &[(i32, i32)], mut wanted: Vec<i32>, signal: Signal) {
    let mut at = 0;
    while let Some(pid) = wanted.get(at).copied() {
        // The table is read while it changes, so a number could come up twice.
        let more: Vec<i32> = children(all, pid).filter(|pid| !wanted.contains(pid)).collect();
        wanted.extend(more);
        at += 1;
    }
    for pid in wanted.into_iter().filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn children(all: &[(i32, i32)], parent: i32) -> impl Iterator<Item = i32> {
    all.iter().filter(move |each| each.1 == parent).map(|each| each.0)
}

/// Every living process that can be seen, with its parent.
fn processes() -> Vec<(i32, i32)> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let stat = fs_err::read_to_string(entry.path().join("stat")).ok()?;
            // The name in parentheses may itself hold spaces and parentheses.
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            if matches!(fields.next()?, "Z" | "X") {
                return None;
            }
            Some((pid, fields.next()?.parse().ok()?))
        })
        .collect()
}
