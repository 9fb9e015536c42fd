//! Answers from files: which file a path names, which variant of it, what the conditions of the request come to, and the head of the answer
//! (RFC 9110 sections 8, 12 to 14; RFC 9111 5.2). Opening and sending them is `conn::static_files`.

mod conditions;
mod names;
mod types;
mod withheld;

pub use conditions::{Answer, Validators, decide};
pub use names::{accepted_codings, below, is_fingerprinted, is_hidden, looks_built, named_by_app, of_path};
pub use types::{content_type, is_compressible};
pub use withheld::withheld;

use std::time::{Duration, SystemTime};

use super::exchange::facts::RequestFacts;
use super::head::Version;
use super::put::{self, put};

/// What a file is read through: itself, or beside it under its name with this at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Brotli,
    Gzip,
}

impl Coding {
    /// What the compressed sibling's name has behind the file's.
    pub fn suffix(self) -> &'static str {
        match self {
            Coding::Brotli => ".br",
            Coding::Gzip => ".gz",
        }
    }

    /// As Content-Encoding says it (RFC 9110 8.4.1, RFC 7932).
    pub fn word(self) -> &'static str {
        match self {
            Coding::Brotli => "br",
            Coding::Gzip => "gzip",
        }
    }
}

/// What an open file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// Bytes.
    pub len: u64,
    /// Of the last change, since 1970: seconds and nanoseconds. Before 1970 it is 1970.
    pub modified: (u64, u32),
}

impl FileFacts {
    /// Two states of a file differ in it when they differ in size or in the time of change, which Linux keeps in steps of a few
    /// milliseconds: strong in the sense of RFC 9110 8.8.1. Each coding has its own.
    pub fn validators(&self, coding: Option<Coding>, date: &str) -> Validators {
        let (seconds, nanos) = self.modified;
        let time = u128::from(seconds) * 1_000_000_000 + u128::from(nanos);
        let coding = coding.map_or("", |coding| &coding.suffix()[1..]);
        let dash = if coding.is_empty() { "" } else { "-" };
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND));
        // RFC 9110 8.8.2.1 MUST NOT: no time of change that is later than the answer.
        let now = httpdate::parse_http_date(date).unwrap_or(modified);
        Validators { etag: format!("\"{time:x}-{:x}{dash}{coding}\"", self.len).into_bytes(), modified: Some(modified.min(now)) }
    }
}

/// Whether a compressed sibling is what the file is now: one that was made before the last change, or never filled, is another file's.
pub fn is_current(sibling: &FileFacts, plain: &FileFacts) -> bool {
    sibling.modified.0.saturating_add(TOLERANCE) >= plain.modified.0 && (sibling.len > 0 || plain.len == 0)
}

/// The head of an answer is about this.
#[derive(Debug)]
pub struct Description<'a> {
    pub content_type: &'a str,
    pub validators: &'a Validators,
    pub coding: Option<Coding>,
    /// Another Accept-Encoding may get another variant.
    pub varies: bool,
    /// What has this name never changes.
    pub is_immutable: bool,
    /// Bytes of the whole.
    pub len: u64,
}

/// The whole head of an answer from a file. `keep`: the connection goes on after it.
pub fn write_head(out: &mut Vec<u8>, file: &Description<'_>, answer: Answer, facts: &RequestFacts, date: &str, keep: bool) {
    put(out, &["HTTP/1.1 ", answer.status_line(), "\r\nDate: ", date, "\r\n"]);
    if let Answer::Whole | Answer::Part { .. } = answer {
        put(out, &["Content-Type: ", file.content_type, "\r\n"]);
        if let Some(coding) = file.coding {
            put(out, &["Content-Encoding: ", coding.word(), "\r\n"]);
        }
    }
    if file.varies {
        put(out, &["Vary: Accept-Encoding\r\n"]);
    }
    if file.is_immutable && matches!(answer, Answer::Whole | Answer::Part { .. } | Answer::NotModified) {
        // RFC 8246; a year, as RFC 9111 1.2.2 has it for "for ever".
        put(out, &["Cache-Control: public, max-age=31536000, immutable\r\n"]);
    }
    write_validators(out, file.validators, true, true);
    write_range(out, answer, file.len);
    if answer != Answer::NotModified {
        put::content_length(out, answer.body(file.len).1);
    }
    write_connection(out, facts, keep);
}

/// The whole answer to a path that names a directory with an index and lacks its slash: relative links of the page would lead elsewhere without
/// it. 308: the method stays (RFC 9110 15.4.9).
pub fn write_redirect(out: &mut Vec<u8>, path: &str, facts: &RequestFacts, date: &str, keep: bool) {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    put(out, &["HTTP/1.1 308 Permanent Redirect\r\nDate: ", date, "\r\nLocation: ", path, "/", query, "\r\nContent-Length: 0\r\n"]);
    write_connection(out, facts, keep);
}

/// The last of the head.
fn write_connection(out: &mut Vec<u8>, facts: &RequestFacts, keep: bool) {
    match (keep, facts.version) {
        (false, _) => put(out, &["Connection: close\r\n"]),
        (true, Version::Http10) => put(out, &["Connection: keep-alive\r\n"]),
        (true, Version::Http11) => {}
    }
    put(out, &["\r\n"]);
}

/// ETag and Last-Modified, as far as wanted.
pub fn write_validators(out: &mut Vec<u8>, validators: &Validators, etag: bool, modified: bool) {
    if let Some(time) = validators.modified.filter(|_| modified) {
        put(out, &["Last-Modified: ", &httpdate::fmt_http_date(time), "\r\n"]);
    }
    if etag {
        put::field(out, "ETag", &validators.etag);
    }
}

/// Content-Range and Accept-Ranges.
pub fn write_range(out: &mut Vec<u8>, answer: Answer, len: u64) {
    match answer {
        Answer::Whole => put(out, &["Accept-Ranges: bytes\r\n"]),
        Answer::Part { first, last } => {
            put(out, &["Accept-Ranges: bytes\r\nContent-Range: bytes ", &format!("{first}-{last}/{len}"), "\r\n"]);
        }
        Answer::Unsatisfiable => put(out, &["Content-Range: bytes ", &format!("*/{len}"), "\r\n"]),
        Answer::NotModified | Answer::Failed => {}
    }
}

/// Seconds between the times of a file and of its sibling: what unpacks or checks out a release writes them in any order.
const TOLERANCE: u64 = 3;
/// httpdate knows years of four digits.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::framing::RequestBody;

    fn facts(version: Version) -> RequestFacts {
        RequestFacts {
            version,
            keep_alive: true,
            head_only: false,
            idempotent: true,
            says_empty: false,
            expects_continue: false,
            upgrade: Vec::new(),
            body: RequestBody::None,
        }
    }

    const DATE: &str = "Tue, 24 Nov 2026 08:32:36 GMT";

    fn head(answer: Answer, coding: Option<Coding>, is_immutable: bool, version: Version, keep: bool) -> String {
        let validators = FileFacts { len: 300, modified: (1_000_000_000, 5) }.validators(coding, DATE);
        let file =
            Description { content_type: "text/css", validators: &validators, coding, varies: coding.is_some(), is_immutable, len: 300 };
        let mut out = Vec::new();
        write_head(&mut out, &file, answer, &facts(version), DATE, keep);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn heads_of_all_kinds_of_answers() {
        let fields = "Last-Modified: Sun, 09 Sep 2001 01:46:40 GMT\r\nETag: \"de0b6b3a7640005-12c\"\r\n";
        assert_eq!(
            head(Answer::Whole, None, false, Version::Http11, true),
            format!(
                "HTTP/1.1 200 OK\r\nDate: {DATE}\r\nContent-Type: text/css\r\n{fields}Accept-Ranges: bytes\r\nContent-Length: 300\r\n\r\n"
            )
        );
        assert_eq!(
            head(Answer::Part { first: 10, last: 19 }, None, true, Version::Http10, true),
            format!(
                "HTTP/1.1 206 Partial Content\r\nDate: {DATE}\r\nContent-Type: text/css\r\n\
                 Cache-Control: public, max-age=31536000, immutable\r\n{fields}Accept-Ranges: bytes\r\n\
                 Content-Range: bytes 10-19/300\r\nContent-Length: 10\r\nConnection: keep-alive\r\n\r\n"
            )
        );
        assert_eq!(
            head(Answer::NotModified, None, false, Version::Http11, true),
            format!("HTTP/1.1 304 Not Modified\r\nDate: {DATE}\r\n{fields}\r\n")
        );
        assert_eq!(
            head(Answer::Failed, None, true, Version::Http11, false),
            format!("HTTP/1.1 412 Precondition Failed\r\nDate: {DATE}\r\n{fields}Content-Length: 0\r\nConnection: close\r\n\r\n")
        );
        assert_eq!(
            head(Answer::Unsatisfiable, None, false, Version::Http11, true),
            format!(
                "HTTP/1.1 416 Range Not Satisfiable\r\nDate: {DATE}\r\n{fields}Content-Range: bytes */300\r\nContent-Length: 0\r\n\r\n"
            )
        );
        let compressed = head(Answer::Whole, Some(Coding::Brotli), false, Version::Http11, true);
        assert!(compressed.contains("\r\nContent-Encoding: br\r\nVary: Accept-Encoding\r\n"), "{compressed}");
        assert!(compressed.contains("\r\nETag: \"de0b6b3a7640005-12c-br\"\r\n"), "{compressed}");
    }

    #[test]
    fn a_sibling_that_is_older_or_empty_is_not_the_file_s() {
        let facts = |len, seconds| FileFacts { len, modified: (seconds, 0) };
        for (sibling, plain, is) in [
            (facts(5, 100), facts(9, 100), true),
            (facts(5, 97), facts(9, 100), true),
            (facts(5, 96), facts(9, 100), false),
            (facts(0, 100), facts(9, 100), false),
            (facts(0, 100), facts(0, 100), true),
            (facts(5, 200), facts(9, 100), true),
            (facts(5, u64::MAX), facts(9, 100), true),
        ] {
            assert_eq!(is_current(&sibling, &plain), is, "{sibling:?} {plain:?}");
        }
    }

    #[test]
    fn a_file_from_the_future_was_changed_now() {
        let future = FileFacts { len: 1, modified: (4_000_000_000, 0) }.validators(None, DATE);
        assert_eq!(httpdate::fmt_http_date(future.modified.unwrap()), DATE);
        // A year that no date has room for.
        FileFacts { len: 1, modified: (u64::MAX, 0) }.validators(None, DATE);
    }
}
