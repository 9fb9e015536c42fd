//! What of a request matters to the exchange once its head is forwarded.

use serde::{Deserialize, Serialize};

use crate::http::fields::Field;
use crate::http::framing::{self, RequestBody};
use crate::http::head::{RequestHead, Version, is_token, list};
use crate::http::refusal::Refusal;

/// What the rest of the exchange depends on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestFacts {
    pub version: Version,
    /// The client wants the connection to go on.
    pub keep_alive: bool,
    /// HEAD: the response has no body.
    pub head_only: bool,
    /// It may be sent twice (RFC 9110 9.2.2).
    pub idempotent: bool,
    /// That there is no body is said with `Content-Length: 0`: the method lets expect one, or the client said so (RFC 9110 8.6).
    pub says_empty: bool,
    pub expects_continue: bool,
    /// The protocols offered for an upgrade, lower case; empty: none.
    pub upgrade: Vec<String>,
    pub body: RequestBody,
}

impl RequestFacts {
    /// Reads the facts off a request's head.
    pub fn of(head: &RequestHead<'_, '_>) -> Result<Self, Refusal> {
        let body = framing::request_body(head)?;
        let connection = head.fields.connection();
        let http11 = head.version == Version::Http11;
        let mut upgrade = Vec::new();
        // RFC 9110 7.8: only in 1.1 and named by Connection; with a body behind it nobody could say where the new protocol begins.
        if connection.upgrade && http11 && body == RequestBody::None {
            let offers = head.fields.values(Field::Upgrade).flat_map(list).filter(|offer| is_protocol(offer));
            upgrade.extend(offers.map(|offer| String::from_utf8_lossy(offer).to_ascii_lowercase()));
            // HTTP of any version would put requests past us.
            upgrade.retain(|offer| !matches!(offer.split('/').next(), Some("h2c" | "h2" | "http")));
        }
        let mut expects_continue = false;
        for expectation in head.fields.values(Field::Expect).flat_map(list).filter(|expectation| !expectation.is_empty()) {
            if !expectation.eq_ignore_ascii_case(b"100-continue") {
                return Err(Refusal::ExpectationFailed);
            }
            expects_continue = http11 && body != RequestBody::None;
        }
        Ok(Self {
            version: head.version,
            keep_alive: !connection.close && (http11 || connection.keep_alive),
            head_only: head.method == "HEAD",
            idempotent: matches!(head.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE"),
            says_empty: matches!(head.method, "POST" | "PUT" | "PATCH") || head.fields.values(Field::ContentLength).next().is_some(),
            expects_continue,
            upgrade,
            body,
        })
    }
}

/// `protocol-name [ "/" protocol-version ]` (RFC 9110 7.8). Nothing else is offered: who knows what an app makes of `h2c x` or `"h2c"`.
fn is_protocol(offer: &[u8]) -> bool {
    offer.splitn(2, |byte| *byte == b'/').all(|word| !word.is_empty() && word.iter().all(|byte| is_token(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};

    fn offered(upgrade: &str) -> Vec<String> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let mut room = HeaderRoom::new();
        RequestFacts::of(&parse_request(text.as_bytes(), &limits, &mut room).unwrap().unwrap().0).unwrap().upgrade
    }

    #[test]
    fn http_is_not_offered_to_the_app() {
        assert_eq!(offered("h2c, H2, HTTP/2.0, websocket, h2x"), ["websocket", "h2x"]);
    }

    #[test]
    fn an_upgrade_is_offered_in_11_without_a_body_and_where_connection_names_it() {
        for (line, fields, offers) in [
            ("GET / HTTP/1.1", "Connection: upgrade\r\n", true),
            ("GET / HTTP/1.1", "", false),
            ("GET / HTTP/1.0", "Connection: upgrade\r\n", false),
            ("GET / HTTP/1.1", "Connection: upgrade\r\nContent-Length: 5\r\n", false),
        ] {
            let text = format!("{line}\r\nHost: a\r\nUpgrade: websocket\r\n{fields}\r\n");
            let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
            let mut room = HeaderRoom::new();
            let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().unwrap();
            assert_eq!(!RequestFacts::of(&head).unwrap().upgrade.is_empty(), offers, "{line} {fields:?}");
        }
    }

    #[test]
    fn what_is_no_protocol_is_not_offered_to_the_app() {
        assert_eq!(offered("h2c x, \"h2c\", http /2, a/, /b, a/b/c, \u{a0}h2c, a:b, foo/1"), ["foo/1"]);
    }
}
