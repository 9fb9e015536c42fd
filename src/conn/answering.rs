//! Answers of our own: an error in place of an app's response, and the end of any request.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::desk::{Spare, Turn};
use super::intake::Peer;
use super::{Conn, Phase};
use crate::http::accept::Form;
use crate::http::error_page::Plight;
use crate::http::head::{self, RequestHead};
use crate::http::refusal::{Answer, Refusal};

/// Answers with an error. The connection goes on when that is safe, else it is closed in two steps. `plight`: why the app does not answer, for
/// a client that may know.
pub fn refuse(conn: &mut Conn, refusal: &Refusal, plight: Option<&Plight>, turn: &mut Turn<'_>) {
    let Some(request) = &conn.request else { return refuse_head(conn, refusal, &Asker::default(), turn) };
    let is_whole = request.reader.is_done();
    let keep = !refusal.must_close() && request.facts.keep_alive && is_whole && !turn.shared.stopping.load(Ordering::Relaxed);
    conn.unread = !is_whole;
    let (status, reason, id) = (refusal.status(), refusal.reason(), request.id());
    log::debug!("{} from {}: {status} ({reason}), request id {}", request.line(), Peer(conn), id.unwrap_or("-"));
    let page = turn.catalog.app(request.group).errors.get(&status).or_else(|| turn.catalog.server.errors.get(&status));
    let form = Form::wanted(request.values("Accept"));
    let answer = Answer { date: turn.date, head_only: request.facts.head_only, keep, request_id: id, form, page, plight };
    turn.out.clear();
    let behind = refusal.write(turn.out, &answer);
    refused(conn, keep, refusal, behind, turn);
}

/// What a head says of its sender that is refused before it is a request.
#[derive(Debug, Default)]
pub struct Asker {
    form: Form,
    /// None: the head is not whole.
    request_id: Option<String>,
}

/// As [`refuse`] for a head that becomes no request; what was read of it is in `input`.
pub fn refuse_head(conn: &mut Conn, refusal: &Refusal, asker: &Asker, turn: &mut Turn<'_>) {
    conn.unread = true;
    let (status, reason, request_id) = (refusal.status(), refusal.reason(), asker.request_id.as_deref());
    log::debug!("head from {}: {status} ({reason}), request id {}", Peer(conn), request_id.unwrap_or("-"));
    let page = turn.catalog.server.errors.get(&status);
    let head_only = head::is_to_head(&conn.input);
    let answer = Answer { date: turn.date, head_only, keep: false, request_id, form: asker.form, page, plight: None };
    turn.out.clear();
    let behind = refusal.write(turn.out, &answer);
    refused(conn, false, refusal, behind, turn);
}

/// The refusal is in `turn.out`, with `behind` behind it.
fn refused(conn: &mut Conn, keep: bool, refusal: &Refusal, behind: &[u8], turn: &mut Turn<'_>) {
    let head = head_len(turn.out);
    match &mut conn.request {
        Some(request) => {
            request.entry.cause = Some(*refusal);
            request.entry.refused(head, refusal.status());
        }
        None => {
            let body = turn.out.len() - head + behind.len();
            turn.catalog.logs.access.write_refused(&conn.input, conn.client(), refusal, body as u64);
        }
    }
    answered(conn, keep, behind, turn);
}

/// The answer in `turn.out`, with `behind` behind it, is the last of this request.
pub(super) fn answered(conn: &mut Conn, keep: bool, behind: &[u8], turn: &mut Turn<'_>) {
    let sent = conn.send(turn.out, behind, Some(&turn.shared.spool));
    // There is no second answer: a client whose socket breaks has lost this one.
    if sent.is_err() {
        conn.file = None;
    }
    request_done(conn, turn.spare, keep && sent.is_ok(), turn.now);
    turn.limit(conn, turn.catalog.server.timeouts.write);
}

/// How much of an answer of ours is its head.
pub fn head_len(answer: &[u8]) -> usize {
    memchr::memmem::find(answer, b"\r\n\r\n").map_or(answer.len(), |end| end + 4)
}

/// The response is complete as far as the app goes; what the client has not taken yet is in `output`.
pub fn request_done(conn: &mut Conn, spare: &mut Spare, keep: bool, now: Instant) {
    conn.phase = Phase::Flush { close: !keep };
    // What is counted and logged is what the client has taken.
    let stays = conn.has_output();
    if let Some(request) = &mut conn.request {
        request.entry.answered(now);
        request.share = None;
        if stays {
            return request.body.clear();
        }
    }
    spare.end(conn, now);
}

impl Asker {
    pub fn of(head: &RequestHead<'_, '_>, spare: &mut Spare) -> Self {
        let accept = head.fields.iter().filter(|(_, name, _)| name.eq_ignore_ascii_case("accept")).map(|(_, _, value)| value);
        Self { form: Form::wanted(accept), request_id: Some(format!("{:032x}", spare.ids.fresh())) }
    }
}
