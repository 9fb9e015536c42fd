//! Requests that the app has had for `request_timeout`. The client is told, or cut off; the slot stays taken until the app is seen to be done,
//! for whoever got it before that would wait behind the same trouble. Our side of the connection is closed at once, so that an app that
//! looks sees that nobody waits any more, and ends its own when it is done. One that is writing still is told by closing the rest; one of
//! which nothing is heard in a grace time is stuck, and its process is replaced.
//!
//! Streams and tunnels may last: [`Class::Request`](crate::http::exchange::Class::Request) alone is ever overdue.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::IoThread;
use super::fault::Fault;
use super::session::Session;
use super::upstream::Owner;
use crate::http::cut::Cut;
use crate::http::refusal::Refusal;
use crate::ids::GroupId;
use crate::pool::{Claim, Ended};

/// What is left of a session whose client has been told.
#[derive(Debug, Serialize, Deserialize)]
pub struct Overdue {
    pub claim: Claim,
    pub upstream: usize,
    /// `GET /path`, for the log.
    pub line: String,
    /// When the app got it.
    #[serde(with = "crate::moment")]
    pub since: Instant,
    /// The app has so long to be done. None: it was not.
    #[serde(with = "crate::moment::option")]
    until: Option<Instant>,
    /// Bytes that have come since the client was told.
    pub received: u64,
}

impl Overdue {
    /// In the next rota, where the connection to the app and the app itself may have other numbers.
    pub(super) fn renumbered(self, upstream: usize, group: GroupId) -> Self {
        Self { upstream, claim: self.claim.in_group(group), ..self }
    }

    pub(super) fn put_off(&mut self, by: Duration) {
        self.since += by;
        self.until = self.until.map(|until| until + by);
    }
}

impl IoThread {
    /// The app has had a request for `request_timeout`.
    pub(super) fn end_overdue(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let Some(Session { claim, upstream, exchange, .. }) = client.session.take().map(|session| *session) else { return };
        let line = client.conn.request.as_ref().map_or_else(String::new, |request| request.line());
        self.tell_client(key, exchange.has_begun(), &Fault::Cut(Cut::AppOverdue), &Refusal::Cut(Cut::AppOverdue));
        // Without a connection nothing of it has reached the app.
        let Some(upstream) = upstream else { return self.give_back(claim, Ended::Cut) };
        let it = &mut self.upstreams.all[upstream];
        it.owner = Owner::Overdue;
        let until = Some(self.desk.now + GRACE);
        // What it still says is read, so that its end is seen.
        let is_open = it.socket.shut_write().is_ok();
        self.overdue.push(Overdue { claim, upstream, line, since: exchange.since(), until, received: 0 });
        match is_open {
            true => self.hear_out(upstream),
            false => self.is_done(upstream),
        }
    }

    /// Reads what nobody wants any more.
    pub(super) fn hear_out(&mut self, upstream: usize) {
        for _ in 0..READS {
            let Some(it) = self.upstreams.all.get_mut(upstream).filter(|it| it.readable) else { return };
            match it.socket.read(&mut self.desk.scratch) {
                Ok(0) => return self.is_done(upstream),
                Ok(count) => {
                    it.readable = count == self.desk.scratch.len() || it.closing;
                    if let Some(overdue) = self.overdue.iter_mut().find(|overdue| overdue.upstream == upstream) {
                        overdue.received += count as u64;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => it.readable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.is_done(upstream),
            }
        }
        self.read_later(upstream);
    }

    /// The app has ended its side: others may have the slot.
    fn is_done(&mut self, upstream: usize) {
        self.upstreams.close(upstream);
        if let Some(place) = self.overdue.iter().position(|overdue| overdue.upstream == upstream) {
            let overdue = self.overdue.swap_remove(place);
            self.give_back(overdue.claim, Ended::Cut);
        }
    }

    pub(super) fn next_grace(&self) -> Option<Instant> {
        self.overdue.iter().filter_map(|overdue| overdue.until).min()
    }

    /// Looks whose grace is over.
    pub(super) fn pass_grace(&mut self) {
        let now = self.desk.now;
        while let Some(overdue) = self.overdue.iter_mut().find(|overdue| overdue.until.is_some_and(|until| until <= now)) {
            overdue.until = None;
            // It is alive, and its next write fails.
            if overdue.received > 0 {
                let upstream = overdue.upstream;
                self.is_done(upstream);
                continue;
            }
            let had = now.saturating_duration_since(overdue.since);
            log::warn!(
                "{} pid {}: {}: not done {:.0} s after it was sent, and nobody waits for it any more; the process is to be replaced",
                self.name,
                self.pid,
                overdue.line,
                had.as_secs_f64()
            );
            self.shared.table.lock().pool.group_mut(self.id.group).stuck(self.id, had);
            self.shared.table.notify();
            if self.draining {
                self.drop_stuck();
            }
        }
    }

    /// Of a process that gets nothing new a slot is of no use to anybody; its drain need not wait for what had its grace.
    pub(super) fn drop_stuck(&mut self) {
        self.drop_overdue(|overdue| overdue.until.is_none());
    }

    /// Ends those that are over for another reason.
    pub(super) fn drop_overdue(&mut self, which: impl Fn(&Overdue) -> bool) {
        while let Some(place) = self.overdue.iter().position(&which) {
            let upstream = self.overdue[place].upstream;
            self.is_done(upstream);
        }
    }
}

/// What an app has to be done with a request that nobody waits for any more: enough for one that is only slow, little for those that wait.
const GRACE: Duration = Duration::from_secs(5);
/// Reads of one connection before others have their turn.
const READS: usize = 8;
