//! Whom an exchange waits for, and what is due when he does not come.

use super::super::Class;
use super::super::limits::{Due, Limits};
use super::{LIMITS, Rig, secs};

/// No `request_timeout`.
const PATIENT: Limits = Limits { request: None, ..LIMITS };

#[test]
fn the_app_has_its_time_for_a_head_and_interim_responses_win_none() {
    let mut rig = Rig::get();
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.due(&PATIENT, standing), rig.now + secs(60));
    rig.pass(secs(50));
    rig.hear("HTTP/1.1 102 Processing\r\n\r\n").unwrap();
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.due(&PATIENT, standing), rig.now + secs(10));
    // A client that does not take the interim response wins none either.
    let standing = rig.standing(false);
    assert_eq!(rig.exchange.due(&PATIENT, standing), rig.now + secs(10));
    rig.pass(secs(10));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&PATIENT, standing), Due::AppSilent);
}

#[test]
fn each_piece_of_an_answer_wins_the_app_its_time_and_request_timeout_ends_it_all_the_same() {
    let mut rig = Rig::answered("Content-Length: 500\r\n");
    rig.pass(secs(40));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.due(&PATIENT, standing), rig.now + secs(60));
    assert_eq!(rig.due(true), 5.0, "45 s of request_timeout");
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::AppSilent);
    rig.pass(secs(5));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::Overdue);
}

#[test]
fn a_client_that_takes_nothing_has_its_own_limit() {
    for mut rig in
        [Rig::answered("Content-Length: 500\r\n"), Rig::upgraded("websocket"), Rig::answered("Content-Type: text/event-stream\r\n")]
    {
        assert_eq!(rig.due(false), 30.0);
        rig.pass(secs(30));
        let standing = rig.standing(false);
        assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::ClientSlow);
    }
}

#[test]
fn what_lasts_may_be_silent_for_longer_and_is_never_overdue() {
    for (mut rig, class) in [
        (Rig::answered("Content-Type: text/event-stream\r\n"), Class::EventStream),
        (Rig::answered("Content-Type: application/x-ndjson\r\n"), Class::Stream),
        (Rig::upgraded("websocket"), Class::WebSocket),
        (Rig::upgraded("telnet"), Class::Upgraded),
    ] {
        assert_eq!(rig.exchange.class(), class);
        rig.pass(secs(1000));
        assert_eq!(rig.due(true), 600.0, "{class:?}");
        let standing = rig.standing(true);
        assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::Still, "{class:?}");
    }
    // One of a declared length ends by itself.
    let mut rig = Rig::answered("Content-Type: text/event-stream\r\nContent-Length: 500\r\n");
    assert_eq!((rig.exchange.class(), rig.due(true)), (Class::Request, 45.0));
}

#[test]
fn a_body_that_is_waited_for_is_the_client_s_time() {
    let mut rig = Rig::get();
    assert!(!rig.exchange.awaits_body(true));
    rig.exchange.waits_for_body(rig.now);
    assert_eq!([true, false].map(|is_drained| rig.exchange.awaits_body(is_drained)), [true, false]);
    rig.pass(secs(10));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::BodyLate);
    assert_eq!(rig.exchange.body_was_awaited(rig.now), secs(10));
    assert_eq!(rig.exchange.body_was_awaited(rig.now), secs(0), "it is counted once");
    // What the app takes of it begins its time anew.
    rig.exchange.body_moved(rig.now);
    assert_eq!(rig.due(true), 45.0);
}

#[test]
fn a_client_that_waits_for_word_is_told_to_send_when_the_app_does_not_refuse() {
    let mut rig = Rig::of("PUT / HTTP/1.1", "Content-Length: 100000\r\nExpect: 100-continue\r\n");
    rig.is_unasked = true;
    assert!(rig.exchange.head_is_out(&LIMITS, rig.now));
    assert_eq!(rig.due(true), 1.0, "an app that says nothing");
    rig.hear("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    assert_eq!(rig.due(true), 0.1, "one that says 100, which may be its server's word alone");
    rig.pass(secs(1));
    let standing = rig.standing(true);
    assert_eq!(rig.exchange.passed(&LIMITS, standing), Due::AskForBody);
    assert_eq!(rig.due(true), 45.0, "its time begins when it can have the body");
    rig.hear("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").unwrap();
    assert!(!rig.exchange.head_is_out(&LIMITS, rig.now), "it answers already");
}

#[test]
fn time_in_which_rota_did_not_run_is_nobody_s() {
    let mut rig = Rig::get();
    rig.exchange.waits_for_body(rig.now);
    rig.pass(secs(100));
    rig.exchange.put_off(secs(100));
    assert_eq!(rig.exchange.body_was_awaited(rig.now), secs(0));
    assert_eq!(rig.due(true), 45.0);
}
