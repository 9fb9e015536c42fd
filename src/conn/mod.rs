//! A client's connection as a value that can move between threads: socket, parse state and buffers in one struct.
//!
//! Whichever event loop holds it owns it whole. [`intake`] drives it as long as it needs no app (heads, request bodies, refusals, the rest
//! of an answer); the exchange with an app stands in `io_thread`.

pub mod answering;
mod count;
pub mod crowded;
pub mod desk;
pub mod file_body;
pub mod folders;
mod health;
pub mod idle;
pub mod intake;
mod pace;
mod pages;
mod request;
pub mod request_body;
pub mod room;
mod save;
pub mod socket;
pub mod spool;
pub mod spool_place;
pub mod static_files;
pub mod uploads;
pub mod ways;

use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use crate::access_log::{AccessLog, Line};
use crate::deadlines::Deadline;
use crate::http::cut::Cut;
use crate::http::refusal::Refusal;
use crate::ids::GroupId;
use crate::metrics::meter::Share;
use crate::metrics::tally::{Alone, End};
use crate::pool::WaitId;
use crate::visitor::Visitor;
pub use count::{ConnCount, Heads};
use file_body::FileBody;
pub use request::Request;
use room::{Claimant, Kind, SpoolSpace};
pub use save::{Heir, SavedConn};
use socket::Socket;
use spool::{Piece, Spool};
use static_files::{FileErrand, Looked};

/// One client connection.
#[derive(Debug)]
pub struct Conn {
    pub socket: Socket,
    /// The other end, or whom a PROXY header has named in its place. None: a Unix socket.
    pub peer: Option<IpAddr>,
    /// A PROXY header has named nobody: what the client says of itself is no proxy's word.
    pub is_unnamed: bool,
    pub phase: Phase,
    /// Bytes read and not yet understood: part of a head, part of a body, pipelined requests. Empty while idle.
    pub input: Vec<u8>,
    /// How far `input` has been searched for the end of a head.
    pub searched: usize,
    /// The socket may have bytes (edge-triggered: set by an event, cleared by a read that found less than there was room for).
    pub readable: bool,
    /// The other side's end of stream was announced or read.
    pub closing: bool,
    /// An event for writability is asked for.
    pub wants_write: bool,
    /// Something was refused of which more may come: the close waits for it (RFC 9112 9.6).
    pub unread: bool,
    /// What the socket did not take yet.
    pub output: Spool,
    /// What is sent behind `output` when the answer is from a file.
    pub file: Option<Box<FileBody>>,
    /// A file is to be looked for, or sent on, by a thread that acts for its app.
    pub errand: Option<FileErrand>,
    /// What came of it.
    pub looked: Option<Looked>,
    /// The app of a file that was sent from here: a process's thread is a better place for what follows.
    pub answered_for: Option<GroupId>,
    /// The request in hand: from its whole head to the end of its response, until the client has taken that.
    pub request: Option<Box<Request>>,
    /// Bytes that the socket has taken.
    sent: u64,
    log: Arc<AccessLog>,
    pub deadline: Deadline,
    /// While it waits in a queue: its name there and its token in the master's poll.
    pub waiting: Option<WaitId>,
    /// Counts it among the open connections.
    count: ConnCount,
    /// What of `input` is counted there.
    counted: usize,
    /// Counts it among those of its client.
    pub share: Arc<Heads>,
}

/// What a connection is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Before everything else, on listeners that ask for it: a PROXY header is read.
    ProxyHeader,
    /// Between requests, or a head has begun (`input` is not empty).
    Head,
    /// A request body is being read.
    Body,
    /// A whole request waits for a slot or is with the app.
    App,
    /// The rest of an answer is being written; then the next request, or (`close`) the end.
    Flush { close: bool },
    /// Our answer is out and our side is shut: read out what still comes, so that no reset destroys the answer. `left`: bytes.
    Linger { left: usize },
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.request.is_some() {
            self.end_request(Instant::now(), None);
        }
        self.count.one_less();
        self.count_as(0);
    }
}

impl Conn {
    /// `phase`: what comes first.
    pub fn new(socket: Socket, peer: Option<IpAddr>, phase: Phase, count: &ConnCount, share: Arc<Heads>, log: Arc<AccessLog>) -> Box<Self> {
        Box::new(Self {
            socket,
            peer,
            is_unnamed: false,
            phase,
            input: Vec::new(),
            searched: 0,
            readable: true,
            closing: false,
            wants_write: false,
            unread: false,
            output: Spool::default(),
            file: None,
            errand: None,
            looked: None,
            answered_for: None,
            request: None,
            sent: 0,
            log,
            deadline: Deadline::default(),
            waiting: None,
            count: count.one_more(),
            counted: 0,
            share,
        })
    }

    /// Whom the request in hand is from, else whom the connection is from.
    pub fn client(&self) -> Option<IpAddr> {
        self.request.as_ref().map_or(self.peer, |request| request.client)
    }

    /// Bytes that the socket has taken since it was opened.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Its requests are logged there from now on.
    pub fn logs_to(&mut self, log: &Arc<AccessLog>) {
        if !Arc::ptr_eq(&self.log, log) {
            self.log = log.clone();
        }
    }

    /// Takes the request out, whatever has become of it, counts and logs it: the only place that does any of that. `share`: where whoever does it
    /// counts alone.
    pub fn end_request(&mut self, now: Instant, share: Option<&Share>) -> Option<Box<Request>> {
        let mut request = self.request.take()?;
        request.share = None;
        let end = End { sent: self.sent, is_untaken: self.has_output(), now };
        match share {
            Some(share) if share.group == request.group => share.tally().count::<Alone>(&request, &end),
            Some(_) | None => self.log.meter(request.group).count(&request, &end),
        }
        if self.log.is_on(Some(request.group)) {
            let entry = &request.entry;
            let is_cut = !entry.is_whole || end.is_untaken;
            let line = Line {
                at: Timestamp::now(),
                client: request.client,
                head: &request.head,
                version: Some(request.facts.version),
                app: Some(self.log.app_name(request.group)),
                process: entry.process,
                status: if entry.status == 0 { CLIENT_LEFT } else { entry.status },
                sent: entry.body_sent(self.sent),
                queued: entry.queued(),
                with_app: entry.with_app(now),
                total: Some(now.saturating_duration_since(request.since)),
                retries: request.tries.saturating_sub(1),
                is_cut,
                cause: entry.cause.as_ref().map(Refusal::reason).or(is_cut.then_some(Cut::ClientLeft.reason())),
            };
            self.log.write(Some(request.group), &line);
        }
        Some(request)
    }

    /// Registers with an event loop: for reading, and for writing if something waits to be written.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.wants_write = self.has_output();
        let interest = if self.wants_write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        self.socket_mut().register(registry, token, interest)
    }

    /// Something waits to be written.
    pub fn has_output(&self) -> bool {
        !self.output.is_drained() || self.file.is_some()
    }

    /// Leaves an event loop. The next one announces again whatever is there to read.
    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.socket_mut().deregister(registry)
    }

    /// rota did not run for so long: none of its limits counts that.
    pub fn put_off(&mut self, by: Duration) {
        self.deadline.put_off(by);
        if let Some(request) = &mut self.request {
            request.lost += by;
            request.awaits_room = request.awaits_room.map(|since| since + by);
        }
    }

    /// Asks for an event when the socket takes bytes again.
    pub fn ask_writable(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if self.wants_write {
            return Ok(());
        }
        self.wants_write = true;
        self.socket_mut().reregister(registry, token, Interest::READABLE | Interest::WRITABLE)
    }

    /// Writes `head` and `data`, behind what already waits; what the socket does not take waits in `output`, of which memory alone is used
    /// without a `space`. True: the socket took something.
    pub fn send(&mut self, head: &[u8], data: &[u8], space: Option<&Arc<SpoolSpace>>) -> io::Result<bool> {
        let mut moved = false;
        // It may have caught up since: then nothing has to wait in a file.
        if !self.output.is_drained() {
            moved = self.write_waiting()? > 0;
        }
        let mut sent = 0;
        if self.output.is_drained() {
            self.output.clear();
            sent = match self.file {
                // Its first bytes share a packet with the end of the head.
                Some(_) if data.is_empty() => or_blocked(|| self.socket.write_before_more(head)),
                Some(_) | None => self.write_once(head, data),
            }?;
            self.sent += sent as u64;
        }
        for rest in [&head[sent.min(head.len())..], &data[sent.saturating_sub(head.len())..]] {
            match space {
                _ if rest.is_empty() => {}
                Some(space) => self.output.keep(rest, &claimant(self.request.as_deref(), self.peer), space),
                None => self.output.keep_in_memory(rest),
            }
        }
        Ok(moved || sent > 0)
    }

    /// Whom the request in hand is from, as one who has room in files.
    pub fn visitor(&self) -> Visitor {
        Visitor::of(self.client())
    }

    /// What waits to be written goes to its file as it should, if there is room by now, and there is room for more. If not, others are asked
    /// to make some.
    pub fn finds_room(&mut self, space: &Arc<SpoolSpace>) -> bool {
        let of = || claimant(self.request.as_deref(), self.peer);
        (!self.output.is_strained() || self.output.find_room(&of(), space).is_ok()) && self.output.has_room(of, space)
    }

    /// Writes what waits, as far as the socket takes it and others need not wait for it. `moved` says whether any byte went out.
    pub fn flush(&mut self, moved: &mut bool) -> io::Result<Flushed> {
        for _ in 0..PIECES {
            if self.output.is_drained() {
                self.output.clear();
                return Ok(Flushed::All);
            }
            if self.write_waiting()? == 0 {
                return Ok(Flushed::Blocked);
            }
            *moved = true;
        }
        Ok(Flushed::Part)
    }

    /// Writes what the socket takes of one piece of what waits; 0: nothing now.
    fn write_waiting(&mut self) -> io::Result<usize> {
        loop {
            let written = match self.output.next() {
                Some(Piece::Memory(bytes)) => self.socket.write(bytes),
                Some(Piece::File(file, at, count)) => self.socket.write_file(file, at, count),
                None => return Ok(0),
            };
            match written {
                Ok(written) => {
                    self.sent += written as u64;
                    self.output.advance(written);
                    return Ok(written);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn write_once(&mut self, head: &[u8], data: &[u8]) -> io::Result<usize> {
        or_blocked(|| match (head.is_empty(), data.is_empty()) {
            (true, true) => Ok(0),
            (false, true) => self.socket.write(head),
            (true, false) => self.socket.write(data),
            (false, false) => self.socket.write_vectored(&[IoSlice::new(head), IoSlice::new(data)]),
        })
    }

    fn socket_mut(&mut self) -> &mut dyn mio::event::Source {
        &mut self.socket
    }
}

/// Who has the room that an answer takes.
fn claimant(request: Option<&Request>, peer: Option<IpAddr>) -> Claimant {
    let client = request.map_or(peer, |request| request.client);
    Claimant { visitor: Visitor::of(client), group: request.map(|request| request.group), kind: Kind::Answer }
}

/// Of a socket that takes nothing now no bytes are written.
fn or_blocked(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            written => return written,
        }
    }
}

/// The status that is logged of a request whose connection ended before there was an answer: nginx's.
const CLIENT_LEFT: u16 = 499;

/// How far a flush came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Nothing waits any more.
    All,
    /// The socket takes no more for now: an event will tell.
    Blocked,
    /// It would take more. No event will tell.
    Part,
}

/// Pieces of one flush, of 256 KiB at most: a client that reads as fast as we write starves nobody.
const PIECES: usize = 8;
