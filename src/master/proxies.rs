//! Connections of proxies: which count for `limits.per_client`, and what becomes of those that begin with a PROXY header.

use std::net::IpAddr;
use std::time::Duration;

use super::Master;
use super::clients::Share;
use crate::config::ListenConfig;
use crate::http::proxy_header::NoProxyHeader;
use crate::visitor::Visitor;

impl Master {
    /// The share of a new connection among those of its client. None: the client has `limits.per_client` already. A trusted proxy has as
    /// many as it likes, because none of them is one client's.
    pub(super) fn share(&mut self, peer: Option<IpAddr>) -> Option<Share> {
        let server = &self.desk.catalog.server;
        let is_limited = server.limits.per_client > 0 && peer.is_some() && !server.trusted_proxies.contains(peer);
        let visitor = Visitor::of(peer);
        let share = self.clients.one_more(visitor, if is_limited { server.limits.per_client } else { usize::MAX });
        if share.is_none() {
            log::debug!("{visitor} has limits.per_client connections; one more is answered 503 and closed");
        }
        share
    }

    /// A PROXY header was read, or what came is none.
    pub(super) fn introduced(&mut self, key: usize, header: Result<(), NoProxyHeader>) {
        let Some(peer) = self.conns.get(key).map(|held| held.conn.peer) else { return };
        match header {
            Ok(()) => match (self.share(peer), self.conns.get_mut(key)) {
                (Some(share), Some(held)) => {
                    held.conn.belongs_to(share);
                    self.advance(key);
                }
                (None, Some(_)) => {
                    let mut held = self.conns.remove(key);
                    self.turn_away(&mut held.conn.socket, peer);
                }
                (Some(_) | None, None) => {}
            },
            Err(refused) => {
                self.conns.remove(key);
                self.say_strange(|| format!("a connection of {} is closed: {}", name(peer), refused.reason()));
            }
        }
    }

    /// Somebody who is not trusted has connected to a listener of trusted proxies.
    pub(super) fn stranger(&mut self, at: &ListenConfig, peer: Option<IpAddr>) {
        self.say_strange(|| {
            format!("a connection of {} to {at} is closed: it takes the PROXY protocol from server.trusted_proxies only", name(peer))
        });
    }

    /// Whoever can connect can bring this about as often as he likes.
    fn say_strange(&mut self, what: impl FnOnce() -> String) {
        if self.strange_after.is_none_or(|at| at <= self.desk.now) {
            log::warn!("{}", what());
            self.strange_after = Some(self.desk.now + STRANGE_PAUSE);
        }
    }
}

fn name(peer: Option<IpAddr>) -> String {
    peer.map_or_else(|| "a Unix socket".to_owned(), |peer| peer.to_string())
}

/// Between two words about connections that are no trusted proxy's.
const STRANGE_PAUSE: Duration = Duration::from_secs(10);
