//! Has the keeper run, and tells it what lives. On the restart thread. One that ends, or could not be started, is started anew: at once, and from
//! then on after a pause, as long as rota lives.

use std::time::{Duration, Instant};

use super::Restart;
use super::keeper::Keeper;
use crate::sys;

/// What the restart thread knows of it.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    keeper: Option<Keeper>,
    /// When it was started last, or that was tried.
    tried: Option<Instant>,
    /// It could not be started, which has been said.
    is_missed: bool,
    /// Orphans that it knows of.
    orphans: Vec<(u32, u64)>,
}

impl Keeping {
    pub fn pid(&self) -> Option<u32> {
        self.keeper.as_ref().map(Keeper::pid)
    }

    pub fn keeper(&self) -> Option<&Keeper> {
        self.keeper.as_ref()
    }

    /// Orphans that it is told of.
    pub fn orphans(&self) -> &[(u32, u64)] {
        &self.orphans
    }

    /// What the one before knew.
    pub fn knows(&mut self, orphans: Vec<(u32, u64)>) {
        self.orphans = orphans;
    }

    /// When it is to be started, of one that is not there.
    pub fn due(&self) -> Option<Instant> {
        self.keeper.is_none().then(|| self.tried.map(|tried| tried + AGAIN)).flatten()
    }
}

impl Restart {
    /// Starts the process that ends the apps when rota is killed.
    pub(super) fn keep(&mut self) {
        let now = Instant::now();
        let was_just_tried = self.keeping.tried.is_some_and(|tried| now < tried + AGAIN);
        self.keeping.keeper = None;
        if was_just_tried {
            return;
        }
        self.keeping.tried = Some(now);
        let started = Keeper::start(&self.program, self.tree.as_ref(), self.living.values().map(|living| living.owned.unit()));
        let started = started.and_then(|mut keeper| keeper.orphans(&self.keeping.orphans).map(|()| keeper));
        let was_missed = self.keeping.is_missed;
        self.keeping.is_missed = started.is_err();
        match started {
            Ok(keeper) => {
                if was_missed {
                    log::info!("keeper pid {}: started", keeper.pid());
                }
                self.keeping.keeper = Some(keeper);
            }
            Err(error) if !was_missed => {
                log::error!("keeper: {error}; it is tried again, and until then, if rota is killed, children of its apps may stay");
            }
            Err(_) => {}
        }
    }

    /// Tells the keeper something.
    pub(super) fn tell_keeper(&mut self, tell: impl FnOnce(&mut Keeper) -> std::io::Result<()>) {
        if let Some(Err(error)) = self.keeping.keeper.as_mut().map(tell) {
            log::error!("keeper: {error}; starting another");
            self.keep();
        }
    }

    /// Its end, if it has ended.
    pub(super) fn reap_keeper(&mut self) {
        if let Some(exit) = self.keeping.pid().and_then(sys::reap) {
            log::error!("keeper: it ended with {exit}; starting another");
            self.keep();
        }
    }

    /// For the keeper, who will not see any more whose children these are.
    pub(super) fn tell_orphans(&mut self, mut orphans: Vec<(u32, u64)>) {
        orphans.retain(|(pid, _)| !self.is_ours(*pid));
        if !self.are_all_an_app_s() || orphans == self.keeping.orphans {
            return;
        }
        self.keeping.orphans.clone_from(&orphans);
        self.tell_keeper(|keeper| keeper.orphans(&orphans));
    }
}

/// Between two tries.
const AGAIN: Duration = Duration::from_secs(1);
