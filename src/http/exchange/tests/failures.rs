//! What follows when the app fails, and how the request goes out.

use super::super::Exchange;
use super::super::failure::{Failure, Then};
use super::{Left, Rig};

#[test]
fn a_request_goes_to_an_app_again_when_that_is_safe() {
    let rig = Rig::get();
    for (failure, tries, may_repeat, then) in [
        (Failure::Closed, 1, true, Then::Again),
        (Failure::Closed, 2, true, Then::Tell),
        (Failure::Closed, 1, false, Then::Tell),
        (Failure::NeverReached, 9, false, Then::Again),
        (Failure::NeverReached, 10, true, Then::Tell),
        (Failure::Suspected, 1, true, Then::Tell),
        (Failure::Other, 1, true, Then::Tell),
    ] {
        assert_eq!(rig.exchange.after(failure, tries, may_repeat), then, "{failure:?} {tries} {may_repeat}");
    }
}

#[test]
fn behind_a_byte_of_an_answer_no_other_app_is_asked() {
    for (said, then) in [("HTTP/1.1 2", Then::Tell), ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Then::Cut)] {
        let mut rig = Rig::get();
        rig.hear(said).unwrap();
        for failure in [Failure::NeverReached, Failure::Closed, Failure::Suspected, Failure::Other] {
            assert_eq!(rig.exchange.after(failure, 1, true), then, "{said:?} {failure:?}");
        }
    }
}

#[test]
fn the_app_takes_a_request_piece_by_piece() {
    let head = b"GET / HTTP/1.1\r\n\r\n";
    let mut exchange = Left(Exchange::new(Rig::get().now));
    assert!(exchange.is_unsent() && exchange.is_sending());
    assert_eq!(exchange.head_left(head), head);
    assert_eq!(exchange.app_took(4, head.len()), 0);
    assert_eq!((exchange.is_unsent(), exchange.head_left(head)), (false, &head[4..]));
    assert_eq!(exchange.app_took(head.len() - 4 + 3, head.len() - 4), 3, "three bytes of the body");
    assert!(exchange.head_left(head).is_empty());
    exchange.all_sent();
    assert!(!exchange.is_sending());
}
