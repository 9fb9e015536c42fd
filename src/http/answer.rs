//! An answer that rota itself asked for (the readiness probe, a warm-up), read as a visitor's is: by the same head parser, the same decision
//! about its length and the same reader of bodies. What a visitor would get 502 for is an error here.

use std::time::Instant;

use super::exchange::facts::RequestFacts;
use super::exchange::{Around, Closed, Exchange, Next, Out, Written};
use super::framing::RequestBody;
use super::head::Version;
use super::malformed::Malformed;

/// The answer to one GET, as far as it has come.
#[derive(Debug)]
pub struct AnswerReader {
    exchange: Exchange,
    since: Instant,
    out: Out,
    /// Of the final head, when that has come.
    status: Option<u16>,
    /// Bytes of the body so far.
    length: u64,
    is_whole: bool,
}

/// A GET whose answer is wanted without framing: what a client of HTTP/1.0 gets.
const GET: RequestFacts = RequestFacts {
    version: Version::Http10,
    keep_alive: true,
    head_only: false,
    idempotent: true,
    says_empty: false,
    expects_continue: false,
    upgrade: Vec::new(),
    body: RequestBody::None,
};

impl AnswerReader {
    pub fn new(now: Instant) -> Self {
        Self { exchange: Exchange::new(now), since: now, out: Out::default(), status: None, length: 0, is_whole: false }
    }

    pub fn status(&self) -> Option<u16> {
        self.status
    }

    pub fn length(&self) -> u64 {
        self.length
    }

    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        !self.exchange.is_heard()
    }

    /// All of it is there. One that ends with the connection is whole only then.
    pub fn is_whole(&self) -> bool {
        self.is_whole
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.is_whole {
            return Ok(());
        }
        let Some(bytes) = self.exchange.join(bytes) else { return Ok(()) };
        let around = Around { facts: &GET, closes: false, is_unasked: false, now: self.since };
        let heard = self.exchange.hear(&bytes, &around, &mut self.out, |_, _, _| Ok(Written::Head))?;
        self.status = self.status.or(heard.status);
        self.length += (self.out.bytes.len() + heard.tail.len()) as u64;
        self.is_whole = matches!(heard.next, Next::Ended(_));
        Ok(())
    }

    /// The connection ended here.
    pub fn end(&mut self) -> Result<(), Malformed> {
        let is_whole = self.is_whole || matches!(self.exchange.closed(true), Closed::Whole(_));
        match (is_whole, self.status) {
            (true, _) => Ok(()),
            (false, Some(_)) => Err(Malformed::body("the body was cut off", b"")),
            (false, None) => Err(Malformed::body("the connection ended before the answer was whole", self.exchange.unread())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer that comes in pieces of `size` bytes and then ends: its status and length, or why it is refused.
    fn read(text: &str, size: usize) -> Result<(u16, u64), &'static str> {
        let mut answer = AnswerReader::new(Instant::now());
        for piece in text.as_bytes().chunks(size) {
            answer.feed(piece).map_err(|bad| bad.reason)?;
        }
        answer.end().map_err(|bad| bad.reason)?;
        Ok((answer.status().unwrap(), answer.length()))
    }

    #[test]
    fn what_a_visitor_gets_is_read_however_it_comes() {
        for (text, status, length) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, 5),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 200, 5),
            ("HTTP/1.0 404 Not Found\r\n\r\nno", 404, 2),
            ("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n", 302, 0),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, 0),
        ] {
            for size in [1, 7, 1000] {
                assert_eq!(read(text, size), Ok((status, length)), "{text:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_a_visitor_would_get_502_for_is_refused_however_it_comes() {
        let storm = "HTTP/1.1 102 Processing\r\n\r\n".repeat(17) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(70_000));
        for text in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 600 Odd\r\n\r\n",
            &storm,
            &huge,
        ] {
            for size in [1, 7, 100_000] {
                assert!(read(text, size).is_err(), "{:?} in pieces of {size}", &text[..text.len().min(120)]);
            }
        }
    }
}
