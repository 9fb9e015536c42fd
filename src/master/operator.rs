//! What the commands of the control socket do: they read the pool table, or put into it what is wanted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use crate::control::proto::{AppStatus, Asked, Progress, SCHEMA, StatusReply, WalkEnd};
use crate::control::server::{Operator, WalkReport};
use crate::ids::{AppName, Generation, GroupId};
use crate::pool::{GroupView, Trigger};
use crate::sys;
use crate::table::{Shared, State};

#[derive(Debug)]
pub struct Operations {
    shared: Arc<Shared>,
    started: Instant,
    /// How often the server was told to stop.
    pub stop_asked: u32,
    /// By pid: processor time at the last status, for the share since then.
    seen: HashMap<u32, (u64, Instant)>,
}

impl Operations {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self { shared, started: Instant::now(), stop_asked: 0, seen: HashMap::new() }
    }

    /// The state of everything, a line each.
    pub fn log_state(&mut self, now: Instant) {
        let Ok(status) = self.status(None, now) else { return };
        log::info!("state: {} connections, {} bytes spooled", status.connections, status.spooled);
        for app in &status.apps {
            let queue = &app.queue;
            let (walk, resists) = (app.walk.is_some(), app.resists.is_some());
            log::info!("state: {}: queue {}/{}, walk {walk}, resists {resists}", app.app, queue.length, queue.max);
            for process in &app.processes {
                log::info!(
                    "state: {}/{} {} pid {}: {} for {:.1} s, {} of {} sessions, {} processed, {} errors",
                    app.app,
                    process.number,
                    process.generation,
                    process.pid.unwrap_or_default(),
                    process.state,
                    process.state_seconds,
                    process.sessions,
                    app.concurrency,
                    process.processed,
                    process.errors
                );
            }
        }
    }

    fn find(state: &State, app: &str) -> Result<GroupId, String> {
        state.pool.find(app).ok_or_else(|| {
            let known: Vec<String> = state.pool.groups().map(|group| group.app().to_string()).collect();
            format!("there is no app \"{app}\"; there is {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") })
        })
    }

    /// Processor share and memory, read from /proc without the lock.
    fn measure(&mut self, apps: &mut [AppStatus], now: Instant) {
        let mut seen = HashMap::new();
        for process in apps.iter_mut().flat_map(|app| &mut app.processes) {
            let Some(pid) = process.pid else { continue };
            let Some(usage) = sys::process_usage(pid) else { continue };
            let (ticks, elapsed) = match self.seen.get(&pid) {
                Some((ticks, at)) => (usage.cpu_ticks.saturating_sub(*ticks), now.saturating_duration_since(*at).as_secs_f64()),
                None => (usage.cpu_ticks, process.age),
            };
            process.cpu = (elapsed > 0.0).then(|| (ticks as f64 / sys::TICKS_PER_SECOND / elapsed * 1000.0).round() / 10.0);
            process.memory = Some(usage.memory);
            seen.insert(pid, (usage.cpu_ticks, now));
        }
        self.seen = seen;
    }
}

/// The directory of a generation.
fn release(state: &State, group: GroupId, generation: Generation) -> Option<String> {
    state.releases.get(&(group, generation)).map(|release| release.root.display().to_string())
}

impl Operator for Operations {
    fn status(&mut self, app: Option<&str>, now: Instant) -> Result<StatusReply, String> {
        let state = self.shared.table.lock();
        let only = app.map(|app| Self::find(&state, app)).transpose()?;
        let wanted = state.pool.groups().filter(|group| only.is_none_or(|only| only == group.id()));
        let views: Vec<(GroupId, GroupView)> = wanted.map(|group| (group.id(), group.view(now))).collect();
        let releases = state.releases.clone();
        drop(state);
        let directory = |group, generation| releases.get(&(group, generation)).map(|release| release.root.display().to_string());
        let mut apps: Vec<AppStatus> =
            views.into_iter().map(|(group, view)| AppStatus::new(view, |generation| directory(group, generation))).collect();
        self.measure(&mut apps, now);
        Ok(StatusReply {
            schema: SCHEMA,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime: now.saturating_duration_since(self.started).as_secs_f64().round(),
            listen: self.shared.server.listen.iter().map(ToString::to_string).collect(),
            connections: self.shared.connections.open(),
            spooled: self.shared.spool.used(),
            apps,
        })
    }

    fn restart(&mut self, app: Option<&str>, now: Instant) -> Result<Vec<Asked>, String> {
        if self.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        let mut state = self.shared.table.lock();
        let asked = match app {
            Some(app) => {
                let group = Self::find(&state, app)?;
                vec![(group, state.pool.group_mut(group).restart(Trigger::Command, now))]
            }
            None => state.pool.restart_all(Trigger::Command, now),
        };
        let asked = asked.into_iter().map(|(group, generation)| Asked { app: state.pool.group(group).app().clone(), generation }).collect();
        drop(state);
        self.shared.table.notify();
        Ok(asked)
    }

    fn progress(&mut self, app: &AppName, generation: Generation, now: Instant) -> WalkReport {
        let state = self.shared.table.lock();
        let Some(id) = state.pool.find(app.as_str()) else { return WalkReport::Waiting };
        let group = state.pool.group(id);
        if let Some(outcome) = group.outcome(generation) {
            let view = group.view(now);
            let first_serving = || view.processes.iter().find(|process| process.state == "serving").map(|process| process.name.generation);
            let serving = view.good.or_else(first_serving).map(|good| format!("{good} {}", release(&state, id, good).unwrap_or_default()));
            return WalkReport::Ended(WalkEnd::new(app, generation, outcome, serving));
        }
        match group.view(now).walk {
            Some(walk) if walk.generation == generation => WalkReport::Underway(Progress::new(app, &walk)),
            Some(_) | None => WalkReport::Waiting,
        }
    }

    fn stop(&mut self) {
        self.stop_asked += 1;
    }
}
