//! The naive model: what the world itself knows of one app, kept without a look into the pool.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rota::config::{LeaderPolicy, Lifespan, OnFailure};
use rota::ids::{Generation, GroupId, Number, ProcessId};
use rota::pool::{Aim, Claim, Outcome, Settings, WaitId};

use super::trial::{Trial, Verdict};

/// Err: what is wrong.
pub type Check = Result<(), String>;

macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
pub(super) use ensure;

#[derive(Debug)]
pub struct App {
    pub id: GroupId,
    pub settings: Settings,
    pub procs: Vec<Proc>,
    /// Numbers at which there is to be a process, and whether one has served there since.
    pub numbers: BTreeMap<Number, bool>,
    /// By their numbers, which are what waits in the pool's queue.
    pub requests: Vec<Request>,
    /// Requests that wait, in the order of their coming.
    pub waiting: Vec<u32>,
    /// Of these, what waits for the process of one number.
    pub bound: BTreeMap<u32, Number>,
    /// Of so many spawns out of a hundred memory is too short for one more process.
    pub short: u64,
    /// There may be only so many processes on the machine.
    pub limited: bool,

    // What was asked for.
    /// Asked for and not begun.
    pub pending: Option<Pending>,
    /// Begun; its release is being resolved.
    pub resolving: Option<Generation>,
    /// Generations that were asked for, and how each was told to have ended.
    pub asked: BTreeMap<Generation, Option<Outcome>>,
    pub aims: BTreeMap<Generation, Aim>,
    /// How those must end of which that is known beforehand.
    pub expected: BTreeMap<Generation, Outcome>,
    pub releases: BTreeMap<Generation, Release>,
    /// Releases that the shell has not dropped yet.
    pub kept: BTreeSet<Generation>,

    // What follows from it.
    pub good: Option<Generation>,
    /// Told as failed, and tried again since there is nothing else.
    pub goes_on: BTreeSet<Generation>,
    /// Walks that found no room for a first process.
    pub had_no_room: BTreeSet<Generation>,
    /// When a first start that was overtaken showed that it works: what failed before has been tried again for lack of anything else.
    pub found_good: Option<Instant>,
    /// The walk under way, from its resolved release to its outcome.
    pub walk: Option<Generation>,
    /// Walks of which the first process is watched.
    pub to_watch: BTreeSet<Generation>,
    pub trial: Option<Trial>,
    /// Watched to the end.
    pub watched: BTreeSet<Generation>,
    /// Watched, and found to be worse.
    pub baked: BTreeSet<Generation>,
    /// Its old process goes first: memory was too short for both.
    pub postponed: Option<Number>,
    /// A walk or a recycling emptied it, and it has not been filled.
    pub taken_out: BTreeSet<Number>,
    /// Of processes that had proved themselves, in their order: the number, the generation, and how long they served.
    pub crashes: Vec<(Number, Generation, Duration)>,
    pub paused: Option<Instant>,
    pub ending: bool,
    pub ending_now: bool,
    /// The fewest that served at any time since this was set.
    pub fewest: usize,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Pending {
    pub generation: Generation,
    pub aim: Aim,
    pub in_turn: bool,
}

/// What a release does when it is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    Good,
    /// Each process as chance has it.
    Flaky,
    /// It starts, and answers many requests with errors.
    Errs,
    /// It starts, and answers late.
    Slow,
    CannotSpawn,
    ExitsAtBoot,
    HangsAtBoot,
    DiesInProbation,
}

/// One process of the world. It is never taken out of the list.
#[derive(Debug)]
pub struct Proc {
    pub id: ProcessId,
    pub number: Number,
    pub generation: Generation,
    pub spawned: Instant,
    pub pid: Option<u32>,
    pub leader: bool,
    pub children: bool,
    pub deaf: bool,
    /// When the pool was told.
    pub ready: Option<Instant>,
    pub failed: bool,
    pub ended: Option<Instant>,
    pub serving: bool,
    /// Its connections tell of its end already.
    pub dying: bool,
    pub draining: Option<Instant>,
    pub cut: Option<Instant>,
    /// It has requests beyond the time that anything waits for.
    pub outlasts: bool,
    pub first_signal: Option<Instant>,
    pub told_leader: bool,
    pub told_group: bool,
    pub killed: bool,
    pub gone: bool,
    /// Somebody asked for another one in its place.
    pub recycled: bool,
    /// Another took its place, or was to, when no walk wanted that.
    pub relieved: bool,
    /// When it was weighed last.
    pub memory: u64,
    pub stuck: bool,
    /// It took so much that it is to be killed at once.
    pub condemned: bool,
    /// Requests that hold a claim on it, and since when none does.
    pub claims: u32,
    pub idle: Instant,
    pub processed: u64,
    pub errors: u64,
}

#[derive(Debug)]
pub enum Request {
    Waiting {
        id: WaitId,
        since: Instant,
    },
    Claimed {
        claim: Claim,
        since: Instant,
    },
    /// Answered, refused, expired or left: once, and nothing after it.
    Over,
}

impl Proc {
    pub fn new(id: ProcessId, number: Number, generation: Generation, now: Instant) -> Self {
        Self {
            id,
            number,
            generation,
            spawned: now,
            pid: None,
            leader: false,
            children: false,
            deaf: false,
            ready: None,
            failed: false,
            ended: None,
            serving: false,
            dying: false,
            draining: None,
            cut: None,
            outlasts: false,
            first_signal: None,
            told_leader: false,
            told_group: false,
            killed: false,
            gone: false,
            recycled: false,
            relieved: false,
            memory: 0,
            stuck: false,
            condemned: false,
            claims: 0,
            idle: now,
            processed: 0,
            errors: 0,
        }
    }

    pub fn is_leaving(&self) -> bool {
        !self.gone && !self.serving && !self.is_coming()
    }

    /// On its way into service, as far as anyone outside knows.
    pub fn is_coming(&self) -> bool {
        let untold = self.first_signal.is_none() && self.ended.is_none() && !self.gone;
        untold && !self.serving && self.draining.is_none()
    }
}

impl App {
    pub fn new(id: GroupId, settings: Settings, short: u64) -> Self {
        Self {
            id,
            numbers: (1..=settings.processes.min).map(|number| (Number(number), true)).collect(),
            settings,
            procs: Vec::new(),
            requests: Vec::new(),
            waiting: Vec::new(),
            bound: BTreeMap::new(),
            short,
            limited: false,
            pending: None,
            resolving: None,
            asked: BTreeMap::from([(FIRST, None)]),
            aims: BTreeMap::from([(FIRST, Aim::Root)]),
            expected: BTreeMap::new(),
            releases: BTreeMap::new(),
            kept: BTreeSet::new(),
            good: None,
            goes_on: BTreeSet::new(),
            had_no_room: BTreeSet::new(),
            found_good: None,
            walk: None,
            to_watch: BTreeSet::new(),
            trial: None,
            watched: BTreeSet::new(),
            baked: BTreeSet::new(),
            postponed: None,
            taken_out: BTreeSet::new(),
            crashes: Vec::new(),
            paused: None,
            ending: false,
            ending_now: false,
            fewest: usize::MAX,
        }
    }

    pub fn serves_at(&self, number: Number) -> bool {
        self.serving().any(|proc| proc.number == number)
    }

    /// The first that has to be given a slot at this number before any other.
    pub fn first_for(&self, number: Number) -> Option<u32> {
        self.waiting.iter().copied().find(|request| self.bound.get(request).is_none_or(|bound| *bound == number))
    }

    /// Takes a request out of the queue.
    pub fn unqueue(&mut self, request: u32) {
        self.waiting.retain(|other| *other != request);
        self.bound.remove(&request);
    }

    /// What waited for a process that is not there any more waits for any.
    pub fn unbind(&mut self) {
        let numbers: BTreeSet<Number> = self.serving().map(|proc| proc.number).collect();
        self.bound.retain(|_, number| numbers.contains(number));
    }

    /// A process may have to go before its replacement is started, so that one less serves for a while.
    pub fn may_go_first(&self) -> bool {
        self.settings.surge == 0 || self.short > 0 || self.limited || self.is_exclusive()
    }

    pub fn is_exclusive(&self) -> bool {
        self.settings.leader == LeaderPolicy::Exclusive
    }

    /// Numbers at which there is to be a process. Where nothing has served yet, as long as something is coming.
    pub fn wanted_numbers(&self) -> Vec<Number> {
        let wanted = |(number, served): &(&Number, &bool)| **served || !self.is_missing(**number);
        self.numbers.iter().filter(wanted).map(|(number, _)| *number).collect()
    }

    pub fn wanted(&self) -> usize {
        self.wanted_numbers().len()
    }

    pub fn min(&self) -> usize {
        usize::from(self.settings.processes.min)
    }

    pub fn max(&self) -> usize {
        usize::from(self.settings.processes.max)
    }

    pub fn bound(&self) -> usize {
        self.wanted() + usize::from(self.settings.surge)
    }

    /// Of the room that all apps have together.
    pub fn share(&self) -> usize {
        self.counted().count().max(if self.ending { 0 } else { self.wanted() }) + self.outlasting().count()
    }

    pub fn booting(&self) -> usize {
        self.there().filter(|proc| proc.is_coming() && proc.ready.is_none()).count()
    }

    /// Those that cannot be late, whatever this app's boots usually take: younger than any bound, and no try after what may
    /// have been a failure.
    pub fn boots_in_time(&self, now: Instant) -> usize {
        let young = |proc: &&Proc| now < proc.spawned + Duration::from_secs(1).min(self.settings.ready_timeout);
        let is_retried = self.procs.iter().any(|other| other.ended.is_some());
        self.there().filter(|proc| proc.is_coming() && proc.ready.is_none() && !is_retried).filter(young).count()
    }

    /// Which of its processes may go, when it is for long enough: the longest idle.
    pub fn longest_idle(&self) -> Option<&Proc> {
        let (wanted, sure) = (self.wanted(), self.numbers.values().filter(|served| **served).count());
        let busy = self.ending || self.paused.is_some();
        let alone = |proc: &&Proc| self.counted().filter(|other| other.number == proc.number).count() == 1;
        let last = |proc: &&Proc| wanted == 1 || proc.number != Number(1);
        let idle = self.serving().filter(|proc| proc.claims == 0).filter(alone).filter(last);
        idle.min_by_key(|proc| (proc.idle, std::cmp::Reverse(proc.number))).filter(|_| !busy && sure > self.min())
    }

    /// Something will serve soon where nothing does.
    pub fn is_one_coming(&self) -> bool {
        let leader_follows = self.is_exclusive() && self.numbers.get(&LEADER) == Some(&true) && self.is_missing(LEADER);
        if leader_follows && self.there().any(|proc| proc.number == LEADER) {
            return true;
        }
        self.there().any(|proc| proc.is_coming() && !self.serving().any(|other| other.number == proc.number))
    }

    pub fn there(&self) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(|proc| !proc.gone)
    }

    /// Those that are not beside all numbers.
    pub fn counted(&self) -> impl Iterator<Item = &Proc> {
        self.there().filter(|proc| !proc.outlasts)
    }

    pub fn outlasting(&self) -> impl Iterator<Item = &Proc> {
        self.there().filter(|proc| proc.outlasts)
    }

    /// At the end of its drain another of its number outlasted its own, which had to go first.
    pub fn waited_for_older(&self, proc: &Proc) -> bool {
        self.procs.iter().any(|other| other.outlasts && other.number == proc.number && other.id != proc.id)
    }

    pub fn serving(&self) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(|proc| proc.serving)
    }

    pub fn serving_of(&self, generation: Generation) -> usize {
        self.serving().filter(|proc| proc.generation == generation).count()
    }

    /// It may be replaced by another of its release: its time is over, or nearly, for each has a little less than is configured.
    pub fn may_be_replaced(&self, proc: &Proc, now: Instant) -> bool {
        let age = proc.ended.unwrap_or(now) - proc.spawned;
        let Lifespan { requests, age: oldest, memory, .. } = self.settings.lifespan;
        proc.recycled
            || proc.stuck
            || memory.is_some_and(|most| proc.memory * 10 >= most * 9)
            || requests.is_some_and(|most| proc.processed * 10 >= most * 9)
            || oldest.is_some_and(|oldest| age >= oldest.mul_f64(0.9))
    }

    /// Nothing holds up the replacement of this one.
    pub fn must_be_replaced(&self, proc: &Proc) -> bool {
        let Lifespan { requests, memory, .. } = self.settings.lifespan;
        let over = |limit: Option<u64>, is: u64| limit.is_some_and(|most| is >= most);
        proc.recycled || proc.stuck || over(requests, proc.processed) || over(memory, proc.memory)
    }

    pub fn is_missing(&self, number: Number) -> bool {
        !self.there().any(|proc| proc.number == number && (proc.serving || proc.is_coming()))
    }

    pub fn index(&self, id: ProcessId) -> Result<usize, String> {
        self.procs.iter().position(|proc| proc.id == id).ok_or(format!("{id:?} was never spawned"))
    }

    /// Nothing in the release itself keeps its processes from running.
    pub fn works(&self, generation: Generation) -> bool {
        let works = |release: &Release| match release {
            Release::Good | Release::Flaky | Release::Errs | Release::Slow => true,
            Release::CannotSpawn | Release::ExitsAtBoot | Release::HangsAtBoot | Release::DiesInProbation => false,
        };
        self.releases.get(&generation).is_some_and(works)
    }

    /// A process of the generation lived through its probation at some time.
    pub fn has_proved(&self, generation: Generation, now: Instant) -> bool {
        let lived = |proc: &Proc| {
            let until = proc.ended.unwrap_or(now).min(proc.draining.unwrap_or(now));
            proc.ready.is_some_and(|ready| until >= ready + self.settings.probation)
        };
        self.procs.iter().any(|proc| proc.generation == generation && lived(proc))
    }

    /// The walk's release works as far as can be seen.
    pub fn accepts(&self, generation: Generation, now: Instant) -> bool {
        self.has_proved(generation, now) || self.serving_of(generation) > 0
    }

    /// The generation must not be started (there) again: it failed in its walk, or was called off.
    pub fn has_failed(&self, generation: Generation, number: Number) -> bool {
        self.is_called_off(generation) || self.baked.contains(&generation) || self.failed_since(self.found_good, generation, number)
    }

    /// As [`App::has_failed`], also before anything was known to be better.
    pub fn has_ever_failed(&self, generation: Generation, number: Number) -> bool {
        self.has_failed(generation, number) || self.failed_since(None, generation, number)
    }

    pub fn is_called_off(&self, generation: Generation) -> bool {
        self.good != Some(generation) && matches!(self.expected.get(&generation), Some(Outcome::Aborted { .. }))
    }

    fn failed_since(&self, since: Option<Instant>, generation: Generation, number: Number) -> bool {
        if self.good.is_none() || self.good == Some(generation) {
            return false;
        }
        // In one instant the pool sees first what has proved itself by then, unless that takes no time at all.
        let follows = |ended: Instant, since: Instant| ended > since || (ended == since && !self.settings.probation.is_zero());
        let lately = |proc: &Proc| since.is_none_or(|since| proc.ended.is_none_or(|ended| follows(ended, since)));
        let failed = |proc: &&Proc| proc.generation == generation && proc.failed && lately(proc);
        match self.settings.on_failure {
            OnFailure::Resist | OnFailure::Rollback => self.procs.iter().any(|proc| failed(&proc)),
            OnFailure::Continue => self.procs.iter().any(|proc| failed(&proc) && proc.number == number),
        }
    }

    /// A process ended that nobody had told to. True: before it had proved itself, or while its release is watched.
    pub fn fell(&self, index: usize, now: Instant) -> bool {
        let proc = &self.procs[index];
        let untold = proc.draining.is_none() && proc.first_signal.is_none() && proc.ended.is_none();
        let unproven = proc.ready.is_none_or(|ready| now < ready + self.settings.probation);
        untold && (unproven || self.is_compared(proc.generation) || self.crashes_again(index, now))
    }

    /// Also when the answers say enough already, or its time is over: until the pool looks, it is watched.
    fn is_compared(&self, generation: Generation) -> bool {
        let compared = self.trial.as_ref().is_some_and(|trial| trial.of == generation);
        compared && self.walk == Some(generation)
    }

    /// It had proved itself and ends untold, unwatched: how long it served.
    pub fn crash(&self, index: usize, now: Instant) -> Option<Duration> {
        let proc = &self.procs[index];
        let untold = proc.draining.is_none() && proc.first_signal.is_none() && proc.ended.is_none();
        let proven = proc.ready.filter(|ready| now >= *ready + self.settings.probation);
        proven.filter(|_| untold && !self.is_compared(proc.generation)).map(|ready| now - ready)
    }

    pub fn note_crash(&mut self, index: usize, now: Instant) {
        if let Some(uptime) = self.crash(index, now) {
            let Proc { number, generation, .. } = self.procs[index];
            self.crashes.push((number, generation, uptime));
        }
    }

    /// The second crash of a release that is on its way in, at one number, is a failed start.
    fn crashes_again(&self, index: usize, now: Instant) -> bool {
        let Some(uptime) = self.crash(index, now) else { return false };
        let Proc { number, generation, .. } = self.procs[index];
        let comes_in = self.walk == Some(generation) && self.good.is_some() && !self.is_called_off(generation);
        let here = self.crashes.iter().filter(|(at, _, _)| *at == number).map(|(_, of, uptime)| (*of, *uptime));
        let in_a_row = here.chain([(generation, uptime)]).fold((None, 0), |(last, count), (of, uptime)| {
            let before = if last == Some(of) && uptime < SHORT_LIFE { count } else { 0 };
            (Some(of), before + u32::from(uptime < SHORT_LIFE))
        });
        comes_in && in_a_row.1 > 1
    }

    /// Another walk, or the same one in the other direction: what was emptied for it is filled as anything else.
    pub fn forget_all_room(&mut self) {
        self.postponed = None;
        self.taken_out.clear();
    }

    /// The walk under way replaces everything at once.
    pub fn is_at_once(&self) -> bool {
        self.walk.is_some_and(|walk| self.aims.get(&walk) == Some(&Aim::AllAtOnce) && !self.is_called_off(walk))
    }

    /// Answers of this generation are compared with those of the one before. There was one when its walk began.
    pub fn is_to_be_watched(&self, generation: Generation) -> bool {
        self.to_watch.contains(&generation) && self.good != Some(generation)
    }

    /// One process of this generation serves, and before its time is over no second one may be replaced by it.
    pub fn is_watched(&self, generation: Generation, now: Instant) -> bool {
        let over = |trial: &Trial| trial.of == generation && (now >= trial.end || trial.verdict(now) != Verdict::NotWorse);
        self.is_to_be_watched(generation) && !self.watched.contains(&generation) && !self.trial.as_ref().is_some_and(over)
    }
}

pub const FIRST: Generation = Generation(1);
pub const LEADER: Number = Number(1);
/// What ended longer ago has been forgotten: the longest backoff, the longest boot and a short life after it.
pub const OF_LATE: Duration = Duration::from_secs(200);

/// A crash after this long begins a new row.
const SHORT_LIFE: Duration = Duration::from_secs(60);
