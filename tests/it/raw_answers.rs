//! Answers byte for byte as a broken or hostile app sends them: what reaches the client, and that no other client ever gets a part of it.

use std::time::Instant;

use crate::site::Site;
use crate::wait::{millis, secs};
use crate::wire::{self, Wire, kept, raw_answer};

/// One process with one kept connection: what is left on it would be the next request's.
const APP: &str = "processes = 1\nconcurrency = 8\nbind = \"unix\"";
const POISON: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";

#[test]
fn a_late_body_where_none_may_be_answers_nobody_else() {
    let site = Site::start(APP);
    for (method, head) in [
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 44\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", "HTTP/1.1 103 x\r\nContent-Length: 44\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ] {
        let (mut one, mut other) = (Wire::connect(site.addr).unwrap(), Wire::connect(site.addr).unwrap());
        assert_eq!(other.ask(&kept("/")).unwrap().text(), "1");
        let target = raw_answer(&[head, POISON], 60);
        let reply = one.ask(&format!("{method} {target} HTTP/1.1\r\nHost: test\r\n\r\n")).unwrap();
        assert!(reply.body.is_empty(), "{}", reply.head);
        for _ in 0..20 {
            assert_eq!(other.ask(&kept("/")).unwrap().text(), "1", "behind {head:?}");
            std::thread::sleep(millis(7));
        }
        assert_eq!(one.ask(&kept("/")).unwrap().text(), "1", "behind {head:?}");
    }
}

#[test]
fn interim_responses_are_bounded_and_what_they_say_of_a_length_is_not_read() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (interim, count, status) in [
        ("HTTP/1.1 103 x\r\nContent-Length: x\r\n\r\n", 1, 200),
        ("HTTP/1.1 103 x\r\n\r\n", 16, 200),
        ("HTTP/1.1 103 x\r\n\r\n", 17, 502),
        ("HTTP/1.1 100 x\r\n\r\n", 16, 200),
        ("HTTP/1.1 100 x\r\n\r\n", 17, 502),
    ] {
        let reply = wire.ask(&kept(&raw_answer(&[&interim.repeat(count), last], 5))).unwrap();
        assert_eq!(reply.status, status, "{count} times {interim:?}");
    }
    let reply = wire.ask(&kept(&raw_answer(&["HTTP/1.1 204 x\r\nContent-Length: x\r\n\r\n"], 0))).unwrap();
    assert_eq!((reply.status, reply.field("Content-Length")), (204, None));
}

#[test]
fn interim_responses_win_no_time() {
    let site = Site::start(&format!("{APP}\ntimeouts.app = \"500ms\""));
    let (mut wire, since) = (Wire::connect(site.addr).unwrap(), Instant::now());
    let target = format!("{}.200.&times=15", raw_answer(&["HTTP/1.1 103 x\r\n\r\n"], 0));
    assert_eq!(wire.ask(&kept(&target)).unwrap().status, 504);
    assert!(since.elapsed() < secs(2), "{:?}", since.elapsed());
}

#[test]
fn an_app_that_fails_behind_an_interim_response_is_a_502() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let target = format!("{}&then=close", raw_answer(&["HTTP/1.1 103 x\r\nLink: y\r\n\r\n", "HTTP/1.1 2"], 20));
    let reply = wire.ask(&kept(&target)).unwrap();
    assert!(reply.status == 502 && reply.head.starts_with("HTTP/1.1 103 x\r\nLink: y\r\n"), "{}", reply.head);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}
