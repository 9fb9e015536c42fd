//! How long a body is: one decision, that of a plain reading of RFC 9112 6.3 with the house's refusals, and what is written anew says it.
//!
//! The first byte of an input says what kind of head the rest, its field lines, is put into.

use rota::http::exchange::facts::RequestFacts;
use rota::http::exchange::plan::{ClientBody, Kind, ResponsePlan};
use rota::http::framing::{self, RequestBody, ResponseBody};
use rota::http::head::{self, HeaderRoom, Version};
use rota::http::rewrite::{self, BodyToApp};

use super::{FORWARD, LIMITS};

pub fn check(bytes: &[u8]) {
    let Some((kind, lines)) = bytes.split_first() else { return };
    let kind = usize::from(*kind);
    let asked = asked(kind);
    request([asked.as_bytes(), lines, b"\r\n\r\n"].concat().as_slice());
    let status = STATUSES[kind / 8 % STATUSES.len()];
    let version = if kind & 4 == 0 { "1.1" } else { "1.0" };
    let facts = facts(format!("{asked}\r\n").as_bytes()).expect("well-framed");
    response([format!("HTTP/{version} {status} x\r\n").as_bytes(), lines, b"\r\n\r\n"].concat().as_slice(), &facts);
}

fn asked(kind: usize) -> String {
    let method = ["GET", "HEAD", "POST", "PUT"][kind & 3];
    let (version, keep) = [("1.1", ""), ("1.0", ""), ("1.0", "Connection: keep-alive\r\n"), ("1.1", UPGRADE)][(kind / 4) & 3];
    format!("{method} / HTTP/{version}\r\nHost: a\r\n{keep}")
}

fn facts(request: &[u8]) -> Option<RequestFacts> {
    let mut room = HeaderRoom::new();
    let (head, _) = head::parse_request(request, &LIMITS, &mut room).ok()??;
    RequestFacts::of(&head).ok()
}

fn request(bytes: &[u8]) {
    let mut room = HeaderRoom::new();
    let Ok(Some((head, length))) = head::parse_request(bytes, &LIMITS, &mut room) else { return };
    let said = Said::of(&bytes[..length]);
    let decided = framing::request_body(&head);
    assert_eq!(decided.as_ref().ok(), said.request_body(head.version).as_ref(), "{said:?}");
    assert!(
        decided.as_ref().is_ok_and(|body| *body != RequestBody::Length(0)) || decided.as_ref().is_err_and(|refusal| refusal.must_close())
    );
    let Ok(facts) = RequestFacts::of(&head) else { return };
    assert_eq!(Ok(facts.body), decided);
    assert!(facts.upgrade.is_empty() || facts.body == RequestBody::None, "nobody could say where the new protocol begins");
    let mut out = Vec::new();
    rewrite::request(&head, &facts, &FORWARD, &mut out);
    let body = match facts.body {
        RequestBody::None => BodyToApp::None,
        RequestBody::Length(length) => BodyToApp::Length(length),
        RequestBody::Chunked => BodyToApp::Chunked,
    };
    rewrite::finish_request(&mut out, &facts, body);
    let written = Said::of(&out);
    let (lengths, codings) = (written.lengths.as_slice(), written.codings.as_slice());
    match facts.body {
        RequestBody::None => assert!(codings.is_empty() && (lengths.is_empty() || (lengths == ["0"] && facts.says_empty))),
        RequestBody::Length(length) => assert!(codings.is_empty() && lengths == [length.to_string()]),
        RequestBody::Chunked => assert!(codings == ["chunked"] && lengths.is_empty()),
    }
}

fn response(bytes: &[u8], asked: &RequestFacts) {
    let mut room = HeaderRoom::new();
    let Ok(Some((head, length))) = head::parse_response(bytes, &mut room) else { return };
    let said = Said::of(&bytes[..length]);
    let decided = framing::response_body(&head, asked.head_only).ok();
    assert_eq!(decided, said.response_body(head.status, head.version, asked.head_only), "{said:?}");
    let Ok(plan) = ResponsePlan::of(asked, &head) else { return };
    assert_eq!(Some(plan.from_app), decided);
    let mut out = Vec::new();
    rewrite::response(&head, &plan, asked, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
    if plan.kind == Kind::Dropped {
        return assert!(out.is_empty());
    }
    let written = Said::of(&out);
    assert_eq!(written.client_body(plan.status, asked), plan.to_client, "what the client reads");
    if plan.kind == Kind::Final {
        let keeps = match asked.version {
            Version::Http11 => !written.has_option("close"),
            Version::Http10 => written.has_option("keep-alive"),
        };
        assert_eq!(keeps, plan.keep_client, "whether the client goes on");
    }
    what_ends_is_not_kept(&plan, &said, asked);
}

fn what_ends_is_not_kept(plan: &ResponsePlan, said: &Said, asked: &RequestFacts) {
    assert!(!plan.keep_client || asked.keep_alive);
    assert!(!plan.keep_client || plan.to_client != ClientBody::UntilClose, "only the close ends it");
    assert!(!plan.keep_app || plan.from_app != ResponseBody::UntilClose, "only the close ends it");
    assert!(!plan.keep_app || !said.has_option("close"));
    // A body that is announced where none may be would be taken for the next response.
    let announces =
        !said.codings.is_empty() || said.lengths.iter().any(|length| length.is_empty() || length.bytes().any(|byte| byte != b'0'));
    assert!(!plan.keep_app || plan.from_app != ResponseBody::None || !announces, "{said:?}");
    assert!(plan.kind != Kind::Switch || (!plan.keep_app && !plan.keep_client && !asked.upgrade.is_empty()));
}

/// What the lines of a head say about the body.
#[derive(Debug)]
struct Said {
    lengths: Vec<String>,
    codings: Vec<String>,
    options: Vec<String>,
}

impl Said {
    fn of(head: &[u8]) -> Self {
        let text: String = head.iter().map(|byte| char::from(*byte)).collect();
        let all = |wanted: &str| -> Vec<String> {
            let lines = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
            let values = lines.filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
            values.map(|value| value.trim_matches([' ', '\t']).to_owned()).collect()
        };
        let options = all("connection").join(",").split(',').map(|option| option.trim_matches([' ', '\t']).to_lowercase()).collect();
        Self { lengths: all("content-length"), codings: all("transfer-encoding"), options }
    }

    fn has_option(&self, wanted: &str) -> bool {
        self.options.iter().any(|option| option == wanted)
    }

    /// None: refused.
    fn length(&self) -> Option<u64> {
        let [length] = self.lengths.as_slice() else { return None };
        let is_number = !length.is_empty() && length.chars().all(|c| c.is_ascii_digit());
        // Zeros in front change nothing; the parser stops at more than 63 bits.
        let digits = format!("0{}", length.trim_start_matches('0'));
        digits.parse::<i64>().ok().filter(|_| is_number).map(|length| length as u64)
    }

    fn is_chunked(&self) -> bool {
        matches!(self.codings.as_slice(), [coding] if coding.eq_ignore_ascii_case("chunked"))
    }

    fn request_body(&self, version: Version) -> Option<RequestBody> {
        match (self.lengths.len(), self.codings.len()) {
            (0, 0) => Some(RequestBody::None),
            (1, 0) => self.length().map(|length| if length == 0 { RequestBody::None } else { RequestBody::Length(length) }),
            (0, 1) if self.is_chunked() && version == Version::Http11 => Some(RequestBody::Chunked),
            _ => None,
        }
    }

    fn response_body(&self, status: u16, version: Version, to_head: bool) -> Option<ResponseBody> {
        if status < 200 || status == 204 {
            return Some(ResponseBody::None);
        }
        let length = match self.lengths.len() {
            0 => None,
            _ => Some(self.length()?),
        };
        match (length, self.codings.len()) {
            _ if to_head || status == 304 => Some(ResponseBody::None),
            (Some(length), 0) => Some(ResponseBody::Length(length)),
            (None, 0) => Some(ResponseBody::UntilClose),
            (None, 1) if self.is_chunked() && version == Version::Http11 => Some(ResponseBody::Chunked),
            _ => None,
        }
    }

    /// What a client of RFC 9112 6.3 takes for the body. Both fields, or one twice, would leave it a choice.
    fn client_body(&self, status: u16, asked: &RequestFacts) -> ClientBody {
        assert!(self.lengths.len() + self.codings.len() <= 1, "{self:?}");
        assert!((200..).contains(&status) && status != 204 || (self.lengths.is_empty() && self.codings.is_empty()), "RFC 9110 8.6");
        if status < 200 || status == 204 || status == 304 || asked.head_only {
            return ClientBody::None;
        }
        match (self.lengths.first(), self.codings.first()) {
            (Some(length), _) => ClientBody::Length(length.parse().expect("digits")),
            (None, Some(coding)) => {
                assert!(coding == "chunked" && asked.version == Version::Http11, "{self:?}");
                ClientBody::Chunked
            }
            (None, None) => ClientBody::UntilClose,
        }
    }
}

const UPGRADE: &str = "Connection: upgrade\r\nUpgrade: websocket\r\n";
const STATUSES: [u16; 10] = [200, 204, 304, 404, 100, 101, 103, 206, 426, 599];
