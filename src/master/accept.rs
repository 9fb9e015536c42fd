//! New connections: accepted, or told that they are too many and closed.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::{FULL_PAUSE, Held, Master};
use crate::config::ListenConfig;
use crate::conn::socket::Socket;
use crate::conn::{Conn, Phase, answering};
use crate::http::accept::Form;
use crate::http::refusal::{Answer, Refusal};
use crate::printable::counted;

impl Master {
    /// Accepts in batches; what is left waits for the next turn.
    pub(super) fn accept(&mut self) {
        if self.accept_after.is_some_and(|at| self.desk.now < at) {
            return;
        }
        self.accept_after = None;
        if !self.seat_pending() {
            return;
        }
        for i in 0..self.listeners.len() {
            for _ in 0..ACCEPTS {
                if !self.listeners[i].ready {
                    break;
                }
                match self.listeners[i].accept() {
                    Ok((socket, peer)) => {
                        self.crowd.pending = self.first_phase(i, peer).map(|phase| (socket, peer, phase));
                        if !self.seat_pending() {
                            return;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.listeners[i].ready = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // The client was gone before it was accepted (accept(2)).
                    Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                    Err(error) => {
                        if self.failed_after.is_none_or(|at| at <= self.desk.now) {
                            log::warn!(
                                "accept on {}: {error}; {} open; trying again every {ACCEPT_PAUSE:?}",
                                self.listeners[i].config,
                                counted(self.shared.connections.open(), "connection")
                            );
                            self.failed_after = Some(self.desk.now + FULL_PAUSE);
                        }
                        self.accept_after = Some(self.desk.now + ACCEPT_PAUSE);
                        return;
                    }
                }
            }
        }
    }

    /// What comes first on a connection of this listener. None: its peer has no business there.
    pub(super) fn first_phase(&mut self, listener: usize, peer: Option<IpAddr>) -> Option<Phase> {
        if !self.listeners[listener].config.proxy_protocol {
            return Some(Phase::Head);
        }
        let at = self.listeners[listener].config.clone();
        self.first_phase_at(&at, peer)
    }

    pub(super) fn first_phase_at(&mut self, listener: &ListenConfig, peer: Option<IpAddr>) -> Option<Phase> {
        if !listener.proxy_protocol {
            return Some(Phase::Head);
        }
        if !self.desk.catalog.server.trusted_proxies.contains(peer) {
            self.stranger(listener, peer);
            return None;
        }
        Some(Phase::ProxyHeader)
    }

    pub(super) fn accepted(&mut self, mut socket: Socket, peer: Option<IpAddr>, phase: Phase) {
        if self.is_full() {
            return self.turn_away(&mut socket, peer);
        }
        let Some(share) = self.share(peer) else { return self.turn_away(&mut socket, peer) };
        let conn = Conn::new(socket, peer, phase, &self.shared.connections, share, self.desk.catalog.logs.access.clone());
        let key = self.conns.insert(Held { conn, registered: false });
        let held = &mut self.conns[key];
        self.desk.deadlines.set(&mut held.conn.deadline, key, self.desk.now + self.desk.catalog.server.timeouts.head);
        self.advance(key);
    }

    /// One connection too many: it is told so, as far as its socket takes it at once, and closed. To keep it open for the sake of its answer
    /// would be to have no limit.
    pub(super) fn turn_away(&mut self, socket: &mut Socket, peer: Option<IpAddr>) {
        self.desk.out.bytes.clear();
        // Without a page, of which its socket might not take all, and a flood would not be worth it.
        let date = self.desk.date.at(self.desk.now);
        let answer = Answer { date, head_only: false, keep: false, request_id: None, form: Form::Plain, page: None, plight: None };
        Refusal::TooManyConnections.write(&mut self.desk.out.bytes, &answer);
        let written = socket.write(&self.desk.out.bytes).unwrap_or(0);
        let _ = socket.shut_write();
        // A request that is there already: unread it would turn the close into a reset, which may destroy the answer (RFC 9112 9.6).
        if let Ok(count @ 1..) = socket.read(&mut self.desk.scratch) {
            let seen = &self.desk.scratch[..count.min(SEEN)];
            let sent = written.saturating_sub(answering::head_len(&self.desk.out.bytes)) as u64;
            self.desk.catalog.logs.access.write_refused(seen, peer, &Refusal::TooManyConnections, sent);
        }
    }
}

/// Connections accepted from one listener before the others have their turn.
const ACCEPTS: usize = 64;
/// After EMFILE and the like: connections wait in the backlog until others have ended.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);
/// As much of the request of a connection that is turned away as the log shows (bytes).
const SEEN: usize = 4096;
