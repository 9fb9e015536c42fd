//! Counts processes while something happens: how many of the app are alive, taken from /proc, and how many serve, taken from the status.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::site::Site;
use crate::wait::{self, secs};
use crate::{tally::Tally, traffic};

/// The extremes of a census.
#[derive(Debug, PartialEq)]
struct Extremes {
    most_alive: usize,
    least_serving: usize,
}

/// Counts again and again until `work` has ended; also gives what `work` gives.
fn count_during<T: Send>(site: &Site, work: impl FnOnce() -> T + Send) -> (Extremes, T) {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let alive = scope.spawn(|| most(&ended, || alive(site)));
        let serving = scope.spawn(|| least(&ended, || serving(site)));
        let working = scope.spawn(work);
        let done = working.join();
        ended.store(true, Ordering::SeqCst);
        let extremes = Extremes { most_alive: alive.join().unwrap(), least_serving: serving.join().unwrap() };
        (extremes, done.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn most(ended: &AtomicBool, count: impl Fn() -> usize) -> usize {
    let mut most = 0;
    while !ended.load(Ordering::SeqCst) {
        most = most.max(count());
        std::thread::sleep(wait::millis(20));
    }
    most
}

fn least(ended: &AtomicBool, count: impl Fn() -> usize) -> usize {
    let mut least = usize::MAX;
    while !ended.load(Ordering::SeqCst) {
        least = least.min(count());
        std::thread::sleep(wait::millis(50));
    }
    least
}

/// Processes of the app that have executed it; neither their children nor rota's shim on the way there.
fn alive(site: &Site) -> usize {
    let runs_app = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        words.split(|byte| *byte == 0).any(|word| word == b"fixture::fixture_app")
            && !words.split(|byte| *byte == 0).any(|word| word == b"__spawn")
    };
    site.left().iter().filter(|pid| runs_app(pid)).count()
}

fn serving(site: &Site) -> usize {
    site.processes().iter().filter(|(_, _, _, state)| state == "serving").count()
}

fn under_load<T: Send>(site: &Site, work: impl FnOnce() -> T + Send) -> (Extremes, T, Tally) {
    let load = traffic::Load::start(site.addr, &traffic::ALL);
    let (extremes, done) = count_during(site, work);
    (extremes, done, load.stop())
}

const APP: &str = "concurrency = 16\nbind = \"unix\"\nprobation = \"300ms\"\nready.timeout = \"2s\"\nqueue.max = 1000\n";

#[test]
fn a_walk_has_one_process_extra_at_most_and_never_one_less_that_serves() {
    for processes in [1, 2, 4] {
        let site = Site::start(&format!("{APP}processes = {processes}"));
        let (extremes, said, tally) = under_load(&site, || site.deploy("2", "boot_delay 100"));
        said.expect(0);
        tally.expect_no_failure(&[]);
        assert_eq!(extremes, Extremes { most_alive: processes + 1, least_serving: processes }, "of {processes}");
    }
}

#[test]
fn a_walk_that_fails_and_is_rolled_back_keeps_to_the_same_numbers() {
    let site = Site::start(&format!("{APP}processes = 4\non_failure = \"rollback\""));
    let (extremes, said, tally) = under_load(&site, || site.deploy("2", "process=3 exit_at_boot 1"));
    said.expect(5);
    tally.expect_no_failure(&[]);
    assert_eq!(extremes, Extremes { most_alive: 5, least_serving: 4 });
}

#[test]
fn ten_triggers_in_a_second_keep_to_the_same_numbers() {
    let site = Site::start(&format!("{APP}processes = 2"));
    site.release("2", "boot_delay 100");
    site.flip("2");
    let (extremes, (), tally) = under_load(&site, || {
        for _ in 0..10 {
            site.signal(rustix::process::Signal::USR2);
            std::thread::sleep(wait::millis(100));
        }
        wait::until("the walk has ended", secs(30), || site.status()["apps"][0]["walk"].is_null());
    });
    tally.expect_no_failure(&[]);
    assert_eq!(extremes, Extremes { most_alive: 3, least_serving: 2 });
}
