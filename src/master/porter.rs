//! What rota should listen on and does not: addresses that come later than rota, and the files of directories that somebody has removed.
//! Looks again now and then while something is missing, and otherwise when inotify(7) says that a file of ours is gone.
//!
//! On the main thread, which keeps root's number for that, and for taking the files away at the end: the master has none of root's rights. It
//! faces nobody, and what it opens it hands to the master.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::Gid;
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::listeners::{Listener, turn_away};
use crate::config::{Listen, ListenConfig, ServerConfig};
use crate::control::server;
use crate::credentials::Rights;
use crate::handoff::{self, Inbox, Mailbox, slept};
use crate::lock_file::LockFile;
use crate::record_writer::Bell;
use crate::restart::release;
use crate::seccomp;
use crate::socket_file::SocketFile;
use crate::table::{NotListening, Shared, ToMaster};

/// From the master.
#[derive(Debug)]
pub enum ToPorter {
    /// The server is stopping: what it removes itself is to be gone, and nothing is opened any more.
    Close,
    /// No further connection is to begin, on these sockets and on the Unix ones.
    TurnAway(Vec<OwnedFd>),
    /// These are to be listened on, and no others; `groups`: of the apps' users.
    Reloaded { listen: Vec<ListenConfig>, groups: Vec<u32> },
    /// No further connection is to begin on this socket.
    TurnAwayFrom(OwnedFd),
    /// The master has ended.
    End,
}

/// What is there, what is missing, and how it is found out.
#[derive(Debug)]
pub struct Porter {
    shared: Arc<Shared>,
    poll: Poll,
    inbox: Inbox<ToPorter>,
    /// By the number that the listener has with the master.
    pub(super) doors: Vec<Option<Door>>,
    control: SocketFile,
    control_group: Option<Gid>,
    run: LockFile,
    /// Of who has the state directory.
    records: Bell,
    /// Of the apps' users.
    groups: Vec<u32>,
    /// Not opened yet.
    pub(super) waiting: Vec<ListenConfig>,
    pub(super) try_at: Option<Instant>,
    /// Tells of files that go. None: it cannot be had, or the server is stopping.
    inotify: Option<OwnedFd>,
    /// Something may be gone.
    look_at: Option<Instant>,
    /// What could not be made anew was said.
    told: bool,
}

/// A listener that is open.
#[derive(Debug)]
pub struct Door {
    pub config: ListenConfig,
    /// Of a Unix socket.
    pub file: Option<SocketFile>,
}

/// What was opened at the start.
#[derive(Debug)]
pub struct Opened {
    pub doors: Vec<Door>,
    pub waiting: Vec<ListenConfig>,
    pub control: SocketFile,
    pub control_group: Option<Gid>,
    pub run: LockFile,
    pub records: Bell,
}

impl Porter {
    pub fn new(shared: Arc<Shared>, opened: Opened) -> io::Result<(Self, Mailbox<ToPorter>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = handoff::mailbox(poll.registry(), WAKER)?;
        let watched = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(|inotify| {
            poll.registry().register(&mut SourceFd(&inotify.as_raw_fd()), REMOVED, Interest::READABLE)?;
            Ok(inotify)
        });
        let inotify =
            watched.inspect_err(|error| log::warn!("a run directory that is removed would not be noticed: inotify: {error}")).ok();
        let Opened { doors, waiting, control, control_group, run, records } = opened;
        let groups = release::groups(shared.catalog().apps().map(|(_, app)| &app.start));
        let doors = doors.into_iter().map(Some).collect();
        let try_at = (!waiting.is_empty()).then(|| Instant::now() + RETRY);
        let look_at = (!shared.spool.place().is_there()).then(|| Instant::now() + RETRY);
        let porter = Self {
            shared,
            poll,
            inbox,
            doors,
            control,
            control_group,
            run,
            records,
            groups,
            waiting,
            try_at,
            inotify,
            look_at,
            told: false,
        };
        porter.watch();
        Ok((porter, mailbox))
    }

    /// Until the master has ended.
    pub fn run(&mut self) {
        Rights::Porter.keep_or_warn();
        seccomp::restrict();
        let mut events = Events::with_capacity(4);
        loop {
            let due = [self.try_at, self.look_at].into_iter().flatten().min();
            let due = if self.inbox.before_sleep() { Some(Instant::now()) } else { due };
            let timeout = due.map(|at| at.saturating_duration_since(Instant::now()));
            slept(self.poll.poll(&mut events, timeout));
            self.inbox.after_sleep();
            let now = Instant::now();
            if events.iter().any(|event| event.token() == REMOVED) {
                self.something_went(now);
            }
            while let Some(message) = self.inbox.take() {
                match message {
                    ToPorter::Close => self.close(),
                    ToPorter::TurnAway(sockets) => {
                        sockets.iter().for_each(turn_away);
                        self.doors.iter_mut().flatten().for_each(|door| door.file = None);
                    }
                    ToPorter::Reloaded { listen, groups } => {
                        self.groups = groups;
                        self.listen_to(&listen, now);
                    }
                    ToPorter::TurnAwayFrom(socket) => turn_away(&socket),
                    ToPorter::End => return,
                }
            }
            if self.try_at.is_some_and(|at| at <= now) {
                self.listen_late(now);
            }
            if self.look_at.is_some_and(|at| at <= now) {
                self.look_at = None;
                self.make_anew(now);
            }
        }
    }

    /// Something in a directory of ours was removed; whatever removes it may not be through with it.
    fn something_went(&mut self, now: Instant) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(inotify, &mut buffer);
        // What exactly does not matter; what is left unread, of one who removes without end, the next event tells of again.
        for _ in 0..EVENTS {
            if reader.next().is_err() {
                break;
            }
        }
        self.look_at.get_or_insert(now + CALM);
    }

    fn close(&mut self) {
        if let Some(inotify) = self.inotify.take() {
            let _ = self.poll.registry().deregister(&mut SourceFd(&inotify.as_raw_fd()));
        }
        self.waiting.clear();
        (self.try_at, self.look_at) = (None, None);
    }

    /// The directories with files of ours.
    pub(super) fn watch(&self) {
        let Some(inotify) = &self.inotify else { return };
        let catalog = self.shared.catalog();
        let server = &catalog.server;
        // Of a directory that everybody has files in only its own end concerns us.
        let of_spool = if self.shared.spool.place().has_own() { REMOVALS } else { GONE };
        let watched = directories(server).into_iter().map(|directory| (directory, REMOVALS));
        for (directory, what) in watched.chain([(server.spool_dir.clone(), of_spool)]) {
            match inotify::add_watch(inotify, &directory, what | WatchFlags::MASK_ADD) {
                // It is looked for again.
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => {
                    log::warn!("{}: that it is removed would not be noticed: inotify_add_watch: {error}", directory.display());
                }
            }
        }
    }

    /// Tries the listeners that are not open.
    pub(super) fn listen_late(&mut self, now: Instant) {
        let mut not_yet = Vec::new();
        for config in std::mem::take(&mut self.waiting) {
            match Listener::bind(&config) {
                Ok((listener, file)) => {
                    log::info!("server.listen {config}: listens now");
                    let (number, door) = (self.free_number(), Some(Door { config, file }));
                    self.tell(ToMaster::Listens(number, listener));
                    match self.doors.get_mut(number) {
                        Some(free) => *free = door,
                        None => self.doors.push(door),
                    }
                }
                Err(error) => not_yet.push((config, error)),
            }
        }
        self.try_at = (!not_yet.is_empty()).then(|| now + RETRY);
        self.shared.table.lock().not_listening = not_yet.iter().map(NotListening::of).collect();
        self.waiting = not_yet.into_iter().map(|(config, _)| config).collect();
    }

    /// The control socket, the lock and the sockets of clients, wherever their files are gone.
    fn make_anew(&mut self, now: Instant) {
        let mut trouble = Vec::new();
        let mut made = Vec::new();
        let shared = self.shared.clone();
        let catalog = shared.catalog();
        let server = &catalog.server;
        if !self.run.is_there()
            && let Err(error) = self.run.renew(&self.groups)
        {
            trouble.push(error.of("run_dir", &server.run_dir));
        }
        if !self.control.is_there() && trouble.is_empty() {
            match server::open(&server.control, self.control_group) {
                Ok((listener, file)) => {
                    self.control = file;
                    self.tell(ToMaster::Control(listener));
                    made.push(server.control.display().to_string());
                }
                Err(error) => trouble.push(format!("server.control {error}")),
            }
        }
        for index in 0..self.doors.len() {
            let Some(Door { config, file }) = &mut self.doors[index] else { continue };
            if file.as_ref().is_none_or(SocketFile::is_there) {
                continue;
            }
            match Listener::bind(config) {
                Ok((listener, fresh)) => {
                    *file = fresh;
                    made.push(config.to_string());
                    self.tell(ToMaster::Listens(index, listener));
                }
                Err(error) => trouble.push(format!("server.listen {config}: {error}")),
            }
        }
        if !shared.spool.place().is_there() {
            match shared.spool.place().make_anew() {
                Ok(()) => made.push(server.spool_dir.display().to_string()),
                Err(error) => trouble.push(error),
            }
        }
        shared.table.lock().to_write.look();
        self.records.ring();
        self.watch();
        if !made.is_empty() {
            log::warn!("somebody removed files of this rota; made anew: {}", made.join(", "));
        }
        if trouble.is_empty() {
            self.told = false;
            return;
        }
        if !std::mem::replace(&mut self.told, true) {
            log::error!(
                "somebody removed files of this rota, and they cannot be made anew: {}; tried again every {RETRY:?}",
                trouble.join("; ")
            );
        }
        self.look_at = Some(now + RETRY);
    }

    pub(super) fn tell(&self, message: ToMaster) {
        // A master that is gone listens on nothing.
        if let Ok(wake) = self.shared.master.send(message) {
            wake.wake();
        }
    }
}

fn directories(server: &ServerConfig) -> HashSet<PathBuf> {
    let sockets = server.listen.iter().filter_map(|listen| match &listen.at {
        Listen::Unix(path) => path.parent(),
        Listen::Tcp(_) => None,
    });
    sockets.chain(server.control.parent()).chain([server.run_dir.as_path(), server.state_dir.as_path()]).map(Path::to_owned).collect()
}

const WAKER: Token = Token(0);
const REMOVED: Token = Token(1);
/// How often it is tried while something is missing.
const RETRY: Duration = Duration::from_secs(2);
/// Behind the last removal: `rm -r` is through by then.
const CALM: Duration = Duration::from_millis(500);
const REMOVALS: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM).union(GONE);
const GONE: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);
/// One read of events (bytes).
const BUFFER: usize = 4096;
/// Taken at a time.
const EVENTS: usize = 4096;
