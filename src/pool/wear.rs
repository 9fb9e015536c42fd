//! When a process is replaced though nothing speaks against its release: it has served its time, or somebody wants it gone. The replacement
//! is the step that every replacement is: a new one of the good release first, one at a time, and never during a walk, which replaces anyway.

use super::group::Ending;
use super::process::Process;
use super::*;

/// Why a process is to be replaced by another of the same release. `Display` is a phrase that goes on after "replaced".
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Worn {
    /// Somebody asked for it.
    Asked,
    /// It has had so many.
    Requests(u64),
    /// It was started so long ago.
    Age(Duration),
    /// It takes so many bytes of memory.
    Memory(u64),
    /// It has had a request for so long that nobody waits for it any more, and does not end it.
    Stuck(Duration),
}

/// The limits of one process: what the configuration says less up to a tenth, each process by another share, so that those that were started
/// together do not go together. What is configured is never exceeded for it.
pub fn of_process(lifespan: Lifespan, serial: u32) -> Lifespan {
    let Lifespan { requests, age, memory, memory_hard, processes } = lifespan;
    let nanoseconds = |age: Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    Lifespan {
        requests: requests.map(|most| spread(most, serial)),
        age: age.map(|most| Duration::from_nanos(spread(nanoseconds(most), serial))),
        memory: memory.map(|most| spread(most, serial)),
        memory_hard,
        processes,
    }
}

/// Multiples of the golden ratio: any few neighbours are far from each other (Knuth, The Art of Computer Programming 3, 6.4).
fn spread(most: u64, serial: u32) -> u64 {
    let share = u128::from(serial.wrapping_mul(GOLDEN_RATIO));
    // A tenth of it at most.
    let less = (u128::from(most) * share / TENTH) >> u32::BITS;
    most - less as u64
}

impl Process {
    /// Its time is over, and nobody has seen to it yet.
    pub fn is_overdue(&self, now: Instant) -> bool {
        self.is_serving() && self.worn.is_none() && self.wears(now).is_some()
    }

    fn wears(&self, now: Instant) -> Option<Worn> {
        let age = now.saturating_duration_since(self.created);
        let Lifespan { requests, age: most_age, .. } = self.lifespan;
        let stuck = self.stuck.map(Worn::Stuck);
        let requests = || requests.filter(|most| self.processed >= *most).map(|_| Worn::Requests(self.processed));
        let settled = self.settles().is_some_and(|at| now >= at);
        let memory = || self.memory.filter(|_| self.is_heavy() && settled).map(Worn::Memory);
        let old = || most_age.filter(|most| age >= *most).map(|_| Worn::Age(age));
        stuck.or_else(memory).or_else(requests).or_else(old)
    }

    fn is_heavy(&self) -> bool {
        self.lifespan.memory.is_some_and(|most| self.memory.is_some_and(|used| used >= most))
    }

    /// It takes more than it ever may, and is killed for that.
    pub fn is_too_heavy(&self) -> bool {
        self.lifespan.memory_hard.is_some_and(|most| self.memory.is_some_and(|used| used >= most))
    }

    /// When it has lived so long that its boot does not count. An app that needs more memory than its limit from the start would else do
    /// nothing but boot.
    fn settles(&self) -> Option<Instant> {
        self.ready_at().map(|ready| self.created + ready.saturating_duration_since(self.created) * BOOTS)
    }
}

/// A process that is to be compared with its limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ToWeigh {
    pub id: ProcessId,
    pub pid: u32,
    /// Bytes, the lowest limit that is still of interest.
    pub limit: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
}

/// A process that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Living {
    pub id: ProcessId,
    pub pid: u32,
    pub created: Instant,
}

impl<W> Group<W> {
    /// Has the process that serves at `number` replaced by one of the same release. None: none does, or no other could be started.
    pub fn recycle(&mut self, number: Number) -> Option<ProcessId> {
        if self.keeps_all() {
            return None;
        }
        let process = self.processes.iter_mut().find(|process| process.number == number && process.is_serving())?;
        process.worn.get_or_insert(Worn::Asked);
        let id = process.id;
        self.checked();
        Some(id)
    }

    /// It has had a request for `had`, far too long, and does not come back from it.
    pub fn stuck(&mut self, id: ProcessId, had: Duration) {
        if let Some(process) = self.find_mut(id) {
            process.stuck = Some(had);
        }
        self.checked();
    }

    /// Those whose leader lives, and what they may take.
    pub fn to_weigh(&self) -> impl Iterator<Item = ToWeigh> {
        self.processes.iter().filter(|process| !process.leader_gone()).filter_map(|process| {
            let Lifespan { memory, memory_hard, processes, .. } = process.lifespan;
            let limit = memory.filter(|_| process.worn.is_none() && !process.is_leaving()).or(memory_hard);
            Some(ToWeigh { id: process.id, pid: process.pid?, limit, processes })
        })
    }

    /// All whose leader lives.
    pub fn living(&self) -> impl Iterator<Item = Living> {
        let living = self.processes.iter().filter(|process| !process.leader_gone());
        living.filter_map(|process| Some(Living { id: process.id, pid: process.pid?, created: process.created }))
    }

    /// It takes so many bytes. Some: that is more than it ever may, and it is killed at once.
    pub fn weighed(&mut self, id: ProcessId, memory: u64, now: Instant) -> Option<Failure> {
        let process = self.find_mut(id)?;
        process.memory = Some(memory);
        let limit = process.lifespan.memory_hard.filter(|most| memory >= *most && !process.is_killed())?;
        let failure = Failure { kind: FailureKind::Memory { used: memory, limit }, output: Vec::new() };
        self.lost(id, now, |_| failure.clone(), Process::kill);
        Some(failure)
    }

    /// It has so many processes. Some: that is more than it may have, and it is killed at once.
    pub fn has_processes(&mut self, id: ProcessId, count: u64, now: Instant) -> Option<Failure> {
        let process = self.find_mut(id)?;
        let limit = process.lifespan.processes.filter(|most| count > *most && !process.is_killed())?;
        let failure = Failure { kind: FailureKind::Processes { count, limit }, output: Vec::new() };
        self.lost(id, now, |_| failure.clone(), Process::kill);
        Some(failure)
    }

    /// It takes, or took, more than it ever may.
    pub fn is_too_large(&self, id: ProcessId) -> bool {
        let process = self.find(id);
        process.is_some_and(|process| process.lifespan.memory_hard.is_some_and(|most| process.memory >= Some(most)))
    }

    /// Why it is to be replaced, or was.
    pub fn worn(&self, id: ProcessId) -> Option<Worn> {
        self.find(id)?.worn
    }

    /// Those that have served their time by now are to be replaced.
    pub(super) fn wear_out(&mut self, now: Instant) {
        if !self.wears_out() {
            return;
        }
        for process in self.processes.iter_mut().filter(|process| process.is_overdue(now)) {
            process.worn = process.wears(now);
        }
    }

    /// A walk brings new processes anyway. One whose time is over meanwhile is seen to afterwards: else a walk might never end.
    pub(super) fn wears_out(&self) -> bool {
        self.walk.is_none() && self.ending == Ending::No && !self.keeps_all()
    }

    /// When the age of a process will be over, or the time that it has for all its memory.
    pub(super) fn old_age(&self) -> impl Iterator<Item = Instant> {
        let young = self.processes.iter().filter(|process| self.wears_out() && process.is_serving() && process.worn.is_none());
        young.flat_map(|process| {
            let age = process.lifespan.age.map(|age| process.created + age);
            age.into_iter().chain(process.settles().filter(|_| process.is_heavy()))
        })
    }

    /// The one before has not left yet.
    pub(super) fn is_recycling(&self) -> bool {
        self.processes.iter().any(|process| process.worn.is_some() && process.is_leaving() && !process.outlasts)
    }
}

/// A boot is a tenth of a process's life, or less.
const BOOTS: u32 = 10;
const GOLDEN_RATIO: u32 = 0x9e37_79b9;
const TENTH: u128 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_started_together_does_not_go_together_and_nothing_lives_longer_than_it_may() {
        for count in 2..20 {
            let mut limits: Vec<u64> = (1..=count).map(|serial| spread(10_000, serial)).collect();
            limits.sort_unstable();
            assert!(limits[0] > 9_000 && limits[limits.len() - 1] <= 10_000, "{limits:?}");
            let nearest = limits.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap();
            assert!(nearest >= 1_000 / (3 * u64::from(count)), "of {count} two are {nearest} apart: {limits:?}");
        }
    }

    #[test]
    fn the_smallest_and_the_largest_limits_stay_what_they_are_for() {
        assert_eq!((1..100).map(|serial| spread(1, serial)).min(), Some(1));
        assert!(spread(u64::MAX, 1) >= u64::MAX / 10 * 9);
        let year = Duration::from_secs(365 * 24 * 3600);
        let lifespan = of_process(Lifespan { age: Some(year), ..Lifespan::default() }, 7);
        assert!(lifespan.age.is_some_and(|age| age > year.mul_f64(0.9) && age <= year));
    }
}
