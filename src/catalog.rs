//! What the configuration says, as one value that every thread reads, and what rota keeps of each app besides. A reload puts another catalog in
//! the place of this one; an event loop goes on with the one that it began its turn with ([`crate::conn::desk::Desk`]).
//!
//! An app keeps its [`GroupId`] for as long as rota runs, also when it is taken out of the configuration: its number is given to no other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::access_log::{AccessLog, Outputs};
use crate::app_log::{self, AppLog};
use crate::config::{AppConfig, BrokenApp, Config, ResourceLimit, ServerConfig};
use crate::conn::uploads::Uploads;
use crate::descriptors::Descriptors;
use crate::errands::files::Files;
use crate::http::refusal::Refusal;
use crate::ids::GroupId;
use crate::log_files::{LogFiles, Sinks};
use crate::once::Once;
use crate::printable::counted_past;
use crate::restart::release;
use crate::router::Router;
use crate::sys;

/// A configuration that is in force.
#[derive(Debug)]
pub struct Catalog {
    pub server: ServerConfig,
    /// By [`GroupId`].
    apps: Vec<App>,
    pub broken: Vec<Unserved>,
    /// Broken apps stand behind those of `apps`.
    router: Router,
    /// What there may be of connections and files, as far as descriptors go.
    pub descriptors: Descriptors,
    pub logs: Logs,
}

/// An app, whether it is served or not any more.
#[derive(Clone, Debug)]
pub struct App {
    pub config: Arc<AppConfig>,
    pub ledger: Arc<Ledger>,
    /// It is not in the configuration any more: nothing is routed to it.
    pub is_removed: bool,
}

/// What threads keep of an app, whatever the configuration says of it.
#[derive(Debug, Default)]
pub struct Ledger {
    pub uploads: Uploads,
    /// Who waits for a file while the app has no process.
    pub files: Files,
    pub once: Once,
    /// Requests are known that ended processes of the app ([`crate::pool::Group::may_risk`]).
    suspects: AtomicBool,
}

/// An app that cannot be served for what is wrong in its description.
#[derive(Debug)]
pub struct Unserved {
    pub app: BrokenApp,
    /// Requests that were refused for it.
    refused: AtomicU64,
}

/// Where lines go besides rota's own log.
#[derive(Clone, Debug)]
pub struct Logs {
    pub access: Arc<AccessLog>,
    pub app: Arc<AppLog>,
    pub files: Arc<LogFiles>,
}

impl Catalog {
    /// `logs`: of the same configuration.
    pub fn new(config: Config, logs: Logs) -> Self {
        let descriptors = Descriptors::share_out(sys::hard_limit(ResourceLimit::Nofile), &config);
        let Config { server, apps, broken } = config;
        let apps: Vec<App> = apps.into_iter().map(|config| App::new(Arc::new(config))).collect();
        let router = router(&apps, &broken);
        Self { server, apps, broken: broken.into_iter().map(Unserved::new).collect(), router, descriptors, logs }
    }

    pub fn app(&self, group: GroupId) -> &Arc<AppConfig> {
        &self.apps[group.index()].config
    }

    pub fn ledger(&self, group: GroupId) -> &Arc<Ledger> {
        &self.apps[group.index()].ledger
    }

    /// Those that are served.
    pub fn apps(&self) -> impl Iterator<Item = (GroupId, &Arc<AppConfig>)> {
        self.ledgers().filter(|(_, app)| !app.is_removed).map(|(group, app)| (group, &app.config))
    }

    /// Of all that there were while rota ran.
    pub fn ledgers(&self) -> impl Iterator<Item = (GroupId, &App)> {
        self.apps.iter().enumerate().map(|(index, app)| (GroupId(index as u16), app))
    }

    /// The app that a request is for. Err: its description has a mistake, or there is none.
    pub fn route(&self, host: Option<&str>, path: &str) -> Result<GroupId, Refusal> {
        let group = self.router.route(host, path).ok_or(Refusal::NoApp)?;
        match group.index().checked_sub(self.apps.len()) {
            None => Ok(group),
            Some(broken) => {
                self.broken[broken].refuse();
                Err(Refusal::BrokenApp)
            }
        }
    }

    /// As [`Self::route`] for whoever only asks. Some(None): an app that is not served.
    pub fn look_up(&self, host: &str, path: &str) -> Option<Option<GroupId>> {
        let group = self.router.route(Some(host), path)?;
        Some((group.index() < self.apps.len()).then_some(group))
    }
}

/// Of two with the same route the first is asked: a broken app takes no other's.
fn router(apps: &[App], broken: &[BrokenApp]) -> Router {
    let served = |app: &App| if app.is_removed { Vec::new() } else { app.config.routes.clone() };
    let of_each: Vec<_> = apps.iter().map(served).chain(broken.iter().map(|app| app.routes.clone())).collect();
    Router::new(of_each.iter().enumerate().flat_map(|(index, routes)| routes.iter().map(move |route| (GroupId(index as u16), route))))
}

impl App {
    fn new(config: Arc<AppConfig>) -> Self {
        Self { config, ledger: Arc::default(), is_removed: false }
    }
}

impl Ledger {
    /// There are some now, or none any more.
    pub fn has_suspects(&self, some: bool) {
        if some != self.asks_for_suspects() {
            self.suspects.store(some, Ordering::Relaxed);
        }
    }

    pub fn asks_for_suspects(&self) -> bool {
        self.suspects.load(Ordering::Relaxed)
    }
}

impl Unserved {
    fn new(app: BrokenApp) -> Self {
        Self { app, refused: AtomicU64::new(0) }
    }

    /// Says so of the 1st, the 10th, the 100th ...
    fn refuse(&self) {
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if 10_u64.checked_pow(refused.ilog10()) == Some(refused) {
            log::warn!("{}: {} answered 503, because it is not served: {}", self.app.name, counted_past(refused, "request"), self.app.why);
        }
    }
}

impl Logs {
    /// Opens every file that the configuration names and starts the thread that writes them; errors name the key and the file.
    pub fn open(config: &Config) -> Result<Self, String> {
        let mut sinks = Sinks::new(release::groups(config.apps.iter().map(|app| &app.start)));
        let outputs = Outputs::open(config, &mut sinks)?;
        let app_sinks = app_log::open(config, &mut sinks);
        let files = Arc::new(LogFiles::start(sinks).map_err(|error| format!("log thread: {error}"))?);
        let app = Arc::new(AppLog::new(config, app_sinks, files.clone()));
        Ok(Self { access: Arc::new(AccessLog::new(outputs, files.clone())), app, files })
    }
}
