//! All that a walk begins with: which directory it goes to, how the app is started, its variables, the directories that its files are sent from.
//! One errand, with the rights of the app's user; the restart thread goes on with other apps meanwhile, and waits no longer than
//! [`PREPARED_IN`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Answer;
use super::folders::{self, Opened};
use super::pace::Pace;
use crate::config::AppConfig;
use crate::ids::GroupId;
use crate::pool::{Ask, Failure, FailureKind, Trigger};
use crate::records::Record;
use crate::restart::release::{self, Release};
use crate::table::Shared;

/// What an errand needs to know.
#[derive(Debug)]
pub struct Job {
    pub group: GroupId,
    pub ask: Ask,
    pub record: Arc<Record>,
    /// Releases whose public directories are to be opened besides.
    pub lending: Vec<PathBuf>,
    pub pace: Pace,
}

#[derive(Debug)]
pub struct Prepared {
    pub release: Release,
    pub opened: Opened,
}

/// Starts it; the answer is put into the table.
pub fn start(shared: &Arc<Shared>, job: Job) -> std::io::Result<()> {
    let shared = shared.clone();
    super::thread(format!("{}: prepare", shared.app(job.group).name), move || {
        let (group, generation) = (job.group, job.ask.generation);
        let app = shared.app(group);
        let prepared = super::caught(|| prepare(&shared, &app, &job)).unwrap_or_else(|panic| Err(panicked(&panic)));
        super::answer(&shared, Answer::Prepared(group, generation, prepared.map(Box::new)));
    })
}

fn prepare(shared: &Shared, app: &AppConfig, job: &Job) -> Result<Prepared, Failure> {
    let first = job.ask.trigger == Trigger::Boot;
    let choose = |named: &std::path::Path| job.record.directory(&job.ask.aim, first, named, |release| release.is_dir());
    let others = if app.start.env_files.is_empty() { Vec::new() } else { others(shared, app, job) };
    let resolved = super::apart(|| release::resolve(&app.start, &job.pace, &others, choose));
    let release = resolved.map_err(|panic| panicked(&panic))??;
    let mut roots = job.lending.clone();
    if !roots.contains(&release.root) {
        roots.push(release.root.clone());
    }
    let opened = folders::open(app, release.user.as_ref(), &roots, Some(&release.root), &job.pace);
    Ok(Prepared { release, opened })
}

fn panicked(panic: &str) -> Failure {
    Failure { kind: FailureKind::Release(format!("its preparation panicked: {panic}")), output: Vec::new() }
}

/// Groups whose members must not write to its variables.
fn others(shared: &Shared, app: &AppConfig, job: &Job) -> Vec<u32> {
    job.pace.begin("looking up the users of all apps".to_owned());
    let user = release::user(&app.start).ok().flatten();
    let catalog = shared.catalog();
    release::groups_of_others(catalog.apps().map(|(_, app)| &app.start), user.as_ref())
}

/// Opens the public directories of releases that lend files now and did not before.
pub fn open(shared: &Arc<Shared>, group: GroupId, user: Option<release::Identity>, roots: Vec<PathBuf>) -> std::io::Result<()> {
    let shared = shared.clone();
    super::thread(format!("{}: open", shared.app(group).name), move || {
        let app = shared.app(group);
        let opened = super::caught(|| folders::open(&app, user.as_ref(), &roots, None, &Pace::new(PREPARED_IN)));
        // One that cannot be opened has none.
        let none = |_| Opened { public: roots.iter().map(|root| (root.clone(), None)).collect(), sendfile: None };
        super::answer(&shared, Answer::Opened(group, opened.unwrap_or_else(none)));
    })
}

/// A sound preparation takes milliseconds; a disk that has to wake up some seconds.
pub const PREPARED_IN: Duration = Duration::from_secs(20);
