//! The configuration is read again (`rota reload`, SIGHUP): what it would change, and the catalog that it makes. Nothing is changed here.
//!
//! On a thread of its own, which the restart thread starts with root's rights: a disk that does not answer holds up nobody but who asked.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::catalog::Catalog;
use crate::config::{self, Config, Plan, ServerConfig, Sources};
use crate::control::server::Ticket;
use crate::credentials::{self, Rights};
use crate::last_word;
use crate::operators::Operators;
use crate::restart::release;
use crate::table::{Shared, ToMaster};

/// What the files say, when they can be used.
#[derive(Debug)]
pub struct Files {
    pub config: Config,
    /// What is odd about them, line by line.
    pub warnings: Vec<String>,
    pub sources: Sources,
}

/// Reads and judges the files that a path leads to, as a server does when it starts. Err: every mistake, a line or more each.
pub type Read = fn(&Path) -> Result<Files, String>;

/// Somebody wants the files to be read.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub ticket: Ticket,
    /// Only to say what would be done.
    pub dry_run: bool,
}

/// Files that can be used, and what they change.
#[derive(Debug)]
pub struct Reading {
    pub plan: Plan,
    /// [`config::stamp`] of the files. None: somebody only asks.
    pub stamp: Option<u64>,
    /// What is odd about them.
    pub warnings: Vec<String>,
    /// With the groups of the apps' users. None: nothing is to be done.
    pub catalog: Option<(Catalog, Vec<u32>)>,
}

/// Reads the files, and tells the master.
pub fn start(shared: Arc<Shared>, asked: Asked) -> io::Result<()> {
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
    let work = move || {
        Rights::Reload.keep_or_warn();
        let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(&shared, asked.dry_run)));
        let read = read.unwrap_or_else(|panic| Err(format!("reading the configuration panicked: {}", crate::logging::panic_text(&*panic))));
        tell(&shared, asked, read);
    };
    thread.spawn(work).map(drop)
}

/// The files could not even be looked at.
pub fn give_up(shared: &Shared, asked: Asked, why: String) {
    tell(shared, asked, Err(why));
}

fn tell(shared: &Shared, asked: Asked, read: Result<Reading, String>) {
    // A master that is gone takes the server with it.
    if let Ok(wake) = shared.master.send(ToMaster::Read(asked.ticket, read.map(Box::new))) {
        wake.wake();
    }
}

/// Err: every mistake, a line or more each.
fn read(shared: &Shared, dry_run: bool) -> Result<Reading, String> {
    last_word::fault(THREAD);
    let path: &Path = &shared.config_path;
    // Before they are read: what changes meanwhile is not read.
    let stamp = (!dry_run).then(|| config::stamp(path).unwrap_or(0));
    let Files { mut config, warnings, sources } = (shared.read_config)(path)?;
    let catalog = shared.catalog();
    let mut plan = Plan::between(&catalog.server, catalog.apps().map(|(_, app)| &**app), &config);
    let mut again: Vec<_> = shared.table.lock().not_reloaded().into_iter().map(|group| catalog.app(group).name.clone()).collect();
    again.retain(|name| config.apps.iter().any(|app| app.name == *name));
    again.sort();
    plan.try_again(again);
    let mut warnings = warnings;
    warnings.extend(moves_control(&catalog.server, &config.server));
    // A user whom there was not may be there now.
    let is_same = || catalog.broken.is_empty() && Operators::look_up(config.apps.iter()) == catalog.operators;
    if dry_run || plan.is_empty() && is_same() {
        return Ok(Reading { plan, stamp, warnings, catalog: None });
    }
    keep_what_stays(&mut config, &catalog.server);
    let next = catalog.next(config, sources)?;
    let (users, groups) = next.users();
    let of_apps = release::credentials(next.apps().map(|(_, app)| &app.start));
    if let Some(taken) = of_apps.iter().find(|user| credentials::is_own(user.uid())) {
        return Err(format!("the user {} is rota's own: its threads would be the app's, too; restart rota for that", taken.name()));
    }
    shared.spool.place().admit(&users, groups.clone());
    Ok(Reading { plan, stamp, warnings, catalog: Some((next, groups)) })
}

/// Commands read the files, too.
fn moves_control(old: &ServerConfig, new: &ServerConfig) -> Option<String> {
    let (before, after) = (old.control.display(), new.control.display());
    (old.control != new.control).then(|| {
        format!("control: commands look for rota at {after} from now on, and it is at {before} until it is started anew: --socket {before}")
    })
}

/// What takes effect at a start of rota stays as it is until then.
fn keep_what_stays(config: &mut Config, old: &ServerConfig) {
    let ServerConfig { control, control_group, run_dir, state_dir, spool_dir, .. } = old.clone();
    config.server = ServerConfig { control, control_group, run_dir, state_dir, spool_dir, ..config.server.clone() };
}

const THREAD: &str = "rota-reload";
/// What reads a user's name may ask much of it (NSS).
const STACK: usize = 1024 * 1024;
