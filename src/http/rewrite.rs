//! Messages written anew from what was parsed, always in canonical form, so that no reader behind us can read them differently.

use super::exchange::facts::RequestFacts;
use super::exchange::plan::{ClientBody, Kind, ResponsePlan};
use super::fields::{ALIKE, Field, is_alias};
use super::forwarded::Origin;
use super::framing;
use super::head::{RequestHead, ResponseHead, Version};
use super::put::{self, put};

/// What the app is told about where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    pub origin: &'a Origin<'a>,
    /// The Host of a request that has none (HTTP/1.0).
    pub default_host: &'a str,
    /// The name of this request, unless a trusted peer has given it one.
    pub request_id: u128,
    /// Names with an underscore that the app gets.
    pub underscores: &'a [String],
}

/// Why a field is not passed on although somebody may count on it. Nobody counts on what is of one connection (RFC 9110 7.6.1), or on what a
/// gateway must write anew: that goes without a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// Its name has an underscore or a dot, and the configuration does not have it.
    Underscore,
    /// As before, and with a dash it is one that only we may say.
    Alias,
    /// Whose word does not count says where the request came from.
    Untrusted,
    /// A trusted peer says two things, or something that cannot be read.
    Differs,
    /// Proxy, X-Sendfile, X-Accel-Redirect: of no client.
    Never,
}

/// What becomes of a field of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    /// Written anew, or of this connection.
    Ours,
    Withheld(Withheld),
}

/// How the body goes to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyToApp {
    None,
    Length(u64),
    Chunked,
}

/// The head for the app without framing and the empty line; [`finish_request`] adds those. Not forwarded: fields of this connection and those
/// that Connection names (RFC 9110 7.6.1 MUST), framing, and what only we may say (`Field::Owned`). True: [`withheld`] has something to say.
pub fn request(head: &RequestHead<'_, '_>, facts: &RequestFacts, forward: &ForwardContext<'_>, out: &mut Vec<u8>) -> bool {
    let host = head.authority.unwrap_or(forward.default_host);
    let origin = forward.origin;
    let mut is_all = true;
    put(out, &[head.method, " ", head.path, " HTTP/1.1\r\nHost: ", host, "\r\n"]);
    for (field, name, value) in head.fields.iter() {
        match fate(head, forward, field, name, value) {
            Fate::Passed => put::field(out, name, value),
            Fate::Ours => {}
            Fate::Withheld(_) => is_all = false,
        }
    }
    if !facts.upgrade.is_empty() {
        put(out, &["Connection: upgrade\r\nUpgrade: ", &facts.upgrade.join(", "), "\r\n"]);
    }
    put_forwarded(origin, host, out);
    put_request_id(head, forward, out);
    // RFC 9110 7.6.3 MUST: behind those of others, with the version that it came in.
    put(out, &["Via: ", if head.version == Version::Http10 { "1.0" } else { "1.1" }, " rota\r\n"]);
    !is_all
}

/// The fields of a request that are not passed on although somebody may count on them.
pub fn withheld<'b>(head: &RequestHead<'_, 'b>, forward: &ForwardContext<'_>) -> impl Iterator<Item = (&'b str, Withheld)> {
    head.fields.iter().filter_map(move |(field, name, value)| match fate(head, forward, field, name, value) {
        Fate::Withheld(why) => Some((name, why)),
        Fate::Passed | Fate::Ours => None,
    })
}

fn fate(head: &RequestHead<'_, '_>, forward: &ForwardContext<'_>, field: Field, name: &str, value: &[u8]) -> Fate {
    let origin = forward.origin;
    let of_trusted = |is_so: bool| match (origin.is_trusted, is_so) {
        (true, true) => Fate::Passed,
        (true, false) => Fate::Withheld(Withheld::Differs),
        (false, _) => Fate::Withheld(Withheld::Untrusted),
    };
    match field {
        Field::Other if head.fields.is_named_by_connection(name) => Fate::Ours,
        Field::Other | Field::Date => Fate::Passed,
        Field::Forwarded => of_trusted(true),
        Field::ClientAddress => of_trusted(origin.is_client(value)),
        Field::ClientScheme => of_trusted(origin.is_scheme(value)),
        Field::ForwardedHops | Field::ForwardedPort | Field::ForwardedFor | Field::ForwardedHost | Field::ForwardedProto => {
            if origin.is_trusted { Fate::Ours } else { Fate::Withheld(Withheld::Untrusted) }
        }
        // What a name of ours is put in the place of is told to nobody: a trace begins where the first trusted one is.
        Field::RequestId
        | Field::Host
        | Field::ContentLength
        | Field::TransferEncoding
        | Field::Connection
        | Field::Upgrade
        | Field::Expect
        | Field::HopByHop => Fate::Ours,
        Field::SendFile => Fate::Withheld(Withheld::Never),
        Field::Owned if !name.contains(ALIKE) => Fate::Withheld(Withheld::Never),
        Field::Owned if head.fields.is_named_by_connection(name) => Fate::Ours,
        Field::Owned if forward.underscores.iter().any(|known| known.eq_ignore_ascii_case(name)) => Fate::Passed,
        Field::Owned => Fate::Withheld(if is_alias(name) { Withheld::Alias } else { Withheld::Underscore }),
    }
}

/// X-Forwarded-For, -Host, -Proto and Forwarded (RFC 7239), one line each, with the peer last: apps read one of them or another, so that each
/// is there and none says what the others do not.
fn put_forwarded(origin: &Origin<'_>, host: &str, out: &mut Vec<u8>) {
    let host = origin.host.unwrap_or(host);
    let mut before = "X-Forwarded-For: ";
    for address in origin.hops() {
        put(out, &[before]);
        put::address(out, address);
        before = ", ";
    }
    if before == ", " {
        put(out, &["\r\n"]);
    }
    put(out, &["X-Forwarded-Host: ", host, "\r\nX-Forwarded-Proto: ", origin.scheme, "\r\n"]);
    if let Some(port) = origin.port {
        put(out, &["X-Forwarded-Port: ", port, "\r\n"]);
    }
    // Of the first hop. No host has a quote in it; a colon or a bracket is in no token.
    let quote = if host.contains([':', '[']) { "\"" } else { "" };
    put(out, &["Forwarded: host=", quote, host, quote, ";proto=", origin.scheme]);
    let mut before = ";for=";
    for address in origin.hops() {
        let (open, close) = if address.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
        put(out, &[before, open]);
        put::address(out, address);
        put(out, &[close]);
        before = ", for=";
    }
    put(out, &["\r\n"]);
}

/// One X-Request-Id of safe bytes: it goes into logs.
fn put_request_id(head: &RequestHead<'_, '_>, forward: &ForwardContext<'_>, out: &mut Vec<u8>) {
    let is_safe = |id: &&[u8]| (1..=128).contains(&id.len()) && id.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
    let mut given = head.fields.values(Field::RequestId).filter(|_| forward.origin.is_trusted);
    match (given.next().filter(is_safe), given.next()) {
        (Some(id), None) => put::field(out, "X-Request-Id", id),
        (Some(_) | None, _) => {
            put(out, &["X-Request-Id: "]);
            put::hex(out, forward.request_id);
            put(out, &["\r\n"]);
        }
    }
}

/// The client waits, and the app is asked whether it may send (RFC 9110 10.1.1).
pub fn expect_continue(out: &mut Vec<u8>) {
    put(out, &["Expect: 100-continue\r\n"]);
}

/// Framing and the empty line.
pub fn finish_request(out: &mut Vec<u8>, facts: &RequestFacts, body: BodyToApp) {
    match body {
        BodyToApp::None if facts.says_empty => put(out, &["Content-Length: 0\r\n\r\n"]),
        BodyToApp::None => put(out, &["\r\n"]),
        BodyToApp::Length(length) => {
            put::content_length(out, length);
            put(out, &["\r\n"]);
        }
        BodyToApp::Chunked => put(out, &["Transfer-Encoding: chunked\r\n\r\n"]),
    }
}

/// The whole head for the client; of a dropped interim response nothing.
pub fn response(head: &ResponseHead<'_, '_>, plan: &ResponsePlan, facts: &RequestFacts, date: &str, out: &mut Vec<u8>) {
    if plan.kind == Kind::Dropped {
        return;
    }
    let digits = [b'0' + (head.status / 100) as u8, b'0' + (head.status / 10 % 10) as u8, b'0' + (head.status % 10) as u8];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&digits);
    put(out, &[" ", head.phrase, "\r\n"]);
    let (mut has_date, mut says_upgrade) = (false, false);
    for (field, name, value) in head.fields.iter() {
        match field {
            Field::ContentLength | Field::TransferEncoding | Field::Connection | Field::HopByHop | Field::SendFile => {}
            Field::Upgrade if plan.kind == Kind::Switch || head.status == 426 => {
                says_upgrade = true;
                put::field(out, name, value);
            }
            Field::Upgrade => {}
            Field::Date => {
                has_date = true;
                put::field(out, name, value);
            }
            // In a response the fields that a request may not carry mean nothing.
            Field::Other
            | Field::Host
            | Field::Expect
            | Field::RequestId
            | Field::ForwardedFor
            | Field::ForwardedHost
            | Field::ForwardedProto
            | Field::ForwardedHops
            | Field::ForwardedPort
            | Field::ClientAddress
            | Field::ClientScheme
            | Field::Forwarded
            | Field::Owned => {
                if !head.fields.is_named_by_connection(name) {
                    put::field(out, name, value);
                }
            }
        }
    }
    if plan.kind == Kind::Final {
        // RFC 9110 6.6.1: a recipient that forwards adds it.
        if !has_date {
            put(out, &["Date: ", date, "\r\n"]);
        }
        match plan.to_client {
            ClientBody::Length(length) => put::content_length(out, length),
            ClientBody::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
            // To HEAD and 304 the length of what is not sent is worth knowing (RFC 9110 8.6); 204 has none.
            ClientBody::None if head.status != 204 => {
                if let Some(length) = framing::declared_length(head) {
                    put::content_length(out, length);
                }
            }
            ClientBody::None | ClientBody::UntilClose => {}
        }
        match (plan.keep_client, facts.version) {
            (false, _) => put(out, &["Connection: close\r\n"]),
            (true, Version::Http10) => put(out, &["Connection: keep-alive\r\n"]),
            (true, Version::Http11) => {}
        }
        // RFC 9110 7.8: who sends Upgrade MUST name it in Connection. Behind the other, which every client looks for.
        if says_upgrade {
            put(out, &["Connection: upgrade\r\n"]);
        }
    } else if plan.kind == Kind::Switch {
        put(out, &["Connection: upgrade\r\n"]);
    }
    put(out, &["\r\n"]);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};
    use crate::http::trust::{Network, TrustedProxies};

    fn forwarded(fields: &str, is_trusted: bool) -> String {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        let network = Network::parse(if is_trusted { "192.0.2.7" } else { "192.0.2.8" }).unwrap();
        let trusted = TrustedProxies { networks: vec![network], unix: false };
        let origin = Origin::of_request(&head.fields, Some(IpAddr::from([192, 0, 2, 7])), "http", &trusted);
        let forward = ForwardContext { origin: &origin, default_host: "b", request_id: 0xab, underscores: &["X_Auth".to_owned()] };
        let mut out = Vec::new();
        let is_something_withheld = request(&head, &RequestFacts::of(&head).unwrap(), &forward, &mut out);
        assert_eq!(is_something_withheld, withheld(&head, &forward).next().is_some());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn that_there_is_no_body_is_said_where_one_is_expected_or_the_client_said_so() {
        let end = |method: &str, fields: &str| {
            let text = format!("{method} / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
            let mut room = HeaderRoom::new();
            let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
            let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
            let mut out = Vec::new();
            finish_request(&mut out, &RequestFacts::of(&head).unwrap(), BodyToApp::None);
            String::from_utf8(out).unwrap()
        };
        for (method, fields, said) in [
            ("PROPFIND", "Content-Length: 0\r\n", true),
            ("PROPFIND", "", false),
            ("GET", "Content-Length: 0\r\n", true),
            ("GET", "", false),
            ("POST", "Content-Length: 0\r\n", true),
            ("POST", "", true),
        ] {
            assert_eq!(end(method, fields), if said { "Content-Length: 0\r\n\r\n" } else { "\r\n" }, "{method} {fields:?}");
        }
    }

    const SAID: &str = "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 198.51.100.2\r\nX-Forwarded-Proto: https\r\n\
                        X-Forwarded-Host: c\r\nX-Forwarded-User: d\r\nX-Request-Id: e-1\r\nVia: 1.1 f\r\n";

    #[test]
    fn of_an_untrusted_peer_nothing_is_believed() {
        assert_eq!(
            forwarded(SAID, false),
            "GET / HTTP/1.1\r\nHost: a\r\nVia: 1.1 f\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Host: a\r\nX-Forwarded-Proto: http\r\n\
             Forwarded: host=a;proto=http;for=192.0.2.7\r\nX-Request-Id: 000000000000000000000000000000ab\r\nVia: 1.1 rota\r\n"
        );
    }

    #[test]
    fn of_a_trusted_peer_the_family_is_taken_over_in_one_line_each() {
        assert_eq!(
            forwarded(SAID, true),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-User: d\r\nVia: 1.1 f\r\nX-Forwarded-For: 198.51.100.1, 198.51.100.2, 192.0.2.7\r\n\
             X-Forwarded-Host: c\r\nX-Forwarded-Proto: https\r\nForwarded: host=c;proto=https;for=198.51.100.1, for=198.51.100.2, for=192.0.2.7\r\n\
             X-Request-Id: e-1\r\nVia: 1.1 rota\r\n"
        );
    }

    #[test]
    fn every_name_for_one_thing_says_the_same_or_is_absent() {
        let good = "X-Forwarded-For: 2001:db8::1\r\nX-Real-IP: [2001:DB8::1]\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Ssl: on\r\n\
                    X-Scheme: https\r\nX-Forwarded-Host: c:8443\r\nX-Forwarded-Port: 8443\r\n";
        assert_eq!(
            forwarded(good, true),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Real-IP: [2001:DB8::1]\r\nX-Forwarded-Ssl: on\r\nX-Scheme: https\r\n\
             X-Forwarded-For: 2001:db8::1, 192.0.2.7\r\nX-Forwarded-Host: c:8443\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 8443\r\n\
             Forwarded: host=\"c:8443\";proto=https;for=\"[2001:db8::1]\", for=192.0.2.7\r\n\
             X-Request-Id: 000000000000000000000000000000ab\r\nVia: 1.1 rota\r\n"
        );
        let bad = "X-Forwarded-For: 2001:db8::1\r\nX-Real-IP: 2001:db8::2\r\nClient-IP: 6.6.6.6\r\nX-Client-IP: x\r\nX-Forwarded-Ssl: on\r\n\
                   X-Scheme: https\r\nFront-End-Https: on\r\nX-Forwarded-Host: c:8443\r\nX-Forwarded-Port: 443\r\nForwarded: for=6.6.6.6\r\n";
        assert_eq!(
            forwarded(bad, true),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 2001:db8::1, 192.0.2.7\r\nX-Forwarded-Host: c:8443\r\nX-Forwarded-Proto: http\r\n\
             Forwarded: host=\"c:8443\";proto=http;for=\"[2001:db8::1]\", for=192.0.2.7\r\n\
             X-Request-Id: 000000000000000000000000000000ab\r\nVia: 1.1 rota\r\n"
        );
    }

    fn reasons(fields: &str, is_trusted: bool) -> Vec<(String, Withheld)> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        let network = Network::parse(if is_trusted { "192.0.2.7" } else { "192.0.2.8" }).unwrap();
        let trusted = TrustedProxies { networks: vec![network], unix: false };
        let origin = Origin::of_request(&head.fields, Some(IpAddr::from([192, 0, 2, 7])), "http", &trusted);
        let forward = ForwardContext { origin: &origin, default_host: "b", request_id: 0xab, underscores: &["X_Auth".to_owned()] };
        withheld(&head, &forward).map(|(name, why)| (name.to_owned(), why)).collect()
    }

    #[test]
    fn what_somebody_may_count_on_is_withheld_with_a_reason() {
        let all = "X_Auth: 1\r\nX_Other: 1\r\nX.Other: 1\r\nX.Real-IP: 1\r\nX_Forwarded_For: 1\r\nProxy: x\r\nX-Accel-Redirect: /\r\nTrue-Client-IP: 192.0.2.9\r\n\
                   X-Forwarded-Proto: https\r\nTE: trailers\r\nConnection: x-mine\r\nX-Mine: 1\r\nX-Request-Id: 1\r\n";
        let of = |name: &str, why| (name.to_owned(), why);
        let always = [
            of("X_Other", Withheld::Underscore),
            of("X.Other", Withheld::Underscore),
            of("X.Real-IP", Withheld::Alias),
            of("X_Forwarded_For", Withheld::Alias),
            of("Proxy", Withheld::Never),
            of("X-Accel-Redirect", Withheld::Never),
        ];
        let untrusted = [of("True-Client-IP", Withheld::Untrusted), of("X-Forwarded-Proto", Withheld::Untrusted)];
        assert_eq!(reasons(all, false), [&always[..], &untrusted].concat());
        assert_eq!(reasons(all, true), [&always[..], &[of("True-Client-IP", Withheld::Differs)]].concat());
        assert_eq!(reasons("X-A: 1\r\nX_auth: 1\r\nTE: trailers\r\n", false), []);
    }

    #[test]
    fn a_name_with_an_underscore_is_passed_on_where_the_configuration_has_it() {
        assert!(forwarded("x_auth: 1\r\nX_Other: 2\r\n", false).starts_with("GET / HTTP/1.1\r\nHost: a\r\nx_auth: 1\r\nX-Forwarded-For: "));
    }

    #[test]
    fn a_request_id_is_taken_over_only_if_it_is_one_short_and_safe() {
        let long = format!("X-Request-Id: {}\r\n", "x".repeat(129));
        for bad in
            ["X-Request-Id: a b\r\n", "X-Request-Id:\r\n", "X-Request-Id: a\r\nX-Request-Id: b\r\n", "X-Request-Id: \u{e9}\r\n", &long]
        {
            let text = forwarded(bad, true);
            assert!(text.contains("\r\nX-Request-Id: 000000000000000000000000000000ab\r\n"), "{text}");
            assert_eq!(text.matches("X-Request-Id").count(), 1, "{text}");
        }
    }
}
