//! What the engine has of ours: four calls, however many nodes there are.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bollard::errors::Error;
use bollard::models::{ContainerInspectResponse, ContainerState, ContainerSummary, ContainerSummaryStateEnum as State};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, ListNetworksOptions, ListVolumesOptions};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::engine::{Engine, explain};
use super::labels;
use crate::{Endpoint, Inventory, Mark, NodeResource, NodeState, ProviderError, Resource};

/// Port of SSH on nodes.
const SSH: u16 = 22;

/// A container of ours.
#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) node: NodeResource,
    /// It was made and never started: whoever made it was interrupted.
    pub(super) unborn: bool,
}

/// All that a batch has to know before it starts.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) containers: Vec<Container>,
    pub(super) disks: Vec<Resource>,
    pub(super) networks: Vec<Resource>,
    pub(super) images: Vec<String>,
}

impl Listing {
    /// Asks the engine.
    pub(super) async fn take(engine: &Engine, cluster_id: Option<&str>) -> Result<Self, ProviderError> {
        let (containers, disks, networks, images) = tokio::try_join!(
            containers(engine, cluster_id),
            disks(engine, cluster_id),
            networks(engine, cluster_id),
            images(engine),
        )?;
        Ok(Self {
            containers,
            disks,
            networks,
            images,
        })
    }

    pub(super) fn node(&self, mark: &Mark) -> Option<&Container> {
        self.containers.iter().find(|container| container.node.mark.same(mark))
    }

    pub(super) fn disk(&self, mark: &Mark) -> Option<&Resource> {
        self.disks.iter().find(|disk| disk.mark.same(mark))
    }

    pub(super) fn network(&self, mark: &Mark) -> Option<&Resource> {
        self.networks.iter().find(|network| network.mark.same(mark))
    }

    pub(super) fn into_inventory(self) -> Inventory {
        Inventory {
            networks: self.networks,
            disks: self.disks,
            nodes: self.containers.into_iter().map(|container| container.node).collect(),
            images: self.images,
        }
    }
}

/// Containers with these labels, running or not.
pub(super) async fn summaries(
    engine: &Engine,
    filters: HashMap<String, Vec<String>>,
) -> Result<Vec<ContainerSummary>, Error> {
    let options = ListContainersOptions {
        all: true,
        filters: Some(filters),
        ..ListContainersOptions::default()
    };
    match patiently(|| engine.docker.list_containers(Some(options.clone()))).await {
        Err(error) => reread(error, states_of_list),
        answer => answer,
    }
}

/// What a container does, and how it ended.
pub(super) async fn state(engine: &Engine, container: &str) -> Result<ContainerState, Error> {
    let details: ContainerInspectResponse = match engine.docker.inspect_container(container, None).await {
        Err(error) => reread(error, state_of_details)?,
        Ok(details) => details,
    };
    Ok(details.state.unwrap_or_default())
}

fn states_of_list(answer: &mut Value) -> Vec<&mut Value> {
    let list = answer.as_array_mut().into_iter().flatten();
    list.filter_map(|container| container.get_mut("State")).collect()
}

fn state_of_details(answer: &mut Value) -> Vec<&mut Value> {
    answer.pointer_mut("/State/Status").into_iter().collect()
}

/// Reads an answer that could not be read once more, in Docker's words: Podman says `stopped` of a container that has exited, until
/// it has tidied up after it (<https://github.com/containers/podman/issues/28359>). Where the tidying was killed, it stays so.
fn reread<T: DeserializeOwned>(error: Error, states: impl Fn(&mut Value) -> Vec<&mut Value>) -> Result<T, Error> {
    let Error::JsonDataError { contents, .. } = &error else {
        return Err(error);
    };
    let Ok(mut answer) = serde_json::from_str(contents) else {
        return Err(error);
    };
    for state in states(&mut answer) {
        if state == "stopped" {
            *state = "exited".into();
        }
    }
    serde_json::from_value(answer).map_err(|_| error)
}

async fn containers(engine: &Engine, cluster_id: Option<&str>) -> Result<Vec<Container>, ProviderError> {
    let list = summaries(engine, labels::filter(cluster_id))
        .await
        .map_err(|error| explain(error, "inventory"))?;
    let mut found = Vec::with_capacity(list.len());
    for summary in list {
        if let Some(container) = container(engine, summary).await? {
            found.push(container);
        }
    }
    found.sort_by(|a, b| a.node.mark.resource.cmp(&b.node.mark.resource));
    Ok(found)
}

async fn container(engine: &Engine, summary: ContainerSummary) -> Result<Option<Container>, ProviderError> {
    let of_ours = summary.labels.unwrap_or_default();
    let Some(mark) = labels::read(&of_ours) else {
        return Ok(None);
    };
    let id = summary.id.unwrap_or_default();
    let mut unborn = false;
    let state = match summary.state {
        Some(State::RUNNING) => NodeState::Running,
        Some(State::CREATED) => {
            // After a restart of the machine some versions list every container like this. Only one that was never started
            // is unfinished, so it is worth a look.
            unborn = never_started(engine, &id).await?;
            if unborn {
                NodeState::Failed("it was made and never started; making it again finishes it".to_owned())
            } else {
                NodeState::Stopped
            }
        }
        Some(State::EXITED | State::PAUSED) => NodeState::Stopped,
        Some(State::RESTARTING) => NodeState::Starting,
        Some(State::STOPPING) => NodeState::Stopping,
        Some(State::REMOVING) => NodeState::Deleting,
        Some(State::DEAD) => NodeState::Failed("the engine failed to remove it; removing it again may help".to_owned()),
        Some(State::EMPTY) | None => NodeState::Failed("the engine doesn't say what it is doing".to_owned()),
    };
    let label = |key: &str| of_ours.get(key).cloned().unwrap_or_default();
    let address = label(labels::ADDRESS).parse().ok();
    Ok(Some(Container {
        node: NodeResource {
            mark,
            id: id.chars().take(12).collect(),
            state,
            address,
            endpoint: address.map(|address| Endpoint {
                host: address.to_string(),
                port: SSH,
            }),
            flavor: label(labels::FLAVOR),
            image: label(labels::IMAGE),
        },
        unborn,
    }))
}

async fn never_started(engine: &Engine, id: &str) -> Result<bool, ProviderError> {
    match state(engine, id).await {
        Ok(state) => Ok(state
            .started_at
            .is_none_or(|at| at.is_empty() || at.starts_with("0001-"))),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(true),
        Err(error) => Err(explain(error, "inventory")),
    }
}

async fn networks(engine: &Engine, cluster_id: Option<&str>) -> Result<Vec<Resource>, ProviderError> {
    let options = ListNetworksOptions {
        filters: Some(labels::filter(cluster_id)),
    };
    let list = engine
        .docker
        .list_networks(Some(options))
        .await
        .map_err(|error| explain(error, "inventory"))?;
    Ok(resources(list.into_iter().map(|network| {
        let id = network.id.unwrap_or_default();
        (id.chars().take(12).collect(), network.labels.unwrap_or_default())
    })))
}

async fn disks(engine: &Engine, cluster_id: Option<&str>) -> Result<Vec<Resource>, ProviderError> {
    let options = ListVolumesOptions {
        filters: Some(labels::filter(cluster_id)),
    };
    let list = engine
        .docker
        .list_volumes(Some(options))
        .await
        .map_err(|error| explain(error, "inventory"))?;
    let volumes = list.volumes.unwrap_or_default();
    Ok(resources(
        volumes.into_iter().map(|volume| (volume.name, volume.labels)),
    ))
}

fn resources(list: impl Iterator<Item = (String, HashMap<String, String>)>) -> Vec<Resource> {
    let sorted: BTreeMap<String, Resource> = list
        .filter_map(|(id, of_ours)| {
            let mark = labels::read(&of_ours)?;
            let detail = of_ours.get(labels::DETAIL).cloned().unwrap_or_default();
            let key = format!("{} {}", mark.cluster_id, mark.resource);
            Some((key, Resource { mark, id, detail }))
        })
        .collect();
    sorted.into_values().collect()
}

/// Podman looks at each thing in a list once more, and the list fails as a whole when one has been removed in between.
async fn patiently<T, F>(mut list: impl FnMut() -> F) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let mut tries = 0;
    loop {
        match list().await {
            Err(Error::DockerResponseServerError { message, .. })
                if tries < 50
                    && ["image not known", "no such container"]
                        .iter()
                        .any(|words| message.contains(words)) =>
            {
                tries += 1;
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
            answer => return answer,
        }
    }
}

/// Tags of the images that are built.
pub(super) async fn images(engine: &Engine) -> Result<Vec<String>, ProviderError> {
    let options = ListImagesOptions {
        filters: Some(HashMap::from([("label".to_owned(), vec![labels::RECIPE.to_owned()])])),
        ..ListImagesOptions::default()
    };
    let list = patiently(|| engine.docker.list_images(Some(options.clone())))
        .await
        .map_err(|error| explain(error, "inventory"))?;
    let mut tags: Vec<String> = list
        .into_iter()
        .filter_map(|image| {
            let tag = image.labels.get(labels::RECIPE)?;
            // An image that lost its name to a newer build of the same recipe is not used any more.
            image
                .repo_tags
                .contains(&labels::image_reference(tag))
                .then(|| tag.clone())
        })
        .collect();
    tags.sort();
    tags.dedup();
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(message: &str) -> Error {
        Error::DockerResponseServerError {
            status_code: 500,
            message: message.to_owned(),
        }
    }

    #[tokio::test]
    async fn what_is_removed_meanwhile_does_not_spoil_the_list() {
        for gone in [
            "locating image with ID \"d887\": image not known",
            "no container with ID f0: no such container",
        ] {
            let mut answers = vec![Ok(7), Err(refusal(gone))];
            let asked = patiently(|| std::future::ready(answers.pop().expect("asked too often")));
            assert_eq!(asked.await.expect("the second answer"), 7);
        }
    }

    #[tokio::test]
    async fn any_other_refusal_is_told_at_once() {
        let mut answers = vec![Err::<(), _>(refusal("no space left on device"))];
        let asked = patiently(|| std::future::ready(answers.pop().expect("asked too often")));
        assert!(asked.await.is_err());
    }

    fn unreadable(contents: &str) -> Error {
        Error::JsonDataError {
            message: "unknown variant".to_owned(),
            contents: contents.to_owned(),
            column: 1,
        }
    }

    #[test]
    fn podmans_stopped_is_exited() {
        let list: Vec<ContainerSummary> = reread(
            unreadable(r#"[{"Id": "a", "State": "stopped"}, {"Id": "b", "State": "running"}]"#),
            states_of_list,
        )
        .unwrap();
        let states: Vec<_> = list.into_iter().map(|container| container.state).collect();
        assert_eq!(states, [Some(State::EXITED), Some(State::RUNNING)]);
        let details: ContainerInspectResponse = reread(
            unreadable(r#"{"State": {"Status": "stopped", "ExitCode": 3}}"#),
            state_of_details,
        )
        .unwrap();
        assert_eq!(details.state.unwrap().exit_code, Some(3));
        for other in [r#"[{"State": "levitating"}]"#, "[1, null]", "7", "{}", "<html>"] {
            assert!(
                reread::<Vec<ContainerSummary>>(unreadable(other), states_of_list).is_err(),
                "{other}"
            );
            assert!(reread::<ContainerInspectResponse>(unreadable(other), state_of_details).is_err() || other == "{}");
        }
    }
}
