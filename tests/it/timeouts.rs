//! `request_timeout`: an app that has a request for too long, and comes back from it, or does not. And time in which rota itself did not run,
//! which counts for nobody.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;

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
    // All that the load asks for is done in that time on a busy machine, too.
    let ample = format!("\"{}s\"", wait::ample(secs(6)).as_secs());
    let site = Site::start(&format!("{}processes = 2\nconcurrency = 16", APP.replace("\"1s\"", &ample)));
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
    let quick = wait::ample(secs(1));
    let site = Site::start(&format!("{}concurrency = 16", APP.replace("\"1s\"", &format!("\"{}s\"", quick.as_secs()))));
    let load = Load::start(site.addr, &ALL);
    let (mut events, begun) = (Wire::connect(site.addr).unwrap(), Instant::now());
    ask(&mut events, "/sse?ms=100");
    let (mut tunnel, limit) = (Wire::connect(site.addr).unwrap(), quick * 3);
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

/// The limits of the tests below: what a busy machine may keep the tests themselves from running.
fn limit() -> Duration {
    wait::ample(secs(5)).min(secs(90))
}

fn in_words(limit: Duration) -> String {
    format!("\"{}s\"", limit.as_secs())
}

/// rota is stopped, as by a debugger or on a machine that is held, for longer than a limit and than what a busy loop may be late.
fn stop_for_longer(site: &Site, limit: Duration) {
    stand_still(site);
    std::thread::sleep(limit + secs(7));
    site.signal(Signal::CONT);
}

fn stand_still(site: &Site) {
    site.signal(Signal::STOP);
    wait::until("it stands still", secs(10), || {
        std::fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap().contains("State:\tT")
    });
}

#[test]
fn nobody_is_told_that_he_is_late_because_rota_was_stopped() {
    let (limit, own) = (limit(), APP.replace("\"1s\"", "LIMIT"));
    let keys = "server.timeouts.head = LIMIT\nserver.timeouts.body = LIMIT\nserver.timeouts.keepalive = LIMIT\ntimeouts.app = LIMIT\n";
    let site = Site::start(&format!("{own}concurrency = 1\nqueue.timeout = LIMIT\n{keys}").replace("LIMIT", &in_words(limit)));
    let wire = || Wire::connect(site.addr).unwrap();
    let (mut head, mut body, mut idle, mut with_app, mut waits) = (wire(), wire(), wire(), wire(), wire());
    assert_eq!(idle.ask(&kept("/")).unwrap().status, 200);
    ask(&mut with_app, "/hold?name=gate&mark=held");
    wait::until("it is with the app", secs(10), || site.marks() == ["held"]);
    ask(&mut waits, "/?mark=waits");
    wait::until("it waits", secs(10), || site.waiting() == 1);
    head.send(b"GET / HTTP/1.1\r\n").unwrap();
    body.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nx").unwrap();
    stop_for_longer(&site, limit);
    // What they do now they do after their time, had it counted.
    assert_eq!(site.waiting(), 1, "{}", site.log());
    head.send(b"Host: test\r\n\r\n").unwrap();
    body.send(b"x").unwrap();
    site.open("gate");
    for (wire, what) in [(&mut with_app, "with the app"), (&mut waits, "in the queue"), (&mut head, "head"), (&mut body, "body")] {
        let reply = wire.reply(false).unwrap();
        assert_eq!(reply.status, 200, "{what}: {}\n{}", reply.text(), site.log());
    }
    assert_eq!(idle.ask(&kept("/")).unwrap().status, 200);
}

/// Requests that come without a pause until `is_over`, each without its end, which is given with it.
fn arrivals(addr: SocketAddr, is_over: &AtomicBool) -> Vec<(Wire, &'static str)> {
    let mut wires = Vec::new();
    while !is_over.load(Ordering::Relaxed) && wires.len() < 250 {
        let (begin, end) = match wires.len() % 3 {
            0 => ("GET / HTTP/1.1\r\n", "Host: test\r\n\r\n"),
            1 => ("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nx", "x"),
            _ => ("POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx", "\r\n0\r\n\r\n"),
        };
        let mut wire = Wire::connect(addr).unwrap();
        wire.send(begin.as_bytes()).unwrap();
        wires.push((wire, end));
    }
    wires
}

/// Wherever rota stands in the middle of its work: between a clock and a poll, an accept and a read, one thread and another.
#[test]
fn nobody_who_comes_in_the_very_moment_in_which_rota_is_stopped_is_late() {
    // Each is stopped at another place.
    std::thread::scope(|scope| {
        let stops: Vec<_> = (0..8).map(|of| scope.spawn(move || stop_in_arrivals(30 * (of + 1)))).collect();
        stops.into_iter().for_each(|stop| stop.join().unwrap());
    });
}

/// A stop once so many are connected.
fn stop_in_arrivals(connections: u64) {
    let (limit, own) = (limit(), APP.replace("\"1s\"", "LIMIT"));
    let keys = "server.timeouts.head = LIMIT\nserver.timeouts.body = LIMIT\nqueue.timeout = LIMIT\nconcurrency = 16";
    let site = Site::start(&format!("{own}{keys}").replace("LIMIT", &in_words(limit)));
    let is_over = AtomicBool::new(false);
    let mut wires = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(|| arrivals(site.addr, &is_over))).collect();
        let clients = clients.into_iter();
        wait::until("they come", secs(20), || site.status()["connections"].as_u64() > Some(connections));
        stand_still(&site);
        is_over.store(true, Ordering::Relaxed);
        clients.flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    std::thread::sleep(limit + secs(7));
    site.signal(Signal::CONT);
    for (wire, end) in &mut wires {
        wire.send(end.as_bytes()).unwrap();
    }
    let late: Vec<u16> = wires.iter_mut().map(|(wire, _)| wire.reply(false).unwrap().status).filter(|status| *status != 200).collect();
    assert!(late.is_empty(), "of {}: {late:?}", wires.len());
}

#[test]
fn a_process_that_boots_while_rota_is_stopped_is_not_late() {
    let (limit, own) = (limit(), APP.replace("\"1s\"", "LIMIT"));
    let site = Site::start(&format!("{own}concurrency = 4\nready.timeout = LIMIT").replace("LIMIT", &in_words(limit)));
    site.release("2", "boot_waits");
    site.flip("2");
    site.rota(&["restart", "--no-wait"]).expect(0);
    wait::until("it boots", secs(10), || site.processes().iter().any(|(_, generation, pid, _)| *generation == 2 && *pid > 0));
    stop_for_longer(&site, limit);
    site.open("boot-2");
    wait::until("it serves", secs(20), || site.serving(2).len() == 1);
}
