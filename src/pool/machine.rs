//! Limits over all groups: who may start a process, and who makes room for it.
//!
//! Each group has a share of the room: as many as it wants, or as many as it has where that is more. The shares together never exceed the
//! limit. So what a group wants already (what has died, what left for its replacement) always finds its place again, however many others
//! wait, and only one more than that has to wait for room.

use super::group::Ending;
use super::process::Process;
use super::size::{Held, Start, What};
use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processes in every state until they are gone. The least numbers of all groups fit into it.
    pub processes: usize,
    /// Processes that boot at a time; at least 1.
    pub spawning: usize,
}

impl Default for Limits {
    /// None.
    fn default() -> Self {
        Self { processes: usize::MAX, spawning: usize::MAX }
    }
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// Requests wait, and nothing serves or is coming.
    Waits,
    Empty,
    More,
}

impl<W> Pool<W> {
    /// Starts what the groups wish for, the most urgent and then the longest wished for first, or makes room for it.
    pub(super) fn start(&mut self, now: Instant) -> Option<Step<W>> {
        let mut wishes: Vec<(Urgency, Instant, GroupId, Start)> = Vec::new();
        for group in &mut self.groups {
            group.room_is_wanted = false;
            let (id, urgency) = (group.id, group.urgency());
            let since = group.held.map_or(now, |held| held.since);
            group.held = None;
            wishes.extend(group.wishes(now).map(|wish| (urgency, since, id, wish)));
        }
        wishes.sort_by_key(|(urgency, since, group, _)| (*urgency, *since, *group));
        let room = self.room();
        let boots = self.groups.iter().map(Group::booting).sum::<usize>() < self.limits.spawning;
        let mut on_its_way: usize = self.groups.iter().map(Group::leaves_room).sum();
        let mut step = None;
        for (_, since, id, wish) in wishes {
            let group = self.group_mut(id);
            let has_room = room > 0 || group.is_within_its_share(&wish);
            // The others are looked at all the same: whose wish is held since when decides who is next.
            if step.is_none() && has_room && boots {
                step = Some(group.spawn(wish, now));
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
        self.limits.processes.saturating_sub(self.groups.iter().map(Group::share).sum())
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
        let Limits { processes, spawning } = self.limits;
        let share: usize = self.groups.iter().map(Group::share).sum();
        if share > processes {
            return Err(format!("{share} processes are there or promised, {processes} may be"));
        }
        let booting: usize = self.groups.iter().map(Group::booting).sum();
        if booting > spawning {
            return Err(format!("{booting} processes boot at once, {spawning} may"));
        }
        Ok(())
    }
}

impl<W> Group<W> {
    fn urgency(&self) -> Urgency {
        match self.processes.iter().all(Process::is_leaving) {
            true if self.queue.is_empty() => Urgency::Empty,
            true => Urgency::Waits,
            false => Urgency::More,
        }
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

    fn booting(&self) -> usize {
        self.processes.iter().filter(|process| matches!(process.state, State::Starting { .. })).count()
    }

    /// How many more will fit when what leaves without a session is gone.
    fn leaves_room(&self) -> usize {
        let leaving = self.processes.iter().filter(|process| process.is_leaving() && process.sessions == 0).count();
        leaving.min(self.share() - self.promised())
    }
}
