//! What must be true of the table after every change. Asked by the tests, and by the table itself in debug builds; allocates only to say
//! what is wrong.

use super::group::Ending;
use super::*;

impl<W> Pool<W> {
    /// Err: which rule is broken, and by whom.
    pub fn check(&self) -> Result<(), String> {
        self.groups.iter().try_for_each(Group::check)?;
        self.check_limits()
    }
}

impl<W> Group<W> {
    pub fn check(&self) -> Result<(), String> {
        let say = |what: &str| Err(format!("{}: {what}: {:?}", self.app, self.processes));
        self.check_sizes().or_else(say)?;
        for (index, process) in self.processes.iter().enumerate() {
            let others = &self.processes[index + 1..];
            if others.iter().any(|other| other.id == process.id) {
                return say("two processes have one id");
            }
            if process.number.0 == 0 || usize::from(process.number.0) > self.places.len() || process.generation > self.last_generation {
                return say("a number or generation that nobody gave");
            }
            if self.is_exclusive(process.number) && others.iter().any(|other| other.number == process.number) {
                return say("two leaders");
            }
            if process.outlasts && (!process.is_leaving() || others.iter().any(|other| other.outlasts && other.number == process.number)) {
                return say("two processes of one number outlast their drains, or one does that does not drain");
            }
            if process.outlasts && (self.is_exclusive(process.number) || self.settings.surge == 0) {
                return say("a process outlasts its drain where there must not be one more");
            }
            if process.sessions > process.slots {
                return say("more sessions than slots");
            }
            if process.is_coming() && process.sessions > 0 {
                return say("sessions on a process that never served");
            }
            if process.is_serving() && others.iter().any(|other| other.is_serving() && other.number == process.number) {
                return say("two processes serve under one number");
            }
            // Of a walk that has ended several may still be on their way.
            let target = self.walk.as_ref().is_some_and(|walk| walk.target == process.generation);
            let boots = self.processes.iter().filter(|other| other.is_coming() && other.generation == process.generation);
            if target && boots.count() > self.boots_at_once(process.generation) {
                return say("too many processes of one generation boot at once");
            }
            if process.has_room() && self.queue.has_for(process.number) && self.pause.is_none() {
                return say("a slot is free while requests wait");
            }
        }
        if self.queue.len() > self.settings.queue_max.max(self.queue_bound) {
            return say("the queue is longer than its bound");
        }
        self.check_walk().or_else(say)
    }

    fn check_walk(&self) -> Result<(), &'static str> {
        if let Some(walk) = &self.walk {
            let back = walk.back.is_some();
            if walk.asked() > self.last_generation || (self.outcome(walk.asked()).is_some() && walk.told.is_none()) {
                return Err("a walk that nobody asked for, or that has ended");
            }
            if back != (self.good == Some(walk.target)) || back == (walk.target == walk.asked()) {
                return Err("a walk goes to the good generation when it walks back, and only then");
            }
            if !walk.resolved && (self.good.is_some() || self.processes.iter().any(|process| process.generation == walk.target)) {
                return Err("processes of a release that is not resolved");
            }
            if walk.skipped.iter().any(|(number, _)| walk.skipped.iter().filter(|(other, _)| other == number).count() > 1) {
                return Err("a number is skipped twice");
            }
        }
        let open = self.walk.iter().map(|walk| walk.asked()).chain(self.resolving.iter().map(|ask| ask.generation));
        if self.asked.as_ref().is_some_and(|ask| open.max().is_some_and(|open| open >= ask.generation)) {
            return Err("a request older than what is under way");
        }
        if self.ending != Ending::No && (self.walk.is_some() || self.asked.is_some() || self.resolving.is_some()) {
            return Err("a group that ends has a walk");
        }
        if self.walk.is_none() && self.good.is_none() && self.ending == Ending::No {
            return Err("nothing is wanted of a group that does not end");
        }
        Ok(())
    }
}
