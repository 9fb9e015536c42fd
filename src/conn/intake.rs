//! Drives a connection while it needs no app: reads heads and request bodies, writes what waits, closes in two steps.
//!
//! The same code on the master (first heads) and on the I/O threads (kept connections). It never blocks and never looks at the pool: the
//! event loop that called it takes a whole request to a process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::answering::{Asker, refuse, refuse_head};
use super::desk::Turn;
use super::file_body::Sent;
use super::folders::Later;
use super::request_body::Credit;
use super::request_body::{self, Came};
use super::spool::{self, Spool, SpoolError};
use super::static_files::{Errand, FileErrand, Looked};
use super::{Conn, Flushed, Phase, Request, health, room, static_files};
use crate::access_log::Entry;
use crate::http::cut::Cut;
use crate::http::exchange::body::BodyReader;
use crate::http::exchange::facts::RequestFacts;
use crate::http::expectation;
use crate::http::forwarded::Origin;
use crate::http::framing::RequestBody;
use crate::http::head::{self, HeadLimits, HeaderRoom, RequestHead};
use crate::http::proxy_header::{self, NoProxyHeader, Source};
use crate::http::refusal::Refusal;
use crate::http::rewrite::{self, ForwardContext};
use crate::http::sticky::Sticky;
use crate::http::target;
use crate::logging::panic_text;
use crate::visitor::Visitor;

/// What a connection wants after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// An event, or its deadline.
    Wait,
    /// Another turn, after the others had theirs.
    Again,
    /// Its request body is being read; it may go to a process's thread for that.
    Body,
    /// A slot: its request is whole.
    Slot,
    /// A thread that acts for the app of a file, which looks for it or sends it on ([`Conn::errand`]).
    File,
    /// To be counted among those of the client that its PROXY header has named, and another turn; or to be closed for the want of one. On
    /// the master only: it comes before the first head.
    Introduced(Result<(), NoProxyHeader>),
    /// Nothing any more: drop it.
    Close,
}

/// Lets the connection do what it can. What runs here is decided by what a client sends: a panic costs its connection and no other.
pub fn advance(conn: &mut Conn, turn: &mut Turn<'_>) -> Next {
    // Nothing that a turn lends is left half changed: buffers are cleared by whoever uses them next, and the lock is not taken in here.
    let next = catch_unwind(AssertUnwindSafe(|| steps(conn, turn)));
    conn.count_input();
    next.unwrap_or_else(|panic| {
        log::error!("{}: reading its request panicked ({}); its connection is closed", Peer(conn), panic_text(&*panic));
        Next::Close
    })
}

fn steps(conn: &mut Conn, turn: &mut Turn<'_>) -> Next {
    for _ in 0..STEPS {
        let next = match conn.phase {
            Phase::ProxyHeader => read_proxy_header(conn, turn.buffer),
            Phase::Head => read_head(conn, turn),
            Phase::Body => read_body(conn, turn),
            Phase::App => return Next::Slot,
            Phase::Flush { close } => flush(conn, close, turn),
            Phase::Linger { left } => linger(conn, left, turn),
        };
        if let Some(next) = next {
            return next;
        }
        if conn.errand.is_some() {
            return Next::File;
        }
    }
    Next::Again
}

/// What happens to a connection whose deadline has passed while it is driven from here.
pub fn expire(conn: &mut Conn, turn: &mut Turn<'_>) -> Next {
    // Nobody is late whose bytes are here: what came while this loop had no time to read is read before the verdict.
    if matches!(conn.phase, Phase::ProxyHeader | Phase::Head | Phase::Body) && !conn.socket.is_silent() {
        conn.readable = true;
        let (phase, next) = (conn.phase, advance(conn, turn));
        if conn.phase != phase || next == Next::Close || conn.deadline.at().is_none_or(|at| at > turn.now) {
            return next;
        }
    }
    match conn.phase {
        // Idle for too long: closed without a word. A request that crosses the close is the client's to repeat (RFC 9112 9.3.1).
        Phase::Head if !head::has_begun(&conn.input) => return Next::Close,
        // A proxy is owed no answer before it has said for whom it asks.
        Phase::ProxyHeader => return Next::Close,
        Phase::Head => refuse(conn, &Refusal::HeadTimeout, None, turn),
        Phase::Body if conn.request.as_ref().is_some_and(|request| request.awaits_room.is_some()) => {}
        Phase::Body if conn.request.as_ref().is_some_and(|request| request.is_slow) => refuse(conn, &Refusal::BodyTooSlow, None, turn),
        Phase::Body => refuse(conn, &Refusal::BodyTimeout, None, turn),
        Phase::Flush { .. } => return not_taken(conn, Cut::ClientSlow),
        Phase::App | Phase::Linger { .. } => return Next::Close,
    }
    advance(conn, turn)
}

/// The client does not take the rest of its answer: what has no other end than its connection's must not look whole.
fn not_taken(conn: &mut Conn, why: Cut) -> Next {
    let line = conn.request.as_ref().map_or_else(|| "an answer".to_owned(), |request| request.line());
    log::info!("{line} from {}: {}; its connection is cut in the middle of the answer", Peer(conn), why.reason());
    if let Some(request) = &mut conn.request {
        request.entry.cause.get_or_insert(Refusal::Cut(why));
    }
    conn.socket.reset_on_close();
    Next::Close
}

/// What is behind the header stays in `input`.
fn read_proxy_header(conn: &mut Conn, buffer: &mut [u8]) -> Option<Next> {
    match receive(conn, buffer) {
        Received::Bytes(count) => conn.input.extend_from_slice(&buffer[..count]),
        Received::Nothing => return Some(Next::Wait),
        Received::End | Received::Broken => return Some(Next::Close),
    }
    match proxy_header::parse(&conn.input) {
        Ok(None) => None,
        Ok(Some((source, used))) => {
            match source {
                Source::Address(address) => conn.peer = Some(address),
                Source::Socket => conn.is_unnamed = true,
            }
            conn.input.drain(..used);
            conn.phase = Phase::Head;
            Some(Next::Introduced(Ok(())))
        }
        Err(refused) => Some(Next::Introduced(Err(refused))),
    }
}

fn read_head(conn: &mut Conn, turn: &mut Turn<'_>) -> Option<Next> {
    if conn.searched > SMALL_HEAD && conn.has_too_much(conn.searched, HEADS, MODEST) {
        refuse_head(conn, &Refusal::TooManyConnections, &Asker::default(), turn);
        conn.input = Vec::new();
        conn.searched = 0;
        return None;
    }
    if conn.input.len() > conn.searched {
        let input = std::mem::take(&mut conn.input);
        let taken = parse(conn, &input, turn);
        return keep_rest(conn, input, taken, turn);
    }
    let buffer = std::mem::take(&mut turn.buffer);
    let next = match receive(conn, buffer) {
        Received::Bytes(count) if conn.input.is_empty() => {
            let bytes = &buffer[..count];
            match parse(conn, bytes, turn) {
                Parsed::Whole(used) => {
                    conn.input.extend_from_slice(&bytes[used..]);
                    None
                }
                Parsed::Partial => {
                    conn.input.extend_from_slice(bytes);
                    conn.searched = count;
                    if head::has_begun(bytes) {
                        turn.limit(conn, turn.catalog.server.timeouts.head);
                    }
                    None
                }
                Parsed::Refused => None,
            }
        }
        Received::Bytes(count) => {
            conn.input.extend_from_slice(&buffer[..count]);
            None
        }
        Received::Nothing => Some(Next::Wait),
        Received::End | Received::Broken => Some(Next::Close),
    };
    turn.buffer = buffer;
    next
}

/// Puts back what a parse of `input` did not take.
fn keep_rest(conn: &mut Conn, mut input: Vec<u8>, taken: Parsed, turn: &mut Turn<'_>) -> Option<Next> {
    match taken {
        Parsed::Whole(used) if used == input.len() => {}
        Parsed::Whole(used) => {
            input.drain(..used);
            conn.input = input;
        }
        Parsed::Partial => {
            // Pipelined behind an earlier request, or behind an empty line that stood alone: its time begins now.
            let begins = !head::has_begun(&input[..conn.searched]) && head::has_begun(&input);
            conn.searched = input.len();
            conn.input = input;
            if begins {
                turn.limit(conn, turn.catalog.server.timeouts.head);
            }
        }
        Parsed::Refused => {}
    }
    None
}

enum Parsed {
    /// The head took this many bytes; the request is in `conn`.
    Whole(usize),
    Partial,
    Refused,
}

/// Looks for a whole head at the start of `bytes` and, if there is one, makes the request.
fn parse(conn: &mut Conn, bytes: &[u8], turn: &mut Turn<'_>) -> Parsed {
    let limits = &turn.catalog.server.limits;
    let limits = HeadLimits { bytes: limits.head, headers: limits.headers, target: limits.target };
    // A head that drips in is parsed once, when its end is there, or when it is beyond its bounds.
    if conn.searched > 0 && head::head_end(bytes, conn.searched).is_none() && bytes.len() <= limits.bytes {
        return Parsed::Partial;
    }
    let mut asker = Asker::default();
    let mut parsed = parse_head(conn, bytes, &limits, &mut asker, turn);
    // Only what is refused is looked at for that.
    if parsed.is_err()
        && conn.request.is_none()
        && let Some(respelled) = target::respelled(bytes)
    {
        let longer = respelled.len() - bytes.len();
        parsed = parse_head(conn, &respelled, &limits, &mut asker, turn).map(|used| used.map(|used| used - longer));
        if let (Ok(Some(_)), Some(group)) = (&parsed, conn.request.as_ref().map(|request| request.group).or(conn.answered_for)) {
            turn.catalog.ledger(group).once.respelled(&turn.catalog.app(group).name, conn, bytes);
        }
    }
    let parsed = match parsed {
        Ok(Some(used)) => Ok(used),
        Ok(None) => return Parsed::Partial,
        Err(refusal) => Err(refusal),
    };
    conn.searched = 0;
    match parsed {
        // Whoever looks for the file reads the head anew.
        Ok(_) if conn.errand.is_some() => Parsed::Whole(0),
        Ok(used) => Parsed::Whole(used),
        Err(refusal) => {
            let start = conn.input.len();
            conn.input.extend_from_slice(&bytes[..bytes.len().min(HEAD_START)]);
            match conn.request {
                Some(_) => refuse(conn, &refusal, None, turn),
                None => refuse_head(conn, &refusal, &asker, turn),
            }
            conn.input.truncate(start);
            Parsed::Refused
        }
    }
}

/// Makes the request of a whole head. `Ok(None)`: it is not whole yet.
fn parse_head(
    conn: &mut Conn,
    bytes: &[u8],
    limits: &HeadLimits,
    asker: &mut Asker,
    turn: &mut Turn<'_>,
) -> Result<Option<usize>, Refusal> {
    let mut room = HeaderRoom::new();
    let Some((head, used)) = head::parse_request(bytes, limits, &mut room)? else { return Ok(None) };
    accept(conn, &head, turn).map(|()| Some(used)).inspect_err(|_| *asker = Asker::of(&head, turn.spare))
}

/// A whole head: finds the app and makes what it will be sent.
fn accept(conn: &mut Conn, head: &RequestHead<'_, '_>, turn: &mut Turn<'_>) -> Result<(), Refusal> {
    assert!(!(turn.shared.fault_panic && head.path == "/__panic_head"), "asked for");
    let facts = RequestFacts::of(head)?;
    if health::answer(conn, head, &facts, turn) {
        return Ok(());
    }
    let group = turn.catalog.route(head.host(), head.path)?;
    if static_files::goes_elsewhere(conn, head, &facts, group, turn) {
        return Ok(());
    }
    // What is logged has to be a request first.
    let logged = turn.catalog.logs.access.is_on(Some(group)).then(|| facts.clone());
    if logged.is_none() && static_files::answer(conn, head, &facts, group, turn) {
        return Ok(());
    }
    let app = turn.catalog.app(group);
    let (body, expects_continue) = (facts.body, facts.expects_continue);
    let asks_app = expectation::is_for_app(&facts);
    let origin = match conn.is_unnamed {
        true => Origin::of_peer(conn.peer, "http"),
        false => Origin::of_request(&head.fields, conn.peer, "http", &turn.catalog.server.trusted_proxies),
    };
    let has_share = asks_app && app.buffer.request;
    let share = if has_share { turn.catalog.ledger(group).uploads.take(Visitor::of(origin.client)) } else { None };
    let is_streamed = body != RequestBody::None && (!app.buffer.request || share.is_some());
    let mut request = turn.spare.take(Request {
        group,
        reader: BodyReader::for_request(&facts.body),
        facts,
        client: origin.client,
        head: Vec::new(),
        is_framed: false,
        body: Spool::default(),
        is_streamed,
        is_unasked: asks_app && is_streamed,
        share,
        received: 0,
        waited: Duration::ZERO,
        lost: Duration::ZERO,
        max_body: app.max_body,
        tries: 0,
        since: turn.now,
        entry: Entry::new(conn.sent()),
        sticky: app.sticky.as_deref().map(|cookie| Sticky::of_request(&head.fields, cookie, origin.is_secure())),
        credit: Credit::default(),
        is_slow: false,
        awaits_room: None,
    });
    let forward = ForwardContext {
        origin: &origin,
        default_host: turn.catalog.app(group).default_host(),
        request_id: turn.spare.ids.fresh(),
        underscores: &app.underscore_headers,
    };
    if rewrite::request(head, &request.facts, &forward, &mut request.head) {
        turn.catalog.ledger(group).once.withheld(&app.name, head, &forward);
    }
    conn.logs_to(&turn.catalog.logs.access);
    conn.request = Some(request);
    if let Some(facts) = logged
        && static_files::answer(conn, head, &facts, group, turn)
    {
        return Ok(());
    }
    match body {
        RequestBody::None => conn.phase = Phase::App,
        RequestBody::Length(length) if length > app.max_body => return Err(Refusal::BodyTooLarge),
        // It is read, and asked for, once there is a slot.
        RequestBody::Length(_) | RequestBody::Chunked if is_streamed => conn.phase = Phase::App,
        RequestBody::Length(length) if length > spool::MEMORY as u64 && length > room::most_of_one(turn.catalog.server.spool_max) => {
            turn.shared.spool.tell(&SpoolError::TooLarge);
            return Err(Refusal::InsufficientStorage);
        }
        RequestBody::Length(_) | RequestBody::Chunked => {
            conn.phase = Phase::Body;
            request_body::limit(conn, turn);
            if expects_continue {
                // RFC 9110 10.1.1: we are about to read the body. If the client does not take this, it will not take the answer either.
                let _ = conn.send(request_body::CONTINUE, &[], Some(&turn.shared.spool));
                if let Some(request) = &mut conn.request {
                    request.entry.heads_sent(request_body::CONTINUE.len(), None);
                }
            }
        }
    }
    Ok(())
}

fn read_body(conn: &mut Conn, turn: &mut Turn<'_>) -> Option<Next> {
    // Asked first: what is in `input` may be the next request.
    if conn.request.as_ref().is_some_and(|request| request.reader.is_done()) {
        conn.phase = Phase::App;
        return Some(Next::Slot);
    }
    let read = match request_body::find_room(conn, turn) {
        Ok(None) => request_body::read_more(conn, turn),
        Ok(waits) => return waits,
        Err(refusal) => Err(refusal),
    };
    match read {
        // A body that is whole goes on at once, with what came behind it left in `input`.
        Ok(Came::Bytes) if conn.request.as_ref().is_some_and(|request| request.reader.is_done()) => {
            conn.phase = Phase::App;
            Some(Next::Slot)
        }
        Ok(Came::Bytes) => None,
        Ok(Came::Nothing) => Some(Next::Body),
        // RFC 9112 8: a body that was cut is never passed on as whole.
        Ok(Came::End) => Some(Next::Close),
        Err(refusal) => {
            refuse(conn, &refusal, None, turn);
            None
        }
    }
}

fn flush(conn: &mut Conn, close: bool, turn: &mut Turn<'_>) -> Option<Next> {
    if conn.output.must_leave() {
        return Some(not_taken(conn, Cut::ClientHeldRoom));
    }
    let mut moved = false;
    let Ok(flushed) = conn.flush(&mut moved) else {
        conn.socket.reset_on_close();
        return Some(Next::Close);
    };
    if moved && flushed != Flushed::All {
        turn.limit(conn, turn.catalog.server.timeouts.write);
    }
    match flushed {
        Flushed::All => {}
        Flushed::Blocked => return Some(Next::Wait),
        Flushed::Part => return Some(Next::Again),
    }
    let sent = match conn.file.as_ref().map(|file| file.group) {
        Some(group) if turn.acts_for == Some(group) && conn.looked.is_none() => {
            match static_files::send(conn, &mut moved, turn.patience(group)).transpose() {
                Ok(sent) => sent,
                Err(Later) => {
                    conn.errand = Some(FileErrand { group, what: Errand::Send });
                    return None;
                }
            }
        }
        Some(group) => match conn.looked.take() {
            Some(Looked::Sent(sent, has_moved)) => {
                moved |= has_moved;
                Some(sent)
            }
            _ => {
                conn.errand = Some(FileErrand { group, what: Errand::Send });
                return None;
            }
        },
        None => None,
    };
    if let Some(sent) = sent {
        if moved {
            turn.limit(conn, turn.catalog.server.timeouts.write);
        }
        match sent {
            Sent::All => conn.file = None,
            Sent::Blocked => return Some(Next::Wait),
            Sent::More => return Some(Next::Again),
            Sent::Short => {
                log::info!("{}: a file became shorter while it was sent; the connection is cut in the middle of the answer", Peer(conn));
                conn.socket.reset_on_close();
                return Some(Next::Close);
            }
            Sent::Failed(error) => {
                log::debug!("{}: sending a file: {error}", Peer(conn));
                conn.socket.reset_on_close();
                return Some(Next::Close);
            }
        }
    }
    turn.spare.end(conn, turn.now);
    if !close {
        conn.phase = Phase::Head;
        if !head::has_begun(&conn.input) {
            turn.limit(conn, turn.catalog.server.timeouts.keepalive);
        }
        return None;
    }
    // Nothing unread and nothing to come: closing sends no reset and the answer arrives.
    if conn.input.is_empty() && !conn.readable && !conn.unread {
        return Some(Next::Close);
    }
    if conn.socket.shut_write().is_err() {
        return Some(Next::Close);
    }
    conn.input = Vec::new();
    conn.phase = Phase::Linger { left: LINGER_BYTES };
    turn.limit(conn, LINGER_TIME);
    None
}

fn linger(conn: &mut Conn, left: usize, turn: &mut Turn<'_>) -> Option<Next> {
    match receive(conn, turn.buffer) {
        Received::Bytes(count) if count < left => {
            conn.phase = Phase::Linger { left: left - count };
            None
        }
        Received::Bytes(_) | Received::End | Received::Broken => Some(Next::Close),
        Received::Nothing => Some(Next::Wait),
    }
}

#[derive(Debug)]
pub enum Received {
    Bytes(usize),
    Nothing,
    End,
    Broken,
}

/// One read. A short one means that the socket is empty, unless the end of the stream was announced with it (edge-triggered: it will
/// not be announced again).
pub fn receive(conn: &mut Conn, buffer: &mut [u8]) -> Received {
    while conn.readable {
        match conn.socket.read(buffer) {
            Ok(0) => {
                conn.readable = false;
                conn.closing = true;
                return Received::End;
            }
            Ok(count) => {
                conn.readable = count == buffer.len() || conn.closing;
                return Received::Bytes(count);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Received::Broken,
        }
    }
    Received::Nothing
}

/// Who is at the other end, or whom a trusted proxy names as such, for the log.
#[derive(Debug)]
pub struct Peer<'a>(pub &'a Conn);

impl std::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.client() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

/// As much of a refused head as says that it is of a HEAD request, and as the log shows (bytes).
const HEAD_START: usize = 4096;
/// One that takes no more than the first is always read; the second is for all heads that are not whole, and the third for those of one client that
/// has little of it (bytes).
const SMALL_HEAD: usize = 4 * 1024;
const HEADS: usize = 32 * 1024 * 1024;
const MODEST: usize = 128 * 1024;
/// Steps of one turn: about 1 MiB of a body with a 64 KiB buffer, so that one busy client starves nobody.
const STEPS: usize = 24;
/// What is read out before the close, at most (bytes), and for how long.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
