//! Requests that mean different things to different readers: each is refused, the connection is closed, and what stands behind it is never a
//! request. The numbers are lines of the hardening requirements (RFC 9112 sections 2 to 7).

use crate::site::Site;
use crate::wire;

/// (what, bytes of a request, status)
const REFUSED: &[(&str, &str, u16)] = &[
    ("2.1 two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.1 a tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.1 a space behind the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("2.2 a method that is no token", "G{T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.3 CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("2.4 TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    ("2.5 HTTP/2.0", "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("2.5 HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("2.5 HTTP/01.1", "GET / HTTP/01.1\r\nHost: a\r\n\r\n", 400),
    ("2.5 lower case", "GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.6 HTTP/0.9", "GET /\r\n\r\n", 400),
    ("2.8 a byte above 7E in the target", "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.8 a control character in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.10 a fragment", "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.12 * for GET", "GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.12 an authority for GET", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.12 a relative target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.13 userinfo", "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.13 an empty host", "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.13 another scheme", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("2.14 no Host", "GET / HTTP/1.1\r\n\r\n", 400),
    ("2.14 two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("2.15 a slash in Host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("2.15 a query in Host", "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    ("2.15 userinfo in Host", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", 400),
    ("2.15 a list in Host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("2.15 a port that is none", "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n", 400),
    ("3.1 LF ends a line", "GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("3.1 LF ends a field", "GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
    ("3.1 LF ends the head", "GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("3.2 CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("3.3 NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("3.4 a control character in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n", 400),
    ("3.6 a space before the colon", "GET / HTTP/1.1\r\nHost: a\r\nX : a\r\n\r\n", 400),
    ("3.7 an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: a\r\n\r\n", 400),
    ("3.7 a line without colon", "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", 400),
    ("3.7 a name that is no token", "GET / HTTP/1.1\r\nHost: a\r\nContent-Length\u{a0}: 5\r\n\r\n", 400),
    ("3.8 a folded field", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    ("3.9 a space before the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    ("3.12 many empty lines", "\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("4.1 both framings", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("4.1 length 0 and chunked", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("4.2 xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    ("4.2 chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("4.2 two fields", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n", 400),
    ("4.2 chunked not last", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 501),
    ("4.3 gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("4.4 VT before chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
    ("4.6 chunked in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("4.7 a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    ("4.7 hexadecimal", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello", 400),
    ("4.7 empty", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\nhello", 400),
    ("4.7 two numbers", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 5\r\n\r\nhello", 400),
    ("4.8 equal twice", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", 400),
    ("4.8 a list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    ("4.9 beyond 64 bits", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551621\r\n\r\nhello", 400),
    ("4.9 beyond the limit", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\nhello", 413),
    ("4.11 no size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\r\nhello\r\n0\r\n\r\n", 400),
    ("4.11 a sign in the size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", 400),
    (
        "4.11 a size that wraps",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
        400,
    ),
    ("4.12 LF behind the size", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", 400),
    ("4.12 LF in an extension", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n", 400),
    ("4.13 other bytes behind the data", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloXX0\r\n\r\n", 400),
    ("4.15 a malformed trailer", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX Y\r\n\r\n", 400),
];

#[test]
fn what_is_in_doubt_is_refused_and_nothing_behind_it_is_a_request() {
    let site = Site::start("processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"100ms\"");
    let mut wrong = Vec::new();
    for (what, request, status) in REFUSED {
        let smuggled = format!("{request}GET /?mark=smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
        // The connection ends: `raw` reads to its end.
        match wire::raw(site.addr, smuggled.as_bytes()) {
            Ok(answer) if answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.matches("HTTP/1.1 ").count() == 1 => {}
            other => wrong.push(format!("{what}: {other:?}, not {status}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(site.marks().is_empty(), "{:?}", site.marks());
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
}

#[test]
fn what_is_too_large_is_told_so() {
    let site = Site::start("processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"100ms\"");
    let target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let field = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    for (request, status) in [(target, 414), (field, 431), (many, 431)] {
        let answer = wire::raw(site.addr, request.as_bytes()).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
    let long = format!("GET /?{} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "x".repeat(8000));
    assert!(wire::raw(site.addr, long.as_bytes()).unwrap().starts_with("HTTP/1.1 200 "), "8000 bytes must pass (RFC 9112 3)");
}
