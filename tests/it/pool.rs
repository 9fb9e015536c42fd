//! Who gets a slot, who waits, and who is told to come again.

use std::time::Duration;

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Reply, Trouble, Wire, kept};

/// One process that takes one request at a time.
const ONE_SLOT: &str = "concurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"";

/// A connection whose request the app has, for as long as the test wants.
fn held(site: &Site, mark: &str) -> Wire {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept(&format!("/hold?name=gate&mark={mark}")).as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks().iter().any(|known| known == mark));
    wire
}

/// Sends a request that has to wait as number `place` of the queue.
fn queued(site: &Site, wire: &mut Wire, mark: &str, place: u64) {
    wire.send(kept(&format!("/?mark={mark}")).as_bytes()).unwrap();
    wait::until("it waits", secs(10), || site.waiting() == place);
}

fn answer(wire: &mut Wire) -> Result<(u16, String), Trouble> {
    wire.reply(false).map(|reply| (reply.status, reply.text()))
}

#[test]
fn a_full_queue_is_answered_at_once_and_says_when_to_come_again() {
    let site = Site::start(&format!("{ONE_SLOT}\nqueue.max = 1"));
    let mut first = held(&site, "first");
    let mut second = Wire::connect(site.addr).unwrap();
    queued(&site, &mut second, "second", 1);
    let mut third = Wire::connect(site.addr).unwrap();
    for _ in 0..3 {
        let refused = third.ask(&kept("/?mark=third")).unwrap();
        assert_eq!((refused.status, refused.field("Retry-After"), refused.keep), (503, Some("1"), true));
    }
    let refused = third.ask("POST /?mark=third HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!((refused.status, refused.keep), (503, true));
    site.open("gate");
    assert_eq!((answer(&mut first), answer(&mut second)), (Ok((200, "1".to_owned())), Ok((200, "1".to_owned()))));
    assert_eq!(third.ask(&kept("/?mark=again")).unwrap().status, 200, "it may come again on the same connection");
    assert_eq!(site.marks(), ["first", "second", "again"]);
    assert_eq!(site.status()["apps"][0]["queue"]["refused"], 4);
}

#[test]
fn without_a_queue_a_busy_app_refuses() {
    // Settled: a slot is given back a moment after the client has its answer.
    let site = Site::start(&format!("{ONE_SLOT}\nqueue.max = 0"));
    let _first = held(&site, "first");
    assert_eq!(wire::get(site.addr, "/?mark=second").unwrap().status, 503);
    assert_eq!(site.marks(), ["first"]);
    site.open("gate");
}

#[test]
fn what_has_waited_too_long_is_answered_504_and_never_reaches_the_app() {
    let site = Site::start(&format!("{ONE_SLOT}\nqueue.timeout = \"400ms\""));
    let expired = || site.status()["apps"][0]["queue"]["expired"].as_u64().unwrap();
    // Before it served, perhaps.
    let before = expired();
    let mut first = held(&site, "first");
    let mut second = Wire::connect(site.addr).unwrap();
    assert_eq!(second.ask(&kept("/?mark=second")).unwrap().status, 504);
    site.open("gate");
    assert_eq!(answer(&mut first).map(|(status, _)| status), Ok(200));
    assert_eq!(second.ask(&kept("/?mark=third")).unwrap().status, 200);
    assert_eq!(site.marks(), ["first", "third"]);
    assert_eq!(expired(), before + 1);
}

#[test]
fn first_come_is_first_served_on_kept_and_fresh_connections_alike() {
    let site = Site::start(ONE_SLOT);
    let mut wires: Vec<Wire> = (0..6).map(|_| Wire::connect(site.addr).unwrap()).collect();
    // Every second one lives with the process already.
    for wire in wires.iter_mut().step_by(2) {
        assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    }
    let _first = held(&site, "held");
    for (i, wire) in wires.iter_mut().enumerate() {
        queued(&site, wire, &i.to_string(), i as u64 + 1);
    }
    site.open("gate");
    for wire in &mut wires {
        assert_eq!(answer(wire), Ok((200, "1".to_owned())));
    }
    assert_eq!(site.marks(), ["held", "0", "1", "2", "3", "4", "5"]);
}

#[test]
fn a_client_that_has_left_the_queue_never_reaches_the_app() {
    let site = Site::start(ONE_SLOT);
    let mut first = held(&site, "first");
    let mut wires: Vec<Wire> = (0..3).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for (i, wire) in wires.iter_mut().enumerate() {
        queued(&site, wire, &i.to_string(), i as u64 + 1);
    }
    drop(wires.remove(1));
    wait::until("it is out of the queue", secs(10), || site.waiting() == 2);
    site.open("gate");
    assert_eq!(answer(&mut first).map(|(status, _)| status), Ok(200));
    for wire in &mut wires {
        assert_eq!(answer(wire), Ok((200, "1".to_owned())));
    }
    assert_eq!(site.marks(), ["first", "0", "2"]);
}

#[test]
fn a_client_that_leaves_while_its_request_is_with_the_app_frees_its_slot() {
    let site = Site::start(ONE_SLOT);
    let first = held(&site, "first");
    // Closed with bytes unread: a reset, the only close that cannot be taken for a client that is done asking.
    rustix::net::sockopt::set_socket_linger(&first.stream, Some(Duration::ZERO)).unwrap();
    drop(first);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn requests_go_to_the_process_that_is_used_least() {
    let site = Site::start("processes = 3\nconcurrency = 4\nbind = \"unix\"\nprobation = \"100ms\"");
    let sessions = || {
        let status = site.status();
        let processes = status["apps"][0]["processes"].as_array().unwrap().clone();
        processes.iter().map(|process| process["sessions"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let mut wires = Vec::new();
    for round in 1..=4 {
        for i in 0..3 {
            wires.push(held(&site, &format!("{round}.{i}")));
        }
        assert_eq!(sessions(), [round; 3]);
    }
    site.open("gate");
    for wire in &mut wires {
        assert_eq!(answer(wire), Ok((200, "1".to_owned())));
    }
}

#[test]
fn never_more_are_in_the_app_than_it_has_slots() {
    let site = Site::start("processes = 2\nconcurrency = 3\nbind = \"unix\"\nprobation = \"100ms\"");
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut wires {
        wire.send(kept("/hold?name=gate&mark=in").as_bytes()).unwrap();
    }
    wait::until("the app has six and the others wait", secs(10), || site.marks().len() == 6 && site.waiting() == 14);
    site.open("gate");
    for wire in &mut wires {
        assert_eq!(answer(wire), Ok((200, "1".to_owned())));
    }
    assert_eq!((site.marks().len(), site.waiting()), (20, 0));
}

#[test]
fn a_kept_connection_does_not_wait_at_its_process_while_another_is_free() {
    let site = Site::start("processes = 2\nconcurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"");
    let mut wires: Vec<Wire> = (0..2).map(|_| Wire::connect(site.addr).unwrap()).collect();
    let pids: Vec<String> = wires.iter_mut().map(|wire| wire.ask(&kept("/pid")).unwrap().text()).collect();
    assert_ne!(pids[0], pids[1]);
    let mut first = Wire::connect(site.addr).unwrap();
    // Takes the slot of one of the two; which one it is, is not ours to say.
    first.send(kept("/hold?name=gate&mark=first").as_bytes()).unwrap();
    wait::until("it is with the app", secs(10), || site.marks() == ["first"]);
    let now: Vec<String> = wires.iter_mut().map(|wire| wire.ask(&kept("/pid")).unwrap().text()).collect();
    assert_eq!(now[0], now[1], "both went to the free one");
    site.open("gate");
    assert_eq!(answer(&mut first).map(|(status, _)| status), Ok(200));
}

#[test]
fn a_process_that_was_killed_is_replaced_and_the_status_says_so() {
    let site = Site::start("processes = 2\nconcurrency = 4\nbind = \"unix\"\nprobation = \"100ms\"");
    let before = site.processes();
    kill(before[0].2, Signal::KILL);
    wait::until("another is in its place", secs(10), || {
        let now = site.processes();
        now.len() == 2 && now.iter().all(|(_, generation, pid, state)| *generation == 1 && *pid != before[0].2 && state == "serving")
    });
    let numbers: Vec<u64> = site.processes().iter().map(|process| process.0).collect();
    assert!(numbers == [1, 2] || numbers == [2, 1], "{numbers:?}");
    let failure = &site.status()["apps"][0]["last_failure"];
    assert!(failure["message"].as_str().is_some_and(|reason| reason.contains("KILL") || reason.contains('9')), "{failure}");
    assert!(site.log().contains(&format!("pid {}", before[0].2)));
}

/// One process that takes half a second to start.
fn slow_to_boot() -> Site {
    let site = Site::prepare("concurrency = 32\nbind = \"unix\"\nprobation = \"100ms\"");
    site.release("1", "boot_delay 500");
    site.flip("1");
    site.serve()
}

/// Ten fresh requests and one on a kept connection, at once.
fn all_are_answered(site: &Site, mut wire: Wire) {
    std::thread::scope(|scope| {
        let fresh = || -> Result<Reply, Trouble> { wire::get(site.addr, "/") };
        let all: Vec<_> = (0..10).map(|_| scope.spawn(fresh)).collect();
        assert_eq!(wire.ask(&kept("/")).map(|reply| (reply.status, reply.keep)), Ok((200, true)), "on a connection that was its");
        for one in all {
            assert_eq!(one.join().unwrap().map(|reply| reply.status), Ok(200));
        }
    });
}

#[test]
fn requests_wait_while_the_only_process_is_replaced() {
    let site = slow_to_boot();
    let mut wire = Wire::connect(site.addr).unwrap();
    assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    kill(site.serving(1)[0], Signal::KILL);
    wait::until("its end is known", secs(10), || site.serving(1).is_empty());
    all_are_answered(&site, wire);
}

#[test]
fn requests_that_the_only_process_had_when_it_died_wait_for_the_next_one() {
    let site = slow_to_boot();
    for round in 0..2 {
        let mark = round.to_string();
        let mut wires: Vec<Wire> = (0..30).map(|_| Wire::connect(site.addr).unwrap()).collect();
        for wire in &mut wires {
            wire.send(kept(&format!("/hold?name={round}&mark={mark}")).as_bytes()).unwrap();
        }
        wait::until("the app has them all", secs(10), || site.marks().iter().filter(|known| **known == mark).count() >= 30);
        kill(site.serving(1)[0], Signal::KILL);
        site.open(&mark);
        let answers: Vec<u16> = wires.iter_mut().map(|wire| wire.reply(false).unwrap().status).collect();
        assert_eq!(answers, [200; 30], "round {round}");
    }
}

#[test]
fn a_slow_upload_holds_no_slot() {
    let site = Site::start("processes = 1\nconcurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"");
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
    let site = Site::start("processes = 1\nconcurrency = 1\nbind = \"unix\"\nprobation = \"100ms\"");
    let bytes = 20 * 1024 * 1024;
    let mut reader = Wire::connect(site.addr).unwrap();
    reader.send(kept(&format!("/bytes?n={bytes}")).as_bytes()).unwrap();
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    let reply = reader.reply(false).unwrap();
    assert!(reply.body.len() == bytes && crate::bytes::is_pattern(0, &reply.body));
}
