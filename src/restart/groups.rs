//! Control groups of processes, where rota may make them. On the restart thread.

use std::cell::RefCell;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::Restart;
use crate::ids::{ProcessId, ProcessName};
use crate::sys::cgroup::{self, Most, Tree};

/// The group of a process that is being started. One of which nothing comes is killed with it.
#[derive(Debug)]
pub(super) struct Branch {
    group: Option<PathBuf>,
    bare: Bare,
}

impl Branch {
    pub fn path(&self) -> Option<&Path> {
        self.group.as_deref()
    }

    /// The process is there, and its group ends with it.
    pub fn take_up(mut self) {
        self.group = None;
    }
}

impl Drop for Branch {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            cgroup::kill(&group);
            self.bare.remove(group);
        }
    }
}

/// Groups of which nothing is to be left, and that could not be removed yet: whoever was killed in one takes a moment to end.
#[derive(Clone, Debug, Default)]
pub(super) struct Bare(Rc<RefCell<Vec<PathBuf>>>);

impl Bare {
    pub fn remove(&self, group: PathBuf) {
        let mut all = self.0.borrow_mut();
        // More than any rota starts: one that never gets empty is left to the next start.
        if all.len() < MOST_BARE {
            all.push(group);
        }
        drop(all);
        self.try_again();
    }

    pub fn all(&self) -> Vec<PathBuf> {
        self.0.borrow().clone()
    }

    /// Where a child has ended.
    pub fn try_again(&self) {
        self.0.borrow_mut().retain(|group| cgroup::remove(group).is_err_and(|error| error.kind() != io::ErrorKind::NotFound));
    }
}

impl Restart {
    /// Looks whether rota may make groups, and says which of both is in force.
    pub(super) fn plant(&mut self) {
        // Tests run without them where they could be had.
        let planted = match std::env::var_os("ROTA_FAULT_NO_CGROUPS") {
            Some(_) => Err("as the test says".to_owned()),
            None => Tree::plant(&self.shared.catalog().server.run_dir, |group| self.may_survive(group)),
        };
        match planted {
            Ok(tree) => {
                let limits = match tree.controllers.is_empty() {
                    true => "no limits of the kernel's".to_owned(),
                    false => format!("limits of the kernel's: {}", tree.controllers.join(", ")),
                };
                log::info!("each process has a control group; {limits}");
                self.shared.table.lock().controllers = Some(tree.controllers.clone());
                self.tree = Some(tree);
            }
            Err(why) => log::info!("processes have no control groups, what belongs to each is found by descent: {why}"),
        }
        self.say_unheld();
    }

    /// What the configuration says and nobody holds.
    fn say_unheld(&self) {
        let holds = self.tree.as_ref().is_some_and(|tree| tree.has("cpu"));
        for (_, app) in self.shared.catalog().apps().filter(|(_, app)| app.cpu.is_some() && !holds) {
            log::warn!("{}: limits.cpu has no effect here: it needs control groups with the controller cpu", app.name);
        }
    }

    /// Of an app of which an earlier rota may have left what is to live on. `group`: APP.NUMBER.SERIAL.
    fn may_survive(&self, group: &str) -> bool {
        let app = group.rsplitn(3, '.').nth(2);
        self.shared.catalog().apps().any(|(_, one)| one.survivors && Some(one.name.as_str()) == app)
    }

    /// A group for a process that is to be started.
    pub(super) fn branch(&self, id: ProcessId, name: &ProcessName) -> Branch {
        let group = format!("{}.{}.{}", name.app, name.number, id.serial);
        let app = self.shared.app(id.group);
        // The kernel counts threads too, and what is in the page cache; rota, who says more, is to come first.
        let most = Most {
            processes: app.lifespan.processes.map(|most| most.saturating_mul(THREADS)),
            memory: app.lifespan.memory_hard.map(|most| most + most / 8),
            cpu: app.cpu,
        };
        let made = self.tree.as_ref().map(|tree| tree.branch(&group, &most)).transpose();
        let made = made.inspect_err(|error| log::error!("{name}: control group {group}: {error}; it is started without"));
        Branch { group: made.ok().flatten(), bare: self.bare.clone() }
    }
}

/// For each process: as many as any runtime starts.
const THREADS: u64 = 8;
const MOST_BARE: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_group_of_a_start_of_which_nothing_comes_is_removed_when_it_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        let bare = Bare::default();
        let branch = |name: &str| {
            let group = dir.path().join(name);
            fs::create_dir(&group).unwrap();
            Branch { group: Some(group), bare: bare.clone() }
        };
        drop(branch("failed"));
        branch("taken").take_up();
        let held = branch("held");
        // As the kernel has it: one that has somebody in it is not removed.
        fs::create_dir(dir.path().join("held/busy")).unwrap();
        drop(held);
        let there = |name: &str| dir.path().join(name).exists();
        assert!(!there("failed") && there("taken") && there("held"));
        fs::remove_dir(dir.path().join("held/busy")).unwrap();
        bare.try_again();
        assert!(!there("held") && bare.0.borrow().is_empty());
    }
}
