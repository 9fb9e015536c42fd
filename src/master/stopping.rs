//! The bounded end of the server: answer, then close, then stop the processes.
//!
//! Told to stop, the server goes on accepting for a moment; every answer says `Connection: close`. Then no connection can begin any more,
//! and when those that had begun are accepted the listeners close, idle connections close and streams leave. When no connection is left, or
//! the longest drain limit has passed, the pool stops. A client that still takes a response does not hold up the processes, only the server,
//! and that is bounded too. A second request to stop skips to the end.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Master;
use super::listeners::Listener;
use super::porter::ToPorter;
use crate::printable::{counted, counted_past};
use crate::table::ToThread;

/// How far it is.
#[derive(Debug)]
pub struct Stopping {
    /// No connection can begin from then on.
    turn_away_at: Option<Instant>,
    /// The listeners close then.
    close_at: Option<Instant>,
    /// The pool stops then, whoever is still connected.
    stop_at: Option<Instant>,
    /// Idle connections are looked for again then.
    sweep_at: Option<Instant>,
    /// The server ends then, whatever is left.
    end_at: Instant,
    now: bool,
}

impl Stopping {
    pub fn next_deadline(&self) -> Option<Instant> {
        [self.turn_away_at, self.close_at, self.stop_at, self.sweep_at, Some(self.end_at)].into_iter().flatten().min()
    }
}

impl Master {
    /// Does what is due. True: everything has ended.
    pub(super) fn go_on_stopping(&mut self) -> bool {
        let asked = self.operations.stop_asked;
        if asked == 0 {
            return false;
        }
        let mut stopping = match self.stopping.take() {
            Some(stopping) => stopping,
            None => self.begin_stopping(),
        };
        if asked > 1 && !stopping.now {
            log::info!("told to stop again: stopping now");
            stopping.now = true;
            (stopping.turn_away_at, stopping.close_at, stopping.stop_at, stopping.sweep_at) = (None, None, None, None);
            self.listeners.clear();
            self.tell_porter(ToPorter::TurnAway(Vec::new()));
            self.shared.table.lock().pool.stop_now(self.desk.now);
            self.shared.table.notify();
        }
        let nobody = self.shared.connections.open() == 0;
        if stopping.turn_away_at.is_some_and(|at| nobody || self.desk.now >= at) {
            self.tell_porter(ToPorter::TurnAway(self.listeners.iter().filter_map(Listener::handle).collect()));
            stopping.turn_away_at = None;
            stopping.close_at = Some(self.desk.now + HANDSHAKE);
        }
        if stopping.close_at.is_some_and(|at| self.desk.now >= at) && self.backlog_is_empty() {
            self.listeners.clear();
            stopping.close_at = None;
            stopping.sweep_at = Some(self.desk.now);
        }
        let closed = stopping.turn_away_at.is_none() && stopping.close_at.is_none();
        if closed && stopping.sweep_at.is_some_and(|at| self.desk.now >= at) {
            self.sweep();
            stopping.sweep_at = Some(self.desk.now + SWEEP);
        }
        let nobody = self.shared.connections.open() == 0;
        if closed && stopping.stop_at.is_some_and(|at| nobody || self.desk.now >= at) {
            stopping.stop_at = None;
            self.shared.table.lock().pool.stop(self.desk.now);
            self.shared.table.notify();
        }
        // What the clients still have to take may take them until their own limits; the processes need not wait for that, we do.
        let finished = self.shared.table.lock().finished;
        let finished = finished && (stopping.now || nobody || (self.has_no_errands() && self.conns.is_empty()));
        let overdue = self.desk.now >= stopping.end_at;
        if overdue && !finished {
            log::warn!("not everything has ended in time: {} cut", counted_past(self.shared.connections.open(), "connection"));
        }
        self.stopping = Some(stopping);
        finished || overdue
    }

    fn begin_stopping(&mut self) -> Stopping {
        let apps = || self.desk.catalog.ledgers().map(|(_, app)| &app.config);
        let drain = apps().map(|app| app.drain.timeout).max().unwrap_or_default();
        let stop = apps().map(|app| app.stop.timeout).max().unwrap_or_default();
        log::info!(
            "stopping: {} open; at most {} s for the requests in hand",
            counted(self.shared.connections.open(), "connection"),
            drain.as_secs()
        );
        if let Some(supervisor) = &mut self.supervisor {
            supervisor.stops(self.desk.now);
        }
        self.tell_porter(ToPorter::Close);
        self.shared.stopping.store(true, Ordering::Relaxed);
        let turn_away_at = self.desk.now + GRACE;
        let close_at = turn_away_at + HANDSHAKE;
        // Requests have one drain limit to end by themselves, and what is left another in which its process drains.
        let end_at = close_at + 2 * drain + stop + LAST_GRACE;
        Stopping { turn_away_at: Some(turn_away_at), close_at: None, stop_at: Some(close_at + drain), sweep_at: None, end_at, now: false }
    }

    /// Accepts what waits; true: nothing does.
    fn backlog_is_empty(&mut self) -> bool {
        for listener in &mut self.listeners {
            listener.ready = true;
        }
        self.accept();
        self.accept_after.is_none() && self.listeners.iter().all(|listener| !listener.ready)
    }

    /// Closes idle connections, here and on the I/O threads, where streams leave too.
    fn sweep(&mut self) {
        self.close_idle();
        let state = self.shared.table.lock();
        let wakes: Vec<_> = state.threads.values().filter_map(|thread| thread.send(ToThread::CloseIdle).ok()).collect();
        drop(state);
        self.wakes.extend(wakes);
    }
}

/// How long a stopping server still accepts, so that kept connections in use end with an answer that says so.
const GRACE: Duration = Duration::from_millis(500);
/// For the handshakes that are under way when no further one may begin: a round trip.
const HANDSHAKE: Duration = Duration::from_millis(150);
/// For what follows the stop signals: the cut, the kill, the reaping.
const LAST_GRACE: Duration = Duration::from_secs(5);
const SWEEP: Duration = Duration::from_millis(200);
