//! The bounded first-come queue of one group.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::WaitId;
use crate::ids::Number;

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
    /// It waits for what serves at this number.
    bound: Option<Number>,
    what: W,
}

impl<W> Waiting<W> {
    fn is_for(&self, number: Number) -> bool {
        self.bound.is_none_or(|bound| bound == number)
    }
}

impl<W> Queue<W> {
    pub fn new() -> Self {
        Self { waiting: VecDeque::new(), refused: 0, expired: 0 }
    }

    /// Err: `max` wait already.
    pub fn push(&mut self, id: WaitId, what: W, bound: Option<Number>, max: usize, now: Instant) -> Result<(), W> {
        if self.waiting.len() >= max {
            self.refused += 1;
            return Err(what);
        }
        self.waiting.push_back(Waiting { id, since: now, bound, what });
        Ok(())
    }

    /// The first that a process of this number may serve.
    pub fn pop(&mut self, number: Number) -> Option<W> {
        let place = self.waiting.iter().position(|waiting| waiting.is_for(number))?;
        self.waiting.remove(place).map(|waiting| waiting.what)
    }

    /// Something waits that a process of this number may serve.
    pub fn has_for(&self, number: Number) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_for(number))
    }

    /// What waits for one of these numbers waits for any from now on. True: there was such.
    pub fn unbind(&mut self, from: impl Fn(Number) -> bool) -> bool {
        let mut any = false;
        for waiting in &mut self.waiting {
            any |= waiting.bound.take_if(|number| from(*number)).is_some();
        }
        any
    }

    pub fn remove(&mut self, id: WaitId) -> Option<W> {
        let place = self.waiting.iter().position(|waiting| waiting.id == id)?;
        self.waiting.remove(place).map(|waiting| waiting.what)
    }

    /// Takes out what has waited for `limit` or longer.
    pub fn expire(&mut self, limit: Duration, now: Instant) -> Vec<W> {
        let mut old = Vec::new();
        while self.waiting.front().is_some_and(|first| now >= first.since + limit) {
            old.extend(self.waiting.pop_front().map(|first| first.what));
        }
        self.expired += old.len() as u64;
        old
    }

    /// None of them has waited so much of its time.
    pub fn put_off(&mut self, by: Duration) {
        self.waiting.iter_mut().for_each(|waiting| waiting.since += by);
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
        assert!(queue.push(WaitId(0), "a", None, 2, now).is_ok());
        assert!(queue.push(WaitId(1), "b", None, 2, now).is_ok());
        assert_eq!(queue.push(WaitId(2), "c", None, 2, now), Err("c"));
        let mut pop = || queue.pop(Number(1));
        assert_eq!((pop(), pop(), pop()), (Some("a"), Some("b"), None));
        assert_eq!(queue.refused, 1);
    }

    #[test]
    fn one_that_left_is_passed_over_and_its_id_finds_nothing_again() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (id, what) in [(1, "a"), (2, "b"), (3, "c")] {
            queue.push(WaitId(id), what, None, 9, now).unwrap();
        }
        assert_eq!(queue.remove(WaitId(2)), Some("b"));
        assert_eq!(queue.remove(WaitId(2)), None);
        assert_eq!(queue.drain(), ["a", "c"]);
    }

    #[test]
    fn what_waits_for_one_number_is_passed_over_by_the_others_until_it_waits_for_any() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (id, what, bound) in [(1, "a", Some(Number(1))), (2, "b", Some(Number(2))), (3, "c", None), (4, "d", Some(Number(1)))] {
            queue.push(WaitId(id), what, bound, 9, now).unwrap();
        }
        assert_eq!((queue.pop(Number(3)), queue.pop(Number(3))), (Some("c"), None));
        assert!(queue.has_for(Number(2)) && !queue.has_for(Number(3)));
        assert!(queue.unbind(|number| number == Number(1)) && !queue.unbind(|number| number == Number(1)));
        assert_eq!((queue.pop(Number(3)), queue.pop(Number(3)), queue.pop(Number(2))), (Some("a"), Some("d"), Some("b")));
    }

    #[test]
    fn what_waited_too_long_is_taken_out_and_nothing_else() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.push(WaitId(3), "old", None, 9, now).unwrap();
        queue.push(WaitId(4), "young", None, 9, now + Duration::from_secs(1)).unwrap();
        assert!(queue.expire(LIMIT, now + LIMIT - Duration::from_nanos(1)).is_empty());
        assert_eq!(queue.expire(LIMIT, now + LIMIT), ["old"]);
        assert_eq!((queue.len(), queue.expired), (1, 1));
    }
}
