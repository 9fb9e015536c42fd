//! One request and its response between a client and the app, carried: what [`Exchange`] says is read from one socket and written to the other.
//! The response stands in [`super::answer`], what follows when the app fails in [`super::fault`].
//!
//! The path of a request that everything is right with: [`IoThread::begin`] writes it, [`IoThread::read_app`] reads the answer and writes it to
//! the client, `finish` frees the slot. Four system calls, no allocation that reaches the kernel.

use std::io::{self, IoSlice};

use super::fault::{Fault, is_refusal};
use super::upload;
use super::upstream::Owner;
use super::{Client, IoThread, Name};
use crate::config::{AppConfig, ServerConfig};
use crate::conn::spool::Piece;
use crate::conn::static_files::Came;
use crate::conn::{Flushed, Phase};
use crate::http::cut::Cut;
use crate::http::exchange::Exchange;
use crate::http::exchange::limits::{Due, Limits, Standing};
use crate::http::framing::RequestBody;
use crate::http::refusal::Refusal;
use crate::http::rewrite::{self, BodyToApp};
use crate::last_word;
use crate::pool::{Claim, Ended, Exit};

/// What a client has with the app: from the claim of a slot to the end of the app's response.
#[derive(Debug)]
pub struct Session {
    pub claim: Claim,
    /// None: the app's backlog is full, a connection is tried again soon.
    pub upstream: Option<usize>,
    pub exchange: Exchange,
    /// The app closed its connection before a byte of the answer, which is still to be judged.
    pub closed: Option<Fault>,
    /// A child of the process was ending then.
    pub child: Option<Exit>,
    /// Its connection has ended, and how the process ends says whether the answer is whole.
    pub is_ended: bool,
    /// Its answer names a file, which is looked for by somebody else; the number of that question.
    pub question: Option<u64>,
    /// What came of it.
    pub named_file: Option<Box<Came>>,
}

/// What exchanges with this app may take.
pub fn limits(app: &AppConfig, server: &ServerConfig) -> Limits {
    Limits {
        app: app.timeouts.app,
        tunnel: app.timeouts.tunnel,
        write: server.timeouts.write,
        request: app.request_timeout,
        upgraded: app.drain.upgraded,
    }
}

impl IoThread {
    /// Sends a client's request to the app.
    pub(super) fn begin(&mut self, key: usize, claim: Claim) {
        if self.desk.catalog.ledger(self.id.group).asks_for_suspects()
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
        if self.shared.fault_panic && request.line() == "GET /__hang" {
            last_word::fault("io");
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
        let exchange = Exchange::new(self.desk.now);
        client.session = Some(Box::new(Session {
            claim,
            upstream: None,
            exchange,
            closed: None,
            child: None,
            is_ended: false,
            question: None,
            named_file: None,
        }));
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + self.limits.shortest());
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
        let upstream = self.clients.get(key).and_then(|client| client.session.as_ref()?.upstream);
        if upstream.is_some_and(|upstream| !self.upstreams.all[upstream].is_proven && self.is_unproven(key, upstream)) {
            return;
        }
        for _ in 0..WRITES {
            let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
            let Some(upstream_key) = session.upstream else { return };
            let exchange = &mut session.exchange;
            if exchange.is_tunnel() {
                return self.tunnel_to_app(key);
            }
            let upstream = &mut self.upstreams.all[upstream_key];
            let Some(request) = conn.request.as_mut().filter(|_| exchange.is_sending()) else { return };
            let head = exchange.head_left(&request.head);
            let written = match (head.is_empty(), request.body.next()) {
                (true, None) if request.is_to_come() => match self.read_body(key) {
                    true => continue,
                    false => return,
                },
                (true, None) => {
                    exchange.all_sent();
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
                    let of_body = exchange.app_took(written, head.len());
                    request.body.advance(of_body);
                    if request.is_streamed {
                        exchange.body_moved(self.desk.now);
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
                Err(error) if exchange.is_unsent() && is_refusal(&error) => return self.app_failed(key, Fault::Refused(error)),
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

    /// When its next limit passes, its client's or the app's ([`Exchange::due`]).
    pub(super) fn limit(&mut self, key: usize) {
        let leaving_since = self.leaving_since;
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let is_drained = conn.output.is_drained();
        if session.is_ended || session.exchange.awaits_body(is_drained) {
            return;
        }
        let at = session.exchange.due(&self.limits, Standing { is_drained, leaving_since, now: self.desk.now });
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
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let line = conn.request.as_ref().map_or_else(String::new, |request| request.line());
        log::info!("{} pid {}: {line}: {}; the client's connection is cut in the middle of the answer", self.name, self.pid, cut.reason());
        // What has no other end than its connection's must not look whole; an upgraded connection has its own.
        if !session.exchange.is_tunnel() {
            conn.socket.reset_on_close();
        }
        self.end_session(key, cut);
    }

    pub(super) fn end_session(&mut self, key: usize, cut: Cut) {
        let Some(mut client) = self.clients.try_remove(key) else { return };
        if let Some(request) = &mut client.conn.request {
            request.entry.cause.get_or_insert(Refusal::Cut(cut));
        }
        let Some(session) = client.session else { return };
        if let Some(upstream) = session.upstream {
            match session.exchange.is_sending() {
                true => self.upstreams.give_up(upstream),
                false => self.upstreams.close(upstream),
            }
        }
        self.give_back(session.claim, Ended::Cut);
    }

    /// An event at the client of an exchange: it takes bytes again, or has sent some.
    pub(super) fn client_moved(&mut self, key: usize) {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let exchange = &session.exchange;
        if conn.closing && (exchange.is_stream() || exchange.is_head() && upload::has_left_unasked(conn)) {
            return self.client_left(key);
        }
        let (upstream, tunnel, sending) = (session.upstream, exchange.is_tunnel(), exchange.is_sending());
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

    /// A deadline of a session has passed.
    pub(super) fn session_expired(&mut self, key: usize) {
        if self.clients[key].session.as_ref().is_some_and(|session| session.closed.is_some()) {
            return self.verdict_is_due(key);
        }
        if self.verdict_is_late(key) {
            return;
        }
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let (is_drained, is_tunnel) = (conn.output.is_drained(), session.exchange.is_tunnel());
        let standing = Standing { is_drained, leaving_since: self.leaving_since, now: self.desk.now };
        let due = session.exchange.passed(&self.limits, standing);
        if matches!(due, Due::Overdue | Due::BodyLate | Due::Still | Due::AppSilent) && self.hears_late(key) {
            return;
        }
        match due {
            Due::Leaves => self.leave(key),
            Due::GoodbyeOver => self.tunnel_ended(key),
            Due::DrainOver(class) => self.end_where_it_stands(key, class),
            Due::AskForBody => self.ask_for_body(key),
            Due::Overdue => self.end_overdue(key),
            Due::BodyLate => self.refuse_body(key, &Refusal::BodyTimeout),
            Due::ClientSlow => self.cut(key, Cut::ClientSlow),
            Due::Still if is_tunnel => self.cut(key, Cut::Still),
            Due::Still => self.app_failed(key, Fault::Cut(Cut::Still)),
            Due::AppSilent => self.app_failed(key, Fault::Cut(Cut::AppSilent)),
        }
    }

    /// Before somebody is called late: whether what is waited for has come while this thread had no time to read it.
    fn hears_late(&mut self, key: usize) -> bool {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return true };
        if session.exchange.awaits_body(conn.output.is_drained()) {
            conn.readable = !conn.socket.is_silent();
            if conn.readable {
                self.send_request(key);
            }
        } else if let Some(upstream) = session.upstream {
            let it = &mut self.upstreams.all[upstream];
            it.readable |= !it.socket.is_silent();
            self.read_app(upstream);
        }
        let waits = |client: &Client| client.session.is_some() && client.conn.deadline.at().is_some_and(|at| at <= self.desk.now);
        !self.clients.get(key).is_some_and(waits)
    }
}

/// Writes to one connection before others have their turn, of 256 KiB at most.
const WRITES: usize = 16;
