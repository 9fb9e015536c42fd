//! The books of restarts: what was asked for, the walk that is under way, how walks ended, and what a failed start means to them.

use super::backoff::Backoff;
use super::group::Ending;
use super::*;

/// A request for a walk.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub generation: Generation,
    pub trigger: Trigger,
    pub since: Instant,
    /// It waits until the walks before it, of other groups, have ended.
    pub in_turn: bool,
}

/// A walk says what is wanted and remembers what cannot be seen in the table; it is no list of things to do.
#[derive(Debug)]
pub struct Walk {
    /// What was asked for; its outcome is told under this.
    pub asked: Generation,
    /// What every number shall have: `asked`, or the good generation when it walks back.
    pub target: Generation,
    pub trigger: Trigger,
    pub since: Instant,
    /// Only the first start begins before its release is known.
    pub resolved: bool,
    /// A process of the target has outlived its probation: from now on old ones are taken out as soon as new ones are ready.
    pub proven: bool,
    /// Numbers that did not get the target (`continue`).
    pub skipped: Vec<(Number, Failure)>,
    /// It failed and walks back.
    pub back: Option<Back>,
    /// Whoever asked for it has been told that it failed, and where; with nothing better to serve it is tried again all the same.
    pub told: Option<(Number, Failure)>,
}

/// Where a walk failed that walks back since.
#[derive(Clone, Debug)]
pub struct Back {
    pub failure: Failure,
    pub at: Number,
    pub replaced: u16,
}

/// A release that the group will not start again.
#[derive(Debug)]
pub struct Resist {
    pub generation: Generation,
    pub since: Instant,
    pub at: Number,
    pub failure: Failure,
}

impl Walk {
    pub fn new(ask: Ask, resolved: bool) -> Self {
        Self {
            asked: ask.generation,
            target: ask.generation,
            trigger: ask.trigger,
            since: ask.since,
            resolved,
            proven: false,
            skipped: Vec::new(),
            back: None,
            told: None,
        }
    }

    pub fn ask(&self) -> Ask {
        Ask { generation: self.asked, trigger: self.trigger, since: self.since, in_turn: false }
    }

    pub fn skips(&self, number: Number) -> bool {
        self.skipped.iter().any(|(skipped, _)| *skipped == number)
    }
}

impl<W> Group<W> {
    // ── walks ──

    /// Asks for a rolling restart; a request that has not begun is joined. Gives the generation that it will make.
    pub fn restart(&mut self, trigger: Trigger, now: Instant) -> Generation {
        self.ask(trigger, false, now)
    }

    /// The answer to [`Step::Resolve`]; Err: the request fails, and what was under way goes on. A first start tries again.
    pub fn resolved(&mut self, generation: Generation, result: Result<(), Failure>, now: Instant) {
        let Some(ask) = self.resolving.take_if(|ask| ask.generation == generation) else { return };
        let first = self.walk.as_mut().filter(|walk| walk.asked == generation);
        match (result, first) {
            (Ok(()), Some(walk)) => {
                walk.resolved = true;
                self.backoff.reset();
            }
            (Ok(()), None) => {
                self.close_walk(Outcome::Superseded { by: generation });
                if self.good.is_none() {
                    self.backoff.reset();
                }
                self.walk = Some(Walk::new(ask, true));
            }
            (Err(failure), first) => {
                match first {
                    Some(_) => self.backoff.fail(now),
                    None => {
                        let failure = failure.clone();
                        self.settle(generation, Outcome::Failed { failure, at: FIRST, replaced: 0, skipped: Vec::new() });
                    }
                }
                self.last_failure = Some((self.name(FIRST, generation), failure, now));
            }
        }
        self.checked();
    }

    /// How the walk to `generation` ended; None while it is asked for or under way. The last 64 are remembered.
    pub fn outcome(&self, generation: Generation) -> Option<&Outcome> {
        self.outcomes.iter().find(|(of, _)| *of == generation).map(|(_, outcome)| outcome)
    }

    /// Whether processes of `generation` may still be started or are there, or its release is resisted: the release has to be kept.
    pub fn is_needed(&self, generation: Generation) -> bool {
        self.good == Some(generation)
            || self.is_open(generation)
            // The status names the release that is resisted.
            || self.resists.as_ref().is_some_and(|resists| resists.generation == generation)
            || self.walk.as_ref().is_some_and(|walk| walk.target == generation)
            || self.processes.iter().any(|process| process.generation == generation)
    }

    pub(super) fn ask(&mut self, trigger: Trigger, in_turn: bool, now: Instant) -> Generation {
        if let Some(ask) = &mut self.asked {
            ask.in_turn &= in_turn;
            return ask.generation;
        }
        let generation = self.last_generation.next();
        self.last_generation = generation;
        match self.ending {
            Ending::No => self.asked = Some(Ask { generation, trigger, since: now, in_turn }),
            Ending::Drained | Ending::Now => self.settle(generation, Outcome::Stopped),
        }
        self.checked();
        generation
    }

    /// The request that waited for its turn has it.
    pub(super) fn take_turn(&mut self, generation: Generation) {
        if let Some(ask) = self.asked.as_mut().filter(|ask| ask.generation == generation) {
            ask.in_turn = false;
        }
    }

    /// Asked for, and not ended.
    pub(super) fn is_open(&self, generation: Generation) -> bool {
        self.asked.iter().chain(&self.resolving).any(|ask| ask.generation == generation)
            || self.walk.as_ref().is_some_and(|walk| walk.asked == generation)
    }

    pub(super) fn stop(&mut self, now: Instant) {
        let _ = now;
        if self.ending == Ending::No {
            self.ending = Ending::Drained;
            for ask in self.resolving.take().into_iter().chain(self.asked.take()) {
                if self.walk.as_ref().is_none_or(|walk| walk.asked != ask.generation) {
                    self.settle(ask.generation, Outcome::Stopped);
                }
            }
            self.close_walk(Outcome::Stopped);
        }
        self.checked();
    }

    pub(super) fn stop_now(&mut self, now: Instant) {
        self.stop(now);
        self.ending = Ending::Now;
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.ending != Ending::No && self.processes.is_empty()
    }

    /// A process could not be started, or died before it had proved itself.
    pub(super) fn start_failure(&mut self, number: Number, generation: Generation, failure: Failure, now: Instant) {
        let Some(good) = self.good.filter(|good| *good != generation) else {
            // No release is known to be better than this one.
            self.tell_failure(number, generation, failure);
            return self.backoff.fail(now);
        };
        let replaced = self.serving_of(generation);
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.target == generation) else { return };
        match self.settings.on_failure {
            OnFailure::Continue if walk.skips(number) => return,
            OnFailure::Continue => return walk.skipped.push((number, failure)),
            OnFailure::Resist => {
                self.close_walk(Outcome::Failed { failure: failure.clone(), at: number, replaced, skipped: Vec::new() });
            }
            OnFailure::Rollback => {
                walk.target = good;
                walk.proven = true;
                walk.back = Some(Back { failure: failure.clone(), at: number, replaced });
            }
        }
        self.resists = Some(Resist { generation, since: now, at: number, failure });
    }

    /// Of a first start that was overtaken half-way a process has proved itself: it works, which is more than is known of any other. A walk
    /// that has failed since need not be tried again.
    pub(super) fn found_good(&mut self, generation: Generation, now: Instant) {
        self.good = Some(generation);
        let failed = self.walk.as_ref().and_then(|walk| Some((walk.target, walk.told.clone()?)));
        if let Some((target, (at, failure))) = failed
            // A later try may have gone well.
            && !self.at(at).any(|process| process.generation == target && !process.is_leaving())
        {
            self.start_failure(at, target, failure, now);
        }
    }

    /// A walk that somebody asked for failed, and there is nothing to go back to: it goes on trying, but nobody waits for that.
    fn tell_failure(&mut self, at: Number, generation: Generation, failure: Failure) {
        let replaced = self.serving_of(generation);
        let asked = |walk: &&mut Walk| walk.asked == generation && walk.trigger != Trigger::Boot && walk.told.is_none();
        let Some(walk) = self.walk.as_mut().filter(asked) else { return };
        walk.told = Some((at, failure.clone()));
        self.settle(generation, Outcome::Failed { failure, at, replaced, skipped: Vec::new() });
    }

    /// The walk has nothing left to do.
    pub(super) fn complete_walk(&mut self) {
        let Some(walk) = self.walk.as_mut() else { return };
        let (target, skipped, back) = (walk.target, std::mem::take(&mut walk.skipped), walk.back.clone());
        let replaced = self.serving_of(target);
        let outcome = match (back, skipped.first()) {
            (Some(Back { failure, at, replaced }), _) => Outcome::RolledBack { failure, at, replaced },
            (None, Some((at, failure))) => {
                let (failure, at) = (failure.clone(), *at);
                Outcome::Failed { failure, at, replaced, skipped: skipped.into_iter().map(|(number, _)| number).collect() }
            }
            (None, None) => Outcome::Done,
        };
        if replaced > 0 && self.good != Some(target) {
            self.good = Some(target);
            self.resists = None;
            self.backoff = Backoff::default();
        }
        self.close_walk(outcome);
    }

    /// There is no walk from now on. One that had failed and walked back says so even if something else ended it: whoever asked for it
    /// learns why it did not go in.
    fn close_walk(&mut self, outcome: Outcome) {
        let Some(walk) = self.walk.take() else { return };
        let outcome = match (outcome, walk.back) {
            (Outcome::Superseded { .. } | Outcome::Stopped, Some(Back { failure, at, replaced })) => {
                Outcome::Failed { failure, at, replaced, skipped: Vec::new() }
            }
            (outcome, _) => outcome,
        };
        match walk.told {
            None => self.settle(walk.asked, outcome),
            // Its caller has an answer; the log gets the rest, unless that has not even been told yet.
            Some(_) if self.untold.iter().any(|(untold, _)| *untold == walk.asked) => {}
            Some(_) => self.untold.push_back((walk.asked, outcome)),
        }
    }

    fn settle(&mut self, generation: Generation, outcome: Outcome) {
        if self.outcomes.len() == OUTCOMES_KEPT {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((generation, outcome.clone()));
        self.untold.push_back((generation, outcome));
    }
}

/// A release that cannot be resolved fails where the walk would have begun.
const FIRST: Number = Number(1);
/// Whoever asks later than this many walks gets no answer: the log has it.
const OUTCOMES_KEPT: usize = 64;
