//! How a start ends: the process is ready, or it is not and why, with what stood in its way. On the I/O thread of the process.

use super::IoThread;
use crate::obstacle;
use crate::pool::{Exit, Failure, FailureKind, Obstacle};

impl IoThread {
    pub(super) fn is_ready(&mut self) {
        let Some(probe) = self.probe.take() else { return };
        self.pipes.forget_kinds();
        if probe.aside.is_some() {
            self.step_up();
        }
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(self.id.group);
        if let Some(status) = probe.ready {
            group.answered(self.id, &self.app.ready.path, status);
        }
        group.ready(self.id, self.desk.now);
        drop(state);
        self.shared.table.notify();
        log::info!("{} pid {}: ready after {:.2} s", self.name, self.pid, (self.desk.now - probe.began).as_secs_f64());
    }

    /// The process goes beside those that serve: the restart thread may let it.
    pub(super) fn step_up(&self) {
        self.shared.table.lock().through_boot.push(self.id);
        self.shared.table.notify();
    }

    pub(in crate::io_thread) fn start_failed(&mut self, kind: FailureKind) {
        self.probe = None;
        self.pipes.drain();
        let output = self.pipes.tail();
        let obstacle = if let FailureKind::NotReady { .. } = kind { self.obstacle(&output) } else { None };
        let failure = Failure { kind: kind.with(obstacle), output };
        log::error!("{} pid {}: {failure}", self.name, self.pid);
        self.shared.table.lock().pool.group_mut(self.id.group).start_failed(self.id, failure, self.desk.now);
        self.shared.table.notify();
    }
}

impl IoThread {
    pub(super) fn failed(&self) -> obstacle::Failed<'_> {
        obstacle::Failed {
            shared: &self.shared,
            id: self.id,
            name: &self.name,
            app: &self.app,
            port: self.upstreams.port(),
            unit: &self.unit,
        }
    }

    /// The program that was started has ended before it was ready, and something that it started lives on.
    pub(in crate::io_thread) fn background(&self, exit: Exit) -> Option<Obstacle> {
        let command = self.shared.table.lock().releases.get(&(self.id.group, self.name.generation)).map(|release| release.command.clone());
        let left = self.failed().background(exit, &command.unwrap_or_default())?;
        let kind = FailureKind::Exited { exit, after: std::time::Duration::ZERO, in_probation: false, had: String::new() };
        log::error!("{} pid {}: {}", self.name, self.pid, kind.with(Some(left.clone())));
        Some(left)
    }

    /// What stood in the way of its start, by what it printed.
    pub(in crate::io_thread) fn obstacle(&self, output: &[String]) -> Option<Obstacle> {
        let obstacle = self.failed().obstacle(output);
        if let Some(Obstacle::OwnPort { port, by }) = &obstacle {
            let taken = FailureKind::PortTaken { port: *port, by: by.clone() };
            log::warn!("{} pid {}: {taken}; another is tried", self.name, self.pid);
        }
        obstacle
    }
}
