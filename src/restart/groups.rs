//! Control groups of processes, where rota may make them. On the restart thread.

use std::path::PathBuf;

use super::Restart;
use crate::ids::{ProcessId, ProcessName};
use crate::sys::cgroup::{Most, Tree};

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
    pub(super) fn branch(&self, id: ProcessId, name: &ProcessName) -> Option<PathBuf> {
        let group = format!("{}.{}.{}", name.app, name.number, id.serial);
        let app = self.shared.app(id.group);
        // The kernel counts threads too, and what is in the page cache; rota, who says more, is to come first.
        let most = Most {
            processes: app.lifespan.processes.map(|most| most.saturating_mul(THREADS)),
            memory: app.lifespan.memory_hard.map(|most| most + most / 8),
            cpu: app.cpu,
        };
        let made = self.tree.as_ref()?.branch(&group, &most);
        made.inspect_err(|error| log::error!("{name}: control group {group}: {error}; it is started without")).ok()
    }
}

/// For each process: as many as any runtime starts.
const THREADS: u64 = 8;
