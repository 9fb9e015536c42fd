//! Answers byte for byte as a broken or hostile app sends them: what reaches the client, and that no other client ever gets a part of it.

use std::time::Instant;

use crate::site::Site;
use crate::wait::{self, millis, secs};
use crate::wire::{self, Trouble, Wire, hex, kept, raw_answer};

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
fn an_answer_that_nobody_gets_is_logged_with_what_is_wrong_in_it() {
    let site = Site::start(APP);
    for (answer, shown) in [
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "(Transfer-Encoding: chunked, Transfer-Encoding: chunked)",
        ),
        ("HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "(Content-Length: 5, Content-Length: 6)"),
        ("HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", "(\"HTTP/1.1 600 Odd\")"),
        ("HTTP/1.1 200 OK\r\nX: a\u{1}b\r\nContent-Length: 0\r\n\r\n", "(\"X: a\\u{1}b\")"),
    ] {
        assert_eq!(wire::get(site.addr, &raw_answer(&[answer], 0)).unwrap().status, 502, "{answer:?}");
        let is_said = || site.log().lines().any(|line| line.contains("WARN") && line.contains(shown) && line.contains("answered 502"));
        wait::until("it is logged", secs(10), is_said);
    }
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

#[test]
fn fields_that_are_orders_to_other_servers_pass() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    // What nginx and Passenger take for orders is to rota a field like any other, both ways.
    for field in ["X-Accel-Buffering: no", "X-Accel-Expires: 60", "!~: x"] {
        let asked = wire.ask(&format!("GET /headers HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n")).unwrap();
        assert!(asked.text().contains(&format!("\r\n{field}\r\n")), "{}", asked.text());
        let answer = format!("HTTP/1.1 200 OK\r\n{field}\r\nContent-Length: 2\r\n\r\nok");
        let told = wire.ask(&kept(&raw_answer(&[&answer], 0))).unwrap();
        assert!(told.status == 200 && told.head.contains(&format!("\r\n{field}\r\n")) && told.body == b"ok", "{}", told.head);
    }
}

/// Each of these from an app that goes on and says more is a 502, and the more reaches nobody.
#[track_caller]
fn expect_502(answers: &[&str]) {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let mut wrong = Vec::new();
    for answer in answers {
        let status = wire.ask(&kept(&raw_answer(&[answer, POISON], 30))).map(|reply| reply.status);
        let next = wire.ask(&kept("/")).map(|reply| reply.text());
        if (&status, &next) != (&Ok(502), &Ok("1".to_owned())) {
            wrong.push(format!("{answer:?}: {status:?}, then {next:?}"));
            wire = Wire::connect(site.addr).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_does_not_begin_as_a_response_is_a_502() {
    expect_502(&[
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/0.9 200 OK\r\n\r\n",
        "HTTP/1.2 200 OK\r\n\r\n",
        "ICY 200 OK\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 000 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 999 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "<html>no response at all</html>\r\n\r\n",
    ]);
}

#[test]
fn a_response_of_doubtful_length_is_a_502() {
    expect_502(&[
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]);
}

#[test]
fn field_lines_of_the_app_that_are_none_are_a_502() {
    expect_502(&[
        "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\x01\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\n",
    ]);
}

#[test]
fn a_switch_of_protocols_that_nobody_asked_for_is_a_502() {
    expect_502(&[
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ]);
}

#[test]
fn a_head_of_the_app_beyond_its_bounds_is_a_502() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let (start, end) = (hex(b"HTTP/1.1 200 OK\r\n"), hex(b"Content-Length: 2\r\n\r\nok"));
    let field = hex(format!("X: {}\r\n", "y".repeat(500)).as_bytes());
    for (fields, status) in [
        (format!("{field}x120"), 200),
        (format!("{field}x132"), 502),
        (format!("{}x127", hex(b"X: y\r\n")), 200),
        (format!("{}x128", hex(b"X: y\r\n")), 502),
    ] {
        let reply = wire.ask(&kept(&format!("/raw?hex={start}.0.{fields}.0.{end}&then=close"))).unwrap();
        assert_eq!(reply.status, status, "{} fields", reply.head.lines().count());
    }
}

#[test]
fn an_app_that_stops_inside_a_body_cuts_the_answer_visibly() {
    let site = Site::start(&format!("{APP}\ntimeouts.app = \"300ms\""));
    for head in ["Content-Length: 10\r\n\r\nhel", "Transfer-Encoding: chunked\r\n\r\n5\r\nhel"] {
        let target = raw_answer(&[&format!("HTTP/1.1 200 OK\r\n{head}"), "lo"], 1500);
        let outcome = Wire::connect(site.addr).unwrap().ask(&kept(&target));
        assert!(matches!(outcome, Err(Trouble::Cut | Trouble::Reset)), "{outcome:?}");
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn the_fields_of_an_answer_arrive_in_order_as_they_are_but_for_those_of_one_connection() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let answer = "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1, b\r\nX: \u{e4}\r\nSet-Cookie: c=2\r\nConnection: upgrade, x-hop\r\nUpgrade: h2c\r\n\
                  X-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: z\r\nTrailer: t\r\nContent-Length: 2\r\n\r\nok";
    let head = wire.ask(&kept(&raw_answer(&[answer], 0))).unwrap().head;
    let (fields, date) = head.split_once("\r\nDate: ").expect("RFC 9110 6.6.1: it is added");
    assert_eq!(fields, "HTTP/1.1 200 Fine\r\nSet-Cookie: a=1, b\r\nX: \u{e4}\r\nSet-Cookie: c=2");
    assert!(date.ends_with(" GMT\r\nContent-Length: 2\r\n\r\n"), "{head}");
    let dated = wire.ask(&kept(&raw_answer(&["HTTP/1.1 200 OK\r\nDate: then\r\nContent-Length: 0\r\n\r\n"], 0))).unwrap();
    assert_eq!((dated.field("Date"), dated.head.matches("Date:").count()), (Some("then"), 1));
}
