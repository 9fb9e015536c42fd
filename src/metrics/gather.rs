//! Fills the page: what was counted, and how it is now. On the thread of whoever is asked; takes the lock for a look.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::families as of;
use super::page::{Form, Page, Samples};
use super::tally::{CLASSES, Sums};
use crate::access_log::By;
use crate::http::refusal::{Blame, Refusal};
use crate::pool::{Counts, FailureKind, GroupView, Outcome};
use crate::samples::Sample;
use crate::table::Shared;

/// What there is to be said of an app.
struct AppMetrics {
    name: String,
    sums: Sums,
    view: GroupView,
    counts: Counts,
    /// None: not known.
    memory: Option<u64>,
}

/// Everything as text. `samples`: what the processes take, by pid. None: not known.
pub fn text(shared: &Shared, samples: Option<&HashMap<u32, Sample>>, form: Form, now: Instant) -> String {
    let apps = apps(shared, samples, now);
    let mut page = Page::new(form);
    requests(&mut page, &apps, shared);
    queues(&mut page, &apps);
    processes(&mut page, &apps);
    server(&mut page, shared);
    page.finish()
}

/// Those that are served, and those that have processes still.
fn apps(shared: &Shared, samples: Option<&HashMap<u32, Sample>>, now: Instant) -> Vec<AppMetrics> {
    let catalog = shared.catalog();
    let state = shared.table.lock();
    let there = state.pool.groups().filter(|group| !group.is_removed() || group.ids(false).next().is_some());
    let views: Vec<_> = there.map(|group| (group.id(), group.view(now), group.counts().clone())).collect();
    drop(state);
    let known = views.into_iter().filter_map(|(group, view, counts)| Some((catalog.get(group)?, view, counts)));
    known
        .map(|(app, view, counts)| {
            let pids = || view.processes.iter().filter_map(|process| process.pid);
            let memory = samples.and_then(|samples| pids().map(|pid| samples.get(&pid).map(|sample| sample.memory)).sum());
            AppMetrics { name: app.config.name.to_string(), sums: app.ledger.meter.sums(), view, counts, memory }
        })
        .collect()
}

fn requests(page: &mut Page, apps: &[AppMetrics], shared: &Shared) {
    let mut samples = page.family(&of::REQUESTS);
    for app in apps {
        answers(&mut samples, app);
    }
    let mut samples = page.family(&of::FAILURES);
    for app in apps {
        for (cause, count) in Refusal::all().zip(app.sums.causes).filter(|(cause, count)| is_worth_zero(cause) || *count > 0) {
            samples.add(&[&app.name, cause.label(), cause.blame().word()], count);
        }
    }
    let mut samples = page.family(&of::REFUSED);
    let refused = shared.catalog().logs.access.strays().sums();
    for (cause, count) in Refusal::all().zip(refused.causes).filter(|(_, count)| *count > 0) {
        samples.add(&[cause.label(), cause.blame().word()], count);
    }
    let spreads = [(&of::DURATION, 0), (&of::WITH_APP, 1), (&of::QUEUED, 2)];
    for (family, which) in spreads {
        let mut samples = page.family(family);
        for app in apps {
            samples.spread(&[&app.name], [&app.sums.total, &app.sums.app, &app.sums.queue][which]);
        }
    }
    each(page.family(&of::RECEIVED), apps, |app| Some(app.sums.received));
    each(page.family(&of::SENT), apps, |app| Some(app.sums.sent));
}

/// Somebody may want to be told of the first one, which is a rise from zero. What clients do wrong is no such thing.
fn is_worth_zero(cause: &Refusal) -> bool {
    cause.blame() != Blame::Client && !matches!(cause, Refusal::BrokenApp | Refusal::TooManyConnections)
}

fn answers(samples: &mut Samples<'_>, app: &AppMetrics) {
    let mut nobody = 0;
    for by in By::ALL {
        for class in 0..CLASSES {
            let count = app.sums.answers[by as usize * CLASSES + class];
            let code = match class {
                0 => {
                    nobody += count;
                    continue;
                }
                1..=5 => format!("{class}xx"),
                _ => "other".to_owned(),
            };
            let is_usual = match by {
                By::App => (2..=5).contains(&class),
                By::File => (2..=4).contains(&class),
                By::Rota => class == 4 || class == 5,
            };
            // The two classes beyond 5xx are one to whoever asks.
            let count = if class == CLASSES - 2 { count + app.sums.answers[by as usize * CLASSES + class + 1] } else { count };
            if class < CLASSES - 1 && (is_usual || count > 0) {
                samples.add(&[&app.name, by.word(), &code], count);
            }
        }
    }
    samples.add(&[&app.name, "nobody", "none"], nobody);
}

fn each<T: std::fmt::Display>(mut samples: Samples<'_>, apps: &[AppMetrics], value: impl Fn(&AppMetrics) -> Option<T>) {
    for app in apps {
        if let Some(value) = value(app) {
            samples.add(&[&app.name], value);
        }
    }
}

fn queues(page: &mut Page, apps: &[AppMetrics]) {
    each(page.family(&of::IN_FLIGHT), apps, |app| Some(app.view.processes.iter().map(|process| process.sessions).sum::<u32>()));
    let serving =
        |app: &AppMetrics| app.view.processes.iter().filter(|process| process.state == "serving").map(|process| process.slots).sum::<u32>();
    each(page.family(&of::SLOTS), apps, |app| Some(serving(app)));
    each(page.family(&of::QUEUE_LENGTH), apps, |app| Some(app.view.queue_len));
    each(page.family(&of::QUEUE_LIMIT), apps, |app| Some(app.view.queue_max));
    each(page.family(&of::QUEUE_AGE), apps, |app| Some(app.view.queue_age.unwrap_or_default().as_secs_f64()));
}

fn processes(page: &mut Page, apps: &[AppMetrics]) {
    let mut samples = page.family(&of::PROCESSES);
    for app in apps {
        for state in STATES {
            let count = app.view.processes.iter().filter(|process| process.state == state).count();
            samples.add(&[&app.name, state], count);
        }
    }
    each(page.family(&of::WANTED), apps, |app| Some(app.view.processes_wanted));
    each(page.family(&of::STARTS), apps, |app| Some(app.counts.starts));
    for (family, labels) in [(&of::PROCESS_FAILURES, &FailureKind::LABELS[..]), (&of::WALKS, &Outcome::LABELS[..])] {
        let mut samples = page.family(family);
        for app in apps {
            let counted = if family.name == of::WALKS.name { &app.counts.walks } else { &app.counts.failures };
            for label in labels {
                samples.add(&[&app.name, label], counted.get(*label).copied().unwrap_or(0));
            }
        }
    }
    each(page.family(&of::WALKING), apps, |app| Some(u8::from(app.view.walk.is_some())));
    each(page.family(&of::RESISTS), apps, |app| Some(u8::from(app.view.resists.is_some())));
    each(page.family(&of::PAUSED), apps, |app| Some(u8::from(app.view.pause.is_some())));
    each(page.family(&of::GENERATION), apps, |app| app.view.good.map(|generation| generation.0));
    each(page.family(&of::MEMORY), apps, |app| app.memory);
}

fn server(page: &mut Page, shared: &Shared) {
    let catalog = shared.catalog();
    let server = &catalog.server;
    page.family(&of::CONNECTIONS).add(&[], shared.connections.open());
    page.family(&of::CONNECTIONS_LIMIT).add(&[], server.limits.connections);
    page.family(&of::ACCEPTED).add(&[], shared.connections.ever());
    page.family(&of::SPOOL).add(&[], shared.spool.bytes());
    page.family(&of::SPOOL_LIMIT).add(&[], server.spool_max);
    page.family(&of::BROKEN).add(&[], catalog.broken.len());
    page.family(&of::DRAINED).add(&[], u8::from(shared.drained.load(Ordering::Relaxed)));
    page.family(&of::STARTED).add(&[], shared.started);
    page.family(&of::BUILD).add(&[env!("CARGO_PKG_VERSION")], 1);
}

/// As the status has them.
const STATES: [&str; 5] = ["starting", "ready", "serving", "draining", "stopping"];
