//! Which process a request is for: any, the one whose thread has its connection, or the one that its client was with before.
//!
//! A client comes back by number, so that the successor of a process takes its clients over. While that process serves and is full, the
//! request waits for it and no other: what it comes for is in that process's memory. Of those that may have a slot the first that came has
//! it. When nothing serves at the number any more, there is nothing left to wait for, and the request goes where there is room.

use super::process::Process;
use super::*;

/// Where a request would have its slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    Anywhere,
    /// The process whose I/O thread has the connection: there if it serves and has a free slot, else anywhere.
    Home(ProcessId),
    /// What serves at this number, and nothing else while something does.
    Number(Number),
}

impl<W> Group<W> {
    /// The number that the request has to wait for.
    pub(super) fn bound_to(&self, wish: Wish) -> Option<Number> {
        match wish {
            Wish::Number(number) => Some(number).filter(|number| self.serves_at(*number)),
            Wish::Anywhere | Wish::Home(_) => None,
        }
    }

    pub(super) fn fulfils(wish: Wish, process: &Process) -> bool {
        match wish {
            Wish::Anywhere => false,
            Wish::Home(id) => process.id == id,
            Wish::Number(number) => process.number == number,
        }
    }

    /// What waits for a number at which nothing serves any more waits for any.
    pub(super) fn unbind(&mut self, now: Instant) -> Option<Step<W>> {
        let serving = |number: Number| self.processes.iter().any(|process| process.number == number && process.is_serving());
        if !self.queue.unbind(|number| !serving(number)) {
            return None;
        }
        let granted: Vec<_> = (0..self.processes.len()).flat_map(|index| self.grant_all(index, now)).collect();
        (!granted.is_empty()).then_some(Step::Grant { granted })
    }

    fn serves_at(&self, number: Number) -> bool {
        self.at(number).any(Process::is_serving)
    }
}
