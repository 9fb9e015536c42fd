//! One line of the table: a process, how far its life has come, and what it has in hand.

use std::cmp::Ordering;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Answered, Ended, Kill, SignalTo, State, Worn};
use crate::config::Lifespan;
use crate::ids::{Generation, Number, ProcessId};

#[derive(Debug, Serialize, Deserialize)]
pub struct Process {
    pub id: ProcessId,
    pub number: Number,
    pub generation: Generation,
    /// None until the spawn has been answered.
    pub pid: Option<u32>,
    #[serde(with = "crate::moment")]
    pub created: Instant,
    pub state: State,
    /// It was started after a start that failed.
    pub is_retry: bool,
    /// What its readiness probe is answered while it is not ready.
    pub saw: Option<String>,
    /// What made it ready.
    pub answered: Option<Answered>,
    /// It has outlived its probation.
    pub proven: bool,
    /// Its end has been seen and is not known yet: it takes nothing more.
    pub dying: bool,
    /// It is to be replaced by one of the same release, and why.
    pub worn: Option<Worn>,
    /// Bytes that it took when it was weighed last.
    pub memory: Option<u64>,
    /// It does not come back from a request that it has had for so long.
    pub stuck: Option<Duration>,
    /// It has requests beyond `drain.timeout`, and nothing waits for it. So until it is gone.
    pub outlasts: bool,
    /// Its own: each process has a little less than the next.
    pub lifespan: Lifespan,
    /// Sessions that it can have at a time; at least 1.
    pub slots: u32,
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    #[serde(with = "crate::moment::option")]
    pub last_used: Option<Instant>,
    /// Since when it has had no session, as far as it has none; counted while it serves.
    #[serde(with = "crate::moment")]
    pub idle: Instant,
}

impl Process {
    pub fn new(id: ProcessId, number: Number, generation: Generation, slots: u32, lifespan: Lifespan, now: Instant) -> Self {
        Self {
            id,
            number,
            generation,
            pid: None,
            created: now,
            state: State::Starting { since: now },
            is_retry: false,
            saw: None,
            answered: None,
            proven: false,
            dying: false,
            worn: None,
            memory: None,
            stuck: None,
            outlasts: false,
            lifespan,
            slots,
            sessions: 0,
            processed: 0,
            errors: 0,
            last_used: None,
            idle: now,
        }
    }

    /// On its way into service.
    pub fn is_coming(&self) -> bool {
        match self.state {
            State::Starting { .. } | State::Ready { .. } => true,
            State::Serving { .. } | State::Draining { .. } | State::Stopping { .. } | State::Ended { .. } => false,
        }
    }

    pub fn is_booting(&self) -> bool {
        matches!(self.state, State::Starting { .. })
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    pub fn is_serving(&self) -> bool {
        matches!(self.state, State::Serving { .. })
    }

    /// On its way out of the table.
    pub fn is_leaving(&self) -> bool {
        !self.is_coming() && !self.is_serving()
    }

    pub fn is_stopping(&self) -> bool {
        matches!(self.state, State::Stopping { .. } | State::Ended { .. })
    }

    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended { .. })
    }

    pub fn leader_gone(&self) -> bool {
        match self.state {
            State::Starting { .. } | State::Ready { .. } | State::Serving { .. } | State::Draining { .. } => false,
            State::Stopping { leader_gone, .. } => leader_gone,
            State::Ended { .. } => true,
        }
    }

    pub fn has_room(&self) -> bool {
        self.is_serving() && !self.dying && self.sessions < self.slots
    }

    /// It serves, and has nothing in hand.
    pub fn is_idle(&self) -> bool {
        self.is_serving() && self.sessions == 0
    }

    /// Less: it uses a smaller share of its slots. Releases may differ in how many they have.
    pub fn compare_share(&self, other: &Self) -> Ordering {
        let share = |used: &Self, of: &Self| u64::from(used.sessions) * u64::from(of.slots);
        share(self, other).cmp(&share(other, self))
    }

    /// Nothing holds it back from being stopped any more.
    pub fn has_drained(&self) -> bool {
        matches!(self.state, State::Draining { .. }) && self.sessions == 0
    }

    /// When it became ready; None before, and of no interest once it drains.
    pub fn ready_at(&self) -> Option<Instant> {
        match self.state {
            State::Ready { since } => Some(since),
            State::Serving { ready, .. } => Some(ready),
            State::Starting { .. } | State::Draining { .. } | State::Stopping { .. } | State::Ended { .. } => None,
        }
    }

    pub fn since(&self) -> Instant {
        match self.state {
            State::Starting { since }
            | State::Ready { since }
            | State::Serving { since, .. }
            | State::Draining { since, .. }
            | State::Stopping { since, .. }
            | State::Ended { since } => since,
        }
    }

    pub fn serve(&mut self, now: Instant) {
        self.state = State::Serving { since: now, ready: self.ready_at().unwrap_or(now) };
        self.idle = now;
    }

    pub fn drain(&mut self, now: Instant) {
        self.state = State::Draining { since: now, cut: None };
    }

    /// It shall end; the signal is the next step.
    pub fn stop(&mut self, now: Instant) {
        if !self.is_stopping() {
            self.state = State::Stopping { since: now, told: None, leader_gone: false, kill: Kill::InTime };
        }
    }

    /// It shall end at once; the signal is the next step.
    pub fn kill(&mut self, now: Instant) {
        self.stop(now);
        if let State::Stopping { kill: kill @ Kill::InTime, .. } = &mut self.state {
            *kill = Kill::Now;
        }
    }

    pub fn is_killed(&self) -> bool {
        matches!(self.state, State::Stopping { kill: Kill::Now | Kill::Done, .. } | State::Ended { .. })
    }

    /// Its leader ended, told or not.
    pub fn leader_ended(&mut self, now: Instant) {
        self.state = match self.state {
            State::Stopping { since, told, kill, .. } => State::Stopping { since, told, leader_gone: true, kill },
            State::Ended { since } => State::Ended { since },
            State::Starting { .. } | State::Ready { .. } | State::Serving { .. } | State::Draining { .. } => {
                State::Stopping { since: now, told: None, leader_gone: true, kill: Kill::InTime }
            }
        };
    }

    /// Books the end of a session.
    pub fn count(&mut self, ended: Ended, now: Instant) {
        self.sessions -= 1;
        self.idle = now;
        let error = match ended {
            Ended::Answered(status) => status >= 500,
            Ended::AppFailed => true,
            Ended::Cut => false,
            Ended::Unused => return,
        };
        self.processed += 1;
        self.errors += u64::from(error);
        self.last_used = Some(now);
    }

    /// Nobody looked from `from` on: a limit that was reached since then is reached at `until`.
    pub fn put_off(&mut self, limits: &Limits, from: Instant, until: Instant) {
        let Some(at) = self.deadline(limits).filter(|at| *at >= from && *at < until) else { return };
        let by = until - at;
        match &mut self.state {
            State::Starting { since } | State::Ready { since } | State::Draining { since, cut: None } | State::Stopping { since, .. } => {
                *since += by;
            }
            State::Serving { ready, .. } => *ready += by,
            State::Draining { cut: Some(cut), .. } => *cut += by,
            State::Ended { .. } => {}
        }
    }

    /// When time alone changes what is to be done with it.
    pub fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match self.state {
            State::Starting { since } => Some(since + limits.ready),
            State::Ready { since: ready } | State::Serving { ready, .. } => (!self.proven).then(|| ready + limits.probation),
            State::Draining { since, cut: None } => Some(since + if self.outlasts { limits.longest } else { limits.drain }),
            State::Draining { cut: Some(cut), .. } => Some(cut + CUT_GRACE),
            State::Stopping { since, kill, .. } => (kill == Kill::InTime).then(|| since + limits.stop),
            State::Ended { .. } => None,
        }
    }
}

/// The bounds of each state.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub ready: Duration,
    pub probation: Duration,
    pub drain: Duration,
    /// Of one that outlasts its drain.
    pub longest: Duration,
    pub stop: Duration,
}

/// What was cut has this long to give its claim back; then the process is stopped regardless.
const CUT_GRACE: Duration = Duration::from_secs(1);

/// Whom the stop signal goes to next; None: everyone who is there has it.
pub fn next_told(told: Option<SignalTo>, leader_gone: bool) -> Option<SignalTo> {
    match (told, leader_gone) {
        (None, false) => Some(SignalTo::Leader),
        (None | Some(SignalTo::Leader), true) => Some(SignalTo::Group),
        (Some(SignalTo::Leader), false) | (Some(SignalTo::Group), _) => None,
    }
}
