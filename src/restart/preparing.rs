//! Walks whose release is being prepared by an errand ([`crate::errands::prepare`]): begun, waited for within a limit, given up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Restart;
use super::saving::After;
use crate::errands::pace::Pace;
use crate::errands::prepare::{self, Job, PREPARED_IN, Prepared};
use crate::ids::{Generation, GroupId};
use crate::pool::{Ask, Failure, FailureKind};

/// An errand that has not answered.
#[derive(Debug)]
pub(super) struct Preparing {
    generation: Generation,
    pace: Pace,
    since: Instant,
    pub until: Instant,
    /// What it did when it was given up.
    given_up: Option<String>,
    /// Asked for when this one had been called off.
    next: Option<Ask>,
}

impl Preparing {
    /// When it is given up, if it is not yet.
    pub fn deadline(&self) -> Option<Instant> {
        self.given_up.is_none().then_some(self.until)
    }
}

impl Restart {
    pub(super) fn resolve(&mut self, group: GroupId, ask: &Ask) {
        let now = Instant::now();
        if let Some(older) = self.preparing.get_mut(&group) {
            let Some(step) = &older.given_up else {
                older.next = Some(ask.clone());
                return;
            };
            let for_s = now.saturating_duration_since(older.since).as_secs();
            let why = format!("nothing can be prepared, as {} is {step} for {for_s} s now", older.generation);
            return self.not_prepared(group, ask.generation, why);
        }
        let record = self.shared.table.lock().records[group.index()].clone();
        // It ends by itself, and says why, before it is given up.
        let pace = Pace::new(PREPARED_IN * 3 / 4);
        let job = Job { group, ask: ask.clone(), record, lending: self.to_open(group), pace: pace.clone() };
        if let Err(error) = prepare::start(&self.shared, job) {
            return self.not_prepared(group, ask.generation, format!("a thread to prepare it: {error}"));
        }
        let (generation, until) = (ask.generation, now + PREPARED_IN);
        self.preparing.insert(group, Preparing { generation, pace, since: now, until, given_up: None, next: None });
    }

    /// An app whose preparation takes longer than it may.
    pub(super) fn overdue(&self, now: Instant) -> Option<GroupId> {
        let is_overdue = |preparing: &Preparing| preparing.deadline().is_some_and(|at| at <= now);
        self.preparing.iter().find(|(_, preparing)| is_overdue(preparing)).map(|(group, _)| *group)
    }

    pub(super) fn give_up(&mut self, group: GroupId) {
        let Some(preparing) = self.preparing.get_mut(&group) else { return };
        let step = preparing.pace.step().unwrap_or_else(|| "being begun".to_owned());
        let (generation, next) = (preparing.generation, preparing.next.take());
        preparing.given_up = Some(step.clone());
        for generation in std::iter::once(generation).chain(next.map(|ask| ask.generation)) {
            self.not_prepared(group, generation, format!("{generation} was not prepared within {} s: {step}", PREPARED_IN.as_secs()));
        }
    }

    /// rota did not run for so long.
    pub(super) fn put_off_preparing(&mut self, by: Duration) {
        self.preparing.values_mut().for_each(|preparing| preparing.until += by);
    }

    fn not_prepared(&self, group: GroupId, generation: Generation, why: String) {
        self.fail(group, generation, Failure { kind: FailureKind::Release(why), output: Vec::new() });
    }

    fn fail(&self, group: GroupId, generation: Generation, failure: Failure) {
        self.shared.table.lock().pool.group_mut(group).resolved(generation, Err(failure), Instant::now());
    }

    pub(super) fn prepared(&mut self, group: GroupId, generation: Generation, result: Result<Box<Prepared>, Failure>) {
        let was = self.preparing.remove(&group);
        let app = self.shared.app(group);
        let Preparing { given_up, next, since, .. } = match was {
            Some(was) if was.generation == generation => was,
            // There is one at a time.
            Some(_) | None => return,
        };
        if given_up.is_some() {
            log::info!("{} {generation}: its preparation came back after {} s", app.name, since.elapsed().as_secs());
        } else if self.shared.table.lock().pool.group(group).is_preparing(generation) {
            match result {
                Ok(prepared) => self.begin(group, generation, *prepared),
                Err(failure) => self.fail(group, generation, failure),
            }
        }
        if let Some(next) = next {
            self.resolve(group, &next);
        }
    }

    fn begin(&mut self, group: GroupId, generation: Generation, Prepared { release, opened }: Prepared) {
        let app = &self.shared.app(group).name;
        match &release.named {
            Some(named) if *named != release.root => {
                log::info!("{app} {generation}: from {}; its root names {}", release.root.display(), named.display());
            }
            Some(_) | None => log::info!("{app} {generation}: from {}", release.root.display()),
        }
        if let Some(why) = &release.detected {
            log::info!("{app} {generation}: by {why}: {}", shell_words::join(&release.command));
        }
        let release = Arc::new(release);
        let root = release.root.clone();
        self.write_down(group, |record| record.begin(generation, &root), After::Begun { generation, release, opened });
    }
}
