//! Files that take a disk, perhaps: this thread waits for none.

use std::time::Instant;

use super::IoThread;
use crate::conn::Conn;
use crate::conn::static_files::{self, Came, Wanted};
use crate::errands::files::{LOOK, Question};

impl IoThread {
    /// Of its own app to the errand that waits for the disk; of another's to a thread that acts for it, or an errand, which the master has started.
    pub(super) fn look_elsewhere(&mut self, key: usize) {
        let Some(mut conn) = self.take_out(key) else { return };
        let Some(group) = conn.errand.as_ref().map(|errand| errand.group) else { return self.take_in(conn) };
        if group == self.id.group {
            if let Err(conn) = self.desk.catalog.ledger(group).files.take(conn, self.desk.now) {
                self.leave_to_app(conn);
            }
            return;
        }
        conn.errand = None;
        let moved = self.shared.table.lock().move_to_app(conn, group);
        match moved {
            Ok(wake) => wake.wake(),
            Err(conn) => self.to_master(conn),
        }
    }

    pub(super) fn files_deadline(&self) -> Option<Instant> {
        let asks = (!self.named.is_empty()).then(|| self.desk.now + LOOK);
        self.desk.catalog.ledger(self.id.group).files.deadline(self.desk.now).or(asks)
    }

    /// Takes back what waits for a disk that does not answer.
    pub(super) fn give_up_files(&mut self) {
        let files = &self.desk.catalog.ledger(self.id.group).files;
        if self.named.is_empty() && !files.has_any() {
            return;
        }
        let (is_stuck, stuck) = (files.is_stuck(self.desk.now), files.give_up(self.desk.now));
        for conn in stuck {
            self.leave_to_app(conn);
        }
        if is_stuck {
            for (question, key) in std::mem::take(&mut self.named) {
                self.go_on_with(key, question, Came::Stuck);
            }
        }
    }

    fn leave_to_app(&mut self, conn: Box<Conn>) {
        if let Some(conn) = static_files::left_to_app(conn) {
            self.take_in(conn);
        }
    }

    /// An answer names a file that is on a disk, perhaps: its head is kept until the errand has looked for it.
    pub(super) fn look_for(&mut self, key: usize, wanted: Wanted) {
        let Some(session) = self.clients.get_mut(key).and_then(|client| client.session.as_mut()) else { return };
        self.questions += 1;
        let number = self.questions;
        session.question = Some(number);
        let question = Question { wanted, process: self.id, number };
        match self.desk.catalog.ledger(self.id.group).files.ask(question, self.desk.now) {
            true => self.named.push((number, key)),
            false => self.go_on_with(key, number, Came::Stuck),
        }
    }

    /// The errand is back, perhaps with what nobody waits for any more.
    pub(super) fn is_found(&mut self, question: u64, came: Came) {
        let Some(place) = self.named.iter().position(|(number, _)| *number == question) else { return };
        let (_, key) = self.named.swap_remove(place);
        self.go_on_with(key, question, came);
    }

    /// The session that has asked may be over, and another one at its key.
    fn go_on_with(&mut self, key: usize, question: u64, came: Came) {
        let Some(session) = self.clients.get_mut(key).and_then(|client| client.session.as_mut()) else { return };
        let Some(upstream) = session.upstream.filter(|_| session.question == Some(question)) else { return };
        (session.question, session.named_file) = (None, Some(Box::new(came)));
        let bytes = session.exchange.held();
        self.understand(key, upstream, &bytes);
        self.read_app(upstream);
    }
}
