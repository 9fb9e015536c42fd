//! The pool table: what is wanted, what is so, and the next step from one to the other.
//!
//! Core: no I/O, no clock (`now` comes in), no log. Every method is one critical section of the table's lock. `W` is what waits in the
//! queue: a connection in the server, a number in the model tests.

mod abort;
mod backoff;
mod bake;
mod change;
mod check;
mod counts;
mod deaths;
mod events;
mod failure;
mod group;
mod lost;
mod machine;
mod next_step;
mod outlast;
mod pause;
mod process;
mod queue;
mod save;
mod size;
mod snapshot;
mod sticky;
#[cfg(test)]
mod tests;
mod turned;
mod turns;
mod walk;
mod wear;
mod words;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::config::{BakeConfig, LeaderPolicy, Lifespan, OnFailure, Sizes};
use crate::ids::{AppName, Generation, GroupId, Number, ProcessId, ProcessName};
use crate::visitor::Visitor;

pub use abort::NoAbort;
pub use counts::Counts;
pub use deaths::{Death, Hand};
pub use failure::{Exit, Failure, FailureKind, Obstacle};
pub use group::Group;
pub use lost::Lost;
pub use machine::{Limit, Limits};
pub use outlast::{NotLonger, WhyCut};
pub use queue::Waiting;
pub use save::{CameOver, Differs, Numbers, Saved};
pub use snapshot::{BackoffView, GroupView, ProcessView, ResistView, WalkView};
pub use sticky::Wish;
pub use turned::{Answered, Turned};
pub use walk::Ask;
pub use wear::{Living, ToWeigh, Worn};
pub use words::{span, thousands};

/// All groups.
#[derive(Debug)]
pub struct Pool<W> {
    groups: Vec<Group<W>>,
    /// Over all groups.
    limits: Limits,
    /// What they are to become as what is there allows.
    wanted_limits: Limits,
    /// Walks asked for all apps run one after another, in this order.
    in_turn: VecDeque<(GroupId, Generation)>,
    /// All groups were told to end, and those that come are too.
    is_ending: bool,
    /// The last `now` at which nothing was to be done: what was due by then waits for an event, not for time.
    seen: Option<Instant>,
}

/// What a group must know of its app's configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub processes: Sizes,
    /// Slots of a process whose release says nothing of its own.
    pub concurrency: u32,
    pub queue_max: usize,
    pub queue_timeout: Duration,
    /// From the spawn to the answer to the probe.
    pub ready_timeout: Duration,
    pub probation: Duration,
    /// A walk waits for what a process has in hand no longer than this.
    pub drain_timeout: Duration,
    /// What moves may be finished up to this.
    pub drain_longest: Duration,
    pub stop_timeout: Duration,
    pub on_failure: OnFailure,
    /// How many processes more than wanted there may be; 0: an old one is taken out before its replacement is started.
    pub surge: u16,
    /// What a replacement of number 1 means for there being one leader.
    pub leader: LeaderPolicy,
    /// A new release is watched after its first process serves; None: it is not.
    pub bake: Option<BakeConfig>,
    /// After what a process is replaced.
    pub lifespan: Lifespan,
}

/// The right to one session on one process. Whoever holds it gives it back with [`Group::finish`]; it cannot be copied.
#[must_use = "a claim that is not given back leaks a slot"]
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    process: ProcessId,
    /// When the slot was taken.
    #[serde(with = "crate::moment")]
    since: Instant,
}

impl Claim {
    pub fn process(&self) -> ProcessId {
        self.process
    }

    /// Of an app that has another number than in the rota before this one.
    pub fn in_group(self, group: GroupId) -> Self {
        Self { process: ProcessId { group, ..self.process }, ..self }
    }
}

/// Answer to a request for a slot.
#[derive(Debug)]
pub enum Admission<W> {
    /// A slot on this process is taken.
    Claimed(Claim, W),
    /// It waits; its id takes it out again.
    Queued,
    /// So it does, in the place of this one, whose client had most in the queue: refuse that.
    InPlaceOf(W),
    /// The queue is full: refuse.
    Full(W),
}

/// One waiting request.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct WaitId(pub u64);

/// A request that may have to wait, and whose it is.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Waiter {
    pub id: WaitId,
    pub visitor: Visitor,
}

/// Where clients need not be told from each other.
impl From<WaitId> for Waiter {
    fn from(id: WaitId) -> Self {
        Self { id, visitor: Visitor::Unix }
    }
}

/// How a session ended, for the books.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The app sent a whole response with this status.
    Answered(u16),
    /// The app died, closed or sent what is no response.
    AppFailed,
    /// The client left, or a limit cut it.
    Cut,
    /// It never reached the app.
    Unused,
}

/// Life of a process. Each state holds what only it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum State {
    /// Spawned, not yet ready.
    Starting {
        #[serde(with = "crate::moment")]
        since: Instant,
    },
    /// Answered the probe; takes no sessions yet (waits to take the place of an older one, or proves itself).
    Ready {
        #[serde(with = "crate::moment")]
        since: Instant,
    },
    /// Takes sessions.
    Serving {
        #[serde(with = "crate::moment")]
        since: Instant,
        #[serde(with = "crate::moment")]
        ready: Instant,
    },
    /// Gets no new sessions; when it has none left it is stopped. `cut`: when what was left was told to end.
    Draining {
        #[serde(with = "crate::moment")]
        since: Instant,
        #[serde(with = "crate::moment::option")]
        cut: Option<Instant>,
    },
    /// Told to end, or gone while members of its process group are not. `since`: the first signal, or the exit that nobody asked for.
    /// `told`: who was sent the stop signal so far.
    Stopping {
        #[serde(with = "crate::moment")]
        since: Instant,
        told: Option<SignalTo>,
        leader_gone: bool,
        kill: Kill,
    },
    /// Nothing is left of it; the next step takes it out of the table.
    Ended {
        #[serde(with = "crate::moment")]
        since: Instant,
    },
}

/// When a process that is told to end is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Kill {
    /// After `stop.timeout`.
    InTime,
    Now,
    /// It has been.
    Done,
}

/// Who asked for a walk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Trigger {
    Boot,
    Command,
    Signal,
    /// The restart file was touched.
    File,
    /// `root` leads elsewhere.
    Watch,
    /// The configuration was read again, and processes started now are started otherwise.
    Reload,
}

/// What a walk is for. The release that it goes to is the restart thread's business; here it tells requests apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Aim {
    /// The processes are started, or started anew, from what the app's root names.
    Root,
    /// As [`Aim::Root`], all at once; requests wait meanwhile.
    AllAtOnce,
    /// The release in this directory is to serve.
    Deploy(#[serde(with = "crate::path_text")] Arc<Path>),
    /// The one before is to serve again, from this directory.
    Rollback(#[serde(with = "crate::path_text")] Arc<Path>),
}

/// How a walk ended. `Display` is one sentence.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Every process is of the wanted generation.
    Done,
    /// Done, and what was answered to everybody is refused now.
    Turned(Turned),
    /// Nothing was replaced, or what was stays (`mixed`); the group resists or, with `continue`, went on past these.
    Failed {
        failure: Failure,
        at: Number,
        replaced: u16,
        skipped: Vec<Number>,
    },
    /// As failed, and the replaced ones were walked back.
    RolledBack {
        failure: Failure,
        at: Number,
        replaced: u16,
    },
    Superseded {
        by: Generation,
    },
    /// Somebody called it off; what was replaced is walked back.
    Aborted {
        replaced: u16,
    },
    /// The group was told to stop.
    Stopped,
}

/// One thing to do now. The table already shows it as begun, so that asking again names the next one.
#[derive(Debug)]
pub enum Step<W> {
    /// Resolve the release of a generation that is asked for, then call [`Group::resolved`].
    Resolve { group: GroupId, ask: Ask },
    /// Start a process; then call [`Group::spawned`] or [`Group::start_failed`], or before anything is done [`Group::postpone`].
    Spawn { id: ProcessId, name: ProcessName },
    /// `id` serves from now on and `drains` (if any) gets nothing new: both are so already. Hand these over to it; tell `drains`.
    Serve { id: ProcessId, granted: Vec<(Claim, W)>, drains: Option<ProcessId> },
    /// Slots became free without a request that gave them back: hand these over.
    Grant { granted: Vec<(Claim, W)> },
    /// `id` gets nothing new from now on: tell its I/O thread.
    Drain { id: ProcessId, why: WhyDrain },
    /// `id` has so many requests left at `drain.timeout`, and may finish them: nothing waits for it any more.
    Outlasts { id: ProcessId, sessions: u32 },
    /// Cut what `id` still has.
    Cut { id: ProcessId, why: WhyCut },
    /// Send a signal.
    Signal { id: ProcessId, pid: u32, to: SignalTo, what: Signal },
    /// The process and its group have ended and are out of the table; its I/O thread may end.
    Gone { id: ProcessId, name: ProcessName },
    /// For the log and the history; then call [`Group::announce`], which tells those who wait for it.
    WalkEnded { group: GroupId, ask: Ask, outcome: Outcome },
}

impl<W> Step<W> {
    /// The group that it is about. None: several, perhaps.
    pub fn group(&self) -> Option<GroupId> {
        match self {
            Step::Resolve { group, .. } | Step::WalkEnded { group, .. } => Some(*group),
            Step::Spawn { id, .. }
            | Step::Serve { id, .. }
            | Step::Drain { id, .. }
            | Step::Outlasts { id, .. }
            | Step::Cut { id, .. }
            | Step::Signal { id, .. }
            | Step::Gone { id, .. } => Some(id.group),
            Step::Grant { .. } => None,
        }
    }
}

/// Why a process goes before another has come in its place. `Display` is a phrase.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum WhyDrain {
    /// There is no room for both.
    Replaced,
    /// The group ends.
    Ends,
    /// It had nothing to do for so long.
    Idle(Duration),
    /// This app may start one instead.
    RoomFor(AppName),
    /// There are to be fewer.
    Fewer,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum SignalTo {
    Leader,
    Group,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// The app's stop signal.
    Stop,
    Kill,
}

impl<W> Default for Pool<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> Pool<W> {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        Self { groups: Vec::new(), limits, wanted_limits: limits, in_turn: VecDeque::new(), is_ending: false, seen: None }
    }

    /// A new group that wants a generation, the `first`, at once.
    pub fn add(&mut self, app: AppName, settings: Settings, first: Generation, now: Instant) -> GroupId {
        let id = GroupId(u16::try_from(self.groups.len()).expect("a configuration has fewer than 65,536 apps"));
        self.groups.push(Group::new(id, app, settings, first, now));
        id
    }

    pub fn group(&self, id: GroupId) -> &Group<W> {
        &self.groups[usize::from(id.0)]
    }

    pub fn group_mut(&mut self, id: GroupId) -> &mut Group<W> {
        &mut self.groups[usize::from(id.0)]
    }

    pub fn groups(&self) -> impl Iterator<Item = &Group<W>> {
        self.groups.iter()
    }

    pub fn groups_mut(&mut self) -> impl Iterator<Item = &mut Group<W>> {
        self.groups.iter_mut()
    }

    pub fn find(&self, app: &str) -> Option<GroupId> {
        self.groups.iter().find(|group| group.app().as_str() == app && !group.is_removed()).map(Group::id)
    }

    /// Every group ends: nothing new is started, all processes drain and stop.
    pub fn stop(&mut self, now: Instant) {
        self.is_ending = true;
        for group in &mut self.groups {
            group.stop(now);
        }
    }

    /// The drain ends now: what is left is cut and killed (second signal).
    pub fn stop_now(&mut self, now: Instant) {
        self.is_ending = true;
        for group in &mut self.groups {
            group.stop_now(now);
        }
    }

    /// It was told to stop, no process is left and none will be started. What still waits in a queue then waits for [`Group::drain_queue`].
    pub fn is_stopped(&self) -> bool {
        self.is_ending && self.groups.iter().all(Group::is_stopped)
    }

    /// The next thing to do in any group; None: nothing before [`Pool::next_deadline`] or the next event.
    pub fn next_step(&mut self, now: Instant) -> Option<Step<W>> {
        self.settle_limits();
        self.give_turn();
        let mut step = self.look(now);
        // That there is no room for a group may just have been found.
        if step.is_none() && self.give_turn() {
            step = self.look(now);
        }
        if step.is_none() {
            self.seen = Some(now);
        }
        step
    }

    fn look(&mut self, now: Instant) -> Option<Step<W>> {
        let room = self.room();
        self.groups.iter_mut().find_map(|group| group.next_step(room, now)).or_else(|| self.start(now))
    }

    /// When `next_step` has to be asked again even if nothing happens. Always later than the `now` at which it last had nothing to say.
    pub fn next_deadline(&self) -> Option<Instant> {
        let unseen = |at: &Instant| self.seen.is_none_or(|seen| *at > seen);
        self.groups.iter().flat_map(|group| group.deadlines(self.seen)).filter(unseen).min()
    }
}
