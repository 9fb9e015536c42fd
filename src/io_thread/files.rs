//! Files that take a disk, perhaps: this thread waits for none.

use std::time::Instant;

use super::IoThread;
use crate::conn::Conn;
use crate::conn::static_files::Looked;

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
        let mut state = self.shared.table.lock();
        let moved = match state.pool.group_mut(group).host(None) {
            Some(process) => state.move_to(conn, process),
            None => Err(conn),
        };
        drop(state);
        match moved {
            Ok(wake) => wake.wake(),
            Err(conn) => self.to_master(conn),
        }
    }

    pub(super) fn files_deadline(&self) -> Option<Instant> {
        self.desk.catalog.ledger(self.id.group).files.deadline(self.desk.now)
    }

    /// Takes back what waits for a disk that does not answer.
    pub(super) fn give_up_files(&mut self) {
        let files = &self.desk.catalog.ledger(self.id.group).files;
        if !files.has_any() {
            return;
        }
        let stuck = files.give_up(self.desk.now);
        for conn in stuck {
            self.leave_to_app(conn);
        }
    }

    fn leave_to_app(&mut self, mut conn: Box<Conn>) {
        conn.errand = None;
        if conn.file.is_some() {
            // What was begun cannot look whole.
            return conn.socket.reset_on_close();
        }
        conn.looked = Some(Looked::Nothing);
        self.take_in(conn);
    }
}
