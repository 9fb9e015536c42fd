//! The built-in example app: `rota __demo-app`, a small HTTP/1.1 server that rota starts, probes and replaces like any other.
//!
//! Runs in a process of its own, one thread per connection: it stands for somebody's app and shares nothing with rota's own HTTP code.
//! It installs no signal handler: rota stops a process only when nothing is in flight, so dying of the signal loses nothing.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Serves on the Unix socket named by `SOCKET` until a signal ends the process. The release is the working directory: its file `VERSION`
/// holds the number that every page shows; a file `BROKEN` makes it fail at boot with exit status 1, as a bad deployment does.
pub fn run() -> i32 {
    match start() {
        Ok(never) => match never {},
        Err(why) => {
            eprintln!("{why}");
            1
        }
    }
}

/// What one process answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    pub version: u32,
    /// `ROTA_PROCESS`, 1 to N.
    pub process: u16,
    pub pid: u32,
}

impl Page {
    /// Four lines, each with its newline.
    pub fn to_text(self) -> String {
        let Page { version, process, pid } = self;
        format!("{TITLE}\nversion {version}\nprocess {process}\npid {pid}\n")
    }

    /// Reads what [`Page::to_text`] wrote; None if one byte is missing, added or different.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(body).ok()?;
        let mut lines = text.lines().skip(1).map(|line| line.rsplit_once(' ').map(|(_, value)| value));
        let mut value = || lines.next().flatten();
        let page = Self { version: value()?.parse().ok()?, process: value()?.parse().ok()?, pid: value()?.parse().ok()? };
        (page.to_text() == text).then_some(page)
    }

    /// For a person with a browser; it loads itself again every second, so that the versions can be watched passing.
    fn to_html(self) -> String {
        let Page { version, process, pid } = self;
        format!(
            "<!doctype html>\n<meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"1\"><title>{TITLE}</title>\n\
             <body style=\"font: 1.2em/1.6 sans-serif; max-width: 30em; margin: 4em auto\">\n\
             <h1>Version {version}</h1>\n<p>Answered by process {process}, pid {pid}.</p>\n\
             <p>This page loads itself again every second. The version changes with each restart; the page never fails to come.</p>\n"
        )
    }
}

/// Answers the requests of one connection, one after another, until the peer closes or asks to.
pub fn converse<S: Read + Write>(stream: &mut S, page: impl Fn() -> Page) -> io::Result<()> {
    let mut unread = Vec::new();
    while let Some(request) = next_request(stream, &mut unread)? {
        thread::sleep(WORK);
        let page = page();
        let (kind, body) = match request.html {
            true => ("text/html; charset=utf-8", page.to_html()),
            false => ("text/plain; charset=utf-8", page.to_text()),
        };
        let mut reply = String::new();
        let _ = write!(reply, "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        reply.push_str("Cache-Control: no-store\r\n");
        reply.push_str(if request.close { "Connection: close\r\n\r\n" } else { "\r\n" });
        if !request.head_only {
            reply.push_str(&body);
        }
        stream.write_all(reply.as_bytes())?;
        if request.close {
            break;
        }
    }
    Ok(())
}

/// All that an answer depends on.
#[derive(Debug, PartialEq)]
struct Request {
    html: bool,
    head_only: bool,
    close: bool,
}

/// Reads one request with its body; None when the peer closed before its first byte.
fn next_request(stream: &mut impl Read, unread: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        if let Some((request, head, body)) = parse(unread)? {
            unread.drain(..head);
            skip(stream, unread, body)?;
            return Ok(Some(request));
        }
        if unread.len() > HEAD_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the head is too long"));
        }
        let before = unread.len();
        if more(stream, unread)? == 0 {
            return if before == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// The request, the length of its head and that of its body; None while the head is not complete.
fn parse(bytes: &[u8]) -> io::Result<Option<(Request, usize, u64)>> {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut head = httparse::Request::new(&mut fields);
    let bad = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let length = match head.parse(bytes).map_err(|e| bad(&e.to_string()))? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let mut request = Request { html: false, head_only: head.method == Some("HEAD"), close: head.version == Some(0) };
    let mut body = 0;
    for field in head.headers.iter() {
        let value = String::from_utf8_lossy(field.value).to_ascii_lowercase();
        match field.name.to_ascii_lowercase().as_str() {
            "accept" => request.html = value.contains("text/html"),
            "connection" => request.close |= value.split(',').any(|token| token.trim() == "close"),
            "content-length" => body = digits(&value).ok_or_else(|| bad("a Content-Length that is no number"))?,
            "transfer-encoding" => return Err(bad("this app takes no chunked bodies")),
            _ => {}
        }
    }
    Ok(Some((request, length, body)))
}

/// Reads over `body` bytes, beginning with what is already here.
fn skip(stream: &mut impl Read, unread: &mut Vec<u8>, mut body: u64) -> io::Result<()> {
    loop {
        let here = unread.len().min(usize::try_from(body).unwrap_or(usize::MAX));
        unread.drain(..here);
        body -= here as u64;
        if body == 0 {
            return Ok(());
        }
        if more(stream, unread)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn more(stream: &mut impl Read, unread: &mut Vec<u8>) -> io::Result<usize> {
    let mut chunk = [0; 4096];
    let n = loop {
        match stream.read(&mut chunk) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            read => break read?,
        }
    };
    unread.extend_from_slice(&chunk[..n]);
    Ok(n)
}

/// Boots and serves; it returns only to say why it cannot.
fn start() -> Result<std::convert::Infallible, String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set: rota starts this app, not a person"));
    let socket = variable("SOCKET")?;
    if Path::new("BROKEN").exists() {
        thread::sleep(BOOT / 2);
        return Err(traceback());
    }
    let text = std::fs::read_to_string("VERSION").map_err(|e| format!("VERSION: {e}"))?;
    let number = |name: &str, text: &str| digits(text.trim()).ok_or_else(|| format!("{name}: {text:?} is no number"));
    let version = u32::try_from(number("VERSION", &text)?).map_err(|e| format!("VERSION: {e}"))?;
    let process = u16::try_from(number("ROTA_PROCESS", &variable("ROTA_PROCESS")?)?).map_err(|e| format!("ROTA_PROCESS: {e}"))?;
    let page = Page { version, process, pid: std::process::id() };

    println!("version {version} boots");
    thread::sleep(BOOT);
    let listener = UnixListener::bind(&socket).map_err(|e| format!("{socket}: {e}"))?;
    println!("version {version} listens");
    loop {
        // As many threads as rota keeps connections, and that is what `concurrency` bounds.
        let begun = listener.accept().and_then(|(mut stream, _)| {
            thread::Builder::new().name("request".into()).spawn(move || {
                if let Err(why) = converse(&mut stream, || page) {
                    eprintln!("connection ended: {why}");
                }
            })
        });
        if let Err(why) = begun {
            eprintln!("accept: {why}");
            thread::sleep(PAUSE_AFTER_ERROR);
        }
    }
}

/// What a Python app prints when an import fails, the most usual way for a deployment to be broken.
fn traceback() -> String {
    let root = std::env::current_dir().map_or_else(|_| ".".to_owned(), |dir| dir.display().to_string());
    format!(
        "Traceback (most recent call last):\n  File \"{root}/app.py\", line 3, in <module>\n    \
         from shop.checkout import Basket\n  File \"{root}/shop/checkout.py\", line 8, in <module>\n    \
         import stripe\nModuleNotFoundError: No module named 'stripe'"
    )
}

/// Digits only: Rust's own parser takes "+5".
fn digits(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if plain { text.parse().ok() } else { None }
}

const TITLE: &str = "rota demo";
/// From the start to listening, about what a small web app needs to load its code.
const BOOT: Duration = Duration::from_millis(700);
/// What a request costs.
const WORK: Duration = Duration::from_millis(5);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(50);
/// Bytes; rota's own limit is lower.
const HEAD_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    const PAGE: Page = Page { version: 3, process: 2, pid: 4711 };

    /// Sends `input`, closes, and gives back all that was answered.
    fn told(input: &str) -> String {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair of sockets");
        let app = thread::spawn(move || {
            let _ = converse(&mut theirs, || PAGE);
        });
        ours.write_all(input.as_bytes()).expect("the buffer of a socket holds this");
        ours.shutdown(Shutdown::Write).expect("an open socket");
        let mut answer = String::new();
        ours.read_to_string(&mut answer).expect("text");
        app.join().expect("the app does not panic");
        answer
    }

    #[test]
    fn a_page_is_read_back_whole_or_not_at_all() {
        assert_eq!(PAGE.to_text(), "rota demo\nversion 3\nprocess 2\npid 4711\n");
        assert_eq!(Page::parse(PAGE.to_text().as_bytes()), Some(PAGE));
        for bad in [
            "",
            "rota demo\nversion 3\nprocess 2\npid 4711",
            "rota demo\nversion 3\nprocess 2\npid 471\n1\n",
            "rota demo\nversion +3\nprocess 2\npid 4711\n",
            "rota demo\nversion 3\nprocess 2\n",
            "Rota demo\nversion 3\nprocess 2\npid 4711\n",
        ] {
            assert_eq!(Page::parse(bad.as_bytes()), None, "{bad:?} was taken");
        }
    }

    #[test]
    fn two_requests_on_one_connection_get_two_answers() {
        let answer = told("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert_eq!(answer.matches("version 3\nprocess 2\npid 4711\n").count(), 2);
        assert!(!answer.contains("Connection: close"));
    }

    #[test]
    fn a_body_is_read_over_and_not_taken_for_the_next_request() {
        let answer =
            told("POST / HTTP/1.1\r\nContent-Length: 20\r\n\r\nGET / HTTP/1.1\r\n\r\n..GET / HTTP/1.1\r\nConnection: close\r\n\r\n");
        assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2);
        assert_eq!(answer.matches("Connection: close\r\n").count(), 1);
    }

    #[test]
    fn a_browser_gets_html_and_head_gets_no_body() {
        let answer = told("GET / HTTP/1.1\r\nAccept: text/html,*/*;q=0.8\r\n\r\n");
        assert!(answer.contains("Content-Type: text/html") && answer.contains("<h1>Version 3</h1>"), "{answer}");
        let answer = told("HEAD / HTTP/1.0\r\n\r\n");
        assert!(answer.ends_with("Connection: close\r\n\r\n"), "{answer}");
    }

    #[test]
    fn what_it_cannot_read_closes_the_connection_without_an_answer() {
        assert_eq!(told("GET / HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello"), "");
        assert_eq!(told("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "");
        assert_eq!(told("GET / HTTP/1.1\r\nHost:"), "");
    }
}
