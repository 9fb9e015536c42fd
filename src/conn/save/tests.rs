//! Connections in every phase, left to the next rota and taken over by it: what follows is as if nothing had been.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use mio::{Poll, Token};

use super::*;
use crate::catalog::Catalog;
use crate::config::{self, SourceFile};
use crate::conn::desk::Desk;
use crate::conn::file_body::FileBody;
use crate::conn::intake::{self, Next};
use crate::conn::room::{Claimant, Kind};
use crate::conn::socket::Socket;
use crate::conn::spool::{MEMORY, Piece, Spool};
use crate::conn::static_files::{Errand, FileErrand};
use crate::handoff::{Inbox, mailbox};
use crate::moment::counted_from;
use crate::table::ToMaster;

/// A rota, and one event loop of it.
struct Rota {
    shared: Arc<Shared>,
    desk: Desk,
    _dir: tempfile::TempDir,
    _inbox: Inbox<ToMaster>,
    _poll: Poll,
}

impl Rota {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = format!("[server]\nspool_dir = {:?}\ntimeouts = {{ body = \"30s\", head = \"30s\" }}\n", dir.path());
        let app = |name| format!("[app.{name}]\ncommand = \"run\"\nroot = \"/\"\nbind = \"unix\"\nhosts = [\"{name}\"]\n");
        let text = server + &app("a") + &app("b");
        let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap();
        let poll = Poll::new().unwrap();
        let (master, inbox) = mailbox(poll.registry(), Token(0)).unwrap();
        let (watch, catalog) = (poll.registry().try_clone().unwrap(), Catalog::open(loaded.config, loaded.sources).unwrap());
        let shared = Shared::new(catalog, std::path::Path::new("rota.toml"), |_| Err("not here".to_owned()), master, watch);
        let shared = Arc::new(shared);
        Self { desk: Desk::new(4096, Some(GroupId(1)), &shared), shared, _dir: dir, _inbox: inbox, _poll: poll }
    }

    fn client(&self) -> (UnixStream, Box<Conn>) {
        let (client, socket) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        client.set_nonblocking(true).unwrap();
        let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
        let log = self.shared.catalog().logs.access.clone();
        (client, Conn::new(socket, None, Phase::Head, &self.shared.connections, Arc::default(), log))
    }

    /// An event has told of whatever there is.
    fn advance(&mut self, conn: &mut Conn) -> Next {
        conn.readable = true;
        loop {
            let next = intake::advance(conn, &mut self.desk.turn(&self.shared, 0));
            if next != Next::Again {
                return next;
            }
        }
    }

    fn hears(&mut self, conn: &mut Conn, client: &mut UnixStream, bytes: &[u8]) -> Next {
        let mut next = self.advance(conn);
        for piece in bytes.chunks(16 * 1024) {
            client.write_all(piece).unwrap();
            next = self.advance(conn);
        }
        next
    }

    /// Sends what waits, to a client that takes all of it.
    fn says(&mut self, conn: &mut Conn, client: &mut UnixStream) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            let next = self.advance(conn);
            let before = all.len();
            let _ = client.read_to_end(&mut all);
            if all.len() == before {
                assert_eq!(next, Next::Wait);
                return all;
            }
        }
    }

    /// Takes over a connection of the rota before, whose first app is the second here, and the other way round.
    fn takes_over(&mut self, before: &Self, conn: Box<Conn>) -> Box<Conn> {
        self.takes_over_of(before, conn, &|group| Some(GroupId(1 - group.0))).unwrap()
    }

    fn takes_over_of(&mut self, before: &Self, conn: Box<Conn>, groups: &dyn Fn(GroupId) -> Option<GroupId>) -> Result<Box<Conn>, String> {
        let mut pack = Pack::default();
        let text = counted_from(before.desk.now, || serde_json::to_string(&conn.save(&mut pack)).unwrap());
        let mut unpack = Unpack::new(pack.fds().iter().map(|fd| fd.try_clone_to_owned().unwrap()).collect());
        // As with its program.
        drop(conn);
        let saved: SavedConn<'_> = counted_from(self.desk.now, || serde_json::from_str(&text).unwrap());
        let mut heir = Heir { unpack: &mut unpack, shared: &self.shared, groups, share: &mut |_| Arc::default() };
        let mut conn = saved.restore(&mut heir)?;
        self.desk.adopt(&mut conn, 0);
        Ok(conn)
    }

    /// In how long the connection has to have moved.
    fn due(&self, conn: &Conn) -> Option<Duration> {
        conn.deadline.at().map(|at| at.saturating_duration_since(self.desk.now))
    }
}

fn read_back(spool: &mut Spool) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = spool.next() {
        let bytes = match piece {
            Piece::Memory(bytes) => bytes.to_owned(),
            Piece::File(file, at, count) => {
                let mut bytes = vec![0; count as usize];
                file.read_exact_at(&mut bytes, at).unwrap();
                bytes
            }
        };
        spool.advance(bytes.len());
        all.extend(bytes);
    }
    all
}

fn bytes(count: u32) -> Vec<u8> {
    (0..count).map(|i| (i * 7 % 251) as u8).collect()
}

const GET: &str = "GET /page HTTP/1.1\r\nHost: a\r\nCookie: b=c\r\n\r\n";

#[test]
fn a_head_goes_on_where_it_was_cut_and_has_the_time_that_it_had() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    for cut in 0..=GET.len() {
        let (mut client, mut conn) = one.client();
        let next = one.hears(&mut conn, &mut client, &GET.as_bytes()[..cut]);
        assert_eq!(next, if cut == GET.len() { Next::Slot } else { Next::Wait });
        let due = one.due(&conn);
        assert_eq!(due, (cut > 0 && cut < GET.len()).then_some(Duration::from_secs(30)), "at {cut}");
        let mut conn = other.takes_over(&one, conn);
        assert_eq!(other.due(&conn), due, "at {cut}");
        // Pipelined behind it.
        assert_eq!(other.hears(&mut conn, &mut client, [&GET[cut..], GET].concat().as_bytes()), Next::Slot, "at {cut}");
        let request = conn.request.as_ref().unwrap();
        assert_eq!((request.line(), conn.client()), ("GET /page".to_owned(), None));
        assert_eq!(request.group, GroupId(u16::from(cut == GET.len())), "at {cut}: whose head was whole is of the app of that rota");
    }
    assert_eq!((one.shared.connections.open(), other.shared.connections.open()), (0, 0));
}

#[test]
fn a_body_goes_on_where_it_was_cut_in_memory_and_in_a_file() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    let chunked = |body: &[u8]| {
        let chunks = body.chunks(5000).flat_map(|part| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat());
        chunks.chain(*b"0\r\n\r\n").collect::<Vec<u8>>()
    };
    for (body, framing, framed) in [
        (bytes(300), "Content-Length: 300", bytes(300)),
        (bytes(200_000), "Content-Length: 200000", bytes(200_000)),
        (bytes(200_000), "Transfer-Encoding: chunked", chunked(&bytes(200_000))),
    ] {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n");
        for cut in [0, 1, 2, 7, 150, framed.len() / 2, framed.len() - 3, framed.len() - 1, framed.len()] {
            let (mut client, mut conn) = one.client();
            let whole = [head.as_bytes(), &framed].concat();
            let next = one.hears(&mut conn, &mut client, &whole[..head.len() + cut]);
            assert_eq!(next, if cut == framed.len() { Next::Slot } else { Next::Body }, "{framing} at {cut}");
            let (due, in_files) = (one.due(&conn), one.shared.spool.bytes());
            let mut conn = other.takes_over(&one, conn);
            assert_eq!((other.due(&conn), other.shared.spool.bytes()), (due, in_files), "{framing} at {cut}");
            assert_eq!(one.shared.spool.bytes(), 0);
            assert_eq!(other.hears(&mut conn, &mut client, &framed[cut..]), Next::Slot, "{framing} at {cut}");
            let mut request = conn.request.take().unwrap();
            assert_eq!((request.group, request.received), (GroupId(1), body.len() as u64));
            assert!(read_back(&mut request.body) == body, "{framing} at {cut}");
            request.body.rewind();
            assert!(read_back(&mut request.body) == body, "{framing} at {cut}, again");
            assert_eq!(request.body.len() > MEMORY as u64, other.shared.spool.bytes() > 0);
        }
    }
    assert_eq!(other.shared.spool.bytes(), 0);
}

#[test]
fn an_answer_goes_on_behind_what_the_client_has_taken() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    for count in [0, 1000, 600_000, 1_200_000] {
        let (mut client, mut conn) = one.client();
        let (head, data) = (b"HTTP/1.1 200 OK\r\n\r\n", bytes(count));
        conn.send(head, &data, Some(&one.shared.spool.clone())).unwrap();
        conn.phase = Phase::Flush { close: false };
        let mut taken = vec![0; count as usize / 10];
        client.read_exact(&mut taken).unwrap();
        one.advance(&mut conn);
        assert!(count < 600_000 || conn.output.unread() > 0 && one.shared.spool.bytes() > 0, "{} wait", conn.output.unread());
        let (due, sent) = (one.due(&conn), conn.sent());
        let mut conn = other.takes_over(&one, conn);
        assert_eq!((other.due(&conn), conn.sent()), (due, sent));
        taken.extend(other.says(&mut conn, &mut client));
        assert!(taken == [&head[..], &data].concat(), "{count}");
        assert_eq!((conn.phase, conn.sent(), other.shared.spool.bytes()), (Phase::Head, taken.len() as u64, 0));
        assert_eq!(other.hears(&mut conn, &mut client, GET.as_bytes()), Next::Slot, "{count}: the next request");
    }
}

#[test]
fn the_rest_of_a_file_follows_also_where_a_thread_was_to_send_it() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    let data = bytes(1_000_000);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&data).unwrap();
    let (mut client, mut conn) = one.client();
    conn.send(b"HTTP/1.1 206 Part\r\n\r\n", &[], None).unwrap();
    conn.phase = Phase::Flush { close: true };
    let mut body = FileBody::new(GroupId(0), file, 1000, 900_000);
    assert!(body.send(&conn.socket, &mut false, crate::conn::folders::Patience::Disk).is_ok());
    assert!(body.left() > 0 && body.left() < 900_000);
    conn.file = Some(Box::new(body));
    assert_eq!(one.advance(&mut conn), Next::File, "it is of another app than this loop");
    let mut conn = other.takes_over(&one, conn);
    let mut taken = Vec::new();
    while other.advance(&mut conn) != Next::Close && taken.len() < 1_000_000 {
        let _ = client.read_to_end(&mut taken);
        if conn.file.is_none() {
            break;
        }
    }
    let _ = client.read_to_end(&mut taken);
    assert!(taken == [b"HTTP/1.1 206 Part\r\n\r\n", &data[1000..901_000]].concat(), "{} bytes", taken.len());
}

#[test]
fn a_request_whose_file_somebody_looked_for_asks_again() {
    let (one, mut other) = (Rota::new(), Rota::new());
    let (mut client, mut conn) = one.client();
    conn.input = GET.as_bytes().to_owned();
    conn.errand = Some(FileErrand { group: GroupId(0), what: Errand::Find { name: b"page".to_vec(), codings: [None; 2] } });
    let mut conn = other.takes_over(&one, conn);
    assert_eq!(other.hears(&mut conn, &mut client, b""), Next::Slot);
    drop(client);
    assert_eq!(one.desk.catalog.apps().count(), 2);
}

#[test]
fn what_it_counts_for_it_counts_for_again_and_nothing_is_refused() {
    let (one, mut other) = (Rota::new(), Rota::new());
    let max = other.shared.catalog().server.spool_max;
    other.shared.spool.resize(100_000, 1, 2);
    let (_client, mut conn) = one.client();
    let claimant = Claimant { visitor: Visitor::V4(1), group: Some(GroupId(0)), kind: Kind::Answer };
    conn.output.keep(&bytes(300_000), &claimant, &one.shared.spool.clone());
    conn.input = b"GET /".to_vec();
    let mut conn = other.takes_over(&one, conn);
    assert_eq!((other.shared.spool.bytes(), conn.output.unread()), (300_000, 300_000));
    assert_eq!((one.shared.connections.open(), other.shared.connections.open()), (0, 1));
    assert!(read_back(&mut conn.output) == bytes(300_000));
    other.shared.spool.resize(max, 1000, 2);
    drop(conn);
    assert_eq!((other.shared.spool.bytes(), other.shared.connections.open()), (0, 0));
}

#[test]
fn one_that_waits_is_watched_again_under_its_name_which_no_other_gets() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    let (mut client, mut conn) = one.client();
    assert_eq!(one.hears(&mut conn, &mut client, GET.as_bytes()), Next::Slot);
    dispatch::watch_again(&one.shared, &mut conn, WaitId(7));
    let conn = other.takes_over(&one, conn);
    assert_eq!(conn.waiting, Some(WaitId(7)));
    assert_eq!(other.shared.wait_id(), WaitId(8));
    let conn = dispatch::unwatch(&other.shared, conn).expect("it was watched");
    assert_eq!(conn.waiting, None);
}

#[test]
fn a_request_of_an_app_that_is_gone_is_an_error() {
    let (mut one, mut other) = (Rota::new(), Rota::new());
    let (mut client, mut conn) = one.client();
    assert_eq!(one.hears(&mut conn, &mut client, GET.as_bytes()), Next::Slot);
    let refused = other.takes_over_of(&one, conn, &|_| None).unwrap_err();
    assert_eq!(refused, "app number 0 is not in the configuration any more");
}

#[test]
fn over_tcp_it_is_the_same_connection_and_does_not_block() {
    let (one, mut other) = (Rota::new(), Rota::new());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (socket, peer) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    let (socket, log) = (Socket::Tcp(mio::net::TcpStream::from_std(socket)), one.shared.catalog().logs.access.clone());
    let conn = Conn::new(socket, Some(peer.ip()), Phase::Head, &one.shared.connections, Arc::default(), log);
    let mut conn = other.takes_over(&one, conn);
    assert_eq!((other.advance(&mut conn), conn.client(), conn.socket.peer_ip()), (Next::Wait, Some(peer.ip()), Some(peer.ip())));
    client.write_all(GET.as_bytes()).unwrap();
    let began = Instant::now();
    while other.advance(&mut conn) == Next::Wait && began.elapsed() < Duration::from_secs(10) {
        std::thread::yield_now();
    }
    assert_eq!(conn.phase, Phase::App);
}
