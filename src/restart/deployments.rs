//! Where a walk begins and where it ends: which release it goes to, and what is written down of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::Restart;
use super::release::Release;
use super::saving::After;
use crate::control::proto::seconds;
use crate::errands::folders::Opened;
use crate::ids::{Generation, GroupId};
use crate::pool::{Aim, Ask, Outcome, Trigger};
use crate::records::{Entry, Record};
use crate::table::State;

impl Restart {
    /// It is written down that this walk begins: now there is one, that pages may come of.
    pub(super) fn begun(&mut self, group: GroupId, generation: Generation, release: Arc<Release>, opened: Opened) {
        let mut state = self.shared.table.lock();
        if !state.pool.group(group).is_preparing(generation) {
            return;
        }
        state.releases.insert((group, generation), release);
        state.pool.group_mut(group).resolved(generation, Ok(()), Instant::now());
        if state.is_in_place(group, generation) {
            state.pool.group_mut(group).goes_in_place(generation);
        }
        drop(state);
        self.set_folders(group, Some(opened));
    }

    /// A first release that was overtaken has proved itself: no walk of its own tells that.
    pub(super) fn accept(&mut self, group: GroupId, generation: Generation) {
        let release = self.shared.table.lock().releases.get(&(group, generation)).cloned();
        if let Some(release) = release {
            log::info!("{} {generation}: has proved itself", self.shared.app(group).name);
            let accept = |record: &mut Record| record.accept(&release.root, &Aim::Root, release.named.as_deref());
            self.write_down(group, accept, After::Nothing);
            self.set_folders(group, None);
        }
        self.written.insert(group, generation);
    }

    /// Into the log and onto the disk; then it is announced.
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
        let change = |record: &mut Record| {
            if let (true, Some(release)) = (is_good, &release) {
                record.accept(&release.root, &ask.aim, release.named.as_deref());
                record.answered = answered;
            }
            record.note(entry);
        };
        let after = After::Ended { ask: ask.clone(), outcome, release: release.clone(), is_good };
        self.write_down(group, change, after);
    }

    /// How a walk ended is on the disk, or cannot be: whoever waits for it may know.
    pub(super) fn announce(&mut self, group: GroupId, ask: &Ask, outcome: Outcome, release: Option<Arc<Release>>, is_good: bool) {
        let generation = ask.generation;
        let mut state = self.shared.table.lock();
        let State { pool, releases, .. } = &mut *state;
        pool.group_mut(group).announce(generation, outcome);
        releases.retain(|(of, generation), _| *of != group || pool.group(group).is_needed(*generation));
        drop(state);
        self.set_folders(group, None);
        self.shared.tell_master();
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
