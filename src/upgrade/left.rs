//! What one rota leaves to the next, as a whole: versioned, and read by the version before and the one behind.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::config::{ServerConfig, Sources};
use crate::ids::AppName;

/// Of what is left. Grows when the next version could not read what this one leaves, or would take it for something else.
pub const FORMAT: u32 = 1;
/// The oldest that is read.
const OLDEST: u32 = 1;

/// Everything but the descriptors.
#[derive(Debug, Serialize, Deserialize)]
pub struct Left {
    pub format: u32,
    /// The version that leaves it.
    pub rota: String,
    /// Nothing is left yet: it is only to be said whether it could be taken up.
    pub is_trial: bool,
    /// What the clock said at the moment that all times are counted from ([`clock`]).
    pub clock: Duration,
    pub configuration: Configuration,
    /// In the order of their descriptors.
    pub parts: Vec<LeftPart>,
}

/// What is in force, whatever the files say by now.
#[derive(Debug, Serialize, Deserialize)]
pub struct Configuration {
    pub path: PathBuf,
    pub sources: Sources,
    /// [`crate::config::stamp`] of the files then.
    pub stamp: u64,
    pub stays: Stays,
    /// Apps that are in the files and could not be served when they were read, and why.
    pub broken: Vec<(String, String)>,
}

/// What takes effect at a start of rota, as it was then.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stays {
    pub control: PathBuf,
    pub control_group: Option<String>,
    pub run_dir: PathBuf,
    pub state_dir: PathBuf,
    pub spool_dir: PathBuf,
}

/// One thread's.
#[derive(Debug, Serialize, Deserialize)]
pub struct LeftPart {
    pub of: Of,
    pub fds: u32,
    pub state: Box<RawValue>,
}

/// Whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Of {
    /// The pool, releases, records, processes: the restart thread's.
    Processes,
    Porter,
    Master,
    /// The I/O thread of a process.
    Thread(AppName, u32),
}

impl std::fmt::Display for Of {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Of::Processes => f.write_str("the restart thread"),
            Of::Porter => f.write_str("the porter"),
            Of::Master => f.write_str("the master"),
            Of::Thread(app, serial) => write!(f, "the thread of {app}'s process {serial}"),
        }
    }
}

impl Stays {
    pub fn of(server: &ServerConfig) -> Self {
        let ServerConfig { control, control_group, run_dir, state_dir, spool_dir, .. } = server.clone();
        Self { control, control_group, run_dir, state_dir, spool_dir }
    }

    pub fn keep_in(self, server: &mut ServerConfig) {
        let Self { control, control_group, run_dir, state_dir, spool_dir } = self;
        *server = ServerConfig { control, control_group, run_dir, state_dir, spool_dir, ..server.clone() };
    }
}

impl Left {
    /// Err: it is of a format that this version does not read, or is not whole.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            format: u32,
            rota: String,
        }
        let Head { format, rota } = serde_json::from_slice(text).map_err(|error| format!("what is left cannot be read: {error}"))?;
        if !(OLDEST..=FORMAT).contains(&format) {
            let own = env!("CARGO_PKG_VERSION");
            return Err(format!("rota {rota} leaves format {format}, and rota {own} reads {OLDEST} to {FORMAT}"));
        }
        serde_json::from_slice(text).map_err(|error| format!("what rota {rota} leaves cannot be read: {error}"))
    }

    /// The moment that all its times are counted from, as this process says it.
    pub fn reference(&self) -> Instant {
        let now = Instant::now();
        now.checked_sub(clock().saturating_sub(self.clock)).unwrap_or(now)
    }
}

/// Since the machine was started, without the time that it slept: [`Instant`] counts so, and says no number (clock_gettime(2), CLOCK_MONOTONIC).
pub fn clock() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_format_is_refused_by_its_number() {
        let why = Left::read(br#"{"format":99,"rota":"9.0.0","what":"ever"}"#).unwrap_err();
        assert!(
            why.starts_with("rota 9.0.0 leaves format 99, and rota ") && why.ends_with(&format!(" reads {OLDEST} to {FORMAT}")),
            "{why}"
        );
        assert!(Left::read(b"").unwrap_err().starts_with("what is left cannot be read: "));
        assert!(Left::read(br#"{"format":1,"rota":"0.1.0"}"#).unwrap_err().contains("missing field"));
    }
}
