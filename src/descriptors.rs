//! How the descriptors that rota may have are shared out: to connections, to the files of large bodies, and, kept back from both, to what
//! must never lack one: starts of processes, the control socket, log files.

use crate::config::{AppConfig, CONCURRENCY, Config};
use crate::restart::MOST_HELD;

/// How many there may be of what asks for descriptors without an end of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Of clients.
    pub connections: usize,
    /// Of bodies that wait.
    pub files: usize,
    /// What `limits.connections` would take. None: it has that.
    pub lacks: Option<u64>,
}

impl Descriptors {
    /// `most`: RLIMIT_NOFILE; None: any number.
    pub fn share_out(most: Option<u64>, config: &Config) -> Self {
        let wanted = config.server.limits.connections as u64;
        let most = most.unwrap_or(u64::MAX);
        let processes: u64 = config.apps.iter().map(|app| u64::from(app.processes.max) + u64::from(app.surge) + 1).sum();
        let slots: u64 = config.apps.iter().map(|app| u64::from(app.processes.max) * slots(app)).sum();
        let kept = KEPT + OF_PROCESS * processes;
        let left = most.saturating_sub(kept).max(LEAST);
        let files = left / 4;
        // Each request in hand has a connection to its app, of which there are no more than slots.
        let connections = (left - files).saturating_sub(slots).max((left - files) / 2);
        let needs = (wanted + slots.min(wanted)).saturating_mul(4) / 3 + kept;
        let to_usize = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        Self { connections: to_usize(connections.min(wanted)), files: to_usize(files), lacks: (connections < wanted).then_some(needs) }
    }

    /// For the log and `rota check`.
    pub fn problem(&self, config: &Config) -> Option<String> {
        let (wanted, has) = (config.server.limits.connections, self.connections);
        let needs = self.lacks?;
        Some(format!(
            "limits.connections = {wanted} takes {needs} descriptors, and RLIMIT_NOFILE has room for {has} connections: raise it \
             (LimitNOFILE= in the unit), or write limits.connections = {has}"
        ))
    }
}

fn slots(app: &AppConfig) -> u64 {
    u64::from(app.start.concurrency.unwrap_or(CONCURRENCY))
}

/// Listeners, event loops, the control socket's connections, logs, directories that are looked at.
const KEPT: u64 = 192;
/// Of each process: pipes, its start's report, its event loop, its socket's file, what of it is held while it ends, a socket to ask
/// whose its listener is.
const OF_PROCESS: u64 = 13 + MOST_HELD as u64;
/// So few are left that nothing is left to share out.
const LEAST: u64 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SourceFile;

    fn config(server: &str, apps: usize) -> Config {
        let app = |i| format!("[app.a{i}]\nroot = \"/srv\"\ncommand = \"x\"\nhosts = [\"a{i}.test\"]\n");
        let text = format!("[server]\n{server}\n{}", (0..apps).map(app).collect::<String>());
        crate::config::parse(&[SourceFile { path: "rota.toml".into(), text }]).unwrap().config
    }

    #[test]
    fn connections_and_files_never_take_what_starts_of_processes_need() {
        for most in [64, 256, 1024, 4096, 20_000, 65_536] {
            for apps in [1, 5, 29] {
                let config = config("", apps);
                let shared = Descriptors::share_out(Some(most), &config);
                let slots: u64 = config.apps.iter().map(|app| u64::from(app.processes.max) * slots(app)).sum();
                let connections = shared.connections as u64;
                let taken = connections + connections.min(slots) + shared.files as u64;
                assert!(taken <= most.saturating_sub(KEPT).max(LEAST), "{most} for {apps} apps: {shared:?}");
                assert_eq!(shared.lacks.is_some(), shared.problem(&config).is_some());
            }
        }
    }

    #[test]
    fn what_is_missing_is_enough() {
        let config = config("limits.connections = 5000", 3);
        assert_eq!(Descriptors::share_out(None, &config).lacks, None);
        let few = Descriptors::share_out(Some(1024), &config);
        assert!(few.connections < 1024 && few.problem(&config).unwrap().contains("LimitNOFILE="));
        assert_eq!(Descriptors::share_out(few.lacks.map(|lacks| lacks + 1), &config).lacks, None);
        assert_ne!(Descriptors::share_out(few.lacks.map(|lacks| lacks - 200), &config).lacks, None);
    }
}
