//! How many processes: `processes` of an app, and what all apps together may have. Core: text only.

use std::time::Duration;

use super::keys::APP_PROCESSES;
use super::report::{Mistake, PlacedApp};
use super::section::{Section, Value, Zero};
use super::{MachineConfig, Sizes};
use crate::printable::counted;

/// A number, or a table.
pub fn sizes(value: &Value<'_>) -> Sizes {
    if !value.is_table() {
        return value.number(1..=PROCESSES_MAX).map_or_else(Sizes::default, Sizes::fixed);
    }
    let section = value.table(&APP_PROCESSES);
    let min = section.number("min", 0..=PROCESSES_MAX, 1);
    let max = section.number("max", 1..=PROCESSES_MAX, min.max(1));
    let sizes = Sizes { min, max, idle: section.duration("idle", Zero::Refused, Sizes::default().idle) };
    if max < min {
        let at = section.get("max").unwrap_or_else(|| value.clone());
        at.note(at.error(format!("{} is {max}, less than min, which is {min}", at.name)).help("raise max, or lower min"));
        return Sizes::default();
    }
    sizes
}

pub fn machine(section: &Section<'_>) -> MachineConfig {
    MachineConfig {
        processes: section.get("max_processes").and_then(|value| value.number(1..=u64::from(u16::MAX))),
        spawning: section.get("max_spawning").and_then(|value| value.number(1..=u64::from(u16::MAX))),
    }
}

/// The mistake of an app that has to wait for what can never come: what waits for a process to be started waits in the queue.
pub fn no_queue(app: &PlacedApp) -> Option<Mistake> {
    let Sizes { min, max, .. } = app.config.processes;
    if min == max || app.config.queue.max > 0 {
        return None;
    }
    let what = match min {
        0 => "its first process is started for a request that waits",
        _ => "more processes are started for a request that waits",
    };
    let message = format!("app {}: {what}, and with queue.max = 0 none ever does", app.config.name);
    Some(Mistake::error(app.place.clone(), message).help("raise queue.max, or give one number: processes = 2"))
}

/// The mistake of apps that together want more processes than there may be: always, or where those that may have none need a place
/// between them. With the index of the one that wants most.
pub fn too_many(apps: &[&PlacedApp], machine: &MachineConfig) -> Option<(usize, Mistake)> {
    let most = u32::from(machine.processes?);
    let least = |app: &PlacedApp| u32::from(app.config.processes.min);
    let sum: u32 = apps.iter().map(|app| least(app)).sum();
    let (index, largest) = apps.iter().enumerate().max_by_key(|(_, app)| least(app))?;
    let each: Vec<String> = apps.iter().filter(|app| least(app) > 0).map(|app| format!("{} {}", app.config.name, least(app))).collect();
    let least_of_all = counted(sum, "process");
    let message = match apps.iter().find(|app| least(app) == 0) {
        _ if sum > most => format!("the apps want {least_of_all} at least, and server.max_processes is {most}"),
        Some(none) if sum == most => {
            let name = &none.config.name;
            format!("the apps want {least_of_all} at least, which leaves no place for {name}: server.max_processes is {most}")
        }
        Some(_) | None => return None,
    };
    let help = format!("at least so many: {}; let one have fewer, or raise max_processes", each.join(", "));
    Some((index, Mistake::error(largest.place.clone(), message).help(help)))
}

impl Sizes {
    /// Always so many.
    pub const fn fixed(number: u16) -> Self {
        Self { min: number, max: number, idle: Duration::from_secs(300) }
    }
}

impl Default for Sizes {
    fn default() -> Self {
        Self::fixed(1)
    }
}

/// Each has a thread and memory of its own: more than this on one machine is a slip of the pen.
pub const PROCESSES_MAX: u64 = 100;
