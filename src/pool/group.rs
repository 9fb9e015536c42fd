//! One running app: its processes, its queue and the books of its restarts. Here: the table itself and what requests ask of it; `events`
//! takes in what happened to processes, `walk` keeps the books of restarts, `next_step` says what is to be done.

use std::collections::VecDeque;

use super::backoff::Backoff;
use super::deaths::Deadly;
use super::lost::InPlace;
use super::pause::Pause;
use super::process::{Limits, Process};
use super::queue::Queue;
use super::size::{Held, Place, What};
use super::walk::{Resist, Walk};
use super::*;
use crate::visitor::Shares;

/// The last failure of any kind.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LastFailure {
    pub of: ProcessName,
    pub failure: Failure,
    #[serde(with = "crate::moment")]
    pub at: Instant,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Group<W> {
    pub(super) id: GroupId,
    pub(super) app: AppName,
    pub(super) settings: Settings,

    // What is wanted: of the walk's target if there is one, else of the good generation; at the numbers of which `places` says so, or none.
    pub(super) ending: Ending,
    /// The last generation that was accepted.
    pub(super) good: Option<Generation>,
    pub(super) walk: Option<Walk>,
    /// Asked for; nothing has been done about it yet.
    pub(super) asked: Option<Ask>,
    /// Its release is being resolved; the walk that was there before goes on meanwhile.
    pub(super) resolving: Option<Ask>,
    /// Settings that hold once every process serves.
    pub(super) coming: Option<Settings>,
    /// The app is not in the configuration any more.
    pub(super) is_removed: bool,
    /// No request may begin.
    pub(super) pause: Option<Pause>,
    /// At this number the old process goes before the new one is started, because memory is short; and what was found.
    pub(super) makes_room: Option<(Number, String)>,

    // What is so.
    pub(super) processes: Vec<Process>,
    pub(super) queue: Queue<W>,
    /// So many were in it when its bound became another.
    pub(super) queue_bound: usize,

    // Books.
    pub(super) resists: Option<Resist>,
    /// What became of the directory of the good release.
    pub(super) lost_directory: Option<Lost>,
    /// The release that failed in it.
    pub(super) lost_in_place: Option<InPlace>,
    /// The last process that was started before either.
    pub(super) lost_after: u32,
    /// The release that had failed in it, before one that was started from it since has proved itself; until that is told.
    pub(super) mended: Option<Generation>,
    pub(super) backoff: Backoff,
    pub(super) deadly: Deadly,
    /// One for each number that there may be, in their order.
    pub(super) places: Vec<Place>,
    pub(super) counts: Counts,
    pub(super) last_failure: Option<LastFailure>,
    /// What the good release answered when it became ready; before there is one, what the one before rota's start did.
    pub(super) answered: Option<Answered>,
    /// What became worse with the good release.
    pub(super) turned: Option<Turned>,
    /// The newest last.
    pub(super) outcomes: VecDeque<(Generation, Outcome)>,
    /// Outcomes that no step has told yet.
    pub(super) untold: VecDeque<(Ask, Outcome)>,
    /// What one process took in the last walk that was done.
    pub(super) pace: Option<Duration>,
    /// What a boot that went well takes, rather more than less.
    pub(super) usual_boot: Option<Duration>,
    pub(super) last_generation: Generation,
    /// When a walk was asked for last.
    #[serde(with = "crate::moment")]
    pub(super) last_asked: Instant,
    pub(super) last_serial: u32,
    /// A process that it wants to start waits for a limit over all groups.
    pub(super) held: Option<Held>,
    /// Another group waits for room: one that this group does not need would make it.
    pub(super) room_is_wanted: bool,
    /// Where the next search for a process begins, so that equals take turns.
    turn: usize,
}

/// Whether the group shall end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Ending {
    No,
    /// When everything that came in has been answered.
    Drained,
    Now,
}

impl<W> Group<W> {
    pub(super) fn new(id: GroupId, app: AppName, settings: Settings, first: Generation, now: Instant) -> Self {
        let ask = Ask { generation: first, trigger: Trigger::Boot, aim: Aim::Root, since: now, in_turn: false };
        Self {
            id,
            app,
            ending: Ending::No,
            good: None,
            walk: Some(Walk::new(ask, false, None)),
            asked: None,
            resolving: None,
            coming: None,
            is_removed: false,
            pause: None,
            makes_room: None,
            processes: Vec::with_capacity(usize::from(settings.processes.max + settings.surge)),
            queue: Queue::new(),
            queue_bound: 0,
            resists: None,
            lost_directory: None,
            lost_in_place: None,
            lost_after: 0,
            mended: None,
            backoff: Backoff::default(),
            deadly: Deadly::default(),
            places: Place::row(settings.processes),
            counts: Counts::default(),
            last_failure: None,
            answered: None,
            turned: None,
            outcomes: VecDeque::new(),
            untold: VecDeque::new(),
            pace: None,
            usual_boot: None,
            last_generation: first,
            last_asked: now,
            last_serial: 0,
            held: None,
            room_is_wanted: false,
            turn: 0,
            settings,
        }
    }

    pub fn id(&self) -> GroupId {
        self.id
    }

    pub fn app(&self) -> &AppName {
        &self.app
    }

    /// The last generation that was accepted.
    pub fn good(&self) -> Option<Generation> {
        self.good
    }

    /// The process that serves at a number, and its pid.
    pub fn serving_at(&self, number: Number) -> Option<(ProcessId, Option<u32>)> {
        self.at(number).find(|process| process.is_serving()).map(|process| (process.id, process.pid))
    }

    /// A request would be answered: by a process that serves, after the hold where it is held, or by the one that is started for it.
    pub fn takes_requests(&self) -> bool {
        self.processes.iter().any(Process::is_serving) || (self.wanted() == 0 && self.backoff.until.is_none())
    }

    /// What serves at a number in place of one that is gone. Some(None): nothing, and nothing is on its way. None: not yet.
    pub fn in_place_at(&self, number: Number, now: Instant) -> Option<Option<(ProcessId, Option<u32>)>> {
        let serving = self.serving_at(number);
        let is_on_its_way = serving.is_none() && self.numbers().any(|wanted| wanted == number) && self.view_backoff(now).is_none();
        (!is_on_its_way || self.ending != Ending::No).then_some(serving)
    }

    /// It is in the table, in whatever state.
    pub fn has(&self, id: ProcessId) -> bool {
        self.find(id).is_some()
    }

    /// Its processes that get nothing new, or all of them.
    pub fn ids(&self, only_draining: bool) -> impl Iterator<Item = ProcessId> {
        self.processes.iter().filter(move |process| !only_draining || process.is_leaving()).map(|process| process.id)
    }

    pub fn queue_timeout(&self) -> Duration {
        self.settings.queue_timeout
    }

    pub fn name_of(&self, id: ProcessId) -> Option<ProcessName> {
        self.find(id).map(|process| self.name(process.number, process.generation))
    }

    // ── requests (I/O threads, master) ──

    /// Takes a slot where it is wished for, else, unless that is to be waited for, at the best process with one.
    pub fn claim(&mut self, wish: Wish, now: Instant) -> Option<Claim> {
        if self.pause.is_some() {
            return None;
        }
        let wished = self.processes.iter().position(|process| Self::fulfils(wish, process) && process.has_room());
        let chosen = match (wished, self.bound_to(wish)) {
            (Some(wished), _) => wished,
            (None, Some(_)) => return None,
            (None, None) => self.best(Process::has_room)?,
        };
        let claim = self.take(chosen, now);
        self.checked();
        Some(claim)
    }

    /// Takes a slot as [`Group::claim`]; else `waiting` waits as `who`, whose id is the caller's and unique; else it is refused. A group
    /// that ends refuses at once when no process is left that could come to serve it.
    pub fn admit(&mut self, wish: Wish, who: Waiter, waiting: W, now: Instant) -> Admission<W> {
        if let Some(claim) = self.claim(wish, now) {
            return Admission::Claimed(claim, waiting);
        }
        let hopeless = self.ending != Ending::No && self.processes.iter().all(Process::is_leaving);
        let max = if hopeless { 0 } else { self.settings.queue_max };
        let bound = self.bound_to(wish);
        let admission = match self.queue.push(who, waiting, bound, max, now) {
            Ok(None) => Admission::Queued,
            Ok(Some(left)) => Admission::InPlaceOf(left),
            Err(waiting) => Admission::Full(waiting),
        };
        self.checked();
        admission
    }

    /// Gives a slot back. When something waits for it and the process still serves, the slot goes to the first that does in the same step.
    /// The claim of a process that is out of the table ends here, and counts nowhere.
    pub fn finish(&mut self, claim: Claim, ended: Ended, now: Instant) -> Option<(Claim, W)> {
        let index = self.processes.iter().position(|process| process.id == claim.process)?;
        self.processes[index].count(ended, now);
        self.taste(self.processes[index].generation, ended, now.saturating_duration_since(claim.since));
        let granted = self.grant(index, now);
        self.checked();
        granted
    }

    /// The process that a connection without a claim goes to (its request body is still to be read): the best serving one that is not
    /// `except`; else one that is ready or starting.
    pub fn host(&mut self, except: Option<ProcessId>) -> Option<ProcessId> {
        let index = self
            .best(|process| process.is_serving() && Some(process.id) != except)
            .or_else(|| self.best(|process| process.is_ready() && Some(process.id) != except))
            .or_else(|| self.best(|process| process.is_coming() && Some(process.id) != except))?;
        Some(self.processes[index].id)
    }

    /// A waiting client left.
    pub fn leave(&mut self, id: WaitId) -> Option<W> {
        self.queue.remove(id)
    }

    /// How many of the waiting requests each client has.
    pub fn queue_shares(&self) -> &Shares {
        self.queue.shares()
    }

    /// Takes out what came last of what waits of this client's.
    pub fn evict(&mut self, visitor: Visitor) -> Option<W> {
        self.queue.last_of(visitor)
    }

    /// Takes out what has waited for `queue_timeout` or longer.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        self.queue.expire(self.settings.queue_timeout, now)
    }

    /// So much time has not counted for those that wait.
    pub fn put_off_queue(&mut self, by: Duration) {
        self.queue.put_off(by);
    }

    /// When the first of the queue will be too old.
    pub fn queue_deadline(&self) -> Option<Instant> {
        self.queue.first_since().map(|since| since + self.settings.queue_timeout)
    }

    pub fn queue_len(&self) -> usize {
        self.queue.len()
    }

    /// Takes everything out of the queue (the group ends).
    pub fn drain_queue(&mut self) -> Vec<W> {
        self.queue.drain()
    }

    /// To be asked when a request was queued: wake the restart thread, because one more process is to be started for it.
    pub fn is_to_grow(&self, now: Instant) -> bool {
        // One that waits for room has been seen to.
        self.held.is_none() && self.to_grow(now).is_some()
    }

    /// To be asked after what requests do (`finish`, `leave`, `expire`, `drain_queue`), which seldom matters to the restart thread: wake
    /// it, because a process that drains has no session left, or one has served its time, or one could make room for another app, because the
    /// request that a new process was to be for is gone, or because the group ends and the last of its queue is gone.
    pub fn wakes_restart(&self, now: Instant) -> bool {
        self.processes.iter().any(|process| process.has_drained() || (process.is_overdue(now) && self.wears_out()))
            || self.could_make_room()
            || (self.held.is_some_and(|held| held.what == What::Grow) && self.queue.is_empty())
            || (self.ending == Ending::Drained && self.queue.is_empty() && self.processes.iter().any(|process| !process.is_leaving()))
    }

    // ── the table ──

    /// The one of which the smallest share is used, the newest of those, each of those in turn. Ties to the newest: ties to the oldest would
    /// keep a bad release out of sight.
    fn best(&mut self, usable: impl Fn(&Process) -> bool) -> Option<usize> {
        let count = self.processes.len();
        let index = (0..count).map(|offset| (self.turn + offset) % count).filter(|index| usable(&self.processes[*index])).min_by(
            |one, other| {
                let (one, other) = (&self.processes[*one], &self.processes[*other]);
                one.compare_share(other).then(other.generation.cmp(&one.generation))
            },
        )?;
        self.turn = index + 1;
        Some(index)
    }

    fn take(&mut self, index: usize, now: Instant) -> Claim {
        let process = &mut self.processes[index];
        process.sessions += 1;
        Claim { process: process.id, since: now }
    }

    /// A free slot goes to the first of the queue that it is good for in the same critical section in which it became free: no newcomer can
    /// overtake, and nothing waits for a slot that is free.
    pub(super) fn grant(&mut self, index: usize, now: Instant) -> Option<(Claim, W)> {
        if self.pause.is_some() || !self.processes[index].has_room() {
            return None;
        }
        let first = self.queue.pop(self.processes[index].number)?;
        Some((self.take(index, now), first))
    }

    pub(super) fn grant_all(&mut self, index: usize, now: Instant) -> Vec<(Claim, W)> {
        std::iter::from_fn(|| self.grant(index, now)).collect()
    }

    pub(super) fn find(&self, id: ProcessId) -> Option<&Process> {
        self.processes.iter().find(|process| process.id == id)
    }

    pub(super) fn find_mut(&mut self, id: ProcessId) -> Option<&mut Process> {
        self.processes.iter_mut().find(|process| process.id == id)
    }

    pub(super) fn name(&self, number: Number, generation: Generation) -> ProcessName {
        ProcessName { app: self.app.clone(), number, generation }
    }

    pub(super) fn limits(&self) -> Limits {
        let Settings { ready_timeout, probation, drain_timeout, drain_longest, stop_timeout, .. } = self.settings;
        // The I/O thread watches `ready_timeout`; the table only steps in when that thread says nothing at all.
        Limits { ready: ready_timeout + READY_GRACE, probation, drain: drain_timeout, longest: drain_longest, stop: stop_timeout }
    }

    pub(super) fn checked(&self) {
        debug_assert_eq!(self.check(), Ok(()));
    }
}

/// What the I/O thread of a process has on top of `ready_timeout` to say that it is over.
const READY_GRACE: Duration = Duration::from_secs(5);
