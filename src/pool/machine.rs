//! Limits over all groups: who may start a process, and who makes room for it.
//!
//! Each group has a share of the room: as many as it wants, or as many as it has where that is more. The shares together never exceed the
//! limit. So what a group wants already (what has died, what left for its replacement) always finds its place again, however many others
//! wait, and only one more than that has to wait for room.
//!
//! A boot that takes longer than its app's usually do, or that is a try after a failure, gives its place among those that boot to others: it
//! goes on, and so many may boot beside such ones again, but never more than twice as many in all ([`Limits::boots`]).

use super::group::Ending;
use super::process::Process;
use super::size::{Held, Start, What};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Processes in every state until they are gone. The least numbers of all groups fit into it.
    pub processes: usize,
    /// Processes that boot at a time; at least 1. Those that are late do not count.
    pub spawning: usize,
}

impl Limits {
    /// Processes that boot at a time, also those that are late.
    pub fn boots(&self) -> usize {
        self.spawning.saturating_mul(2)
    }
}

impl Default for Limits {
    /// None.
    fn default() -> Self {
        Self { processes: usize::MAX, spawning: usize::MAX }
    }
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    Processes,
    Spawning,
}

impl Limit {
    /// Its key in `[server]`.
    pub fn key(self) -> &'static str {
        match self {
            Self::Processes => "max_processes",
            Self::Spawning => "max_spawning",
        }
    }
}

/// Who goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Urgency {
    /// Nothing serves or is coming of what has served: whether requests wait for it or not, it is known to work.
    Repair {
        unasked: bool,
    },
    /// Nothing serves or is coming, and nothing has.
    First {
        unasked: bool,
    },
    /// A number is empty, others serve.
    Fill,
    More,
    /// The last start failed, and the next may too.
    Retry,
}

impl<W> Pool<W> {
    /// Starts what the groups wish for, the most urgent and then the longest wished for first, or makes room for it.
    pub(super) fn start(&mut self, now: Instant) -> Option<Step<W>> {
        let mut wishes: Vec<(Urgency, Instant, GroupId, Start)> = Vec::new();
        for group in &mut self.groups {
            group.room_is_wanted = false;
            let since = group.held.map_or(now, |held| held.since);
            group.held = None;
            wishes.extend(group.wishes(now).map(|wish| (group.urgency(&wish, since, now), since, group.id, wish)));
        }
        wishes.sort_by_key(|(urgency, since, group, _)| (*urgency, *since, *group));
        let room = self.room();
        let (booting, late) = self.boots(now);
        // What is tried again makes no use of the places that others have given up: else it would soon have all of them.
        let may_retry = booting < self.limits.spawning;
        let may_boot = booting - late < self.limits.spawning && booting < self.limits.boots();
        let mut on_its_way: usize = self.groups.iter().map(Group::leaves_room).sum();
        let mut step = None;
        for (urgency, since, id, wish) in wishes {
            let boots = if urgency == Urgency::Retry { may_retry } else { may_boot };
            let group = self.group_mut(id);
            let has_room = room > 0 || group.is_within_its_share(&wish);
            // The others are looked at all the same: whose wish is held since when decides who is next.
            if step.is_none() && has_room && boots {
                step = Some(group.spawn(wish, urgency == Urgency::Retry, now));
                continue;
            }
            group.held.get_or_insert(Held { what: wish.what, since, by: if has_room { Limit::Spawning } else { Limit::Processes } });
            if has_room || step.is_some() || !boots {
                continue;
            }
            // One that leaves without a session is soon gone: the first who wait need no other.
            if on_its_way > 0 {
                on_its_way -= 1;
                continue;
            }
            step = self.make_room(id, &wish, now);
        }
        self.tell_who_could_make_room();
        step
    }

    /// For so many more than all groups have or are promised.
    pub(super) fn room(&self) -> usize {
        self.limits.processes.saturating_sub(self.shares())
    }

    pub(super) fn shares(&self) -> usize {
        self.groups.iter().map(Group::share).sum()
    }

    /// How many boot, and how many of them are late.
    fn boots(&self, now: Instant) -> (usize, usize) {
        self.groups.iter().map(|group| group.booting(now)).fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1))
    }

    /// The process of another group that is idle for longest goes. With none the one that is to be replaced goes itself.
    fn make_room(&mut self, id: GroupId, wish: &Start, now: Instant) -> Option<Step<W>> {
        let idle = self.groups.iter().filter(|group| group.id != id).filter_map(|group| Some((group.id, group.can_make_room()?)));
        let longest = idle.min_by_key(|(of, index)| self.group(*of).processes[*index].idle);
        let most = self.limits.processes;
        match longest {
            Some((of, index)) => {
                let why = WhyDrain::RoomFor(self.group(id).app.clone());
                Some(self.group_mut(of).dismiss(index, why, now))
            }
            None if wish.what == What::Replace => self.group_mut(id).leave_first(wish.number, format!("max_processes = {most}"), now),
            None => None,
        }
    }

    fn tell_who_could_make_room(&mut self) {
        let waits = |group: &Group<W>| group.held.is_some_and(|held| held.by == Limit::Processes);
        let waiting = self.groups.iter().filter(|group| waits(group)).count();
        for group in &mut self.groups {
            group.room_is_wanted = waiting > usize::from(waits(group));
        }
    }

    pub(super) fn check_limits(&self) -> Result<(), String> {
        let (processes, most) = (self.limits.processes, self.limits.boots());
        let share: usize = self.groups.iter().map(Group::share).sum();
        if share > processes {
            return Err(format!("{share} processes are there or promised, {processes} may be"));
        }
        let booting: usize = self.groups.iter().map(|group| group.processes.iter().filter(|process| process.is_booting()).count()).sum();
        if booting > most {
            return Err(format!("{booting} processes boot at once, {most} may"));
        }
        Ok(())
    }
}

impl<W> Group<W> {
    /// `since`: when it was wished for first.
    fn urgency(&self, wish: &Start, since: Instant, now: Instant) -> Urgency {
        let is_empty = self.processes.iter().all(Process::is_leaving);
        let unasked = self.queue.is_empty();
        // One that has waited for that long is no worse than the others.
        if self.has_failed_of_late(wish) && now.saturating_duration_since(since) < PATIENCE {
            return Urgency::Retry;
        }
        match wish.what {
            _ if is_empty && self.good == Some(wish.generation) => Urgency::Repair { unasked },
            _ if is_empty => Urgency::First { unasked },
            What::Fill => Urgency::Fill,
            What::Grow | What::Replace => Urgency::More,
        }
    }

    /// The start before this one came to nothing: it failed, or what it brought has ended again and again.
    fn has_failed_of_late(&self, wish: &Start) -> bool {
        let failures = self.good.is_none_or(|good| good == wish.generation) && self.backoff.failures > 0;
        failures || self.place(wish.number).crashes.in_a_row(wish.generation) > 1
    }

    /// How much of the room is this group's.
    fn share(&self) -> usize {
        self.counted().count().max(self.promised()) + self.outlasting()
    }

    pub(super) fn promised(&self) -> usize {
        if self.ending == Ending::No { usize::from(self.wanted()) } else { 0 }
    }

    /// It needs no room that others could have.
    fn is_within_its_share(&self, wish: &Start) -> bool {
        wish.what != What::Grow && self.counted().count() < self.promised()
    }

    pub(super) fn boots_now(&self) -> usize {
        self.processes.iter().filter(|process| process.is_booting()).count()
    }

    /// How many boot, and how many of them are late.
    fn booting(&self, now: Instant) -> (usize, usize) {
        let boots = self.processes.iter().filter(|process| process.is_booting());
        let late = boots.clone().filter(|process| process.is_retry || now >= self.late_at(process));
        (boots.count(), late.count())
    }

    /// Until when a boot is one of those that count: twice what one usually takes.
    fn late_at(&self, process: &Process) -> Instant {
        process.created + self.usual_boot.map_or(UNKNOWN_BOOT, |usual| usual * 2 + SLACK).min(self.settings.ready_timeout)
    }

    /// When others may boot in the place of one that is late.
    pub(super) fn late_boots(&self) -> impl Iterator<Item = Instant> {
        self.processes.iter().filter(|process| process.is_booting() && !process.is_retry).map(|process| self.late_at(process))
    }

    /// One of its processes was ready `took` after its start. What was slow once, on a busy machine, is forgotten with the next ones.
    pub(super) fn learn_boot(&mut self, took: Duration) {
        self.usual_boot = Some(self.usual_boot.map_or(took, |usual| took.max((usual * 3 + took) / 4)));
    }

    /// How many more will fit when what leaves without a session is gone.
    fn leaves_room(&self) -> usize {
        let leaving = self.processes.iter().filter(|process| process.is_leaving() && process.sessions == 0).count();
        leaving.min(self.share() - self.promised())
    }
}

/// A boot of an app of which none has been seen yet is late after this.
const UNKNOWN_BOOT: Duration = Duration::from_secs(10);
/// Beside twice the usual time: a boot of 50 ms may well take 200.
const SLACK: Duration = Duration::from_secs(1);
/// A try after a failure waits behind the others for so long.
const PATIENCE: Duration = Duration::from_secs(60);
