//! What other threads tell this one: connections for it, and what becomes of its process and of the server.

use super::fault::Fault;
use super::{Client, IoThread};
use crate::conn::Phase;
use crate::conn::crowded::{GiveUp, Holdings};
use crate::conn::idle::DropIdle;
use crate::http::cut::Cut;
use crate::http::head;
use crate::pool::Exit;
use crate::table::{ToMaster, ToThread};

impl IoThread {
    pub(super) fn take_messages(&mut self) {
        while let Some(message) = self.inbox.take() {
            self.heed(message);
        }
    }

    #[inline]
    fn heed(&mut self, message: ToThread) {
        match message {
            ToThread::Request(conn, claim) => self.granted.push_back((conn, claim)),
            ToThread::Conn(conn) => self.take_in(conn),
            ToThread::Drain => self.drain(),
            ToThread::Cut(cut) => {
                self.begin_granted();
                self.drop_overdue(|_| true);
                self.fail_all(|| Fault::Cut(cut));
            }
            ToThread::CloseIdle => self.close_idle(),
            ToThread::Tell(ticket) => self.tell_requests(ticket),
            ToThread::Exited(exit, out_of_memory) => self.exited(exit, out_of_memory),
            ToThread::MakeRoom => self.make_room(),
            ToThread::DropIdle(asked) => self.drop_idle(&asked),
            ToThread::Count(asked) => {
                let holdings = Holdings::of(self.clients.iter().map(|(_, client)| &*client.conn));
                self.tell_master(ToMaster::Counted(asked, self.id, Box::new(holdings)));
            }
            ToThread::Named(question, came) => self.is_found(question, *came),
            ToThread::GiveUp(asked) => self.give_up(asked),
            ToThread::StandStill(still) => {
                still.keep(self);
                // What came meanwhile, if this goes on.
                for message in std::mem::take(&mut self.held) {
                    self.heed(message);
                }
            }
            ToThread::Gone => {
                self.drain();
                self.gone = true;
                self.begin_granted();
                self.drop_overdue(|_| true);
                self.fail_all(|| Fault::Ended);
            }
        }
    }

    /// The process gets nothing new: what is between requests or still being read goes to others.
    fn drain(&mut self) {
        self.draining = true;
        self.upstreams.close_idle();
        self.drop_stuck();
        self.send_streams_away();
        let free: Vec<usize> = self.clients.iter().filter(|(_, client)| client.session.is_none()).map(|(key, _)| key).collect();
        for key in free {
            self.move_away(key);
        }
        // A session may have ended between the decision to drain and this message.
        self.shared.table.notify();
    }

    /// There are too many connections.
    fn drop_idle(&mut self, asked: &DropIdle) {
        let conns = self.clients.iter().filter(|(_, client)| client.session.is_none()).map(|(key, client)| (key, &*client.conn));
        for key in asked.choose(conns, &self.desk.catalog.server.trusted_proxies) {
            self.clients.remove(key);
        }
        asked.is_done();
    }

    /// There are too many connections, none of them idle, and a client has most of them.
    fn give_up(&mut self, asked: GiveUp) {
        for key in asked.choose(self.clients.iter().map(|(key, client)| (key, &*client.conn))) {
            let client = &mut self.clients[key];
            client.conn.gives_way(self.desk.date.at(self.desk.now));
            match client.session {
                Some(_) => self.end_session(key, Cut::ClientCrowds),
                None => drop(self.clients.remove(key)),
            }
        }
        self.tell_master(ToMaster::GaveUp);
    }

    fn tell_master(&self, message: ToMaster) {
        // A master that is gone takes the server with it.
        if let Ok(wake) = self.shared.master.send(message) {
            wake.wake();
        }
    }

    /// What the process printed last is read before its end is reported, so that the report has it.
    fn exited(&mut self, exit: Exit, out_of_memory: bool) {
        self.pipes.drain();
        let starting = self.probe.take();
        self.exit = Some(exit);
        self.pass_verdict();
        let output = self.pipes.tail();
        let obstacle = starting.and_then(|_| self.background(exit).or_else(|| self.obstacle(&output)));
        self.ended(exit, out_of_memory, output, obstacle);
    }

    /// The server is stopping: connections that have nothing to ask are closed, and the streams leave. The process drains when no request is
    /// left, which it would not see as long as they are there.
    fn close_idle(&mut self) {
        self.send_streams_away();
        let idle = |client: &Client| client.session.is_none() && client.conn.phase == Phase::Head && !head::has_begun(&client.conn.input);
        self.clients.retain(|_, client| !idle(client));
    }
}
