//! Records on their way to the disk, and what waits for that: the first process of a walk, and the word that it is done. Other apps, crash repair
//! and an end wait for no disk.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Restart;
use super::release::Release;
use crate::errands::folders::Opened;
use crate::ids::{Generation, GroupId};
use crate::pool::{Ask, Outcome};
use crate::printable::counted;
use crate::records::Record;

/// Of one app.
#[derive(Debug, Default)]
pub(super) struct Saves {
    /// The last that was asked for.
    asked: u64,
    /// What the disk has not taken was asked for then; None: nothing.
    since: Option<Instant>,
    /// That it takes too long was said.
    is_told: bool,
    /// What goes on once so many are on the disk.
    waiting: VecDeque<(u64, After)>,
}

/// What goes on when a record is on the disk, or cannot be.
#[derive(Debug)]
pub(super) enum After {
    Nothing,
    Begun { generation: Generation, release: Arc<Release>, opened: Opened },
    Ended { ask: Ask, outcome: Outcome, release: Option<Arc<Release>>, is_good: bool },
}

impl Saves {
    /// When it is said that the disk takes too long.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.filter(|_| !self.waiting.is_empty()).map(|since| since + SAVED_IN)
    }
}

impl Restart {
    /// Changes what is known of an app, and has it put on the disk; `after` follows. Where that fails rota goes on: what is lost is the next
    /// start's knowledge.
    pub(super) fn write_down(&mut self, group: GroupId, change: impl FnOnce(&mut Record), after: After) {
        self.change(group, change, after, false);
    }

    /// `is_joined`: it is what was found out late of the app that this brings in.
    fn change(&mut self, group: GroupId, change: impl FnOnce(&mut Record), after: After, is_joined: bool) {
        let mut record = self.shared.table.lock().records[group.index()].clone();
        change(Arc::make_mut(&mut record));
        let saves = self.saves.entry(group).or_default();
        saves.asked += 1;
        saves.waiting.push_back((saves.asked, after));
        let (now, mut state) = (Instant::now(), self.shared.table.lock());
        let since = if state.to_write.hangs { now.checked_sub(SAVED_IN) } else { None };
        saves.since.get_or_insert(since.unwrap_or(now));
        let older = std::mem::replace(&mut state.records[group.index()], record);
        state.to_write.write(group, saves.asked, is_joined);
        drop(state);
        drop(older);
        self.writer.ring();
    }

    /// What the state directory has of an app, and had not said before: it is what was before all this.
    pub(super) fn found(&mut self, group: GroupId, before: Record) {
        let app = self.shared.app(group).clone();
        let (app, before) = (&app.name, before.of_root(&app.start.root));
        let (good, walks) = (before.good.clone(), before.history.len());
        let mut state = self.shared.table.lock();
        state.pool.group_mut(group).numbers_go_on_behind(before.generation);
        let serves = state.records[group.index()].good.clone();
        drop(state);
        log::warn!("{app}: its record in server.state_dir can be read now: {} are known again", counted(walks, "deployment"));
        if let (Some(good), Some(serves)) = (good, serves)
            && good != serves
        {
            log::warn!("{app}: {} served before this start, {} serves: `rota rollback {app}` goes back", good.display(), serves.display());
        }
        self.change(group, |record| record.join(before), After::Nothing, true);
    }

    /// The disk has taken a record, or refused it.
    pub(super) fn saved(&mut self, group: GroupId, serial: u64, result: Result<(), String>) {
        let Some(saves) = self.saves.get_mut(&group) else { return };
        saves.since = (serial < saves.asked).then(Instant::now);
        saves.is_told = false;
        let app = &self.shared.app(group).name;
        match result {
            Ok(()) => {
                let was_not = self.shared.table.lock().not_written.remove(&group).is_some();
                if was_not {
                    log::info!("server.state_dir: the record of {app} is written");
                }
            }
            Err(error) => {
                let before = self.shared.table.lock().not_written.insert(group, (error.clone(), Instant::now() + AGAIN));
                if before.is_none_or(|(known, _)| known != error) {
                    log::error!("{app}: not written down: {error}; until this is mended a start of rota would not know what served last");
                }
            }
        }
        self.go_on_to(group, serial);
    }

    fn go_on_to(&mut self, group: GroupId, serial: u64) {
        let next = |saves: &mut Saves| saves.waiting.front().is_some_and(|(of, _)| *of <= serial).then(|| saves.waiting.pop_front())?;
        while let Some((_, after)) = self.saves.get_mut(&group).and_then(next) {
            self.go_on(group, after);
        }
    }

    fn go_on(&mut self, group: GroupId, after: After) {
        match after {
            After::Nothing => {}
            After::Begun { generation, release, opened } => self.begun(group, generation, release, opened),
            After::Ended { ask, outcome, release, is_good } => self.announce(group, &ask, outcome, release, is_good),
        }
    }

    /// An app whose record the disk does not take in time.
    pub(super) fn unsaved(&self, now: Instant) -> Option<GroupId> {
        let is_late = |saves: &Saves| saves.deadline().is_some_and(|at| at <= now);
        self.saves.iter().find(|(_, saves)| is_late(saves)).map(|(group, _)| *group)
    }

    /// Nothing waits for it any longer, and whoever asks is told.
    pub(super) fn stop_waiting(&mut self, group: GroupId, after: Duration) {
        let Some(saves) = self.saves.get_mut(&group) else { return };
        let (asked, is_told) = (saves.asked, std::mem::replace(&mut saves.is_told, true));
        let catalog = self.shared.catalog();
        let state_dir = catalog.server.state_dir.display();
        let why = format!("{state_dir}: the record is not on the disk after {:.0} s", after.as_secs_f64());
        let app = &self.shared.app(group).name;
        if !is_told {
            log::error!("{app}: server.state_dir {why}; a start of rota now would not know what served last");
        }
        self.shared.table.lock().not_written.insert(group, (why, Instant::now() + AGAIN));
        self.go_on_to(group, asked);
    }

    pub(super) fn is_saving(&self) -> bool {
        self.saves.values().any(|saves| !saves.waiting.is_empty())
    }

    /// The server ends: whoever waits for a walk's end is told it.
    pub(super) fn stop_all_waiting(&mut self) {
        let waiting: Vec<GroupId> = self.saves.iter().filter(|(_, saves)| !saves.waiting.is_empty()).map(|(group, _)| *group).collect();
        for group in waiting {
            let since = self.saves.get(&group).and_then(|saves| saves.since).map(|since| since.elapsed());
            self.stop_waiting(group, since.unwrap_or_default());
        }
    }

    /// Tries again to put a record on the disk, unless the disk has it in hand still.
    pub(super) fn write_again(&mut self, group: GroupId) {
        if let Some((_, at)) = self.shared.table.lock().not_written.get_mut(&group) {
            *at = Instant::now() + AGAIN;
        }
        if self.saves.get(&group).is_none_or(|saves| saves.since.is_none()) {
            self.write_down(group, |_| {}, After::Nothing);
        }
    }
}

/// After a record could not be written: somebody has to make room first.
const AGAIN: Duration = Duration::from_secs(10);
/// A disk that is busy takes a second.
pub(super) const SAVED_IN: Duration = Duration::from_secs(20);
