//! What goes wrong with a process, and how one ends.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What can go wrong between the decision to start a process and its first session. `Display` is one sentence without the process's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    pub kind: FailureKind,
    /// The last lines that the process printed, oldest first.
    pub output: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The release could not be resolved: step and reason.
    Release(String),
    /// rota could not start a process: step and reason (`"fork: Resource temporarily unavailable (os error 11)"`).
    Spawn(String),
    /// Nothing says how the app is started, or its server is missing: what to do about it.
    NoCommand(String),
    /// No such program, or it may not be executed.
    Command(String),
    /// No such user or group, or not allowed to become it.
    User(String),
    /// It ended before it was ready (also with status 0; `after` the spawn), or within its probation (`after` it was ready). `had`: the requests
    /// that it had in hand; empty: none.
    Exited { exit: Exit, after: Duration, in_probation: bool, had: String },
    /// It ended untold after it had proved itself: no failed start, but what a status shows and a backoff counts. `after` it was ready.
    Crashed { exit: Exit, after: Duration, had: String },
    /// Not ready in time; the last thing that the probe saw (`"GET / answered 503"`, `"nothing listens on $PORT 41234"`).
    NotReady { after: Duration, last: String },
    /// It was in service and refuses connections.
    Refused(String),
    /// Killed for the processes that it had.
    Processes { count: u64, limit: u64 },
    /// Killed for the bytes that it took.
    Memory { used: u64, limit: u64 },
    /// The program that was started has ended, and another that it started lives on: which, and what helps.
    Background { program: String, pid: u32, helps: String },
    /// Something else listens where it should.
    WrongListener(String),
    /// Its port was taken between its reservation and the app's bind; by whom, if that can be seen.
    PortTaken { port: u16, by: Option<String> },
    /// As `kind`, because another process has what it needs: what, who, and what helps.
    Held { kind: Box<FailureKind>, by: String },
    /// The I/O thread of the process panicked.
    Thread(String),
    /// In service it did worse than the release before it: in what, and the numbers.
    Baked(String),
}

/// What kept a process from being started, as far as somebody else has it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Obstacle {
    /// Its own port was taken between its reservation and the app's bind; by whom, if that can be seen.
    OwnPort { port: u16, by: Option<String> },
    /// What, who has it, and what helps: one sentence.
    Held(String),
    /// A program that it started lives on without it, and what helps.
    Background { program: String, pid: u32, helps: String },
}

impl FailureKind {
    /// It says what is to be changed, not only how the process ended.
    pub fn names_cause(&self) -> bool {
        match self {
            Self::Release(_) | Self::Spawn(_) | Self::NoCommand(_) | Self::Command(_) | Self::User(_) => true,
            Self::Background { .. } | Self::WrongListener(_) | Self::PortTaken { .. } | Self::Held { .. } => true,
            Self::Processes { .. } | Self::Memory { .. } => true,
            Self::NotReady { last, .. } => !last.is_empty(),
            Self::Exited { .. } | Self::Crashed { .. } | Self::Refused(_) | Self::Thread(_) | Self::Baked(_) => false,
        }
    }

    /// The same with what is known of why.
    pub fn with(self, obstacle: Option<Obstacle>) -> Self {
        match obstacle {
            Some(Obstacle::Held(by)) => FailureKind::Held { kind: Box::new(self), by },
            Some(Obstacle::OwnPort { port, by }) => FailureKind::PortTaken { port, by },
            Some(Obstacle::Background { program, pid, helps }) => FailureKind::Background { program, pid, helps },
            None => self,
        }
    }
}

/// How an OS process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Exit {
    Status(i32),
    Signal { signal: i32, core: bool },
}
