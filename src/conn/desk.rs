//! What an event loop has for its connections and lends to their turns: buffers, deadlines, the date, the memory of requests that are done.

use std::time::{Duration, Instant};

use super::folders::Folders;
use super::{Conn, Request};
use crate::date::Date;
use crate::deadlines::{self, Deadlines};
use crate::http::exchange::Out;
use crate::http::request_id::RequestIds;
use crate::ids::GroupId;
use crate::table::Shared;

/// What an event loop has for the turns of its connections.
#[derive(Debug)]
pub struct Desk {
    /// Of this turn of the loop.
    pub now: Instant,
    /// What the loop lost before this turn.
    lost: Option<Duration>,
    pub date: Date,
    pub deadlines: Deadlines,
    pub scratch: Vec<u8>,
    pub out: Out,
    pub spare: Spare,
    pub folders: Folders,
    acts_for: Option<GroupId>,
}

impl Desk {
    /// `buffer`: bytes read or written at a time. `acts_for`: the loop is an app's own, and has its user's rights.
    pub fn new(buffer: usize, acts_for: Option<GroupId>) -> Self {
        Self {
            acts_for,
            now: Instant::now(),
            lost: None,
            date: Date::new(),
            deadlines: Deadlines::default(),
            scratch: vec![0; buffer],
            out: Out { bytes: Vec::with_capacity(OUT), gathered: Vec::new() },
            spare: Spare::default(),
            folders: Folders::default(),
        }
    }

    /// A turn of the loop begins, which meant to be back at `due_back`. Some: so much time was lost ([`deadlines::lost`]).
    pub fn begin(&mut self, due_back: Option<Instant>) -> Option<Duration> {
        let ran = std::mem::replace(&mut self.now, Instant::now());
        self.lost = deadlines::lost(ran, due_back, self.now);
        self.lost
    }

    /// Takes over the deadline of a connection that comes from another loop. What was lost before this turn it lost, too: in the mailbox.
    pub fn adopt(&mut self, conn: &mut Conn, token: usize) {
        if let Some(by) = self.lost {
            conn.put_off(by);
        }
        self.deadlines.adopt(&mut conn.deadline, token);
    }

    /// For the connection that the loop calls `token`.
    pub fn turn<'a>(&'a mut self, shared: &'a Shared, token: usize) -> Turn<'a> {
        self.folders.refresh(shared);
        Turn {
            shared,
            now: self.now,
            date: self.date.at(self.now),
            deadlines: &mut self.deadlines,
            token,
            buffer: &mut self.scratch,
            out: &mut self.out.bytes,
            gathered: &mut self.out.gathered,
            spare: &mut self.spare,
            folders: &self.folders,
            acts_for: self.acts_for,
        }
    }
}

/// What the event loop lends to a turn of a connection.
#[derive(Debug)]
pub struct Turn<'a> {
    pub shared: &'a Shared,
    pub now: Instant,
    /// For the Date field.
    pub date: &'a str,
    pub deadlines: &'a mut Deadlines,
    /// The loop's name for the connection in `deadlines`.
    pub token: usize,
    /// Read into; nothing in it outlives the turn.
    pub buffer: &'a mut [u8],
    /// Written into; cleared by whoever uses it.
    pub out: &'a mut Vec<u8>,
    /// The data of small chunks; cleared by whoever uses it.
    pub gathered: &'a mut Vec<u8>,
    pub spare: &'a mut Spare,
    pub folders: &'a Folders,
    /// The app whose files may be opened and read here.
    pub acts_for: Option<GroupId>,
}

/// What new requests are made of.
#[derive(Debug, Default)]
pub struct Spare {
    /// Requests that are done, kept for their memory.
    #[expect(clippy::vec_box, reason = "it is the boxes that are kept: connections hold requests in boxes")]
    done: Vec<Box<Request>>,
    pub ids: RequestIds,
}

impl Turn<'_> {
    /// The connection has from now so much time for what it does.
    pub fn limit(&mut self, conn: &mut Conn, time: Duration) {
        self.deadlines.set(&mut conn.deadline, self.token, self.now + time);
    }
}

impl Spare {
    /// `request` in the memory of one that is done, if there is one.
    pub fn take(&mut self, mut request: Request) -> Box<Request> {
        match self.done.pop() {
            Some(mut spare) => {
                std::mem::swap(&mut request.head, &mut spare.head);
                *spare = request;
                spare
            }
            None => Box::new(request),
        }
    }

    /// Ends the request of a connection, if it has one, and keeps its memory.
    pub fn end(&mut self, conn: &mut Conn, now: Instant) {
        if let Some(request) = conn.end_request(now) {
            self.give(request);
        }
    }

    /// Takes back the memory of a request that is done.
    fn give(&mut self, mut request: Box<Request>) {
        if self.done.len() < SPARE && request.head.capacity() <= SPARE_HEAD {
            request.head.clear();
            request.body.clear();
            self.done.push(request);
        }
    }
}

/// A head and a small body are written together (bytes).
const OUT: usize = 4096;
/// How many done requests a loop keeps, and the largest head among them (bytes).
const SPARE: usize = 64;
const SPARE_HEAD: usize = 8 * 1024;
