//! Files that a person edits, put among the phases of a stack.
//!
//! A file stands before the service that reads it and behind the same barrier, so that one script changes the one and tells the other. What a stack's own
//! service reads becomes part of that service's fingerprint; any other service that a file names becomes an item of its own.

use clusterbook_model::EditedFile;

use super::{Barrier, Phase};
use crate::error::Error;
use crate::item::{Item, Kind, Refresh, Trial};

/// The phase's name.
const FILES: &str = "files";

/// Adds the files of one group's nodes to their phases.
pub(super) fn add(phases: &mut Vec<Phase>, files: &[EditedFile], group: &str) -> Result<(), Error> {
    for file in files.iter().filter(|file| file.is_on(group)) {
        refuse_twice(phases, file)?;
        let named: Vec<(&str, bool)> = file
            .reload
            .iter()
            .map(|unit| (unit.as_str(), false))
            .chain(file.restart.iter().map(|unit| (unit.as_str(), true)))
            .collect();
        let refresh = |restart: bool| if restart { Refresh::Restart } else { Refresh::Reload };
        let readers = named
            .iter()
            .filter(|(unit, _)| service(phases, unit).is_none_or(|(phase, _)| phases[phase].name == FILES))
            .map(|&(unit, restart)| (unit.to_owned(), refresh(restart)))
            .collect();
        let item = Item::edited(file, readers);
        let mut reader = None;
        let mut others = Vec::new();
        for (unit, restart) in named {
            match service(phases, unit) {
                Some((phase, place)) if phases[phase].name != FILES => {
                    phases[phase].items[place].read_also(&item, restart);
                    reader = Some(reader.map_or(phase, |first: usize| first.min(phase)));
                }
                Some((phase, place)) => phases[phase].items[place].read_also(&item, restart),
                None => others.push((unit, restart)),
            }
        }
        let place = match reader {
            Some(phase) => before(phases, phase),
            None => own(phases),
        };
        let items = &mut phases[place].items;
        // Files first, services last: one that an earlier file named may read this one, too.
        let end = items
            .iter()
            .position(|item| matches!(item.kind, Kind::Service { .. }))
            .unwrap_or(items.len());
        for (unit, restart) in others {
            items.push(Item::service(unit, refresh(restart), &[&item]).tried(Trial::Runs));
        }
        items.insert(end, item);
    }
    Ok(())
}

/// A file that a phase keeps true has one writer. The design refuses those that it knows of; this refuses the rest.
fn refuse_twice(phases: &[Phase], file: &EditedFile) -> Result<(), Error> {
    let keeps = |item: &Item| match &item.kind {
        Kind::File { path, .. } | Kind::Link { path, .. } | Kind::Directory { path, .. } => *path == file.path,
        _ => false,
    };
    match phases.iter().find(|phase| phase.items.iter().any(keeps)) {
        None => Ok(()),
        Some(phase) => Err(Error::Refused {
            what: format!(
                "{} is kept by clusterbook itself, in the phase {}",
                file.path, phase.name
            ),
            hint: "take it out of the design's files, and set the parameters that it follows from".to_owned(),
        }),
    }
}

/// The phase and place of a service.
fn service(phases: &[Phase], unit: &str) -> Option<(usize, usize)> {
    phases.iter().enumerate().find_map(|(phase, found)| {
        let is = |item: &Item| matches!(&item.kind, Kind::Service { unit: known, .. } if known == unit);
        Some((phase, found.items.iter().position(is)?))
    })
}

/// A phase of files right before this one, behind the same barrier.
fn before(phases: &mut Vec<Phase>, phase: usize) -> usize {
    let after = phases[phase].after;
    if let Some(place) = phase.checked_sub(1)
        && phases[place].name == FILES
        && phases[place].after == after
    {
        return place;
    }
    phases.insert(phase, empty(after));
    phase
}

/// The phase of files that no service of the stack reads: once accounts are there, since these may own them.
fn own(phases: &mut Vec<Phase>) -> usize {
    let place = phases
        .iter()
        .position(|phase| phase.name == "users")
        .map_or(phases.len(), |users| users + 1);
    let known = phases.get(place).is_some_and(|phase| phase.name == FILES);
    if !known {
        phases.insert(place, empty(Barrier::Nothing));
    }
    place
}

fn empty(after: Barrier) -> Phase {
    Phase {
        name: FILES,
        after,
        items: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, reload: &[&str], restart: &[&str]) -> EditedFile {
        let words = |list: &[&str]| list.iter().map(|&word| word.to_owned()).collect();
        EditedFile {
            path: path.to_owned(),
            nodes: words(&["all"]),
            mode: "0644".to_owned(),
            owner: "root:root".to_owned(),
            reload: words(reload),
            restart: words(restart),
            content: "text\n".to_owned(),
        }
    }

    fn stack() -> Vec<Phase> {
        let phase = |name, after, items| Phase { name, after, items };
        let hosts = Item::file("/etc/hosts", 0o644, "hosts");
        let defaults = Item::file("/etc/default/slurmd", 0o644, "defaults");
        let slurmd = Item::service("slurmd", Refresh::Restart, &[&defaults]);
        vec![
            phase("identity", Barrier::Nothing, vec![hosts]),
            phase("users", Barrier::Nothing, Vec::new()),
            phase("worker", Barrier::Controller, vec![defaults, slurmd]),
        ]
    }

    fn keys(phases: &[Phase]) -> Vec<String> {
        let mut keys = Vec::new();
        for phase in phases.iter().filter(|phase| phase.name != "identity") {
            keys.extend(phase.items.iter().map(|item| format!("{} {}", phase.name, item.key)));
        }
        keys
    }

    #[test]
    fn a_file_comes_before_what_reads_it_and_behind_the_same_barrier() {
        let mut phases = stack();
        let before = phases[2].items[1].want.clone();
        let files = [
            file("/etc/motd", &[], &[]),
            file("/etc/a.conf", &["ssh"], &[]),
            file("/etc/b.conf", &[], &["slurmd"]),
            file("/etc/c.conf", &[], &["ssh"]),
        ];
        add(&mut phases, &files, "compute").expect("they fit");
        assert_eq!(
            keys(&phases),
            [
                "files edit:/etc/motd",
                "files edit:/etc/a.conf",
                "files edit:/etc/c.conf",
                "files service:ssh",
                "files edit:/etc/b.conf",
                "worker file:/etc/default/slurmd",
                "worker service:slurmd",
            ]
        );
        let (phase, place) = service(&phases, "slurmd").expect("it is there");
        assert_ne!(
            phases[phase].items[place].want, before,
            "slurmd reads it again when it changes"
        );
        assert_eq!(phases[phase - 1].after, Barrier::Controller);
        let (phase, place) = service(&phases, "ssh").expect("it is there");
        let Kind::Service { inputs, refresh, .. } = &phases[phase].items[place].kind else {
            panic!("a service")
        };
        assert_eq!(inputs, &["edit:/etc/a.conf", "edit:/etc/c.conf"]);
        assert_eq!(*refresh, Refresh::Restart, "one of the two needs a restart");
    }

    #[test]
    fn other_nodes_and_other_designs_are_left_alone() {
        let mut phases = stack();
        let mut only = file("/etc/motd", &[], &["slurmd"]);
        only.nodes = vec!["gpu".to_owned()];
        add(&mut phases, &[only], "compute").expect("it fits");
        assert_eq!(keys(&phases), keys(&stack()));
    }

    #[test]
    fn what_a_phase_keeps_true_has_one_writer() {
        let error = add(&mut stack(), &[file("/etc/hosts", &[], &[])], "compute").expect_err("two writers");
        assert!(error.to_string().contains("in the phase identity"), "{error}");
    }
}
