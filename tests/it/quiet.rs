//! Nothing vanishes without a word: what is not passed on is said the first time, with the key that changes it.

use std::fs;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, Wire, kept};

const APP: &str = "processes = 1\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"";

/// The request head as the app got it.
fn as_received(site: &Site, request: &[u8]) -> String {
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(request).unwrap();
    let reply = wire.reply(false).unwrap();
    assert_eq!(reply.status, 200, "{}", reply.head);
    reply.text()
}

/// The lines of the log that have all of these.
fn lines(site: &Site, all: &[&str]) -> usize {
    site.log().lines().filter(|line| all.iter().all(|part| line.contains(part))).count()
}

#[test]
fn a_header_with_an_underscore_is_named_once_with_the_key_that_lets_it_through() {
    let site = Site::start(APP);
    let with = |name: &str| format!("GET /headers HTTP/1.1\r\nHost: test\r\n{name}: 1\r\n\r\n");
    for _ in 0..3 {
        assert!(!as_received(&site, with("X_Auth").as_bytes()).contains("X_Auth"));
    }
    as_received(&site, with("X_Forwarded_For").as_bytes());
    wait::until("both are said", secs(10), || {
        lines(&site, &["header X_Auth of 127.0.0.1", "underscore_headers = [\"X_Auth\"]"]) == 1
            && lines(&site, &["header X_Forwarded_For of 127.0.0.1", "no key changes that"]) == 1
    });
    let mut other = Wire::connect_from("127.0.0.2", site.addr).unwrap();
    other.ask(&with("X_Auth")).unwrap();
    wait::until("the other is named as well", secs(10), || lines(&site, &["header X_Auth of 127.0.0.2"]) == 1);
    assert_eq!(lines(&site, &["header X_Auth of"]), 2, "{}", site.log());
}

#[test]
fn a_header_with_an_underscore_that_is_let_through_reaches_the_app_under_its_name() {
    let site = Site::start(&format!("{APP}\nunderscore_headers = [\"X_Auth\"]"));
    let head = as_received(&site, b"GET /headers HTTP/1.1\r\nHost: test\r\nx_auth: 1\r\nX_Other: 2\r\nX_Real_IP: 6.6.6.6\r\n\r\n");
    assert!(head.contains("\r\nx_auth: 1\r\n") && !head.contains("X_Other") && !head.contains("X_Real_IP"), "{head}");
}

#[test]
fn a_proxy_on_this_machine_that_is_not_trusted_is_named_once_with_the_key() {
    let site = Site::start(APP);
    for _ in 0..2 {
        let head =
            as_received(&site, b"GET /headers HTTP/1.1\r\nHost: test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n");
        assert!(head.contains("X-Forwarded-Proto: http\r\n"), "{head}");
    }
    wait::until("it is said", secs(10), || {
        lines(&site, &["X-Forwarded-Proto of 127.0.0.1 is not believed", "trusted_proxies = [\"127.0.0.1\"]"]) == 1
    });
    assert_eq!(lines(&site, &["is not believed"]), 2, "one for each header: {}", site.log());
}

#[test]
fn what_is_passed_on_is_not_worth_a_word() {
    let site = Site::start(&format!("{APP}\nserver.trusted_proxies = [\"127.0.0.1\"]"));
    as_received(
        &site,
        b"GET /headers HTTP/1.1\r\nHost: test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n\
          X-Forwarded-Ssl: on\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\nTE: trailers\r\nX-Request-Id: 1\r\n\r\n",
    );
    as_received(&site, b"GET /headers HTTP/1.1\r\nHost: test\r\nX_Last: 1\r\n\r\n");
    wait::until("the last one is said", secs(10), || lines(&site, &["X_Last", "(said once)"]) == 1);
    assert_eq!(lines(&site, &["(said once)"]), 1, "{}", site.log());
}

#[test]
fn raw_bytes_in_a_target_reach_the_app_percent_encoded() {
    let site = Site::start(APP);
    for (sent, told) in [
        (b"/headers?q=caf\xc3\xa9&r=\xe2\x82\xac".as_slice(), "/headers?q=caf%C3%A9&r=%E2%82%AC"),
        (b"/headers?q=caf\xe9", "/headers?q=caf%E9"),
        (b"http://test/headers?\x80\xff", "/headers?%80%FF"),
    ] {
        let request = [b"GET ", sent, b" HTTP/1.1\r\nHost: test\r\n\r\n"].concat();
        let head = as_received(&site, &request);
        assert_eq!(head.lines().next(), Some(format!("GET {told} HTTP/1.1").as_str()));
        // What is behind it is the next request, wherever it was cut.
        let mut wire = Wire::connect(site.addr).unwrap();
        let both = [&request[..], kept("/").as_bytes()].concat();
        for half in both.chunks(both.len() / 2 + 1) {
            wire.send(half).unwrap();
        }
        assert_eq!(wire.reply(false).unwrap().status, 200);
        assert_eq!(wire.reply(false).unwrap().text(), "1");
    }
    wait::until("it is said as it came", secs(10), || {
        lines(&site, &["caf\\\\xe9", "(said once)"]) + lines(&site, &["caf\u{e9}", "(said once)"]) == 1
    });
}

#[test]
fn a_query_without_a_path_reaches_the_app_with_one() {
    let site = Site::start(APP);
    let reply = wire::raw(site.addr, b"GET http://test?mark=%2F HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert!(reply.starts_with("HTTP/1.1 200 ") && reply.ends_with("\r\n\r\n1"), "the answer to /: {reply}");
}

#[test]
fn a_link_that_is_not_followed_is_named_once() {
    let site = Site::prepare(&format!("{APP}\npublic = \"public\""));
    site.release("1", "");
    let public = site.path("releases/1/public");
    fs::create_dir(&public).unwrap();
    fs::write(site.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(site.path("secret"), public.join("out.txt")).unwrap();
    site.flip("1");
    let site = site.serve();
    for _ in 0..2 {
        assert_eq!(wire::get(site.addr, "/out.txt").unwrap().status, 404, "the app's answer");
    }
    wait::until("it is said", secs(10), || lines(&site, &["out.txt", "public_links = true", "(said once)"]) == 1);
}
