//! What an event loop has for its connections and lends to their turns: buffers, deadlines, the date, the memory of requests that are done.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::folders::{Folders, Patience};
use super::{Conn, Request};
use crate::catalog::Catalog;
use crate::date::Date;
use crate::deadlines::{Deadlines, Pulse};
use crate::http::exchange::Out;
use crate::http::request_id::RequestIds;
use crate::ids::GroupId;
use crate::metrics::meter::Share;
use crate::table::Shared;

/// What an event loop has for the turns of its connections.
#[derive(Debug)]
pub struct Desk {
    /// Of this turn of the loop.
    pub now: Instant,
    pulse: Pulse,
    pub date: Date,
    pub deadlines: Deadlines,
    pub scratch: Vec<u8>,
    pub out: Out,
    pub spare: Spare,
    pub folders: Folders,
    acts_for: Option<GroupId>,
    /// The configuration of this turn of the loop.
    pub catalog: Arc<Catalog>,
    edition: u64,
}

impl Desk {
    /// `buffer`: bytes read or written at a time. `acts_for`: the loop is an app's own, and has its user's rights.
    pub fn new(buffer: usize, acts_for: Option<GroupId>, shared: &Shared) -> Self {
        let now = Instant::now();
        Self {
            acts_for,
            edition: shared.catalog_edition(),
            catalog: shared.catalog(),
            now,
            pulse: Pulse::new(now),
            date: Date::new(),
            deadlines: Deadlines::default(),
            scratch: vec![0; buffer],
            out: Out { bytes: Vec::with_capacity(OUT), gathered: Vec::new() },
            spare: Spare { share: acts_for.map(|group| shared.ledger(group).meter.share(group)), ..Spare::default() },
            folders: Folders::default(),
        }
    }

    /// A turn of the loop is over: for how long it may sleep to be back at `due_back`.
    pub fn sleeps(&mut self, due_back: Option<Instant>) -> Option<Duration> {
        let now = Instant::now();
        self.pulse.sleeps(due_back, now);
        due_back.map(|at| at.saturating_duration_since(now))
    }

    /// A turn of the loop begins. Some: so much time was lost ([`Pulse::wakes`]).
    pub fn begin(&mut self, interrupted: bool) -> Option<Duration> {
        self.now = Instant::now();
        self.pulse.wakes(interrupted, self.now).map(|lost| lost.time)
    }

    /// Goes on with the configuration that is in force now. True: it is another one.
    pub fn refresh(&mut self, shared: &Shared) -> bool {
        let edition = shared.catalog_edition();
        if edition == self.edition {
            return false;
        }
        self.edition = edition;
        self.catalog = shared.catalog();
        true
    }

    /// The connection goes to another loop.
    pub fn part_with(&self, conn: &mut Conn) {
        conn.deadline.leaves(self.now);
    }

    /// Takes over the deadline of a connection that comes from another loop.
    pub fn adopt(&mut self, conn: &mut Conn, token: usize) {
        let by = conn.deadline.arrives(self.now);
        conn.put_off(by);
        self.deadlines.adopt(&mut conn.deadline, token);
    }

    /// For the connection that the loop calls `token`.
    pub fn turn<'a>(&'a mut self, shared: &'a Shared, token: usize) -> Turn<'a> {
        self.folders.refresh(shared);
        Turn {
            shared,
            catalog: &self.catalog,
            now: self.now,
            date: self.date.at(self.now),
            deadlines: &mut self.deadlines,
            token,
            buffer: &mut self.scratch,
            out: &mut self.out.bytes,
            gathered: &mut self.out.gathered,
            spare: &mut self.spare,
            folders: &self.folders,
            acts_for: self.acts_for,
        }
    }
}

/// What the event loop lends to a turn of a connection.
#[derive(Debug)]
pub struct Turn<'a> {
    pub shared: &'a Shared,
    /// The configuration of this turn of the loop.
    pub catalog: &'a Catalog,
    pub now: Instant,
    /// For the Date field.
    pub date: &'a str,
    pub deadlines: &'a mut Deadlines,
    /// The loop's name for the connection in `deadlines`.
    pub token: usize,
    /// Read into; nothing in it outlives the turn.
    pub buffer: &'a mut [u8],
    /// Written into; cleared by whoever uses it.
    pub out: &'a mut Vec<u8>,
    /// The data of small chunks; cleared by whoever uses it.
    pub gathered: &'a mut Vec<u8>,
    pub spare: &'a mut Spare,
    pub folders: &'a Folders,
    /// The app whose files may be opened and read here.
    pub acts_for: Option<GroupId>,
}

/// What new requests are made of.
#[derive(Debug, Default)]
pub struct Spare {
    /// Requests that are done, kept for their memory.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept: connections hold requests in boxes")]
    done: Vec<Box<Request>>,
    /// Where those that end here are counted, of the loop's own app.
    share: Option<Share>,
    pub ids: RequestIds,
}

impl Turn<'_> {
    /// Whether to wait for a disk of an app here: not where there is a thread for that.
    pub fn patience(&self, group: GroupId) -> Patience {
        self.catalog.ledger(group).files.patience()
    }

    /// The connection has from now so much time for what it does.
    pub fn limit(&mut self, conn: &mut Conn, time: Duration) {
        self.deadlines.set(&mut conn.deadline, self.token, self.now + time);
    }
}

impl Spare {
    /// `request` in the memory of one that is done, if there is one.
    pub fn take(&mut self, mut request: Request) -> Box<Request> {
        match self.done.pop() {
            Some(mut spare) => {
                std::mem::swap(&mut request.head, &mut spare.head);
                *spare = request;
                spare
            }
            None => {
                request.head.reserve(HEAD);
                Box::new(request)
            }
        }
    }

    /// Ends the request of a connection, if it has one, and keeps its memory.
    pub fn end(&mut self, conn: &mut Conn, now: Instant) {
        if let Some(request) = conn.end_request(now, self.share.as_ref()) {
            self.give(request);
        }
    }

    /// Takes back the memory of a request that is done.
    fn give(&mut self, mut request: Box<Request>) {
        if self.done.len() < SPARE && request.head.capacity() <= SPARE_HEAD {
            request.head.clear();
            request.body.clear();
            self.done.push(request);
        }
    }
}

/// A head and a small body are written together (bytes).
const OUT: usize = 4096;
/// What the head of a browser's request takes, so that it does not grow step by step (bytes).
const HEAD: usize = 1024;
/// How many done requests a loop keeps, and the largest head among them (bytes).
const SPARE: usize = 64;
const SPARE_HEAD: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use mio::{Poll, Token};

    use super::*;
    use crate::config::{self, SourceFile};
    use crate::conn::Phase;
    use crate::conn::intake::{self, Next};
    use crate::conn::socket::Socket;
    use crate::handoff::{Inbox, mailbox};
    use crate::table::ToMaster;

    /// A server whose bodies and heads may stand still for 30 s.
    fn server() -> (Arc<Shared>, Inbox<ToMaster>) {
        let text = "[server]\ntimeouts = { body = \"30s\", head = \"30s\" }\n[app.a]\ncommand = \"run\"\nroot = \"/\"\nbind = \"unix\"\n";
        let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text: text.to_owned() }]).unwrap();
        let poll = Poll::new().unwrap();
        let (master, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let (watch, catalog) = (poll.registry().try_clone().unwrap(), Catalog::open(loaded.config, loaded.sources).unwrap());
        (Arc::new(Shared::new(catalog, std::path::Path::new("rota.toml"), |_| Err("not here".to_owned()), master, watch)), inbox)
    }

    /// A client that has sent `begin`, at a loop that has read it.
    fn begun(begin: &str, desk: &mut Desk, shared: &Shared) -> (UnixStream, Box<Conn>) {
        let (mut client, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        client.write_all(begin.as_bytes()).unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
        let mut conn = Conn::new(socket, None, Phase::Head, &shared.connections, Arc::default(), shared.catalog().logs.access.clone());
        let next = intake::advance(&mut conn, &mut desk.turn(shared, 0));
        assert!(matches!(next, Next::Wait | Next::Body), "{next:?}");
        (client, conn)
    }

    fn is_late(desk: &mut Desk, conn: &mut Conn) -> bool {
        let due = desk.deadlines.due(desk.now);
        due.is_some_and(|due| desk.deadlines.has_passed(&mut conn.deadline, due, desk.now))
    }

    fn told(client: &mut UnixStream) -> String {
        let mut text = [0; 4096];
        let count = client.read(&mut text).unwrap_or(0);
        String::from_utf8_lossy(&text[..count]).into_owned()
    }

    const BEGINNINGS: [&str; 2] = ["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", "GET / HTTP/1.1\r\nHost"];
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_stop_in_the_turn_that_sends_a_connection_to_another_loop_makes_nobody_late() {
        let (shared, _inbox) = server();
        for begin in BEGINNINGS {
            let (mut there, mut here) = (Desk::new(4096, None, &shared), Desk::new(4096, None, &shared));
            let (mut client, mut conn) = begun(begin, &mut there, &shared);
            there.part_with(&mut conn);
            // The loop that takes it in has run since, and has put off all that it had by then.
            here.now = there.now + 100 * SECOND;
            here.adopt(&mut conn, 0);
            assert!(!is_late(&mut here, &mut conn), "{begin:?}");
            here.now += 29 * SECOND;
            assert!(!is_late(&mut here, &mut conn), "{begin:?}");
            here.now += 2 * SECOND;
            assert!(is_late(&mut here, &mut conn), "{begin:?}");
            intake::expire(&mut conn, &mut here.turn(&shared, 0));
            assert!(told(&mut client).starts_with("HTTP/1.1 408 "), "{begin:?}");
        }
    }

    #[test]
    fn what_is_here_is_read_before_anybody_is_told_that_he_is_late() {
        let (shared, _inbox) = server();
        for (begin, end) in BEGINNINGS.into_iter().zip(["x", ": a\r\n\r\n"]) {
            let mut desk = Desk::new(4096, None, &shared);
            let (mut client, mut conn) = begun(begin, &mut desk, &shared);
            client.write_all(end.as_bytes()).unwrap();
            desk.now += 31 * SECOND;
            assert!(is_late(&mut desk, &mut conn));
            assert_eq!(intake::expire(&mut conn, &mut desk.turn(&shared, 0)), Next::Slot, "{begin:?}");
            assert_eq!(told(&mut client), "");
        }
    }

    #[test]
    fn a_head_that_drips_is_late_all_the_same() {
        let (shared, _inbox) = server();
        let mut desk = Desk::new(4096, None, &shared);
        let (mut client, mut conn) = begun(BEGINNINGS[1], &mut desk, &shared);
        client.write_all(b": ").unwrap();
        desk.now += 31 * SECOND;
        assert!(is_late(&mut desk, &mut conn));
        intake::expire(&mut conn, &mut desk.turn(&shared, 0));
        assert!(told(&mut client).starts_with("HTTP/1.1 408 "));
    }
}
