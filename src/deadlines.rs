//! Deadlines of connections, earliest first. Core: no clock of its own, no sockets.
//!
//! A connection moves its deadline with every request, so moving one must cost nothing: its time is written, and the heap gets
//! an entry only when it has none that fires earlier. An entry that comes up before its connection's deadline is put back at the
//! right time; one whose connection is gone finds another deadline or none, and does nothing. So each connection has about one entry,
//! renewed about once per timeout, however many requests it makes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// The deadline of one connection; lives in the connection.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Deadline {
    #[serde(with = "crate::moment::option")]
    at: Option<Instant>,
    /// The earliest entry of the heap that stands for it.
    #[serde(skip)]
    armed: Option<Instant>,
    /// When its connection left a loop for another, by the clock of that loop's turn.
    #[serde(with = "crate::moment::option")]
    left: Option<Instant>,
}

impl Deadline {
    /// Forgets the heap's entry: the connection goes to another loop with another heap.
    pub fn leaves(&mut self, now: Instant) {
        self.armed = None;
        self.left = Some(now);
    }

    /// The connection has come to a loop: for so long it was in none, which is nobody's time. Both clocks are those of whole turns, so that this
    /// covers a stop in the turn that sent it, of which this loop may have heard long before.
    pub fn arrives(&mut self, now: Instant) -> Duration {
        self.left.take().map_or(Duration::ZERO, |left| now.saturating_duration_since(left))
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

/// What a loop notices of being kept from running, by SIGSTOP, a machine that was held, a disk: what passes meanwhile is no fault of those who
/// have a limit.
///
/// A sleep that is over too late was no doing of this program. A turn that took long may have been stopped in the middle, or is a slow step of
/// its own: one is taken for a stop. Those that follow soon behind one and are no longer by far are not, as a loop that is slow turn after turn
/// would put off every limit for as long as it is; what came meanwhile is seen to before limits are, as in every turn.
#[derive(Debug)]
pub struct Pulse {
    /// Its turn began then.
    ran: Instant,
    /// It was done with that and went to sleep then, to be back at `due_back` at the latest.
    slept: Instant,
    due_back: Option<Instant>,
    /// The last turn that took long was over then, and the longest of those that came soon behind each other took so long.
    slow: Option<(Instant, Duration)>,
}

/// Time that counts for nobody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lost {
    pub time: Duration,
    /// What was due from then on had no chance.
    pub since: Instant,
    /// All of it passed in a turn, which may have been a slow one.
    pub in_turn: bool,
}

impl Pulse {
    pub fn new(now: Instant) -> Self {
        Self { ran: now, slept: now, due_back: None, slow: None }
    }

    /// The turn is over. Some: it took so long.
    pub fn sleeps(&mut self, due_back: Option<Instant>, now: Instant) -> Option<Duration> {
        (self.slept, self.due_back) = (now, due_back);
        is_late(self.ran, now).then(|| now.saturating_duration_since(self.ran))
    }

    /// The next turn begins: what of the time since the last one began was lost. `interrupted`: a signal ended the sleep, as SIGCONT does
    /// behind a stop (signal(7)); others go to the main thread, which has no such loop. None: it came nearly when it meant to.
    pub fn wakes(&mut self, interrupted: bool, now: Instant) -> Option<Lost> {
        let began = std::mem::replace(&mut self.ran, now);
        // Nearly always: neither the turn nor the sleep can have been too long.
        if !interrupted && !is_late(began, now) {
            return None;
        }
        let (worked, asleep) = (self.slept.saturating_duration_since(began), now.saturating_duration_since(self.slept));
        let meant = self.due_back.map_or(self.slept, |due| due.max(self.slept));
        let oversleeps = interrupted || (self.due_back.is_some() && now > meant + LATE);
        let was_slow = worked > LATE;
        let before = self.slow.filter(|(over, _)| began <= *over + AGAIN).map(|(_, longest)| longest);
        let is_stop = was_slow && before.is_none_or(|longest| worked > longest * FAR);
        if was_slow {
            self.slow = Some((self.slept, before.unwrap_or_default().max(worked)));
        }
        match (is_stop, oversleeps) {
            (true, true) => Some(Lost { time: worked + asleep, since: began, in_turn: false }),
            (true, false) => Some(Lost { time: worked, since: began, in_turn: true }),
            (false, true) => Some(Lost { time: asleep, since: meant.min(now), in_turn: false }),
            (false, false) => None,
        }
        .filter(|lost| !lost.time.is_zero())
    }
}

/// Asked twice in each turn.
fn is_late(began: Instant, now: Instant) -> bool {
    nanos(now).saturating_sub(nanos(began)) > LATE_NANOS
}

/// A loop that is busy takes no longer for a turn, and comes no later.
const LATE: Duration = Duration::from_nanos(LATE_NANOS);
const LATE_NANOS: u64 = NANOS;
/// A slow turn so soon behind another is one more, and no stop.
const AGAIN: Duration = Duration::from_secs(30);
/// Unless it is so many times as long: on a machine that is too busy turns are slow, and it may be stopped all the same.
const FAR: u32 = 4;
const NANOS: u64 = 1_000_000_000;

/// The nanoseconds of the clock: a number, of which differences are had for an instruction, where those of [`Instant`] take sixty. Of what an
/// `Instant` consists the standard library tells its hasher only: seconds, then nanoseconds of them. A test holds it to that.
#[inline]
pub fn nanos(at: Instant) -> u64 {
    struct Nanos(u64);
    impl Hasher for Nanos {
        fn finish(&self) -> u64 {
            self.0
        }
        fn write(&mut self, _: &[u8]) {}
        fn write_i64(&mut self, seconds: i64) {
            self.0 = seconds.cast_unsigned().wrapping_mul(NANOS);
        }
        fn write_u32(&mut self, nanos: u32) {
            self.0 = self.0.wrapping_add(nanos.into());
        }
    }
    let mut hasher = Nanos(0);
    at.hash(&mut hasher);
    hasher.finish()
}

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
    fn an_instant_is_as_many_nanoseconds_as_lie_between_two_of_them() {
        let start = Instant::now();
        for by in [0, 1, 999, NANOS - 1, NANOS, NANOS + 1, 7 * NANOS + 123_456_789, 86_400 * NANOS] {
            assert_eq!(nanos(start + Duration::from_nanos(by)).wrapping_sub(nanos(start)), by);
        }
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

    /// A turn from 0 to `slept`, a sleep until `woke`, meant to end at `due_back`; what is lost of that (seconds).
    fn lost(slept: u64, due_back: Option<u64>, interrupted: bool, woke: u64) -> u64 {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        pulse.sleeps(due_back.map(at), at(slept));
        pulse.wakes(interrupted, at(woke)).map_or(0, |lost| lost.time.as_secs())
    }

    #[test]
    fn a_loop_that_sleeps_or_works_loses_nothing() {
        assert_eq!(lost(0, None, false, 100), 0, "nothing is due");
        assert_eq!(lost(1, Some(60), false, 61), 0);
        assert_eq!(lost(1, Some(60), false, 5), 0, "something woke it before");
        assert_eq!(lost(1, Some(0), false, 2), 0, "what was due at once was seen to as soon as the turn was over");
    }

    #[test]
    fn a_loop_that_is_stopped_loses_that_wherever_it_stands() {
        assert_eq!(lost(0, Some(60), false, 75), 75, "while it slept: it comes late");
        assert_eq!(lost(0, Some(60), true, 12), 12, "while it slept, and goes on before anything is due");
        assert_eq!(lost(0, None, true, 12), 12);
        assert_eq!(lost(12, Some(60), false, 13), 12, "in the middle of its turn");
        assert_eq!(lost(12, Some(5), false, 13), 12, "of which something was due before it slept");
        assert_eq!(lost(12, Some(60), true, 30), 30, "twice");
    }

    #[test]
    fn a_loop_that_is_slow_turn_after_turn_puts_off_no_limit_for_that() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut pulse = Pulse::new(start);
        let mut turn = |slept: u64, woke: u64| {
            assert_eq!(pulse.sleeps(Some(at(woke)), at(slept)).map(|took| took.as_secs()), Some(2));
            pulse.wakes(false, at(woke)).map(|lost| (lost.time.as_secs(), lost.since, lost.in_turn))
        };
        assert_eq!(turn(2, 3), Some((2, at(0), true)), "it may have been stopped");
        let more: Vec<_> = (1..20).map(|n| turn(3 * n + 2, 3 * n + 3)).collect();
        assert_eq!(more, [None; 19], "that is how it is");
        assert_eq!(pulse.sleeps(Some(at(72)), at(72)).map(|took| took.as_secs()), Some(12));
        assert_eq!(pulse.wakes(false, at(72)).map(|lost| lost.time.as_secs()), Some(12), "by far longer than it ever was");
        // A stop in its sleep counts all the same.
        assert_eq!(pulse.sleeps(Some(at(73)), at(73)), None);
        assert_eq!(pulse.wakes(false, at(87)).map(|lost| (lost.time.as_secs(), lost.since)), Some((14, at(73))));
        // Long behind the last slow one.
        pulse.sleeps(Some(at(110)), at(88));
        assert_eq!(pulse.wakes(false, at(110)), None);
        pulse.sleeps(Some(at(120)), at(120));
        assert!(pulse.wakes(false, at(120)).is_some_and(|lost| lost.time.as_secs() == 10));
    }

    #[test]
    fn a_connection_on_its_way_between_two_loops_loses_no_time() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let (mut there, mut here, mut deadline) = (Deadlines::default(), Deadlines::default(), Deadline::default());
        there.set(&mut deadline, 3, at(5));
        deadline.leaves(at(0));
        // The turn that sent it was stopped in the middle; this loop has run before and knows of nothing.
        let by = deadline.arrives(at(12));
        deadline.put_off(by);
        here.adopt(&mut deadline, 9);
        assert_eq!((by, here.next(), deadline.arrives(at(14))), (at(12) - start, Some(at(17)), Duration::ZERO));
        deadline.leaves(at(14));
        assert_eq!(deadline.arrives(at(13)), Duration::ZERO, "the turn that takes it in began before the one that sent it");
    }
}
