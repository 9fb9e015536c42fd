//! The bounded first-come queue of one group.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::WaitId;

#[derive(Debug)]
pub struct Queue<W> {
    /// In the order of their coming.
    waiting: VecDeque<Waiting<W>>,
    pub refused: u64,
    pub expired: u64,
}

#[derive(Debug)]
struct Waiting<W> {
    id: WaitId,
    since: Instant,
    what: W,
}

impl<W> Queue<W> {
    pub fn new() -> Self {
        Self { waiting: VecDeque::new(), refused: 0, expired: 0 }
    }

    /// Err: `max` wait already.
    pub fn push(&mut self, id: WaitId, what: W, max: usize, now: Instant) -> Result<(), W> {
        if self.waiting.len() >= max {
            self.refused += 1;
            return Err(what);
        }
        self.waiting.push_back(Waiting { id, since: now, what });
        Ok(())
    }

    pub fn pop(&mut self) -> Option<W> {
        self.waiting.pop_front().map(|first| first.what)
    }

    pub fn remove(&mut self, id: WaitId) -> Option<W> {
        let place = self.waiting.iter().position(|waiting| waiting.id == id)?;
        self.waiting.remove(place).map(|waiting| waiting.what)
    }

    /// Takes out what has waited for `limit` or longer.
    pub fn expire(&mut self, limit: Duration, now: Instant) -> Vec<W> {
        let mut old = Vec::new();
        while self.waiting.front().is_some_and(|first| now >= first.since + limit) {
            old.extend(self.pop());
        }
        self.expired += old.len() as u64;
        old
    }

    pub fn drain(&mut self) -> Vec<W> {
        self.waiting.drain(..).map(|waiting| waiting.what).collect()
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Since when the first waits.
    pub fn first_since(&self) -> Option<Instant> {
        self.waiting.front().map(|first| first.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn first_come_first_served_up_to_the_bound() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        assert!(queue.push(WaitId(0), "a", 2, now).is_ok());
        assert!(queue.push(WaitId(1), "b", 2, now).is_ok());
        assert_eq!(queue.push(WaitId(2), "c", 2, now), Err("c"));
        assert_eq!((queue.pop(), queue.pop(), queue.pop()), (Some("a"), Some("b"), None));
        assert_eq!(queue.refused, 1);
    }

    #[test]
    fn one_that_left_is_passed_over_and_its_id_finds_nothing_again() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (id, what) in [(1, "a"), (2, "b"), (3, "c")] {
            queue.push(WaitId(id), what, 9, now).unwrap();
        }
        assert_eq!(queue.remove(WaitId(2)), Some("b"));
        assert_eq!(queue.remove(WaitId(2)), None);
        assert_eq!(queue.drain(), ["a", "c"]);
    }

    #[test]
    fn what_waited_too_long_is_taken_out_and_nothing_else() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.push(WaitId(3), "old", 9, now).unwrap();
        queue.push(WaitId(4), "young", 9, now + Duration::from_secs(1)).unwrap();
        assert!(queue.expire(LIMIT, now + LIMIT - Duration::from_nanos(1)).is_empty());
        assert_eq!(queue.expire(LIMIT, now + LIMIT), ["old"]);
        assert_eq!((queue.len(), queue.expired), (1, 1));
    }
}
