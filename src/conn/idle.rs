//! Which connections go when there are too many: such as have no request in hand, of those clients that have most of them.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Conn, Phase};
use crate::http::head;
use crate::http::trust::TrustedProxies;
use crate::visitor::Visitor;

/// What an event loop is asked to drop.
#[derive(Debug)]
pub struct DropIdle {
    /// Connections of these clients. None: of any, and of trusted proxies too, which keep many for all of their clients and are no
    /// client that has too many.
    pub of: Option<HashSet<Visitor>>,
    /// So many of one loop.
    pub most: usize,
    /// Loops that have done so.
    pub looked: AtomicUsize,
}

impl DropIdle {
    /// The names of those that go: first those between two requests, then those whose head drips, each the first of which its time is over.
    pub fn choose<'a>(&self, conns: impl Iterator<Item = (usize, &'a Conn)>, trusted: &TrustedProxies) -> Vec<usize> {
        let is_asked = |conn: &Conn| {
            self.of.as_ref().is_none_or(|visitors| visitors.contains(&Visitor::of(conn.peer)) && !trusted.contains(conn.peer))
        };
        let idle = conns.filter(|(_, conn)| conn.is_idle() && is_asked(conn));
        let mut idle: Vec<_> = idle.map(|(key, conn)| ((head::has_begun(&conn.input), conn.deadline.at()), key, conn)).collect();
        idle.sort_unstable_by_key(|(order, ..)| *order);
        // What has come and was not read may be a request.
        let silent = idle.into_iter().filter(|(.., conn)| conn.socket.is_silent());
        silent.take(self.most).map(|(_, key, _)| key).collect()
    }

    /// What [`DropIdle::choose`] has named is dropped.
    pub fn is_done(&self) {
        self.looked.fetch_add(1, Ordering::Release);
    }
}

impl Conn {
    /// It has no request in hand, and no answer to write.
    fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::ProxyHeader | Phase::Head) && !self.has_output()
    }
}
