//! The chunked transfer coding (RFC 9112 section 7.1): a strict reader and a writer.
//!
//! httparse takes an empty size line for 0, any byte in an extension and LF for CRLF, so this reader is our own. It decodes in place: data
//! is a part of the input. Extensions and trailers are checked and dropped.

/// What is not chunked coding, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk(pub &'static str);

/// Where the reader stands. Small and copied into each message that needs it.
#[derive(Clone, Copy, Debug)]
pub struct ChunkReader {
    state: State,
    /// Bytes of the current size line or trailer line.
    line: u32,
    /// Bytes of all extensions, of all trailers.
    extensions: u32,
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size; `digits` of them so far.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
        quoted: bool,
        escaped: bool,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// At the start of a trailer line, or of the empty line that ends the body.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

impl ChunkReader {
    #[allow(clippy::new_without_default)] // the start of a body is no default
    pub fn new() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, line: 0, extensions: 0, trailers: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads up to and including the next piece of data: (bytes consumed, data). No data and less consumed than given: the body ended.
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadChunk> {
        for (at, byte) in bytes.iter().enumerate() {
            if let State::Data { left } = self.state {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - at);
                let left = left - take as u64;
                self.state = if left == 0 { State::DataCr } else { State::Data { left } };
                return Ok((at + take, &bytes[at..at + take]));
            }
            if self.state == State::Done {
                return Ok((at, &[]));
            }
            self.state = self.step(*byte)?;
        }
        Ok((bytes.len(), &[]))
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 15 digits cannot overflow, and no chunk is that large.
                if digits == 15 {
                    return Err(BadChunk("a chunk size of more than 15 digits"));
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                Ok(State::Size { size: size << 4 | digit, digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(BadChunk("a chunk without a size")),
            (State::Size { size, .. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Size { size, .. }, b';') => self.extension(size, false, false),
            (State::Size { .. }, _) => Err(BadChunk("a byte in a chunk size that is no digit")),
            (State::Extension { size, quoted: false, .. }, b'\r') => Ok(State::SizeLf { size }),
            (State::Extension { size, quoted, escaped }, b'\t' | b' '..=b'~' | 0x80..) => match (quoted, escaped, byte) {
                (true, true, _) => self.extension(size, true, false),
                (true, false, b'\\') => self.extension(size, true, true),
                (_, false, b'"') => self.extension(size, !quoted, false),
                _ => self.extension(size, quoted, false),
            },
            (State::Extension { .. }, _) => Err(BadChunk("a control character in a chunk extension")),
            (State::SizeLf { size }, b'\n') => {
                self.line = 0;
                Ok(if size == 0 { State::TrailerStart } else { State::Data { left: size } })
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => {
                self.line = 0;
                Ok(State::Size { size: 0, digits: 0 })
            }
            (State::SizeLf { .. } | State::DataCr | State::DataLf, _) => Err(BadChunk("a chunk that does not end in CRLF")),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart | State::TrailerName, byte) if is_token(byte) => self.trailer(State::TrailerName),
            (State::TrailerName, b':') => self.trailer(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => self.trailer(State::TrailerValue),
            (State::TrailerLf, b'\n') => Ok(State::TrailerStart),
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf, _) => {
                Err(BadChunk("a malformed trailer field"))
            }
            (State::EndLf, b'\n') => Ok(State::Done),
            (State::EndLf, _) => Err(BadChunk("a last chunk that does not end in CRLF")),
            (State::Data { .. } | State::Done, _) => Ok(self.state),
        }
    }

    fn extension(&mut self, size: u64, quoted: bool, escaped: bool) -> Result<State, BadChunk> {
        self.extensions += 1;
        if self.line > MAX_LINE || self.extensions > MAX_EXTENSIONS {
            return Err(BadChunk("chunk extensions of more than 256 bytes a line or 16 KiB in all"));
        }
        Ok(State::Extension { size, quoted, escaped })
    }

    fn trailer(&mut self, state: State) -> Result<State, BadChunk> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS { Err(BadChunk("trailers of more than 8 KiB")) } else { Ok(state) }
    }
}

/// RFC 9110 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Writes one chunk. `data` is not empty: an empty chunk would be the last.
pub fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    debug_assert!(!data.is_empty(), "an empty chunk ends the body");
    let (mut digits, mut at, mut left) = ([0u8; 16], 16, data.len());
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.reserve(data.len() + 20);
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// What ends a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const MAX_LINE: u32 = 256;
const MAX_EXTENSIONS: u32 = 16 * 1024;
const MAX_TRAILERS: u32 = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and how many bytes the body took; fed in pieces of `piece` bytes.
    fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, BadChunk> {
        let (mut reader, mut data, mut at) = (ChunkReader::new(), Vec::new(), 0);
        while at < bytes.len() && !reader.is_done() {
            let end = (at + piece).min(bytes.len());
            let (used, part) = reader.read(&bytes[at..end])?;
            data.extend_from_slice(part);
            at += used;
        }
        Ok(reader.is_done().then_some((data, at)))
    }

    #[test]
    fn a_body_means_the_same_however_it_is_cut() {
        let body = b"5\r\nhello\r\nA;name=\"v;\\\"\"\r\n0123456789\r\n00\r\nX-Sum: 1\r\n\r\nGET";
        for piece in 1..=body.len() {
            assert_eq!(decode(body, piece), Ok(Some((b"hello0123456789".to_vec(), body.len() - 3))), "pieces of {piece}");
        }
    }

    #[test]
    fn what_is_not_exactly_chunked_is_refused() {
        for bad in [
            "\r\n",
            ";x\r\n",
            " 5\r\nhello\r\n",
            "5 \r\nhello\r\n",
            "5\nhello\r\n",
            "+5\r\nhello\r\n",
            "0x5\r\nhello\r\n",
            "5_\r\n",
            "5\r\nhelloX\r\n",
            "5\r\nhello\n",
            "5\r\nhello\rX",
            "5;a\nb\r\nhello\r\n",
            "5;\x00\r\n",
            "0000000000000005\r\nhello\r\n",
            "10000000000000005\r\n",
            "0\r\nX\r\n\r\n",
            "0\r\n X: 1\r\n\r\n",
            "0\r\nX : 1\r\n\r\n",
            "0\r\nX: \x01\r\n\r\n",
            "0\r\n\rX",
            "0\r\nX: 1\n\r\n",
        ] {
            assert!(decode(bad.as_bytes(), bad.len()).is_err(), "{bad:?} was taken");
            assert!(decode(bad.as_bytes(), 1).is_err(), "{bad:?} was taken byte by byte");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let line = format!("1;{}\r\nx\r\n", "e".repeat(300));
        assert!(decode(line.as_bytes(), 4096).is_err());
        let many = format!("1;{}\r\nx\r\n", "e".repeat(200)).repeat(100);
        assert!(decode(many.as_bytes(), 4096).is_err());
        let trailers = format!("0\r\n{}\r\n", "X: 12345678901234567890\r\n".repeat(500));
        assert!(decode(trailers.as_bytes(), 4096).is_err());
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Vec::new();
        write_chunk(&mut out, b"hello");
        write_chunk(&mut out, &[b'x'; 300]);
        out.extend_from_slice(LAST_CHUNK);
        assert!(out.starts_with(b"5\r\nhello\r\n12c\r\nxxx"));
        let length = out.len();
        assert_eq!(decode(&out, 7).unwrap().unwrap(), ([b"hello".to_vec(), vec![b'x'; 300]].concat(), length));
    }
}
