//! The subnet, and which of its addresses may be used.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::fault;
use super::level::Level;
use crate::{AddressRange, Fault, Subnet};

/// Where in the subnet the first group starts.
const FIRST_GROUP_OFFSET: u128 = 21;

#[derive(Default)]
pub(super) struct RawNetwork {
    subnet: Option<Subnet>,
    /// Something was written for the subnet, readable or not.
    subnet_given: bool,
}

pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> RawNetwork {
    let Some(mut level) = Level::enter("network".to_owned(), value, &["subnet"], faults) else {
        return RawNetwork::default();
    };
    RawNetwork {
        subnet_given: level.get("subnet").is_some(),
        subnet: level.parsed("subnet"),
    }
}

/// `room` is how many nodes the cluster can grow to.
pub(super) fn resolve(raw: RawNetwork, name: Option<&str>, room: u32) -> Option<Subnet> {
    match (raw.subnet, name) {
        (Some(subnet), _) => Some(subnet),
        (None, Some(name)) if !raw.subnet_given => default_subnet(name, room),
        _ => None,
    }
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
