//! As many connections as there may be: the newest has its place, at the cost of those that ask nothing.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::bytes::pattern;
use crate::site::{Site, kill};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nbind = \"unix\"\nprobation = \"1ms\"\n";

/// Kept connections that have had an answer.
fn idle(site: &Site, from: &str, count: usize) -> Vec<Wire> {
    let one = |_| {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200, "{}", site.log());
        wire
    };
    (0..count).map(one).collect()
}

/// Connections whose head does not come to an end.
fn dripping(site: &Site, from: &str, count: usize) -> Vec<Wire> {
    let one = |_| {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        wire.send(b"GET / HTTP/1.1\r\nX: ").unwrap();
        wire
    };
    (0..count).map(one).collect()
}

fn lasts(wires: &mut [Wire]) -> usize {
    wires.iter_mut().filter_map(|wire| wire.ask(&kept("/")).ok()).filter(|reply| reply.status == 200).count()
}

#[test]
fn the_newest_has_a_place_and_the_busiest_client_pays_for_it() {
    type Crowd = fn(&Site, &str, usize) -> Vec<Wire>;
    for (what, crowd) in [
        ("idle ones", idle as Crowd),
        ("heads that drip", dripping),
        ("silent ones", |site, from, count| (0..count).map(|_| Wire::connect_from(from, site.addr).unwrap()).collect()),
    ] {
        let site = Site::start(&format!("{APP}server.limits.connections = 300"));
        let mut others = idle(&site, "127.0.0.3", 2);
        let _crowd = crowd(&site, "127.0.0.2", 298);
        let mut new: Vec<Wire> = (0..200).flat_map(|_| idle(&site, "127.0.0.1", 1)).collect();
        assert_eq!((lasts(&mut others), lasts(&mut new[190..])), (2, 10), "beside {what}");
        assert!(site.log().contains("first those of whoever has most, 127.0.0.2 with 2"), "{what}");
    }
}

#[test]
fn a_request_in_hand_is_never_dropped_and_without_another_the_newest_is_told() {
    let site = Site::start(&format!("{APP}server.limits.connections = 12"));
    let mut held: Vec<Wire> = (0..8).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut held {
        wire.send(kept("/hold?name=gate&mark=held").as_bytes()).unwrap();
    }
    let mut bodies: Vec<Wire> = (0..4).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut bodies {
        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nx").unwrap();
    }
    wait::until("all are in hand", secs(20), || site.marks().len() == 8);
    wait::until("there is no place", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 503));
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 503);
    }
    site.open("gate");
    for wire in &mut held {
        assert_eq!(wire.reply(false).unwrap().status, 200);
    }
    for wire in &mut bodies {
        wire.send(b"x").unwrap();
        assert_eq!(wire.reply(false).unwrap().status, 200);
    }
}

#[test]
fn what_a_trusted_proxy_keeps_is_not_what_the_busiest_client_has() {
    let site = Site::start(&format!("{APP}server.limits.connections = 40\nserver.trusted_proxies = [\"127.0.0.2\"]"));
    let mut proxy = idle(&site, "127.0.0.2", 30);
    let _crowd = idle(&site, "127.0.0.3", 10);
    let _new = idle(&site, "127.0.0.1", 8);
    assert_eq!(lasts(&mut proxy), 30);
    // With nobody else there, they are what there is.
    drop(proxy);
    let _more = idle(&site, "127.0.0.2", 60);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn with_few_descriptors_there_are_fewer_connections_and_a_dead_process_comes_back() {
    let mut site = Site::prepare(APP);
    site.release("1", "");
    site.flip("1");
    let rota = site.command(&["serve"]);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 400 && exec \"$0\" \"$@\""]).arg(rota.get_program()).args(rota.get_args());
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, Stdio::from(log.try_clone().unwrap()), Stdio::from(log));
    site.wait_served();
    assert!(site.log().contains("RLIMIT_NOFILE has room for "), "it says so");
    let mut first = idle(&site, "127.0.0.3", 1);
    let _crowd = dripping(&site, "127.0.0.2", 600);
    let (.., pid, _) = site.processes()[0];
    kill(pid, Signal::KILL);
    wait::until("another process serves", secs(30), || {
        site.processes().iter().any(|(.., other, state)| *other != pid && state == "serving")
    });
    assert_eq!((wire::get(site.addr, "/").unwrap().status, lasts(&mut first)), (200, 1));
    assert!(!site.log().contains("Too many open files"), "{}", site.log());
}

/// Resident memory of the server, in MiB.
fn memory(site: &Site) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", site.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() / 1024
}

#[test]
fn heads_and_bodies_that_drip_have_so_much_memory_in_sum() {
    let site = Site::start(APP);
    let before = memory(&site);
    let mut wires: Vec<Wire> = (0..2500).map(|_| Wire::connect_from("127.0.0.2", site.addr).unwrap()).collect();
    let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(30_000));
    for wire in &mut wires {
        let _ = wire.send(head.as_bytes());
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    let heads = memory(&site) - before;
    assert!(heads < 64, "{heads} MiB for heads");
    drop(wires);
    let mut wires: Vec<Wire> = (0..2500).map(|_| Wire::connect_from("127.0.0.2", site.addr).unwrap()).collect();
    let start = b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 65536\r\n\r\n".to_vec();
    let body = [start, pattern(0, 63 * 1024)].concat();
    for wire in &mut wires {
        let _ = wire.send(&body);
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    let bodies = memory(&site) - before;
    assert!(bodies < 110, "{bodies} MiB for bodies");
}

/// Connections with half a body.
fn half_bodies(site: &Site, from: &str, count: usize) -> Vec<Wire> {
    asking(site, from, count, "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nx")
}

fn asking(site: &Site, from: &str, count: usize, request: &str) -> Vec<Wire> {
    let one = |_| {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        wire.send(request.as_bytes()).unwrap();
        wire
    };
    (0..count).map(one).collect()
}

#[test]
fn whoever_has_all_connections_with_requests_in_hand_gives_some_up_for_the_others() {
    type Crowd = fn(&Site, &str, usize) -> Vec<Wire>;
    for (what, crowd) in [
        ("bodies that do not end", half_bodies as Crowd),
        ("answers that are not taken", |site, from, count| asking(site, from, count, &kept("/bytes?n=30000000"))),
        ("requests that wait", |site, from, count| asking(site, from, count, &kept("/hold?name=never"))),
        ("upgraded connections", |site, from, count| {
            asking(site, from, count, "GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        }),
    ] {
        let site = Site::start(&format!("{APP}concurrency = 60\nserver.limits.connections = 40"));
        let _crowd = crowd(&site, "127.0.0.2", 45);
        let new: Vec<Wire> = (0..10).flat_map(|_| idle(&site, "127.0.0.1", 1)).collect();
        assert_eq!(new.len(), 10, "beside {what}");
        assert!(site.log().contains("none is idle, and 127.0.0.2 gives some up, who has most"), "{what}: {}", site.log());
    }
}

#[test]
fn bodies_that_do_not_end_are_given_up_before_requests_that_the_app_has() {
    let site = Site::start(&format!("{APP}concurrency = 60\nserver.limits.connections = 40"));
    let mut held = asking(&site, "127.0.0.2", 20, &kept("/hold?name=gate&mark=held"));
    wait::until("the app has them", secs(20), || site.marks().len() == 20);
    let mut bodies = half_bodies(&site, "127.0.0.2", 20);
    wait::until("there is no place", secs(20), || site.status()["connections"] == 40);
    let new: Vec<Wire> = (0..5).flat_map(|_| idle(&site, "127.0.0.1", 1)).collect();
    site.open("gate");
    assert!(held.iter_mut().all(|wire| wire.reply(false).is_ok_and(|reply| reply.status == 200)));
    let answered = |wire: &mut Wire| wire.send(b"x").and_then(|()| wire.reply(false)).is_ok_and(|reply| reply.status == 200);
    let left = bodies.iter_mut().filter_map(|wire| answered(wire).then_some(())).count();
    // A newcomer may have had the place of one before it, which is idle.
    assert!((10..20).contains(&left), "{left} of 20 bodies were taken to their end");
    drop(new);
}

#[test]
fn a_client_that_fills_slots_and_queue_keeps_nobody_waiting_behind_all_of_it() {
    let site = Site::start(&format!("{APP}concurrency = 2\nqueue.max = 30"));
    let mut crowd = asking(&site, "127.0.0.2", 40, &kept("/sleep?ms=300"));
    wait::until("its queue is full", secs(20), || site.waiting() == 30);
    for _ in 0..3 {
        let mut wire = Wire::connect_from("127.0.0.1", site.addr).unwrap();
        assert_eq!(wire.ask(&kept("/?from=another")).unwrap().status, 200);
    }
    let refused = crowd.iter_mut().filter_map(|wire| wire.reply(false).ok()).filter(|reply| reply.status == 503).count();
    // What was too much from the beginning, and what gave way.
    assert!((8..=11).contains(&refused), "{refused} were refused");
}

/// What a client is told that sends a head in two pieces.
fn in_two_pieces(site: &Site, from: &str, bytes: usize) -> u16 {
    let mut wire = Wire::connect_from(from, site.addr).unwrap();
    wire.send(format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(bytes)).as_bytes()).unwrap();
    // Read by itself: nothing is answered before it ends.
    std::thread::sleep(millis(50));
    let _ = wire.send(b"x\r\nConnection: close\r\n\r\n");
    wire.reply(false).unwrap().status
}

#[test]
fn large_heads_that_do_not_end_leave_room_for_the_heads_of_others() {
    for (count, bytes, others) in [(37, 1_000_000, 20_000), (1000, 30_000, 8_000)] {
        let site = Site::start(&format!("{APP}server.limits.head = \"1M\""));
        let head = format!("GET / HTTP/1.1\r\nHost: test\r\nX: {}", "x".repeat(bytes));
        let mut crowd: Vec<Wire> = (0..count).map(|_| Wire::connect_from("127.0.0.2", site.addr).unwrap()).collect();
        for wire in &mut crowd {
            let _ = wire.send(head.as_bytes());
        }
        for from in ["127.0.0.1", "127.0.0.2"] {
            assert_eq!(in_two_pieces(&site, from, others), 200, "beside {count} of {bytes} bytes, from {from}");
        }
    }
}
