//! An answer that rota itself asked for (the readiness probe, a warm-up), read as a visitor's is: by the same head parser, the same decision
//! about its length and the same reader of bodies. What a visitor would get 502 for is an error here.

use super::exchange::{BodyReader, INTERIM_MAX, Kind, RequestFacts, plan_response};
use super::framing::RequestBody;
use super::head::{HeaderRoom, Version, parse_response};
use super::malformed::Malformed;

/// The answer to one GET, as far as it has come.
#[derive(Debug)]
pub struct AnswerReader {
    facts: RequestFacts,
    /// Of a head that is not whole.
    input: Vec<u8>,
    interim: u8,
    body: Option<Body>,
}

#[derive(Debug)]
struct Body {
    status: u16,
    reader: BodyReader,
    /// Bytes of data so far.
    length: u64,
}

impl Default for AnswerReader {
    fn default() -> Self {
        let facts = RequestFacts {
            version: Version::Http11,
            keep_alive: true,
            head_only: false,
            idempotent: true,
            says_empty: false,
            expects_continue: false,
            upgrade: Vec::new(),
            body: RequestBody::None,
        };
        Self { facts, input: Vec::new(), interim: 0, body: None }
    }
}

impl AnswerReader {
    /// Of the final head, when that has come.
    pub fn status(&self) -> Option<u16> {
        self.body.as_ref().map(|body| body.status)
    }

    /// Bytes of the body so far.
    pub fn length(&self) -> u64 {
        self.body.as_ref().map_or(0, |body| body.length)
    }

    /// Nothing has come.
    pub fn is_empty(&self) -> bool {
        self.body.is_none() && self.input.is_empty() && self.interim == 0
    }

    /// All of it is there. One that ends with the connection is whole only then.
    pub fn is_whole(&self) -> bool {
        self.body.as_ref().is_some_and(|body| body.reader.is_done())
    }

    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        if self.body.is_some() {
            return self.read_body(bytes);
        }
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let mut at = 0;
        while self.body.is_none() {
            match self.take_head(&input[at..])? {
                Some(used) => at += used,
                None => {
                    self.input = input[at..].to_vec();
                    return Ok(());
                }
            }
        }
        self.read_body(&input[at..])
    }

    /// The connection ended here.
    pub fn end(&self) -> Result<(), Malformed> {
        match &self.body {
            Some(body) => body.reader.eof().map_err(|bad| Malformed::body(bad.reason(), b"")),
            None => Err(Malformed::body("the connection ended before the answer was whole", &self.input)),
        }
    }

    /// How many bytes it took; None: it is not whole yet.
    fn take_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Malformed> {
        let bad = |reason| Malformed::head(reason, bytes);
        let mut room = HeaderRoom::new();
        let Some((head, used)) = parse_response(bytes, &mut room).map_err(|refused| bad(refused.reason()))? else { return Ok(None) };
        let plan = plan_response(&self.facts, &head).map_err(|refused| bad(refused.reason()))?;
        match plan.kind {
            Kind::Interim | Kind::Dropped => {
                self.interim += 1;
                if self.interim > INTERIM_MAX {
                    return Err(bad(TOO_MANY_INTERIM));
                }
            }
            Kind::Final | Kind::Switch => {
                self.body = Some(Body { status: plan.status, reader: BodyReader::for_response(&plan.from_app), length: 0 });
            }
        }
        Ok(Some(used))
    }

    fn read_body(&mut self, bytes: &[u8]) -> Result<(), Malformed> {
        let Some(body) = &mut self.body else { return Ok(()) };
        let mut at = 0;
        while at < bytes.len() && !body.reader.is_done() {
            let (used, data) = body.reader.read(&bytes[at..]).map_err(|bad| Malformed::body(bad.reason(), &bytes[at..]))?;
            body.length += data.len() as u64;
            at += used;
            if used == 0 && data.is_empty() {
                break;
            }
        }
        Ok(())
    }
}

pub const TOO_MANY_INTERIM: &str = "more than 16 interim responses before the final one";

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of an answer that comes in pieces of `size` bytes and then ends: its status and length, or why it is refused.
    fn read(text: &str, size: usize) -> Result<(u16, u64), &'static str> {
        let mut answer = AnswerReader::default();
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
