//! Requests that two readers could understand differently: each is refused by name, ends its connection, and hides no second request.

use crate::site::Site;
use crate::wait;
use crate::wire::{self, Wire, kept};

const APP: &str = "concurrency = 32\nbind = \"unix\"\nlimits.body = \"1M\"";

/// What is behind each of them in the same bytes. It must never be taken for a request.
const BEHIND: &str = "GET /?mark=behind HTTP/1.1\r\nHost: test\r\n\r\n";

/// The status of the one and only answer; a sentence if there is anything else.
fn refusal(site: &Site, bytes: &[u8]) -> Result<u16, String> {
    let all = wire::raw(site.addr, &[bytes, BEHIND.as_bytes()].concat()).map_err(|trouble| format!("{trouble:?}"))?;
    let status = all.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(|| format!("no answer: {all:?}"))?;
    match all.matches("HTTP/1.1 ").count() {
        1 if all.contains("\r\nConnection: close\r\n") => Ok(status),
        1 => Err(format!("no close is announced: {all:?}")),
        _ => Err(format!("a second answer: {all:?}")),
    }
}

/// Tries a whole table; all that differs is told at once.
#[track_caller]
fn expect_refusals<B: AsRef<[u8]>>(table: &[(u16, B)]) {
    let site = Site::start(APP);
    let mut wrong = Vec::new();
    for (status, request) in table {
        let request = request.as_ref();
        let outcome = refusal(&site, request);
        if outcome != Ok(*status) {
            let shown = String::from_utf8_lossy(&request[..request.len().min(160)]).into_owned();
            wrong.push(format!("{shown:?}: {outcome:?}, not {status}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), table.len(), wrong.join("\n"));
    assert!(site.marks().is_empty(), "what was behind one of them reached the app: {:?}", site.marks());
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200, "afterwards");
}

/// A head with these field lines, each with its CRLF, and a body's first bytes.
fn with_fields(method: &str, fields: &str, body: &str) -> String {
    format!("{method} /echo?mark=self HTTP/1.1\r\nHost: test\r\n{fields}\r\n{body}")
}

#[test]
fn request_lines_that_are_none_are_refused() {
    let table: &[(u16, &[u8])] = &[
        (400, b"GET  / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /  HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET\t/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\tHTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b" GET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP/1.1 \r\nHost: test\r\n\r\n"),
        (400, b"GET / x HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"G\xc3\x84T / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"G(T / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"G\x00T / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"GET\r\n\r\n"),
        (400, b"GET / HTTP/1\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP/1.01\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP/01.1\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP/1.1x\r\nHost: test\r\n\r\n"),
        (400, b"GET / http/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET / ICY/1.1\r\nHost: test\r\n\r\n"),
        (505, b"GET / HTTP/2.0\r\nHost: test\r\n\r\n"),
        (505, b"GET / HTTP/3.7\r\nHost: test\r\n\r\n"),
        (505, b"GET / HTTP/0.9\r\nHost: test\r\n\r\n"),
        (505, b"GET / HTTP/1.2\r\nHost: test\r\n\r\n"),
        (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (400, b"\r\n\r\nGET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"\nGET / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (501, b"MMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMMM / HTTP/1.1\r\nHost: test\r\n\r\n"),
        (405, b"CONNECT test:80 HTTP/1.1\r\nHost: test:80\r\n\r\n"),
        (405, b"TRACE / HTTP/1.1\r\nHost: test\r\n\r\n"),
    ];
    expect_refusals(table);
}

#[test]
fn targets_that_are_none_are_refused() {
    let table: &[(u16, &[u8])] = &[
        (400, b"GET /a#b HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /index.html#.png HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\x00 HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\x7f HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\x0b HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http://t\xc3\xa4st/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\xff#b HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET \xff HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET /\xff HTTP/1.\xff\r\nHost: test\r\n\r\n"),
        (400, b"GET /\rX HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET x HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET ?x HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET test:80 HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET * HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"POST * HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"),
        (400, b"GET http:///x HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http://user@test/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http://user:pass@test/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET ftp://test/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http:/test/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http://te st/ HTTP/1.1\r\nHost: test\r\n\r\n"),
        (400, b"GET http://test\\@evil/ HTTP/1.1\r\nHost: test\r\n\r\n"),
    ];
    expect_refusals(table);
}

#[test]
fn hosts_that_are_none_are_refused() {
    let table: &[(u16, &[u8])] = &[
        (400, b"GET / HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nX: y\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nHost: test\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\r\nhost: b\r\n\r\n"),
        (400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"),
        (400, b"GET http://a/ HTTP/1.1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: a:-1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: [x]\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: \xff\r\n\r\n"),
        (400, b"GET http://a/ HTTP/1.1\r\nHost: b/c\r\n\r\n"),
    ];
    expect_refusals(table);
}

#[test]
fn field_lines_that_are_none_are_refused() {
    let table: &[(u16, &[u8])] = &[
        (400, b"GET / HTTP/1.1\nHost: test\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\nX: y\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: y\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: y\r\n\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\rb\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\n\rX: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x00b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x01b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x0bb\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\x7fb\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX : a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX\t: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost : test\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\n: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX(: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX Y: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\n\x01X: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX\xa0: a\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n b\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\nHost: test\r\nX: a\r\n\tb\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n Host: test\r\n\r\n"),
        (400, b"GET / HTTP/1.1\r\n\tX: a\r\nHost: test\r\n\r\n"),
    ];
    expect_refusals(table);
}

#[test]
fn an_expectation_other_than_100_continue_fails() {
    let body = "\r\n\r\nGET /?mark=smuggled HTTP/1.1\r\nHost: test\r\n\r\n";
    expect_refusals(&[
        (417, with_fields("GET", "Expect: something\r\n", "")),
        (417, with_fields("GET", "Connection: close\r\nExpect: something\r\n", "")),
        (417, with_fields("POST", &format!("Content-Length: {}\r\nExpect: 200-ok\r\n", body.len()), body)),
        (417, with_fields("POST", &format!("Content-Length: {}\r\nExpect: 100-continue, later\r\n", body.len()), body)),
        (417, with_fields("POST", &format!("Content-Length: {}\r\nExpect: 100-continue;x=1\r\n", body.len()), body)),
        (417, with_fields("POST", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\nExpect: \"100-continue\"\r\n", body)),
        (417, with_fields("GET", "Expect: something\r\n", "").replace("HTTP/1.1", "HTTP/1.0")),
        // What the framing says goes first.
        (400, with_fields("POST", "Content-Length: 1\r\nContent-Length: 2\r\nExpect: something\r\n", "")),
    ]);
}

#[test]
fn heads_beyond_their_bounds_are_refused() {
    let long = |count: usize| "x".repeat(count);
    let fields = |count: usize| (0..count).map(|i| format!("X-{i}: y\r\n")).collect::<String>();
    expect_refusals(&[
        (414, format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", long(9000))),
        (414, format!("GET /{} HTTP/1.1\r\nHost: test\r\n\r\n", long(40_000))),
        (431, with_fields("GET", &format!("X: {}\r\n", long(33_000)), "")),
        (431, with_fields("GET", &format!("{}: y\r\n", long(33_000)), "")),
        (431, with_fields("GET", &fields(100), "")),
        (400, with_fields("GET", &format!("Connection: {}\r\n", "a, ".repeat(17)), "")),
        (400, with_fields("GET", &"Connection: a\r\n".repeat(17), "")),
        (431, with_fields("GET", &fields(300), "")),
        (400, "\r\n".repeat(5000)),
    ]);
}

#[test]
fn a_head_without_an_end_is_refused_when_it_is_beyond_its_bounds() {
    let site = Site::start(APP);
    let long = "x".repeat(40_000);
    for (status, bytes) in [(414, format!("GET /{long}")), (431, format!("GET / HTTP/1.1\r\nHost: test\r\nX: {long}"))] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(bytes.as_bytes()).unwrap();
        assert_eq!(wire.reply(false).map(|reply| (reply.status, reply.keep)), Ok((status, false)));
        assert_eq!(wire.read_to_end(), Ok(Vec::new()));
    }
}

#[test]
fn what_is_just_inside_the_bounds_is_served() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let target = format!("/{}", "x".repeat(8 * 1024 - 1));
    assert!(wire.ask(&kept(&target)).unwrap().text().starts_with(&format!("GET {target} HTTP/1.1\r\n")));
    let fields: String = (0..99).map(|i| format!("X-{i}: y\r\n")).collect();
    assert!(wire.ask(&format!("GET /x HTTP/1.1\r\nHost: test\r\n{fields}\r\n")).unwrap().text().contains("X-98: y\r\n"));
    let large = "y".repeat(32 * 1024 - 100);
    assert!(wire.ask(&format!("GET /x HTTP/1.1\r\nHost: test\r\nX: {large}\r\n\r\n")).unwrap().text().contains(&large));
}

#[test]
fn a_body_of_doubtful_length_is_refused() {
    let post = |fields: &str| with_fields("POST", fields, "5\r\nhello\r\n0\r\n\r\n");
    expect_refusals(&[
        // Both framings, in either order and whatever the length is.
        (400, post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")),
        (400, post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n")),
        (400, post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n")),
        (400, post("Content-Length: 5\r\nTransfer-Encoding: \x0bchunked\r\n")),
        (400, post("Content-Length: 5\r\nTransfer-Encoding:\r\n")),
        // Content-Length.
        (400, post("Content-Length: 5\r\nContent-Length: 6\r\n")),
        (400, post("Content-Length: 5\r\nContent-Length: 5\r\n")),
        (400, post("Content-Length: 0\r\nContent-Length: 5\r\n")),
        (400, post("Content-Length: 5, 5\r\n")),
        (400, post("Content-Length: 5, 6\r\n")),
        (400, post("Content-Length: 0,5\r\n")),
        (400, post("Content-Length:\r\n")),
        (400, post("Content-Length: \r\n")),
        (400, post("Content-Length: +5\r\n")),
        (400, post("Content-Length: -5\r\n")),
        (400, post("Content-Length: -0\r\n")),
        (400, post("Content-Length: 0x5\r\n")),
        (400, post("Content-Length: 5_0\r\n")),
        (400, post("Content-Length: 5.0\r\n")),
        (400, post("Content-Length: 5e1\r\n")),
        (400, post("Content-Length: 5;x\r\n")),
        (400, post("Content-Length: 5 5\r\n")),
        (400, post("Content-Length: \"5\"\r\n")),
        (400, post("Content-Length: \x0b5\r\n")),
        (400, post("Content-Length: 5\x0c\r\n")),
        (400, post("Content-Length: \u{a0}5\r\n")),
        (400, post("Content-Length: ٥\r\n")),
        (400, post("Content-Length: 18446744073709551616\r\n")),
        (400, post("Content-Length: 18446744073709551621\r\n")),
        (400, post("Content-Length: 99999999999999999999999999999999\r\n")),
        (413, post("Content-Length: 9223372036854775807\r\n")),
        (413, post("Content-Length: 1048577\r\n")),
        // Transfer-Encoding.
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")),
        (400, post("Transfer-Encoding: chunked, chunked\r\n")),
        (400, post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n")),
        (400, post("Transfer-Encoding:\r\n")),
        (400, post("Transfer-Encoding: \x0bchunked\r\n")),
        (400, post("Transfer-Encoding: chunked\x0c\r\n")),
        (400, post("Transfer-Encoding: chu\x00nked\r\n")),
        (400, post("Transfer-Encoding : chunked\r\n")),
        (400, post("Transfer-Encoding: x\r\n chunked\r\n")),
        (501, post("Transfer-Encoding: identity\r\n")),
        (400, post("Transfer-Encoding: chunked, identity\r\n")),
        (400, post("Transfer-Encoding: chunked, gzip\r\n")),
        (400, post("Transfer-Encoding: ,\r\n")),
        (501, post("Transfer-Encoding: gzip\r\n")),
        (501, post("Transfer-Encoding: gzip, chunked\r\n")),
        (501, post("Transfer-Encoding: xchunked\r\n")),
        (501, post("Transfer-Encoding: chunkedx\r\n")),
        (400, "POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (400, "POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (400, with_fields("GET", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n")),
    ]);
}

#[test]
fn a_chunk_that_is_none_is_refused() {
    let chunked = |body: &str| with_fields("POST", "Transfer-Encoding: chunked\r\n", body);
    let long = |count: usize| "e".repeat(count);
    expect_refusals(&[
        (400, chunked("\r\n\r\n")),
        (400, chunked(";x\r\n\r\n")),
        (400, chunked(" 5\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5 \r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5\t\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("+5\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("-5\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("0x5\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5_\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5,5\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("g\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("\x005\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5\nhello\r\n0\r\n\r\n")),
        (400, chunked("5\rhello\r\n0\r\n\r\n")),
        (400, chunked("5\r\nhello\n0\r\n\r\n")),
        (400, chunked("5\r\nhello\r0\r\n\r\n")),
        (400, chunked("5\r\nhelloXX0\r\n\r\n")),
        (400, chunked("5\r\nhello world\r\n0\r\n\r\n")),
        (400, chunked("5;a\nb\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;a\rb\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;\x00\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;;a\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;=a\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("5;a=\"b\"c\r\nhello\r\n0\r\n\r\n")),
        (400, chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", long(300)))),
        (400, chunked(&format!("1;{}\r\nx\r\n", long(200)).repeat(100))),
        (400, chunked("10000000000000005\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("ffffffffffffffff\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("00000000000000000005\r\nhello\r\n0\r\n\r\n")),
        (400, chunked("0\r\nX\r\n\r\n")),
        (400, chunked("0\r\n X: 1\r\n\r\n")),
        (400, chunked("0\r\nX : 1\r\n\r\n")),
        (400, chunked("0\r\nX: \x01\r\n\r\n")),
        (400, chunked("0\r\nX: 1\n\r\n")),
        (400, chunked("0\r\n\n")),
        (400, chunked("0\r\n\rX")),
        (400, chunked("0\n\r\n")),
        (400, chunked(&format!("0\r\nX: {}\r\n\r\n", long(10_000)))),
    ]);
}

#[test]
fn look_alikes_of_the_framing_fields_mean_nothing_and_reach_nobody() {
    let site = Site::start(APP);
    for field in ["Transfer_Encoding: chunked", "Content_Length: 30", "X-Transfer-Encoding: chunked", "Transfer-Encodin: chunked"] {
        let mut wire = Wire::connect(site.addr).unwrap();
        let reply = wire.ask(&format!("GET /x HTTP/1.1\r\nHost: test\r\n{field}\r\n\r\n")).unwrap();
        assert!(!reply.text().contains('_'), "{}", reply.text());
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "{field}");
    }
}

#[test]
fn a_body_over_the_limit_in_chunks_is_answered_when_it_gets_there() {
    let site = Site::start("concurrency = 8\nbind = \"unix\"\nlimits.body = \"10K\"");
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let body = |chunks: usize| {
        format!("POST /echo?mark=self HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(chunks))
    };
    assert_eq!(Wire::connect(site.addr).unwrap().ask(&body(10)).unwrap().status, 200);
    assert_eq!(site.marks(), ["self"]);
    assert_eq!(refusal(&site, body(11).as_bytes()), Ok(413));
    // For what it announces, before any of it has come.
    let announced = |size: &str| format!("{}{size}\r\n", body(0).trim_end_matches("0\r\n\r\n"));
    for size in ["2801", "100000005", "fffffffffffffff"] {
        assert_eq!(refusal(&site, announced(size).as_bytes()), Ok(413), "{size}");
    }
    assert_eq!(site.marks(), ["self"]);
}

#[test]
fn refusals_byte_by_byte_are_the_same() {
    let site = Site::start(APP);
    for (status, request) in [
        (400, "GET / HTTP/1.1\r\nHost: test\r\nX : a\r\n\r\n"),
        (400, "GET / HTTP/1.1\nHost: test\n\n\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (400, "POST / HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello"),
        (505, "GET / HTTP/2.0\r\nHost: test\r\n\r\n"),
    ] {
        let mut wire = Wire::connect(site.addr).unwrap();
        for byte in request.as_bytes() {
            // It may have been answered and closed by now.
            if wire.send(&[*byte]).is_err() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        }
        assert_eq!(wire.reply(false).map(|reply| (reply.status, reply.keep)), Ok((status, false)), "{request:?}");
        assert!(wire::is_closed(&mut wire.stream, wait::secs(10)), "{request:?}");
    }
}

#[test]
fn a_refusal_does_not_depend_on_where_the_request_is_cut() {
    let site = Site::start(APP);
    for (status, early, late) in [
        (505, "GET / HTTP/2", ".0\r\nHost: test\r\n\r\n"),
        (505, "GET / HTT", "P/3.0\r\nHost: test\r\n\r\n"),
        (400, "GET / HTTP/1", "x\r\nHost: test\r\n\r\n"),
        // Nothing more has to come.
        (400, "GET / HTTP/1.1\nHost: t", ""),
        (400, "GET / HTTP/1.1\r\nHost: t", "est\n"),
    ] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(early.as_bytes()).unwrap();
        std::thread::sleep(wait::millis(60));
        let _ = wire.send(late.as_bytes());
        assert_eq!(wire.reply(false).map(|reply| (reply.status, reply.keep)), Ok((status, false)), "{early:?} {late:?}");
    }
}

#[test]
fn a_refusal_of_head_has_no_body() {
    let site = Site::start(APP);
    for request in [
        "HEAD / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "\r\nHEAD /#x HTTP/1.1\r\nHost: test\r\n\r\n",
        "HEAD / HTTP/2.0\r\nHost: test\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: test\r\nContent-Length: x\r\n\r\n",
    ] {
        let all = wire::raw(site.addr, request.as_bytes()).unwrap();
        assert!(all.starts_with("HTTP/1.1 ") && all.contains("Content-Length: ") && all.ends_with("\r\n\r\n"), "{request:?}: {all:?}");
    }
}

#[test]
fn an_empty_line_behind_a_message_is_no_head_that_has_begun() {
    let site = Site::start(&format!("{APP}\nserver.timeouts.head = \"300ms\"\nserver.timeouts.keepalive = \"1500ms\""));
    let mut wire = Wire::connect(site.addr).unwrap();
    let since = std::time::Instant::now();
    for separate in [false, true] {
        let post = "POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab";
        wire.send(format!("{post}{}", if separate { "" } else { "\r\n" }).as_bytes()).unwrap();
        assert_eq!(wire.reply(false).unwrap().status, 200);
        if separate {
            wire.send(b"\r\n").unwrap();
        }
        std::thread::sleep(wait::millis(600));
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "it is idle, and the empty line is none of the next request");
    }
    wire.send(b"\r\n").unwrap();
    assert_eq!(wire.read_to_end(), Ok(Vec::new()), "closed without a word after {:?}", since.elapsed());
    // A head that has begun behind it has a clock of its own.
    let mut wire = Wire::connect(site.addr).unwrap();
    assert_eq!(wire.ask(&kept("/")).unwrap().status, 200);
    wire.send(b"\r\n").unwrap();
    std::thread::sleep(wait::millis(50));
    wire.send(b"GE").unwrap();
    assert_eq!(wire.reply(false).map(|reply| reply.status), Ok(408));
}
