//! A restart of all groups goes through them one after another: whose turn it is, and what keeps it.

use super::machine::Limit;
use super::*;

impl<W> Pool<W> {
    /// Asks for a rolling restart of every group, one after another; gives the generation each will get.
    pub fn restart_all(&mut self, trigger: Trigger, now: Instant) -> Vec<(GroupId, Generation)> {
        let all: Vec<GroupId> = self.groups.iter().filter(|group| !group.is_removed()).map(Group::id).collect();
        self.restart_these(&all, trigger, now)
    }

    /// As [`Self::restart_all`], of these.
    pub fn restart_these(&mut self, groups: &[GroupId], trigger: Trigger, now: Instant) -> Vec<(GroupId, Generation)> {
        let asked: Vec<_> = groups.iter().map(|group| (*group, self.group_mut(*group).ask(trigger, Aim::Root, true, now))).collect();
        for turn in &asked {
            if !self.in_turn.contains(turn) {
                self.in_turn.push_back(*turn);
            }
        }
        asked
    }

    /// The first in turn whose walk has neither ended nor failed may begin; the others wait. True: it is another's turn than before.
    pub(super) fn give_turn(&mut self) -> bool {
        let before = self.in_turn.len();
        while let Some(&(group, generation)) = self.in_turn.front() {
            if self.group(group).holds_turn(generation) {
                self.group_mut(group).take_turn(generation);
                break;
            }
            self.in_turn.pop_front();
        }
        self.in_turn.len() < before
    }
}

impl<W> Group<W> {
    /// The request that waited for its turn has it.
    fn take_turn(&mut self, generation: Generation) {
        if let Some(ask) = self.asked.as_mut().filter(|ask| ask.generation == generation) {
            ask.in_turn = false;
        }
    }

    /// The requests after it, of other groups, wait for it: not for one of which it was told that it failed, nor for one that has no process
    /// and finds no room for any. Both may last for ever.
    fn holds_turn(&self, generation: Generation) -> bool {
        let walk = self.walk.as_ref().filter(|walk| walk.asked() == generation);
        let has_failed = walk.is_some_and(|walk| walk.told.is_some());
        let is_told = has_failed && self.untold.iter().all(|(ask, _)| ask.generation != generation);
        let has_no_room = walk.is_some() && self.wanted() == 0 && self.held.is_some_and(|held| held.by == Limit::Processes);
        self.is_open(generation) && !is_told && !has_no_room
    }
}
