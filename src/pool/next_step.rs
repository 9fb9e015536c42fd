//! Rolling restart, first start, crash repair and stopping as one question: given the table, what is the next thing to do?
//!
//! Nothing here remembers what was to come next. Each answer is found by looking at what is wanted and what is so, which makes a crash at
//! any moment one more state of the table and no special case. Which processes are started is a wish here; [`super::machine`] grants it.
//! Replacing a process, for whatever reason, is always the same: a new one is
//! started, becomes ready, takes the place of the old one, and the old one drains and stops. At most `surge` processes more than wanted are
//! in the table, counted in every state. Where there is no room for one more, the old one goes first and requests wait.

use super::group::Ending;
use super::process::{Process, next_told};
use super::size::Wanted;
use super::walk::Walk;
use super::*;

impl<W> Group<W> {
    /// `room`: for so many more than all groups have or are promised.
    pub(super) fn next_step(&mut self, room: usize, now: Instant) -> Option<Step<W>> {
        self.prove(now);
        self.bake(now);
        self.wear_out(now);
        self.give_up();
        self.adopt();
        let step = self
            .tell()
            .or_else(|| self.end_pause(now))
            .or_else(|| self.unbind(now))
            .or_else(|| self.end_process(room, now))
            .or_else(|| self.resolve(now))
            .or_else(|| self.serve(now))
            .or_else(|| self.dismiss_surplus(now))
            .or_else(|| self.retire(now))
            .or_else(|| self.end_walk(now))
            .or_else(|| self.shrink(now));
        self.checked();
        step
    }

    /// The times at which time alone may change the answer, also those that have passed. `seen`: when it was last asked.
    pub(super) fn deadlines(&self, seen: Option<Instant>) -> impl Iterator<Item = Instant> {
        let limits = self.limits();
        let states = self.processes.iter().filter_map(move |process| process.deadline(&limits));
        let bake = self.walk.as_ref().and_then(|walk| walk.trial()).map(|trial| trial.end());
        let pause = self.pause.map(|pause| pause.until);
        let crashes = self.places.iter().filter_map(|place| place.crashes.until);
        states
            .chain(self.backoff.until)
            .chain(crashes)
            .chain(bake)
            .chain(pause)
            .chain(self.old_age())
            .chain(self.idle_ends(seen))
            .chain(self.late_boots())
    }

    /// Processes that have outlived their probation by now have proved themselves and what they run.
    pub(super) fn prove(&mut self, now: Instant) {
        let probation = self.settings.probation;
        let (mut works, mut mends) = (None, false);
        let would_mend = self.would_mend();
        for process in &mut self.processes {
            if process.proven || process.ready_at().is_none_or(|ready| now < ready + probation) {
                continue;
            }
            process.proven = true;
            mends |= would_mend(process);
            match self.walk.as_mut().filter(|walk| walk.target == process.generation) {
                Some(walk) => walk.proven = true,
                None => works = Some(process.generation),
            }
            if self.good.is_none_or(|good| good == process.generation) {
                self.backoff.reset();
            }
        }
        if mends {
            self.is_mended();
        }
        if let (None, Some(generation)) = (self.good, works) {
            self.found_good(generation, now);
        }
    }

    fn tell(&mut self) -> Option<Step<W>> {
        let (ask, outcome) = self.untold.pop_front()?;
        Some(Step::WalkEnded { group: self.id, ask, outcome })
    }

    // ── the end of a process ──

    fn end_process(&mut self, room: usize, now: Instant) -> Option<Step<W>> {
        (0..self.processes.len()).find_map(|index| match self.ending {
            Ending::No | Ending::Drained => self.end_in_order(index, room, now),
            Ending::Now => self.end_at_once(index, now),
        })
    }

    /// Drain, cut, stop signal to the leader and then to what it left behind, kill, gone.
    fn end_in_order(&mut self, index: usize, room: usize, now: Instant) -> Option<Step<W>> {
        let limits = self.limits();
        let has_to_go = self.cannot_outlast(&self.processes[index]);
        let process = &mut self.processes[index];
        let overdue = process.deadline(&limits).is_some_and(|deadline| now >= deadline);
        let (id, pid) = (process.id, process.pid);
        match &mut process.state {
            State::Starting { .. } if overdue && pid.is_some() => {
                let kind = FailureKind::NotReady { after: limits.ready, last: "no answer from its I/O thread".to_owned() };
                self.start_failed(id, Failure { kind, output: Vec::new() }, now);
                self.end_in_order(index, room, now)
            }
            State::Starting { .. } | State::Ready { .. } | State::Serving { .. } => None,
            State::Draining { cut, .. } => {
                if process.sessions == 0 || (cut.is_some() && overdue) {
                    process.stop(now);
                    return self.end_in_order(index, room, now);
                }
                match has_to_go {
                    Some(why) => self.cut(index, why, now),
                    None if !overdue => None,
                    None if process.outlasts => self.cut(index, WhyCut::Longest, now),
                    None => self.end_drain(index, room, now),
                }
            }
            State::Stopping { since, told, leader_gone, kill } => {
                let pid = pid?;
                if *kill == Kill::Done {
                    return None;
                }
                if *kill == Kill::Now || (told.is_some() && overdue) {
                    *kill = Kill::Done;
                    return Some(Step::Signal { id, pid, to: SignalTo::Group, what: Signal::Kill });
                }
                let to = next_told(*told, *leader_gone)?;
                if told.replace(to).is_none() {
                    *since = now;
                }
                Some(Step::Signal { id, pid, to, what: Signal::Stop })
            }
            State::Ended { .. } => Some(self.remove(index)),
        }
    }

    /// Cut, kill, gone.
    fn end_at_once(&mut self, index: usize, now: Instant) -> Option<Step<W>> {
        let process = &mut self.processes[index];
        let id = process.id;
        let leader_gone = match process.state {
            State::Serving { .. } | State::Draining { cut: None, .. } => {
                process.state = State::Draining { since: now, cut: Some(now) };
                return Some(Step::Cut { id, why: WhyCut::Now });
            }
            State::Ended { .. } => return Some(self.remove(index)),
            State::Stopping { kill: Kill::Done, .. } => return None,
            State::Stopping { leader_gone, .. } => leader_gone,
            State::Starting { .. } | State::Ready { .. } | State::Draining { cut: Some(_), .. } => false,
        };
        // Without a pid its spawn is still to be answered.
        let pid = process.pid?;
        process.state = State::Stopping { since: now, told: Some(SignalTo::Group), leader_gone, kill: Kill::Done };
        Some(Step::Signal { id, pid, to: SignalTo::Group, what: Signal::Kill })
    }

    fn remove(&mut self, index: usize) -> Step<W> {
        let process = self.processes.remove(index);
        Step::Gone { id: process.id, name: self.name(process.number, process.generation) }
    }

    // ── the way into service ──

    fn resolve(&mut self, now: Instant) -> Option<Step<W>> {
        if self.ending != Ending::No || self.resolving.is_some() {
            return None;
        }
        let due = self.backoff.is_over(now);
        let first = || self.walk.as_ref().filter(|walk| !walk.resolved && due).map(|walk| walk.ask.clone());
        let ask = self.asked.take_if(|ask| !ask.in_turn).or_else(first)?;
        self.resolving = Some(ask.clone());
        Some(Step::Resolve { group: self.id, ask })
    }

    /// A ready process takes the place of the one that serves at its number, if one does: both in one step, so that neither a request too
    /// many nor a slot too few is ever to be seen.
    fn serve(&mut self, now: Instant) -> Option<Step<W>> {
        let index = (0..self.processes.len()).find(|index| self.may_serve(&self.processes[*index]))?;
        let (id, number) = (self.processes[index].id, self.processes[index].number);
        let older = self.processes.iter_mut().find(|process| process.number == number && process.is_serving());
        let drains = older.map(|older| {
            older.drain(now);
            older.id
        });
        self.processes[index].serve(now);
        self.place_mut(number).wanted = Wanted::Yes;
        self.makes_room.take_if(|(at, _)| *at == number);
        Some(Step::Serve { id, granted: self.grant_all(index, now), drains })
    }

    /// Takes out of service, or off the way to it, what is not wanted there.
    fn retire(&mut self, now: Instant) -> Option<Step<W>> {
        let unwanted = |index: &usize| self.processes[*index].pid.is_some() && self.is_unwanted(&self.processes[*index]);
        if let Some(index) = (0..self.processes.len()).find(unwanted) {
            self.processes[index].stop(now);
            return self.end_process(0, now);
        }
        let index = match self.ending {
            Ending::No => self.to_take_out(now)?,
            Ending::Drained | Ending::Now if !self.queue.is_empty() => return None,
            Ending::Drained | Ending::Now => self.processes.iter().position(Process::is_serving)?,
        };
        let (id, number) = (self.processes[index].id, self.processes[index].number);
        let why = if self.ending == Ending::No { WhyDrain::Replaced } else { WhyDrain::Ends };
        // Of a walk that replaces everything at once no number waits for another.
        if self.ending == Ending::No && !self.walk.as_ref().is_some_and(Walk::is_at_once) {
            let why = if self.is_exclusive(number) { "leader = \"exclusive\"" } else { "surge = 0" };
            self.makes_room.get_or_insert_with(|| (number, why.to_owned()));
        }
        self.processes[index].drain(now);
        Some(Step::Drain { id, why })
    }

    /// An old process that goes before the new one is started, because there is no room for both.
    fn to_take_out(&self, now: Instant) -> Option<usize> {
        let walk = self.walk.as_ref().filter(|walk| walk.resolved);
        let old = |number: Number| self.processes.iter().position(|process| process.number == number && self.is_to_replace(process));
        if let Some(walk) = walk.filter(|walk| walk.is_at_once()) {
            return self.numbers().filter(|number| !walk.skips(*number)).find_map(old);
        }
        let (number, _) = self.to_replace(now)?;
        // One at a time: nothing is on its way, and nothing is missing that is about to be started.
        let serves = |number| self.at(number).any(Process::is_serving);
        let at_rest = self.counted().all(Process::is_serving) && self.numbers().all(serves);
        let goes_first = self.makes_room_at(number) || self.settings.surge == 0 || self.is_exclusive(number);
        if goes_first && at_rest { old(number) } else { None }
    }

    /// The restart thread finds that memory is too short for one more process beside those that are there: `id`, of which nothing exists
    /// yet, is put off, and the process that it is to replace goes first. False: there is none to go, so it has to be tried.
    pub fn postpone(&mut self, id: ProcessId, found: String) -> bool {
        let Some(index) = self.processes.iter().position(|process| process.id == id && process.pid.is_none()) else { return false };
        let number = self.processes[index].number;
        if self.only_tries() || !self.at(number).any(Process::is_serving) {
            return false;
        }
        // Since the step was named it may have been called off: then nothing is to go for it.
        let wanted = !self.is_unwanted(&self.processes[index]);
        self.processes.remove(index);
        if wanted {
            self.makes_room = Some((number, found));
        }
        self.checked();
        true
    }

    /// The number that a walk or a recycling comes to next, if there is room for one more beside what is there.
    pub(super) fn to_start(&self, now: Instant) -> Option<(Number, Generation)> {
        // Beside one that makes room only what is missing is started.
        let has_room = |number: Number| !self.has_to_leave_first(number) && (self.makes_room.is_none() || self.is_missing(number));
        self.to_replace(now).filter(|(number, _)| has_room(*number))
    }

    /// There is no room for one more process beside those that are there: the one that `number` replaces goes first, if that can be now.
    pub(super) fn leave_first(&mut self, number: Number, found: String, now: Instant) -> Option<Step<W>> {
        if self.only_tries() {
            return None;
        }
        let before = self.makes_room.replace((number, found));
        let step = self.retire(now);
        if step.is_none() {
            self.makes_room = before;
        }
        self.checked();
        step
    }

    fn end_walk(&mut self, now: Instant) -> Option<Step<W>> {
        // A release that no number could start has nothing to be watched.
        let is_judged = |walk: &&Walk| walk.is_baked() || self.numbers().all(|number| walk.skips(number));
        let walk = self.walk.as_ref().filter(|walk| walk.resolved).filter(is_judged)?;
        // Of a release that no process was started from nothing is known.
        if self.wanted() == 0 && walk.back.is_none() && walk.skipped.is_empty() {
            return None;
        }
        let arrived =
            |process: &Process| process.is_serving() && process.generation == walk.target && process.proven && process.worn.is_none();
        let at_rest = self.counted().all(|process| process.is_serving() || (process.is_coming() && walk.skips(process.number)));
        let complete = self.numbers().all(|number| walk.skips(number) || self.at(number).any(arrived));
        if !(at_rest && complete) {
            return None;
        }
        self.complete_walk(now);
        self.tell()
    }

    // ── looking at the table ──

    /// A number at which nothing serves or is about to, and what to start there: the walk's target once that is known to work, else the
    /// good release. So a bad release on the disk hurts no crash repair.
    pub(super) fn to_fill(&self, now: Instant) -> Option<(Number, Generation)> {
        let number_and_generation = |number: Number| {
            let wanted = |walk: &&Walk| !walk.skips(number) && (self.is_accepted(walk) || self.was_taken_out(number, walk));
            let walk = self.walk.as_ref().filter(wanted);
            Some((number, walk.map(|walk| walk.target).or(self.good)?))
        };
        let missing = self.numbers().filter(|number| self.is_missing(*number) && !self.has_to_leave_first(*number));
        missing.filter_map(number_and_generation).find(|(number, generation)| self.may_spawn(*number, *generation, now))
    }

    fn to_replace(&self, now: Instant) -> Option<(Number, Generation)> {
        let (number, generation) = match self.walk.as_ref().filter(|walk| walk.resolved) {
            Some(walk) => (self.next_number(walk)?, walk.target),
            None if self.is_recycling() => return None,
            None => {
                let mut old = self.processes.iter().filter(|process| self.is_to_replace(process)).map(|process| process.number);
                (old.clone().find(|number| self.makes_room_at(*number)).or_else(|| old.next())?, self.good?)
            }
        };
        self.may_spawn(number, generation, now).then_some((number, generation))
    }

    /// Serves, and shall not for long.
    fn is_to_replace(&self, process: &Process) -> bool {
        let old = self.walk.as_ref().is_some_and(|walk| walk.resolved && walk.target != process.generation);
        process.is_serving() && (old || process.worn.is_some())
    }

    /// The walk made this number empty itself, to fill it.
    fn was_taken_out(&self, number: Number, walk: &Walk) -> bool {
        walk.resolved && (self.makes_room_at(number) || walk.is_at_once())
    }

    fn makes_room_at(&self, number: Number) -> bool {
        self.makes_room.as_ref().is_some_and(|(at, _)| *at == number)
    }

    /// Nothing is started at this number before its old process is gone.
    pub(super) fn has_to_leave_first(&self, number: Number) -> bool {
        let is_there = self.at(number).next().is_some();
        // What outlasts its drain takes of the same room.
        let is_held = self.makes_room_at(number) && self.lacks_room() && self.outlasting() > 0;
        is_held || (is_there && (self.makes_room_at(number) || self.is_exclusive(number)))
    }

    /// There are never two processes of this number, whatever happens to them.
    pub(super) fn is_exclusive(&self, number: Number) -> bool {
        number.is_leader() && self.settings.leader == LeaderPolicy::Exclusive
    }

    /// The next number of the walk: one at which nothing is, else the one that makes room, else the first that has another generation. A
    /// leader that has to go before the new one is started comes last, so that a release that does not work is found out without it.
    pub(super) fn next_number(&self, walk: &Walk) -> Option<Number> {
        let of_target = |process: &Process| !process.is_leaving() && process.generation == walk.target && process.worn.is_none();
        let left = self.numbers().filter(|number| !walk.skips(*number) && !self.at(*number).any(of_target));
        let missing = left.clone().find(|number| self.is_missing(*number));
        let in_hand = left.clone().find(|number| self.makes_room_at(*number));
        // While the first of a release is watched, no second process is replaced by it.
        let next = || left.clone().find(|number| !self.is_exclusive(*number)).or_else(|| left.clone().next());
        missing.or_else(|| in_hand.or_else(next).filter(|_| walk.is_baked() || self.serving_of(walk.target) == 0))
    }

    pub(super) fn may_spawn(&self, number: Number, generation: Generation, now: Instant) -> bool {
        let backs_off = self.good.is_none_or(|good| good == generation) && !self.backoff.is_over(now);
        let coming = self.processes.iter().filter(|process| process.is_coming() && process.generation == generation).count();
        !backs_off && self.place(number).crashes.is_over(generation, now) && coming < self.boots_at_once(generation)
    }

    /// One boot at a time of a generation: a small machine boots two no sooner, and the first shows whether the second can work.
    /// After that as many as there may be more than wanted.
    pub(super) fn boots_at_once(&self, generation: Generation) -> usize {
        match self.walk.as_ref().filter(|walk| walk.target == generation) {
            Some(walk) if walk.is_at_once() => usize::from(self.wanted()).max(1),
            Some(walk) if walk.proven => usize::from(self.settings.surge).max(1),
            Some(_) | None => 1,
        }
    }

    fn may_serve(&self, process: &Process) -> bool {
        let replaces = self.at(process.number).any(Process::is_serving);
        if !process.is_ready() || self.is_unwanted(process) || (self.only_tries() && replaces && !process.proven) {
            return false;
        }
        // The first of a generation proves itself before it takes the place of one that works; an empty place is better than none only
        // when the release is known, or when there is nothing else at all.
        let walk = self.walk.as_ref().filter(|walk| walk.target == process.generation);
        walk.is_none_or(|walk| {
            walk.proven || !self.any_serving() || (!self.at(process.number).any(Process::is_serving) && self.is_accepted(walk))
        })
    }

    /// On the way into service for nothing: of a generation that nobody wants any more, or for a number that has been filled.
    fn is_unwanted(&self, process: &Process) -> bool {
        if !process.is_coming() {
            return false;
        }
        let is_target = self.walk.as_ref().is_some_and(|walk| walk.target == process.generation);
        let filled =
            |by: &dyn Fn(&Process) -> bool| self.at(process.number).any(|other| other.is_serving() && other.worn.is_none() && by(other));
        match self.ending {
            Ending::No if is_target => filled(&|other| other.generation == process.generation),
            Ending::No => self.good != Some(process.generation) || filled(&|_| true),
            // What came in is answered first, by this one if there is no other.
            Ending::Drained => self.queue.is_empty() || self.any_serving(),
            Ending::Now => true,
        }
    }

    /// The target of the walk works as far as can be seen: one of its processes has outlived its probation or is in service.
    fn is_accepted(&self, walk: &Walk) -> bool {
        walk.proven || self.serving_of(walk.target) > 0
    }

    pub(super) fn is_missing(&self, number: Number) -> bool {
        self.at(number).all(Process::is_leaving)
    }

    /// A process takes requests.
    pub fn any_serving(&self) -> bool {
        self.processes.iter().any(Process::is_serving)
    }

    pub(super) fn serving_of(&self, generation: Generation) -> u16 {
        let serving = self.processes.iter().filter(|process| process.is_serving() && process.generation == generation);
        serving.fold(0, |count, _| count + 1)
    }

    pub(super) fn at(&self, number: Number) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |process| process.number == number)
    }
}
