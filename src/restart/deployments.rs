//! Where a walk begins and where it ends: which release it goes to, and what is written down of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::{Restart, release};
use crate::control::proto::seconds;
use crate::ids::{Generation, GroupId};
use crate::pool::{Aim, Ask, Outcome, Trigger};
use crate::records::{Entry, Record};
use crate::table::State;

impl Restart {
    pub(super) fn resolve(&self, group: GroupId, ask: &Ask) {
        let record = self.shared.table.lock().records[group.index()].clone();
        let first = ask.trigger == Trigger::Boot;
        let resolved =
            release::resolve(&self.shared.app(group).start, |named| record.directory(&ask.aim, first, named, |release| release.is_dir()));
        let result = match resolved {
            Ok(release) => {
                let app = &self.shared.app(group).name;
                match &release.named {
                    Some(named) if *named != release.root => {
                        log::info!("{app} {}: from {}; its root names {}", ask.generation, release.root.display(), named.display());
                    }
                    Some(_) | None => log::info!("{app} {}: from {}", ask.generation, release.root.display()),
                }
                if let Some(why) = &release.detected {
                    log::info!("{app} {}: by {why}: {}", ask.generation, shell_words::join(&release.command));
                }
                self.write_down(group, |record| record.begin(ask.generation, &release.root));
                let release = Arc::new(release);
                self.shared.table.lock().releases.insert((group, ask.generation), release.clone());
                Ok(release)
            }
            Err(failure) => Err(failure),
        };
        let (begun, result) = (result.as_ref().ok().cloned(), result.map(|_| ()));
        let mut state = self.shared.table.lock();
        state.pool.group_mut(group).resolved(ask.generation, result, Instant::now());
        if state.is_in_place(group, ask.generation) {
            state.pool.group_mut(group).goes_in_place(ask.generation);
        }
        drop(state);
        // Behind it: only now is there a walk that pages may come of.
        if let Some(release) = begun {
            self.open_folders(group, Some(&release.root));
        }
    }

    /// Changes what is known of an app, and puts it on the disk. Where that fails rota goes on: what is lost is the next start's knowledge.
    fn write_down(&self, group: GroupId, change: impl FnOnce(&mut Record)) {
        let mut record = self.shared.table.lock().records[group.index()].clone();
        change(Arc::make_mut(&mut record));
        let older = std::mem::replace(&mut self.shared.table.lock().records[group.index()], record.clone());
        drop(older);
        let Some(store) = &self.store else { return };
        let saved = store.save(&self.shared.app(group).name, &record);
        let not_written = &mut self.shared.table.lock().not_written;
        match saved {
            Ok(()) => drop(not_written.remove(&group)),
            Err(error) => {
                let known = not_written.insert(group, (error.clone(), Instant::now() + AGAIN)).is_some_and(|(known, _)| known == error);
                if !known {
                    log::error!("server.state_dir {error}; until this is mended a start of rota would not know what served last");
                }
            }
        }
    }

    /// Tries again to put a record on the disk.
    pub(super) fn write_again(&self, group: GroupId) {
        self.write_down(group, |_| {});
        if !self.shared.table.lock().not_written.contains_key(&group) {
            log::info!("server.state_dir: the record of {} is written", self.shared.app(group).name);
        }
    }

    /// A first release that was overtaken has proved itself: no walk of its own tells that.
    pub(super) fn accept(&mut self, group: GroupId, generation: Generation) {
        let release = self.shared.table.lock().releases.get(&(group, generation)).cloned();
        if let Some(release) = release {
            log::info!("{} {generation}: has proved itself", self.shared.app(group).name);
            self.write_down(group, |record| record.accept(&release.root, &Aim::Root, release.named.as_deref()));
            self.open_folders(group, None);
        }
        self.written.insert(group, generation);
    }

    /// Into the log and onto the disk; then whoever waits for it may know.
    pub(super) fn walk_ended(&mut self, group: GroupId, ask: &Ask, outcome: Outcome) {
        let (app, generation, now) = (self.shared.app(group).name.clone(), ask.generation, Instant::now());
        match &outcome {
            Outcome::Done | Outcome::Superseded { .. } | Outcome::Aborted { .. } | Outcome::Stopped => {
                log::info!("{app} {generation}: {outcome}");
            }
            Outcome::Turned(_) => log::warn!("{app} {generation}: {outcome}"),
            Outcome::Failed { failure, .. } | Outcome::RolledBack { failure, .. } => {
                log::error!("{app} {generation}: {outcome}");
                for line in &failure.output {
                    log::error!("{app} {generation}: | {line}");
                }
            }
        }
        let state = self.shared.table.lock();
        let lost = state.say_lost(group);
        let is_good = state.pool.group(group).good() == Some(generation);
        let release = state.releases.get(&(group, generation)).cloned();
        let answered = state.pool.group(group).to_remember().cloned();
        drop(state);
        if let (Outcome::Failed { .. } | Outcome::RolledBack { .. }, Some(lost)) = (&outcome, lost) {
            log::error!("{app}: {lost}");
        }
        let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = seconds(now.saturating_duration_since(ask.since));
        let entry = Entry::new(ask, &outcome, release.as_ref().map(|release| release.root.as_path()), at, seconds);
        if is_good {
            self.written.insert(group, generation);
        }
        self.write_down(group, |record| {
            if let (true, Some(release)) = (is_good, &release) {
                record.accept(&release.root, &ask.aim, release.named.as_deref());
                record.answered = answered;
            }
            record.note(entry);
        });
        let mut state = self.shared.table.lock();
        let State { pool, releases, .. } = &mut *state;
        pool.group_mut(group).announce(generation, outcome);
        releases.retain(|(of, generation), _| *of != group || pool.group(group).is_needed(*generation));
        drop(state);
        self.open_folders(group, None);
        if ask.trigger == Trigger::Boot
            && ask.aim == Aim::Root
            && is_good
            && let Some(release) = release
            && let Some(named) = release.named.as_deref().filter(|named| *named != release.root)
        {
            self.catch_up(group, &release.root, named);
        }
    }

    /// The first start brought back what served before. If root named a release then that nobody had asked for, it was changed while rota
    /// was not there, and is deployed now as any other.
    fn catch_up(&self, group: GroupId, good: &Path, named: &Path) {
        let (app, root) = (&self.shared.app(group).name, &self.shared.app(group).start.root);
        let named_as = named.display();
        let mut state = self.shared.table.lock();
        if state.records[group.index()].is_new(named) {
            let generation = state.pool.group_mut(group).restart(Trigger::Boot, Aim::Deploy(Arc::from(named)), Instant::now());
            drop(state);
            log::info!("{app} {generation}: {} names {named_as}, which is new: deploying it", root.display());
        } else {
            drop(state);
            log::warn!(
                "{app}: serves {}; {} names {named_as}, which was tried before: `rota deploy` tries it again",
                good.display(),
                root.display()
            );
        }
    }
}

/// After a record could not be written: somebody has to make room first.
const AGAIN: Duration = Duration::from_secs(10);
