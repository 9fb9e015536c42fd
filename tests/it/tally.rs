//! Every reply counted by name: kind of traffic, and what came of it.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use crate::wire::Trouble;

/// What came of one request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Result_ {
    Ok,
    Status(u16),
    Trouble(Trouble),
    WrongBody,
    /// A stream ended before its client wanted it to, in the way that its protocol has for that. Not a failure.
    Ended,
}

/// The count of a load, and which versions answered when.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: BTreeMap<(&'static str, Result_), usize>,
    /// When the request was sent, and the version that answered.
    versions: Vec<(Instant, String)>,
}

impl Tally {
    pub fn count(&mut self, kind: &'static str, result: Result_) {
        *self.counts.entry((kind, result)).or_default() += 1;
    }

    pub fn saw(&mut self, sent: Instant, version: &str) {
        self.versions.push((sent, version.to_owned()));
    }

    pub fn add(&mut self, other: Tally) {
        for ((kind, result), count) in other.counts {
            *self.counts.entry((kind, result)).or_default() += count;
        }
        self.versions.extend(other.versions);
    }

    pub fn total(&self) -> usize {
        self.counts.values().sum()
    }

    pub fn failed(&self) -> usize {
        self.counts.iter().filter(|((_, result), _)| !matches!(result, Result_::Ok | Result_::Ended)).map(|(_, count)| count).sum()
    }

    /// How many of a kind came out so.
    pub fn of(&self, kind: &str, result: &Result_) -> usize {
        self.counts.iter().filter(|((k, r), _)| *k == kind && r == result).map(|(_, count)| count).sum()
    }

    /// Each kind, what came of it, and how often.
    pub fn results(&self) -> impl Iterator<Item = (&'static str, &Result_, usize)> {
        self.counts.iter().map(|((kind, result), count)| (*kind, result, *count))
    }

    /// Zero is the number, and every kind of traffic took part.
    #[track_caller]
    pub fn expect_no_failure(&self, kinds: &[&'static str]) {
        assert_eq!(self.failed(), 0, "of {} requests:\n{self}", self.total());
        for kind in kinds {
            assert!(self.of(kind, &Result_::Ok) > 0, "no {kind} took part:\n{self}");
        }
    }

    /// Every answer that names its version, and when its request was sent.
    pub fn versions(&self) -> impl Iterator<Item = (Instant, &str)> {
        self.versions.iter().map(|(sent, version)| (*sent, version.as_str()))
    }

    /// Versions that answered, each once.
    pub fn version_names(&self) -> Vec<String> {
        self.versions_where(|_| true)
    }

    /// Versions that answered requests sent at or after `since`, each once.
    pub fn versions_since(&self, since: Instant) -> Vec<String> {
        self.versions_where(|at| at >= since)
    }

    fn versions_where(&self, counts: impl Fn(Instant) -> bool) -> Vec<String> {
        let mut versions: Vec<String> = self.versions.iter().filter(|(at, _)| counts(*at)).map(|(_, version)| version.clone()).collect();
        versions.sort();
        versions.dedup();
        versions
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((kind, result), count) in &self.counts {
            writeln!(f, "  {kind:<12} {:<24} {count:>7}", format!("{result:?}"))?;
        }
        Ok(())
    }
}
