//! What signals ask of the master.

use std::collections::HashMap;
use std::time::Instant;

use super::Master;
use super::operator::Operations;
use crate::control::server::Operator;
use crate::pool::Trigger;
use crate::printable::counted;
use crate::signals;

impl Master {
    pub(super) fn take_signals(&mut self) {
        let signals = self.signals.pending();
        for signal in std::mem::take(&mut self.held_signals).into_iter().chain(signals) {
            match signal {
                signals::Event::ChildEnded => {
                    self.shared.table.lock().child_ended = true;
                    self.shared.table.notify();
                }
                signals::Event::RollingRestart => {
                    log::info!("SIGUSR2: rolling restart of all apps, one after another");
                    self.shared.table.lock().pool.restart_all(Trigger::Signal, self.desk.now);
                    self.shared.table.notify();
                }
                signals::Event::Stop => self.operations.stop(),
                signals::Event::DumpState => self.operations.log_state(self.desk.now),
                signals::Event::Reload => {
                    log::info!("SIGHUP: the configuration is read again");
                    match (self.operations.reload(false, self.desk.now), &mut self.supervisor) {
                        (Ok(ticket), Some(supervisor)) => supervisor.reloads(ticket, self.desk.now),
                        (Ok(_), None) => {}
                        (Err(why), _) => log::error!("SIGHUP: {why}"),
                    }
                }
                signals::Event::ReopenLogs if self.desk.catalog.logs.files.reopen() => {
                    log::info!("SIGUSR1: the log files are opened anew");
                }
                signals::Event::ReopenLogs => log::info!("SIGUSR1: no log goes to a file; there is nothing to reopen"),
            }
        }
    }
}

impl Operations {
    /// The state of everything, a line each.
    pub fn log_state(&mut self, now: Instant) {
        let status = self.status(None, &HashMap::new(), now);
        log::info!("state: {}, {} spooled", counted(status.connections, "connection"), counted(status.spooled, "byte"));
        for app in &status.apps {
            let queue = &app.queue;
            let (walk, resists) = (app.walk.is_some(), app.resists.is_some());
            log::info!("state: {}: queue {}/{}, walk {walk}, resists {resists}", app.app, queue.length, queue.max);
            for process in &app.processes {
                log::info!(
                    "state: {}/{} {} pid {}: {} for {:.1} s, {} of {}, {} processed, {}",
                    app.app,
                    process.number,
                    process.generation,
                    process.pid.unwrap_or_default(),
                    process.state,
                    process.state_seconds,
                    process.sessions,
                    counted(process.slots, "session"),
                    process.processed,
                    counted(process.errors, "error")
                );
            }
        }
    }
}
