//! The text of a line: whatever a client sends, it stays one line, and nothing in it can be taken for another field. No I/O, no clock.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::config::LogFormat;
use crate::http::head::{Version, trim};
use crate::http::refusal::Refusal;
use crate::ids::{AppName, Generation, Number};
use crate::printable::is_harmless;

/// What a line says.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the request ended.
    pub at: Timestamp,
    /// None: a Unix socket.
    pub client: Option<IpAddr>,
    /// As the app gets it; of a head that was refused, its beginning as it came.
    pub head: &'a [u8],
    /// None: the head was refused.
    pub version: Option<Version>,
    pub app: Option<&'a AppName>,
    pub process: Option<(Number, Generation)>,
    pub status: u16,
    /// Bytes of the answer's body.
    pub sent: u64,
    pub queued: Option<Duration>,
    pub with_app: Option<Duration>,
    pub total: Option<Duration>,
    /// How many times more than once it was sent to a process.
    pub retries: u8,
    /// The answer did not get to its end.
    pub is_cut: bool,
    pub cause: Option<&'a str>,
}

/// What of a head is in the line; each as it came.
#[derive(Debug, Default)]
struct Head<'a> {
    /// None: a request line with no space in it.
    method: Option<&'a [u8]>,
    target: &'a [u8],
    protocol: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    user_agent: Option<&'a [u8]>,
    request_id: Option<&'a [u8]>,
}

#[derive(Serialize)]
struct Json<'a> {
    time: String,
    client: Option<IpAddr>,
    method: Option<Cow<'a, str>>,
    target: Cow<'a, str>,
    protocol: Option<Cow<'a, str>>,
    host: Option<Cow<'a, str>>,
    status: u16,
    bytes: u64,
    referer: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
    request_id: Option<Cow<'a, str>>,
    app: Option<&'a str>,
    process: Option<Number>,
    generation: Option<Generation>,
    queue_ms: Option<f64>,
    app_ms: Option<f64>,
    total_ms: Option<f64>,
    retries: u8,
    cut: bool,
    cause: Option<&'a str>,
}

impl<'a> Line<'a> {
    /// `sent`: bytes of the answer's body.
    pub fn of_refused(head: &'a [u8], client: Option<IpAddr>, refusal: &Refusal, sent: u64) -> Self {
        Self {
            at: Timestamp::now(),
            client,
            head,
            version: None,
            app: None,
            process: None,
            status: refusal.status(),
            sent,
            queued: None,
            with_app: None,
            total: None,
            retries: 0,
            is_cut: false,
            cause: Some(refusal.reason()),
        }
    }

    /// With its newline.
    pub fn text(&self, format: LogFormat) -> Vec<u8> {
        let mut out = Vec::with_capacity(USUAL);
        let written = match format {
            LogFormat::Combined => self.combined(&mut out),
            LogFormat::Json => self.json(&mut out),
        };
        debug_assert!(written.is_ok(), "writing to memory does not fail");
        out
    }

    /// `%h - - [%t] "%r" %>s %b "%{Referer}i" "%{User-Agent}i"` as Apache and nginx write it, then ours. UTC; seconds with milliseconds.
    fn combined(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let head = self.head();
        match self.client {
            Some(client) => write!(out, "{client}")?,
            None => out.push(b'-'),
        }
        write!(out, " - - [{}] \"", self.at.strftime("%d/%b/%Y:%H:%M:%S +0000"))?;
        for (word, before, max) in [(head.method, "", FIELD), (Some(head.target), " ", TARGET), (head.protocol, " ", FIELD)] {
            let Some(word) = word else { continue };
            if head.method.is_some() {
                out.extend_from_slice(before.as_bytes());
            }
            escape(out, word, max);
        }
        write!(out, "\" {} {}", self.status, self.sent)?;
        for field in [head.referer, head.user_agent] {
            out.extend_from_slice(b" \"");
            escape(out, field.unwrap_or(b"-"), FIELD);
            out.push(b'"');
        }
        let app = self.app.map_or("-", AppName::as_str);
        let process = self.process.map_or("-".to_owned(), |(number, _)| number.to_string());
        let generation = self.process.map_or("-".to_owned(), |(_, generation)| generation.0.to_string());
        write!(out, " app={app} process={process} generation={generation}")?;
        for (name, time) in [("queue", self.queued), ("app_time", self.with_app), ("total", self.total)] {
            match time {
                Some(time) => write!(out, " {name}={}.{:03}", time.as_secs(), time.subsec_millis())?,
                None => write!(out, " {name}=-")?,
            }
        }
        out.extend_from_slice(b" id=");
        escape(out, head.request_id.unwrap_or(b"-"), FIELD);
        let cut = if self.is_cut { "yes" } else { "no" };
        writeln!(out, " retries={} cut={cut} cause=\"{}\"", self.retries, self.cause.unwrap_or("-"))
    }

    fn json(&self, out: &mut Vec<u8>) -> io::Result<()> {
        let head = self.head();
        let field = |value: Option<&'a [u8]>| value.map(|value| text(value, FIELD));
        let millis = |time: Option<Duration>| time.map(|time| time.as_micros() as f64 / 1000.0);
        let json = Json {
            time: format!("{:.3}", self.at),
            client: self.client,
            method: field(head.method),
            target: text(head.target, TARGET),
            protocol: field(head.protocol),
            host: field(head.host),
            status: self.status,
            bytes: self.sent,
            referer: field(head.referer),
            user_agent: field(head.user_agent),
            request_id: field(head.request_id),
            app: self.app.map(AppName::as_str),
            process: self.process.map(|(number, _)| number),
            generation: self.process.map(|(_, generation)| generation),
            queue_ms: millis(self.queued),
            app_ms: millis(self.with_app),
            total_ms: millis(self.total),
            retries: self.retries,
            cut: self.is_cut,
            cause: self.cause,
        };
        json.serialize(&mut serde_json::Serializer::with_formatter(&mut *out, OneLine))?;
        out.push(b'\n');
        Ok(())
    }

    fn head(&self) -> Head<'a> {
        let mut head = Head::of(self.head);
        match self.version {
            Some(Version::Http10) => head.protocol = Some(b"HTTP/1.0"),
            Some(Version::Http11) => {}
            // What a client calls its request is nobody's name for it.
            None => head.request_id = None,
        }
        head
    }
}

impl<'a> Head<'a> {
    /// Of any bytes.
    fn of(bytes: &'a [u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
        let mut lines = bytes.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let line = lines.next().unwrap_or_default();
        let mut head = Self { target: line, ..Self::default() };
        if let Some(space) = memchr::memchr(b' ', line) {
            (head.method, head.target) = (Some(&line[..space]), &line[space + 1..]);
        }
        if let Some(space) = memchr::memrchr(b' ', head.target).filter(|space| head.target[space + 1..].starts_with(b"HTTP/")) {
            (head.target, head.protocol) = (&head.target[..space], Some(&head.target[space + 1..]));
        }
        for line in lines.take_while(|line| !line.is_empty()) {
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
            let known = match name.len() {
                4 if name.eq_ignore_ascii_case(b"host") => &mut head.host,
                7 if name.eq_ignore_ascii_case(b"referer") => &mut head.referer,
                10 if name.eq_ignore_ascii_case(b"user-agent") => &mut head.user_agent,
                12 if name.eq_ignore_ascii_case(b"x-request-id") => &mut head.request_id,
                _ => continue,
            };
            known.get_or_insert(value);
        }
        head
    }
}

/// `\xNN` for all but printable ASCII, and for the quote and the backslash: what nginx does. At most about `max` bytes; `...` behind what was
/// longer.
fn escape(out: &mut Vec<u8>, value: &[u8], max: usize) {
    let end = out.len() + max;
    for byte in value {
        if out.len() >= end {
            return out.extend_from_slice(MORE.as_bytes());
        }
        match byte {
            b'"' | b'\\' | ..b' ' | 0x7f.. => {
                let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
                out.extend_from_slice(&[b'\\', b'x', digit(byte >> 4), digit(byte & 15)]);
            }
            plain => out.push(*plain),
        }
    }
}

/// At most `max` bytes, `...` behind what was longer; U+FFFD for what is no UTF-8.
fn text(value: &[u8], max: usize) -> Cow<'_, str> {
    if value.len() <= max {
        return String::from_utf8_lossy(value);
    }
    let is_middle = |at: usize| value[at] & 0b1100_0000 == 0b1000_0000;
    let cut = (max.saturating_sub(3)..=max).rev().find(|at| !is_middle(*at)).unwrap_or(max);
    Cow::Owned(String::from_utf8_lossy(&value[..cut]).into_owned() + MORE)
}

/// Escapes what JSON allows in a text and a terminal or a reader of lines does not take as text.
struct OneLine;

impl Formatter for OneLine {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, found)) = rest.char_indices().find(|(_, c)| !is_harmless(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in found.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + found.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Bytes of a field: of a target, and of any other.
const TARGET: usize = 2048;
const FIELD: usize = 512;
const MORE: &str = "...";
/// Most lines are shorter.
const USUAL: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"GET /a?b=%20c HTTP/1.1\r\nHost: example.org\r\nreferer: https://example.net/\r\nUser-Agent: curl/8\r\n\
                          X-Forwarded-For: 192.0.2.7\r\nX-Request-Id: 00ab\r\nVia: 1.1 rota\r\n\r\nReferer: body";

    fn line(name: &AppName) -> Line<'_> {
        Line {
            at: "2026-11-24T08:32:36.0456Z".parse().unwrap(),
            client: Some(IpAddr::from([192, 0, 2, 7])),
            head: HEAD,
            version: Some(Version::Http11),
            app: Some(name),
            process: Some((Number(2), Generation(7))),
            status: 200,
            sent: 1234,
            queued: Some(Duration::from_micros(1500)),
            with_app: Some(Duration::from_millis(20)),
            total: Some(Duration::from_millis(1022)),
            retries: 1,
            is_cut: false,
            cause: None,
        }
    }

    fn blog() -> AppName {
        AppName::new("blog").unwrap()
    }

    fn said(line: &Line<'_>, format: LogFormat) -> String {
        String::from_utf8(line.text(format)).unwrap()
    }

    #[test]
    fn combined_is_what_apache_and_nginx_write_with_ours_behind() {
        assert_eq!(
            said(&line(&blog()), LogFormat::Combined),
            "192.0.2.7 - - [24/Nov/2026:08:32:36 +0000] \"GET /a?b=%20c HTTP/1.1\" 200 1234 \"https://example.net/\" \"curl/8\" app=blog \
             process=2 generation=7 queue=0.001 app_time=0.020 total=1.022 id=00ab retries=1 cut=no cause=\"-\"\n"
        );
    }

    #[test]
    fn json_has_every_field() {
        assert_eq!(
            said(&line(&blog()), LogFormat::Json),
            "{\"time\":\"2026-11-24T08:32:36.045Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\"target\":\"/a?b=%20c\",\
             \"protocol\":\"HTTP/1.1\",\"host\":\"example.org\",\"status\":200,\"bytes\":1234,\"referer\":\"https://example.net/\",\
             \"user_agent\":\"curl/8\",\"request_id\":\"00ab\",\"app\":\"blog\",\"process\":2,\"generation\":7,\"queue_ms\":1.5,\
             \"app_ms\":20.0,\"total_ms\":1022.0,\"retries\":1,\"cut\":false,\"cause\":null}\n"
        );
    }

    #[test]
    fn what_is_not_known_is_said_so_and_a_refused_head_names_no_request() {
        let refused = Line { at: Timestamp::UNIX_EPOCH, ..Line::of_refused(b"\x16\x03\x01", None, &Refusal::BadRequest("why"), 16) };
        assert_eq!(
            said(&refused, LogFormat::Combined),
            "- - - [01/Jan/1970:00:00:00 +0000] \"\\x16\\x03\\x01\" 400 16 \"-\" \"-\" app=- process=- generation=- queue=- app_time=- \
             total=- id=- retries=0 cut=no cause=\"why\"\n"
        );
        let of_client = Line::of_refused(b"\r\nGET /a b HTTP/1.1\r\nX-Request-Id: mine\r\nHost: a", None, &Refusal::NoApp, 0);
        let json: serde_json::Value = serde_json::from_str(&said(&of_client, LogFormat::Json)).unwrap();
        assert_eq!((&json["method"], &json["target"], &json["protocol"]), (&"GET".into(), &"/a b".into(), &"HTTP/1.1".into()));
        assert!(json["request_id"].is_null() && json["host"] == "a", "{json}");
    }

    #[test]
    fn a_client_of_http_1_0_is_logged_as_one() {
        let name = blog();
        let old = Line { version: Some(Version::Http10), ..line(&name) };
        assert!(said(&old, LogFormat::Combined).contains("\"GET /a?b=%20c HTTP/1.0\""));
    }

    /// Whatever is in a field: a line is one line of bytes that nothing takes for another field.
    #[test]
    fn nothing_gets_out_of_its_field() {
        let hostile = "a\" 200 1 \"-\" \"x\\\" \t\u{1b}[2J\r\u{7f}\u{85}\u{9b}\u{202e}\u{2066}\u{2028}\u{200f}\u{61c} caf\u{e9}".as_bytes();
        let hostile = [hostile, b"\xff\xc3\x80"].concat();
        let head = [b"GET /".as_slice(), &hostile, b" HTTP/1.1\r\nUser-Agent: ", &hostile, b"\nReferer: ", &hostile, b"\r\n\r\n"].concat();
        let refused = Line::of_refused(&head, None, &Refusal::BadRequest("why"), 0);
        let combined = refused.text(LogFormat::Combined);
        assert!(combined.strip_suffix(b"\n").unwrap().iter().all(|byte| matches!(byte, b' '..=b'~')), "{combined:?}");
        assert_eq!(combined.iter().filter(|byte| **byte == b'"').count(), 8, "the quotes of four fields");
        let json = said(&refused, LogFormat::Json);
        assert!(json.strip_suffix('\n').unwrap().chars().all(|c| is_harmless(c) && c != '\t'), "{json:?}");
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["user_agent"], String::from_utf8_lossy(&hostile).as_ref(), "nothing is lost that is UTF-8");
    }

    #[test]
    fn escaped_as_nginx_does() {
        let escaped = |value: &[u8]| {
            let mut out = Vec::new();
            escape(&mut out, value, 20);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(escaped(b"a b~"), "a b~");
        assert_eq!(escaped(b"\"\\\x00\x1f\x7f"), "\\x22\\x5C\\x00\\x1F\\x7F");
        assert_eq!(escaped("\u{e9}\u{202e}".as_bytes()), "\\xC3\\xA9\\xE2\\x80\\xAE");
        assert_eq!(escaped(&[b'x'; 20]), "x".repeat(20));
        assert_eq!(escaped(&[b'x'; 21]), "x".repeat(20) + "...");
        assert_eq!(escaped(&[0xff; 9]), "\\xFF".repeat(5) + "...");
    }

    #[test]
    fn a_long_field_is_cut_between_characters_and_says_so() {
        assert_eq!(text(b"12345", 5), "12345");
        assert_eq!(text(b"123456", 5), "12345...");
        assert_eq!(text("1234\u{20ac}6".as_bytes(), 5), "1234...");
        assert_eq!(text(&[0x80; 9], 5), "\u{fffd}".repeat(5) + "...");
        let long = [b"GET /".as_slice(), &[b'x'; 70_000], b" HTTP/1.1\r\nUser-Agent: ", &[0xe9; 70_000], b"\r\n"].concat();
        let refused = Line::of_refused(&long, None, &Refusal::BadRequest("why"), 0);
        for format in [LogFormat::Combined, LogFormat::Json] {
            let length = refused.text(format).len();
            assert!(length < 8192, "{length}");
        }
    }
}
