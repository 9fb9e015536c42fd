//! Another configuration comes into force: the catalog and the pool change in one critical section, so that whoever routes by the one finds the
//! other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Master;
use super::porter::ToPorter;
use crate::catalog::{App, Catalog, limits, settings};
use crate::config::{Change, Effect};
use crate::control::proto::{Asked, Planned};
use crate::control::server::{Reloaded, Ticket};
use crate::ids::{Generation, GroupId};
use crate::pool::Trigger;
use crate::reload::Reading;

impl Master {
    /// The files were read.
    pub(super) fn read(&mut self, ticket: Ticket, read: Result<Box<Reading>, String>) {
        let reloaded = read.map(|reading| {
            let Reading { plan, stamp, warnings, catalog } = *reading;
            if let Some(stamp) = stamp {
                self.shared.config_stamp.store(stamp, Ordering::Relaxed);
            }
            let is_done = catalog.is_some();
            let walks = catalog.filter(|_| self.stopping.is_none()).map_or_else(Vec::new, |(catalog, groups)| {
                let restarts = |app: &App| plan.restarts(&app.config.name);
                self.take_over(Arc::new(catalog), groups, restarts)
            });
            if is_done {
                plan.changes.iter().for_each(|change| log::info!("reload: {change}"));
                warnings.iter().for_each(|line| log::warn!("reload: {line}"));
            }
            Reloaded { changes: plan.changes.iter().map(planned).collect(), warnings, walks }
        });
        self.shared.table.lock().reloading = false;
        if let Some(supervisor) = &mut self.supervisor {
            let came_of_it = reloaded.as_ref().map(|reloaded| reloaded.walks.as_slice()).map_err(String::as_str);
            supervisor.has_read(ticket, came_of_it, self.desk.now);
        }
        self.operations.reloaded(ticket, reloaded, self.desk.now);
    }

    /// The catalog is in force from here on. Gives the walks that come of it.
    fn take_over(&mut self, catalog: Arc<Catalog>, groups: Vec<u32>, restarts: impl Fn(&App) -> bool) -> Vec<Asked> {
        let (old, now) = (self.desk.catalog.clone(), self.desk.now);
        let shared = self.shared.clone();
        shared.spool.resize(catalog.server.spool_max, catalog.descriptors.files, catalog.ledgers().count());
        let mut state = shared.table.lock();
        shared.set_catalog(catalog.clone());
        state.pool.limit(limits(&catalog.server.machine));
        let mut walks: Vec<(GroupId, Generation)> = Vec::new();
        let mut to_restart = Vec::new();
        for (group, app) in catalog.ledgers() {
            let new = settings(&app.config);
            match old.get(group) {
                None => walks.push((group, state.add_app(group, app, new, now))),
                Some(before) if app.is_removed => {
                    if !before.is_removed {
                        state.pool.group_mut(group).take_out(now);
                    }
                }
                Some(before) if before.is_removed => walks.push((group, state.pool.group_mut(group).take_back(new, now))),
                Some(before) => {
                    if settings(&before.config) != new {
                        state.pool.group_mut(group).configure(new);
                    }
                    if restarts(app) {
                        to_restart.push(group);
                    }
                }
            }
        }
        walks.extend(state.pool.restart_these(&to_restart, Trigger::Reload, now));
        state.of_reload.extend(walks.iter().copied());
        let name = |(group, generation): &(GroupId, Generation)| Asked { app: catalog.app(*group).name.clone(), generation: *generation };
        let walks = walks.iter().map(name).collect();
        drop(state);
        shared.table.notify();
        self.desk.refresh(&shared);
        if !Arc::ptr_eq(&old.logs.app, &catalog.logs.app) {
            old.logs.app.finish();
        }
        self.operations.open_wicket(&catalog);
        self.tell_porter(ToPorter::Reloaded { listen: catalog.server.listen.clone(), groups });
        walks
    }
}

fn planned(change: &Change) -> Planned {
    let line = change.to_string();
    let of_app = |app, what: &str| Planned { app, what: what.to_owned(), at: None, keys: Vec::new(), effect: None, line: line.clone() };
    match change {
        Change::Server { keys, effect } => Planned { keys: owned(keys), effect: Some(effect.word().to_owned()), ..of_app(None, "changed") },
        Change::Opens(at) => Planned { at: Some(at.to_string()), ..of_app(None, "opened") },
        Change::Closes(at) => Planned { at: Some(at.to_string()), ..of_app(None, "closed") },
        Change::Relistens { listen, settings } => {
            Planned { at: Some(listen.to_string()), keys: owned(settings), ..of_app(None, "changed") }
        }
        Change::Adds(app) => of_app(Some(app.clone()), "added"),
        Change::Removes(app) => of_app(Some(app.clone()), "removed"),
        Change::App { app, keys, effect } => {
            Planned { keys: owned(keys), effect: Some(effect.word().to_owned()), ..of_app(Some(app.clone()), "changed") }
        }
        Change::Again(app) => Planned { effect: Some(Effect::Restart.word().to_owned()), ..of_app(Some(app.clone()), "again") },
    }
}

fn owned(keys: &[&'static str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}
