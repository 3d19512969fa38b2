//! What lets ordinary users run containers on nodes, and the modules that their shells load.
//!
//! The programs themselves are in the images. Podman is used without root and without a daemon, so what is kept true here is what an
//! administrator would set up for that: numbers that stand for a container's users, and where containers are kept.

use clusterbook_model::{Container, Design, Role, User};

use super::{Barrier, Phase};
use crate::item::Item;

/// How many numbers a user's containers have for users of their own: as many as there are in an image.
const NUMBERS: u64 = 65_536;
/// The first of them: above every number that a person or a service has.
const FIRST: u64 = 524_288;
/// The least number of a person, see the design's users.
const LEAST_UID: u64 = 1000;

/// Modules of login shells. The file says nothing where there are none, so that leaving one out takes it away again.
pub(super) fn modules(modules: &[String]) -> Phase {
    let mut profile = String::from("# Made by clusterbook from the design's default_modules.\n");
    if !modules.is_empty() {
        // Lmod's own way: a person's saved collection goes first, and `module reset` comes back to these.
        profile.push_str(&format!(
            "if type module >/dev/null 2>&1; then\n    \
             if [ -z \"${{__Init_Default_Modules:-}}\" ]; then\n        \
             export __Init_Default_Modules=1\n        \
             export LMOD_SYSTEM_DEFAULT_MODULES=\"${{LMOD_SYSTEM_DEFAULT_MODULES:-{}}}\"\n        \
             module --initial_load --no_redirect restore\n    \
             else\n        \
             module refresh\n    \
             fi\nfi\n",
            modules.join(":")
        ));
    }
    Phase {
        name: "modules",
        after: Barrier::Nothing,
        // Read in the order of their names; Lmod's own comes before.
        items: vec![Item::file("/etc/profile.d/z90-clusterbook-modules.sh", 0o644, profile)],
    }
}

/// What runs containers on a node of this role. `None` where the design has nothing for it.
///
/// `own_cgroups` tells real machines from nodes that are containers themselves. The latter's root lies on layers already, on which the
/// kernel lays no others, so a program does that for each user.
pub(super) fn containers(design: &Design, role: Role, own_cgroups: bool) -> Option<Phase> {
    let mut items = Vec::new();
    if design.containers.contains(&Container::Apptainer) {
        items.push(Item::program("/usr/bin/apptainer"));
    }
    if design.containers.contains(&Container::Podman) && role == Role::Compute {
        let numbers = numbers(&design.users);
        items.extend([
            Item::program("/usr/bin/podman"),
            Item::file("/etc/subuid", 0o644, numbers.clone()),
            Item::file("/etc/subgid", 0o644, numbers),
            Item::directory("/var/lib/containers", 0o755, "root:root"),
            Item::directory(STORAGE, 0o1777, "root:root"),
            Item::file("/etc/containers/storage.conf", 0o644, storage(own_cgroups)),
            Item::file("/etc/containers/containers.conf", 0o644, engine(own_cgroups)),
        ]);
    }
    (!items.is_empty()).then_some(Phase {
        name: "containers",
        after: Barrier::Nothing,
        items,
    })
}

/// On the node's own disk: a file system that is shared by the network keeps neither the numbers of a container's users nor
/// layers.
const STORAGE: &str = "/var/lib/containers/users";

/// The numbers follow from the user's own, so that they are the same on every node and stay when people come and go.
fn numbers(users: &[User]) -> String {
    users
        .iter()
        .map(|user| {
            let first = FIRST + u64::from(user.uid).saturating_sub(LEAST_UID) * NUMBERS;
            format!("{}:{first}:{NUMBERS}\n", user.name)
        })
        .collect()
}

fn storage(own_cgroups: bool) -> String {
    let mut text = format!(
        "# Made by clusterbook. Images and containers lie on the node's own disk, a folder for each user.\n\
         [storage]\n\
         driver = \"overlay\"\n\
         runroot = \"/run/containers/storage\"\n\
         graphroot = \"/var/lib/containers/storage\"\n\
         rootless_storage_path = \"{STORAGE}/$USER\"\n"
    );
    if !own_cgroups {
        text.push_str("\n[storage.options.overlay]\nmount_program = \"/usr/bin/fuse-overlayfs\"\n");
    }
    text
}

/// A job has no session of systemd's, no daemon to write events to, and limits of its own, which Slurm has set.
fn engine(own_cgroups: bool) -> String {
    let mut text = String::from(
        "# Made by clusterbook. For jobs: the node's network, and limits and control groups as Slurm has set them.\n\
         [containers]\n\
         cgroups = \"disabled\"\n\
         default_ulimits = []\n\
         netns = \"host\"\n\
         \n\
         [engine]\n\
         cgroup_manager = \"cgroupfs\"\n\
         events_logger = \"none\"\n",
    );
    if !own_cgroups {
        text.push_str("env = [\"PODMAN_IGNORE_CGROUPSV1_WARNING=1\"]\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::Kind;

    fn design(text: &str) -> Design {
        let file = format!("schema: 1\nname: demo\n{text}");
        clusterbook_model::DesignFile::parse(&file).unwrap().design().clone()
    }

    fn worker(design: &Design, own_cgroups: bool) -> Phase {
        containers(design, Role::Compute, own_cgroups).unwrap()
    }

    fn keys(design: &Design, role: Role) -> Vec<String> {
        let phase = containers(design, role, true);
        phase.map_or(Vec::new(), |phase| {
            phase.items.into_iter().map(|item| item.key).collect()
        })
    }

    #[test]
    fn each_role_has_what_the_design_says() {
        assert_eq!(keys(&design(""), Role::Master), ["program:/usr/bin/apptainer"]);
        let worker = keys(&design(""), Role::Compute);
        assert_eq!(worker[..2], ["program:/usr/bin/apptainer", "program:/usr/bin/podman"]);
        let podman = design("containers: [podman]\n");
        assert!(keys(&podman, Role::Master).is_empty());
        assert_eq!(keys(&podman, Role::Compute), worker[1..]);
        assert!(keys(&design("containers: []\n"), Role::Compute).is_empty());
    }

    fn text(phase: &Phase, wanted: &str) -> String {
        phase
            .items
            .iter()
            .find_map(|item| match &item.kind {
                Kind::File { path, content, .. } if path == wanted => Some(content.reveal().to_owned()),
                _ => None,
            })
            .unwrap()
    }

    #[test]
    fn numbers_follow_from_the_user_alone_and_never_overlap() {
        let both = design("users: [{name: taro, uid: 2001}, {name: hanako, uid: 59999}, {name: first, uid: 1000}]\n");
        let one = design("users: [{name: taro, uid: 2001}]\n");
        let both = text(&worker(&both, true), "/etc/subuid");
        assert_eq!(
            both,
            text(&worker(&one, true), "/etc/subuid") + "hanako:3867082752:65536\nfirst:524288:65536\n"
        );
        assert!(both.starts_with("taro:66125824:65536\n"));
        // The last number that there may be; the one after it means "none".
        assert!(3_867_082_752_u64 + NUMBERS < u64::from(u32::MAX));
    }

    #[test]
    fn only_nodes_that_are_containers_get_a_program_for_layers() {
        let design = design("");
        let of = |own_cgroups| {
            let phase = worker(&design, own_cgroups);
            let engine = text(&phase, "/etc/containers/containers.conf");
            text(&phase, "/etc/containers/storage.conf") + &engine
        };
        assert!(of(false).contains("fuse-overlayfs") && of(false).contains("CGROUPSV1"));
        assert!(!of(true).contains("fuse-overlayfs") && !of(true).contains("CGROUPSV1"));
        assert!(of(true).contains("rootless_storage_path = \"/var/lib/containers/users/$USER\"\n"));
    }

    #[test]
    fn modules_come_and_go_with_one_file() {
        let path = "/etc/profile.d/z90-clusterbook-modules.sh";
        let with = text(&modules(&["apptainer".to_owned(), "openmpi/5.0".to_owned()]), path);
        assert!(
            with.contains("LMOD_SYSTEM_DEFAULT_MODULES:-apptainer:openmpi/5.0}"),
            "{with}"
        );
        let without = text(&modules(&[]), path);
        assert_eq!(without.lines().filter(|line| !line.starts_with('#')).count(), 0);
    }
}
