//! What is said on the control socket: requests, replies, and the state of everything as `rota status --json` prints it. Core.
//!
//! One JSON object per line, both ways; one request per connection.
//!
//! ```text
//! {"v":1,"do":"status"}                              all apps; or "app":"blog"
//! {"v":1,"do":"restart","app":"blog","wait":true}    without "app" all of them, without "wait" only asked for
//! {"v":1,"do":"stop"}
//! ```
//!
//! A reply says with `"event"` what it is: see [`Reply`]. Durations are seconds and sizes bytes, as numbers; a generation and the number
//! of a process are numbers too. What is not known is null. Within a version fields are added, but none changes its meaning or goes;
//! a new event or another meaning is a new version. A field that a request may not have is refused: `"ap": "blog"` must not restart
//! every app.
//!
//! No sockets and no clock here: [`super::server`] and [`super::client`] carry the lines.

mod convert;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{AppName, Generation, Number};

pub use convert::seconds;

/// Of the protocol.
pub const VERSION: u64 = 1;

/// Of [`StatusReply`], for those who read `rota status --json`.
pub const SCHEMA: u32 = 1;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answered by [`Reply::Status`]. `app` None: all.
    Status {
        #[serde(default)]
        app: Option<String>,
    },
    /// Answered by [`Reply::Asked`]; with `wait` then by [`Reply::Progress`] whenever something changed, and by one [`Reply::Ended`] for
    /// each walk. `app` None: all, one after another.
    Restart {
        #[serde(default)]
        app: Option<String>,
        #[serde(default)]
        wait: bool,
    },
    /// Answered by [`Reply::Stopping`]; the connection ends when the server does. Asked again: what drains is cut.
    Stop {},
}

/// One line from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<StatusReply>),
    /// These walks are asked for and run in this order.
    Asked {
        walks: Vec<Asked>,
    },
    Progress(Progress),
    Ended(Box<WalkEnd>),
    Stopping,
    /// Nothing was done. The connection ends.
    Error {
        message: String,
    },
}

/// A walk by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    pub app: AppName,
    pub generation: Generation,
}

/// Where a walk stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub app: AppName,
    pub generation: Generation,
    /// "start", "restart" or "rollback".
    pub kind: String,
    /// Who asked: "boot", "command" or "signal".
    pub trigger: String,
    /// What happens to the process in hand: "resolve", "spawn", "boot", "probation", "drain", "stop", "backoff" or "wait".
    pub phase: String,
    /// The process in hand.
    pub number: Option<Number>,
    pub replaced: u16,
    pub of: u16,
    /// Since it was asked for.
    pub seconds: f64,
    pub phase_seconds: f64,
    /// Left on the older release, with `on_failure = "continue"`.
    pub skipped: Vec<Number>,
}

/// How a walk ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WalkEnd {
    pub app: AppName,
    pub generation: Generation,
    pub outcome: OutcomeKind,
    /// One sentence.
    pub message: String,
    /// The last lines that the process that failed printed, oldest first; as the app wrote them.
    pub output: Vec<String>,
    /// The process that failed.
    pub at: Option<Number>,
    /// How many were replaced, of a walk that failed.
    pub replaced: Option<u16>,
    /// Left on the older release.
    pub skipped: Vec<Number>,
    /// What serves now: `g3 /srv/blog/releases/41`. None: nothing does.
    pub serving: Option<String>,
    /// From the request to the end; the server fills it in.
    pub seconds: f64,
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

/// The state of the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReply {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Of rota, as in `rota --version`.
    pub version: String,
    pub pid: u32,
    pub uptime: f64,
    /// Addresses and socket paths that clients connect to.
    pub listen: Vec<String>,
    /// Open connections of clients.
    pub connections: usize,
    /// Bytes of bodies in temporary files.
    pub spooled: u64,
    /// In the order of the configuration.
    pub apps: Vec<AppStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    pub app: AppName,
    /// The last generation that was accepted. None: none yet.
    pub generation: Option<Generation>,
    /// Its directory, without symlinks.
    pub release: Option<String>,
    pub processes_wanted: u16,
    /// Sessions that each process takes.
    pub concurrency: u32,
    /// By number; a replacement stands beside the one that it replaces.
    pub processes: Vec<ProcessStatus>,
    pub queue: QueueStatus,
    pub walk: Option<Progress>,
    pub resists: Option<Resists>,
    pub backoff: Option<Backoff>,
    pub last_failure: Option<LastFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessStatus {
    pub number: Number,
    pub generation: Generation,
    pub pid: Option<u32>,
    pub release: Option<String>,
    /// "starting", "ready", "serving", "draining" or "stopping".
    pub state: String,
    pub state_seconds: f64,
    /// Since it was spawned.
    pub age: f64,
    /// Requests in hand.
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    /// Seconds ago. None: never.
    pub last_used: Option<f64>,
    /// Percent of one core, lately.
    pub cpu: Option<f64>,
    pub memory: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueStatus {
    pub length: usize,
    pub max: usize,
    /// How long the first has waited.
    pub age: Option<f64>,
    /// Answered 503 because it was full.
    pub refused: u64,
    /// Answered 504 because they waited too long.
    pub expired: u64,
}

/// A release that the app does not start any more, because it failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resists {
    pub generation: Generation,
    pub release: Option<String>,
    /// Since when.
    pub seconds: f64,
    /// The process that failed.
    pub at: Number,
    pub message: String,
    pub output: Vec<String>,
}

/// The next try to start a process of the release that is accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backoff {
    /// In a row.
    pub failures: u32,
    pub retry_in: f64,
}

/// The last failure of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastFailure {
    pub number: Number,
    pub generation: Generation,
    /// Seconds ago.
    pub seconds: f64,
    pub message: String,
    pub output: Vec<String>,
}

/// Reads a request without its line end. The error is a sentence for its sender that names what is understood.
pub fn parse_request(line: &[u8]) -> Result<Request, String> {
    let mut value: Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}; {UNDERSTOOD}"))?;
    let version = value.as_object_mut().and_then(|fields| fields.remove("v"));
    match version {
        Some(version) if version.as_u64() == Some(VERSION) => {}
        Some(version) => return Err(format!("version {version} is not understood; {UNDERSTOOD}")),
        None => return Err(format!("no version; {UNDERSTOOD}")),
    }
    serde_json::from_value(value).map_err(|error| format!("{error}; {UNDERSTOOD}"))
}

/// A request as a line, with its end.
pub fn request_line(request: &Request) -> Vec<u8> {
    let mut value = serde_json::to_value(request).expect("a request is strings and booleans, which JSON can hold");
    value["v"] = VERSION.into();
    line(&value)
}

/// A reply as a line, with its end.
pub fn reply_line(reply: &Reply) -> Vec<u8> {
    line(reply)
}

/// Reads a reply, with or without its line end.
pub fn parse_reply(line: &[u8]) -> Result<Reply, serde_json::Error> {
    serde_json::from_slice(line)
}

fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("our types have only string keys, which JSON can hold");
    line.push(b'\n');
    line
}

const UNDERSTOOD: &str = "understood is version 1 (\"v\": 1) with \"do\": \"status\", \"restart\" or \"stop\"";
