//! Until there is a final head.

use super::super::failure::{Failure, Then};
use super::super::{Closed, Next};
use super::Rig;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n";

#[test]
fn a_head_is_written_anew_and_its_status_is_told_with_it() {
    let mut rig = Rig::get();
    let told = rig.hear("HTTP/1.1 201 Made\r\ncontent-length: 2\r\nKeep-Alive: timeout=5\r\n\r\no").unwrap();
    assert_eq!((told.status, told.next), (Some(201), Next::More));
    assert_eq!(rig.sent, "HTTP/1.1 201 Made\r\nDate: today\r\nContent-Length: 2\r\n\r\no");
    assert_eq!(rig.heads, rig.sent.len() - 1);
    assert!(rig.exchange.has_begun() && rig.exchange.is_body());
    assert_eq!(rig.exchange.plan().map(|plan| (plan.status, plan.keep_client)), Some((201, true)));
}

#[test]
fn interim_responses_go_by_and_are_no_beginning() {
    let mut rig = Rig::get();
    let told = rig.hear("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").unwrap();
    assert_eq!((told.status, told.next, &*rig.sent), (None, Next::More, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"));
    assert_eq!(rig.heads, rig.sent.len());
    assert!(!rig.exchange.has_begun() && rig.exchange.is_heard() && rig.exchange.is_head());
    assert_eq!(rig.exchange.after(Failure::Closed, 1, true), Then::Tell, "it was heard: somebody has begun on it");
    assert_eq!(rig.hear(OK).unwrap().status, Some(200));
}

#[test]
fn a_client_of_http_10_sees_no_interim_response() {
    let mut rig = Rig::of("GET / HTTP/1.0", "");
    rig.hear("HTTP/1.1 103 Early Hints\r\n\r\n").unwrap();
    assert_eq!(rig.sent, "");
}

#[test]
fn seventeen_interim_responses_are_too_many_in_one_piece_and_in_many() {
    let hint = "HTTP/1.1 102 Processing\r\n\r\n";
    assert!(Rig::get().hear(&(hint.repeat(16) + OK)).is_ok());
    assert!(Rig::get().hear(&(hint.repeat(17) + OK)).is_err());
    let mut rig = Rig::get();
    for _ in 0..16 {
        rig.hear(hint).unwrap();
    }
    assert_eq!(rig.hear(hint), Err("more than 16 interim responses before the final one"));
}

#[test]
fn a_head_in_pieces_is_the_same_and_a_long_one_is_looked_at_when_its_end_is_there() {
    let mut rig = Rig::get();
    for piece in ["HTTP/1.1 200 O", "K\r\nContent-Length: 2\r\n", "\r\nok"] {
        rig.hear(piece).unwrap();
    }
    assert_eq!(rig.sent, "HTTP/1.1 200 OK\r\nDate: today\r\nContent-Length: 2\r\n\r\nok");
    let mut rig = Rig::get();
    rig.hear(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(5000))).unwrap();
    assert_eq!(rig.try_hear("xx").unwrap(), None);
    assert_eq!(rig.exchange.received(), 20 + 5000 + 2, "all is counted");
    assert_eq!(rig.exchange.unread().len(), 5022);
    assert_eq!(rig.hear("\r\nContent-Length: 0\r\n\r\n").unwrap().status, Some(200));
}

#[test]
fn what_is_no_head_is_said_and_nothing_of_it_is_sent() {
    for (text, reason) in [
        ("HTTP/2 200\r\n\r\n", "not HTTP/1.0 or HTTP/1.1"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "101 to a protocol that was not offered"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", "101 to a protocol that was not offered"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", ""),
    ] {
        let mut rig = Rig::get();
        let said = rig.hear(text).unwrap_err();
        assert!(said.contains(reason), "{text:?}: {said}");
        assert!(!rig.exchange.has_begun() && rig.sent.is_empty());
        assert_eq!(rig.exchange.after(Failure::Other, 1, true), Then::Tell);
    }
}

#[test]
fn a_connection_that_ends_before_a_final_head_has_ended_early() {
    let mut rig = Rig::get();
    assert_eq!(rig.exchange.closed(true), Closed::Early);
    rig.hear("HTTP/1.1 200 OK\r\n").unwrap();
    assert_eq!(rig.exchange.closed(true), Closed::Early);
}

#[test]
fn the_client_s_connection_ends_where_something_beside_the_answer_wants_it() {
    let mut rig = Rig::get();
    rig.closes = true;
    rig.hear(OK).unwrap();
    assert!(rig.sent.contains("Connection: close\r\n"), "{}", rig.sent);
    assert_eq!(rig.exchange.plan().map(|plan| plan.keep_client), Some(false));
}

/// The client waits for word that it may send its body.
fn unasked() -> Rig {
    let mut rig = Rig::of("PUT / HTTP/1.1", "Content-Length: 100000\r\nExpect: 100-continue\r\n");
    rig.is_unasked = true;
    rig
}

#[test]
fn who_said_100_and_answers_while_it_reads_is_sent_the_body() {
    for (before, answer, asks) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", OK, true),
        ("", OK, false),
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 401 No\r\nContent-Length: 2\r\n\r\n", false),
        ("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ] {
        let mut rig = unasked();
        assert_eq!(rig.hear(&format!("{before}{answer}")).unwrap().asks_client, asks, "{before}{answer} at once");
        if !before.is_empty() {
            let mut rig = unasked();
            assert!(!rig.hear(before).unwrap().asks_client, "an app's 100 is doubted");
            assert_eq!(rig.hear(answer).unwrap().asks_client, asks, "{before}{answer} in two");
        }
    }
    // Another interim response is no word about the body.
    let mut hinted = unasked();
    assert!(!hinted.hear(&format!("HTTP/1.1 103 Early Hints\r\n\r\n{OK}")).unwrap().asks_client);
    let mut asked = unasked();
    asked.is_unasked = false;
    assert!(!asked.hear(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")).unwrap().asks_client, "it sends already");
}
