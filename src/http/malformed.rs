//! What is wrong with an answer of an app, with what it sent: for the log and for the failure of a start. Looked for only when an answer is
//! refused; the reason is its judge's, the evidence is found here.

use std::fmt;

use super::fields::{Field, classify};
use super::head::is_token;
use crate::printable::clean;

/// An answer that no visitor gets. `Display`: `malformed or repeated Content-Length (Content-Length: 5, 5)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    pub reason: &'static str,
    /// Printable and bounded; empty: there is nothing to show.
    evidence: String,
}

impl Malformed {
    /// `head`: what came of it, from its first byte on.
    pub fn head(reason: &'static str, head: &[u8]) -> Self {
        let odd = odd_line(head);
        let evidence = odd.map_or_else(|| fields_in_doubt(head), |line| format!("\"{}\"", shown(line)));
        Self { reason, evidence: bounded(evidence) }
    }

    /// `rest`: of the body, from where it could not be understood.
    pub fn body(reason: &'static str, rest: &[u8]) -> Self {
        let evidence = if rest.is_empty() { String::new() } else { format!("at \"{}\"", shown(&rest[..rest.len().min(SHOWN_OF_BODY)])) };
        Self { reason, evidence: bounded(evidence) }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.evidence.as_str() {
            "" => f.write_str(self.reason),
            evidence => write!(f, "{} ({evidence})", self.reason),
        }
    }
}

/// The first line that is not as a line of a head has to be.
fn odd_line(head: &[u8]) -> Option<&[u8]> {
    let mut lines = head.split_inclusive(|byte| *byte == b'\n').take(LINES);
    let first = lines.next()?;
    if !is_status_line(first) {
        return Some(first);
    }
    // A line without its end is not whole, which is another fault.
    lines.take_while(|line| !matches!(*line, b"\r\n" | b"\n")).find(|line| line.ends_with(b"\n") && !is_field_line(line))
}

fn is_status_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let Some(rest) = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 ")) else { return false };
    matches!(rest, [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9'] | [b'1'..=b'5', b'0'..=b'9', b'0'..=b'9', b' ', ..])
}

fn is_field_line(line: &[u8]) -> bool {
    let Some(line) = line.strip_suffix(b"\r\n") else { return false };
    let Some(colon) = line.iter().position(|byte| *byte == b':') else { return false };
    let (name, value) = (&line[..colon], &line[colon..]);
    !name.is_empty()
        && name.iter().all(|byte| is_token(*byte))
        && value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
}

/// Each line is well-formed: those that say how long the body is and what the protocol is, else how much there is.
fn fields_in_doubt(head: &[u8]) -> String {
    let lines = || head.split(|byte| *byte == b'\n').skip(1).map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let is_in_doubt = |line: &&[u8]| {
        let name = line.split(|byte| *byte == b':').next().and_then(|name| str::from_utf8(name).ok()).unwrap_or_default();
        matches!(classify(name), Field::ContentLength | Field::TransferEncoding | Field::Upgrade)
    };
    let found: Vec<String> = lines().take_while(|line| !line.is_empty()).filter(is_in_doubt).take(FIELDS).map(shown).collect();
    match found.is_empty() {
        true => format!("{} bytes with {} fields", head.len(), lines().take_while(|line| !line.is_empty()).count()),
        false => found.join(", "),
    }
}

fn shown(line: &[u8]) -> String {
    clean(line.strip_suffix(b"\r\n").unwrap_or(line))
}

fn bounded(text: String) -> String {
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ...", &text[..at]),
        None => text,
    }
}

/// Looked at.
const LINES: usize = 200;
const FIELDS: usize = 4;
/// Bytes: a chunk's size and what was taken for one.
const SHOWN_OF_BODY: usize = 32;
/// Characters of all that is shown.
const MOST: usize = 160;

#[cfg(test)]
mod tests {
    use super::*;

    fn says(head: &str) -> String {
        Malformed::head("bad", head.as_bytes()).to_string()
    }

    #[test]
    fn the_field_that_is_to_blame_is_shown_with_its_value() {
        let ok = "HTTP/1.1 200 OK\r\nDate: now\r\n";
        for (rest, shown) in [
            ("Transfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", "Transfer-Encoding: chunked, transfer-encoding: chunked"),
            ("Content-Length: 5, 5\r\n\r\n", "Content-Length: 5, 5"),
            ("Content-Length: 5\r\nX: y\r\nTransfer-Encoding: gzip\r\n\r\n", "Content-Length: 5, Transfer-Encoding: gzip"),
            ("X: a\0b\r\nContent-Length: 5\r\n\r\n", "\"X: a\\u{0}b\""),
            ("X Y: a\r\n\r\n", "\"X Y: a\""),
            ("X: a\r\n folded\r\n\r\n", "\" folded\""),
            ("X: a\n\r\n", "\"X: a\\n\""),
            ("nothing\r\n\r\n", "\"nothing\""),
        ] {
            assert_eq!(says(&format!("{ok}{rest}")), format!("bad ({shown})"), "{rest:?}");
        }
        assert_eq!(says("HTTP/2 200\r\n\r\n"), "bad (\"HTTP/2 200\")");
        assert_eq!(says("HTTP/1.1 600 Odd\r\n\r\n"), "bad (\"HTTP/1.1 600 Odd\")");
        assert_eq!(says("hello"), "bad (\"hello\")");
    }

    #[test]
    fn what_is_shown_is_printable_and_bounded() {
        let long = format!("HTTP/1.1 200 OK\r\nContent-Length: \u{1b}[2J{}\r\n\r\n", "9".repeat(5000));
        let text = says(&long);
        assert!(text.chars().count() < MOST + 20 && !text.contains('\u{1b}'), "{text}");
        assert_eq!(Malformed::body("bad chunk", b"zz\r\nhello").to_string(), "bad chunk (at \"zz\\r\\nhello\")");
        assert_eq!(Malformed::body("cut", b"").to_string(), "cut");
    }
}
