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
    // The new process answers before the line is written.
    wait::until("the log says so", secs(20), || site.log().contains(&format!("app/1 g1 pid {first}: replaced after ")));
    // The probe and the first request of the test's own are among them.
    assert!(!site.log().contains("replaced after 4 "), "{}", site.log());
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

#[test]
fn a_process_that_leaks_is_replaced_and_nobody_notices() {
    let site = Site::start(&format!("{APP}memory_limit = \"64M\"\nmemory_limit_hard = \"900M\""));
    let load = Load::start(site.addr, &ALL);
    let mut leaked = 0;
    // Of two processes one has leaked at least twice as much as it may.
    while leaked < 260 {
        wire::get(site.addr, "/leak?mib=20").unwrap();
        leaked += 20;
    }
    wait::until("what leaks is replaced", secs(60), || replaced(&site, "for its memory") >= 1);
    load.stop().expect_no_failure(&[]);
    assert!(site.status()["apps"][0]["last_failure"].is_null(), "{}", site.status());
}

#[test]
fn a_process_that_takes_far_too_much_is_killed_and_the_status_says_so() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1\nmemory_limit_hard = \"64M\""));
    let first = wire::get(site.addr, "/leak?mib=80").unwrap().text();
    wait::until("another serves", secs(60), || wire::get(site.addr, "/pid").unwrap().text() != first);
    let said = site.status()["apps"][0]["last_failure"]["message"].as_str().unwrap().to_owned();
    assert!(said.starts_with("killed for its memory: ") && said.ends_with(" MiB, memory_limit_hard is 64 MiB"), "{said}");
    assert!(site.log().contains(&format!("app/1 g1 pid {first}: killed for its memory")), "{}", site.log());
    assert_eq!(replaced(&site, ""), 0, "it crashed");
}

#[test]
fn what_its_children_take_counts_for_a_process() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1"));
    let process = || site.status()["apps"][0]["processes"][0].clone();
    let before = process();
    assert_eq!(before["children"], 0, "{before}");
    let memory = |of: &serde_json::Value| of["memory"].as_u64().unwrap();
    wire::get(site.addr, "/child").unwrap();
    wire::get(site.addr, "/leak?mib=30").unwrap();
    wire::get(site.addr, "/burn?ms=300").unwrap();
    let after = process();
    assert_eq!(after["children"], 1, "{after}");
    assert!(memory(&after) > memory(&before) + (30 << 20), "{before} {after}");
    assert!(after["cpu"].as_f64().unwrap() > 0.0, "{after}");
    assert!(site.rota(&["status"]).expect(0).out.contains(" ch "));
}

/// But for one look in 15 s that counts the processes.
#[test]
fn without_limits_nobody_looks_at_memory() {
    let site = Site::start(APP);
    let sampler = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", site.pid())).unwrap().map(|task| task.unwrap().path());
        let status = |task: std::path::PathBuf| std::fs::read_to_string(task.join("status")).unwrap_or_default();
        tasks.map(status).find(|status| status.contains("rota-samples")).expect("there is a sampler")
    };
    wait::until("it sleeps after the last status", secs(10), || sampler().contains("State:\tS"));
    let switches = || -> u32 {
        let status = sampler();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = switches();
    // Longer than between two looks at memory that is near a limit.
    std::thread::sleep(secs(11));
    assert!(switches() <= before + 1, "{before} {}", switches());
}
