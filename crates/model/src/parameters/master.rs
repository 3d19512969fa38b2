//! The master.

use std::net::IpAddr;

use serde_json::Value;

use super::level::Level;
use super::names::check_label;
use super::network::check_address;
use super::{fault, flavors};
use crate::address::parse_one;
use crate::{Fault, Master, Subnet};

/// Where in the subnet the master is.
const MASTER_OFFSET: u128 = 10;

#[derive(Default)]
pub(super) struct RawMaster {
    host: Option<String>,
    address: Option<IpAddr>,
    address_given: bool,
    flavor: Option<String>,
}

pub(super) fn read(value: &Value, faults: &mut Vec<Fault>) -> RawMaster {
    let Some(mut level) = Level::enter("master".to_owned(), value, &["host", "address", "flavor"], faults) else {
        return RawMaster::default();
    };
    RawMaster {
        host: level.text("host"),
        address_given: level.get("address").is_some(),
        address: level.parsed_by("address", parse_one),
        flavor: level.text("flavor"),
    }
}

pub(super) fn resolve(raw: RawMaster, subnet: Option<&Subnet>, faults: &mut Vec<Fault>) -> Option<Master> {
    let host = raw.host.unwrap_or_else(|| "master".to_owned());
    let host_is_good = check_label(&host, 63, "master.host", faults);
    let flavor = flavors::resolve(raw.flavor, "master.flavor", faults);
    let address = match (raw.address, subnet) {
        (Some(address), Some(subnet)) => {
            check_address(address, subnet, "master.address", faults);
            Some(address)
        }
        (Some(address), None) => Some(address),
        (None, Some(subnet)) if !raw.address_given => {
            let address = subnet
                .nth(MASTER_OFFSET)
                .filter(|address| Some(*address) != subnet.broadcast());
            if address.is_none() {
                fault(
                    faults,
                    "master.address",
                    format!("{subnet} has no address number {MASTER_OFFSET} for the master"),
                    "write master.address, or a larger network.subnet",
                );
            }
            address
        }
        _ => None,
    };
    (host_is_good).then_some(())?;
    Some(Master {
        host,
        address: address?,
        flavor,
    })
}
