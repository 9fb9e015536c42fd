//! `rota serve`: the server, in the foreground.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::catalog::{limits, settings};
use crate::config::{self, AppConfig, BrokenApp, Config, Glance, Loaded, ResourceLimit, Severity};
use crate::credentials::{self, Credentials};
use crate::descriptors::Descriptors;
use crate::lock_file::LockFile;
use crate::master::supervisor::Ready;
use crate::master::{Bound, Master, Porter};
use crate::pool::Pool;
use crate::printable::counted;
use crate::record_writer::RecordWriter;
use crate::reload::Files;
use crate::{last_word, restart, sys};

use super::Exit;
use super::check::{self, Privileges, right_findings, user_findings};

/// Serves until it is told to stop.
pub fn run(config: &Path, ready: Ready) -> Exit {
    let stamp = config::stamp(config);
    let mut loaded = match config::load_to_serve(config, &check::gate(config)) {
        Ok(loaded) => loaded,
        Err(report) => {
            eprintln!("{report}");
            return Exit::Bad;
        }
    };
    crate::logging::start(log::LevelFilter::Info);
    let level = if loaded.warnings.has_errors() { log::Level::Error } else { log::Level::Warn };
    loaded.warnings.to_string().lines().for_each(|line| log::log!(level, "{line}"));
    leave_out(&mut loaded.config, config);
    for app in &loaded.config.broken {
        log::error!("{} is not served, its requests are answered 503, and the other apps are served: {}", app.name, app.why);
    }
    // Whoever mends it starts rota again, or systemd does.
    if loaded.config.apps.is_empty() && !loaded.config.broken.is_empty() {
        log::error!("there is no app that could be served");
        return Exit::Bad;
    }
    ended(serve(loaded, config, stamp, ready))
}

/// How a server has ended.
pub fn ended(how: Result<(), String>) -> Exit {
    match how {
        Ok(()) => Exit::Done,
        Err(error) => {
            log::error!("{error}");
            Exit::Bad
        }
    }
}

/// As for a start; but what costs one app there costs the whole reload, which somebody is there to hear of.
pub fn read_again(path: &Path) -> Result<Files, String> {
    let Glance { config, report, sources, .. } = config::glance(path, &check::gate(path));
    if report.has_errors() {
        return Err(report.to_string().trim_end().to_owned());
    }
    let findings = user_findings(&config).into_iter().chain(right_findings(&config, &Privileges::own(), Severity::Error));
    let (wrong, odd): (Vec<_>, Vec<_>) = findings.partition(|finding| finding.severity == Severity::Error);
    if !wrong.is_empty() {
        return Err(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
    }
    let mut warnings: Vec<String> = report.to_string().lines().map(str::to_owned).collect();
    warnings.extend(odd.iter().map(ToString::to_string));
    warnings.extend(check::not_there_findings(&config).iter().map(ToString::to_string));
    Ok(Files { config, warnings, sources })
}

/// Takes out the apps that could never be started. What the machine may come to have, a user or a group, is looked for at each start.
fn leave_out(config: &mut Config, file: &Path) {
    for finding in user_findings(config) {
        log::error!("{finding}");
    }
    for finding in right_findings(config, &Privileges::own(), Severity::Error) {
        log::error!("{finding}");
        let refused = |app: &AppConfig| finding.severity == Severity::Error && finding.app.as_ref() == Some(&app.name);
        for AppConfig { name, routes, .. } in config.apps.extract_if(.., |app| refused(app)) {
            let (name, why) = (name.to_string(), finding.text.clone());
            config.broken.push(BrokenApp { name, file: file.to_owned(), why, routes });
        }
    }
}

/// Serves this configuration, which `path` has, until the server is told to stop.
/// `stamp`: of its files ([`config::stamp`]).
pub fn serve(loaded: Loaded, path: &Path, stamp: Option<u64>, ready: Ready) -> Result<(), String> {
    let config = &loaded.config;
    let nofile = sys::raise_nofile().map_err(|error| format!("RLIMIT_NOFILE: {error}"))?;
    if let Some(problem) = Descriptors::share_out(sys::hard_limit(ResourceLimit::Nofile), config).problem(config) {
        log::warn!("{problem}");
    }
    let (server, apps) = (config.server.clone(), config.apps.clone());
    let groups = restart::release::groups(apps.iter().map(|app| &app.start));
    let run = LockFile::take(&server.run_dir, &groups).map_err(|error| error.of("run_dir", &server.run_dir))?;
    let mut writer = RecordWriter::start(&server, &apps, groups).map_err(|error| format!("thread for records: {error}"))?;
    let records = writer.known(apps.len())?;
    find_own_user(&apps);
    let bound = Bound::bind(config, run)?;
    let (mut master, porter) = Master::new(loaded, path, read_again, bound, writer.bell())?;
    master.shared().config_stamp.store(stamp.unwrap_or(0), Ordering::Relaxed);
    let now = Instant::now();
    master.shared().table.lock().pool = Pool::with_limits(limits(&server.machine));
    for (app, known) in apps.iter().zip(records) {
        // When its root is another now, the releases of the old one mean nothing.
        let record = known.unwrap_or_default().of_root(&app.start.root);
        let mut state = master.shared().table.lock();
        let group = state.pool.add(app.name.clone(), settings(app), record.generation.next(), now);
        state.pool.group_mut(group).remember(record.answered.clone());
        state.records.push(Arc::new(record));
    }
    writer.serve(master.shared());
    let at = master.listens_on();
    let at = if at.is_empty() { "nothing yet".to_owned() } else { at.join(", ") };
    log::info!("rota {} pid {}: listens on {at}; {}", env!("CARGO_PKG_VERSION"), std::process::id(), counted(apps.len(), "app"));
    master.is_ready_when(ready);
    until_the_end(master, porter, writer, restart::Begin { nofile, taken_up: None })
}

/// Rota's own user is looked for, before any thread needs it.
pub fn find_own_user(apps: &[AppConfig]) {
    if let Err(why) = credentials::find_own(&own_users(apps)) {
        log::info!("{why}");
    }
}

/// Those that apps run as.
pub fn own_users(apps: &[AppConfig]) -> Vec<u32> {
    restart::release::credentials(apps.iter().map(|app| &app.start)).iter().map(Credentials::uid).collect()
}

/// Serves until the server is told to stop; the calling thread, which is the main one, is the restart thread.
pub fn until_the_end(master: Master, mut porter: Porter, writer: RecordWriter, begin: restart::Begin) -> Result<(), String> {
    let (shared, bell) = (master.shared().clone(), writer.bell());
    let thread = master.start().map_err(|error| format!("master thread: {error}"))?;
    let (own, (done, is_done)) = (shared.clone(), crossbeam_channel::bounded::<()>(0));
    let ends = last_word::start(last_word::HEARS, PORTER_STACK, move || {
        porter.run();
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        porter.end();
        own.catalog().finish_logs();
        drop(writer);
        log::info!("stopped");
        // The restart thread has ended, or was overtaken by a second signal to stop.
        own.table.lock().has_ended = true;
        own.table.notify();
        if is_done.recv_timeout(OVERTAKEN) == Err(crossbeam_channel::RecvTimeoutError::Timeout) {
            std::process::exit(Exit::Done as i32);
        }
        true
    });
    let ends = ends.map_err(|error| format!("thread for what is listened on: {error}"))?;
    restart::run(shared, begin.nofile, bell, begin.taken_up);
    drop(done);
    ends.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok(())
}

/// What reads a group's name may ask much of it (NSS).
const PORTER_STACK: usize = 1024 * 1024;
/// For a step of the restart thread that is under way when the server has ended.
const OVERTAKEN: Duration = Duration::from_secs(2);
