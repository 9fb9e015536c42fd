//! An upgraded connection: bytes both ways until one side ends. It holds its slot. What goes through, and how a WebSocket is closed when the
//! process drains, says [`crate::http::exchange::tunnel`].

use std::io;

use super::{Client, IoThread, Name};
use crate::conn::answering;
use crate::pool::Ended;

impl IoThread {
    /// From the client to the app, as far as the app takes it; while it does not, the client waits.
    pub(super) fn tunnel_to_app(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
            let (exchange, Some(upstream_key)) = (&mut session.exchange, session.upstream) else { return };
            if !exchange.is_tunnel() {
                return;
            }
            let upstream = &mut self.upstreams.all[upstream_key];
            // What came behind the head of the request goes first.
            if !conn.input.is_empty() {
                exchange.hear_client(&std::mem::take(&mut conn.input), &mut upstream.output);
            }
            // Of one that we have closed only the client's answer matters, whether the app takes its own or not.
            let left = exchange.has_left();
            if conn.readable && (left || upstream.output.is_empty()) {
                match conn.socket.read(&mut self.desk.scratch) {
                    Ok(0) => {
                        conn.readable = false;
                        exchange.client_is_gone();
                        if !left {
                            // The client is done; the app may still have something to say.
                            let _ = upstream.socket.shut_write();
                            return;
                        }
                    }
                    Ok(count) => {
                        conn.readable = count == self.desk.scratch.len() || conn.closing;
                        exchange.hear_client(&self.desk.scratch[..count], &mut upstream.output);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return self.client_left(key),
                }
            }
            let more = conn.readable;
            if upstream.output.is_empty() {
                if more {
                    continue;
                }
                return self.goodbye_heard(key);
            }
            match upstream.socket.write(&upstream.output) {
                Ok(written) => {
                    upstream.output.drain(..written);
                    self.limit(key);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.upstreams.ask_writable(upstream_key, self.poll.registry(), Name::upstream(upstream_key)).is_err() {
                        return self.client_left(key);
                    }
                    if !(left && more) {
                        return self.goodbye_heard(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) if left => {
                    upstream.output.clear();
                    exchange.app_is_gone();
                }
                Err(_) => return self.tunnel_ended(key),
            }
        }
        self.later.push_back(key);
    }

    /// Closes a WebSocket that stands between two messages: both sides are told, and have a moment to answer.
    pub(super) fn say_goodbye(&mut self, key: usize) {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let Some(upstream) = session.upstream else { return };
        self.desk.out.bytes.clear();
        session.exchange.say_goodbye(&mut self.desk.out.bytes, &mut self.upstreams.all[upstream].output);
        if conn.send(&self.desk.out.bytes, &[], Some(&self.shared.spool)).is_err() {
            return self.client_left(key);
        }
        self.limit(key);
        self.tunnel_to_app(key);
    }

    /// Ends a WebSocket that we have closed once both sides have answered.
    pub(super) fn goodbye_heard(&mut self, key: usize) {
        let is_answered = |client: &Client| client.session.as_ref().is_some_and(|session| session.exchange.goodbye_is_answered());
        if self.clients.get(key).is_some_and(is_answered) {
            self.tunnel_ended(key);
        }
    }

    /// The app ended, or a WebSocket was closed: the client gets what is on its way, then the end.
    pub(super) fn tunnel_ended(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(session) = client.session.take() else { return };
        answering::request_done(&mut client.conn, &mut self.desk.spare, false, self.desk.now);
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + self.desk.catalog.server.timeouts.write);
        self.todo.push_back(key);
        if let Some(upstream) = session.upstream {
            self.upstreams.close(upstream);
        }
        self.give_back(session.claim, Ended::Answered(101));
    }
}

/// Reads from one client before others have their turn.
const READS: usize = 8;
