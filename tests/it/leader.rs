//! Exactly one process of an app is its leader. The fixture's leaders hold a mark for as long as they live: one that finds it taken says so.

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "processes = 3\nconcurrency = 16\nbind = \"unix\"\nprobation = \"100ms\"\nqueue.max = 1000\nstop.timeout = \"300ms\"\nleader = \"exclusive\"";

/// `alone PID` or `second PID`, in the order in which they were started.
fn leaders(site: &Site) -> Vec<String> {
    std::fs::read_to_string(site.path("shared/leaders")).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn never_two(site: &Site, in_all: usize) {
    let leaders = leaders(site);
    assert!(leaders.iter().all(|line| line.starts_with("alone ")) && leaders.len() == in_all, "{leaders:?}");
}

/// The pid of the process that serves as number 1.
fn leader(site: &Site) -> Option<u32> {
    site.processes().into_iter().find(|(number, _, _, state)| *number == 1 && state == "serving").map(|(_, _, pid, _)| pid)
}

#[test]
fn process_1_is_told_that_it_leads_and_the_others_that_they_do_not() {
    let site = Site::start(APP);
    for (number, _, pid, _) in site.processes() {
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let leads = format!("ROTA_LEADER={}", u8::from(number == 1));
        assert!(environ.split('\0').any(|variable| variable == leads), "{number}: {environ:?}");
    }
    never_two(&site, 1);
    assert_eq!(leaders(&site), [format!("alone {}", leader(&site).unwrap())]);
}

#[test]
fn by_default_the_old_and_the_new_leader_are_there_together_for_a_moment() {
    let site = Site::start(&APP.replace("exclusive", "overlap"));
    site.deploy("2", "").expect(0);
    let said = leaders(&site);
    assert!(said.len() == 2 && said[0].starts_with("alone ") && said[1].starts_with("second "), "{said:?}");
}

#[test]
fn restarts_under_load_have_one_leader_at_a_time_and_lose_nothing() {
    let site = Site::start(APP);
    let load = Load::start(site.addr, &ALL);
    for version in 2..=4 {
        site.deploy(&version.to_string(), "boot_delay 50\nleaves_children").expect(0);
    }
    load.stop().expect_no_failure(&names(&ALL));
    never_two(&site, 4);
}

#[test]
fn a_leader_alone_leaves_requests_waiting_and_loses_none() {
    let site = Site::start(&APP.replace("processes = 3", "processes = 1"));
    let load = Load::start(site.addr, &ALL);
    site.deploy("2", "boot_delay 200").expect(0);
    load.stop().expect_no_failure(&names(&ALL));
    never_two(&site, 2);
}

#[test]
fn of_a_leader_that_is_killed_everything_is_gone_before_the_next_one_starts() {
    let site = Site::prepare(APP);
    site.release("1", "leaves_children");
    site.flip("1");
    let site = site.serve();
    let first = leader(&site).unwrap();
    kill(first, Signal::KILL);
    wait::until("another leads", secs(10), || leader(&site).is_some_and(|pid| pid != first));
    never_two(&site, 2);
    let group_of =
        |pid: u32| rustix::process::getpgid(rustix::process::Pid::from_raw(pid as i32)).map(|group| group.as_raw_nonzero().get());
    assert!(site.left().iter().all(|pid| group_of(*pid) != Ok(first as i32)), "of the first one something is left");
}

#[test]
fn a_release_that_does_not_start_costs_no_leader() {
    let site = Site::start(APP);
    let first = leader(&site);
    site.deploy("2", "exit_at_boot 1").expect(4);
    assert_eq!(leader(&site), first);
    never_two(&site, 1);
}

#[test]
fn a_leader_that_fails_in_its_turn_is_taken_back_and_nobody_leads_beside_it() {
    for (policy, status) in [("resist", 4), ("rollback", 5)] {
        let site = Site::start(&format!("{APP}\non_failure = \"{policy}\""));
        site.deploy("2", "process=1 exit_at_boot 1").expect(status);
        wait::until("a leader of the old release serves", secs(10), || leader(&site).is_some());
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
        never_two(&site, 3);
    }
}
