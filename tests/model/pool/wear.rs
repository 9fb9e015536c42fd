//! Processes of the simulated world that take too much memory, or do not come back from a request.

use std::time::Duration;

use super::books::Check;
use super::tally::Saw;
use super::world::World;

impl World {
    /// One of those with a limit is weighed.
    pub fn weigh(&mut self, app: usize) -> Check {
        let targets: Vec<_> = self.pool.group(self.apps[app].id).to_weigh().filter(|target| target.limit.is_some()).collect();
        let Some(target) = self.rng.pick(&targets) else { return Ok(()) };
        let proc = self.apps[app].index(target.id)?;
        let most = if self.rng.percent(10) { 2 * MOST } else { MOST };
        let memory = self.rng.within(1, most);
        let (now, hard) = (self.now, self.apps[app].settings.lifespan.memory_hard);
        let it = &self.apps[app].procs[proc];
        let too_much = hard.is_some_and(|hard| memory >= hard) && !it.killed && !it.condemned;
        self.apps[app].procs[proc].memory = memory;
        if too_much {
            self.falls(app, proc);
            self.apps[app].procs[proc].condemned = true;
            self.tally.saw(Saw::TooHeavy);
        }
        let told = self.pool.group_mut(target.id.group).weighed(target.id, memory, now);
        self.say(|| format!("weighed {:?}: {memory}, {told:?}", target.id));
        if told.is_some() != too_much {
            return Err(format!("{:?} weighs {memory} of {hard:?}, and is told {told:?}", target.id));
        }
        if too_much {
            self.release_claims(app, proc);
        }
        self.awake = true;
        self.check()
    }

    /// One that serves does not come back from a request.
    pub fn stick(&mut self, app: usize) -> Check {
        let serving: Vec<usize> = (0..self.apps[app].procs.len()).filter(|proc| self.apps[app].procs[*proc].serving).collect();
        let Some(proc) = self.rng.pick(&serving) else { return Ok(()) };
        let it = &mut self.apps[app].procs[proc];
        it.stuck = true;
        let id = it.id;
        self.pool.group_mut(id.group).stuck(id, Duration::from_secs(35));
        self.say(|| format!("stuck {id:?}"));
        self.awake = true;
        self.check()
    }
}

/// Weights in this world.
pub const MOST: u64 = 100;
