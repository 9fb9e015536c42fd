//! Requests and replies of the control socket. Core.
//!
//! One JSON object per line, both ways. A request carries the version of the protocol (`"v": 1`); a reply says with `"event"` what it is.
//! Times are seconds, sizes are bytes. Fields may be added within a version; none changes its meaning or goes.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::ids::{AppName, Generation, Number};
use crate::pool::{Failure, GroupView, Outcome, Trigger, WalkView};

/// The version of this protocol and of the output of `--json`.
pub const VERSION: u32 = 1;

/// A request may be this long (bytes).
pub const MAX_REQUEST: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    Status {
        #[serde(default)]
        app: Option<String>,
    },
    /// Without an app: all, one after another. `wait`: progress and the end follow.
    Restart {
        #[serde(default)]
        app: Option<String>,
        #[serde(default)]
        wait: bool,
    },
    Stop,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<Status>),
    /// These walks will be made, in this order.
    Asked {
        walks: Vec<Asked>,
    },
    Progress(Progress),
    Ended(Box<Ended>),
    /// The connection ends when the server has.
    Stopping,
    Error {
        message: String,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    pub app: AppName,
    pub generation: Generation,
}

/// Where a walk is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub app: AppName,
    pub generation: Generation,
    /// "start", "restart" or "rollback".
    pub kind: String,
    /// "command", "signal" or "boot".
    pub trigger: String,
    /// "resolve", "spawn", "boot", "probation", "drain", "stop", "backoff" or "wait".
    pub phase: String,
    /// The process in hand.
    pub number: Option<Number>,
    pub replaced: u16,
    pub of: u16,
    pub seconds: f64,
    pub phase_seconds: f64,
    pub skipped: Vec<Number>,
}

/// How a walk ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub app: AppName,
    pub generation: Generation,
    pub outcome: OutcomeKind,
    /// One sentence.
    pub message: String,
    /// The last lines of the process that failed.
    pub output: Vec<String>,
    /// What serves now, e.g. `g3 /srv/blog/releases/41`.
    pub serving: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    Done,
    Failed,
    RolledBack,
    Superseded,
    Stopped,
}

/// The whole server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`VERSION`].
    pub schema: u32,
    /// Of rota.
    pub version: String,
    pub pid: u32,
    pub uptime: f64,
    pub listen: Vec<String>,
    /// Open client connections.
    pub connections: usize,
    /// Bytes of request and response bodies in temporary files.
    pub spooled: u64,
    pub apps: Vec<AppStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    pub app: AppName,
    /// The last generation that was accepted.
    pub generation: Option<Generation>,
    /// Its directory.
    pub release: Option<String>,
    pub processes_wanted: u16,
    pub concurrency: u32,
    pub processes: Vec<ProcessStatus>,
    pub queue: QueueStatus,
    pub walk: Option<Progress>,
    pub resists: Option<Resists>,
    pub backoff: Option<Backoff>,
    pub last_failure: Option<LastFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    pub length: usize,
    pub max: usize,
    /// Age of the first.
    pub age: Option<f64>,
    /// Answered 503 because it was full, and 504 because they had waited too long.
    pub refused: u64,
    pub expired: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub number: Number,
    pub generation: Generation,
    pub pid: Option<u32>,
    /// "starting", "ready", "serving", "draining" or "stopping".
    pub state: String,
    pub state_seconds: f64,
    pub age: f64,
    pub release: Option<String>,
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    pub last_used: Option<f64>,
    /// Percent of one core since the last status, or since its start.
    pub cpu: Option<f64>,
    pub memory: Option<u64>,
}

/// The group does not start this release any more.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resists {
    pub generation: Generation,
    pub release: Option<String>,
    pub seconds: f64,
    pub number: Number,
    pub reason: String,
    pub output: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    pub failures: u32,
    pub retry_in: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastFailure {
    /// `blog/2 g7`.
    pub process: String,
    pub seconds: f64,
    pub reason: String,
    pub output: Vec<String>,
}

/// Reads a request line; the error is for its sender.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    match value.get("v").and_then(serde_json::Value::as_u64) {
        Some(v) if v == u64::from(VERSION) => {}
        Some(v) => return Err(format!("version {v} is not spoken here, only {VERSION}")),
        None => return Err(format!("no version: say \"v\": {VERSION}")),
    }
    serde_json::from_value(value).map_err(|error| format!("{error}; known are status, restart and stop"))
}

/// A request line, with its end.
pub fn write_request(request: &Request) -> Result<Vec<u8>, serde_json::Error> {
    let mut value = serde_json::to_value(request)?;
    if let Some(object) = value.as_object_mut() {
        object.insert("v".to_owned(), VERSION.into());
    }
    let mut line = serde_json::to_vec(&value)?;
    line.push(b'\n');
    Ok(line)
}

impl Progress {
    pub fn new(app: &AppName, walk: &WalkView) -> Self {
        Self {
            app: app.clone(),
            generation: walk.generation,
            kind: walk.kind.to_owned(),
            trigger: match walk.trigger {
                Trigger::Boot => "boot",
                Trigger::Command => "command",
                Trigger::Signal => "signal",
            }
            .to_owned(),
            phase: walk.phase.to_owned(),
            number: walk.at,
            replaced: walk.replaced,
            of: walk.of,
            seconds: seconds(walk.since),
            phase_seconds: seconds(walk.phase_for),
            skipped: walk.skipped.clone(),
        }
    }

    /// Whether something happened between two looks; time alone does not count.
    pub fn has_moved(&self, before: &Progress) -> bool {
        (&self.kind, &self.phase, self.number, self.replaced, &self.skipped)
            != (&before.kind, &before.phase, before.number, before.replaced, &before.skipped)
    }
}

impl Ended {
    pub fn new(app: &AppName, generation: Generation, outcome: &Outcome, serving: Option<String>) -> Self {
        let (kind, failure): (_, Option<&Failure>) = match outcome {
            Outcome::Done => (OutcomeKind::Done, None),
            Outcome::Failed { failure, .. } => (OutcomeKind::Failed, Some(failure)),
            Outcome::RolledBack { failure, .. } => (OutcomeKind::RolledBack, Some(failure)),
            Outcome::Superseded { .. } => (OutcomeKind::Superseded, None),
            Outcome::Stopped => (OutcomeKind::Stopped, None),
        };
        let output = failure.map(|failure| failure.output.clone()).unwrap_or_default();
        Self { app: app.clone(), generation, outcome: kind, message: outcome.to_string(), output, serving }
    }
}

impl AppStatus {
    /// From the table; what only the system and the releases know comes from `release` (of a generation) and is filled in later.
    pub fn new(view: GroupView, release: impl Fn(Generation) -> Option<String>) -> Self {
        let walk = view.walk.as_ref().map(|walk| Progress::new(&view.app, walk));
        Self {
            generation: view.good,
            release: view.good.and_then(&release),
            processes_wanted: view.processes_wanted,
            concurrency: view.concurrency,
            processes: view
                .processes
                .into_iter()
                .map(|process| ProcessStatus {
                    number: process.name.number,
                    generation: process.name.generation,
                    pid: process.pid,
                    state: process.state.to_owned(),
                    state_seconds: seconds(process.state_for),
                    age: seconds(process.age),
                    release: release(process.name.generation),
                    sessions: process.sessions,
                    processed: process.processed,
                    errors: process.errors,
                    last_used: process.last_used.map(seconds),
                    cpu: None,
                    memory: None,
                })
                .collect(),
            queue: QueueStatus {
                length: view.queue_len,
                max: view.queue_max,
                age: view.queue_age.map(seconds),
                refused: view.queue_refused,
                expired: view.queue_expired,
            },
            walk,
            resists: view.resists.map(|resists| Resists {
                generation: resists.generation,
                release: release(resists.generation),
                seconds: seconds(resists.since),
                number: resists.at,
                reason: resists.failure.to_string(),
                output: resists.failure.output,
            }),
            backoff: view.backoff.map(|backoff| Backoff { failures: backoff.failures, retry_in: seconds(backoff.retry_in) }),
            last_failure: view.last_failure.map(|(process, failure, ago)| LastFailure {
                process: process.to_string(),
                seconds: seconds(ago),
                reason: failure.to_string(),
                output: failure.output,
            }),
            app: view.app,
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_with_a_version() {
        let request = Request::Restart { app: Some("blog".to_owned()), wait: true };
        let line = write_request(&request).unwrap();
        assert_eq!(String::from_utf8(line.clone()).unwrap(), "{\"app\":\"blog\",\"do\":\"restart\",\"v\":1,\"wait\":true}\n");
        assert_eq!(parse_request(&line), Ok(request));
    }

    #[test]
    fn what_is_no_request_is_told_what_would_be() {
        for (line, part) in [
            ("", "not JSON"),
            ("{}", "say \"v\": 1"),
            ("{\"v\":2,\"do\":\"status\"}", "version 2 is not spoken here"),
            ("{\"v\":1,\"do\":\"dance\"}", "known are status, restart and stop"),
            ("{\"v\":1,\"do\":\"restart\",\"app\":5}", "expected a string"),
        ] {
            let error = parse_request(line.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn replies_survive_the_way() {
        let app = AppName::new("blog").unwrap();
        for reply in [
            Reply::Asked { walks: vec![Asked { app: app.clone(), generation: Generation(8) }] },
            Reply::Ended(Box::new(Ended::new(&app, Generation(8), &Outcome::Superseded { by: Generation(9) }, Some("g7 /srv".to_owned())))),
            Reply::Stopping,
        ] {
            let line = serde_json::to_vec(&reply).unwrap();
            assert_eq!(serde_json::from_slice::<Reply>(&line).unwrap(), reply);
        }
    }
}
