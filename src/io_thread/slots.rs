//! The slot that a request needs: claimed here or at another process, waited for in the queue, and given back to whoever is next.

use std::sync::atomic::Ordering;

use super::IoThread;
use crate::conn::Conn;
use crate::dispatch::{self, Place};
use crate::http::refusal::Refusal;
use crate::ids::GroupId;
use crate::pool::{Claim, Ended};

impl IoThread {
    /// A whole request: takes a slot here, or goes where one is, or into the queue.
    pub(super) fn want_slot(&mut self, key: usize) {
        let Some(request) = self.clients.get_mut(key).and_then(|client| client.conn.request.as_mut()) else { return };
        request.entry.wants_slot(self.desk.now);
        let group = request.group;
        let home = (group == self.id.group && !self.draining).then_some(self.id);
        let wish = request.wish(home);
        let claim = self.shared.table.lock().pool.group_mut(group).claim(wish, self.desk.now);
        match claim {
            Some(claim) if claim.process() == self.id => self.begin(key, claim),
            Some(claim) => match self.take_out(key) {
                Some(conn) => self.hand_over(conn, claim),
                None => self.give_back(claim, Ended::Cut),
            },
            None => {
                if let Some(conn) = self.take_out(key) {
                    self.place(conn, group);
                }
            }
        }
    }

    fn hand_over(&mut self, conn: Box<Conn>, claim: Claim) {
        let handed = self.shared.table.lock().hand_over(conn, claim);
        match handed {
            Ok(wake) => wake.wake(),
            // The thread of that process is gone and its process with it: ask again.
            Err((conn, claim)) => {
                self.give_back(claim, Ended::Unused);
                self.take_in(conn);
            }
        }
    }

    fn place(&mut self, conn: Box<Conn>, group: GroupId) {
        match dispatch::place(&self.shared, conn, group) {
            Place::Queued | Place::Lost => {}
            Place::Slot(conn, claim) => self.granted.push_back((conn, claim)),
            Place::Full(conn) | Place::InPlaceOf(conn) => {
                if let Some(key) = self.insert(conn) {
                    self.refuse(key, &Refusal::QueueFull);
                }
            }
        }
    }

    /// Gives a slot back; if something waits, it comes here, and begins later: what fails at once gives its slot to the next, which may fail too.
    pub(super) fn give_back(&mut self, claim: Claim, ended: Ended) {
        let group = claim.process().group;
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(group);
        let granted = group.finish(claim, ended, self.desk.now);
        let (is_paused, wakes_restart) = (group.is_paused(), group.wakes_restart(self.desk.now));
        drop(state);
        if is_paused {
            self.shared.tell_master();
        }
        // A drain may have ended with it, the time of a process, and of a server that stops the last request.
        if wakes_restart || self.draining || self.shared.stopping.load(Ordering::Relaxed) {
            self.shared.table.notify();
        }
        self.granted.extend(granted.map(|(claim, conn)| (conn, claim)));
    }

    /// Those that have got a slot begin. What they free meanwhile is for the next turn.
    pub(super) fn begin_granted(&mut self) {
        for _ in 0..self.granted.len() {
            let Some((conn, claim)) = self.granted.pop_front() else { break };
            self.take_granted(conn, claim);
        }
    }

    /// A connection has got its slot, perhaps after waiting for it.
    fn take_granted(&mut self, conn: Box<Conn>, claim: Claim) {
        let Some(conn) = dispatch::unwatch(&self.shared, conn) else {
            return self.give_back(claim, Ended::Cut);
        };
        if claim.process() != self.id {
            return self.hand_over(conn, claim);
        }
        match self.insert(conn) {
            Some(key) => self.begin(key, claim),
            None => self.give_back(claim, Ended::Cut),
        }
    }
}
