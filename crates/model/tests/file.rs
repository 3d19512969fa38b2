//! Edits of a design file: what changes, and that nothing else does.
#![allow(clippy::unwrap_used)]

use clusterbook_model::{Design, DesignFile, EditedFile, FileError, Limits, User, diff};
use proptest::prelude::*;
use serde_json::{Value, json};

const COMMENTED: &str = include_str!("files/commented.yaml");

fn user(name: &str, uid: u32) -> User {
    User {
        name: name.to_owned(),
        uid,
        keys: vec![format!(
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f {name}: laptop # 1"
        )],
        sudo: false,
        groups: Vec::new(),
        accounts: Vec::new(),
        fairshare: 1,
        limits: Limits::default(),
    }
}

/// Carries out an edit and shows the difference that it makes.
fn edited(text: &str, edit: impl FnOnce(&mut DesignFile) -> Result<(), FileError>) -> String {
    let mut file = DesignFile::parse(text).unwrap();
    edit(&mut file).unwrap();
    assert_eq!(&DesignFile::parse(file.text()).unwrap(), &file);
    diff(text, file.text())
}

#[test]
fn one_number_changes_one_line() {
    insta::assert_snapshot!(edited(COMMENTED, |file| file.set("groups[compute].nodes", 4)));
}

#[test]
fn words_change_in_place() {
    insta::assert_snapshot!(edited(COMMENTED, |file| {
        file.set("power", "off")?;
        file.set("groups[gpu].flavor", "large")?;
        file.set("partitions[all].max_time", "2-00:00:00")?;
        file.set("groups[1].features", json!(["a100", "nvlink"]))
    }));
}

#[test]
fn what_was_left_to_its_default_is_written_when_it_is_set() {
    insta::assert_snapshot!(edited("# mine\nschema: 1\nname: demo # short\n", |file| {
        file.set("groups[compute].nodes", 4)?;
        file.set("master.flavor", "large")?;
        file.set("slurm_conf.MaxJobCount", 5)
    }));
}

#[test]
fn keys_that_are_there_but_empty_are_filled() {
    insta::assert_snapshot!(edited(
        "schema: 1\nname: demo\nusers: # nobody yet\npower: on\n",
        |file| file.add_user(&user("alice", 2001))
    ));
}

#[test]
fn users_come_and_go() {
    insta::assert_snapshot!(edited(COMMENTED, |file| {
        file.add_user(&user("dora", 2004))?;
        file.remove_user("bob")
    }));
}

#[test]
fn first_and_last_user() {
    let text = "schema: 1\nname: demo\n# people\nusers: [] # none\npower: on\n";
    insta::assert_snapshot!(edited(text, |file| file.add_user(&user("alice", 2001))));
    let back = edited(text, |file| {
        file.add_user(&user("alice", 2001))?;
        file.add_user(&user("bob", 2002))?;
        file.remove_user("alice")?;
        file.remove_user("bob")
    });
    assert!(!back.contains("alice") && !back.contains("bob"), "{back}");
}

#[test]
fn refused_edits_leave_the_file_as_it_was() {
    let mut file = DesignFile::parse(COMMENTED).unwrap();
    let before = file.clone();
    let edits: [(&str, Value); 9] = [
        ("groups[compute].nodes", json!(4000)),
        ("groups[compute].nods", json!(4)),
        ("groups[computer].nodes", json!(4)),
        ("groups[7].nodes", json!(4)),
        ("powr", json!("off")),
        ("power.level", json!(1)),
        ("groups[", json!(1)),
        ("power", Value::Null),
        ("users", json!([{"name": "root"}])),
    ];
    let mut messages: Vec<String> = edits
        .into_iter()
        .map(|(path, value)| file.set(path, value).unwrap_err().to_string())
        .collect();
    messages.push(file.remove_user("bop").unwrap_err().to_string());
    messages.push(file.add_user(&user("bob", 2009)).unwrap_err().to_string());
    assert_eq!(file, before);
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn windows_line_ends_survive() {
    let text = COMMENTED.replace('\n', "\r\n");
    let mut file = DesignFile::parse(&text).unwrap();
    match file.set("groups[compute].nodes", 4) {
        Ok(()) => assert_eq!(
            file.text().replace("\r\n", "\n").matches('\n').count(),
            text.matches('\n').count()
        ),
        Err(_) => assert_eq!(file.text(), text),
    }
}

#[test]
fn a_new_file_reads_well() {
    let design = Design::from_parameters(&json!({
        "name": "demo",
        "users": [user("alice", 2001)],
        "slurm_conf": {"SchedulerType": "sched/backfill"},
    }))
    .unwrap();
    insta::assert_snapshot!(DesignFile::new(&design).text());
}

#[test]
fn nothing_needs_an_upgrade_yet() {
    assert_eq!(DesignFile::upgrade(COMMENTED).unwrap(), Vec::<String>::new());
    assert!(DesignFile::upgrade("schema: 99\n").is_err());
}

#[test]
fn no_difference_is_empty() {
    assert_eq!(diff("a\n", "a\n"), "");
}

/// All comments of a text, in order.
fn comments(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.find("# ").map(|position| &line[position..]))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lines_that_an_edit_does_not_concern_stay_byte_for_byte(
        nodes in 0u32..8,
        path in prop::sample::select(vec!["groups[compute].nodes", "groups[gpu].nodes"]),
        flavor in "[a-z][a-z0-9]{0,12}",
    ) {
        let mut file = DesignFile::parse(COMMENTED).unwrap();
        file.set(path, nodes).unwrap();
        file.set("groups[compute].flavor", flavor.as_str()).unwrap();
        let (old, new): (Vec<_>, Vec<_>) = (COMMENTED.lines().collect(), file.text().lines().collect());
        prop_assert_eq!(old.len(), new.len());
        let changed = old.iter().zip(&new).filter(|(old, new)| old != new).count();
        prop_assert!(changed <= 2, "{}", diff(COMMENTED, file.text()));
        prop_assert_eq!(comments(COMMENTED), comments(file.text()));
    }

    #[test]
    fn users_added_and_removed_in_any_order_leave_the_others_and_all_comments(
        steps in proptest::collection::vec((any::<bool>(), 0u32..6), 1..12)
    ) {
        let mut file = DesignFile::parse(COMMENTED).unwrap();
        for (add, number) in steps {
            let name = format!("extra{number}");
            let there = file.design().users.iter().any(|user| user.name == name);
            let before = file.clone();
            let result = if add { file.add_user(&user(&name, 3000 + number)) } else { file.remove_user(&name) };
            prop_assert_eq!(result.is_ok(), add != there, "{:?}", result);
            if result.is_err() {
                prop_assert_eq!(&file, &before);
            }
            prop_assert_eq!(comments(COMMENTED).len(), comments(&file.text().replace("laptop # 1", "")).len());
        }
    }

    #[test]
    fn any_key_comment_can_be_written_and_read(comment in "[ -~]{0,20}") {
        let design = Design::from_parameters(&json!({"name": "demo", "users": [{
            "name": "alice",
            "keys": [format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f {comment}")],
        }]}));
        if let Ok(design) = design {
            let read = DesignFile::parse(DesignFile::new(&design).text()).unwrap();
            prop_assert_eq!(read.design(), &design);
        }
    }
}

fn edited_file(path: &str, nodes: &[&str], content: &str) -> EditedFile {
    EditedFile {
        path: path.to_owned(),
        nodes: nodes.iter().map(|&word| word.to_owned()).collect(),
        mode: "0644".to_owned(),
        owner: "root:root".to_owned(),
        reload: Vec::new(),
        restart: Vec::new(),
        content: content.to_owned(),
    }
}

const WITH_FILES: &str = "\
# ours
schema: 1
name: demo
slurm_conf:
  MaxJobCount: 20000 # for the course
files:
  # Read at every login.
  - path: /etc/motd # the message of the day
    content: |
      Welcome.
      See the manual.
  - path: /etc/issue
    nodes: [master] # where people log in
    content: one line
power: on # always
";

#[test]
fn edited_files_come_change_and_go() {
    insta::assert_snapshot!(edited(WITH_FILES, |file| {
        file.set_file(&edited_file(
            "/etc/motd",
            &["all"],
            "Welcome.\n\n  Maintenance on Friday: \"save\" #1.\n",
        ))?;
        file.set_file(&edited_file(
            "/etc/slurm/prolog.sh",
            &["compute"],
            "#!/bin/sh\nexit 0\n",
        ))?;
        file.remove_file("/etc/issue", None)
    }));
}

#[test]
fn the_first_and_the_last_file() {
    let text = "schema: 1\nname: demo # short\n";
    insta::assert_snapshot!(edited(text, |file| file.set_file(&edited_file(
        "/etc/motd",
        &["all"],
        "Hello.\n"
    ))));
    let mut file = DesignFile::parse(text).unwrap();
    for content in [
        "a\n",
        "",
        "no end",
        " leading\n",
        "trailing \n",
        "tab\there\n",
        "empty lines\n\n\n",
        "a: b\n- c\n",
    ] {
        file.set_file(&edited_file("/etc/motd", &["all"], content)).unwrap();
        assert_eq!(file.design().files[0].content, content);
        assert_eq!(
            DesignFile::parse(file.text()).unwrap().design().files[0].content,
            content
        );
        assert_eq!(DesignFile::new(file.design()).design().files[0].content, content);
        assert_eq!(
            DesignFile::parse(DesignFile::new(file.design()).text())
                .unwrap()
                .design()
                .files[0]
                .content,
            content
        );
    }
    file.remove_file("/etc/motd", None).unwrap();
    assert!(file.design().files.is_empty());
}

#[test]
fn a_file_of_two_groups_is_removed_by_its_nodes() {
    let mut file = DesignFile::parse("schema: 1\nname: demo\n").unwrap();
    file.set_file(&edited_file("/etc/motd", &["master"], "a\n")).unwrap();
    file.set_file(&edited_file("/etc/motd", &["compute"], "b\n")).unwrap();
    let error = file.remove_file("/etc/motd", None).unwrap_err();
    assert!(
        matches!(&error, FileError::Edit { help, .. } if help.contains("master; compute")),
        "{error:?}"
    );
    file.remove_file("/etc/motd", Some(&["master".to_owned()])).unwrap();
    assert_eq!(file.design().files[0].content, "b\n");
    assert!(file.remove_file("/etc/mtd", None).is_err());
}

#[test]
fn keys_of_slurm_conf_go_back_to_none() {
    let mut file = DesignFile::parse(WITH_FILES).unwrap();
    file.set("slurm_conf", json!({})).unwrap();
    assert!(file.design().slurm_conf.is_empty());
    file.set("slurm_conf.MaxArraySize", 10).unwrap();
    assert_eq!(file.design().slurm_conf["MaxArraySize"], "10");
    assert!(file.set("slurm_conf.ClusterName", "x").is_err());
}
