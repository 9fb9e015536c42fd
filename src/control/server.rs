//! The control socket's server: a part of the master thread's poll, so nothing here blocks.
//!
//! Clients are bounded in number, in what they may send, in what waits for them and in time: a slow or silent one holds nothing up. What
//! the requests do is the [`Operator`]'s; what one client says and hears is in `connection`.

mod closes;
mod connection;
pub mod rights;
mod saved;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use mio::{Interest, Registry, Token};
use rustix::fs::{Gid, Mode, Uid};
use rustix::net::UCred;
use serde::{Deserialize, Serialize};

use super::proto::{AppHistory, Asked, ConfigRead, Pausing, Planned, Progress, Reply, WalkEnd, reply_line};
use crate::ids::{AppName, Generation, Number, ProcessId};
use crate::metrics::page::Form;
use crate::operators::Operators;
use crate::safe_open;
use crate::socket_file::SocketFile;
use crate::upgrade::pack::{Pack, Place, Unpack};
use closes::Closes;
pub use connection::COLLECTING;
use connection::{Connection, Level};
use rights::Guest;
use saved::SavedConnection;

/// What the requests do. Errors are sentences for whoever asked.
pub trait Operator {
    /// Somebody but root and rota's own user may ask for something.
    fn has_guests(&self) -> bool;
    /// Asks who a peer is, by its user and its first group.
    fn introduce(&mut self, peer: (u32, u32), now: Instant) -> Ticket;
    /// Who it is, and what he may; None: it is not known yet.
    fn introduced(&mut self, ticket: Ticket) -> Option<Guest>;
    /// Asks for the status of one app or of all, and what its processes take; an app that is not there is an error.
    fn ask_status(&mut self, app: Option<&str>, now: Instant) -> Result<Ticket, String>;
    /// Asks for the metrics.
    fn ask_metrics(&mut self, form: Form, now: Instant) -> Ticket;
    /// Asks for a walk, or for walks of all apps; gives them in the order in which they will run.
    fn walk(&mut self, wish: Wish<'_>, now: Instant) -> Result<Vec<Asked>, String>;
    /// Where a walk is that `walk` gave.
    fn progress(&mut self, app: &AppName, generation: Generation, now: Instant) -> WalkReport;
    /// What is written down of one app or of all.
    fn history(&mut self, app: Option<&str>) -> Result<Vec<AppHistory>, String>;
    /// Holds an app for `seconds` (None: as long as a request may wait), or for longer or shorter if it is held already.
    fn pause(&mut self, app: &str, seconds: Option<f64>, now: Instant) -> Result<Pausing, String>;
    /// How an app that was held is now; None: it is not held any more.
    fn pausing(&mut self, app: &AppName, now: Instant) -> Option<Pausing>;
    /// Gives how long it was held, and how many requests waited.
    fn resume(&mut self, app: &str, now: Instant) -> Result<Reply, String>;
    /// Has one process replaced.
    fn detach(&mut self, app: &str, number: Number, now: Instant) -> Result<Detached, String>;
    /// It is gone: the pid in its place, or none where nothing is on its way there.
    fn is_detached(&mut self, detached: &Detached, now: Instant) -> Option<Option<u32>>;
    /// It serves on, for no other could be started in its place: why.
    fn stays(&mut self, detached: &Detached, now: Instant) -> Option<String>;
    /// Asks the I/O threads what they have in hand.
    fn ask_requests(&mut self, app: Option<&str>, draining: bool, now: Instant) -> Result<Ticket, String>;
    /// The answer to a question, when all that were asked have spoken or the time is up.
    fn answer(&mut self, ticket: Ticket, now: Instant) -> Option<Reply>;
    /// Has the configuration read again.
    fn reload(&mut self, dry_run: bool, now: Instant) -> Result<Ticket, String>;
    /// What came of that; None: it is not read yet.
    fn has_reloaded(&mut self, ticket: Ticket) -> Option<Result<Reloaded, String>>;
    /// What is in force.
    fn config(&self) -> ConfigRead;
    /// Has balancers be told to go, or how it is; an error where none can be.
    fn drain(&mut self, drained: bool) -> Result<(), String>;
    /// [`Reply::Drained`].
    fn drained(&mut self, now: Instant) -> Reply;
    /// Has another program take over; the answer comes from that.
    fn upgrade(&mut self, program: Option<PathBuf>, now: Instant) -> Result<Ticket, String>;
    /// Why it did not come to that; None: not known yet.
    fn has_not_upgraded(&mut self, ticket: Ticket) -> Option<String>;
    /// Ends the server; told again: now.
    fn stop(&mut self);
}

/// Which walks are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish<'a> {
    Restart { app: Option<&'a str>, at_once: bool },
    Deploy { app: &'a str, directory: &'a Path },
    Rollback { app: &'a str },
    Abort { app: &'a str },
}

/// A process that is to be replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detached {
    pub app: AppName,
    pub number: Number,
    pub pid: Option<u32>,
    pub id: ProcessId,
    /// When that was.
    pub asked: Instant,
}

/// What came of a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    pub changes: Vec<Planned>,
    pub warnings: Vec<String>,
    /// Walks that come of it.
    pub walks: Vec<Asked>,
}

/// A question to other threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket(pub u64);

/// Where a walk is that somebody follows.
#[derive(Clone, Debug, PartialEq)]
pub enum WalkReport {
    /// Its turn has not come.
    Waiting,
    Underway(Progress),
    Ended(WalkEnd),
}

/// The listening socket and its clients.
#[derive(Debug)]
pub struct ControlServer {
    /// Removed with this value. None: somebody else removes it.
    file: Option<SocketFile>,
    /// The user that rota was started as.
    own: Uid,
    listener: UnixListener,
    first_token: usize,
    /// The token of a place is `first_token` + 1 + its index.
    places: Vec<Option<Connection>>,
    /// Connections may wait that no event will tell of: accept then.
    accept_at: Option<Instant>,
}

impl ControlServer {
    /// Binds the socket at `path`, for its owner only (0600), and creates its directory (0755). The tokens from `first_token` on are its
    /// own: one for the listener, the others for clients; `groups`: of the apps' users. A socket that a killed server left behind is replaced; one that answers, and
    /// a file that is no socket, are errors. Errors name the path.
    pub fn bind(path: &Path, group: Option<Gid>, groups: &[u32], first_token: usize, tokens: usize) -> io::Result<Self> {
        let (listener, file) = open(path, group, groups)?;
        let places = (1..tokens).map(|_| None).collect();
        let own = rustix::process::geteuid();
        Ok(Self { file: Some(file), own, listener, first_token, places, accept_at: None })
    }

    /// What is left to the next rota.
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedControl {
        let clients = self.places.iter().flatten().filter_map(|connection| connection.save(pack)).collect();
        SavedControl { listener: pack.put(self.listener.as_fd()), clients }
    }

    /// Where another rota stood. Clients are those of the places from the first on.
    pub fn restore(saved: SavedControl, unpack: &mut Unpack, first_token: usize, tokens: usize) -> Result<Self, String> {
        let listener = UnixListener::from_std(unpack.take(saved.listener)?.into());
        let mut places: Vec<Option<Connection>> = (1..tokens).map(|_| None).collect();
        for (place, saved) in places.iter_mut().zip(saved.clients) {
            *place = Some(saved.restore(unpack)?);
        }
        let own = rustix::process::geteuid();
        Ok(Self { file: None, own, listener, first_token, places, accept_at: None })
    }

    /// Whoever has another program take over is told what came of it.
    pub fn has_upgraded<O: Operator>(&mut self, registry: &Registry, operator: &mut O, now: Instant, reply: &Reply) {
        for index in 0..self.places.len() {
            self.tend(index, registry, |connection| connection.has_upgraded(operator, reply, now));
        }
    }

    /// The file of the socket, which is whoever's who takes it away.
    pub fn take_file(&mut self) -> Option<SocketFile> {
        self.file.take()
    }

    /// Listens on another socket. Clients that have one of the old stay.
    pub fn replace(&mut self, listener: UnixListener, registry: &Registry) -> io::Result<()> {
        self.listener = listener;
        registry.register(&mut self.listener, Token(self.first_token), Interest::READABLE)
    }

    pub fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.listener, Token(self.first_token), Interest::READABLE)?;
        // Of one that another rota has left.
        for (index, connection) in self.places.iter_mut().enumerate() {
            let token = Token(self.first_token + 1 + index);
            connection.iter_mut().try_for_each(|one| registry.register(one.stream(), token, Interest::READABLE | Interest::WRITABLE))?;
        }
        Ok(())
    }

    /// One of the tokens is ready. An event for a client that has gone meanwhile is expected and does nothing.
    pub fn event<O: Operator>(&mut self, token: Token, registry: &Registry, operator: &mut O, now: Instant) {
        match token.0.checked_sub(self.first_token) {
            Some(0) => self.accept(registry, operator.has_guests(), now),
            Some(place) => self.tend(place - 1, registry, |connection| connection.attend(operator, now)),
            None => {}
        }
    }

    /// The pool table changed: those who follow a walk are told what is new.
    pub fn changed<O: Operator>(&mut self, registry: &Registry, operator: &mut O, now: Instant) {
        for index in 0..self.places.len() {
            self.tend(index, registry, |connection| connection.follow(operator, now));
        }
    }

    /// Drops the clients whose time is up, and accepts again after a pause.
    pub fn tick<O: Operator>(&mut self, registry: &Registry, operator: &mut O, now: Instant) {
        for index in 0..self.places.len() {
            self.tend(index, registry, |connection| connection.check_limit(operator, now));
        }
        if self.accept_at.is_some_and(|at| at <= now) {
            self.accept(registry, operator.has_guests(), now);
        }
    }

    /// When [`ControlServer::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let limits = self.places.iter().flatten().filter_map(Connection::limit);
        limits.chain(self.accept_at).min()
    }

    /// Does something with a client, and closes the connection where that is its end.
    fn tend(&mut self, index: usize, registry: &Registry, act: impl FnOnce(&mut Connection) -> Result<(), Closes>) {
        let Some(place) = self.places.get_mut(index) else { return };
        let Some(connection) = place else { return };
        if let Err(closes) = act(connection) {
            log::debug!("control socket: {} {closes}", connection.who());
            // Before the descriptor's number can be another's; an event that is fetched already finds the place empty or its next client.
            let _ = registry.deregister(connection.stream());
            *place = None;
        }
    }

    fn accept(&mut self, registry: &Registry, guests: bool, now: Instant) {
        self.accept_at = None;
        for _ in 0..ACCEPT_BUDGET {
            match self.listener.accept() {
                Ok((stream, _)) => self.admit(stream, registry, guests, now),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    // No descriptors, no memory: what waits in the backlog raises no new event, so come back by the clock.
                    _ => {
                        log::info!("control socket: accept: {error}; again in {} s", ACCEPT_PAUSE.as_secs());
                        self.accept_at = Some(now + ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
        self.accept_at = Some(now);
    }

    fn admit(&mut self, stream: UnixStream, registry: &Registry, guests: bool, now: Instant) {
        match rustix::net::sockopt::socket_peercred(&stream) {
            Ok(peer) => self.place(stream, peer, registry, guests, now),
            // Of a process that has no number here the kernel says 0.
            Err(error) => {
                log::info!("control socket: a client without credentials here was turned away: {error}");
                turn_away(stream, "commands are taken from where rota runs: in its container, if it is in one".to_owned());
            }
        }
    }

    fn place(&mut self, mut stream: UnixStream, peer: UCred, registry: &Registry, guests: bool, now: Instant) {
        let Some(level) = level(&peer, self.own, guests) else {
            log::info!("control socket: pid {} of uid {} was turned away", peer.pid.as_raw_nonzero(), peer.uid.as_raw());
            return turn_away(stream, format!("uid {} may not operate this rota: only its own user and root may", peer.uid.as_raw()));
        };
        // Guests leave half of the places to root, and each of them some to the others.
        let guests = || self.places.iter().flatten().filter(|connection| connection.level() == Level::Guest);
        let own = || guests().filter(|connection| connection.uid() == peer.uid).count();
        let has_share = level == Level::Operate || guests().count() < self.places.len() / 2 && own() < OF_A_GUEST;
        let Some(index) = self.places.iter().position(Option::is_none).filter(|_| has_share) else {
            return turn_away(stream, format!("busy: {} clients are connected; try again", self.places.iter().flatten().count()));
        };
        let token = Token(self.first_token + 1 + index);
        match registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE) {
            Ok(()) => self.places[index] = Some(Connection::new(stream, peer, level, now)),
            Err(error) => turn_away(stream, format!("cannot be served: {error}")),
        }
    }
}

/// What is left of it to the next rota.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedControl {
    listener: Place,
    clients: Vec<SavedConnection>,
}

/// For its owner only (0600), or for the members of a group as well, who may look: [`Request::only_looks`](super::proto::Request::only_looks); who
/// else may connect says [`admit`]. Its directory is made (0755). Errors name the path.
pub fn open(path: &Path, group: Option<Gid>, groups: &[u32]) -> io::Result<(UnixListener, SocketFile)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        safe_open::make_directory(directory, groups).map_err(named)?;
    }
    let (listener, file) = SocketFile::bind(path, Mode::RUSR | Mode::WUSR, BACKLOG).map_err(named)?;
    if let Some(group) = group {
        file.share(group, SHARED).map_err(named)?;
    }
    Ok((UnixListener::from_std(listener), file))
}

/// The number of `server.control_group`.
pub fn control_group(name: &str) -> Result<Gid, String> {
    let group = nix::unistd::Group::from_name(name).map_err(|error| format!("server.control_group {name}: {error}"))?;
    let group = group.ok_or_else(|| format!("server.control_group {name}: there is no such group"))?;
    Ok(Gid::from_raw(group.gid.as_raw()))
}

/// Lets operators connect, and nobody else who could not before: by the access list of the file (acl(5)), so that the kernel turns away all others
/// and no flood of theirs reaches this program. `group`: the one that may look.
pub fn admit(file: &SocketFile, group: Option<Gid>, operators: &Operators) {
    let (users, groups) = operators.all();
    match file.admit(if group.is_some() { SHARED } else { Mode::RUSR | Mode::WUSR }, &users, &groups) {
        Ok(()) => {}
        // It is made anew, and they are admitted then.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => log::error!(
            "server.control {}: operators cannot connect, and root can: setxattr system.posix_acl_access: {error}; put it on a file system with access control lists, as /run is",
            file.path().display()
        ),
    }
}

/// The file keeps others out already; a directory or a mode that somebody changed does not let them in. What a guest may do is asked when it is
/// known who he is: the groups of a peer other than its first cannot be had without NSS, which may wait.
fn level(peer: &UCred, own: Uid, guests: bool) -> Option<Level> {
    let operates = peer.uid.is_root() || peer.uid == own;
    if operates { Some(Level::Operate) } else { guests.then_some(Level::Guest) }
}

/// Says why, as far as it can be said at once, and closes.
fn turn_away(mut stream: UnixStream, message: String) {
    // A new socket has room for a line; if not, the end of the connection says enough.
    let _ = stream.write(&reply_line(&Reply::Error { message }));
}

/// For the owner and the group that looks.
const SHARED: Mode = Mode::from_bits_retain(0o660);
/// Places that one guest has: commands that wait for a walk each hold one.
const OF_A_GUEST: usize = 8;
/// Commands that may wait to be accepted.
const BACKLOG: i32 = 64;
/// Accepted in one turn of the loop, so that a flood of commands does not keep it from clients.
const ACCEPT_BUDGET: usize = 128;
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
