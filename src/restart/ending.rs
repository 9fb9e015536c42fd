//! The end of processes, as the restart thread does it: signals, how they ended, and whether something of them is left.
//!
//! A process that has ended is not reaped before nothing is left of it and the table knows: until then its number, which its group and its
//! session have too, is nobody else's.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::Restart;
use crate::about;
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
            self.tell_keeper(|keeper| keeper.gone(living.pid));
            // From here on its number is another's.
            sys::reap(living.pid);
            if living.owned.unit().survivors {
                self.survivors.push(living.owned.outlived(id.group));
            }
            // Somebody who may live on has it until then.
            if let Some(group) = living.owned.unit().cgroup.clone().filter(|_| !living.owned.unit().survivors) {
                self.bare.remove(group);
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
        for one in self.survivors.extract_if(.., |one| !one.live()) {
            one.cgroup.into_iter().for_each(|group| self.bare.remove(group));
        }
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
        self.reap_keeper();
        self.reap_orphans();
        self.bare.try_again();
        self.count_survivors();
    }

    fn reap_orphans(&mut self) {
        let now = Instant::now();
        match reap_some(sys::any_ended, |pid| self.is_ours(pid), |pid| self.reap_orphan(pid)) {
            Reaped::All => return,
            // An app can end more of them than are reaped.
            Reaped::Some => return self.orphans_due = Some(now),
            Reaped::HeldUp => {}
        }
        if let Some(at) = self.orphans_seen.map(|at| at + ORPHANS).filter(|at| *at > now) {
            self.orphans_due = Some(at);
            return;
        }
        self.orphans_seen = Some(now);
        let zombies: Vec<u32> = sys::zombies().into_iter().filter(|pid| !self.is_ours(*pid)).collect();
        for pid in zombies.into_iter().take(AT_A_TIME) {
            self.reap_orphan(pid);
        }
    }

    fn reap_orphan(&self, pid: u32) {
        if let Some(exit) = sys::reap(pid) {
            log::debug!("pid {pid}, an orphan of an app: {exit}");
        }
    }

    /// Started by this thread, and heard of elsewhere.
    pub(super) fn is_ours(&self, pid: u32) -> bool {
        self.living.values().any(|living| living.pid == pid) || self.keeping.pid() == Some(pid)
    }

    fn ended(&mut self, id: ProcessId, exit: Exit) {
        let _works = about::works_for(&self.shared.ledger(id.group).about);
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

    /// Every orphan that comes to rota is to end. As the first process of a container rota gets those of whoever else works in it.
    pub(super) fn are_all_an_app_s(&self) -> bool {
        std::process::id() != 1 && !self.shared.catalog().apps().any(|(_, app)| app.survivors)
    }

    /// Orphans that nothing names: whose parent was gone before it was seen, and whose environment and session say nothing. They end with this
    /// process if no other that lives can have started them.
    fn strays(&self, id: ProcessId, look: &Look) -> Vec<Seen> {
        // With control groups nobody is a stray.
        if self.tree.is_some() || !self.are_all_an_app_s() {
            return Vec::new();
        }
        let mut known: HashSet<u32> = self.keeping.pid().into_iter().collect();
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

/// What came of reaping orphans.
#[derive(Debug, PartialEq, Eq)]
enum Reaped {
    All,
    /// So many, and there may be more.
    Some,
    /// One that is not to be reaped yet stands before the others.
    HeldUp,
}

fn reap_some(any_ended: impl Fn() -> AnyEnded, is_ours: impl Fn(u32) -> bool, reap: impl Fn(u32)) -> Reaped {
    for _ in 0..AT_A_TIME {
        match any_ended() {
            AnyEnded::None => return Reaped::All,
            AnyEnded::First(pid) if !is_ours(pid) => reap(pid),
            AnyEnded::First(_) | AnyEnded::Nameless => return Reaped::HeldUp,
        }
    }
    Reaped::Some
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

/// Orphans that are reaped before something else has its turn.
const AT_A_TIME: usize = 256;
/// Between two looks for orphans that have ended behind a process that is not reaped yet.
const ORPHANS: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn orphans_that_end_without_end_are_reaped_so_many_at_a_time() {
        let reaped = Cell::new(0);
        let reap = |_| reaped.set(reaped.get() + 1);
        assert_eq!(reap_some(|| AnyEnded::First(7), |_| false, reap), Reaped::Some);
        assert_eq!(reaped.replace(0), AT_A_TIME);
        let three = || if reaped.get() < 3 { AnyEnded::First(7) } else { AnyEnded::None };
        assert_eq!((reap_some(three, |_| false, reap), reaped.replace(0)), (Reaped::All, 3));
        assert_eq!((reap_some(|| AnyEnded::First(7), |_| true, reap), reaped.get()), (Reaped::HeldUp, 0));
        assert_eq!((reap_some(|| AnyEnded::Nameless, |_| false, reap), reaped.get()), (Reaped::HeldUp, 0));
    }
}
