//! The naive judge of a release that is watched: every answer is kept, and the two heaps are compared.

use std::time::{Duration, Instant};

use rota::config::BakeConfig;
use rota::ids::Generation;
use rota::pool::Ended;

#[derive(Debug)]
pub struct Trial {
    pub of: Generation,
    pub end: Instant,
    limits: BakeConfig,
    new: Vec<Answer>,
    old: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    took: Duration,
    failed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    Worse,
    /// The pool rounds times down, by a third at most: either may be said.
    Close,
    NotWorse,
}

impl Trial {
    pub fn new(of: Generation, limits: BakeConfig, now: Instant) -> Self {
        Self { of, end: now + limits.time, limits, new: Vec::new(), old: Vec::new() }
    }

    pub fn answer(&mut self, generation: Generation, ended: Ended, took: Duration) {
        let failed = match ended {
            Ended::Answered(status) => status >= 500,
            Ended::AppFailed => true,
            Ended::Cut | Ended::Unused => return,
        };
        let side = if generation == self.of { &mut self.new } else { &mut self.old };
        side.push(Answer { took, failed });
    }

    pub fn verdict(&self, now: Instant) -> Verdict {
        if now < self.end && self.new.len() < ENOUGH {
            return Verdict::NotWorse;
        }
        if percent(&self.new) > percent(&self.old) + f64::from(self.limits.max_5xx) {
            return Verdict::Worse;
        }
        if self.new.len() < ENOUGH || self.old.len() < ENOUGH {
            return Verdict::NotWorse;
        }
        let (new, old) = (median(&self.new), median(&self.old));
        let worse = |new: f64, old: f64| new > old * f64::from(self.limits.max_slowdown) && new > old + 0.020;
        match (worse(new / ROUNDING, old), worse(new, old / ROUNDING)) {
            (true, _) => Verdict::Worse,
            (false, true) => Verdict::Close,
            (false, false) => Verdict::NotWorse,
        }
    }
}

fn percent(answers: &[Answer]) -> f64 {
    let failed = answers.iter().filter(|answer| answer.failed).count();
    if failed == 0 { 0.0 } else { failed as f64 / answers.len() as f64 * 100.0 }
}

fn median(answers: &[Answer]) -> f64 {
    let mut times: Vec<Duration> = answers.iter().map(|answer| answer.took).collect();
    times.sort();
    times[(times.len() - 1) / 2].as_secs_f64()
}

const ENOUGH: usize = 20;
/// A time is between what the pool takes it for and so many times that.
const ROUNDING: f64 = 1.5;
