//! Settings that change while everything runs, and apps that come and go with them (`rota reload`).
//!
//! What concerns a time or a bound holds at once. How many processes there may be, and how one follows another, changes when every process
//! serves: what is under way between them was begun by the other rule.

use super::group::Ending;
use super::process::Process;
use super::size::{Place, Wanted};
use super::walk::Walk;
use super::*;

impl<W> Pool<W> {
    /// Other limits over all groups. What is there already stays; nothing is started beyond them.
    pub fn limit(&mut self, limits: Limits) {
        self.wanted_limits = limits;
        self.settle_limits();
    }

    /// As near to the limits that are wanted as what is there lets them be.
    pub(super) fn settle_limits(&mut self) {
        if self.limits != self.wanted_limits {
            let booting: usize = self.groups.iter().map(Group::boots_now).sum();
            let Limits { processes, spawning } = self.wanted_limits;
            self.limits = Limits { processes: processes.max(self.shares()), spawning: spawning.max(booting.div_ceil(2)) };
        }
    }
}

impl<W> Group<W> {
    /// Other settings from now on.
    pub fn configure(&mut self, settings: Settings) {
        let Settings { processes, surge, leader, .. } = self.settings;
        self.queue_bound = self.queue.len();
        for process in &mut self.processes {
            process.lifespan = wear::of_process(settings.lifespan, process.id.serial);
        }
        self.settings = Settings { processes, surge, leader, ..settings.clone() };
        self.coming = Some(settings).filter(|coming| *coming != self.settings);
        self.checked();
    }

    /// The app is not served any more: what came in is answered, then its processes go.
    pub fn take_out(&mut self, now: Instant) {
        self.is_removed = true;
        self.stop(now);
    }

    /// The app is gone, or its processes are on their way.
    pub fn is_removed(&self) -> bool {
        self.is_removed
    }

    /// An app that was removed is to be served again, from what its root names now. What serves of it goes on.
    pub fn take_back(&mut self, settings: Settings, now: Instant) -> Generation {
        self.is_removed = false;
        self.ending = Ending::No;
        if self.good.is_some() {
            self.configure(settings);
            return self.restart(Trigger::Reload, Aim::Root, now);
        }
        // It was removed before any release of it was accepted.
        let first = self.last_generation.next();
        (self.last_generation, self.last_asked) = (first, now);
        let ask = Ask { generation: first, trigger: Trigger::Reload, aim: Aim::Root, since: now, in_turn: false };
        self.walk = Some(Walk::new(ask, false, None));
        self.backoff.reset();
        self.configure(settings);
        first
    }

    /// Who asked for the first start.
    pub fn is_asked_by(&mut self, trigger: Trigger) {
        if let Some(walk) = &mut self.walk {
            walk.ask.trigger = trigger;
        }
    }

    /// Takes over what waits until every process serves.
    pub(super) fn adopt(&mut self) {
        self.drop_surplus_places();
        if self.coming.is_none() || self.ending != Ending::No || !self.processes.iter().all(Process::is_serving) {
            return;
        }
        let Some(settings) = self.coming.take() else { return };
        let Sizes { min, max, .. } = settings.processes;
        self.settings = settings;
        let places = self.places.len().max(usize::from(max));
        self.places.resize_with(places, Place::default);
        for place in &mut self.places[..usize::from(min)] {
            place.wanted = Wanted::Yes;
        }
        // Of those above, what serves goes when something serves below ([`Self::to_dismiss`]).
        for number in (max + 1..).map(Number).take(places - usize::from(max)) {
            if self.at(number).next().is_none() {
                *self.place_mut(number) = Place::default();
            }
        }
        self.makes_room = None;
    }

    /// Numbers above the highest that there may be are forgotten once nothing is left there.
    fn drop_surplus_places(&mut self) {
        let highest = self.processes.iter().map(|process| process.number.0).max().unwrap_or(0);
        self.places.truncate(usize::from(highest.max(self.settings.processes.max)));
    }

    /// One that serves at a number that there is not to be any more, while others serve.
    pub(super) fn to_dismiss(&self) -> Option<usize> {
        let max = self.settings.processes.max;
        let serves_below = self.processes.iter().any(|process| process.is_serving() && process.number.0 <= max);
        let alone = |process: &Process| self.counted().filter(|other| other.number == process.number).count() == 1;
        let above = |process: &Process| process.is_serving() && process.number.0 > max && alone(process);
        if !serves_below || self.ending != Ending::No || self.pause.is_some() {
            return None;
        }
        self.processes.iter().position(above)
    }

    /// Of a number that may have one.
    pub(super) fn may_be(&self, number: Number) -> bool {
        number.0 <= self.settings.processes.max
    }
}
