//! `request_timeout`: an app that has a request for too long, and comes back from it, or does not.

use std::time::Instant;

use crate::site::Site;
use crate::traffic::{ALL, Load};
use crate::wait::{self, secs};
use crate::wire::{Trouble, Wire, kept};

const APP: &str = "bind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1000\nrequest_timeout = \"1s\"\n";

fn site(keys: &str) -> Site {
    Site::start(&format!("{APP}{keys}"))
}

fn pid(site: &Site) -> u32 {
    let [pid] = site.serving(1)[..] else { panic!("not one process serves: {:?}", site.processes()) };
    pid
}

fn ask(wire: &mut Wire, target: &str) {
    wire.send(kept(target).as_bytes()).unwrap();
}

#[test]
fn a_request_that_comes_back_in_time_keeps_its_process_and_nobody_gets_its_slot_before() {
    let site = site("concurrency = 1");
    let first = pid(&site);
    let (mut late, mut next) = (Wire::connect(site.addr).unwrap(), Wire::connect(site.addr).unwrap());
    ask(&mut late, "/hold?name=gate&mark=late");
    let answer = late.reply(false).unwrap();
    assert_eq!((answer.status, answer.keep), (504, true));
    ask(&mut next, "/?mark=next");
    wait::until("the next one waits", secs(10), || site.waiting() == 1);
    assert!(site.rota(&["requests"]).expect(0).out.contains("overdue"));
    assert_eq!(site.marks(), ["late"], "it waits here, not behind the other in the app");
    site.open("gate");
    assert_eq!(next.reply(false).unwrap().status, 200);
    assert_eq!(late.ask(&kept("/")).unwrap().status, 200, "on the same connection");
    assert_eq!(pid(&site), first);
    assert!(!site.log().contains(": replaced "), "{}", site.log());
    let process = &site.status()["apps"][0]["processes"][0];
    assert_eq!((&process["sessions"], &process["errors"]), (&0.into(), &0.into()), "{process}");
}

#[test]
fn a_process_that_does_not_come_back_is_replaced_and_what_waited_for_it_is_served() {
    let site = site("concurrency = 1");
    let first = pid(&site);
    let (mut late, mut next) = (Wire::connect(site.addr).unwrap(), Wire::connect(site.addr).unwrap());
    ask(&mut late, "/never?mark=late");
    assert_eq!(late.reply(false).unwrap().status, 504);
    ask(&mut next, "/pid?mark=next");
    let served = next.reply(false).unwrap();
    assert_eq!(served.status, 200);
    assert_ne!(served.text(), first.to_string(), "by another one");
    wait::until("the stuck one is gone", secs(20), || site.processes().len() == 1);
    let log = site.log();
    assert!(log.contains(": replaced because it was stuck in a request for ") && log.contains("GET /never?mark=late"), "{log}");
}

#[test]
fn stuck_requests_under_load_cost_nobody_else_anything() {
    let site = site("processes = 2\nconcurrency = 16");
    let (before, load) = (site.serving(1), Load::start(site.addr, &ALL));
    let stuck: Vec<Wire> = (0..4)
        .map(|_| {
            let mut wire = Wire::connect(site.addr).unwrap();
            ask(&mut wire, "/never");
            wire
        })
        .collect();
    for mut wire in stuck {
        assert_eq!(wire.reply(false).unwrap().status, 504);
    }
    wait::until("no old process is left", secs(60), || {
        let processes = site.processes();
        processes.len() == 2 && processes.iter().all(|(_, _, pid, state)| state == "serving" && !before.contains(pid))
    });
    load.stop().expect_no_failure(&[]);
    assert_eq!(site.log().matches("replaced because it was stuck").count(), 2);
}

#[test]
fn an_answer_that_has_begun_is_cut_and_an_app_that_still_writes_is_not_stuck() {
    let site = site("concurrency = 4");
    let first = pid(&site);
    let mut wire = Wire::connect(site.addr).unwrap();
    ask(&mut wire, "/stream?n=400&ms=50");
    assert!(matches!(wire.reply(false), Err(Trouble::Reset | Trouble::Cut)));
    wait::until("the slot is free", secs(20), || site.status()["apps"][0]["processes"][0]["sessions"] == 0);
    assert_eq!(pid(&site), first);
    assert!(!site.log().contains(": replaced "), "{}", site.log());
}

#[test]
fn streams_and_tunnels_may_last_and_quick_requests_are_not_touched() {
    let site = site("concurrency = 16");
    let load = Load::start(site.addr, &ALL);
    let (mut events, begun) = (Wire::connect(site.addr).unwrap(), Instant::now());
    ask(&mut events, "/sse?ms=100");
    let (mut tunnel, limit) = (Wire::connect(site.addr).unwrap(), secs(3));
    tunnel.send(b"GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    assert!(tunnel.head().unwrap().starts_with("HTTP/1.1 101 "));
    events.head().unwrap();
    while begun.elapsed() < limit {
        events.chunk().unwrap();
        tunnel.send(b"x").unwrap();
        assert_eq!(tunnel.take(1).unwrap(), b"x");
    }
    load.stop().expect_no_failure(&[]);
    assert!(!site.log().contains("request_timeout"), "{}", site.log());
}

#[test]
fn a_stop_does_not_wait_for_what_is_overdue() {
    let mut site = site("concurrency = 1\ndrain.timeout = \"60s\"");
    let mut late = Wire::connect(site.addr).unwrap();
    ask(&mut late, "/never");
    assert_eq!(late.reply(false).unwrap().status, 504);
    site.rota(&["stop"]);
    // No longer than the grace, whatever a drain may take.
    assert_eq!(site.wait_end(secs(20)), Some(0));
}
