//! What every provider says in the same words.

use clusterbook_model::{Architecture, Flavor, Size};

use crate::{ErrorKind, Mark, ProviderError, Request, Scope};

/// How errors and progress call what a request is about.
pub(crate) fn request_name(request: &Request) -> String {
    match request {
        Request::BuildImage(recipe) => format!("image {}", recipe.name),
        Request::CreateNetwork { mark, .. } | Request::DeleteNetwork(mark) => {
            format!("network of {}", mark.cluster)
        }
        Request::CreateDisk { mark, .. } | Request::DeleteDisk(mark) => {
            format!("disk {}", mark.resource)
        }
        Request::CreateNode(spec) => format!("node {}", spec.mark.resource),
        Request::PowerOn(mark) | Request::PowerOff(mark) | Request::DeleteNode(mark) => {
            format!("node {}", mark.resource)
        }
    }
}

/// The mark that a request carries; images have none, because clusters share them.
pub(crate) fn request_mark(request: &Request) -> Option<&Mark> {
    match request {
        Request::BuildImage(_) => None,
        Request::CreateNode(spec) => Some(&spec.mark),
        Request::CreateNetwork { mark, .. }
        | Request::CreateDisk { mark, .. }
        | Request::PowerOn(mark)
        | Request::PowerOff(mark)
        | Request::DeleteNode(mark)
        | Request::DeleteDisk(mark)
        | Request::DeleteNetwork(mark) => Some(mark),
    }
}

impl Scope {
    pub(crate) fn covers(&self, cluster_id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Cluster(id) => id == cluster_id,
        }
    }
}

impl Mark {
    /// Whether both mean the same resource; which apply asked for it may differ.
    pub(crate) fn same(&self, other: &Self) -> bool {
        self.cluster_id == other.cluster_id && self.resource == other.resource
    }
}

/// The flavors of the providers that live on one machine.
pub(crate) fn flavors() -> Vec<Flavor> {
    [("tiny", 1, 1), ("small", 2, 2), ("medium", 4, 8), ("large", 8, 16)]
        .into_iter()
        .map(|(name, cpus, gib)| Flavor {
            name: name.to_owned(),
            cpus,
            memory: Size::from_gib(gib),
            gpus: 0,
            architecture: here(),
        })
        .collect()
}

/// The instruction set of this machine, which its containers share.
pub(crate) fn here() -> Architecture {
    Architecture::of(std::env::consts::ARCH).unwrap_or(Architecture::Native)
}

/// Refuses a flavor that isn't listed as it is.
pub(crate) fn wrong_flavor(resource: &str, flavor: &Flavor, known: &[Flavor]) -> Result<(), ProviderError> {
    if known.contains(flavor) {
        return Ok(());
    }
    let error = match known.iter().find(|other| other.name == flavor.name) {
        Some(other) => ProviderError::new(
            ErrorKind::Invalid,
            resource,
            format!(
                "the flavor {} has {} CPUs and {} here, not {} and {}",
                other.name, other.cpus, other.memory, flavor.cpus, flavor.memory
            ),
        ),
        None => ProviderError::new(
            ErrorKind::Invalid,
            resource,
            format!("there is no flavor {}", flavor.name),
        ),
    };
    let names = known.iter().map(|flavor| flavor.name.as_str());
    Err(error.with_hint(choose(&flavor.name, names)))
}

/// The error for an image that isn't there.
pub(crate) fn unknown_image<'a>(resource: &str, image: &str, known: impl Iterator<Item = &'a str>) -> ProviderError {
    let known: Vec<&str> = known.collect();
    let hint = if known.is_empty() {
        "no image is built yet; build it from its recipe".to_owned()
    } else {
        format!("build it from its recipe; built are {}", known.join(", "))
    };
    ProviderError::new(ErrorKind::Invalid, resource, format!("there is no image {image}")).with_hint(hint)
}

/// A hint that offers the nearest of some names, and lists them.
pub(crate) fn choose<'a>(wrong: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    let nearest = known
        .clone()
        .map(|name| (strsim::damerau_levenshtein(name, wrong), name))
        .min()
        .filter(|(distance, name)| *distance <= 2.max(name.len() / 3));
    let list = known.collect::<Vec<_>>().join(", ");
    match nearest {
        Some((_, name)) => format!("did you mean {name}? known are {list}"),
        None => format!("known are {list}"),
    }
}
