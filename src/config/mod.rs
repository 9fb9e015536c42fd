//! The configuration: built only by parsing, so that a value of these types cannot be wrong. Core: reads text, no sockets, no clock;
//! only `load`, and `errors` for the pages that it names, touch the disk.
//!
//! `keys` lists every key and says what it means, `reference` makes the files that people read of it, `section` walks a TOML table with the places of things, `server` and `app` read the two kinds of table with
//! their defaults, `parse` puts the files together, and `report` says what is wrong and where.

mod access;
mod app;
mod attributes;
mod change;
pub mod command;
pub mod env_file;
mod errors;
mod keys;
mod lifespan;
mod load;
mod operators;
mod parse;
mod proxies;
pub mod reference;
mod report;
mod routes;
mod section;
mod server;
mod sizes;
pub mod units;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::http::error_page::Pages;
use crate::http::trust::TrustedProxies;
use crate::ids::AppName;

pub use attributes::{OOM_SCORE_ABOVE, ResourceLimit, SpawnAttributes};
pub use change::{Change, Plan};
pub use command::sets_itself;
pub use keys::Effect;
pub use keys::nearest;
pub use load::{DEFAULT_PATH, Glance, NoPage, PageOf, Reader, Sources, control, glance, load, load_to_serve, stamp};
pub use operators::OperatorName;
pub use parse::{parse, parse_to_serve};
pub use report::{Also, Mistake, Place, Position, Report, Severity, SourceFile};

/// A configuration that can be used, and what is odd about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    pub config: Config,
    /// Warnings only, perhaps none; errors too of [`Config::broken`].
    pub warnings: Report,
    /// What it was read from.
    pub sources: Sources,
}

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: ServerConfig,
    /// In the order of their names.
    pub apps: Vec<AppConfig>,
    /// Those that cannot be served for what is wrong in their description; in the order of their names. None but where a server has to serve
    /// the others ([`load_to_serve`]).
    pub broken: Vec<BrokenApp>,
}

/// An app whose description has a mistake. Its requests are refused, so that they go to no other app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenApp {
    /// As its file or its table has it; perhaps no [`AppName`].
    pub name: String,
    pub file: PathBuf,
    /// The first mistake, with its place, in one line.
    pub why: String,
    /// As far as they can be read; else any, behind those of the other apps.
    pub routes: Vec<Route>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where clients connect; at least one.
    pub listen: Vec<ListenConfig>,
    /// Whose word for where a request came from is believed.
    pub trusted_proxies: TrustedProxies,
    /// Path of the control socket; default /run/rota/control.sock.
    pub control: PathBuf,
    /// Whose members may look through the control socket; None: nobody but root and rota's own user.
    pub control_group: Option<String>,
    /// Directory for the apps' sockets; default: the directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory for unlinked temporary files of large bodies; default /var/tmp, which is a disk where /tmp and /run may be memory.
    pub spool_dir: PathBuf,
    /// Directory for what must outlive rota: the release that serves, and the history; default /var/lib/rota.
    pub state_dir: PathBuf,
    /// Bytes that all temporary files together may take.
    pub spool_max: u64,
    /// Of the requests that are for no app, and of the apps that say nothing of their own.
    pub access_log: AccessLogConfig,
    pub timeouts: ClientTimeouts,
    pub limits: ClientLimits,
    pub machine: MachineConfig,
    /// The path at which rota itself says how it is. None: every path is an app's.
    pub health: Option<String>,
    /// Where balancers ask by TCP how rota is, as HAProxy's agent check does. None: nowhere.
    pub agent: Option<SocketAddr>,
    /// Where monitors ask by HTTP what is counted; of this machine. None: nowhere.
    pub metrics: Option<SocketAddr>,
    /// Sent instead of rota's own error pages, where an app has none of its own.
    pub errors: Pages,
}

/// A place that clients connect to, and how. Prints itself as its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenConfig {
    pub at: Listen,
    /// Each connection begins with a PROXY header, and comes from a trusted proxy.
    pub proxy_protocol: bool,
    /// Who may connect, of a Unix socket.
    pub door: SocketAccess,
}

/// Who may connect to a Unix socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketAccess {
    /// Bits of the file, `0o660`. None: everybody may connect who gets to the directory.
    pub mode: Option<u32>,
    /// Of the file. None: rota's own.
    pub group: Option<String>,
}

impl fmt::Display for ListenConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

/// A place that clients connect to. Prints itself as it is written in the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Listen {
    /// `[::]` takes IPv4 too (IPV6_V6ONLY off); ":80" is read as `[::]:80`.
    Tcp(SocketAddr),
    Unix(#[serde(with = "crate::path_text")] PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Limits in time on what a client does; they apply before the app is known, hence of the server.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientTimeouts {
    /// Whole head, from its first byte (also a dripping one).
    pub head: Duration,
    /// Between two reads of a request body.
    pub body: Duration,
    /// A kept connection between requests.
    pub keepalive: Duration,
    /// Between two writes that make progress.
    pub write: Duration,
}

/// Limits in size and number on what a client sends.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientLimits {
    /// Bytes of a head, request line included.
    pub head: usize,
    pub headers: usize,
    /// Bytes of the request target.
    pub target: usize,
    /// Bytes per second that a request body must bring on the average, beyond `timeouts.body`; 0: any.
    pub body_rate: u64,
    /// Client connections over all listeners.
    pub connections: usize,
    /// Of these from one IPv4 address or one /64 of IPv6; 0: any number.
    pub per_client: usize,
}

/// What all apps together may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineConfig {
    /// Processes in every state, those that drain and stop among them. None: any number.
    pub processes: Option<u16>,
    /// Processes that boot at a time. None: as many as there are processors, at least 2.
    pub spawning: Option<u16>,
}

/// Where the line of each request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessLogConfig {
    Off,
    On {
        format: LogFormat,
        /// None: standard output.
        file: Option<PathBuf>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// As Apache and nginx call it, with fields of ours behind.
    Combined,
    /// One object.
    Json,
}

/// One app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppConfig {
    pub name: AppName,
    pub start: StartConfig,
    pub routes: Vec<Route>,
    pub processes: Sizes,
    pub queue: QueueConfig,
    pub ready: ReadyConfig,
    /// Paths that a new process is asked for, once each, before it serves.
    pub warmup: Vec<String>,
    /// A process that dies within this time after becoming ready counts as failed to start.
    pub probation: Duration,
    pub drain: DrainConfig,
    pub stop: StopConfig,
    pub on_failure: OnFailure,
    /// How many processes more than `processes` there may be while they are replaced.
    pub surge: u16,
    pub leader: LeaderPolicy,
    /// Name of the cookie by which a client comes back to the process that it was with. None: it need not.
    pub sticky: Option<String>,
    /// The file has an answer to that, be it no.
    pub is_sticky_said: bool,
    /// None: a new release is not watched.
    pub bake: Option<BakeConfig>,
    /// After what a process is replaced by another of the same release.
    pub lifespan: Lifespan,
    /// Percent of one processor that a process may take, with all that comes of it. None: as much as there is.
    pub cpu: Option<u32>,
    /// What has left the session of its process may outlive it.
    pub survivors: bool,
    /// A change of this file asks for a rolling restart; absolute, or seen from `root`. None: no file does.
    pub restart_file: Option<PathBuf>,
    /// So does a symlink on the way to `root` that leads elsewhere.
    pub watch: bool,
    /// The file that what its processes print goes to. None: rota's own log.
    pub log: Option<PathBuf>,
    /// Lines of that in 30 s which go into rota's own log; 0: any number.
    pub log_rate: u64,
    /// None: the server's.
    pub access_log: Option<AccessLogConfig>,
    pub timeouts: AppTimeouts,
    /// From the moment at which the app gets a request to the end of its answer; streams may last. None: any time.
    pub request_timeout: Option<Duration>,
    pub buffer: BufferConfig,
    /// Bytes of a request body; larger: 413.
    pub max_body: u64,
    /// Sent instead of rota's own error pages, or the server's.
    pub errors: Pages,
    /// Its clients may know why it does not answer: command, release, output. For development.
    pub friendly_errors: bool,
    pub files: FilesConfig,
    /// Names of request headers with an underscore that are passed on; any other with one is not.
    pub underscore_headers: Vec<String>,
    /// Who may operate it besides root and rota's own user.
    pub operators: Vec<OperatorName>,
}

impl AppConfig {
    /// The Host of requests that came without one, and of probes: the first exact name.
    pub fn default_host(&self) -> &str {
        let exact = self.routes.iter().find_map(|route| match &route.host {
            HostPattern::Exact(host) => Some(host.as_str()),
            HostPattern::Suffix(_) | HostPattern::Any => None,
        });
        exact.unwrap_or("localhost")
    }
}

/// All that a start of a process depends on; pinned with the generation.
#[derive(Clone, Debug, PartialEq)]
pub struct StartConfig {
    /// Program and arguments, not yet substituted. None: detected in each release ([`crate::detect`]).
    pub command: Option<Vec<String>>,
    /// Working directory, not yet resolved.
    pub root: PathBuf,
    /// None: as the detected command has it.
    pub bind: Option<Bind>,
    /// Files of variables, absolute or seen from the release; read in this order at each restart, before `env`.
    pub env_files: Vec<PathBuf>,
    /// Set in this order, after rota's own variables.
    pub env: Vec<(String, String)>,
    /// None: the user that rota runs as.
    pub user: Option<String>,
    /// None: the user's own group.
    pub group: Option<String>,
    /// Sessions per process; at least 1. None: as many as suit the server that is detected, else [`CONCURRENCY`].
    pub concurrency: Option<u32>,
    /// None: the one that the detected server ends cleanly at, else TERM.
    pub stop_signal: Option<StopSignal>,
    pub attributes: SpawnAttributes,
}

/// Sessions of a process of which neither the configuration nor its kind says how many it can have.
pub const CONCURRENCY: u32 = 100;

/// What is sent from files.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesConfig {
    pub public: PublicFiles,
    /// Symlinks in it may lead out of it.
    pub public_links: bool,
    /// The files that the app may name in X-Sendfile and X-Accel-Redirect are beneath this directory. None: it may name none.
    pub sendfile_root: Option<PathBuf>,
}

/// Whether files are answered without the app. Only by its owner's word: a password, a redirect or a log of the app's stands before them otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicFiles {
    /// Every request is the app's, and nothing is said of it: `rota check` names a directory that could be meant.
    Unsaid,
    /// Every request is the app's.
    Off,
    /// Those of this directory: absolute, or seen from a release's root.
    In(PathBuf),
}

impl PublicFiles {
    pub fn directory(&self) -> Option<&Path> {
        match self {
            PublicFiles::Unsaid | PublicFiles::Off => None,
            PublicFiles::In(path) => Some(path),
        }
    }
}

/// Which bodies wait in memory, then in a file, for the slower side; else the faster one waits, and the slot with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferConfig {
    /// A request takes a slot once its body is whole.
    pub request: bool,
    /// The slot is free once the app has written its response, whatever the client has taken of it.
    pub response: bool,
}

/// How a process learns where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bind {
    /// A loopback port in PORT.
    Port,
    /// A path in SOCKET.
    Unix,
    /// A listening Unix socket as descriptor 3, with LISTEN_FDS=1 and LISTEN_PID.
    Fd,
}

/// Requests for `host` whose path begins with `path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub host: HostPattern,
    /// Begins with `/`; ends with `/` only if it is `/`. Matches itself and what follows it after a `/`.
    pub path: String,
}

/// Lower case, without port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exact(String),
    /// `*.example.org` holds `.example.org`: one label or more before it.
    Suffix(String),
    /// An app without `hosts`: any host.
    Any,
}

/// How many processes an app has: `min` at most `max`, and `max` at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sizes {
    /// 0: the first is started by a request.
    pub min: u16,
    pub max: u16,
    /// One more than `min` that has had no session for so long goes.
    pub idle: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct QueueConfig {
    pub max: usize,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReadyConfig {
    /// Target of the probe.
    pub path: String,
    /// None: any status below 500.
    pub status: Option<u16>,
    pub timeout: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct DrainConfig {
    /// How long a walk waits for ordinary requests.
    pub timeout: Duration,
    /// How long what moves may be finished, without anything waiting for it. No more than `timeout`: nothing may.
    pub longest: Duration,
    /// Streams: WebSockets and other upgraded connections, event streams.
    pub upgraded: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StopConfig {
    /// From the signal to KILL.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

impl StopSignal {
    /// As `stop.signal` has it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Term => "TERM",
            Self::Int => "INT",
            Self::Quit => "QUIT",
            Self::Hup => "HUP",
            Self::Usr1 => "USR1",
            Self::Usr2 => "USR2",
        }
    }
}

/// Whether there may be two processes of number 1 for a moment. Words of `leader`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaderPolicy {
    /// As at every number: the new one becomes ready while the old one serves.
    Overlap,
    /// The old one and its process group are gone before the new one is started.
    Exclusive,
}

/// What a walk does when a process of the new generation does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnFailure {
    /// Stop the walk and keep what serves.
    Resist,
    /// Resist, and walk the replaced ones back.
    Rollback,
    /// Leave that process as it was and go on with the next.
    Continue,
}

/// When a new release that serves counts as broken, compared with what the older processes do in the same time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BakeConfig {
    /// From the moment at which its first process serves.
    pub time: Duration,
    /// So many more of a hundred answers may be 5xx.
    pub max_5xx: u8,
    /// So many more of a hundred may be 4xx.
    pub max_refused: u8,
    /// Its median time may be so many times theirs.
    pub max_slowdown: u16,
}

/// After what a process is replaced though it works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lifespan {
    /// So many requests, at least 1.
    pub requests: Option<u64>,
    /// So long after it was started.
    pub age: Option<Duration>,
    /// So many bytes of memory, with its children.
    pub memory: Option<u64>,
    /// With so many, more than `memory`, it is killed at once.
    pub memory_hard: Option<u64>,
    /// So is one that has so many processes, itself and all that comes of it.
    pub processes: Option<u64>,
}

impl Lifespan {
    /// The memory below which nothing happens. None: it has no limit.
    pub fn least_memory(&self) -> Option<u64> {
        self.memory.or(self.memory_hard)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct AppTimeouts {
    /// Between two reads from the app.
    pub app: Duration,
    /// Idle time of an upgraded connection.
    pub tunnel: Duration,
    /// A connection to the app kept for the next request.
    pub pooled: Duration,
}
