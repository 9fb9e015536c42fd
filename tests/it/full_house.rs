//! As many connections as there may be: the newest has its place, at the cost of those that ask nothing.

use std::fs;
use std::process::Stdio;

use rustix::process::Signal;

use crate::bytes::pattern;
use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nbind = \"unix\"\nprobation = \"1ms\"\n";

/// Kept connections that have had an answer.
fn idle(site: &Site, from: &str, count: usize) -> Vec<Wire> {
    let one = |_| {
        let mut wire = Wire::connect_from(from, site.addr).unwrap();
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
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
