//! What is said on the control socket: requests, replies, and the state of everything as `rota status --json` prints it. Core.
//!
//! One JSON object per line, both ways; one request per connection.
//!
//! ```text
//! {"v":1,"do":"status"}                              all apps; or "app":"blog"
//! {"v":1,"do":"restart","app":"blog","wait":true}    without "app" all of them, without "wait" only asked for
//! {"v":1,"do":"deploy","app":"blog","directory":"/srv/blog/releases/42","wait":true}
//! {"v":1,"do":"rollback","app":"blog","wait":true}   to the release before; "abort" calls off what is under way
//! {"v":1,"do":"metrics"}                            as OpenMetrics; "prometheus":true: in the older form
//! {"v":1,"do":"history"}                             of all apps; or "app":"blog"
//! {"v":1,"do":"pause","app":"blog","seconds":20,"wait":true}   requests wait; then "resume"
//! {"v":1,"do":"detach","app":"blog","number":2,"wait":true}    one process is replaced
//! {"v":1,"do":"requests","draining":true}            what is in hand; only with processes that drain
//! {"v":1,"do":"drain"}                              balancers are told to go; "undrain": how it is; "drained" only asks
//! {"v":1,"do":"reload","dry_run":false,"wait":true}   the configuration is read again
//! {"v":1,"do":"upgrade","program":"/usr/bin/rota"}   another program takes over, without "program" the one that stands where this one did
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
mod parts;
#[cfg(test)]
mod tests;
mod upgrade;

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{AppName, Generation, Number};

pub use convert::seconds;
pub use parts::{AppHistory, InHand, Pausing, Traffic};
pub use upgrade::Upgraded;

/// Of the protocol.
pub const VERSION: u64 = 1;

/// Of [`StatusReply`], for those who read `rota status --json`.
pub const SCHEMA: u32 = 1;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Answered by [`Reply::Status`]. `app` None: all.
    Status {
        #[serde(default)]
        app: Option<String>,
    },
    /// Answered by [`Reply::Metrics`].
    Metrics {
        /// In the text format of Prometheus instead of OpenMetrics.
        #[serde(default)]
        prometheus: bool,
    },
    /// Answered by [`Reply::Asked`]; with `wait` then by [`Reply::Progress`] whenever something changed, and by one [`Reply::Ended`] for
    /// each walk. `app` None: all, one after another.
    Restart {
        #[serde(default)]
        app: Option<String>,
        #[serde(default)]
        wait: bool,
        /// Everything at once; requests wait meanwhile.
        #[serde(default)]
        at_once: bool,
    },
    /// Answered as [`Request::Restart`]. `directory`: an absolute path.
    Deploy {
        app: String,
        directory: PathBuf,
        #[serde(default)]
        wait: bool,
    },
    /// Answered as [`Request::Restart`]. The release before the one that serves; of a walk that is under way, as [`Request::Abort`].
    Rollback {
        app: String,
        #[serde(default)]
        wait: bool,
    },
    /// Answered as [`Request::Restart`], about the walk that is called off.
    Abort {
        app: String,
        #[serde(default)]
        wait: bool,
    },
    /// Answered by [`Reply::History`]. `app` None: all.
    History {
        #[serde(default)]
        app: Option<String>,
    },
    /// No request begins any more, for at most `seconds` (None: as long as a request may wait in the queue). Answered by
    /// [`Reply::Pausing`]; with `wait` again whenever that changes, until no request is with the app or the time is up.
    Pause {
        app: String,
        #[serde(default)]
        seconds: Option<f64>,
        #[serde(default)]
        wait: bool,
    },
    /// Answered by [`Reply::Resumed`].
    Resume { app: String },
    /// One process is replaced by another of the same release. Answered by [`Reply::Detaching`]; with `wait` then by
    /// [`Reply::Detached`] when it is gone.
    Detach {
        app: String,
        number: Number,
        #[serde(default)]
        wait: bool,
    },
    /// Answered by [`Reply::Requests`]. `draining`: only those of processes that drain. `app` None: all.
    Requests {
        #[serde(default)]
        app: Option<String>,
        #[serde(default)]
        draining: bool,
    },
    /// Balancers are told to go, by the health path and the agent, until [`Request::Undrain`], while requests are served as before. Answered by
    /// [`Reply::Drained`].
    Drain {},
    /// Answered by [`Reply::Drained`].
    Undrain {},
    /// How it is with that. Answered by [`Reply::Drained`].
    Drained {},
    /// The configuration is read again, and what it changes is done. Answered by [`Reply::Plan`] and, unless `dry_run`, by [`Reply::Asked`] with
    /// the walks that come of it, and then as [`Request::Restart`]; or by [`Reply::Error`] with every mistake, and nothing has changed.
    Reload {
        /// Says what would be done.
        #[serde(default)]
        dry_run: bool,
        #[serde(default)]
        wait: bool,
    },
    /// Another program takes over everything. Answered by [`Reply::Upgrading`], and when it serves by [`Reply::Upgraded`]; or by [`Reply::Error`],
    /// and the one that served serves.
    Upgrade {
        /// An absolute path. None: what stands now where the one that serves was started from.
        #[serde(default)]
        program: Option<PathBuf>,
    },
    /// Answered by [`Reply::Stopping`]; the connection ends when the server does. Asked again: what drains is cut.
    Stop {},
}

impl Request {
    /// It changes nothing: who may look may ask it.
    pub fn only_looks(&self) -> bool {
        match self {
            Request::Status { .. } | Request::History { .. } | Request::Requests { .. } | Request::Drained {} | Request::Metrics { .. } => {
                true
            }
            Request::Restart { .. }
            | Request::Deploy { .. }
            | Request::Rollback { .. }
            | Request::Abort { .. }
            | Request::Pause { .. }
            | Request::Resume { .. }
            | Request::Detach { .. }
            | Request::Drain {}
            | Request::Undrain {}
            | Request::Reload { .. }
            | Request::Upgrade { .. }
            | Request::Stop {} => false,
        }
    }
}

/// One line from the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Reply {
    Status(Box<StatusReply>),
    /// These walks are asked for and run in this order.
    Asked {
        walks: Vec<Asked>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        config: Option<ConfigRead>,
    },
    Progress(Box<Progress>),
    Ended(Box<WalkEnd>),
    History {
        apps: Vec<AppHistory>,
    },
    Pausing(Pausing),
    Resumed {
        app: AppName,
        /// How long it was paused.
        seconds: f64,
        /// Requests that waited.
        waiting: usize,
    },
    Detaching {
        app: AppName,
        number: Number,
        pid: Option<u32>,
    },
    Detached {
        app: AppName,
        number: Number,
        pid: Option<u32>,
        /// The pid that serves in its place.
        by: Option<u32>,
    },
    Requests {
        requests: Vec<InHand>,
        /// Processes whose thread did not answer in time.
        silent: Vec<String>,
    },
    Metrics {
        text: String,
    },
    Drained {
        /// As it is now.
        drained: bool,
        /// The health path; empty: there is none.
        health: String,
        /// Where the agent is asked.
        #[serde(default)]
        agent: Option<SocketAddr>,
        #[serde(default)]
        traffic: Traffic,
    },
    /// What the files change; none: they say what is in force.
    Plan {
        changes: Vec<Planned>,
        /// What is odd about them, line by line.
        warnings: Vec<String>,
        /// Nothing of it is done.
        dry_run: bool,
    },
    Upgrading {
        /// The version that serves.
        rota: String,
    },
    Upgraded(Upgraded),
    Stopping,
    /// Nothing was done. The connection ends.
    Error {
        message: String,
    },
}

/// One change of a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Planned {
    /// None: of the server.
    pub app: Option<AppName>,
    /// `added`, `removed`, `changed`, `opened`, `closed` or `again`.
    pub what: String,
    /// What is listened on.
    pub at: Option<String>,
    /// Those that have another value.
    pub keys: Vec<String>,
    /// `at_once`, `restart` or `start`: when they take effect. None: it is no key.
    pub effect: Option<String>,
    /// The same for people: `blog: queue.max: at once`.
    pub line: String,
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
    /// "start", "restart", "deploy" or "rollback"; "back" when it failed or was called off and takes back what it replaced.
    pub kind: String,
    /// Who asked: "boot", "command", "signal", "file" (the restart file), "watch" (a switched symlink) or "reload".
    pub trigger: String,
    /// What happens to the process in hand: "resolve", "spawn", "boot", "probation", "bake", "drain", "stop", "backoff" or "wait".
    pub phase: String,
    /// The process in hand.
    pub number: Option<Number>,
    pub replaced: u16,
    pub of: u16,
    /// Since it was asked for.
    pub seconds: f64,
    pub phase_seconds: f64,
    /// Of a process that boots: what its readiness probe was answered last, as "GET / answered 500". None: it was not answered.
    #[serde(default)]
    pub answer: Option<String>,
    /// Until the end, if it goes as fast as the last one did.
    pub left_seconds: Option<f64>,
    /// Why the old process goes before the new one is started: what was found about memory, or the key that says so, as "surge = 0".
    pub makes_room: Option<String>,
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
    /// It is done, and this is worse than before: "GET / is answered 404 where g3 answered 200".
    #[serde(default)]
    pub but: Option<String>,
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
    /// Processes that still finish what they had in hand, which nothing waits for.
    #[serde(default)]
    pub finishing: Vec<Finishing>,
    /// Why this is not on the disk, so that a start of rota would not know it. None: it is.
    pub not_written: Option<String>,
    /// Why what serves could not be started anew. None: it could.
    #[serde(default)]
    pub lost: Option<String>,
    /// From the request to the end; the server fills it in.
    pub seconds: f64,
}

/// A process that outlasts its drain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finishing {
    pub number: Number,
    pub generation: Generation,
    /// Requests that it has.
    pub sessions: u32,
    /// How much longer they may take.
    pub seconds: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeKind {
    Done,
    Failed,
    RolledBack,
    Superseded,
    Aborted,
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
    /// Those of them that cannot be had yet; tried again every few seconds.
    #[serde(default)]
    pub not_listening: Vec<NotListening>,
    /// Apps that are not served for what is wrong in their description.
    #[serde(default)]
    pub broken: Vec<Broken>,
    /// Balancers are told to go, as `rota drain` wants it.
    #[serde(default)]
    pub drained: bool,
    #[serde(default)]
    pub config: Option<ConfigRead>,
    /// The files are others than those that were read. None: whoever asks cannot see that. The command fills it in, which may look at a disk.
    #[serde(default)]
    pub config_changed: Option<bool>,
    /// Open connections of clients.
    pub connections: usize,
    /// Bytes of bodies in temporary files.
    pub spooled: u64,
    /// In the order of the configuration.
    pub apps: Vec<AppStatus>,
}

/// The configuration that is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigRead {
    pub file: PathBuf,
    /// Of the files when they were read ([`crate::config::stamp`]). 0: not known.
    pub stamp: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotListening {
    /// As in `listen`.
    pub at: String,
    pub message: String,
}

/// Its requests are answered 503.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// As its file is called, or its table.
    pub app: String,
    /// The first mistake, with its place.
    pub message: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppStatus {
    pub app: AppName,
    /// As the configuration has it.
    #[serde(default)]
    pub root: String,
    /// The last generation that was accepted. None: none yet.
    pub generation: Option<Generation>,
    /// Its directory, without symlinks.
    pub release: Option<String>,
    /// It was chosen by command, and root names this one.
    pub passed_over: Option<String>,
    /// What its processes execute, as a shell would read it; before there is an accepted generation, what is being tried.
    pub command: Option<String>,
    /// By what the command was found in the release. None: the configuration has it.
    pub detected: Option<String>,
    pub processes_wanted: u16,
    /// It varies between these two.
    pub processes_min: u16,
    pub processes_max: u16,
    /// It would start one more process, and waits for what the server allows.
    pub held: Option<HeldBy>,
    /// Sessions that each process takes; of the newest release that there is a process of.
    pub concurrency: u32,
    /// By number; a replacement stands beside the one that it replaces.
    pub processes: Vec<ProcessStatus>,
    pub queue: QueueStatus,
    pub walk: Option<Progress>,
    pub resists: Option<Resists>,
    pub backoff: Option<Backoff>,
    /// Why its record is not on the disk; tried again every few seconds. None: it is.
    pub not_written: Option<String>,
    /// Why what serves could not be started anew, so that its processes are kept. None: it could.
    #[serde(default)]
    pub lost: Option<String>,
    /// It is not in the configuration any more: what came in is answered, and its processes end.
    #[serde(default)]
    pub removed: bool,
    /// Processes of it that have outlived theirs, where the key `survivors` lets them.
    #[serde(default)]
    pub survivors: usize,
    /// The app is paused.
    pub pause: Option<Pause>,
    /// What the release that serves answers worse than the one before it: "GET / is answered 404 where g3 answered 200".
    #[serde(default)]
    pub turned: Option<String>,
    pub last_failure: Option<LastFailure>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBy {
    /// The key of `[server]`: "max_processes" or "max_spawning".
    pub limit: String,
    /// Since when.
    pub seconds: f64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pause {
    /// Since when.
    pub seconds: f64,
    /// Until it ends by itself.
    pub left_seconds: f64,
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
    /// Requests that it takes at a time.
    #[serde(default)]
    pub slots: u32,
    /// Requests in hand.
    pub sessions: u32,
    pub processed: u64,
    pub errors: u64,
    /// Seconds ago. None: never.
    pub last_used: Option<f64>,
    /// Why another of the same release takes its place: "after 1,000 requests". None: it stays.
    #[serde(default)]
    pub replaced: Option<String>,
    /// It has requests beyond `drain.timeout`, which nothing waits for: how much longer they may take. None: it has not.
    #[serde(default)]
    pub finishes_for: Option<f64>,
    /// Percent of one core, with its children, since somebody looked before, at most a minute ago.
    pub cpu: Option<f64>,
    /// Bytes, with its children, shared ones by their share (PSS).
    pub memory: Option<u64>,
    /// Processes that come of it.
    #[serde(default)]
    pub children: Option<usize>,
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

const UNDERSTOOD: &str = "understood is version 1 (\"v\": 1) with \"do\": \"status\", \"restart\", \"deploy\", \"rollback\", \"abort\", \
     \"history\", \"pause\", \"resume\", \"detach\", \"requests\", \"drain\", \"undrain\", \"drained\", \"metrics\" or \"stop\"";
