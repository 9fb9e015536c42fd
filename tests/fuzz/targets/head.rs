//! Heads: the same verdict in any cut, the same as a second reader's, and what is written anew is in canonical form: written anew once
//! more it is the same bytes.

use std::sync::LazyLock;

use rota::http::exchange::facts::RequestFacts;
use rota::http::exchange::plan::{Kind, ResponsePlan};
use rota::http::framing::RequestBody;
use rota::http::head::{self, HeadLimits, HeaderRoom};
use rota::http::refusal::Refusal;
use rota::http::rewrite::{self, BodyToApp};

use super::first_reader;
use super::{FORWARD, LIMITS};

pub fn check(bytes: &[u8]) {
    if bytes.len() > LARGEST {
        return;
    }
    for limits in [&LIMITS, &TIGHT] {
        request_in_any_cut(bytes, limits);
    }
    assert_eq!(first_reader::disagreement(bytes, &LIMITS), None);
    request_in_canonical_form(bytes);
    response_in_any_cut(bytes);
    for facts in ASKED.iter() {
        response_in_canonical_form(bytes, facts);
    }
}

/// A request head that was taken.
#[derive(Debug, PartialEq)]
struct Request<'b> {
    method: &'b str,
    target: &'b str,
    path: &'b str,
    authority: Option<&'b str>,
    fields: Vec<(&'b str, &'b [u8])>,
    length: usize,
}

fn request<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Result<Option<Request<'b>>, Refusal> {
    let mut room = HeaderRoom::new();
    let Some((head, length)) = head::parse_request(bytes, limits, &mut room)? else { return Ok(None) };
    let fields = head.fields.iter().map(|(_, name, value)| (name, value)).collect();
    Ok(Some(Request { method: head.method, target: head.target, path: head.path, authority: head.authority, fields, length }))
}

fn request_in_any_cut(bytes: &[u8], limits: &HeadLimits) {
    let whole = request(bytes, limits);
    match &whole {
        Ok(Some(request)) => {
            assert_eq!(head::head_end(bytes, 0), Some(request.length), "its end is the first that can be seen");
            assert_eq!(self::request(&bytes[..request.length], limits), whole, "what follows is none of its business");
            assert_eq!(head::is_to_head(bytes), request.method == "HEAD");
            assert!(request.length <= limits.bytes + 2 && request.fields.len() <= limits.headers && request.target.len() <= limits.target);
        }
        Ok(None) => {
            assert_eq!(head::head_end(bytes, 0), None, "a head whose end was found is taken or refused");
            assert!(bytes.len() <= limits.bytes + 2, "a head that is too large is refused before it ends");
        }
        Err(refusal) => assert!(refusal.must_close(), "where the next request would begin nobody knows: {refusal:?}"),
    }
    for cut in super::cuts(bytes) {
        match (request(&bytes[..cut], limits), &whole) {
            (Ok(Some(early)), Ok(Some(late))) => assert_eq!(&early, late, "cut at {cut}"),
            // Of two faults the one that is seen first names the status.
            (Err(_), Err(_)) => {}
            (Ok(None), Ok(Some(late))) => {
                assert!(cut < late.length, "cut at {cut}: it was whole");
                assert_eq!(head::head_end(bytes, cut), Some(late.length), "searched up to {cut}");
            }
            (Ok(None), Ok(None) | Err(_)) => {}
            (early, late) => panic!("cut at {cut}: {early:?}, then {late:?}"),
        }
    }
}

fn request_in_canonical_form(bytes: &[u8]) {
    let Some((first, facts)) = forwarded(bytes, &LIMITS) else { return };
    is_canonical(&first);
    let lines: Vec<(String, &str)> = fields(&first);
    for (name, _) in &lines {
        let is_ours = WRITTEN.contains(&name.as_str());
        assert!(!NEVER_FORWARDED.contains(&name.as_str()) && !name.contains('_'), "{name} is forwarded");
        assert!(is_ours || !name.starts_with("x-forwarded-"), "{name} of a peer that nobody trusts is forwarded");
        assert!(name == "via" || !is_ours || lines.iter().filter(|(other, _)| other == name).count() == 1, "{name} stands there twice");
    }
    assert_eq!(lines.iter().filter(|(name, _)| name == "host").count(), 1);
    for protocol in &facts.upgrade {
        let (name, version) = protocol.split_once('/').unwrap_or((protocol, "1"));
        let is_token = |word: &str| !word.is_empty() && word.bytes().all(head::is_token);
        assert!(is_token(name) && is_token(version), "{protocol:?} is offered and is no protocol");
        assert!(!["http", "h2", "h2c"].contains(&name), "{protocol:?} would put requests past us");
    }
    for option in named_by_connection(bytes) {
        let is_ours = WRITTEN.contains(&option.as_str()) || option == "date";
        assert!(is_ours || lines.iter().all(|(name, _)| *name != option), "{option} is of the client's connection only");
    }
    let (again, same_facts) = forwarded(&bytes_of(&first), &LIMITS).expect("it is canonical");
    assert_eq!(without_via(&again), without_via(&first), "written anew once more");
    let kept = |facts: &RequestFacts| (facts.body, facts.head_only, facts.idempotent, facts.upgrade.clone());
    assert_eq!(kept(&same_facts), kept(&facts));
}

/// The head for the app. None: it is not taken, or has so many fields that with ours it has too many.
fn forwarded(bytes: &[u8], limits: &HeadLimits) -> Option<(String, RequestFacts)> {
    let mut room = HeaderRoom::new();
    let (head, _) = head::parse_request(bytes, limits, &mut room).ok()??;
    let facts = RequestFacts::of(&head).ok()?;
    if head.fields.iter().count() > 100 {
        return None;
    }
    let body = match facts.body {
        RequestBody::None => BodyToApp::None,
        RequestBody::Length(length) => BodyToApp::Length(length),
        RequestBody::Chunked => BodyToApp::Chunked,
    };
    let mut out = Vec::new();
    rewrite::request(&head, &facts, &FORWARD, &mut out);
    rewrite::finish_request(&mut out, &facts, body);
    Some((latin1(&out), facts))
}

/// The options of all Connection fields of a request, lower case; read from the lines of the head, not from what rota made of them.
fn named_by_connection(bytes: &[u8]) -> Vec<String> {
    let text = latin1(bytes);
    let head = text.trim_start_matches("\r\n").split("\r\n\r\n").next().unwrap_or_default().to_owned();
    let options = fields(&head)
        .into_iter()
        .filter(|(name, _)| name == "connection")
        .flat_map(|(_, value)| value.split(',').map(|option| option.trim_matches([' ', '\t']).to_ascii_lowercase()).collect::<Vec<_>>());
    options.collect()
}

fn without_via(head: &str) -> Vec<&str> {
    head.split("\r\n").filter(|line| !["Via: 1.1 rota", "Via: 1.0 rota"].contains(line)).collect()
}

fn response_in_any_cut(bytes: &[u8]) {
    let read = |bytes: &[u8]| {
        let mut room = HeaderRoom::new();
        head::parse_response(bytes, &mut room).map(|parsed| {
            parsed.map(|(head, length)| {
                assert!((100..600).contains(&head.status));
                let fields: Vec<_> = head.fields.iter().map(|(_, name, value)| (name.to_owned(), value.to_owned())).collect();
                (head.status, head.phrase.to_owned(), head.version, fields, length)
            })
        })
    };
    let whole = read(bytes);
    if let Ok(Some((.., length))) = whole {
        assert_eq!(head::head_end(bytes, 0), Some(length), "its end is the first that can be seen");
        assert_eq!(read(&bytes[..length]), whole, "what follows is none of its business");
    }
    for cut in super::cuts(bytes) {
        match (read(&bytes[..cut]), &whole) {
            (Ok(Some(early)), Ok(Some(late))) => assert_eq!(&early, late, "cut at {cut}"),
            (Ok(None), Ok(Some((.., length)))) => assert!(cut < *length, "cut at {cut}: it was whole"),
            (Err(_), Err(_)) | (Ok(None), Ok(None) | Err(_)) => {}
            (early, late) => panic!("cut at {cut}: {early:?}, then {late:?}"),
        }
    }
}

fn response_in_canonical_form(bytes: &[u8], asked: &RequestFacts) {
    let Some((first, kind)) = passed_on(bytes, asked) else { return };
    if kind == Kind::Dropped {
        return assert_eq!(first, "");
    }
    is_canonical(&first);
    let names: Vec<String> = fields(&first).into_iter().map(|(name, _)| name).collect();
    for once in ["content-length", "transfer-encoding", "connection"] {
        assert!(names.iter().filter(|name| *name == once).count() <= 1, "{once} stands there twice");
    }
    for of_one_connection in ["keep-alive", "proxy-connection", "te", "trailer"] {
        assert!(!names.iter().any(|name| name == of_one_connection), "{of_one_connection} is passed on");
    }
    let again = passed_on(&bytes_of(&first), asked);
    assert_eq!(again, Some((first, kind)), "written anew once more");
}

/// The head for the client. None: it is not taken, or has so many fields that with ours it has too many.
fn passed_on(bytes: &[u8], asked: &RequestFacts) -> Option<(String, Kind)> {
    let mut room = HeaderRoom::new();
    let (head, _) = head::parse_response(bytes, &mut room).ok()??;
    let plan = ResponsePlan::of(asked, &head).ok()?;
    if head.fields.iter().count() > 120 {
        return None;
    }
    let mut out = Vec::new();
    rewrite::response(&head, &plan, asked, "Sun, 06 Nov 1994 08:49:37 GMT", &mut out);
    Some((latin1(&out), plan.kind))
}

/// One head and nothing else: lines that end in CRLF, the empty one last, and no CR, LF or NUL within.
fn is_canonical(head: &str) {
    let lines = head.strip_suffix("\r\n\r\n").unwrap_or_else(|| panic!("no empty line at the end: {head:?}"));
    for line in lines.split("\r\n") {
        assert!(!line.is_empty() && !line.contains(['\r', '\n', '\0']), "{head:?}");
    }
    for line in lines.split("\r\n").skip(1) {
        let name = line.split(':').next().unwrap_or_default();
        assert!(line.contains(':') && !name.is_empty() && name.bytes().all(head::is_token), "{head:?}");
    }
}

/// Names in lower case, and values.
fn fields(head: &str) -> Vec<(String, &str)> {
    let lines = head.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']))).collect()
}

/// One character for each byte.
fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Back from [`latin1`].
fn bytes_of(text: &str) -> Vec<u8> {
    text.chars().map(|c| c as u8).collect()
}

/// Requests that the response could be to.
static ASKED: LazyLock<Vec<RequestFacts>> = LazyLock::new(|| {
    let fact = |text: &str| {
        let mut room = HeaderRoom::new();
        let parsed = head::parse_request(text.as_bytes(), &LIMITS, &mut room).expect("well-formed").expect("whole");
        RequestFacts::of(&parsed.0).expect("well-framed")
    };
    [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]
    .map(fact)
    .to_vec()
});

/// Fields that rota writes itself, whatever the client said.
const WRITTEN: [&str; 10] = [
    "host",
    "connection",
    "upgrade",
    "content-length",
    "transfer-encoding",
    "x-forwarded-host",
    "x-forwarded-proto",
    "forwarded",
    "x-request-id",
    "via",
];
const NEVER_FORWARDED: [&str; 12] = [
    "te",
    "trailer",
    "keep-alive",
    "proxy-connection",
    "http2-settings",
    "expect",
    "proxy",
    "x-real-ip",
    "x-client-ip",
    "true-client-ip",
    "x-original-url",
    "x-rewrite-url",
];
/// So that the limits matter.
const TIGHT: HeadLimits = HeadLimits { bytes: 120, headers: 4, target: 20 };
/// Less than any limit that the second reader knows differently (bytes).
const LARGEST: usize = 4096;
