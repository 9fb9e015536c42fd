//! What a server made of a case: what the client got, and which requests the app saw.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::cases::Case;
use super::servers::Server;

/// What both ends saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The answers in order, each its status, with `.` behind the last if the connection ended there.
    pub told: String,
    /// The requests in order. The marker behind a case is `behind`.
    pub seen: Vec<String>,
    /// The first answer is the server's own refusal.
    pub refused: bool,
}

/// In what two outcomes differ, seen from rota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// rota refuses what the peer passes on.
    Stricter,
    /// rota passes on what the peer refuses.
    Looser,
    /// The app sees another number of requests.
    Count,
    /// The app sees other requests.
    Sent,
    /// Both refuse, in other words; or both pass on, and the client is told something else.
    Told,
}

impl Difference {
    pub fn word(self) -> &'static str {
        match self {
            Difference::Stricter => "stricter",
            Difference::Looser => "looser",
            Difference::Count => "count",
            Difference::Sent => "sent",
            Difference::Told => "told",
        }
    }

    /// None: they are the same.
    pub fn between(rota: &Outcome, peer: &Outcome, is_answer: bool) -> Option<Self> {
        if (&rota.told, &rota.seen) == (&peer.told, &peer.seen) {
            return None;
        }
        // Of an app's answer the refusal is in what the client is told; of a request it is in what the app sees.
        let refuses = |outcome: &Outcome| if is_answer { outcome.refused } else { outcome.seen.is_empty() };
        Some(match (refuses(rota), refuses(peer)) {
            (true, false) => Difference::Stricter,
            (false, true) => Difference::Looser,
            (_, _) if rota.seen.len() != peer.seen.len() => Difference::Count,
            (_, _) if rota.seen != peer.seen => Difference::Sent,
            (_, _) => Difference::Told,
        })
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.told)?;
        if !self.seen.is_empty() {
            write!(f, " ⇐ {}", self.seen.join(" ‖ "))?;
        }
        Ok(())
    }
}

/// Sends a case and, behind it in the same write, the marker; `patience` is how long nothing must come before that is the outcome.
pub fn of(server: &Server, case: &Case, patience: Duration) -> Outcome {
    server.recorder.expect(case.answer.clone());
    let (bytes, ended) = converse(server.addr, case, patience);
    let is_head = case.request.trim_ascii_start().starts_with(b"HEAD ");
    let (told, refused) = answers(&bytes, ended, is_head, case.answer.is_some());
    if !ended || told == "." {
        // What the server passed on without an answer may still be on its way to the app.
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut seen: Vec<String> = server.recorder.take().into_iter().map(|request| shortened(&request)).collect();
    // HAProxy tries again on another connection, or does not.
    seen.dedup_by(|again, first| again == first && first.ends_with("a body that was cut"));
    Outcome { told, seen, refused }
}

/// All that came, and whether the server ended the connection.
fn converse(addr: SocketAddr, case: &Case, patience: Duration) -> (Vec<u8>, bool) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_write_timeout(Some(patience)).unwrap();
    let behind = if case.ends { "" } else { MARKER };
    let all = [&case.request, behind.as_bytes()].concat();
    let writer = stream.try_clone().unwrap();
    let (ends, when) = (case.ends, if case.is_cut() { LATE } else { Duration::ZERO });
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A server that refuses in the middle may close at once.
            let _ = (&writer).write_all(&all);
            if ends {
                std::thread::sleep(when);
                let _ = writer.shutdown(Shutdown::Write);
            }
        });
        let (mut bytes, mut buffer) = (Vec::new(), [0; 64 * 1024]);
        let mut end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return (bytes, false);
            }
            stream.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            match stream.read(&mut buffer) {
                Ok(0) => return (bytes, true),
                Ok(count) => {
                    bytes.extend_from_slice(&buffer[..count]);
                    end = Instant::now() + patience;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return (bytes, false),
                // A reset is an end too; whether it is one or the other is a race between our bytes and its close.
                Err(_) => return (bytes, true),
            }
        }
    })
}

/// The statuses, with fields and body where the app's answer is what the case is about; and whether the first is the server's own refusal.
fn answers(bytes: &[u8], ended: bool, is_head: bool, in_full: bool) -> (String, bool) {
    let mut parts: Vec<String> = Vec::new();
    let mut refused = None;
    let mut rest = bytes;
    let mut first = true;
    while !rest.is_empty() {
        let Some((answer, status, after)) = answer(rest, is_head && first, in_full && first) else {
            let shown = String::from_utf8_lossy(&rest[..rest.len().min(16)]).escape_debug().to_string();
            parts.push(format!("no response: {shown}"));
            break;
        };
        first &= (100..200).contains(&status) && status != 101;
        if !first {
            refused.get_or_insert([502, 503, 504, 500].contains(&status));
        }
        parts.push(answer);
        rest = after;
    }
    let told = parts.join(" ");
    (if ended { format!("{told}.") } else { format!("{told}…") }, refused.unwrap_or(bytes.is_empty()))
}

/// One response as it is shown, its status, and what is behind it.
fn answer(bytes: &[u8], to_head: bool, in_full: bool) -> Option<(String, u16, &[u8])> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head: String = bytes[..end].iter().map(|byte| char::from(*byte)).collect();
    let rest = &bytes[end + 4..];
    let mut lines = head.split("\r\n");
    let status: u16 = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    let fields: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim_matches([' ', '\t'])))
        .collect();
    let value = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let mut cut = "";
    let (body, rest) = if to_head || (100..200).contains(&status) || status == 204 || status == 304 {
        (Vec::new(), rest)
    } else if value("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
        match chunked(rest) {
            Ok(whole) => whole,
            Err(body) => {
                cut = ", cut";
                (body, &b""[..])
            }
        }
    } else if let Some(length) = value("content-length").and_then(|length| length.parse::<usize>().ok()) {
        if rest.len() < length {
            cut = ", cut";
        }
        let (body, rest) = rest.split_at(length.min(rest.len()));
        (body.to_vec(), rest)
    } else {
        (rest.to_vec(), &b""[..])
    };
    if !in_full || status >= 500 && value("server") != Some("app") && !head.starts_with("HTTP/1.1 599") {
        return Some((format!("{status}{cut}"), status, rest));
    }
    let mut shown = status.to_string();
    for (name, value) in fields.iter().filter(|(name, value)| !is_expected(name, value)) {
        shown += &format!(" | {name}: {value}");
    }
    if !body.is_empty() {
        shown += &format!(" + {}", String::from_utf8_lossy(&body));
    }
    Some((shortened(&format!("{shown}{cut}")), status, rest))
}

/// What servers say in their own way.
fn is_expected(name: &str, value: &str) -> bool {
    match name {
        "date" => !["then", "now"].contains(&value),
        "server" => value.starts_with("nginx"),
        "connection" => ["close", "keep-alive"].contains(&value),
        "content-length" | "transfer-encoding" => true,
        _ => false,
    }
}

/// Body and rest, or what there is of the body.
fn chunked(mut bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Err(body) };
        let Some(size) = str::from_utf8(&bytes[..end]).ok().and_then(|size| usize::from_str_radix(size.split(';').next()?, 16).ok()) else {
            return Err(body);
        };
        bytes = &bytes[end + 2..];
        if size == 0 {
            // Trailers up to an empty line.
            loop {
                let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") else { return Err(body) };
                bytes = &bytes[end + 2..];
                if end == 0 {
                    return Ok((body, bytes));
                }
            }
        }
        if bytes.len() < size + 2 {
            body.extend_from_slice(bytes);
            return Err(body);
        }
        body.extend_from_slice(&bytes[..size]);
        bytes = &bytes[size + 2..];
    }
}

fn shortened(text: &str) -> String {
    if text.starts_with("GET /behind") {
        return text.replace("GET /behind", "behind");
    }
    let chars: Vec<char> = text.chars().flat_map(char::escape_debug).collect();
    if chars.len() <= 160 {
        return chars.into_iter().collect();
    }
    format!("{} ... {} characters", chars[..100].iter().collect::<String>(), chars.len())
}

/// Between a body that is cut and the end of the client's stream: a server that begins to pass it on has done so by then.
const LATE: Duration = Duration::from_millis(50);
/// Behind each case. The connection of a server that takes it for a request ends with its answer.
const MARKER: &str = "GET /behind HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
