//! Too many connections. The newest is taken: idle ones are dropped for it, those of the client first that has most of them. Connections lie on
//! all event loops, so they are asked one after another group of clients, a moment each: those that have at least half as many as the busiest, a
//! quarter, and so on, then all. When none is idle, whoever has most gives up one with a request in hand, if the newest is of a client that has
//! fewer ([`super::census`]); else the newest is told so and closed.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use super::census::{Census, GivenUp};
use super::{FULL_PAUSE, Held, Master};
use crate::conn::Phase;
use crate::conn::idle::DropIdle;
use crate::conn::room::Need;
use crate::conn::socket::Socket;
use crate::handoff::Wake;
use crate::table::ToThread;
use crate::visitor::Visitor;

/// How far the search for a place is.
#[derive(Debug, Default)]
pub struct Crowd {
    /// Accepted, and without a place: whose it is, and what comes first on it.
    pub(super) pending: Option<(Socket, Option<IpAddr>, Phase)>,
    asked: Option<Asked>,
    /// All were asked in vain; not again before this.
    in_vain_until: Option<Instant>,
    /// What clients have in hand.
    pub(super) census: Option<Census>,
    /// When a thread was asked to give some up.
    pub(super) given_up: Option<Instant>,
    /// That there are too many is not said again before this.
    said_until: Option<Instant>,
    /// Nor that somebody gives some up.
    gives_said_until: Option<Instant>,
}

/// Event loops are asked to drop idle connections.
#[derive(Debug)]
struct Asked {
    since: Instant,
    /// Of clients with so many connections; 0: all.
    least: usize,
    what: Arc<DropIdle>,
    /// So many loops.
    loops: usize,
    /// Connections that were open then.
    open: usize,
}

impl Asked {
    /// A loop that has much to do, or a machine that has, takes its time.
    fn is_answered(&self, now: Instant) -> bool {
        now >= self.since + LONGEST || (now >= self.since + ANSWER && self.what.looked.load(Ordering::Acquire) >= self.loops)
    }
}

impl Master {
    /// There are as many connections as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.shared.connections.open() >= self.desk.catalog.descriptors.connections
    }

    /// The connection that was accepted gets its place, or is told that there is none. False: it has to wait for that for a moment.
    pub(super) fn seat_pending(&mut self) -> bool {
        if self.crowd.pending.is_some() && !self.has_place() {
            return false;
        }
        if let Some((socket, peer, phase)) = self.crowd.pending.take() {
            self.accepted(socket, peer, phase);
        }
        true
    }

    /// True: there is a place, or none in the end.
    fn has_place(&mut self) -> bool {
        if !self.is_full() {
            self.crowd.asked = None;
            self.crowd.given_up = None;
            return true;
        }
        let now = self.desk.now;
        if self.crowd.in_vain_until.is_some_and(|until| now < until) {
            return self.is_given_one();
        }
        let busiest = self.clients.busiest();
        let open = self.shared.connections.open();
        let least = match &self.crowd.asked {
            Some(asked) if !asked.is_answered(now) => {
                self.accept_after = Some(now + ANSWER);
                return false;
            }
            // There are many too many, as after a reload that allows fewer.
            Some(asked) if open < asked.open => asked.least,
            Some(Asked { least: 0, .. }) => {
                self.crowd.asked = None;
                self.crowd.in_vain_until = Some(now + IN_VAIN);
                return self.is_given_one();
            }
            Some(asked) => asked.least / 2,
            None => busiest.map_or(1, |(.., counts)| counts.div_ceil(2)),
        };
        if let Some((visitor, open, _)) = busiest {
            self.say_full(format!("idle ones are dropped, first those of whoever has most, {visitor} with {open}"));
        }
        // A few more than one, so that a flood need not ask for each.
        let most = (self.desk.catalog.descriptors.connections / 64).clamp(1, AT_ONCE);
        let too_many = open.saturating_sub(self.desk.catalog.descriptors.connections).min(AT_ONCE);
        let of = (least > 0).then(|| self.clients.with(least));
        let asked = Arc::new(DropIdle { of, most: most.max(too_many + 1), looked: AtomicUsize::new(0) });
        if self.drop_idle(&asked) > 0 && !self.is_full() {
            self.crowd.asked = None;
            return true;
        }
        let state = self.shared.table.lock();
        let wakes: Vec<_> = state.threads.values().filter_map(|thread| thread.send(ToThread::DropIdle(asked.clone())).ok()).collect();
        drop(state);
        let loops = wakes.len();
        wakes.into_iter().for_each(Wake::wake);
        self.crowd.asked = Some(Asked { since: now, least, what: asked, loops, open });
        self.accept_after = Some(now + ANSWER);
        false
    }

    /// Of those with a request in hand. False: that is not known yet.
    fn is_given_one(&mut self) -> bool {
        let peer = self.crowd.pending.as_ref().and_then(|(_, peer, _)| *peer);
        let is_client = self.crowd.pending.is_some() && !self.desk.catalog.server.trusted_proxies.contains(peer);
        let given = self.somebody_gives_up(is_client.then(|| Visitor::of(peer)));
        if given == GivenUp::Nobody {
            self.say_full("all have a request in hand, more are answered 503 and closed".to_owned());
        }
        given != GivenUp::Soon
    }

    /// Of those that are here; how many.
    fn drop_idle(&mut self, asked: &DropIdle) -> usize {
        let conns = self.conns.iter().map(|(key, held)| (key, &*held.conn));
        let chosen = asked.choose(conns, &self.desk.catalog.server.trusted_proxies);
        for key in &chosen {
            self.conns.remove(*key);
        }
        chosen.len()
    }

    fn say_full(&mut self, what: String) {
        if self.crowd.said_until.is_none_or(|at| at <= self.desk.now) {
            log::warn!("limits.connections is reached: {} are open; {what}", self.desk.catalog.descriptors.connections);
            self.crowd.said_until = Some(self.desk.now + FULL_PAUSE);
        }
    }

    pub(super) fn say_gives_up(&mut self, visitor: Visitor, has: usize) {
        if self.crowd.gives_said_until.is_none_or(|at| at <= self.desk.now) {
            let most = self.desk.catalog.descriptors.connections;
            log::warn!(
                "limits.connections is reached: {most} are open, none is idle, and {visitor} gives some up, who has most with {has}"
            );
            self.crowd.gives_said_until = Some(self.desk.now + FULL_PAUSE);
        }
    }

    /// Somebody finds no room for a body in a file: those here that have to leave do, and the other loops look too.
    pub(super) fn make_room(&mut self, need: &Need) {
        if !self.room.make_room(&self.shared.spool, need, self.desk.now) {
            return;
        }
        let leaves = |held: &Held| {
            let body = held.conn.request.as_ref().filter(|_| held.conn.phase == Phase::Body);
            held.conn.output.must_leave() || body.is_some_and(|request| request.body.must_leave())
        };
        let leaving: Vec<usize> = self.conns.iter().filter(|(_, held)| leaves(held)).map(|(key, _)| key).collect();
        for key in leaving {
            self.advance(key);
        }
        let state = self.shared.table.lock();
        let wakes: Vec<_> = state.threads.values().filter_map(|thread| thread.send(ToThread::MakeRoom).ok()).collect();
        drop(state);
        self.wakes.extend(wakes);
    }
}

/// Connections that go at a time, of one event loop.
const AT_ONCE: usize = 64;
/// What the event loops have to drop theirs, and one that does not come to it for longer.
const ANSWER: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_millis(250);
/// Between two searches of which the first found nothing.
const IN_VAIN: Duration = Duration::from_millis(200);
