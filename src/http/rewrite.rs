//! Messages written anew from what was parsed, always in canonical form, so that no reader behind us can read them differently.

use std::io::Write;
use std::net::IpAddr;

use super::exchange::{ClientBody, Kind, RequestFacts, ResponsePlan};
use super::fields::Field;
use super::framing;
use super::head::{RequestHead, ResponseHead, Version};

/// What the app is told about where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct ForwardContext<'a> {
    /// None: a Unix socket.
    pub peer: Option<IpAddr>,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// The Host of a request that has none (HTTP/1.0).
    pub default_host: &'a str,
}

/// How the body goes to the app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyToApp {
    None,
    Length(u64),
    Chunked,
}

/// The head for the app without framing and the empty line; [`finish_request`] adds those. Not forwarded: fields of this connection and those
/// that Connection names (RFC 9110 7.6.1 MUST), framing, and what only we may say (`Field::Owned`).
pub fn request(head: &RequestHead<'_, '_>, facts: &RequestFacts, forward: &ForwardContext<'_>, out: &mut Vec<u8>) {
    let host = head.authority.unwrap_or(forward.default_host);
    put(out, &[head.method, " ", head.path, " HTTP/1.1\r\nHost: ", host, "\r\n"]);
    for (field, name, value) in head.fields.iter() {
        match field {
            Field::Other if head.fields.is_named_by_connection(name) => {}
            Field::Other | Field::Date => put_field(out, name, value),
            Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Upgrade
            | Field::Expect
            | Field::HopByHop
            | Field::Owned => {}
        }
    }
    if !facts.upgrade.is_empty() {
        put(out, &["Connection: upgrade\r\nUpgrade: ", &facts.upgrade.join(", "), "\r\n"]);
    }
    if let Some(peer) = forward.peer {
        let written = write!(out, "X-Forwarded-For: {peer}\r\n");
        debug_assert!(written.is_ok(), "writing to memory does not fail");
    }
    put(out, &["X-Forwarded-Host: ", host, "\r\nX-Forwarded-Proto: ", forward.scheme, "\r\n"]);
}

/// Framing and the empty line.
pub fn finish_request(out: &mut Vec<u8>, facts: &RequestFacts, body: BodyToApp) {
    match body {
        BodyToApp::None if facts.has_content_semantics => put(out, &["Content-Length: 0\r\n\r\n"]),
        BodyToApp::None => put(out, &["\r\n"]),
        BodyToApp::Length(length) => {
            put_length(out, length);
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
    let mut has_date = false;
    for (field, name, value) in head.fields.iter() {
        match field {
            Field::Other | Field::Host | Field::Expect | Field::Owned if head.fields.is_named_by_connection(name) => {}
            Field::Other | Field::Host | Field::Expect | Field::Owned => put_field(out, name, value),
            Field::Date => {
                has_date = true;
                put_field(out, name, value);
            }
            Field::Upgrade if plan.kind == Kind::Switch || head.status == 426 => put_field(out, name, value),
            Field::ContentLength | Field::TransferEncoding | Field::Connection | Field::Upgrade | Field::HopByHop => {}
        }
    }
    if plan.kind == Kind::Final {
        // RFC 9110 6.6.1: a recipient that forwards adds it.
        if !has_date {
            put(out, &["Date: ", date, "\r\n"]);
        }
        match plan.to_client {
            ClientBody::Length(length) => put_length(out, length),
            ClientBody::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
            // To HEAD and 304 the length of what is not sent is worth knowing (RFC 9110 8.6); 204 has none.
            ClientBody::None if head.status != 204 => {
                if let Some(length) = framing::declared_length(head) {
                    put_length(out, length);
                }
            }
            ClientBody::None | ClientBody::UntilClose => {}
        }
        match (plan.keep_client, facts.version) {
            (false, _) => put(out, &["Connection: close\r\n"]),
            (true, Version::Http10) => put(out, &["Connection: keep-alive\r\n"]),
            (true, Version::Http11) => {}
        }
    } else if plan.kind == Kind::Switch {
        put(out, &["Connection: upgrade\r\n"]);
    }
    put(out, &["\r\n"]);
}

fn put(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn put_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn put_length(out: &mut Vec<u8>, length: u64) {
    let (mut digits, mut at, mut left) = ([0u8; 20], 20, length);
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(b"Content-Length: ");
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}
