//! One request and its response between a client and the app: how far it is, sending, limits, the client's side. The response stands in
//! [`super::answer`], what follows when the app fails in [`super::fault`].
//!
//! The path of a request that everything is right with: [`IoThread::begin`] writes it, [`IoThread::read_app`] reads the answer and writes it to
//! the client, `finish` frees the slot. Four system calls, no allocation that reaches the kernel.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use super::fault::{Fault, is_refusal};
use super::leave::Leave;
use super::tunnel::WebSocket;
use super::upload;
use super::upstream::Owner;
use super::{Client, IoThread, Name};
use crate::config::AppConfig;
use crate::conn::spool::Piece;
use crate::conn::{Flushed, Phase};
use crate::http::cut::Cut;
use crate::http::event_stream::Events;
use crate::http::exchange::{BodyReader, ResponsePlan};
use crate::http::expectation::Expectation;
use crate::http::framing::RequestBody;
use crate::http::refusal::Refusal;
use crate::http::rewrite::{self, BodyToApp};
use crate::pool::{Claim, Ended, Exit};

/// A session: from the claim of a slot to the end of the app's response.
#[derive(Debug)]
pub struct Exchange {
    pub claim: Claim,
    /// None: the app's backlog is full, a connection is tried again soon.
    pub upstream: Option<usize>,
    /// How much of the request's head the app's socket has taken.
    pub head_sent: usize,
    /// Part of the request is still to be written.
    pub sending: bool,
    pub stage: Stage,
    /// The app closed its connection before that, which is still to be judged.
    pub closed: Option<Fault>,
    /// A child of the process was ending then.
    pub child: Option<Exit>,
    /// A byte of the response has been seen.
    pub seen: bool,
    /// A byte of the final response has gone to the client: there is no other answer any more.
    pub begun: bool,
    /// Interim responses so far.
    pub interim: u8,
    /// Nothing that came on the app's connection speaks against another request on it.
    pub reusable: bool,
    /// Since when the client is waited for, for more of a body that goes to the app as it comes.
    pub awaits_body: Option<Instant>,
    /// Of a client that waits for word that it may send its body.
    pub expectation: Expectation,
    /// When the app was asked: its time for a final response counts from here.
    pub since: Instant,
    /// Bytes of the response, with its head.
    pub received: u64,
    /// Of a stream: when it leaves a process that drains.
    pub leave: Leave,
    /// Its connection has ended, and how the process ends says whether the answer is whole.
    pub is_ended: bool,
}

/// What an exchange is to a drain: how it may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It ends by itself.
    Request,
    /// It lasts, and ends by itself.
    Stream,
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
            Class::Stream => "stream",
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
        /// Silence is nothing unusual in it.
        is_stream: bool,
        /// Where the events of an event stream end; None: it is none.
        events: Option<Events>,
    },
    /// Bytes both ways until one side ends. None: what they are is not known.
    Tunnel(Option<Box<WebSocket>>),
}

impl Exchange {
    fn new(claim: Claim, now: Instant) -> Self {
        Self {
            claim,
            upstream: None,
            head_sent: 0,
            sending: true,
            stage: Stage::Head,
            closed: None,
            child: None,
            seen: false,
            begun: false,
            interim: 0,
            reusable: true,
            awaits_body: None,
            expectation: Expectation::default(),
            since: now,
            received: 0,
            leave: Leave::Stay,
            is_ended: false,
        }
    }

    pub fn put_off(&mut self, by: Duration) {
        self.since += by;
        self.awaits_body = self.awaits_body.map(|since| since + by);
        self.expectation.put_off(by);
        if let Leave::At(moment) = &mut self.leave {
            *moment += by;
        }
    }

    /// There is no other answer any more than the one that is under way.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    pub fn class(&self) -> Class {
        match &self.stage {
            Stage::Head | Stage::Body { is_stream: false, .. } => Class::Request,
            Stage::Body { events: None, .. } => Class::Stream,
            Stage::Body { events: Some(_), .. } => Class::EventStream,
            Stage::Tunnel(Some(_)) => Class::WebSocket,
            Stage::Tunnel(None) => Class::Upgraded,
        }
    }
}

impl IoThread {
    /// Sends a client's request to the app.
    pub(super) fn begin(&mut self, key: usize, claim: Claim) {
        if self.shared.asks_for_suspects(self.id.group)
            && let Err(refusal) = self.is_worth_the_risk(key)
        {
            self.refuse(key, &refusal);
            return self.give_back(claim, Ended::Unused);
        }
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
            if request.is_unasked {
                rewrite::expect_continue(&mut request.head);
            }
            rewrite::finish_request(&mut request.head, &request.facts, body);
        }
        request.tries += 1;
        request.entry.begins(self.name.number, self.name.generation, self.desk.now);
        request.body.rewind();
        client.exchange = Some(Box::new(Exchange::new(claim, self.desk.now)));
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + shortest(&self.app));
        // A kept connection may be closed by the app at this very moment, and then nobody can say whether the request was begun.
        let (is_first, may_repeat) = (request.tries == 1, request.may_repeat());
        upload::let_send(&mut client.conn);
        let reused = match (is_first, may_repeat) {
            (true, true) => self.upstreams.reuse(Owner::Client(key), self.desk.now),
            (true, false) => self.upstreams.reuse_at_once(Owner::Client(key)),
            (false, _) => None,
        };
        match reused {
            Some(upstream) => {
                self.attach(key, upstream);
                self.send_request(key);
            }
            None => self.connect(key),
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

    /// The limit of an exchange: the client's if something waits for it, else the app's; of a request no later than `request_timeout`, of a
    /// stream that drains than the drain's.
    pub(super) fn limit(&mut self, key: usize) {
        let is_ended = self.clients.get(key).and_then(|client| client.exchange.as_ref()).is_some_and(|exchange| exchange.is_ended);
        if is_ended || self.awaits_body(key) {
            return;
        }
        let overdue = self.clients.get(key).and_then(|client| self.overdue_at(client.exchange.as_ref()?));
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let is_drained = conn.output.is_drained();
        let mut at = match (is_drained, &exchange.stage) {
            // Neither interim responses nor a head that drips win time: the slot would be held for ever.
            (true, Stage::Head) => exchange.since + self.app.timeouts.app,
            (false, Stage::Head) => (self.desk.now + self.shared.server.timeouts.write).min(exchange.since + self.app.timeouts.app),
            (false, Stage::Body { .. } | Stage::Tunnel(_)) => self.desk.now + self.shared.server.timeouts.write,
            (true, Stage::Tunnel(_) | Stage::Body { is_stream: true, .. }) => self.desk.now + self.app.timeouts.tunnel,
            (true, Stage::Body { is_stream: false, .. }) => self.desk.now + self.app.timeouts.app,
        };
        at = [overdue, exchange.expectation.due()].into_iter().flatten().fold(at, Instant::min);
        if let Some(since) = self.leaving_since {
            at = exchange.limit_of_drain(at, since + self.app.drain.upgraded, is_drained, self.desk.now);
        }
        self.desk.deadlines.set(&mut conn.deadline, key, at);
        if !is_drained && conn.ask_writable(self.poll.registry(), Name::client(key)).is_err() {
            self.client_left(key);
        }
    }

    /// The client is gone while its request is with the app.
    pub(super) fn client_left(&mut self, key: usize) {
        self.end_session(key, Cut::ClientLeft);
    }

    /// Ends an exchange where it stands, in the middle of its answer.
    pub(super) fn cut(&mut self, key: usize, cut: Cut) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let line = conn.request.as_ref().map_or_else(String::new, |request| request.line());
        log::info!(
            "{} pid {}: {line}: {}; the client's connection is cut in the middle of the response",
            self.name,
            self.pid,
            cut.reason()
        );
        // What has no other end than its connection's must not look whole; an upgraded connection has its own.
        if !matches!(exchange.stage, Stage::Tunnel(_)) {
            conn.socket.reset_on_close();
        }
        self.end_session(key, cut);
    }

    fn end_session(&mut self, key: usize, cut: Cut) {
        let Some(mut client) = self.clients.try_remove(key) else { return };
        if let Some(request) = &mut client.conn.request {
            request.entry.cause.get_or_insert(cut.reason());
        }
        let Some(exchange) = client.exchange else { return };
        if let Some(upstream) = exchange.upstream {
            self.upstreams.close(upstream);
        }
        self.give_back(exchange.claim, Ended::Cut);
    }

    /// An event at the client of an exchange: it takes bytes again, or has sent some.
    pub(super) fn client_moved(&mut self, key: usize) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        // A stream may be silent for long, and only what is written to it would show that nobody is there.
        if conn.closing && matches!(exchange.stage, Stage::Body { is_stream: true, .. }) {
            return self.client_left(key);
        }
        if conn.closing && matches!(exchange.stage, Stage::Head) && upload::has_left_unasked(conn) {
            return self.client_left(key);
        }
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
        if self.clients[key].exchange.as_ref().is_some_and(|exchange| exchange.closed.is_some()) {
            return self.verdict_is_due(key);
        }
        if self.verdict_is_late(key) || self.stream_expired(key) || self.asks_for_body(key) || self.is_overdue(key) {
            return;
        }
        if self.awaits_body(key) {
            return self.refuse_body(key, &Refusal::BodyTimeout);
        }
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get(key) else { return };
        match exchange.stage {
            Stage::Head | Stage::Body { .. } | Stage::Tunnel(_) if !conn.output.is_drained() => self.cut(key, Cut::ClientSlow),
            Stage::Tunnel(_) => self.cut(key, Cut::Still),
            Stage::Body { is_stream: true, .. } => self.app_failed(key, Fault::Cut(Cut::Still)),
            Stage::Head | Stage::Body { .. } => self.app_failed(key, Fault::Cut(Cut::AppSilent)),
        }
    }
}

/// What the app has for an answer at least.
pub fn shortest(app: &AppConfig) -> Duration {
    app.request_timeout.map_or(app.timeouts.app, |limit| limit.min(app.timeouts.app))
}

/// Writes to one connection before others have their turn, of 256 KiB at most.
const WRITES: usize = 16;
