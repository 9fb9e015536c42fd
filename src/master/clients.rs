//! How many connections each client has open, for `limits.per_client` and for when there are too many in all. The master's own books: a connection holds a share and drops it with
//! itself, on whatever thread, so that nobody has to be told of its end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::conn::visitor::Visitor;

/// A connection's place among those of its client.
pub type Share = Arc<()>;

#[derive(Debug, Default)]
pub struct Clients {
    /// The shares that are out are the clones of these.
    open: HashMap<Visitor, Share>,
    /// The clients without a connection are forgotten when there are so many.
    sweep_at: usize,
}

impl Clients {
    /// None: the visitor has `most` connections already.
    pub fn one_more(&mut self, visitor: Visitor, most: usize) -> Option<Share> {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, share| Arc::strong_count(share) > 1);
            // Twice what is there: each look at all of them is paid for by as many that came.
            self.sweep_at = (2 * self.open.len()).max(SWEEP_AT_LEAST);
        }
        let share = self.open.entry(visitor).or_default();
        // One of them is ours.
        (Arc::strong_count(share) <= most).then(|| share.clone())
    }

    /// Who has most, and how many.
    pub fn busiest(&self) -> Option<(Visitor, usize)> {
        self.open.iter().map(|(visitor, share)| (*visitor, Arc::strong_count(share) - 1)).max_by_key(|(_, open)| *open)
    }

    /// Those that have so many or more.
    pub fn with(&self, least: usize) -> HashSet<Visitor> {
        self.open.iter().filter(|(_, share)| Arc::strong_count(share) > least).map(|(visitor, _)| *visitor).collect()
    }
}

const SWEEP_AT_LEAST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Visitor {
        Visitor::of(Some(text.parse().unwrap()))
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
    fn the_busiest_are_known() {
        let mut clients = Clients::default();
        let shares: Vec<_> = ["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"].map(|of| clients.one_more(address(of), 9)).into();
        assert_eq!(clients.busiest(), Some((address("192.0.2.2"), 2)));
        assert_eq!((clients.with(2), clients.with(1).len()), (HashSet::from([address("192.0.2.2")]), 3));
        drop(shares);
        assert!(clients.with(1).is_empty());
    }

    #[test]
    fn clients_that_have_gone_are_forgotten() {
        let mut clients = Clients::default();
        let kept = clients.one_more(address("192.0.2.1"), 1).unwrap();
        for i in 0..100_000 {
            let _ = clients.one_more(Visitor::V4(0x0a00_0000 + i), 1);
        }
        assert!(clients.open.len() <= SWEEP_AT_LEAST, "{}", clients.open.len());
        assert!(clients.one_more(address("192.0.2.1"), 1).is_none());
        drop(kept);
    }
}
