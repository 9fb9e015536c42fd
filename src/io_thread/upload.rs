//! A request body that goes to the app as it comes (`buffer.request = false`, or one whose client waits for word that it may send it). It holds
//! a slot while it is under way, so the client has the same limits as with a body that is buffered: `timeouts.body` and `limits.body_rate`, in
//! which only time that the app waits for it counts.
//!
//! Where the app decides about that word ([`crate::http::expectation`]), nothing of the body is read before it is given.

use super::{Client, IoThread};
use crate::conn::request_body::{self, Came};
use crate::conn::{Conn, Request};
use crate::http::refusal::Refusal;
use crate::pool::Ended;

impl IoThread {
    /// The app was asked about a body and has not refused it: the client is told to send.
    pub(super) fn ask_for_body(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        asked(&mut client.conn);
        self.limit(key);
        self.send_request(key);
    }

    /// All that has come of a body is with the app: reads on. False: nothing more is to be done with it for now.
    pub(super) fn read_body(&mut self, key: usize) -> bool {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return false };
        let exchange = &mut session.exchange;
        if let Some(request) = conn.request.as_mut() {
            if request.is_unasked {
                if exchange.head_is_out(&self.limits, self.desk.now) {
                    self.limit(key);
                }
                return false;
            }
            request.body.reuse();
            request.waited += exchange.body_was_awaited(self.desk.now);
        }
        let mut turn = self.desk.turn(&self.shared, key);
        match request_body::read_more(conn, &mut turn) {
            Ok(Came::Bytes) => return true,
            Ok(Came::Nothing) => {
                exchange.waits_for_body(turn.now);
                request_body::limit(conn, &mut turn);
            }
            // RFC 9112 8: the app sees that it was cut.
            Ok(Came::End) => self.client_left(key),
            Err(refusal) => self.refuse_body(key, &refusal),
        }
        false
    }

    /// What the client sends of a body is refused, or nothing comes any more.
    pub(super) fn refuse_body(&mut self, key: usize, refusal: &Refusal) {
        let Some(client) = self.clients.get_mut(key) else { return };
        // Behind the beginning of an answer there is no other.
        if client.session.as_ref().is_none_or(|session| session.exchange.has_begun()) {
            if let Some(request) = &mut client.conn.request {
                request.entry.cause = Some(*refusal);
            }
            return self.client_left(key);
        }
        let Some(session) = client.session.take() else { return };
        if let Some(upstream) = session.upstream {
            self.upstreams.close(upstream);
        }
        self.refuse(key, refusal);
        self.give_back(session.claim, Ended::Cut);
    }
}

/// The client may send: an answer to its `Expect: 100-continue` (RFC 9110 10.1.1), unless that depends on the app.
pub(super) fn let_send(conn: &mut Conn) {
    let waits = |request: &Request| request.is_streamed && request.facts.expects_continue && !request.is_unasked;
    if let Some(request) = conn.request.as_mut().filter(|request| waits(request)) {
        request.facts.expects_continue = false;
        request.entry.heads_sent(request_body::CONTINUE.len(), None);
        // If the client does not take this, it will not take the answer either.
        let _ = conn.send(request_body::CONTINUE, &[], None);
    }
}

/// The app wants the body.
pub(super) fn asked(conn: &mut Conn) {
    if let Some(request) = &mut conn.request {
        request.is_unasked = false;
    }
    let_send(conn);
}

/// The client waited for word that it may send its body, and has closed without a byte of it.
pub(super) fn has_left_unasked(conn: &Conn) -> bool {
    conn.request.as_ref().is_some_and(|request| request.is_unasked) && conn.input.is_empty() && conn.socket.is_at_end()
}
