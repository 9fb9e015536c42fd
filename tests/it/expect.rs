//! `Expect: 100-continue` in front of a large body: who decides is the app, its refusal comes before the body, and a body that is not refused
//! is asked for once and arrives whole.

use std::net::SocketAddr;

use rustix::process::Signal;

use crate::bytes::{pattern, receipt};
use crate::site::{Site, kill};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Reply, Trouble, Wire, hex, kept};

/// Two uploads at a time may go to it as they come.
const FOUR_SLOTS: &str = "concurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\n";
const LARGE: usize = 300_000;
const GO: &str = "HTTP/1.1 100 Continue\r\n\r\n";

fn site(keys: &str) -> Site {
    Site::start(&format!("{FOUR_SLOTS}{keys}"))
}

fn head(method: &str, target: &str, framing: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n")
}

fn of_length(target: &str, bytes: usize) -> String {
    head("POST", target, &format!("Content-Length: {bytes}"))
}

/// What the app says before it does anything else.
fn saying(first: &str, target: &str) -> String {
    format!("{target}&first={}", hex(first.as_bytes()))
}

/// A client that has asked whether it may send.
fn asking(addr: SocketAddr, head: &str) -> Wire {
    let mut wire = Wire::connect(addr).unwrap();
    wire.send(head.as_bytes()).unwrap();
    wire
}

/// Waits for the word to send, sends, and gives the answer.
fn upload(wire: &mut Wire, body: &[u8]) -> Reply {
    assert_eq!(wire.head().unwrap(), GO);
    wire.send(body).unwrap();
    wire.reply(false).unwrap()
}

/// Requests that the app has in hand.
fn in_hand(site: &Site) -> u64 {
    site.status()["apps"][0]["processes"].as_array().unwrap().iter().map(|process| process["sessions"].as_u64().unwrap()).sum()
}

#[test]
fn a_refusal_is_told_before_the_body_is_asked_for() {
    let (buffered, streamed) = (site(""), site("buffer.request = false"));
    for site in [&buffered, &streamed] {
        for first in ["", GO] {
            for framing in [&format!("Content-Length: {LARGE}"), "Transfer-Encoding: chunked"] {
                for status in [401, 302, 413] {
                    let mut wire = asking(site.addr, &head("POST", &saying(first, &format!("/unread?status={status}")), framing));
                    let reply = wire.reply(false).unwrap();
                    assert_eq!((reply.status, reply.text().as_str(), reply.keep), (status, "no\n", false), "{first:?} {framing}");
                    assert!(reply.head.starts_with(&format!("HTTP/1.1 {status}")), "{}", reply.head);
                    assert!(wire::is_closed(&mut wire.stream, secs(10)));
                }
            }
        }
        wait::until("every slot is free", secs(10), || in_hand(site) == 0);
        assert_eq!(site.marks(), [""; 0], "nothing of a body reached the app");
    }
}

#[test]
fn a_body_that_is_not_refused_is_asked_for_once_and_arrives_whole() {
    let (buffered, streamed) = (site(""), site("buffer.request = false"));
    let body = pattern(0, LARGE);
    let chunked = [format!("{LARGE:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat();
    for site in [&buffered, &streamed] {
        // It says 100 when it reads, at once, twice, or nothing.
        for target in ["/echo", &saying(GO, "/unread?read=after"), &saying(&GO.repeat(2), "/unread?read=after"), "/unread?read=after"] {
            for (framing, body_sent) in [(&*format!("Content-Length: {LARGE}"), &body), ("Transfer-Encoding: chunked", &chunked)] {
                let mut wire = asking(site.addr, &head("POST", target, framing));
                let reply = upload(&mut wire, &[body_sent, kept("/").as_bytes()].concat());
                assert_eq!((reply.status, reply.text()), (200, receipt(&body)), "{target} {framing}");
                assert!(!reply.head.contains("100 Continue"), "{target} {framing}: {}", reply.head);
                assert!(reply.keep, "{target} {framing}");
                assert_eq!(wire.reply(false).unwrap().text(), "1", "what came behind it");
            }
        }
    }
}

#[test]
fn the_app_is_told_what_the_client_expects_of_a_large_body_and_nothing_else() {
    let site = site("");
    let told = |bytes: usize| {
        let mut wire = asking(site.addr, &of_length("/headers", bytes));
        upload(&mut wire, &pattern(0, bytes)).text()
    };
    assert!(told(64 * 1024 + 1).contains("\r\nExpect: 100-continue\r\n"));
    assert!(!told(64 * 1024).contains("Expect"));
    let mut old = Wire::connect(site.addr).unwrap();
    old.send(of_length("/headers", LARGE).replace("HTTP/1.1", "HTTP/1.0").as_bytes()).unwrap();
    old.send(&pattern(0, LARGE)).unwrap();
    let reply = old.reply(false).unwrap();
    assert!(reply.head.starts_with("HTTP/1.1 200") && !reply.text().contains("Expect"), "{}{}", reply.head, reply.text());
}

#[test]
fn hints_pass_while_the_client_waits() {
    let site = site("");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let mut wire = asking(site.addr, &of_length(&saying(hints, "/unread?read=after"), LARGE));
    assert_eq!(wire.head().unwrap(), hints);
    assert_eq!(upload(&mut wire, &pattern(0, LARGE)).text(), receipt(&pattern(0, LARGE)));
    let mut refused = asking(site.addr, &of_length(&saying(&format!("{GO}{hints}"), "/unread?status=403"), LARGE));
    let reply = refused.reply(false).unwrap();
    assert!(reply.status == 403 && reply.head.starts_with(hints), "{}", reply.head);
}

#[test]
fn an_app_that_answers_while_it_reads_gets_the_body() {
    let site = site("");
    let mut wire = asking(site.addr, &of_length(&saying(GO, "/unread?read=while"), LARGE));
    let reply = upload(&mut wire, &pattern(0, LARGE));
    assert_eq!((reply.status, reply.text(), reply.keep), (200, receipt(&pattern(0, LARGE)), false));
}

#[test]
fn half_of_the_slots_are_for_uploads_that_come_slowly_and_the_rest_is_collected_first() {
    let site = site("");
    let target = |mark: &str| format!("/unread?read=after&gate=read&mark={mark}");
    let mut direct: Vec<Wire> = ["a", "b"].iter().map(|mark| asking(site.addr, &of_length(&target(mark), LARGE))).collect();
    wait::until("two are with the app, which has nothing of their bodies", secs(10), || site.marks().len() == 2);
    // What is collected is asked for whatever the app says.
    let mut collected = asking(site.addr, &of_length(&target("c"), LARGE));
    assert_eq!(collected.head().unwrap(), GO);
    assert_eq!(site.marks().len(), 2);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "there are slots for others");
    // One that leaves while it waits gives back its share and its slot.
    drop(direct.pop());
    wait::until("it is gone", secs(10), || in_hand(&site) == 1);
    let mut next = asking(site.addr, &of_length("/unread?status=401", LARGE));
    assert!(next.reply(false).unwrap().head.starts_with("HTTP/1.1 401"));
    site.open("read");
    for wire in &mut direct {
        assert_eq!(upload(wire, &pattern(0, LARGE)).text(), receipt(&pattern(0, LARGE)));
    }
    collected.send(&pattern(0, LARGE)).unwrap();
    assert_eq!(collected.reply(false).unwrap().text(), receipt(&pattern(0, LARGE)));
    // And so do those that were answered, whatever it was.
    for round in 0..8 {
        let mut wire = asking(site.addr, &of_length("/unread?status=401", LARGE));
        assert!(wire.reply(false).unwrap().head.starts_with("HTTP/1.1 401"), "round {round}");
    }
}

#[test]
fn of_a_single_slot_nothing_is_held_by_a_client_that_waits() {
    let site = Site::start("concurrency = 1\nbind = \"unix\"\nprobation = \"1ms\"");
    let mut wire = asking(site.addr, &of_length("/echo", LARGE));
    assert_eq!(wire.head().unwrap(), GO);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "the slot is free");
    wire.send(&pattern(0, LARGE)).unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&pattern(0, LARGE)));
}

#[test]
fn what_is_too_large_is_refused_at_once() {
    let site = site("limits.body = \"100K\"");
    for method in ["POST", "PUT"] {
        let mut wire = asking(site.addr, &head(method, "/unread?mark=never", &format!("Content-Length: {LARGE}")));
        assert!(wire.reply(false).unwrap().head.starts_with("HTTP/1.1 413"));
    }
    let mut wire = asking(site.addr, &head("POST", "/unread?read=after", "Transfer-Encoding: chunked"));
    assert_eq!(wire.head().unwrap(), GO);
    wire.send(format!("{LARGE:x}\r\n").as_bytes()).unwrap();
    assert_eq!(wire.reply(false).unwrap().status, 413);
    assert_eq!(site.marks(), [""; 0]);
}

#[test]
fn one_that_waits_for_a_slot_is_asked_for_nothing_and_its_client_may_leave() {
    let site = site("queue.timeout = \"60s\"");
    std::thread::scope(|scope| {
        let holders: Vec<_> = (0..4).map(|_| scope.spawn(|| wire::get(site.addr, "/hold?name=slots&mark=held"))).collect();
        wait::until("every slot is taken", secs(10), || site.marks().len() == 4);
        let mut wire = asking(site.addr, &of_length("/unread?status=401", LARGE));
        wait::until("it waits", secs(10), || site.waiting() == 1);
        wire.stream.set_read_timeout(Some(millis(100))).unwrap();
        assert_eq!(wire.head(), Err(Trouble::Timeout));
        wire.stream.set_read_timeout(Some(wire::LIMIT)).unwrap();
        let leaver = asking(site.addr, &of_length("/unread?mark=left", LARGE));
        wait::until("two wait", secs(10), || site.waiting() == 2);
        drop(leaver);
        wait::until("one waits", secs(10), || site.waiting() == 1);
        site.open("slots");
        assert!(wire.reply(false).unwrap().head.starts_with("HTTP/1.1 401"));
        for holder in holders {
            assert_eq!(holder.join().unwrap().unwrap().status, 200);
        }
    });
    assert!(!site.marks().contains(&"left".to_owned()));
}

#[test]
fn what_a_client_sends_without_waiting_stays_with_it_until_the_app_wants_it() {
    let site = site("");
    let body = pattern(0, 64 << 20);
    let mut wire = asking(site.addr, &of_length("/unread?gate=never&status=401&mark=here", body.len()));
    wait::until("the app has it", secs(10), || site.marks() == ["here"]);
    // Both sides' sockets take some of it.
    wire.stream.set_write_timeout(Some(millis(100))).unwrap();
    let written = std::io::Write::write(&mut wire.stream, &body[..16 << 20]).unwrap_or(0);
    assert!(written < 16 << 20, "{written} bytes were taken before the app was asked");
    drop(wire);
    let mut whole = Wire::connect(site.addr).unwrap();
    whole.send(&[of_length(&saying(GO, "/unread?read=after"), LARGE).as_bytes(), &pattern(0, LARGE)].concat()).unwrap();
    let reply = whole.reply(false).unwrap();
    assert_eq!((reply.text(), reply.head.matches("100 Continue").count()), (receipt(&pattern(0, LARGE)), 1));
}

#[test]
fn a_put_whose_process_goes_before_a_byte_of_its_body_is_given_to_another_and_a_post_is_not() {
    for how in ["crash_once", "leave_once"] {
        let site = Site::start("processes = 2\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"\ntimeouts.pooled = \"10ms\"");
        let of =
            |method: &str| head(method, &format!("/unread?{how}={method}&read=after&mark={method}"), &format!("Content-Length: {LARGE}"));
        let reached = |mark: &str| site.marks().iter().filter(|known| *known == mark).count();
        let mut post = asking(site.addr, &of("POST"));
        assert!(post.reply(false).unwrap().head.starts_with("HTTP/1.1 502"), "{how}");
        assert_eq!(reached("POST"), 1, "{how}");
        let mut put = asking(site.addr, &of("PUT"));
        // What ends a process is not given to another, whatever it is.
        match how {
            "crash_once" => assert!(put.reply(false).unwrap().head.starts_with("HTTP/1.1 502")),
            _ => assert_eq!(upload(&mut put, &pattern(0, LARGE)).text(), receipt(&pattern(0, LARGE))),
        }
        assert_eq!(reached("PUT"), if how == "crash_once" { 1 } else { 2 }, "{how}");
    }
}

#[test]
fn a_put_whose_process_is_killed_while_its_client_waits_is_answered_by_the_other() {
    let site = Site::start("processes = 2\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"\ntimeouts.pooled = \"10ms\"");
    let target = "/unread?status=401&gate=put&mark=put";
    let mut put = asking(site.addr, &head("PUT", target, &format!("Content-Length: {LARGE}")));
    wait::until("it is with the app", secs(10), || site.marks().len() == 1);
    let busy = site.status()["apps"][0]["processes"].as_array().unwrap().iter().find(|process| process["sessions"] == 1).cloned();
    // The client was told to send a second after that at the latest; then it is not sent again.
    if let Some(process) = busy {
        kill(process["pid"].as_u64().unwrap() as u32, Signal::KILL);
    }
    let sent_again = wait::becomes_so(secs(2), &mut || site.marks().len() == 2);
    site.open("put");
    let reply = put.reply(false).unwrap();
    match reply.head.starts_with(GO) {
        true => assert_eq!((reply.status, sent_again), (502, false), "{}", reply.head),
        false => assert_eq!((reply.status, sent_again), (401, true), "{}", reply.head),
    }
}

#[test]
fn a_restart_neither_loses_one_that_waits_nor_one_that_is_on_its_way() {
    let site = site("drain.timeout = \"60s\"");
    let body = pattern(0, LARGE);
    let mut waits = asking(site.addr, &of_length("/unread?read=after&gate=one&mark=one", LARGE));
    let mut comes = asking(site.addr, &of_length("/unread?read=after&mark=two", LARGE));
    assert_eq!(comes.head().unwrap(), GO);
    comes.send(&body[..LARGE / 2]).unwrap();
    wait::until("both are with the app", secs(10), || site.marks().len() == 2);
    std::thread::scope(|scope| {
        let restart = scope.spawn(|| site.deploy("2", ""));
        wait::until("the new process serves", secs(20), || wire::get(site.addr, "/").unwrap().text() == "2");
        comes.send(&body[LARGE / 2..]).unwrap();
        let reply = comes.reply(false).unwrap();
        assert_eq!((reply.text(), reply.version()), (receipt(&body), "1"));
        site.open("one");
        let reply = upload(&mut waits, &body);
        assert_eq!((reply.text(), reply.version()), (receipt(&body), "1"));
        restart.join().unwrap().expect(0);
    });
}

#[test]
fn an_app_with_little_time_for_an_answer_has_time_to_read() {
    let site = site("request_timeout = \"800ms\"");
    let mut wire = asking(site.addr, &of_length("/unread?read=after", LARGE));
    let reply = upload(&mut wire, &pattern(0, LARGE));
    assert_eq!((reply.status, reply.text()), (200, receipt(&pattern(0, LARGE))));
}

#[test]
fn a_client_that_was_told_to_send_and_does_not_is_told_that_it_is_late() {
    let site = site("server.timeouts.body = \"300ms\"");
    let mut wire = asking(site.addr, &of_length("/unread?read=after", LARGE));
    assert_eq!(wire.head().unwrap(), GO);
    let reply = wire.reply(false).unwrap();
    assert_eq!((reply.status, reply.keep), (408, false));
    wait::until("the slot is free", secs(10), || in_hand(&site) == 0);
}

#[test]
fn an_empty_expectation_and_a_doubled_one_are_what_the_grammar_makes_of_them() {
    let site = site("");
    for (expect, interim) in [("", ""), (",", ""), ("100-continue, 100-CONTINUE", GO), (" , 100-continue", GO)] {
        let mut wire = asking(site.addr, &format!("POST /echo HTTP/1.1\r\nHost: test\r\nExpect: {expect}\r\nContent-Length: 5\r\n\r\n"));
        if !interim.is_empty() {
            assert_eq!(wire.head().unwrap(), interim, "{expect:?}");
        }
        wire.send(b"hello").unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(b"hello"), "{expect:?}");
    }
}

#[test]
fn each_has_one_line_in_the_access_log() {
    let site = Site::prepare(&format!("{FOUR_SLOTS}server.access_log = {{ format = \"json\", file = \"AT/access.log\" }}"));
    let config = site.path("rota.toml");
    let text = std::fs::read_to_string(&config).unwrap().replace("AT/", &format!("{}/", site.path("").display()));
    std::fs::write(&config, text).unwrap();
    site.release("1", "");
    site.flip("1");
    let site = site.serve();
    let mut refused = asking(site.addr, &of_length("/unread?status=401", LARGE));
    assert_eq!(refused.reply(false).unwrap().status, 401);
    let mut taken = asking(site.addr, &of_length("/unread?read=after", LARGE));
    assert_eq!(upload(&mut taken, &pattern(0, LARGE)).status, 200);
    let left = asking(site.addr, &of_length("/unread?gate=never&mark=left", LARGE));
    wait::until("it is with the app", secs(10), || site.marks().contains(&"left".to_owned()));
    drop(left);
    let log = || std::fs::read_to_string(site.path("access.log")).unwrap_or_default();
    let of_unread = || log().lines().filter(|line| line.contains("/unread")).map(str::to_owned).collect::<Vec<_>>();
    wait::until("all three are logged", secs(10), || of_unread().len() == 3);
    let lines: Vec<serde_json::Value> = of_unread().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let statuses: Vec<u64> = lines.iter().map(|line| line["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [401, 200, 499], "{lines:?}");
}
