//! What happens on the disk to an app that serves, seen with the rights of its user, on a thread for each app, which sleeps otherwise: whether the
//! directory of the release that serves is still there, and the same; a touched restart file, a root that leads elsewhere (`watch`). One that
//! does not come back from a disk that is gone is missed by its own app alone.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::watch::{Change, Due, Watch};
use crate::about;
use crate::config::AppConfig;
use crate::credentials::Credentials;
use crate::ids::{Generation, GroupId};
use crate::pool::{Aim, Lost, Trigger};
use crate::printable::clean;
use crate::seccomp;
use crate::table::{Shared, State};

/// Device and inode: a directory, whatever its name.
pub type Identity = (u64, u64);

/// Starts the thread of an app. It ends with rota.
pub fn start(shared: &Arc<Shared>, group: GroupId) -> io::Result<()> {
    let (shared, ledger) = (shared.clone(), shared.ledger(group));
    if !ledger.has_lookout.begin() {
        return Ok(());
    }
    let app = shared.app(group);
    let own = ledger.clone();
    let started = super::thread_apart(format!("{}: look", app.name), move || {
        let _running = own.has_lookout.hold(&shared);
        let Some(user) = super::user_of(&shared, group, &app) else { return };
        let assumed = user.map_or(Ok(()), |user| Credentials::of(&user).assume());
        match assumed {
            Ok(()) => {
                seccomp::restrict();
                Lookout { watch: None, pending: None, shared: shared.clone(), group, app }.run();
            }
            Err(error) => {
                log::error!("{}: its restart file and its release are not watched: {error}", app.name);
                std::thread::sleep(UNKNOWN);
            }
        }
    });
    started.inspect_err(|_| ledger.has_lookout.take_back())
}

/// None: there is none, or it may not be seen.
pub fn identity(directory: &Path) -> Option<Identity> {
    fs::symlink_metadata(directory).ok().map(|found| (found.dev(), found.ino()))
}

struct Lookout {
    shared: Arc<Shared>,
    group: GroupId,
    /// As it was when the thread looked last.
    app: Arc<AppConfig>,
    /// None: nothing of the app is watched, or not yet.
    watch: Option<Watch>,
    /// What has changed and waits, as the last restarts have failed.
    pending: Option<Due>,
}

/// A release that serves.
struct Served {
    generation: Generation,
    root: PathBuf,
    identity: Identity,
}

impl Lookout {
    fn run(mut self) {
        let _works = about::works_for(&self.shared.ledger(self.group).about);
        let mut look_at = Instant::now();
        self.begin(look_at);
        self.watch = Watch::new(&self.app);
        loop {
            let now = Instant::now();
            if !self.begin(now) || !self.keeps_up() {
                return;
            }
            if now >= look_at {
                self.look();
                self.watch.iter_mut().for_each(|watch| watch.glance(now));
                look_at = now + EVERY;
            }
            if let Some(due) = self.watch.as_mut().and_then(|watch| watch.turn(now)) {
                self.pending = Some(due);
            }
            let mut state = self.shared.table.lock();
            state.looking.remove(&self.group);
            let waits = state.pool.group(self.group).restart_by_file_waits().filter(|at| *at > now);
            drop(state);
            if let Some(due) = self.pending.take_if(|due| waits.is_none() || matches!(due.change, Change::Root { .. })) {
                self.ask(due, now);
            }
            let watched = self.watch.as_ref().and_then(Watch::next_deadline);
            let until = [watched, waits.filter(|_| self.pending.is_some())].into_iter().flatten().fold(look_at, Instant::min);
            self.sleep(until);
        }
    }

    /// The configuration may be another one. False: this thread is not the one for the app any more.
    fn keeps_up(&mut self) -> bool {
        let app = self.shared.app(self.group);
        if !super::is_for(&self.shared, self.group, &self.app) {
            return false;
        }
        let watched = |app: &AppConfig| (app.restart_file.clone(), app.watch, app.start.root.clone());
        if watched(&app) != watched(&self.app) {
            self.watch = Watch::new(&app);
        }
        self.app = app;
        true
    }

    /// What follows asks the disk, which may not answer: from then on others know that. False: nobody needs to look any more.
    fn begin(&self, now: Instant) -> bool {
        let mut state = self.shared.table.lock();
        state.looking.insert(self.group, now);
        !state.finished
    }

    /// Until then, or until something happens.
    fn sleep(&self, until: Instant) {
        let time = until.saturating_duration_since(Instant::now());
        let Some(fd) = self.watch.as_ref().and_then(Watch::fd) else { return std::thread::sleep(time) };
        let time = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: i64::from(time.subsec_nanos()) };
        let polled = rustix::event::poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time));
        if polled != Ok(0) {
            // What goes on and on is heard so often and no oftener.
            std::thread::sleep(BREATH);
        }
    }

    /// Starts the restart that the disk asks for.
    fn ask(&self, Due { change, at }: Due, now: Instant) {
        // A stopping server watches nothing.
        if self.shared.stopping.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.shared.table.lock();
        let is_there = match &change {
            Change::File { .. } => false,
            Change::Root { leads_to, .. } => state
                .newest_release(self.group)
                .is_some_and(|release| release.root == *leads_to || release.named.as_ref() == Some(leads_to)),
        };
        let trigger = match &change {
            Change::File { .. } => Trigger::File,
            Change::Root { .. } => Trigger::Watch,
        };
        let group = state.pool.group_mut(self.group);
        // The script that changed it may have asked for the restart itself.
        let generation = (!is_there && !group.was_asked_after(at)).then(|| group.restart(trigger, Aim::Root, now));
        drop(state);
        let app = &self.shared.app(self.group).name;
        let change = clean(change.to_string().as_bytes());
        match generation {
            Some(generation) => log::info!("{app}: {change}: rolling restart to {generation}"),
            None => log::info!("{app}: {change}; the last restart brought that in"),
        }
        self.shared.table.notify();
    }

    /// Whether the release that serves is there.
    fn look(&self) {
        self.tell_mended();
        let served = served(&self.shared.table.lock(), self.group);
        let Some(Served { generation, root, identity }) = served else { return };
        let Ok(lost) = seen(&root, identity) else { return };
        let mut state = self.shared.table.lock();
        let of = state.pool.group_mut(self.group);
        if !of.saw_directory(generation, lost) {
            return;
        }
        let said = of.say_loss(&root.display().to_string());
        drop(state);
        self.shared.table.notify();
        self.shared.tell_master();
        let (app, root) = (&self.shared.app(self.group).name, root.display());
        match said.filter(|_| lost.is_some()) {
            Some(said) => log::error!("{app}: {said}"),
            None => log::info!("{app}: the directory {root} of {generation} is there again"),
        }
    }

    /// A start from a directory in which one had failed has gone well.
    fn tell_mended(&self) {
        let mended = self.shared.table.lock().pool.group_mut(self.group).take_mended();
        if let Some(failed) = mended {
            let app = &self.shared.app(self.group).name;
            log::info!(
                "{app}: a process that was started from the directory of {failed} since it failed works: nothing is kept for that any more"
            );
        }
    }
}

fn served(state: &State, group: GroupId) -> Option<Served> {
    let generation = state.pool.group(group).good()?;
    let release = state.releases.get(&(group, generation))?;
    Some(Served { generation, root: release.root.clone(), identity: release.identity? })
}

/// Err: it cannot be seen now.
fn seen(root: &Path, identity: Identity) -> io::Result<Option<Lost>> {
    match fs::symlink_metadata(root) {
        Ok(found) if (found.dev(), found.ino()) == identity => Ok(None),
        Ok(_) => Ok(Some(Lost::Replaced)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Some(Lost::Gone)),
        Err(error) => Err(error),
    }
}

const EVERY: Duration = Duration::from_secs(2);
/// Between two looks for a user that there is not.
pub const UNKNOWN: Duration = Duration::from_secs(10);
const BREATH: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_known_by_what_it_is_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("1");
        fs::create_dir(&root).unwrap();
        let known = identity(&root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), None);
        fs::rename(&root, dir.path().join("away")).unwrap();
        assert_eq!(seen(&root, known).unwrap(), Some(Lost::Gone));
        fs::create_dir(&root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), Some(Lost::Replaced));
        fs::remove_dir(&root).unwrap();
        fs::rename(dir.path().join("away"), &root).unwrap();
        assert_eq!(seen(&root, known).unwrap(), None);
        assert_eq!(seen(&root.join("file/below"), known).unwrap(), Some(Lost::Gone));
    }
}
