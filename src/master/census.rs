//! As many connections as there may be, and none of them idle: whoever has most gives some up for a client that has fewer. What each has lies on
//! all event loops and in the queues, so they are asked, and what they say is good for a moment.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::Master;
use crate::conn::crowded::{GiveUp, Grade, Holdings};
use crate::dispatch;
use crate::handoff::Wake;
use crate::ids::ProcessId;
use crate::table::ToThread;
use crate::visitor::{Shares, Visitor};

/// What clients have in hand.
#[derive(Debug)]
pub struct Census {
    at: Instant,
    /// Loops that have not answered.
    missing: usize,
    of: HashMap<Holder, Holdings>,
    all: Shares,
}

/// Who has connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Holder {
    Master,
    Queues,
    Thread(ProcessId),
}

/// Whether somebody gave one up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenUp {
    /// Here.
    Now,
    /// That will be seen in a moment.
    Soon,
    /// Nobody has more than the newcomer's client.
    Nobody,
}

impl Census {
    fn add(&mut self, holder: Holder, holdings: Holdings) {
        for visitor in holdings.least.keys() {
            self.all.add(*visitor, holdings.shares.of(*visitor));
        }
        self.of.insert(holder, holdings);
    }

    /// Where to ask for what goes next of a client's, and how many of it are there.
    fn place_of(&self, visitor: Visitor) -> Option<(Holder, usize)> {
        let at = |(holder, holdings): (&Holder, &Holdings)| {
            let (least, count) = (*holdings.least.get(&visitor)?, holdings.shares.of(visitor));
            (count > 0).then_some((least, std::cmp::Reverse(count), *holder))
        };
        self.of.iter().filter_map(at).min_by_key(|(least, count, _)| (*least, *count)).map(|(_, count, holder)| (holder, count.0))
    }

    fn take(&mut self, holder: Holder, visitor: Visitor, count: usize) {
        self.all.take(visitor, count);
        if let Some(holdings) = self.of.get_mut(&holder) {
            holdings.shares.take(visitor, count);
        }
    }
}

impl Master {
    /// `newcomer`: None: not known before its request is read, as it comes from a trusted proxy.
    pub(super) fn somebody_gives_up(&mut self, newcomer: Option<Visitor>) -> GivenUp {
        let now = self.desk.now;
        if self.crowd.given_up.take_if(|at| now >= *at + PATIENCE).is_some() {
            // What was known is not so any more.
            self.crowd.census = None;
            return GivenUp::Nobody;
        }
        if let Some(at) = self.crowd.given_up {
            return self.look_again(at + PATIENCE);
        }
        self.crowd.census.take_if(|census| now >= census.at + LASTS);
        let Some(census) = &mut self.crowd.census else {
            self.count_all();
            return self.look_again(now + PATIENCE);
        };
        if census.missing > 0 && now < census.at + PATIENCE {
            let until = census.at + PATIENCE;
            return self.look_again(until);
        }
        let Some(visitor) = census.all.gives_way(newcomer) else { return GivenUp::Nobody };
        let (has, own) = (census.all.of(visitor), newcomer.map_or(0, |newcomer| census.all.of(newcomer)));
        let Some((holder, there)) = census.place_of(visitor) else { return GivenUp::Nobody };
        // A few more than one, so that a flood need not ask for each.
        let most = (has.saturating_sub(own) / 2).min(there).min(self.desk.catalog.descriptors.connections / 64).clamp(1, AT_ONCE);
        census.take(holder, visitor, most);
        newcomer.iter().for_each(|newcomer| census.all.add(*newcomer, 1));
        self.say_gives_up(visitor, has);
        self.give_up(holder, GiveUp { of: visitor, most })
    }

    fn give_up(&mut self, holder: Holder, asked: GiveUp) -> GivenUp {
        match holder {
            Holder::Master => {
                let conns = self.conns.iter().map(|(key, held)| (key, &*held.conn));
                for key in asked.choose(conns) {
                    let mut held = self.conns.remove(key);
                    held.conn.gives_way(self.desk.date.at(self.desk.now));
                }
            }
            Holder::Queues => {
                let mut state = self.shared.table.lock();
                let mut left = Vec::new();
                for group in state.pool.groups_mut() {
                    left.extend(std::iter::from_fn(|| group.evict(asked.of)).take(asked.most - left.len()));
                }
                drop(state);
                for conn in left {
                    let Some(mut conn) = dispatch::unwatch(&self.shared, conn) else { continue };
                    conn.gives_way(self.desk.date.at(self.desk.now));
                }
                self.shared.table.notify();
            }
            Holder::Thread(process) => {
                let wake = self.shared.table.lock().tell(process, ToThread::GiveUp(asked));
                wake.into_iter().for_each(Wake::wake);
                self.crowd.given_up = Some(self.desk.now);
                return self.look_again(self.desk.now + PATIENCE);
            }
        }
        if self.is_full() { GivenUp::Nobody } else { GivenUp::Now }
    }

    fn count_all(&mut self) {
        let mut census = Census { at: self.desk.now, missing: 0, of: HashMap::new(), all: Shares::default() };
        census.add(Holder::Master, Holdings::of(self.conns.iter().map(|(_, held)| &*held.conn)));
        let state = self.shared.table.lock();
        let mut queues = Holdings::default();
        for group in state.pool.groups() {
            for (visitor, count) in group.queue_shares().each() {
                queues.shares.add(visitor, count);
                queues.least.insert(visitor, Grade::Waits);
            }
        }
        let asked = state.threads.values().filter_map(|thread| thread.send(ToThread::Count(self.desk.now)).ok());
        let wakes: Vec<_> = asked.collect();
        drop(state);
        census.add(Holder::Queues, queues);
        census.missing = wakes.len();
        wakes.into_iter().for_each(Wake::wake);
        self.crowd.census = Some(census);
    }

    /// A thread has counted what it has.
    pub(super) fn counted(&mut self, asked: Instant, process: ProcessId, holdings: Holdings) {
        let Some(census) = self.crowd.census.as_mut().filter(|census| census.at == asked) else { return };
        census.add(Holder::Thread(process), holdings);
        census.missing = census.missing.saturating_sub(1);
        if census.missing == 0 && self.crowd.pending.is_some() {
            self.accept_after = None;
        }
    }

    /// A thread has given up what it was asked to.
    pub(super) fn gave_up(&mut self) {
        if self.crowd.given_up.is_some() && !self.is_full() {
            self.accept_after = None;
        }
    }

    fn look_again(&mut self, at: Instant) -> GivenUp {
        self.accept_after = Some(at);
        GivenUp::Soon
    }
}

/// Connections that go at a time.
const AT_ONCE: usize = 64;
/// What the event loops have to answer.
const PATIENCE: Duration = Duration::from_millis(250);
/// For so long it is known what clients have.
const LASTS: Duration = Duration::from_millis(200);
