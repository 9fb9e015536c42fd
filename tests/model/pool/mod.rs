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
mod upgrades;
mod walks;
mod wear;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use books::ensure;
use schedule::run;
use tally::Tally;
use upgrades::Upgrades;
use world::Told;

/// Without ROTA_SEEDS.
const SCHEDULES: u64 = 20_000;
/// Those that are run twice, and through JSON again and again.
const UPGRADED: u64 = 1_000;
/// The machine is shared: more threads than this only fight.
const THREADS: u64 = 2;

#[test]
fn every_schedule_ends_as_the_naive_model_says() {
    if let Some(seed) = number("ROTA_SEED") {
        let world = run(seed, told(true, Upgrades::default())).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        println!("seed {seed}: {:?}", world.tally);
        return;
    }
    let seeds = number("ROTA_SEEDS").unwrap_or(SCHEDULES);
    let sum = sweep(seeds, |seed| Ok(run(seed, told(false, Upgrades::default()))?.tally));
    println!("{seeds} schedules: {sum:?}");
    assert!(seeds < 1_000 || sum.saw_everything(), "the schedules no longer reach everything: {sum:?}");
}

#[test]
fn a_table_that_goes_from_one_rota_to_the_next_at_any_moment_goes_on_as_if_nothing_had_been() {
    let count = AtomicU64::new(0);
    let both = |seed: u64, talks: bool| {
        let start = Instant::now();
        let one = run(seed, Told { start, talks: false, upgrades: Upgrades::never() })?;
        let other = run(seed, Told { start, talks, upgrades: Upgrades::often(seed) })?;
        let (Some(kept), Some(restored)) = (one.upgrades.trace, other.upgrades.trace) else { return Err("nothing to compare".to_owned()) };
        if let Some((kept, restored)) = kept.iter().zip(&restored).find(|(kept, restored)| kept != restored) {
            return Err(format!("after an upgrade\n{restored}\nwithout one\n{kept}"));
        }
        ensure!(kept.len() == restored.len(), "{} steps after upgrades, {} without", restored.len(), kept.len());
        count.fetch_add(other.upgrades.count, Ordering::Relaxed);
        Ok(other.tally)
    };
    if let Some(seed) = number("ROTA_SEED") {
        both(seed, true).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        return;
    }
    let seeds = number("ROTA_SEEDS").unwrap_or(UPGRADED);
    let sum = sweep(seeds, |seed| both(seed, false));
    let count = count.into_inner();
    println!("{seeds} schedules with {count} upgrades: {sum:?}");
    assert!(count > 10 * seeds, "{count} upgrades in {seeds} schedules");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

fn told(talks: bool, upgrades: Upgrades) -> Told {
    Told { start: Instant::now(), talks, upgrades }
}

/// Runs the seeds below; what they all saw. A failure says which it was.
fn sweep(seeds: u64, run: impl Fn(u64) -> Result<Tally, String> + Sync) -> Tally {
    let next = AtomicU64::new(0);
    let sweep = || {
        let mut sum = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return sum;
            }
            // One failure is enough: the other thread stops with this one.
            sum += catch_unwind(AssertUnwindSafe(|| replay(seed, &run))).unwrap_or_else(|panic| {
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
    sum
}

/// Runs one seed; a failure says which.
fn replay(seed: u64, run: impl Fn(u64) -> Result<Tally, String>) -> Tally {
    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(Ok(tally)) => tally,
        Ok(Err(what)) => panic!("seed {seed}: {what}\nreplay: ROTA_SEED={seed} cargo test --test model -- --nocapture"),
        Err(_) => panic!("seed {seed} panicked (above)\nreplay: ROTA_SEED={seed} cargo test --test model -- --nocapture"),
    }
}
