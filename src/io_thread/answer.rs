//! The response of an exchange: what the app sends is read, understood, and written to the client.

use std::io;
use std::sync::atomic::Ordering;

use super::exchange::{Exchange, Stage};
use super::fault::Fault;
use super::leave::Leave;
use super::tunnel::WebSocket;
use super::upload;
use super::upstream::{Owner, Upstream};
use super::{BUFFER, Client, IoThread};
use crate::conn::desk::Desk;
use crate::conn::{Conn, Phase, answering, static_files};
use crate::http::answer::TOO_MANY_INTERIM;
use crate::http::chunked;
use crate::http::event_stream::{self, Events};
use crate::http::exchange::{self, BodyReader, ClientBody, Kind};
use crate::http::fields::Field;
use crate::http::head::{self, HeaderRoom};
use crate::http::malformed::Malformed;
use crate::http::rewrite;
use crate::http::streaming;
use crate::http::websocket;
use crate::pool::Ended;
use crate::table::Shared;

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

impl IoThread {
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
                    if !self.awaits_verdict(key) {
                        self.app_failed(key, Fault::Broken(error));
                    }
                }
            }
        }
        self.buffer = buffer;
    }

    /// The app's socket is read when those that were put off before it have been.
    pub(super) fn read_later(&mut self, upstream_key: usize) {
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
                if upstream.owner == Owner::Overdue {
                    self.hear_out(key);
                    continue;
                }
            }
            self.read_app_up_to(key, READS / turns);
        }
    }

    fn app_bytes(&mut self, key: usize, upstream_key: usize, bytes: &[u8]) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        exchange.seen = true;
        exchange.received += bytes.len() as u64;
        let upstream = &mut self.upstreams.all[upstream_key];
        let searched = upstream.input.len();
        let joined;
        let bytes = if searched == 0 {
            bytes
        } else {
            upstream.input.extend_from_slice(bytes);
            // A long head that drips in is parsed once, when its end is there.
            if (DRIPS..head::MAX_RESPONSE_HEAD).contains(&searched) && head::head_end(&upstream.input, searched).is_none() {
                return;
            }
            joined = std::mem::take(&mut upstream.input);
            &joined[..]
        };
        self.desk.out.clear();
        let (mut at, mut heads, mut status) = (0, 0, None);
        while matches!(exchange.stage, Stage::Head) {
            match take_head(conn, exchange, &bytes[at..], &mut self.desk, &self.shared) {
                Ok(Some(taken)) => {
                    at += taken.used;
                    status = taken.status;
                    heads = self.desk.out.len();
                }
                Ok(None) => {
                    upstream.input.extend_from_slice(&bytes[at..]);
                    break;
                }
                Err(malformed) => return self.app_failed(key, Fault::Bad(malformed)),
            }
        }
        let (rest, leaves) = (&bytes[at..], exchange.leave == Leave::Now);
        let (mut tail, mut end, mut left) = (&rest[..0], None, false);
        match &mut exchange.stage {
            Stage::Head => {}
            Stage::Body { reader, plan, events, .. } => {
                match take_body(reader, plan.to_client, events.as_mut(), rest, leaves, &mut self.desk) {
                    Ok(taken) => (tail, end) = taken,
                    Err(malformed) => return self.app_failed(key, Fault::Bad(malformed)),
                }
            }
            Stage::Tunnel(None) => tail = rest,
            Stage::Tunnel(Some(websocket)) => {
                let passed;
                (passed, left) = websocket.take_from_app(rest, leaves);
                tail = &rest[..passed];
            }
        }
        let (mut waited, mut moved) = (false, false);
        if !self.desk.out.is_empty() || !tail.is_empty() {
            let is_unasked = conn.request.as_ref().is_some_and(|request| request.is_unasked);
            if is_unasked && status.is_some_and(|status| exchange.expectation.goes_on(status, end.is_some())) {
                upload::asked(conn);
                self.later.push_back(key);
            }
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
        let is_left = matches!(exchange.stage, Stage::Body { is_stream: true, .. }) && conn.closing;
        if is_left {
            return self.client_left(key);
        }
        // What the app says wins no time for a client that takes nothing.
        if moved || !waited {
            self.limit(key);
        }
        self.leave_if_late(key);
        let exchange = self.clients.get(key).and_then(|client| client.exchange.as_ref());
        if exchange.is_some_and(|exchange| matches!(exchange.stage, Stage::Tunnel(_))) {
            self.tunnel_to_app(key);
        }
    }

    /// The response is whole: the slot is free, the client may still have to take the rest.
    pub(super) fn finish(&mut self, key: usize, upstream_key: usize, end: End) {
        if self.shared.asks_for_suspects(self.id.group) {
            self.survives(key);
        }
        let client = &mut self.clients[key];
        let Some(exchange) = client.exchange.take() else { return };
        let Exchange { claim, stage: Stage::Body { plan, .. }, sending, reusable, .. } = *exchange else { return };
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
        if let (End::WithMore, Some(request)) = (end, &conn.request) {
            self.shared.once.sends_more(self.id.group, &self.name.app, &request.line());
        }
        conn.unread = conn.request.as_ref().is_some_and(|request| request.is_to_come());
        answering::request_done(conn, &mut self.desk.spare, plan.keep_client, self.desk.now);
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

    pub(super) fn app_ended(&mut self, key: usize, upstream_key: usize) {
        if self.awaits_verdict(key) {
            return;
        }
        let is_well = self.died().is_none();
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        match &mut exchange.stage {
            Stage::Head => self.app_failed(key, Fault::Ended),
            Stage::Body { plan, reader, .. } => match reader.eof() {
                Ok(()) if is_well => {
                    if plan.to_client == ClientBody::Chunked && conn.send(chunked::LAST_CHUNK, &[], Some(&self.shared.spool)).is_err() {
                        return self.client_left(key);
                    }
                    self.finish(key, upstream_key, End::Whole);
                }
                Ok(()) | Err(_) => self.app_failed(key, Fault::Ended),
            },
            Stage::Tunnel(Some(websocket)) if websocket.has_left() => {
                websocket.app_is_gone();
                self.goodbye_heard(key);
            }
            Stage::Tunnel(_) => self.tunnel_ended(key),
        }
    }
}

/// A head of the app's, for the client behind what `desk.out` has.
struct Head {
    /// Bytes of it.
    used: usize,
    /// Of the final response, or of a switch.
    status: Option<u16>,
}

/// None: it is not whole yet. An error: what is wrong with it.
fn take_head(conn: &mut Conn, exchange: &mut Exchange, bytes: &[u8], desk: &mut Desk, shared: &Shared) -> Result<Option<Head>, Malformed> {
    let Some(request) = conn.request.as_ref() else { return Ok(None) };
    let bad = |reason| Malformed::head(reason, bytes);
    let mut room = HeaderRoom::new();
    let Some((head, used)) = head::parse_response(bytes, &mut room).map_err(|refused| bad(refused.reason()))? else { return Ok(None) };
    let mut plan = exchange::plan_response(&request.facts, &head).map_err(|refused| bad(refused.reason()))?;
    // A body that is still coming when the answer begins may never be whole.
    if shared.stopping.load(Ordering::Relaxed) || request.is_to_come() {
        plan.close_client();
    }
    let (date, is_unasked) = (desk.date.at(desk.now), request.is_unasked);
    if plan.kind == Kind::Final && head.fields.values(Field::SendFile).next().is_some() {
        desk.folders.refresh(shared);
        let folders = desk.folders.of(request.group).map(|folders| &**folders);
        static_files::of_app(conn, &head, &mut plan, folders, date, &mut desk.out).map_err(bad)?;
    } else {
        rewrite::response(&head, &plan, &request.facts, date, &mut desk.out);
    }
    exchange.reusable &= plan.keep_app;
    let status = match plan.kind {
        Kind::Interim | Kind::Dropped => {
            if head.status == 100 && is_unasked {
                exchange.expectation.app_asks(desk.now);
            }
            exchange.interim += 1;
            if exchange.interim > exchange::INTERIM_MAX {
                return Err(bad(TOO_MANY_INTERIM));
            }
            None
        }
        Kind::Final => {
            exchange.expectation.end();
            name_process(conn, shared, &mut desk.out);
            let (reader, events) = (BodyReader::for_response(&plan.from_app), event_stream::of_response(&head, &plan.from_app));
            let status = plan.status;
            let is_stream = streaming::is_stream(&head, &plan.from_app);
            exchange.stage = Stage::Body { reader, plan, is_stream, events };
            Some(status)
        }
        Kind::Switch => {
            name_process(conn, shared, &mut desk.out);
            exchange.stage = Stage::Tunnel(websocket::is_chosen(&head).then(|| Box::new(WebSocket::new())));
            Some(plan.status)
        }
    };
    Ok(Some(Head { used, status }))
}

/// The client learns which process answers, in the head that is written, if it is to come back to that.
fn name_process(conn: &Conn, shared: &Shared, out: &mut Vec<u8>) {
    let Some((request, sticky)) = conn.request.as_ref().and_then(|request| Some((request, request.sticky?))) else { return };
    if let (Some(cookie), Some((number, _))) = (&shared.app(request.group).sticky, request.entry.process) {
        // Before the empty line.
        out.truncate(out.len() - 2);
        sticky.answer(cookie, number, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Bytes of a body: what is sent of them as it is, behind what `out` has got, and how the response has ended with them. `leaves`: an event
/// stream ends behind the event that is under way. Chunks become larger ones.
fn take_body<'a>(
    reader: &mut BodyReader,
    to_client: ClientBody,
    mut events: Option<&mut Events>,
    bytes: &'a [u8],
    leaves: bool,
    desk: &mut Desk,
) -> Result<(&'a [u8], Option<End>), Malformed> {
    let (mut at, mut tail) = (0, &bytes[..0]);
    let Desk { out, gathered, .. } = desk;
    gathered.clear();
    let end = loop {
        if reader.is_done() {
            break Some(if at < bytes.len() { End::WithMore } else { End::Whole });
        }
        if at == bytes.len() {
            break None;
        }
        let (used, data) = reader.read(&bytes[at..]).map_err(|bad| Malformed::body(bad.reason(), &bytes[at..]))?;
        at += used;
        if data.is_empty() {
            if used == 0 {
                break None;
            }
            continue;
        }
        let to_end = match &mut events {
            Some(events) if leaves => events.pass_to_end(data),
            Some(events) => {
                events.pass(data);
                None
            }
            None => None,
        };
        let data = to_end.map_or(data, |passed| &data[..passed]);
        match to_client {
            ClientBody::None => {}
            ClientBody::Chunked if data.is_empty() => {}
            ClientBody::Chunked if gathered.is_empty() && data.len() >= chunked::GATHERED => chunked::write_chunk(out, data),
            ClientBody::Chunked => {
                gathered.extend_from_slice(data);
                if gathered.len() >= chunked::GATHERED {
                    chunked::write_chunk(out, gathered);
                    gathered.clear();
                }
            }
            ClientBody::Length(_) | ClientBody::UntilClose => {
                out.extend_from_slice(tail);
                tail = data;
            }
        }
        if to_end.is_some() {
            break Some(End::Left);
        }
    };
    if !gathered.is_empty() {
        chunked::write_chunk(out, gathered);
    }
    if end.is_some() && to_client == ClientBody::Chunked {
        out.extend_from_slice(chunked::LAST_CHUNK);
    }
    Ok((tail, end))
}

/// A head is parsed anew with each piece of it up to so many bytes, so that nonsense is told soon.
const DRIPS: usize = 4 * 1024;
/// Reads from one connection before others have their turn: 512 KiB.
const READS: usize = 8;
/// Connections that share so many reads in one turn of the loop, half a millisecond. When more wait, each other has one read.
const LONG_READS: usize = 4;
