//! A cluster's network and disks.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bollard::models::{Ipam, IpamConfig, NetworkCreateRequest, VolumeCreateRequest};
use bollard::query_parameters::RemoveVolumeOptions;
use clusterbook_model::{Size, Subnet};

use super::engine::{Engine, explain};
use super::labels;
use super::listing::Listing;
use crate::{Ack, ErrorKind, Mark, ProviderError};

/// Makes the bridge that a cluster's nodes share.
pub(super) async fn create(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    mark: &Mark,
    subnet: Subnet,
) -> Result<Ack, ProviderError> {
    if listing.network(mark).is_some() {
        return Err(there(name));
    }
    if let Some(clash) = clash(subnet) {
        return Err(taken(name, subnet, &clash));
    }
    let mut of_ours = labels::write(mark);
    of_ours.insert(labels::DETAIL.to_owned(), subnet.to_string());
    let request = NetworkCreateRequest {
        name: labels::name(mark),
        driver: Some("bridge".to_owned()),
        enable_ipv6: subnet.network().is_ipv6().then_some(true),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(subnet.to_string()),
                gateway: Some(subnet.gateway().to_string()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        labels: Some(of_ours),
        ..NetworkCreateRequest::default()
    };
    match engine.docker.create_network(request).await {
        Ok(_) => Ok(Ack::Done),
        Err(error) => {
            let error = explain(error, name);
            Err(match error.kind {
                ErrorKind::Invalid => taken(name, subnet, &error.message),
                ErrorKind::AlreadyExists => named(engine, name, mark).await,
                _ => error,
            })
        }
    }
}

/// Removes it.
pub(super) async fn delete(engine: &Engine, listing: &Listing, name: &str, mark: &Mark) -> Result<Ack, ProviderError> {
    if listing.network(mark).is_none() {
        return Err(missing(name));
    }
    // Docker would remove a network under nodes that are stopped, and they could never be started again.
    let mut nodes = listing
        .containers
        .iter()
        .filter(|container| container.node.mark.cluster_id == mark.cluster_id);
    if let Some(first) = nodes.next() {
        return Err(ProviderError::new(
            ErrorKind::Conflict,
            name,
            format!(
                "{} nodes still use it, {} first",
                1 + nodes.count(),
                first.node.mark.resource
            ),
        ));
    }
    engine
        .docker
        .remove_network(&labels::name(mark))
        .await
        .map_err(|error| explain(error, name))?;
    Ok(Ack::Done)
}

/// Makes a disk: a volume with our mark.
pub(super) async fn create_disk(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    mark: &Mark,
    size: Size,
) -> Result<Ack, ProviderError> {
    if listing.disk(mark).is_some() {
        return Err(there(name));
    }
    let mut of_ours = labels::write(mark);
    of_ours.insert(labels::DETAIL.to_owned(), size.to_string());
    let request = VolumeCreateRequest {
        name: Some(labels::name(mark)),
        labels: Some(of_ours),
        ..VolumeCreateRequest::default()
    };
    let volume = engine
        .docker
        .create_volume(request)
        .await
        .map_err(|error| explain(error, name))?;
    // Engines answer with the volume that is there, whoever made it.
    if labels::read(&volume.labels).is_some_and(|found| found.same(mark)) {
        Ok(Ack::Done)
    } else {
        Err(foreign(name, mark))
    }
}

/// Removes a disk and what is on it.
pub(super) async fn delete_disk(
    engine: &Engine,
    listing: &Listing,
    name: &str,
    mark: &Mark,
) -> Result<Ack, ProviderError> {
    if listing.disk(mark).is_none() {
        return Err(missing(name));
    }
    engine
        .docker
        .remove_volume(&labels::name(mark), None::<RemoveVolumeOptions>)
        .await
        .map_err(|error| explain(error, name))?;
    Ok(Ack::Done)
}

pub(super) fn there(name: &str) -> ProviderError {
    ProviderError::new(ErrorKind::AlreadyExists, name, "it is there already")
}

pub(super) fn missing(name: &str) -> ProviderError {
    ProviderError::new(ErrorKind::NotFound, name, "it is not there")
}

/// The error when the engine says that a name is in use: by us, made since the batch began, or by somebody else.
pub(super) async fn named(engine: &Engine, name: &str, mark: &Mark) -> ProviderError {
    match Listing::take(engine, Some(&mark.cluster_id)).await {
        Ok(listing) if listing.node(mark).is_some() || listing.network(mark).is_some() => there(name),
        Ok(_) => foreign(name, mark),
        Err(error) => error,
    }
}

/// The name is in use, and not by this cluster.
fn foreign(name: &str, mark: &Mark) -> ProviderError {
    ProviderError::new(
        ErrorKind::Denied,
        name,
        format!(
            "the engine's name {} is taken by something that isn't of this cluster",
            labels::name(mark)
        ),
    )
    .with_hint("choose another cluster name, or remove the other one if it is yours")
}

fn taken(name: &str, subnet: Subnet, by: &str) -> ProviderError {
    ProviderError::new(
        ErrorKind::Invalid,
        name,
        format!("the range {subnet} can't be used on this machine: {by}"),
    )
    .with_hint("choose another range for the cluster's network")
}

/// A route of this machine that would draw the cluster's traffic elsewhere, described.
///
/// Wider routes through a gateway (a default route, a VPN to all of 10.0.0.0/8) don't count: the bridge's own route is more
/// specific and wins.
fn clash(subnet: Subnet) -> Option<String> {
    let v4 = fs_err::read_to_string("/proc/net/route").unwrap_or_default();
    let v6 = fs_err::read_to_string("/proc/net/ipv6_route").unwrap_or_default();
    let routes = v4
        .lines()
        .skip(1)
        .filter_map(route4)
        .chain(v6.lines().filter_map(route6));
    first_clash(subnet, routes)
}

struct Route {
    subnet: Subnet,
    interface: String,
    through_gateway: bool,
}

fn first_clash(subnet: Subnet, routes: impl Iterator<Item = Route>) -> Option<String> {
    let mut routes = routes.filter(|route| {
        route.subnet.prefix() > 0
            && route.subnet.overlaps(&subnet)
            && !(route.through_gateway && route.subnet.prefix() < subnet.prefix())
    });
    routes
        .next()
        .map(|route| format!("{} is in use on interface {}", route.subnet, route.interface))
}

fn route4(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |index: usize| u32::from_str_radix(words.get(index)?, 16).ok();
    // Written as the kernel holds them: in network order, read as a little-endian number.
    let address = Ipv4Addr::from(number(1)?.swap_bytes());
    let prefix = number(7)?.swap_bytes().leading_ones();
    Some(Route {
        subnet: Subnet::new(IpAddr::V4(address), u8::try_from(prefix).ok()?).ok()?,
        interface: (*words.first()?).to_owned(),
        through_gateway: number(2)? != 0,
    })
}

fn route6(line: &str) -> Option<Route> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let address = |index: usize| u128::from_str_radix(words.get(index)?, 16).ok().map(Ipv6Addr::from);
    let network = address(0)?;
    if network.is_multicast() || network.is_loopback() || network.is_unicast_link_local() {
        return None;
    }
    let prefix = u8::from_str_radix(words.get(1)?, 16).ok()?;
    Some(Route {
        subnet: Subnet::new(IpAddr::V6(network), prefix).ok()?,
        interface: (*words.last()?).to_owned(),
        through_gateway: !address(4)?.is_unspecified(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
tun0\t0000000A\t010200C0\t0003\t0\t0\t0\t000000FF\t0\t0\t0
podman1\t00004D0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
tun0\t00054E0A\t010200C0\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0";

    fn found(subnet: &str) -> Option<String> {
        first_clash(subnet.parse().unwrap(), ROUTES.lines().skip(1).filter_map(route4))
    }

    #[test]
    fn a_route_in_the_range_is_named() {
        assert_eq!(
            found("10.77.0.128/25").unwrap(),
            "10.77.0.0/24 is in use on interface podman1"
        );
        assert_eq!(
            found("10.78.0.0/16").unwrap(),
            "10.78.5.0/24 is in use on interface tun0"
        );
    }

    #[test]
    fn wider_routes_through_a_gateway_do_no_harm() {
        assert_eq!(found("10.79.0.0/24"), None);
        assert_eq!(found("192.168.0.0/24"), None);
    }

    #[test]
    fn a_route_of_ipv6_is_read() {
        let line = "fd000000000000000000000000000000 40 00000000000000000000000000000000 00 \
                    00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0";
        let route = route6(line).unwrap();
        assert_eq!(route.subnet.to_string(), "fd00::/64");
        assert_eq!(route.interface, "eth0");
        assert!(!route.through_gateway);
    }
}
