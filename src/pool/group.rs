//! One running app: its processes, its queue and the books of its restarts.

use super::*;

#[derive(Debug)]
pub struct Group<W> {
    _w: std::marker::PhantomData<W>,
}

impl<W> Group<W> {
    pub fn id(&self) -> GroupId {
        todo!()
    }
    pub fn app(&self) -> &AppName {
        todo!()
    }
    pub fn name_of(&self, id: ProcessId) -> Option<ProcessName> {
        let _ = id;
        todo!()
    }

    // ── requests (I/O threads, master) ──

    /// Takes a slot, at `home` if that serves and has one free, else at the best process with one; else it waits; else refused.
    pub fn admit(&mut self, home: Option<ProcessId>, waiting: W, now: Instant) -> Admission<W> {
        let _ = (home, waiting, now);
        todo!()
    }

    /// Gives a slot back. When something waits and the process still serves, the slot goes to the first of the queue in the same step.
    pub fn finish(&mut self, claim: Claim, ended: Ended, now: Instant) -> Option<(Claim, W)> {
        let _ = (claim, ended, now);
        todo!()
    }

    /// The process that a connection without a claim goes to (its request body is still to be read): the best serving one that is not
    /// `except`; else one that is starting or ready.
    pub fn host(&mut self, except: Option<ProcessId>) -> Option<ProcessId> {
        let _ = except;
        todo!()
    }

    /// A waiting client left.
    pub fn leave(&mut self, id: WaitId) -> Option<W> {
        let _ = id;
        todo!()
    }

    /// Takes out what has waited for `queue_timeout` or longer.
    pub fn expire(&mut self, now: Instant) -> Vec<W> {
        let _ = now;
        todo!()
    }

    /// When the first of the queue will be too old.
    pub fn queue_deadline(&self) -> Option<Instant> {
        todo!()
    }

    pub fn queue_len(&self) -> usize {
        todo!()
    }

    /// Takes everything out of the queue (the group ends).
    pub fn drain_queue(&mut self) -> Vec<W> {
        todo!()
    }

    // ── processes (restart thread, and the process's own I/O thread) ──

    pub fn resolved(&mut self, generation: Generation, result: Result<(), Failure>, now: Instant) {
        let _ = (generation, result, now);
        todo!()
    }
    pub fn spawned(&mut self, id: ProcessId, pid: u32, now: Instant) {
        let _ = (id, pid, now);
        todo!()
    }
    /// The probe was answered.
    pub fn ready(&mut self, id: ProcessId, now: Instant) {
        let _ = (id, now);
        todo!()
    }
    /// It will not become ready (no pid: it was never started). A living one is stopped.
    pub fn start_failed(&mut self, id: ProcessId, failure: Failure, now: Instant) {
        let _ = (id, failure, now);
        todo!()
    }
    /// The leader ended. `output`: its last lines, for the failure's report.
    pub fn exited(&mut self, id: ProcessId, exit: Exit, output: Vec<String>, now: Instant) {
        let _ = (id, exit, output, now);
        todo!()
    }
    /// Nothing is left of its process group (asked after `exited`).
    pub fn group_empty(&mut self, id: ProcessId, now: Instant) {
        let _ = (id, now);
        todo!()
    }
    /// Processes whose leader is gone and whose group may have members left: (id, pgid).
    pub fn lingering(&self) -> impl Iterator<Item = (ProcessId, u32)> {
        std::iter::empty()
    }
    pub fn find_pid(&self, pid: u32) -> Option<ProcessId> {
        let _ = pid;
        todo!()
    }

    // ── walks ──

    /// Asks for a rolling restart; a request that has not begun is joined. Gives the generation that it will make.
    pub fn restart(&mut self, trigger: Trigger, now: Instant) -> Generation {
        let _ = (trigger, now);
        todo!()
    }

    /// How the walk to `generation` ended; None while it is asked for or under way.
    pub fn outcome(&self, generation: Generation) -> Option<&Outcome> {
        let _ = generation;
        todo!()
    }

    /// What the status shows.
    pub fn view(&self, now: Instant) -> GroupView {
        let _ = now;
        todo!()
    }
}
