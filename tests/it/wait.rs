//! Waiting for a condition with a deadline: the only sleep of the tests.

use std::time::{Duration, Instant};

/// Asks until it is so; panics with `what` when `limit` has passed.
#[track_caller]
pub fn until(what: &str, limit: Duration, mut is_so: impl FnMut() -> bool) {
    if !becomes_so(limit, &mut is_so) {
        panic!("not so within {limit:?}: {what}");
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
    let end = Instant::now() + limit;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        std::thread::sleep(STEP);
    }
}

/// Long enough to leave a 2-core machine to those that are waited for.
const STEP: Duration = Duration::from_millis(10);

pub const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}
