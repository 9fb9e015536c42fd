//! What is counted, and what balancers are told, as a value that can be written and read again by another rota: numbers have names, so that one that
//! knows more or fewer of them takes over what both know.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use super::tally::{ANSWERS, BOUNDS, BUCKETS, CLASSES, Spread, Sums, bucket};
use crate::access_log::By;
use crate::http::refusal::Refusal;
use crate::pool::Counts;
use crate::table::Shared;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    /// Balancers are told to go.
    pub drained: bool,
    /// Connections that were taken.
    pub connections: u64,
    /// Heads that became no request of an app, by cause.
    pub refused: BTreeMap<String, u64>,
    /// By name; also of those that are not in the configuration any more.
    pub apps: BTreeMap<String, OfApp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OfApp {
    pub requests: Requests,
    pub pool: Counts,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Requests {
    /// `app 2`: by a process, with 2xx.
    pub answers: BTreeMap<String, u64>,
    pub causes: BTreeMap<String, u64>,
    pub total: Times,
    pub app: Times,
    pub queue: Times,
    pub received: u64,
    pub sent: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Times {
    /// Nanoseconds, and how many were within them and not within the ones before.
    pub within: Vec<(u64, u64)>,
    pub beyond: u64,
    pub nanos: u64,
}

impl Snapshot {
    pub fn take(shared: &Shared) -> Self {
        let catalog = shared.catalog();
        let mut apps: BTreeMap<String, OfApp> = BTreeMap::new();
        for (_, app) in catalog.ledgers() {
            let requests = Requests::from(&app.ledger.meter.sums());
            apps.insert(app.config.name.to_string(), OfApp { requests, pool: Counts::default() });
        }
        for group in shared.table.lock().pool.groups() {
            apps.entry(group.app().to_string()).or_default().pool = group.counts().clone();
        }
        Self {
            drained: shared.drained.load(Ordering::Relaxed),
            connections: shared.connections.ever(),
            refused: named_causes(&catalog.logs.access.strays().sums()),
            apps,
        }
    }

    /// Goes on from there: once, when the apps are in the pool and before anybody asks. Of apps that are gone nothing is known any more.
    pub fn put_back(&self, shared: &Shared) {
        let catalog = shared.catalog();
        for (group, app) in catalog.ledgers() {
            let Some(before) = self.apps.get(app.config.name.as_str()) else { continue };
            app.ledger.meter.put_back(&Sums::from(&before.requests));
            shared.table.lock().pool.group_mut(group).put_back_counts(&before.pool);
        }
        let refused = Requests { causes: self.refused.clone(), ..Requests::default() };
        catalog.logs.access.strays().put_back(&Sums::from(&refused));
        shared.connections.put_back(self.connections);
        shared.drained.store(self.drained, Ordering::Relaxed);
    }
}

fn named_causes(sums: &Sums) -> BTreeMap<String, u64> {
    let counted = Refusal::all().zip(sums.causes).filter(|(_, count)| *count > 0);
    counted.map(|(cause, count)| (cause.label().to_owned(), count)).collect()
}

/// Where answers are counted, by their name.
fn answers() -> impl Iterator<Item = (String, usize)> {
    By::ALL.into_iter().flat_map(|by| (0..CLASSES).map(move |class| (format!("{} {class}", by.word()), by as usize * CLASSES + class)))
}

impl From<&Sums> for Requests {
    fn from(sums: &Sums) -> Self {
        let answered = answers().map(|(name, slot)| (name, sums.answers[slot])).filter(|(_, count)| *count > 0);
        Self {
            answers: answered.collect(),
            causes: named_causes(sums),
            total: Times::from(&sums.total),
            app: Times::from(&sums.app),
            queue: Times::from(&sums.queue),
            received: sums.received,
            sent: sums.sent,
        }
    }
}

impl From<&Requests> for Sums {
    fn from(requests: &Requests) -> Self {
        let mut answered = [0; ANSWERS];
        answers().for_each(|(name, slot)| answered[slot] = requests.answers.get(&name).copied().unwrap_or(0));
        let mut causes = Self::default().causes;
        Refusal::all().zip(&mut causes).for_each(|(cause, sum)| *sum = requests.causes.get(cause.label()).copied().unwrap_or(0));
        Self {
            answers: answered,
            causes,
            total: Spread::from(&requests.total),
            app: Spread::from(&requests.app),
            queue: Spread::from(&requests.queue),
            received: requests.received,
            sent: requests.sent,
        }
    }
}

impl From<&Spread> for Times {
    fn from(spread: &Spread) -> Self {
        let within = BOUNDS.into_iter().zip(spread.within).filter(|(_, count)| *count > 0).collect();
        Self { within, beyond: spread.within[BUCKETS - 1], nanos: spread.nanos }
    }
}

impl From<&Times> for Spread {
    /// Bounds of before that are none any more go to the next.
    fn from(times: &Times) -> Self {
        let mut spread = Spread { nanos: times.nanos, ..Spread::default() };
        times.within.iter().for_each(|(bound, count)| spread.within[bucket(*bound)] += count);
        spread.within[BUCKETS - 1] += times.beyond;
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tally::slot;

    fn sums() -> Sums {
        let mut sums = Sums { received: 7, sent: u64::MAX, ..Sums::default() };
        sums.answers[slot(By::App, 200)] = 5;
        sums.answers[slot(By::Rota, 503)] = 6;
        sums.answers[slot(By::File, 0)] = 1;
        sums.causes[Refusal::QueueFull.number()] = 3;
        (sums.total.within[0], sums.total.within[15], sums.total.within[16], sums.total.nanos) = (1, 2, 3, 1 << 40);
        sums.queue.within[4] = 9;
        sums
    }

    #[test]
    fn what_is_written_and_read_again_is_the_same() {
        let taken = Snapshot {
            drained: true,
            connections: 12,
            refused: named_causes(&sums()),
            apps: [("blog".to_owned(), OfApp { requests: Requests::from(&sums()), pool: Counts { starts: 4, ..Counts::default() } })]
                .into(),
        };
        let read: Snapshot = serde_json::from_str(&serde_json::to_string(&taken).unwrap()).unwrap();
        assert_eq!(read, taken);
        assert_eq!(Sums::from(&read.apps["blog"].requests), sums());
    }

    #[test]
    fn one_that_knows_more_or_less_is_taken_for_what_both_know() {
        let text = r#"{"drained":true,"weather":"fine","apps":{"blog":{"requests":{"answers":{"app 2":5,"moon 2":1},
            "causes":{"eclipse":2,"queue_full":3},"total":{"within":[[700000,4],[99000000000000,1]],"nanos":8}}}}}"#;
        let read: Snapshot = serde_json::from_str(text).unwrap();
        let sums = Sums::from(&read.apps["blog"].requests);
        assert_eq!((sums.answers.iter().sum::<u64>(), sums.causes.iter().sum::<u64>()), (5, 3));
        assert_eq!((sums.total.within[1], sums.total.within[16], read.connections), (4, 1, 0));
    }
}
