//! One request and its response: what of the request matters once its head is forwarded, and what follows from the head of the response.

use super::chunked::ChunkReader;
use super::fields::Field;
use super::framing::{self, RequestBody, ResponseBody};
use super::head::{BadResponse, RequestHead, ResponseHead, Version, is_token, list};
use super::refusal::Refusal;

/// What the rest of the exchange depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponsePlan {
    pub status: u16,
    pub kind: Kind,
    pub from_app: ResponseBody,
    pub to_client: ClientBody,
    /// The client's connection goes on after it, as HTTP.
    pub keep_client: bool,
    /// The app's connection can carry another request. Of an interim response: as far as it goes.
    pub keep_app: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 1xx, to be passed on: another head follows.
    Interim,
    /// 1xx that this client must not or need not see.
    Dropped,
    Final,
    /// 101: bytes both ways from now on.
    Switch,
}

/// How the body goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientBody {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body that breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody(&'static str);

impl BadBody {
    pub fn reason(&self) -> &'static str {
        self.0
    }
}

/// Reads the facts off a request's head.
pub fn facts(head: &RequestHead<'_, '_>) -> Result<RequestFacts, Refusal> {
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
    for value in head.fields.values(Field::Expect) {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Refusal::BadRequest("an expectation other than 100-continue"));
        }
        expects_continue = http11 && body != RequestBody::None;
    }
    Ok(RequestFacts {
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

/// `protocol-name [ "/" protocol-version ]` (RFC 9110 7.8). Nothing else is offered: who knows what an app makes of `h2c x` or `"h2c"`.
fn is_protocol(offer: &[u8]) -> bool {
    offer.splitn(2, |byte| *byte == b'/').all(|word| !word.is_empty() && word.iter().all(|byte| is_token(*byte)))
}

/// What follows from a response's head.
pub fn plan_response(request: &RequestFacts, head: &ResponseHead<'_, '_>) -> Result<ResponsePlan, BadResponse> {
    let from_app = framing::response_body(head, request.head_only)?;
    let http11 = request.version == Version::Http11;
    let kind = match head.status {
        101 => {
            let mut chosen = head.fields.values(Field::Upgrade).flat_map(list);
            let offered = chosen.next().is_some_and(|protocol| {
                let protocol = String::from_utf8_lossy(protocol).to_ascii_lowercase();
                request.upgrade.contains(&protocol)
            });
            if !offered || chosen.next().is_some() {
                return Err(BadResponse("101 to a protocol that was not offered"));
            }
            Kind::Switch
        }
        // We have answered the expectation ourselves.
        100 => Kind::Dropped,
        102..=199 if http11 => Kind::Interim,
        102..=199 => Kind::Dropped,
        _ => Kind::Final,
    };
    let to_client = match from_app {
        ResponseBody::None => ClientBody::None,
        ResponseBody::Length(length) => ClientBody::Length(length),
        // RFC 9112 6.1: no chunked to a client of HTTP/1.0.
        ResponseBody::Chunked | ResponseBody::UntilClose if http11 => ClientBody::Chunked,
        ResponseBody::Chunked | ResponseBody::UntilClose => ClientBody::UntilClose,
    };
    let app = head.fields.connection();
    let app_persists = !app.close && (head.version == Version::Http11 || app.keep_alive);
    let may_send_more = match from_app {
        ResponseBody::None => framing::announces_body(head),
        ResponseBody::Length(_) | ResponseBody::Chunked => false,
        ResponseBody::UntilClose => true,
    };
    Ok(ResponsePlan {
        status: head.status,
        kind,
        from_app,
        to_client,
        keep_client: request.keep_alive && kind != Kind::Switch && to_client != ClientBody::UntilClose,
        keep_app: app_persists && kind != Kind::Switch && !may_send_more,
    })
}

impl ResponsePlan {
    /// The client's connection ends with this response.
    pub fn close_client(&mut self) {
        self.keep_client = false;
    }
}

/// Whether a request may be sent again after the app failed: nothing of a response has been seen, and either it never reached an app, or
/// doing it twice is the same as once (RFC 9110 9.2.2).
pub fn may_retry(response_seen: bool, never_reached: bool, idempotent: bool) -> bool {
    !response_seen && (never_reached || idempotent)
}

/// Interim responses before one answer; an app that sends more is broken (each takes time of the slot and of the client).
pub const INTERIM_MAX: u8 = 16;

/// Takes a body apart as it comes.
#[derive(Debug)]
pub struct BodyReader(Reader);

#[derive(Debug)]
enum Reader {
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
}

impl BodyReader {
    pub fn for_request(body: &RequestBody) -> Self {
        Self(match body {
            RequestBody::None => Reader::Length(0),
            RequestBody::Length(length) => Reader::Length(*length),
            RequestBody::Chunked => Reader::Chunked(ChunkReader::new()),
        })
    }

    pub fn for_response(body: &ResponseBody) -> Self {
        Self(match body {
            ResponseBody::None => Reader::Length(0),
            ResponseBody::Length(length) => Reader::Length(*length),
            ResponseBody::Chunked => Reader::Chunked(ChunkReader::new()),
            ResponseBody::UntilClose => Reader::UntilClose,
        })
    }

    /// The body is whole. One that lasts until the close never is.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Reader::Length(left) => *left == 0,
            Reader::Chunked(reader) => reader.is_done(),
            Reader::UntilClose => false,
        }
    }

    /// Bytes that are announced and have not come, as far as is known: of chunks, those of the one that has begun.
    pub fn announced(&self) -> u64 {
        match &self.0 {
            Reader::Length(left) => *left,
            Reader::Chunked(reader) => reader.left(),
            Reader::UntilClose => 0,
        }
    }

    /// The next piece: (bytes of the input that it took, data).
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadBody> {
        match &mut self.0 {
            Reader::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                Ok((take, &bytes[..take]))
            }
            Reader::Chunked(reader) => reader.read(bytes).map_err(|bad| BadBody(bad.0)),
            Reader::UntilClose => Ok((bytes.len(), bytes)),
        }
    }

    /// The connection ended here: is the body whole?
    pub fn eof(&self) -> Result<(), BadBody> {
        match &self.0 {
            Reader::UntilClose => Ok(()),
            Reader::Length(_) | Reader::Chunked(_) if self.is_done() => Ok(()),
            Reader::Length(_) | Reader::Chunked(_) => Err(BadBody("the body was cut off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request, parse_response};

    fn offered(upgrade: &str) -> Vec<String> {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let mut room = HeaderRoom::new();
        facts(&parse_request(text.as_bytes(), &limits, &mut room).unwrap().unwrap().0).unwrap().upgrade
    }

    #[test]
    fn http_is_not_offered_to_the_app() {
        assert_eq!(offered("h2c, H2, HTTP/2.0, websocket, h2x"), ["websocket", "h2x"]);
    }

    #[test]
    fn what_is_no_protocol_is_not_offered_to_the_app() {
        assert_eq!(offered("h2c x, \"h2c\", http /2, a/, /b, a/b/c, \u{a0}h2c, a:b, foo/1"), ["foo/1"]);
    }

    fn keeps_app(method: &str, response: &str) -> bool {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let mut room = HeaderRoom::new();
        let facts = facts(&parse_request(request.as_bytes(), &limits, &mut room).unwrap().unwrap().0).unwrap();
        let mut room = HeaderRoom::new();
        let (head, _) = parse_response(response.as_bytes(), &mut room).unwrap().unwrap();
        plan_response(&facts, &head).unwrap().keep_app
    }

    #[test]
    fn a_connection_on_which_a_body_may_still_come_is_not_kept() {
        for (method, response, keeps) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true),
            ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            ("GET", "HTTP/1.1 200 OK\r\n\r\n", false),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", true),
            ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", true),
            ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false),
            ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: x\r\n\r\n", false),
            ("GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false),
            ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", true),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false),
            ("GET", "HTTP/1.1 103 Early Hints\r\n\r\n", true),
            ("GET", "HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\n", false),
            ("HEAD", "HTTP/1.1 200 OK\r\n\r\n", true),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false),
            ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ] {
            assert_eq!(keeps_app(method, response), keeps, "{method}: {response:?}");
        }
    }
}
