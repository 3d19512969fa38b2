//! A cluster from its design to its removal.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;

use crate::place::Place;

#[test]
fn a_cluster_lives_through_every_command() {
    let place = Place::with_world();
    let wrote = place.good(&[
        "new",
        "demo",
        "--set",
        "provider=memory",
        "--set",
        "groups[compute].nodes=2",
        "--set",
        "users=[{name: alice}]",
    ]);
    assert!(wrote.stdout.contains("demo.cluster.yaml"), "{wrote:?}");

    // The only design in the folder needs no name.
    let checks = place.json(&["check"]);
    assert_eq!(checks["good"], true);
    assert_eq!(checks["cluster"], "demo");
    let text = place.good(&["check", "demo"]).stdout;
    assert!(text.contains("free") && text.contains("alice has no SSH key"), "{text}");

    let plan = place.run(&["plan", "demo", "--exit-code"]);
    assert_eq!(plan.code, Some(3), "{plan:?}");
    assert!(plan.stdout.contains("create  node c2"), "{}", plan.stdout);
    assert_eq!(
        place.good(&["list"]).stdout.lines().count(),
        1,
        "a plan makes no cluster"
    );

    let applied = place.good(&["apply", "demo.cluster.yaml", "--events", "events.jsonl"]);
    assert!(applied.stdout.contains("Cluster demo is as designed"), "{applied:?}");
    assert!(applied.stderr.contains("configuration (3 changes)"), "{applied:?}");
    let events = events(&place, "events.jsonl");
    assert_eq!(events.first().unwrap()["event"], "started");
    assert_eq!(events.last().unwrap()["event"], "finished");
    assert!(
        events
            .iter()
            .all(|event| event["schema"] == 1 && event["at"].is_string())
    );

    let again = place.good(&["plan", "--exit-code"]);
    assert_eq!(again.stdout, "Nothing to do: cluster demo is as designed.\n");
    let again = place.good(&["apply"]);
    assert_eq!(
        (again.stdout.lines().count(), again.stderr.as_str()),
        (1, ""),
        "{again:?}"
    );

    let status = place.json(&["status", "demo"]);
    let states: Vec<&str> = status["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| node["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["running"; 3]);
    let table = place.good(&["status", "demo"]).stdout;
    assert!(
        table.contains("NODE    GROUP    FLAVOR") && !table.contains('\u{1b}'),
        "{table}"
    );

    // Pretended nodes run no commands: each is told with that, beside what its design says.
    let gpus = place.run(&["gpus", "demo", "--json"]);
    assert_eq!(gpus.code, Some(1), "{gpus:?}");
    assert!(
        gpus.stdout.contains("\"found\": \"unknown\"") || gpus.stdout.contains("\"found\":\"unknown\""),
        "{gpus:?}"
    );
    assert!(gpus.stdout.contains("is pretended"), "{gpus:?}");

    let listed = place.json(&["list"]);
    assert_eq!(listed["clusters"][0]["name"], "demo");
    let path = listed["clusters"][0]["design_path"].as_str().unwrap();
    assert!(
        path.ends_with("/place/demo.cluster.yaml") && path.starts_with('/'),
        "{path}"
    );

    // These nodes keep a configuration and run nothing, which is a failure on each of them.
    let ran = place.run(&["run", "demo", "--on", "c1,master", "--", "nproc"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stderr.contains("c1: ") && ran.stderr.contains("master: "),
        "{ran:?}"
    );
    let ran = place.json(&["run", "demo", "--on", "compute", "--", "echo", "two words"]);
    assert_eq!(ran["shell_command"], "echo 'two words'");
    assert_eq!(ran["results"].as_array().unwrap().len(), 2);

    let history = place.json(&["history", "demo"]);
    assert_eq!(
        history["applies"].as_array().unwrap().len(),
        1,
        "an apply with nothing to do is not one"
    );
    assert_eq!(history["actions"].as_array().unwrap().len(), 2);
    let changes = place.good(&["history", "demo", "--apply", "1"]).stdout;
    assert!(
        changes.contains("create node c1") && changes.contains("done"),
        "{changes}"
    );
    place
        .run(&["history", "demo", "--apply", "9"])
        .refused(2, &["no apply 9", "1 to 1"]);

    // To another state folder, from which the cluster is then removed.
    place.write("word", "correct horse\n");
    place.good(&["export", "demo", "demo.clusterbook", "--passphrase", "file:word"]);
    let export = place.work().join("demo.clusterbook");
    assert_eq!(fs_err::metadata(&export).unwrap().permissions().mode() & 0o777, 0o600);
    let elsewhere = place.work().join("elsewhere");
    let there = |arguments: &[&str]| place.run_with(arguments, &[("CLUSTERBOOK_HOME", &elsewhere)]);
    place.write("wrong", "battery staple\n");
    there(&["import", "demo.clusterbook", "--passphrase", "file:wrong"])
        .refused(2, &["the passphrase doesn't open this export", "Hint: "]);
    assert_eq!(
        there(&["import", "demo.clusterbook", "--passphrase", "file:word"]).code,
        Some(0)
    );
    assert_eq!(there(&["plan", "--exit-code"]).code, Some(0), "it is the same cluster");
    there(&["import", "demo.clusterbook", "--passphrase", "file:word"]).refused(2, &["already a cluster"]);

    let doomed = there(&["plan", "--destroy", "demo", "--exit-code"]);
    assert_eq!(doomed.code, Some(3), "{doomed:?}");
    assert!(doomed.stdout.contains("delete  disk home"), "{doomed:?}");
    let gone = there(&["destroy", "demo", "--yes"]);
    assert_eq!(gone.code, Some(0), "{gone:?}");
    assert!(gone.stdout.contains("Cluster demo is gone"), "{gone:?}");
    there(&["status", "demo"]).refused(2, &["no cluster named demo"]);
    let history = there(&["history", "demo"]);
    assert!(history.stdout.contains("was destroyed at"), "{history:?}");
    place.nothing_exists("demo");
}

#[test]
fn documents_of_plan_apply_and_destroy_hold_the_plan() {
    let place = Place::with_world();
    place.design("demo", "");
    let planned = place.json(&["plan"]);
    let applied = place.json(&["apply"]);
    assert_eq!(planned["changes"], applied["plan"]["changes"]);
    assert_eq!(applied["number"], 1);
    let destroyed = place.json(&["destroy", "demo", "--yes"]);
    assert_eq!(destroyed["cluster"], "demo");
    assert!(!destroyed["plan"]["changes"].as_array().unwrap().is_empty());
}

#[test]
fn an_apply_that_deletes_needs_a_yes() {
    let place = Place::with_world();
    place.design("demo", "groups: [{ name: compute, nodes: 2 }]\n");
    place.good(&["apply"]);
    place.design("demo", "groups: [{ name: compute, nodes: 1 }]\n");
    let ran = place.run(&["apply"]);
    ran.refused(2, &["there is no terminal", "--yes", "nothing was changed"]);
    assert!(ran.stdout.contains("node c2"), "the plan is shown first: {ran:?}");
    assert_eq!(place.json(&["status", "demo"])["nodes"].as_array().unwrap().len(), 3);
    place.good(&["apply", "--yes"]);
    assert_eq!(place.json(&["status", "demo"])["nodes"].as_array().unwrap().len(), 2);
}

#[test]
fn failed_parts_are_named_and_the_next_apply_goes_on() {
    // One fault in all: some request fails for good, the rest of the cluster is made.
    let place = Place::with_faults(r#"{"born_failed": 1.0, "limit": 1}"#);
    place.design("demo", "");
    let mut codes = Vec::new();
    for _ in 0..4 {
        let ran = place.run(&["apply", "--yes"]);
        if ran.code == Some(1) {
            ran.refused(1, &["failed"]);
        }
        codes.push(ran.code);
        if ran.code == Some(0) {
            break;
        }
    }
    assert_eq!(codes.last(), Some(&Some(0)), "{codes:?}");
    assert_eq!(place.good(&["plan", "--exit-code"]).code, Some(0));
}

#[test]
fn a_new_design_never_takes_a_files_place() {
    let place = Place::new();
    place.good(&["new", "demo"]);
    let before = fs_err::read(place.work().join("demo.cluster.yaml")).unwrap();
    place
        .run(&["new", "demo", "--set", "power=off"])
        .refused(2, &["demo.cluster.yaml exists already"]);
    assert_eq!(fs_err::read(place.work().join("demo.cluster.yaml")).unwrap(), before);
    let document = place.json(&["new", "other", "--set", "power=off"]);
    assert_eq!(document["design"]["power"], "off");
}

#[test]
fn an_export_never_takes_a_files_place() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    place.write("taken", "precious");
    place.write("word", "correct horse");
    place
        .run(&["export", "demo", "taken", "--passphrase", "file:word"])
        .refused(2, &["taken exists already"]);
    assert_eq!(fs_err::read_to_string(place.work().join("taken")).unwrap(), "precious");
    place
        .run(&["export", "demo", "new"])
        .refused(2, &["--passphrase file:PATH"]);
    place
        .run(&["export", "demo", "new", "--passphrase", "env:NONE"])
        .refused(2, &["NONE"]);
    let word = place.work().join("word");
    let ran = place.run_with(
        &["export", "demo", "new", "--passphrase", "env:WORD"],
        &[("WORD", &word)],
    );
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn colours_follow_the_usual_variables() {
    let place = Place::with_world();
    place.design("demo", "");
    let forced = place.run_with(&["plan"], &[("CLICOLOR_FORCE", "1".as_ref())]);
    assert!(forced.stdout.contains('\u{1b}'), "{forced:?}");
    let none = place.run_with(
        &["plan"],
        &[("CLICOLOR_FORCE", "1".as_ref()), ("NO_COLOR", "1".as_ref())],
    );
    assert!(!none.stdout.contains('\u{1b}'), "{none:?}");
}

fn events(place: &Place, name: &str) -> Vec<Value> {
    fs_err::read_to_string(place.work().join(name))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
