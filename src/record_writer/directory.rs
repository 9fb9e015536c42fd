//! The state directory as it is now, and what was read of it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::errands::{self, Answer};
use crate::ids::{AppName, GroupId};
use crate::lock_file::{LockFile, NoLock};
use crate::records::Record;
use crate::records::disk::{NotLoaded, Store};
use crate::table::Shared;

#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    store: Store,
    /// Of the apps' users.
    groups: Vec<u32>,
    /// None: it cannot be had.
    lock: Option<LockFile>,
    /// Of those that are not in it nothing is known.
    seen: HashMap<GroupId, Seen>,
}

/// What is known of the file of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It was told what is in it, which is to be written down with the rest.
    Told,
    /// What is in it, or that there was none, was known before anything was written.
    Read,
}

/// Why a record was not written.
#[derive(Debug)]
pub(super) enum NotDone {
    Because(String),
    /// There is one, which was not read before.
    Found(Box<Record>),
    /// What was found is not in it yet.
    NotJoined,
}

impl Directory {
    pub fn new(path: PathBuf, groups: Vec<u32>) -> Self {
        Self { store: Store::of(&path), path, groups, lock: None, seen: HashMap::new() }
    }

    /// What is known of each app when the server starts. Err: another one has the directory.
    pub fn first(&mut self, apps: &[AppName]) -> super::First {
        match LockFile::take(&self.path, &self.groups) {
            Ok(lock) => self.lock = Some(lock),
            Err(held @ NoLock::Held(_)) => return Err(held.of("state_dir", &self.path)),
            Err(error) => {
                log::error!("{}; a restart of rota will not know which release served; {LATER}", error.of("state_dir", &self.path));
                return Ok(vec![None; apps.len()]);
            }
        }
        let until = Instant::now() + PATIENCE;
        Ok((0..).zip(apps).map(|(index, app)| self.first_of(GroupId(index), app, until)).collect())
    }

    fn first_of(&mut self, group: GroupId, app: &AppName, until: Instant) -> Option<Record> {
        let mut loaded = self.store.load(app);
        // What the disk refuses for a moment is not worth a start from another release.
        while matches!(loaded, Err(NotLoaded::Unread(_))) && Instant::now() < until {
            std::thread::sleep(PAUSE);
            loaded = self.store.load(app);
        }
        let known = match loaded {
            Ok(known) => known,
            Err(NotLoaded::Aside(why)) => {
                log::error!("server.state_dir {why}; {app} starts from its root");
                None
            }
            Err(NotLoaded::Unread(why)) => {
                log::error!("server.state_dir {why}; {app} starts from its root, and nothing is written over that; {LATER}");
                return None;
            }
        };
        self.seen.insert(group, Seen::Read);
        known
    }

    /// It is not the one that was locked.
    pub fn is_away(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| !lock.is_there())
    }

    /// Writes an app's record. `is_joined`: what was told of it is in it.
    pub fn save(&mut self, group: GroupId, app: &AppName, record: &Record, is_joined: bool) -> Result<(), NotDone> {
        self.take().map_err(|error| NotDone::Because(error.of("state_dir", &self.path)))?;
        match self.seen.get(&group) {
            Some(Seen::Read) => {}
            Some(Seen::Told) if is_joined => {}
            Some(Seen::Told) => return Err(NotDone::NotJoined),
            None => match self.store.load(app) {
                Ok(Some(before)) if before != *record => return Err(NotDone::Found(Box::new(before))),
                Ok(_) => {}
                Err(NotLoaded::Aside(why)) => log::error!("server.state_dir {why}"),
                Err(NotLoaded::Unread(why)) => return Err(NotDone::Because(format!("{why}; what was not read is not written over"))),
            },
        }
        self.seen.insert(group, Seen::Read);
        self.store.save(app, record).map_err(NotDone::Because)
    }

    /// Tells what was found out of an app late.
    pub fn tell(&mut self, shared: &Shared, group: GroupId, before: Record) {
        self.seen.insert(group, Seen::Told);
        errands::answer(shared, Answer::Found(group, Box::new(before)));
    }

    /// Nothing is known of what lies in a directory that is another one now.
    fn take(&mut self) -> Result<(), NoLock> {
        match &mut self.lock {
            Some(lock) if lock.is_there() => return Ok(()),
            Some(lock) => {
                let is_another = lock.renew(&self.groups)?;
                // What lies in the old one is what this server has put there.
                if !is_another {
                    return Ok(());
                }
            }
            None => self.lock = Some(LockFile::try_take(&self.path, &self.groups)?),
        }
        self.seen.clear();
        Ok(())
    }
}

pub(super) const LATER: &str = "tried again every 10s, and what lies there is kept";
/// At the start, for all apps together.
const PATIENCE: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(100);
