//! Requests for an app's files, which the master opens and reads none of: it has not the rights for it, and waits for no disk.

use std::time::Instant;

use super::Master;
use crate::conn::Conn;
use crate::conn::static_files;

impl Master {
    /// To a thread of one of the app's processes, as after an answer before; else to the errand that does that for the app.
    pub(super) fn look_elsewhere(&mut self, key: usize) {
        let Some(mut conn) = self.take_out(key) else { return };
        let Some(errand) = conn.errand.take() else {
            self.put_back(conn);
            return;
        };
        let group = errand.group;
        let moved = self.shared.table.lock().move_to_app(conn, group);
        let mut conn = match moved {
            Ok(wake) => return self.wakes.push(wake),
            Err(conn) => conn,
        };
        conn.errand = Some(errand);
        if let Err(conn) = self.desk.catalog.ledger(group).files.take(conn, self.desk.now) {
            self.leave_to_app(conn);
        }
    }

    /// A client that was sent a file goes to a process's thread of that app, which its next requests are for; with none there it stays.
    pub(super) fn move_on(&mut self, key: usize) -> bool {
        let Some(group) = self.conns.get_mut(key).and_then(|held| held.conn.answered_for.take()) else { return false };
        let Some(process) = self.shared.table.lock().pool.group_mut(group).host(None) else { return false };
        let Some(conn) = self.take_out(key) else { return true };
        let moved = self.shared.table.lock().move_to(conn, process);
        match moved {
            Ok(wake) => self.wakes.push(wake),
            Err(conn) => drop(self.put_back(conn)),
        }
        true
    }

    pub(super) fn files_deadline(&self) -> Option<Instant> {
        self.desk.catalog.ledgers().filter_map(|(_, app)| app.ledger.files.deadline(self.desk.now)).min()
    }

    /// Takes back what waits for a disk that does not answer.
    pub(super) fn give_up_files(&mut self) {
        if !self.desk.catalog.ledgers().any(|(_, app)| app.ledger.files.has_any()) {
            return;
        }
        let stuck: Vec<Box<Conn>> = self.desk.catalog.ledgers().flat_map(|(_, app)| app.ledger.files.give_up(self.desk.now)).collect();
        for conn in stuck {
            self.leave_to_app(conn);
        }
    }

    fn leave_to_app(&mut self, conn: Box<Conn>) {
        if let Some(conn) = static_files::left_to_app(conn) {
            self.put_back(conn);
        }
    }

    /// Nothing comes back from there any more that is not here.
    pub(super) fn has_no_errands(&mut self) -> bool {
        let is_idle = self.desk.catalog.ledgers().all(|(_, app)| app.ledger.files.is_idle(self.desk.now));
        if is_idle {
            self.take_messages();
        }
        is_idle
    }
}
