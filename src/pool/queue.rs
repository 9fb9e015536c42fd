//! The bounded queue of one group: first come, first served among the requests of one client, and clients in turn. When it is full it has a place
//! for whoever has the fewest in it, at the cost of whoever has most.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{WaitId, Waiter};
use crate::ids::Number;
use crate::visitor::{Shares, Visitor};

/// What waits is saved by whoever knows what it is ([`Waiting`]), and comes again in its order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Queue<W> {
    /// In the order of their coming.
    #[serde(skip)]
    waiting: VecDeque<Waiting<W>>,
    #[serde(skip)]
    shares: Shares,
    /// Of each client that has something here: when it had its turn last, or came after all that had waited. The one with the least is next.
    #[serde(with = "turns")]
    turns: HashMap<Visitor, u64>,
    turn: u64,
    pub refused: u64,
    pub expired: u64,
}

/// One that waits, and since when.
#[derive(Debug, Serialize, Deserialize)]
pub struct Waiting<W> {
    pub who: Waiter,
    #[serde(with = "crate::moment")]
    pub since: Instant,
    /// It waits for what serves at this number.
    pub bound: Option<Number>,
    pub what: W,
}

/// A visitor is no key of JSON.
mod turns {
    use std::collections::{BTreeMap, HashMap};

    use serde::{Deserialize, Deserializer, Serializer};

    use crate::visitor::Visitor;

    pub fn serialize<S: Serializer>(turns: &HashMap<Visitor, u64>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(turns.iter().collect::<BTreeMap<_, _>>())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HashMap<Visitor, u64>, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

impl<W> Waiting<W> {
    /// The same with what is saved or restored of it.
    pub fn with<V>(&self, what: V) -> Waiting<V> {
        Waiting { who: self.who, since: self.since, bound: self.bound, what }
    }

    fn is_for(&self, number: Number) -> bool {
        self.bound.is_none_or(|bound| bound == number)
    }
}

impl<W> Queue<W> {
    pub fn new() -> Self {
        Self { waiting: VecDeque::new(), shares: Shares::default(), turns: HashMap::new(), turn: 0, refused: 0, expired: 0 }
    }

    /// Ok(Some): it waits in the place of that one. Err: `max` wait already, and no client has more of them than this one.
    pub fn push(&mut self, who: Waiter, what: W, bound: Option<Number>, max: usize, now: Instant) -> Result<Option<W>, W> {
        let mut left = None;
        if self.waiting.len() >= max {
            self.refused += 1;
            left = if max > 0 { self.shares.gives_way(Some(who.visitor)).and_then(|visitor| self.last_of(visitor)) } else { None };
            if left.is_none() {
                return Err(what);
            }
        }
        self.add(Waiting { who, since: now, bound, what });
        Ok(left)
    }

    /// However many there may be, and behind those that are there.
    pub fn add(&mut self, waiting: Waiting<W>) {
        let (visitor, turn) = (waiting.who.visitor, self.turn);
        for whose in visitor.houses() {
            self.turns.entry(whose).or_insert(turn);
        }
        self.shares.add(visitor, 1);
        self.waiting.push_back(waiting);
    }

    /// In the order of their coming.
    pub fn iter(&self) -> impl Iterator<Item = &Waiting<W>> {
        self.waiting.iter()
    }

    /// Those that waited and have not come again have no turn.
    pub fn forget_absent(&mut self) {
        let shares = &self.shares;
        self.turns.retain(|visitor, _| shares.of(*visitor) > 0);
    }

    /// The next that a process of this number may serve.
    pub fn pop(&mut self, number: Number) -> Option<W> {
        let mut fit = self.waiting.iter().enumerate().filter(|(_, waiting)| waiting.is_for(number));
        let place = match self.shares.is_of_one() {
            true => fit.next(),
            false => fit.min_by_key(|(_, waiting)| self.turn_of(waiting.who.visitor)),
        }
        .map(|(place, _)| place)?;
        let (who, what) = self.take(place)?;
        self.turn += 1;
        for whose in who.visitor.houses() {
            self.turns.entry(whose).and_modify(|turn| *turn = self.turn);
        }
        Some(what)
    }

    /// Of its house, and among those of that.
    fn turn_of(&self, visitor: Visitor) -> [u64; 2] {
        [visitor.house(), visitor].map(|whose| self.turns.get(&whose).copied().unwrap_or(0))
    }

    /// Takes out what came last of a client's.
    pub fn last_of(&mut self, visitor: Visitor) -> Option<W> {
        let place = self.waiting.iter().rposition(|waiting| waiting.who.visitor == visitor)?;
        self.take(place).map(|(_, what)| what)
    }

    fn take(&mut self, place: usize) -> Option<(Waiter, W)> {
        let Waiting { who, what, .. } = self.waiting.remove(place)?;
        self.shares.take(who.visitor, 1);
        for whose in who.visitor.houses().filter(|whose| self.shares.of(*whose) == 0) {
            self.turns.remove(&whose);
        }
        Some((who, what))
    }

    /// How many of them each client has.
    pub fn shares(&self) -> &Shares {
        &self.shares
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
        let place = self.waiting.iter().position(|waiting| waiting.who.id == id)?;
        self.take(place).map(|(_, what)| what)
    }

    /// Takes out what has waited for `limit` or longer.
    pub fn expire(&mut self, limit: Duration, now: Instant) -> Vec<W> {
        let mut old = Vec::new();
        while self.waiting.front().is_some_and(|first| now >= first.since + limit) {
            old.extend(self.take(0).map(|(_, what)| what));
        }
        self.expired += old.len() as u64;
        old
    }

    /// None of them has waited so much of its time.
    pub fn put_off(&mut self, by: Duration) {
        self.waiting.iter_mut().for_each(|waiting| waiting.since += by);
    }

    pub fn drain(&mut self) -> Vec<W> {
        std::iter::from_fn(|| self.take(0).map(|(_, what)| what)).collect()
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
        assert!(queue.push(WaitId(0).into(), "a", None, 2, now).is_ok());
        assert!(queue.push(WaitId(1).into(), "b", None, 2, now).is_ok());
        assert_eq!(queue.push(WaitId(2).into(), "c", None, 2, now), Err("c"));
        let mut pop = || queue.pop(Number(1));
        assert_eq!((pop(), pop(), pop()), (Some("a"), Some("b"), None));
        assert_eq!(queue.refused, 1);
    }

    #[test]
    fn one_that_left_is_passed_over_and_its_id_finds_nothing_again() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (id, what) in [(1, "a"), (2, "b"), (3, "c")] {
            queue.push(WaitId(id).into(), what, None, 9, now).unwrap();
        }
        assert_eq!(queue.remove(WaitId(2)), Some("b"));
        assert_eq!(queue.remove(WaitId(2)), None);
        assert_eq!(queue.drain(), ["a", "c"]);
    }

    #[test]
    fn what_waits_for_one_number_is_passed_over_by_the_others_until_it_waits_for_any() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        for (id, what, bound) in [(1, "a", Some(Number(1))), (2, "b", Some(Number(2))), (3, "c", None), (4, "d", Some(Number(1)))] {
            queue.push(WaitId(id).into(), what, bound, 9, now).unwrap();
        }
        assert_eq!((queue.pop(Number(3)), queue.pop(Number(3))), (Some("c"), None));
        assert!(queue.has_for(Number(2)) && !queue.has_for(Number(3)));
        assert!(queue.unbind(|number| number == Number(1)) && !queue.unbind(|number| number == Number(1)));
        assert_eq!((queue.pop(Number(3)), queue.pop(Number(3)), queue.pop(Number(2))), (Some("a"), Some("d"), Some("b")));
    }

    #[test]
    fn what_waited_too_long_is_taken_out_and_nothing_else() {
        let (mut queue, now) = (Queue::new(), Instant::now());
        queue.push(WaitId(3).into(), "old", None, 9, now).unwrap();
        queue.push(WaitId(4).into(), "young", None, 9, now + Duration::from_secs(1)).unwrap();
        assert!(queue.expire(LIMIT, now + LIMIT - Duration::from_nanos(1)).is_empty());
        assert_eq!(queue.expire(LIMIT, now + LIMIT), ["old"]);
        assert_eq!((queue.len(), queue.expired), (1, 1));
    }

    /// Puts in what is called `ADDRESS/NAME`; what it costs another.
    fn push(queue: &mut Queue<&'static str>, what: &'static str, max: usize) -> Result<Option<&'static str>, &'static str> {
        let visitor = Visitor::of(Some(what.split_once('/').unwrap().0.parse().unwrap()));
        queue.push(Waiter { id: WaitId(0), visitor }, what, None, max, Instant::now())
    }

    #[test]
    fn clients_have_their_turns_and_what_one_of_them_has_is_served_in_its_order() {
        let mut queue = Queue::new();
        for what in ["192.0.2.1/a", "192.0.2.1/b", "192.0.2.1/c", "192.0.2.2/d", "127.0.0.1/e", "127.0.0.2/f", "127.0.0.1/g", "192.0.2.2/h"]
        {
            assert_eq!(push(&mut queue, what, 9), Ok(None));
        }
        let served: Vec<_> = std::iter::from_fn(|| queue.pop(Number(1))).map(|what| what.split_once('/').unwrap().1).collect();
        assert_eq!(served, ["a", "d", "e", "b", "h", "f", "c", "g"]);
        assert!(queue.turns.is_empty() && queue.shares.is_of_one());
    }

    #[test]
    fn one_that_comes_again_and_again_waits_for_its_turn_as_the_others_do() {
        let mut queue = Queue::new();
        for what in ["192.0.2.1/a", "192.0.2.2/b", "192.0.2.2/c"] {
            push(&mut queue, what, 9).unwrap();
        }
        assert_eq!(queue.pop(Number(1)), Some("192.0.2.1/a"));
        push(&mut queue, "192.0.2.1/d", 9).unwrap();
        assert_eq!([(); 3].map(|()| queue.pop(Number(1)).unwrap()), ["192.0.2.2/b", "192.0.2.1/d", "192.0.2.2/c"]);
    }

    #[test]
    fn a_full_queue_has_a_place_for_another_client_at_the_cost_of_the_one_that_has_most() {
        let mut queue = Queue::new();
        for what in ["192.0.2.1/a", "192.0.2.1/b", "192.0.2.1/c"] {
            push(&mut queue, what, 3).unwrap();
        }
        assert_eq!(push(&mut queue, "192.0.2.1/d", 3), Err("192.0.2.1/d"), "it has most itself");
        assert_eq!(push(&mut queue, "192.0.2.2/e", 3), Ok(Some("192.0.2.1/c")));
        assert_eq!(push(&mut queue, "192.0.2.3/f", 3), Ok(Some("192.0.2.1/b")));
        assert_eq!(push(&mut queue, "192.0.2.4/g", 3), Err("192.0.2.4/g"), "nobody has more than one");
        assert_eq!((queue.len(), queue.refused), (3, 4));
        assert_eq!(queue.drain(), ["192.0.2.1/a", "192.0.2.2/e", "192.0.2.3/f"]);
    }

    /// As the table does it.
    fn restored(queue: &Queue<u32>) -> Queue<u32> {
        let mut again: Queue<u32> = serde_json::from_str(&serde_json::to_string(queue).unwrap()).unwrap();
        queue.iter().for_each(|waiting| again.add(waiting.with(waiting.what)));
        again
    }

    #[test]
    fn the_turns_of_clients_and_what_each_has_are_the_same_after_it_was_saved() {
        let addresses = ["192.0.2.1", "192.0.2.2", "127.0.0.1", "127.0.0.2", "2001:db8::1"];
        let (start, mut random) = (Instant::now(), 7_u64);
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut queue, mut served) = (Queue::new(), 0);
        for what in 0..2_000 {
            let mut again = restored(&queue);
            let has = |queue: &Queue<u32>| addresses.map(|address| queue.shares.of(Visitor::of(Some(address.parse().unwrap()))));
            assert_eq!((has(&queue), queue.shares.of(Visitor::Local)), (has(&again), again.shares.of(Visitor::Local)));
            let number = Number(1 + next(2) as u16);
            if next(5) < 3 {
                let visitor = Visitor::of(Some(addresses[next(5) as usize].parse().unwrap()));
                let (who, bound) = (Waiter { id: WaitId(u64::from(what)), visitor }, (next(4) == 0).then_some(number));
                let is_full = queue.len() == 12;
                let [one, other] = [&mut queue, &mut again].map(|queue| queue.push(who, what, bound, 12, start));
                // Of clients that have equally many either may give way.
                assert!(is_full || one == other, "{one:?} {other:?}");
            } else {
                let one = queue.pop(number);
                assert_eq!((one, queue.len()), (again.pop(number), again.len()));
                served += u32::from(one.is_some());
            }
            assert_eq!((queue.turn, queue.refused, queue.expired), (again.turn, again.refused, again.expired));
        }
        assert!(served > 500 && queue.refused > 20, "{served} {}", queue.refused);
        let mut alone: Queue<u32> = serde_json::from_str(&serde_json::to_string(&queue).unwrap()).unwrap();
        alone.forget_absent();
        assert!(!queue.turns.is_empty() && alone.turns.is_empty());
    }
}
