//! Folders of design files, good and bad, against what comes of them.
#![allow(clippy::unwrap_used)]

use clusterbook_model::{Design, DesignFile, FileError, Flavor, Role, Size};
use serde_json::json;

#[test]
fn good_designs() {
    insta::glob!("designs/good/*.yaml", |path| {
        let text = fs_err::read_to_string(path).unwrap();
        let file = DesignFile::parse(&text).unwrap();
        let written = DesignFile::new(file.design());
        assert_eq!(DesignFile::parse(written.text()).unwrap(), written);
        assert_eq!(written.design(), file.design());
        let nodes: Vec<String> = file
            .design()
            .nodes()
            .iter()
            .take(7)
            .map(|node| format!("{} {} {} {}", node.name, node.address, node.group, node.flavor))
            .collect();
        insta::assert_snapshot!(format!("{}\n# first nodes\n{}\n", written.text(), nodes.join("\n")));
    });
}

#[test]
fn bad_designs() {
    insta::glob!("designs/bad/*.yaml", |path| {
        let text = fs_err::read_to_string(path).unwrap();
        let error = DesignFile::parse(&text).unwrap_err();
        if let FileError::Schema { help, .. } = &error {
            insta::assert_snapshot!(format!("{error} ({help})"));
        } else {
            insta::assert_snapshot!(error.to_string());
        }
    });
}

#[test]
fn a_private_key_is_never_repeated() {
    let text = fs_err::read_to_string("tests/designs/bad/private-key.yaml").unwrap();
    let error = DesignFile::parse(&text).unwrap_err();
    for shown in [error.to_string(), format!("{error:?}")] {
        assert!(shown.contains("private key"));
        assert!(!shown.contains("bm90LWEt"));
    }
}

#[test]
fn a_syntax_error_does_not_show_the_text_around_it() {
    let error = DesignFile::parse("schema: 1\nkeys: bm90LWEtcmVhbA\n  x: [\n").unwrap_err();
    assert!(!format!("{error} {error:?}").contains("bm90"), "{error:?}");
}

#[test]
fn ten_thousand_nodes_are_checked_and_listed() {
    let design = Design::from_parameters(&json!({
        "name": "large",
        "groups": [{"nodes": 5000}, {"name": "gpu", "nodes": 5000}],
    }))
    .unwrap();
    let nodes = design.nodes();
    assert_eq!(nodes.len(), 10_001);
    assert_eq!((nodes[0].role, nodes[10_000].name.as_str()), (Role::Master, "gpu5000"));
}

#[test]
fn the_largest_cluster_fits_its_default_network() {
    let design = Design::from_parameters(&json!({"name": "huge", "groups": [{"nodes": 100_000}]})).unwrap();
    assert_eq!(design.nodes().len(), 100_001);
}

#[test]
fn finds_nodes_and_groups() {
    let design = Design::from_parameters(&json!({"name": "demo"})).unwrap();
    assert_eq!(
        design.node("c2").unwrap().address,
        design.groups[0].addresses.nth(1).unwrap()
    );
    assert_eq!(design.node("master").unwrap().group, "master");
    assert_eq!(design.node("c3"), None);
    assert!(design.group("compute").is_some() && design.group("other").is_none());
}

#[test]
fn two_names_seldom_share_a_subnet() {
    let subnets: std::collections::BTreeSet<String> = (0..100)
        .map(|number| {
            let design = Design::from_parameters(&json!({"name": format!("demo{number}")})).unwrap();
            design.network.subnet.to_string()
        })
        .collect();
    assert!(subnets.len() >= 95, "{}", subnets.len());
    assert!(
        !subnets
            .iter()
            .any(|subnet| subnet.starts_with("10.88.") || subnet.starts_with("10.89."))
    );
}

#[test]
fn flavors_are_checked_against_what_is_offered() {
    let design = Design::from_parameters(&json!({
        "name": "demo", "master": {"flavor": "large"}, "groups": [{"flavor": "smal"}],
    }))
    .unwrap();
    let offered = ["small", "medium"].map(|name| Flavor {
        name: name.to_owned(),
        cpus: 2,
        memory: Size::from_gib(4),
        gpus: 0,
        architecture: clusterbook_model::Architecture::X86_64,
    });
    insta::assert_snapshot!(design.check_flavors(&offered).unwrap_err());
}

#[test]
fn a_user_keeps_the_uid_whoever_else_is_listed() {
    let uid = |users: serde_json::Value| {
        let design = Design::from_parameters(&json!({"name": "demo", "users": users})).unwrap();
        design.users.iter().find(|user| user.name == "bob").unwrap().uid
    };
    assert_eq!(
        uid(json!([{"name": "alice"}, {"name": "bob"}])),
        uid(json!([{"name": "bob"}]))
    );
}
