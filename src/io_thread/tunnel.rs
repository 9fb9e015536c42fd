//! An upgraded connection: bytes both ways until one side ends. It holds its slot. Of a WebSocket the boundaries are known, so that it can be
//! closed between two messages when the process drains.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::{Duration, Instant};

use super::exchange::Stage;
use super::{Client, IoThread, Name};
use crate::conn::answering;
use crate::http::websocket::{self, Boundary, Frames};

/// What is known of a tunnel that is a WebSocket.
#[derive(Debug)]
pub struct WebSocket {
    to_client: Frames,
    to_app: Frames,
    /// The client's end of stream was read.
    client_gone: bool,
    goodbye: Option<Goodbye>,
}

/// We have sent the client a close frame: from here on nothing goes through.
#[derive(Debug)]
struct Goodbye {
    /// The app has its close frame, or the client's.
    app_told: bool,
    app_gone: bool,
    /// When it is over, answered or not; None: the client's socket has not taken the close frame yet.
    until: Option<Instant>,
}

impl WebSocket {
    pub fn new() -> Self {
        Self { to_client: Frames::new(), to_app: Frames::new(), client_gone: false, goodbye: None }
    }

    /// We have closed it.
    pub fn has_left(&self) -> bool {
        self.goodbye.is_some()
    }

    /// Bytes for the client: how many of them go to it, and whether we close it behind them. `leaves`: at the next message boundary.
    pub fn take_from_app(&mut self, bytes: &[u8], leaves: bool) -> (usize, bool) {
        if self.has_left() {
            self.to_client.pass(bytes);
            return (0, false);
        }
        if !leaves || self.is_closing() {
            self.to_client.pass(bytes);
            return (bytes.len(), false);
        }
        match self.to_client.pass_to(Boundary::Message, bytes) {
            Some(passed) if !self.to_client.close_seen() => {
                self.to_client.pass(&bytes[passed..]);
                (passed, true)
            }
            Some(passed) => {
                self.to_client.pass(&bytes[passed..]);
                (bytes.len(), false)
            }
            None => (bytes.len(), false),
        }
    }

    /// Bytes from the client: what the app gets of them is added to `out`.
    fn take_from_client(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match &mut self.goodbye {
            None => out.extend_from_slice(bytes),
            Some(Goodbye { app_told: true, .. }) => {}
            Some(goodbye) => {
                let passed = self.to_app.pass_to(Boundary::Frame, bytes);
                out.extend_from_slice(&bytes[..passed.unwrap_or(bytes.len())]);
                let Some(passed) = passed else { return };
                goodbye.app_told = true;
                // It may have been the client's own close frame that ended here.
                if !self.to_app.close_seen() {
                    tell_app(out);
                }
                return self.to_app.pass(&bytes[passed..]);
            }
        }
        self.to_app.pass(bytes);
    }

    /// Nothing would be cut by closing it now, and nobody has begun to close it.
    pub fn may_leave(&self) -> bool {
        !self.is_closing() && self.to_client.is_at(Boundary::Message)
    }

    /// The app or the client has begun to close it: they finish it between them.
    fn is_closing(&self) -> bool {
        self.to_client.close_seen() || self.to_app.close_seen()
    }

    pub fn app_is_gone(&mut self) {
        if let Some(goodbye) = &mut self.goodbye {
            goodbye.app_gone = true;
        }
    }

    /// Both sides have answered, or are gone.
    fn is_answered(&self) -> bool {
        let app_done = self.goodbye.as_ref().is_some_and(|goodbye| goodbye.app_gone) || self.to_client.close_seen();
        app_done && (self.client_gone || self.to_app.close_seen())
    }

    /// When the wait for the answers ends, at `end` at the latest. None: the client's socket has not taken the close frame yet.
    pub fn goodbye_until(&mut self, end: Instant, is_drained: bool, now: Instant) -> Option<Instant> {
        let goodbye = self.goodbye.as_mut()?;
        if is_drained && goodbye.until.is_none() {
            goodbye.until = Some(end.min(now + GOODBYE));
        }
        goodbye.until
    }

    pub fn goodbye_is_over(&self, now: Instant) -> bool {
        self.goodbye.as_ref().and_then(|goodbye| goodbye.until).is_some_and(|until| now >= until)
    }
}

/// A close frame as a client would send it.
fn tell_app(out: &mut Vec<u8>) {
    // Hash keys are random, so what they make of nothing is (RFC 6455 5.3 wants a mask that cannot be guessed).
    let random = RandomState::new().build_hasher().finish().to_ne_bytes();
    let mask = [random[0], random[1], random[2], random[3]];
    websocket::write_close(out, websocket::SERVICE_RESTART, REASON, Some(mask));
}

impl IoThread {
    /// From the client to the app, as far as the app takes it; while it does not, the client waits.
    pub(super) fn tunnel_to_app(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
            let (Stage::Tunnel(websocket), Some(upstream_key)) = (&mut exchange.stage, exchange.upstream) else { return };
            let upstream = &mut self.upstreams.all[upstream_key];
            // What came behind the head of the request goes first.
            if !conn.input.is_empty() {
                let input = std::mem::take(&mut conn.input);
                take(websocket, &input, &mut upstream.output);
            }
            // Of one that we have closed only the client's answer matters, whether the app takes its own or not.
            let left = websocket.as_ref().is_some_and(|websocket| websocket.has_left());
            if conn.readable && (left || upstream.output.is_empty()) {
                match conn.socket.read(&mut self.desk.scratch) {
                    Ok(0) => {
                        conn.readable = false;
                        if let Some(websocket) = websocket {
                            websocket.client_gone = true;
                        }
                        if !left {
                            // The client is done; the app may still have something to say.
                            let _ = upstream.socket.shut_write();
                            return;
                        }
                    }
                    Ok(count) => {
                        conn.readable = count == self.desk.scratch.len() || conn.closing;
                        take(websocket, &self.desk.scratch[..count], &mut upstream.output);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.readable = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(_) => return self.client_left(key),
                }
            }
            let more = conn.readable;
            if upstream.output.is_empty() {
                if more {
                    continue;
                }
                return self.goodbye_heard(key);
            }
            match upstream.socket.write(&upstream.output) {
                Ok(written) => {
                    upstream.output.drain(..written);
                    self.limit(key);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if self.upstreams.ask_writable(upstream_key, self.poll.registry(), Name::upstream(upstream_key)).is_err() {
                        return self.client_left(key);
                    }
                    if !(left && more) {
                        return self.goodbye_heard(key);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => match websocket {
                    Some(websocket) if left => {
                        upstream.output.clear();
                        websocket.app_is_gone();
                    }
                    Some(_) | None => return self.tunnel_ended(key),
                },
            }
        }
        self.later.push_back(key);
    }

    /// Closes a WebSocket that stands between two messages: both sides are told, and have a moment to answer.
    pub(super) fn say_goodbye(&mut self, key: usize) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let (Stage::Tunnel(Some(websocket)), Some(upstream)) = (&mut exchange.stage, exchange.upstream) else { return };
        let output = &mut self.upstreams.all[upstream].output;
        let app_told = websocket.to_app.is_at(Boundary::Frame);
        if app_told {
            tell_app(output);
        }
        websocket.goodbye = Some(Goodbye { app_told, app_gone: false, until: None });
        let mut frame = Vec::new();
        websocket::write_close(&mut frame, websocket::SERVICE_RESTART, REASON, None);
        if conn.send(&frame, &[], Some(&self.shared.spool)).is_err() {
            return self.client_left(key);
        }
        self.limit(key);
        self.tunnel_to_app(key);
    }

    /// Ends a WebSocket that we have closed once both sides have answered.
    pub(super) fn goodbye_heard(&mut self, key: usize) {
        let Some(Client { exchange: Some(exchange), .. }) = self.clients.get(key) else { return };
        if matches!(&exchange.stage, Stage::Tunnel(Some(websocket)) if websocket.has_left() && websocket.is_answered()) {
            self.tunnel_ended(key);
        }
    }

    /// The app ended, or a WebSocket was closed: the client gets what is on its way, then the end.
    pub(super) fn tunnel_ended(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(exchange) = client.exchange.take() else { return };
        answering::request_done(&mut client.conn, &mut self.desk.spare, false, self.desk.now);
        self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + self.shared.server.timeouts.write);
        self.todo.push_back(key);
        if let Some(upstream) = exchange.upstream {
            self.upstreams.close(upstream);
        }
        self.give_back(exchange.claim, crate::pool::Ended::Answered(101));
    }
}

/// Bytes from the client of a tunnel.
fn take(websocket: &mut Option<Box<WebSocket>>, bytes: &[u8], out: &mut Vec<u8>) {
    match websocket {
        Some(websocket) => websocket.take_from_client(bytes, out),
        None => out.extend_from_slice(bytes),
    }
}

/// Reads from one client before others have their turn.
const READS: usize = 8;
/// How long a client and an app that were told may take for their close frames.
const GOODBYE: Duration = Duration::from_millis(1500);
/// What the close frame says (RFC 6455 7.1.6).
const REASON: &str = "the service is restarting";

#[cfg(test)]
mod tests {
    use super::*;

    /// A text frame without a mask.
    const HELLO: &[u8] = b"\x81\x05hello";
    /// The same as a client sends it, masked with zeros.
    const MASKED: &[u8] = b"\x81\x85\0\0\0\0hello";
    const MASKED_CLOSE: &[u8] = b"\x88\x82\0\0\0\0\x03\xe8";

    fn said_goodbye(app_told: bool) -> WebSocket {
        WebSocket { goodbye: Some(Goodbye { app_told, app_gone: false, until: None }), ..WebSocket::new() }
    }

    fn to_app(websocket: &mut WebSocket, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        websocket.take_from_client(bytes, &mut out);
        out
    }

    #[test]
    fn what_comes_behind_the_message_at_which_it_leaves_goes_nowhere() {
        let mut websocket = WebSocket::new();
        assert_eq!(websocket.take_from_app(&HELLO[..3], false), (3, false));
        assert!(!websocket.may_leave());
        assert_eq!(websocket.take_from_app(&[&HELLO[3..], HELLO].concat(), true), (4, true));
        websocket.goodbye = said_goodbye(true).goodbye;
        assert_eq!(websocket.take_from_app(HELLO, true), (0, false));
    }

    #[test]
    fn the_app_gets_one_close_frame_and_only_between_frames() {
        let mut websocket = said_goodbye(false);
        websocket.to_app.pass(&MASKED[..8]);
        assert_eq!(to_app(&mut websocket, &MASKED[8..10]), MASKED[8..10]);
        let rest = to_app(&mut websocket, &[&MASKED[10..], MASKED].concat());
        assert_eq!((&rest[..1], rest[1], rest.len()), (&MASKED[10..], 0x88, 1 + 6 + 2 + REASON.len()));
        assert!(to_app(&mut websocket, &[MASKED, MASKED_CLOSE].concat()).is_empty());
        assert!(websocket.to_app.close_seen(), "the client's answer");
    }

    #[test]
    fn a_close_frame_of_the_client_that_was_on_its_way_is_the_one_that_the_app_gets() {
        let mut websocket = said_goodbye(false);
        websocket.to_app.pass(&MASKED_CLOSE[..4]);
        assert_eq!(to_app(&mut websocket, &MASKED_CLOSE[4..]), MASKED_CLOSE[4..]);
        assert!(to_app(&mut websocket, MASKED).is_empty());
    }

    #[test]
    fn one_that_either_side_has_begun_to_close_does_not_leave() {
        let mut by_app = WebSocket::new();
        by_app.take_from_app(b"\x88", false);
        assert!(!by_app.may_leave());
        assert_eq!(by_app.take_from_app(b"\x00", true), (1, false));
        let mut by_client = WebSocket::new();
        to_app(&mut by_client, MASKED_CLOSE);
        assert!(!by_client.may_leave());
        assert_eq!(by_client.take_from_app(HELLO, true), (HELLO.len(), false));
        // A close frame of the app's that comes while a boundary is looked for.
        let mut under_way = WebSocket::new();
        under_way.take_from_app(b"\x01\x01a", false);
        assert_eq!(under_way.take_from_app(b"\x88\x00\x80\x01b", true), (5, false));
    }

    #[test]
    fn the_wait_for_the_answers_begins_when_the_close_frame_is_out() {
        let now = Instant::now();
        let end = now + Duration::from_secs(60);
        let mut websocket = said_goodbye(true);
        assert_eq!(websocket.goodbye_until(end, false, now), None);
        assert_eq!(websocket.goodbye_until(end, true, now), Some(now + GOODBYE));
        assert_eq!(websocket.goodbye_until(end, true, now + GOODBYE / 2), Some(now + GOODBYE), "it does not begin again");
        assert_eq!(said_goodbye(true).goodbye_until(now, true, now), Some(now), "and ends with the drain");
    }
}
