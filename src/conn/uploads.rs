//! How many uploads of an app go to it as they come although its requests are buffered: those of clients that wait for its word before they send
//! ([`crate::http::expectation`]). Each holds a slot for as long as its client takes, so all together have half of the slots at most.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Of one app.
#[derive(Debug, Default)]
pub struct Uploads {
    /// The slots that the app always has.
    slots: AtomicUsize,
    open: Arc<AtomicUsize>,
}

/// The place of one upload; given back when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct UploadShare(Arc<AtomicUsize>);

impl Uploads {
    /// A process takes so many requests at a time, and there are always so many processes.
    pub fn has_slots(&self, slots: u32, processes: u16) {
        let slots = u64::from(slots) * u64::from(processes.max(1));
        self.slots.store(usize::try_from(slots).unwrap_or(usize::MAX), Ordering::Relaxed);
    }

    /// None: half of the slots have one, or there is only one slot.
    pub fn take(&self) -> Option<UploadShare> {
        let most = self.slots.load(Ordering::Relaxed) / 2;
        let one_more = |open: usize| (open < most).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok().map(|_| UploadShare(self.open.clone()))
    }
}

impl Drop for UploadShare {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn most(slots: u32, processes: u16) -> usize {
        let uploads = Uploads::default();
        uploads.has_slots(slots, processes);
        std::iter::from_fn(|| uploads.take()).collect::<Vec<_>>().len()
    }

    #[test]
    fn they_have_half_of_the_slots_and_of_a_single_one_nothing() {
        for (slots, processes, shares) in [(1, 1, 0), (1, 0, 0), (2, 1, 1), (1, 3, 1), (5, 2, 5), (100, 4, 200)] {
            assert_eq!(most(slots, processes), shares, "{slots} x {processes}");
        }
        assert!(Uploads::default().take().is_none(), "before a process was started");
    }

    #[test]
    fn a_share_that_is_dropped_is_free() {
        let uploads = Uploads::default();
        uploads.has_slots(3, 1);
        let share = uploads.take().unwrap();
        assert!(uploads.take().is_none());
        drop(share);
        assert!(uploads.take().is_some());
    }
}
