//! The pool table in a simulated world of processes that boot slowly, fail, hang, die, ignore signals and leave children, and of clients
//! that come, go and wait, under seeded schedules of restarts and faults.

mod asks;
mod books;
mod checks;
mod processes;
mod requests;
mod rng;
mod schedule;
mod starts;
mod steps;
mod tally;
mod trial;
mod walks;
mod wear;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use schedule::run;
use tally::Tally;

/// Without ROTA_SEEDS.
const SCHEDULES: u64 = 20_000;
/// The machine is shared: more threads than this only fight.
const THREADS: u64 = 2;

#[test]
fn every_schedule_ends_as_the_naive_model_says() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is no number")));
    if let Some(seed) = number("ROTA_SEED") {
        let tally = run(seed, true).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: {tally:?}");
        return;
    }
    let seeds = number("ROTA_SEEDS").unwrap_or(SCHEDULES);
    let next = AtomicU64::new(0);
    let sweep = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            // One failure is enough: the other thread stops with this one.
            sum += catch_unwind(|| replay(seed)).unwrap_or_else(|panic| {
                next.store(seeds, Ordering::Relaxed);
                resume_unwind(panic)
            });
        }
    };
    let mut sum = Tally::default();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(sweep)).collect();
        for thread in threads {
            // Its panic has already named the seed.
            sum += thread.join().expect("a schedule failed");
        }
    });
    println!("{seeds} schedules: {sum:?}");
    assert!(seeds < 1_000 || sum.saw_everything(), "the schedules no longer reach everything: {sum:?}");
}

/// Runs one seed; a failure says which.
fn replay(seed: u64) -> Tally {
    match catch_unwind(AssertUnwindSafe(|| run(seed, false))) {
        Ok(Ok(tally)) => tally,
        Ok(Err(what)) => panic!("seed {seed}: {what}\nreplay: ROTA_SEED={seed} cargo test --test model -- --nocapture"),
        Err(_) => panic!("seed {seed} panicked (above)\nreplay: ROTA_SEED={seed} cargo test --test model -- --nocapture"),
    }
}
