//! How long to wait before the next try, after failures in a row.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Group, Outcome};
use crate::ids::Generation;

/// Failed starts of a group's release, one after another.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Backoff {
    pub failures: u32,
    #[serde(with = "crate::moment::option")]
    pub since: Option<Instant>,
    #[serde(with = "crate::moment::option")]
    pub until: Option<Instant>,
}

impl Backoff {
    pub fn fail(&mut self, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        self.since = Some(now);
        self.until = Some(now + delay(self.failures));
    }

    pub fn reset(&mut self) {
        *self = Self::default();
    }

    pub fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }
}

/// Crashes in a row at one number of a group. Kept per number, so that four processes that a short memory kills together are all replaced
/// at once, and only one that crashes again and again is waited for.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Crashes {
    pub count: u32,
    /// Another generation at this number is not held up by the crashes of this one.
    generation: Option<Generation>,
    #[serde(with = "crate::moment::option")]
    pub until: Option<Instant>,
}

impl Crashes {
    /// A process that had proved itself ended untold, `uptime` after it was ready.
    pub fn add(&mut self, generation: Generation, uptime: Duration, now: Instant) {
        if self.generation != Some(generation) || uptime >= SHORT_LIFE {
            *self = Self { generation: Some(generation), ..Self::default() };
        }
        if uptime < SHORT_LIFE {
            self.count = self.count.saturating_add(1);
            self.until = Some(now + delay(self.count - 1));
        }
    }

    /// How many there were of this generation.
    pub fn in_a_row(&self, generation: Generation) -> u32 {
        if self.generation == Some(generation) { self.count } else { 0 }
    }

    pub fn is_over(&self, generation: Generation, now: Instant) -> bool {
        self.generation != Some(generation) || self.until.is_none_or(|until| now >= until)
    }
}

/// Starts of one generation at one number whose port was taken by somebody else in between.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct PortTries {
    generation: Option<Generation>,
    count: u8,
}

impl PortTries {
    /// It happened once more; true: it is worth another try.
    pub fn again(&mut self, generation: Generation) -> bool {
        if self.generation != Some(generation) {
            *self = Self { generation: Some(generation), count: 0 };
        }
        let again = self.count < PORT_TRIES;
        self.count = if again { self.count + 1 } else { 0 };
        again
    }
}

/// Each has another port: who meets this more often has another trouble.
const PORT_TRIES: u8 = 3;

impl<W> Group<W> {
    /// Not before this a file that changes starts another restart: the more restarts have failed in a row, the longer after the last. None: at once.
    pub fn restart_by_file_waits(&self) -> Option<Instant> {
        let ended =
            self.outcomes.iter().rev().filter(|(_, outcome)| !matches!(outcome, Outcome::Superseded { .. } | Outcome::Aborted { .. }));
        let failed = ended.take_while(|(_, outcome)| matches!(outcome, Outcome::Failed { .. } | Outcome::RolledBack { .. })).count();
        let last = self.last_failure.as_ref()?.at;
        (failed > 1).then(|| last + delay(failed as u32 - 1))
    }
}

/// 0, 1, 2, 4 ... 60 s.
fn delay(failures: u32) -> Duration {
    let seconds = failures.checked_sub(1).map_or(0, |doublings| 1 << doublings.min(6));
    LONGEST.min(Duration::from_secs(seconds))
}

const LONGEST: Duration = Duration::from_secs(60);
/// A crash after this long is a new story, not one more of the last.
const SHORT_LIFE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_a_minute() {
        let waits: Vec<u64> = (0..10).map(|failures| delay(failures).as_secs()).collect();
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(delay(u32::MAX), LONGEST);
    }

    #[test]
    fn the_first_crash_waits_for_nothing_and_a_long_life_forgets_them_all() {
        let (mut crashes, now, g) = (Crashes::default(), Instant::now(), Generation(1));
        let mut waits = Vec::new();
        for uptime in [5, 5, 59, 60, 5, 5] {
            crashes.add(g, Duration::from_secs(uptime), now);
            waits.push(crashes.until.map_or(0, |until| (until - now).as_secs()));
        }
        assert_eq!(waits, [0, 1, 2, 0, 0, 1]);
        assert!(!crashes.is_over(g, now));
        assert!(crashes.is_over(Generation(2), now), "a new release is not held up by the crashes of the old one");
    }
}
