//! What has become of requests, as numbers that never go down. On any thread; a request costs some forty instructions.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::access_log::By;
use crate::conn::Request;
use crate::deadlines::nanos;
use crate::http::cut::Cut;
use crate::http::refusal::{CAUSES, Refusal};

/// On cache lines of its own: threads that count do not take them from each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Tally {
    /// By who answered, and within that by the first digit of the status; of no answer: 0.
    answers: [AtomicU64; ANSWERS],
    /// Of those that had a process at once, and whose app's part was all there was to it: the time is that with the app as well.
    plain: Times,
    /// Of the others.
    total: Times,
    app: Times,
    queue: Times,
    /// Bytes of bodies that came, and bytes that went.
    received: AtomicU64,
    sent: AtomicU64,
    /// Why there was no answer of the app, or no whole one; by [`Refusal::number`].
    causes: Causes,
}

#[derive(Debug)]
struct Causes([AtomicU64; CAUSES]);

/// How long things took.
#[derive(Debug, Default)]
struct Times {
    /// How many were within each of [`BOUNDS`] and not within the one before; behind them those beyond all.
    within: [AtomicU64; ROOM],
    nanos: AtomicU64,
}

/// How it ends.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Bytes that the client's socket has taken since it was opened.
    pub sent: u64,
    /// There are more that it has not.
    pub is_untaken: bool,
    pub now: Instant,
}

/// How something is added.
pub trait Adding {
    fn add(counter: &AtomicU64, by: u64);
}

/// By the only thread that writes there.
#[derive(Debug)]
pub struct Alone;

/// By one of many.
#[derive(Debug)]
pub struct Together;

impl Adding for Alone {
    #[inline]
    fn add(counter: &AtomicU64, by: u64) {
        counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
    }
}

impl Adding for Together {
    #[inline]
    fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl Tally {
    #[inline]
    pub fn count<A: Adding>(&self, request: &Request, end: &End) {
        let entry = &request.entry;
        A::add(&self.answers[slot(entry.by, entry.status)], 1);
        A::add(&self.sent, end.sent.wrapping_sub(entry.sent_before));
        if request.received > 0 {
            A::add(&self.received, request.received);
        }
        if entry.begun_last == Some(request.since) && entry.answered == Some(end.now) {
            self.plain.count::<A>(nanos(end.now).wrapping_sub(nanos(request.since)));
        } else {
            self.count_parts::<A>(request, end);
        }
        if entry.cause.is_some() || !entry.is_whole || end.is_untaken {
            A::add(&self.causes.0[entry.cause.unwrap_or(Refusal::Cut(Cut::ClientLeft)).number()], 1);
        }
    }

    #[cold]
    fn count_parts<A: Adding>(&self, request: &Request, end: &End) {
        // Of those that are not logged nobody knows how long they took.
        if request.entry.by == By::File {
            return;
        }
        self.total.count::<A>(nanos(end.now).saturating_sub(nanos(request.since)));
        if let Some(took) = request.entry.with_app(end.now) {
            self.app.count::<A>(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        }
        if let Some(waited) = request.entry.queued() {
            self.queue.count::<A>(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn sends_file(&self, status: u16, bytes: u64) {
        Together::add(&self.answers[slot(By::File, status)], 1);
        Together::add(&self.sent, bytes);
    }

    /// A head was refused before it was a request of an app.
    pub fn refuse(&self, refusal: &Refusal) {
        self.refuse_many(refusal.number(), 1);
    }

    pub(super) fn refuse_many(&self, cause: usize, times: u64) {
        if let Some(counter) = self.causes.0.get(cause) {
            Together::add(counter, times);
        }
    }

    /// Adds what is here.
    pub(super) fn read(&self, sums: &mut Sums) {
        let plain = self.plain.read();
        for (sum, counter) in sums.answers.iter_mut().zip(&self.answers).chain(sums.causes.iter_mut().zip(&self.causes.0)) {
            *sum += counter.load(Ordering::Relaxed);
        }
        sums.total.add(&self.total.read());
        sums.total.add(&plain);
        sums.app.add(&self.app.read());
        sums.app.add(&plain);
        sums.queue.add(&self.queue.read());
        // Those waited for nothing.
        sums.queue.within[0] += plain.count();
        sums.received += self.received.load(Ordering::Relaxed);
        sums.sent += self.sent.load(Ordering::Relaxed);
    }

    /// Goes on from there.
    pub(super) fn put_back(&self, sums: &Sums) {
        for (counter, sum) in self.answers.iter().zip(sums.answers).chain(self.causes.0.iter().zip(sums.causes)) {
            Together::add(counter, sum);
        }
        for (times, sum) in [(&self.total, &sums.total), (&self.app, &sums.app), (&self.queue, &sums.queue)] {
            times.within.iter().zip(sum.within).for_each(|(counter, sum)| Together::add(counter, sum));
            Together::add(&times.nanos, sum.nanos);
        }
        Together::add(&self.received, sums.received);
        Together::add(&self.sent, sums.sent);
    }
}

impl Times {
    #[inline]
    fn count<A: Adding>(&self, nanos: u64) {
        A::add(&self.within[bucket(nanos) % ROOM], 1);
        A::add(&self.nanos, nanos);
    }

    fn read(&self) -> Spread {
        let mut spread = Spread { nanos: self.nanos.load(Ordering::Relaxed), ..Spread::default() };
        for (sum, counter) in spread.within.iter_mut().zip(&self.within) {
            *sum = counter.load(Ordering::Relaxed);
        }
        spread
    }
}

/// What tallies come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums {
    pub answers: [u64; ANSWERS],
    pub total: Spread,
    pub app: Spread,
    pub queue: Spread,
    pub received: u64,
    pub sent: u64,
    pub causes: [u64; CAUSES],
}

/// How long things took: how many there were within each of [`BOUNDS`] and not within the one before, and beyond all; and all together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    pub within: [u64; BUCKETS],
    pub nanos: u64,
}

impl Spread {
    pub fn count(&self) -> u64 {
        self.within.iter().sum()
    }

    fn add(&mut self, other: &Spread) {
        self.within.iter_mut().zip(other.within).for_each(|(sum, other)| *sum += other);
        self.nanos = self.nanos.wrapping_add(other.nanos);
    }
}

impl Default for Sums {
    fn default() -> Self {
        let spread = Spread::default;
        Self { answers: [0; ANSWERS], total: spread(), app: spread(), queue: spread(), received: 0, sent: 0, causes: [0; CAUSES] }
    }
}

impl Default for Causes {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; CAUSES])
    }
}

/// Where an answer is counted.
#[inline]
pub fn slot(by: By, status: u16) -> usize {
    by as usize * CLASSES + usize::from(status / 100).min(CLASSES - 1)
}

/// The first of [`BOUNDS`] that so many nanoseconds are within; behind them all: its number.
#[inline]
pub(super) fn bucket(nanos: u64) -> usize {
    // Each bound is at least twice the one before, so that a power of two has one within it at most.
    let first = usize::from(FIRST[64 - nanos.leading_zeros() as usize]) % ROOM;
    first + usize::from(nanos > LIMITS[first])
}

/// By the number of binary digits: the first bound that is not below the least number with so many.
const FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut digits = 1;
    while digits < 65 {
        let mut bound = 0;
        while bound < BOUNDS.len() && BOUNDS[bound] < 1 << (digits - 1) {
            bound += 1;
        }
        first[digits] = bound as u8;
        digits += 1;
    }
    first
};

/// [`BOUNDS`], and no bound behind them.
const LIMITS: [u64; ROOM] = {
    let mut limits = [u64::MAX; ROOM];
    let mut bound = 0;
    while bound < BOUNDS.len() {
        limits[bound] = BOUNDS[bound];
        bound += 1;
    }
    limits
};

const fn millis(number: u64) -> u64 {
    number * 1_000_000
}

/// Of histograms (nanoseconds): from what a small answer takes to the `timeouts.app` of before.
pub const BOUNDS: [u64; 16] = [
    500_000,
    millis(1),
    2_500_000,
    millis(5),
    millis(10),
    millis(25),
    millis(50),
    millis(100),
    millis(250),
    millis(500),
    millis(1000),
    millis(2500),
    millis(5000),
    millis(10_000),
    millis(30_000),
    millis(60_000),
];
pub const BUCKETS: usize = BOUNDS.len() + 1;
/// A power of two, so that no number lies beyond.
const ROOM: usize = 32;
/// No answer, 1xx to 5xx, 6xx, and what is beyond all.
pub const CLASSES: usize = 8;
/// Of each of [`By`].
pub const ANSWERS: usize = 3 * CLASSES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_at_the_first_bound_that_it_is_within() {
        let slowly = |nanos: u64| BOUNDS.iter().position(|bound| nanos <= *bound).unwrap_or(BOUNDS.len());
        let near = BOUNDS.iter().flat_map(|bound| [bound - 1, *bound, bound + 1]);
        let powers = (0..64).flat_map(|power| [(1_u64 << power) - 1, 1 << power, (1 << power) + 1]);
        for nanos in near.chain(powers).chain([u64::MAX]) {
            assert_eq!(bucket(nanos), slowly(nanos), "{nanos}");
        }
        assert!(BOUNDS.windows(2).all(|pair| pair[1] >= 2 * pair[0]));
    }

    #[test]
    fn what_one_counts_alone_and_many_together_is_added_up_and_goes_on_from_what_was_put_back() {
        let tally = Tally::default();
        Alone::add(&tally.answers[slot(By::App, 204)], 2);
        Together::add(&tally.answers[slot(By::Rota, 503)], 3);
        tally.plain.count::<Alone>(700_000);
        tally.queue.count::<Together>(millis(7));
        tally.total.count::<Together>(millis(90_000));
        tally.refuse(&Refusal::NoApp);
        let mut sums = Sums::default();
        tally.read(&mut sums);
        assert_eq!((sums.answers[slot(By::App, 200)], sums.answers[slot(By::Rota, 599)], sums.answers.iter().sum::<u64>()), (2, 3, 5));
        assert_eq!((sums.total.count(), sums.app.count(), sums.queue.count()), (2, 1, 2));
        assert_eq!((sums.queue.within[0], sums.queue.within[4], sums.total.within[16], sums.queue.nanos), (1, 1, 1, millis(7)));
        assert_eq!(sums.causes[Refusal::NoApp.number()], 1);
        let other = Tally::default();
        other.put_back(&sums);
        let mut again = Sums::default();
        other.read(&mut again);
        assert_eq!(again, sums);
    }

    #[test]
    fn a_status_that_nobody_knows_has_its_place() {
        for (status, class) in [(0, 0), (101, 1), (599, 5), (600, 6), (999, 7), (u16::MAX, 7)] {
            assert_eq!(slot(By::App, status), class, "{status}");
        }
    }
}
