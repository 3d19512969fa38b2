//! The system's table of processes.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A kernel that is younger has few processes after it, and their numbers follow its own.
const YOUNG: Duration = Duration::from_secs(2);
/// So many numbers are tried one by one.
const MOST_TRIED: i32 = 2000;

/// One living process.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) session: i32,
    pub(super) started: u64,
    processor_ticks: u64,
    resident_pages: u64,
}

/// What a kernel, with what runs in its session, has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// Processor time since the kernel's start, in seconds, to a hundredth. What its ended children used counts from the
    /// moment when it has waited for them.
    pub processor_seconds: f64,
    /// Memory in use now, in bytes; pages that processes share count for each of them.
    pub memory: u64,
}

/// Every living process that can have come from `pid`, and it itself. It was there at `since`; nobody knows since when otherwise.
///
/// Reading the whole table takes milliseconds, as long as many a notebook. What a young process started has one of the
/// numbers that the system has given out since.
pub(super) fn since(pid: i32, since: Option<Instant>) -> Vec<Entry> {
    let last = || -> Option<i32> {
        let load = fs_err::read_to_string("/proc/loadavg").ok()?;
        load.split_whitespace().next_back()?.parse().ok()
    };
    if since.is_some_and(|since| since.elapsed() < YOUNG)
        && let Some(last) = last()
        && (pid..pid.saturating_add(MOST_TRIED)).contains(&last)
    {
        return (pid..=last).filter_map(entry).collect();
    }
    all()
}

fn all() -> Vec<Entry> {
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|each| entry(each.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn entry(pid: i32) -> Option<Entry> {
    let stat = fs_err::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name in parentheses may itself hold spaces and parentheses.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    // A thread's number leads to an entry too; nobody is told when a thread ends.
    if *fields.get(35)? == "-1" {
        return None;
    }
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Entry {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        session: fields.get(3)?.parse().ok()?,
        processor_ticks: number(11)? + number(12)? + number(13)? + number(14)?,
        started: number(19)?,
        resident_pages: number(21)?,
    })
}

/// When a process started, in clock ticks after boot.
pub(super) fn started_at(pid: i32) -> Option<u64> {
    entry(pid).map(|entry| entry.started)
}

/// What `kernel` and those of its descendants that are in its session use.
pub(super) fn usage(kernel: i32) -> Usage {
    let mut usage = Usage::default();
    let page = rustix::param::page_size() as u64;
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    let mut pending = vec![kernel];
    let mut seen = 0;
    while let Some(pid) = pending.pop() {
        seen += 1;
        let Some(entry) = entry(pid).filter(|entry| entry.session == kernel && seen < 4096) else {
            continue;
        };
        usage.processor_seconds += entry.processor_ticks as f64 / ticks;
        usage.memory += entry.resident_pages * page;
        pending.extend(children(pid));
    }
    usage
}

/// What a process has open that others could miss or be kept from: the paths of files and devices, each once, and how many
/// sockets and pipes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Open {
    files: BTreeSet<PathBuf>,
    sockets: usize,
    pipes: usize,
}

impl Open {
    /// Whether this is nothing more than `before`.
    pub(super) fn is_within(&self, before: &Self) -> bool {
        self.files.is_subset(&before.files) && self.sockets <= before.sockets && self.pipes <= before.pipes
    }
}

/// What `pid` has open, apart from IPython's history, which every kernel opens when it comes to write it.
pub(super) fn open(pid: i32) -> Option<Open> {
    let mut open = Open::default();
    for entry in fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten() {
        // What was closed meanwhile is not open.
        let Ok(link) = fs_err::read_link(entry.path()) else {
            continue;
        };
        let text = link.to_string_lossy();
        if text.starts_with("socket:") {
            open.sockets += 1;
        } else if text.starts_with("pipe:") {
            open.pipes += 1;
        } else if link.is_absolute() && !text.contains("/history.sqlite") {
            open.files.insert(link);
        }
    }
    Some(open)
}

fn children(pid: i32) -> Vec<i32> {
    let Ok(threads) = fs_err::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| fs_err::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split_whitespace()
                .filter_map(|child| child.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}
