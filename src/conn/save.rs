//! A connection that is left to the next rota: what is known of it as data, and its socket and files beside that.
//!
//! What a thread was to find out for it (a file of its app) is not left: the request or the answer is there, and asks again.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::file_body::SavedFile;
use super::socket::SavedSocket;
use super::spool::SavedSpool;
use super::{Conn, Heads, Phase, Request};
use crate::deadlines::Deadline;
use crate::dispatch;
use crate::ids::GroupId;
use crate::pool::WaitId;
use crate::table::Shared;
use crate::upgrade::lent::Lent;
use crate::upgrade::pack::{Pack, Unpack};
use crate::visitor::Visitor;

/// What the next rota has for the connections that were left to it.
pub struct Heir<'a> {
    pub unpack: &'a mut Unpack,
    pub shared: &'a Shared,
    /// The number that an app has now, by the one that it had. None: there is no such app any more.
    pub groups: &'a dyn Fn(GroupId) -> Option<GroupId>,
    /// The place of a connection among those of its client.
    pub share: &'a mut dyn FnMut(Visitor) -> Arc<Heads>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedConn<'a> {
    socket: SavedSocket,
    peer: Option<IpAddr>,
    is_unnamed: bool,
    phase: Phase,
    #[serde(with = "crate::bytes")]
    input: Cow<'a, [u8]>,
    searched: usize,
    readable: bool,
    closing: bool,
    unread: bool,
    output: Option<SavedSpool<'a>>,
    file: Option<SavedFile>,
    answered_for: Option<GroupId>,
    request: Option<Lent<'a, Request>>,
    /// Of the request.
    body: Option<SavedSpool<'a>>,
    has_upload_share: bool,
    sent: u64,
    deadline: Lent<'a, Deadline>,
    waiting: Option<WaitId>,
}

impl Heir<'_> {
    pub fn group(&self, group: GroupId) -> Result<GroupId, String> {
        (self.groups)(group).ok_or_else(|| format!("app number {} is not in the configuration any more", group.0))
    }
}

impl Conn {
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedConn<'a> {
        let Self {
            socket,
            peer,
            is_unnamed,
            phase,
            input,
            searched,
            readable,
            closing,
            wants_write: _,
            unread,
            output,
            file,
            errand: _,
            looked: _,
            answered_for,
            request,
            sent,
            log: _,
            deadline,
            waiting,
            count: _,
            counted: _,
            share: _,
        } = self;
        SavedConn {
            socket: socket.save(pack),
            peer: *peer,
            is_unnamed: *is_unnamed,
            phase: *phase,
            input: Cow::Borrowed(input),
            searched: *searched,
            readable: *readable,
            closing: *closing,
            unread: *unread,
            output: output.save(pack),
            file: file.as_ref().map(|file| file.save(pack)),
            answered_for: *answered_for,
            request: request.as_deref().map(Lent::Lent),
            body: request.as_ref().and_then(|request| request.body.save(pack)),
            has_upload_share: request.as_ref().is_some_and(|request| request.share.is_some()),
            sent: *sent,
            deadline: Lent::Lent(deadline),
            waiting: *waiting,
        }
    }
}

impl SavedConn<'_> {
    /// In no poll but the one that watches those that wait in a queue. Whoever has it lets it do what it can: what its socket has told is told anew
    /// to the next poll.
    pub fn restore(self, heir: &mut Heir<'_>) -> Result<Box<Conn>, String> {
        let Self {
            socket,
            peer,
            is_unnamed,
            phase,
            input,
            searched,
            readable,
            closing,
            unread,
            output,
            file,
            answered_for,
            request,
            body,
            has_upload_share,
            sent,
            deadline,
            waiting,
        } = self;
        let (share, catalog) = ((heir.share)(Visitor::of(peer)), heir.shared.catalog());
        let socket = socket.restore(heir.unpack)?;
        let mut conn = Conn::new(socket, peer, phase, &heir.shared.connections, share, catalog.logs.access.clone());
        conn.is_unnamed = is_unnamed;
        conn.input = input.into_owned();
        conn.searched = searched;
        conn.readable = readable;
        conn.closing = closing;
        conn.unread = unread;
        conn.output = output.map(|output| output.restore(heir)).transpose()?.unwrap_or_default();
        conn.file = file.map(|file| file.restore(heir)).transpose()?.map(Box::new);
        conn.answered_for = answered_for.and_then(heir.groups);
        conn.sent = sent;
        conn.deadline = *deadline.own()?;
        if let Some(request) = request {
            let mut request = request.own()?;
            request.group = heir.group(request.group)?;
            request.body = body.map(|body| body.restore(heir)).transpose()?.unwrap_or_default();
            request.share = has_upload_share.then(|| catalog.ledger(request.group).uploads.take_again(Visitor::of(request.client)));
            conn.request = Some(request);
        }
        conn.count_input();
        if let Some(id) = waiting {
            dispatch::watch_again(heir.shared, &mut conn, id);
        }
        Ok(conn)
    }
}

impl fmt::Debug for Heir<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heir").field("unpack", &self.unpack).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
