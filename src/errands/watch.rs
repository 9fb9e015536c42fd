//! Restarts that the disk asks for: a touched restart file, and with `watch` a `root` that leads elsewhere. On the app's lookout.
//!
//! inotify(7) watches directories, because files and symlinks are replaced by rename(2). Its events are only hints that it is time to look
//! (`seen`), so that none is missed that matters: a full queue (IN_Q_OVERFLOW) means to look. What is watched follows from
//! the ways ([`way`]) to root and file, and is armed anew with every hint, since the hint may be that a way goes elsewhere now.

mod seen;
pub mod way;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::config::AppConfig;
use crate::ids::AppName;
use crate::printable::clean;
pub use seen::Change;
use seen::{Pending, Seen, Sight, Subject};
use way::Spot;

/// The watches of one app.
#[derive(Debug)]
pub struct Watch {
    name: AppName,
    /// None: nothing can be watched.
    inotify: Option<OwnedFd>,
    subject: Subject,
    seen: Seen,
    pending: Option<Pending>,
    /// It was said that something of it cannot be watched.
    told: bool,
    /// A directory may be passed through and not listed: it is looked at now and then instead.
    is_blind: bool,
    /// By watch descriptor, the entries that matter; None: the directory itself. The kernel does not give a removed one out again before all
    /// numbers are used up (idr_alloc_cyclic), so that a late event of it finds nothing here.
    armed: HashMap<i32, Vec<Option<OsString>>>,
}

/// A restart that the disk asks for.
#[derive(Debug)]
pub struct Due {
    pub change: Change,
    /// When it happened last.
    pub at: Instant,
}

impl Watch {
    /// None: nothing of this app is watched. What cannot be is warned about, and looked at now and then.
    pub fn new(app: &AppConfig) -> Option<Self> {
        let subject = Subject::of(app)?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from);
        let inotify = inotify.inspect_err(|error| {
            log::warn!("{}: restart_file and watch are looked at now and then: inotify_init1: {}", app.name, reason(error));
        });
        let (inotify, name) = (inotify.ok(), app.name.clone());
        let is_blind = inotify.is_none();
        let mut watch = Self { name, inotify, subject, seen: Seen::nothing(), pending: None, told: false, is_blind, armed: HashMap::new() };
        // What is there from the start asks for nothing.
        watch.look();
        Some(watch)
    }

    /// Readable when something happens.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(|inotify| inotify.as_fd())
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.pending.map(|pending| pending.deadline())
    }

    /// Something may have happened that nothing tells of.
    pub fn glance(&mut self, now: Instant) {
        if self.is_blind && self.pending.is_none() {
            Pending::note(&mut self.pending, now);
        }
    }

    /// Takes events, arms the watches anew, and gives the restart that is due.
    pub fn turn(&mut self, now: Instant) -> Option<Due> {
        if self.read() {
            Pending::note(&mut self.pending, now);
            // At once: what happens where the way leads now puts the look off, too.
            self.arm();
        }
        let pending = self.pending.take_if(|pending| pending.deadline() <= now)?;
        self.look().map(|change| Due { change, at: pending.last() })
    }

    /// Something happened.
    fn read(&mut self) -> bool {
        let Some(inotify) = &self.inotify else { return false };
        let mut touched = false;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(inotify, &mut buffer);
        let mut events = 0;
        // The rest of a buffer would be lost: it is read to its end.
        while events < EVENTS || !reader.is_buffer_empty() {
            events += 1;
            let event = match reader.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => break,
                Err(error) => {
                    log::warn!("{}: inotify: read: {error}", self.name);
                    break;
                }
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                touched = true;
                continue;
            }
            let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
            let Some(stakes) = self.armed.get(&event.wd()) else { continue };
            touched |= match name {
                Some(name) => stakes.iter().any(|stake| stake.as_deref() == Some(name)),
                None => event.events().intersects(MOVED_OR_GONE),
            };
            if event.events().contains(ReadFlags::IGNORED) {
                self.armed.remove(&event.wd());
            }
        }
        touched
    }

    /// Arms the watches and compares what is there with what was.
    fn look(&mut self) -> Option<Change> {
        let sight = self.arm();
        self.seen.compare(&self.subject, sight)
    }

    /// Watches what matters now, and nothing else; gives what is there. A directory is watched before what is in it is read, so that what
    /// changes after the look gives an event.
    fn arm(&mut self) -> Sight {
        let before = std::mem::take(&mut self.armed);
        let (mut trouble, mut is_blind) = (None, self.inotify.is_none());
        let mut sight = None;
        for _ in 0..TRIES {
            let mut vanished = false;
            let mut mark = |spot: Spot<'_>| {
                let (dir, fd, name, flags) = match spot {
                    Spot::Passed(dir, fd) => (dir, fd, None, SELF),
                    Spot::Named(dir, fd, name) => (dir, fd, Some(name), SELF | ENTRIES),
                    Spot::Last(dir, fd, name) => (dir, fd, Some(name), SELF | ENTRIES | TOUCHES),
                };
                let Some(inotify) = &self.inotify else { return };
                // That directory itself, wherever its name leads by now.
                match inotify::add_watch(inotify, format!("/proc/thread-self/fd/{}", fd.as_raw_fd()), flags) {
                    Ok(descriptor) => {
                        let stakes = self.armed.entry(descriptor).or_default();
                        let stake = name.map(OsStr::to_owned);
                        if !stakes.contains(&stake) {
                            stakes.push(stake);
                        }
                    }
                    Err(Errno::NOENT | Errno::NOTDIR) => vanished = true,
                    // To look through a directory takes less than to read it, and such a one is seldom moved itself.
                    Err(Errno::ACCESS) if name.is_none() => {}
                    Err(Errno::ACCESS) => is_blind = true,
                    // Look all the same: another directory of the way may be watched, and its event leads here.
                    Err(error) => trouble = Some((dir.to_owned(), io::Error::from(error))),
                }
            };
            sight = Some(self.subject.look(&mut mark));
            if !vanished {
                break;
            }
        }
        for descriptor in before.into_keys().filter(|descriptor| !self.armed.contains_key(descriptor)) {
            if let Some(inotify) = &self.inotify {
                // It fails for one that the kernel has removed with its directory.
                let _ = inotify::remove_watch(inotify, descriptor);
            }
        }
        self.is_blind = is_blind;
        let sight = sight.unwrap_or_else(|| self.subject.look(&mut |_| {}));
        self.tell(trouble, &sight);
        sight
    }

    /// Warns of what cannot be watched, once until it can be.
    fn tell(&mut self, trouble: Option<(PathBuf, io::Error)>, sight: &Sight) {
        let too_long = sight.too_long(&self.subject).map(|path| format!("{} is further away than anybody looks", path.display()));
        let trouble = trouble
            .map(|(dir, error)| format!("a change in {} may start no restart: inotify_add_watch: {}", dir.display(), reason(&error)));
        let trouble = too_long.or(trouble);
        if let Some(text) = trouble.as_ref().filter(|_| !self.told) {
            log::warn!("{}: {}", self.name, clean(text.as_bytes()));
        }
        self.told = trouble.is_some();
    }
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

/// A directory that is moved away or removed, whatever is in it.
const SELF: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF).union(WatchFlags::ONLYDIR).union(WatchFlags::MASK_ADD);
/// An entry that comes or goes.
const ENTRIES: WatchFlags = WatchFlags::CREATE.union(WatchFlags::DELETE).union(WatchFlags::MOVED_FROM).union(WatchFlags::MOVED_TO);
/// A file that touch(1) or a shell's redirection gives a new time.
const TOUCHES: WatchFlags = WatchFlags::ATTRIB.union(WatchFlags::CLOSE_WRITE);
/// What is said of the directory itself, and concerns everyone who watches it.
const MOVED_OR_GONE: ReadFlags = ReadFlags::DELETE_SELF.union(ReadFlags::MOVE_SELF).union(ReadFlags::IGNORED).union(ReadFlags::UNMOUNT);
/// One read of events (bytes); one event takes at most 16 + NAME_MAX + 1.
const BUFFER: usize = 16 * 1024;
/// Events taken at a time; a buffer more at most.
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
        watches: [Watch; 2],
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
            let apps = config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config.apps;
            let watches = [Watch::new(&apps[0]).unwrap(), Watch::new(&apps[1]).unwrap()];
            Self { dir, watches, start: Instant::now() }
        }

        fn flip(&self, app: &str, release: &str) {
            symlink(format!("{app}/{release}"), self.dir.path().join("next")).unwrap();
            fs::rename(self.dir.path().join("next"), self.dir.path().join(format!("{app}-current"))).unwrap();
        }

        /// What is due `ms` after the start, as "APP: TRIGGER".
        fn turn(&mut self, ms: u64) -> Vec<String> {
            let now = self.start + Duration::from_millis(ms);
            let word = |watch: &mut Watch| match watch.turn(now)?.change {
                Change::File { .. } => Some(format!("{}: file", watch.name)),
                Change::Root { .. } => Some(format!("{}: root", watch.name)),
            };
            self.watches.iter_mut().filter_map(word).collect()
        }

        /// The next deadline (ms after the start).
        fn deadline(&self) -> Option<u128> {
            self.watches.iter().filter_map(Watch::next_deadline).min().map(|at| at.duration_since(self.start).as_millis())
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
        let armed = stage.watches[0].armed.len();
        for release in ["2", "1", "2", "1"] {
            stage.flip("a", release);
            stage.turn(0);
            fs::remove_dir_all(stage.dir.path().join("a/1/tmp")).unwrap();
            stage.turn(0);
            fs::create_dir(stage.dir.path().join("a/1/tmp")).unwrap();
            stage.turn(0);
        }
        assert_eq!(stage.watches[0].armed.len(), armed);
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
        // Whatever else was heard is heard again: it is all the same a look.
        for _ in 0..limit {
            assert_eq!(stage.turn(0), [""; 0]);
        }
        assert_eq!(stage.turn(200), ["b: file"]);
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_looked_at_now_and_then() {
        let mut stage = Stage::new();
        let watch = &mut stage.watches[0];
        // Of root no directory is closed: what is not watched is as blind.
        watch.inotify = None;
        watch.look();
        fs::write(stage.dir.path().join("a/1/tmp/restart.txt"), "").unwrap();
        assert_eq!(stage.turn(0), [""; 0]);
        stage.watches[0].glance(stage.start);
        stage.watches[1].glance(stage.start);
        assert_eq!((stage.deadline(), stage.turn(200)), (Some(200), vec!["a: file".to_owned()]));
        stage.watches[0].glance(stage.start);
        assert_eq!(stage.turn(2000), [""; 0]);
    }
}
