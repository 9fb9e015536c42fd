//! How what lasts leaves a draining process, and upgraded connections.

use super::super::leave::Stands;
use super::super::limits::Due;
use super::super::{Class, Closed, End, Next};
use super::{LIMITS, Rig, secs};

const EVENTS: &str = "Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n";

/// One chunk.
fn chunk(data: &str) -> String {
    format!("{:x}\r\n{data}\r\n", data.len())
}

#[test]
fn an_event_stream_leaves_behind_an_event() {
    let mut rig = Rig::answered(EVENTS);
    assert!(rig.exchange.is_stream() && rig.exchange.stays());
    rig.hear(&chunk("data: 1\n\n")).unwrap();
    assert_eq!(rig.exchange.leaves_now(), Stands::BehindEvent);
    assert_eq!(rig.exchange.last_bytes(), b"0\r\n\r\n");
    let mut rig = Rig::answered(EVENTS);
    rig.hear(&chunk("data: 1\n\ndata: 2\n")).unwrap();
    assert_eq!(rig.exchange.leaves_now(), Stands::InTheMiddle);
    rig.sent.clear();
    assert_eq!(rig.hear(&chunk("\ndata: 3\n\n")).unwrap().next, Next::Ended(End::Left));
    assert_eq!(rig.sent, "1\r\n\n\r\n0\r\n\r\n", "nothing of the third event");
}

#[test]
fn before_its_moment_everything_goes_by() {
    let mut rig = Rig::answered(EVENTS);
    rig.exchange.leaves_at(rig.now + secs(5));
    assert!(!rig.exchange.stays());
    assert_eq!(rig.hear(&chunk("data: 1\n\n")).unwrap().next, Next::More);
}

#[test]
fn a_drain_has_its_moments() {
    let mut rig = Rig::answered(EVENTS);
    rig.leaving_since = Some(rig.now);
    rig.exchange.leaves_at(rig.now + secs(5));
    assert_eq!(rig.due(true), 5.0);
    rig.pass(secs(5));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::Leaves);
    rig.exchange.leaves_now();
    assert_eq!(rig.due(true), 15.0, "what is left of drain.upgraded");
    rig.pass(secs(15));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::DrainOver(Class::EventStream));
    // What ends by itself has no part in it, nor has a stream without boundaries that ends by itself.
    for fields in ["Content-Length: 500\r\n", "Content-Type: application/x-ndjson\r\n"] {
        let mut rig = Rig::answered(fields);
        rig.leaving_since = Some(rig.now - secs(100));
        let standing = rig.standing(true);
        assert_eq!(rig.exchange.leaves_now(), Stands::InTheMiddle);
        assert!(!matches!(rig.exchange.passed(&LIMITS, standing), Due::DrainOver(_) | Due::Leaves));
        assert!(rig.due(true) >= 45.0);
    }
    let mut rig = Rig::upgraded("telnet");
    rig.leaving_since = Some(rig.now);
    assert_eq!(rig.due(true), 20.0, "of which no boundaries are known");
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::Still, "the drain's time is not over");
    // The client's limit counts where it is shorter.
    rig.pass(secs(5));
    rig.leaving_since = Some(rig.now + secs(100));
    assert_eq!(rig.due(false), 30.0);
}

#[test]
fn a_moment_to_leave_is_put_off_with_everything() {
    let mut rig = Rig::answered(EVENTS);
    rig.leaving_since = Some(rig.now);
    rig.exchange.leaves_at(rig.now + secs(5));
    rig.exchange.put_off(secs(3));
    assert_eq!(rig.due(true), 8.0);
}

#[test]
fn an_upgraded_connection_carries_bytes_as_they_are() {
    let mut rig = Rig::upgraded("telnet");
    assert!(rig.exchange.is_tunnel() && rig.exchange.plan().is_none());
    assert_eq!(rig.hear("HTTP/1.1 200 OK\r\n\r\n").unwrap().next, Next::More);
    assert_eq!(rig.sent, "HTTP/1.1 200 OK\r\n\r\n");
    let mut to_app = Vec::new();
    rig.exchange.hear_client(b"hello", &mut to_app);
    assert_eq!(to_app, b"hello");
    assert_eq!(rig.exchange.closed(true), Closed::Tunnel);
    assert_eq!(rig.exchange.leaves_now(), Stands::InTheMiddle);
}

#[test]
fn what_came_with_the_switch_goes_with_it() {
    let mut rig = Rig::of("GET / HTTP/1.1", "Connection: upgrade\r\nUpgrade: telnet\r\n");
    let told = rig.hear("HTTP/1.1 101 Switching Protocols\r\nUpgrade: telnet\r\nConnection: upgrade\r\n\r\nhello").unwrap();
    assert_eq!((told.status, told.next), (Some(101), Next::More));
    assert!(rig.sent.ends_with("\r\n\r\nhello"));
}

#[test]
fn a_websocket_is_closed_between_two_messages_and_waits_for_the_answers() {
    let mut rig = Rig::upgraded("websocket");
    rig.leaving_since = Some(rig.now);
    assert_eq!(rig.hear("\u{1}\u{5}he").unwrap().next, Next::More);
    assert_eq!(rig.exchange.leaves_now(), Stands::InTheMiddle);
    assert_eq!(rig.hear("l").unwrap().next, Next::More);
    // The end of the fragment is no end of a message; that of the last one is.
    let (mut to_client, mut to_app) = (Vec::new(), Vec::new());
    let mut other = Rig::upgraded("websocket");
    assert_eq!(other.exchange.leaves_now(), Stands::BetweenMessages);
    other.exchange.say_goodbye(&mut to_client, &mut to_app);
    assert!(other.exchange.has_left() && !other.exchange.goodbye_is_answered());
    assert_eq!((to_client[0], &to_client[2..4]), (0x88, &1012u16.to_be_bytes()[..]));
    assert_eq!((to_app[0], to_app[1] & 0x80), (0x88, 0x80), "masked, as a client's is");
    assert_eq!(other.hear("more").unwrap().next, Next::More);
    assert_eq!(other.sent, "", "what the app still says goes nowhere");
    other.exchange.client_is_gone();
    assert!(!other.exchange.goodbye_is_answered(), "the app has not answered");
    assert_eq!(other.exchange.closed(true), Closed::Goodbye);
    assert!(other.exchange.goodbye_is_answered());
    let mut half = Rig::upgraded("websocket");
    half.exchange.say_goodbye(&mut Vec::new(), &mut Vec::new());
    half.exchange.app_is_gone();
    assert!(!half.exchange.goodbye_is_answered(), "the client has not answered");
    half.exchange.hear_client(b"\x88\x80\0\0\0\0", &mut Vec::new());
    assert!(half.exchange.goodbye_is_answered());
}

#[test]
fn a_goodbye_that_nobody_answers_is_over_in_a_moment() {
    let mut rig = Rig::upgraded("websocket");
    rig.leaving_since = Some(rig.now);
    rig.exchange.leaves_now();
    rig.exchange.say_goodbye(&mut Vec::new(), &mut Vec::new());
    assert_eq!(rig.due(false), 20.0, "the client has not got it yet, and the drain ends all");
    assert_eq!(rig.due(true), 1.5);
    rig.pass(secs(2));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::GoodbyeOver);
}
