//! Walks in the simulated world: their release is resolved, is watched, and they end.

use std::time::Instant;

use rota::config::OnFailure;
use rota::ids::{Generation, GroupId, Number};
use rota::pool::{Aim, Ask, Failure, FailureKind, Outcome};

use super::books::{App, Check, FIRST, Release, ensure};
use super::tally::Saw;
use super::trial::{Trial, Verdict};
use super::world::World;

impl World {
    pub fn resolve(&mut self, group: GroupId, ask: &Ask) -> Check {
        let (app, generation) = (usize::from(group.0), ask.generation);
        self.check_turn(app, generation)?;
        let books = &mut self.apps[app];
        ensure!(!books.ending, "a release is resolved for a group that ends");
        ensure!(books.resolving.is_none(), "two releases are resolved at once");
        ensure!(matches!(books.asked.get(&generation), Some(None)), "{generation} was not asked for, or has ended");
        let begins = books.pending.take_if(|pending| pending.generation == generation);
        ensure!(begins.is_some() || !books.releases.contains_key(&generation), "{generation} is resolved again");
        ensure!(begins.is_some() || generation == FIRST, "{generation} does not wait to be resolved");
        ensure!(begins.is_none_or(|begins| begins.aim == ask.aim), "{generation} is not for {:?}", ask.aim);
        books.resolving = Some(generation);
        // Resolving takes time, in which people go on asking.
        self.meanwhile(25)?;
        let (fails, release) = (self.calm.is_none() && self.rng.percent(10), self.release(app));
        let books = &mut self.apps[app];
        let goes_in = books.resolving.take() == Some(generation);
        self.awake = true;
        if fails {
            if goes_in && generation != FIRST {
                let failure = nothing_there();
                let outcome = Outcome::Failed { failure, at: Number(1), replaced: 0, skipped: Vec::new() };
                books.expected.insert(generation, outcome);
            }
            self.pool.group_mut(group).resolved(generation, Err(nothing_there()), self.now);
            return self.check();
        }
        books.kept.insert(generation);
        if goes_in {
            books.releases.insert(generation, release);
            books.walk = Some(generation);
            let new = matches!(ask.aim, Aim::Root | Aim::Deploy(_)) && self.pool.group(group).good().is_some();
            if new && books.settings.bake.is_some() {
                books.to_watch.insert(generation);
            }
            books.forget_all_room();
            self.say(|| format!("    {generation} is {release:?}"));
        }
        self.pool.group_mut(group).resolved(generation, Ok(()), self.now);
        self.check()
    }

    fn release(&mut self, app: usize) -> Release {
        match self.rng.within(0, 99) {
            _ if self.good_releases => Release::Good,
            0..42 => Release::Good,
            42..50 => Release::Errs,
            50..54 => Release::Slow,
            54..62 => Release::Flaky,
            62..69 => Release::CannotSpawn,
            69..76 => Release::ExitsAtBoot,
            76..88 => Release::HangsAtBoot,
            // Without a probation nobody can die in it.
            _ if self.apps[app].settings.probation.is_zero() => Release::ExitsAtBoot,
            _ => Release::DiesInProbation,
        }
    }

    /// What was asked of all apps goes through them one after another.
    fn check_turn(&self, app: usize, generation: Generation) -> Check {
        let waits = self.apps[app].pending.as_ref().is_some_and(|pending| pending.generation == generation && pending.in_turn);
        let before = self.turns.iter().take_while(|turn| **turn != (app, generation));
        for (other, earlier) in before.filter(|_| waits) {
            let books = &self.apps[*other];
            let under_way = self.pool.group(books.id).view(self.now).walk.is_some_and(|walk| walk.generation == *earlier);
            // What failed and is tried again for lack of anything better holds nobody up, nor does what finds no room.
            let may_last = books.goes_on.contains(earlier) || books.had_no_room.contains(earlier);
            ensure!(!under_way || may_last, "app{app} {generation} begins before app{other} {earlier} has ended");
        }
        Ok(())
    }

    /// The first in turn that has not been told of does not wait.
    pub fn check_turns(&self) -> Check {
        let open = |(app, generation): &&(usize, Generation)| {
            self.apps[*app].asked.get(generation) == Some(&None) && !self.apps[*app].had_no_room.contains(generation)
        };
        let Some((app, generation)) = self.turns.iter().find(open) else { return Ok(()) };
        let books = &self.apps[*app];
        let waits = books.resolving.is_none() && books.pending.as_ref().is_some_and(|pending| pending.generation == *generation);
        ensure!(!waits, "it is the turn of app{app} {generation}, and it waits");
        Ok(())
    }

    /// A first start that was overtaken may still show that it works: then there is something to go back to.
    pub fn learn_what_works(&mut self) -> Check {
        for books in &mut self.apps {
            let good = self.pool.group(books.id).good();
            if let (None, Some(good)) = (books.good, good) {
                // A stop ends every walk, and tells so of one after the other.
                ensure!(books.ending || books.walk != Some(good), "{good} is good before its walk has ended");
                ensure!(books.has_proved(good, self.now), "{good} is good and has not proved itself");
                books.good = Some(good);
                books.found_good = Some(self.now);
            }
        }
        Ok(())
    }

    /// The verdicts of the pool on what is watched, of the apps that it has just looked at: all up to `last`.
    pub fn judge(&mut self, last: usize) -> Check {
        let now = self.now;
        for books in self.apps.iter_mut().take(last + 1) {
            let view = self.pool.group(books.id).view(now);
            if let Some(trial) = books.trial.take() {
                let (of, verdict, over) = (trial.of, trial.verdict(now), now >= trial.end);
                let is_baked = |failure: &Failure| matches!(failure.kind, FailureKind::Baked(_));
                let resisted = view.resists.as_ref().is_some_and(|resists| resists.generation == of && is_baked(&resists.failure));
                let said = view.last_failure.as_ref().is_some_and(|(name, failure, _)| name.generation == of && is_baked(failure));
                ensure!(!(resisted || said) || verdict != Verdict::NotWorse, "{of} is said to be worse, and is not: {trial:?}");
                let goes_on = books.walk == Some(of) && !books.is_called_off(of) && !books.ending;
                if resisted {
                    books.baked.insert(of);
                    books.forget_all_room();
                }
                if resisted || said {
                    self.tally.saw(Saw::Baked);
                } else if goes_on && books.settings.on_failure != OnFailure::Continue {
                    // One that died in the same moment may have ended it for that reason.
                    let resists = view.resists.as_ref().is_some_and(|resists| resists.generation == of);
                    let failed = resists || (1..=books.settings.processes.max).any(|number| books.has_failed(of, Number(number)));
                    ensure!(failed || verdict != Verdict::Worse, "{of} is worse, and goes on: {trial:?}");
                }
                if resisted || said || over {
                    books.watched.insert(of);
                    self.tally.saw(Saw::Watched);
                } else if goes_on {
                    books.trial = Some(trial);
                }
            } else if let (Some(of), Some(limits)) = (books.walk, books.settings.bake)
                && books.is_to_be_watched(of)
                && !books.watched.contains(&of)
                && !books.has_failed(of, Number(0))
                && books.first_proved(of, now)
            {
                books.trial = Some(Trial::new(of, limits, now));
            }
        }
        Ok(())
    }

    pub fn walk_ended(&mut self, group: GroupId, ask: &Ask, outcome: Outcome) -> Check {
        let (app, generation) = (usize::from(group.0), ask.generation);
        // With nothing to go back to a failed walk is told as failed, goes on, and ends once more.
        let again = self.apps[app].goes_on.remove(&generation);
        let books = &mut self.apps[app];
        ensure!(again || matches!(books.asked.get(&generation), Some(None)), "{generation} was not asked for, or was told twice");
        ensure!(books.aims.get(&generation) == Some(&ask.aim), "{generation} was not for {:?}", ask.aim);
        let expected = books.expected.get(&generation);
        let goes_on = self.pool.group(group).view(self.now).walk.is_some_and(|walk| walk.generation == generation);
        // What it goes back to does not start: whoever called it off is told that, and it goes on.
        let stuck = goes_on && matches!((expected, &outcome), (Some(Outcome::Aborted { .. }), Outcome::Failed { .. }));
        ensure!(
            again || stuck || expected.is_none_or(|expected| *expected == outcome),
            "{generation} must end as {expected:?}, is {outcome:?}"
        );
        let announced = self.pool.group(group).outcome(generation);
        ensure!(again == announced.is_some(), "the books tell {announced:?} of {generation} before it is announced");
        if goes_on && !again && matches!(outcome, Outcome::Failed { .. }) {
            books.goes_on.insert(generation);
            self.tally.saw(Saw::Failed);
        } else {
            let what = books.check_outcome(generation, &outcome, self.now)?;
            if let Some(what) = what {
                self.tally.saw(what);
            }
            if books.walk == Some(generation) {
                books.walk = None;
                books.trial = None;
                books.forget_all_room();
            }
        }
        let books = &mut self.apps[app];
        if !again {
            books.asked.insert(generation, Some(outcome.clone()));
        }
        // It is written to the disk before anybody is told.
        self.meanwhile(10)?;
        let first = self.apps[app].asked[&generation].clone();
        let pool = self.pool.group_mut(group);
        pool.announce(generation, outcome);
        ensure!(pool.outcome(generation) == first.as_ref(), "{generation} is told as {:?}, not {first:?}", pool.outcome(generation));
        self.apps[app].kept.retain(|kept| pool.is_needed(*kept));
        self.check()
    }
}

impl App {
    /// A process of it serves and has proved itself.
    fn first_proved(&self, generation: Generation, now: Instant) -> bool {
        let proved = |ready| now >= ready + self.settings.probation;
        self.serving().any(|proc| proc.generation == generation && proc.ready.is_some_and(proved))
    }

    /// What an outcome says is so.
    fn check_outcome(&mut self, generation: Generation, outcome: &Outcome, now: Instant) -> Result<Option<Saw>, String> {
        let complete = self.walk == Some(generation) && !self.ending;
        let there = self.counted().count();
        let all = |of: Generation| there == self.wanted() && self.serving_of(of) == there;
        let policy = self.settings.on_failure;
        Ok(match outcome {
            Outcome::Turned(turned) => return Err(format!("{turned}: nobody said what is answered")),
            Outcome::Done => {
                ensure!(complete && all(generation), "{generation} is done with {there} processes");
                ensure!(!self.serving().any(|proc| proc.recycled), "one that was to be replaced still serves");
                ensure!(!self.is_watched(generation, now), "{generation} is done before it was watched");
                self.good = Some(generation);
                Some(Saw::Done)
            }
            Outcome::Failed { failure, replaced, skipped, .. } => {
                let baked = matches!(failure.kind, FailureKind::Baked(_));
                ensure!(!(baked && complete), "{generation} did worse than the one before it, and stays");
                ensure!(skipped.is_empty() || policy == OnFailure::Continue, "a number was skipped");
                if !skipped.is_empty() {
                    ensure!(self.serving_of(generation) == usize::from(*replaced), "{replaced} are said to be replaced");
                    let has_it = |number| self.serving().any(|proc| proc.number == number && proc.generation == generation);
                    let without = self.wanted_numbers().into_iter().find(|number| !skipped.contains(number) && !has_it(*number));
                    ensure!(without.is_none(), "{without:?} is neither replaced nor skipped");
                    if *replaced > 0 {
                        self.good = Some(generation);
                    }
                }
                Some(Saw::Failed)
            }
            Outcome::RolledBack { failure, .. } => {
                let baked = matches!(failure.kind, FailureKind::Baked(_));
                ensure!(policy == OnFailure::Rollback || (baked && policy == OnFailure::Resist), "nobody wants to roll back");
                let good = self.good.ok_or("rolled back to nothing")?;
                ensure!(complete && good != generation && all(good), "{generation} is rolled back with {there} processes");
                Some(Saw::RolledBack)
            }
            Outcome::Superseded { by } => {
                let asked = self.aims.contains_key(by) && *by > generation;
                ensure!(asked && (self.releases.contains_key(by) || self.expected.contains_key(&generation)), "superseded by {by}");
                Some(Saw::Superseded)
            }
            Outcome::Aborted { .. } => {
                ensure!(matches!(self.expected.get(&generation), Some(Outcome::Aborted { .. })), "nobody called {generation} off");
                let good = self.good.filter(|_| complete);
                ensure!(good.is_none_or(all), "{generation} is called off, with {there} processes not all of {good:?}");
                Some(Saw::Aborted)
            }
            Outcome::Stopped => {
                ensure!(self.ending, "{generation} is stopped");
                None
            }
        })
    }
}

fn nothing_there() -> Failure {
    Failure { kind: FailureKind::Release("current: No such file or directory".to_owned()), output: Vec::new() }
}
