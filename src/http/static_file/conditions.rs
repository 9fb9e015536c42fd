//! Conditional and range requests for something with a length and validators (RFC 9110 sections 13 and 14).

use std::time::SystemTime;

use super::super::framing::digits;
use super::super::head::{Fields, trim};

/// What a client may hold a copy against (RFC 9110 8.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// With its quotes, and `W/` where it is weak.
    pub etag: Vec<u8>,
    /// None: not known.
    pub modified: Option<SystemTime>,
}

/// What a request for a file is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Whole,
    /// These bytes, both ends included.
    Part {
        first: u64,
        last: u64,
    },
    NotModified,
    /// A precondition is false.
    Failed,
    /// The range lies behind the end.
    Unsatisfiable,
}

impl Answer {
    pub fn status(self) -> u16 {
        match self {
            Answer::Whole => 200,
            Answer::Part { .. } => 206,
            Answer::NotModified => 304,
            Answer::Failed => 412,
            Answer::Unsatisfiable => 416,
        }
    }

    pub fn status_line(self) -> &'static str {
        match self {
            Answer::Whole => "200 OK",
            Answer::Part { .. } => "206 Partial Content",
            Answer::NotModified => "304 Not Modified",
            Answer::Failed => "412 Precondition Failed",
            Answer::Unsatisfiable => "416 Range Not Satisfiable",
        }
    }

    /// The bytes of a file of `len` bytes that it has: where they begin, how many.
    pub fn body(self, len: u64) -> (u64, u64) {
        match self {
            Answer::Whole => (0, len),
            Answer::Part { first, last } => (first, last - first + 1),
            Answer::NotModified | Answer::Failed | Answer::Unsatisfiable => (0, 0),
        }
    }
}

/// In the order of RFC 9110 13.2.2. `fields`: of a GET or HEAD; `head_only`: it is a HEAD, for which ranges mean nothing (14.2).
pub fn decide(fields: &Fields<'_, '_>, head_only: bool, have: &Validators, len: u64) -> Answer {
    let is_given = |name| named(fields, name).next().is_some();
    if is_given("if-match") {
        if !matches_any(named(fields, "if-match"), &have.etag, Comparison::Strong) {
            return Answer::Failed;
        }
    } else if let (Some(asked), Some(modified)) = (date(fields, "if-unmodified-since"), have.modified)
        && modified > asked
    {
        return Answer::Failed;
    }
    if is_given("if-none-match") {
        if matches_any(named(fields, "if-none-match"), &have.etag, Comparison::Weak) {
            return Answer::NotModified;
        }
    } else if let (Some(asked), Some(modified)) = (date(fields, "if-modified-since"), have.modified)
        && modified <= asked
    {
        return Answer::NotModified;
    }
    match single(fields, "range") {
        Some(range) if !head_only && if_range(fields, have) => part(range, len),
        Some(_) | None => Answer::Whole,
    }
}

/// The one range that is asked for. Several are answered with the whole (14.2: a server may ignore Range), and so is what is no range.
fn part(range: &[u8], len: u64) -> Answer {
    let Some((unit, set)) = range.iter().position(|byte| *byte == b'=').map(|at| (&range[..at], trim(&range[at + 1..]))) else {
        return Answer::Whole;
    };
    let Some(dash) = set.iter().position(|byte| *byte == b'-') else { return Answer::Whole };
    let (first, last) = (&set[..dash], &set[dash + 1..]);
    // A number that is too large is digits all the same, and lies behind any end.
    let number = |text: &[u8]| text.iter().all(u8::is_ascii_digit).then(|| digits(text).unwrap_or(u64::MAX));
    let (Some(from), Some(to)) = (number(first), number(last)) else { return Answer::Whole };
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return Answer::Whole;
    }
    match (first.is_empty(), last.is_empty()) {
        (true, true) => Answer::Whole,
        (true, false) if to == 0 || len == 0 => Answer::Unsatisfiable,
        (true, false) => Answer::Part { first: len.saturating_sub(to), last: len - 1 },
        (false, false) if to < from => Answer::Whole,
        (false, _) if from >= len => Answer::Unsatisfiable,
        (false, true) => Answer::Part { first: from, last: len - 1 },
        (false, false) => Answer::Part { first: from, last: to.min(len - 1) },
    }
}

/// Whether the range is of what the client has (13.1.5): a strong tag that is the same, or exactly the date that we gave. The date of a file
/// that was changed within the second in which it was asked for is weak; the tag is what serves there.
fn if_range(fields: &Fields<'_, '_>, have: &Validators) -> bool {
    if named(fields, "if-range").next().is_none() {
        return true;
    }
    let Some(value) = single(fields, "if-range") else { return false };
    if value.contains(&b'"') {
        return value == have.etag && !is_weak(&have.etag);
    }
    have.modified.is_some_and(|modified| as_date(value).is_some_and(|date| whole_seconds(date) == whole_seconds(modified)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Strong,
    Weak,
}

/// Whether a list of entity tags has this one, or is `*`. What is no list has nothing.
fn matches_any<'b>(values: impl Iterator<Item = &'b [u8]>, etag: &[u8], how: Comparison) -> bool {
    let own = etag.strip_prefix(b"W/").unwrap_or(etag);
    for value in values {
        if trim(value) == b"*" {
            return true;
        }
        let mut rest = value;
        loop {
            let skipped = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b',')).count();
            rest = &rest[skipped..];
            let weak = rest.starts_with(b"W/");
            let opaque = if weak { &rest[2..] } else { rest };
            // A comma may stand inside of the quotes.
            let Some(end) = opaque.strip_prefix(b"\"").and_then(|inner| inner.iter().position(|byte| *byte == b'"')) else { break };
            let (tag, behind) = opaque.split_at(end + 2);
            let may = how == Comparison::Weak || !(weak || is_weak(etag));
            if may && tag == own {
                return true;
            }
            rest = behind;
        }
    }
    false
}

fn is_weak(etag: &[u8]) -> bool {
    etag.starts_with(b"W/")
}

fn date(fields: &Fields<'_, '_>, name: &'static str) -> Option<SystemTime> {
    single(fields, name).and_then(as_date)
}

/// In any of the three forms (5.6.7); what is no date is not heard.
fn as_date(value: &[u8]) -> Option<SystemTime> {
    httpdate::parse_http_date(std::str::from_utf8(value).ok()?).ok()
}

fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// None: not there, or more than once, which means nothing for a field that is no list.
fn single<'b>(fields: &Fields<'_, 'b>, name: &'static str) -> Option<&'b [u8]> {
    let mut values = named(fields, name);
    let first = values.next()?;
    values.next().is_none().then_some(trim(first))
}

fn named<'h, 'b>(fields: &Fields<'h, 'b>, name: &'static str) -> impl Iterator<Item = &'b [u8]> + use<'h, 'b> {
    fields.iter().filter(move |(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};

    const TIME: &str = "Sun, 09 Sep 2001 01:46:40 GMT";

    fn asked(fields: &str, head_only: bool, etag: &str, len: u64) -> Answer {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        let modified = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000));
        decide(&head.fields, head_only, &Validators { etag: etag.as_bytes().to_vec(), modified }, len)
    }

    #[test]
    fn preconditions_in_their_order() {
        use Answer::{Failed, NotModified, Whole};
        let (before, after) = ("Sun, 09 Sep 2001 01:46:39 GMT", "Sun, 09 Sep 2001 01:46:41 GMT");
        for (fields, expected) in [
            ("", Whole),
            ("If-None-Match: \"x\"\r\n", NotModified),
            ("If-None-Match: W/\"x\"\r\n", NotModified),
            ("if-none-match: *\r\n", NotModified),
            ("If-None-Match: \"y\", \"x\"\r\n", NotModified),
            ("If-None-Match: \"y\"\r\nIf-None-Match: \"x\"\r\n", NotModified),
            ("If-None-Match: ,, \"a,b\" ,\"x\"\r\n", NotModified),
            ("If-None-Match: \"y\"\r\n", Whole),
            ("If-None-Match: \"x\r\n", Whole),
            ("If-None-Match: x\r\n", Whole),
            ("If-None-Match:\r\n", Whole),
            // If-None-Match is there: If-Modified-Since is not asked.
            (&format!("If-None-Match: \"y\"\r\nIf-Modified-Since: {after}\r\n"), Whole),
            (&format!("If-Modified-Since: {TIME}\r\n"), NotModified),
            (&format!("If-Modified-Since: {after}\r\n"), NotModified),
            (&format!("If-Modified-Since: {before}\r\n"), Whole),
            ("If-Modified-Since: Sunday, 09-Sep-01 01:46:40 GMT\r\n", NotModified),
            ("If-Modified-Since: yesterday\r\n", Whole),
            (&format!("If-Modified-Since: {TIME}\r\nIf-Modified-Since: {TIME}\r\n"), Whole),
            ("If-Match: \"x\"\r\n", Whole),
            ("If-Match: *\r\n", Whole),
            ("If-Match: \"y\"\r\n", Failed),
            ("If-Match: W/\"x\"\r\n", Failed),
            ("If-Match: \"y\"\r\nIf-None-Match: \"x\"\r\n", Failed),
            ("If-Match: \"x\"\r\nIf-None-Match: \"x\"\r\n", NotModified),
            (&format!("If-Match: \"x\"\r\nIf-Unmodified-Since: {before}\r\n"), Whole),
            (&format!("If-Unmodified-Since: {TIME}\r\n"), Whole),
            (&format!("If-Unmodified-Since: {before}\r\n"), Failed),
            ("If-Unmodified-Since: tomorrow\r\n", Whole),
            ("If-Match: \"y\"\r\nRange: bytes=0-1\r\n", Failed),
            ("If-None-Match: \"x\"\r\nRange: bytes=0-1\r\n", NotModified),
        ] {
            assert_eq!(asked(fields, false, "\"x\"", 10), expected, "{fields:?}");
        }
        assert_eq!(asked("If-None-Match: \"x\"\r\n", false, "W/\"x\"", 10), NotModified);
        assert_eq!(asked("If-Match: \"x\"\r\n", false, "W/\"x\"", 10), Failed);
        assert_eq!(asked("If-None-Match: \"a,b\"\r\n", false, "\"a,b\"", 10), NotModified);
    }

    #[test]
    fn ranges() {
        use Answer::{Part, Unsatisfiable, Whole};
        let part = |first, last| Part { first, last };
        for (range, expected) in [
            ("bytes=0-", part(0, 9)),
            ("bytes=0-0", part(0, 0)),
            ("bytes=3-5", part(3, 5)),
            ("bytes=3-99", part(3, 9)),
            ("bytes=3-99999999999999999999999", part(3, 9)),
            ("bytes=-4", part(6, 9)),
            ("bytes=-99", part(0, 9)),
            ("bytes=-99999999999999999999999", part(0, 9)),
            ("Bytes= 3-5", part(3, 5)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=10-20", Unsatisfiable),
            ("bytes=99999999999999999999999-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-3", Whole),
            ("bytes=", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=0-0,2-2", Whole),
            ("bytes=0-0,-1", Whole),
            ("bytes 0-1", Whole),
            ("lines=0-1", Whole),
            ("", Whole),
        ] {
            assert_eq!(asked(&format!("Range: {range}\r\n"), false, "\"x\"", 10), expected, "{range}");
            assert_eq!(asked(&format!("Range: {range}\r\n"), true, "\"x\"", 10), Whole, "HEAD, {range}");
        }
        assert_eq!(asked("Range: bytes=0-1\r\nRange: bytes=2-3\r\n", false, "\"x\"", 10), Whole);
        assert_eq!(asked("Range: bytes=0-\r\n", false, "\"x\"", 0), Unsatisfiable);
        assert_eq!(asked("Range: bytes=-5\r\n", false, "\"x\"", 0), Unsatisfiable);
    }

    #[test]
    fn a_range_of_something_else_is_the_whole() {
        let part = Answer::Part { first: 0, last: 1 };
        for (if_range, expected) in [
            ("\"x\"", part),
            ("\"y\"", Answer::Whole),
            ("W/\"x\"", Answer::Whole),
            (TIME, part),
            ("Sun, 09 Sep 2001 01:46:41 GMT", Answer::Whole),
            ("Sun, 09 Sep 2001 01:46:39 GMT", Answer::Whole),
            ("x", Answer::Whole),
            ("", Answer::Whole),
        ] {
            assert_eq!(asked(&format!("Range: bytes=0-1\r\nIf-Range: {if_range}\r\n"), false, "\"x\"", 10), expected, "{if_range}");
        }
        assert_eq!(asked("Range: bytes=0-1\r\nIf-Range: W/\"x\"\r\n", false, "W/\"x\"", 10), Answer::Whole);
    }
}
