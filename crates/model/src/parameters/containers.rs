//! What runs containers, and the modules that login shells load.

use super::fault;
use crate::error::nearest;
use crate::{Container, Fault};

/// Both, unless said otherwise: an image without them would have to be made anew, with all of its nodes, when the first user asks.
pub(super) fn resolve(raw: Option<Vec<String>>, faults: &mut Vec<Fault>) -> Vec<Container> {
    let Some(names) = raw else {
        return Container::ALL.to_vec();
    };
    let known = || Container::ALL.into_iter().map(Container::name);
    let mut containers = Vec::new();
    for (index, name) in names.iter().enumerate() {
        let path = format!("containers[{index}]");
        match Container::ALL.into_iter().find(|container| container.name() == name) {
            None => fault(
                faults,
                path,
                format!("there is no '{name}' to run containers with"),
                match nearest(name, known()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("there are {}", known().collect::<Vec<_>>().join(", ")),
                },
            ),
            Some(container) if containers.contains(&container) => {
                fault(faults, path, format!("{name} is named twice"), "write each once");
            }
            Some(container) => containers.push(container),
        }
    }
    containers
}

/// Names of modules go into a file that every login shell reads, so nothing in them may mean anything to a shell.
pub(super) fn resolve_modules(modules: Vec<String>, containers: &[Container], faults: &mut Vec<Fault>) -> Vec<String> {
    for (index, module) in modules.iter().enumerate() {
        let path = format!("default_modules[{index}]");
        let plain = module.starts_with(|first: char| first.is_ascii_alphanumeric())
            && module
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._+-/".contains(&byte));
        let name = module.split('/').next().unwrap_or_default();
        let missing = Container::ALL
            .into_iter()
            .find(|container| container.name() == name && !containers.contains(container));
        if !plain {
            fault(
                faults,
                path,
                format!("{module:?} can't be a module's name"),
                "write a name that `module avail` shows, such as apptainer",
            );
        } else if let Some(container) = missing {
            fault(
                faults,
                path,
                format!("the nodes' images hold no {}", container.name()),
                format!("add {} to containers, or leave the module out", container.name()),
            );
        } else if modules[..index].contains(module) {
            fault(faults, path, format!("{module} is named twice"), "write each once");
        }
    }
    modules
}
