//! What rota should listen on and does not: addresses that come later than rota, and the files of directories that somebody has removed.
//! Looks again now and then while something is missing, and otherwise when inotify(7) says that a file of ours is gone.
//!
//! On a thread of its own and errands of it, which keep root's number for that, and for taking the files away at the end: the master has none of root's
//! rights. They face nobody, and what they open they hand to the master. It hears the signals, which the others leave to it.

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
use serde::{Deserialize, Serialize};

use super::listeners::{Listener, turn_away};
use crate::config::{Listen, ListenConfig, ServerConfig};
use crate::control::server;
use crate::credentials::Rights;
use crate::handoff::{self, Inbox, Mailbox, slept};
use crate::last_word;
use crate::lock_file::LockFile;
use crate::record_writer::Bell;
use crate::seccomp;
use crate::signals;
use crate::socket_file::SocketFile;
use crate::table::{NotListening, Shared, ToMaster};
use crate::upgrade::standstill::Still;

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
    /// Everybody is to stand still.
    StandStill(Still),
    /// An errand is back. True: something is missing still.
    Back(Box<Files>, bool),
}

/// What is to be there, and how it is found out whether it is. It touches no disk itself, as a signal that is sent to a thread which waits for one
/// reaches nobody: an errand does that, one at a time, and has `Files` meanwhile.
#[derive(Debug)]
pub struct Porter {
    pub(super) shared: Arc<Shared>,
    poll: Poll,
    pub(super) inbox: Inbox<ToPorter>,
    /// For the errand.
    own: Mailbox<ToPorter>,
    /// None: an errand has them.
    pub(super) files: Option<Files>,
    /// When the errand went that is out.
    out: Instant,
    /// That it does not come back was said.
    is_missed: bool,
    /// Of who has the state directory.
    records: Bell,
    try_at: Option<Instant>,
    /// Tells of files that go. None: it cannot be had, or the server is stopping.
    inotify: Option<Arc<OwnedFd>>,
    /// Something may be gone.
    look_at: Option<Instant>,
    /// Nothing is opened any more.
    is_closed: bool,
    /// What is to be listened on from now on, and the groups of the apps' users.
    pub(super) wanted: Option<(Vec<ListenConfig>, Vec<u32>)>,
    /// Who connects to a socket that has a file is to be turned away, which is done by taking the file away.
    turns_away: bool,
}

/// Files of ours.
#[derive(Debug)]
pub struct Files {
    shared: Arc<Shared>,
    /// By the number that the listener has with the master.
    pub(super) doors: Vec<Option<Door>>,
    pub(super) control: SocketFile,
    control_group: Option<Gid>,
    pub(super) run: LockFile,
    /// Of the apps' users.
    groups: Vec<u32>,
    /// Not opened yet.
    pub(super) waiting: Vec<ListenConfig>,
    /// What a reload wants to be listened on, while something else is still open.
    pub(super) wanted: Vec<ListenConfig>,
    /// So many more times it is tried in a moment: what stands in the way is on its way out.
    pub(super) soon: u32,
    /// What could not be made anew was said.
    told: bool,
}

/// For an errand.
#[derive(Clone, Copy, Debug)]
struct Todo {
    listens: bool,
    looks: bool,
    closes: bool,
    turns_away: bool,
}

/// A listener that is open.
#[derive(Debug, Serialize, Deserialize)]
pub struct Door {
    pub config: ListenConfig,
    /// Of a Unix socket.
    pub file: Option<SocketFile>,
}

/// What was opened at the start.
#[derive(Debug)]
pub struct Opened {
    pub doors: Vec<Option<Door>>,
    pub waiting: Vec<ListenConfig>,
    /// What a reload wants to be listened on, while something else is still open.
    pub wanted: Vec<ListenConfig>,
    pub control: SocketFile,
    pub control_group: Option<Gid>,
    pub run: LockFile,
    /// Of the apps' users.
    pub groups: Vec<u32>,
    pub records: Bell,
}

impl Porter {
    pub fn new(shared: Arc<Shared>, opened: Opened) -> io::Result<(Self, Mailbox<ToPorter>)> {
        let poll = Poll::new()?;
        let (mailbox, inbox) = handoff::mailbox(poll.registry(), WAKER)?;
        let watched = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(|inotify| {
            poll.registry().register(&mut SourceFd(&inotify.as_raw_fd()), REMOVED, Interest::READABLE)?;
            Ok(Arc::new(inotify))
        });
        let inotify =
            watched.inspect_err(|error| log::warn!("a run directory that is removed would not be noticed: inotify: {error}")).ok();
        let Opened { doors, waiting, wanted, control, control_group, run, groups, records } = opened;
        let now = Instant::now();
        let try_at = (!waiting.is_empty()).then(|| now + RETRY);
        let files = Files { shared: shared.clone(), doors, control, control_group, run, groups, waiting, wanted, soon: 0, told: false };
        shared.has_porter(mailbox.clone());
        let porter = Self {
            shared,
            poll,
            inbox,
            own: mailbox.clone(),
            files: Some(files),
            out: now,
            is_missed: false,
            records,
            try_at,
            inotify,
            // That they are watched.
            look_at: Some(now),
            is_closed: false,
            wanted: None,
            turns_away: false,
        };
        Ok((porter, mailbox))
    }

    /// Until the master has ended.
    pub fn run(&mut self) {
        Rights::Porter.keep_or_warn();
        seccomp::restrict();
        hear_signals();
        let mut events = Events::with_capacity(4);
        loop {
            let due = self.next_deadline();
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
                        self.turns_away = true;
                    }
                    ToPorter::Reloaded { listen, groups } => self.wanted = Some((listen, groups)),
                    ToPorter::TurnAwayFrom(socket) => turn_away(&socket),
                    ToPorter::Back(files, lacks) => self.back(*files, lacks, now),
                    ToPorter::StandStill(still) => self.stand_still(still),
                    ToPorter::End => return,
                }
            }
            self.send_out(now);
        }
    }

    /// Takes the files away, and what was made for spools, within a time: a disk that does not answer keeps nobody from ending.
    pub fn end(mut self) {
        let until = Instant::now() + END;
        while self.files.is_none() && Instant::now() < until {
            self.inbox.before_sleep();
            slept(self.poll.poll(&mut Events::with_capacity(4), Some(BRIEFLY)));
            self.inbox.after_sleep();
            while let Some(message) = self.inbox.take() {
                if let ToPorter::Back(files, _) = message {
                    self.files = Some(*files);
                }
            }
        }
        let (files, shared) = (self.files.take(), self.shared.clone());
        let (done, gone) = crossbeam_channel::bounded::<()>(0);
        let removes = move || {
            last_word::fault(ERRAND);
            drop(files);
            shared.spool.place().remove();
            drop(done);
            true
        };
        let is_late = |_| gone.recv_timeout(END) == Err(crossbeam_channel::RecvTimeoutError::Timeout);
        if last_word::start(NAME, STACK, removes).is_ok_and(is_late) {
            log::warn!("files of rota's own may be left: the disk does not answer");
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        match self.files {
            Some(_) => [self.try_at, self.look_at].into_iter().flatten().min(),
            None => Some(self.out + LONG).filter(|_| !self.is_missed),
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
        self.is_closed = true;
        (self.try_at, self.look_at, self.wanted) = (None, None, None);
    }

    fn back(&mut self, mut files: Files, lacks: bool, now: Instant) {
        if std::mem::take(&mut self.is_missed) {
            log::info!("the disk with files of rota's own answers again");
        }
        let retry = Some(now + RETRY).filter(|_| !self.is_closed);
        let is_soon = files.soon > 0;
        files.soon = files.soon.saturating_sub(1);
        self.try_at = retry.filter(|_| !files.waiting.is_empty()).map(|at| if is_soon { now + super::doors::SOON } else { at });
        if lacks {
            self.look_at = self.look_at.or(retry);
        }
        self.files = Some(files);
    }

    /// Has done what is due, if nobody is out for that.
    fn send_out(&mut self, now: Instant) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let closes = self.is_closed && self.files.as_ref().is_some_and(|files| !files.waiting.is_empty());
        let todo = Todo { listens: is_due(self.try_at), looks: is_due(self.look_at), closes, turns_away: self.turns_away };
        let is_asked = todo.listens || todo.looks || todo.closes || todo.turns_away || self.wanted.is_some();
        let Some(files) = self.files.take_if(|_| is_asked) else {
            if self.files.is_none() && !self.is_missed && now >= self.out + LONG {
                self.is_missed = true;
                log::error!("the disk with files of rota's own has not answered for {LONG:?}: what is removed of them is not made anew");
            }
            return;
        };
        if todo.looks {
            self.look_at = None;
            self.shared.table.lock().to_write.look();
            self.records.ring();
        }
        if todo.turns_away {
            self.turns_away = false;
        }
        self.out = now;
        // Where no thread can be started they must not be dropped with it.
        let (give, take) = crossbeam_channel::bounded(1);
        let _ = give.send((files, self.wanted.take()));
        let (taken, own, inotify) = (take.clone(), self.own.clone(), self.inotify.clone());
        let errand = move || {
            last_word::fault(ERRAND);
            let Ok((mut files, wanted)) = taken.recv() else { return true };
            if let Some((listen, groups)) = &wanted {
                files.groups.clone_from(groups);
                files.admit();
                files.listen_to(listen, inotify.as_deref());
            }
            let lacks = files.see_to(todo, inotify.as_deref());
            if let Ok(wake) = own.send(ToPorter::Back(Box::new(files), lacks)) {
                wake.wake();
            }
            true
        };
        if let Err(error) = last_word::start(NAME, STACK, errand) {
            log::error!("files of rota's own are not looked after: {error}; tried again in {RETRY:?}");
            (self.files, self.wanted) = take.try_recv().map_or((None, None), |(files, wanted)| (Some(files), wanted));
            self.turns_away = todo.turns_away;
            self.try_at = Some(now + RETRY).filter(|_| todo.listens || self.wanted.is_some());
            self.look_at = Some(now + RETRY).filter(|_| todo.looks);
        }
    }
}

impl Files {
    /// True: something is missing.
    fn see_to(&mut self, todo: Todo, inotify: Option<&OwnedFd>) -> bool {
        if todo.closes {
            self.waiting.clear();
        }
        if todo.turns_away {
            self.doors.iter_mut().flatten().for_each(|door| door.file = None);
        }
        if todo.listens {
            self.listen_late();
        }
        todo.looks && self.make_anew(inotify)
    }

    /// The directories with files of ours.
    pub(super) fn watch(&self, inotify: &OwnedFd) {
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
    pub(super) fn listen_late(&mut self) {
        let mut not_yet = Vec::new();
        for config in std::mem::take(&mut self.waiting) {
            match Listener::bind(&config, &self.groups) {
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
        self.shared.table.lock().not_listening = not_yet.iter().map(NotListening::of).collect();
        self.waiting = not_yet.into_iter().map(|(config, _)| config).collect();
        self.close_unwanted();
    }

    /// The control socket, the lock and the sockets of clients, wherever their files are gone. True: something is missing still.
    fn make_anew(&mut self, inotify: Option<&OwnedFd>) -> bool {
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
            match server::open(&server.control, self.control_group, &self.groups) {
                Ok((listener, file)) => {
                    self.control = file;
                    self.admit();
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
            match Listener::bind(config, &self.groups) {
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
        if let Some(inotify) = inotify {
            self.watch(inotify);
        }
        if !made.is_empty() {
            log::warn!("somebody removed files of this rota; made anew: {}", made.join(", "));
        }
        let is_told = std::mem::replace(&mut self.told, !trouble.is_empty());
        if !trouble.is_empty() && !is_told {
            log::error!(
                "somebody removed files of this rota, and they cannot be made anew: {}; tried again every {RETRY:?}",
                trouble.join("; ")
            );
        }
        !trouble.is_empty()
    }

    /// Those who may connect to the control socket.
    fn admit(&self) {
        server::admit(&self.control, self.control_group, &self.shared.catalog().operators);
    }

    pub(super) fn tell(&self, message: ToMaster) {
        // A master that is gone listens on nothing.
        if let Ok(wake) = self.shared.master.send(message) {
            wake.wake();
        }
    }
}

/// A rota that takes over begins with all of them waiting.
pub(super) fn hear_signals() {
    if let Err(error) = signals::hear() {
        log::warn!("signals: {error}; none is heard");
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
/// A disk that has not answered for so long is said.
const LONG: Duration = Duration::from_secs(10);
/// A disk is waited for at the end, for what it has in hand, and to take away files.
const END: Duration = Duration::from_secs(2);
const BRIEFLY: Duration = Duration::from_millis(50);
const NAME: &str = "rota-errand";
const ERRAND: &str = "rota-porter";
const STACK: usize = 512 * 1024;
/// Behind the last removal: `rm -r` is through by then.
const CALM: Duration = Duration::from_millis(500);
const REMOVALS: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM).union(GONE);
const GONE: WatchFlags = WatchFlags::DELETE_SELF.union(WatchFlags::MOVE_SELF);
/// One read of events (bytes).
const BUFFER: usize = 4096;
/// Taken at a time.
const EVENTS: usize = 4096;
