//! What must outlive rota: of each app the release that serves, those that served before it, and how deployments ended.
//!
//! The rules here say which release a start or a restart means; they are core. [`disk`] reads and writes a file for each app.

pub mod disk;
pub mod read;
mod size;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ids::Generation;
use crate::pool::{Aim, Answered, Ask, Outcome};

/// Of one app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// As in the configuration, symlinks and all.
    #[serde(with = "crate::path_text")]
    pub root: PathBuf,
    /// The last that was given. Numbers go on after a restart of rota, so that one generation has one place in the history.
    pub generation: Generation,
    /// The release that was accepted last.
    #[serde(default, with = "crate::path_text")]
    pub good: Option<PathBuf>,
    /// Those that were accepted before it and not rolled back from, each once, the newest last.
    #[serde(with = "crate::path_text")]
    pub earlier: Vec<PathBuf>,
    /// What the app's root named when another release was chosen by command: a restart stays with that until root names something new.
    #[serde(default, with = "crate::path_text")]
    pub passed_over: Option<PathBuf>,
    /// The last release that was begun with and was not in service, whatever became of it.
    #[serde(default, with = "crate::path_text")]
    pub tried: Option<PathBuf>,
    /// What the next start of rota compares the answers of the release that serves with.
    #[serde(default)]
    pub answered: Option<Answered>,
    /// The newest last.
    #[serde(deserialize_with = "read::bounded")]
    pub history: VecDeque<Entry>,
}

/// One walk that has ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it ended: seconds since 1970 (UTC).
    pub at: u64,
    pub generation: Generation,
    /// "start", "restart", "deploy" or "rollback".
    pub kind: String,
    /// Who asked: "boot", "command", "signal", "file" or "watch".
    pub trigger: String,
    /// Directory without symlinks; None: it was never found out.
    #[serde(default, with = "crate::path_text")]
    pub release: Option<PathBuf>,
    /// "done", "failed", "rolled_back", "superseded", "aborted" or "stopped".
    pub outcome: String,
    /// One sentence.
    pub message: String,
    /// It is done, and this is worse than before.
    #[serde(default)]
    pub but: Option<String>,
    /// From the request to the end.
    pub seconds: f64,
    /// The last lines of the process that failed, oldest first.
    pub output: Vec<String>,
}

impl Record {
    /// For an app with this root. Under another one the releases that are known were another app's.
    pub fn of_root(self, root: &Path) -> Self {
        let root = root.to_owned();
        let mut own = match self.root == root {
            true => Self { format: FORMAT, ..self },
            false => Self { format: FORMAT, root, generation: self.generation, history: self.history, ..Self::default() },
        };
        own.fit();
        own
    }

    /// Which directory a walk goes to. `named`: what root names now, without symlinks. `first`: the start of rota, which brings back what
    /// served before (if that is still there: `is_there`).
    pub fn directory(&self, aim: &Aim, first: bool, named: &Path, is_there: impl Fn(&Path) -> bool) -> PathBuf {
        match (aim, &self.good) {
            (Aim::Deploy(directory), _) => directory.to_path_buf(),
            // It was the one before when this was asked for, and nobody had looked.
            (Aim::Rollback(directory), _) if is_there(directory) => directory.to_path_buf(),
            (Aim::Rollback(directory), _) => self.previous(is_there).unwrap_or(directory).to_path_buf(),
            (Aim::Root | Aim::AllAtOnce, Some(good)) if (first || self.passed_over.as_deref() == Some(named)) && is_there(good) => {
                good.clone()
            }
            (Aim::Root | Aim::AllAtOnce, _) => named.to_owned(),
        }
    }

    /// Root names a release that nobody has asked for yet (it was changed while rota was not there).
    pub fn is_new(&self, named: &Path) -> bool {
        [&self.good, &self.passed_over, &self.tried].into_iter().all(|known| known.as_deref() != Some(named))
    }

    /// The release that a rollback goes to.
    pub fn previous(&self, is_there: impl Fn(&Path) -> bool) -> Option<&Path> {
        self.earlier.iter().rev().map(PathBuf::as_path).find(|release| is_there(release))
    }

    /// A walk to `release` begins: to be written down before its first process is started.
    pub fn begin(&mut self, generation: Generation, release: &Path) {
        self.generation = self.generation.max(generation);
        if self.good.as_deref() != Some(release) {
            self.tried = Some(release.to_owned());
        }
    }

    /// A release was accepted. `named`: what root named when its walk began.
    pub fn accept(&mut self, release: &Path, aim: &Aim, named: Option<&Path>) {
        let older = self.good.replace(release.to_owned()).filter(|older| older != release);
        self.earlier.retain(|earlier| earlier != release);
        if let (Some(older), Aim::Root | Aim::AllAtOnce | Aim::Deploy(_)) = (older, aim) {
            self.earlier.push(older);
            let surplus = self.earlier.len().saturating_sub(EARLIER_KEPT);
            self.earlier.drain(..surplus);
        }
        match aim {
            _ if named == Some(release) => self.passed_over = None,
            Aim::Deploy(_) | Aim::Rollback(_) => self.passed_over = named.map(Path::to_owned),
            // It stayed with what was chosen.
            Aim::Root | Aim::AllAtOnce => {}
        }
    }

    /// A walk that had failed and was tried again all the same, for want of anything better, is told once: by its last end.
    pub fn note(&mut self, entry: Entry) {
        self.history.retain(|known| known.generation != entry.generation);
        if self.history.len() >= ENTRIES_KEPT {
            self.history.pop_front();
        }
        self.generation = self.generation.max(entry.generation);
        self.history.push_back(entry);
        self.fit();
    }
}

impl Record {
    /// What was known before, and is found out only now: it comes before what has happened since. Its root is the same.
    pub fn join(&mut self, before: Record) {
        self.generation = self.generation.max(before.generation);
        // A rollback finds what served before, beside what was accepted since.
        let released = before.earlier.into_iter().chain(before.good.clone()).chain(self.earlier.drain(..));
        let mut earlier: Vec<PathBuf> = Vec::new();
        for release in released.filter(|release| self.good.as_ref() != Some(release)) {
            earlier.retain(|known| *known != release);
            earlier.push(release);
        }
        if self.good.is_none() {
            earlier.retain(|known| before.good.as_ref() != Some(known));
            (self.good, self.passed_over) = (before.good, before.passed_over);
        }
        earlier.drain(..earlier.len().saturating_sub(EARLIER_KEPT));
        self.earlier = earlier;
        self.tried = self.tried.take().or(before.tried);
        self.answered = self.answered.take().or(before.answered);
        let mut history = before.history;
        history.retain(|entry| !self.history.contains(entry));
        history.append(&mut self.history);
        history.drain(..history.len().saturating_sub(ENTRIES_KEPT));
        self.history = history;
        self.fit();
    }
}

impl Entry {
    pub fn new(ask: &Ask, outcome: &Outcome, release: Option<&Path>, at: u64, seconds: f64) -> Self {
        let output = match outcome {
            Outcome::Failed { failure, .. } | Outcome::RolledBack { failure, .. } => failure.output.clone(),
            Outcome::Done | Outcome::Turned(_) | Outcome::Superseded { .. } | Outcome::Aborted { .. } | Outcome::Stopped => Vec::new(),
        };
        let mut entry = Self {
            at,
            generation: ask.generation,
            kind: ask.kind().to_owned(),
            trigger: ask.trigger.word().to_owned(),
            release: release.map(Path::to_owned),
            outcome: outcome.word().to_owned(),
            message: outcome.to_string(),
            but: outcome.but(),
            seconds,
            output,
        };
        entry.bound();
        entry
    }
}

/// What an entry keeps of what a process printed (bytes).
pub const OUTPUT: usize = 16 * 1024;
pub const FORMAT: u32 = 1;
/// Releases that a rollback can go to; who keeps more directories than this names one.
const EARLIER_KEPT: usize = 20;
const ENTRIES_KEPT: usize = 200;
