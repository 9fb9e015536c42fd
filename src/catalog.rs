//! What the configuration says, as one value that every thread reads, and what rota keeps of each app besides. A reload puts another catalog in
//! the place of this one; an event loop goes on with the one that it began its turn with ([`crate::conn::desk::Desk`]).
//!
//! An app keeps its [`GroupId`] for as long as rota runs, also when it is taken out of the configuration: its number is given to no other one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::about::About;
use crate::access_log::{AccessLog, Outputs};
use crate::app_log::{self, AppLog};
use crate::config::{AppConfig, BrokenApp, CONCURRENCY, Config, MachineConfig, ResourceLimit, ServerConfig, Sources};
use crate::conn::uploads::Uploads;
use crate::credentials::Credentials;
use crate::descriptors::Descriptors;
use crate::errands::files::Files;
use crate::http::refusal::Refusal;
use crate::ids::GroupId;
use crate::log_files::{LogFiles, Sinks};
use crate::metrics::meter::Meter;
use crate::once::Once;
use crate::operators::Operators;
use crate::pool::{Limits, Settings};
use crate::printable::counted_past;
use crate::restart::release;
use crate::router::Router;
use crate::sys;
use crate::table::Shared;

/// A configuration that is in force.
#[derive(Debug)]
pub struct Catalog {
    pub server: ServerConfig,
    /// What the configuration was read from.
    pub sources: Sources,
    /// By [`GroupId`].
    apps: Vec<App>,
    pub broken: Vec<Unserved>,
    /// Broken apps stand behind those of `apps`.
    router: Router,
    /// What there may be of connections and files, as far as descriptors go.
    pub descriptors: Descriptors,
    pub logs: Logs,
    pub operators: Operators,
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
#[derive(Debug)]
pub struct Ledger {
    /// Lines of rota's own about it.
    pub about: Arc<About>,
    pub uploads: Uploads,
    /// What has become of its requests, for as long as rota runs.
    pub meter: Arc<Meter>,
    /// Who waits for a file while the app has no process.
    pub files: Files,
    pub once: Once,
    /// The app has the thread that watches its files.
    pub has_lookout: Runs,
    /// It has the one that opens them.
    pub has_files: Runs,
    /// Requests are known that ended processes of the app ([`crate::pool::Group::may_risk`]).
    suspects: AtomicBool,
}

/// Whether a thread of an app runs.
#[derive(Debug, Default)]
pub struct Runs(AtomicBool);

/// It does; not any more when this is dropped, on the thread.
#[derive(Debug)]
pub struct Running<'a> {
    runs: &'a Runs,
    shared: &'a Shared,
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
    /// Opens the log files that the configuration names; errors name the key and the file.
    pub fn open(config: Config, sources: Sources) -> Result<Self, String> {
        let apps: Vec<App> = config.apps.iter().cloned().map(App::new).collect();
        let logs = Logs::open(&config.server, &apps, Arc::default())?;
        Ok(Self::of(config, sources, apps, logs))
    }

    /// The catalog of another configuration. Apps keep their numbers and their ledgers, new ones stand behind all others; log files are opened
    /// where they are not those of before.
    pub fn next(&self, config: Config, sources: Sources) -> Result<Self, String> {
        let mut apps: Vec<App> = self.apps.iter().map(|app| App { is_removed: true, ..app.clone() }).collect();
        for wanted in &config.apps {
            let Some(known) = apps.iter_mut().find(|app| app.config.name == wanted.name) else {
                apps.push(App::new(wanted.clone()));
                continue;
            };
            known.is_removed = false;
            if *known.config != *wanted {
                known.config = Arc::new(wanted.clone());
            }
        }
        if apps.len() > usize::from(u16::MAX) {
            return Err(format!("rota has known {} apps since it was started, and has no number for another: restart it", self.apps.len()));
        }
        let logs_of = |app: &App| (app.config.log.clone(), app.config.log_rate, app.config.access_log.clone());
        let is_same = self.server.access_log == config.server.access_log && self.apps.iter().map(logs_of).eq(apps.iter().map(logs_of));
        let logs = if is_same { self.logs.clone() } else { Logs::open(&config.server, &apps, self.logs.access.strays().clone())? };
        Ok(Self::of(config, sources, apps, logs))
    }

    fn of(config: Config, sources: Sources, apps: Vec<App>, logs: Logs) -> Self {
        let descriptors = Descriptors::share_out(sys::hard_limit(ResourceLimit::Nofile), &config);
        let Config { server, broken, .. } = config;
        let router = router(&apps, &broken);
        let operators = Operators::look_up(apps.iter().filter(|app| !app.is_removed).map(|app| &*app.config));
        Self { server, sources, apps, broken: broken.into_iter().map(Unserved::new).collect(), router, descriptors, logs, operators }
    }

    /// None: it is of a later one.
    pub fn get(&self, group: GroupId) -> Option<&App> {
        self.apps.get(group.index())
    }

    pub fn app(&self, group: GroupId) -> &Arc<AppConfig> {
        &self.apps[group.index()].config
    }

    pub fn ledger(&self, group: GroupId) -> &Arc<Ledger> {
        &self.apps[group.index()].ledger
    }

    /// Those that are served.
    pub fn apps(&self) -> impl Iterator<Item = (GroupId, &Arc<AppConfig>)> + Clone {
        self.ledgers().filter(|(_, app)| !app.is_removed).map(|(group, app)| (group, &app.config))
    }

    /// Those that threads act for, and the groups of apps' users.
    pub fn users(&self) -> (Vec<Credentials>, Vec<u32>) {
        let starts = || self.apps().map(|(_, app)| &app.start);
        let users = release::credentials(starts()).into_iter().chain(Credentials::of_the_master()).collect();
        (users, release::groups(starts()))
    }

    /// Of all that there were while rota ran.
    pub fn ledgers(&self) -> impl Iterator<Item = (GroupId, &App)> + Clone {
        self.apps.iter().enumerate().map(|(index, app)| (GroupId(index as u16), app))
    }

    /// When [`Self::tick_logs`] has something to say.
    pub fn logs_deadline(&self) -> Option<Instant> {
        self.apps.iter().filter_map(|app| app.ledger.about.next_deadline()).chain(self.logs.app.next_deadline()).min()
    }

    /// Says how many lines were dropped of apps that are quiet since.
    pub fn tick_logs(&self, now: Instant) {
        self.logs.app.tick(now);
        self.apps.iter().for_each(|app| app.ledger.about.tick(now));
    }

    /// Says all that was dropped: nothing comes any more.
    pub fn finish_logs(&self) {
        self.logs.app.finish();
        self.apps.iter().for_each(|app| app.ledger.about.finish());
        self.logs.files.finish();
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
    fn new(config: AppConfig) -> Self {
        let ledger = Ledger::of(About::new(config.name.clone()));
        Self { config: Arc::new(config), ledger: Arc::new(ledger), is_removed: false }
    }
}

impl Ledger {
    fn of(about: About) -> Self {
        Self {
            about: Arc::new(about),
            uploads: Uploads::default(),
            meter: Arc::default(),
            files: Files::default(),
            once: Once::default(),
            has_lookout: Runs::default(),
            has_files: Runs::default(),
            suspects: AtomicBool::new(false),
        }
    }

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

impl Runs {
    /// False: it runs already.
    pub fn begin(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    /// It could not be started.
    pub fn take_back(&self) {
        self.0.store(false, Ordering::Release);
    }

    /// For the thread to hold.
    pub fn hold<'a>(&'a self, shared: &'a Shared) -> Running<'a> {
        Running { runs: self, shared }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.runs.take_back();
        self.shared.table.lock().tend = true;
        self.shared.table.notify();
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
    fn open(server: &ServerConfig, apps: &[App], strays: Arc<Meter>) -> Result<Self, String> {
        let configs = || apps.iter().map(|app| &*app.config);
        let mut sinks = Sinks::new(release::groups(configs().map(|app| &app.start)));
        let outputs = Outputs::open(&server.access_log, configs(), &mut sinks)?;
        let app_sinks = app_log::open(configs(), &mut sinks);
        let files = Arc::new(LogFiles::start(sinks).map_err(|error| format!("log thread: {error}"))?);
        let meters = apps.iter().map(|app| app.ledger.meter.clone()).collect();
        let app = Arc::new(AppLog::new(configs(), app_sinks, files.clone()));
        Ok(Self { access: Arc::new(AccessLog::new(outputs, files.clone(), meters, strays)), app, files })
    }
}

/// What the pool must know of the machine.
pub fn limits(machine: &MachineConfig) -> Limits {
    // One slow boot shall not hold up every other.
    let processors = || std::thread::available_parallelism().map_or(2, |number| number.get().max(2));
    Limits { processes: machine.processes.map_or(usize::MAX, usize::from), spawning: machine.spawning.map_or_else(processors, usize::from) }
}

/// What the pool must know of an app.
pub fn settings(app: &AppConfig) -> Settings {
    Settings {
        processes: app.processes,
        concurrency: app.start.concurrency.unwrap_or(CONCURRENCY),
        queue_max: app.queue.max,
        queue_timeout: app.queue.timeout,
        ready_timeout: app.ready.timeout,
        probation: app.probation,
        drain_timeout: app.drain.timeout,
        drain_longest: app.drain.longest,
        stop_timeout: app.stop.timeout,
        on_failure: app.on_failure,
        surge: app.surge,
        leader: app.leader,
        bake: app.bake,
        lifespan: app.lifespan,
    }
}
