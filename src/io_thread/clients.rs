//! The clients of the thread: they come, are driven by [`intake`] as long as they have no exchange with the app, wait for an event, are
//! refused, and go to another thread.

use mio::event::Event;

use super::{Client, IoThread, Name};
use crate::conn::answering;
use crate::conn::intake::{self, Next};
use crate::conn::{Conn, Phase};
use crate::http::refusal::Refusal;
use crate::plight;
use crate::table::ToMaster;

impl IoThread {
    pub(super) fn client_event(&mut self, key: usize, event: &Event) {
        // The client may be gone since the event was fetched: then there is nothing to tell.
        let Some(client) = self.clients.get_mut(key) else { return };
        // An event only says "look": what is there, the socket says.
        client.conn.readable |= event.is_readable();
        if event.is_read_closed() {
            client.conn.readable = true;
            client.conn.closing = true;
        }
        if client.session.is_none() {
            return self.advance(key);
        }
        let reset = event.is_error() || event.is_write_closed();
        if reset && client.conn.socket.is_reset() {
            return self.client_left(key);
        }
        self.client_moved(key);
    }

    /// Lets a client without an exchange go on.
    pub(super) fn advance(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let mut turn = self.desk.turn(&self.shared, key);
        let next = intake::advance(&mut client.conn, &mut turn);
        self.follow(key, next);
    }

    pub(super) fn follow(&mut self, key: usize, next: Next) {
        match next {
            Next::Wait | Next::Body => self.rest(key),
            Next::Again => self.todo.push_back(key),
            Next::Slot => self.want_slot(key),
            Next::File => self.look_elsewhere(key),
            // That is before the first head, and a connection comes here behind one.
            Next::Introduced(_) | Next::Close => {
                self.clients.try_remove(key);
            }
        }
    }

    /// The client waits for an event: here, or, when the process drains, with another process.
    fn rest(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.conn.has_output() && client.conn.ask_writable(self.poll.registry(), Name::client(key)).is_err() {
            self.clients.remove(key);
            return;
        }
        if self.draining {
            self.move_away(key);
        }
    }

    /// Answers a client that has no exchange (any more).
    pub(super) fn refuse(&mut self, key: usize, refusal: &Refusal) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let plight = plight::of(&self.shared, &client.conn, refusal, self.desk.now);
        let mut turn = self.desk.turn(&self.shared, key);
        answering::refuse(&mut client.conn, refusal, plight.as_ref(), &mut turn);
        self.todo.push_back(key);
    }

    /// Makes a connection this thread's own. None: its socket is broken.
    pub(super) fn insert(&mut self, mut conn: Box<Conn>) -> Option<usize> {
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        conn.register(self.poll.registry(), Name::client(key)).ok()?;
        self.desk.adopt(&mut conn, key);
        entry.insert(Client { conn, session: None });
        Some(key)
    }

    pub(super) fn take_in(&mut self, conn: Box<Conn>) {
        if let Some(key) = self.insert(conn) {
            self.todo.push_back(key);
        }
    }

    /// Takes a connection out of this thread. None: its socket is broken and closed.
    pub(super) fn take_out(&mut self, key: usize) -> Option<Box<Conn>> {
        let mut client = self.clients.try_remove(key)?;
        self.desk.part_with(&mut client.conn);
        client.conn.deregister(self.poll.registry()).ok()?;
        Some(client.conn)
    }

    /// Sends a connection without an exchange to another process of its app, or to the master.
    pub(super) fn move_away(&mut self, key: usize) {
        let stays = matches!(self.clients.get(key).map(|client| client.conn.phase), None | Some(Phase::App));
        if stays {
            return;
        }
        let Some(conn) = self.take_out(key) else { return };
        let mut state = self.shared.table.lock();
        let conn = match state.pool.group_mut(self.id.group).host(Some(self.id)) {
            Some(process) => state.move_to(conn, process),
            None => Err(conn),
        };
        drop(state);
        match conn {
            Ok(wake) => wake.wake(),
            Err(conn) => self.to_master(conn),
        }
    }

    pub(super) fn to_master(&self, conn: Box<Conn>) {
        // A master that is gone takes the server with it.
        if let Ok(wake) = self.shared.master.send(ToMaster::Conn(conn)) {
            wake.wake();
        }
    }
}
