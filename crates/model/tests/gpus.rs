//! GPUs: what nodes of several kinds print, and how that is held against a design.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use clusterbook_model::{Architecture, Design, Flavor, GpuReport, GpuState, Renderer, Size, SlurmValues, compare_gpus};
use serde_json::json;

fn recorded(name: &str) -> GpuReport {
    let path = format!("{}/tests/gpus/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    GpuReport::parse(&fs_err::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn what_machines_print_is_read() {
    insta::glob!("gpus/*.txt", |path| {
        let report = GpuReport::parse(&fs_err::read_to_string(path).unwrap()).unwrap();
        insta::assert_json_snapshot!(json!({"report": report, "design": report.gpus()}));
    });
}

#[test]
fn what_was_found_can_be_written_into_a_design_as_it_is() {
    for entry in fs_err::read_dir(format!("{}/tests/gpus", env!("CARGO_MANIFEST_DIR"))).unwrap() {
        let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
        let gpus = GpuReport::parse(&text).unwrap().gpus();
        let design =
            Design::from_parameters(&json!({"name": "demo", "groups": [{"name": "gpu", "gpus": gpus}]})).unwrap();
        assert_eq!(design.groups[0].gpus, gpus);
    }
}

fn design(gpus: serde_json::Value) -> Design {
    Design::from_parameters(&json!({
        "name": "demo",
        "groups": [{"name": "gpu", "nodes": 2, "gpus": gpus}, {"name": "compute", "nodes": 1}],
        "partitions": [{"name": "all"}],
    }))
    .unwrap()
}

/// State and words for the first node of the group gpu.
fn verdict(gpus: serde_json::Value, found: &str) -> (GpuState, String) {
    let reports = BTreeMap::from([("gpu1".to_owned(), recorded(found))]);
    let (rows, _) = compare_gpus(&design(gpus), Architecture::Native, &reports);
    assert_eq!(rows.len(), 1);
    (rows[0].state, rows[0].detail.clone())
}

#[test]
fn a_node_is_held_against_its_design() {
    let devices = json!([{"type": "t4", "devices": ["/dev/nvidia0", "/dev/nvidia1"]}]);
    let others = json!([{"type": "t4", "devices": ["/dev/nvidia2", "/dev/nvidia3"]}]);
    for (gpus, found, state, said) in [
        (json!(0), "none", GpuState::Good, "no GPUs"),
        (json!(0), "no-driver", GpuState::Note, "no driver serves them"),
        (json!(0), "t4", GpuState::Note, "not in the design"),
        (json!("t4:2"), "none", GpuState::Note, "only counted"),
        (json!("t4:2"), "no-driver", GpuState::Bad, "no driver serves them"),
        (json!("t4:2"), "t4", GpuState::Note, "the devices are there"),
        (json!(2), "t4", GpuState::Note, "the devices are there"),
        (
            json!("t4:1"),
            "t4",
            GpuState::Bad,
            "the design says t4:1, the node has t4:2",
        ),
        (json!("a100:2"), "t4", GpuState::Bad, "the design says a100:2"),
        (devices.clone(), "t4", GpuState::Good, "as designed"),
        (devices, "none", GpuState::Bad, "the node has no t4:2"),
        (others, "t4", GpuState::Bad, "the design lists /dev/nvidia2"),
    ] {
        let (found_state, detail) = verdict(gpus.clone(), found);
        assert_eq!(found_state, state, "{gpus} with {found}: {detail}");
        assert!(detail.contains(said), "{gpus} with {found}: {detail}");
    }
}

#[test]
fn nothing_is_proposed_for_a_group_whose_nodes_differ() {
    let compare = |second: &str| {
        let reports = BTreeMap::from([
            ("gpu1".to_owned(), recorded("t4")),
            ("gpu2".to_owned(), recorded(second)),
            ("c1".to_owned(), recorded("none")),
        ]);
        compare_gpus(&design(json!("t4:2")), Architecture::X86_64, &reports)
    };
    let (rows, proposals) = compare("t4");
    assert_eq!(rows.len(), 3);
    assert_eq!(proposals.keys().collect::<Vec<_>>(), ["gpu"]);
    assert_eq!(proposals["gpu"], recorded("t4").gpus());
    assert!(compare("none").1.is_empty() && compare("a100-mig").1.is_empty());
    let (rows, _) = compare("gh200-aarch64");
    assert_eq!(rows[1].state, GpuState::Bad);
    assert!(rows[1].detail.contains("the node is aarch64"), "{}", rows[1].detail);
}

fn flavor(name: &str, gpus: u32, architecture: Architecture) -> Flavor {
    Flavor {
        name: name.to_owned(),
        cpus: 2,
        memory: Size::from_gib(4),
        gpus,
        architecture,
    }
}

#[test]
fn gres_conf_names_every_device() {
    let mut shown = String::new();
    for found in ["t4", "a100-mig", "minors-in-another-order"] {
        let design = design(json!(recorded(found).gpus()));
        let flavors = [flavor("small", 2, Architecture::X86_64)];
        let values = SlurmValues::new(&design, &flavors, clusterbook_model::Cgroups::V2).unwrap();
        let renderer = Renderer::new(BTreeMap::new()).unwrap();
        let nodes: Vec<String> = renderer
            .render("slurm/slurm.conf", &values)
            .unwrap()
            .lines()
            .filter(|line| line.starts_with("NodeName=") || line.contains("gpu") && !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        let gres = renderer.render("slurm/gres.conf", &values).unwrap();
        shown.push_str(&format!("═══ {found}\n{gres}{}\n", nodes.join("\n")));
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn gpus_that_no_flavor_has_are_refused_unless_they_are_only_counted() {
    let offered = [
        flavor("small", 0, Architecture::X86_64),
        flavor("accelerated", 2, Architecture::X86_64),
    ];
    let on = |flavor: &str, gpus: &str| {
        Design::from_parameters(&json!({"name": "demo", "groups": [{"flavor": flavor, "gpus": gpus}]})).unwrap()
    };
    let said = |design: Design, counted| {
        design
            .check_gpus(&offered, counted)
            .map_err(|faults| faults.to_string())
    };
    assert_eq!(said(on("small", "t4:2"), true), Ok(()));
    let refused = said(on("small", "t4:2"), false).unwrap_err();
    assert!(
        refused.contains("the flavor small has none") && refused.contains("accelerated"),
        "{refused}"
    );
    assert_eq!(said(on("accelerated", "t4:2"), false), Ok(()));
    let refused = said(on("accelerated", "t4:3"), true).unwrap_err();
    assert!(refused.contains("the flavor accelerated has 2, not 3"), "{refused}");
}

#[test]
fn a_cluster_has_one_architecture() {
    let offered = [
        flavor("small", 0, Architecture::X86_64),
        flavor("arm", 0, Architecture::Aarch64),
    ];
    let of = |architecture: &str, master: &str, group: &str| {
        Design::from_parameters(&json!({
            "name": "demo", "architecture": architecture, "master": {"flavor": master}, "groups": [{"flavor": group}],
        }))
        .unwrap()
        .common_architecture(&offered)
        .map_err(|faults| faults.to_string())
    };
    assert_eq!(of("native", "small", "small"), Ok(Architecture::X86_64));
    assert_eq!(of("native", "arm", "arm"), Ok(Architecture::Aarch64));
    assert_eq!(of("aarch64", "arm", "arm"), Ok(Architecture::Aarch64));
    let mixed = of("native", "small", "arm").unwrap_err();
    assert!(
        mixed.contains("the flavor arm is aarch64, and master.flavor says x86_64"),
        "{mixed}"
    );
    let other = of("aarch64", "small", "arm").unwrap_err();
    assert!(
        other.contains("master.flavor") && other.contains("write one with aarch64: arm"),
        "{other}"
    );
}

#[test]
fn storage_of_others_becomes_a_mount_unit_or_a_disk_that_stands_for_it() {
    let design = Design::from_parameters(&json!({
        "name": "demo",
        "mounts": [{"name": "data", "source": "nas.example.org:/export/data", "options": ["ro", "vers=4.2"]}],
    }))
    .unwrap();
    let text = Renderer::new(BTreeMap::new())
        .unwrap()
        .render("slurm/storage.mount", &json!({"mount": design.mounts[0]}))
        .unwrap();
    insta::assert_snapshot!(text);
    let instead = design.with_stand_ins();
    let disks: Vec<&str> = instead.disks.iter().map(|disk| disk.mount.as_str()).collect();
    assert_eq!(disks, ["/home", "/data"]);
    assert!(instead.mounts.is_empty());
}
