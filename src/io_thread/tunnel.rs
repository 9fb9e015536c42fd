//! An upgraded connection: bytes both ways until one side ends. It holds its slot; while the process drains it has `drain.upgraded`.

use std::io;
use std::time::Duration;

use super::exchange::{Exchange, Stage};
use super::{Client, IoThread, Name};
use crate::conn::Phase;

impl IoThread {
    /// From the client to the app, as far as the app takes it; while it does not, the client waits.
    pub(super) fn tunnel_to_app(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(Client { conn, exchange: Some(Exchange { upstream: Some(upstream_key), .. }) }) = self.clients.get_mut(key) else {
                return;
            };
            let upstream_key = *upstream_key;
            let upstream = &mut self.upstreams.all[upstream_key];
            // What came behind the head of the request goes first.
            upstream.output.append(&mut conn.input);
            if upstream.output.is_empty() {
                if !conn.readable {
                    return;
                }
                match conn.socket.read(&mut self.desk.scratch) {
                    Ok(0) => {
                        // The client is done; the app may still have something to say.
                        conn.readable = false;
                        let _ = upstream.socket.shut_write();
                        return;
                    }
                    Ok(count) => {
                        conn.readable = count == self.desk.scratch.len() || conn.closing;
                        upstream.output.extend_from_slice(&self.desk.scratch[..count]);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        conn.readable = false;
                        return;
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return self.client_left(key),
                }
            }
            match upstream.socket.write(&upstream.output) {
                Ok(written) => {
                    upstream.output.drain(..written);
                    self.limit(key);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.upstreams.ask_writable(upstream_key, self.poll.registry(), Name::upstream(upstream_key)).is_err() {
                        self.client_left(key);
                    }
                    return;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.tunnel_ended(key),
            }
        }
        self.later.push_back(key);
    }

    /// The app ended: the client gets what is on its way, then the end.
    pub(super) fn tunnel_ended(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(exchange) = client.exchange.take() else { return };
        client.conn.phase = Phase::Flush { close: true };
        if let Some(request) = client.conn.request.take() {
            self.desk.spare.give(request);
        }
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + self.shared.server.timeouts.write);
        self.todo.push_back(key);
        if let Some(upstream) = exchange.upstream {
            self.upstreams.close(upstream);
        }
        self.give_back(exchange.claim, crate::pool::Ended::Answered(101));
    }

    /// How long a tunnel may be idle, and, while the process drains, last.
    pub(super) fn tunnel_limit(&self) -> Duration {
        match self.drain_since {
            Some(since) => (since + self.app.drain.upgraded).saturating_duration_since(self.desk.now),
            None => self.app.timeouts.tunnel,
        }
    }

    /// The process drains: the tunnels have until `drain.upgraded`.
    pub(super) fn limit_tunnels(&mut self) {
        let tunnel = |client: &Client| matches!(&client.exchange, Some(exchange) if matches!(exchange.stage, Stage::Tunnel));
        let tunnels: Vec<usize> = self.clients.iter().filter(|(_, client)| tunnel(client)).map(|(key, _)| key).collect();
        for key in tunnels {
            self.limit(key);
        }
    }
}

/// Reads from one client before others have their turn.
const READS: usize = 8;
