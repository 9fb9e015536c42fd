//! What people ask for: walks, their end, holds, the replacement of one process, the end of everything.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rota::ids::{Generation, Number};
use rota::pool::{Aim, Limit, NoAbort, Outcome, Trigger};

use super::books::{Check, FIRST, Pending, ensure};
use super::tally::Saw;
use super::world::World;

impl World {
    /// Some request for a walk.
    pub fn ask(&mut self, app: usize) -> Check {
        let dir = |number: u64| -> Arc<Path> { Arc::from(Path::new(if number == 0 { "/srv/a" } else { "/srv/b" })) };
        let aim = match self.rng.within(0, 99) {
            0..50 => Aim::Root,
            50..62 => Aim::AllAtOnce,
            62..90 => Aim::Deploy(dir(self.rng.within(0, 1))),
            _ => Aim::Rollback(dir(self.rng.within(0, 1))),
        };
        self.restart(app, aim).map(drop)
    }

    pub fn restart(&mut self, app: usize, aim: Aim) -> Result<Generation, String> {
        let generation = self.pool.group_mut(self.apps[app].id).restart(Trigger::Command, aim.clone(), self.now);
        self.say(|| format!("app{app} {aim:?}: {generation}"));
        self.book(app, generation, aim, false)?;
        self.check()?;
        Ok(generation)
    }

    pub fn restart_all(&mut self) -> Check {
        let asked = self.pool.restart_all(Trigger::Signal, self.now);
        self.say(|| format!("restart all: {asked:?}"));
        for (app, (_, generation)) in asked.into_iter().enumerate() {
            self.book(app, generation, Aim::Root, true)?;
            if !self.turns.contains(&(app, generation)) {
                self.turns.push((app, generation));
            }
        }
        self.check()
    }

    /// What has not begun is joined by its like, and superseded by anything else.
    fn book(&mut self, app: usize, generation: Generation, aim: Aim, in_turn: bool) -> Check {
        self.tally.saw(Saw::Restart);
        self.awake = true;
        let books = &mut self.apps[app];
        if let Some(pending) = books.pending.as_mut().filter(|pending| pending.aim == aim) {
            ensure!(generation == pending.generation, "{aim:?} is asked for already, as {}", pending.generation);
            pending.in_turn &= in_turn;
            self.tally.saw(Saw::Joined);
            return Ok(());
        }
        let newest = *books.asked.keys().max().unwrap_or(&FIRST);
        ensure!(generation == newest.next(), "{generation} follows {newest}");
        match &aim {
            Aim::AllAtOnce => self.tally.saw(Saw::AtOnce),
            Aim::Deploy(_) | Aim::Rollback(_) => self.tally.saw(Saw::Deploy),
            Aim::Root => {}
        }
        books.asked.insert(generation, None);
        books.aims.insert(generation, aim.clone());
        if books.ending {
            books.expected.insert(generation, Outcome::Stopped);
        } else if let Some(older) = books.pending.replace(Pending { generation, aim, in_turn }) {
            books.expected.insert(older.generation, Outcome::Superseded { by: generation });
        }
        Ok(())
    }

    /// What is under way is walked back; what has not come so far ends there.
    pub fn abort(&mut self, app: usize) -> Check {
        let group = self.pool.group_mut(self.apps[app].id);
        let (able, view) = (group.can_abort(), group.view(self.now));
        let answer = group.abort();
        self.say(|| format!("abort app{app}: {answer:?}"));
        self.awake = true;
        ensure!(able == answer.is_ok(), "said to be able: {able}, and answered {answer:?}");
        let books = &mut self.apps[app];
        let waiting: Vec<Generation> =
            books.pending.take().map(|pending| pending.generation).into_iter().chain(books.resolving.take()).collect();
        let mut newest = None;
        for generation in waiting {
            // The first start cannot be called off: there is nothing else.
            if generation != FIRST {
                books.expected.insert(generation, Outcome::Aborted { replaced: 0 });
                newest = newest.max(Some(generation));
            }
        }
        let under_way = view.walk.filter(|walk| books.walk == Some(walk.generation));
        if let (Some(walk), Some(_)) = (&under_way, view.good) {
            if walk.kind != "back" {
                let replaced = books.serving_of(walk.generation) as u16;
                books.expected.insert(walk.generation, Outcome::Aborted { replaced });
                books.trial = None;
                books.forget_all_room();
                if replaced > 0 {
                    self.tally.saw(Saw::AbortedHalfWay);
                }
            }
            newest = Some(walk.generation);
        }
        match answer {
            Ok(generation) => ensure!(newest == Some(generation), "{generation} is called off instead of {newest:?}"),
            Err(NoAbort::FirstStart) => ensure!(newest.is_none() && view.good.is_none(), "no first start: {newest:?}"),
            Err(NoAbort::NothingUnderWay) => ensure!(newest.is_none(), "{newest:?} is under way"),
        }
        self.check()
    }

    pub fn pause(&mut self, app: usize) -> Check {
        let until = self.now + Duration::from_millis(self.rng.within(0, 40_000));
        let held = self.pool.group_mut(self.apps[app].id).pause(until, self.now);
        self.say(|| format!("pause app{app}: {held}"));
        self.awake = true;
        let books = &mut self.apps[app];
        ensure!(held != books.ending, "an app that ends is held, or another is not");
        if held {
            books.paused = Some(until);
            self.resumed.remove(&app);
            self.tally.saw(Saw::Paused);
        }
        self.check()
    }

    pub fn resume(&mut self, app: usize) -> Check {
        let resumed = self.pool.group_mut(self.apps[app].id).resume(self.now);
        self.say(|| format!("resume app{app}: {resumed}"));
        self.awake = true;
        let books = &mut self.apps[app];
        ensure!(resumed == books.paused.is_some(), "resumed: {resumed}, held: {:?}", books.paused);
        books.paused = books.paused.map(|_| self.now);
        self.resumed.insert(app);
        self.check()
    }

    pub fn recycle(&mut self, app: usize) -> Check {
        let number = Number(self.rng.within(1, u64::from(self.apps[app].settings.processes.max)) as u16);
        let books = &mut self.apps[app];
        let id = self.pool.group_mut(books.id).recycle(number);
        let serves = books.procs.iter_mut().find(|proc| proc.serving && proc.number == number);
        ensure!(serves.as_ref().map(|proc| proc.id) == id, "{id:?} is recycled, {serves:?} serves");
        if let Some(proc) = serves {
            proc.recycled = true;
        }
        self.say(|| format!("recycle {id:?}"));
        self.awake = true;
        self.check()
    }

    pub fn stop(&mut self, at_once: bool) -> Check {
        self.say(|| format!("stop, at once: {at_once}"));
        if at_once {
            self.pool.stop_now(self.now)
        } else {
            self.pool.stop(self.now)
        }
        for (app, books) in self.apps.iter_mut().enumerate() {
            if !books.ending && books.paused.is_some() {
                books.paused = Some(self.now);
                self.resumed.insert(app);
            }
            books.ending = true;
            books.ending_now |= at_once;
            for generation in books.pending.take().map(|pending| pending.generation).into_iter().chain(books.resolving.take()) {
                books.expected.insert(generation, Outcome::Stopped);
            }
            books.trial = None;
        }
        self.awake = true;
        self.check()
    }

    /// Holds that are over by now.
    pub fn learn_what_is_held(&mut self) -> Check {
        for (app, books) in self.apps.iter_mut().enumerate() {
            let has_no_room = self.pool.group(books.id).view(self.now).held.is_some_and(|(by, _)| by == Limit::Processes);
            if let Some(walk) = books.walk.filter(|_| has_no_room && books.wanted() == 0) {
                books.had_no_room.insert(walk);
            }
            let held = self.pool.group(books.id).is_paused();
            let over = books.paused.is_none_or(|until| until <= self.now);
            ensure!(held || over, "app{app} is no longer held, and shall be until {:?}", books.paused);
            ensure!(!held || books.paused.is_some(), "app{app} is held for no reason");
            if !held && books.paused.take().is_some() && !self.resumed.remove(&app) {
                self.tally.saw(Saw::PauseRanOut);
            }
        }
        Ok(())
    }
}
