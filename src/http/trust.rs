//! Whose word counts: the addresses and networks of the proxies that stand in front.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `server.trusted_proxies`. An IPv4 address mapped into IPv6 (RFC 4291 2.5.5.2) is that IPv4 address everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    pub networks: Vec<Network>,
    /// Whoever connects to a Unix socket.
    pub unix: bool,
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Of one address: with all bits behind the prefix zero.
    first: IpAddr,
    bits: u8,
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoNetwork {
    /// Neither an address nor an address, a slash and a number of bits that it has.
    Malformed,
    /// Bits behind the prefix are set; this was probably meant.
    HostBits(Network),
}

impl TrustedProxies {
    /// `peer`: None is a Unix socket.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            Some(address) => self.networks.iter().any(|network| network.contains(address)),
            None => self.unix,
        }
    }
}

impl Network {
    pub fn parse(text: &str) -> Result<Self, NoNetwork> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let written: IpAddr = address.parse().map_err(|_| NoNetwork::Malformed)?;
        let longest = width(written);
        let bits = match bits {
            None => longest,
            // Digits only, as people write it: Rust takes "+8", and "08" is a slip.
            Some(digits) if digits.len() > 3 || !digits.bytes().all(|byte| byte.is_ascii_digit()) => return Err(NoNetwork::Malformed),
            Some(digits) if digits.len() > 1 && digits.starts_with('0') => return Err(NoNetwork::Malformed),
            Some(digits) => digits.parse().ok().filter(|bits| *bits <= longest).ok_or(NoNetwork::Malformed)?,
        };
        // ::ffff:10.0.0.0/104 is 10.0.0.0/8. With fewer than 96 bits it is a network of IPv6 and says nothing of IPv4.
        let (address, bits) = match (written.to_canonical(), written) {
            (address @ IpAddr::V4(_), IpAddr::V6(_)) if bits >= MAPPED => (address, bits - MAPPED),
            (_, written) => (written, bits),
        };
        let network = Self { first: masked(address, bits), bits };
        if network.first == address { Ok(network) } else { Err(NoNetwork::HostBits(network)) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.first.is_ipv4() && masked(address, self.bits) == self.first
    }
}

/// As it is written in the configuration.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == width(self.first) { self.first.fmt(f) } else { write!(f, "{}/{}", self.first, self.bits) }
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The address with only its first `bits`.
fn masked(address: IpAddr, bits: u8) -> IpAddr {
    let behind = u32::from(width(address).saturating_sub(bits));
    match address {
        // A shift by all bits there are is none of these shifts: nothing is left.
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & u32::MAX.checked_shl(behind).unwrap_or(0)).into(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & u128::MAX.checked_shl(behind).unwrap_or(0)).into(),
    }
}

/// Bits of `::ffff:0:0/96`, behind which the IPv4 addresses are.
const MAPPED: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    fn has(network: &str, address: &str) -> bool {
        let networks = vec![Network::parse(network).unwrap()];
        TrustedProxies { networks, unix: false }.contains(Some(address.parse().unwrap()))
    }

    #[test]
    fn a_network_has_the_addresses_with_its_first_bits_and_no_other() {
        for (network, inside, outside) in [
            ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.1.2.4/31", "10.1.2.5", "10.1.2.6"),
            ("10.1.2.4/32", "10.1.2.4", "10.1.2.5"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("::1", "::1", "::2"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::"),
            ("fe80::1/128", "fe80::1", "fe80::"),
        ] {
            assert!(has(network, inside) && !has(network, outside), "{network}");
        }
    }

    #[test]
    fn an_address_mapped_into_ipv6_is_the_ipv4_address() {
        assert!(has("10.0.0.0/8", "::ffff:10.1.2.3"));
        assert!(has("::ffff:10.0.0.0/104", "10.1.2.3") && has("::ffff:10.0.0.1", "10.0.0.1"));
        assert!(!has("::ffff:10.0.0.0/104", "11.1.2.3"));
        assert!(!has("::/64", "10.1.2.3") && !has("::/64", "::ffff:10.1.2.3"));
    }

    #[test]
    fn whoever_connects_to_a_unix_socket_is_trusted_by_its_own_word() {
        let networks = vec![Network::parse("0.0.0.0/0").unwrap(), Network::parse("::/0").unwrap()];
        assert!(!TrustedProxies { networks, unix: false }.contains(None));
        let unix = TrustedProxies { networks: Vec::new(), unix: true };
        assert!(unix.contains(None) && !unix.contains(Some("127.0.0.1".parse().unwrap())));
    }

    #[test]
    fn what_is_no_network_is_not_taken_for_one() {
        for text in [
            "",
            "/8",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/+8",
            "10.0.0.0/08",
            "10.0.0.0/8/8",
            "10.0.0/8",
            "010.0.0.0/8",
            " 10.0.0.0/8",
            "localhost",
            "[::1]",
            "10.0.0.1:80",
            "10.0.0.0/255.0.0.0",
            "::ffff:10.0.0.0/4294967400",
        ] {
            assert_eq!(Network::parse(text), Err(NoNetwork::Malformed), "{text:?}");
        }
        for (text, meant) in [("10.1.2.3/8", "10.0.0.0/8"), ("::1/0", "::/0"), ("::ffff:10.1.2.3/120", "10.1.2.0/24")] {
            let Err(NoNetwork::HostBits(network)) = Network::parse(text) else { panic!("{text}") };
            assert_eq!(network.to_string(), meant);
        }
    }
}
