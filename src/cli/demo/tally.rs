//! What the demo has counted. Pure: samples and times come in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::client::Failure;
use super::load::{Answer, Sample};

/// The books of one demo.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests that met no restart.
    pub steady: Part,
    /// Requests of which at least a moment fell into a restart.
    pub restarting: Part,
    pub failures: BTreeMap<Failure, u64>,
    /// From when to when each restart ran; the last may still run.
    restarts: Vec<(Instant, Option<Instant>)>,
    /// When the good answers of the last second came, and from which version.
    recent: VecDeque<(Instant, u32)>,
    processes: BTreeSet<u16>,
}

/// Requests counted together.
#[derive(Debug, Default)]
pub struct Part {
    pub requests: u64,
    pub failed: u64,
    /// Of good answers, in microseconds, in the order they came.
    took: Vec<u32>,
}

/// Three numbers that say how long good answers took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    pub p50: Duration,
    pub p99: Duration,
    pub longest: Duration,
}

impl Tally {
    pub fn add(&mut self, sample: Sample) {
        let Sample { due, took, answer } = sample;
        let end = due + took;
        let met_a_restart = self.restarts.iter().any(|&(from, to)| end >= from && to.is_none_or(|to| due <= to));
        let part = if met_a_restart { &mut self.restarting } else { &mut self.steady };
        part.requests += 1;
        match answer {
            Ok(Answer { version, process }) => {
                part.took.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
                self.recent.push_back((end, version));
                self.processes.insert(process);
            }
            Err(failure) => {
                part.failed += 1;
                *self.failures.entry(failure).or_default() += 1;
            }
        }
    }

    pub fn restart_begins(&mut self, now: Instant) {
        self.restarts.push((now, None));
    }

    pub fn restart_ends(&mut self, now: Instant) {
        if let Some((_, end)) = self.restarts.last_mut() {
            *end = Some(now);
        }
    }

    pub fn requests(&self) -> u64 {
        self.steady.requests + self.restarting.requests
    }

    pub fn failed(&self) -> u64 {
        self.steady.failed + self.restarting.failed
    }

    /// How many processes have given a good answer so far, told apart by their number.
    pub fn processes_seen(&self) -> usize {
        self.processes.len()
    }

    /// Good answers of the last second, by version, oldest version first.
    pub fn last_second(&mut self, now: Instant) -> Vec<(u32, u32)> {
        // They come in the order of the threads, a few ms out of order at most.
        while self.recent.front().is_some_and(|&(at, _)| at + Duration::from_secs(1) < now) {
            self.recent.pop_front();
        }
        let mut counts = BTreeMap::new();
        for &(_, version) in &self.recent {
            *counts.entry(version).or_default() += 1;
        }
        counts.into_iter().collect()
    }
}

impl Part {
    /// None: no good answer.
    pub fn latency(&self) -> Option<Latency> {
        let mut sorted = self.took.clone();
        sorted.sort_unstable();
        let longest = *sorted.last()?;
        // Nearest rank: the smallest value that `share` percent do not exceed.
        let rank = |share: usize| sorted[(sorted.len() * share).div_ceil(100).max(1) - 1];
        let time = |micros: u32| Duration::from_micros(micros.into());
        Some(Latency { p50: time(rank(50)), p99: time(rank(99)), longest: time(longest) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn good(due: Instant, took: Duration, version: u32) -> Sample {
        Sample { due, took, answer: Ok(Answer { version, process: 1 }) }
    }

    #[test]
    fn a_request_belongs_to_a_restart_when_they_overlap() {
        let start = Instant::now();
        let mut tally = Tally::default();
        tally.restart_begins(start + 100 * MS);
        tally.add(good(start, 50 * MS, 1)); // ended before
        tally.add(good(start + 90 * MS, 20 * MS, 1)); // reaches into it
        tally.add(good(start + 120 * MS, 5 * MS, 1));
        tally.restart_ends(start + 200 * MS);
        tally.add(good(start + 195 * MS, 20 * MS, 2)); // reaches out of it
        tally.add(good(start + 201 * MS, 5 * MS, 2)); // began after
        assert_eq!((tally.steady.requests, tally.restarting.requests), (2, 3));
    }

    #[test]
    fn failures_are_counted_by_name_and_have_no_latency() {
        let start = Instant::now();
        let mut tally = Tally::default();
        tally.add(good(start, 3 * MS, 1));
        for failure in [Failure::Reset, Failure::Status(502), Failure::Reset] {
            tally.add(Sample { due: start, took: 900 * MS, answer: Err(failure) });
        }
        assert_eq!((tally.requests(), tally.failed()), (4, 3));
        assert_eq!(tally.failures.into_iter().collect::<Vec<_>>(), [(Failure::Reset, 2), (Failure::Status(502), 1)]);
        assert_eq!(tally.steady.latency(), Some(Latency { p50: 3 * MS, p99: 3 * MS, longest: 3 * MS }));
        assert_eq!(tally.restarting.latency(), None);
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut tally = Tally::default();
        for ms in (1..=200).rev() {
            tally.add(good(Instant::now(), ms * MS, 1));
        }
        assert_eq!(tally.steady.latency(), Some(Latency { p50: 100 * MS, p99: 198 * MS, longest: 200 * MS }));
    }

    #[test]
    fn only_the_last_second_counts_for_the_shares() {
        let start = Instant::now();
        let mut tally = Tally::default();
        tally.add(good(start, MS, 1));
        tally.add(good(start + 500 * MS, MS, 1));
        tally.add(good(start + 900 * MS, MS, 2));
        tally.add(good(start + 910 * MS, MS, 2));
        assert_eq!(tally.last_second(start + 1200 * MS), [(1, 1), (2, 2)]);
        assert_eq!(tally.last_second(start + 5000 * MS), []);
    }
}
