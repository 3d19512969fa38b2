//! Image recipes and their tags.
#![allow(clippy::unwrap_used)]

use clusterbook_model::{Base, Recipe, recipes};

#[test]
fn each_recipe_comes_after_the_one_that_it_starts_from() {
    let recipes = recipes("debian-13").unwrap();
    let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
    assert_eq!(names, ["common", "master", "compute"]);
    assert_eq!(recipes[0].base, Base::Distribution("debian-13".to_owned()));
    for recipe in &recipes[1..] {
        assert_eq!(recipe.base, Base::Recipe(recipes[0].tag()));
    }
}

#[test]
fn any_changed_byte_changes_the_tag() {
    let recipes = recipes("debian-13").unwrap();
    let common = &recipes[0];
    let changes: [fn(&mut Recipe); 8] = [
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
    let mut child = recipes("debian-13").unwrap().remove(2);
    let before = child.tag();
    child.base = Base::Recipe("common-000000000000".to_owned());
    assert_ne!(child.tag(), before);
    let (name, hash) = before.rsplit_once('-').unwrap();
    assert_eq!((name, hash.len()), ("compute", 12));
    assert!(hash.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

#[test]
fn images_carry_no_identity_and_start_no_daemon_early() {
    let recipes = recipes("debian-13").unwrap();
    assert!(recipes[0].script.contains("rm -f /etc/ssh/ssh_host_*_key"));
    assert!(recipes[0].script.contains("/etc/munge/munge.key"));
    assert!(recipes[1].script.contains("disable slurmctld"));
    assert!(recipes[2].script.contains("disable slurmd"));
}

#[test]
fn an_unknown_image_is_refused() {
    let error = recipes("debian-12").unwrap_err();
    insta::assert_snapshot!(format!("{error} ({})", error.help));
}
