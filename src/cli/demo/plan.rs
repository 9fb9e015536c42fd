//! When the demo does what, so that it ends about when it was asked to. Pure: elapsed times come in.

use std::time::Duration;

/// The demo's use of its time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Plan {
    /// How long it is to take in all.
    pub total: Duration,
    /// Quiet time before each restart and after the last, for the steady figures and for eyes to rest.
    pub gap: Duration,
    /// How long a restart takes while none has been seen.
    pub guess: Duration,
}

/// What comes after the quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A release that works.
    Good,
    /// A release that fails at boot.
    Broken,
    /// All has been shown.
    End,
}

/// How far the demo has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Good releases, as many as the time holds.
    Good,
    /// The broken one has been tried; a good one is to follow.
    Broken,
    /// That one is out as well.
    Mended,
}

impl Plan {
    /// For `--seconds`: at least 10, which is what one restart and one failed restart take; at most an hour.
    pub fn of(seconds: u64) -> Self {
        let total = Duration::from_secs(seconds.clamp(10, 3600));
        Self { total, gap: (total / 15).clamp(Duration::from_secs(1), Duration::from_secs(3)), guess: GUESS }
    }

    /// `slowest` is the slowest good restart so far.
    pub fn next(&self, act: Act, elapsed: Duration, slowest: Option<Duration>) -> Next {
        match act {
            Act::Good => {
                let restart = slowest.unwrap_or(self.guess);
                // Of a broken release only the first of the processes is tried.
                let finale = restart / 4 + self.gap + restart + self.gap;
                if elapsed + restart + self.gap + finale <= self.total { Next::Good } else { Next::Broken }
            }
            Act::Broken => Next::Good,
            Act::Mended => Next::End,
        }
    }
}

/// Four boots one after another, one probation, and the stops.
const GUESS: Duration = Duration::from_millis(4000);

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    /// Plays the plan with restarts that take `restart` after a boot of `boot`; gives what was done and when it ended.
    fn played(seconds: u64, boot: Duration, restart: Duration) -> (Vec<Next>, Duration) {
        let plan = Plan::of(seconds);
        let (mut act, mut elapsed, mut slowest, mut done) = (Act::Good, boot, None, Vec::new());
        loop {
            elapsed += plan.gap;
            let next = plan.next(act, elapsed, slowest);
            match next {
                Next::Good => {
                    elapsed += restart;
                    slowest = Some(restart);
                    act = if act == Act::Broken { Act::Mended } else { act };
                }
                Next::Broken => {
                    elapsed += restart / 4;
                    act = Act::Broken;
                }
                Next::End => return (done, elapsed),
            }
            done.push(next);
        }
    }

    #[test]
    fn thirty_seconds_hold_two_good_ones_then_a_broken_one_and_a_good_one() {
        let (done, end) = played(30, 4 * S, 4 * S);
        assert_eq!(done, [Next::Good, Next::Good, Next::Broken, Next::Good]);
        assert!(end <= 30 * S, "{end:?}");
    }

    #[test]
    fn the_least_time_still_shows_a_broken_one_and_a_good_one() {
        for seconds in [0, 10] {
            let (done, end) = played(seconds, 3 * S, 4 * S);
            assert_eq!(done, [Next::Broken, Next::Good]);
            assert!(end <= 13 * S, "{end:?}");
        }
    }

    #[test]
    fn a_minute_holds_more_and_a_slow_machine_less() {
        let (quick, end) = played(60, 4 * S, 4 * S);
        assert!(end <= 60 * S, "{end:?}");
        let (slow, end) = played(60, 8 * S, 9 * S);
        assert!(end <= 60 * S, "{end:?}");
        assert!(quick.len() > slow.len() && slow.len() >= 4, "{quick:?} {slow:?}");
    }
}
