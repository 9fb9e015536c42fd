//! What of a drain lasts longer than `drain.timeout`. A walk waits no longer than that; what moves may be finished all the same, up to
//! `drain.longest`, by a process that has nothing else to do any more: it outlasts its drain.
//!
//! Such a process is beside the numbers that a walk counts, one at each number at most, so that no walk waits for it. It is one of those that
//! there may be on the machine, and it takes memory: where one of the two is short it goes. Where there must not be two of one number, or no
//! more than wanted, none outlasts its drain.

use super::group::Ending;
use super::process::Process;
use super::*;

/// Why what a process still has is cut. `Display` is a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WhyCut {
    /// `drain.timeout` has passed, and why it was not longer.
    Timeout(NotLonger),
    /// `drain.longest` has passed.
    Longest,
    /// A new process needs its room.
    Room,
    /// A younger one of its number outlasts its drain now.
    Younger,
    /// Nobody waits for anything any more.
    Now,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum NotLonger {
    /// `drain.longest` is no longer than `drain.timeout`.
    Configured,
    /// `surge = 0`: never one more than wanted.
    NoSurge,
    /// `leader = "exclusive"`.
    Exclusive,
    /// It goes so that there is room for another.
    MakesRoom,
    /// `max_processes` is reached.
    Full,
    /// The app ends.
    Ends,
}

/// What is to be done at the end of a drain that has requests left.
enum EndOfDrain {
    Outlasts,
    /// Another of its number does; that one goes first.
    After(usize),
    Cut(NotLonger),
}

impl<W> Group<W> {
    /// Those that a walk and the configured numbers count.
    pub(super) fn counted(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| !process.outlasts)
    }

    /// How many there are beside these.
    pub(super) fn outlasting(&self) -> usize {
        self.processes.iter().filter(|process| process.outlasts).count()
    }

    /// It has requests left and `drain.timeout` has passed. `room`: for so many more than all groups have or are promised.
    pub(super) fn end_drain(&mut self, index: usize, room: usize, now: Instant) -> Option<Step<W>> {
        match self.judge_drain(index, room) {
            EndOfDrain::Outlasts => {
                let process = &mut self.processes[index];
                process.outlasts = true;
                let (id, sessions) = (process.id, process.sessions);
                Some(Step::Outlasts { id, sessions })
            }
            EndOfDrain::After(older) => self.cut(older, WhyCut::Younger, now),
            EndOfDrain::Cut(why) => self.cut(index, WhyCut::Timeout(why), now),
        }
    }

    /// Cuts what it has; None: that has been done already.
    pub(super) fn cut(&mut self, index: usize, why: WhyCut, now: Instant) -> Option<Step<W>> {
        let process = &mut self.processes[index];
        let State::Draining { cut: cut @ None, .. } = &mut process.state else { return None };
        *cut = Some(now);
        Some(Step::Cut { id: process.id, why })
    }

    /// Why one that outlasts its drain has to go before its time.
    pub(super) fn cannot_outlast(&self, process: &Process) -> Option<WhyCut> {
        let is_uncut = matches!(process.state, State::Draining { cut: None, .. });
        if !process.outlasts || !is_uncut {
            return None;
        }
        match self.ending {
            Ending::No => self.lacks_room().then_some(WhyCut::Room),
            Ending::Drained | Ending::Now => Some(WhyCut::Timeout(NotLonger::Ends)),
        }
    }

    /// An old process goes first because there is no room for two: not because there must not be two.
    pub(super) fn lacks_room(&self) -> bool {
        self.makes_room.as_ref().is_some_and(|(number, _)| !self.is_exclusive(*number))
    }

    fn judge_drain(&self, index: usize, room: usize) -> EndOfDrain {
        let process = &self.processes[index];
        let not_longer = if self.ending != Ending::No {
            Some(NotLonger::Ends)
        } else if self.settings.drain_longest <= self.settings.drain_timeout {
            Some(NotLonger::Configured)
        } else if self.settings.surge == 0 {
            Some(NotLonger::NoSurge)
        } else if self.is_exclusive(process.number) {
            Some(NotLonger::Exclusive)
        } else if self.lacks_room() {
            Some(NotLonger::MakesRoom)
        } else if room == 0 && self.counted().count() <= self.promised() {
            // It is one of those that the group is promised, and would be one more.
            Some(NotLonger::Full)
        } else {
            None
        };
        let older = || self.processes.iter().position(|other| other.outlasts && other.number == process.number);
        match not_longer {
            Some(why) => EndOfDrain::Cut(why),
            None => older().map_or(EndOfDrain::Outlasts, EndOfDrain::After),
        }
    }
}
