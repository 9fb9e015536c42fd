//! Which answers are streams: they last, and silence is nothing unusual in them. Core.
//!
//! A stream has no declared length, and a media type that says that it is a row of messages. Anything else that stands still in the middle is
//! taken for an app that hangs.

use super::framing::ResponseBody;
use super::head::ResponseHead;

/// Whether a response is a stream. One of a declared length ends by itself and is a response like any other.
pub fn is_stream(head: &ResponseHead<'_, '_>, body: &ResponseBody) -> bool {
    match body {
        ResponseBody::Chunked | ResponseBody::UntilClose => {}
        ResponseBody::None | ResponseBody::Length(_) => return false,
    }
    media_types(head).any(|essence| {
        let is = |known: &&str| essence.eq_ignore_ascii_case(known.as_bytes());
        let begins = |known: &&str| essence.get(..known.len()).is_some_and(|start| start.eq_ignore_ascii_case(known.as_bytes()));
        TYPES.iter().any(is) || FAMILIES.iter().any(begins)
    })
}

/// What the Content-Type fields say, without parameters (RFC 9110 8.3.1).
pub fn media_types<'b>(head: &ResponseHead<'_, 'b>) -> impl Iterator<Item = &'b [u8]> {
    let values = head.fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case("content-type")).map(|(_, _, value)| value);
    values.map(|value| value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii())
}

/// Events; JSON, a value in each line or behind each separator (RFC 7464); pictures that replace each other.
const TYPES: [&str; 9] = [
    "text/event-stream",
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/stream+json",
    "application/json-seq",
    "application/geo+json-seq",
    "multipart/x-mixed-replace",
];
/// Calls that stream, over HTTP/1.1: gRPC-Web and Connect.
const FAMILIES: [&str; 2] = ["application/grpc-web", "application/connect+"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framing;
    use crate::http::head::{HeaderRoom, parse_response};

    fn lasts(fields: &str) -> bool {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        let mut room = HeaderRoom::new();
        let (head, _) = parse_response(text.as_bytes(), &mut room).unwrap().unwrap();
        is_stream(&head, &framing::response_body(&head, false).unwrap())
    }

    #[test]
    fn a_stream_has_no_length_and_a_type_that_says_so() {
        for kind in ["text/event-stream", "Text/Event-Stream; charset=utf-8", "application/x-ndjson", "application/grpc-web+proto"] {
            assert!(lasts(&format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked")), "{kind}");
            assert!(lasts(&format!("Content-Type: {kind}")), "{kind}, until the connection ends");
            assert!(!lasts(&format!("Content-Type: {kind}\r\nContent-Length: 10")), "{kind} with a length");
        }
        for kind in ["text/plain", "application/json", "text/event-streams", "application/grpc", "text/html; a=text/event-stream"] {
            assert!(!lasts(&format!("Content-Type: {kind}\r\nTransfer-Encoding: chunked")), "{kind}");
        }
        assert!(!lasts("Transfer-Encoding: chunked"), "of which nothing is said");
    }
}
