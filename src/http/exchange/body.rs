//! A body as it comes, taken out of its framing; of requests and of responses.

use serde::{Deserialize, Serialize};

use crate::http::chunked::ChunkReader;
use crate::http::framing::{RequestBody, ResponseBody};

/// A body that breaks its framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadBody(&'static str);

impl BadBody {
    pub fn reason(&self) -> &'static str {
        self.0
    }
}

/// Takes a body apart as it comes.
#[derive(Debug, Serialize, Deserialize)]
pub struct BodyReader(Reader);

#[derive(Debug, Serialize, Deserialize)]
enum Reader {
    Length(u64),
    Chunked(ChunkReader),
    UntilClose,
}

impl BodyReader {
    pub fn for_request(body: &RequestBody) -> Self {
        Self(match body {
            RequestBody::None => Reader::Length(0),
            RequestBody::Length(length) => Reader::Length(*length),
            RequestBody::Chunked => Reader::Chunked(ChunkReader::new()),
        })
    }

    pub fn for_response(body: &ResponseBody) -> Self {
        Self(match body {
            ResponseBody::None => Reader::Length(0),
            ResponseBody::Length(length) => Reader::Length(*length),
            ResponseBody::Chunked => Reader::Chunked(ChunkReader::new()),
            ResponseBody::UntilClose => Reader::UntilClose,
        })
    }

    /// The body is whole. One that lasts until the close never is.
    pub fn is_done(&self) -> bool {
        match &self.0 {
            Reader::Length(left) => *left == 0,
            Reader::Chunked(reader) => reader.is_done(),
            Reader::UntilClose => false,
        }
    }

    /// Bytes that are announced and have not come, as far as is known: of chunks, those of the one that has begun.
    pub fn announced(&self) -> u64 {
        match &self.0 {
            Reader::Length(left) => *left,
            Reader::Chunked(reader) => reader.left(),
            Reader::UntilClose => 0,
        }
    }

    /// The next piece: (bytes of the input that it took, data).
    pub fn read<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, &'a [u8]), BadBody> {
        match &mut self.0 {
            Reader::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                Ok((take, &bytes[..take]))
            }
            Reader::Chunked(reader) => reader.read(bytes).map_err(|bad| BadBody(bad.0)),
            Reader::UntilClose => Ok((bytes.len(), bytes)),
        }
    }

    /// The connection ended here: is the body whole?
    pub fn eof(&self) -> Result<(), BadBody> {
        match &self.0 {
            Reader::UntilClose => Ok(()),
            Reader::Length(_) | Reader::Chunked(_) if self.is_done() => Ok(()),
            Reader::Length(_) | Reader::Chunked(_) => Err(BadBody("the body was cut off")),
        }
    }
}
