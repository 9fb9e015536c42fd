//! How many connections there are, and what their heads take in memory: of all, and of each client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::Conn;

/// How many connections are open over all threads, and what they have in memory of what is not understood yet.
#[derive(Clone, Debug, Default)]
pub struct ConnCount(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    /// There have been so many.
    ever: AtomicU64,
    input: AtomicUsize,
}

impl ConnCount {
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    pub fn ever(&self) -> u64 {
        self.0.ever.load(Ordering::Relaxed)
    }

    /// Goes on from so many.
    pub fn put_back(&self, ever: u64) {
        self.0.ever.fetch_add(ever, Ordering::Relaxed);
    }

    /// Bytes of memory for heads that are not whole.
    fn input(&self) -> usize {
        self.0.input.load(Ordering::Relaxed)
    }

    pub(super) fn one_more(&self) -> Self {
        self.0.open.fetch_add(1, Ordering::Relaxed);
        self.0.ever.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }

    pub(super) fn one_less(&self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the connections of one client have in memory of what is not understood yet (bytes).
#[derive(Clone, Debug, Default)]
pub struct Heads(Arc<AtomicUsize>);

impl Conn {
    /// Counts what `input` takes now; nearly always it has nothing.
    pub(super) fn count_input(&mut self) {
        self.count_as(self.input.capacity());
    }

    pub(super) fn count_as(&mut self, now: usize) {
        if now != self.counted {
            let before = std::mem::replace(&mut self.counted, now);
            for counter in [&self.count.0.input, &self.share.0] {
                counter.fetch_add(now, Ordering::Relaxed);
                counter.fetch_sub(before, Ordering::Relaxed);
            }
        }
    }

    /// It is of another client than it was taken for.
    pub fn belongs_to(&mut self, share: Arc<Heads>) {
        self.count_as(0);
        self.share = share;
        self.count_input();
    }

    /// Its head, of which so many bytes are here, is more than an eighth of what is left of `room` for all heads that are not whole: so no number of
    /// them leaves others nothing. A client that has `modest` in all may have that, until all have twice the room.
    pub(super) fn has_too_much(&self, head: usize, room: usize, modest: usize) -> bool {
        let all = self.count.input();
        head > room.saturating_sub(all) / 8 && (self.share.0.load(Ordering::Relaxed) > modest || all > 2 * room)
    }
}
