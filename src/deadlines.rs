//! Deadlines of connections, earliest first. Core: no clock of its own, no sockets.
//!
//! A connection moves its deadline with every request, so moving one must cost nothing: its time is written, and the heap gets
//! an entry only when it has none that fires earlier. An entry that comes up before its connection's deadline is put back at the
//! right time; one whose connection is gone finds another deadline or none, and does nothing. So each connection has about one entry,
//! renewed about once per timeout, however many requests it makes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// The deadline of one connection; lives in the connection.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    /// The earliest entry of the heap that stands for it.
    armed: Option<Instant>,
}

impl Deadline {
    /// Forgets the heap's entry: the connection goes to another thread with another heap.
    pub fn disarm(&mut self) {
        self.armed = None;
    }

    pub fn at(&self) -> Option<Instant> {
        self.at
    }

    /// So much time has not counted.
    pub fn put_off(&mut self, by: Duration) {
        self.at = self.at.map(|at| at + by);
    }

    /// There is no limit for now. The entry stays and does nothing.
    pub fn clear(&mut self) {
        self.at = None;
    }
}

/// The deadlines of one event loop. `token` is the loop's name for a connection.
#[derive(Debug, Default)]
pub struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
}

impl Deadlines {
    /// Moves a deadline.
    pub fn set(&mut self, deadline: &mut Deadline, token: usize, at: Instant) {
        deadline.at = Some(at);
        self.arm(deadline, token, at);
    }

    /// Takes over the deadline of a connection that comes from another loop.
    pub fn adopt(&mut self, deadline: &mut Deadline, token: usize) {
        deadline.armed = None;
        if let Some(at) = deadline.at {
            self.arm(deadline, token, at);
        }
    }

    /// When the loop has to look again.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next entry that is due. It is a question, not an answer: ask [`Deadlines::has_passed`] with what the token names now.
    pub fn due(&mut self, now: Instant) -> Option<Due> {
        if self.next()? > now {
            return None;
        }
        let Reverse((at, token)) = self.heap.pop()?;
        Some(Due { token, at })
    }

    /// Whether this deadline has passed; if it has not, its entry is put back at the right time.
    pub fn has_passed(&mut self, deadline: &mut Deadline, due: Due, now: Instant) -> bool {
        if deadline.armed == Some(due.at) {
            deadline.armed = None;
        }
        match deadline.at {
            Some(at) if at <= now => true,
            Some(at) => {
                self.arm(deadline, due.token, at);
                false
            }
            None => false,
        }
    }

    fn arm(&mut self, deadline: &mut Deadline, token: usize, at: Instant) {
        if deadline.armed.is_none_or(|armed| at < armed) {
            deadline.armed = Some(at);
            self.heap.push(Reverse((at, token)));
        }
    }
}

/// The time that a loop has lost which ran last at `ran`, meant to be back at `due_back` and is so at `now`: it was kept from running, by
/// SIGSTOP, a machine that was held, a disk. What passed meanwhile is no fault of those who had a limit. None: it came nearly when it meant to.
pub fn lost(ran: Instant, due_back: Option<Instant>, now: Instant) -> Option<Duration> {
    due_back.filter(|due| now > ran.max(*due) + LATE).map(|_| now.saturating_duration_since(ran))
}

/// A loop that is busy comes no later than this.
const LATE: Duration = Duration::from_secs(1);

/// An entry that came up.
#[derive(Clone, Copy, Debug)]
pub struct Due {
    pub token: usize,
    at: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(deadlines: &mut Deadlines, deadline: &mut Deadline, now: Instant) -> usize {
        let mut passed = 0;
        while let Some(due) = deadlines.due(now) {
            passed += usize::from(deadlines.has_passed(deadline, due, now));
        }
        passed
    }

    #[test]
    fn a_deadline_that_is_moved_on_does_not_fire_at_its_old_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let (mut deadlines, mut deadline) = (Deadlines::default(), Deadline::default());
        deadlines.set(&mut deadline, 7, start + second);
        deadlines.set(&mut deadline, 7, start + 5 * second);
        assert_eq!(passed(&mut deadlines, &mut deadline, start + second), 0);
        assert_eq!(deadlines.next(), Some(start + 5 * second));
        assert_eq!(passed(&mut deadlines, &mut deadline, start + 5 * second), 1);
    }

    #[test]
    fn a_deadline_that_is_moved_forward_fires_at_its_new_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let (mut deadlines, mut deadline) = (Deadlines::default(), Deadline::default());
        deadlines.set(&mut deadline, 7, start + 75 * second);
        deadlines.set(&mut deadline, 7, start + 2 * second);
        assert_eq!(passed(&mut deadlines, &mut deadline, start + second), 0);
        assert_eq!(passed(&mut deadlines, &mut deadline, start + 2 * second), 1);
    }

    #[test]
    fn many_requests_on_one_connection_leave_few_entries() {
        let start = Instant::now();
        let (mut deadlines, mut deadline) = (Deadlines::default(), Deadline::default());
        for request in 0..10_000u64 {
            let now = start + Duration::from_millis(request);
            deadlines.set(&mut deadline, 7, now + Duration::from_secs(60));
            deadlines.set(&mut deadline, 7, now + Duration::from_secs(75));
        }
        assert!(deadlines.heap.len() <= 2, "{} entries", deadlines.heap.len());
    }

    #[test]
    fn the_entry_of_a_connection_that_is_gone_does_nothing_to_the_next_with_its_token() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let (mut deadlines, mut gone, mut next) = (Deadlines::default(), Deadline::default(), Deadline::default());
        deadlines.set(&mut gone, 7, start + second);
        deadlines.set(&mut next, 7, start + 3 * second);
        assert_eq!(passed(&mut deadlines, &mut next, start + second), 0);
        assert_eq!(passed(&mut deadlines, &mut next, start + 3 * second), 1);
    }

    #[test]
    fn a_cleared_deadline_does_not_fire() {
        let start = Instant::now();
        let (mut deadlines, mut deadline) = (Deadlines::default(), Deadline::default());
        deadlines.set(&mut deadline, 7, start);
        deadline.clear();
        assert_eq!(passed(&mut deadlines, &mut deadline, start + Duration::from_secs(1)), 0);
    }

    #[test]
    fn a_deadline_that_is_put_off_fires_that_much_later() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let (mut deadlines, mut deadline) = (Deadlines::default(), Deadline::default());
        deadlines.set(&mut deadline, 7, start + second);
        deadline.put_off(10 * second);
        assert_eq!(passed(&mut deadlines, &mut deadline, start + 10 * second), 0);
        assert_eq!(passed(&mut deadlines, &mut deadline, start + 11 * second), 1);
    }

    #[test]
    fn a_loop_that_sleeps_or_works_loses_nothing_and_one_that_is_stopped_all_since_it_ran() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(lost(start, None, at(100)), None, "it had no time to come back at");
        assert_eq!(lost(start, Some(at(60)), at(61)), None);
        assert_eq!(lost(start, Some(at(60)), at(5)), None, "something woke it before");
        assert_eq!(lost(start, Some(at(60)), at(75)), Some(Duration::from_secs(75)));
        assert_eq!(lost(at(60), Some(at(3)), at(61)), None, "what was due before it ran has been seen to");
    }
}
