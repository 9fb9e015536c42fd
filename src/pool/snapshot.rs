//! What the status shows: plain values, taken under the lock, printed after it.

use super::machine::Limit;
use super::process::Process;
use super::walk::Walk;
use super::*;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    pub app: AppName,
    pub processes_wanted: u16,
    /// Between which numbers that may be.
    pub sizes: Sizes,
    /// It would start one more process: what stands against it, and for how long.
    pub held: Option<(Limit, Duration)>,
    /// Slots of a process, of the newest release that there is one of.
    pub concurrency: u32,
    /// The last generation that was accepted; None: none yet.
    pub good: Option<Generation>,
    pub processes: Vec<ProcessView>,
    pub queue_len: usize,
    pub queue_max: usize,
    /// Age of the first of the queue.
    pub queue_age: Option<Duration>,
    /// Requests refused because the queue was full, and those that waited too long.
    pub queue_refused: u64,
    pub queue_expired: u64,
    pub walk: Option<WalkView>,
    /// The group resists this release.
    pub resists: Option<ResistView>,
    pub backoff: Option<BackoffView>,
    /// Requests wait: for how long they have, and how long at most they will.
    pub pause: Option<(Duration, Duration)>,
    /// What is answered worse than by the release before.
    pub turned: Option<Turned>,
    /// The last failure of any kind, and how long ago.
    pub last_failure: Option<(ProcessName, Failure, Duration)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ResistView {
    pub generation: Generation,
    pub since: Duration,
    pub at: Number,
    pub failure: Failure,
}

/// The next try to start a process of the good release.
#[derive(Clone, Debug, PartialEq)]
pub struct BackoffView {
    pub failures: u32,
    pub retry_in: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ProcessView {
    pub name: ProcessName,
    pub pid: Option<u32>,
    pub state: &'static str,
    pub state_for: Duration,
    /// Since it was spawned.
    pub age: Duration,
    /// Sessions that it can have at a time.
    pub slots: u32,
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    pub last_used: Option<Duration>,
    /// Why it is replaced.
    pub worn: Option<Worn>,
    /// It has requests beyond `drain.timeout`, and nothing waits for it: for how much longer at most.
    pub outlasts: Option<Duration>,
}

/// Where a walk stands.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkView {
    pub generation: Generation,
    /// "start", "restart", "deploy" or "rollback"; "back" when it failed and takes back what it replaced.
    pub kind: &'static str,
    pub trigger: Trigger,
    pub since: Duration,
    pub replaced: u16,
    pub of: u16,
    /// The process in hand and what is happening to it: "resolve", "spawn", "boot", "probation", "bake", "drain", "stop", "backoff", "wait".
    pub at: Option<Number>,
    pub phase: &'static str,
    pub phase_for: Duration,
    /// Of one that boots: what its readiness probe was answered last.
    pub answer: Option<String>,
    /// Until the end, if it goes as fast as the last.
    pub left: Option<Duration>,
    /// Why the old process goes first.
    pub makes_room: Option<String>,
    pub skipped: Vec<Number>,
}

impl<W> Group<W> {
    /// What the status shows.
    pub fn view(&self, now: Instant) -> GroupView {
        let ago = |then: Instant| now.saturating_duration_since(then);
        GroupView {
            app: self.app.clone(),
            processes_wanted: self.wanted(),
            sizes: self.settings.processes,
            held: self.held.map(|held| (held.by, ago(held.since))),
            concurrency: self
                .processes
                .iter()
                .max_by_key(|process| process.generation)
                .map_or(self.settings.concurrency, |process| process.slots),
            good: self.good,
            processes: self.processes.iter().map(|process| self.view_process(process, now)).collect(),
            queue_len: self.queue.len(),
            queue_max: self.settings.queue_max,
            queue_age: self.queue.first_since().map(ago),
            queue_refused: self.queue.refused,
            queue_expired: self.queue.expired,
            walk: self.view_walk(now),
            resists: self.resists.as_ref().map(|resist| ResistView {
                generation: resist.generation,
                since: ago(resist.since),
                at: resist.at,
                failure: resist.failure.clone(),
            }),
            backoff: self.view_backoff(now),
            pause: self.pause.map(|pause| (ago(pause.since), pause.until.saturating_duration_since(now))),
            turned: self.turned.clone(),
            last_failure: self.last_failure.as_ref().map(|last| (last.of.clone(), last.failure.clone(), ago(last.at))),
        }
    }

    fn view_process(&self, process: &Process, now: Instant) -> ProcessView {
        ProcessView {
            name: self.name(process.number, process.generation),
            pid: process.pid,
            state: match process.state {
                State::Starting { .. } => "starting",
                State::Ready { .. } => "ready",
                State::Serving { .. } => "serving",
                State::Draining { .. } => "draining",
                State::Stopping { .. } | State::Ended { .. } => "stopping",
            },
            state_for: now.saturating_duration_since(process.since()),
            age: now.saturating_duration_since(process.created),
            slots: process.slots,
            sessions: process.sessions,
            processed: process.processed,
            errors: process.errors,
            last_used: process.last_used.map(|at| now.saturating_duration_since(at)),
            worn: process.worn,
            outlasts: process
                .outlasts
                .then(|| process.deadline(&self.limits()).map_or(Duration::ZERO, |at| at.saturating_duration_since(now))),
        }
    }

    /// The longest wait that holds up a number now; failed starts of the group before crashes at one of its numbers.
    pub(super) fn view_backoff(&self, now: Instant) -> Option<BackoffView> {
        let ahead = |until: &Instant| *until > now;
        let starts = self.backoff.until.filter(ahead).map(|until| (self.backoff.failures, until));
        let missing = self.numbers().filter(|number| self.is_missing(*number)).map(|number| &self.place(number).crashes);
        let crashes = || missing.filter_map(|crashes| Some((crashes.count, crashes.until.filter(ahead)?))).max_by_key(|(_, until)| *until);
        let (failures, until) = starts.or_else(crashes)?;
        Some(BackoffView { failures, retry_in: until.saturating_duration_since(now) })
    }

    fn view_walk(&self, now: Instant) -> Option<WalkView> {
        let view = |ask: &Ask, phase, since: Instant| WalkView {
            generation: ask.generation,
            kind: ask.kind(),
            trigger: ask.trigger,
            since: now.saturating_duration_since(ask.since),
            replaced: 0,
            of: self.wanted(),
            at: None,
            phase,
            phase_for: now.saturating_duration_since(since),
            answer: None,
            left: None,
            makes_room: None,
            skipped: Vec::new(),
        };
        // A start that waits for the first request is nothing that goes on.
        let is_awaited = |walk: &&Walk| walk.ask.trigger == Trigger::Boot && self.backoff.failures == 0;
        let goes_on = |walk: &&Walk| !walk.resolved || self.wanted() > 0 || !is_awaited(walk);
        if let Some(walk) = self.walk.as_ref().filter(goes_on) {
            let (at, phase, since) = self.phase(walk, now);
            let replaced = self.serving_of(walk.target);
            let about = view(&walk.ask, phase, since);
            let boots = |process: &&Process| matches!(process.state, State::Starting { .. }) && Some(process.number) == at;
            return Some(WalkView {
                answer: self.processes.iter().find(boots).and_then(|process| process.saw.clone()),
                kind: if walk.back.is_some() { "back" } else { about.kind },
                replaced,
                at,
                left: self.left(walk, replaced, now),
                makes_room: self.makes_room.as_ref().map(|(_, found)| found.clone()),
                skipped: walk.skipped.iter().map(|(number, _)| *number).collect(),
                ..about
            });
        }
        let resolving = self.resolving.as_ref().map(|ask| view(ask, "resolve", ask.since));
        resolving.or_else(|| self.asked.as_ref().map(|ask| view(ask, "wait", ask.since)))
    }

    /// As long as the last walk took for as many processes, but never less than what is not yet begun must take.
    fn left(&self, walk: &Walk, replaced: u16, now: Instant) -> Option<Duration> {
        let pace = self.pace.filter(|_| walk.resolved && walk.back.is_none())?;
        let expected = (pace * u32::from(self.wanted())).saturating_sub(now.saturating_duration_since(walk.began));
        let not_begun = self.wanted().saturating_sub(replaced + 1);
        Some(expected.max(pace * u32::from(not_begun)))
    }

    /// What the walk has in hand, what is happening to it, and since when: read from the table, as the next step is.
    fn phase(&self, walk: &Walk, now: Instant) -> (Option<Number>, &'static str, Instant) {
        if !walk.resolved {
            return match self.backoff.since.filter(|_| !self.backoff.is_over(now)) {
                Some(since) => (None, "backoff", since),
                None => (None, "resolve", walk.ask.since),
            };
        }
        let find = |wanted: &dyn Fn(&Process) -> bool| self.processes.iter().find(|process| wanted(process));
        let in_hand = find(&|process| process.is_coming() && process.generation == walk.target)
            .or_else(|| find(&|process| process.is_leaving() && !process.outlasts))
            .or_else(|| find(&Process::is_coming));
        if let Some(process) = in_hand {
            let phase = match process.state {
                State::Starting { .. } if process.pid.is_none() => "spawn",
                State::Starting { .. } => "boot",
                State::Ready { .. } | State::Serving { .. } => "probation",
                State::Draining { .. } => "drain",
                State::Stopping { .. } | State::Ended { .. } => "stop",
            };
            return (Some(process.number), phase, process.since());
        }
        if let Some(trial) = walk.trial() {
            return (Some(trial.number), "bake", trial.since);
        }
        if let Some(number) = self.next_number(walk) {
            let since = self.last_failure.as_ref().map_or(walk.ask.since, |last| last.at);
            return (Some(number), if self.view_backoff(now).is_some() { "backoff" } else { "wait" }, since);
        }
        match find(&|process| process.generation == walk.target && !process.proven) {
            Some(process) => (Some(process.number), "probation", process.ready_at().unwrap_or(walk.ask.since)),
            // Nothing is wanted: what failed is tried again with a request.
            None => {
                let since = self.backoff.since.unwrap_or(walk.ask.since);
                (None, if self.view_backoff(now).is_some() { "backoff" } else { "wait" }, since)
            }
        }
    }
}
