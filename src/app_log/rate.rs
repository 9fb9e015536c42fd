//! How many lines of an app go into rota's own log: beyond `log_rate` in a while they are dropped and counted, so that one app that prints
//! without end neither fills the journal nor has it drop lines of the others. Atomics only: it is asked for each line, on the I/O threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Of one app.
#[derive(Debug)]
pub struct Rate {
    /// Lines in each [`WHILE`]; 0: any number.
    limit: u64,
    /// When the while began, in milliseconds of whoever asks.
    begun: AtomicU64,
    lines: AtomicU64,
    dropped: AtomicU64,
}

/// What becomes of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Written,
    /// The first one in its while.
    FirstDropped,
    Dropped,
}

impl Rate {
    pub fn new(limit: u64) -> Self {
        Self { limit, begun: AtomicU64::new(0), lines: AtomicU64::new(0), dropped: AtomicU64::new(0) }
    }

    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// For a line at `now`. With how many were dropped in the while that is over with it, if any were.
    pub fn take(&self, now: Duration) -> (Verdict, Option<u64>) {
        if self.limit == 0 {
            return (Verdict::Written, None);
        }
        let over = self.over(now);
        if self.lines.fetch_add(1, Ordering::Relaxed) < self.limit {
            return (Verdict::Written, over);
        }
        let first = self.dropped.fetch_add(1, Ordering::Relaxed) == 0;
        (if first { Verdict::FirstDropped } else { Verdict::Dropped }, over)
    }

    /// Begins a new while, if the last one is over: how many lines were dropped in it, if any were.
    pub fn over(&self, now: Duration) -> Option<u64> {
        let now = millis(now);
        let begun = self.begun.load(Ordering::Relaxed);
        let is_over = now >= begun + millis(WHILE);
        // Of two threads that see it one begins the new one.
        if !is_over || self.begun.compare_exchange(begun, now, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return None;
        }
        self.lines.store(0, Ordering::Relaxed);
        Some(self.dropped.swap(0, Ordering::Relaxed)).filter(|dropped| *dropped > 0)
    }

    /// When it is to be said how many were dropped. None: none were.
    pub fn due(&self) -> Option<Duration> {
        let begun = Duration::from_millis(self.begun.load(Ordering::Relaxed));
        (self.dropped.load(Ordering::Relaxed) > 0).then_some(begun + WHILE)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// As journald counts by default (journald.conf(5), RateLimitIntervalSec).
pub const WHILE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_rate_lines_are_dropped_and_the_next_while_is_told_how_many() {
        let rate = Rate::new(2);
        let at = |seconds| rate.take(Duration::from_secs(seconds));
        let says: Vec<_> = [100, 100, 101, 102, 129].map(at).into();
        let dropped = |verdict| (verdict, None);
        let expected = [Verdict::Written, Verdict::Written, Verdict::FirstDropped, Verdict::Dropped, Verdict::Dropped].map(dropped);
        assert_eq!(says, expected);
        assert_eq!(rate.due(), Some(Duration::from_secs(130)));
        assert_eq!(at(130), (Verdict::Written, Some(3)));
        assert_eq!((rate.due(), at(131)), (None, (Verdict::Written, None)));
    }

    #[test]
    fn an_app_that_falls_silent_is_counted_by_the_clock() {
        let rate = Rate::new(1);
        let _: Vec<_> = (0..5).map(|_| rate.take(Duration::from_secs(60))).collect();
        assert_eq!((rate.over(Duration::from_secs(89)), rate.over(Duration::from_secs(90))), (None, Some(4)));
        assert_eq!(rate.over(Duration::from_secs(200)), None);
    }

    #[test]
    fn with_0_there_is_no_rate() {
        let rate = Rate::new(0);
        assert!((0..100_000).all(|_| rate.take(Duration::from_secs(40)) == (Verdict::Written, None)));
    }
}
