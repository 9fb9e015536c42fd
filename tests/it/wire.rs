//! HTTP over raw sockets: what is sent is visible byte for byte, and each way in which an answer fails to come has a name.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wait::Deadline;

/// A connection that reads whole responses and keeps what comes behind them.
#[derive(Debug)]
pub struct Wire {
    pub stream: TcpStream,
    rest: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    /// Status line and fields, as received.
    pub head: String,
    pub body: Vec<u8>,
    /// The connection can be used again.
    pub keep: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Trouble {
    Refused,
    Reset,
    Timeout,
    /// The connection ended before the first byte of an answer.
    Closed,
    /// It ended inside an answer.
    Cut,
    /// What came is no response.
    Garbled(String),
}

impl Reply {
    pub fn field(&self, name: &str) -> Option<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        fields.filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn version(&self) -> &str {
        self.field("X-Version").unwrap_or("")
    }
}

impl Wire {
    pub fn connect(addr: SocketAddr) -> Result<Self, Trouble> {
        let stream = TcpStream::connect_timeout(&addr, LIMIT).map_err(|error| trouble(&error, Trouble::Closed))?;
        Self::over(stream)
    }

    /// From an address of this machine.
    pub fn connect_from(source: &str, addr: SocketAddr) -> Result<Self, Trouble> {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into()).unwrap();
        socket.connect_timeout(&addr.into(), LIMIT).map_err(|error| trouble(&error, Trouble::Closed))?;
        Self::over(socket.into())
    }

    pub fn over(stream: TcpStream) -> Result<Self, Trouble> {
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.set_write_timeout(Some(LIMIT)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Self { stream, rest: Vec::new() })
    }

    pub fn send(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        self.stream.write_all(bytes).map_err(|error| trouble(&error, Trouble::Closed))
    }

    pub fn ask(&mut self, request: &str) -> Result<Reply, Trouble> {
        self.send(request.as_bytes())?;
        self.reply(request.starts_with("HEAD "))
    }

    /// The next final response; interim ones are in front of its head.
    pub fn reply(&mut self, to_head: bool) -> Result<Reply, Trouble> {
        let mut interim = String::new();
        loop {
            let head = self.head()?;
            let status: u16 = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or_else(|| Trouble::Garbled(head.clone()))?;
            if (100..200).contains(&status) && status != 101 {
                interim.push_str(&head);
                continue;
            }
            let lower = head.to_ascii_lowercase();
            let value = |name: &str| lower.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).map(str::to_owned);
            let mut keep = lower.starts_with("http/1.1") && value("connection").as_deref() != Some("close");
            let body = if to_head || status == 204 || status == 304 || status == 101 {
                Vec::new()
            } else if value("transfer-encoding").is_some() {
                self.chunked()?
            } else if let Some(length) = value("content-length") {
                let length = length.parse().map_err(|_| Trouble::Garbled(head.clone()))?;
                self.take(length)?
            } else {
                keep = false;
                self.read_to_end()?
            };
            return Ok(Reply { status, head: interim + &head, body, keep });
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<Vec<u8>, Trouble> {
        while self.rest.len() < count {
            self.more(Trouble::Cut)?;
        }
        let rest = self.rest.split_off(count);
        Ok(std::mem::replace(&mut self.rest, rest))
    }

    /// Everything up to the end of the connection.
    pub fn read_to_end(&mut self) -> Result<Vec<u8>, Trouble> {
        loop {
            match self.more(Trouble::Closed) {
                Ok(()) => {}
                Err(Trouble::Closed) => return Ok(std::mem::take(&mut self.rest)),
                Err(trouble) => return Err(trouble),
            }
        }
    }

    /// The next head, interim or final.
    pub fn head(&mut self) -> Result<String, Trouble> {
        loop {
            if let Some(end) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                let head = self.take(end + 4)?;
                return String::from_utf8(head).map_err(|error| Trouble::Garbled(error.to_string()));
            }
            let at_end = if self.rest.is_empty() { Trouble::Closed } else { Trouble::Cut };
            self.more(at_end)?;
        }
    }

    fn chunked(&mut self) -> Result<Vec<u8>, Trouble> {
        let mut body = Vec::new();
        loop {
            let data = self.chunk()?;
            if data.is_empty() {
                return Ok(body);
            }
            body.extend(data);
        }
    }

    /// The data of the next chunk; empty: it was the last, and the trailers behind it are read.
    pub fn chunk(&mut self) -> Result<Vec<u8>, Trouble> {
        let size = self.line()?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| Trouble::Garbled(format!("chunk size {size:?}")))?;
        if size == 0 {
            while !self.line()?.is_empty() {}
            return Ok(Vec::new());
        }
        let data = self.take(size)?;
        if !self.line()?.is_empty() {
            return Err(Trouble::Garbled("a chunk longer than its size".to_owned()));
        }
        Ok(data)
    }

    /// Whatever comes next; empty: the end of the connection.
    pub fn some(&mut self) -> Result<Vec<u8>, Trouble> {
        if self.rest.is_empty() {
            match self.more(Trouble::Closed) {
                Ok(()) | Err(Trouble::Closed) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(std::mem::take(&mut self.rest))
    }

    fn line(&mut self) -> Result<String, Trouble> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|bytes| bytes == b"\r\n") {
                let line = self.take(end + 2)?;
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            self.more(Trouble::Cut)?;
        }
    }

    fn more(&mut self, at_end: Trouble) -> Result<(), Trouble> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err(at_end),
            Ok(count) => {
                self.rest.extend_from_slice(&buffer[..count]);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(trouble(&error, at_end)),
        }
    }
}

/// One GET on a connection of its own.
pub fn get(addr: SocketAddr, target: &str) -> Result<Reply, Trouble> {
    Wire::connect(addr)?.ask(&format!("GET {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The target that the fixture app answers with exactly these bytes, in writes with so many milliseconds between them.
pub fn raw_answer(pieces: &[&str], millis: u64) -> String {
    format!("/raw?hex={}", pieces.iter().map(|piece| hex(piece.as_bytes())).collect::<Vec<_>>().join(&format!(".{millis}.")))
}

/// A kept connection's request.
pub fn kept(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n")
}

/// Sends bytes that are no good request; what comes back up to the end of the connection.
pub fn raw(addr: SocketAddr, bytes: &[u8]) -> Result<String, Trouble> {
    let mut wire = Wire::connect(addr)?;
    wire.send(bytes)?;
    wire.read_to_end().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

pub fn trouble(error: &io::Error, at_end: Trouble) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Trouble::Reset,
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Trouble::Timeout,
        _ => at_end,
    }
}

/// Longer than anything that a test waits for, on a machine with a load of 10 too: a socket's limit does not know the machine's pace.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Whether the other side closes within `limit`.
pub fn is_closed(stream: &mut TcpStream, limit: Duration) -> bool {
    let end = Deadline::after(limit);
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut buffer = [0; 1024];
    while !end.has_passed() {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(_) => return true,
        }
    }
    false
}
