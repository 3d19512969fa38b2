//! Time in the world, which passes by listings, and what a listing shows.

use std::collections::BTreeSet;

use super::state::{Becomes, Ghost, Life, State};
use crate::{Inventory, Resource, Scope};

impl State {
    /// One listing passes: pending operations come nearer to their end.
    pub(super) fn tick(&mut self) {
        let mut gone = Vec::new();
        for (id, cluster) in &mut self.clusters {
            cluster
                .networks
                .retain(|_, record| record.life.tick() != Some(Becomes::Gone));
            cluster
                .disks
                .retain(|_, record| record.life.tick() != Some(Becomes::Gone));
            for (name, record) in &mut cluster.nodes {
                match record.life.tick() {
                    Some(Becomes::State(state)) => record.resource.state = state,
                    Some(Becomes::Gone) => gone.push((id.clone(), name.clone())),
                    Some(Becomes::Ready) | None => {}
                }
            }
        }
        for (id, name) in gone {
            self.drop_node(&id, &name, 0);
        }
        for hidden in self.images.values_mut() {
            *hidden = hidden.saturating_sub(1);
        }
        self.clusters.retain(|_, cluster| {
            !(cluster.networks.is_empty() && cluster.disks.is_empty() && cluster.nodes.is_empty())
        });
        self.ghosts.retain_mut(|(_, left)| {
            *left = left.saturating_sub(1);
            *left > 0
        });
    }

    /// What a listing shows; with `truth`, what there really is.
    pub(super) fn list(&self, scope: &Scope, truth: bool) -> Inventory {
        let shown = |life: &Life| truth || life.hidden == 0;
        let mut inventory = Inventory {
            images: self
                .images
                .iter()
                .filter(|(_, hidden)| truth || **hidden == 0)
                .map(|(tag, _)| tag.clone())
                .collect(),
            ..Inventory::default()
        };
        for (id, cluster) in &self.clusters {
            if !scope.covers(id) {
                continue;
            }
            inventory.networks.extend(
                cluster
                    .networks
                    .values()
                    .filter(|record| shown(&record.life))
                    .map(|record| record.resource.clone()),
            );
            inventory.disks.extend(
                cluster
                    .disks
                    .values()
                    .filter(|record| shown(&record.life))
                    .map(|record| record.resource.clone()),
            );
            inventory.nodes.extend(
                cluster
                    .nodes
                    .values()
                    .filter(|record| shown(&record.life))
                    .map(|record| record.resource.clone()),
            );
        }
        if !truth {
            self.add_ghosts(scope, &mut inventory);
        }
        inventory
    }

    fn add_ghosts(&self, scope: &Scope, inventory: &mut Inventory) {
        // What was made anew since then is listed as it is now: a list shows a resource once.
        let nodes: BTreeSet<(String, String)> = inventory
            .nodes
            .iter()
            .map(|node| (node.mark.cluster_id.clone(), node.mark.resource.clone()))
            .collect();
        for (ghost, _) in &self.ghosts {
            match ghost {
                Ghost::Network(resource)
                    if scope.covers(&resource.mark.cluster_id) && !listed(&inventory.networks, resource) =>
                {
                    inventory.networks.push(resource.clone());
                }
                Ghost::Disk(resource)
                    if scope.covers(&resource.mark.cluster_id) && !listed(&inventory.disks, resource) =>
                {
                    inventory.disks.push(resource.clone());
                }
                Ghost::Node(node) if scope.covers(&node.mark.cluster_id) => {
                    let key = (node.mark.cluster_id.clone(), node.mark.resource.clone());
                    if !nodes.contains(&key) {
                        inventory.nodes.push((**node).clone());
                    }
                }
                _ => {}
            }
        }
    }
}

fn listed(resources: &[Resource], resource: &Resource) -> bool {
    resources.iter().any(|seen| seen.mark.same(&resource.mark))
}
