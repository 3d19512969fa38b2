//! One node: a container whose first process is systemd.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, EndpointIpamConfig, EndpointSettings, HostConfig, HostConfigCgroupnsModeEnum, Mount,
    MountType, MountVolumeOptions, NetworkingConfig, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, StopContainerOptions, UploadToContainerOptions,
};

use super::archive::Archive;
use super::engine::{Engine, Machine, Product, explain};
use super::labels;
use super::listing::Listing;
use super::network::{missing, named, there};
use crate::checks::{flavors, unknown_image, wrong_flavor};
use crate::{Ack, ErrorKind, Mark, NodeSpec, NodeState, ProviderError};

/// Seconds that a node has to stop before it is killed.
const STOP_SECONDS: i32 = 10;
/// Shared memory that MPI needs at least, in bytes.
const SHARED_MEMORY: u64 = 256 << 20;

/// Makes and starts a node. One that was made and never started is finished.
pub(super) async fn create(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    spec: &NodeSpec,
) -> Result<Ack, ProviderError> {
    let container = labels::name(&spec.mark);
    match listing.node(&spec.mark) {
        // What was interrupted before its first start holds nothing of value, and what was uploaded to it is unknown.
        Some(found) if found.unborn => remove(engine, name, &container).await?,
        Some(_) => return Err(there(name)),
        None => {}
    }
    check(listing, name, spec)?;
    let network = network(listing, name, spec)?;
    let options = CreateContainerOptions {
        name: Some(container.clone()),
        ..CreateContainerOptions::default()
    };
    if let Err(error) = engine
        .docker
        .create_container(Some(options), body(engine, engine.machine().await?, spec, &network))
        .await
    {
        let error = explain(error, name);
        return Err(match error.kind {
            ErrorKind::AlreadyExists => named(engine, name, &spec.mark).await,
            _ => error,
        });
    }
    match finish(engine, name, &container, spec).await {
        Ok(()) => Ok(Ack::Done),
        Err(error) => {
            // A node that can't start is not kept: trying again begins afresh. If this fails too, the next attempt sees a
            // node that was never started and removes it.
            let _ = remove(engine, name, &container).await;
            Err(error)
        }
    }
}

/// What can be known to be wrong before anything is made.
fn check(listing: &Listing, name: &str, spec: &NodeSpec) -> Result<(), ProviderError> {
    wrong_flavor(name, &spec.flavor, &flavors())?;
    if !listing.images.contains(&spec.image) {
        let known = listing.images.iter().map(String::as_str);
        return Err(unknown_image(name, &spec.image, known));
    }
    // Engines make a volume that is missing, without our mark: it would never be found again.
    for disk in spec.disks.keys() {
        let mark = Mark {
            resource: disk.clone(),
            ..spec.mark.clone()
        };
        if listing.disk(&mark).is_none() {
            return Err(ProviderError::new(
                ErrorKind::NotFound,
                name,
                format!("there is no disk {disk}"),
            ));
        }
    }
    let holder = listing.containers.iter().find(|other| {
        other.node.address == Some(spec.address)
            && other.node.mark.cluster_id == spec.mark.cluster_id
            && !other.node.mark.same(&spec.mark)
    });
    match holder {
        Some(other) => Err(ProviderError::new(
            ErrorKind::Conflict,
            name,
            format!("the address {} belongs to {}", spec.address, other.node.mark.resource),
        )),
        None => Ok(()),
    }
}

/// The engine's name of the network that holds the node's address.
fn network(listing: &Listing, name: &str, spec: &NodeSpec) -> Result<String, ProviderError> {
    let mut networks = listing
        .networks
        .iter()
        .filter(|network| network.mark.cluster_id == spec.mark.cluster_id)
        .peekable();
    if networks.peek().is_none() {
        return Err(ProviderError::new(
            ErrorKind::NotFound,
            name,
            "the cluster has no network yet",
        ));
    }
    networks
        .find(|network| {
            network
                .detail
                .parse::<clusterbook_model::Subnet>()
                .is_ok_and(|subnet| subnet.contains(spec.address))
        })
        .map(|network| labels::name(&network.mark))
        .ok_or_else(|| {
            ProviderError::new(
                ErrorKind::Invalid,
                name,
                format!("{} is outside the cluster's network", spec.address),
            )
        })
}

async fn finish(engine: &Engine, name: &str, container: &str, spec: &NodeSpec) -> Result<(), ProviderError> {
    let options = UploadToContainerOptions {
        path: "/".to_owned(),
        ..UploadToContainerOptions::default()
    };
    engine
        .docker
        .upload_to_container(container, Some(options), bollard::body_full(birth(name, spec)?.into()))
        .await
        .map_err(|error| explain(error, name))?;
    engine
        .docker
        .start_container(container, None)
        .await
        .map_err(|error| explain(error, name))
}

/// What the node knows from birth, as it lies in its file system before the first process runs.
fn birth(name: &str, spec: &NodeSpec) -> Result<Vec<u8>, ProviderError> {
    let mark = serde_json::to_string(&spec.mark)
        .map_err(|error| ProviderError::new(ErrorKind::Bug, name, error.to_string()))?;
    let line = |text: &str| format!("{}\n", text.trim_end());
    let mut archive = Archive::default();
    archive.folder("root/.ssh", 0o700);
    archive.folder("etc/clusterbook", 0o755);
    archive.file(
        "etc/ssh/ssh_host_ed25519_key",
        0o600,
        line(spec.birth.host_key.reveal()).as_bytes(),
    );
    archive.file(
        "etc/ssh/ssh_host_ed25519_key.pub",
        0o644,
        line(&spec.birth.host_key_public).as_bytes(),
    );
    archive.file(
        "root/.ssh/authorized_keys",
        0o600,
        line(&spec.birth.authorized_key).as_bytes(),
    );
    archive.file("etc/clusterbook/mark", 0o644, line(&mark).as_bytes());
    archive.finish(name)
}

fn body(engine: &Engine, machine: &Machine, spec: &NodeSpec, network: &str) -> ContainerCreateBody {
    let mut of_ours = labels::write(&spec.mark);
    of_ours.insert(labels::IMAGE.to_owned(), spec.image.clone());
    of_ours.insert(labels::FLAVOR.to_owned(), spec.flavor.name.clone());
    of_ours.insert(labels::ADDRESS.to_owned(), spec.address.to_string());
    let mut command = vec!["/sbin/init".to_owned()];
    if !machine.cgroup2 {
        // Recent releases of systemd refuse to start on version 1 unless told.
        command.push("SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1".to_owned());
    }
    let ipam = match spec.address {
        IpAddr::V4(address) => EndpointIpamConfig {
            ipv4_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        },
        IpAddr::V6(address) => EndpointIpamConfig {
            ipv6_address: Some(address.to_string()),
            ..EndpointIpamConfig::default()
        },
    };
    ContainerCreateBody {
        image: Some(labels::image_reference(&spec.image)),
        hostname: Some(spec.mark.resource.clone()),
        cmd: Some(command),
        // Podman says this by itself; systemd looks for it to know where it is.
        env: (engine.product == Product::Docker).then(|| vec!["container=docker".to_owned()]),
        labels: Some(of_ours),
        stop_signal: Some("SIGRTMIN+3".to_owned()),
        stop_timeout: Some(i64::from(STOP_SECONDS)),
        host_config: Some(host(engine, machine, spec, network)),
        networking_config: Some(NetworkingConfig {
            endpoints_config: Some(HashMap::from([(
                network.to_owned(),
                EndpointSettings {
                    ipam_config: Some(ipam),
                    mac_address: Some(mac(spec.address)),
                    ..EndpointSettings::default()
                },
            )])),
        }),
        ..ContainerCreateBody::default()
    }
}

/// The hardware address that belongs to an address. Podman would draw another at every start, and everybody who talked to the
/// node before would keep sending to the old one for most of a minute.
fn mac(address: IpAddr) -> String {
    let last = match address {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => {
            let bytes = address.octets();
            [bytes[12], bytes[13], bytes[14], bytes[15]]
        }
    };
    // The first two bytes are those that Docker gives: an address that is administered locally.
    format!("02:42:{:02x}:{:02x}:{:02x}:{:02x}", last[0], last[1], last[2], last[3])
}

fn host(engine: &Engine, machine: &Machine, spec: &NodeSpec, network: &str) -> HostConfig {
    let memory = spec.flavor.memory.bytes();
    // More CPUs than there are is no limit, and Docker refuses it.
    let cpus = spec.flavor.cpus.min(machine.cpus);
    let mounts = spec.disks.iter().map(|(disk, path)| {
        let mark = Mark {
            resource: disk.clone(),
            ..spec.mark.clone()
        };
        Mount {
            typ: Some(MountType::VOLUME),
            source: Some(labels::name(&mark)),
            target: Some(path.clone()),
            // Many nodes would copy the image's files into the same empty volume at once.
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(true),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        }
    });
    let docker = engine.product == Product::Docker;
    HostConfig {
        privileged: Some(true),
        network_mode: Some(network.to_owned()),
        nano_cpus: machine.limits_cpu.then_some(i64::from(cpus) * 1_000_000_000),
        memory: machine.limits_memory.then(|| i64::try_from(memory).unwrap_or(i64::MAX)),
        shm_size: i64::try_from(SHARED_MEMORY.max(memory / 2)).ok(),
        ulimits: engine.ulimits.clone(),
        mounts: Some(mounts.collect()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // Podman does all of this when it sees /sbin/init.
        tmpfs: docker.then(|| {
            ["/run", "/run/lock", "/tmp"]
                .map(|path| (path.to_owned(), "exec".to_owned()))
                .into()
        }),
        cgroupns_mode: docker.then_some(HostConfigCgroupnsModeEnum::PRIVATE),
        ..HostConfig::default()
    }
}

/// Starts a stopped node.
pub(super) async fn power_on(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    mark: &Mark,
) -> Result<Ack, ProviderError> {
    let found = listing.node(mark).ok_or_else(|| missing(name))?;
    if found.unborn {
        return Err(ProviderError::new(
            ErrorKind::Invalid,
            name,
            "it was made and never started, so it has no identity yet",
        )
        .with_hint("make it again"));
    }
    if found.node.state != NodeState::Running {
        engine
            .docker
            .start_container(&labels::name(mark), None)
            .await
            .map_err(|error| explain(error, name))?;
    }
    Ok(Ack::Done)
}

/// Stops a node.
pub(super) async fn power_off(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    mark: &Mark,
) -> Result<Ack, ProviderError> {
    let found = listing.node(mark).ok_or_else(|| missing(name))?;
    if !found.unborn && found.node.state != NodeState::Stopped {
        let options = StopContainerOptions {
            t: Some(STOP_SECONDS),
            ..StopContainerOptions::default()
        };
        engine
            .docker
            .stop_container(&labels::name(mark), Some(options))
            .await
            .map_err(|error| explain(error, name))?;
    }
    Ok(Ack::Done)
}

/// Removes a node.
pub(super) async fn delete(engine: &Engine, listing: &Listing, name: &str, mark: &Mark) -> Result<Ack, ProviderError> {
    let found = listing.node(mark).ok_or_else(|| missing(name))?;
    let container = labels::name(mark);
    if found.node.state == NodeState::Running {
        // Podman would first wait for an orderly stop. Nothing on a node outlives it but its disks, whose data the kernel
        // holds. A node that stopped meanwhile can't be killed, and needn't be.
        let _ = engine.docker.kill_container(&container, None).await;
    }
    remove(engine, name, &container).await?;
    Ok(Ack::Done)
}

async fn remove(engine: &Engine, name: &str, container: &str) -> Result<(), ProviderError> {
    let options = RemoveContainerOptions {
        force: true,
        ..RemoveContainerOptions::default()
    };
    engine
        .docker
        .remove_container(container, Some(options))
        .await
        .map_err(|error| explain(error, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hardware_address_follows_from_the_address() {
        assert_eq!(mac("10.78.0.11".parse().unwrap()), "02:42:0a:4e:00:0b");
        assert_eq!(mac("fd00::1:2".parse().unwrap()), "02:42:00:01:00:02");
    }
}
