//! How many connections each client has open, for `limits.per_client` and for when there are too many in all. The master's own books: a connection holds a share and drops it with
//! itself, on whatever thread, so that nobody has to be told of its end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::conn::Heads;
use crate::visitor::Visitor;

/// A connection's place among those of its client.
pub type Share = Arc<Heads>;

#[derive(Debug, Default)]
pub struct Clients {
    /// The shares that are out are the clones of these.
    open: HashMap<Visitor, Share>,
    /// The clients without a connection are forgotten when there are so many.
    sweep_at: usize,
    /// What those of this machine have together.
    local: Heads,
}

impl Clients {
    /// None: the visitor has `most` connections already.
    pub fn one_more(&mut self, visitor: Visitor, most: usize) -> Option<Share> {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, share| Arc::strong_count(share) > 1);
            // Twice what is there: each look at all of them is paid for by as many that came.
            self.sweep_at = (2 * self.open.len()).max(SWEEP_AT_LEAST);
        }
        let share = self.open.entry(visitor).or_insert_with(|| match visitor.house() {
            Visitor::Local => Arc::new(self.local.clone()),
            _ => Share::default(),
        });
        // One of them is ours.
        (Arc::strong_count(share) <= most).then(|| share.clone())
    }

    /// Who has most, how many that are, and for how many they count.
    pub fn busiest(&self) -> Option<(Visitor, usize, usize)> {
        self.counted().max_by_key(|(.., counts)| *counts)
    }

    /// Those that have so many or more, as they count.
    pub fn with(&self, least: usize) -> HashSet<Visitor> {
        self.counted().filter(|(.., counts)| *counts >= least).map(|(visitor, ..)| visitor).collect()
    }

    /// What each has, and what that counts for: of the addresses of this machine the one that has most counts for all of them, and the others in
    /// proportion, so that many addresses are no better than one.
    fn counted(&self) -> impl Iterator<Item = (Visitor, usize, usize)> {
        let each = || self.open.iter().map(|(visitor, share)| (*visitor, Arc::strong_count(share) - 1));
        let (all, most) = each()
            .filter(|(visitor, _)| visitor.house() == Visitor::Local)
            .fold((0, 1), |(all, most), (_, open)| (all + open, open.max(most)));
        each().filter(|(_, open)| *open > 0).map(move |(visitor, open)| {
            let counts = if visitor.house() == Visitor::Local { all * open / most } else { open };
            (visitor, open, counts)
        })
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
        assert_eq!(clients.busiest(), Some((address("192.0.2.2"), 2, 2)));
        assert_eq!((clients.with(2), clients.with(1).len()), (HashSet::from([address("192.0.2.2")]), 3));
        drop(shares);
        assert!(clients.with(1).is_empty());
    }

    #[test]
    fn the_addresses_of_this_machine_are_no_better_than_one() {
        let mut clients = Clients::default();
        let local: Vec<_> = (1..=9).map(|i| clients.one_more(address(&format!("127.0.1.{i}")), 9)).collect();
        let others: Vec<_> = (0..3).map(|_| clients.one_more(address("192.0.2.1"), 9)).collect();
        let (busiest, open, counts) = clients.busiest().unwrap();
        assert_eq!((busiest.house(), open, counts), (Visitor::Local, 1, 9));
        assert!(clients.with(5).len() == 9 && !clients.with(5).contains(&address("192.0.2.1")));
        // Whoever has more than the others of them goes first.
        let more = [(); 4].map(|()| clients.one_more(address("127.0.0.2"), 9));
        assert_eq!((clients.busiest(), clients.with(7)), (Some((address("127.0.0.2"), 4, 13)), HashSet::from([address("127.0.0.2")])));
        drop((local, others, more));
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
