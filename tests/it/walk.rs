//! Rolling restarts with good releases, under every kind of traffic at once. The tolerance is none.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::tally::Tally;
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, secs};
use crate::{wire, wire::kept};

const APP: &str = "processes = 4\nconcurrency = 16\nbind = \"unix\"\nprobation = \"300ms\"\nqueue.max = 1000";

/// Runs `during` under full load; the count of all of it.
fn under_load(site: &Site, during: impl FnOnce()) -> Tally {
    let load = Load::start(site.addr, &ALL);
    std::thread::sleep(Duration::from_millis(500));
    during();
    // The slowest kinds take two seconds each: all of them see both sides of it.
    std::thread::sleep(Duration::from_millis(500));
    let tally = load.stop();
    eprintln!("{} requests\n{tally}", tally.total());
    tally
}

#[test]
fn a_good_release_replaces_all_processes_and_nothing_fails() {
    let site = Site::start(APP);
    let mut done = None;
    let tally = under_load(&site, || {
        site.deploy("2", "boot_delay 300").expect(0);
        done = Some(Instant::now());
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(tally.versions_since(done.unwrap()), ["2"], "after it said done");
    assert_eq!(site.serving(2).len(), 4);
}

#[test]
fn ten_releases_in_a_row_lose_nothing() {
    let site = Site::start(&APP.replace("processes = 4", "processes = 2"));
    let tally = under_load(&site, || {
        for version in 2..=11 {
            site.deploy(&version.to_string(), "boot_delay 50").expect(0);
        }
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "11");
}

#[test]
fn ten_triggers_in_one_second_end_in_one_generation() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 100");
    site.flip("2");
    let tally = under_load(&site, || {
        for _ in 0..10 {
            site.signal(Signal::USR2);
            std::thread::sleep(Duration::from_millis(100));
        }
        wait::until("one generation serves", secs(30), || {
            let status = site.status();
            let processes = site.processes();
            let newest = processes.iter().map(|(_, generation, _, _)| *generation).max().unwrap();
            status["apps"][0]["walk"].is_null()
                && processes.len() == 4
                && processes.iter().all(|(_, generation, _, state)| *generation == newest && state == "serving")
        });
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn a_restart_during_a_restart_supersedes_it_and_its_caller_is_told() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 200");
    site.release("3", "boot_delay 200");
    let tally = under_load(&site, || {
        site.flip("2");
        let first = std::thread::scope(|scope| {
            let first = scope.spawn(|| site.rota(&["restart", "app"]));
            wait::until("the first is under way", secs(10), || !site.serving(2).is_empty());
            site.flip("3");
            site.rota(&["restart", "app"]).expect(0);
            first.join().unwrap()
        });
        first.expect(6);
        assert!(first.out.contains("superseded by g3"), "{}", first.out);
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(site.serving(3).len(), 4);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "3");
}

#[test]
fn a_symlink_that_flips_half_way_mixes_nothing() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 200");
    site.release("3", "exit_at_boot 1");
    site.flip("2");
    let mut done = None;
    let tally = under_load(&site, || {
        std::thread::scope(|scope| {
            let restart = scope.spawn(|| site.rota(&["restart", "app"]));
            wait::until("the first is replaced", secs(10), || !site.serving(2).is_empty());
            site.flip("3");
            restart.join().unwrap().expect(0);
        });
        done = Some(Instant::now());
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(tally.versions_since(done.unwrap()), ["2"]);
    // What crashes now is replaced from the release of its generation, whatever the symlink says.
    let before = site.serving(2);
    kill(before[0], Signal::KILL);
    wait::until("it is replaced", secs(10), || site.serving(2).len() == 4 && !site.serving(2).contains(&before[0]));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn one_process_is_replaced_without_a_gap() {
    let site = Site::start("processes = 1\nconcurrency = 32\nbind = \"port\"\nprobation = \"300ms\"\nqueue.max = 1000");
    let tally = under_load(&site, || {
        site.deploy("2", "boot_delay 300").expect(0);
    });
    tally.expect_no_failure(&names(&ALL));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn two_processes_with_inherited_sockets_are_replaced() {
    let site = Site::start("processes = 2\nconcurrency = 32\nbind = \"fd\"\nprobation = \"300ms\"\nqueue.max = 1000");
    let tally = under_load(&site, || {
        site.deploy("2", "boot_delay 300").expect(0);
    });
    tally.expect_no_failure(&names(&ALL));
}

#[test]
fn processes_that_ignore_term_and_leave_children_are_replaced_and_leave_nothing() {
    let site = Site::prepare(&format!("{APP}\nstop.timeout = \"300ms\""));
    site.release("1", "ignores_term\nleaves_children");
    site.flip("1");
    let site = site.serve();
    wait::until("all serve", secs(10), || site.serving(1).len() == 4);
    let before = site.left();
    let tally = under_load(&site, || {
        site.deploy("2", "").expect(0);
    });
    tally.expect_no_failure(&names(&ALL));
    let after = site.left();
    let stayed: Vec<u32> = before.into_iter().filter(|pid| after.contains(pid) && *pid != site.pid()).collect();
    // The keeper is one of rota's own.
    assert!(stayed.len() <= 1, "of release 1 stayed {stayed:?}");
}

#[test]
fn kept_connections_outlive_a_restart() {
    let site = Site::start(APP);
    let mut wires: Vec<wire::Wire> = (0..50).map(|_| wire::Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut wires {
        assert_eq!(wire.ask(&kept("/")).unwrap().version(), "1");
    }
    site.deploy("2", "").expect(0);
    for wire in &mut wires {
        let reply = wire.ask(&kept("/")).unwrap();
        assert_eq!((reply.version(), reply.keep), ("2", true));
    }
}

#[test]
fn a_request_past_the_drain_limit_is_cut_and_the_walk_goes_on() {
    let site = Site::start(
        "processes = 2\nconcurrency = 4\nbind = \"unix\"\nprobation = \"200ms\"\ndrain.timeout = \"500ms\"\ndrain.longest = \"0s\"\nstop.timeout = \"1s\"",
    );
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| wire::get(site.addr, "/hold?name=never&mark=stuck"));
        wait::until("it is with the app", secs(10), || site.marks().contains(&"stuck".to_owned()));
        site.deploy("2", "").expect(0);
        assert_eq!(stuck.join().unwrap().unwrap().status, 503);
    });
    assert_eq!(site.marks(), ["stuck"], "it was sent once");
    assert!(site.log().contains("rota ended it at drain.timeout: its process had to go; answered 503"), "{}", site.log());
}

#[test]
fn requests_in_flight_finish_on_the_process_that_has_them() {
    let site = Site::start("processes = 2\nconcurrency = 4\nbind = \"unix\"\nprobation = \"200ms\"");
    std::thread::scope(|scope| {
        let held = scope.spawn(|| wire::get(site.addr, "/hold?name=gate&mark=held"));
        wait::until("it is with the app", secs(10), || site.marks().contains(&"held".to_owned()));
        let deploy = scope.spawn(|| site.deploy("2", ""));
        wait::until("its process drains", secs(10), || site.processes().iter().any(|(_, _, _, state)| state == "draining"));
        site.open("gate");
        assert_eq!(held.join().unwrap().unwrap().text(), "1");
        deploy.join().unwrap().expect(0);
    });
}
