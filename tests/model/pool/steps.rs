//! The restart thread of the simulated world: asks for steps, judges each by the naive model, and carries it out.

use std::time::{Duration, Instant};

use rota::ids::ProcessId;
use rota::pool::{NotLonger, Settings, Signal, SignalTo, Step, WhyCut, WhyDrain};

use super::books::{App, Check, LEADER, Proc, ensure};
use super::tally::Saw;
use super::world::{Event, World};

impl World {
    /// The restart thread looks if it has been woken; it may be slow to (`promptly`: it is not).
    pub fn look(&mut self, promptly: bool) -> Check {
        self.is_perhaps_replaced()?;
        if !self.awake || (!promptly && self.rng.percent(20)) {
            return Ok(());
        }
        self.awake = false;
        self.sweep_groups();
        let mut steps = 0;
        while let Some(step) = self.pool.next_step(self.now) {
            self.say(|| format!("  {step:?}"));
            self.upgrades.note(|| format!("{step:?}"));
            self.learn_what_is_held()?;
            // What a walk has made good is told by its end.
            let made_good = |step: &Step<u32>| match step {
                Step::WalkEnded { group, ask, .. } => self.pool.group(*group).good() == Some(ask.generation),
                _ => false,
            };
            if !made_good(&step) {
                self.learn_what_works()?;
            }
            self.judge(group_of(&step))?;
            self.carry_out(step)?;
            self.check()?;
            self.sweep_groups();
            steps += 1;
            self.tally.saw(Saw::Step);
            ensure!(steps < 200, "the steps have no end");
            self.meanwhile(10)?;
        }
        self.note_views();
        self.learn_what_is_held()?;
        self.learn_what_works()?;
        self.judge(self.apps.len())?;
        if !self.awake {
            self.apps.iter_mut().for_each(App::unbind);
            self.check()?;
            let (room, boots) = (self.room(), self.boots());
            self.apps.iter().try_for_each(|app| app.check_seen_to(self.now, room, boots))?;
            self.check_nobody_waits_for_nothing()?;
            self.check_turns()?;
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

    /// Now and then another thread takes the lock between two steps, or between a step and what comes of it.
    pub fn meanwhile(&mut self, percent: u64) -> Check {
        self.is_perhaps_replaced()?;
        if self.calm.is_some() || !self.rng.percent(percent) {
            return Ok(());
        }
        let app = self.rng.within(0, self.apps.len() as u64 - 1) as usize;
        match self.rng.within(0, 99) {
            0..50 => self.arrive(app),
            50..65 => self.leave(app),
            65..76 => self.ask(app),
            76..83 => self.abort(app),
            83..88 => self.pause(app),
            88..91 => self.resume(app),
            91..95 => self.recycle(app),
            95..99 => self.dies(app),
            _ => self.stop(false),
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
            Step::Resolve { group, ask } => self.resolve(group, &ask),
            Step::Spawn { id, name } => self.spawn(id, &name),
            Step::Serve { id, granted, drains } => {
                self.serve(id, drains)?;
                granted.into_iter().try_for_each(|(claim, request)| self.granted_from_queue(app_of(id), claim, request))
            }
            Step::Grant { granted } => {
                // A hold that ends tells so also when nothing waits.
                if !granted.is_empty() {
                    self.tally.saw(Saw::Granted);
                }
                granted.into_iter().try_for_each(|(claim, request)| self.granted_from_queue(app_of(claim.process()), claim, request))
            }
            Step::Drain { id, why: WhyDrain::Replaced } => self.take_out(id),
            Step::Drain { id, why: why @ (WhyDrain::Idle(_) | WhyDrain::RoomFor(_) | WhyDrain::Fewer) } => self.dismiss(id, &why),
            Step::Drain { id, why: WhyDrain::Ends } => {
                let books = &mut self.apps[app_of(id)];
                let proc = books.index(id)?;
                ensure!(books.ending && books.waiting.is_empty() && books.procs[proc].serving, "{id:?} is drained for no reason");
                books.procs[proc].serving = false;
                books.procs[proc].draining = Some(self.now);
                Ok(())
            }
            Step::Outlasts { id, sessions } => self.outlasts(id, sessions),
            Step::Cut { id, why } => self.cut(id, why),
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
            Step::WalkEnded { group, ask, outcome } => self.walk_ended(group, &ask, outcome),
        }
    }

    /// A drain is over, and what is left of it may go on.
    fn outlasts(&mut self, id: ProcessId, sessions: u32) -> Check {
        let (now, calm, room) = (self.now, self.calm, self.room());
        let books = &mut self.apps[app_of(id)];
        let proc = books.index(id)?;
        let it = &books.procs[proc];
        let Settings { drain_timeout, drain_longest, .. } = books.settings;
        let due = it.draining.map(|since| since + drain_timeout);
        ensure!(due.is_some_and(|due| now >= due) && drain_longest > drain_timeout && !it.outlasts, "{id:?} outlasts its drain too early");
        ensure!(it.claims > 0 && it.claims == sessions && it.cut.is_none() && !books.ending, "{id:?} outlasts its drain for no reason");
        ensure!(books.waited_for_older(it) || is_punctual(now, due, calm), "{id:?} outlasts its drain too late");
        ensure!(room > 0 || books.counted().count() > books.wanted(), "{id:?} outlasts its drain where there is no room");
        books.procs[proc].outlasts = true;
        self.tally.saw(Saw::Outlasts);
        Ok(())
    }

    fn cut(&mut self, id: ProcessId, why: WhyCut) -> Check {
        let (now, calm, room) = (self.now, self.calm, self.room());
        let books = &self.apps[app_of(id)];
        let proc = books.index(id)?;
        let (it, settings) = (&books.procs[proc], &books.settings);
        let after = |limit: Duration| it.draining.map(|since| since + limit);
        let (due, last) = (after(settings.drain_timeout), after(settings.drain_longest));
        let is_over = |due: Option<Instant>| due.is_some_and(|due| now >= due) && it.claims > 0;
        ensure!(it.cut.is_none(), "{id:?} is cut twice");
        let makes_room = books.postponed.is_some() || !books.taken_out.is_empty();
        let may = match why {
            WhyCut::Now => books.ending_now,
            WhyCut::Timeout(NotLonger::Ends) if it.outlasts => books.ending,
            WhyCut::Timeout(not_longer) => {
                let holds = match not_longer {
                    NotLonger::Configured => settings.drain_longest <= settings.drain_timeout,
                    NotLonger::NoSurge => settings.surge == 0,
                    NotLonger::Exclusive => books.is_exclusive() && it.number == LEADER,
                    NotLonger::MakesRoom => makes_room,
                    NotLonger::Full => room == 0,
                    NotLonger::Ends => books.ending,
                };
                let in_time = books.waited_for_older(it) || is_punctual(now, due, calm);
                ensure!(!is_over(due) || in_time, "{id:?} is cut too late");
                holds && is_over(due) && !it.outlasts
            }
            WhyCut::Longest => {
                ensure!(is_punctual(now, last, calm), "{id:?} is cut too late");
                is_over(last) && it.outlasts
            }
            WhyCut::Room => makes_room && it.outlasts,
            WhyCut::Younger => {
                let ends = |other: &Proc| other.draining.is_some_and(|since| now >= since + settings.drain_timeout) && other.claims > 0;
                it.outlasts && books.counted().any(|other| other.number == it.number && ends(other))
            }
        };
        ensure!(may, "{id:?} is cut too early or for no reason: {why}");
        self.tally.saw(if it.outlasts { Saw::CutAtLast } else { Saw::Cut });
        let it = &mut self.apps[app_of(id)].procs[proc];
        it.serving = false;
        it.draining.get_or_insert(now);
        it.cut = Some(now);
        self.release_claims(app_of(id), proc);
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
                    let limit = since + books.settings.drain_timeout;
                    let lasts = it.outlasts || books.waited_for_older(it);
                    let uncut = self.calm.is_some_and(|calm| limit >= calm) && it.cut.is_none() && now > limit && !lasts;
                    ensure!(!uncut, "{id:?} drained past its limit and was not cut");
                }
                let of_no_use = it.draining.is_some()
                    || it.ended.is_some()
                    || books.ending
                    || books.has_ever_failed(it.generation, it.number)
                    || (books.good != Some(it.generation) && books.walk != Some(it.generation))
                    || books.serving().any(|other| other.number == it.number && !other.recycled);
                ensure!(of_no_use || overslept, "{id:?} is stopped for no reason");
            }
            Signal::Kill => {
                let overdue = it.first_signal.is_some_and(|first| now >= first + books.settings.stop_timeout);
                ensure!(to == SignalTo::Group && !it.killed && (overdue || at_once || it.condemned), "{id:?} is killed too early or twice");
                let due = it.first_signal.map(|first| first + books.settings.stop_timeout);
                ensure!(at_once || it.condemned || is_punctual(now, due, self.calm), "{id:?} is killed too late");
                self.tally.saw(Saw::Kill);
            }
        }
        let fell = overslept && books.fell(proc, now);
        let soon = self.rng.within(0, 2_000);
        let it = &mut self.apps[app].procs[proc];
        if fell {
            it.failed = true;
            it.ended = Some(now);
        }
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
}

/// In calm the restart thread looks the moment that something is due; what was due before the calm began may be late.
fn is_punctual(now: Instant, due: Option<Instant>, calm: Option<Instant>) -> bool {
    due.is_some_and(|due| calm.is_none_or(|calm| due < calm || now == due))
}

fn group_of(step: &Step<u32>) -> usize {
    let group = match step {
        Step::Resolve { group, .. } | Step::WalkEnded { group, .. } => Some(*group),
        Step::Spawn { id, .. }
        | Step::Serve { id, .. }
        | Step::Drain { id, .. }
        | Step::Outlasts { id, .. }
        | Step::Cut { id, .. }
        | Step::Signal { id, .. }
        | Step::Gone { id, .. } => Some(id.group),
        Step::Grant { granted } => granted.first().map(|(claim, _)| claim.process().group),
    };
    group.map_or(0, |group| usize::from(group.0))
}

pub fn app_of(id: ProcessId) -> usize {
    usize::from(id.group.0)
}

/// As the pool's: from the cut to the signal.
const CUT_GRACE: Duration = Duration::from_secs(1);
