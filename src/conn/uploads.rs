//! How many uploads of an app go to it as they come although its requests are buffered: those of clients that wait for its word before they send
//! ([`crate::http::expectation`]). Each holds a slot for as long as its client takes, so all together have half of the slots at most, and one client
//! half of that. The others are collected first, as all are without that word.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::visitor::Visitor;

/// Of one app.
#[derive(Debug)]
pub struct Uploads {
    /// The slots that the app always has.
    slots: AtomicUsize,
    open: Arc<Open>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Open {
    all: AtomicUsize,
    /// Of clients, by a hash that nobody outside knows: two that meet have one share.
    each: [AtomicUsize; CLIENTS],
}

/// The place of one upload; given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct UploadShare {
    open: Arc<Open>,
    client: usize,
}

impl Default for Uploads {
    fn default() -> Self {
        let open = Open { all: AtomicUsize::new(0), each: [const { AtomicUsize::new(0) }; CLIENTS] };
        Self { slots: AtomicUsize::new(0), open: Arc::new(open), hasher: RandomState::new() }
    }
}

impl Uploads {
    /// A process takes so many requests at a time, and there are always so many processes.
    pub fn has_slots(&self, slots: u32, processes: u16) {
        let slots = u64::from(slots) * u64::from(processes.max(1));
        self.slots.store(usize::try_from(slots).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// None: half of the slots have one, or the client has its share, or there is only one slot.
    pub fn take(&self, visitor: Visitor) -> Option<UploadShare> {
        let most = self.slots.load(Ordering::Relaxed) / 2;
        let client = self.hasher.hash_one(visitor.house()) as usize % CLIENTS;
        if !one_more(&self.open.each[client], (most / 2).max(FEW)) {
            return None;
        }
        if !one_more(&self.open.all, most) {
            self.open.each[client].fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(UploadShare { open: self.open.clone(), client })
    }

    /// The share that an upload had in the rota before this one: it is under way, however many there are.
    pub fn take_again(&self, visitor: Visitor) -> UploadShare {
        let client = self.hasher.hash_one(visitor.house()) as usize % CLIENTS;
        self.open.each[client].fetch_add(1, Ordering::Relaxed);
        self.open.all.fetch_add(1, Ordering::Relaxed);
        UploadShare { open: self.open.clone(), client }
    }
}

fn one_more(open: &AtomicUsize, most: usize) -> bool {
    open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| (open < most).then_some(open + 1)).is_ok()
}

impl Drop for UploadShare {
    fn drop(&mut self) {
        self.open.all.fetch_sub(1, Ordering::Relaxed);
        self.open.each[self.client].fetch_sub(1, Ordering::Relaxed);
    }
}

const CLIENTS: usize = 512;
/// So many a client may have where there are few slots.
const FEW: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;

    fn most(slots: u32, processes: u16) -> usize {
        let uploads = Uploads::default();
        uploads.has_slots(slots, processes);
        (1..).map_while(|client| uploads.take(Visitor::V4(client))).collect::<Vec<_>>().len()
    }

    #[test]
    fn they_have_half_of_the_slots_and_of_a_single_one_nothing() {
        for (slots, processes, shares) in [(1, 1, 0), (1, 0, 0), (2, 1, 1), (1, 3, 1), (5, 2, 5), (100, 4, 200)] {
            assert_eq!(most(slots, processes), shares, "{slots} x {processes}");
        }
        assert!(Uploads::default().take(Visitor::V4(1)).is_none(), "before a process was started");
    }

    #[test]
    fn one_client_has_half_of_them_and_two_where_there_are_few() {
        for (slots, most) in [(2, 1), (4, 2), (6, 2), (8, 2), (40, 10)] {
            let uploads = Uploads::default();
            uploads.has_slots(slots, 1);
            let local = |i: usize| Visitor::V4(0x7f00_0001 + i as u32);
            let of_one: Vec<_> = (0..100).map_while(|i| uploads.take(local(i))).collect();
            assert_eq!(of_one.len(), most, "of {slots} slots");
            assert_eq!(uploads.take(Visitor::V4(9)).is_some(), slots / 2 > most as u32, "of {slots} slots, another");
        }
    }

    #[test]
    fn a_share_that_is_dropped_is_free() {
        let uploads = Uploads::default();
        uploads.has_slots(3, 1);
        let share = uploads.take(Visitor::V4(1)).unwrap();
        assert!(uploads.take(Visitor::V4(1)).is_none());
        drop(share);
        assert!(uploads.take(Visitor::V4(1)).is_some());
    }
}
