//! The restart thread of the simulated world: asks for steps, judges each by the naive model, and carries it out.

use std::time::{Duration, Instant};

use rota::config::OnFailure;
use rota::ids::{Generation, GroupId, ProcessId, ProcessName};
use rota::pool::{Failure, FailureKind, Outcome, Signal, SignalTo, Step};

use super::books::{Check, Proc, Release, ensure};
use super::world::{Event, World};

impl World {
    /// The restart thread looks if it has been woken; it may be slow to (`promptly`: it is not).
    pub fn look(&mut self, promptly: bool) -> Check {
        if !self.awake || (!promptly && self.rng.percent(20)) {
            return Ok(());
        }
        self.awake = false;
        self.sweep_groups();
        let mut steps = 0;
        while let Some(step) = self.pool.next_step(self.now) {
            self.say(|| format!("  {step:?}"));
            // What a walk has made good is told by its end.
            let made_good = |group: GroupId, generation| self.pool.group(group).view(self.now).good == Some(generation);
            if !matches!(&step, Step::WalkEnded { group, generation, .. } if made_good(*group, *generation)) {
                self.learn_what_works()?;
            }
            self.carry_out(step)?;
            self.check()?;
            self.sweep_groups();
            steps += 1;
            ensure!(steps < 200, "the steps have no end");
            if self.calm.is_none() && self.rng.percent(10) {
                self.meanwhile()?;
            }
        }
        self.learn_what_works()?;
        self.tally.steps += steps;
        if !self.awake {
            self.apps.iter().try_for_each(|app| app.check_seen_to(self.now))?;
        }
        ensure!(self.pool.next_deadline().is_none_or(|deadline| deadline > self.now), "the restart thread would spin");
        for app in &mut self.apps {
            app.fewest = app.fewest.min(app.serving().count());
        }
        if self.calm.is_some() || self.rng.percent(10) {
            self.check_views()?;
        }
        Ok(())
    }

    /// Another thread takes the lock between two steps.
    fn meanwhile(&mut self) -> Check {
        let app = self.rng.within(0, self.apps.len() as u64 - 1) as usize;
        match self.rng.within(0, 9) {
            0..=6 => self.arrive(app),
            7..=8 => self.leave(app),
            _ => {
                self.restart(app);
                self.check()
            }
        }
    }

    /// Tells the pool which groups of gone leaders are empty. A busy thread may come to it later.
    fn sweep_groups(&mut self) {
        let lingering: Vec<(ProcessId, u32)> = self.pool.groups().flat_map(|group| group.lingering()).collect();
        for (id, pgid) in lingering {
            let books = &self.apps[usize::from(id.group.0)];
            let Some(proc) = books.procs.iter().find(|proc| proc.id == id && proc.pid == Some(pgid)) else { continue };
            if proc.leader || proc.children {
                continue;
            }
            if self.calm.is_none() && self.rng.percent(10) {
                self.awake = true;
                continue;
            }
            self.pool.group_mut(id.group).group_empty(id, self.now);
        }
    }

    fn carry_out(&mut self, step: Step<u32>) -> Check {
        match step {
            Step::Resolve { group, generation } => self.resolve(group, generation),
            Step::Spawn { id, name } => self.spawn(id, &name),
            Step::Serve { id, granted, drains } => {
                self.serve(id, drains)?;
                granted.into_iter().try_for_each(|(claim, request)| self.granted_from_queue(app_of(id), claim, request))
            }
            Step::Drain { id } => {
                let books = &mut self.apps[app_of(id)];
                let proc = books.index(id)?;
                ensure!(books.ending && books.waiting.is_empty() && books.procs[proc].serving, "{id:?} is drained for no reason");
                books.procs[proc].serving = false;
                books.procs[proc].draining = Some(self.now);
                Ok(())
            }
            Step::Cut { id } => {
                let books = &mut self.apps[app_of(id)];
                let proc = books.index(id)?;
                let (limit, now, at_once, calm) = (books.settings.drain_timeout, self.now, books.ending_now, self.calm);
                let it = &mut books.procs[proc];
                let overdue = it.draining.is_some_and(|since| now >= since + limit) && it.claims > 0;
                ensure!(it.cut.is_none() && (at_once || overdue), "{id:?} is cut too early or twice");
                ensure!(at_once || is_punctual(now, it.draining.map(|since| since + limit), calm), "{id:?} is cut too late");
                it.serving = false;
                it.draining.get_or_insert(now);
                it.cut = Some(now);
                self.tally.cuts += 1;
                self.release_claims(app_of(id), proc);
                Ok(())
            }
            Step::Signal { id, pid, to, what } => self.signal(id, pid, to, what),
            Step::Gone { id, name } => {
                let books = &mut self.apps[app_of(id)];
                let proc = books.index(id)?;
                let it = &mut books.procs[proc];
                ensure!(!it.gone && !it.leader && !it.children, "{name} is called gone and is not");
                ensure!(self.pool.group(id.group).name_of(id).is_none(), "{name} is gone and in the table");
                it.gone = true;
                Ok(())
            }
            Step::WalkEnded { group, generation, outcome } => self.walk_ended(group, generation, outcome),
        }
    }

    fn resolve(&mut self, group: GroupId, generation: Generation) -> Check {
        let app = usize::from(group.0);
        let books = &mut self.apps[app];
        ensure!(!books.ending, "a release is resolved for a group that ends");
        ensure!(matches!(books.asked.get(&generation), Some(None)), "{generation} was not asked for, or has ended");
        if self.calm.is_none() && self.rng.percent(10) {
            let kind = FailureKind::Release("current: No such file or directory".to_owned());
            self.pool.group_mut(group).resolved(generation, Err(Failure { kind, output: Vec::new() }), self.now);
            return Ok(());
        }
        let release = match self.rng.within(0, 99) {
            _ if self.good_releases => Release::Good,
            0..50 => Release::Good,
            50..60 => Release::Flaky,
            60..68 => Release::CannotSpawn,
            68..76 => Release::ExitsAtBoot,
            76..88 => Release::HangsAtBoot,
            // Without a probation nobody can die in it.
            _ if books.settings.probation.is_zero() => Release::ExitsAtBoot,
            _ => Release::DiesInProbation,
        };
        books.releases.insert(generation, release);
        books.walk = Some(generation);
        self.say(|| format!("    {generation} is {release:?}"));
        self.pool.group_mut(group).resolved(generation, Ok(()), self.now);
        Ok(())
    }

    /// A first start that was overtaken may still show that it works: then there is something to go back to.
    fn learn_what_works(&mut self) -> Check {
        for books in &mut self.apps {
            let good = self.pool.group(books.id).view(self.now).good;
            if let (None, Some(good)) = (books.good, good) {
                ensure!(books.walk != Some(good), "{good} is good before its walk has ended");
                ensure!(books.has_proved(good, self.now), "{good} is good and has not proved itself");
                books.good = Some(good);
                books.found_good = Some(self.now);
            }
        }
        Ok(())
    }

    fn spawn(&mut self, id: ProcessId, name: &ProcessName) -> Check {
        let app = app_of(id);
        let (number, generation) = (name.number, name.generation);
        let books = &self.apps[app];
        ensure!(!books.ending, "{name} is spawned for a group that ends");
        ensure!(books.procs.iter().all(|proc| proc.id != id), "{id:?} is used again");
        ensure!(books.good == Some(generation) || books.walk == Some(generation), "{name} is neither good nor wanted");
        ensure!(!books.has_failed(generation, number), "{name} is started again after it failed");
        ensure!(!books.serving().any(|proc| proc.number == number && proc.generation == generation), "{name} is there already");
        let release = *books.releases.get(&generation).ok_or("a release that was not resolved")?;
        let (ready_limit, probation) = (books.settings.ready_timeout.as_millis() as u64, books.settings.probation.as_millis() as u64);
        let bad_luck = self.calm.is_none() && self.rng.percent(if release == Release::Flaky { 50 } else { 8 });
        let luck = self.rng.within(0, 3);
        let fate = match release {
            Release::Good | Release::Flaky if bad_luck => {
                [Release::CannotSpawn, Release::ExitsAtBoot, Release::HangsAtBoot, Release::DiesInProbation][luck as usize]
            }
            Release::Good | Release::Flaky => Release::Good,
            Release::CannotSpawn | Release::ExitsAtBoot | Release::HangsAtBoot | Release::DiesInProbation => release,
        };
        self.pids += 1;
        let starts = fate != Release::CannotSpawn;
        let proc = self.apps[app].procs.len();
        self.apps[app].procs.push(Proc {
            id,
            number,
            generation,
            spawned: self.now,
            pid: starts.then_some(self.pids),
            leader: starts,
            children: starts && self.rng.percent(20),
            deaf: self.rng.percent(10),
            ready: None,
            failed: false,
            ended: None,
            serving: false,
            draining: None,
            cut: None,
            first_signal: None,
            told_leader: false,
            told_group: false,
            killed: false,
            gone: false,
            claims: 0,
            idle: self.now,
        });
        self.tally.spawns += 1;
        if !starts {
            return self.fail(app, proc, FailureKind::Spawn("fork: Cannot allocate memory (os error 12)".to_owned()));
        }
        self.pool.group_mut(id.group).spawned(id, self.pids, self.now);
        ensure!(self.pool.group(id.group).find_pid(self.pids) == Some(id), "{name} is not found by its pid");
        let boot = self.rng.within(1, ready_limit / 2);
        match fate {
            Release::Good | Release::Flaky => self.plan(boot, Event::Ready { app, proc }),
            Release::ExitsAtBoot | Release::CannotSpawn => self.plan(boot, Event::LeaderExits { app, proc, status: luck as i32 }),
            // One in four times its I/O thread says nothing either.
            Release::HangsAtBoot if luck == 0 => {}
            Release::HangsAtBoot => self.plan(ready_limit, Event::GivenUp { app, proc }),
            Release::DiesInProbation => {
                self.plan(boot, Event::Ready { app, proc });
                let dies = self.rng.within(0, probation.saturating_sub(1));
                self.plan(boot + dies, Event::LeaderExits { app, proc, status: 1 });
            }
        }
        Ok(())
    }

    fn serve(&mut self, id: ProcessId, drains: Option<ProcessId>) -> Check {
        let now = self.now;
        let books = &self.apps[app_of(id)];
        let index = books.index(id)?;
        let new = &books.procs[index];
        let (number, generation) = (new.number, new.generation);
        ensure!(new.ready.is_some() && new.ended.is_none() && !new.serving, "{id:?} serves and is not ready");
        ensure!(books.ending || !books.has_failed(generation, number), "{id:?} serves after its generation failed");
        let old = books.serving().find(|proc| proc.number == number).map(|proc| proc.id);
        ensure!(old == drains, "{drains:?} drains for {id:?}, {old:?} serves there");
        let before = books.serving().count();
        if let Some(old) = drains {
            ensure!(books.has_proved(generation, now), "{id:?} takes the place of {old:?} and has not proved itself");
            ensure!(books.walk.is_some(), "{old:?} is replaced without a walk");
        } else if books.good.is_some_and(|good| good != generation) && before > 0 && !books.ending {
            let accepted = books.has_proved(generation, now) || books.serving().any(|proc| proc.generation == generation);
            ensure!(accepted, "{id:?} serves and has not proved itself");
        }
        self.tally.swaps += u64::from(drains.is_some());
        let books = &mut self.apps[app_of(id)];
        if let Some(old) = drains {
            let old = books.index(old)?;
            books.procs[old].serving = false;
            books.procs[old].draining = Some(now);
        }
        books.procs[index].serving = true;
        ensure!(books.serving().count() >= before, "a swap leaves fewer that serve");
        Ok(())
    }

    fn signal(&mut self, id: ProcessId, pid: u32, to: SignalTo, what: Signal) -> Check {
        let (app, now) = (app_of(id), self.now);
        let books = &self.apps[app];
        let proc = books.index(id)?;
        let it = &books.procs[proc];
        ensure!(it.pid == Some(pid) && !it.gone, "{id:?} has no pid {pid}");
        let at_once = books.ending_now;
        // Its I/O thread said nothing until the pool gave it up by itself.
        let overslept =
            it.ready.is_none() && it.ended.is_none() && now >= it.spawned + books.settings.ready_timeout + Duration::from_secs(5);
        ensure!(!it.serving, "{id:?} is stopped while it serves");
        match what {
            Signal::Stop => {
                let (again, there) = match to {
                    SignalTo::Leader => (it.told_leader, it.leader),
                    SignalTo::Group => (it.told_group, !it.leader),
                };
                ensure!(there && !again && !it.killed, "{id:?}: a stop signal to nobody, or again");
                let cut = it.cut.is_some_and(|cut| now >= cut + CUT_GRACE);
                ensure!(it.draining.is_none() || it.claims == 0 || cut || !it.leader, "{id:?} is stopped with {} sessions", it.claims);
                if let (SignalTo::Leader, Some(since)) = (to, it.draining) {
                    let due = if it.claims == 0 { since.max(it.idle) } else { it.cut.map_or(since, |cut| cut + CUT_GRACE) };
                    ensure!(is_punctual(now, Some(due), self.calm), "{id:?} has drained and is stopped too late");
                }
                let of_no_use = it.draining.is_some()
                    || it.ended.is_some()
                    || books.ending
                    || books.has_ever_failed(it.generation, it.number)
                    || (books.good != Some(it.generation) && books.walk != Some(it.generation))
                    || books.serving().any(|other| other.number == it.number);
                ensure!(of_no_use || overslept, "{id:?} is stopped for no reason");
            }
            Signal::Kill => {
                let overdue = it.first_signal.is_some_and(|first| now >= first + books.settings.stop_timeout);
                ensure!(to == SignalTo::Group && !it.killed && (overdue || at_once), "{id:?} is killed too early or twice");
                let due = it.first_signal.map(|first| first + books.settings.stop_timeout);
                ensure!(at_once || is_punctual(now, due, self.calm), "{id:?} is killed too late");
                self.tally.kills += 1;
            }
        }
        let fell = overslept && books.fell(proc, now);
        let soon = self.rng.within(0, 2_000);
        let it = &mut self.apps[app].procs[proc];
        it.failed |= fell;
        it.first_signal.get_or_insert(now);
        let hears = what == Signal::Kill || !it.deaf;
        match (what, to) {
            (Signal::Kill, _) => it.killed = true,
            (Signal::Stop, SignalTo::Leader) => it.told_leader = true,
            (Signal::Stop, SignalTo::Group) => it.told_group = true,
        }
        if hears && it.leader {
            self.plan(soon, Event::LeaderExits { app, proc, status: 143 });
        }
        if hears && to == SignalTo::Group {
            self.plan(soon, Event::ChildrenExit { app, proc });
        }
        Ok(())
    }

    fn walk_ended(&mut self, group: GroupId, generation: Generation, outcome: Outcome) -> Check {
        let books = &mut self.apps[usize::from(group.0)];
        // With nothing to go back to a failed walk is told as failed, goes on, and ends once more.
        let again = books.goes_on.remove(&generation);
        ensure!(again || matches!(books.asked.get(&generation), Some(None)), "{generation} was not asked for, or was told twice");
        let told = self.pool.group(group).outcome(generation);
        ensure!(if again { told.is_some() } else { told == Some(&outcome) }, "the books of {generation} say something else");
        let goes_on = self.pool.group(group).view(self.now).walk.is_some_and(|walk| walk.generation == generation);
        if goes_on && !again && matches!(outcome, Outcome::Failed { .. }) {
            books.asked.insert(generation, Some(outcome));
            books.goes_on.insert(generation);
            self.tally.failed += 1;
            return Ok(());
        }
        let serving = |wanted: Generation| books.serving().filter(|proc| proc.generation == wanted).count();
        match &outcome {
            Outcome::Done => {
                let there = books.there().count();
                ensure!(there == books.wanted() && serving(generation) == there, "{generation} is done with {there} processes");
                books.good = Some(generation);
                self.tally.done += 1;
            }
            Outcome::Failed { replaced, skipped, .. } => {
                ensure!(skipped.is_empty() || books.settings.on_failure == OnFailure::Continue, "a number was skipped");
                if !skipped.is_empty() {
                    ensure!(serving(generation) == usize::from(*replaced), "{replaced} are said to be replaced");
                    let all = usize::from(*replaced) + skipped.len();
                    ensure!(all == books.wanted(), "{replaced} replaced and {skipped:?} skipped of {}", books.wanted());
                    if *replaced > 0 {
                        books.good = Some(generation);
                    }
                }
                self.tally.failed += 1;
            }
            Outcome::RolledBack { .. } => {
                ensure!(books.settings.on_failure == OnFailure::Rollback, "nobody wants to roll back");
                let good = books.good.ok_or("rolled back to nothing")?;
                let there = books.there().count();
                ensure!(there == books.wanted() && serving(good) == there, "{generation} is rolled back with {there} processes");
                self.tally.rolled_back += 1;
            }
            Outcome::Superseded { by } => {
                ensure!(*by > generation && books.releases.contains_key(by), "{generation} is superseded by {by}");
                self.tally.superseded += 1;
            }
            Outcome::Stopped => ensure!(books.ending, "{generation} is stopped"),
        }
        if books.walk == Some(generation) {
            books.walk = None;
        }
        books.asked.insert(generation, Some(outcome));
        Ok(())
    }
}

/// In calm the restart thread looks the moment that something is due; what was due before the calm began may be late.
fn is_punctual(now: Instant, due: Option<Instant>, calm: Option<Instant>) -> bool {
    due.is_some_and(|due| calm.is_none_or(|calm| due < calm || now == due))
}

fn app_of(id: ProcessId) -> usize {
    usize::from(id.group.0)
}

/// As the pool's: from the cut to the signal.
const CUT_GRACE: Duration = Duration::from_secs(1);
