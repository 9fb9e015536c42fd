//! What the status shows: plain values, taken under the lock, printed after it.

use super::process::Process;
use super::walk::{Ask, Walk};
use super::*;

/// One group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupView {
    pub app: AppName,
    pub processes_wanted: u16,
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
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    pub last_used: Option<Duration>,
}

/// Where a walk stands.
#[derive(Clone, Debug, PartialEq)]
pub struct WalkView {
    pub generation: Generation,
    /// "start", "restart" or "rollback".
    pub kind: &'static str,
    pub trigger: Trigger,
    pub since: Duration,
    pub replaced: u16,
    pub of: u16,
    /// The process in hand and what is happening to it: "resolve", "spawn", "boot", "probation", "drain", "stop", "backoff", "wait".
    pub at: Option<Number>,
    pub phase: &'static str,
    pub phase_for: Duration,
    pub skipped: Vec<Number>,
}

impl<W> Group<W> {
    /// What the status shows.
    pub fn view(&self, now: Instant) -> GroupView {
        let ago = |then: Instant| now.saturating_duration_since(then);
        GroupView {
            app: self.app.clone(),
            processes_wanted: self.settings.processes,
            concurrency: self.settings.concurrency,
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
            last_failure: self.last_failure.as_ref().map(|(name, failure, at)| (name.clone(), failure.clone(), ago(*at))),
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
            sessions: process.sessions,
            processed: process.processed,
            errors: process.errors,
            last_used: process.last_used.map(|at| now.saturating_duration_since(at)),
        }
    }

    /// The longest wait that holds up a number now; failed starts of the group before crashes at one of its numbers.
    fn view_backoff(&self, now: Instant) -> Option<BackoffView> {
        let ahead = |until: &Instant| *until > now;
        let starts = self.backoff.until.filter(ahead).map(|until| (self.backoff.failures, until));
        let missing = self.numbers().zip(&self.places).filter(|(number, _)| self.is_missing(*number));
        let crashes = || missing.filter_map(|(_, place)| Some((place.crashes, place.until.filter(ahead)?))).max_by_key(|(_, until)| *until);
        let (failures, until) = starts.or_else(crashes)?;
        Some(BackoffView { failures, retry_in: until.saturating_duration_since(now) })
    }

    fn view_walk(&self, now: Instant) -> Option<WalkView> {
        let view = |ask: Ask, kind, replaced, at, phase, since: Instant, skipped| WalkView {
            generation: ask.generation,
            kind,
            trigger: ask.trigger,
            since: now.saturating_duration_since(ask.since),
            replaced,
            of: self.settings.processes,
            at,
            phase,
            phase_for: now.saturating_duration_since(since),
            skipped,
        };
        if let Some(walk) = &self.walk {
            let kind = match (&walk.back, walk.trigger) {
                (Some(_), _) => "rollback",
                (None, Trigger::Boot) => "start",
                (None, Trigger::Command | Trigger::Signal) => "restart",
            };
            let (at, phase, since) = self.phase(walk, now);
            let skipped = walk.skipped.iter().map(|(number, _)| *number).collect();
            return Some(view(walk.ask(), kind, self.serving_of(walk.target), at, phase, since, skipped));
        }
        let resolving = self.resolving.map(|ask| view(ask, "restart", 0, None, "resolve", ask.since, Vec::new()));
        resolving.or_else(|| self.asked.map(|ask| view(ask, "restart", 0, None, "wait", ask.since, Vec::new())))
    }

    /// What the walk has in hand, what is happening to it, and since when: read from the table, as the next step is.
    fn phase(&self, walk: &Walk, now: Instant) -> (Option<Number>, &'static str, Instant) {
        if !walk.resolved {
            return match self.backoff.since.filter(|_| !self.backoff.is_over(now)) {
                Some(since) => (None, "backoff", since),
                None => (None, "resolve", walk.since),
            };
        }
        let find = |wanted: &dyn Fn(&Process) -> bool| self.processes.iter().find(|process| wanted(process));
        let in_hand = find(&|process| process.is_coming() && process.generation == walk.target)
            .or_else(|| find(&Process::is_leaving))
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
        if let Some(number) = self.next_number(walk) {
            let since = self.last_failure.as_ref().map_or(walk.since, |(_, _, at)| *at);
            return (Some(number), if self.view_backoff(now).is_some() { "backoff" } else { "wait" }, since);
        }
        match find(&|process| process.generation == walk.target && !process.proven) {
            Some(process) => (Some(process.number), "probation", process.ready_at().unwrap_or(walk.since)),
            None => (None, "wait", walk.since),
        }
    }
}
