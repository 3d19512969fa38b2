//! Configuration files as part of a design.

use crate::place::Place;

#[test]
fn a_file_is_set_applied_changed_and_rolled_back() {
    let place = Place::with_world();
    place.design("demo", "# ours\ngroups: [{ name: compute, nodes: 1 }]\n");
    place.write("motd", "Welcome.\n");
    let set = [
        "files",
        "set",
        "demo",
        "/etc/motd",
        "--from",
        "motd",
        "--nodes",
        "compute",
    ];
    let wrote = place.good(&set);
    assert!(wrote.stdout.contains("+    Welcome."), "{wrote:?}");
    assert_eq!(place.good(&set).stdout, "The design says so already.\n");
    let listed = place.good(&["files", "list", "demo"]).stdout;
    assert!(listed.contains("/etc/motd") && listed.contains("compute"), "{listed}");
    place.good(&["apply", "demo"]);

    place.write("motd", "Welcome.\nMaintenance on Friday.\n");
    place.good(&[
        "files",
        "set",
        "demo",
        "/etc/motd",
        "--from",
        "motd",
        "--restart",
        "ssh.service",
    ]);
    let plan = place.json(&["plan", "demo"]);
    let changes = plan["changes"].as_array().unwrap();
    let whats: Vec<&str> = changes.iter().map(|change| change["what"].as_str().unwrap()).collect();
    assert_eq!(whats, ["/etc/motd", "service ssh"]);
    assert!(
        changes
            .iter()
            .all(|change| change["node"] == "c1" && change["phase"] == "files")
    );
    place.good(&["apply", "demo"]);

    let versions = place.json(&["files", "versions", "demo", "/etc/motd"]);
    let versions = versions["versions"].as_array().unwrap();
    assert_eq!(versions.len(), 2);
    assert_eq!(
        (versions[0]["apply"].as_u64(), versions[1]["apply"].as_u64()),
        (Some(1), Some(2))
    );
    assert!(versions[1]["diff"].as_str().unwrap().contains("+Maintenance"));
    let first = place
        .good(&["files", "versions", "demo", "/etc/motd", "--apply", "1"])
        .stdout;
    assert_eq!(first, "Welcome.\n");

    let back = place.good(&["files", "roll-back", "demo", "/etc/motd", "1"]);
    assert!(back.stdout.contains("-    Maintenance on Friday."), "{back:?}");
    place.good(&["apply", "demo"]);
    place.good(&["files", "remove", "demo", "/etc/motd"]);
    place.good(&["apply", "demo"]);
    let versions = place.json(&["files", "versions", "demo", "/etc/motd"]);
    let texts: Vec<Option<&str>> = versions["versions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|version| version["text"].as_str())
        .collect();
    assert_eq!(texts.len(), 4);
    assert_eq!((texts[2], texts[3]), (Some("Welcome.\n"), None));
    let design = fs_err::read_to_string(place.work().join("demo.cluster.yaml")).unwrap();
    assert!(design.contains("# ours"), "{design}");
}

#[test]
fn slurm_conf_goes_back_to_an_earlier_apply() {
    let place = Place::with_world();
    place.design("demo", "slurm_conf: { MaxJobCount: 20000 }\n");
    place.good(&["apply", "demo"]);
    place.design("demo", "slurm_conf: { MaxJobCount: 30000, MaxArraySize: 10 }\n");
    place.good(&["apply", "demo"]);
    let versions = place.good(&["files", "versions", "demo", "slurm_conf"]).stdout;
    assert_eq!(versions.lines().count(), 3, "{versions}");
    place.good(&["files", "roll-back", "demo", "slurm_conf", "1"]);
    place.good(&["apply", "demo"]);
    let last = place
        .good(&["files", "versions", "demo", "slurm_conf", "--apply", "3"])
        .stdout;
    assert_eq!(last, "MaxJobCount=20000\n");
}

#[test]
fn what_is_no_file_of_a_person_is_refused_and_the_design_stays() {
    let place = Place::with_world();
    place.design("demo", "");
    place.write("text", "x\n");
    let before = fs_err::read(place.work().join("demo.cluster.yaml")).unwrap();
    for (path, told) in [
        ("/etc/slurm/slurm.conf", "set slurm_conf instead"),
        ("/etc/hosts", "groups[].hosts"),
        ("/etc/passwd", "users"),
        ("motd", "absolute path"),
    ] {
        place
            .run(&["files", "set", "demo", path, "--from", "text"])
            .refused(2, &[told]);
    }
    place
        .run(&["files", "set", "demo", "/etc/motd", "--from", "nothing"])
        .refused(2, &["nothing can't be read"]);
    place
        .run(&["files", "remove", "demo", "/etc/motd"])
        .refused(2, &["has no file /etc/motd"]);
    place
        .run(&["files", "diff", "demo", "/etc/motd"])
        .refused(2, &["has no file /etc/motd"]);
    place.good(&["apply", "demo"]);
    place
        .run(&["files", "roll-back", "demo", "/etc/motd", "7"])
        .refused(2, &["had no apply 7", "1 to 1"]);
    place
        .run(&["files", "versions", "demo", "motd"])
        .refused(2, &["neither a path nor slurm_conf"]);
    // The pretended nodes hold a configuration, and no files that could be read.
    let shown = place.run(&["files", "show", "demo", "/etc/motd"]);
    assert_eq!(shown.code, Some(1), "{shown:?}");
    assert!(shown.stdout.contains("runs no commands"), "{shown:?}");
    assert_eq!(fs_err::read(place.work().join("demo.cluster.yaml")).unwrap(), before);
}
