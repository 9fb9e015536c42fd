//! Getting a whole request to a process when the one at hand has no slot: another process, the app's queue, or a refusal.
//!
//! Used by the master and by the I/O threads. A connection that waits in a queue belongs to the table; the master's poll watches it, so
//! that a client that leaves is taken out and costs the app nothing.

use std::io;
use std::time::Instant;

use mio::event::Source;
use mio::{Interest, Token};

use crate::conn::Conn;
use crate::ids::GroupId;
use crate::pool::{Admission, Claim, WaitId, Waiter, Wish};
use crate::table::Shared;

/// What became of a request that wanted a slot.
#[derive(Debug)]
pub enum Place {
    /// It has this slot: hand it over.
    Slot(Box<Conn>, Claim),
    /// It waits, and is no longer the caller's.
    Queued,
    /// So it does, in the place of this one: refuse that.
    InPlaceOf(Box<Conn>),
    /// The queue is full: refuse it.
    Full(Box<Conn>),
    /// Its socket is broken; it is closed.
    Lost,
}

/// Asks the group for a slot, else for a place in the queue. The connection must be in no poll.
pub fn place(shared: &Shared, mut conn: Box<Conn>, group: GroupId) -> Place {
    let id = shared.wait_id();
    let wish = conn.request.as_ref().map_or(Wish::Anywhere, |request| request.wish(None));
    // Before it is in the queue: from then on another thread may take it out at any time.
    if watch(shared, &mut conn, id).is_err() {
        return Place::Lost;
    }
    let mut state = shared.table.lock();
    // Not the turn's time: if that was stopped in its middle, the master may have put off what waited here, and does not see this one to do.
    let now = Instant::now();
    let group = state.pool.group_mut(group);
    let waiter = Waiter { id, visitor: conn.visitor() };
    let admission = group.admit(wish, waiter, conn, now);
    let first = group.queue_len() == 1;
    let grows = matches!(admission, Admission::Queued | Admission::InPlaceOf(_)) && group.is_to_grow(now);
    drop(state);
    if grows {
        shared.table.notify();
    }
    match admission {
        Admission::Queued => {
            if first {
                // The master watches the age of the first one.
                shared.tell_master();
            }
            Place::Queued
        }
        Admission::InPlaceOf(conn) => unwatch(shared, conn).map_or(Place::Queued, Place::InPlaceOf),
        Admission::Claimed(claim, conn) => match unwatch(shared, conn) {
            Some(conn) => Place::Slot(conn, claim),
            None => {
                give_back_unused(shared, claim, now);
                Place::Lost
            }
        },
        Admission::Full(conn) => unwatch(shared, conn).map_or(Place::Lost, Place::Full),
    }
}

fn watch(shared: &Shared, conn: &mut Conn, id: WaitId) -> io::Result<()> {
    conn.socket.register(&shared.watch, Token(WAITING + id.0 as usize), Interest::READABLE)?;
    conn.waiting = Some(id);
    Ok(())
}

/// One that waited in the rota before this one, under this name. Of a broken socket nobody learns before it has its slot.
pub fn watch_again(shared: &Shared, conn: &mut Conn, id: WaitId) {
    shared.wait_ids_go_on(id);
    if let Err(error) = watch(shared, conn, id) {
        log::debug!("a client that waits cannot be watched: {error}");
    }
}

/// The connection has left the queue: its events are its new owner's. None: its socket is broken.
pub fn unwatch(shared: &Shared, mut conn: Box<Conn>) -> Option<Box<Conn>> {
    if conn.waiting.take().is_some() {
        // What the master's poll has announced will be announced again by the next one.
        conn.socket.deregister(&shared.watch).ok()?;
    }
    Some(conn)
}

/// Gives back a slot whose request never reached the app; whoever waits gets it.
pub fn give_back_unused(shared: &Shared, claim: Claim, now: Instant) {
    let mut back = Some(claim);
    while let Some(claim) = back.take() {
        let mut state = shared.table.lock();
        let granted = state.pool.group_mut(claim.process().group).finish(claim, crate::pool::Ended::Unused, now);
        let handed = granted.map(|(claim, conn)| state.hand_over(conn, claim));
        drop(state);
        match handed {
            Some(Ok(wake)) => wake.wake(),
            // That process's thread is gone: the connection with it, the slot to the next.
            Some(Err((_, claim))) => back = Some(claim),
            None => {}
        }
    }
    shared.table.notify();
}

/// The request that waits under a token of the master's poll.
pub fn waiting(token: Token) -> Option<WaitId> {
    token.0.checked_sub(WAITING).map(|id| WaitId(id as u64))
}

/// Tokens of waiting connections in the master's poll begin here.
const WAITING: usize = 1 << 40;
