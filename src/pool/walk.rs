//! The books of restarts: what was asked for, the walk that is under way, how walks ended, and what a failed start means to them.

use super::backoff::Backoff;
use super::bake::Baking;
use super::group::Ending;
use super::process::Process;
use super::*;

/// A request for a walk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ask {
    /// What was asked for makes this generation; its outcome is told under it.
    pub generation: Generation,
    pub trigger: Trigger,
    pub aim: Aim,
    #[serde(with = "crate::moment")]
    pub since: Instant,
    /// It waits until the walks before it, of other groups, have ended.
    pub in_turn: bool,
}

/// A walk says what is wanted and remembers what cannot be seen in the table; it is no list of things to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Walk {
    pub ask: Ask,
    /// What every number shall have: what was asked for, or the good generation when it walks back.
    pub target: Generation,
    /// Only the first start begins before its release is known.
    pub resolved: bool,
    /// A process of the target has outlived its probation: from now on old ones are taken out as soon as new ones are ready.
    pub proven: bool,
    pub bake: Baking,
    /// It was found to answer worse when it became ready, with `bake`.
    pub answers_are_judged: bool,
    /// When the first process of it was to be started.
    #[serde(with = "crate::moment")]
    pub began: Instant,
    /// Numbers that did not get the target (`continue`).
    pub skipped: Vec<(Number, Failure)>,
    /// It failed or was called off, and walks back.
    pub back: Option<Back>,
    /// Whoever asked for it has been told that it failed, and where; with nothing better to serve, or on its way back, it is tried again all
    /// the same.
    pub told: Option<(Number, Failure)>,
    /// Deaths of its processes that were a visitor's doing.
    pub pardons: u8,
    /// Its target is in the directory of the good release.
    pub is_in_place: bool,
}

/// Why a walk walks back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Back {
    /// None: it was called off.
    pub failure: Option<(Number, Failure)>,
    /// How many it had replaced.
    pub replaced: u16,
}

impl Back {
    fn outcome(self) -> Outcome {
        let replaced = self.replaced;
        match self.failure {
            Some((at, failure)) => Outcome::RolledBack { failure, at, replaced },
            None => Outcome::Aborted { replaced },
        }
    }

    /// What it goes back to does not start at this number.
    fn stuck(self, at: Number, failure: &Failure) -> Outcome {
        match self.cut_short() {
            Outcome::Aborted { replaced } => Outcome::Failed { failure: failure.clone(), at, replaced, skipped: Vec::new() },
            other => other,
        }
    }

    /// Something ended it before it had gone all the way back.
    fn cut_short(self) -> Outcome {
        match self.outcome() {
            Outcome::RolledBack { failure, at, replaced } => Outcome::Failed { failure, at, replaced, skipped: Vec::new() },
            other => other,
        }
    }
}

/// A release that the group will not start again.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resist {
    pub generation: Generation,
    #[serde(with = "crate::moment")]
    pub since: Instant,
    pub at: Number,
    pub failure: Failure,
}

impl Walk {
    /// `bake`: the new release is watched.
    pub fn new(ask: Ask, resolved: bool, bake: Option<BakeConfig>) -> Self {
        Self {
            target: ask.generation,
            began: ask.since,
            ask,
            resolved,
            proven: false,
            bake: bake.map_or(Baking::Passed, Baking::Waits),
            answers_are_judged: false,
            skipped: Vec::new(),
            back: None,
            told: None,
            pardons: 0,
            is_in_place: false,
        }
    }

    pub fn asked(&self) -> Generation {
        self.ask.generation
    }

    /// Everything is replaced at once, and requests wait.
    pub fn is_at_once(&self) -> bool {
        self.ask.aim == Aim::AllAtOnce && self.back.is_none()
    }

    pub fn skips(&self, number: Number) -> bool {
        self.skipped.iter().any(|(skipped, _)| *skipped == number)
    }
}

impl<W> Group<W> {
    // ── walks ──

    /// Asks for a rolling restart; a request that has not begun is joined. Gives the generation that it will make.
    pub fn restart(&mut self, trigger: Trigger, aim: Aim, now: Instant) -> Generation {
        self.ask(trigger, aim, false, now)
    }

    /// Numbers were given before that nobody knew of until now.
    pub fn numbers_go_on_behind(&mut self, generation: Generation) {
        self.last_generation = self.last_generation.max(generation);
    }

    /// A walk is under way, or asked for.
    pub fn is_walking(&self) -> bool {
        self.walk.is_some() || self.asked.is_some() || self.resolving.is_some()
    }

    /// Whether a restart was asked for later than `then`: its release is resolved later still, so that it brings in what was there then.
    pub fn was_asked_after(&self, then: Instant) -> bool {
        self.last_asked > then
    }

    /// The answer to [`Step::Resolve`] of this generation is waited for.
    pub fn is_preparing(&self, generation: Generation) -> bool {
        self.resolving.as_ref().is_some_and(|ask| ask.generation == generation)
    }

    /// The answer to [`Step::Resolve`]; Err: the request fails, and what was under way goes on. A first start tries again.
    pub fn resolved(&mut self, generation: Generation, result: Result<(), Failure>, now: Instant) {
        let Some(ask) = self.resolving.take_if(|ask| ask.generation == generation) else { return };
        let first = self.walk.as_mut().filter(|walk| walk.asked() == generation);
        match (result, first) {
            (Ok(()), Some(walk)) => {
                walk.resolved = true;
                self.backoff.reset();
            }
            (Ok(()), None) => {
                self.close_walk(Outcome::Superseded { by: generation });
                // Also what made room for one that was only recycled: the walk may come to another number first.
                self.makes_room = None;
                if self.good.is_none() {
                    self.backoff.reset();
                }
                // What served before needs no watching, and what has nothing beside it cannot be compared.
                let watched = self.good.is_some() && matches!(ask.aim, Aim::Root | Aim::Deploy(_));
                self.walk = Some(Walk { began: now, ..Walk::new(ask, true, self.settings.bake.filter(|_| watched)) });
            }
            (Err(failure), first) => {
                match first {
                    Some(_) => self.backoff.fail(now),
                    None => {
                        let failure = failure.clone();
                        self.settle(ask, Outcome::Failed { failure, at: FIRST, replaced: 0, skipped: Vec::new() });
                    }
                }
                self.has_failed(FIRST, generation, failure, now);
            }
        }
        self.checked();
    }

    /// How the walk to `generation` ended; None before that is announced. The last 64 are remembered.
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

    /// Generations besides the good one whose pages visitors may have: of the walk that goes on, and of processes that were in service and are
    /// not told to stop yet. The newest first.
    pub fn shown(&self) -> Vec<Generation> {
        let coming = self.walk.as_ref().filter(|walk| walk.resolved && walk.back.is_none() && walk.told.is_none()).map(|walk| walk.target);
        let serves = |process: &&Process| !process.is_coming() && !process.is_stopping();
        let mut shown: Vec<Generation> = self.processes.iter().filter(serves).map(|process| process.generation).chain(coming).collect();
        shown.retain(|generation| Some(*generation) != self.good);
        shown.sort_unstable_by(|a, b| b.cmp(a));
        shown.dedup();
        shown
    }

    /// One that has not begun and goes to the same release is joined; one that goes to another is superseded.
    pub(super) fn ask(&mut self, trigger: Trigger, aim: Aim, in_turn: bool, now: Instant) -> Generation {
        self.last_asked = now;
        if let Some(ask) = self.asked.as_mut().filter(|ask| ask.aim == aim) {
            ask.in_turn &= in_turn;
            return ask.generation;
        }
        let generation = self.last_generation.next();
        self.last_generation = generation;
        if let Some(older) = self.asked.take() {
            self.settle(older, Outcome::Superseded { by: generation });
        }
        let ask = Ask { generation, trigger, aim, since: now, in_turn };
        match self.ending {
            Ending::No => self.asked = Some(ask),
            Ending::Drained | Ending::Now => self.settle(ask, Outcome::Stopped),
        }
        self.checked();
        generation
    }

    /// Asked for, and not ended.
    pub(super) fn is_open(&self, generation: Generation) -> bool {
        self.asked.iter().chain(&self.resolving).any(|ask| ask.generation == generation)
            || self.walk.as_ref().is_some_and(|walk| walk.asked() == generation)
    }

    pub(super) fn stop(&mut self, now: Instant) {
        if self.ending == Ending::No {
            self.ending = Ending::Drained;
            self.resume(now);
            for ask in self.resolving.take().into_iter().chain(self.asked.take()) {
                if self.walk.as_ref().is_none_or(|walk| walk.asked() != ask.generation) {
                    self.settle(ask, Outcome::Stopped);
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
        self.makes_room.take_if(|(at, _)| *at == number);
        let Some(good) = self.good.filter(|good| *good != generation) else {
            // No release is known to be better than this one.
            self.backoff.fail(now);
            return self.tell_failure(number, generation, failure);
        };
        let replaced = self.serving_of(generation);
        let in_place = self.failed_in_place(generation, &failure);
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.target == generation) else { return };
        // One that fails in service is there still: to keep what serves would be to keep it.
        let in_service = matches!(failure.kind, FailureKind::Baked(_));
        // Of the release that says nothing.
        let is_bad = !matches!(failure.kind, FailureKind::PortTaken { by: Some(_), .. });
        match self.settings.on_failure {
            OnFailure::Continue if in_service || walk.skips(number) => return,
            OnFailure::Continue => return walk.skipped.push((number, failure)),
            // There is nothing to go back to.
            OnFailure::Resist | OnFailure::Rollback if in_place || (self.settings.on_failure == OnFailure::Resist && !in_service) => {
                self.close_walk(Outcome::Failed { failure: failure.clone(), at: number, replaced, skipped: Vec::new() });
            }
            OnFailure::Resist | OnFailure::Rollback => self.walk_back(good, Some((number, failure.clone()))),
        }
        if is_bad {
            self.resists = Some(Resist { generation, since: now, at: number, failure });
        }
    }

    /// What the walk replaced gets the good generation again.
    pub(super) fn walk_back(&mut self, good: Generation, failure: Option<(Number, Failure)>) {
        let Some(walk) = &self.walk else { return };
        let replaced = self.serving_of(walk.target);
        self.makes_room = None;
        let Some(walk) = &mut self.walk else { return };
        walk.target = good;
        walk.proven = true;
        walk.bake = Baking::Passed;
        walk.skipped.clear();
        walk.back = Some(Back { failure, replaced });
    }

    /// Of a first start that was overtaken half-way a process has proved itself: it works, which is more than is known of any other. A walk
    /// that has failed since need not be tried again.
    pub(super) fn found_good(&mut self, generation: Generation, now: Instant) {
        self.good = Some(generation);
        self.accept_answer(generation);
        let failed = self.walk.as_ref().and_then(|walk| Some((walk.target, walk.told.clone()?)));
        if let Some((target, (at, failure))) = failed
            // A later try may have gone well.
            && !self.at(at).any(|process| process.generation == target && !process.is_leaving())
        {
            self.start_failure(at, target, failure, now);
        }
    }

    /// A walk that somebody asked for failed, and there is nothing to go back to, or the release that it goes back to does not start any more:
    /// it goes on trying, but nobody waits for that.
    fn tell_failure(&mut self, at: Number, generation: Generation, failure: Failure) {
        let (replaced, failures) = (self.serving_of(generation), self.backoff.failures);
        let asked = |walk: &&mut Walk| walk.target == generation && walk.ask.trigger != Trigger::Boot && walk.told.is_none();
        let Some(walk) = self.walk.as_mut().filter(asked) else { return };
        let outcome = match &walk.back {
            None => Outcome::Failed { failure: failure.clone(), at, replaced, skipped: Vec::new() },
            // What is known to work may have had bad luck once.
            Some(_) if failures < BACK_TRIES => return,
            Some(back) => back.clone().stuck(at, &failure),
        };
        walk.told = Some((at, failure));
        let ask = walk.ask.clone();
        self.settle(ask, outcome);
    }

    /// The walk has nothing left to do.
    pub(super) fn complete_walk(&mut self, now: Instant) {
        let Some(walk) = self.walk.as_mut() else { return };
        let (target, skipped, back) = (walk.target, std::mem::take(&mut walk.skipped), walk.back.clone());
        let took = now.saturating_duration_since(walk.began);
        let replaced = self.serving_of(target);
        let outcome = match (back, skipped.first()) {
            (Some(back), _) => back.outcome(),
            (None, Some((at, failure))) => {
                let (failure, at) = (failure.clone(), *at);
                Outcome::Failed { failure, at, replaced, skipped: skipped.into_iter().map(|(number, _)| number).collect() }
            }
            (None, None) => self.turned(target).map_or(Outcome::Done, |(_, turned)| Outcome::Turned(turned)),
        };
        if matches!(outcome, Outcome::Done | Outcome::Turned(_)) {
            self.pace = Some(took / u32::from(self.wanted().max(1)));
        }
        if replaced > 0 && self.good != Some(target) {
            self.good = Some(target);
            self.accept_answer(target);
            self.resists = None;
            self.is_found_again();
            self.backoff = Backoff::default();
        }
        self.close_walk(outcome);
    }

    /// There is no walk from now on. One that had failed and walked back says so even if something else ended it: whoever asked for it
    /// learns why it did not go in.
    fn close_walk(&mut self, outcome: Outcome) {
        let Some(walk) = self.walk.take() else { return };
        let outcome = match (outcome, walk.back.clone()) {
            (Outcome::Superseded { .. } | Outcome::Stopped, Some(back)) => back.cut_short(),
            (outcome, _) => outcome,
        };
        self.makes_room = None;
        match walk.told {
            None => self.settle(walk.ask, outcome),
            // Its caller has an answer; the log gets the rest, unless that has not even been told yet.
            Some(_) if self.untold.iter().any(|(untold, _)| untold.generation == walk.asked()) => {}
            Some(_) => self.untold.push_back((walk.ask, outcome)),
        }
    }

    pub(super) fn settle(&mut self, ask: Ask, outcome: Outcome) {
        self.untold.push_back((ask, outcome));
    }

    /// Answer to [`Step::WalkEnded`]: whoever waits for it may know. Only now, so that what they are told is written down already.
    pub fn announce(&mut self, generation: Generation, outcome: Outcome) {
        // Of a walk that failed and was tried again the first answer stands.
        if self.outcome(generation).is_some() {
            return;
        }
        Counts::add(&mut self.counts.walks, outcome.label());
        if self.outcomes.len() == OUTCOMES_KEPT {
            self.outcomes.pop_front();
        }
        self.outcomes.push_back((generation, outcome));
    }
}

/// So many failed starts in a row of a release that is known to work are no bad luck.
const BACK_TRIES: u32 = 2;
/// A release that cannot be resolved fails where the walk would have begun.
const FIRST: Number = Number(1);
/// Whoever asks later than this many walks gets no answer: the log has it.
const OUTCOMES_KEPT: usize = 64;
