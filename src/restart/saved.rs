//! What the restart thread leaves to the next rota: the table, releases and records, and of each process what is known of all that came of it.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::owned::{Owned, SavedOwned, Survivors};
use super::private_dir::PrivateDir;
use super::release::Release;
use super::{Living, Restart};
use crate::config::StopSignal;
use crate::conn::folders::{AppFolders, SavedFolders};
use crate::conn::{Conn, SavedConn};
use crate::errands::sweep;
use crate::ids::{AppName, Generation, GroupId, ProcessId, ProcessName};
use crate::metrics::snapshot::Snapshot;
use crate::pool::{self, Group, Waiting};
use crate::records::Record;
use crate::sys::{self, cgroup::Tree};
use crate::table::{Shared, State};
use crate::upgrade::pack::{Pack, Place, Unpack};
use crate::upgrade::standstill::Leaves;

/// `G`: the groups of the pool, which are borrowed when they are saved.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedProcesses<'a, G> {
    pool: pool::Saved<G>,
    /// What files are sent from.
    #[serde(default)]
    folders: Vec<(AppName, SavedFolders)>,
    /// Requests that wait for a slot, by their app.
    queues: Vec<(AppName, Waiting<SavedConn<'a>>)>,
    releases: Vec<(AppName, Generation, Release)>,
    records: Vec<(AppName, Record)>,
    /// Records that are not on the disk.
    not_written: Vec<AppName>,
    survivors: Vec<(AppName, Survivors)>,
    living: Vec<SavedLiving>,
    tree: Option<Tree>,
    #[serde(with = "crate::path_text")]
    bare: Vec<PathBuf>,
    /// Its number, and the pipe by which it knows that rota lives.
    keeper: Option<(u32, Place)>,
    orphans: Vec<(u32, u64)>,
    /// Soft limit of descriptors that the first rota was started with.
    pub nofile: u64,
    /// What was counted, and what balancers are told.
    #[serde(default)]
    counted: Snapshot,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedLiving {
    name: ProcessName,
    serial: u32,
    stop: StopSignal,
    nice: i32,
    owned: SavedOwned,
    #[serde(with = "crate::path_text")]
    dir: PathBuf,
}

/// The thread's, with the table.
pub(super) struct Own<'r> {
    pub restart: &'r Restart,
    pub state: &'r State,
    pub counted: Snapshot,
}

/// What is the restart thread's own of what another rota has left.
#[derive(Debug)]
pub struct TakenUp {
    living: Vec<(ProcessId, SavedLiving)>,
    survivors: Vec<Survivors>,
    tree: Option<Tree>,
    bare: Vec<PathBuf>,
    keeper: Option<(u32, OwnedFd)>,
    orphans: Vec<(u32, u64)>,
    not_written: Vec<GroupId>,
}

impl Leaves for Own<'_> {
    type Saved<'a>
        = SavedProcesses<'a, &'a Group<Box<Conn>>>
    where
        Self: 'a;

    fn gather(&mut self) {}

    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<Self::Saved<'a>, String> {
        let (restart, state) = (self.restart, self.state);
        let app = |group: GroupId| state.pool.group(group).app().clone();
        let lives = |group: GroupId| !state.pool.group(group).is_removed();
        let mut queues = Vec::new();
        for group in state.pool.groups() {
            queues.extend(group.waiting().map(|waiting| (group.app().clone(), waiting.with(waiting.what.save(pack)))));
        }
        let releases = state.releases.iter().filter(|((group, _), _)| lives(*group));
        let records = state.pool.groups().filter(|group| !group.is_removed());
        let living = restart.living.iter().map(|(id, living)| SavedLiving {
            name: living.name.clone(),
            serial: id.serial,
            stop: living.stop,
            nice: living.nice,
            owned: living.owned.save(),
            dir: living.dir.path().to_owned(),
        });
        let mut folders = Vec::new();
        for group in state.pool.groups().filter(|group| !group.is_removed()) {
            folders.extend(state.folders.get(group.id().index()).map(|of| (group.app().clone(), of.save(pack))));
        }
        Ok(SavedProcesses {
            folders,
            pool: state.pool.save()?,
            queues,
            releases: releases.map(|((group, generation), release)| (app(*group), *generation, Release::clone(release))).collect(),
            records: records.map(|group| (group.app().clone(), Record::clone(&state.records[group.id().index()]))).collect(),
            not_written: state.not_written.keys().copied().filter(|group| lives(*group)).map(app).collect(),
            survivors: restart.survivors.iter().map(|one| (app(one.group), one.clone())).collect(),
            living: living.collect(),
            tree: restart.tree.clone(),
            bare: restart.bare.all(),
            keeper: restart.keeping.keeper().map(|keeper| (keeper.pid(), pack.put(keeper.pipe().as_fd()))),
            orphans: restart.keeping.orphans().to_vec(),
            nofile: restart.nofile,
            counted: self.counted.clone(),
        })
    }
}

/// Requests that wait for a slot.
pub type Queues<'a> = Vec<(GroupId, Waiting<SavedConn<'a>>)>;

impl<'a> SavedProcesses<'a, Group<Box<Conn>>> {
    /// Puts into the table what belongs there; gives what is the restart thread's, the numbers that apps have now, and the requests that wait.
    /// Err: it does not fit together; then nothing has been done.
    pub fn take_up(self, shared: &Shared, descriptors: &mut Unpack) -> Result<(TakenUp, pool::Numbers, Queues<'a>), String> {
        let catalog = shared.catalog();
        let number = |app: &AppName| catalog.apps().find(|(_, config)| config.name == *app).map(|(group, _)| group);
        let of = |app: &AppName| number(app).ok_or_else(|| format!("{app} was left, and is not in the configuration"));
        let (mut pool, numbers) = pool::Pool::restore(self.pool, number)?;
        let mut records: Vec<Option<Record>> = vec![None; catalog.apps().count()];
        for (app, record) in self.records {
            *records.get_mut(of(&app)?.index()).ok_or_else(|| format!("{app} has no place"))? = Some(record);
        }
        let records = records.into_iter().map(|record| Arc::new(record.unwrap_or_default())).collect();
        let releases = self.releases.into_iter().map(|(app, generation, release)| Ok(((of(&app)?, generation), Arc::new(release))));
        let releases: HashMap<_, _> = releases.collect::<Result<_, String>>()?;
        let of_living = |living: SavedLiving| Ok((ProcessId { group: of(&living.name.app)?, serial: living.serial }, living));
        let living: Vec<(ProcessId, SavedLiving)> = self.living.into_iter().map(of_living).collect::<Result<_, String>>()?;
        let survivors = self.survivors.into_iter().map(|(app, one)| Ok(Survivors { group: of(&app)?, ..one }));
        let survivors = survivors.collect::<Result<_, String>>()?;
        let not_written = self.not_written.iter().map(of).collect::<Result<_, String>>()?;
        let queues = self.queues.into_iter().map(|(app, waiting)| Ok((of(&app)?, waiting))).collect::<Result<_, String>>()?;
        let keeper = self.keeper.map(|(pid, pipe)| Ok::<_, String>((pid, descriptors.take(pipe)?))).transpose()?;
        let mut folders: Vec<Arc<AppFolders>> = Vec::new();
        for (app, saved) in self.folders {
            let index = of(&app)?.index();
            folders.resize_with(folders.len().max(index + 1), Arc::default);
            folders[index] = Arc::new(saved.restore(descriptors)?);
        }
        pool.groups_mut().for_each(Group::resolve_again);
        let mut state = shared.table.lock();
        for (id, living) in &living {
            state.units.insert(*id, Arc::new(living.owned.unit.clone()));
        }
        (state.pool, state.records, state.releases, state.folders) = (pool, records, releases, folders);
        shared.folders_edition.fetch_add(1, Ordering::Release);
        state.controllers = self.tree.as_ref().map(|tree| tree.controllers.clone());
        // Whoever ended meanwhile has told nobody.
        state.child_ended = true;
        drop(state);
        self.counted.put_back(shared);
        let taken_up = TakenUp { living, survivors, tree: self.tree, bare: self.bare, keeper, orphans: self.orphans, not_written };
        Ok((taken_up, numbers, queues))
    }
}

impl<G> SavedProcesses<'_, G> {
    /// Of its apps.
    pub fn apps(&self) -> impl Iterator<Item = &AppName> {
        self.records.iter().map(|(app, _)| app)
    }
}

impl SavedProcesses<'_, Group<Box<Conn>>> {
    /// Err: it does not fit together, or not to these apps. Nothing is done.
    pub fn judge(self, apps: &[AppName]) -> Result<(), String> {
        if let Some(new) = apps.iter().find(|app| !self.apps().any(|known| known == *app)) {
            return Err(format!("{new} is in the configuration, and was not left"));
        }
        let number = |app: &AppName| apps.iter().position(|known| known == app).map(|index| GroupId(index as u16));
        pool::Pool::restore(self.pool, number).map(drop)
    }
}

impl Restart {
    /// Goes on where another rota stood.
    pub(super) fn take_up(&mut self, left: TakenUp) {
        let TakenUp { living, survivors, tree, bare, keeper, orphans, not_written } = left;
        (self.tree, self.survivors) = (tree, survivors);
        self.keeping.knows(orphans);
        for (id, SavedLiving { name, stop, nice, owned, dir, serial: _ }) in living {
            let unit = self.shared.table.lock().units.get(&id).cloned();
            let Some(unit) = unit else { continue };
            // Where it was to be told that it need not stand aside any more, and was not.
            self.shared.table.lock().through_boot.push(id);
            let (pid, owned, dir) = (unit.leader, Owned::known(unit, owned), PrivateDir::known(dir));
            self.living.insert(id, Living { pid, name, stop, nice, owned, dir });
        }
        // One of this program, which knows what this one says.
        self.keep();
        if let Some((pid, pipe)) = keeper {
            // The end of its pipe would be rota's end to it.
            let _ = sys::signal_child(pid, sys::KILL);
            drop(pipe);
        }
        bare.into_iter().for_each(|group| self.bare.remove(group));
        self.sweep_leftovers();
        let now = Instant::now();
        let mut state = self.shared.table.lock();
        for group in not_written {
            state.not_written.insert(group, ("rota was upgraded meanwhile".to_owned(), now));
        }
        let groups: Vec<(GroupId, Option<Generation>)> = state.pool.groups().map(|group| (group.id(), group.good())).collect();
        drop(state);
        for (group, good) in groups {
            self.written.extend(good.map(|good| (group, good)));
            self.set_folders(group, None);
        }
    }

    /// Private directories of processes that are gone: of an earlier rota, or of this one before it was upgraded.
    pub(super) fn sweep_leftovers(&self) {
        let run_dir = &self.shared.catalog().server.run_dir;
        for (app, mut names) in sweep::leftovers(run_dir) {
            names.retain(|name| !self.living.values().any(|living| living.dir.path() == run_dir.join(&app).join(name)));
            sweep::remove(&self.shared, &app, names);
        }
    }
}
