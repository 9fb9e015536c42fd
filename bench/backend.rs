//! The app behind every proxy that `bench/run` measures: HTTP/1.1 with kept connections on one thread, as cheap per request as it
//! gets (precomputed answers, one read and one write a request), so that what is measured is the proxy.
//!
//! `/` about 100 bytes, `/10k`, `/100k`, `/1m`, `/10m`; anything else answers as `/` does. A body with a Content-Length is read to its end
//! and thrown away before the answer. What it does not do: chunked bodies (411), limits, timeouts, an orderly stop (TERM ends it).
//!
//! bench-backend [--boot-delay MS] [ADDRESS...]    ADDRESS: path of a Unix socket, or HOST:PORT; default: the variable SOCKET

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::event::Source;
use mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::from_args()?;
    std::thread::sleep(options.boot_delay);
    let mut poll = Poll::new()?;
    let mut listeners = Vec::new();
    for address in &options.addresses {
        let mut listener = Listener::bind(address).map_err(|error| format!("{address}: {error}"))?;
        poll.registry().register(listener.source(), Token(listeners.len()), Interest::READABLE)?;
        listeners.push(listener);
    }
    let answers = Answers::new();
    let mut connections: Slab<Connection> = Slab::new();
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        if let Err(error) = poll.poll(&mut events, None) {
            match error.kind() {
                io::ErrorKind::Interrupted => continue,
                _ => return Err(error.into()),
            }
        }
        for event in &events {
            let token = event.token().0;
            if let Some(listener) = listeners.get(token) {
                accept_all(listener, &mut connections, listeners.len(), poll.registry())?;
                continue;
            }
            let key = token - listeners.len();
            // A connection that ended earlier in this batch: its event is stale.
            let Some(connection) = connections.get_mut(key) else { continue };
            if connection.turn(event.is_read_closed(), &mut buffer, &answers).is_err() {
                connections.remove(key);
            }
        }
    }
}

struct Options {
    boot_delay: Duration,
    addresses: Vec<String>,
}

impl Options {
    fn from_args() -> Result<Options, String> {
        let mut options = Options { boot_delay: Duration::ZERO, addresses: Vec::new() };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            if arg == "--boot-delay" {
                let milliseconds = args.next().and_then(|value| value.parse().ok()).ok_or("--boot-delay wants milliseconds")?;
                options.boot_delay = Duration::from_millis(milliseconds);
            } else if arg.starts_with('-') {
                return Err(format!("unknown option {arg}"));
            } else {
                options.addresses.push(arg);
            }
        }
        if options.addresses.is_empty() {
            options.addresses.push(std::env::var("SOCKET").map_err(|_| "no ADDRESS given and SOCKET is not set")?);
        }
        Ok(options)
    }
}

enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    fn bind(address: &str) -> io::Result<Listener> {
        if let Ok(address) = address.parse::<SocketAddr>() {
            return Ok(Listener::Tcp(TcpListener::bind(address)?));
        }
        match std::fs::remove_file(address) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(_) | Ok(()) => {}
        }
        Ok(Listener::Unix(UnixListener::bind(address)?))
    }

    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listener::Tcp(listener) => listener,
            Listener::Unix(listener) => listener,
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            Listener::Unix(listener) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }
}

fn accept_all(listener: &Listener, connections: &mut Slab<Connection>, first: usize, registry: &Registry) -> io::Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok(stream) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted) => continue,
            Err(error) => return Err(error),
        };
        let entry = connections.vacant_entry();
        let token = Token(first + entry.key());
        let connection = entry.insert(Connection { stream, head: Vec::new(), body_left: 0, after_body: None, unsent: &[], close: false });
        registry.register(connection.stream.source(), token, Interest::READABLE | Interest::WRITABLE)?;
    }
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }
}

/// The connection has ended, in whatever way; its owner removes it.
struct Ended;

struct Connection {
    stream: Stream,
    /// Beginning of a head whose end has not come yet; empty in the common case.
    head: Vec<u8>,
    /// Bytes of the current request's body that have not come yet.
    body_left: u64,
    /// What to answer once the body is in.
    after_body: Option<&'static [u8]>,
    /// What the socket did not take yet. While there is any, nothing is read: one request after the other.
    unsent: &'static [u8],
    /// End the connection once `unsent` is out.
    close: bool,
}

impl Connection {
    /// Everything that an event allows: both directions are registered once and edge-triggered, so it goes on until the socket
    /// would block. `read_closed`: the peer's end of file may have come with its last bytes and will not be announced again.
    fn turn(&mut self, read_closed: bool, buffer: &mut [u8], answers: &Answers) -> Result<(), Ended> {
        loop {
            self.flush()?;
            if !self.unsent.is_empty() {
                return Ok(());
            }
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(Ended),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return Err(Ended),
            };
            self.take(&buffer[..count], answers)?;
            // Less than asked for: the socket is empty, and asking again would only cost a system call.
            if count < buffer.len() && self.unsent.is_empty() && !read_closed {
                return Ok(());
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], answers: &Answers) -> Result<(), Ended> {
        while !bytes.is_empty() {
            if self.after_body.is_some() {
                let count = bytes.len().min(usize::try_from(self.body_left).unwrap_or(usize::MAX));
                self.body_left -= count as u64;
                bytes = &bytes[count..];
            } else if self.head.is_empty() {
                match head_end(bytes) {
                    Some(end) => {
                        self.begin(&bytes[..end], answers)?;
                        bytes = &bytes[end..];
                    }
                    None => {
                        self.head.extend_from_slice(bytes);
                        return Ok(());
                    }
                }
            } else {
                let before = self.head.len();
                self.head.extend_from_slice(bytes);
                let Some(end) = head_end(&self.head) else { return Ok(()) };
                let head = std::mem::take(&mut self.head);
                self.begin(&head[..end], answers)?;
                bytes = &bytes[end - before..];
            }
            if self.body_left == 0
                && let Some(answer) = self.after_body.take()
            {
                self.answer(answer)?;
            }
        }
        Ok(())
    }

    /// A complete head: decides on the answer and how much body comes before it.
    fn begin(&mut self, head: &[u8], answers: &Answers) -> Result<(), Ended> {
        let request = Request::read(head).ok_or(Ended)?;
        self.close = request.close || request.chunked;
        self.body_left = request.length;
        self.after_body = Some(if request.chunked { LENGTH_REQUIRED } else { answers.to(&request) });
        Ok(())
    }

    fn answer(&mut self, answer: &'static [u8]) -> Result<(), Ended> {
        if !self.unsent.is_empty() {
            // Only a client that sends requests ahead gets here; no load of this benchmark does.
            return Err(Ended);
        }
        self.unsent = answer;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Ended> {
        while !self.unsent.is_empty() {
            match self.stream.write(self.unsent) {
                Ok(0) => return Err(Ended),
                Ok(count) => self.unsent = &self.unsent[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Ended),
            }
            if self.unsent.is_empty() && self.close {
                return Err(Ended);
            }
        }
        Ok(())
    }
}

/// Length of the head at the start of `bytes`, empty line included.
fn head_end(bytes: &[u8]) -> Option<usize> {
    // A request without a body is all that was read; finding its end needs no search.
    if bytes.ends_with(b"\r\n\r\n") && !bytes.starts_with(b"P") {
        return Some(bytes.len());
    }
    memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)
}

struct Request<'a> {
    path: &'a [u8],
    length: u64,
    chunked: bool,
    close: bool,
}

impl Request<'_> {
    /// None: no HTTP/1 request.
    fn read(head: &[u8]) -> Option<Request<'_>> {
        let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut words = lines.next()?.split(|&byte| byte == b' ');
        let (path, version) = (words.nth(1)?, words.next()?);
        let mut request = Request { path, length: 0, chunked: false, close: version != b"HTTP/1.1" };
        for line in lines {
            // Only these letters begin a field that matters here.
            if !matches!(line.first(), Some(b'C' | b'c' | b'T' | b't')) {
                continue;
            }
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                request.length = digits(value)?;
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                request.chunked = true;
            } else if name.eq_ignore_ascii_case(b"connection") {
                request.close |= value.eq_ignore_ascii_case(b"close");
            }
        }
        Some(request)
    }
}

fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |sum, &byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Whole answers, made once and kept to the end of the process.
struct Answers {
    kept: BySize,
    /// The same with `Connection: close`: without it the client would take the end of the connection for an error.
    last: BySize,
}

struct BySize {
    small: &'static [u8],
    ten_k: &'static [u8],
    hundred_k: &'static [u8],
    one_m: &'static [u8],
    ten_m: &'static [u8],
}

impl Answers {
    fn new() -> Answers {
        Answers { kept: BySize::new(""), last: BySize::new("Connection: close\r\n") }
    }

    fn to(&self, request: &Request) -> &'static [u8] {
        let answers = if request.close { &self.last } else { &self.kept };
        match request.path {
            b"/10k" => answers.ten_k,
            b"/100k" => answers.hundred_k,
            b"/1m" => answers.one_m,
            b"/10m" => answers.ten_m,
            _ => answers.small,
        }
    }
}

impl BySize {
    fn new(fields: &str) -> BySize {
        let answer = |length: usize| -> &'static [u8] {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n{fields}\r\n");
            let mut bytes = head.into_bytes();
            bytes.resize(bytes.len() + length, b'x');
            bytes.leak()
        };
        BySize {
            small: answer(100),
            ten_k: answer(10 << 10),
            hundred_k: answer(100 << 10),
            one_m: answer(1 << 20),
            ten_m: answer(10 << 20),
        }
    }
}

const LENGTH_REQUIRED: &[u8] = b"HTTP/1.1 411 Length Required\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// Bytes per read: a megabyte of upload in few calls.
const READ_BUFFER: usize = 256 << 10;
