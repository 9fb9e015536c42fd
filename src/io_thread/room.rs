//! Answers that wait for their clients in files: when there is no room for more of one, the app waits with it and its slot is held. So those leave
//! who have had the most for the longest ([`crate::conn::room`]), and who has his share and more holds no slot besides that others wait for.

use super::{Client, IoThread};
use crate::conn::Phase;
use crate::http::cut::Cut;
use crate::http::exchange::Exchange;

impl IoThread {
    /// The client takes less than the app gives and there is no room for more: the app waits.
    pub(super) fn is_held_back(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get_mut(key) else { return false };
        // What it says behind a head that waits for a file is of no use yet.
        if client.session.as_ref().is_some_and(|session| session.question.is_some()) {
            return true;
        }
        let exchange = client.session.as_ref().map(|session| &session.exchange);
        // What the app still says behind our goodbye goes nowhere.
        if client.conn.output.is_drained() || exchange.is_some_and(Exchange::has_left) {
            return false;
        }
        let tunnel = exchange.is_some_and(Exchange::is_tunnel);
        if tunnel || !self.app.buffer.response {
            return true;
        }
        let lacks = client.conn.output.is_strained() || !client.conn.finds_room(&self.shared.spool);
        if lacks && !self.lack_room.contains(&key) {
            self.lack_room.push(key);
        }
        lacks
    }

    /// Looks again whether there is room for more of an answer.
    pub(super) fn look_for_room(&mut self, key: usize) {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let Some(upstream) = session.upstream else { return };
        if conn.output.is_drained() || conn.finds_room(&self.shared.spool) {
            return self.read_app(upstream);
        }
        let has_enough = self.shared.spool.has_enough(conn.visitor(), self.desk.now);
        if has_enough && (self.upstreams.all_work() || self.shared.table.lock().pool.group(self.id.group).queue_len() > 0) {
            return self.cut(key, Cut::ClientHeldRoom);
        }
        self.lack_room.push(key);
    }

    /// Those leave whose room others need.
    pub(super) fn make_room(&mut self) {
        let leaves = |client: &Client| {
            let body = client.conn.request.as_ref().filter(|_| client.conn.phase == Phase::Body);
            client.conn.output.must_leave() || body.is_some_and(|request| request.body.must_leave())
        };
        let leaving: Vec<usize> = self.clients.iter().filter(|(_, client)| leaves(client)).map(|(key, _)| key).collect();
        for key in leaving {
            match self.clients[key].session {
                Some(_) => self.cut(key, Cut::ClientHeldRoom),
                None => self.advance(key),
            }
        }
    }
}
