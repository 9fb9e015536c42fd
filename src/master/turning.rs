//! Whether the I/O threads turn: one that is awake and stays in the same turn holds up all clients of its process, which is said in the log.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Master;
use crate::ids::ProcessId;

#[derive(Debug, Default)]
pub struct Turning {
    /// Of those that were awake at the last look.
    awake: HashMap<ProcessId, Seen>,
    next: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    turn: u64,
    since: Instant,
    is_said: bool,
}

impl Turning {
    /// When to look again: not while all sleep.
    pub fn deadline(&self) -> Option<Instant> {
        self.next.filter(|_| !self.awake.is_empty())
    }

    pub fn put_off(&mut self, by: Duration) {
        self.awake.values_mut().for_each(|seen| seen.since += by);
        self.next = self.next.map(|at| at + by);
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.next.is_none_or(|at| at <= now);
        if is_due {
            self.next = Some(now + LOOK);
        }
        is_due
    }

    /// `turns`: of each thread its turn, if it is awake. Gives those that began and those that ceased to stand still, with for how long.
    fn look(&mut self, turns: impl Iterator<Item = (ProcessId, Option<u64>)>, now: Instant) -> Vec<(ProcessId, bool, Duration)> {
        let before = std::mem::take(&mut self.awake);
        let mut changed = Vec::new();
        for (id, turn) in turns {
            let before = before.get(&id);
            let same = before.filter(|seen| Some(seen.turn) == turn);
            let mut seen = same.copied().or_else(|| turn.map(|turn| Seen { turn, since: now, is_said: false }));
            if let Some(ended) = before.filter(|seen| seen.is_said && same.is_none()) {
                changed.push((id, false, now.saturating_duration_since(ended.since)));
            }
            if let Some(still) = seen.as_mut().filter(|seen| !seen.is_said && now >= seen.since + STILL) {
                still.is_said = true;
                changed.push((id, true, now.saturating_duration_since(still.since)));
            }
            self.awake.extend(seen.map(|seen| (id, seen)));
        }
        changed
    }
}

impl Master {
    pub(super) fn watch_threads(&mut self) {
        let now = self.desk.now;
        if !self.turning.is_due(now) {
            return;
        }
        let state = self.shared.table.lock();
        let changed = self.turning.look(state.threads.iter().map(|(id, thread)| (*id, thread.turn())), now);
        let named: Vec<_> = changed
            .into_iter()
            .filter_map(|(id, still, time)| Some((state.pool.group(id.group).name_of(id)?, still, time.as_secs())))
            .collect();
        drop(state);
        for (name, stands_still, seconds) in named {
            match stands_still {
                true => log::warn!("{name}: its I/O thread has stood still for {seconds} s, and with it the clients of this process"),
                false => log::info!("{name}: its I/O thread turns again, after about {seconds} s"),
            }
        }
    }
}

/// Between two looks.
const LOOK: Duration = Duration::from_secs(5);
/// A turn takes a few milliseconds.
const STILL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::GroupId;

    #[test]
    fn a_thread_that_stays_in_one_turn_is_named_once_and_again_when_it_goes_on() {
        let [one, two] = [1, 2].map(|serial| ProcessId { group: GroupId(0), serial });
        let (mut turning, start) = (Turning::default(), Instant::now());
        let mut at = |seconds: u64, turns: [Option<u64>; 2]| {
            let changed = turning.look([one, two].into_iter().zip(turns), start + Duration::from_secs(seconds));
            (changed.iter().map(|(id, still, time)| (id.serial, *still, time.as_secs())).collect::<Vec<_>>(), turning.deadline().is_some())
        };
        assert_eq!(at(0, [Some(7), Some(1)]).0, []);
        assert_eq!(at(5, [Some(7), Some(2)]).0, [(1, true, 5)]);
        assert_eq!(at(10, [Some(7), None]).0, []);
        assert_eq!(at(15, [Some(8), None]).0, [(1, false, 15)]);
        assert_eq!(at(20, [None, None]).0, []);
        // Asleep and awake again is another turn.
        assert_eq!(at(25, [Some(8), None]).0, []);
    }
}
