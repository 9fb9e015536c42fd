//! Who counts as one client where something is shared out among clients, and which of them has most of it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// Whoever has one IPv6 address has the rest of its /64 too (RFC 4291 2.5.4: the rest is the host's to choose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Visitor {
    V4(u32),
    V6(u64),
    /// All that come over Unix sockets and are not named.
    Unix,
    /// All of this machine together ([`Visitor::house`]).
    Local,
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

    /// The one that it counts as beside clients of other machines: each user of this one has all of 127.0.0.0/8, ::1, and Unix sockets.
    pub fn house(self) -> Self {
        match self {
            Visitor::V4(address) if Ipv4Addr::from_bits(address).is_loopback() => Visitor::Local,
            // The rest of that /64 is nobody's (RFC 4291 2.4).
            Visitor::V6(0) | Visitor::Unix | Visitor::Local => Visitor::Local,
            Visitor::V4(_) | Visitor::V6(_) => self,
        }
    }

    /// It and its house, if that is another.
    pub fn houses(self) -> impl Iterator<Item = Self> {
        let house = self.house();
        [Some(self), (house != self).then_some(house)].into_iter().flatten()
    }
}

/// The address, or the network.
impl fmt::Display for Visitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Visitor::V4(address) => Ipv4Addr::from_bits(*address).fmt(f),
            Visitor::V6(network) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(*network) << 64)),
            Visitor::Unix => f.write_str("a Unix socket"),
            Visitor::Local => f.write_str("this machine"),
        }
    }
}

/// How many of something each client has. Those of this machine are counted twice: each for itself, and all together.
#[derive(Clone, Debug, Default)]
pub struct Shares(HashMap<Visitor, usize>);

impl Shares {
    pub fn add(&mut self, visitor: Visitor, count: usize) {
        for whose in visitor.houses() {
            *self.0.entry(whose).or_default() += count;
        }
    }

    pub fn take(&mut self, visitor: Visitor, count: usize) {
        for whose in visitor.houses() {
            if let Entry::Occupied(mut has) = self.0.entry(whose) {
                *has.get_mut() = has.get().saturating_sub(count);
                if *has.get() == 0 {
                    has.remove();
                }
            }
        }
    }

    pub fn of(&self, visitor: Visitor) -> usize {
        self.0.get(&visitor).copied().unwrap_or(0)
    }

    /// Each client and what it has, those of this machine for themselves.
    pub fn each(&self) -> impl Iterator<Item = (Visitor, usize)> {
        self.0.iter().filter(|(visitor, _)| **visitor != Visitor::Local).map(|(visitor, count)| (*visitor, *count))
    }

    /// Nobody has any, or one client has all.
    pub fn is_of_one(&self) -> bool {
        self.0.len() - usize::from(self.0.contains_key(&Visitor::Local)) < 2
    }

    /// Who gives one up for a newcomer: whoever has most, if he still has as many as that one then. None: nobody. `newcomer`: None: of a
    /// client that is not known yet.
    pub fn gives_way(&self, newcomer: Option<Visitor>) -> Option<Visitor> {
        let most = |whose: &dyn Fn(Visitor) -> bool| {
            self.0
                .iter()
                .filter(|(visitor, _)| whose(**visitor))
                .max_by_key(|(_, count)| **count)
                .map(|(visitor, count)| (*visitor, *count))
        };
        let gives = |one: (Visitor, usize), other: Option<Visitor>| one.1 >= 2 + other.map_or(0, |other| self.of(other));
        let at_home = |visitor: Visitor| visitor != Visitor::Local && visitor.house() == Visitor::Local;
        let top = most(&|visitor| visitor.house() == visitor)?;
        let house = newcomer.map(Visitor::house);
        match top.0 {
            Visitor::Local if house == Some(Visitor::Local) => {
                most(&at_home).filter(|one| gives(*one, newcomer)).map(|(visitor, _)| visitor)
            }
            Visitor::Local => most(&at_home).filter(|_| gives(top, house)).map(|(visitor, _)| visitor),
            visitor => (gives(top, house) && Some(visitor) != house).then_some(visitor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(text: &str) -> Visitor {
        Visitor::of(Some(text.parse().unwrap()))
    }

    #[test]
    fn the_addresses_of_a_64_are_one_visitor() {
        assert_eq!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:1:ffff::2"));
        assert_ne!(visitor("2001:db8:0:1::1"), visitor("2001:db8:0:2::1"));
        assert_eq!(
            (visitor("2001:db8:0:1::1").to_string(), visitor("192.0.2.1").to_string()),
            ("2001:db8:0:1::/64".into(), "192.0.2.1".into())
        );
    }

    fn shares(of: &[(&str, usize)]) -> Shares {
        let mut shares = Shares::default();
        of.iter().for_each(|(address, count)| shares.add(visitor(address), *count));
        shares
    }

    #[test]
    fn whoever_has_most_gives_way_to_those_that_have_less() {
        let shares = shares(&[("192.0.2.1", 5), ("192.0.2.2", 3), ("192.0.2.3", 1)]);
        let gives_way = |to: &str| shares.gives_way(Some(visitor(to)));
        for newcomer in ["192.0.2.2", "192.0.2.3", "192.0.2.9", "127.0.0.1"] {
            assert_eq!(gives_way(newcomer), Some(visitor("192.0.2.1")), "{newcomer}");
        }
        assert_eq!((gives_way("192.0.2.1"), shares.gives_way(None)), (None, Some(visitor("192.0.2.1"))));
    }

    #[test]
    fn nobody_gives_way_who_had_less_then_than_the_newcomer() {
        let shares = shares(&[("192.0.2.1", 3), ("192.0.2.2", 2), ("192.0.2.3", 1)]);
        let gives_way = |to: &str| shares.gives_way(Some(visitor(to)));
        assert_eq!((gives_way("192.0.2.2"), gives_way("192.0.2.3")), (None, Some(visitor("192.0.2.1"))));
        assert_eq!(Shares::default().gives_way(None), None);
    }

    #[test]
    fn all_addresses_of_this_machine_are_one_client_beside_others() {
        let mut local: Vec<(String, usize)> = (1..=50).map(|i| (format!("127.0.1.{i}"), 1)).collect();
        local.extend([("::1".to_owned(), 1), ("192.0.2.1".to_owned(), 8)]);
        let mut of = shares(&local.iter().map(|(address, count)| (address.as_str(), *count)).collect::<Vec<_>>());
        of.add(Visitor::Unix, 1);
        assert_eq!(of.of(Visitor::Local), 52);
        let gives = of.gives_way(Some(visitor("192.0.2.1"))).unwrap();
        assert_eq!(gives.house(), Visitor::Local);
        // Among themselves none of them has more than another.
        assert_eq!(of.gives_way(Some(visitor("127.0.0.9"))), None);
        of.add(visitor("127.0.1.7"), 9);
        assert_eq!(of.gives_way(Some(visitor("127.0.0.9"))), Some(visitor("127.0.1.7")));
        assert_eq!(of.gives_way(Some(visitor("127.0.1.7"))), None);
        (1..=50).for_each(|i| of.take(visitor(&format!("127.0.1.{i}")), 1));
        of.take(visitor("127.0.1.7"), 9);
        assert_eq!((of.of(Visitor::Local), of.of(visitor("127.0.1.7"))), (2, 0));
    }
}
