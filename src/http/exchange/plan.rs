//! What follows from the head of a response: how its body is framed on both sides, and what becomes of the two connections.

use serde::{Deserialize, Serialize};

use super::facts::RequestFacts;
use crate::http::fields::Field;
use crate::http::framing::{self, ResponseBody};
use crate::http::head::{BadResponse, ResponseHead, Version, list};

/// What to do with a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientBody {
    None,
    Length(u64),
    Chunked,
    UntilClose,
}

impl ResponsePlan {
    /// What follows from a response's head.
    pub fn of(request: &RequestFacts, head: &ResponseHead<'_, '_>) -> Result<Self, BadResponse> {
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
        Ok(Self {
            status: head.status,
            kind,
            from_app,
            to_client,
            keep_client: request.keep_alive && kind != Kind::Switch && to_client != ClientBody::UntilClose,
            keep_app: app_persists && kind != Kind::Switch && !may_send_more,
        })
    }

    /// The client's connection ends with this response.
    pub fn close_client(&mut self) {
        self.keep_client = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request, parse_response};

    fn keeps_app(method: &str, response: &str) -> bool {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let mut room = HeaderRoom::new();
        let facts = RequestFacts::of(&parse_request(request.as_bytes(), &limits, &mut room).unwrap().unwrap().0).unwrap();
        let mut room = HeaderRoom::new();
        let (head, _) = parse_response(response.as_bytes(), &mut room).unwrap().unwrap();
        ResponsePlan::of(&facts, &head).unwrap().keep_app
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
