//! Connections to the app: opened when needed, kept for the next request, closed when idle for `timeouts.pooled`.
//!
//! On the I/O thread of their process. Which client a connection works for is written in it; what is exchanged is not its business.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use slab::Slab;

use crate::conn::socket::Socket;
use crate::restart::spawn::Endpoint;
use crate::socket_file::AppSocket;

/// One connection to the app.
#[derive(Debug)]
pub struct Upstream {
    pub socket: Socket,
    pub owner: Owner,
    /// The socket may have bytes (edge-triggered).
    pub readable: bool,
    /// It is to be read after others.
    pub is_put_off: bool,
    /// The end of the app's stream was announced.
    pub closing: bool,
    /// An event for writability is asked for.
    wants_write: bool,
    /// It carried a request before this one: that it is closed says nothing about the process.
    pub reused: bool,
    /// The beginning of a head that is not whole yet.
    pub input: Vec<u8>,
    /// Of a tunnel: bytes for the app that its socket did not take yet.
    pub output: Vec<u8>,
}

/// Whom it works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

impl Upstreams {
    pub fn new(endpoint: Endpoint, idle_limit: Duration) -> Self {
        let app = match endpoint {
            Endpoint::Unix(path) => App::Unix(AppSocket::new(path)),
            Endpoint::Tcp(addr) => App::Tcp(addr),
        };
        Self { all: Slab::new(), app, idle: Vec::new(), idle_limit }
    }

    /// Where the process turned out to listen.
    pub fn move_to(&mut self, addr: SocketAddr) {
        self.app = App::Tcp(addr);
    }

    /// The loopback port that the process was given; None: it has a Unix socket.
    pub fn port(&self) -> Option<u16> {
        match &self.app {
            App::Tcp(addr) => Some(addr.port()),
            App::Unix(_) => None,
        }
    }

    /// A kept connection, the one used last first: the others may then grow old and close.
    pub fn reuse(&mut self, owner: Owner) -> Option<usize> {
        let is_quiet = |(key, _): &(usize, Instant)| !self.all[*key].readable;
        // One that is not is closed when its event has its turn.
        let (key, _) = self.idle.remove(self.idle.iter().rposition(is_quiet)?);
        let upstream = &mut self.all[key];
        upstream.owner = owner;
        upstream.reused = true;
        Some(key)
    }

    /// Something came, or its end, on an idle connection.
    pub fn heard(&mut self, key: usize, something: bool) {
        if let Some(upstream) = self.all.get_mut(key).filter(|upstream| upstream.owner == Owner::Nobody) {
            upstream.readable |= something;
        }
    }

    /// A new connection. `WouldBlock`: the app's backlog is full (Unix sockets, connect(2)).
    pub fn open(&mut self, owner: Owner, registry: &Registry, token: impl Fn(usize) -> Token) -> io::Result<usize> {
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
        let wants_write = interest.is_writable();
        entry.insert(Upstream {
            socket,
            owner,
            readable: false,
            is_put_off: false,
            closing: false,
            wants_write,
            reused: false,
            input: Vec::new(),
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
        self.idle.push((key, now));
    }

    /// Closes a connection (the kernel takes it out of the poll).
    pub fn close(&mut self, key: usize) {
        if self.all.contains(key) && self.all.remove(key).owner == Owner::Nobody {
            self.idle.retain(|(idle, _)| *idle != key);
        }
    }

    /// Closes what has been idle for too long.
    pub fn close_old(&mut self, now: Instant) {
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
