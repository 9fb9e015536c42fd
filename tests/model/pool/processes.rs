//! How processes end in the simulated world, told or not.

use rota::ids::ProcessId;
use rota::pool::{Exit, Failure, FailureKind};

use super::books::{Check, Request};
use super::world::{Event, World};

impl World {
    /// The I/O thread of a process says that it will not do.
    pub fn fail(&mut self, app: usize, proc: usize, kind: FailureKind) -> Check {
        self.falls(app, proc);
        let id = self.apps[app].procs[proc].id;
        self.say(|| format!("failed {id:?}: {kind}"));
        self.pool.group_mut(id.group).start_failed(id, Failure { kind, output: Vec::new() }, self.now);
        self.awake = true;
        self.release_claims(app, proc);
        self.check()
    }

    /// It can go on no longer, as the pool is about to learn.
    pub fn falls(&mut self, app: usize, proc: usize) {
        let fell = self.apps[app].fell(proc, self.now);
        self.apps[app].note_crash(proc, self.now);
        let it = &mut self.apps[app].procs[proc];
        it.failed |= fell;
        it.ended.get_or_insert(self.now);
        it.serving = false;
        it.draining = None;
    }

    pub fn exit(&mut self, app: usize, proc: usize, status: i32) -> Check {
        if !self.apps[app].procs[proc].leader {
            return Ok(());
        }
        let fell = self.apps[app].fell(proc, self.now);
        self.apps[app].note_crash(proc, self.now);
        let it = &mut self.apps[app].procs[proc];
        let id = it.id;
        it.failed |= fell;
        it.leader = false;
        it.ended.get_or_insert(self.now);
        it.serving = false;
        self.say(|| format!("exit {id:?} status {status}"));
        self.pool.group_mut(id.group).exited(id, Exit::Status(status), Vec::new(), self.now);
        self.awake = true;
        self.release_claims(app, proc);
        self.check()
    }

    /// One of them is killed from outside.
    pub fn dies(&mut self, app: usize) -> Check {
        let alive: Vec<usize> = (0..self.apps[app].procs.len()).filter(|proc| self.apps[app].procs[*proc].leader).collect();
        let Some(proc) = self.rng.pick(&alive) else { return Ok(()) };
        if self.rng.percent(50) {
            self.apps[app].procs[proc].children = false;
        }
        // Its connections tell of its end before the system does.
        if self.rng.percent(30) {
            let id = self.apps[app].procs[proc].id;
            self.say(|| format!("dying {id:?}"));
            self.pool.group_mut(id.group).dying(id);
            self.apps[app].procs[proc].dying = true;
            let soon = self.rng.within(0, 30);
            self.plan(soon, Event::LeaderExits { app, proc, status: 137 });
            return self.check();
        }
        self.exit(app, proc, 137)
    }

    /// The I/O thread notices soon that its sessions are over, or much later.
    pub fn release_claims(&mut self, app: usize, proc: usize) {
        let id = self.apps[app].procs[proc].id;
        for request in self.claims_on(app, id) {
            let soon = if self.rng.percent(80) { self.rng.within(0, 20) } else { self.rng.within(0, 3_000) };
            self.plan(soon, Event::Finished { app, request });
        }
    }

    fn claims_on(&self, app: usize, id: ProcessId) -> Vec<u32> {
        let on = |request: &Request| matches!(request, Request::Claimed { claim, .. } if claim.process() == id);
        (0..).zip(&self.apps[app].requests).filter(|(_, request)| on(request)).map(|(number, _)| number).collect()
    }
}
