//! The body of a request, from the client's socket to where it is kept.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::desk::Turn;
use super::intake::{Next, Received, receive};
use super::room::SpoolSpace;
use super::spool::SpoolError;
use super::{Conn, Request};
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
    turn.gathered.clear();
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
        used += consumed;
        if turn.gathered.is_empty() && (data.len() >= chunked::GATHERED || used == bytes.len()) {
            keep(request, data, turn.out, &turn.shared.spool)?;
            continue;
        }
        turn.gathered.extend_from_slice(data);
        if turn.gathered.len() >= chunked::GATHERED {
            keep(request, turn.gathered, turn.out, &turn.shared.spool)?;
            turn.gathered.clear();
        }
    }
    keep(request, turn.gathered, turn.out, &turn.shared.spool)?;
    if request.reader.is_done() {
        request.body.is_whole();
    }
    if request.is_streamed && request.facts.body == RequestBody::Chunked && request.reader.is_done() {
        request.body.keep_in_memory(chunked::LAST_CHUNK);
    }
    Ok(used)
}

/// Adds data to what is kept of a body, on its way to an app framed in `out`.
fn keep(request: &mut Request, data: &[u8], out: &mut Vec<u8>, space: &Arc<SpoolSpace>) -> Result<(), Refusal> {
    match (request.is_streamed, request.facts.body) {
        _ if data.is_empty() => {}
        (false, _) => match request.body.append(data, &request.claimant(), space) {
            Ok(()) => {}
            // What has come waits for room; more is not read before it has some.
            Err(SpoolError::Full) => request.body.keep_in_memory(data),
            Err(SpoolError::TooLarge | SpoolError::Disk(_)) => return Err(Refusal::InsufficientStorage),
        },
        (true, RequestBody::Chunked) => {
            out.clear();
            chunked::write_chunk(out, data);
            request.body.keep_in_memory(out);
        }
        (true, _) => request.body.keep_in_memory(data),
    }
    Ok(())
}

/// Before more of a body is read: whether what has come of it has its place. `Some(Next::Body)`: it waits for that.
pub fn find_room(conn: &mut Conn, turn: &mut Turn<'_>) -> Result<Option<Next>, Refusal> {
    let Some(request) = conn.request.as_mut().filter(|request| !request.is_streamed) else { return Ok(None) };
    if request.body.must_leave() {
        return Err(Refusal::BodyHeldRoom);
    }
    if !request.body.is_strained() {
        return Ok(None);
    }
    let since = *request.awaits_room.get_or_insert(turn.now);
    let waited = turn.now.saturating_duration_since(since);
    match request.body.find_room(&request.claimant(), &turn.shared.spool) {
        Ok(()) => {
            // That was not the client's time.
            request.lost += waited;
            request.awaits_room = None;
            limit(conn, turn);
            Ok(None)
        }
        Err(SpoolError::Full) if waited < ROOM.min(turn.catalog.server.timeouts.body) => {
            turn.limit(conn, ROOM_AGAIN);
            Ok(Some(Next::Body))
        }
        Err(_) => Err(Refusal::InsufficientStorage),
    }
}

/// A body may stand still for timeouts.body, and may not come slower than limits.body_rate over a time of that length: else one byte now and
/// then keeps a connection, and what came of it quickly before, for ever.
pub fn limit(conn: &mut Conn, turn: &mut Turn<'_>) {
    let server = &turn.catalog.server;
    let mut time = server.timeouts.body;
    if let Some(request) = conn.request.as_mut().filter(|_| server.limits.body_rate > 0) {
        let waited = if request.is_streamed {
            request.waited
        } else {
            turn.now.saturating_duration_since(request.since).saturating_sub(request.lost)
        };
        let left = request.credit.after(request.received, waited, server.limits.body_rate, server.timeouts.body);
        request.is_slow = left < time;
        time = left;
    }
    turn.limit(conn, time);
}

/// For how long a body may still be waited for: what comes wins time, and what was waited uses it up. No more is ever saved than one
/// `timeouts.body`, so that what came long ago wins nothing.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Credit {
    /// Not used up. None: nothing is yet.
    left: Option<Duration>,
    /// Bytes and time that have been counted.
    received: u64,
    waited: Duration,
}

impl Credit {
    /// What is left when so much in all has come and been waited, at so many bytes per second.
    fn after(&mut self, received: u64, waited: Duration, rate: u64, most: Duration) -> Duration {
        let bytes = u128::from(received.saturating_sub(self.received));
        let won = Duration::from_nanos(u64::try_from(bytes * 1_000_000_000 / u128::from(rate.max(1))).unwrap_or(u64::MAX));
        let used = waited.saturating_sub(self.waited);
        let left = self.left.unwrap_or(most).saturating_sub(used).saturating_add(won).min(most);
        *self = Self { left: Some(left), received, waited };
        left
    }
}

/// A body waits so long for room in a file, which others are asked to make.
const ROOM: Duration = Duration::from_secs(10);
/// It looks again after this.
const ROOM_AGAIN: Duration = Duration::from_millis(50);

pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_quickly_long_ago_wins_no_time() {
        let (body, rate) = (Duration::from_secs(30), 500);
        let second = Duration::from_secs(1);
        let mut credit = Credit::default();
        assert_eq!(credit.after(1 << 30, second, rate, body), body);
        // A byte each second wins 2 ms of it.
        let left: Vec<Duration> = (2..40).map(|at| credit.after((1 << 30) + at, at as u32 * second, rate, body)).collect();
        assert_eq!(left.iter().position(|left| *left < second), Some(29), "{left:?}");
    }

    #[test]
    fn the_least_rate_is_enough_for_ever_and_a_pause_is_caught_up() {
        let (body, rate, second) = (Duration::from_secs(30), 500, Duration::from_secs(1));
        let mut credit = Credit::default();
        for at in 1..1000 {
            assert!(credit.after(u64::from(at) * 500, at * second, rate, body) >= body - second);
        }
        assert_eq!(credit.after(500_000, 1020 * second, rate, body), 9 * second + second);
    }
}
