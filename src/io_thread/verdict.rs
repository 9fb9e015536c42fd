//! The connection of an answer ends, and the process may be dying: was that the end of the answer, or of the process? An answer that ends with
//! its connection (RFC 9112 6.3) is whole only when the process lives, or ended well.
//!
//! The kernel marks a process as dying before it closes what that had open, so that one look tells a close by the app from a close by its
//! death. How it ended is known a moment later; until then the end of the answer waits. Of a child of the process nothing can be known.

use std::time::Duration;

use super::fault::Fault;
use super::{Client, IoThread};
use crate::conn::Phase;
use crate::pool::Exit;
use crate::sys;

impl IoThread {
    /// The connection of an answer that has begun has ended. True: the process is dying, and how it ends decides what the answer was.
    pub(super) fn awaits_verdict(&mut self, key: usize) -> bool {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return false };
        if session.is_ended || self.exit.is_some() || !session.exchange.is_body() || !sys::is_exiting(self.pid) {
            return false;
        }
        session.is_ended = true;
        debug_assert_eq!(conn.phase, Phase::App, "it has a session");
        self.desk.deadlines.set(&mut conn.deadline, key, self.desk.now + VERDICT);
        true
    }

    /// The process has ended, and how: so have the answers that waited for that.
    pub(super) fn pass_verdict(&mut self) {
        let waits = |client: &Client| client.session.as_ref().is_some_and(|session| session.is_ended);
        let waiting: Vec<usize> = self.clients.iter().filter(|(_, client)| waits(client)).map(|(key, _)| key).collect();
        for key in waiting {
            self.ended_for_good(key);
        }
    }

    /// A deadline has passed: whether it was that of an answer that waits for the end of its process, which does not come to it.
    pub(super) fn verdict_is_late(&mut self, key: usize) -> bool {
        let waits = self.clients.get(key).and_then(|client| client.session.as_ref()).is_some_and(|session| session.is_ended);
        if waits {
            match sys::is_exiting(self.pid) {
                true => self.app_failed(key, Fault::Died(None)),
                false => self.ended_for_good(key),
            }
        }
        waits
    }

    /// How the process ended, if that was not well.
    pub(super) fn died(&self) -> Option<Exit> {
        self.exit.filter(|exit| *exit != Exit::Status(0))
    }

    fn ended_for_good(&mut self, key: usize) {
        let upstream = self.clients.get(key).and_then(|client| client.session.as_ref()?.upstream);
        if let Some(upstream) = upstream {
            self.app_ended(key, upstream);
        }
    }
}

/// A process that is marked as dying has ended by then; what takes longer is a kernel that waits for a device.
const VERDICT: Duration = Duration::from_secs(1);
