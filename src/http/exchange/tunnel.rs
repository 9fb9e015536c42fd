//! A WebSocket between two messages of which it can be closed when its process drains (RFC 6455): both sides are told, and answer or do not.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Exchange, State};
use crate::http::websocket::{self, Boundary, Frames};

/// What is known of a tunnel that is a WebSocket.
#[derive(Debug, Serialize, Deserialize)]
pub struct WebSocket {
    to_client: Frames,
    to_app: Frames,
    /// The client's end of stream was read.
    client_gone: bool,
    goodbye: Option<Goodbye>,
}

/// We have sent the client a close frame: from here on nothing goes through.
#[derive(Debug, Serialize, Deserialize)]
struct Goodbye {
    /// The app has its close frame, or the client's.
    app_told: bool,
    app_gone: bool,
    /// When it is over, answered or not; None: the client's socket has not taken the close frame yet.
    #[serde(with = "crate::moment::option")]
    until: Option<Instant>,
}

impl WebSocket {
    pub(super) fn new() -> Self {
        Self { to_client: Frames::new(), to_app: Frames::new(), client_gone: false, goodbye: None }
    }

    /// Closes it between two messages: what each side is sent is added to what it gets. Both have a moment to answer.
    fn say_goodbye(&mut self, to_client: &mut Vec<u8>, to_app: &mut Vec<u8>) {
        let app_told = self.to_app.is_at(Boundary::Frame);
        if app_told {
            tell_app(to_app);
        }
        websocket::write_close(to_client, websocket::SERVICE_RESTART, REASON, None);
        self.goodbye = Some(Goodbye { app_told, app_gone: false, until: None });
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

/// What an exchange says of what it became; of one that is no WebSocket nothing is known.
impl Exchange {
    fn websocket(&mut self) -> Option<&mut WebSocket> {
        match &mut self.state {
            State::Tunnel(websocket) => websocket.as_deref_mut(),
            State::Head { .. } | State::Body { .. } => None,
        }
    }

    /// Bytes of the client's; what the app gets of them is added to `out`.
    pub fn hear_client(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self.websocket() {
            Some(websocket) => websocket.take_from_client(bytes, out),
            None => out.extend_from_slice(bytes),
        }
    }

    pub fn client_is_gone(&mut self) {
        if let Some(websocket) = self.websocket() {
            websocket.client_gone = true;
        }
    }

    pub fn app_is_gone(&mut self) {
        if let Some(websocket) = self.websocket() {
            websocket.app_is_gone();
        }
    }

    /// Closes a WebSocket that stands between two messages: what each side is sent is added to what it gets.
    pub fn say_goodbye(&mut self, to_client: &mut Vec<u8>, to_app: &mut Vec<u8>) {
        if let Some(websocket) = self.websocket() {
            websocket.say_goodbye(to_client, to_app);
        }
    }

    /// We have closed it: what the app still says goes nowhere.
    pub fn has_left(&self) -> bool {
        matches!(&self.state, State::Tunnel(Some(websocket)) if websocket.has_left())
    }

    /// We have closed it, and both sides have answered, or are gone.
    pub fn goodbye_is_answered(&self) -> bool {
        matches!(&self.state, State::Tunnel(Some(websocket)) if websocket.has_left() && websocket.is_answered())
    }
}

/// A close frame as a client would send it.
fn tell_app(out: &mut Vec<u8>) {
    // Hash keys are random, so what they make of nothing is (RFC 6455 5.3 wants a mask that cannot be guessed).
    let random = RandomState::new().build_hasher().finish().to_ne_bytes();
    let mask = [random[0], random[1], random[2], random[3]];
    websocket::write_close(out, websocket::SERVICE_RESTART, REASON, Some(mask));
}

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
