//! The health path, which rota answers itself (`server.health`): 200 where requests are taken, else 503, for balancers and monitors. On
//! whichever thread has the connection; takes the lock for a look, and only where that path is asked for.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::Conn;
use super::answering;
use super::desk::Turn;
use crate::http::exchange::facts::RequestFacts;
use crate::http::framing::RequestBody;
use crate::http::head::RequestHead;
use crate::standing::Standing;

/// Answers a question for the health of rota or, by its Host, of an app. False: it is a request as any other.
pub fn answer(conn: &mut Conn, head: &RequestHead<'_, '_>, facts: &RequestFacts, turn: &mut Turn<'_>) -> bool {
    let Some(health) = &turn.catalog.server.health else { return false };
    let path = head.path.split_once('?').map_or(head.path, |(path, _)| path);
    // HAProxy asks with OPTIONS unless it is told otherwise.
    let asks = matches!(head.method, "GET" | "HEAD" | "OPTIONS") && facts.body == RequestBody::None;
    if !asks || path != health {
        return false;
    }
    let (status, says) = match trouble(turn, head.host(), head.path) {
        None => ("200 OK", "ok"),
        Some(why) => ("503 Service Unavailable", why),
    };
    let keep = facts.keep_alive && !turn.shared.stopping.load(Ordering::Relaxed);
    let connection = if keep { "keep-alive" } else { "close" };
    turn.out.clear();
    let written = write!(
        turn.out,
        "HTTP/1.1 {status}\r\nDate: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: {connection}\r\n\r\n",
        turn.date,
        says.len() + 1
    );
    debug_assert!(written.is_ok(), "writing to memory does not fail");
    if !facts.head_only {
        turn.out.extend_from_slice(says.as_bytes());
        turn.out.push(b'\n');
    }
    answering::answered(conn, keep, &[], turn);
    true
}

/// None: requests may come. Else why they should go elsewhere.
fn trouble(turn: &Turn<'_>, host: Option<&str>, path: &str) -> Option<&'static str> {
    // A Host that names no app, as balancers send it, or none at all, is a question for all of them.
    match host.and_then(|host| turn.catalog.look_up(host, path)) {
        Some(None) => Standing::of_server(turn.shared).trouble().or(Some("the app is not served")),
        Some(app) => Standing::of(turn.shared, app).trouble(),
        None => Standing::of(turn.shared, None).trouble(),
    }
}
