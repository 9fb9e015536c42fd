//! Restarts that the disk asks for: a touched restart file, and with `watch` a `root` that leads elsewhere. On the master's thread.
//!
//! inotify(7) watches directories, because files and symlinks are replaced by rename(2). Its events are only hints that it is time to look
//! ([`seen`]), so that none is missed that matters: a full queue (IN_Q_OVERFLOW) means to look at everything. What is watched follows from
//! the ways ([`way`]) to root and file, and is armed anew with every hint, since the hint may be that a way goes elsewhere now.

mod seen;
mod way;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::Master;
use crate::config::AppConfig;
use crate::ids::{AppName, GroupId};
use crate::pool::{Aim, Trigger};
use seen::{Change, Pending, Seen, Sight, Subject};
use way::Spot;

/// The watches of all apps.
#[derive(Debug)]
pub struct Watch {
    /// None: no app wants anything watched, or it cannot be.
    inotify: Option<OwnedFd>,
    /// Events may be waiting (edge-triggered).
    ready: bool,
    apps: Vec<Watched>,
    /// By watch descriptor. The kernel does not give a removed one out again before all numbers are used up (idr_alloc_cyclic), so that
    /// a late event of it finds nothing here.
    armed: HashMap<i32, Vec<Stake>>,
}

/// One app.
#[derive(Debug)]
struct Watched {
    group: GroupId,
    name: AppName,
    subject: Subject,
    seen: Seen,
    pending: Option<Pending>,
    /// It was said that something of it cannot be watched.
    told: bool,
}

/// What one app has to do with a directory.
#[derive(Debug, PartialEq, Eq)]
struct Stake {
    /// Index of the app.
    app: usize,
    /// The entry that matters; None: the directory itself.
    name: Option<OsString>,
}

/// A restart that the disk asks for.
#[derive(Debug)]
pub struct Due {
    group: GroupId,
    app: AppName,
    change: Change,
    /// When it happened last.
    at: Instant,
}

impl Watch {
    /// Arms the watches of these apps. What cannot be watched is warned about, and the server goes on without.
    pub fn new<'a>(registry: &Registry, token: Token, apps: impl Iterator<Item = (GroupId, &'a AppConfig)>) -> Self {
        let watched = apps.filter_map(|(group, app)| {
            let subject = Subject::of(app)?;
            Some(Watched { group, name: app.name.clone(), subject, seen: Seen::nothing(), pending: None, told: false })
        });
        let mut watch = Self { inotify: None, ready: false, apps: watched.collect(), armed: HashMap::new() };
        if watch.apps.is_empty() {
            return watch;
        }
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(|inotify| {
            registry.register(&mut SourceFd(&inotify.as_raw_fd()), token, Interest::READABLE)?;
            Ok(inotify)
        });
        match opened {
            Ok(inotify) => watch.inotify = Some(inotify),
            Err(error) => {
                let apps: Vec<&str> = watch.apps.iter().map(|app| app.name.as_str()).collect();
                log::warn!("restart_file and watch of {} do nothing: inotify_init1: {}", apps.join(", "), reason(&error));
                return watch;
            }
        }
        for app in 0..watch.apps.len() {
            // What is there from the start asks for nothing.
            watch.look(app);
        }
        watch
    }

    /// There is something to read.
    pub fn wake(&mut self) {
        self.ready = self.inotify.is_some();
    }

    /// Whether there still is after [`Self::read`].
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.apps.iter().filter_map(|app| Some(app.pending?.deadline())).min()
    }

    /// Watches nothing any more: the server is stopping.
    pub fn close(&mut self, registry: &Registry) {
        if let Some(inotify) = self.inotify.take() {
            // Closing it takes it out of the poll as well.
            let _ = registry.deregister(&mut SourceFd(&inotify.as_raw_fd()));
        }
        self.ready = false;
        self.apps.clear();
        self.armed.clear();
    }

    /// Takes events, arms the watches of their apps anew, and gives the restarts that are due.
    pub fn turn(&mut self, now: Instant) -> Vec<Due> {
        for app in self.read() {
            Pending::note(&mut self.apps[app].pending, now);
            // At once: what happens where the way leads now puts the look off, too.
            self.arm(app);
        }
        let mut due = Vec::new();
        for app in 0..self.apps.len() {
            let Some(pending) = self.apps[app].pending.take_if(|pending| pending.deadline() <= now) else { continue };
            if let Some(change) = self.look(app) {
                let app = &self.apps[app];
                due.push(Due { group: app.group, app: app.name.clone(), change, at: pending.last() });
            }
        }
        due
    }

    /// The apps that something happened to, each once.
    fn read(&mut self) -> Vec<usize> {
        let Some(inotify) = self.inotify.as_ref().filter(|_| self.ready) else { return Vec::new() };
        let mut touched = vec![false; self.apps.len()];
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut events = 0;
        // The rest of a buffer would be lost: it is read to its end.
        while events < EVENTS || !reader.is_buffer_empty() {
            events += 1;
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(error) => {
                    self.ready = false;
                    if error != Errno::AGAIN {
                        log::warn!("inotify: read: {error}");
                    }
                    break;
                }
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                touched.fill(true);
                continue;
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let Some(stakes) = self.armed.get(&event.wd()) else { continue };
            let concerned = stakes.iter().filter(|stake| match name {
                Some(name) => stake.name.as_deref() == Some(name),
                None => event.events().intersects(MOVED_OR_GONE),
            });
            for stake in concerned {
                touched[stake.app] = true;
            }
            if event.events().contains(ReadFlags::IGNORED) {
                self.armed.remove(&event.wd());
            }
        }
        (0..touched.len()).filter(|&app| touched[app]).collect()
    }

    /// Arms the watches of an app and compares what is there with what was.
    fn look(&mut self, app: usize) -> Option<Change> {
        let sight = self.arm(app)?;
        let Watched { subject, seen, .. } = &mut self.apps[app];
        seen.compare(subject, sight)
    }

    /// Watches what matters to an app now, and nothing else; gives what is there. A directory is watched before what is in it is read, so
    /// that what changes after the look gives an event.
    fn arm(&mut self, app: usize) -> Option<Sight> {
        let inotify = self.inotify.as_ref()?;
        let before = take_stakes(&mut self.armed, app);
        let mut trouble = None;
        let mut sight = None;
        for _ in 0..TRIES {
            let mut vanished = false;
            let mut mark = |spot: Spot<'_>| {
                let (dir, name, flags) = match spot {
                    Spot::Passed(dir) => (dir, None, SELF),
                    Spot::Named(dir, name) => (dir, Some(name), SELF | ENTRIES),
                    Spot::Last(dir, name) => (dir, Some(name), SELF | ENTRIES | TOUCHES),
                };
                match inotify::add_watch(inotify, dir, flags) {
                    Ok(descriptor) => {
                        let stakes = self.armed.entry(descriptor).or_default();
                        let stake = Stake { app, name: name.map(OsStr::to_owned) };
                        if !stakes.contains(&stake) {
                            stakes.push(stake);
                        }
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => vanished = true,
                    // To look through a directory takes less than to read it, and such a one is seldom moved itself.
                    Err(Errno::ACCESS) if name.is_none() => {}
                    // Look all the same: another directory of the way may be watched, and its event leads here.
                    Err(error) => trouble = Some((dir.to_owned(), io::Error::from(error))),
                }
            };
            sight = Some(self.apps[app].subject.look(&mut mark));
            if !vanished {
                break;
            }
        }
        for descriptor in before {
            if self.armed.get(&descriptor).is_none_or(Vec::is_empty) {
                self.armed.remove(&descriptor);
                // It fails for one that the kernel has removed with its directory.
                let _ = inotify::remove_watch(inotify, descriptor);
            }
        }
        self.tell(app, trouble);
        sight
    }

    /// Warns of what cannot be watched, once until it can be.
    fn tell(&mut self, app: usize, trouble: Option<(PathBuf, io::Error)>) {
        let app = &mut self.apps[app];
        if let Some((dir, error)) = &trouble
            && !app.told
        {
            log::warn!("{}: a change in {} may start no restart: inotify_add_watch: {}", app.name, dir.display(), reason(error));
        }
        app.told = trouble.is_some();
    }
}

impl Master {
    /// Starts the restarts that the disk asks for.
    pub(super) fn take_changes(&mut self) {
        let changes = self.watch.turn(self.desk.now);
        // A stopping server watches nothing; it may have been told so in this very turn.
        if self.operations.stop_asked > 0 {
            return;
        }
        for Due { group, app, change, at } in changes {
            let mut state = self.shared.table.lock();
            let is_there = match &change {
                Change::File { .. } => false,
                Change::Root { leads_to, .. } => {
                    state.newest_release(group).is_some_and(|release| release.root == *leads_to || release.named.as_ref() == Some(leads_to))
                }
            };
            let trigger = match &change {
                Change::File { .. } => Trigger::File,
                Change::Root { .. } => Trigger::Watch,
            };
            let group = state.pool.group_mut(group);
            // The script that changed it may have asked for the restart itself.
            let generation = (!is_there && !group.was_asked_after(at)).then(|| group.restart(trigger, Aim::Root, self.desk.now));
            drop(state);
            match generation {
                Some(generation) => log::info!("{app}: {change}: rolling restart to {generation}"),
                None => log::info!("{app}: {change}; the last restart brought that in"),
            }
            self.shared.table.notify();
        }
    }
}

/// Forgets what an app has to do with any directory; gives the watches that it was part of.
fn take_stakes(armed: &mut HashMap<i32, Vec<Stake>>, app: usize) -> Vec<i32> {
    let mut taken = Vec::new();
    for (descriptor, stakes) in armed {
        let before = stakes.len();
        stakes.retain(|stake| stake.app != app);
        if stakes.len() < before {
            taken.push(*descriptor);
        }
    }
    taken
}

/// The error, with the limit that it comes from where it is one of inotify's (inotify(7), /proc interfaces).
fn reason(error: &io::Error) -> String {
    let limit = match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOSPC) => "max_user_watches",
        Some(Errno::MFILE) => "max_user_instances",
        Some(_) | None => return error.to_string(),
    };
    let path = Path::new("/proc/sys/fs/inotify").join(limit);
    match fs::read_to_string(&path) {
        Ok(number) => format!("{error}; fs.inotify.{limit} is {}", number.trim()),
        Err(_) => error.to_string(),
    }
}

/// A directory that is moved away or removed, whatever is in it. Never follows: the way has been followed.
const SELF: WatchFlags = WatchFlags::DELETE_SELF
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR)
    .union(WatchFlags::DONT_FOLLOW)
    .union(WatchFlags::MASK_ADD);
/// An entry that comes or goes.
const ENTRIES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// A file that touch(1) or a shell's redirection gives a new time.
const TOUCHES: WatchFlags = WatchFlags::ATTRIB.union(WatchFlags::CLOSE_WRITE);
/// What is said of the directory itself, and concerns everyone who watches it.
const MOVED_OR_GONE: ReadFlags = ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED).union(ReadFlags::UNMOUNT);
/// One read of events (bytes); one event takes at most 16 + NAME_MAX + 1.
const BUFFER: usize = 16 * 1024;
/// Events taken before the clients have their turn; a buffer more at most.
const EVENTS: usize = 1024;
/// Walks along a way that changes meanwhile. After that the events of its beginning lead here again.
const TRIES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, SourceFile};
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    /// Apps a and b, each with releases 1 and 2 and a `current` in one directory.
    struct Stage {
        dir: tempfile::TempDir,
        poll: mio::Poll,
        watch: Watch,
        start: Instant,
    }

    impl Stage {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut text = String::new();
            for app in ["a", "b"] {
                for release in ["1", "2"] {
                    fs::create_dir_all(dir.path().join(app).join(release).join("tmp")).unwrap();
                }
                symlink(format!("{app}/1"), dir.path().join(format!("{app}-current"))).unwrap();
                let root = dir.path().join(format!("{app}-current"));
                let keys = "restart_file = \"tmp/restart.txt\"\nwatch = true\n";
                text += &format!("[app.{app}]\ncommand = \"x\"\nroot = {root:?}\nhosts = {app:?}\n{keys}");
            }
            let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap();
            let poll = mio::Poll::new().unwrap();
            let watch = Watch::new(poll.registry(), Token(0), (0..).map(GroupId).zip(&loaded.config.apps));
            Self { dir, poll, watch, start: Instant::now() }
        }

        fn flip(&self, app: &str, release: &str) {
            symlink(format!("{app}/{release}"), self.dir.path().join("next")).unwrap();
            fs::rename(self.dir.path().join("next"), self.dir.path().join(format!("{app}-current"))).unwrap();
        }

        /// What is due `ms` after the start, as "APP: TRIGGER".
        fn turn(&mut self, ms: u64) -> Vec<String> {
            self.watch.wake();
            let due = self.watch.turn(self.start + Duration::from_millis(ms));
            assert!(!self.watch.is_ready());
            let word = |due: &Due| match due.change {
                Change::File { .. } => format!("{}: file", due.app),
                Change::Root { .. } => format!("{}: root", due.app),
            };
            due.iter().map(word).collect()
        }

        /// The next deadline (ms after the start).
        fn deadline(&self) -> Option<u128> {
            self.watch.next_deadline().map(|at| at.duration_since(self.start).as_millis())
        }
    }

    #[test]
    fn a_switch_concerns_its_app_alone() {
        let mut stage = Stage::new();
        stage.flip("b", "2");
        assert_eq!(stage.turn(0), [""; 0]);
        assert_eq!(stage.deadline(), Some(200));
        assert_eq!(stage.turn(200), ["b: root"]);
        assert_eq!(stage.deadline(), None);
    }

    #[test]
    fn other_names_in_a_watched_directory_concern_nobody() {
        let mut stage = Stage::new();
        for name in ["other", "a/other", "a/1/restart.txt", "a/1/tmp/restart.txt.new", "a/2/tmp/restart.txt"] {
            fs::write(stage.dir.path().join(name), "").unwrap();
        }
        assert_eq!(stage.turn(0), [""; 0]);
        assert_eq!(stage.deadline(), None);
    }

    #[test]
    fn a_file_that_is_renamed_into_its_place_is_heard() {
        let mut stage = Stage::new();
        fs::write(stage.dir.path().join("new"), "").unwrap();
        fs::rename(stage.dir.path().join("new"), stage.dir.path().join("a/1/tmp/restart.txt")).unwrap();
        assert_eq!(stage.turn(0), [""; 0]);
        assert_eq!(stage.turn(200), ["a: file"]);
    }

    #[test]
    fn the_new_release_is_watched_as_soon_as_the_switch_is_heard() {
        let mut stage = Stage::new();
        stage.flip("a", "2");
        stage.turn(0);
        fs::write(stage.dir.path().join("a/2/tmp/restart.txt"), "").unwrap();
        assert_eq!(stage.turn(150), [""; 0]);
        assert_eq!(stage.deadline(), Some(350));
        assert_eq!(stage.turn(350), ["a: root"]);
        assert_eq!((stage.turn(1000), stage.deadline()), (Vec::new(), None));
    }

    #[test]
    fn switches_leave_no_watch_behind() {
        let mut stage = Stage::new();
        let armed = stage.watch.armed.len();
        for release in ["2", "1", "2", "1"] {
            stage.flip("a", release);
            stage.turn(0);
            fs::remove_dir_all(stage.dir.path().join("a/1/tmp")).unwrap();
            stage.turn(0);
            fs::create_dir(stage.dir.path().join("a/1/tmp")).unwrap();
            stage.turn(0);
        }
        assert_eq!(stage.watch.armed.len(), armed);
    }

    #[test]
    fn a_directory_above_that_is_moved_away_is_heard() {
        let mut stage = Stage::new();
        fs::rename(stage.dir.path().join("a/1/tmp"), stage.dir.path().join("a/1/away")).unwrap();
        stage.turn(0);
        assert_eq!(stage.deadline(), Some(200));
        assert_eq!(stage.turn(200), [""; 0]);
        fs::rename(stage.dir.path().join("a/1/away"), stage.dir.path().join("a/1/tmp")).unwrap();
        fs::write(stage.dir.path().join("a/1/tmp/restart.txt"), "").unwrap();
        stage.turn(300);
        assert_eq!(stage.turn(500), ["a: file"]);
    }

    #[test]
    fn a_full_queue_means_to_look_at_everything() {
        let mut stage = Stage::new();
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse::<usize>().unwrap();
        // Two events that differ, again and again: equal neighbours are one.
        for _ in 0..limit / 2 + 1 {
            fs::write(stage.dir.path().join("a/1/tmp/x"), "").unwrap();
            fs::write(stage.dir.path().join("a/1/tmp/y"), "").unwrap();
        }
        fs::write(stage.dir.path().join("b/1/tmp/restart.txt"), "").unwrap();
        stage.watch.wake();
        while stage.watch.is_ready() {
            assert!(stage.watch.turn(stage.start).is_empty());
        }
        assert_eq!(stage.turn(200), ["b: file"]);
    }

    #[test]
    fn a_closed_watch_hears_nothing() {
        let mut stage = Stage::new();
        let registry = stage.poll.registry().try_clone().unwrap();
        stage.flip("a", "2");
        stage.turn(0);
        stage.watch.close(&registry);
        assert_eq!((stage.turn(200), stage.deadline()), (Vec::new(), None));
    }
}
