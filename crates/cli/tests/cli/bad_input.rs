//! Bad input: a clear error, its exit status, nothing created, nothing lost.

use crate::place::Place;

/// A design with this in it is refused before anything is looked at or written.
#[track_caller]
fn refused_design(more: &str, told: &[&str]) {
    let place = Place::new();
    place.design("demo", more);
    for command in ["check", "plan", "apply"] {
        place.run(&[command]).refused(2, told);
    }
    assert!(!place.home().exists(), "not even a state folder is made");
}

#[test]
fn an_unknown_parameter_is_answered_with_the_nearest_one() {
    refused_design(
        "partitons: []\n",
        &["partitons: unknown parameter", "did you mean 'partitions'?"],
    );
    let place = Place::new();
    place
        .run(&["new", "demo", "--set", "groups[compute].node=3"])
        .refused(2, &["groups[0].node: unknown parameter", "did you mean 'nodes'?"]);
    assert_eq!(fs_err::read_dir(place.work()).unwrap().count(), 0);
}

#[test]
fn a_size_without_unit() {
    refused_design(
        "disks: [{ name: home, size: 10, mount: /home }]\n",
        &["disks[0].size: '10' has no unit", "10 GiB"],
    );
}

#[test]
fn a_negative_size() {
    refused_design(
        "disks: [{ name: home, size: -3 GiB, mount: /home }]\n",
        &["disks[0].size: ", "-3 GiB"],
    );
}

#[test]
fn overlapping_addresses() {
    refused_design(
        "groups:\n  - { name: a, nodes: 1, hosts: 'a[1-4]', addresses: 10.7.0.20-24 }\n  \
         - { name: b, nodes: 1, hosts: 'b[1-4]', addresses: 10.7.0.22-26 }\n",
        &["groups[1].addresses: ", "10.7.0.22"],
    );
}

#[test]
fn too_few_addresses() {
    refused_design(
        "groups: [{ name: a, nodes: 4, hosts: 'a[1-4]', addresses: 10.7.0.20-21 }]\n",
        &["groups[0].addresses: "],
    );
}

#[test]
fn a_duplicate_host_name() {
    refused_design(
        "groups:\n  - { name: a, nodes: 2, hosts: 'c[1-2]' }\n  - { name: b, nodes: 2, hosts: 'c[2-3]' }\n",
        &["groups[1].hosts: ", "c2"],
    );
}

#[test]
fn all_faults_are_told_at_once_and_to_programs_too() {
    let place = Place::new();
    place.design("demo", "powr: on\ndisks: [{ name: home, size: 10, mount: home }]\n");
    let error = &place.json(&["apply"])["error"];
    assert_eq!(error["kind"], "input");
    assert_eq!(error["exit_status"], 2);
    let paths: Vec<&str> = error["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| fault["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["powr", "disks[0].size", "disks[0].mount"]);
}

#[test]
fn a_name_that_somebody_else_uses() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    let elsewhere = place.work().join("elsewhere");
    let ran = place.run_with(&["apply"], &[("CLUSTERBOOK_HOME", &elsewhere)]);
    ran.refused(2, &["the name demo is already used", "choose another name"]);
    assert_eq!(
        place.good(&["plan", "--exit-code"]).code,
        Some(0),
        "the first one is unharmed"
    );
    let listed = place.run_with(&["list"], &[("CLUSTERBOOK_HOME", &elsewhere)]);
    assert!(listed.stdout.starts_with("No clusters"), "{listed:?}");
}

#[test]
fn an_unwritable_state_folder() {
    let place = Place::with_world();
    place.design("demo", "");
    // Below a file no folder can be made, not even by root.
    place.write("file", "");
    let home = place.work().join("file/state");
    let ran = place.run_with(&["apply"], &[("CLUSTERBOOK_HOME", &home)]);
    ran.refused(4, &["can't be written to", "Caused by: ", "Set CLUSTERBOOK_HOME"]);
    place.nothing_exists("demo");
}

#[test]
fn the_state_of_a_newer_version() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    let database = place.home().join("state.db");
    let connection = rusqlite::Connection::open(&database).unwrap();
    connection.pragma_update(None, "user_version", 9999).unwrap();
    drop(connection);
    for arguments in [&["list"][..], &["apply"], &["destroy", "demo", "--yes"]] {
        place.run(arguments).refused(4, &["newer version", "9999"]);
    }
    let connection = rusqlite::Connection::open(&database).unwrap();
    let clusters: i64 = connection
        .query_row("SELECT count(*) FROM clusters", [], |row| row.get(0))
        .unwrap();
    assert_eq!(clusters, 1, "nothing is lost");
}

#[test]
fn the_design_of_a_newer_version() {
    let place = Place::new();
    place.write("demo.cluster.yaml", "schema: 2\nname: demo\nquantum: true\n");
    place
        .run(&["apply"])
        .refused(2, &["newer version", "schema 2", "Hint: "]);
    assert!(!place.home().exists());
}

#[test]
fn a_design_that_is_no_yaml_is_shown_its_line() {
    let place = Place::new();
    place.write("demo.cluster.yaml", "schema: 1\nname: [demo\n");
    place.run(&["plan"]).refused(2, &["demo.cluster.yaml:"]);
}

#[test]
fn an_engine_that_is_not_there() {
    let place = Place::new();
    place.good(&["new", "demo"]);
    let ran = place.run(&["apply"]);
    ran.refused(4, &["/nonexistent/engine.sock", "Hint: "]);
    assert!(place.good(&["list"]).stdout.starts_with("No clusters"));
    let check = place.run(&["check"]);
    assert_eq!(check.code, Some(1), "{check:?}");
    assert!(check.stdout.contains("provider  bad"), "{check:?}");
}

#[test]
fn a_destroy_that_nobody_confirms() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    place
        .run(&["destroy", "demo"])
        .refused(2, &["must be confirmed", "--yes"]);
    assert_eq!(
        place.good(&["plan", "--exit-code"]).code,
        Some(0),
        "nothing was changed"
    );
}

#[test]
fn a_design_that_is_not_there() {
    let place = Place::new();
    place.run(&["plan"]).refused(2, &["no design file", "clusterbook new"]);
    place.good(&["new", "demo"]);
    place
        .run(&["plan", "deno"])
        .refused(2, &["deno.cluster.yaml", "did you mean demo.cluster.yaml?"]);
    place.good(&["new", "other"]);
    place
        .run(&["plan"])
        .refused(2, &["several", "demo.cluster.yaml, other.cluster.yaml"]);
}

#[test]
fn a_cluster_or_node_that_is_not_there() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    for arguments in [
        &["status", "deno"][..],
        &["plan", "--destroy", "deno"],
        &["history", "deno"],
    ] {
        place
            .run(arguments)
            .refused(2, &["no cluster named deno", "there are: demo"]);
    }
    place
        .run(&["run", "demo", "--on", "c99", "--", "true"])
        .refused(2, &["no node or group named c99", "there are: all, master"]);
}
