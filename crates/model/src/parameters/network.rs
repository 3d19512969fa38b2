//! The subnet, and which of its addresses may be used.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fault;
use super::level::Level;
use crate::{AddressRange, Fault, Network, Subnet};

/// Where in the subnet the first group starts.
const FIRST_GROUP_OFFSET: u128 = 21;

/// What the system's resolver reads of `/etc/resolv.conf`.
const MOST_FORWARDERS: usize = 3;

#[derive(Default)]
pub(super) struct RawNetwork {
    subnet: Option<Subnet>,
    /// Something was written for the subnet, readable or not.
    subnet_given: bool,
    /// With their places in the list.
    forwarders: Vec<(usize, IpAddr)>,
    domain: String,
}

pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> RawNetwork {
    let known = ["subnet", "dns_forwarders", "dns_domain"];
    let Some(mut level) = Level::enter("network".to_owned(), value, &known, faults) else {
        return RawNetwork::default();
    };
    RawNetwork {
        subnet_given: level.get("subnet").is_some(),
        subnet: level.parsed("subnet"),
        forwarders: forwarders(&mut level),
        domain: domain(&mut level),
    }
}

/// `room` is how many nodes the cluster can grow to.
pub(super) fn resolve(raw: &RawNetwork, name: Option<&str>, room: u32) -> Option<Subnet> {
    match (raw.subnet, name) {
        (Some(subnet), _) => Some(subnet),
        (None, Some(name)) if !raw.subnet_given => default_subnet(name, room),
        _ => None,
    }
}

impl RawNetwork {
    /// The network, once its range is known, for nodes at these addresses.
    pub(super) fn with(self, subnet: Subnet, nodes: impl Fn(IpAddr) -> bool, faults: &mut Vec<Fault>) -> Network {
        for (index, forwarder) in &self.forwarders {
            if nodes(*forwarder) {
                fault(
                    faults,
                    format!("network.dns_forwarders[{index}]"),
                    format!("{forwarder} is a node of this cluster, and nodes serve no names"),
                    "write the address of a name server elsewhere",
                );
            }
        }
        Network {
            subnet,
            dns_forwarders: self.forwarders.into_iter().map(|(_, address)| address).collect(),
            dns_domain: self.domain,
        }
    }
}

fn forwarders(level: &mut Level<'_, '_>) -> Vec<(usize, IpAddr)> {
    let texts = level.texts("dns_forwarders").unwrap_or_default();
    if texts.len() > MOST_FORWARDERS {
        level.fault(
            "dns_forwarders",
            format!(
                "there are {}, and a system asks no more than {MOST_FORWARDERS}",
                texts.len()
            ),
            "write the first three",
        );
    }
    let mut found: Vec<(usize, IpAddr)> = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let key = format!("dns_forwarders[{index}]");
        match text.parse::<IpAddr>() {
            Ok(address) if address.is_loopback() || address.is_unspecified() || address.is_multicast() => level.fault(
                &key,
                format!("{address} means each node itself, or none"),
                "write the address of a name server that the nodes can reach",
            ),
            Ok(address) if found.iter().any(|(_, other)| *other == address) => {
                level.fault(&key, format!("{address} is there twice"), "write each name server once");
            }
            Ok(address) => found.push((index, address)),
            Err(_) => level.fault(
                &key,
                format!("{text:?} is not an address"),
                "write an address such as 10.0.0.53; a name could not be looked up yet",
            ),
        }
    }
    found
}

fn domain(level: &mut Level<'_, '_>) -> String {
    let domain = level.text("dns_domain").unwrap_or_default();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    if !domain.is_empty() && (domain.len() > 200 || !domain.split('.').all(label)) {
        level.fault(
            "dns_domain",
            format!("{domain:?} is not a domain"),
            "write labels of lower-case letters, digits and '-' with dots between them, such as hpc.example.org",
        );
    }
    domain
}

/// A subnet that follows from the name: the same for everybody who writes the same design, and seldom that of another cluster.
///
/// 10.88 and 10.89 are left out because container engines hand them out by themselves.
fn default_subnet(name: &str, room: u32) -> Option<Subnet> {
    let hash = Sha256::digest(name.as_bytes());
    let mut second = 64 + hash[0] % 62;
    if second >= 88 {
        second += 2;
    }
    let needed = u64::from(room) + 32;
    let (network, prefix) = if needed <= 254 {
        (Ipv4Addr::new(10, second, hash[1], 0), 24)
    } else if needed <= 65_000 {
        (Ipv4Addr::new(10, second, 0, 0), 16)
    } else {
        (Ipv4Addr::new(10, 96, 0, 0), 11)
    };
    Subnet::new(IpAddr::V4(network), prefix).ok()
}

pub(super) fn check_address(address: IpAddr, subnet: &Subnet, path: &str, faults: &mut Vec<Fault>) {
    let message = if !subnet.contains(address) {
        format!("{address} is outside the subnet {subnet}")
    } else if address == subnet.gateway() {
        format!("{address} is the gateway of {subnet}")
    } else if address == subnet.network() {
        format!("{address} is the address of the network {subnet} itself")
    } else if Some(address) == subnet.broadcast() {
        format!("{address} is the broadcast address of {subnet}")
    } else {
        return;
    };
    fault(faults, path, message, "write another address of the subnet");
}

/// Reports only the first address that can't be used: one slip would otherwise fill the list of faults.
pub(super) fn check_range(addresses: &AddressRange, subnet: Option<&Subnet>, path: &str, faults: &mut Vec<Fault>) {
    let Some(subnet) = subnet else { return };
    if let Some(outside) = addresses.outside(subnet) {
        check_address(outside, subnet, path, faults);
        return;
    }
    let special = [Some(subnet.gateway()), Some(subnet.network()), subnet.broadcast()];
    for address in special.into_iter().flatten() {
        if addresses.contains(address) {
            check_address(address, subnet, path, faults);
            return;
        }
    }
}

/// The first `size` addresses in a row, from where groups start, that nobody has.
pub(super) fn free_block(subnet: &Subnet, size: u32, taken: &[(String, AddressRange)]) -> Option<AddressRange> {
    let mut start = FIRST_GROUP_OFFSET;
    'search: loop {
        let first = subnet.nth(start)?;
        let last = subnet.nth(start + u128::from(size) - 1)?;
        if Some(last) == subnet.broadcast() {
            return None;
        }
        let block = AddressRange::between(first, last).ok()?;
        for (_, other) in taken {
            if let Some(past) = other.last_overlap(&block) {
                start = subnet.offset(past)? + 1;
                continue 'search;
            }
        }
        return Some(block);
    }
}
