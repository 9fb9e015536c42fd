//! The end of processes, as the restart thread does it: signals, how they ended, and whether something of them is left.
//!
//! A process that has ended is not reaped before nothing is left of it and the table knows: until then its number, which its group and its
//! session have too, is nobody else's.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::{Restart, Survivors};
use crate::config::StopSignal;
use crate::errands::sweep;
use crate::ids::{GroupId, ProcessId, ProcessName};
use crate::pool::{Exit, Signal, SignalTo};
use crate::sys::{self, AnyEnded, Look, Seen};
use crate::table::ToThread;

impl Restart {
    pub(super) fn signal(&mut self, id: ProcessId, pid: u32, to: SignalTo, what: Signal) {
        let name = self.name(id);
        let Some(living) = self.living.get_mut(&id) else { return };
        let signal = match what {
            Signal::Stop => stop_signal(living.stop),
            Signal::Kill => sys::KILL,
        };
        if what == Signal::Stop && to == SignalTo::Leader {
            sys::step_back(pid, living.nice);
        }
        let sent = match (to, what) {
            (SignalTo::Leader, _) => sys::signal_child(pid, signal),
            (SignalTo::Group, Signal::Stop) => living.owned.tell(signal),
            (SignalTo::Group, Signal::Kill) => living.owned.kill(),
        };
        let whom = match to {
            SignalTo::Leader => "",
            SignalTo::Group => " and its group",
        };
        match (what, sent) {
            (Signal::Stop, Ok(())) => log::info!("{name} pid {pid}: told to stop{whom}"),
            (Signal::Kill, Ok(())) => log::warn!("{name} pid {pid}: killed{whom}"),
            // It has ended in this very moment; its exit follows.
            (Signal::Stop | Signal::Kill, Err(error)) => log::debug!("{name} pid {pid}: signal: {error}"),
        }
    }

    pub(super) fn gone(&mut self, id: ProcessId, name: &ProcessName) {
        let mut state = self.shared.table.lock();
        let thread = state.threads.remove(&id);
        state.units.remove(&id);
        drop(state);
        if let Some(Ok(wake)) = thread.map(|thread| thread.send(ToThread::Gone)) {
            wake.wake();
        }
        if let Some(living) = self.living.remove(&id) {
            if let Some(keeper) = &mut self.keeper
                && let Err(error) = keeper.gone(living.pid)
            {
                log::error!("keeper: {error}; starting another");
                self.keep();
            }
            // From here on its number is another's.
            sys::reap(living.pid);
            if living.owned.unit().survivors {
                self.survivors.extend(living.owned.outlived(id.group));
            }
            if let Some(group) = &living.owned.unit().cgroup
                && let Err(error) = sys::cgroup::remove(group)
            {
                log::debug!("{}: {error}", group.display());
            }
            log::info!("{name} pid {}: gone", living.pid);
            sweep::remove(&self.shared, name.app.as_str(), living.dir.let_go().into_iter().collect());
        }
        self.count_survivors();
        self.close_folders(id.group);
    }

    fn count_survivors(&mut self) {
        if self.survivors.is_empty() {
            return;
        }
        let mut counts: HashMap<GroupId, usize> = self.survivors.iter().map(|one| (one.group, 0)).collect();
        self.survivors.retain_mut(Survivors::live);
        for one in &self.survivors {
            *counts.entry(one.group).or_default() += one.left.len();
        }
        self.shared.table.lock().survivors.extend(counts);
    }

    /// Hears the ends of all children that have ended, and takes those of orphans that came to us.
    pub(super) fn reap(&mut self) {
        let running = self.living.iter().filter(|(_, living)| !living.owned.leader_ended);
        let ended: Vec<(ProcessId, Exit)> = running.filter_map(|(id, living)| Some((*id, sys::ended(living.pid)?))).collect();
        for (id, exit) in ended {
            self.ended(id, exit);
        }
        if let Some(exit) = self.keeper.as_ref().and_then(|keeper| sys::reap(keeper.pid())) {
            log::error!("keeper: it ended with {exit}; starting another");
            self.keep();
        }
        self.reap_orphans();
        self.count_survivors();
    }

    fn reap_orphans(&mut self) {
        loop {
            match sys::any_ended() {
                AnyEnded::None => return,
                AnyEnded::First(pid) if !self.is_ours(pid) => self.reap_orphan(pid),
                // It stands before the others.
                AnyEnded::First(_) | AnyEnded::Nameless => break,
            }
        }
        let now = Instant::now();
        if let Some(at) = self.orphans_seen.map(|at| at + ORPHANS).filter(|at| *at > now) {
            self.orphans_due = Some(at);
            return;
        }
        self.orphans_seen = Some(now);
        for pid in sys::zombies().into_iter().filter(|pid| !self.is_ours(*pid)).collect::<Vec<_>>() {
            self.reap_orphan(pid);
        }
    }

    fn reap_orphan(&self, pid: u32) {
        if let Some(exit) = sys::reap(pid) {
            log::debug!("pid {pid}, an orphan of an app: {exit}");
        }
    }

    /// Started by this thread, and heard of elsewhere.
    fn is_ours(&self, pid: u32) -> bool {
        self.living.values().any(|living| living.pid == pid) || self.keeper.as_ref().is_some_and(|keeper| keeper.pid() == pid)
    }

    fn ended(&mut self, id: ProcessId, exit: Exit) {
        let Some(living) = self.living.get_mut(&id) else { return };
        living.owned.leader_ended = true;
        let pid = living.pid;
        let known = std::mem::replace(&mut self.kills_for_memory, sys::kills_for_memory());
        let out_of_memory = matches!(exit, Exit::Signal { signal: 9, .. }) && self.kills_for_memory > known;
        // By its own limit, before rota could count it: told as if rota had done it.
        let too_much = living.owned.unit().cgroup.as_deref().filter(|_| out_of_memory).and_then(sys::cgroup::killed_for_memory);
        let mut state = self.shared.table.lock();
        let killed = too_much.and_then(|used| state.pool.group_mut(id.group).weighed(id, used, Instant::now()));
        // Its thread reads what it printed last, and reports the end with what it had in hand.
        let told = state.tell(id, ToThread::Exited(exit, out_of_memory));
        if told.is_none() {
            log::info!("{} pid {pid}: {exit}", self.name(id));
            state.pool.group_mut(id.group).exited(id, exit, Vec::new(), Instant::now());
        }
        drop(state);
        if let Some(failure) = killed {
            log::error!("{} pid {pid}: {failure}", self.name(id));
        }
        if let Some(wake) = told {
            wake.wake();
        }
    }

    /// Leaders are gone; is anything left of what came of them?
    pub(super) fn look(&mut self, lingering: &[ProcessId]) {
        for id in lingering {
            if self.is_nothing_left(*id) {
                self.shared.table.lock().pool.group_mut(id.group).group_empty(*id, Instant::now());
            }
        }
    }

    fn is_nothing_left(&mut self, id: ProcessId) -> bool {
        let Some(living) = self.living.get_mut(&id) else { return true };
        if living.owned.has_any_left() {
            return false;
        }
        let look = Look::now();
        let strays = self.strays(id, &look);
        let name = self.name(id);
        let Some(living) = self.living.get_mut(&id) else { return true };
        living.owned.add(&strays);
        living.owned.look(&look, &name)
    }

    /// For the keeper, who will not see any more whose children these are.
    pub(super) fn tell_orphans(&mut self, mut orphans: Vec<(u32, u64)>) {
        orphans.retain(|(pid, _)| !self.is_ours(*pid));
        if !self.are_all_an_app_s() || orphans == self.told {
            return;
        }
        if let Some(keeper) = &mut self.keeper
            && let Err(error) = keeper.orphans(&orphans)
        {
            log::error!("keeper: {error}; starting another");
            self.keep();
        }
        self.told = orphans;
    }

    /// Every orphan that comes to rota is to end. As the first process of a container rota gets those of whoever else works in it.
    fn are_all_an_app_s(&self) -> bool {
        std::process::id() != 1 && !self.shared.catalog().apps().any(|(_, app)| app.survivors)
    }

    /// Orphans that nothing names: whose parent was gone before it was seen, and whose environment and session say nothing. They end with this
    /// process if no other that lives can have started them.
    fn strays(&self, id: ProcessId, look: &Look) -> Vec<Seen> {
        // With control groups nobody is a stray.
        if self.tree.is_some() || !self.are_all_an_app_s() {
            return Vec::new();
        }
        let mut known: HashSet<u32> = self.keeper.iter().map(|keeper| keeper.pid()).collect();
        known.extend(self.living.values().flat_map(|living| living.owned.members(look)).map(|one| one.pid));
        let orphans = look.orphans(&known);
        let Some(us) = self.living.get(&id).map(|living| living.owned.unit()) else { return Vec::new() };
        let others = || self.living.iter().filter(|(of, _)| **of != id).map(|(_, living)| living.owned.unit());
        let can_be_another_s = |one: &Seen| {
            let uid = sys::user_of(one.pid);
            let is_an_app_s = others().chain([us]).any(|unit| Some(unit.uid) == uid);
            others().any(|unit| unit.start <= one.start && (!is_an_app_s || Some(unit.uid) == uid))
        };
        orphans.into_iter().filter(|one| !can_be_another_s(one)).collect()
    }
}

fn stop_signal(signal: StopSignal) -> sys::Signal {
    match signal {
        StopSignal::Term => sys::Signal::TERM,
        StopSignal::Int => sys::Signal::INT,
        StopSignal::Quit => sys::Signal::QUIT,
        StopSignal::Hup => sys::Signal::HUP,
        StopSignal::Usr1 => sys::Signal::USR1,
        StopSignal::Usr2 => sys::Signal::USR2,
    }
}

/// Between two looks for orphans that have ended behind a process that is not reaped yet.
const ORPHANS: Duration = Duration::from_millis(100);
