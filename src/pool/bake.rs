//! Watching a new release in service: after its first process serves, what it answers is compared with what the older processes answer in
//! the same time, before a second one is replaced. One that refuses at its readiness path what the release before it answered does not serve
//! at all.

use std::time::{Duration, Instant};

use super::process::Process;
use super::walk::Walk;
use super::*;

/// How far the watching is. A walk without any is [`Baking::Passed`] from its beginning.
#[derive(Debug, Serialize, Deserialize)]
pub enum Baking {
    /// Until a process of the release serves and has proved itself.
    Waits(BakeConfig),
    Runs(Box<Trial>),
    Passed,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Trial {
    limits: BakeConfig,
    #[serde(with = "crate::moment")]
    pub since: Instant,
    /// The first process of the release.
    pub number: Number,
    new: Sample,
    old: Sample,
}

/// What one side answered.
#[derive(Debug, Serialize, Deserialize)]
struct Sample {
    answered: u32,
    /// With a 5xx, or not at all.
    failed: u32,
    /// With a 4xx.
    refused: u32,
    /// How many took how long, by [`bucket`].
    #[serde(with = "times")]
    times: [u32; BUCKETS],
}

/// Longer than what serde has for arrays.
mod times {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BUCKETS;

    pub fn serialize<S: Serializer>(times: &[u32; BUCKETS], serializer: S) -> Result<S::Ok, S::Error> {
        times.as_slice().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u32; BUCKETS], D::Error> {
        let times = Vec::<u32>::deserialize(deserializer)?;
        times.try_into().map_err(|times: Vec<u32>| D::Error::custom(format!("{} times, where there are {BUCKETS}", times.len())))
    }
}

impl<W> Group<W> {
    /// Begins the watching when its time has come, and ends it with a verdict.
    pub(super) fn bake(&mut self, now: Instant) {
        // Also of a walk that began before anything could be compared with: the release before it has proved itself meanwhile.
        let compares = self.settings.bake.is_some() && self.good.is_some();
        let target = self.walk.as_ref().filter(|walk| compares && walk.is_compared()).map(|walk| walk.target);
        if let Some((at, turned)) = target.and_then(|target| self.turned(target)) {
            if let Some(walk) = &mut self.walk {
                walk.answers_are_judged = true;
            }
            return self.bake_failed(at, turned.to_string(), now);
        }
        let Some(walk) = self.walk.as_mut().filter(|walk| walk.back.is_none()) else { return };
        match &walk.bake {
            Baking::Passed => {}
            Baking::Waits(limits) => {
                let serves = |process: &&Process| process.is_serving() && process.proven && process.generation == walk.target;
                if let Some(first) = self.processes.iter().find(serves) {
                    walk.bake = Baking::Runs(Box::new(Trial::new(*limits, first.number, now)));
                }
            }
            Baking::Runs(trial) => {
                let over = now >= trial.end();
                let at = trial.number;
                match trial.verdict(over) {
                    Some(why) => self.bake_failed(at, why, now),
                    None if over => walk.bake = Baking::Passed,
                    None => {}
                }
            }
        }
    }

    fn bake_failed(&mut self, at: Number, why: String, now: Instant) {
        let Some(walk) = self.walk.as_mut() else { return };
        walk.bake = Baking::Passed;
        let generation = walk.target;
        let failure = Failure { kind: FailureKind::Baked(why), output: Vec::new() };
        self.has_failed(at, generation, failure.clone(), now);
        self.start_failure(at, generation, failure, now);
    }

    /// Books an answer, if a release is watched.
    pub(super) fn taste(&mut self, generation: Generation, ended: Ended, took: Duration) {
        let Some(Walk { bake: Baking::Runs(trial), target, .. }) = &mut self.walk else { return };
        let (failed, refused) = match ended {
            Ended::Answered(status) => (status >= 500, (400..500).contains(&status)),
            Ended::AppFailed => (true, false),
            Ended::Cut | Ended::Unused => return,
        };
        let sample = if generation == *target { &mut trial.new } else { &mut trial.old };
        sample.answered += 1;
        sample.failed += u32::from(failed);
        sample.refused += u32::from(refused);
        sample.times[bucket(took)] += 1;
    }
}

impl Walk {
    /// What its processes answered when they became ready is still to be compared with the release before.
    fn is_compared(&self) -> bool {
        self.back.is_none() && !self.answers_are_judged && matches!(self.ask.aim, Aim::Root | Aim::Deploy(_))
    }

    pub(super) fn is_baked(&self) -> bool {
        matches!(self.bake, Baking::Passed)
    }

    /// As [`Process::put_off`], for the watching.
    pub(super) fn put_off(&mut self, from: Instant, until: Instant) {
        if let Baking::Runs(trial) = &mut self.bake
            && let at = trial.end()
            && at >= from
            && at < until
        {
            trial.since += until - at;
        }
    }

    pub(super) fn trial(&self) -> Option<&Trial> {
        match &self.bake {
            Baking::Runs(trial) => Some(trial),
            Baking::Waits(_) | Baking::Passed => None,
        }
    }
}

impl Trial {
    fn new(limits: BakeConfig, number: Number, now: Instant) -> Self {
        Self { limits, since: now, number, new: Sample::new(), old: Sample::new() }
    }

    pub fn end(&self) -> Instant {
        self.since + self.limits.time
    }

    /// Why the new release is worse. Before the time is over only when there are enough answers for a share to mean something.
    fn verdict(&self, over: bool) -> Option<String> {
        let enough = |sample: &Sample| sample.answered >= ENOUGH;
        if !over && !enough(&self.new) {
            return None;
        }
        if self.new.share(self.new.failed) > self.old.share(self.old.failed) + f64::from(self.limits.max_5xx) {
            let Sample { answered, failed, .. } = self.new;
            return Some(format!(
                "{failed} of its {answered} answers failed, {} of {} of the release before it in the same time",
                self.old.failed, self.old.answered
            ));
        }
        if !(enough(&self.new) && enough(&self.old)) {
            return None;
        }
        if self.new.share(self.new.refused) > self.old.share(self.old.refused) + f64::from(self.limits.max_refused) {
            let (Sample { answered, refused, .. }, old) = (&self.new, &self.old);
            let before = format!("{} of {} of the release before it in the same time", old.refused, old.answered);
            return Some(format!("{refused} of its {answered} answers were 4xx, {before}"));
        }
        let (new, old) = (self.new.median(), self.old.median());
        let slower = new > old * self.limits.max_slowdown.into() && new > old + NOTICEABLE;
        slower.then(|| format!("half of its answers took more than {} ms, {} ms before", new.as_millis(), old.as_millis()))
    }
}

impl Sample {
    fn new() -> Self {
        Self { answered: 0, failed: 0, refused: 0, times: [0; BUCKETS] }
    }

    /// `count` as so many of a hundred answers.
    fn share(&self, count: u32) -> f64 {
        if self.answered == 0 { 0.0 } else { f64::from(count) / f64::from(self.answered) * 100.0 }
    }

    fn median(&self) -> Duration {
        let mut below = 0;
        let half = self.answered.div_ceil(2);
        let at = self.times.iter().position(|count| {
            below += count;
            below >= half
        });
        least(at.unwrap_or(0))
    }
}

/// Two for each doubling of a microsecond: 1, 1.5, 2, 3, 4, 6, 8 ...
fn bucket(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    let doublings = micros.ilog2();
    let upper_half = doublings > 0 && micros >> (doublings - 1) & 1 == 1;
    (2 * doublings as usize + usize::from(upper_half)).min(BUCKETS - 1)
}

/// The shortest time of a bucket.
fn least(bucket: usize) -> Duration {
    let doubled = 1u64 << (bucket / 2);
    Duration::from_micros(if bucket.is_multiple_of(2) { doubled } else { doubled + doubled / 2 })
}

/// Up to 2^28 us, more than four minutes.
const BUCKETS: usize = 56;
/// With fewer answers one failure is a large share.
const ENOUGH: u32 = 20;
/// A median that is worse by less than this is no failure, however small the old one was.
const NOTICEABLE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: BakeConfig = BakeConfig { time: Duration::from_secs(10), max_5xx: 5, max_refused: 50, max_slowdown: 3 };

    fn trial(new: (u32, u32, u64), old: (u32, u32, u64)) -> Trial {
        let sample = |(answered, failed, millis)| {
            let mut sample = Sample { answered, failed, ..Sample::new() };
            sample.times[bucket(Duration::from_millis(millis))] = answered;
            sample
        };
        Trial { new: sample(new), old: sample(old), ..Trial::new(LIMITS, Number(1), Instant::now()) }
    }

    #[test]
    fn a_bucket_holds_the_times_up_to_the_next() {
        for bucket_at in 3..BUCKETS {
            assert_eq!(bucket(least(bucket_at)), bucket_at);
            assert_eq!(bucket(least(bucket_at) - Duration::from_micros(1)), bucket_at - 1);
        }
        assert_eq!((bucket(Duration::ZERO), bucket(Duration::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn more_failures_than_before_are_a_breach() {
        let why = "6 of its 100 answers failed, 0 of 300 of the release before it in the same time";
        assert_eq!(trial((100, 6, 5), (300, 0, 5)).verdict(false).as_deref(), Some(why));
        assert_eq!(trial((100, 5, 5), (300, 0, 5)).verdict(true), None);
        assert_eq!(trial((100, 14, 5), (300, 30, 5)).verdict(true), None, "the older one fails too");
    }

    #[test]
    fn many_more_refusals_than_before_are_a_breach_if_there_is_enough_to_compare() {
        let refusing = |new: (u32, u32), old: (u32, u32)| {
            let mut trial = trial((new.0, 0, 5), (old.0, 0, 5));
            (trial.new.refused, trial.old.refused) = (new.1, old.1);
            trial.verdict(false)
        };
        let why = "60 of its 100 answers were 4xx, 9 of 100 of the release before it in the same time";
        assert_eq!(refusing((100, 60), (100, 9)).as_deref(), Some(why));
        assert_eq!(refusing((100, 60), (100, 10)), None);
        assert_eq!(refusing((100, 100), (19, 0)), None, "a scanner that came to the new one alone");
    }

    #[test]
    fn a_few_answers_are_judged_only_at_the_end() {
        assert_eq!(trial((3, 1, 5), (9, 0, 5)).verdict(false), None);
        assert!(trial((3, 1, 5), (9, 0, 5)).verdict(true).is_some());
        assert_eq!(trial((0, 0, 5), (9, 0, 5)).verdict(true), None, "nobody came: nothing speaks against it");
    }

    #[test]
    fn a_median_several_times_as_long_is_a_breach_if_anybody_would_notice() {
        assert!(trial((50, 0, 400), (50, 0, 100)).verdict(false).is_some());
        assert_eq!(trial((50, 0, 250), (50, 0, 100)).verdict(true), None);
        assert_eq!(trial((50, 0, 15), (50, 0, 1)).verdict(true), None);
        assert_eq!(trial((50, 0, 400), (5, 0, 100)).verdict(true), None, "too few to compare with");
    }
}
