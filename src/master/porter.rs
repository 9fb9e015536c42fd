//! What rota should listen on and does not: addresses that come later than rota, and the files of a run directory that somebody has removed.
//! Looks again now and then while something is missing, and otherwise when inotify(7) says that a file of ours is gone.

use std::collections::HashSet;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

use super::listeners::Listener;
use super::{LISTENERS, Master};
use crate::config::{Listen, ListenConfig, ServerConfig};
use crate::lock_file::{LockFile, NoLock};
use crate::table::NotListening;

/// What is missing, and how it is found out.
#[derive(Debug)]
pub struct Late {
    /// Not opened yet.
    waiting: Vec<ListenConfig>,
    try_at: Option<Instant>,
    /// Tells of files that go. None: it cannot be had.
    inotify: Option<OwnedFd>,
    /// Something may be gone.
    look_at: Option<Instant>,
    /// On the run directory.
    lock: LockFile,
    /// What could not be made anew was said.
    told: bool,
}

impl Late {
    pub fn new(registry: &Registry, token: Token, server: &ServerConfig, lock: LockFile, waiting: Vec<ListenConfig>) -> Self {
        let try_at = (!waiting.is_empty()).then(|| Instant::now() + RETRY);
        let opened = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).map_err(io::Error::from).and_then(|inotify| {
            registry.register(&mut SourceFd(&inotify.as_raw_fd()), token, Interest::READABLE)?;
            Ok(inotify)
        });
        let inotify = opened.inspect_err(|error| log::warn!("a run directory that is removed would not be noticed: inotify: {error}")).ok();
        let mut late = Self { waiting, try_at, inotify, look_at: None, lock, told: false };
        late.watch(server);
        late
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [self.try_at, self.look_at].into_iter().flatten().min()
    }

    /// Something in a directory of ours was removed; whatever removes it may not be through with it.
    pub fn wake(&mut self, now: Instant) {
        let Some(inotify) = &self.inotify else { return };
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(inotify, &mut buffer);
        // What exactly does not matter, but edge-triggered it has to be read to its end.
        while reader.next().is_ok() {}
        self.look_at.get_or_insert(now + CALM);
    }

    /// The server is stopping: what it removes itself is to be gone.
    pub fn close(&mut self, registry: &Registry) {
        if let Some(inotify) = self.inotify.take() {
            let _ = registry.deregister(&mut SourceFd(&inotify.as_raw_fd()));
        }
        self.waiting.clear();
        (self.try_at, self.look_at) = (None, None);
    }

    /// The directories with files of ours.
    fn watch(&mut self, server: &ServerConfig) {
        let Some(inotify) = &self.inotify else { return };
        for directory in directories(server) {
            if let Err(error) = inotify::add_watch(inotify, &directory, REMOVALS) {
                log::warn!("{}: that it is removed would not be noticed: inotify_add_watch: {error}", directory.display());
            }
        }
    }
}

impl Master {
    /// Opens what has come, and makes anew what is gone.
    pub(super) fn come_back(&mut self) {
        let now = self.desk.now;
        if self.late.try_at.is_some_and(|at| at <= now) {
            self.listen_late();
        }
        if self.late.look_at.is_some_and(|at| at <= now) {
            self.late.look_at = None;
            self.make_anew();
        }
    }

    /// Tries the listeners that are not open.
    fn listen_late(&mut self) {
        let mut not_yet = Vec::new();
        for config in std::mem::take(&mut self.late.waiting) {
            match self.open(&config) {
                Ok(()) => log::info!("server.listen {config}: listens now"),
                Err(error) => not_yet.push((config, error)),
            }
        }
        self.late.try_at = (!not_yet.is_empty()).then(|| self.desk.now + RETRY);
        self.shared.table.lock().not_listening = not_yet.iter().map(NotListening::of).collect();
        self.late.waiting = not_yet.into_iter().map(|(config, _)| config).collect();
    }

    fn open(&mut self, config: &ListenConfig) -> io::Result<()> {
        let mut listener = Listener::bind(config)?;
        listener.register(self.poll.registry(), Token(LISTENERS + self.listeners.len()))?;
        self.listeners.push(listener);
        Ok(())
    }

    /// The control socket, the lock and the sockets of clients, wherever their files are gone.
    fn make_anew(&mut self) {
        let mut trouble = Vec::new();
        let mut made = Vec::new();
        let server = &self.shared.server;
        if !self.late.lock.is_there() {
            match LockFile::try_take(&server.run_dir) {
                Ok(lock) => self.late.lock = lock,
                Err(error) => trouble.push(not_locked("run_dir", &server.run_dir, &error)),
            }
        }
        if self.control.is_lost() && trouble.is_empty() {
            match self.control.rebind(self.poll.registry()) {
                Ok(()) => made.push(server.control.display().to_string()),
                Err(error) => trouble.push(format!("server.control {error}")),
            }
        }
        for index in 0..self.listeners.len() {
            if !self.listeners[index].is_lost() {
                continue;
            }
            let listener = &self.listeners[index];
            let config = ListenConfig { at: listener.at.clone(), proxy_protocol: listener.proxy_protocol };
            let fresh = Listener::bind(&config).and_then(|mut fresh| {
                fresh.register(self.poll.registry(), Token(LISTENERS + index))?;
                Ok(fresh)
            });
            match fresh {
                Ok(fresh) => {
                    // Whoever has connected already is served.
                    while let Ok((socket, peer)) = self.listeners[index].accept() {
                        self.accepted(index, socket, peer);
                    }
                    self.listeners[index] = fresh;
                    made.push(config.to_string());
                }
                Err(error) => trouble.push(format!("server.listen {config}: {error}")),
            }
        }
        let server = &self.shared.server;
        self.late.watch(server);
        if !made.is_empty() {
            log::warn!("somebody removed what rota listens on; made anew: {}", made.join(", "));
        }
        if trouble.is_empty() {
            self.late.told = false;
            return;
        }
        if !std::mem::replace(&mut self.late.told, true) {
            log::error!(
                "somebody removed files of this rota, and they cannot be made anew: {}; tried again every {RETRY:?}",
                trouble.join("; ")
            );
        }
        self.late.look_at = Some(self.desk.now + RETRY);
    }
}

/// `another rota, pid 4711, has server.run_dir /run/rota`
pub fn not_locked(key: &str, directory: &Path, error: &NoLock) -> String {
    let directory = directory.display();
    match error {
        NoLock::Held(Some(pid)) => format!("another rota, pid {pid}, has server.{key} {directory}"),
        NoLock::Held(None) => format!("another rota has server.{key} {directory}"),
        NoLock::Io(error) => format!("server.{key} {directory}: lock: {error}"),
    }
}

fn directories(server: &ServerConfig) -> HashSet<PathBuf> {
    let sockets = server.listen.iter().filter_map(|listen| match &listen.at {
        Listen::Unix(path) => path.parent(),
        Listen::Tcp(_) => None,
    });
    sockets.chain(server.control.parent()).chain([server.run_dir.as_path()]).map(Path::to_owned).collect()
}

/// How often it is tried while something is missing.
const RETRY: Duration = Duration::from_secs(2);
/// Behind the last removal: `rm -r` is through by then.
const CALM: Duration = Duration::from_millis(500);
const REMOVALS: WatchFlags = WatchFlags::DELETE.union(WatchFlags::MOVED_FROM).union(WatchFlags::DELETE_SELF).union(WatchFlags::MOVE_SELF);
/// One read of events (bytes).
const BUFFER: usize = 4096;
