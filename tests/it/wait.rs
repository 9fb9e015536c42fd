//! Waiting for a condition with a deadline: the only sleep of the tests, and the only place that knows how fast the machine is.
//!
//! A limit is what a machine takes that is ours alone. One that has passed is not the end yet: how long a known piece of work takes at this
//! moment says how much of the machine we get (a load of 10, `nice`), and the limit becomes so many times as long. On a quiet machine that
//! costs nothing, and a test that fails there fails as soon as before.

use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Asks until it is so; panics with `what` when `limit` has passed.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    if !becomes_so(limit, &mut is_so) {
        panic!("not so within {limit:?}, nor within what that is at the pace of this machine: {what}");
    }
}

/// As [`until`], and gives what was found.
#[track_caller]
pub fn found<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let mut it = None;
    until(what, limit, || {
        it = look();
        it.is_some()
    });
    it.expect("until returns only when it was found")
}

pub fn becomes_so(limit: Duration, is_so: &mut dyn FnMut() -> bool) -> bool {
    let end = Deadline::after(limit);
    loop {
        if is_so() {
            return true;
        }
        if end.has_passed() {
            // It may have become so while we did not run.
            return is_so();
        }
        std::thread::sleep(STEP);
    }
}

/// When a limit has passed, at the pace of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    begun: Instant,
    limit: Duration,
}

impl Deadline {
    pub fn after(limit: Duration) -> Self {
        Self { begun: Instant::now(), limit }
    }

    pub fn has_passed(&self) -> bool {
        let took = self.begun.elapsed();
        took >= self.limit && took >= self.limit * pace()
    }
}

/// A limit for rota itself that nothing is to come up to, as it is measured by a clock: as long as it has to be at the pace of this machine.
pub fn ample(limit: Duration) -> Duration {
    limit * pace()
}

/// How many times as long as on a quiet machine things take, now or at the worst of the last minute, at least 1: a single look may find the
/// others out.
pub fn pace() -> u32 {
    static WORST: Mutex<Option<(Instant, u32)>> = Mutex::new(None);
    let now = measure();
    let mut worst = WORST.lock().unwrap_or_else(PoisonError::into_inner);
    match *worst {
        Some((at, before)) if before > now && at.elapsed() < LASTS => before,
        Some(_) | None => {
            *worst = Some((Instant::now(), now));
            now
        }
    }
}

fn measure() -> u32 {
    let begun = Instant::now();
    let mut x = 1_u64;
    for i in 0..WORK {
        x = black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(i));
    }
    let took = begun.elapsed().as_millis() / USUAL_MILLIS;
    u32::try_from(took).unwrap_or(MOST).clamp(1, MOST)
}

/// Rounds of the work, and what they take on a quiet machine at most (ms): longer than a scheduler's turn, so that a full machine shows.
const WORK: u64 = 16_000_000;
const USUAL_MILLIS: u128 = 30;
const LASTS: Duration = Duration::from_secs(60);
/// What does not happen in so many times its limit does not happen.
const MOST: u32 = 40;
/// Long enough to leave a 2-core machine to those that are waited for.
const STEP: Duration = Duration::from_millis(10);

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
