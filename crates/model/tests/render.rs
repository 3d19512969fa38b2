//! Templates against values, and what is said of templates that are wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use clusterbook_model::{Architecture, Cgroups, Design, DesignFile, Flavor, Renderer, Size, SlurmValues};
use serde_json::json;

fn flavors() -> Vec<Flavor> {
    ["small", "large", "gpu.large"]
        .iter()
        .zip([2, 8, 16])
        .map(|(name, cpus)| Flavor {
            name: (*name).to_owned(),
            cpus,
            memory: Size::from_gib(u64::from(cpus) * 2),
            gpus: 0,
            architecture: Architecture::X86_64,
        })
        .collect()
}

fn overriding(name: &str, source: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(name.to_owned(), source.to_owned())])
}

#[test]
fn every_template_for_every_good_design_and_both_cgroups() {
    let renderer = Renderer::new(BTreeMap::new()).unwrap();
    insta::glob!("designs/good/*.yaml", |path| {
        let text = fs_err::read_to_string(path).unwrap();
        let file = DesignFile::parse(&text).unwrap();
        if file.design().groups.iter().map(|group| group.nodes).sum::<u32>() > 100 {
            return;
        }
        let mut shown = String::new();
        for cgroups in [Cgroups::V2, Cgroups::None] {
            let values = SlurmValues::new(file.design(), &flavors(), cgroups).unwrap();
            // Rendered once for each mount, and tested with those.
            for name in renderer.names().filter(|name| *name != "slurm/storage.mount") {
                let same_for_both = !name.ends_with("slurm.conf") && !name.ends_with("cgroup.conf");
                if cgroups == Cgroups::None && same_for_both {
                    continue;
                }
                let rendered = renderer.render(name, &values).unwrap();
                shown.push_str(&format!("═══ {name}, cgroups {cgroups:?}\n{rendered}"));
            }
        }
        insta::assert_snapshot!(shown);
    });
}

#[test]
fn a_key_of_the_design_replaces_ours_instead_of_standing_beside_it() {
    let design = Design::from_parameters(&json!({
        "name": "demo",
        "slurm_conf": {"ReturnToService": 1, "SelectTypeParameters": "CR_Core"},
    }))
    .unwrap();
    let values = SlurmValues::new(&design, &flavors(), Cgroups::V2).unwrap();
    let text = Renderer::new(BTreeMap::new())
        .unwrap()
        .render("slurm/slurm.conf", &values)
        .unwrap();
    assert_eq!(text.matches("ReturnToService=").count(), 1, "{text}");
    assert!(text.contains("ReturnToService=1\n") && text.contains("SelectTypeParameters=CR_Core\n"));
}

#[test]
fn ten_thousand_nodes_render() {
    let design = Design::from_parameters(&json!({"name": "large", "groups": [{"nodes": 10_000}]})).unwrap();
    let values = SlurmValues::new(&design, &flavors(), Cgroups::V2).unwrap();
    let text = Renderer::new(BTreeMap::new())
        .unwrap()
        .render("slurm/slurm.conf", &values)
        .unwrap();
    assert_eq!(text.matches("NodeName=").count(), 10_000);
}

#[test]
fn an_undefined_variable_is_named_with_its_template_and_line() {
    let renderer = Renderer::new(overriding("slurm/hosts", "# one\n# two\n{{ master.adress }}\n")).unwrap();
    let error = renderer
        .render("slurm/hosts", &json!({"master": {"address": "10.0.0.1"}}))
        .unwrap_err();
    assert_eq!((error.template.as_str(), error.line), ("slurm/hosts", Some(3)));
    insta::assert_snapshot!(format!("{error} ({})", error.help));
    // One that is only tested for is a slip as well.
    let renderer = Renderer::new(overriding("slurm/hosts", "{% if wrong %}x{% endif %}\n")).unwrap();
    assert_eq!(renderer.render("slurm/hosts", &json!({})).unwrap_err().line, Some(1));
}

#[test]
fn wrong_templates() {
    let mut messages = Vec::new();
    for (name, source) in [
        ("slurm/slurm.con", "x"),
        ("slurm/hosts", "fine\n{% for x in %}\n"),
        ("slurm/hosts", "{{ master | nosuchfilter }}"),
    ] {
        let error = Renderer::new(overriding(name, source))
            .and_then(|renderer| renderer.render(name, &json!({"master": 1})))
            .unwrap_err();
        messages.push(format!("{error} ({})", error.help));
    }
    let renderer = Renderer::new(BTreeMap::new()).unwrap();
    let error = renderer.render("slurm/slurmd.conf", &json!({})).unwrap_err();
    messages.push(format!("{error} ({})", error.help));
    insta::assert_debug_snapshot!(messages);
}

#[test]
fn text_is_never_escaped_and_the_last_newline_stays() {
    let renderer = Renderer::new(overriding("slurm/hosts", "<{{ value }}>\n")).unwrap();
    let text = renderer
        .render("slurm/hosts", &json!({"value": "a && b > 'c'"}))
        .unwrap();
    assert_eq!(text, "<a && b > 'c'>\n");
}
