//! Drives a connection while it needs no app: reads heads and request bodies, answers what is refused, writes what waits, closes in two steps.
//!
//! The same code on the master (first heads) and on the I/O threads (kept connections). It never blocks and never looks at the pool: the
//! event loop that called it takes a whole request to a process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::file_body::Sent;
use super::folders::Folders;
use super::spool::Spool;
use super::{Conn, Flushed, Phase, Request, static_files};
use crate::access_log::Entry;
use crate::date::Date;
use crate::deadlines::Deadlines;
use crate::http::accept::Form;
use crate::http::chunked;
use crate::http::error_page::Plight;
use crate::http::exchange::{self, BodyReader};
use crate::http::forwarded::Origin;
use crate::http::framing::RequestBody;
use crate::http::head::{self, HeadLimits, HeaderRoom, RequestHead};
use crate::http::proxy_header::{self, NoProxyHeader, Source};
use crate::http::refusal::{Answer, Refusal};
use crate::http::request_id::RequestIds;
use crate::http::rewrite::{self, ForwardContext};
use crate::logging::panic_text;
use crate::table::Shared;

/// What an event loop has for the turns of its connections.
#[derive(Debug)]
pub struct Desk {
    /// Of this turn of the loop.
    pub now: Instant,
    pub date: Date,
    pub deadlines: Deadlines,
    pub scratch: Vec<u8>,
    pub out: Vec<u8>,
    pub spare: Spare,
    pub folders: Folders,
}

impl Desk {
    /// `buffer`: bytes read or written at a time.
    pub fn new(buffer: usize) -> Self {
        Self {
            now: Instant::now(),
            date: Date::new(),
            deadlines: Deadlines::default(),
            scratch: vec![0; buffer],
            out: Vec::with_capacity(OUT),
            spare: Spare::default(),
            folders: Folders::default(),
        }
    }

    /// For the connection that the loop calls `token`.
    pub fn turn<'a>(&'a mut self, shared: &'a Shared, token: usize) -> Turn<'a> {
        self.folders.refresh(shared);
        Turn {
            shared,
            now: self.now,
            date: self.date.at(self.now),
            deadlines: &mut self.deadlines,
            token,
            buffer: &mut self.scratch,
            out: &mut self.out,
            spare: &mut self.spare,
            folders: &self.folders,
        }
    }
}

/// What the event loop lends to a turn of a connection.
#[derive(Debug)]
pub struct Turn<'a> {
    pub shared: &'a Shared,
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
    pub spare: &'a mut Spare,
    pub folders: &'a Folders,
}

/// What new requests are made of.
#[derive(Debug, Default)]
pub struct Spare {
    /// Requests that are done, kept for their memory.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept: connections hold requests in boxes")]
    done: Vec<Box<Request>>,
    ids: RequestIds,
}

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
    }
    Next::Again
}

/// Answers with an error. The connection goes on when that is safe, else it is closed in two steps. `plight`: why the app does not answer, for
/// a client that may know.
pub fn refuse(conn: &mut Conn, refusal: &Refusal, plight: Option<&Plight>, turn: &mut Turn<'_>) {
    let Some(request) = &conn.request else { return refuse_head(conn, refusal, &Asker::default(), turn) };
    let is_whole = request.reader.is_done();
    let keep = !refusal.must_close() && request.facts.keep_alive && is_whole && !turn.shared.stopping.load(Ordering::Relaxed);
    conn.unread = !is_whole;
    let (status, reason, id) = (refusal.status(), refusal.reason(), request.id());
    log::debug!("{} from {}: {status} ({reason}), request id {}", request.line(), Peer(conn), id.unwrap_or("-"));
    let shared = turn.shared;
    let page = shared.app(request.group).errors.get(&status).or_else(|| shared.server.errors.get(&status));
    let form = Form::wanted(request.values("Accept"));
    let answer = Answer { date: turn.date, head_only: request.facts.head_only, keep, request_id: id, form, page, plight };
    turn.out.clear();
    let behind = refusal.write(turn.out, &answer);
    refused(conn, keep, refusal, behind, turn);
}

/// What a head says of its sender that is refused before it is a request.
#[derive(Debug, Default)]
struct Asker {
    form: Form,
    /// None: the head is not whole.
    request_id: Option<String>,
}

/// As [`refuse`] for a head that becomes no request; what was read of it is in `input`.
fn refuse_head(conn: &mut Conn, refusal: &Refusal, asker: &Asker, turn: &mut Turn<'_>) {
    conn.unread = true;
    let (status, reason, request_id) = (refusal.status(), refusal.reason(), asker.request_id.as_deref());
    log::debug!("head from {}: {status} ({reason}), request id {}", Peer(conn), request_id.unwrap_or("-"));
    let page = turn.shared.server.errors.get(&status);
    let head_only = head::is_to_head(&conn.input);
    let answer = Answer { date: turn.date, head_only, keep: false, request_id, form: asker.form, page, plight: None };
    turn.out.clear();
    let behind = refusal.write(turn.out, &answer);
    refused(conn, false, refusal, behind, turn);
}

/// The refusal is in `turn.out`, with `behind` behind it.
fn refused(conn: &mut Conn, keep: bool, refusal: &Refusal, behind: &[u8], turn: &mut Turn<'_>) {
    let head = head_len(turn.out);
    match &mut conn.request {
        Some(request) => {
            request.entry.cause = Some(refusal.reason());
            request.entry.heads_sent(head, Some(refusal.status()));
        }
        None => {
            let body = turn.out.len() - head + behind.len();
            turn.shared.access_log.write_refused(&conn.input, conn.client(), refusal, body as u64);
        }
    }
    answered(conn, keep, behind, turn);
}

/// The answer in `turn.out`, with `behind` behind it, is the last of this request.
pub(super) fn answered(conn: &mut Conn, keep: bool, behind: &[u8], turn: &mut Turn<'_>) {
    let sent = conn.send(turn.out, behind, Some(&turn.shared.spool));
    // There is no second answer: a client whose socket breaks has lost this one.
    if sent.is_err() {
        conn.file = None;
    }
    request_done(conn, turn.spare, keep && sent.is_ok(), turn.now);
    limit(conn, turn, turn.shared.server.timeouts.write);
}

/// How much of an answer of ours is its head.
pub fn head_len(answer: &[u8]) -> usize {
    memchr::memmem::find(answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4)
}

/// The response is complete as far as the app goes; what the client has not taken yet is in `output`.
pub fn request_done(conn: &mut Conn, spare: &mut Spare, keep: bool, now: Instant) {
    conn.phase = Phase::Flush { close: !keep };
    // What is logged is what the client has taken.
    let stays = conn.has_output() && conn.is_logged();
    if let Some(request) = &mut conn.request {
        request.entry.answered(now);
        if stays {
            return request.body.clear();
        }
    }
    spare.end(conn, now);
}

/// What happens to a connection whose deadline has passed while it is driven from here.
pub fn expire(conn: &mut Conn, turn: &mut Turn<'_>) -> Next {
    match conn.phase {
        // Idle for too long: closed without a word. A request that crosses the close is the client's to repeat (RFC 9112 9.3.1).
        Phase::Head if !head::has_begun(&conn.input) => return Next::Close,
        // A proxy is owed no answer before it has said for whom it asks.
        Phase::ProxyHeader => return Next::Close,
        Phase::Head => refuse(conn, &Refusal::HeadTimeout, None, turn),
        Phase::Body if conn.request.as_ref().is_some_and(|request| request.is_slow) => refuse(conn, &Refusal::BodyTooSlow, None, turn),
        Phase::Body => refuse(conn, &Refusal::BodyTimeout, None, turn),
        Phase::App | Phase::Flush { .. } | Phase::Linger { .. } => return Next::Close,
    }
    advance(conn, turn)
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
            if let Source::Address(address) = source {
                conn.peer = Some(address);
            }
            conn.input.drain(..used);
            conn.phase = Phase::Head;
            Some(Next::Introduced(Ok(())))
        }
        Err(refused) => Some(Next::Introduced(Err(refused))),
    }
}

fn read_head(conn: &mut Conn, turn: &mut Turn<'_>) -> Option<Next> {
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
                        limit(conn, turn, turn.shared.server.timeouts.head);
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
                limit(conn, turn, turn.shared.server.timeouts.head);
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
    let limits = &turn.shared.server.limits;
    let limits = HeadLimits { bytes: limits.head, headers: limits.headers, target: limits.target };
    // A head that drips in is parsed once, when its end is there, or when it is beyond its bounds.
    if conn.searched > 0 && head::head_end(bytes, conn.searched).is_none() && bytes.len() <= limits.bytes {
        return Parsed::Partial;
    }
    let mut room = HeaderRoom::new();
    let mut asker = Asker::default();
    let parsed = match head::parse_request(bytes, &limits, &mut room) {
        Ok(Some((head, used))) => accept(conn, &head, turn).map(|()| used).inspect_err(|_| asker = Asker::of(&head, turn.spare)),
        Ok(None) => return Parsed::Partial,
        Err(refusal) => Err(refusal),
    };
    conn.searched = 0;
    match parsed {
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

/// A whole head: finds the app and makes what it will be sent.
fn accept(conn: &mut Conn, head: &RequestHead<'_, '_>, turn: &mut Turn<'_>) -> Result<(), Refusal> {
    assert!(!(turn.shared.fault_panic && head.path == "/__panic_head"), "asked for");
    let facts = exchange::facts(head)?;
    let group = turn.shared.router.route(head.host(), head.path).ok_or(Refusal::NoApp)?;
    // What is logged has to be a request first.
    let logged = turn.shared.access_log.is_on(Some(group)).then(|| facts.clone());
    if logged.is_none() && static_files::answer(conn, head, &facts, group, turn) {
        return Ok(());
    }
    let app = turn.shared.app(group);
    let (body, expects_continue) = (facts.body, facts.expects_continue);
    let origin = Origin::of_request(&head.fields, conn.peer, "http", &turn.shared.server.trusted_proxies);
    let mut request = turn.spare.take(Request {
        group,
        reader: BodyReader::for_request(&facts.body),
        facts,
        client: origin.client,
        head: Vec::new(),
        is_framed: false,
        body: Spool::default(),
        is_streamed: body != RequestBody::None && !app.buffer.request,
        received: 0,
        waited: Duration::ZERO,
        max_body: app.max_body,
        tries: 0,
        since: turn.now,
        entry: Entry::new(conn.sent()),
        is_slow: false,
    });
    let forward = ForwardContext { origin: &origin, default_host: turn.shared.default_host(group), request_id: turn.spare.ids.fresh() };
    rewrite::request(head, &request.facts, &forward, &mut request.head);
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
        RequestBody::Length(_) | RequestBody::Chunked if !app.buffer.request => conn.phase = Phase::App,
        RequestBody::Length(_) | RequestBody::Chunked => {
            conn.phase = Phase::Body;
            limit_body(conn, turn);
            if expects_continue {
                // RFC 9110 10.1.1: we are about to read the body. If the client does not take this, it will not take the answer either.
                let _ = conn.send(CONTINUE, &[], Some(&turn.shared.spool));
                if let Some(request) = &mut conn.request {
                    request.entry.heads_sent(CONTINUE.len(), None);
                }
            }
        }
    }
    Ok(())
}

impl Asker {
    fn of(head: &RequestHead<'_, '_>, spare: &mut Spare) -> Self {
        let accept = head.fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case("accept")).map(|(_, _, value)| value);
        Self { form: Form::wanted(accept), request_id: Some(format!("{:032x}", spare.ids.fresh())) }
    }
}

fn read_body(conn: &mut Conn, turn: &mut Turn<'_>) -> Option<Next> {
    // Asked first: what is in `input` may be the next request.
    if conn.request.as_ref().is_some_and(|request| request.reader.is_done()) {
        conn.phase = Phase::App;
        return Some(Next::Slot);
    }
    match read_more(conn, turn) {
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

/// What a look for more of a body has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    Bytes,
    Nothing,
    /// The client's end, or an error of its socket.
    End,
}

/// Reads on in a body: what was read before, else one read of the socket.
pub fn read_more(conn: &mut Conn, turn: &mut Turn<'_>) -> Result<Came, Refusal> {
    if !conn.input.is_empty() {
        let input = std::mem::take(&mut conn.input);
        let used = store(conn, &input, turn)?;
        // A new one, so that the memory of what was read with the head is not kept.
        conn.input.extend_from_slice(&input[used..]);
        return Ok(Came::Bytes);
    }
    let buffer = std::mem::take(&mut turn.buffer);
    let came = match receive(conn, buffer) {
        Received::Bytes(count) => store(conn, &buffer[..count], turn).map(|used| {
            conn.input.extend_from_slice(&buffer[used..count]);
            limit_body(conn, turn);
            Came::Bytes
        }),
        Received::Nothing => Ok(Came::Nothing),
        Received::End | Received::Broken => Ok(Came::End),
    };
    turn.buffer = buffer;
    came
}

/// Adds body bytes; gives how many of `bytes` belong to the body.
fn store(conn: &mut Conn, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, Refusal> {
    let Some(request) = conn.request.as_mut() else { return Ok(0) };
    let mut used = 0;
    while !request.reader.is_done() && used < bytes.len() {
        let (consumed, data) = request.reader.read(&bytes[used..]).map_err(|bad| Refusal::BadRequest(bad.reason()))?;
        if consumed == 0 {
            break;
        }
        request.received += data.len() as u64;
        // A chunk that would go beyond the limit is refused for its size: nobody has to send it first.
        if request.received.saturating_add(request.reader.announced()) > request.max_body {
            return Err(Refusal::BodyTooLarge);
        }
        match (request.is_streamed, request.facts.body) {
            (false, _) => request.body.append(data, &turn.shared.spool).map_err(|_| Refusal::InsufficientStorage)?,
            (true, RequestBody::Chunked) if !data.is_empty() => {
                turn.out.clear();
                chunked::write_chunk(turn.out, data);
                request.body.keep(turn.out, None);
            }
            (true, _) => request.body.keep(data, None),
        }
        used += consumed;
    }
    if request.is_streamed && request.facts.body == RequestBody::Chunked && request.reader.is_done() {
        request.body.keep(chunked::LAST_CHUNK, None);
    }
    Ok(used)
}

fn flush(conn: &mut Conn, close: bool, turn: &mut Turn<'_>) -> Option<Next> {
    let mut moved = false;
    let Ok(flushed) = conn.flush(&mut moved) else { return Some(Next::Close) };
    if moved && flushed != Flushed::All {
        limit(conn, turn, turn.shared.server.timeouts.write);
    }
    match flushed {
        Flushed::All => {}
        Flushed::Blocked => return Some(Next::Wait),
        Flushed::Part => return Some(Next::Again),
    }
    if let Some(file) = &mut conn.file {
        let left = file.left();
        let sent = file.send(&conn.socket, &mut moved);
        conn.sent += left - file.left();
        if moved {
            limit(conn, turn, turn.shared.server.timeouts.write);
        }
        match sent {
            Sent::All => conn.file = None,
            Sent::Blocked => return Some(Next::Wait),
            Sent::More => return Some(Next::Again),
            Sent::Short => {
                log::info!("{}: a file became shorter while it was sent; the connection is cut in the middle of the response", Peer(conn));
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
            limit_idle(conn, turn);
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
    limit(conn, turn, LINGER_TIME);
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

enum Received {
    Bytes(usize),
    Nothing,
    End,
    Broken,
}

/// One read. A short one means that the socket is empty, unless the end of the stream was announced with it (edge-triggered: it will
/// not be announced again).
fn receive(conn: &mut Conn, buffer: &mut [u8]) -> Received {
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

fn limit(conn: &mut Conn, turn: &mut Turn<'_>, time: Duration) {
    turn.deadlines.set(&mut conn.deadline, turn.token, turn.now + time);
}

/// A body may stand still for timeouts.body, and be on its way for that and as long as its bytes so far last at limits.body_rate: else one
/// byte now and then keeps a connection for ever.
pub fn limit_body(conn: &mut Conn, turn: &mut Turn<'_>) {
    let server = &turn.shared.server;
    let mut time = server.timeouts.body;
    if let Some(request) = conn.request.as_mut().filter(|_| server.limits.body_rate > 0) {
        let earned = Duration::from_millis(request.received.saturating_mul(1000) / server.limits.body_rate);
        let waited = if request.is_streamed { request.waited } else { turn.now.saturating_duration_since(request.since) };
        let left = (server.timeouts.body + earned).saturating_sub(waited);
        request.is_slow = left < time;
        time = time.min(left);
    }
    limit(conn, turn, time);
}

/// The limit of a connection that waits for a request.
pub fn limit_idle(conn: &mut Conn, turn: &mut Turn<'_>) {
    limit(conn, turn, turn.shared.server.timeouts.keepalive);
}

impl Spare {
    /// `request` in the memory of one that is done, if there is one.
    fn take(&mut self, mut request: Request) -> Box<Request> {
        match self.done.pop() {
            Some(mut spare) => {
                std::mem::swap(&mut request.head, &mut spare.head);
                *spare = request;
                spare
            }
            None => Box::new(request),
        }
    }

    /// Ends the request of a connection, if it has one, and keeps its memory.
    pub fn end(&mut self, conn: &mut Conn, now: Instant) {
        if let Some(request) = conn.end_request(now) {
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

/// Who is at the other end, or whom a trusted proxy names as such, for the log.
struct Peer<'a>(&'a Conn);

impl std::fmt::Display for Peer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.client() {
            Some(ip) => ip.fmt(f),
            None => f.write_str("a Unix socket"),
        }
    }
}

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// A head and a small body are written together (bytes).
const OUT: usize = 4096;
/// As much of a refused head as says that it is of a HEAD request, and as the log shows (bytes).
const HEAD_START: usize = 4096;
/// Steps of one turn: about 1 MiB of a body with a 64 KiB buffer, so that one busy client starves nobody.
const STEPS: usize = 24;
/// What is read out before the close, at most (bytes), and for how long.
const LINGER_BYTES: usize = 16 * 1024 * 1024;
const LINGER_TIME: Duration = Duration::from_secs(5);
/// How many done requests a loop keeps, and the largest head among them (bytes).
const SPARE: usize = 64;
const SPARE_HEAD: usize = 8 * 1024;
