//! Reads streams as the server does, from buffers that fill in any way, and writes down what they mean.

use rota::http::exchange::body::BodyReader;
use rota::http::exchange::facts::RequestFacts;
use rota::http::forwarded::Origin;
use rota::http::head::{self, HeadLimits, HeaderRoom};
use rota::http::rewrite::{self, BodyToApp, ForwardContext};

use crate::carried::{self, Fate};

pub const LIMITS: HeadLimits = HeadLimits { bytes: 4096, headers: 100, target: 1024 };
pub const CX: ForwardContext<'static> =
    ForwardContext { origin: &Origin::of_peer(None, "http"), default_host: "default.example", request_id: 1, underscores: &[] };

/// What a stream means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meaning {
    pub messages: Vec<Message>,
    pub end: End,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Written anew.
    pub head: String,
    pub body: Vec<u8>,
    /// The body has ended.
    pub whole: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It ended where another message could begin or go on.
    Open,
    /// Refused with this status.
    Refused(u16),
    BadBody,
    /// No more is read: the connection closes, changes its protocol, or so many bytes stand behind a response.
    Over(usize),
}

/// `pieces` are what each read gave.
pub fn of_requests<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Meaning {
    let mut reader = Requests { messages: Vec::new(), body: None, keep: true };
    let end = drive(pieces, |unread, from| reader.advance(unread, from));
    Meaning { messages: reader.messages, end }
}

/// The heads with what each makes of the connections, and the body behind the last of them. What was out of a body that broke depends on the cut.
pub fn of_responses<'a>(request: &[u8], pieces: impl IntoIterator<Item = &'a [u8]>) -> Meaning {
    let mut room = HeaderRoom::new();
    let (head, _) = head::parse_request(request, &LIMITS, &mut room).unwrap().expect("a whole request");
    let carried = carried::carry(&RequestFacts::of(&head).unwrap(), pieces);
    let message = |head| Message { head, body: Vec::new(), whole: true };
    let mut messages: Vec<Message> = carried.heads.into_iter().map(message).collect();
    let end = match carried.fate {
        Fate::Whole { .. } | Fate::Switched(_) => End::Over(0),
        Fate::Bad => End::Refused(502),
        Fate::Broken(_) => End::BadBody,
    };
    if let Some(last) = messages.last_mut().filter(|_| matches!(carried.fate, Fate::Whole { .. })) {
        last.body = carried.body;
    }
    Meaning { messages, end }
}

enum Progress {
    /// So many bytes were used: ask again with the rest.
    Took(usize),
    /// Nothing more can be said about these bytes.
    NeedsMore,
    End(End),
}

/// Keeps what is unread, asks for the end of a head before it is parsed again, and stops at the first end.
fn drive<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, mut advance: impl FnMut(&[u8], &mut Option<usize>) -> Progress) -> End {
    let (mut unread, mut searched) = (Vec::new(), None);
    for piece in pieces {
        unread.extend_from_slice(piece);
        loop {
            match advance(&unread, &mut searched) {
                Progress::Took(length) => drop(unread.drain(..length)),
                Progress::NeedsMore => break,
                Progress::End(end) => return end,
            }
        }
    }
    // A fault in a head that never ended is seen at once in one piece and not at all while the end is only searched for: look again.
    match advance(&unread, &mut None) {
        Progress::End(end) => end,
        Progress::Took(_) | Progress::NeedsMore => End::Open,
    }
}

/// False: a head that was found unfinished has not been finished by what came since.
fn is_worth_parsing(unread: &[u8], searched: &mut Option<usize>) -> bool {
    if let Some(from) = *searched {
        if head::head_end(unread, from).is_none() && unread.len() <= LIMITS.bytes {
            *searched = Some(unread.len());
            return false;
        }
        *searched = None;
    }
    !unread.is_empty()
}

struct Requests {
    messages: Vec<Message>,
    body: Option<BodyReader>,
    keep: bool,
}

impl Requests {
    fn advance(&mut self, unread: &[u8], searched: &mut Option<usize>) -> Progress {
        if let Some(body) = &mut self.body {
            return match move_body(body, self.messages.last_mut().expect("its head"), unread) {
                Some(progress) => progress,
                None if self.keep => {
                    self.body = None;
                    Progress::Took(0)
                }
                None => Progress::End(End::Over(unread.len())),
            };
        }
        if !is_worth_parsing(unread, searched) {
            return Progress::NeedsMore;
        }
        let mut room = HeaderRoom::new();
        let (head, length) = match head::parse_request(unread, &LIMITS, &mut room) {
            Ok(Some(parsed)) => parsed,
            Ok(None) => {
                *searched = Some(unread.len());
                return Progress::NeedsMore;
            }
            Err(refusal) => return Progress::End(End::Refused(refusal.status())),
        };
        let facts = match RequestFacts::of(&head) {
            Ok(facts) => facts,
            Err(refusal) => return Progress::End(End::Refused(refusal.status())),
        };
        let mut out = Vec::new();
        rewrite::request(&head, &facts, &CX, &mut out);
        rewrite::finish_request(&mut out, &facts, passed_on(&facts));
        self.messages.push(Message { head: String::from_utf8_lossy(&out).into_owned(), body: Vec::new(), whole: false });
        self.keep = facts.keep_alive;
        if !facts.upgrade.is_empty() {
            return Progress::End(End::Over(unread.len() - length));
        }
        self.body = Some(BodyReader::for_request(&facts.body));
        Progress::Took(length)
    }
}

pub fn passed_on(facts: &RequestFacts) -> BodyToApp {
    match facts.body {
        rota::http::framing::RequestBody::None => BodyToApp::None,
        rota::http::framing::RequestBody::Length(length) => BodyToApp::Length(length),
        rota::http::framing::RequestBody::Chunked => BodyToApp::Chunked,
    }
}

/// None: the body is done.
fn move_body(body: &mut BodyReader, message: &mut Message, unread: &[u8]) -> Option<Progress> {
    if body.is_done() {
        message.whole = true;
        return None;
    }
    if unread.is_empty() {
        return Some(Progress::NeedsMore);
    }
    match body.read(unread) {
        Ok((taken, data)) => {
            assert!(taken > 0 && data.len() <= taken, "a reader that is not done takes something");
            message.body.extend_from_slice(data);
            Some(Progress::Took(taken))
        }
        Err(_) => Some(Progress::End(End::BadBody)),
    }
}
