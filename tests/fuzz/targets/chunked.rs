//! A chunked body: the same in any cut, the same as to a second reader, and what is written reads back.

use rota::http::chunked::{ChunkReader, LAST_CHUNK, write_chunk};

use super::second_reader::{self, Body, Reading};

/// Data, bytes taken, and whether that is all.
type Decoded = Result<(Vec<u8>, usize, bool), &'static str>;

pub fn check(bytes: &[u8]) {
    if bytes.len() > LARGEST {
        return;
    }
    let whole = decode([bytes]);
    assert_eq!(decode(bytes.chunks(1)), whole, "byte by byte");
    assert_eq!(decode(super::pieces(bytes)), whole, "in pieces");
    for cut in super::cuts(bytes) {
        assert_eq!(decode([&bytes[..cut], &bytes[cut..]]), whole, "cut at {cut}");
    }
    agrees_with_a_second_reader(bytes, &whole);
    if let Ok((data, taken, true)) = &whole {
        // What follows is none of its business.
        assert_eq!(decode([&bytes[..*taken], b"GET / HTTP/1.1\r\n\r\n"]), whole);
        assert_eq!(decode([&bytes[..taken - 1]]).map(|(_, _, done)| done), Ok(false), "it ends at its last byte");
        reads_back(data);
    }
}

/// As the server does it: what a read does not take is given again.
fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Decoded {
    let (mut reader, mut data, mut taken) = (ChunkReader::new(), Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        while at < piece.len() && !reader.is_done() {
            let (used, part) = reader.read(&piece[at..]).map_err(|bad| bad.0)?;
            assert!(used > 0 || reader.is_done(), "a reader that is not done takes something");
            assert!(at + used <= piece.len() && part.len() <= used, "it takes no more than there is");
            assert_eq!(part, &piece[at + used - part.len()..at + used], "data is the last that was taken");
            data.extend_from_slice(part);
            at += used;
        }
        taken += at;
    }
    Ok((data, taken, reader.is_done()))
}

fn agrees_with_a_second_reader(bytes: &[u8], whole: &Decoded) {
    let message = [HEAD, bytes].concat();
    let Reading::Request(request) = second_reader::read(&message) else { panic!("its head is whole and well-formed") };
    let Body::Chunked(second) = request.body else { panic!("its head says chunked") };
    let agree = match (whole, &second) {
        (Ok((data, taken, true)), Ok(Some((same, length)))) => (data, taken) == (same, length),
        // It reads whole lines: what the first refuses in the middle of one it has not seen yet.
        (Ok((_, _, false)) | Err(_), Ok(None)) => true,
        (Err(_), Err(_)) => true,
        (Ok(_), Err(_) | Ok(_)) | (Err(_), Ok(_)) => false,
    };
    assert!(agree, "first: {whole:?}\nsecond: {second:?}");
}

fn reads_back(data: &[u8]) {
    let mut out = Vec::new();
    for piece in super::pieces(data).into_iter().filter(|piece| !piece.is_empty()) {
        write_chunk(&mut out, piece);
    }
    out.extend_from_slice(LAST_CHUNK);
    assert_eq!(decode([&out[..]]), Ok((data.to_vec(), out.len(), true)));
}

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Beyond this the bounds of all extensions and trailers count, which the second reader takes less exactly (bytes).
const LARGEST: usize = 8000;
