//! A body on its way from the app to the client: out of one framing and into the other.

use super::body::BodyReader;
use super::plan::ClientBody;
use super::{End, Lasts, Next, Out};
use crate::http::chunked;
use crate::http::malformed::Malformed;

/// Bytes of a body: what is sent of them as it is, behind what `out` has got, and what comes behind them. `leaves`: an event stream ends behind
/// the event that is under way. Chunks become larger ones.
pub(super) fn take_body<'b>(
    reader: &mut BodyReader,
    to_client: ClientBody,
    lasts: &mut Lasts,
    bytes: &'b [u8],
    leaves: bool,
    out: &mut Out,
) -> Result<(&'b [u8], Next), Malformed> {
    let (mut at, mut tail) = (0, &bytes[..0]);
    let Out { bytes: out, gathered } = out;
    gathered.clear();
    let next = loop {
        if reader.is_done() {
            break Next::Ended(if at < bytes.len() { End::WithMore } else { End::Whole });
        }
        if at == bytes.len() {
            break Next::More;
        }
        let (used, data) = reader.read(&bytes[at..]).map_err(|bad| Malformed::body(bad.reason(), &bytes[at..]))?;
        at += used;
        if data.is_empty() {
            if used == 0 {
                break Next::More;
            }
            continue;
        }
        let to_end = match lasts {
            Lasts::Events(events) if leaves => events.pass_to_end(data),
            Lasts::Events(events) => {
                events.pass(data);
                None
            }
            Lasts::Not | Lasts::Stream => None,
        };
        let data = to_end.map_or(data, |passed| &data[..passed]);
        match to_client {
            ClientBody::None => {}
            ClientBody::Chunked if data.is_empty() => {}
            ClientBody::Chunked if gathered.is_empty() && data.len() >= chunked::GATHERED => chunked::write_chunk(out, data),
            ClientBody::Chunked => {
                gathered.extend_from_slice(data);
                if gathered.len() >= chunked::GATHERED {
                    chunked::write_chunk(out, gathered);
                    gathered.clear();
                }
            }
            ClientBody::Length(_) | ClientBody::UntilClose => {
                out.extend_from_slice(tail);
                tail = data;
            }
        }
        if to_end.is_some() {
            break Next::Ended(End::Left);
        }
    };
    if !gathered.is_empty() {
        chunked::write_chunk(out, gathered);
    }
    if next != Next::More && to_client == ClientBody::Chunked {
        out.extend_from_slice(chunked::LAST_CHUNK);
    }
    Ok((tail, next))
}
