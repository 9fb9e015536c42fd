//! The server's reader in the words of the second one, so that both can be compared.

use rota::http::exchange::body::BodyReader;
use rota::http::exchange::facts::RequestFacts;
use rota::http::framing::RequestBody;
use rota::http::head::{self, HeadLimits, HeaderRoom};
use rota::http::refusal::Refusal;

use super::second_reader::{self, Body, Reading, Request};

/// The first request of `bytes`, as the server reads it, in the words of the second reader.
pub fn read(bytes: &[u8], limits: &HeadLimits) -> Result<Option<Request>, Refusal> {
    let mut room = HeaderRoom::new();
    let Some((head, length)) = head::parse_request(bytes, limits, &mut room)? else { return Ok(None) };
    let facts = RequestFacts::of(&head)?;
    let body = match facts.body {
        RequestBody::None => Body::None,
        RequestBody::Length(length) => Body::Length(length),
        RequestBody::Chunked => Body::Chunked(chunks(&bytes[length..])),
    };
    Ok(Some(Request {
        method: head.method.to_owned(),
        path: head.path.to_owned(),
        host: head.host().map(str::to_owned),
        keep_alive: facts.keep_alive,
        length,
        body,
    }))
}

pub fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut reader = BodyReader::for_request(&RequestBody::Chunked);
    let (mut data, mut at) = (Vec::new(), 0);
    while at < bytes.len() && !reader.is_done() {
        let (taken, piece) = reader.read(&bytes[at..]).map_err(|bad| bad.reason())?;
        data.extend_from_slice(piece);
        at += taken;
    }
    Ok(reader.is_done().then_some((data, at)))
}

/// Where it and the second reader take the same bytes for different requests. None: they agree; the second one knows no limits.
pub fn disagreement(bytes: &[u8], limits: &HeadLimits) -> Option<String> {
    let first = read(bytes, limits);
    if first.as_ref().is_err_and(|refusal| matches!(refusal.status(), 414 | 431)) {
        return None;
    }
    let second = second_reader::read(bytes);
    let agree = match (&first, &second) {
        (Ok(None) | Err(_), Reading::Incomplete) => true,
        (Err(_), Reading::Refused(_)) => true,
        (Ok(Some(a)), Reading::Request(b)) => match (&a.body, &b.body) {
            (Body::Chunked(chunks), Body::Chunked(other)) => {
                let same_body = match (chunks, other) {
                    (Ok(None) | Err(_), Ok(None)) | (Err(_), Err(_)) => true,
                    (chunks, other) => chunks == other,
                };
                same_body && Request { body: Body::None, ..a.clone() } == Request { body: Body::None, ..b.clone() }
            }
            _ => a == b,
        },
        _ => false,
    };
    (!agree).then(|| format!("{}\nfirst:  {first:?}\nsecond: {second:?}", bytes.escape_ascii()))
}
