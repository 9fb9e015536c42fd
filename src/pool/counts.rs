//! What has happened to an app since rota was started: numbers that never go down, whatever becomes of its processes and its configuration.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::group::LastFailure;
use super::*;

/// Words are those of [`FailureKind::label`] and [`Outcome::label`]; one that is not there has not happened.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Processes that were started.
    pub starts: u64,
    /// How walks have ended.
    pub walks: BTreeMap<String, u64>,
    /// Of processes, and of releases that could not be started from.
    pub failures: BTreeMap<String, u64>,
}

impl Counts {
    pub(super) fn add(counts: &mut BTreeMap<String, u64>, label: &'static str) {
        match counts.get_mut(label) {
            Some(count) => *count += 1,
            None => drop(counts.insert(label.to_owned(), 1)),
        }
    }

    /// And these, of before.
    fn put_back(&mut self, before: &Counts) {
        self.starts += before.starts;
        for (own, others) in [(&mut self.walks, &before.walks), (&mut self.failures, &before.failures)] {
            others.iter().for_each(|(label, count)| *own.entry(label.clone()).or_default() += count);
        }
    }
}

impl<W> Group<W> {
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Goes on from what was counted before.
    pub fn put_back_counts(&mut self, before: &Counts) {
        self.counts.put_back(before);
    }

    /// The last failure, of any kind.
    pub(super) fn has_failed(&mut self, number: Number, generation: Generation, failure: Failure, now: Instant) {
        Counts::add(&mut self.counts.failures, failure.kind.label());
        self.last_failure = Some(LastFailure { of: self.name(number, generation), failure, at: now });
    }
}

impl FailureKind {
    /// One word, for programs.
    pub fn label(&self) -> &'static str {
        match self {
            FailureKind::Release(_) => "release",
            FailureKind::Spawn(_) => "spawn",
            FailureKind::NoCommand(_) => "no_command",
            FailureKind::Command(_) => "command",
            FailureKind::User(_) => "user",
            FailureKind::Exited { .. } => "exited",
            FailureKind::Crashed { .. } => "crashed",
            FailureKind::NotReady { .. } => "not_ready",
            FailureKind::Refused(_) => "refused",
            FailureKind::Processes { .. } => "processes",
            FailureKind::Memory { .. } => "memory",
            FailureKind::Background { .. } => "background",
            FailureKind::WrongListener(_) => "wrong_listener",
            FailureKind::PortTaken { .. } => "port_taken",
            FailureKind::Held { kind, .. } => kind.label(),
            FailureKind::Thread(_) => "thread",
            FailureKind::Baked(_) => "bake",
        }
    }

    /// All of them.
    pub const LABELS: [&str; 16] = [
        "release",
        "spawn",
        "no_command",
        "command",
        "user",
        "exited",
        "crashed",
        "not_ready",
        "refused",
        "processes",
        "memory",
        "background",
        "wrong_listener",
        "port_taken",
        "thread",
        "bake",
    ];
}

impl Outcome {
    /// One word, for programs.
    pub fn label(&self) -> &'static str {
        match self {
            Outcome::Done | Outcome::Turned(_) => "done",
            Outcome::Failed { .. } => "failed",
            Outcome::RolledBack { .. } => "rolled_back",
            Outcome::Superseded { .. } => "superseded",
            Outcome::Aborted { .. } => "aborted",
            Outcome::Stopped => "stopped",
        }
    }

    /// All of them.
    pub const LABELS: [&str; 6] = ["done", "failed", "rolled_back", "superseded", "aborted", "stopped"];
}
