//! What passes between client and app: whole, in order, byte for byte, and without what is only for one connection.

use std::io::Write;
use std::net::Shutdown;
use std::time::Instant;

use crate::bytes::{is_pattern, pattern, receipt};
use crate::site::Site;
use crate::wait::millis;
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 2\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"";

/// The request head as the app got it.
fn as_received(site: &Site, request: &str) -> String {
    let reply = Wire::connect(site.addr).unwrap().ask(request).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.head);
    reply.text()
}

#[test]
fn the_target_reaches_the_app_byte_for_byte() {
    let site = Site::start(APP);
    for target in ["/headers", "/headers?", "/headers?x=%2F..%2f&y=a//b;c=%00%ff", "/headers?a/../b?c=[]|^`{}"] {
        let head = as_received(&site, &kept(target));
        assert_eq!(head.lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
    }
    for target in ["//headers", "/a/../headers", "/headers/", "/%68eaders"] {
        assert_eq!(wire::get(site.addr, target).unwrap().status, 404, "{target} was made another path on its way");
    }
}

#[test]
fn an_absolute_target_is_the_path_it_names() {
    let site = Site::start(APP);
    let head = as_received(&site, "GET http://other.test/headers?x=1 HTTP/1.1\r\nHost: test\r\n\r\n");
    assert!(head.starts_with("GET /headers?x=1 HTTP/1.1\r\nHost: other.test\r\n"), "RFC 9112 3.2.2: Host is ignored: {head}");
}

#[test]
fn a_body_of_any_size_reaches_the_app_in_either_framing() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    // Around the sizes of buffers: memory holds 64 KiB, the rest goes to a file.
    for size in [0, 1, 16 * 1024 - 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 300_000, 3_000_000] {
        let body = pattern(size, size);
        wire.send(format!("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n").as_bytes()).unwrap();
        wire.send(&body).unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(&body), "{size} by length");

        wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for chunk in body.chunks(50_001) {
            wire.send(format!("{:X};name=\"value\"\r\n", chunk.len()).as_bytes()).unwrap();
            wire.send(chunk).unwrap();
            wire.send(b"\r\n").unwrap();
        }
        wire.send(b"0\r\nX-Trailer: 1\r\n\r\n").unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(&body), "{size} chunked");
    }
}

#[test]
fn an_answer_of_any_size_reaches_the_client_whole() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for n in [0, 1, 16 * 1024, 64 * 1024 - 1, 64 * 1024 + 1, 5_000_000] {
        let reply = wire.ask(&kept(&format!("/bytes?n={n}"))).unwrap();
        assert!(reply.body.len() == n && is_pattern(0, &reply.body), "{n}: {} bytes came", reply.body.len());
    }
}

#[test]
fn an_answer_without_body_leaves_the_connection_in_step() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let head = wire.ask("HEAD /bytes?n=5000 HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    assert_eq!((head.status, head.field("Content-Length"), head.keep), (200, Some("5000"), true));
    for status in [204, 304] {
        let reply = wire.ask(&kept(&format!("/status?n={status}"))).unwrap();
        assert_eq!((reply.status, reply.field("Transfer-Encoding")), (status, None));
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "after {status}");
    }
    let none = wire.ask(&kept("/status?n=204")).unwrap();
    assert_eq!(none.field("Content-Length"), None, "RFC 9110 8.6");
}

#[test]
fn early_hints_reach_a_client_that_knows_them() {
    let site = Site::start(APP);
    let reply = Wire::connect(site.addr).unwrap().ask(&kept("/hints")).unwrap();
    assert!(reply.head.starts_with("HTTP/1.1 103 "), "{}", reply.head);
    assert!(reply.head.contains("Link: </a.css>; rel=preload\r\n"), "{}", reply.head);
    assert_eq!(reply.text(), "after the hints\n");
    let old = wire::raw(site.addr, b"GET /hints HTTP/1.0\r\n\r\n").unwrap();
    assert!(old.starts_with("HTTP/1.1 200 ") && old.ends_with("\r\n\r\nafter the hints\n"), "RFC 9110 15.2: {old}");
}

#[test]
fn a_streamed_answer_comes_as_it_is_made() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let since = Instant::now();
    wire.send(b"GET /stream?n=20&ms=50 HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    // The head and some of the first chunk.
    wire.take(100).unwrap();
    let first = since.elapsed();
    wire.read_to_end().unwrap();
    assert!(first * 2 < since.elapsed(), "the first piece came after {first:?} of {:?}", since.elapsed());
}

#[test]
fn a_chunked_answer_is_whole_with_its_trailers_and_the_connection_goes_on() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for _ in 0..3 {
        let reply = wire.ask(&kept("/stream?n=5&ms=5")).unwrap();
        assert!(reply.body.len() == 500 && is_pattern(0, &reply.body) && reply.keep, "{}", reply.head);
    }
}

#[test]
fn an_old_client_gets_a_chunked_answer_without_chunks_to_the_end_of_the_connection() {
    let site = Site::start(APP);
    let answer = wire::raw(site.addr, b"GET /stream?n=3&ms=5 HTTP/1.0\r\n\r\n").unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    // The pattern is not UTF-8; the number of its characters is what `raw` leaves of it.
    assert_eq!(body, String::from_utf8_lossy(&pattern(0, 300)));
}

#[test]
fn an_answer_to_the_end_of_the_apps_connection_is_framed_for_a_client_that_keeps_its_own() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for _ in 0..2 {
        let reply = wire.ask(&kept("/until-close")).unwrap();
        assert!(reply.keep && reply.body.len() == 5000 && is_pattern(0, &reply.body), "{}", reply.head);
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    // The first takes the longest; a body stands between.
    let body = pattern(0, 1000);
    wire.send(kept("/sleep?ms=100").as_bytes()).unwrap();
    wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 1000\r\n\r\n").unwrap();
    wire.send(&body).unwrap();
    wire.send((1..20).map(|n| kept(&format!("/bytes?n={n}"))).collect::<String>().as_bytes()).unwrap();
    assert_eq!(wire.reply(false).unwrap().text(), "1");
    assert_eq!(wire.reply(false).unwrap().text(), receipt(&body));
    for n in 1..20 {
        assert_eq!(wire.reply(false).unwrap().body, pattern(0, n));
    }
}

#[test]
fn an_upgraded_connection_is_a_tunnel_both_ways() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    // What is sent behind the request, before the answer, belongs to the tunnel already.
    wire.send(b"GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\nfirst").unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!((reply.status, reply.field("Upgrade")), (101, Some("echo")));
    assert_eq!(wire.take(5).unwrap(), b"first");
    let sent = pattern(0, 1024 * 1024);
    let mut writer = wire.stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        let sent = &sent;
        scope.spawn(move || {
            std::io::Write::write_all(&mut writer, sent).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert_eq!(&wire.read_to_end().unwrap(), sent, "and its end is passed on");
    });
}

#[test]
fn an_upgrade_that_the_app_refuses_stays_http() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    let reply = wire.ask("GET /upgrade HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n").unwrap();
    assert_eq!(reply.status, 426);
    assert_eq!((reply.field("Upgrade"), reply.field("Connection")), (Some("echo"), Some("upgrade")));
    assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
}

#[test]
fn an_early_answer_to_an_upload_arrives() {
    let site = Site::start(APP);
    for size in [1000, 2_000_000] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /early HTTP/1.1\r\nHost: test\r\nContent-Length: {size}\r\n\r\n").as_bytes()).unwrap();
        // The server may have answered and closed while this is under way.
        let _ = wire.send(&pattern(0, size));
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "too much for me\n"), "{size}");
    }
}

#[test]
fn the_answer_to_a_refused_upload_arrives() {
    let site = Site::start(&format!("{APP}\nlimits.body = \"100K\""));
    for head in ["Content-Length: 3000000", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /echo?mark=refused HTTP/1.1\r\nHost: test\r\n{head}\r\n\r\n").as_bytes()).unwrap();
        let chunk = [b"186A0\r\n".as_slice(), &pattern(0, 100_000), b"\r\n"].concat();
        // A client that sends all it has before it looks.
        for _ in 0..30 {
            let _ = wire.send(if head.starts_with('T') { &chunk } else { &chunk[7..100_007] });
        }
        let reply = wire.reply(false).unwrap();
        assert_eq!((reply.status, reply.keep), (413, false), "{head}");
    }
    assert!(site.marks().is_empty(), "the app saw nothing of it");
}

#[test]
fn a_connection_that_the_app_closed_between_requests_is_never_the_clients_error() {
    for behaviour in ["close_each", "close_idle 20"] {
        let site = Site::prepare(&format!("{APP}\ntimeouts.pooled = \"10s\""));
        site.release("1", behaviour);
        site.flip("1");
        let site = site.serve();
        let mut wire = Wire::connect(site.addr).unwrap();
        for round in 0..60 {
            // Around the moment at which the app closes.
            std::thread::sleep(millis(17 + round % 7));
            assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "{behaviour}");
            std::thread::sleep(millis(17 + round % 7));
            let reply = wire.ask("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab").unwrap();
            assert_eq!(reply.text(), receipt(b"ab"), "{behaviour}");
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_reaches_nobody() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 1"));
    let mut wire = Wire::connect(site.addr).unwrap();
    for _ in 0..20 {
        assert_eq!(wire.ask(&kept("/twice")).unwrap().text(), "first\n");
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
    }
}

#[test]
fn what_is_for_one_connection_only_is_not_passed_on() {
    let site = Site::start(APP);
    let request = "GET /headers HTTP/1.1\r\nHost: test\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nKeep-Alive: timeout=9\r\n\
                   Proxy-Connection: keep-alive\r\nProxy-Authorization: no\r\nTE: trailers\r\nExpect: 100-continue\r\nX-Other: 2\r\n\r\n";
    let head = as_received(&site, request);
    for gone in ["X-Mine", "Keep-Alive", "Proxy-Connection", "TE:", "Expect"] {
        assert!(!head.to_ascii_lowercase().contains(&format!("\n{}", gone.to_ascii_lowercase())), "{gone} was passed on:\n{head}");
    }
    assert!(head.contains("X-Other: 2\r\n"), "{head}");

    let reply = Wire::connect(site.addr).unwrap().ask(&kept("/fields")).unwrap();
    assert_eq!((reply.field("X-Hop"), reply.field("Keep-Alive"), reply.field("X-End")), (None, None, Some("2")), "{}", reply.head);
}

#[test]
fn the_app_is_told_who_asked_and_cannot_be_lied_to() {
    let site = Site::start(APP);
    let request = "GET /headers HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: evil.test\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
                   X-Real-IP: 6.6.6.6\r\nX-Client-IP: 6.6.6.6\r\nX-Forwarded-User: evil\r\nX-Forwarded: evil\r\nX-Forwarded-Port: 6666\r\n\
                   X-Original-URL: /evil\r\nFront-End-Https: evil\r\nProxy: evil\r\nX-Request-Id: evil\r\n\
                   Connection: Host, X-Forwarded-For\r\n\r\n";
    let head = as_received(&site, request);
    for line in ["Host: shop.test", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: http", "X-Forwarded-Host: shop.test"] {
        assert_eq!(head.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}:\n{head}");
    }
    assert!(!head.contains("6666") && !head.contains("6.6.6.6") && !head.contains("evil") && !head.contains("https"), "{head}");
}

#[test]
fn one_connection_serves_both_hosts_paths_and_methods_in_turn() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for method in ["GET", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let reply = wire.ask(&format!("{method} /headers HTTP/1.1\r\nHost: test\r\n\r\n")).unwrap();
        assert!(reply.text().starts_with(&format!("{method} /headers HTTP/1.1\r\n")), "{}", reply.text());
    }
}

#[test]
fn a_body_that_ends_too_soon_never_reaches_the_app() {
    let site = Site::start(APP);
    for body in ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
        let mut wire = Wire::connect(site.addr).unwrap();
        wire.send(format!("POST /echo?mark=short HTTP/1.1\r\nHost: test\r\n{body}").as_bytes()).unwrap();
        wire.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = String::from_utf8_lossy(&wire.read_to_end().unwrap()).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert!(site.marks().is_empty());
}

#[test]
fn a_request_cut_at_every_byte_means_the_same() {
    let site = Site::start(APP);
    let request = b"POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n";
    let mut wire = Wire::connect(site.addr).unwrap();
    for cut in 1..request.len() {
        wire.send(&request[..cut]).unwrap();
        // Long enough for the first part to be read alone, mostly; that it means the same does not depend on it.
        std::thread::sleep(millis(2));
        wire.send(&request[cut..]).unwrap();
        assert_eq!(wire.reply(false).unwrap().text(), receipt(b"hello"), "cut at {cut}");
    }
}

#[test]
fn a_body_over_the_limit_is_answered_413_while_the_client_still_sends() {
    let site = Site::start("concurrency = 8\nbind = \"unix\"\nlimits.body = \"1M\"");
    for framing in ["Content-Length: 20971520", "Transfer-Encoding: chunked"] {
        let mut wire = Wire::connect(site.addr).unwrap();
        let mut sender = wire.stream.try_clone().unwrap();
        let head = format!("POST /echo?mark=large HTTP/1.1\r\nHost: test\r\n{framing}\r\n\r\n");
        let (answered, is_answered) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                sender.write_all(head.as_bytes())?;
                let chunk = [b"10000\r\n".as_slice(), &pattern(0, 0x10000), b"\r\n"].concat();
                // As a browser does: it sends until it sees the answer.
                while is_answered.try_recv().is_err() {
                    std::thread::sleep(millis(10));
                    sender.write_all(&chunk)?;
                }
                Ok::<(), std::io::Error>(())
            });
            let reply = wire.reply(false);
            std::thread::sleep(millis(100));
            // The sender is gone if it was reset.
            let _ = answered.send(());
            let sent = sending.join().unwrap();
            let reply = reply.unwrap_or_else(|trouble| panic!("{framing}: {trouble:?}"));
            assert_eq!((reply.status, reply.keep), (413, false), "{framing}");
            sent.unwrap_or_else(|error| panic!("{framing}: a client that was still sending was reset: {error}"));
            wire.stream.shutdown(Shutdown::Write).unwrap();
            assert_eq!(wire.read_to_end(), Ok(Vec::new()), "{framing}");
        });
    }
    assert!(site.marks().is_empty());
}

#[test]
fn each_request_has_a_name_of_its_own_and_says_who_passed_it_on() {
    let site = Site::start(APP);
    let mut names = std::collections::HashSet::new();
    for _ in 0..20 {
        let head = as_received(&site, "GET /headers HTTP/1.1\r\nHost: test\r\nVia: 1.0 other\r\n\r\n");
        let name = head.lines().find_map(|line| line.strip_prefix("X-Request-Id: ")).unwrap_or_else(|| panic!("{head}")).to_owned();
        assert!(name.len() == 32 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')), "{head}");
        assert!(names.insert(name), "a name was given twice");
        let vias: Vec<&str> = head.lines().filter(|line| line.starts_with("Via: ")).collect();
        assert_eq!(vias, ["Via: 1.0 other", "Via: 1.1 rota"]);
    }
}

#[test]
fn options_for_the_whole_server_are_passed_on_as_such() {
    let site = Site::start(APP);
    for request in ["OPTIONS http://test HTTP/1.1\r\nHost: test\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: test\r\n\r\n"] {
        let reply = Wire::connect(site.addr).unwrap().ask(request).unwrap();
        assert!(reply.text().starts_with("OPTIONS * HTTP/1.1\r\nHost: test\r\n"), "{}", reply.text());
    }
}

#[test]
fn an_old_client_that_keeps_its_connection_is_told_so_also_by_a_refusal() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for (path, status) in [("/garbage", 502), ("/headers", 200)] {
        let reply = wire.ask(&format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")).unwrap();
        assert_eq!((reply.status, reply.field("Connection")), (status, Some("keep-alive")), "RFC 9112 9.3: {}", reply.head);
        assert!(status == 502 || reply.text().contains("\r\nHost: "), "a Host for HTTP/1.1: {}", reply.text());
    }
}

#[test]
fn close_wins_over_keep_alive_in_any_line_and_case() {
    let site = Site::start(APP);
    for fields in
        ["Connection: keep-alive, CLOSE", "Connection: Close\r\nConnection: keep-alive", "connection: keep-alive\r\nCONNECTION:\tclose\t"]
    {
        let all =
            wire::raw(site.addr, format!("GET / HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n{}", kept("/?mark=behind")).as_bytes()).unwrap();
        assert!(all.contains("\r\nConnection: close\r\n") && all.matches("HTTP/1.1 ").count() == 1, "{fields:?}: {all}");
    }
    assert!(site.marks().is_empty());
}

#[test]
fn a_body_belongs_to_its_request_whatever_the_method() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    for method in ["GET", "DELETE", "OPTIONS", "PROPFIND"] {
        for body in ["Content-Length: 5\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let reply = wire.ask(&format!("{method} /echo HTTP/1.1\r\nHost: test\r\n{body}")).unwrap();
            assert_eq!(reply.text(), receipt(b"hello"), "{method}");
        }
    }
    wire.send(b"HEAD /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    assert_eq!(wire.reply(true).unwrap().status, 200);
    assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
}

#[test]
fn repeated_fields_and_bytes_beyond_ascii_reach_the_app_as_they_are() {
    let site = Site::start(APP);
    let head = as_received(&site, "GET /headers HTTP/1.1\r\nHost: test\r\nX: 2\r\nCookie: a\r\nX: 1,\t\u{e4}\r\nCookie: b\r\nX: 3\r\n\r\n");
    assert!(head.contains("\r\nX: 2\r\nCookie: a\r\nX: 1,\t\u{e4}\r\nCookie: b\r\nX: 3\r\n"), "{head}");
}

#[test]
fn who_waits_for_100_gets_it_or_a_final_answer_and_an_old_client_gets_none() {
    let site = Site::start(&format!("{APP}\nlimits.body = \"10K\""));
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(b"POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n").unwrap();
    assert_eq!(wire.head().unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    wire.send(b"ab").unwrap();
    assert!(wire.reply(false).unwrap().head.starts_with("HTTP/1.1 200 "), "once");
    let large = wire.ask("POST /echo HTTP/1.1\r\nHost: test\r\nContent-Length: 20000\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(large.head.starts_with("HTTP/1.1 413 "), "{}", large.head);
    let old = wire::raw(site.addr, b"POST /echo HTTP/1.0\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nab").unwrap();
    assert!(old.starts_with("HTTP/1.1 200 "), "RFC 9110 15.2: {old}");
}
