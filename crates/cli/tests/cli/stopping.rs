//! One writer at a time, and stopping it.

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use rustix::process::{Pid, Signal, kill_process};

use crate::place::{Place, Ran, wait_for};

/// A world in which every call takes long enough to do something meanwhile.
const SLOW: &str = r#"{"latency": {"secs": 0, "nanos": 700000000}}"#;

/// Starts an apply and waits until it holds the cluster.
fn begun(place: &Place) -> Child {
    place.design("demo", "");
    let child = place.process(&["apply"]).spawn().unwrap();
    let lock = place.home().join("locks/demo.lock");
    wait_for("the lock", || fs_err::metadata(&lock).is_ok_and(|file| file.len() > 0));
    child
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn the_second_of_two_applies_is_told_who_has_the_cluster() {
    let place = Place::with_faults(SLOW);
    let first = begun(&place);
    let second = place.run(&["apply"]);
    let process = format!("process {}", first.id());
    second.refused(
        5,
        &[
            "cluster demo is being changed by tester on",
            "(apply, ",
            &process,
            "Hint: Wait",
        ],
    );
    let first = Ran::of(first.wait_with_output().unwrap());
    assert_eq!(first.code, Some(0), "{first:?}");
    place.good(&["plan", "--exit-code"]);
}

#[test]
fn the_first_ctrl_c_stops_at_a_safe_point_and_the_next_apply_goes_on() {
    for asked in [Signal::INT, Signal::TERM] {
        let place = Place::with_faults(SLOW);
        let child = begun(&place);
        signal(&child, asked);
        let stopped = Ran::of(child.wait_with_output().unwrap());
        stopped.refused(130, &["Press Ctrl-C again", "apply again"]);
        place.good(&["apply"]);
        place.good(&["plan", "--exit-code"]);
    }
}

#[test]
fn the_second_ctrl_c_stops_now() {
    let place = Place::with_faults(SLOW);
    let mut child = begun(&place);
    signal(&child, Signal::INT);
    // Two signals of one sort at the same moment are one; the next is sent when the first was heard.
    let told = BufReader::with_capacity(1, child.stderr.as_mut().unwrap());
    let heard = told.lines().any(|line| line.unwrap().contains("Press Ctrl-C again"));
    assert!(heard);
    signal(&child, Signal::INT);
    let stopped = Ran::of(child.wait_with_output().unwrap());
    stopped.refused(130, &["Stopping now"]);
    place.good(&["apply"]);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let place = Place::with_world();
    place.design("demo", "");
    let mut child = place.process(&["plan"]).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
}
