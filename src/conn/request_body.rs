//! The body of a request, from the client's socket to where it is kept.

use std::time::Duration;

use super::Conn;
use super::desk::Turn;
use super::intake::{Received, receive};
use crate::http::chunked;
use crate::http::framing::RequestBody;
use crate::http::refusal::Refusal;

/// What a look for more of a body has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    Bytes,
    Nothing,
    /// The client's end, or an error of its socket.
    End,
}

/// Reads on in a body: what was read before, else one read of the socket.
pub fn read_more(conn: &mut Conn, turn: &mut Turn<'_>) -> Result<Came, Refusal> {
    if !conn.input.is_empty() {
        let input = std::mem::take(&mut conn.input);
        let used = store(conn, &input, turn)?;
        // A new one, so that the memory of what was read with the head is not kept.
        conn.input.extend_from_slice(&input[used..]);
        return Ok(Came::Bytes);
    }
    let buffer = std::mem::take(&mut turn.buffer);
    let came = match receive(conn, buffer) {
        Received::Bytes(count) => store(conn, &buffer[..count], turn).map(|used| {
            conn.input.extend_from_slice(&buffer[used..count]);
            limit(conn, turn);
            Came::Bytes
        }),
        Received::Nothing => Ok(Came::Nothing),
        Received::End | Received::Broken => Ok(Came::End),
    };
    turn.buffer = buffer;
    came
}

/// Adds body bytes; gives how many of `bytes` belong to the body.
fn store(conn: &mut Conn, bytes: &[u8], turn: &mut Turn<'_>) -> Result<usize, Refusal> {
    let Some(request) = conn.request.as_mut() else { return Ok(0) };
    let mut used = 0;
    while !request.reader.is_done() && used < bytes.len() {
        let (consumed, data) = request.reader.read(&bytes[used..]).map_err(|bad| Refusal::BadRequest(bad.reason()))?;
        if consumed == 0 {
            break;
        }
        request.received += data.len() as u64;
        // A chunk that would go beyond the limit is refused for its size: nobody has to send it first.
        if request.received.saturating_add(request.reader.announced()) > request.max_body {
            return Err(Refusal::BodyTooLarge);
        }
        match (request.is_streamed, request.facts.body) {
            (false, _) => request.body.append(data, &turn.shared.spool).map_err(|_| Refusal::InsufficientStorage)?,
            (true, RequestBody::Chunked) if !data.is_empty() => {
                turn.out.clear();
                chunked::write_chunk(turn.out, data);
                request.body.keep(turn.out, None);
            }
            (true, _) => request.body.keep(data, None),
        }
        used += consumed;
    }
    if request.is_streamed && request.facts.body == RequestBody::Chunked && request.reader.is_done() {
        request.body.keep(chunked::LAST_CHUNK, None);
    }
    Ok(used)
}

/// A body may stand still for timeouts.body, and be on its way for that and as long as its bytes so far last at limits.body_rate: else one
/// byte now and then keeps a connection for ever.
pub fn limit(conn: &mut Conn, turn: &mut Turn<'_>) {
    let server = &turn.shared.server;
    let mut time = server.timeouts.body;
    if let Some(request) = conn.request.as_mut().filter(|_| server.limits.body_rate > 0) {
        let earned = Duration::from_millis(request.received.saturating_mul(1000) / server.limits.body_rate);
        let waited = if request.is_streamed {
            request.waited
        } else {
            turn.now.saturating_duration_since(request.since).saturating_sub(request.lost)
        };
        let left = (server.timeouts.body + earned).saturating_sub(waited);
        request.is_slow = left < time;
        time = time.min(left);
    }
    turn.limit(conn, time);
}

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
