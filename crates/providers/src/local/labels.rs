//! Marks as labels, and names.

use std::collections::HashMap;

use crate::Mark;

pub(super) const CLUSTER: &str = "org.clusterbook.cluster";
pub(super) const CLUSTER_ID: &str = "org.clusterbook.cluster-id";
pub(super) const RESOURCE: &str = "org.clusterbook.resource";
pub(super) const APPLY: &str = "org.clusterbook.apply";
pub(super) const IMAGE: &str = "org.clusterbook.image";
pub(super) const FLAVOR: &str = "org.clusterbook.flavor";
pub(super) const ADDRESS: &str = "org.clusterbook.address";
/// What a network or disk was made with.
pub(super) const DETAIL: &str = "org.clusterbook.detail";
/// On images: the recipe's tag.
pub(super) const RECIPE: &str = "org.clusterbook.recipe";
/// On containers that build images: whose build locks tell whether the builder is alive.
pub(super) const BUILDER: &str = "org.clusterbook.builder";
/// On containers that build images: what they build.
pub(super) const BUILDS: &str = "org.clusterbook.builds";

const IMAGES: &str = "localhost/clusterbook/";

/// The name of a container, disk or network.
pub(super) fn name(mark: &Mark) -> String {
    format!("cb-{}-{}", mark.cluster, mark.resource)
}

/// Name and tag that an image has at the engine, from a recipe's tag: `compute-0123456789ab` becomes
/// `localhost/clusterbook/compute` and `0123456789ab`.
pub(super) fn image(tag: &str) -> (String, String) {
    let (name, hash) = tag.rsplit_once('-').unwrap_or((tag, "latest"));
    (format!("{IMAGES}{}", name.to_lowercase()), hash.to_owned())
}

/// The same in one word.
pub(super) fn image_reference(tag: &str) -> String {
    let (name, hash) = image(tag);
    format!("{name}:{hash}")
}

/// A mark as labels.
pub(super) fn write(mark: &Mark) -> HashMap<String, String> {
    HashMap::from([
        (CLUSTER.to_owned(), mark.cluster.clone()),
        (CLUSTER_ID.to_owned(), mark.cluster_id.clone()),
        (RESOURCE.to_owned(), mark.resource.clone()),
        (APPLY.to_owned(), mark.apply.to_string()),
    ])
}

/// The mark in some labels; `None` when they aren't ours.
pub(super) fn read(labels: &HashMap<String, String>) -> Option<Mark> {
    Some(Mark {
        cluster: labels.get(CLUSTER)?.clone(),
        cluster_id: labels.get(CLUSTER_ID)?.clone(),
        resource: labels.get(RESOURCE)?.clone(),
        apply: labels.get(APPLY)?.parse().ok()?,
    })
}

/// A filter for lists: one cluster's resources, or everybody's.
pub(super) fn filter(cluster_id: Option<&str>) -> HashMap<String, Vec<String>> {
    let label = match cluster_id {
        Some(id) => format!("{CLUSTER_ID}={id}"),
        None => CLUSTER_ID.to_owned(),
    };
    HashMap::from([("label".to_owned(), vec![label])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_survives_the_trip_through_labels() {
        let mark = Mark {
            cluster: "demo".to_owned(),
            cluster_id: "0b1f".to_owned(),
            resource: "c1".to_owned(),
            apply: 7,
        };
        assert_eq!(read(&write(&mark)), Some(mark));
        assert_eq!(read(&HashMap::new()), None);
    }

    #[test]
    fn images_are_named_by_recipe_and_hash() {
        assert_eq!(
            image_reference("slurm-master-0123456789ab"),
            "localhost/clusterbook/slurm-master:0123456789ab"
        );
    }
}
