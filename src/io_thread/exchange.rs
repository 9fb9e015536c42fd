//! One request and its response between a client and the app: sending, receiving, and what follows when the app fails.
//!
//! The path of a request that everything is right with: [`IoThread::begin`] writes it, [`IoThread::read_app`] reads the answer and writes it to
//! the client, `finish` frees the slot. Four system calls, no allocation that reaches the kernel.

use std::io::{self, IoSlice};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::leave::Leave;
use super::tunnel::WebSocket;
use super::upstream::{Owner, Upstream};
use super::{BUFFER, Client, IoThread, Name};
use crate::conn::spool::Piece;
use crate::conn::{Flushed, Phase};
use crate::conn::{intake, static_files};
use crate::http::chunked;
use crate::http::event_stream::{self, Events};
use crate::http::exchange::{self, BodyReader, ClientBody, Kind, ResponsePlan};
use crate::http::fields::Field;
use crate::http::framing::RequestBody;
use crate::http::head::{self, HeaderRoom};
use crate::http::refusal::Refusal;
use crate::http::rewrite::{self, BodyToApp};
use crate::http::websocket;
use crate::pool::{Claim, Ended, FailureKind};

/// A session: from the claim of a slot to the end of the app's response.
#[derive(Debug)]
pub struct Exchange {
    pub claim: Claim,
    /// None: the app's backlog is full, a connection is tried again soon.
    pub upstream: Option<usize>,
    /// How much of the request's head the app's socket has taken.
    head_sent: usize,
    /// Part of the request is still to be written.
    sending: bool,
    pub stage: Stage,
    /// A byte of the response has been seen.
    seen: bool,
    /// A byte of the final response has gone to the client: there is no other answer any more.
    begun: bool,
    /// Interim responses so far.
    interim: u8,
    /// Nothing that came on the app's connection speaks against another request on it.
    reusable: bool,
    /// Since when the client is waited for, for more of a body that goes to the app as it comes.
    pub awaits_body: Option<Instant>,
    /// When the app was asked: its time for a final response counts from here.
    pub since: Instant,
    /// Bytes of the response, with its head.
    pub received: u64,
    /// Of a stream: when it leaves a process that drains.
    pub leave: Leave,
}

/// What an exchange is to a drain: how it may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It ends by itself.
    Request,
    /// It may be ended behind any event.
    EventStream,
    /// It may be closed between two messages.
    WebSocket,
    /// Upgraded to something of which we know no boundaries.
    Upgraded,
}

impl Class {
    /// As the log and `rota status --blocking` say it.
    pub fn word(self) -> &'static str {
        match self {
            Class::Request => "request",
            Class::EventStream => "event stream",
            Class::WebSocket => "WebSocket",
            Class::Upgraded => "upgraded connection",
        }
    }
}

/// How far the response has come.
#[derive(Debug)]
pub enum Stage {
    Head,
    Body {
        plan: ResponsePlan,
        reader: BodyReader,
        /// Where the events of an event stream end; None: it is none.
        events: Option<Events>,
    },
    /// Bytes both ways until one side ends. None: what they are is not known.
    Tunnel(Option<Box<WebSocket>>),
}

/// How a response ended, for `finish`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The app sent all of it.
    Whole,
    /// The app sent all of it, and more behind it that nobody asked for.
    WithMore,
    /// An event stream that left a draining process behind an event.
    Left,
    /// An event stream that had to be ended where it stood.
    Cut,
}

/// What an app can do wrong.
#[derive(Debug)]
pub enum Fault {
    /// Nobody listens (any more): nothing of the request reached it.
    Refused(io::Error),
    /// We could not open a connection (no descriptors, no memory): nothing of the request reached it, and it is not to blame.
    Local(io::Error),
    /// It closed before the response was whole.
    Ended,
    Broken(io::Error),
    /// What it sent is no response.
    Bad(&'static str),
    Timeout,
    /// The drain limit has passed.
    DrainLimit,
}

impl Exchange {
    fn new(claim: Claim, now: Instant) -> Self {
        Self {
            claim,
            upstream: None,
            head_sent: 0,
            sending: true,
            stage: Stage::Head,
            seen: false,
            begun: false,
            interim: 0,
            reusable: true,
            awaits_body: None,
            since: now,
            received: 0,
            leave: Leave::Stay,
        }
    }

    /// There is no other answer any more than the one that is under way.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    pub fn class(&self) -> Class {
        match &self.stage {
            Stage::Head | Stage::Body { events: None, .. } => Class::Request,
            Stage::Body { events: Some(_), .. } => Class::EventStream,
            Stage::Tunnel(Some(_)) => Class::WebSocket,
            Stage::Tunnel(None) => Class::Upgraded,
        }
    }
}

impl IoThread {
    /// Sends a client's request to the app.
    pub(super) fn begin(&mut self, key: usize, claim: Claim) {
        let client = &mut self.clients[key];
        let Some(request) = client.conn.request.as_mut() else {
            return self.give_back(claim, Ended::Unused);
        };
        client.conn.phase = Phase::App;
        if self.shared.fault_panic && request.line() == "GET /__panic" {
            panic!("asked for by a test");
        }
        if !request.is_framed {
            request.is_framed = true;
            let body = match request.facts.body {
                RequestBody::None => BodyToApp::None,
                RequestBody::Length(length) => BodyToApp::Length(length),
                RequestBody::Chunked if request.is_streamed => BodyToApp::Chunked,
                RequestBody::Chunked => BodyToApp::Length(request.body.len()),
            };
            rewrite::finish_request(&mut request.head, &request.facts, body);
        }
        request.tries += 1;
        request.entry.begins(self.name.number, self.name.generation, self.desk.now);
        request.body.rewind();
        client.exchange = Some(Exchange::new(claim, self.desk.now));
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + self.app.timeouts.app);
        // A kept connection may be closed by the app at this very moment, and then nobody can say whether the request was begun: only a
        // request that may be sent twice takes one, and only the first time.
        let may_reuse = request.facts.idempotent && request.tries == 1 && !request.is_streamed;
        self.ask_for_body(key);
        let reused = if may_reuse { self.upstreams.reuse(Owner::Client(key)) } else { None };
        match reused {
            Some(upstream) => {
                self.attach(key, upstream);
                self.send_request(key);
            }
            None => self.connect(key),
        }
    }

    fn attach(&mut self, key: usize, upstream: usize) {
        if let Some(exchange) = &mut self.clients[key].exchange {
            exchange.upstream = Some(upstream);
        }
    }

    /// Opens a connection for a client whose exchange has none.
    pub(super) fn connect(&mut self, key: usize) {
        let waits = |client: &Client| client.exchange.as_ref().is_some_and(|exchange| exchange.upstream.is_none());
        if !self.clients.get(key).is_some_and(waits) {
            return;
        }
        match self.upstreams.open(Owner::Client(key), self.poll.registry(), Name::upstream) {
            Ok(upstream) => {
                self.attach(key, upstream);
                self.send_request(key);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.backlog.push(key),
            Err(error) if is_refusal(&error) => self.app_failed(key, Fault::Refused(error)),
            Err(error) => self.app_failed(key, Fault::Local(error)),
        }
    }

    /// Writes what the app's socket takes of the request.
    pub(super) fn send_request(&mut self, key: usize) {
        for _ in 0..WRITES {
            let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
            let Some(upstream_key) = exchange.upstream else { return };
            if matches!(exchange.stage, Stage::Tunnel(_)) {
                return self.tunnel_to_app(key);
            }
            let upstream = &mut self.upstreams.all[upstream_key];
            let Some(request) = conn.request.as_mut().filter(|_| exchange.sending) else { return };
            let head = &request.head[exchange.head_sent..];
            let written = match (head.is_empty(), request.body.next()) {
                (true, None) if request.is_to_come() => match self.read_body(key) {
                    true => continue,
                    false => return,
                },
                (true, None) => {
                    exchange.sending = false;
                    if request.is_streamed {
                        self.limit(key);
                    }
                    return;
                }
                (false, None | Some(Piece::File(..))) => upstream.socket.write(head),
                (false, Some(Piece::Memory(body))) => upstream.socket.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
                (true, Some(Piece::Memory(body))) => upstream.socket.write(body),
                (true, Some(Piece::File(file, at, count))) => upstream.socket.write_file(file, at, count),
            };
            match written {
                Ok(written) => {
                    let of_head = written.min(head.len());
                    exchange.head_sent += of_head;
                    request.body.advance(written - of_head);
                    if request.is_streamed {
                        exchange.since = self.desk.now;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if request.is_streamed {
                        self.limit(key);
                    }
                    if let Err(error) = self.upstreams.ask_writable(upstream_key, self.poll.registry(), Name::upstream(upstream_key)) {
                        self.app_failed(key, Fault::Broken(error));
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A TCP connection that was still being made (connect(2), EINPROGRESS).
                Err(error) if exchange.head_sent == 0 && is_refusal(&error) => return self.app_failed(key, Fault::Refused(error)),
                // It reads no more. It may have answered before: look.
                Err(_) => {
                    upstream.readable = true;
                    self.read_later(upstream_key);
                    return;
                }
            }
        }
        self.later.push_back(key);
    }

    /// The app has written something. What has just begun, as every small answer has, is read before what is long already.
    pub(super) fn app_speaks(&mut self, upstream_key: usize, client: usize) {
        let received = self.clients.get(client).and_then(|client| client.exchange.as_ref()).map_or(0, |exchange| exchange.received);
        match self.more.len() >= LONG_READS && received >= BUFFER as u64 {
            true => self.read_later(upstream_key),
            false => self.read_app(upstream_key),
        }
    }

    /// Reads from the app until there is nothing more, or others should have their turn.
    pub(super) fn read_app(&mut self, upstream_key: usize) {
        self.read_app_up_to(upstream_key, if self.more.len() < LONG_READS { READS } else { 1 });
    }

    fn read_app_up_to(&mut self, upstream_key: usize, most: usize) {
        // Called from within itself (an answer freed a slot, whose next request failed at once): later.
        if self.buffer.is_empty() {
            return self.read_later(upstream_key);
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut reads = 0;
        while let Some(&Upstream { owner: Owner::Client(key), readable: true, .. }) = self.upstreams.all.get(upstream_key) {
            if self.is_held_back(key) {
                break;
            }
            if reads == most {
                self.read_later(upstream_key);
                break;
            }
            reads += 1;
            let upstream = &mut self.upstreams.all[upstream_key];
            match upstream.socket.read(&mut buffer) {
                Ok(0) => {
                    upstream.readable = false;
                    self.app_ended(key, upstream_key);
                }
                Ok(count) => {
                    // A short read means empty, unless the end was announced with it.
                    upstream.readable = count == buffer.len() || upstream.closing;
                    self.app_bytes(key, upstream_key, &buffer[..count]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => upstream.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    upstream.readable = false;
                    self.app_failed(key, Fault::Broken(error));
                }
            }
        }
        self.buffer = buffer;
    }

    /// The app's socket is read when those that were put off before it have been.
    fn read_later(&mut self, upstream_key: usize) {
        if let Some(upstream) = self.upstreams.all.get_mut(upstream_key).filter(|upstream| !upstream.is_put_off) {
            upstream.is_put_off = true;
            self.more.push_back(upstream_key);
        }
    }

    /// A few of the long answers: a thousand of them must not hold up what is small.
    pub(super) fn read_more(&mut self) {
        let turns = self.more.len().min(LONG_READS);
        for _ in 0..turns {
            let Some(key) = self.more.pop_front() else { break };
            if let Some(upstream) = self.upstreams.all.get_mut(key) {
                upstream.is_put_off = false;
            }
            self.read_app_up_to(key, READS / turns);
        }
    }

    /// The client takes less than the app gives and there is no room for more: the app waits.
    fn is_held_back(&self, key: usize) -> bool {
        let Some(client) = self.clients.get(key) else { return false };
        let tunnel = match &client.exchange {
            // What the app still says goes nowhere.
            Some(Exchange { stage: Stage::Tunnel(Some(websocket)), .. }) if websocket.has_left() => return false,
            Some(Exchange { stage: Stage::Tunnel(_), .. }) => true,
            Some(_) | None => false,
        };
        let output = &client.conn.output;
        !output.is_drained() && (tunnel || !self.app.buffer.response || output.is_strained() || !self.shared.spool.has_room())
    }

    fn app_bytes(&mut self, key: usize, upstream_key: usize, bytes: &[u8]) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        exchange.seen = true;
        exchange.received += bytes.len() as u64;
        let upstream = &mut self.upstreams.all[upstream_key];
        let joined;
        let bytes = if upstream.input.is_empty() {
            bytes
        } else {
            upstream.input.extend_from_slice(bytes);
            joined = std::mem::take(&mut upstream.input);
            &joined[..]
        };
        self.desk.out.clear();
        let leaves = exchange.leave == Leave::Now;
        let (mut at, mut tail, mut end, mut left) = (0, &bytes[..0], None, false);
        let (mut heads, mut status) = (0, None);
        let fault = loop {
            match &mut exchange.stage {
                Stage::Head => {
                    let Some(request) = conn.request.as_ref() else { break None };
                    let mut room = HeaderRoom::new();
                    let (head, used) = match head::parse_response(&bytes[at..], &mut room) {
                        Ok(Some(whole)) => whole,
                        Ok(None) => {
                            upstream.input.extend_from_slice(&bytes[at..]);
                            break None;
                        }
                        Err(bad) => break Some(bad.reason()),
                    };
                    let mut plan = match exchange::plan_response(&request.facts, &head) {
                        Ok(plan) => plan,
                        Err(bad) => break Some(bad.reason()),
                    };
                    // A body that is still coming when the answer begins may never be whole.
                    if self.shared.stopping.load(Ordering::Relaxed) || request.is_to_come() {
                        plan.close_client();
                    }
                    let date = self.desk.date.at(self.desk.now);
                    if plan.kind == Kind::Final && head.fields.values(Field::SendFile).next().is_some() {
                        self.desk.folders.refresh(&self.shared);
                        let folders = self.desk.folders.of(request.group).map(|folders| &**folders);
                        if let Err(reason) = static_files::of_app(conn, &head, &mut plan, folders, date, &mut self.desk.out) {
                            break Some(reason);
                        }
                    } else {
                        rewrite::response(&head, &plan, &request.facts, date, &mut self.desk.out);
                    }
                    heads = self.desk.out.len();
                    at += used;
                    exchange.reusable &= plan.keep_app;
                    match plan.kind {
                        Kind::Interim | Kind::Dropped => {
                            exchange.interim += 1;
                            if exchange.interim > exchange::INTERIM_MAX {
                                break Some("more than 16 interim responses before the final one");
                            }
                        }
                        Kind::Final => {
                            status = Some(plan.status);
                            let (reader, events) =
                                (BodyReader::for_response(&plan.from_app), event_stream::of_response(&head, &plan.from_app));
                            exchange.stage = Stage::Body { reader, plan, events };
                        }
                        Kind::Switch => {
                            status = Some(plan.status);
                            exchange.stage = Stage::Tunnel(websocket::is_chosen(&head).then(|| Box::new(WebSocket::new())));
                        }
                    }
                }
                Stage::Body { reader, plan, events } => {
                    if reader.is_done() {
                        if plan.to_client == ClientBody::Chunked {
                            self.desk.out.extend_from_slice(chunked::LAST_CHUNK);
                        }
                        end = Some(End::Whole);
                        break None;
                    }
                    if at == bytes.len() {
                        break None;
                    }
                    let (used, data) = match reader.read(&bytes[at..]) {
                        Ok(read) => read,
                        Err(bad) => break Some(bad.reason()),
                    };
                    at += used;
                    if data.is_empty() {
                        if used == 0 {
                            break None;
                        }
                        continue;
                    }
                    let data = match events {
                        Some(events) if leaves => match events.pass_to_end(data) {
                            Some(passed) => {
                                end = Some(End::Left);
                                &data[..passed]
                            }
                            None => data,
                        },
                        Some(events) => {
                            events.pass(data);
                            data
                        }
                        None => data,
                    };
                    match plan.to_client {
                        ClientBody::None => {}
                        ClientBody::Chunked if data.is_empty() => {}
                        ClientBody::Chunked => chunked::write_chunk(&mut self.desk.out, data),
                        ClientBody::Length(_) | ClientBody::UntilClose => {
                            self.desk.out.extend_from_slice(tail);
                            tail = data;
                        }
                    }
                    if end.is_some() {
                        if plan.to_client == ClientBody::Chunked {
                            self.desk.out.extend_from_slice(chunked::LAST_CHUNK);
                        }
                        break None;
                    }
                }
                Stage::Tunnel(websocket) => {
                    tail = &bytes[at..];
                    at = bytes.len();
                    if let Some(websocket) = websocket {
                        let passed;
                        (passed, left) = websocket.take_from_app(tail, leaves);
                        tail = &tail[..passed];
                    }
                    break None;
                }
            }
        };
        if end == Some(End::Whole) && at < bytes.len() {
            end = Some(End::WithMore);
        }
        if let Some(reason) = fault {
            return self.app_failed(key, Fault::Bad(reason));
        }
        let (mut waited, mut moved) = (false, false);
        if !self.desk.out.is_empty() || !tail.is_empty() {
            // Behind interim responses an answer of our own is still possible.
            exchange.begun = !matches!(exchange.stage, Stage::Head);
            if let Some(request) = conn.request.as_mut() {
                request.entry.heads_sent(heads, status);
            }
            waited = !conn.output.is_drained();
            match conn.send(&self.desk.out, tail, self.app.buffer.response.then_some(&self.shared.spool)) {
                Ok(taken) => moved = taken,
                Err(_) => return self.client_left(key),
            }
        }
        if let Some(end) = end {
            return self.finish(key, upstream_key, end);
        }
        if left {
            return self.say_goodbye(key);
        }
        // What the app says wins no time for a client that takes nothing.
        if moved || !waited {
            self.limit(key);
        }
        self.leave_if_late(key);
        if matches!(self.clients.get(key), Some(Client { exchange: Some(Exchange { stage: Stage::Tunnel(_), .. }), .. })) {
            self.tunnel_to_app(key);
        }
    }

    /// The limit of an exchange: the client's if something waits for it, else the app's; of a stream that drains, no later than the drain's.
    pub(super) fn limit(&mut self, key: usize) {
        if self.awaits_body(key) {
            return;
        }
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let is_drained = conn.output.is_drained();
        let mut at = match (is_drained, &exchange.stage) {
            // Neither interim responses nor a head that drips win time: the slot would be held for ever.
            (true, Stage::Head) => exchange.since + self.app.timeouts.app,
            (false, Stage::Head) => (self.desk.now + self.shared.server.timeouts.write).min(exchange.since + self.app.timeouts.app),
            (false, Stage::Body { .. } | Stage::Tunnel(_)) => self.desk.now + self.shared.server.timeouts.write,
            (true, Stage::Tunnel(_)) => self.desk.now + self.app.timeouts.tunnel,
            (true, Stage::Body { .. }) => self.desk.now + self.app.timeouts.app,
        };
        if let Some(since) = self.leaving_since {
            at = exchange.limit_of_drain(at, since + self.app.drain.upgraded, is_drained, self.desk.now);
        }
        self.desk.deadlines.set(&mut conn.deadline, key, at);
        if !is_drained && conn.ask_writable(self.poll.registry(), Name::client(key)).is_err() {
            self.client_left(key);
        }
    }

    /// The response is whole: the slot is free, the client may still have to take the rest.
    pub(super) fn finish(&mut self, key: usize, upstream_key: usize, end: End) {
        let client = &mut self.clients[key];
        let Some(Exchange { claim, stage: Stage::Body { plan, .. }, sending, reusable, .. }) = client.exchange.take() else { return };
        let upstream = &mut self.upstreams.all[upstream_key];
        // A rest of the response or bytes behind it (also unread ones, of which no event will tell again), an unsent rest of the request,
        // an announced end: not to be used again.
        let is_quiet = end == End::Whole && !sending && !upstream.closing && !upstream.readable;
        if reusable && is_quiet && !self.draining {
            self.upstreams.keep(upstream_key, self.desk.now);
        } else {
            // At once: an app's thread may be waiting for this end before it takes the next request.
            self.upstreams.close(upstream_key);
        }
        let conn = &mut client.conn;
        conn.unread = conn.request.as_ref().is_some_and(|request| request.is_to_come());
        intake::request_done(conn, &mut self.desk.spare, plan.keep_client, self.desk.now);
        if plan.keep_client && !conn.has_output() && !self.draining {
            conn.phase = Phase::Head;
            self.desk.deadlines.set(&mut conn.deadline, key, self.desk.now + self.shared.server.timeouts.keepalive);
            if conn.readable || !conn.input.is_empty() {
                self.todo.push_back(key);
            }
        } else {
            self.desk.deadlines.set(&mut conn.deadline, key, self.desk.now + self.shared.server.timeouts.write);
            self.todo.push_back(key);
        }
        let ended = match end {
            End::Whole | End::WithMore | End::Left => Ended::Answered(plan.status),
            End::Cut => Ended::Cut,
        };
        self.give_back(claim, ended);
    }

    fn app_ended(&mut self, key: usize, upstream_key: usize) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        match &mut exchange.stage {
            Stage::Head => self.app_failed(key, Fault::Ended),
            Stage::Body { plan, reader, .. } => match reader.eof() {
                Ok(()) => {
                    if plan.to_client == ClientBody::Chunked && conn.send(chunked::LAST_CHUNK, &[], Some(&self.shared.spool)).is_err() {
                        return self.client_left(key);
                    }
                    self.finish(key, upstream_key, End::Whole);
                }
                Err(_) => self.app_failed(key, Fault::Ended),
            },
            Stage::Tunnel(Some(websocket)) if websocket.has_left() => {
                websocket.app_is_gone();
                self.goodbye_heard(key);
            }
            Stage::Tunnel(_) => self.tunnel_ended(key),
        }
    }

    /// The app did not answer, or not to the end. The request goes to an app again when that is safe; else the client is told, or, when part of
    /// an answer is out, cut off so that it sees that the answer is not whole.
    pub(super) fn app_failed(&mut self, key: usize, fault: Fault) {
        let Some(Client { conn, exchange }) = self.clients.get_mut(key) else { return };
        let Some(Exchange { claim, upstream, begun, seen, .. }) = exchange.take() else { return };
        let reused = upstream.is_some_and(|upstream| self.upstreams.all[upstream].reused);
        if let Some(upstream) = upstream {
            self.upstreams.close(upstream);
        }
        let Some(request) = conn.request.as_ref() else { return };
        // What was passed on of a body is not here any more.
        let idempotent = request.facts.idempotent && !request.is_streamed;
        let (line, tries) = (request.line(), request.tries);
        let never_reached = matches!(fault, Fault::Refused(_));
        let closed = matches!(fault, Fault::Refused(_) | Fault::Ended | Fault::Broken(_));
        let again = closed && exchange::may_retry(seen, never_reached, idempotent);
        if again && reused {
            // It was closed while it was idle, or the process is gone: the others say no more.
            self.upstreams.close_idle();
        }
        if again && tries < if never_reached { TRIES_NEVER_REACHED } else { TRIES } {
            log::debug!("{} pid {}: {line}: {fault}; the request is sent again", self.name, self.pid);
            if never_reached {
                self.todo.push_back(key);
            } else {
                // Not at once: a process that is dying closes its connections before its listener, and would take this one with it.
                self.desk.deadlines.set(&mut self.clients[key].conn.deadline, key, self.desk.now + RETRY_PAUSE);
            }
            // First, so that the slot is not given to the next one that waits, which would find the same.
            if let Fault::Refused(error) = &fault {
                self.refuses_connections(error);
            }
            return self.give_back(claim, if never_reached { Ended::Unused } else { Ended::AppFailed });
        }
        let ended = match fault {
            Fault::DrainLimit => Ended::Cut,
            Fault::Local(_) => Ended::Unused,
            Fault::Refused(_) | Fault::Ended | Fault::Broken(_) | Fault::Bad(_) | Fault::Timeout => Ended::AppFailed,
        };
        let refusal = match fault {
            Fault::Timeout | Fault::DrainLimit => Refusal::AppTimeout,
            Fault::Bad(reason) => Refusal::BadGateway(reason),
            Fault::Local(_) => Refusal::NoProcess,
            Fault::Refused(_) | Fault::Ended | Fault::Broken(_) => Refusal::BadGateway("the app closed the connection"),
        };
        if begun {
            log::info!("{} pid {}: {line}: {fault}; the client's connection is cut in the middle of the response", self.name, self.pid);
            let conn = &mut self.clients[key].conn;
            conn.socket.reset_on_close();
            if let Some(request) = conn.request.as_mut() {
                request.entry.cause = Some(refusal.reason());
            }
            self.clients.remove(key);
        } else {
            log::info!("{} pid {}: {line}: {fault}; answered {}", self.name, self.pid, refusal.status());
            self.refuse(key, &refusal);
        }
        self.give_back(claim, ended);
    }

    /// A process that refuses connections is dead or as good as dead: the pool must not choose it again.
    fn refuses_connections(&mut self, error: &io::Error) {
        let mut state = self.shared.table.lock();
        let what = format!("it refuses connections: {error}");
        state.pool.group_mut(self.id.group).broken(self.id, FailureKind::Refused(what), self.desk.now);
        drop(state);
        self.shared.table.notify();
    }

    /// The client is gone while its request is with the app.
    pub(super) fn client_left(&mut self, key: usize) {
        let Some(client) = self.clients.try_remove(key) else { return };
        let Some(exchange) = client.exchange else { return };
        if let Some(upstream) = exchange.upstream {
            self.upstreams.close(upstream);
        }
        self.give_back(exchange.claim, Ended::Cut);
    }

    /// An event at the client of an exchange: it takes bytes again, or has sent some.
    pub(super) fn client_moved(&mut self, key: usize) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let (upstream, tunnel, sending) = (exchange.upstream, matches!(exchange.stage, Stage::Tunnel(_)), exchange.sending);
        if !conn.output.is_drained() {
            let mut moved = false;
            match conn.flush(&mut moved) {
                Ok(Flushed::Part) => self.later.push_back(key),
                Ok(Flushed::All | Flushed::Blocked) => {}
                Err(_) => return self.client_left(key),
            }
            if moved {
                self.limit(key);
            }
            if let Some(upstream) = upstream {
                self.read_app(upstream);
            }
        }
        if tunnel {
            self.tunnel_to_app(key);
        } else if sending {
            self.send_request(key);
        }
    }

    /// A deadline of an exchange has passed.
    pub(super) fn exchange_expired(&mut self, key: usize) {
        if self.stream_expired(key) {
            return;
        }
        if self.awaits_body(key) {
            return self.refuse_body(key, &Refusal::BodyTimeout);
        }
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get(key) else { return };
        match exchange.stage {
            Stage::Tunnel(_) => self.client_left(key),
            // The client does not take the answer.
            Stage::Head | Stage::Body { .. } if !conn.output.is_drained() => self.client_left(key),
            Stage::Head | Stage::Body { .. } => self.app_failed(key, Fault::Timeout),
        }
    }

    /// Ends every exchange, for the same reason.
    pub(super) fn fail_all(&mut self, fault: impl Fn() -> Fault) {
        let attached: Vec<usize> = self.clients.iter().filter(|(_, client)| client.exchange.is_some()).map(|(key, _)| key).collect();
        for key in attached {
            self.app_failed(key, fault());
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Refused(error) => write!(f, "the app refuses connections: {error}"),
            Fault::Local(error) => write!(f, "no connection to the app could be opened: {error}"),
            Fault::Ended => f.write_str("the app closed the connection before its response was whole"),
            Fault::Broken(error) => write!(f, "the connection to the app broke: {error}"),
            Fault::Bad(reason) => write!(f, "the app's response is malformed: {reason}"),
            Fault::Timeout => f.write_str("the app did not answer, or not go on, within timeouts.app"),
            Fault::DrainLimit => f.write_str("it was not done at the drain limit"),
        }
    }
}

/// Nobody listens at the process's address.
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// Reads from one connection before others have their turn: 512 KiB.
const READS: usize = 8;
/// Connections that share so many reads in one turn of the loop, half a millisecond. When more wait, each other has one read.
const LONG_READS: usize = 4;
/// Writes to one connection before others have their turn, of 256 KiB at most.
const WRITES: usize = 16;
/// How often a request is sent when the app may have begun on it, and when it never reached one.
const TRIES: u8 = 2;
const TRIES_NEVER_REACHED: u8 = 10;
/// By then the end of a process that was killed is known.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
