//! How many connections each client has open, for `limits.per_client`. The master's own books: a connection holds a share and drops it with
//! itself, on whatever thread, so that nobody has to be told of its end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// A connection's place among those of its client.
pub type Share = Arc<()>;

#[derive(Debug, Default)]
pub struct Clients {
    /// The shares that are out are the clones of these.
    open: HashMap<Client, Share>,
    /// The clients without a connection are forgotten when there are so many.
    sweep_at: usize,
}

/// Whoever has one IPv6 address has the rest of its /64 too (RFC 4291 2.5.4: the rest is the host's to choose).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl Clients {
    /// None: the client has `most` connections already. `peer` is an IPv4 address where one is mapped into IPv6.
    pub fn one_more(&mut self, peer: IpAddr, most: usize) -> Option<Share> {
        let client = match peer {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6((address.to_bits() >> 64) as u64),
        };
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, share| Arc::strong_count(share) > 1);
            // Twice what is there: each look at all of them is paid for by as many that came.
            self.sweep_at = (2 * self.open.len()).max(SWEEP_AT_LEAST);
        }
        let share = self.open.entry(client).or_default();
        // One of them is ours.
        (Arc::strong_count(share) <= most).then(|| share.clone())
    }
}

const SWEEP_AT_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_client_has_its_share_and_gets_it_back() {
        let mut clients = Clients::default();
        let first = clients.one_more(address("192.0.2.1"), 2).unwrap();
        let second = clients.one_more(address("192.0.2.1"), 2).unwrap();
        assert!(clients.one_more(address("192.0.2.1"), 2).is_none());
        assert!(clients.one_more(address("192.0.2.2"), 2).is_some());
        drop(first);
        assert!(clients.one_more(address("192.0.2.1"), 2).is_some());
        drop(second);
    }

    #[test]
    fn the_addresses_of_a_64_are_one_client() {
        let mut clients = Clients::default();
        let _share = clients.one_more(address("2001:db8:0:1::1"), 1).unwrap();
        assert!(clients.one_more(address("2001:db8:0:1:ffff::2"), 1).is_none());
        assert!(clients.one_more(address("2001:db8:0:2::1"), 1).is_some());
    }

    #[test]
    fn clients_that_have_gone_are_forgotten() {
        let mut clients = Clients::default();
        let kept = clients.one_more(address("192.0.2.1"), 1).unwrap();
        for i in 0..100_000 {
            let _ = clients.one_more(IpAddr::V4((0x0a00_0000 + i).into()), 1);
        }
        assert!(clients.open.len() <= SWEEP_AT_LEAST, "{}", clients.open.len());
        assert!(clients.one_more(address("192.0.2.1"), 1).is_none());
        drop(kept);
    }
}
