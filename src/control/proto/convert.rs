//! From the views of the pool table to what is said about them. Core; plain values in, plain values out.

use std::time::Duration;

use super::{
    AppStatus, Backoff, Finishing, HeldBy, LastFailure, OutcomeKind, Pause, ProcessStatus, Progress, QueueStatus, Resists, WalkEnd,
};
use crate::ids::{AppName, Generation};
use crate::pool::{BackoffView, Failure, GroupView, Outcome, ProcessView, ResistView, WalkView};

impl AppStatus {
    /// `release` names the directory of a generation. Processor share and memory are None, for only the system knows
    /// them; the command too, which is the release's.
    pub fn new(view: GroupView, release: impl Fn(Generation) -> Option<String>) -> Self {
        let walk = view.walk.as_ref().map(|walk| Progress::new(&view.app, walk));
        let mut processes: Vec<_> = view.processes.into_iter().map(|process| ProcessStatus::new(process, &release)).collect();
        processes.sort_by_key(|process| (process.number, process.generation));
        Self {
            app: view.app,
            root: String::new(),
            generation: view.good,
            release: view.good.and_then(&release),
            passed_over: None,
            command: None,
            detected: None,
            processes_wanted: view.processes_wanted,
            processes_min: view.sizes.min,
            processes_max: view.sizes.max,
            held: view.held.map(|(limit, since)| HeldBy { limit: limit.key().to_owned(), seconds: seconds(since) }),
            concurrency: view.concurrency,
            processes,
            queue: QueueStatus {
                length: view.queue_len,
                max: view.queue_max,
                age: view.queue_age.map(seconds),
                refused: view.queue_refused,
                expired: view.queue_expired,
            },
            walk,
            resists: view.resists.map(|resists| Resists::new(resists, &release)),
            backoff: view.backoff.map(Backoff::from),
            not_written: None,
            lost: None,
            removed: false,
            survivors: 0,
            pause: view.pause.map(|(held, left)| Pause { seconds: seconds(held), left_seconds: seconds(left) }),
            turned: view.turned.map(|turned| turned.to_string()),
            last_failure: view.last_failure.map(|(name, failure, ago)| LastFailure {
                number: name.number,
                generation: name.generation,
                seconds: seconds(ago),
                message: failure.to_string(),
                output: failure.output,
            }),
        }
    }
}

impl ProcessStatus {
    fn new(view: ProcessView, release: impl Fn(Generation) -> Option<String>) -> Self {
        Self {
            number: view.name.number,
            generation: view.name.generation,
            pid: view.pid,
            release: release(view.name.generation),
            state: view.state.to_owned(),
            state_seconds: seconds(view.state_for),
            age: seconds(view.age),
            slots: view.slots,
            sessions: view.sessions,
            processed: view.processed,
            errors: view.errors,
            last_used: view.last_used.map(seconds),
            replaced: view.worn.map(|worn| worn.to_string()),
            finishes_for: view.outlasts.map(seconds),
            cpu: None,
            memory: None,
            children: None,
        }
    }
}

impl Finishing {
    /// None: nothing waits for it no longer, or it has nothing to finish.
    pub fn of(view: &ProcessView) -> Option<Self> {
        let left = view.outlasts.filter(|_| view.sessions > 0)?;
        Some(Self { number: view.name.number, generation: view.name.generation, sessions: view.sessions, seconds: seconds(left) })
    }
}

impl Resists {
    fn new(view: ResistView, release: impl Fn(Generation) -> Option<String>) -> Self {
        Self {
            generation: view.generation,
            release: release(view.generation),
            seconds: seconds(view.since),
            at: view.at,
            message: view.failure.to_string(),
            output: view.failure.output,
        }
    }
}

impl From<BackoffView> for Backoff {
    fn from(view: BackoffView) -> Self {
        Self { failures: view.failures, retry_in: seconds(view.retry_in) }
    }
}

impl Progress {
    pub fn new(app: &AppName, walk: &WalkView) -> Self {
        Self {
            app: app.clone(),
            generation: walk.generation,
            kind: walk.kind.to_owned(),
            trigger: walk.trigger.word().to_owned(),
            phase: walk.phase.to_owned(),
            number: walk.at,
            replaced: walk.replaced,
            of: walk.of,
            seconds: seconds(walk.since),
            phase_seconds: seconds(walk.phase_for),
            answer: walk.answer.clone(),
            left_seconds: walk.left.map(seconds),
            makes_room: walk.makes_room.clone(),
            skipped: walk.skipped.clone(),
        }
    }

    /// Something happened since `before`. That time passed is no news: whoever follows a walk has a clock.
    pub fn is_news_after(&self, before: &Progress) -> bool {
        (&self.kind, &self.phase, self.number, self.replaced, &self.skipped, &self.makes_room, &self.answer)
            != (&before.kind, &before.phase, before.number, before.replaced, &before.skipped, &before.makes_room, &before.answer)
    }
}

impl WalkEnd {
    /// `serving`: what serves now, as in [`WalkEnd::serving`].
    pub fn new(app: &AppName, generation: Generation, outcome: &Outcome, serving: Option<String>) -> Self {
        let end = Self {
            app: app.clone(),
            generation,
            outcome: OutcomeKind::Done,
            message: outcome.to_string(),
            but: outcome.but(),
            output: Vec::new(),
            at: None,
            replaced: None,
            skipped: Vec::new(),
            serving,
            finishing: Vec::new(),
            not_written: None,
            lost: None,
            seconds: 0.0,
        };
        let output = |failure: &Failure| failure.output.clone();
        match outcome {
            Outcome::Done | Outcome::Turned(_) => end,
            Outcome::Failed { failure, at, replaced, skipped } => Self {
                outcome: OutcomeKind::Failed,
                output: output(failure),
                at: Some(*at),
                replaced: Some(*replaced),
                skipped: skipped.clone(),
                ..end
            },
            Outcome::RolledBack { failure, at, replaced } => {
                Self { outcome: OutcomeKind::RolledBack, output: output(failure), at: Some(*at), replaced: Some(*replaced), ..end }
            }
            Outcome::Superseded { .. } => Self { outcome: OutcomeKind::Superseded, ..end },
            Outcome::Aborted { replaced } => Self { outcome: OutcomeKind::Aborted, replaced: Some(*replaced), ..end },
            Outcome::Stopped => Self { outcome: OutcomeKind::Stopped, ..end },
        }
    }
}

/// To the millisecond, as nobody reads more.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}
