//! How many processes a group has: which numbers are wanted, when there are to be more of them, and when fewer.
//!
//! One more is wanted when a request waits and nothing is coming for it; it is the lowest number that is not wanted yet, so that number 1
//! is there whenever any is. One that has had nothing to do for long goes, number 1 last. A start that fails is given up at once: what
//! still waits asks for it again when the backoff is over.

use std::cmp::Reverse;

use super::backoff::{Crashes, PortTries};
use super::group::Ending;
use super::machine::Limit;
use super::process::Process;
use super::walk::Walk;
use super::*;

/// One number of a group.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Place {
    pub wanted: Wanted,
    pub crashes: Crashes,
    pub ports: PortTries,
}

/// Whether there is to be a process at a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Wanted {
    #[default]
    No,
    /// As long as the one that was started there is on its way: nothing has served there yet.
    Tried,
    Yes,
}

/// A process that a group wants to start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    pub number: Number,
    pub generation: Generation,
    pub what: What,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum What {
    /// Nothing serves at a number that is wanted.
    Fill,
    /// One more number.
    Grow,
    /// Something serves there, and is to be replaced.
    Replace,
}

/// A wish that is not granted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Held {
    pub what: What,
    #[serde(with = "crate::moment")]
    pub since: Instant,
    pub by: Limit,
}

impl Place {
    /// Of all numbers that there may be; the first `min` are wanted.
    pub fn row(sizes: Sizes) -> Vec<Self> {
        let wanted = |number| if number <= sizes.min { Wanted::Yes } else { Wanted::No };
        (1..=sizes.max).map(|number| Self { wanted: wanted(number), ..Self::default() }).collect()
    }
}

impl<W> Group<W> {
    /// The numbers at which there is to be a process.
    pub(super) fn numbers(&self) -> impl Iterator<Item = Number> + Clone + use<'_, W> {
        (1..).zip(&self.places).filter(|(_, place)| place.wanted != Wanted::No).map(|(number, _)| Number(number))
    }

    /// How many processes there are to be.
    pub(super) fn wanted(&self) -> u16 {
        self.numbers().fold(0, |count, _| count + 1)
    }

    pub(super) fn place(&self, number: Number) -> &Place {
        &self.places[usize::from(number.0 - 1)]
    }

    pub(super) fn place_mut(&mut self, number: Number) -> &mut Place {
        &mut self.places[usize::from(number.0 - 1)]
    }

    // ── more ──

    /// What is to be started next, as far as this group knows. What is missing comes before anything else; one more, which may have to wait for
    /// long, holds up no walk.
    pub(super) fn wishes(&self, now: Instant) -> impl Iterator<Item = Start> + use<W> {
        let wish = |what, found: Option<(Number, Generation)>| {
            let wish = found.map(|(number, generation)| Start { number, generation, what });
            wish.filter(|wish| self.ending == Ending::No && self.has_place_for(wish))
        };
        let (fill, start) = (self.to_fill(now), self.to_start(now));
        let first = start.filter(|(number, _)| self.is_missing(*number));
        // Also when there is no place for it yet.
        let wishes = match (fill, first) {
            (None, None) => [wish(What::Grow, self.to_grow(now)), wish(What::Replace, start)],
            (Some(_), _) => [wish(What::Fill, fill), None],
            (None, Some(_)) => [wish(What::Replace, first), None],
        };
        wishes.into_iter().flatten()
    }

    /// One more number, and what is to be started there: what is known to work, or with nothing known what is being tried.
    pub(super) fn to_grow(&self, now: Instant) -> Option<(Number, Generation)> {
        let number = (1..).zip(&self.places).find(|(_, place)| place.wanted == Wanted::No).map(|(number, _)| Number(number))?;
        if !self.may_be(number) {
            return None;
        }
        let walk = self.walk.as_ref().filter(|walk| walk.resolved);
        // What waits for one process and no other needs no new one.
        let waits = self.queue.has_for(number) && self.pause.is_none();
        let generation = match walk {
            Some(walk) if self.is_to_be_tried(walk) => walk.target,
            walk if waits && !self.is_one_coming() => self.good.or(walk.map(|walk| walk.target))?,
            Some(_) | None => return None,
        };
        let is_free = self.ending == Ending::No && !self.has_to_leave_first(number);
        (is_free && self.may_spawn(number, generation, now)).then_some((number, generation))
    }

    /// A walk that somebody asked for comes to a group without a process: it starts one, to see whether it works. At the start of rota
    /// that waits for the first request.
    fn is_to_be_tried(&self, walk: &Walk) -> bool {
        let fresh = walk.told.is_none() && walk.back.is_none() && walk.skipped.is_empty();
        self.wanted() == 0 && fresh && walk.ask.trigger != Trigger::Boot
    }

    /// Something will serve soon where nothing does.
    fn is_one_coming(&self) -> bool {
        let serves = |number| self.at(number).any(Process::is_serving);
        let follows = |number| self.is_missing(number) && self.has_to_leave_first(number);
        self.makes_room.is_some()
            || self.numbers().any(follows)
            || self.processes.iter().any(|process| process.is_coming() && !serves(process.number))
    }

    /// No more than `surge` beside those that are wanted, nor beside those that may be: what drains is counted.
    fn has_place_for(&self, wish: &Start) -> bool {
        let surge = usize::from(self.settings.surge);
        let wanted = self.numbers().chain((wish.what == What::Grow).then_some(wish.number));
        let there = self.counted().filter(|process| wanted.clone().any(|number| number == process.number)).count();
        there < wanted.count() + surge && self.counted().count() < usize::from(self.settings.processes.max) + surge
    }

    /// The wish is granted.
    pub(super) fn spawn(&mut self, wish: Start, is_retry: bool, now: Instant) -> Step<W> {
        let Start { number, generation, what } = wish;
        self.last_serial += 1;
        let id = ProcessId { group: self.id, serial: self.last_serial };
        let lifespan = wear::of_process(self.settings.lifespan, id.serial);
        self.counts.starts += 1;
        self.processes.push(Process { is_retry, ..Process::new(id, number, generation, self.settings.concurrency, lifespan, now) });
        if what == What::Grow {
            self.place_mut(number).wanted = Wanted::Tried;
        }
        self.checked();
        Step::Spawn { id, name: self.name(number, generation) }
    }

    /// It is one more than there were, and could be done without.
    pub fn is_one_more(&self, id: ProcessId) -> bool {
        let Some(number) = self.find(id).map(|process| process.number) else { return false };
        let alone = self.at(number).filter(|process| !process.is_leaving()).count() == 1;
        if self.only_tries() && self.at(number).any(Process::is_serving) {
            return true;
        }
        alone && self.any_serving() && self.place(number).wanted == Wanted::Tried
    }

    /// What was tried at a number and has come to nothing is not wanted any more.
    pub(super) fn give_up(&mut self) {
        for index in 0..self.places.len() {
            let number = Number(index as u16 + 1);
            if self.place(number).wanted == Wanted::Tried && self.is_missing(number) {
                self.place_mut(number).wanted = Wanted::No;
            }
        }
    }

    // ── fewer ──

    /// One at a number that there is not to be any more goes, whatever it has to do.
    pub(super) fn dismiss_surplus(&mut self, now: Instant) -> Option<Step<W>> {
        let index = self.to_dismiss()?;
        Some(self.dismiss(index, WhyDrain::Fewer, now))
    }

    /// One that had nothing to do for long goes.
    pub(super) fn shrink(&mut self, now: Instant) -> Option<Step<W>> {
        // A walk replaces all that are there, and what resists keeps what it has.
        if self.walk.is_some() || self.resists.is_some() || self.loss().is_some() {
            return None;
        }
        let idle = self.settings.processes.idle;
        let index = self.longest_idle().filter(|index| now >= self.processes[*index].idle + idle)?;
        Some(self.dismiss(index, WhyDrain::Idle(idle), now))
    }

    /// The process above `min` that has been idle for longest, if one can go: number 1 only as the last.
    pub(super) fn longest_idle(&self) -> Option<usize> {
        let busy = self.ending != Ending::No || self.pause.is_some() || self.loss().is_some();
        let last = self.wanted() == 1;
        // One that is tried may come to nothing.
        let sure = self.places.iter().filter(|place| place.wanted == Wanted::Yes).count();
        if busy || sure <= usize::from(self.settings.processes.min) {
            return None;
        }
        let others = |process: &Process| self.counted().filter(|other| other.number == process.number).count();
        let alone = |process: &Process| others(process) == 1 && (last || process.number != FIRST);
        let idle = |index: &usize| self.processes[*index].is_idle() && alone(&self.processes[*index]);
        (0..self.processes.len()).filter(idle).min_by_key(|index| (self.processes[*index].idle, Reverse(self.processes[*index].number)))
    }

    pub(super) fn dismiss(&mut self, index: usize, why: WhyDrain, now: Instant) -> Step<W> {
        let (id, number) = (self.processes[index].id, self.processes[index].number);
        // It goes in good order: a crash of the next one here is no second in a row.
        *self.place_mut(number) = Place::default();
        self.processes[index].drain(now);
        self.checked();
        Step::Drain { id, why }
    }

    /// When one has been idle for long enough, if nothing comes in between. One that has a session may be at its end right after `seen`.
    pub(super) fn idle_ends(&self, seen: Option<Instant>) -> impl Iterator<Item = Instant> {
        let shrinks = self.wanted() > self.settings.processes.min && self.walk.is_none() && self.resists.is_none() && self.loss().is_none();
        let idle = self.settings.processes.idle;
        let serving = self.processes.iter().filter(move |process| shrinks && process.is_serving());
        serving.filter_map(move |process| if process.is_idle() { Some(process.idle) } else { seen }).map(move |since| since + idle)
    }

    /// One of its processes, which it does not need, would make the room that another group waits for.
    pub(super) fn could_make_room(&self) -> bool {
        self.room_is_wanted && self.can_make_room().is_some()
    }

    /// Which of its processes can go for another group. What a walk replaces stays.
    pub(super) fn can_make_room(&self) -> Option<usize> {
        self.longest_idle().filter(|_| self.walk.is_none())
    }

    // ── what holds ──

    pub(super) fn check_sizes(&self) -> Result<(), &'static str> {
        let (min, max) = (self.settings.processes.min, self.places.len());
        let (wanted, surge) = (self.wanted(), usize::from(self.settings.surge));
        if wanted < min || usize::from(wanted) > max {
            return Err("fewer or more numbers are wanted than may be");
        }
        if wanted > 0 && self.place(FIRST).wanted == Wanted::No {
            return Err("others are wanted and number 1 is not");
        }
        let there = self.counted().filter(|process| self.place(process.number).wanted != Wanted::No).count();
        if there > usize::from(wanted) + surge || self.counted().count() > max + surge {
            return Err("more processes than wanted and surge");
        }
        let is_wanted = |process: &Process| process.is_leaving() || self.place(process.number).wanted != Wanted::No;
        if !self.processes.iter().all(is_wanted) {
            return Err("a process serves or is coming where none is wanted");
        }
        Ok(())
    }
}

/// The one that is there whenever any is.
const FIRST: Number = Number(1);
