//! Address expressions and subnets, IPv4 and IPv6 alike, ordered as numbers.
//!
//! An expression is a list of spans. Inside a span addresses ascend; the spans stay in the order in which they were written, so that
//! appending another span to a group's range never gives a node a different address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ExpressionError;

const HELP: &str = "write addresses like 10.0.0.21-36,10.0.0.50 or fd00::10-1f";

/// Some addresses: `10.0.0.98-102,10.0.0.110`, `10.0.0.0/28` (its host addresses), `fd00::10-1f`. Never empty, never twice the same address, one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AddressRange {
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Span {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// All addresses from `first` to `last`, both included.
    pub fn between(first: IpAddr, last: IpAddr) -> Result<Self, ExpressionError> {
        Ok(Self {
            spans: vec![Span::new(first, last)?],
        })
    }

    /// How many addresses there are. A `u128`, because an IPv6 subnet has more than a `u64` counts.
    #[allow(clippy::len_without_is_empty)] // it never is
    pub fn len(&self) -> u128 {
        self.spans
            .iter()
            .fold(0, |sum: u128, span| sum.saturating_add(span.len()))
    }

    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.spans.iter().flat_map(|span| span.iter())
    }

    /// The address at `index`, counted from zero.
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        let mut remaining = index;
        for span in &self.spans {
            if remaining < span.len() {
                return Some(from_number(span.first, to_number(span.first) + remaining));
            }
            remaining -= span.len();
        }
        None
    }

    /// Whether `address` is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.spans.iter().any(|span| span.contains(address))
    }

    /// The lowest address that both have, if any.
    pub fn overlaps(&self, other: &Self) -> Option<IpAddr> {
        self.spans
            .iter()
            .flat_map(|left| other.spans.iter().filter_map(|right| left.overlap(right)))
            .min_by_key(|address| to_number(*address))
    }

    /// The highest address that both have, if any.
    pub(crate) fn last_overlap(&self, other: &Self) -> Option<IpAddr> {
        self.spans
            .iter()
            .flat_map(|left| other.spans.iter().filter_map(|right| left.last_overlap(right)))
            .max_by_key(|address| to_number(*address))
    }

    /// The first address that doesn't lie in `subnet`, if any.
    pub fn outside(&self, subnet: &Subnet) -> Option<IpAddr> {
        self.spans
            .iter()
            .flat_map(|span| [span.first, span.last])
            .find(|address| !subnet.contains(*address))
    }
}

impl Span {
    fn new(first: IpAddr, last: IpAddr) -> Result<Self, ExpressionError> {
        if first.is_ipv4() != last.is_ipv4() {
            return Err(ExpressionError::new(
                format!("{first} and {last} are of different families"),
                HELP,
            ));
        }
        if to_number(first) > to_number(last) {
            return Err(ExpressionError::new(
                format!("the range goes down from {first} to {last}"),
                "write the lower address first",
            ));
        }
        Ok(Self { first, last })
    }

    fn len(&self) -> u128 {
        (to_number(self.last) - to_number(self.first)).saturating_add(1)
    }

    fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let like = self.first;
        (to_number(self.first)..=to_number(self.last)).map(move |number| from_number(like, number))
    }

    fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.first.is_ipv4()
            && (to_number(self.first)..=to_number(self.last)).contains(&to_number(address))
    }

    fn overlap(&self, other: &Self) -> Option<IpAddr> {
        if self.first.is_ipv4() != other.first.is_ipv4() {
            return None;
        }
        let first = to_number(self.first).max(to_number(other.first));
        let last = to_number(self.last).min(to_number(other.last));
        (first <= last).then(|| from_number(self.first, first))
    }

    fn last_overlap(&self, other: &Self) -> Option<IpAddr> {
        self.overlap(other)?;
        let last = to_number(self.last).min(to_number(other.last));
        Some(from_number(self.first, last))
    }

    fn parse(text: &str) -> Result<Self, ExpressionError> {
        if text.contains('/') {
            let subnet: Subnet = text.parse()?;
            return Self::new(subnet.first_host(), subnet.last_host());
        }
        let Some((left, right)) = text.split_once('-') else {
            let only = parse_address(text)?;
            return Self::new(only, only);
        };
        let (left, right) = (left.trim(), right.trim());
        let first = parse_address(left)?;
        // The right side is a whole address, or only the last number of one: 10.0.0.98-102, fd00::10-1f.
        let last = match first {
            IpAddr::V4(address) if !right.contains('.') => {
                let [a, b, c, _] = address.octets();
                let d = right.parse().map_err(|_| not_an_address(right, text))?;
                IpAddr::V4(Ipv4Addr::new(a, b, c, d))
            }
            IpAddr::V6(address) if !right.contains(':') => {
                let mut segments = address.segments();
                segments[7] = u16::from_str_radix(right, 16).map_err(|_| not_an_address(right, text))?;
                IpAddr::V6(Ipv6Addr::from(segments))
            }
            _ => parse_address(right)?,
        };
        Self::new(first, last)
    }
}

fn not_an_address(part: &str, whole: &str) -> ExpressionError {
    ExpressionError::new(format!("'{part}' in '{whole}' does not end an address range"), HELP)
}

fn parse_address(text: &str) -> Result<IpAddr, ExpressionError> {
    text.trim()
        .parse()
        .map_err(|_| ExpressionError::new(format!("'{text}' is not an IP address"), HELP))
}

/// One address, where no range is wanted.
pub(crate) fn parse_one(text: &str) -> Result<IpAddr, ExpressionError> {
    parse_address(text).map_err(|error| ExpressionError::new(error.message, "write one address, such as 10.0.0.10"))
}

fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(u32::from(address)),
        IpAddr::V6(address) => u128::from(address),
    }
}

/// The address with this number, of the family of `like`. Numbers beyond the family wrap, which callers rule out by staying between two
/// addresses of it.
fn from_number(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl FromStr for AddressRange {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim().is_empty() {
            return Err(ExpressionError::new("no addresses are given", HELP));
        }
        let mut spans: Vec<Span> = Vec::new();
        for piece in text.split(',') {
            let span = Span::parse(piece.trim())?;
            if let Some(twice) = spans.iter().find_map(|earlier| earlier.overlap(&span)) {
                return Err(ExpressionError::new(
                    format!("{twice} is in the range twice"),
                    "write each address once",
                ));
            }
            if spans
                .first()
                .is_some_and(|earlier| earlier.first.is_ipv4() != span.first.is_ipv4())
            {
                return Err(ExpressionError::new(
                    "the range mixes IPv4 and IPv6",
                    "write addresses of the subnet's family",
                ));
            }
            spans.push(span);
        }
        Ok(Self { spans })
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, span) in self.spans.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            write!(formatter, "{}", span.first)?;
            if span.first == span.last {
                continue;
            }
            match (span.first, span.last) {
                (IpAddr::V4(first), IpAddr::V4(last)) if first.octets()[..3] == last.octets()[..3] => {
                    write!(formatter, "-{}", last.octets()[3])?;
                }
                (IpAddr::V6(first), IpAddr::V6(last)) if first.segments()[..7] == last.segments()[..7] => {
                    write!(formatter, "-{:x}", last.segments()[7])?;
                }
                (_, last) => write!(formatter, "-{last}")?,
            }
        }
        Ok(())
    }
}

impl TryFrom<String> for AddressRange {
    type Error = ExpressionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<AddressRange> for String {
    fn from(range: AddressRange) -> Self {
        range.to_string()
    }
}

/// A network in CIDR notation, `10.0.0.0/24` or `fd00::/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: IpAddr,
    prefix: u8,
}

impl Subnet {
    /// The subnet of `prefix` bits that starts at `network`. Host bits that are set are refused: `10.0.0.5/24` may mean the address or the network.
    pub fn new(network: IpAddr, prefix: u8) -> Result<Self, ExpressionError> {
        let bits = if network.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(ExpressionError::new(
                format!("/{prefix} is longer than the {bits} bits of {network}"),
                "write a network such as 10.0.0.0/24",
            ));
        }
        let subnet = Self { network, prefix };
        let start = from_number(network, to_number(network) & !subnet.host_mask());
        if start != network {
            return Err(ExpressionError::new(
                format!("{network}/{prefix} has host bits set"),
                format!("write {start}/{prefix}"),
            ));
        }
        Ok(subnet)
    }

    /// The network's own address.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// The number of network bits.
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.network.is_ipv4() && to_number(address) & !self.host_mask() == to_number(self.network)
    }

    /// Whether the two have an address in common.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.network) || other.contains(self.network)
    }

    /// The address that the gateway has: the first host address.
    pub fn gateway(&self) -> IpAddr {
        self.first_host()
    }

    /// The address that reaches every host at once; only IPv4 has one.
    pub fn broadcast(&self) -> Option<IpAddr> {
        (self.network.is_ipv4() && self.prefix < 31).then(|| self.last())
    }

    /// The address `offset` after the network's own, if it is still inside.
    pub fn nth(&self, offset: u128) -> Option<IpAddr> {
        (offset <= self.host_mask()).then(|| from_number(self.network, to_number(self.network) + offset))
    }

    /// How far `address` lies after the network's own.
    pub(crate) fn offset(&self, address: IpAddr) -> Option<u128> {
        self.contains(address)
            .then(|| to_number(address) - to_number(self.network))
    }

    fn first_host(&self) -> IpAddr {
        if self.host_mask() > 1 {
            from_number(self.network, to_number(self.network) + 1)
        } else {
            self.network
        }
    }

    fn last_host(&self) -> IpAddr {
        match self.broadcast() {
            Some(broadcast) => from_number(self.network, to_number(broadcast) - 1),
            None => self.last(),
        }
    }

    fn last(&self) -> IpAddr {
        from_number(self.network, to_number(self.network) | self.host_mask())
    }

    fn host_mask(&self) -> u128 {
        let bits = if self.network.is_ipv4() { 32 } else { 128 };
        let host_bits = bits - u32::from(self.prefix);
        1u128.checked_shl(host_bits).map_or(u128::MAX, |power| power - 1)
    }
}

impl FromStr for Subnet {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            ExpressionError::new(
                format!("'{text}' is not a network"),
                "write a network such as 10.0.0.0/24",
            )
        };
        let (network, prefix) = text.trim().split_once('/').ok_or_else(wrong)?;
        let network = network.parse().map_err(|_| wrong())?;
        let prefix = prefix.parse().map_err(|_| wrong())?;
        Self::new(network, prefix)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.network, self.prefix)
    }
}

impl TryFrom<String> for Subnet {
    type Error = ExpressionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    fn shown(range: &AddressRange) -> Vec<String> {
        range.iter().map(|address| address.to_string()).collect()
    }

    #[test]
    fn counts_as_numbers_do_and_not_as_text_does() {
        assert_eq!(
            shown(&range("10.0.0.98-102,10.0.0.9")),
            [
                "10.0.0.98",
                "10.0.0.99",
                "10.0.0.100",
                "10.0.0.101",
                "10.0.0.102",
                "10.0.0.9"
            ]
        );
        assert_eq!(
            shown(&range("10.0.0.254-10.0.1.1")),
            ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]
        );
        assert_eq!(
            shown(&range("fd00::e-11")),
            ["fd00::e", "fd00::f", "fd00::10", "fd00::11"]
        );
        assert_eq!(shown(&range("10.0.0.0/30")), ["10.0.0.1", "10.0.0.2"]);
        assert_eq!(range("fd00::/64").len(), (1 << 64) - 1);
        assert_eq!(
            range("10.0.0.98-102,10.0.0.110").nth(5).unwrap().to_string(),
            "10.0.0.110"
        );
        assert_eq!(range("10.0.0.98-102,10.0.0.110").nth(6), None);
    }

    #[test]
    fn finds_overlaps_without_walking_the_range() {
        assert!(range("fd00::/64").overlaps(&range("fd00::ffff-fd00:0:0:1::")).is_some());
        assert_eq!(range("10.0.0.1-9").overlaps(&range("10.0.0.10-12")), None);
        assert_eq!(
            range("10.0.0.1-10")
                .overlaps(&range("10.0.0.10-12"))
                .unwrap()
                .to_string(),
            "10.0.0.10"
        );
        assert_eq!(range("0.0.0.1-9").overlaps(&range("::1-9")), None);
    }

    #[test]
    fn says_what_is_wrong() {
        let messages: Vec<String> = [
            "",
            "10.0.0.1-",
            "10.0.0.300",
            "10.0.0.9-3",
            "10.0.0.1-300",
            "10.0.0.1-fd00::1",
            "10.0.0.1-5,10.0.0.3",
            "10.0.0.1,fd00::1",
            "10.0.0.1/24",
            "fd00::1-xyz",
            "c1",
        ]
        .iter()
        .map(|text| {
            let error = text.parse::<AddressRange>().unwrap_err();
            format!("{} → {}", error.message, error.help)
        })
        .collect();
        insta::assert_debug_snapshot!(messages);
    }

    #[test]
    fn subnets() {
        let subnet: Subnet = "10.64.3.0/24".parse().unwrap();
        assert_eq!(subnet.gateway().to_string(), "10.64.3.1");
        assert_eq!(subnet.broadcast().unwrap().to_string(), "10.64.3.255");
        assert_eq!(subnet.nth(21).unwrap().to_string(), "10.64.3.21");
        assert_eq!(subnet.nth(256), None);
        assert!(!subnet.contains("10.64.4.0".parse().unwrap()));
        assert!(!subnet.contains("fd00::1".parse().unwrap()));
        let six: Subnet = "fd00::/64".parse().unwrap();
        assert_eq!((six.gateway().to_string().as_str(), six.broadcast()), ("fd00::1", None));
        assert!("::/0".parse::<Subnet>().unwrap().contains("fd00::1".parse().unwrap()));
        for bad in ["10.0.0.5/24", "10.0.0.0/33", "10.0.0.0", "x/24", "10.0.0.0/-1"] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn showing_and_reading_again_is_the_same(start in 0u32..u32::MAX - 5000, lengths in proptest::collection::vec((1u32..600, 1u32..300), 1..5)) {
            let mut next = start;
            let mut pieces = Vec::new();
            for (length, gap) in lengths {
                let (first, last) = (Ipv4Addr::from(next), Ipv4Addr::from(next + length - 1));
                pieces.push(format!("{first}-{last}"));
                next += length + gap;
            }
            let range = range(&pieces.join(","));
            let again: AddressRange = range.to_string().parse().unwrap();
            prop_assert_eq!(&again, &range);
            prop_assert_eq!(range.iter().count() as u128, range.len());
            for (index, address) in range.iter().enumerate() {
                prop_assert_eq!(range.nth(index as u128), Some(address));
                prop_assert!(range.contains(address));
            }
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f.:/,-]{0,30}") {
            let _ = text.parse::<AddressRange>();
            let _ = text.parse::<Subnet>();
        }
    }
}
