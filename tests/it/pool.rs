//! Slots and the queue, as clients see them.

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const ONE: &str = "processes = 1\nconcurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"";

/// Occupies the only slot until `site.open(name)`.
fn hold<'s>(scope: &'s std::thread::Scope<'s, '_>, site: &'s Site, name: &'static str) -> std::thread::ScopedJoinHandle<'s, wire::Reply> {
    let held = scope.spawn(move || wire::get(site.addr, &format!("/hold?name={name}&mark={name}")).unwrap());
    wait::until("it is with the app", secs(10), || site.marks().contains(&name.to_owned()));
    held
}

fn queued(site: &Site) -> u64 {
    site.status()["apps"][0]["queue"]["length"].as_u64().unwrap()
}

#[test]
fn a_full_queue_is_answered_503_at_once_and_says_when_to_come_again() {
    let site = Site::start(&format!("{ONE}\nqueue.max = 1"));
    std::thread::scope(|scope| {
        let held = hold(scope, &site, "gate");
        let waits = scope.spawn(|| wire::get(site.addr, "/").unwrap());
        wait::until("one waits", secs(5), || queued(&site) == 1);
        let refused = wire::get(site.addr, "/").unwrap();
        assert_eq!((refused.status, refused.field("Retry-After")), (503, Some("1")));
        site.open("gate");
        assert_eq!((held.join().unwrap().status, waits.join().unwrap().status), (200, 200));
    });
}

#[test]
fn who_waits_too_long_is_answered_504_and_never_reaches_the_app() {
    let site = Site::start(&format!("{ONE}\nqueue.timeout = \"300ms\""));
    std::thread::scope(|scope| {
        let held = hold(scope, &site, "gate");
        assert_eq!(wire::get(site.addr, "/?mark=late").unwrap().status, 504);
        site.open("gate");
        held.join().unwrap();
    });
    wire::get(site.addr, "/?mark=next").unwrap();
    assert_eq!(site.marks(), ["gate", "next"]);
}

#[test]
fn waiting_requests_are_served_in_their_order_fresh_and_kept_alike() {
    let site = Site::start(ONE);
    let mut kept_one = Wire::connect(site.addr).unwrap();
    kept_one.ask(&kept("/")).unwrap();
    std::thread::scope(|scope| {
        let held = hold(scope, &site, "gate");
        let first = scope.spawn(|| wire::get(site.addr, "/?mark=first").unwrap());
        wait::until("one waits", secs(5), || queued(&site) == 1);
        kept_one.send(kept("/?mark=second").as_bytes()).unwrap();
        wait::until("two wait", secs(5), || queued(&site) == 2);
        let third = scope.spawn(|| wire::get(site.addr, "/?mark=third").unwrap());
        wait::until("three wait", secs(5), || queued(&site) == 3);
        site.open("gate");
        held.join().unwrap();
        first.join().unwrap();
        assert_eq!(kept_one.reply(false).unwrap().status, 200);
        third.join().unwrap();
    });
    assert_eq!(site.marks(), ["gate", "first", "second", "third"]);
}

#[test]
fn a_client_that_leaves_the_queue_never_reaches_the_app() {
    let site = Site::start(ONE);
    std::thread::scope(|scope| {
        let held = hold(scope, &site, "gate");
        let mut leaver = Wire::connect(site.addr).unwrap();
        leaver.send(kept("/?mark=left").as_bytes()).unwrap();
        wait::until("it waits", secs(5), || queued(&site) == 1);
        drop(leaver);
        wait::until("it is out of the queue", secs(5), || queued(&site) == 0);
        site.open("gate");
        held.join().unwrap();
    });
    wire::get(site.addr, "/?mark=next").unwrap();
    assert_eq!(site.marks(), ["gate", "next"]);
}

#[test]
fn a_slow_upload_holds_no_slot() {
    let site = Site::start(ONE);
    let mut upload = Wire::connect(site.addr).unwrap();
    upload.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n12345").unwrap();
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    upload.send(b"67890").unwrap();
    assert_eq!(upload.reply(false).unwrap().text(), crate::bytes::receipt(b"1234567890"));
}

#[test]
fn a_slow_reader_holds_no_slot() {
    let site = Site::start(ONE);
    let bytes = 20 * 1024 * 1024;
    let mut reader = Wire::connect(site.addr).unwrap();
    reader.send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    let reply = reader.reply(false).unwrap();
    assert!(reply.body.len() == bytes && crate::bytes::is_pattern(0, &reply.body));
}

#[test]
fn requests_wait_while_the_only_process_is_replaced_after_a_kill() {
    let site = Site::prepare(ONE);
    site.release("1", "boot_delay 300");
    site.flip("1");
    let site = site.serve();
    let mut kept_one = Wire::connect(site.addr).unwrap();
    kept_one.ask(&kept("/")).unwrap();
    kill(site.serving(1)[0], Signal::KILL);
    assert_eq!(kept_one.ask(&kept("/")).unwrap().text(), "1");
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn never_more_requests_than_slots_reach_a_process() {
    let site = Site::start("processes = 2\nconcurrency = 2\nbind = \"unix\"\nprobation = \"100ms\"");
    std::thread::scope(|scope| {
        let addr = site.addr;
        let held = |n: u32| scope.spawn(move || wire::get(addr, &format!("/hold?name=gate&mark={n}")).unwrap());
        let held: Vec<_> = (0..6).map(held).collect();
        wait::until("four are with the app and two wait", secs(10), || site.marks().len() == 4 && queued(&site) == 2);
        let sessions: Vec<u64> =
            site.status()["apps"][0]["processes"].as_array().unwrap().iter().map(|p| p["sessions"].as_u64().unwrap()).collect();
        assert_eq!(sessions, [2, 2]);
        site.open("gate");
        assert!(held.into_iter().all(|held| held.join().unwrap().status == 200));
    });
}
