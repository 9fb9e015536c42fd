//! Processes that are replaced because their time is over: nobody notices but the log.

use crate::site::Site;
use crate::traffic::{ALL, Load};
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1000\n";

/// How many have been replaced for such a reason.
fn replaced(site: &Site, why: &str) -> usize {
    site.log().lines().filter(|line| line.contains(": replaced ") && line.contains(why)).count()
}

#[test]
fn processes_that_have_had_their_requests_are_replaced_under_load_and_nothing_is_lost() {
    let site = Site::start(&format!("{APP}max_requests = 100"));
    let load = Load::start(site.addr, &ALL);
    wait::until("six have been replaced", secs(60), || replaced(&site, "requests") >= 6);
    let tally = load.stop();
    tally.expect_no_failure(&[]);
    assert_eq!(tally.version_names(), ["1"]);
    wait::until("all is quiet", secs(20), || {
        let processes = site.processes();
        processes.len() == 2 && processes.iter().all(|(_, generation, _, state)| (*generation, &state[..]) == (1, "serving"))
    });
    assert!(site.status()["apps"][0]["last_failure"].is_null(), "{}", site.status());
}

#[test]
fn a_process_serves_as_many_requests_as_it_may_and_the_next_one_is_served_by_another() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1\nmax_requests = 5"));
    let pid = || wire::get(site.addr, "/pid").unwrap().text();
    let first = pid();
    wait::until("another serves", secs(20), || pid() != first);
    let log = site.log();
    assert!(log.contains(&format!("app/1 g1 pid {first}: replaced after ")), "{log}");
    // The probe and the first request of the test's own are among them.
    assert!(!log.contains("replaced after 4 "), "{log}");
}

#[test]
fn processes_of_one_age_are_replaced_one_after_the_other() {
    let site = Site::start(&format!("{}max_age = \"3s\"", APP.replace("processes = 2", "processes = 4")));
    let load = Load::start(site.addr, &ALL);
    let mut least = usize::MAX;
    wait::until("all four have been replaced", secs(60), || {
        let processes = site.processes();
        least = least.min(processes.iter().filter(|(_, _, _, state)| state == "serving").count());
        assert!(processes.len() <= 5, "{processes:?}");
        replaced(&site, "s") >= 4
    });
    load.stop().expect_no_failure(&[]);
    assert_eq!(least, 4);
}

#[test]
fn a_replacement_that_does_not_start_costs_nobody_a_request() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1\nmax_requests = 50"));
    let load = Load::start(site.addr, &ALL);
    // The release is the same, and does not boot any more.
    std::fs::write(site.path("releases/1/BEHAVIOUR"), "exit_at_boot 7").unwrap();
    wait::until("two starts have failed", secs(60), || site.status()["apps"][0]["backoff"]["failures"].as_u64() >= Some(2));
    let status = site.status();
    assert!(status["apps"][0]["resists"].is_null(), "{status}");
    assert!(status["apps"][0]["processes"][0]["replaced"].as_str().is_some_and(|why| why.ends_with(" requests")), "{status}");
    assert!(site.rota(&["status"]).expect(0).out.contains("app/1 g1 is replaced after "));
    std::fs::write(site.path("releases/1/BEHAVIOUR"), "").unwrap();
    wait::until("it is replaced", secs(60), || replaced(&site, "requests") >= 1);
    load.stop().expect_no_failure(&[]);
}
