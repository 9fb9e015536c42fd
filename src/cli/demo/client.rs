//! A visitor's side of HTTP/1.1: one request, and its whole reply or the name of what went wrong. Blocking sockets, no thread of its own.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::app::Page;

/// Sends one request on a new connection: the app's page, or why there is none.
pub fn fetch(address: SocketAddr, limit: Duration) -> Result<Page, Failure> {
    Client::new(address, false).ask(Instant::now() + limit)
}

/// Asks for the app's page, on a kept connection or on a new one each time.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    keep: bool,
    connection: Option<TcpStream>,
}

impl Client {
    pub fn new(address: SocketAddr, keep: bool) -> Self {
        Self { address, keep, connection: None }
    }

    /// One request and its whole reply. After any failure the next call makes a new connection.
    pub fn ask(&mut self, deadline: Instant) -> Result<Page, Failure> {
        let mut stream = match self.connection.take() {
            Some(stream) => stream,
            None => self.connect(deadline)?,
        };
        let connection = if self.keep { "keep-alive" } else { "close" };
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\nAccept: text/plain\r\nConnection: {connection}\r\n\r\n", self.address);
        stream.set_write_timeout(Some(left(deadline)?))?;
        stream.write_all(request.as_bytes())?;
        let reply = read_reply(&mut stream, deadline)?;
        if self.keep && !reply.close {
            self.connection = Some(stream);
        }
        if reply.status != 200 {
            return Err(Failure::Status(reply.status));
        }
        Page::parse(&reply.body).ok_or(Failure::WrongBody)
    }

    fn connect(&self, deadline: Instant) -> Result<TcpStream, Failure> {
        let stream = TcpStream::connect_timeout(&self.address, left(deadline)?)?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Why a request counts as failed. `Display` is the name it is counted under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// No connection.
    Refused,
    Reset,
    /// The connection ended before the reply was whole.
    Closed,
    /// The reply was not whole within the time limit.
    Timeout,
    /// A status other than 200.
    Status(u16),
    /// Not what the app sends, or a version that was never put out.
    WrongBody,
    /// A version that had been replaced, as the restart command had said, before the request was sent.
    OldVersion,
    Other(io::ErrorKind),
}

struct Reply {
    status: u16,
    body: Vec<u8>,
    close: bool,
}

fn read_reply(stream: &mut TcpStream, deadline: Instant) -> Result<Reply, Failure> {
    let mut bytes = Vec::new();
    let (status, head, length, close) = loop {
        if let Some(head) = parse_head(&bytes)? {
            break head;
        }
        more(stream, &mut bytes, deadline)?;
    };
    while bytes.len() < head + length {
        more(stream, &mut bytes, deadline)?;
    }
    let body = bytes.split_off(head);
    // Bytes beyond the reply belong to no request of ours.
    if body.len() > length { Err(Failure::WrongBody) } else { Ok(Reply { status, body, close }) }
}

/// Status, length of the head, length of the body, and whether the connection ends with it; None while the head is not complete.
fn parse_head(bytes: &[u8]) -> Result<Option<(u16, usize, usize, bool)>, Failure> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(head_length) = head.parse(bytes).map_err(|_| Failure::WrongBody)? else {
        return if bytes.len() > REPLY_MAX { Err(Failure::WrongBody) } else { Ok(None) };
    };
    let value = |name: &str| {
        let field = head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        field.map(|field| String::from_utf8_lossy(field.value).trim().to_ascii_lowercase())
    };
    let close = value("connection").is_some_and(|value| value.split(',').any(|token| token.trim() == "close"));
    let status = head.code.ok_or(Failure::WrongBody)?;
    // The app always says how long its page is; a reply that does not is none of the app's.
    let length = match value("content-length").and_then(|value| value.parse().ok()) {
        Some(length) if length <= REPLY_MAX => length,
        _ if status != 200 => return Err(Failure::Status(status)),
        _ => return Err(Failure::WrongBody),
    };
    Ok(Some((status, head_length, length, close)))
}

fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>, deadline: Instant) -> Result<(), Failure> {
    let mut chunk = [0; 4096];
    loop {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut chunk) {
            Ok(0) => return Err(Failure::Closed),
            Ok(n) => {
                bytes.extend_from_slice(&chunk[..n]);
                return Ok(());
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Never zero: a socket takes that for no limit.
fn left(deadline: Instant) -> Result<Duration, Failure> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(Failure::Timeout) } else { Ok(left) }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => Self::Reset,
            // A socket with a time limit says the first, connect the second.
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Timeout,
            kind => Self::Other(kind),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused"),
            Self::Reset => f.write_str("reset"),
            Self::Closed => f.write_str("closed"),
            Self::Timeout => f.write_str("timeout"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::WrongBody => f.write_str("wrong body"),
            Self::OldVersion => f.write_str("old version"),
            Self::Other(kind) => write!(f, "{kind}"),
        }
    }
}

/// Bytes of a head, and of a body.
const REPLY_MAX: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// A server that reads one request per connection, sends `reply` and closes.
    fn server(reply: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(reply.as_bytes());
            }
        });
        address
    }

    #[test]
    fn each_failure_has_its_name() {
        let limit = Duration::from_secs(5);
        let fails = |reply| fetch(server(reply), limit).expect_err("a failure").to_string();
        assert_eq!(fails(""), "closed");
        assert_eq!(fails("HTTP/1.1 200 OK\r\nContent-Len"), "closed");
        assert_eq!(fails("HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nrota demo\nversion 1\n"), "closed");
        assert_eq!(fails("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), "status 502");
        assert_eq!(fails("HTTP/1.1 503 Busy\r\n\r\nbusy"), "status 503");
        assert_eq!(fails("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), "wrong body");
        assert_eq!(fails("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nhello"), "wrong body");
        assert_eq!(fails("nonsense\r\n\r\n"), "wrong body");
    }

    #[test]
    fn a_port_without_a_listener_is_refused_and_a_silent_one_times_out() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound socket");
        assert_eq!(fetch(address, Duration::from_millis(30)), Err(Failure::Timeout));
        // Bound and not listening: the port is nobody else's meanwhile.
        let deaf = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        deaf.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        let address = deaf.local_addr().expect("a bound socket").as_socket().expect("an IPv4 address");
        assert_eq!(fetch(address, Duration::from_secs(5)), Err(Failure::Refused));
    }

    #[test]
    fn a_whole_page_is_an_answer() {
        let page = "HTTP/1.1 200 OK\r\nContent-Length: 41\r\n\r\nrota demo\nversion 12\nprocess 2\npid 47110\n";
        assert_eq!(fetch(server(page), Duration::from_secs(5)), Ok(Page { version: 12, process: 2, pid: 47110 }));
    }
}
