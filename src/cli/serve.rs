//! `rota serve`: the server, in the foreground.

use std::path::Path;
use std::time::Instant;

use crate::config::{self, AppConfig, Config, Severity};
use crate::master::Master;
use crate::pool::Settings;
use crate::{restart, sys};

use super::Exit;
use super::check::user_findings;

/// Serves until it is told to stop.
pub fn run(config: &Path) -> Exit {
    let loaded = match config::load(config) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return Exit::Bad;
        }
    };
    crate::logging::start(log::LevelFilter::Info);
    if !loaded.warnings.is_empty() {
        log::warn!("{}", loaded.warnings);
    }
    let refused = user_findings(&loaded.config, rustix::process::geteuid().is_root());
    for finding in &refused {
        log::error!("{finding}");
    }
    if refused.iter().any(|finding| finding.severity == Severity::Error) {
        return Exit::Bad;
    }
    match serve(loaded.config) {
        Ok(()) => Exit::Done,
        Err(error) => {
            log::error!("{error}");
            Exit::Bad
        }
    }
}

/// Serves this configuration until the server is told to stop.
pub fn serve(config: Config) -> Result<(), String> {
    let nofile = sys::raise_nofile().map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
    let (listen, apps) = (config.server.listen.clone(), config.apps.len());
    let settings: Vec<_> = config.apps.iter().map(|app| (app.name.clone(), settings(app))).collect();
    let master = Master::new(config)?;
    let now = Instant::now();
    for (name, settings) in settings {
        master.shared().table.lock().pool.add(name, settings, now);
    }
    let restart = restart::start(master.shared().clone(), nofile).map_err(|error| format!("restart thread: {error}"))?;
    let at: Vec<String> = listen.iter().map(ToString::to_string).collect();
    log::info!("rota {} pid {}: listens on {}; {apps} apps", env!("CARGO_PKG_VERSION"), std::process::id(), at.join(", "));
    master.run();
    // It has ended, or was overtaken by a second signal to stop.
    drop(restart);
    log::info!("stopped");
    Ok(())
}

/// What the pool must know of an app.
fn settings(app: &AppConfig) -> Settings {
    Settings {
        processes: app.processes,
        concurrency: app.concurrency,
        queue_max: app.queue.max,
        queue_timeout: app.queue.timeout,
        ready_timeout: app.ready.timeout,
        probation: app.probation,
        drain_timeout: app.drain.timeout,
        stop_timeout: app.stop.timeout,
        on_failure: app.on_failure,
    }
}
