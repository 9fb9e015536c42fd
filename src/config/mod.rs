//! The configuration: built only by parsing, so that a value of these types cannot be wrong. Core: reads files, no sockets, no clock.

mod parse;
mod reader;
mod report;

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::ids::AppName;

pub use parse::parse;
pub use report::{Finding, Report, SourceFile};

/// Reads a main file and, beside it, `apps.d/*.toml` with one app each, in the order of their names.
pub fn load(path: &Path) -> Result<Config, Report> {
    let (mut files, mut unread) = (Vec::new(), Vec::new());
    let apps_d = path.parent().map(|dir| dir.join("apps.d")).unwrap_or_default();
    let mut paths = Vec::new();
    match fs::read_dir(&apps_d) {
        Ok(entries) => paths.extend(entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_app_file(path))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => unread.push(format!("{}: {error}", apps_d.display())),
    }
    paths.sort();
    paths.insert(0, path.to_owned());
    for path in paths {
        match fs::read_to_string(&path) {
            Ok(text) => files.push(SourceFile { path, text }),
            Err(error) => unread.push(format!("{}: {error}", path.display())),
        }
    }
    if unread.is_empty() { parse(files) } else { Err(Report { files, findings: Vec::new(), unread }) }
}

/// Editors leave other files beside the ones that they edit.
fn is_app_file(path: &Path) -> bool {
    let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
    !hidden && path.extension().is_some_and(|extension| extension == "toml")
}

/// A whole, valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub server: ServerConfig,
    /// In the order of their names.
    pub apps: Vec<AppConfig>,
}

/// `[server]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Where clients connect; at least one.
    pub listen: Vec<Listen>,
    /// Path of the control socket; default /run/rota/control.sock.
    pub control: PathBuf,
    /// Directory for the apps' sockets; default: the directory of the control socket.
    pub run_dir: PathBuf,
    /// Directory for unlinked temporary files of large bodies; default: `run_dir`/tmp ... a disk, not a tmpfs, on small machines: /var/tmp.
    pub spool_dir: PathBuf,
    /// Bytes that all temporary files together may take.
    pub spool_max: u64,
    pub timeouts: ClientTimeouts,
    pub limits: ClientLimits,
}

/// A place that clients connect to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
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
    /// Client connections over all listeners.
    pub connections: usize,
}

/// One app.
#[derive(Clone, Debug, PartialEq)]
pub struct AppConfig {
    pub name: AppName,
    pub start: StartConfig,
    pub routes: Vec<Route>,
    /// How many processes; at least 1.
    pub processes: u16,
    /// Sessions per process; at least 1.
    pub concurrency: u32,
    pub queue: QueueConfig,
    pub ready: ReadyConfig,
    /// A process that dies within this time after becoming ready counts as failed to start.
    pub probation: Duration,
    pub drain: DrainConfig,
    pub stop: StopConfig,
    pub on_failure: OnFailure,
    pub timeouts: AppTimeouts,
    /// Bytes of a request body; larger: 413.
    pub max_body: u64,
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

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(addr) => addr.fmt(f),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = match &self.host {
            HostPattern::Exact(host) => host.clone(),
            HostPattern::Suffix(suffix) => format!("*{suffix}"),
            HostPattern::Any => "any host".to_owned(),
        };
        write!(f, "{host} {}", self.path)
    }
}

/// All that a start of a process depends on; pinned with the generation.
#[derive(Clone, Debug, PartialEq)]
pub struct StartConfig {
    /// Program and arguments, not yet substituted.
    pub command: Vec<String>,
    /// Working directory, not yet resolved.
    pub root: PathBuf,
    pub bind: Bind,
    /// Set in this order, after rota's own variables.
    pub env: Vec<(String, String)>,
    /// None: the user that rota runs as.
    pub user: Option<String>,
    /// None: the user's own group.
    pub group: Option<String>,
}

/// How a process learns where to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Ordinary requests.
    pub timeout: Duration,
    /// Upgraded connections.
    pub upgraded: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct StopConfig {
    pub signal: StopSignal,
    /// From the signal to KILL.
    pub timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopSignal {
    Term,
    Int,
    Quit,
    Hup,
    Usr1,
    Usr2,
}

/// What a walk does when a process of the new generation does not start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Stop the walk and keep what serves.
    Resist,
    /// Resist, and walk the replaced ones back.
    Rollback,
    /// Leave that process as it was and go on with the next.
    Continue,
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
