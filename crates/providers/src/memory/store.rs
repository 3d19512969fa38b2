//! What lies on the nodes of the world.

use std::collections::BTreeMap;

use super::state::{DiskRecord, Life, State, error};
use crate::{ErrorKind, NodeState, ProviderError};

impl State {
    /// The store of a running node: its own files, and through its mounts those of its disks.
    pub(super) fn running(&mut self, cluster_id: &str, node: &str) -> Result<Files<'_>, ProviderError> {
        let name = format!("node {node}");
        let missing = || error(ErrorKind::NotFound, &name, "there is no such node");
        let cluster = self.clusters.get_mut(cluster_id).ok_or_else(missing)?;
        let record = cluster.nodes.get_mut(node).ok_or_else(missing)?;
        if record.resource.state != NodeState::Running {
            return Err(error(
                ErrorKind::Unavailable,
                &name,
                "the node doesn't answer: it isn't running",
            ));
        }
        Ok(Files {
            own: &mut record.files,
            fence: &mut record.fence,
            mounts: &record.disks,
            disks: &mut cluster.disks,
        })
    }

    /// Makes a node fail, as hardware does.
    pub(super) fn fail(&mut self, cluster_id: &str, node: &str, why: &str) -> bool {
        let record = self
            .clusters
            .get_mut(cluster_id)
            .and_then(|cluster| cluster.nodes.get_mut(node));
        let Some(record) = record else {
            return false;
        };
        record.resource.state = NodeState::Failed(why.to_owned());
        record.life = Life::default();
        true
    }
}

/// A running node's store.
pub(super) struct Files<'a> {
    own: &'a mut BTreeMap<String, String>,
    pub(super) fence: &'a mut u64,
    mounts: &'a BTreeMap<String, String>,
    disks: &'a mut BTreeMap<String, DiskRecord>,
}

impl Files<'_> {
    fn store(&mut self, key: &str) -> &mut BTreeMap<String, String> {
        let disk = self
            .mounts
            .iter()
            .find(|(_, mount)| {
                key.strip_prefix(mount.as_str())
                    .is_some_and(|rest| rest.starts_with('/'))
            })
            .map(|(disk, _)| disk);
        match disk.and_then(|disk| self.disks.get_mut(disk)) {
            Some(record) => &mut record.files,
            None => self.own,
        }
    }

    pub(super) fn get(&mut self, key: &str) -> Option<String> {
        self.store(key).get(key).cloned()
    }

    pub(super) fn set(&mut self, key: &str, value: Option<String>) {
        match value {
            Some(value) => self.store(key).insert(key.to_owned(), value),
            None => self.store(key).remove(key),
        };
    }
}
