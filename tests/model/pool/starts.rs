//! The way of a process into service in the simulated world: its start, its fate, its turn to serve.

use std::time::Instant;

use rota::ids::{Generation, Number, ProcessId, ProcessName};
use rota::pool::{FailureKind, WhyDrain};

use super::books::{App, Check, FIRST, LEADER, Proc, Release, ensure};
use super::steps::app_of;
use super::tally::Saw;
use super::world::{Event, World};

impl App {
    /// A start is of what is wanted, where it is wanted, and no more of them than may be.
    fn check_start(&self, number: Number, generation: Generation, now: Instant) -> Result<bool, String> {
        ensure!(!self.ending, "a start for a group that ends");
        ensure!(self.good == Some(generation) || self.walk == Some(generation), "neither good nor wanted");
        ensure!(!self.has_failed(generation, number), "it failed, and is started again");
        ensure!(self.kept.contains(&generation), "its release has been dropped");
        let here = self.serving().find(|proc| proc.number == number);
        ensure!(here.is_none_or(|proc| proc.generation != generation || self.may_be_replaced(proc, now)), "it serves there already");
        ensure!(
            !self.there().any(|proc| proc.number == number && proc.is_coming() && proc.generation == generation),
            "it is coming already"
        );
        let walk = self.walk.filter(|walk| !self.has_failed(*walk, number));
        // One that had failed before anything was known to be good is not tried again once something is.
        let given_up = self.good == Some(generation) && walk.is_some_and(|walk| self.goes_on.contains(&walk));
        match here {
            Some(_) => {
                ensure!(walk.or(self.good) == Some(generation) || given_up, "replaced by what is not wanted");
                let watched = self.is_watched(generation, now) && self.serving_of(generation) > 0;
                let leaves = self.counted().find(|proc| proc.relieved);
                ensure!(self.walk.is_some() || leaves.is_none(), "replaced while {leaves:?} has not left yet");
                ensure!(self.walk != Some(generation) || !watched, "a second process is replaced while the first is watched");
            }
            // Nobody planned this one: no release that has not shown that it works, unless the good one is held up.
            None if !self.wanted_numbers().contains(&number) => self.check_growth(number, generation, now)?,
            None if self.good.is_some() && !self.is_at_once() && !self.taken_out.contains(&number) => {
                let accepted = walk.is_some_and(|walk| self.accepts(walk, now));
                let good = |proc: &Proc| Some(proc.generation) == self.good;
                let held_up = self.there().any(|proc| good(proc) && proc.is_coming()) || self.ended_of_late(now).any(good);
                ensure!(self.good == Some(generation) || accepted || held_up, "a start that nobody planned, of what is not known to work");
                ensure!(!accepted || walk == Some(generation) || given_up, "an old release is started beside a newer one that works");
            }
            None => {}
        }
        // What had to go because there is no room for both must be gone, unless a failure has changed the plan.
        let no_room = self.taken_out.contains(&number) && (self.postponed == Some(number) || self.settings.surge == 0);
        let as_planned =
            self.walk.is_none_or(|walk| walk == generation) && !self.ended_of_late(now).any(|proc| proc.number == number && proc.failed);
        let leaves = self.there().any(|proc| proc.number == number);
        ensure!(self.is_at_once() || !(no_room && as_planned && leaves), "started beside the one that makes room for it");
        let coming = self.there().filter(|proc| proc.is_coming() && proc.generation == generation).count();
        let batch = usize::from(self.settings.surge).max(1);
        let proven = self.has_proved(generation, now) && self.walk.is_some();
        let most = if self.is_at_once() && self.walk == Some(generation) {
            self.wanted().max(1)
        } else if proven {
            batch
        } else {
            1
        };
        ensure!(coming < most, "{coming} of it boot already");
        Ok(coming > 0 && !self.is_at_once())
    }
}

impl App {
    /// One more than are wanted: for a request that waits, or because a walk comes to an app that has none.
    fn check_growth(&self, number: Number, generation: Generation, now: Instant) -> Check {
        let numbers = self.wanted_numbers();
        let lowest = (1..=self.settings.processes.max).map(Number).find(|number| !numbers.contains(number));
        ensure!(lowest == Some(number), "one more at {number}, where {lowest:?} is the lowest that is free");
        let tried = numbers.is_empty() && self.walk == Some(generation) && generation != FIRST;
        let waits = self.first_for(number).is_some() && self.paused.is_none() && !self.is_one_coming();
        let missing = numbers.into_iter().find(|number| self.is_missing(*number));
        ensure!(missing.is_none() || self.ended_of_late(now).next().is_some(), "one more before {missing:?}");
        ensure!(tried || waits, "one more for no reason");
        ensure!(tried || self.good.is_none_or(|good| good == generation), "one more of what is not known to work");
        Ok(())
    }
}

impl World {
    pub fn spawn(&mut self, id: ProcessId, name: &ProcessName) -> Check {
        let app = app_of(id);
        let (number, generation) = (name.number, name.generation);
        self.check_boots()?;
        let books = &mut self.apps[app];
        books.unbind();
        ensure!(books.procs.iter().all(|proc| proc.id != id), "{id:?} is used again");
        let in_batch = books.check_start(number, generation, self.now).map_err(|what| format!("{name}: {what}"))?;
        let release = *books.releases.get(&generation).ok_or("a release that was not resolved")?;
        let proc = books.procs.len();
        if !books.wanted_numbers().contains(&number) {
            books.numbers.insert(number, false);
            self.tally.saw(if proc == 0 { Saw::FirstForARequest } else { Saw::Grown });
        }
        books.procs.push(Proc::new(id, number, generation, self.now));
        // Starting takes time, in which other threads have the table.
        self.meanwhile(15)?;
        if self.rng.percent(self.apps[app].short) && self.postpone(app, proc)? {
            return Ok(());
        }
        self.tally.saw(Saw::Spawn);
        if in_batch {
            self.tally.saw(Saw::Batch);
        }
        let fate = self.fate(release);
        if fate == Release::CannotSpawn {
            return self.fail(app, proc, FailureKind::Spawn("fork: Cannot allocate memory (os error 12)".to_owned()));
        }
        self.pids += 1;
        let (children, deaf) = (self.rng.percent(20), self.rng.percent(10));
        let it = &mut self.apps[app].procs[proc];
        (it.pid, it.leader, it.children, it.deaf) = (Some(self.pids), true, children, deaf);
        self.pool.group_mut(id.group).spawned(id, self.pids, self.now);
        self.plan_life(app, proc, fate);
        Ok(())
    }

    /// Memory is short. True: the one that serves there goes first.
    fn postpone(&mut self, app: usize, proc: usize) -> Result<bool, String> {
        let (id, number) = (self.apps[app].procs[proc].id, self.apps[app].procs[proc].number);
        let postponed = self.pool.group_mut(id.group).postpone(id, "96 MiB free, 128 MiB needed".to_owned());
        self.say(|| format!("    postponed {id:?}: {postponed}"));
        let books = &mut self.apps[app];
        let older = books.serving().any(|other| other.number == number);
        ensure!(postponed == older, "{id:?} is postponed: {postponed}, an older one serves: {older}");
        let alone = books.there().filter(|other| other.number == number && !other.is_leaving()).count() == 1;
        let could_be_done_without = alone && books.numbers.get(&number) == Some(&false) && books.serving().count() > 0;
        ensure!(postponed || self.pool.group(id.group).is_one_more(id) == could_be_done_without, "{id:?}: needed or not?");
        if could_be_done_without && !postponed {
            let kind = FailureKind::Spawn("96 MiB free, 128 MiB needed".to_owned());
            return self.fail(app, proc, kind).map(|()| true);
        }
        if postponed {
            books.procs[proc].gone = true;
            let generation = books.procs[proc].generation;
            let wanted = books.good == Some(generation) || books.walk == Some(generation);
            if wanted && !books.has_failed(generation, number) {
                books.postponed = Some(number);
            }
            self.tally.saw(Saw::Postponed);
        }
        self.check()?;
        Ok(postponed)
    }

    fn fate(&mut self, release: Release) -> Release {
        let bad_luck = self.calm.is_none() && self.rng.percent(if release == Release::Flaky { 50 } else { 8 });
        let luck = self.rng.within(0, 3);
        match release {
            Release::Good | Release::Flaky | Release::Errs | Release::Slow if bad_luck => {
                [Release::CannotSpawn, Release::ExitsAtBoot, Release::HangsAtBoot, Release::DiesInProbation][luck as usize]
            }
            Release::Good | Release::Flaky | Release::Errs | Release::Slow => Release::Good,
            Release::CannotSpawn | Release::ExitsAtBoot | Release::HangsAtBoot | Release::DiesInProbation => release,
        }
    }

    fn plan_life(&mut self, app: usize, proc: usize, fate: Release) {
        let settings = &self.apps[app].settings;
        let (ready_limit, probation) = (settings.ready_timeout.as_millis() as u64, settings.probation.as_millis() as u64);
        let boot = self.rng.within(1, ready_limit / 2);
        match fate {
            Release::Good | Release::Flaky | Release::Errs | Release::Slow => self.plan(boot, Event::Ready { app, proc }),
            Release::ExitsAtBoot | Release::CannotSpawn => self.plan(boot, Event::LeaderExits { app, proc, status: (boot % 2) as i32 }),
            // One in four times its I/O thread says nothing either.
            Release::HangsAtBoot if self.rng.percent(25) => {}
            Release::HangsAtBoot => self.plan(ready_limit, Event::GivenUp { app, proc }),
            Release::DiesInProbation => {
                self.plan(boot, Event::Ready { app, proc });
                let dies = self.rng.within(0, probation.saturating_sub(1));
                self.plan(boot + dies, Event::LeaderExits { app, proc, status: 1 });
            }
        }
    }

    pub fn serve(&mut self, id: ProcessId, drains: Option<ProcessId>) -> Check {
        let now = self.now;
        let books = &self.apps[app_of(id)];
        let index = books.index(id)?;
        let new = &books.procs[index];
        let (number, generation) = (new.number, new.generation);
        ensure!(new.ready.is_some() && new.ended.is_none() && !new.serving, "{id:?} serves and is not ready");
        // It was to take the place of the one that failed, and was on its way already.
        let relieves = books
            .procs
            .iter()
            .any(|proc| proc.number == number && proc.generation == generation && books.may_be_replaced(proc, now) && proc.failed);
        ensure!(books.ending || relieves || !books.has_failed(generation, number), "{id:?} serves after its generation failed");
        let old = books.serving().find(|proc| proc.number == number);
        ensure!(old.map(|old| old.id) == drains, "{drains:?} drains for {id:?}, {old:?} serves there");
        let before = books.serving().count();
        if let Some(old) = old {
            ensure!(books.has_proved(generation, now), "{id:?} takes the place of {:?} and has not proved itself", old.id);
            let worn = books.may_be_replaced(old, now);
            let wanted = worn || books.walk.is_some();
            ensure!(wanted && (worn || old.generation != generation), "{:?} is replaced for no reason", old.id);
            if old.recycled {
                self.tally.saw(Saw::Recycled);
            } else if worn && books.walk.is_none() {
                self.tally.saw(Saw::WornOut);
            }
            self.tally.saw(Saw::Swap);
        } else if books.good.is_some_and(|good| good != generation) && before > 0 && !books.ending {
            ensure!(books.accepts(generation, now), "{id:?} serves and has not proved itself");
        }
        let books = &mut self.apps[app_of(id)];
        // Whatever waited for this number has been told by now that nothing serves there.
        books.unbind();
        if let Some(old) = drains {
            let old = books.index(old)?;
            books.procs[old].serving = false;
            books.procs[old].draining = Some(now);
            books.procs[old].relieved = books.walk.is_none();
        }
        books.procs[index].serving = true;
        books.procs[index].idle = now;
        books.numbers.insert(number, true);
        books.taken_out.remove(&number);
        books.postponed.take_if(|postponed| *postponed == number);
        ensure!(books.serving().count() >= before, "a swap leaves fewer that serve");
        Ok(())
    }

    /// An old process goes before its replacement is started.
    pub fn take_out(&mut self, id: ProcessId) -> Check {
        let (now, room) = (self.now, self.room());
        let books = &mut self.apps[app_of(id)];
        let index = books.index(id)?;
        let old = &books.procs[index];
        let (number, old_walk) = (old.number, books.walk.is_some_and(|walk| walk != old.generation));
        ensure!(
            old.serving
                && (books.may_be_replaced(old, now)
                    || old_walk
                    || books
                        .walk
                        .is_some_and(|walk| books.is_called_off(walk) || books.baked.contains(&walk) || books.has_failed(walk, number))),
            "{id:?} is taken out for no reason"
        );
        if !books.is_at_once() {
            let alone = books.is_exclusive() && number == LEADER;
            let has_to = books.settings.surge == 0 || books.postponed == Some(number) || alone;
            ensure!(has_to || room == 0, "{id:?} is taken out though there is room for both");
            if !has_to {
                books.postponed = Some(number);
                self.tally.saw(Saw::LeftFirst);
            }
            if alone {
                self.tally.saw(Saw::LeaderTakenOut);
            }
            let others = books.wanted_numbers().into_iter().filter(|other| *other != number);
            let missing = others.into_iter().find(|other| !books.serving().any(|proc| proc.number == *other));
            ensure!(missing.is_none(), "{id:?} is taken out while nothing serves at {missing:?}");
            ensure!(books.counted().count() == books.wanted(), "{id:?} is taken out beside others that come or go");
        }
        self.tally.saw(Saw::TakenOut);
        books.procs[index].serving = false;
        books.procs[index].draining = Some(now);
        books.procs[index].relieved = books.walk.is_none();
        books.taken_out.insert(number);
        Ok(())
    }
}

impl World {
    /// One above the least that has nothing to do goes: it had nothing for long, or another app needs its room.
    pub fn dismiss(&mut self, id: ProcessId, why: &WhyDrain) -> Check {
        let (app, now, room) = (app_of(id), self.now, self.room());
        let books = &self.apps[app];
        let longest = books.longest_idle().map(|proc| proc.id);
        ensure!(longest == Some(id), "{id:?} goes, {longest:?} is idle for longest");
        ensure!(books.walk.is_none(), "{id:?} goes in a walk");
        let index = books.index(id)?;
        let (number, idle) = (books.procs[index].number, books.procs[index].idle);
        match why {
            WhyDrain::Idle(limit) => {
                ensure!(*limit == books.settings.processes.idle && now >= idle + *limit, "{id:?} was not idle for so long");
                ensure!(self.pool.group(id.group).view(now).resists.is_none(), "{id:?} goes though its app resists");
                self.tally.saw(Saw::Shrunk);
            }
            WhyDrain::RoomFor(other) => {
                ensure!(room == 0, "{id:?} makes room where there is some");
                let other = self.apps.iter().find(|books| self.pool.group(books.id).app() == other).ok_or("for whom?")?;
                let missing = other.wanted_numbers().into_iter().any(|number| other.is_missing(number));
                let wishes = missing
                    || !other.waiting.is_empty()
                    || other.walk.is_some()
                    || other.serving().any(|proc| other.may_be_replaced(proc, now));
                ensure!(wishes && !other.ending && other.id != id.group, "{id:?} makes room for one that needs none");
                let others = self.apps.iter().filter(|books| books.id != other.id && books.walk.is_none());
                let longest = others.filter_map(|books| books.longest_idle()).map(|proc| proc.idle).min();
                ensure!(longest == Some(idle), "{id:?} makes room, and another was idle for longer");
                self.tally.saw(Saw::MadeRoom);
            }
            WhyDrain::Replaced | WhyDrain::Ends | WhyDrain::Fewer => return Err(format!("{id:?} is no such case")),
        }
        let books = &mut self.apps[app];
        books.numbers.remove(&number);
        // It goes in good order: what crashes here later is no second time.
        books.crashes.retain(|(at, _, _)| *at != number);
        books.procs[index].serving = false;
        books.procs[index].draining = Some(now);
        Ok(())
    }
}
