//! Image recipes and their tags.
#![allow(clippy::unwrap_used)]

use clusterbook_model::{Architecture, Base, Container, DISTRIBUTIONS, Recipe, RecipeError};

fn recipes(image: &str) -> Result<Vec<Recipe>, RecipeError> {
    clusterbook_model::recipes(image, Architecture::X86_64, &Container::ALL)
}

#[test]
fn each_recipe_comes_after_the_one_that_it_starts_from() {
    for distribution in DISTRIBUTIONS {
        let recipes = recipes(distribution).unwrap();
        let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "common",
                "apptainer",
                "master",
                "podman",
                "compute",
                "nvidia-toolkit",
                "compute-gpu"
            ]
        );
        assert_eq!(recipes[0].base, Base::Distribution(distribution.to_owned()));
        let below = |recipe: &Recipe| recipes.iter().find(|each| recipe.base == Base::Recipe(each.tag()));
        let below: Vec<&str> = recipes[1..]
            .iter()
            .map(|recipe| below(recipe).unwrap().name.as_str())
            .collect();
        assert_eq!(
            below,
            [
                "common",
                "apptainer",
                "apptainer",
                "podman",
                "compute",
                "nvidia-toolkit"
            ]
        );
    }
}

#[test]
fn what_a_design_leaves_out_is_not_built() {
    for (containers, wanted) in [
        (
            &[][..],
            vec!["common", "master > common", "compute > common", "compute-gpu > compute"],
        ),
        (
            &[Container::Podman],
            vec![
                "common",
                "master > common",
                "podman > common",
                "compute > podman",
                "nvidia-toolkit > compute",
                "compute-gpu > nvidia-toolkit",
            ],
        ),
        (
            &[Container::Apptainer],
            vec![
                "common",
                "apptainer > common",
                "master > apptainer",
                "compute > apptainer",
                "compute-gpu > compute",
            ],
        ),
    ] {
        let recipes = clusterbook_model::recipes("debian-13", Architecture::X86_64, containers).unwrap();
        let names: Vec<String> = recipes
            .iter()
            .map(
                |recipe| match recipes.iter().find(|each| recipe.base == Base::Recipe(each.tag())) {
                    Some(below) => format!("{} > {}", recipe.name, below.name),
                    None => recipe.name.clone(),
                },
            )
            .collect();
        assert_eq!(names, wanted);
    }
}

#[test]
fn any_changed_byte_changes_the_tag() {
    let recipes = recipes("debian-13").unwrap();
    let common = &recipes[0];
    let changes: [fn(&mut Recipe); 10] = [
        |recipe| recipe.before.push('\n'),
        |recipe| recipe.architecture = Architecture::Aarch64,
        |recipe| recipe.script.push('\n'),
        |recipe| recipe.files[0].content.push(' '),
        |recipe| recipe.files[0].mode ^= 0o100,
        |recipe| recipe.files[0].path.push('x'),
        |recipe| drop(recipe.files.pop()),
        |recipe| drop(recipe.packages.pop()),
        |recipe| {
            let second = recipe.packages.remove(1);
            recipe.packages[0].push_str(&second);
        },
        |recipe| recipe.base = Base::Recipe("debian-13".to_owned()),
    ];
    let mut tags = vec![common.tag()];
    for change in changes {
        let mut changed = common.clone();
        change(&mut changed);
        tags.push(changed.tag());
    }
    let distinct: std::collections::BTreeSet<&String> = tags.iter().collect();
    assert_eq!(distinct.len(), tags.len(), "{tags:?}");
    assert_eq!(common.tag(), recipes[0].clone().tag());
}

#[test]
fn a_changed_parent_changes_its_children() {
    let mut child = recipes("debian-13").unwrap().remove(4);
    let before = child.tag();
    child.base = Base::Recipe("common-000000000000".to_owned());
    assert_ne!(child.tag(), before);
    let (name, hash) = before.rsplit_once('-').unwrap();
    assert_eq!((name, hash.len()), ("compute-x86_64", 12));
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn images_carry_no_identity_and_start_no_daemon_early() {
    for distribution in DISTRIBUTIONS {
        let recipes = recipes(distribution).unwrap();
        assert!(recipes[0].script.contains("rm -f /etc/ssh/ssh_host_*_key"));
        assert!(recipes[0].script.contains("/etc/munge/munge.key"));
        let script = |name: &str| &recipes.iter().find(|recipe| recipe.name == name).unwrap().script;
        assert!(script("master").contains("disable slurmctld"));
        assert!(script("compute").contains("disable slurmd"));
        assert!(script("podman").contains("mask \"$unit\"") && script("podman").contains("podman.socket"));
    }
}

#[test]
fn gpus_are_described_to_containers_only_where_there_are_any() {
    let recipes = recipes("debian-13").unwrap();
    let podman = recipes.iter().find(|recipe| recipe.name == "podman").unwrap();
    let unit = |name: &str| {
        let path = format!("/etc/systemd/system/{name}");
        &podman.files.iter().find(|file| file.path == path).unwrap().content
    };
    let cdi = unit("nvidia-cdi.service");
    for line in [
        "ConditionPathExists=/usr/bin/nvidia-ctk",
        "ConditionPathExists=/dev/nvidiactl",
        "ExecStart=/usr/bin/nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml",
    ] {
        assert!(cdi.lines().any(|each| each == line), "{cdi}");
    }
    assert!(
        podman
            .script
            .contains("enable container-devices.service nvidia-cdi.service")
    );
    // On real machines udev does it.
    assert!(unit("container-devices.service").contains("ConditionVirtualization=container"));
}

#[test]
fn nothing_in_a_recipe_names_an_architecture() {
    // What depends on it asks the machine; a tag tells two machines' images apart.
    for distribution in DISTRIBUTIONS {
        let of = |architecture| clusterbook_model::recipes(distribution, architecture, &Container::ALL).unwrap();
        for (one, other) in of(Architecture::X86_64).into_iter().zip(of(Architecture::Aarch64)) {
            assert_ne!(one.tag(), other.tag());
            assert_eq!(
                (&one.packages, &one.script, &one.before),
                (&other.packages, &other.script, &other.before)
            );
            let text = format!("{}{}{}", one.before, one.packages.join(" "), one.script);
            assert!(!text.contains("x86_64") && !text.contains("amd64"), "{text}");
        }
    }
}

#[test]
fn a_whole_recipe_of_openhpc() {
    insta::assert_json_snapshot!(
        clusterbook_model::recipes("rocky-9", Architecture::Aarch64, &Container::ALL).unwrap()
    );
}

#[test]
fn an_unknown_image_is_refused() {
    let error = recipes("debian-12").unwrap_err();
    insta::assert_snapshot!(format!("{error} ({})", error.help));
}
