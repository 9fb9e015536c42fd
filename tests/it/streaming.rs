//! Clients of the fixture's event streams and WebSockets that check every byte, and tell a declared end from a loss.

use std::net::{SocketAddr, TcpStream};

use tungstenite::{Error, HandshakeError, Message, WebSocket};

use crate::bytes::{event_data, is_pattern};
use crate::wire::{LIMIT, Trouble, Wire, trouble};

/// An event stream that is being read.
#[derive(Debug)]
pub struct EventStream {
    wire: Wire,
    head: String,
    eol: &'static str,
    chunked: bool,
    body: Vec<u8>,
    pub last_id: u64,
}

impl EventStream {
    /// `request`: its head, for `/sse`. `last_id`: of the event that is known already. `eol`: as asked for.
    pub fn open(mut wire: Wire, request: &str, last_id: u64, eol: &'static str) -> Result<Self, Trouble> {
        wire.send(request.as_bytes())?;
        let head = wire.head()?;
        if !head.starts_with("HTTP/1.1 200 ") {
            return Err(Trouble::Garbled(head));
        }
        let chunked = head.contains("Transfer-Encoding: chunked\r\n");
        Ok(Self { wire, head, eol, chunked, body: Vec::new(), last_id })
    }

    /// On a connection of its own.
    pub fn connect(addr: SocketAddr, target: &str, last_id: u64) -> Result<Self, Trouble> {
        let request = format!("GET {target} HTTP/1.1\r\nHost: test\r\nLast-Event-ID: {last_id}\r\n\r\n");
        Self::open(Wire::connect(addr)?, &request, last_id, "\n")
    }

    pub fn version(&self) -> &str {
        self.head.lines().find_map(|line| line.strip_prefix("X-Version: ")).unwrap_or_default()
    }

    /// The id of the next event. None: the stream has ended as its framing wants it, between two events.
    pub fn next(&mut self) -> Result<Option<u64>, Trouble> {
        let blank = self.eol.repeat(2);
        loop {
            if let Some(end) = self.body.windows(blank.len()).position(|bytes| bytes == blank.as_bytes()) {
                let event: Vec<u8> = self.body.drain(..end + blank.len()).collect();
                let id = self.last_id + 1;
                let expected = format!("id: {id}{0}data: {1}{blank}", self.eol, event_data(id));
                if event != expected.as_bytes() {
                    return Err(Trouble::Garbled(String::from_utf8_lossy(&event).into_owned()));
                }
                self.last_id = id;
                return Ok(Some(id));
            }
            let piece = if self.chunked { self.wire.chunk()? } else { self.wire.some()? };
            match (piece.is_empty(), self.body.is_empty()) {
                (true, true) => return Ok(None),
                (true, false) => return Err(Trouble::Cut),
                (false, _) => self.body.extend(piece),
            }
        }
    }

    /// The connection behind a stream that has ended.
    pub fn into_wire(self) -> Wire {
        self.wire
    }
}

/// A WebSocket client.
#[derive(Debug)]
pub struct Ws {
    socket: WebSocket<TcpStream>,
    pub version: String,
}

/// What came next on a WebSocket.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    Text(String),
    /// A message that was pushed: whole, and what it should be.
    Pushed,
    /// A close frame with this code; it is answered.
    Close(u16),
    /// The end behind the close frames of both sides.
    End,
}

impl Ws {
    pub fn connect(addr: SocketAddr, target: &str) -> Result<Self, Trouble> {
        let stream = Wire::connect(addr)?.stream;
        match tungstenite::client(format!("ws://{addr}{target}"), stream) {
            Ok((socket, response)) => {
                let version = response.headers().get("X-Version").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
                Ok(Self { socket, version })
            }
            Err(HandshakeError::Failure(error)) => Err(loss(error)),
            Err(HandshakeError::Interrupted(_)) => Err(Trouble::Timeout),
        }
    }

    pub fn send(&mut self, text: &str) -> Result<(), Trouble> {
        self.socket.send(Message::text(text)).map_err(loss)
    }

    pub fn next(&mut self) -> Result<Came, Trouble> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Came::Text(text.to_string())),
                Ok(Message::Binary(bytes)) if is_pattern(0, &bytes) => return Ok(Came::Pushed),
                Ok(Message::Binary(bytes)) => return Err(Trouble::Garbled(format!("a pushed message of {} bytes", bytes.len()))),
                Ok(Message::Close(frame)) => return Ok(Came::Close(frame.map_or(1005, |frame| frame.code.into()))),
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => {}
                Err(Error::ConnectionClosed) => return Ok(Came::End),
                Err(error) => return Err(loss(error)),
            }
        }
    }
}

/// Asks for a WebSocket by hand; what comes behind the head is left in the wire.
pub fn raw_websocket(addr: SocketAddr, target: &str) -> Wire {
    let mut wire = Wire::connect(addr).unwrap();
    wire.stream.set_read_timeout(Some(LIMIT)).unwrap();
    let fields = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    let reply = wire.ask(&format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n\r\n")).unwrap();
    // RFC 6455 1.3 has this key and its answer.
    assert_eq!((reply.status, reply.field("Sec-WebSocket-Accept")), (101, Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")));
    wire
}

fn loss(error: Error) -> Trouble {
    match error {
        Error::Io(error) => trouble(&error, Trouble::Cut),
        Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => Trouble::Cut,
        Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete) => Trouble::Closed,
        other => Trouble::Garbled(other.to_string()),
    }
}
