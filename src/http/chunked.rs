//! The chunked transfer coding (RFC 9112 section 7.1): a strict reader and a writer.
//!
//! httparse takes an empty size line for 0, any byte in an extension and LF for CRLF, so this reader is our own. It decodes in place: data
//! is a part of the input. Extensions and trailers are checked and dropped.

use serde::{Deserialize, Serialize};

use super::head::is_token;

/// What is not chunked coding, or too much of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadChunk(pub &'static str);

/// Where the reader stands. Small and copied into each message that needs it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ChunkReader {
    state: State,
    /// Bytes of the current size line or trailer line.
    line: u32,
    /// Bytes that extensions may still take.
    extensions_left: u64,
    /// Bytes of all trailers.
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    /// In the size; `digits` of them so far.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind a semicolon, blanks included.
    ExtensionStart {
        size: u64,
    },
    ExtensionName {
        size: u64,
    },
    /// Blanks behind a name.
    ExtensionNameEnd {
        size: u64,
    },
    /// Behind the equals sign, blanks included.
    ExtensionEquals {
        size: u64,
    },
    ExtensionValue {
        size: u64,
    },
    Quoted {
        size: u64,
    },
    QuotedPair {
        size: u64,
    },
    /// Behind a quoted value.
    QuotedEnd {
        size: u64,
    },
    /// Blanks behind a value.
    ExtensionValueEnd {
        size: u64,
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
        Self { state: State::Size { size: 0, digits: 0 }, line: 0, extensions_left: EXTENSIONS_FREE, trailers: 0 }
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Bytes of data that the chunk has still to bring.
    pub fn left(&self) -> u64 {
        if let State::Data { left } = self.state { left } else { 0 }
    }

    /// Reads up to and including the next piece of data: (bytes consumed, data). No data and less consumed than given: the body ended.
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadChunk> {
        if let Some((start, size)) = self.small_chunk(bytes) {
            self.extensions_left = self.extensions_left.saturating_add(size as u64 / DATA_PER_EXTENSION_BYTE);
            let end = (start + size).min(bytes.len());
            let left = (start + size - end) as u64;
            self.state = if left == 0 { State::DataCr } else { State::Data { left } };
            return Ok((end, &bytes[start..end]));
        }
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

    /// Where the data of a chunk begins, and how much it is, if `bytes` begin with its whole size line (and with the end of the chunk before) and
    /// that is as nearly all are: one digit or two, no extension. Byte by byte tiny chunks would cost more than what they bring.
    fn small_chunk(&self, bytes: &[u8]) -> Option<(usize, usize)> {
        let start = match self.state {
            State::Size { digits: 0, .. } => 0,
            State::DataCr if bytes.starts_with(b"\r\n") => 2,
            _ => return None,
        };
        let digit = |at: usize| bytes.get(at).and_then(|byte| (*byte as char).to_digit(16)).map(|digit| digit as usize);
        let first = digit(start)?;
        let (size, digits) = digit(start + 1).map_or((first, 1), |second| (first << 4 | second, 2));
        let data = start + digits + 2;
        let is_data = size > 0 && bytes.len() > data && &bytes[start + digits..data] == b"\r\n";
        is_data.then_some((data, size))
    }

    fn step(&mut self, byte: u8) -> Result<State, BadChunk> {
        self.line += 1;
        match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                // 16 digits are all that fit, leading zeros included.
                if digits == 16 {
                    return Err(BadChunk(LARGE));
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                Ok(State::Size { size: size << 4 | digit, digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(BadChunk("a chunk without a size")),
            (State::Size { size, .. }, b'\r' | b';') => {
                if size > i64::MAX as u64 {
                    return Err(BadChunk(LARGE));
                }
                self.extensions_left = self.extensions_left.saturating_add(size / DATA_PER_EXTENSION_BYTE);
                if byte == b';' { self.extension(State::ExtensionStart { size }) } else { Ok(State::SizeLf { size }) }
            }
            (State::Size { .. }, _) => Err(BadChunk("a byte in a chunk size that is no digit")),
            (State::ExtensionStart { .. }, b' ' | b'\t') => self.extension(self.state),
            (State::ExtensionStart { size } | State::ExtensionName { size }, byte) if is_token(byte) => {
                self.extension(State::ExtensionName { size })
            }
            (State::ExtensionName { size } | State::ExtensionNameEnd { size }, b' ' | b'\t') => {
                self.extension(State::ExtensionNameEnd { size })
            }
            (State::ExtensionName { size } | State::ExtensionNameEnd { size }, b'=') => self.extension(State::ExtensionEquals { size }),
            (State::ExtensionEquals { .. }, b' ' | b'\t') => self.extension(self.state),
            (State::ExtensionEquals { size }, b'"') => self.extension(State::Quoted { size }),
            (State::ExtensionEquals { size } | State::ExtensionValue { size }, byte) if is_token(byte) => {
                self.extension(State::ExtensionValue { size })
            }
            (State::ExtensionValue { size } | State::QuotedEnd { size } | State::ExtensionValueEnd { size }, b' ' | b'\t') => {
                self.extension(State::ExtensionValueEnd { size })
            }
            (
                State::ExtensionName { size }
                | State::ExtensionNameEnd { size }
                | State::ExtensionValue { size }
                | State::QuotedEnd { size }
                | State::ExtensionValueEnd { size },
                b';',
            ) => self.extension(State::ExtensionStart { size }),
            (State::ExtensionName { size } | State::ExtensionValue { size } | State::QuotedEnd { size }, b'\r') => {
                Ok(State::SizeLf { size })
            }
            (State::Quoted { size }, b'"') => self.extension(State::QuotedEnd { size }),
            (State::Quoted { size }, b'\\') => self.extension(State::QuotedPair { size }),
            (State::Quoted { size } | State::QuotedPair { size }, b'\t' | b' '..=b'~' | 0x80..) => self.extension(State::Quoted { size }),
            (
                State::ExtensionStart { .. }
                | State::ExtensionName { .. }
                | State::ExtensionNameEnd { .. }
                | State::ExtensionEquals { .. }
                | State::ExtensionValue { .. }
                | State::ExtensionValueEnd { .. }
                | State::Quoted { .. }
                | State::QuotedPair { .. }
                | State::QuotedEnd { .. },
                _,
            ) => Err(BadChunk("a malformed chunk extension")),
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

    /// Counts one byte of an extension.
    fn extension(&mut self, next: State) -> Result<State, BadChunk> {
        self.extensions_left = self.extensions_left.saturating_sub(1);
        if self.line > MAX_LINE || self.extensions_left == 0 {
            return Err(BadChunk("chunk extensions that are too long"));
        }
        Ok(next)
    }

    fn trailer(&mut self, state: State) -> Result<State, BadChunk> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS { Err(BadChunk("trailers of more than 8 KiB")) } else { Ok(state) }
    }
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

/// The data of small chunks is gathered up to so much (bytes) before it goes anywhere.
pub const GATHERED: usize = 16 * 1024;

/// What ends a body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Bytes of a size line with its extension.
const MAX_LINE: u32 = 256;
/// Bytes of extensions that any body may have; beyond that they must be paid for with data (CVE-2023-39326: traffic and CPU for free).
const EXTENSIONS_FREE: u64 = 16 * 1024;
/// One more byte of extensions for so many of data: signed uploads have about 85 bytes per chunk, and chunks of 4 KiB or more.
const DATA_PER_EXTENSION_BYTE: u64 = 32;
/// Bytes of all trailers.
const MAX_TRAILERS: u32 = 8 * 1024;
const LARGE: &str = "a chunk size that is too large";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moment::left;

    /// The data, and how many bytes the body took; fed in pieces of `piece` bytes, to a reader that is left to the next rota before each.
    fn decode(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, BadChunk> {
        let (mut reader, mut data, mut at) = (ChunkReader::new(), Vec::new(), 0);
        while at < bytes.len() && !reader.is_done() {
            let end = (at + piece).min(bytes.len());
            reader = left(&reader);
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
    fn small_chunks_mean_the_same_at_once_as_byte_by_byte() {
        let sizes = [1, 9, 15, 16, 17, 255, 256, 300];
        let chunk = |size: &usize| [format!("{size:x}\r\n").into_bytes(), vec![b'x'; *size], b"\r\n".to_vec()].concat();
        let body = sizes.iter().map(chunk).chain([b"01\r\ny\r\n0A\r\n0123456789\r\n0\r\n\r\nGET".to_vec()]).collect::<Vec<_>>().concat();
        let at_once = decode(&body, body.len());
        assert_eq!(at_once.as_ref().unwrap().as_ref().unwrap().0.len(), sizes.iter().sum::<usize>() + 11);
        for piece in [1, 2, 3, 5, 64] {
            assert_eq!(decode(&body, piece), at_once, "pieces of {piece}");
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
            "00000000000000005\r\nhello\r\n",
            "8000000000000000\r\n",
            "5;\r\n",
            "5;;a\r\n",
            "5;=x\r\n",
            "5;a=\r\n",
            "5;a \r\n",
            "5;a=b \r\n",
            "5;a b\r\n",
            "5;a=b c\r\n",
            "5;a=\"b\"c\r\n",
            "5;a=b\"c\"\r\n",
            "5;a=\"\n\"\r\n",
            "5;a=\"\\\n\"\r\n",
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
    fn extensions_are_names_with_values_and_blanks_between() {
        for line in ["5;a", "5; a", "5;a;b", "5;a=b", "5;a =b", "5;a= b ; c", "5;\ta\t=\t\"b\\\"c\" ;d=e", "0000000000000005;a=\"\""] {
            let body = format!("{line}\r\nhello\r\n0\r\n\r\n");
            assert_eq!(decode(body.as_bytes(), 3), Ok(Some((b"hello".to_vec(), body.len()))), "{line}");
        }
    }

    #[test]
    fn a_long_signed_upload_is_taken() {
        let chunk = format!("1000;chunk-signature={}\r\n{}\r\n", "f".repeat(64), "x".repeat(0x1000));
        let body = chunk.repeat(2000) + "0\r\n\r\n";
        assert_eq!(decode(body.as_bytes(), 65536).unwrap().unwrap().0.len(), 2000 * 0x1000);
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
