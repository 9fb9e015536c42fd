//! How long a body is: the only reader of Content-Length and Transfer-Encoding, for requests and responses (RFC 9112 section 6). One
//! decision per message; what is in doubt is refused.

use serde::{Deserialize, Serialize};

use super::fields::Field;
use super::head::{BadResponse, Fields, RequestHead, ResponseHead, Version, is_token, list, trim};
use super::refusal::Refusal;

/// The body of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestBody {
    None,
    /// Bytes, more than 0.
    Length(u64),
    Chunked,
}

/// The body of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResponseBody {
    None,
    Length(u64),
    Chunked,
    /// To the end of the connection.
    UntilClose,
}

/// RFC 9112 6.3. Both fields, a repeated one, or anything but a number or `chunked` is refused.
pub fn request_body(head: &RequestHead<'_, '_>) -> Result<RequestBody, Refusal> {
    let encoding = transfer_encoding(&head.fields);
    let length = content_length(&head.fields);
    match (encoding, length) {
        (Encoding::None, Length::None) => Ok(RequestBody::None),
        (Encoding::None, Length::Bytes(0)) => Ok(RequestBody::None),
        (Encoding::None, Length::Bytes(bytes)) => Ok(RequestBody::Length(bytes)),
        (_, Length::Bad) => Err(Refusal::BadRequest("malformed or repeated Content-Length")),
        (_, Length::Bytes(_)) => Err(Refusal::BadRequest("Content-Length together with Transfer-Encoding")),
        (_, Length::None) if head.version == Version::Http10 => Err(Refusal::BadRequest("Transfer-Encoding in HTTP/1.0")),
        (Encoding::Chunked, Length::None) => Ok(RequestBody::Chunked),
        (Encoding::Unknown, Length::None) => Err(Refusal::NotImplemented("a Transfer-Encoding other than chunked")),
        (Encoding::Bad, Length::None) => Err(Refusal::BadRequest("malformed or repeated Transfer-Encoding")),
    }
}

/// RFC 9112 6.3, whose MUST for a proxy is 502 when the length is in doubt.
pub fn response_body(head: &ResponseHead<'_, '_>, to_head_request: bool) -> Result<ResponseBody, BadResponse> {
    if never_has_length(head.status) {
        return Ok(ResponseBody::None);
    }
    let length = content_length(&head.fields);
    let encoding = transfer_encoding(&head.fields);
    if matches!(length, Length::Bad) {
        return Err(BadResponse("malformed or repeated Content-Length"));
    }
    if to_head_request || head.status == 304 {
        return Ok(ResponseBody::None);
    }
    match (encoding, length) {
        (Encoding::None, Length::Bytes(bytes)) => Ok(ResponseBody::Length(bytes)),
        (Encoding::None, Length::None | Length::Bad) => Ok(ResponseBody::UntilClose),
        (Encoding::Chunked, Length::None) if head.version == Version::Http11 => Ok(ResponseBody::Chunked),
        (Encoding::Chunked, Length::None) => Err(BadResponse("Transfer-Encoding in HTTP/1.0")),
        (Encoding::Chunked, Length::Bytes(_) | Length::Bad) => Err(BadResponse("Content-Length together with Transfer-Encoding")),
        (Encoding::Unknown | Encoding::Bad, _) => Err(BadResponse("a Transfer-Encoding other than chunked")),
    }
}

/// The length of the body that a response to HEAD or a 304 does not have, to be passed on; None: it gives none, or may not. With both
/// fields Transfer-Encoding overrides (RFC 9112 6.3).
pub fn declared_length(head: &ResponseHead<'_, '_>) -> Option<u64> {
    match (content_length(&head.fields), transfer_encoding(&head.fields)) {
        (Length::Bytes(bytes), Encoding::None) if !never_has_length(head.status) => Some(bytes),
        _ => None,
    }
}

/// Its fields announce a body. Where none may be (1xx, 204, 304, to HEAD) an app that sends it all the same sends it behind the response,
/// where it would be taken for the next one.
pub fn announces_body(head: &ResponseHead<'_, '_>) -> bool {
    head.fields.values(Field::TransferEncoding).next().is_some() || !matches!(content_length(&head.fields), Length::None | Length::Bytes(0))
}

/// RFC 9110 8.6: no Content-Length in 1xx and 204; one that is there is not even read (RFC 9112 6.3 rule 1).
fn never_has_length(status: u16) -> bool {
    status < 200 || status == 204
}

enum Encoding {
    None,
    Chunked,
    /// A coding that we do not know, alone or before `chunked`.
    Unknown,
    Bad,
}

fn transfer_encoding(fields: &Fields<'_, '_>) -> Encoding {
    let mut values = fields.values(Field::TransferEncoding);
    match (values.next(), values.next()) {
        (None, _) => Encoding::None,
        (Some(value), None) => {
            let value = trim(value);
            if value.eq_ignore_ascii_case(b"chunked") { Encoding::Chunked } else { not_chunked(value) }
        }
        (Some(_), Some(_)) => Encoding::Bad,
    }
}

/// A coding that we do not know is told from nonsense: 501 (RFC 9112 6.1) and 400 (6.3, also where chunked is not the last).
fn not_chunked(value: &[u8]) -> Encoding {
    let is_chunked = |coding: &[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let well_formed = list(value).all(|coding| !coding.is_empty() && coding.iter().all(|byte| is_token(*byte)));
    let only_last = list(value).filter(|coding| is_chunked(coding)).count() <= usize::from(list(value).last().is_some_and(is_chunked));
    if well_formed && only_last { Encoding::Unknown } else { Encoding::Bad }
}

enum Length {
    None,
    Bytes(u64),
    Bad,
}

fn content_length(fields: &Fields<'_, '_>) -> Length {
    let mut values = fields.values(Field::ContentLength);
    match (values.next(), values.next()) {
        (None, _) => Length::None,
        (Some(value), None) => digits(trim(value)).map_or(Length::Bad, Length::Bytes),
        // RFC 9112 6.3 allows equal ones to be joined; no client sends them, and every reader that is lenient here has been attacked.
        (Some(_), Some(_)) => Length::Bad,
    }
}

/// `1*DIGIT` that fits 63 bits. Rust's own parser takes a sign.
pub(super) fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    let value = text.iter().try_fold(0u64, |value, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        value.checked_mul(10)?.checked_add(digit)
    })?;
    (value <= i64::MAX as u64).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request, parse_response};

    fn request(fields: &str) -> Result<RequestBody, u16> {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).map_err(|refusal| refusal.status())?.expect("whole");
        request_body(&head).map_err(|refusal| refusal.status())
    }

    #[test]
    fn a_length_is_digits_and_nothing_else() {
        assert_eq!(request("Content-Length: 5\r\n"), Ok(RequestBody::Length(5)));
        assert_eq!(request("Content-Length:\t007 \r\n"), Ok(RequestBody::Length(7)));
        assert_eq!(request("Content-Length: 0\r\n"), Ok(RequestBody::None));
        for bad in ["+5", "-5", "0x5", "5_0", "5.0", "5e1", "5;", "", "5 5", "5,5", "9223372036854775808", "18446744073709551621"] {
            assert_eq!(request(&format!("Content-Length: {bad}\r\n")), Err(400), "{bad}");
        }
        assert_eq!(request("Content-Length: 5\r\nContent-Length: 5\r\n"), Err(400));
        assert_eq!(request("Content-Length: 5\r\nContent-Length: 6\r\n"), Err(400));
    }

    #[test]
    fn chunked_is_exactly_chunked() {
        assert_eq!(request("Transfer-Encoding: Chunked\r\n"), Ok(RequestBody::Chunked));
        for (unknown, status) in [
            ("gzip", 501),
            ("xchunked", 501),
            ("gzip, chunked", 501),
            ("chunked, chunked", 400),
            ("chunked, gzip", 400),
            ("chunked,", 400),
            (",", 400),
            ("\"chunked\"", 400),
            ("chunked;q=1", 400),
            ("gzip chunked", 400),
            ("", 400),
            ("\u{a0}chunked", 400),
        ] {
            assert_eq!(request(&format!("Transfer-Encoding: {unknown}\r\n")), Err(status), "{unknown}");
        }
        assert_eq!(request("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), Err(400));
        assert_eq!(request("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"), Err(400));
        assert_eq!(request("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"), Err(400));
    }

    fn response(text: &str, to_head: bool) -> Result<ResponseBody, BadResponse> {
        let mut room = HeaderRoom::new();
        let (head, _) = parse_response(text.as_bytes(), &mut room)?.expect("whole");
        response_body(&head, to_head)
    }

    #[test]
    fn a_response_without_a_body_has_none_whatever_it_says() {
        for status in [101, 103, 204, 304] {
            assert_eq!(response(&format!("HTTP/1.1 {status} x\r\nContent-Length: 5\r\n\r\n"), false), Ok(ResponseBody::None), "{status}");
        }
        for status in [100, 103, 204] {
            assert_eq!(response(&format!("HTTP/1.1 {status} x\r\nContent-Length: x\r\n\r\n"), false), Ok(ResponseBody::None), "{status}");
        }
        assert_eq!(response("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Ok(ResponseBody::None));
    }

    #[test]
    fn a_response_of_doubtful_length_is_none() {
        assert_eq!(response("HTTP/1.1 200 OK\r\n\r\n", false), Ok(ResponseBody::UntilClose));
        assert_eq!(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false), Ok(ResponseBody::Chunked));
        for bad in [
            "Content-Length: x",
            "Content-Length: 5\r\nContent-Length: 5",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
        ] {
            assert!(response(&format!("HTTP/1.1 200 OK\r\n{bad}\r\n\r\n"), false).is_err(), "{bad}");
        }
    }
}
