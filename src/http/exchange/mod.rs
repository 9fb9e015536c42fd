//! One request and the app's answer to it, with no socket, clock or thread in sight: what has come from the app, what the client gets of it, who
//! is waited for and until when, and what follows when the app fails.
//!
//! ```text
//!             1xx                       the last byte of the body,
//!            ┌───┐                      or the end of the connection
//!            ▼   │   200 to 599                  │
//!   begin ─▶ Head ──────────────▶ Body ──────────┴──▶ End
//!              └────────────────▶ Tunnel ───────────▶ one side ends
//!                    101
//! ```
//!
//! An event loop carries: it gives what it has read from the app to [`Exchange::hear`] and its end to [`Exchange::closed`], sends what these give
//! back, and asks again at [`Exchange::due`] ([`limits`]). When the app fails [`Exchange::after`] says whether another may be asked ([`failure`]);
//! a drain ends what lasts where nothing is cut ([`leave`]).

pub mod body;
pub mod facts;
pub mod failure;
pub mod leave;
pub mod limits;
mod passing;
pub mod plan;
#[cfg(test)]
mod tests;
pub mod tunnel;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::chunked;
use super::event_stream::{self, Events};
use super::expectation::Expectation;
use super::head::{self, HeaderRoom, ResponseHead};
use super::malformed::Malformed;
use super::streaming;
use super::websocket;
use body::BodyReader;
use facts::RequestFacts;
use leave::Leave;
use passing::take_body;
use plan::{ClientBody, Kind, ResponsePlan};
use tunnel::WebSocket;

/// One try of a request: from the moment when an app is asked to the end of its answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Exchange {
    state: State,
    /// The beginning of a head of the app's that is not whole.
    #[serde(with = "crate::bytes")]
    input: Vec<u8>,
    /// Bytes of the app's so far, with heads.
    received: u64,
    /// A byte of the final response has gone to the client: there is no other answer any more.
    begun: bool,
    /// Nothing that came on the app's connection speaks against another request on it.
    reusable: bool,
    /// When the app was asked: its time for a final response counts from here. Of a body that goes to the app as it comes: when it last took
    /// some.
    #[serde(with = "crate::moment")]
    since: Instant,
    /// Bytes of the request's head that the app has taken.
    head_sent: usize,
    /// Part of the request is still to be written.
    is_sending: bool,
    /// Since when the client is waited for, for more of a body that goes to the app as it comes.
    #[serde(with = "crate::moment::option")]
    awaits_body: Option<Instant>,
    leave: Leave,
}

/// How far the response has come.
#[derive(Debug, Serialize, Deserialize)]
enum State {
    /// There is no final head.
    Head {
        interim: u8,
        expectation: Expectation,
    },
    Body {
        plan: ResponsePlan,
        reader: BodyReader,
        lasts: Lasts,
    },
    /// Bytes both ways until one side ends. None: what they are is not known.
    Tunnel(Option<Box<WebSocket>>),
}

/// How a body is expected to go on.
#[derive(Debug, Serialize, Deserialize)]
enum Lasts {
    /// It ends by itself; silence in it is a fault.
    Not,
    /// Silence is nothing unusual in it ([`streaming`]).
    Stream,
    /// As before, and it may be ended behind any event.
    Events(Events),
}

/// What an exchange is to a drain: how it may be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It ends by itself.
    Request,
    /// It lasts, and ends by itself.
    Stream,
    /// It may be ended behind any event.
    EventStream,
    /// It may be closed between two messages.
    WebSocket,
    /// Upgraded to something of which we know no boundaries.
    Upgraded,
}

/// What stands beside an exchange when the app says something.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    pub facts: &'a RequestFacts,
    /// The client's connection ends with this answer, whatever the app says.
    pub closes: bool,
    /// The client waits for word that it may send its body, which depends on the app.
    pub is_unasked: bool,
    pub now: Instant,
}

/// Where an exchange writes what the client gets. Lent, so that its memory serves one exchange after another.
#[derive(Debug, Default)]
pub struct Out {
    /// Heads and chunks.
    pub bytes: Vec<u8>,
    /// Data of small chunks, on their way into a larger one.
    pub gathered: Vec<u8>,
}

/// What is to be done about what the app has said.
#[derive(Debug)]
pub struct Heard<'b> {
    /// For the client, behind what [`Out::bytes`] has.
    pub tail: &'b [u8],
    /// Bytes of `Out::bytes` up to the end of the last head.
    pub heads: usize,
    /// Of the final response, or of a switch, whose head was among it.
    pub status: Option<u16>,
    /// The client may send its body.
    pub asks_client: bool,
    pub next: Next,
}

/// What comes behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// More of the app's.
    More,
    /// The response has ended.
    Ended(End),
    /// A WebSocket that is to leave stands between two messages: it is closed there.
    Goodbye,
}

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The app sent all of it.
    Whole,
    /// The app sent all of it, and more behind it that nobody asked for.
    WithMore,
    /// An event stream that left a draining process behind an event.
    Left,
    /// An event stream that had to be ended where it stood.
    Cut,
}

/// What the end of the app's connection is to an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The end of the response, behind these bytes for the client.
    Whole(&'static [u8]),
    /// The app failed.
    Early,
    /// The app's answer to our close of a WebSocket.
    Goodbye,
    /// The end of an upgraded connection.
    Tunnel,
}

/// Writes the head of a response for the client, and may change what is planned. Err: what is wrong with it.
pub trait WriteHead: FnMut(&ResponseHead<'_, '_>, &mut ResponsePlan, &mut Vec<u8>) -> Result<Written, &'static str> {}
impl<F: FnMut(&ResponseHead<'_, '_>, &mut ResponsePlan, &mut Vec<u8>) -> Result<Written, &'static str>> WriteHead for F {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    Head,
    /// What it takes is not known yet: the exchange keeps the head, and is to be given it again ([`Exchange::held`]).
    Later,
}

impl Exchange {
    pub fn new(now: Instant) -> Self {
        Self {
            state: State::Head { interim: 0, expectation: Expectation::default() },
            input: Vec::new(),
            received: 0,
            begun: false,
            reusable: true,
            since: now,
            head_sent: 0,
            is_sending: true,
            awaits_body: None,
            leave: Leave::Stay,
        }
    }

    /// Bytes of the app's, behind those that are not understood yet. None: nothing more is understood with them.
    pub fn join<'b>(&mut self, bytes: &'b [u8]) -> Option<Cow<'b, [u8]>> {
        self.received += bytes.len() as u64;
        let searched = self.input.len();
        if searched == 0 {
            return Some(Cow::Borrowed(bytes));
        }
        self.input.extend_from_slice(bytes);
        // A long head that drips in is parsed once, when its end is there.
        if (DRIPS..head::MAX_RESPONSE_HEAD).contains(&searched) && head::head_end(&self.input, searched).is_none() {
            return None;
        }
        Some(Cow::Owned(std::mem::take(&mut self.input)))
    }

    /// What is kept, to be understood once more.
    pub fn held(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.input)
    }

    /// Understands what [`Exchange::join`] gave.
    pub fn hear<'b>(
        &mut self,
        bytes: &'b [u8],
        around: &Around<'_>,
        out: &mut Out,
        mut write_head: impl WriteHead,
    ) -> Result<Heard<'b>, Malformed> {
        out.bytes.clear();
        let (mut at, mut heads, mut status, mut before) = (0, 0, None, Expectation::default());
        while let State::Head { expectation, .. } = &self.state {
            before = *expectation;
            let Some(taken) = self.take_head(&bytes[at..], around, &mut out.bytes, &mut write_head)? else {
                self.input.extend_from_slice(&bytes[at..]);
                break;
            };
            at += taken.used;
            heads = out.bytes.len();
            status = taken.status;
        }
        let (rest, leaves) = (&bytes[at..], self.leave == Leave::Now);
        let (tail, next) = match &mut self.state {
            State::Head { .. } => (&rest[..0], Next::More),
            State::Body { plan, reader, lasts } => take_body(reader, plan.to_client, lasts, rest, leaves, out)?,
            State::Tunnel(None) => (rest, Next::More),
            State::Tunnel(Some(websocket)) => {
                let (passed, is_left) = websocket.take_from_app(rest, leaves);
                (&rest[..passed], if is_left { Next::Goodbye } else { Next::More })
            }
        };
        // Behind interim responses an answer of our own is still possible.
        self.begun = !matches!(self.state, State::Head { .. });
        let asks_client = around.is_unasked && status.is_some_and(|status| before.goes_on(status, next != Next::More));
        Ok(Heard { tail, heads, status, asks_client, next })
    }

    /// None: the head is not whole yet, or not to be written yet.
    fn take_head(
        &mut self,
        bytes: &[u8],
        around: &Around<'_>,
        out: &mut Vec<u8>,
        write_head: &mut impl WriteHead,
    ) -> Result<Option<TakenHead>, Malformed> {
        let bad = |reason| Malformed::head(reason, bytes);
        let mut room = HeaderRoom::new();
        let Some((head, used)) = head::parse_response(bytes, &mut room).map_err(|refused| bad(refused.reason()))? else { return Ok(None) };
        let mut plan = ResponsePlan::of(around.facts, &head).map_err(|refused| bad(refused.reason()))?;
        if around.closes {
            plan.close_client();
        }
        if write_head(&head, &mut plan, out).map_err(bad)? == Written::Later {
            return Ok(None);
        }
        self.reusable &= plan.keep_app;
        let State::Head { interim, expectation } = &mut self.state else { return Ok(None) };
        let status = match plan.kind {
            Kind::Interim | Kind::Dropped => {
                if head.status == 100 && around.is_unasked {
                    expectation.app_asks(around.now);
                }
                *interim += 1;
                if *interim > INTERIM_MAX {
                    return Err(bad("more than 16 interim responses before the final one"));
                }
                None
            }
            Kind::Final => {
                let (reader, status) = (BodyReader::for_response(&plan.from_app), plan.status);
                let lasts = match event_stream::of_response(&head, &plan.from_app) {
                    Some(events) => Lasts::Events(events),
                    None if streaming::is_stream(&head, &plan.from_app) => Lasts::Stream,
                    None => Lasts::Not,
                };
                self.state = State::Body { plan, reader, lasts };
                Some(status)
            }
            Kind::Switch => {
                self.state = State::Tunnel(websocket::is_chosen(&head).then(|| Box::new(WebSocket::new())));
                Some(plan.status)
            }
        };
        Ok(Some(TakenHead { used, status }))
    }

    /// The app's connection has ended. `is_well`: its process lives, or ended well; an answer that ends with its connection (RFC 9112 6.3) is
    /// whole only then.
    pub fn closed(&mut self, is_well: bool) -> Closed {
        match &mut self.state {
            State::Body { reader, .. } if is_well && reader.eof().is_ok() => Closed::Whole(self.last_bytes()),
            State::Head { .. } | State::Body { .. } => Closed::Early,
            State::Tunnel(Some(websocket)) if websocket.has_left() => {
                websocket.app_is_gone();
                Closed::Goodbye
            }
            State::Tunnel(_) => Closed::Tunnel,
        }
    }

    /// What ends a body for the client that the app has not ended.
    pub fn last_bytes(&self) -> &'static [u8] {
        match &self.state {
            State::Body { plan: ResponsePlan { to_client: ClientBody::Chunked, .. }, .. } => chunked::LAST_CHUNK,
            State::Head { .. } | State::Body { .. } | State::Tunnel(_) => b"",
        }
    }

    /// What its response is; None: no final head has come, or it is none.
    pub fn plan(&self) -> Option<&ResponsePlan> {
        match &self.state {
            State::Body { plan, .. } => Some(plan),
            State::Head { .. } | State::Tunnel(_) => None,
        }
    }

    /// The app's connection may carry another request behind a response that ended so.
    pub fn may_reuse(&self, end: End) -> bool {
        self.reusable && end == End::Whole && !self.is_sending
    }

    /// There is no other answer any more than the one that is under way.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// A byte of the app's has been seen.
    pub fn is_heard(&self) -> bool {
        self.received > 0
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    /// The beginning of a head that is not whole.
    pub fn unread(&self) -> &[u8] {
        &self.input
    }

    /// When the app was asked.
    pub fn since(&self) -> Instant {
        self.since
    }

    pub fn class(&self) -> Class {
        match &self.state {
            State::Head { .. } | State::Body { lasts: Lasts::Not, .. } => Class::Request,
            State::Body { lasts: Lasts::Stream, .. } => Class::Stream,
            State::Body { lasts: Lasts::Events(_), .. } => Class::EventStream,
            State::Tunnel(Some(_)) => Class::WebSocket,
            State::Tunnel(None) => Class::Upgraded,
        }
    }

    pub fn is_head(&self) -> bool {
        matches!(self.state, State::Head { .. })
    }

    pub fn is_body(&self) -> bool {
        matches!(self.state, State::Body { .. })
    }

    pub fn is_tunnel(&self) -> bool {
        matches!(self.state, State::Tunnel(_))
    }

    /// It lasts, so that only what is written to its client would show that nobody is there.
    pub fn is_stream(&self) -> bool {
        matches!(self.class(), Class::Stream | Class::EventStream)
    }

    /// What the app has not taken yet of the head that it is sent.
    pub fn head_left<'h>(&self, head: &'h [u8]) -> &'h [u8] {
        &head[self.head_sent..]
    }

    /// The app has taken so many bytes, of which a head of `left` was the first; gives those of the body.
    pub fn app_took(&mut self, written: usize, left: usize) -> usize {
        let of_head = written.min(left);
        self.head_sent += of_head;
        written - of_head
    }

    /// Nothing of the request has reached the app.
    pub fn is_unsent(&self) -> bool {
        self.head_sent == 0
    }

    pub fn is_sending(&self) -> bool {
        self.is_sending
    }

    /// Nothing more of the request is to be written.
    pub fn all_sent(&mut self) {
        self.is_sending = false;
    }

    /// rota did not run for so long: none of its limits counts that.
    pub fn put_off(&mut self, by: Duration) {
        self.since += by;
        self.awaits_body = self.awaits_body.map(|since| since + by);
        if let State::Head { expectation, .. } = &mut self.state {
            expectation.put_off(by);
        }
        self.leave.put_off(by);
    }
}

/// A head of the app's.
struct TakenHead {
    /// Bytes of it.
    used: usize,
    /// Of the final response, or of a switch.
    status: Option<u16>,
}

impl Class {
    /// As the log and `rota status --blocking` say it.
    pub fn word(self) -> &'static str {
        match self {
            Class::Request => "request",
            Class::Stream => "stream",
            Class::EventStream => "event stream",
            Class::WebSocket => "WebSocket",
            Class::Upgraded => "upgraded connection",
        }
    }
}

/// Interim responses before one answer; an app that sends more is broken (each takes time of the slot and of the client).
const INTERIM_MAX: u8 = 16;
/// A head is parsed anew with each piece of it up to so many bytes, so that nonsense is told soon.
const DRIPS: usize = 4 * 1024;
