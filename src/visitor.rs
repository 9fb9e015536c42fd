//! Who counts as one client where something is shared out among clients.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whoever has one IPv6 address has the rest of its /64 too (RFC 4291 2.5.4: the rest is the host's to choose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Visitor {
    V4(u32),
    V6(u64),
    /// All that come over Unix sockets and are not named.
    Unix,
}

impl Visitor {
    /// `address`: IPv4 where one is mapped into IPv6; None: of a Unix socket.
    pub fn of(address: Option<IpAddr>) -> Self {
        match address {
            Some(IpAddr::V4(address)) => Visitor::V4(address.to_bits()),
            Some(IpAddr::V6(address)) => Visitor::V6((address.to_bits() >> 64) as u64),
            None => Visitor::Unix,
        }
    }
}

/// The address, or the network.
impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Visitor::V4(address) => Ipv4Addr::from_bits(*address).fmt(f),
            Visitor::V6(network) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64)),
            Visitor::Unix => f.write_str("a Unix socket"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_64_are_one_visitor() {
        let visitor = |text: &str| Visitor::of(Some(text.parse().unwrap()));
        assert_eq!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:1:ffff::2"));
        assert_ne!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:2::1"));
        assert_eq!(
            (visitor("2001:db8:0:1::1").to_string(), visitor("192.0.2.1").to_string()),
            ("2001:db8:0:1::/64".into(), "192.0.2.1".into())
        );
    }
}
