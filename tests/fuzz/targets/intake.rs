//! A client's connection as the event loops drive it, over a socket: what comes through as requests is what a second reader sees, with the
//! same bodies, nothing behind a refusal is a request, and the client gets an answer for each and no more.
//!
//! The first byte of an input says how much is written and read at a time; the rest is what the client sends.

use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use mio::{Poll, Token};
use rota::catalog::Catalog;
use rota::config::{self, SourceFile};
use rota::conn::answering;
use rota::conn::desk::Desk;
use rota::conn::intake::{self, Next};
use rota::conn::socket::Socket;
use rota::conn::spool::Piece;
use rota::conn::{Conn, Phase, Request};
use rota::handoff::{Inbox, mailbox};
use rota::table::{Shared, ToMaster};

use super::second_reader::{self, Body, Reading, Request as Read_};

pub fn check(bytes: &[u8]) {
    let Some((pace, client)) = bytes.split_first() else { return };
    if client.len() > LARGEST {
        return;
    }
    let expected = Expected::of(client);
    SERVER.with_borrow_mut(|server| {
        let mut desk = Desk::new(READS[usize::from(*pace) % READS.len()], None, &server.shared);
        let (taken, output) = server.serve(client, WRITES[usize::from(*pace) / 16 % WRITES.len()], &mut desk);
        expected.is_what_came_through(&taken, &output);
    });
}

/// What a second reader sees.
struct Expected {
    requests: Vec<Taken>,
    end: End,
}

/// What stands behind the last request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// Nothing, or part of a request, which may be refused already.
    Open,
    /// It was the last.
    Closed,
    Refused,
}

/// A request that came through.
#[derive(Debug, PartialEq)]
struct Taken {
    line: String,
    body: Vec<u8>,
}

impl Expected {
    fn of(client: &[u8]) -> Self {
        let (mut requests, mut at) = (Vec::new(), 0);
        let end = loop {
            let (spelled, more) = spelled(&client[at..]);
            let second = match second_reader::read(&spelled) {
                Reading::Request(request) => Read_ { length: request.length - more, ..request },
                Reading::Incomplete => break End::Open,
                Reading::Refused(_) => break End::Refused,
            };
            at += second.length;
            let (body, length) = match second.body {
                Body::None => (Vec::new(), 0),
                Body::Length(length) if length > MAX_BODY as u64 => break End::Refused,
                Body::Length(length) => match client.get(at..at + length as usize) {
                    Some(body) => (body.to_vec(), body.len()),
                    None => break End::Open,
                },
                Body::Chunked(Ok(Some((data, _)))) if data.len() > MAX_BODY => break End::Refused,
                Body::Chunked(Ok(Some(body))) => body,
                Body::Chunked(Ok(None)) => break End::Open,
                Body::Chunked(Err(_)) => break End::Refused,
            };
            at += length;
            requests.push(Taken { line: format!("{} {}", second.method, second.path), body });
            if !second.keep_alive {
                break End::Closed;
            }
        };
        Self { requests, end }
    }

    fn is_what_came_through(&self, taken: &[Taken], output: &str) {
        let continues = output.matches("HTTP/1.1 100 Continue\r\n\r\n").count();
        let refusals = output.matches("HTTP/1.1 ").count() - continues - output.matches(ANSWER).count();
        assert_eq!(output.matches(ANSWER).count(), taken.len(), "one answer for each: {output:?}");
        // The second reader knows no limits, which end a connection earlier.
        if ["414", "431"].iter().any(|status| output.contains(&format!("HTTP/1.1 {status} "))) {
            assert_eq!((taken, refusals), (&self.requests[..taken.len()], 1), "{output:?}");
            return;
        }
        assert_eq!(taken, self.requests, "{output:?}");
        match self.end {
            End::Open => assert!(refusals <= 1, "{output:?}"),
            End::Closed => assert_eq!(refusals, 0, "{output:?}"),
            End::Refused => assert_eq!(refusals, 1, "{output:?}"),
        }
    }
}

/// What is read of the next request, and how much longer it is than what was sent: a target's bytes of 0x80 and more are escaped, and a query
/// without a path has one.
fn spelled(bytes: &[u8]) -> (Vec<u8>, usize) {
    let line = bytes.iter().skip(2).position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 2);
    let mut words: Vec<Vec<u8>> = bytes[..line].split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
    if let Some(target) = words.get_mut(1) {
        let end = target.iter().position(|byte| *byte < b' ').unwrap_or(target.len());
        let rest = target.split_off(end);
        let mut text: String =
            target.iter().map(|byte| if *byte < 0x80 { char::from(*byte).to_string() } else { format!("%{byte:02X}") }).collect();
        if let Some((scheme, behind)) = text.split_once("://")
            && ["http", "https"].contains(&scheme.to_lowercase().as_str())
            && let Some(query) = behind.find('?').filter(|query| *query > 0 && !behind[..*query].contains('/'))
        {
            text.insert(scheme.len() + 3 + query, '/');
        }
        *target = text.into_bytes();
        target.extend(rest);
    }
    let all = [words.join(&b' '), bytes[line..].to_vec()].concat();
    let more = all.len() - bytes.len();
    (all, more)
}

struct Server {
    shared: Arc<Shared>,
    _poll: Poll,
    _inbox: Inbox<ToMaster>,
}

impl Server {
    fn new() -> Self {
        let loaded = config::parse(&[SourceFile { path: "rota.toml".into(), text: CONFIG.to_owned() }]).expect("well-formed");
        let poll = Poll::new().expect("a poll");
        let (master, inbox) = mailbox(poll.registry(), Token(0)).expect("a mailbox");
        let watch = poll.registry().try_clone().expect("a registry");
        let catalog = Catalog::open(loaded.config, loaded.sources).expect("logs are off");
        let shared = Arc::new(Shared::new(catalog, std::path::Path::new("rota.toml"), |_| Err("not here".to_owned()), master, watch));
        Self { shared, _poll: poll, _inbox: inbox }
    }

    /// Serves one connection to its end: the requests that wanted a slot, and what the client got.
    fn serve(&mut self, mut bytes: &[u8], write: usize, desk: &mut Desk) -> (Vec<Taken>, String) {
        let (mut client, socket) = UnixStream::pair().expect("two sockets");
        client.set_nonblocking(true).and_then(|()| socket.set_nonblocking(true)).expect("two sockets");
        let socket = Socket::Unix(mio::net::UnixStream::from_std(socket));
        let mut conn = Some(Conn::new(
            socket,
            None,
            Phase::Head,
            &self.shared.connections,
            Default::default(),
            self.shared.catalog().logs.access.clone(),
        ));
        let (mut taken, mut output) = (Vec::new(), Vec::new());
        let mut is_shut = false;
        while let Some(open) = &mut conn {
            let mut turn = desk.turn(&self.shared, 0);
            match intake::advance(open, &mut turn) {
                Next::Slot => {
                    let request = open.request.as_mut().expect("what wants a slot");
                    taken.push(Taken { line: request.line(), body: body(request) });
                    let keep = request.facts.keep_alive;
                    let answer = format!("{ANSWER}Content-Length: 2\r\n\r\n{}", if request.facts.head_only { "" } else { "ok" });
                    open.send(answer.as_bytes(), &[], Some(&self.shared.spool)).expect("an open socket");
                    answering::request_done(open, turn.spare, keep, turn.now);
                }
                Next::Again | Next::File => {}
                Next::Introduced(_) => panic!("no listener of proxies: {open:?}"),
                Next::Wait | Next::Body if is_shut => panic!("it waits on a client that has ended: {open:?}"),
                Next::Wait | Next::Body if bytes.is_empty() => {
                    client.shutdown(std::net::Shutdown::Write).expect("an open socket");
                    is_shut = true;
                    (open.readable, open.closing) = (true, true);
                }
                Next::Wait | Next::Body => {
                    let count = client.write(&bytes[..write.min(bytes.len())]).expect("room, and a server that reads to the end");
                    bytes = &bytes[count..];
                    open.readable = true;
                }
                Next::Close => conn = None,
            }
            drain(&mut client, &mut output);
        }
        drain(&mut client, &mut output);
        (taken, output.iter().map(|byte| char::from(*byte)).collect())
    }
}

fn body(request: &mut Request) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(piece) = request.body.next() {
        let Piece::Memory(bytes) = piece else { panic!("so small a body is in memory") };
        let count = bytes.len();
        all.extend_from_slice(bytes);
        request.body.advance(count);
    }
    all
}

fn drain(client: &mut UnixStream, output: &mut Vec<u8>) {
    match client.read_to_end(output) {
        Ok(_) => {}
        Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionReset), "{error}"),
    }
}

thread_local! {
    static SERVER: RefCell<Server> = RefCell::new(Server::new());
}

const CONFIG: &str = "[app.a]\ncommand = \"run\"\nroot = \"/\"\nbind = \"unix\"\nlimits.body = \"1K\"\nsticky = true\n";
const MAX_BODY: usize = 1024;
const ANSWER: &str = "HTTP/1.1 200 App\r\n";
/// Bytes at a time.
const READS: [usize; 6] = [4096, 1, 2, 7, 64, 700];
const WRITES: [usize; 6] = [4096, 1, 3, 16, 100, 1000];
/// Less than any limit that the second reader knows differently (bytes).
const LARGEST: usize = 4096;
