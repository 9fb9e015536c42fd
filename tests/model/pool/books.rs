//! The naive model: what the world itself knows of one app, kept without a look into the pool, and what must be true of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rota::config::OnFailure;
use rota::ids::{Generation, GroupId, Number, ProcessId};
use rota::pool::{Claim, Outcome, Settings, WaitId};

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
    /// By their numbers, which are what waits in the pool's queue.
    pub requests: Vec<Request>,
    /// Requests that wait, in the order of their coming.
    pub waiting: Vec<u32>,
    pub releases: BTreeMap<Generation, Release>,
    /// Generations that were asked for, and how each was told to have ended.
    pub asked: BTreeMap<Generation, Option<Outcome>>,
    pub good: Option<Generation>,
    /// Told as failed, and tried again since there is nothing else.
    pub goes_on: BTreeSet<Generation>,
    /// When a first start that was overtaken showed that it works: what failed before has been tried again for lack of anything else.
    pub found_good: Option<Instant>,
    /// The walk under way, from its resolved release to its outcome.
    pub walk: Option<Generation>,
    pub ending: bool,
    pub ending_now: bool,
    /// The fewest that served at any time since this was set.
    pub fewest: usize,
}

/// What a release does when it is started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Release {
    Good,
    /// Each process as chance has it.
    Flaky,
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
    pub draining: Option<Instant>,
    pub cut: Option<Instant>,
    pub first_signal: Option<Instant>,
    pub told_leader: bool,
    pub told_group: bool,
    pub killed: bool,
    pub gone: bool,
    /// Requests that hold a claim on it, and since when none does.
    pub claims: u32,
    pub idle: Instant,
}

#[derive(Debug)]
pub enum Request {
    Waiting {
        id: WaitId,
        since: Instant,
    },
    Claimed(Claim),
    /// Answered, refused, expired or left: once, and nothing after it.
    Over,
}

/// What ended longer ago has been forgotten: the longest backoff, the longest boot and a short life after it.
const OF_LATE: Duration = Duration::from_secs(200);

impl Proc {
    /// On its way into service, as far as anyone outside knows.
    pub fn is_coming(&self) -> bool {
        let untold = self.first_signal.is_none() && self.ended.is_none() && !self.gone;
        untold && !self.serving && self.draining.is_none()
    }
}

impl App {
    pub fn new(id: GroupId, settings: Settings) -> Self {
        Self {
            id,
            settings,
            procs: Vec::new(),
            requests: Vec::new(),
            waiting: Vec::new(),
            releases: BTreeMap::new(),
            asked: BTreeMap::from([(Generation(1), None)]),
            good: None,
            goes_on: BTreeSet::new(),
            found_good: None,
            walk: None,
            ending: false,
            ending_now: false,
            fewest: usize::MAX,
        }
    }

    pub fn wanted(&self) -> usize {
        usize::from(self.settings.processes)
    }

    pub fn there(&self) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(|proc| !proc.gone)
    }

    pub fn serving(&self) -> impl Iterator<Item = &Proc> {
        self.procs.iter().filter(|proc| proc.serving)
    }

    pub fn index(&self, id: ProcessId) -> Result<usize, String> {
        self.procs.iter().position(|proc| proc.id == id).ok_or(format!("{id:?} was never spawned"))
    }

    /// Nothing in the release itself keeps its processes from running.
    pub fn works(&self, generation: Generation) -> bool {
        self.releases.get(&generation).is_some_and(|release| matches!(release, Release::Good | Release::Flaky))
    }

    /// A process of the generation lived through its probation at some time.
    pub fn has_proved(&self, generation: Generation, now: Instant) -> bool {
        let lived = |proc: &Proc| proc.ready.is_some_and(|ready| proc.ended.unwrap_or(now) >= ready + self.settings.probation);
        self.procs.iter().any(|proc| proc.generation == generation && lived(proc))
    }

    /// The generation failed in its walk, at any number (`None`) or at this one, so that it must not be started (there) again.
    pub fn has_failed(&self, generation: Generation, number: Number) -> bool {
        self.failed_since(self.found_good, generation, number)
    }

    /// As [`App::has_failed`], also before anything was known to be better.
    pub fn has_ever_failed(&self, generation: Generation, number: Number) -> bool {
        self.failed_since(None, generation, number)
    }

    fn failed_since(&self, since: Option<Instant>, generation: Generation, number: Number) -> bool {
        if self.good.is_none() || self.good == Some(generation) {
            return false;
        }
        let lately = |proc: &Proc| since.is_none_or(|since| proc.ended.is_none_or(|ended| ended > since));
        let failed = |proc: &&Proc| proc.generation == generation && proc.failed && lately(proc);
        match self.settings.on_failure {
            OnFailure::Resist | OnFailure::Rollback => self.procs.iter().any(|proc| failed(&proc)),
            OnFailure::Continue => self.procs.iter().any(|proc| failed(&proc) && proc.number == number),
        }
    }

    /// A process ended that nobody had told to. True: before it had proved itself.
    pub fn fell(&self, index: usize, now: Instant) -> bool {
        let proc = &self.procs[index];
        let untold = proc.draining.is_none() && proc.first_signal.is_none() && proc.ended.is_none();
        untold && proc.ready.is_none_or(|ready| now < ready + self.settings.probation)
    }

    /// What holds after every change.
    pub fn check(&self) -> Check {
        let there = self.there().count();
        ensure!(there <= self.wanted() + 1, "{there} processes for {} wanted", self.wanted());
        for proc in self.there() {
            ensure!(proc.claims <= self.settings.concurrency, "{:?} has {} sessions", proc.id, proc.claims);
            ensure!(
                !proc.serving || proc.claims == self.settings.concurrency || self.waiting.is_empty(),
                "a request waits beside a free slot"
            );
            let twins = self.serving().filter(|other| other.number == proc.number).count();
            ensure!(twins <= 1, "{twins} processes serve as number {}", proc.number);
        }
        ensure!(self.waiting.len() <= self.settings.queue_max, "{} requests wait", self.waiting.len());
        Ok(())
    }

    /// What the restart thread must have seen to when it has just looked.
    pub fn check_seen_to(&self, now: Instant) -> Check {
        if self.ending {
            return Ok(());
        }
        let of_use = |proc: &Proc| {
            let wanted = self.good == Some(proc.generation) || self.walk == Some(proc.generation);
            wanted && proc.is_coming() && !self.has_failed(proc.generation, proc.number)
        };
        let waits = self.there().find(|proc| proc.ready.is_some() && of_use(proc));
        ensure!(waits.is_none() || self.serving().count() > 0, "{waits:?} is ready and nothing serves");
        let (Some(good), true) = (self.good, self.there().count() <= self.wanted()) else { return Ok(()) };
        // The good release has not failed for so long, and nothing else has ended at this number, that nothing holds its start up.
        let of_late = |proc: &&Proc| proc.ended.is_some_and(|ended| now < ended + OF_LATE);
        let no_failure = !self.procs.iter().filter(of_late).any(|proc| proc.failed && proc.generation == good);
        for number in (1..=self.settings.processes).map(Number) {
            let missing = !self.there().any(|proc| proc.number == number && (proc.serving || proc.is_coming()));
            let calm = no_failure && self.procs.iter().filter(of_late).filter(|proc| proc.number == number).count() <= 1;
            let target = self.walk.filter(|walk| self.has_proved(*walk, now) || self.serving().any(|proc| proc.generation == *walk));
            let is_filled = self.there().any(|proc| proc.is_coming() && (proc.generation == good || Some(proc.generation) == target));
            ensure!(!missing || !calm || is_filled, "number {number} is missing and nothing is started");
        }
        Ok(())
    }

    /// What holds when nothing has happened for a long time.
    pub fn check_at_rest(&self) -> Check {
        ensure!(self.walk.is_none(), "the walk to {:?} has not ended", self.walk);
        for (generation, outcome) in &self.asked {
            ensure!(outcome.is_some(), "nobody was told how {generation} ended");
        }
        ensure!(self.waiting.is_empty(), "{} requests still wait", self.waiting.len());
        let open = self.requests.iter().filter(|request| !matches!(request, Request::Over)).count();
        ensure!(open == 0, "{open} requests have not ended");
        if self.ending {
            ensure!(self.there().count() == 0, "{} processes are left", self.there().count());
            return Ok(());
        }
        let (there, serving) = (self.there().count(), self.serving().count());
        ensure!(there == self.wanted() && serving == there, "{serving} of {there} processes serve, {} are wanted", self.wanted());
        let good = self.good.ok_or("nothing was ever accepted")?;
        let mixed = self.serving().any(|proc| proc.generation != good);
        let last_failed = self.last_walked().is_some_and(|outcome| match outcome {
            Outcome::Failed { .. } => true,
            Outcome::Done | Outcome::RolledBack { .. } | Outcome::Superseded { .. } | Outcome::Stopped => false,
        });
        let may_mix = match self.settings.on_failure {
            OnFailure::Resist | OnFailure::Continue => last_failed,
            OnFailure::Rollback => false,
        };
        ensure!(!mixed || may_mix, "generations are mixed with no reason: {:?}", self.asked);
        Ok(())
    }

    /// How the last walk ended whose release could be resolved: a request that failed before that changes nothing.
    fn last_walked(&self) -> Option<&Outcome> {
        let walked = |generation: &Generation| self.releases.contains_key(generation);
        self.asked.iter().rev().find(|(generation, _)| walked(generation)).and_then(|(_, outcome)| outcome.as_ref())
    }
}
