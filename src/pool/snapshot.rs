//! What the status shows: plain values, taken under the lock, printed after it.

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
