//! Answers that last: streams that are silent, long polls and slow answers in a restart, and answers whose only end is that of their connection.

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Trouble, Wire, kept, raw_answer};

const APP: &str = "processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"";
const TEN: &str = "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n0123456789";

/// An answer that is silent in the middle for twice as long as `timeouts.app`.
fn silent(kind: &str, chunked: bool) -> String {
    let (coding, pieces) = match chunked {
        true => ("Transfer-Encoding: chunked\r\n", ["4\r\none\n\r\n", "4\r\ntwo\n\r\n0\r\n\r\n"]),
        false => ("Connection: close\r\n", ["one\n", "two\n"]),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{coding}\r\n{}", pieces[0]);
    raw_answer(&[&head, pieces[1]], 2000) + if chunked { "" } else { "&then=close" }
}

#[test]
fn a_stream_may_be_silent_for_longer_than_any_other_answer() {
    let site = Site::start(&APP.replace("concurrency = 4", "concurrency = 32\ntimeouts.app = \"1s\""));
    let addr = site.addr;
    std::thread::scope(|scope| {
        for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/x-ndjson", "multipart/x-mixed-replace"] {
            for (method, chunked) in [("GET", true), ("GET", false), ("POST", true)] {
                scope.spawn(move || {
                    let target = silent(kind, chunked);
                    let request = format!("{method} {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n");
                    let reply = Wire::connect(addr).unwrap().ask(&request);
                    assert_eq!(reply.map(|reply| reply.text()), Ok("one\ntwo\n".to_owned()), "{method} {kind}, chunked: {chunked}");
                });
            }
        }
        let plain = wire::get(addr, &silent("text/plain", true));
        assert!(matches!(plain, Err(Trouble::Cut | Trouble::Reset)), "{plain:?}");
    });
    assert_eq!(site.log().matches("the app was silent for timeouts.app; the client's connection is cut").count(), 1, "{}", site.log());
}

#[test]
fn a_stream_that_nobody_reads_any_more_gives_its_slot_back_at_once() {
    let site = Site::start(&APP.replace("concurrency = 4", "concurrency = 1"));
    let silent = |kind: &str| raw_answer(&[&format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\none\n"), "two"], 120_000);
    for kind in ["text/event-stream", "application/x-ndjson"] {
        let mut stream = Wire::connect(site.addr).unwrap();
        stream.send(kept(&silent(kind)).as_bytes()).unwrap();
        stream.head().unwrap();
        assert_eq!(stream.chunk().unwrap(), b"one\n");
        drop(stream);
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1", "{kind}");
    }
    // It left before there was anything to read.
    let mut stream = Wire::connect(site.addr).unwrap();
    stream.send(kept(&format!("{}&gate=late&mark=late", silent("text/event-stream"))).as_bytes()).unwrap();
    wait::until("it is with the app", secs(20), || site.marks() == ["late"]);
    stream.stream.shutdown(std::net::Shutdown::Write).unwrap();
    site.open("late");
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn what_ends_with_its_connection_is_whole_only_if_its_process_lives_or_ended_well() {
    const ENDS: [(&str, Option<&str>); 5] =
        [("close", None), ("leave", None), ("kill", Some("signal 9")), ("crash", Some("exit status 3")), ("abort", Some("signal 6"))];
    for bind in ["unix", "port"] {
        // Each crash of one process is repaired later than the one before.
        for (end, death) in ENDS {
            let site = Site::start(&APP.replace("bind = \"unix\"", &format!("bind = \"{bind}\"")));
            for version in ["1.1", "1.0"] {
                wait::until("it serves", secs(60), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 200));
                let target = format!("{}&then={end}", raw_answer(&[TEN], 0));
                let request = format!("GET {target} HTTP/{version}\r\nHost: test\r\n\r\n");
                let reply = Wire::connect(site.addr).unwrap().ask(&request).map(|reply| reply.text());
                match death {
                    None => assert_eq!(reply, Ok("0123456789".to_owned()), "{bind} {end} {version}"),
                    Some(_) => assert!(matches!(reply, Err(Trouble::Cut | Trouble::Reset)), "{bind} {end} {version}: {reply:?}"),
                }
            }
            let died = format!("the app's process died before its answer was whole ({}", death.unwrap_or("nothing"));
            assert_eq!(site.log().matches(&died).count(), if death.is_some() { 2 } else { 0 }, "{bind} {end}: {}", site.log());
        }
    }
}

/// An app whose drains are short, and whose requests may take longer.
fn hasty(longest: &str) -> Site {
    Site::start(&format!("{APP}\ndrain.timeout = \"300ms\"\ndrain.longest = \"{longest}\"\nstop.timeout = \"2s\""))
}

#[test]
fn a_restart_does_not_wait_for_long_answers_and_does_not_cut_them() {
    let site = hasty("10m");
    std::thread::scope(|scope| {
        let poll = scope.spawn(|| wire::get(site.addr, "/hold?name=poll&mark=poll"));
        let moving = scope.spawn(|| wire::get(site.addr, "/stream?n=25&ms=100&mark=moving"));
        wait::until("both are with the app", secs(20), || site.marks().len() == 2);
        let said = site.deploy("2", "");
        said.expect(0);
        assert!(
            said.out.contains("app/1 g1 still finishes 2 requests, for ") || said.out.contains("still finishes 1 request,"),
            "{said:?}"
        );
        let status = site.status();
        let old = &status["apps"][0]["processes"][0];
        assert_eq!((old["generation"].as_u64(), old["state"].as_str()), (Some(1), Some("draining")), "{status}");
        assert!(old["finishes_for"].as_f64().is_some_and(|left| left > 60.0 && left <= 600.0), "{status}");
        assert!(site.rota(&["status"]).out.contains(" still finishes "), "{}", site.rota(&["status"]).out);
        assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
        assert_eq!(moving.join().unwrap().map(|reply| (reply.status, reply.body.len())), Ok((200, 2500)));
        site.open("poll");
        assert_eq!(poll.join().unwrap().map(|reply| (reply.status, reply.text())), Ok((200, "1".to_owned())));
    });
    wait::until("the old process goes when it is done", secs(20), || site.processes().len() == 1);
}

#[test]
fn what_is_not_done_at_the_longest_is_cut_and_says_by_which_key() {
    let site = hasty("1s");
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| wire::get(site.addr, "/hold?name=never&mark=stuck"));
        wait::until("it is with the app", secs(20), || site.marks() == ["stuck"]);
        site.deploy("2", "").expect(0);
        let reply = stuck.join().unwrap().unwrap();
        assert_eq!((reply.status, reply.field("Retry-After")), (503, Some("1")));
        assert!(reply.text().contains("This site has just been updated"), "{}", reply.text());
    });
    assert!(site.log().contains("rota ended it at drain.longest: its process had to go; answered 503"), "{}", site.log());
}

#[test]
fn a_server_that_is_told_to_stop_waits_for_nothing_beyond_its_drains() {
    let mut site = hasty("10m");
    let mut stuck = Wire::connect(site.addr).unwrap();
    stuck.send(kept("/hold?name=never&mark=stuck").as_bytes()).unwrap();
    wait::until("it is with the app", secs(20), || site.marks() == ["stuck"]);
    site.deploy("2", "").expect(0);
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(60)), Some(0));
    assert!(site.log().contains("drain.timeout has passed, and no more time can be had: the app ends"), "{}", site.log());
}
