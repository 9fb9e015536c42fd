//! How fast something moved in the last few seconds.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Bytes of each of the last seconds. Several threads may write: what is lost where two begin a second together is little.
#[derive(Debug)]
pub struct Pace {
    since: Instant,
    /// The second after `since` that was last written of.
    last: AtomicU64,
    moved: [AtomicU64; SECONDS],
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { since: now, last: AtomicU64::new(0), moved: Default::default() }
    }

    pub fn add(&self, bytes: u64, now: Instant) {
        let last = self.forget(now);
        self.second(last).fetch_add(bytes, Relaxed);
    }

    /// Bytes per second over the last so many seconds, the one that is running among them; [`SECONDS`] at most.
    pub fn over(&self, seconds: u64, now: Instant) -> u64 {
        let last = self.forget(now);
        let seconds = seconds.clamp(1, SECONDS as u64).min(last + 1);
        let moved: u64 = (0..seconds).map(|ago| self.second(last - ago).load(Relaxed)).sum();
        moved / seconds
    }

    /// The seconds since the last word had nothing. Gives the one that is running.
    fn forget(&self, now: Instant) -> u64 {
        let last = self.last.load(Relaxed);
        let second = now.saturating_duration_since(self.since).as_secs().max(last);
        for passed in (last + 1..=second).take(SECONDS) {
            self.second(passed).store(0, Relaxed);
        }
        self.last.store(second, Relaxed);
        second
    }

    fn second(&self, number: u64) -> &AtomicU64 {
        &self.moved[number as usize % SECONDS]
    }
}

const SECONDS: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_counts_for_the_seconds_asked_for_and_no_longer() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let pace = Pace::new(start);
        pace.add(8_000, at(100));
        assert_eq!((pace.over(2, at(500)), pace.over(8, at(500))), (8_000, 8_000), "it is young");
        assert_eq!((pace.over(2, at(1_500)), pace.over(8, at(1_500))), (4_000, 4_000));
        pace.add(10, at(2_500));
        assert_eq!((pace.over(2, at(2_500)), pace.over(8, at(2_500))), (5, 8_010 / 3));
        assert_eq!((pace.over(2, at(7_500)), pace.over(8, at(7_500))), (0, 8_010 / 8));
        assert_eq!(pace.over(8, at(8_500)), 10 / 8);
        pace.add(80, at(1_000_000));
        assert_eq!(pace.over(8, at(1_000_500)), 10, "what lay between is forgotten");
    }
}
