//! Connections to the app: opened when needed, kept for the next request, closed when idle for `timeouts.pooled`. Never more than the process
//! has slots, whether they work or idle: a thread or a process of the app may wait at each of them (puma for 0.2 s, starman for 1 s), and takes
//! nothing else meanwhile.
//!
//! On the I/O thread of their process. Which client a connection works for is written in it; what is exchanged is not its business.

mod save;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::habit::{self, Habit};
use super::proof::Proof;
use crate::conn::socket::Socket;
use crate::restart::spawn::Endpoint;
use crate::socket_file::AppSocket;
use crate::sys::{Asker, Listener};
pub use save::SavedUpstreams;

/// One connection to the app.
#[derive(Debug)]
pub struct Upstream {
    pub socket: Socket,
    pub owner: Owner,
    /// The socket may have bytes (edge-triggered).
    pub readable: bool,
    /// It is to be read after others.
    pub is_put_off: bool,
    /// It goes to the app for certain ([`Proof`]).
    pub is_proven: bool,
    /// The end of the app's stream was announced.
    pub closing: bool,
    /// An event for writability is asked for.
    wants_write: bool,
    /// It carried a request before this one, and idled so long in between: that it is closed says nothing about the process.
    pub idled: Option<Duration>,
    /// Of a tunnel: bytes for the app that its socket did not take yet.
    pub output: Vec<u8>,
}

/// Whom it works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    Nobody,
    Client(usize),
    Probe,
    /// Nobody waits for it, and the app is not done.
    Overdue,
}

/// Where the process is reached.
#[derive(Debug)]
enum App {
    Unix(AppSocket),
    Tcp(SocketAddr),
}

/// All connections of one process.
#[derive(Debug)]
pub struct Upstreams {
    pub all: Slab<Upstream>,
    app: App,
    /// Waiting for a request, the one used last at the end.
    idle: Vec<(usize, Instant)>,
    idle_limit: Duration,
    habit: Habit,
    /// The slots of the process.
    most: usize,
    asker: Asker,
    /// The listener of the app, on TCP.
    pub known: Option<Listener>,
    /// One that is not the app's.
    pub refused: Option<Listener>,
}

impl Upstream {
    /// Nothing has come on it, also not its end, up to this moment. A system call.
    fn is_silent(&self) -> bool {
        !self.readable && self.socket.is_silent()
    }
}

impl Upstreams {
    /// `slots`: of the process; each connection works for whoever has one of them, or idles.
    pub fn new(endpoint: Endpoint, idle_limit: Duration, slots: u32) -> Self {
        let app = match endpoint {
            Endpoint::Unix(path) => App::Unix(AppSocket::new(path)),
            Endpoint::Tcp(addr) => App::Tcp(addr),
        };
        let most = usize::try_from(slots).unwrap_or(usize::MAX);
        Self {
            all: Slab::new(),
            app,
            idle: Vec::new(),
            idle_limit,
            habit: Habit::Unknown,
            most,
            asker: Asker::default(),
            known: None,
            refused: None,
        }
    }

    pub fn kept_for(&mut self, idle_limit: Duration) {
        self.idle_limit = idle_limit;
    }

    /// Where the process turned out to listen.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.app = App::Tcp(addr);
        self.known = None;
    }

    /// Who listens where the app is asked, on TCP.
    pub fn listener(&mut self) -> Option<Listener> {
        match &self.app {
            App::Tcp(addr) => self.asker.listener(*addr),
            App::Unix(_) => None,
        }
    }

    /// Whether a connection goes to the app. It came to whoever listens there now if the same did before: nobody else can listen in between
    /// without the socket's being another one.
    pub fn prove(&mut self, key: usize) -> Proof {
        let upstream = &mut self.all[key];
        let Socket::Tcp(stream) = &upstream.socket else { return Proof::Ours };
        if upstream.is_proven {
            return Proof::Ours;
        }
        if stream.peer_addr().is_err() {
            return match stream.take_error() {
                Ok(None) => Proof::NotYet,
                Ok(Some(error)) | Err(error) => Proof::Refused(error),
            };
        }
        let found = self.listener();
        if found.is_none() || found != self.known {
            return Proof::Another(found);
        }
        self.all[key].is_proven = true;
        Proof::Ours
    }

    /// The loopback port that the process was given; None: it has a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.app {
            App::Tcp(addr) => Some(addr.port()),
            App::Unix(_) => None,
        }
    }

    /// A kept connection for a request that may be sent again, the one used last first: the others may then grow old and close.
    pub fn reuse(&mut self, owner: Owner, now: Instant) -> Option<usize> {
        let is_quiet = |(key, _): &(usize, Instant)| !self.all[*key].readable;
        // One that is not is closed when its event has its turn.
        let place = self.idle.iter().rposition(is_quiet)?;
        Some(self.take(place, owner, now))
    }

    /// A kept connection for a request that must not be sent twice: one that has just answered, of a process that is known to hold them.
    pub fn reuse_at_once(&mut self, owner: Owner) -> Option<usize> {
        // Not the time of this turn of the loop: what counts is how long it idles when the request is written.
        let now = Instant::now();
        self.look_at_the_oldest(now);
        let (key, since) = *self.idle.last()?;
        if !self.habit.is_safe(now.saturating_duration_since(since)) {
            return None;
        }
        if self.all[key].is_silent() {
            return Some(self.take(self.idle.len() - 1, owner, now));
        }
        self.ended(key, now);
        None
    }

    /// Whether the app holds a connection that idles; not asked any more when that is known.
    fn look_at_the_oldest(&mut self, now: Instant) {
        if let (Habit::Unknown, Some((key, since))) = (self.habit, self.idle.first()) {
            let idle = now.saturating_duration_since(*since);
            if habit::proves(idle) && self.all[*key].is_silent() {
                self.habit.held(idle);
            }
        }
    }

    fn take(&mut self, place: usize, owner: Owner, now: Instant) -> usize {
        let (key, since) = self.idle.remove(place);
        let upstream = &mut self.all[key];
        upstream.owner = owner;
        upstream.idled = Some(now.saturating_duration_since(since));
        key
    }

    /// The app has closed it while it was idle, or has said what nobody asked for.
    pub fn ended(&mut self, key: usize, now: Instant) {
        if let Some((_, since)) = self.idle.iter().find(|(idle, _)| *idle == key) {
            self.habit.closed(now.saturating_duration_since(*since));
        }
        self.close(key);
    }

    /// The app has closed one that had idled so long, and the request that was sent on it has no answer: it was closed while it was idle, or
    /// the process is gone. The others say no more.
    pub fn closed_on_request(&mut self, idled: Duration) {
        self.habit.closed(idled);
        self.close_idle();
    }

    /// Something came, or its end, on an idle connection.
    pub fn heard(&mut self, key: usize, something: bool) {
        if let Some(upstream) = self.all.get_mut(key).filter(|upstream| upstream.owner == Owner::Nobody) {
            upstream.readable |= something;
        }
    }

    /// A new connection. `WouldBlock`: the app's backlog is full (Unix sockets, connect(2)).
    pub fn open(&mut self, owner: Owner, registry: &Registry, token: impl Fn(usize) -> Token) -> io::Result<usize> {
        if let Owner::Client(_) = owner {
            self.make_room();
        }
        let entry = self.all.vacant_entry();
        let key = entry.key();
        let (mut socket, interest) = match &mut self.app {
            // Only readable: a Unix socket would announce that it is writable each time that the app reads from it.
            App::Unix(socket) => (Socket::Unix(socket.connect()?), Interest::READABLE),
            App::Tcp(addr) => {
                let stream = TcpStream::connect(*addr)?;
                stream.set_nodelay(true)?;
                (Socket::Tcp(stream), Interest::READABLE | Interest::WRITABLE)
            }
        };
        mio::event::Source::register(&mut socket, registry, token(key), interest)?;
        let (wants_write, is_proven) = (interest.is_writable(), matches!(socket, Socket::Unix(_)));
        entry.insert(Upstream {
            socket,
            owner,
            readable: false,
            is_put_off: false,
            is_proven,
            closing: false,
            wants_write,
            idled: None,
            output: Vec::new(),
        });
        Ok(key)
    }

    /// Whether somebody still listens: a connection of which nothing is asked. Err: why there is none.
    pub fn look(&mut self, registry: &Registry, token: impl Fn(usize) -> Token) -> io::Result<()> {
        let key = self.open(Owner::Nobody, registry, token)?;
        let upstream = self.all.remove(key);
        match &upstream.socket {
            Socket::Tcp(stream) => stream.take_error()?.map_or(Ok(()), Err),
            Socket::Unix(_) => Ok(()),
        }
    }

    /// A new one takes the place of an idle one, which is closed first, also when there could be more: so there are never more than requests
    /// at a time. One is left to idle, if there may be so many, until it has shown that the app holds them.
    fn make_room(&mut self) {
        let left = usize::from(self.habit == Habit::Unknown && self.all.len() < self.most);
        if self.idle.len() > left
            && let Some((key, _)) = self.idle.pop()
        {
            self.all.remove(key);
        }
        // Whoever asks has a slot, so the others that work are fewer than the slots.
        debug_assert!(self.all.len() < self.most, "{} connections of {} slots, and one more", self.all.len(), self.most);
    }

    /// Every slot has its request.
    pub fn all_work(&self) -> bool {
        self.all.len() - self.idle.len() >= self.most
    }

    /// Asks for an event when the app's socket takes bytes again.
    pub fn ask_writable(&mut self, key: usize, registry: &Registry, token: Token) -> io::Result<()> {
        let upstream = &mut self.all[key];
        if upstream.wants_write {
            return Ok(());
        }
        upstream.wants_write = true;
        mio::event::Source::reregister(&mut upstream.socket, registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Keeps a connection for the next request.
    pub fn keep(&mut self, key: usize, now: Instant) {
        let upstream = &mut self.all[key];
        upstream.owner = Owner::Nobody;
        if let Some(idled) = upstream.idled {
            self.habit.held(idled);
        }
        self.idle.push((key, now));
    }

    /// Closes a connection (the kernel takes it out of the poll).
    pub fn close(&mut self, key: usize) {
        if self.all.contains(key) && self.all.remove(key).owner == Owner::Nobody {
            self.idle.retain(|(idle, _)| *idle != key);
        }
    }

    /// Closes a connection that has not taken its whole request. Over TCP what it did not take would be kept by the kernel, and the connection be
    /// open for the app, until the app reads all of it, which may be never.
    pub fn give_up(&mut self, key: usize) {
        if let Some(upstream) = self.all.get(key) {
            upstream.socket.reset_on_close();
        }
        self.close(key);
    }

    /// Closes what has been idle for too long.
    pub fn close_old(&mut self, now: Instant) {
        self.look_at_the_oldest(now);
        let old = self.idle.iter().take_while(|(_, since)| now.saturating_duration_since(*since) >= self.idle_limit).count();
        for (key, _) in self.idle.drain(..old) {
            self.all.remove(key);
        }
    }

    /// Closes everything idle.
    pub fn close_idle(&mut self) {
        for (key, _) in self.idle.drain(..) {
            self.all.remove(key);
        }
    }

    /// When the oldest idle one has to be closed.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.idle.first().map(|(_, since)| *since + self.idle_limit)
    }
}

#[cfg(test)]
mod tests;
