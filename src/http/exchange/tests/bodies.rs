//! A body, from its framing by the app to the client's.

use super::super::failure::{Failure, Then};
use super::super::{Closed, End, Next};
use super::{Left, Rig};

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn a_body_of_a_length_is_whole_with_its_last_byte() {
    let mut rig = Rig::answered("Content-Length: 5\r\n");
    assert_eq!(rig.hear("hel").unwrap().next, Next::More);
    assert_eq!(rig.hear("lo").unwrap().next, Next::Ended(End::Whole));
    assert_eq!(rig.sent, "hello");
    assert!(rig.exchange.may_reuse(End::Whole));
    let mut rig = Rig::get();
    assert_eq!(rig.hear("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap().next, Next::Ended(End::Whole));
}

#[test]
fn what_stands_behind_a_body_is_nobody_s() {
    let mut rig = Rig::answered("Content-Length: 5\r\n");
    assert_eq!(rig.hear("helloHTTP/1.1 200 OK").unwrap().next, Next::Ended(End::WithMore));
    assert_eq!(rig.sent, "hello");
    assert!(!rig.exchange.may_reuse(End::WithMore));
}

#[test]
fn chunks_become_one_and_the_last_one_is_ours() {
    let mut rig = Rig::answered(CHUNKED);
    assert_eq!(rig.hear("2\r\nhe\r\n1;x=y\r\nl\r\n2\r\nl").unwrap().next, Next::More);
    assert_eq!(std::mem::take(&mut rig.sent), "4\r\nhell\r\n");
    assert_eq!(rig.hear("o\r\n0\r\nTrailer: no\r\n\r\n").unwrap().next, Next::Ended(End::Whole));
    assert_eq!(rig.sent, "1\r\no\r\n0\r\n\r\n");
}

#[test]
fn a_large_chunk_goes_as_it_is_behind_what_was_gathered() {
    let large = "x".repeat(64 * 1024);
    let mut rig = Rig::answered(CHUNKED);
    rig.hear(&format!("1\r\na\r\n10000\r\n{large}\r\n0\r\n\r\n")).unwrap();
    assert_eq!(rig.sent.matches("a").count() + rig.sent.matches("x").count(), 65537);
    assert!(rig.sent.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn a_body_that_breaks_its_framing_is_cut_where_it_is_under_way_and_told_where_it_is_not() {
    let mut rig = Rig::answered(CHUNKED);
    assert!(rig.hear("zz\r\n").is_err());
    assert_eq!(rig.exchange.after(Failure::Other, 1, true), Then::Cut);
    let mut rig = Rig::get();
    assert!(rig.hear(&format!("HTTP/1.1 200 OK\r\n{CHUNKED}\r\nzz\r\n")).is_err());
    assert_eq!((rig.exchange.after(Failure::Other, 1, true), &*rig.sent), (Then::Tell, ""));
}

#[test]
fn one_that_ends_with_the_connection_is_whole_if_the_process_is_well() {
    for (line, whole, keeps_client) in [
        ("GET / HTTP/1.1", Closed::Whole(b"0\r\n\r\n"), true),
        // Its end is the end of the connection, whatever was asked.
        ("GET / HTTP/1.0", Closed::Whole(b""), false),
    ] {
        let mut rig = Rig::of(line, "Connection: keep-alive\r\n");
        assert_eq!(rig.hear("HTTP/1.1 200 OK\r\n\r\nhello").unwrap().next, Next::More);
        assert_eq!(rig.exchange.plan().map(|plan| plan.keep_client), Some(keeps_client), "{line}");
        assert_eq!(rig.exchange.closed(true), whole, "{line}");
        assert_eq!(rig.exchange.closed(false), Closed::Early, "{line}: its process has died");
        assert!(!rig.exchange.may_reuse(End::Whole));
    }
}

#[test]
fn a_body_that_is_cut_off_is_never_whole() {
    for (fields, part) in [("Content-Length: 5\r\n", "hell"), (CHUNKED, "5\r\nhello\r\n")] {
        let mut rig = Rig::answered(fields);
        rig.hear(part).unwrap();
        assert_eq!(rig.exchange.closed(true), Closed::Early, "{fields}");
    }
}

#[test]
fn to_head_and_behind_204_and_304_nothing_comes() {
    let mut head = Rig::of("HEAD / HTTP/1.1", "");
    assert_eq!(head.hear("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap().next, Next::Ended(End::Whole));
    assert!(!head.exchange.may_reuse(End::Whole), "who knows whether the five bytes come");
    for status in ["204 No Content", "304 Not Modified"] {
        let mut rig = Rig::get();
        assert_eq!(rig.hear(&format!("HTTP/1.1 {status}\r\n\r\n")).unwrap().next, Next::Ended(End::Whole));
        assert!(rig.exchange.may_reuse(End::Whole), "{status}");
    }
}

#[test]
fn a_client_that_wants_its_connection_to_end_has_it_ended() {
    let mut rig = Rig::of("GET / HTTP/1.1", "Connection: close\r\n");
    rig.hear("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert_eq!(rig.exchange.plan().map(|plan| plan.keep_client), Some(false));
}

#[test]
fn a_connection_is_used_again_when_nothing_speaks_against_it() {
    let whole = |first: &str| {
        let mut rig = Rig::get();
        rig.hear(first).unwrap();
        rig
    };
    assert!(whole("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").exchange.may_reuse(End::Whole));
    assert!(!whole("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").exchange.may_reuse(End::Whole));
    assert!(!whole("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n").exchange.may_reuse(End::Whole));
    // What an interim response says counts, too.
    let hint = "HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert!(!whole(hint).exchange.may_reuse(End::Whole));
    let mut rig = whole("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert!(!rig.exchange.may_reuse(End::Left));
    rig.exchange = Left(super::super::Exchange::new(rig.now));
    rig.hear("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    assert!(!rig.exchange.may_reuse(End::Whole), "part of the request is still to be written");
}
