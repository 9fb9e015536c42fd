//! The response of a session: what the app sends is read, given to its exchange, and what that makes of it is written to the client.

use std::io;
use std::sync::atomic::Ordering;

use super::fault::Fault;
use super::session::Session;
use super::upload;
use super::upstream::{Owner, Upstream};
use super::{BUFFER, Client, IoThread};
use crate::conn::desk::Desk;
use crate::conn::static_files::{OfApp, Wanted};
use crate::conn::{Conn, Phase, Request, answering, static_files};
use crate::http::exchange::plan::{Kind, ResponsePlan};
use crate::http::exchange::{Around, Closed, End, Heard, Next, Written};
use crate::http::fields::Field;
use crate::http::head::ResponseHead;
use crate::http::malformed::Malformed;
use crate::http::rewrite;
use crate::pool::Ended;
use crate::table::Shared;

impl IoThread {
    /// The app has written something. What has just begun, as every small answer has, is read before what is long already.
    pub(super) fn app_speaks(&mut self, upstream_key: usize, client: usize) {
        let received = self.clients.get(client).and_then(|client| client.session.as_ref()).map_or(0, |session| session.exchange.received());
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
        let Some(session) = self.clients.get_mut(key).and_then(|client| client.session.as_mut()) else { return };
        let Some(bytes) = session.exchange.join(bytes) else { return };
        self.understand(key, upstream_key, &bytes);
    }

    /// What the app has said so far and is not understood yet.
    pub(super) fn understand(&mut self, key: usize, upstream_key: usize, bytes: &[u8]) {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let (Heard { tail, heads, status, asks_client, next }, wanted) = match hear(conn, session, bytes, &mut self.desk, &self.shared) {
            Ok(heard) => heard,
            Err(malformed) => return self.app_failed(key, Fault::Bad(malformed)),
        };
        let (mut waited, mut moved) = (false, false);
        if !self.desk.out.bytes.is_empty() || !tail.is_empty() {
            if asks_client {
                upload::asked(conn);
                self.later.push_back(key);
            }
            if let Some(request) = conn.request.as_mut() {
                request.entry.heads_sent(heads, status);
            }
            waited = !conn.output.is_drained();
            match conn.send(&self.desk.out.bytes, tail, self.app.buffer.response.then_some(&self.shared.spool)) {
                Ok(taken) => moved = taken,
                Err(_) => return self.client_left(key),
            }
        }
        match next {
            Next::More => {}
            Next::Ended(end) => return self.finish(key, upstream_key, end),
            Next::Goodbye => return self.say_goodbye(key),
        }
        if let Some(wanted) = wanted {
            return self.look_for(key, wanted);
        }
        if session.exchange.is_stream() && conn.closing {
            return self.client_left(key);
        }
        let is_tunnel = session.exchange.is_tunnel();
        // What the app says wins no time for a client that takes nothing.
        if moved || !waited {
            self.limit(key);
        }
        self.leave_if_late(key);
        if is_tunnel {
            self.tunnel_to_app(key);
        }
    }

    /// The response is whole: the slot is free, the client may still have to take the rest.
    pub(super) fn finish(&mut self, key: usize, upstream_key: usize, end: End) {
        if self.desk.catalog.ledger(self.id.group).asks_for_suspects() {
            self.survives(key);
        }
        let client = &mut self.clients[key];
        let Some(session) = client.session.take() else { return };
        let Session { claim, exchange, .. } = *session;
        let plan = exchange.plan().copied();
        let (keeps_client, ended) = match (plan, end) {
            (Some(plan), End::Whole | End::WithMore | End::Left) => (plan.keep_client, Ended::Answered(plan.status)),
            (Some(plan), End::Cut) => (plan.keep_client, Ended::Cut),
            (None, _) => (false, Ended::Cut),
        };
        let upstream = &mut self.upstreams.all[upstream_key];
        // Unread bytes, of which no event will tell again, or an announced end: not to be used again.
        let is_quiet = !upstream.closing && !upstream.readable;
        if exchange.may_reuse(end) && is_quiet && !self.draining {
            self.upstreams.keep(upstream_key, self.desk.now);
        } else {
            // At once: an app's thread may be waiting for this end before it takes the next request.
            self.upstreams.close(upstream_key);
        }
        let conn = &mut client.conn;
        if let (End::WithMore, Some(request)) = (end, &conn.request) {
            self.desk.catalog.ledger(self.id.group).once.sends_more(&self.name.app, &request.line());
        }
        conn.unread = conn.request.as_ref().is_some_and(|request| request.is_to_come());
        answering::request_done(conn, &mut self.desk.spare, keeps_client, self.desk.now);
        if keeps_client && !conn.has_output() && !self.draining {
            conn.phase = Phase::Head;
            self.desk.deadlines.set(&mut conn.deadline, key, self.desk.now + self.desk.catalog.server.timeouts.keepalive);
            if conn.readable || !conn.input.is_empty() {
                self.todo.push_back(key);
            }
        } else {
            self.desk.deadlines.set(&mut conn.deadline, key, self.desk.now + self.desk.catalog.server.timeouts.write);
            self.todo.push_back(key);
        }
        self.give_back(claim, ended);
    }

    pub(super) fn app_ended(&mut self, key: usize, upstream_key: usize) {
        if self.awaits_verdict(key) {
            return;
        }
        let is_well = self.died().is_none();
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        match session.exchange.closed(is_well) {
            Closed::Early => self.app_failed(key, Fault::Ended),
            Closed::Whole(last) => {
                if !last.is_empty() && conn.send(last, &[], Some(&self.shared.spool)).is_err() {
                    return self.client_left(key);
                }
                self.finish(key, upstream_key, End::Whole);
            }
            Closed::Goodbye => self.goodbye_heard(key),
            Closed::Tunnel => self.tunnel_ended(key),
        }
    }
}

/// What the exchange makes of what the app said; for the client, what is in `desk.out` and then the tail. Some: it is held until this was looked
/// for.
fn hear<'b>(
    conn: &mut Conn,
    session: &mut Session,
    bytes: &'b [u8],
    desk: &mut Desk,
    shared: &Shared,
) -> Result<(Heard<'b>, Option<Wanted>), Malformed> {
    let Conn { request, file, .. } = conn;
    let Some(request) = request.as_deref() else { return Err(Malformed::head("nobody has asked for it", bytes)) };
    let Desk { out, date, folders, now, catalog, .. } = desk;
    let cookie = catalog.app(request.group).sticky.as_deref();
    let date = date.at(*now);
    // A body that is still coming when the answer begins may never be whole.
    let closes = shared.stopping.load(Ordering::Relaxed) || request.is_to_come();
    let around = Around { facts: &request.facts, closes, is_unasked: request.is_unasked, now: *now };
    let (mut named, mut wanted) = (None, None);
    let Session { exchange, named_file, .. } = session;
    let write_head = |head: &ResponseHead<'_, '_>, plan: &mut ResponsePlan, out: &mut Vec<u8>| {
        if plan.kind == Kind::Final && head.fields.values(Field::SendFile).next().is_some() {
            folders.refresh(shared);
            let folders = folders.of(request.group).map(|folders| &**folders);
            let patience = catalog.ledger(request.group).files.patience();
            let around = static_files::Around { folders, came: named_file.take().map(|came| *came), patience, date };
            match static_files::of_app(request, head, plan, around, out)? {
                OfApp::Written(file) => named = file,
                OfApp::Later(file) => {
                    wanted = Some(file);
                    return Ok(Written::Later);
                }
            }
        } else {
            rewrite::response(head, plan, &request.facts, date, out);
        }
        if matches!(plan.kind, Kind::Final | Kind::Switch) {
            name_process(request, cookie, out);
        }
        Ok(Written::Head)
    };
    let heard = exchange.hear(bytes, &around, out, write_head)?;
    // Only behind its head: what is malformed behind that head is answered by another, without a file.
    if named.is_some() {
        *file = named;
    }
    Ok((heard, wanted))
}

/// The client learns which process answers, in the head that is written, if it is to come back to that.
fn name_process(request: &Request, cookie: Option<&str>, out: &mut Vec<u8>) {
    let (Some(sticky), Some(cookie)) = (request.sticky, cookie) else { return };
    if let Some((number, _)) = request.entry.process {
        // Before the empty line.
        out.truncate(out.len() - 2);
        sticky.answer(cookie, number, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// Reads from one connection before others have their turn: 512 KiB.
const READS: usize = 8;
/// Connections that share so many reads in one turn of the loop, half a millisecond. When more wait, each other has one read.
const LONG_READS: usize = 4;
