//! When a process is replaced though nothing speaks against its release: it has served its time, or somebody wants it gone. The replacement
//! is the step that every replacement is: a new one of the good release first, one at a time, and never during a walk, which replaces anyway.

use super::group::Ending;
use super::process::Process;
use super::*;

/// Why a process is to be replaced by another of the same release. `Display` is a phrase that goes on after "replaced".
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Worn {
    /// Somebody asked for it.
    Asked,
    /// It has had so many.
    Requests(u64),
    /// It was started so long ago.
    Age(Duration),
    /// It has had a request for so long that nobody waits for it any more, and does not end it.
    Stuck(Duration),
}

/// The limits of one process: what the configuration says less up to a tenth, each process by another share, so that those that were started
/// together do not go together. What is configured is never exceeded for it.
pub fn of_process(lifespan: Lifespan, serial: u32) -> Lifespan {
    let Lifespan { requests, age } = lifespan;
    let nanoseconds = |age: Duration| u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
    Lifespan {
        requests: requests.map(|most| spread(most, serial)),
        age: age.map(|most| Duration::from_nanos(spread(nanoseconds(most), serial))),
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
        let stuck = self.stuck.map(Worn::Stuck);
        let requests = || self.lifespan.requests.filter(|most| self.processed >= *most).map(|_| Worn::Requests(self.processed));
        stuck.or_else(requests).or_else(|| self.lifespan.age.filter(|most| age >= *most).map(|_| Worn::Age(age)))
    }
}

impl<W> Group<W> {
    /// Has the process that serves at `number` replaced by one of the same release. None: none does.
    pub fn recycle(&mut self, number: Number) -> Option<ProcessId> {
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
        self.walk.is_none() && self.ending == Ending::No
    }

    /// When the age of a process will be over.
    pub(super) fn old_age(&self) -> impl Iterator<Item = Instant> {
        let young = self.processes.iter().filter(|process| self.wears_out() && process.is_serving() && process.worn.is_none());
        young.filter_map(|process| Some(process.created + process.lifespan.age?))
    }

    /// The one before has not left yet.
    pub(super) fn is_recycling(&self) -> bool {
        self.processes.iter().any(|process| process.worn.is_some() && process.is_leaving())
    }
}

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
        let lifespan = of_process(Lifespan { requests: None, age: Some(year) }, 7);
        assert!(lifespan.age.is_some_and(|age| age > year.mul_f64(0.9) && age <= year));
    }
}
