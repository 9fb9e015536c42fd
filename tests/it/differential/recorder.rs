//! The backend of all three servers: a strict reader of its own that keeps each request as it understood it, and answers with the bytes that
//! the case says. In the test's own process, one thread per connection; it ends with the process.

use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::wait::{self, secs};

/// What came since the last [`Recorder::take`], and what is answered.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    case: u64,
    /// Requests of this case that have begun and not ended.
    reading: usize,
    seen: Vec<String>,
    answer: Option<Answer>,
}

/// What `GET /answer` is answered with.
#[derive(Clone, Debug)]
pub struct Answer {
    pub bytes: Vec<u8>,
    /// The connection ends behind it.
    pub closes: bool,
}

impl Recorder {
    pub fn listen(&self, path: &Path) {
        let listener = UnixListener::bind(path).unwrap();
        let recorder = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let recorder = recorder.clone();
                // The end of a connection is whatever the server made of it.
                std::thread::spawn(move || recorder.converse(stream));
            }
        });
    }

    /// Begins a case.
    pub fn expect(&self, answer: Option<Answer>) {
        let mut shared = self.0.lock().unwrap();
        *shared = Shared { case: shared.case + 1, reading: 0, seen: Vec::new(), answer };
    }

    /// What was seen of the case, when all that has begun has ended: a server passes on what it will not finish.
    pub fn take(&self) -> Vec<String> {
        wait::becomes_so(secs(2), &mut || self.0.lock().unwrap().reading == 0);
        std::mem::take(&mut self.0.lock().unwrap().seen)
    }

    fn converse(&self, stream: UnixStream) -> io::Result<()> {
        let mut reader = Reader { recorder: self.clone(), stream, rest: Vec::new() };
        while let Some(request) = reader.request()? {
            let answer = {
                let mut shared = self.0.lock().unwrap();
                // Not the end of one that a server kept from an earlier case.
                if shared.case == request.case {
                    shared.reading -= 1;
                    shared.seen.push(request.shown);
                }
                shared.answer.clone().filter(|_| request.target.starts_with("/answer"))
            };
            let plain = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", if request.is_head { "" } else { "ok" });
            let closes = answer.as_ref().is_some_and(|answer| answer.closes);
            reader.stream.write_all(&answer.map_or(plain.into_bytes(), |answer| answer.bytes))?;
            if closes || request.closes || request.is_bad {
                return Ok(());
            }
        }
        Ok(())
    }
}

struct Request {
    case: u64,
    /// Request line, fields and body without what every server adds and what two ways of framing differ in.
    shown: String,
    target: String,
    is_head: bool,
    closes: bool,
    is_bad: bool,
}

struct Reader {
    recorder: Recorder,
    stream: UnixStream,
    rest: Vec<u8>,
}

impl Reader {
    fn request(&mut self) -> io::Result<Option<Request>> {
        let Some(head) = self.until(b"\r\n\r\n")? else { return Ok(None) };
        let case = {
            let mut shared = self.recorder.0.lock().unwrap();
            shared.reading += 1;
            shared.case
        };
        // Latin-1, so that each byte is seen.
        let head: String = head.iter().map(|byte| char::from(*byte)).collect();
        let mut lines = head.trim_end_matches("\r\n").split("\r\n");
        let line = lines.next().unwrap_or_default().to_owned();
        let fields: Vec<(String, &str)> = lines.map(field).collect();
        let values = |name: &str| fields.iter().filter(|(known, _)| known == name).map(|(_, value)| *value).collect::<Vec<_>>();
        let mut bad = Vec::new();
        let body = match (&values("transfer-encoding")[..], &values("content-length")[..]) {
            ([], []) => Some(Vec::new()),
            ([], [length]) => match length.parse::<usize>() {
                Ok(count) if count.to_string() == **length => self.exactly(count)?,
                _ => {
                    bad.push(format!("length {length:?}"));
                    Some(Vec::new())
                }
            },
            ([coding], []) if coding.eq_ignore_ascii_case("chunked") => self.chunked(&mut bad)?,
            (codings, lengths) => {
                bad.push(format!("codings {codings:?}, lengths {lengths:?}"));
                Some(Vec::new())
            }
        };
        if head.contains('\0') || head.replace("\r\n", "").contains(['\r', '\n']) {
            bad.push("NUL, CR or LF in the head".to_owned());
        }
        let mut shown = line.strip_suffix(" HTTP/1.1").unwrap_or(&line).to_owned();
        let host = values("host").join(" ");
        for (name, value) in fields.iter().filter(|(name, value)| !is_expected(name, value, &host)) {
            shown += &format!(" | {name}: {value}");
        }
        match &body {
            Some(body) if body.is_empty() => {}
            Some(body) => shown += &format!(" + {}", String::from_utf8_lossy(body)),
            None => shown += " + a body that was cut",
        }
        let closes = values("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
        let is_bad = !bad.is_empty() || body.is_none();
        if !bad.is_empty() {
            shown = format!("BAD ({}): {shown}", bad.join("; "));
        }
        let mut words = line.split(' ');
        let is_head = words.next() == Some("HEAD");
        Ok(Some(Request { case, shown, target: words.next().unwrap_or_default().to_owned(), is_head, closes, is_bad }))
    }

    /// None: the connection ended inside it.
    fn chunked(&mut self, bad: &mut Vec<String>) -> io::Result<Option<Vec<u8>>> {
        let mut body = Vec::new();
        loop {
            let Some(line) = self.until(b"\r\n")? else { return Ok(None) };
            let line = String::from_utf8_lossy(&line[..line.len() - 2]).into_owned();
            let digits = line.bytes().all(|byte| byte.is_ascii_hexdigit());
            let Some(size) = usize::from_str_radix(&line, 16).ok().filter(|_| digits) else {
                bad.push(format!("chunk line {line:?}"));
                return Ok(Some(body));
            };
            if size == 0 {
                loop {
                    match self.until(b"\r\n")? {
                        None => return Ok(None),
                        Some(line) if line == b"\r\n" => return Ok(Some(body)),
                        Some(line) => body.extend_from_slice(&[b" trailer ", &line[..line.len() - 2]].concat()),
                    }
                }
            }
            let Some(data) = self.exactly(size)? else { return Ok(None) };
            body.extend(data);
            if self.exactly(2)?.as_deref() != Some(b"\r\n") {
                return Ok(None);
            }
        }
    }

    /// Up to and with `end`; None: the connection ended before it.
    fn until(&mut self, end: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.rest.windows(end.len()).position(|bytes| bytes == end) {
                return self.exactly(at + end.len());
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn exactly(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        while self.rest.len() < count {
            if !self.more()? {
                return Ok(None);
            }
        }
        let rest = self.rest.split_off(count);
        Ok(Some(std::mem::replace(&mut self.rest, rest)))
    }

    fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 * 1024];
        // A reset is an end too.
        let count = self.stream.read(&mut buffer).unwrap_or(0);
        self.rest.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}

/// The name in lower case, as HAProxy writes it.
fn field(line: &str) -> (String, &str) {
    let (name, value) = line.split_once(':').unwrap_or((line, ""));
    (name.to_ascii_lowercase(), value.trim_matches([' ', '\t']))
}

/// What a server adds to every request in its own way, or what only says how the message is framed.
fn is_expected(name: &str, value: &str, host: &str) -> bool {
    match name {
        "host" => value == "test",
        "x-forwarded-for" => value == "127.0.0.1",
        "x-forwarded-host" => value == host,
        "x-forwarded-proto" => value == "http",
        "forwarded" => value.replace('"', "") == format!("host={host};proto=http;for=127.0.0.1"),
        "x-request-id" => value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "via" => ["1.1 rota", "1.0 rota"].contains(&value),
        "connection" => ["close", "keep-alive"].contains(&value),
        "transfer-encoding" => value == "chunked",
        // That there is no body is said or not said: that is a difference.
        "content-length" => value != "0",
        _ => false,
    }
}
