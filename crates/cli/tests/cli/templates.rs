//! Templates that replace built-in ones.

use crate::place::Place;

const BROKEN: &str = "# mine\nClusterName={{ cluster_nam }}\n";

#[test]
fn an_undefined_variable_is_named_with_template_and_line() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    for name in ["slurm/slurm.conf.j2", "slurm/slurm.conf"] {
        let folder = format!("templates-{}", name.len());
        place.write(&format!("{folder}/{name}"), BROKEN);
        for command in ["plan", "apply"] {
            place.run(&[command, "--templates", &folder]).refused(
                4,
                &["slurm/slurm.conf, line 2", "'cluster_nam' is not defined", "Hint: "],
            );
        }
    }
    assert_eq!(
        place.good(&["plan", "--exit-code"]).code,
        Some(0),
        "nothing was changed"
    );
}

#[test]
fn an_undefined_variable_stops_a_new_cluster_before_anything_is_created() {
    let place = Place::with_world();
    place.design("demo", "");
    place.write("templates/slurm/slurm.conf.j2", BROKEN);
    place
        .run(&["apply", "--templates", "templates"])
        .refused(4, &["slurm/slurm.conf, line 2", "'cluster_nam' is not defined"]);
    place.nothing_exists("demo");
}

#[test]
fn a_template_takes_the_place_of_the_built_in_one() {
    let place = Place::with_world();
    place.design("demo", "");
    place.good(&["apply"]);
    place.write("templates/slurm/hosts.j2", "# mine\n127.0.0.1 localhost\n");
    place.write(
        "templates/.git/config",
        "an editor's or version control's own files are left alone",
    );
    let plan = place.json(&["plan", "--templates", "templates"]);
    let changes = plan["changes"].as_array().unwrap();
    assert!(!changes.is_empty());
    assert!(
        changes.iter().all(|change| change["what"] == "/etc/hosts"),
        "{changes:?}"
    );
}

#[test]
fn templates_that_replace_nothing_or_cannot_be_read_are_refused() {
    let place = Place::with_world();
    place.design("demo", "");
    place.write("unknown/slurm/slrm.conf.j2", "");
    place
        .run(&["apply", "--templates", "unknown"])
        .refused(4, &["slurm/slrm.conf", "did you mean 'slurm/slurm.conf'?"]);
    place.write("unparsed/slurm/slurm.conf.j2", "fine\n{% if %}\n");
    place
        .run(&["apply", "--templates", "unparsed"])
        .refused(4, &["slurm/slurm.conf, line 2"]);
    place.write("twice/slurm/hosts.j2", "");
    place.write("twice/slurm/hosts", "");
    place
        .run(&["apply", "--templates", "twice"])
        .refused(2, &["slurm/hosts twice"]);
    place
        .run(&["apply", "--templates", "nowhere"])
        .refused(2, &["nowhere can't be read"]);
    place.nothing_exists("demo");
}
