//! The clients of the thread, and what they have with the app, left to the next rota: requests that are with the app among them, wherever they stand.
//!
//! What is only a note of this thread that something is to be looked at is not left: all of it is looked at again.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::overdue::Overdue;
use super::session::Session;
use super::upstream::{Owner, SavedUpstreams};
use super::{Client, IoThread, Name};
use crate::conn::{Conn, Heir, SavedConn};
use crate::http::exchange::Exchange;
use crate::ids::GroupId;
use crate::pool::{Claim, Exit, Hand};
use crate::upgrade::lent::Lent;
use crate::upgrade::pack::Pack;

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedClients<'a> {
    clients: Vec<SavedClient<'a>>,
    upstreams: SavedUpstreams<'a>,
    granted: Vec<Granted<'a>>,
    overdue: Vec<Lent<'a, Overdue>>,
    #[serde(with = "crate::moment::option")]
    lacks_since: Option<Instant>,
    cut_lately: Vec<CutLately<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedClient<'a> {
    conn: SavedConn<'a>,
    session: Option<SavedSession<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSession<'a> {
    claim: Lent<'a, Claim>,
    upstream: Option<usize>,
    exchange: Lent<'a, Exchange>,
    closed: Option<ClosedBy>,
    child: Option<Exit>,
}

/// What is still to be judged is how the app closed its connection, and nothing else.
#[derive(Debug, Serialize, Deserialize)]
enum ClosedBy {
    Ended,
    /// The error's number.
    Broken(Option<i32>),
}

#[derive(Debug, Serialize, Deserialize)]
struct Granted<'a> {
    conn: SavedConn<'a>,
    claim: Lent<'a, Claim>,
}

#[derive(Debug, Serialize, Deserialize)]
struct CutLately<'a> {
    #[serde(with = "crate::moment")]
    at: Instant,
    hand: Lent<'a, Hand>,
}

/// The keys of the connections to the app that work, by those that they had; whoever has found his takes it out.
type Keys = HashMap<usize, usize>;

impl IoThread {
    /// All of its clients, which go on here if nobody takes them over.
    pub fn save_clients<'a>(&'a self, pack: &mut Pack<'a>) -> SavedClients<'a> {
        let clients = self
            .clients
            .iter()
            .map(|(_, Client { conn, session })| SavedClient { conn: conn.save(pack), session: session.as_deref().map(Session::save) });
        let clients = clients.collect();
        let granted = self.granted.iter().map(|(conn, claim)| Granted { conn: conn.save(pack), claim: Lent::Lent(claim) });
        SavedClients {
            clients,
            granted: granted.collect(),
            upstreams: self.upstreams.save(pack),
            overdue: self.overdue.iter().map(Lent::Lent).collect(),
            lacks_since: self.lacks_since,
            cut_lately: self.cut_lately.iter().map(|(at, hand)| CutLately { at: *at, hand: Lent::Lent(hand) }).collect(),
        }
    }

    /// Takes in those that were left, before its first turn, in which all of them are looked at. The thread has none yet. One that cannot be had again
    /// is closed, and its slot is whose it is by the table.
    pub fn restore_clients(&mut self, saved: SavedClients<'_>, heir: &mut Heir<'_>) {
        let SavedClients { clients, upstreams, granted, overdue, lacks_since, cut_lately } = saved;
        let mut keys = self.upstreams.restore(upstreams, heir.unpack, self.poll.registry(), Name::upstream);
        for SavedClient { conn, session } in clients {
            let restored = self.restore_client(conn, session, heir, &mut keys);
            self.say_lost("a connection of a client", restored);
        }
        for granted in granted {
            let restored = granted.restore(heir);
            self.granted.extend(self.say_lost("a request that has its slot", restored));
        }
        for overdue in overdue {
            let restored = self.restore_overdue(overdue, &mut keys);
            self.say_lost("a request that nobody waits for", restored);
        }
        for key in keys.into_values() {
            self.upstreams.give_up(key);
        }
        self.lacks_since = lacks_since;
        self.cut_lately.extend(cut_lately.into_iter().filter_map(|CutLately { at, hand }| Some((at, *hand.own().ok()?))));
    }

    fn say_lost<T>(&self, what: &str, restored: Result<T, String>) -> Option<T> {
        restored.inspect_err(|why| log::error!("{}: {what} cannot be taken up, and is closed: {why}", self.name)).ok()
    }

    fn restore_client(
        &mut self,
        conn: SavedConn<'_>,
        session: Option<SavedSession<'_>>,
        heir: &mut Heir<'_>,
        keys: &mut Keys,
    ) -> Result<(), String> {
        let mut conn = conn.restore(heir)?;
        let session = session.map(|session| session.restore(self.id.group, keys)).transpose()?;
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        conn.register(self.poll.registry(), Name::client(key)).map_err(|error| format!("it cannot be registered: {error}"))?;
        self.desk.adopt(&mut conn, key);
        let asked = session.as_ref().map(|session| (session.upstream, session.closed.is_some()));
        entry.insert(Client { conn, session: session.map(Box::new) });
        match asked {
            None => self.todo.push_back(key),
            Some(_) => self.later.push_back(key),
        }
        match asked {
            Some((Some(upstream), _)) => self.is_read_first(upstream, Owner::Client(key)),
            Some((None, false)) => self.backlog.push(key),
            Some((None, true)) | None => {}
        }
        Ok(())
    }

    fn restore_overdue(&mut self, overdue: Lent<'_, Overdue>, keys: &mut Keys) -> Result<(), String> {
        let overdue = overdue.own()?;
        let upstream = upstream(keys, overdue.upstream)?;
        self.overdue.push(overdue.renumbered(upstream, self.id.group));
        self.is_read_first(upstream, Owner::Overdue);
        Ok(())
    }

    /// A connection to the app is looked at in the first turn. One that may not have come to the app yet is not read.
    fn is_read_first(&mut self, key: usize, owner: Owner) {
        let upstream = &mut self.upstreams.all[key];
        upstream.owner = owner;
        if upstream.is_proven {
            upstream.readable = true;
            self.read_later(key);
        }
    }
}

impl Granted<'_> {
    fn restore(self, heir: &mut Heir<'_>) -> Result<(Box<Conn>, Claim), String> {
        let (claim, conn) = (self.claim.own()?, self.conn.restore(heir)?);
        let group = heir.group(claim.process().group)?;
        Ok((conn, claim.in_group(group)))
    }
}

impl Session {
    fn save(&self) -> SavedSession<'_> {
        // Of one whose connection has ended the end is read again.
        // One whose answer names a file that is still looked for is waited for (`io_thread::left`).
        let Self { claim, upstream, exchange, closed, child, is_ended: _, question: _, named_file: _ } = self;
        let closed = closed.as_ref().map(|fault| match fault {
            Fault::Broken(error) => ClosedBy::Broken(error.raw_os_error()),
            Fault::Ended | Fault::Refused(_) | Fault::Local(_) | Fault::Bad(_) | Fault::Died(_) | Fault::Cut(_) => ClosedBy::Ended,
        });
        SavedSession { claim: Lent::Lent(claim), upstream: *upstream, exchange: Lent::Lent(exchange), closed, child: *child }
    }
}

impl SavedSession<'_> {
    fn restore(self, group: GroupId, keys: &mut Keys) -> Result<Session, String> {
        let Self { claim, upstream: old, exchange, closed, child } = self;
        let closed = closed.map(|closed| match closed {
            ClosedBy::Ended => Fault::Ended,
            ClosedBy::Broken(Some(number)) => Fault::Broken(io::Error::from_raw_os_error(number)),
            ClosedBy::Broken(None) => Fault::Broken(io::Error::other("it was broken before rota was replaced")),
        });
        Ok(Session {
            claim: claim.own()?.in_group(group),
            upstream: old.map(|old| upstream(keys, old)).transpose()?,
            exchange: *exchange.own()?,
            closed,
            child,
            is_ended: false,
            question: None,
            named_file: None,
        })
    }
}

fn upstream(keys: &mut Keys, old: usize) -> Result<usize, String> {
    keys.remove(&old).ok_or_else(|| format!("connection {old} to the app was not left"))
}

#[cfg(test)]
mod tests;
