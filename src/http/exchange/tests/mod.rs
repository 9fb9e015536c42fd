//! An exchange by example, a file for each thing that it decides.

mod bodies;
mod failures;
mod heads;
mod limits;
mod streams;

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use super::facts::RequestFacts;
use super::limits::{Limits, Standing};
use super::plan::ResponsePlan;
use super::{Around, Exchange, Heard, Next, Out, Written};
use crate::http::head::{HeadLimits, HeaderRoom, ResponseHead, parse_request};
use crate::http::malformed::Malformed;
use crate::http::rewrite;
use crate::moment;

pub const LIMITS: Limits = Limits { app: secs(60), tunnel: secs(600), write: secs(30), request: Some(secs(45)), upgraded: secs(20) };

pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// One that is left to the next rota before every step, and before every look at it.
pub struct Left(pub Exchange);

impl Deref for Left {
    type Target = Exchange;

    fn deref(&self) -> &Exchange {
        Box::leak(Box::new(moment::left(&self.0)))
    }
}

impl DerefMut for Left {
    fn deref_mut(&mut self) -> &mut Exchange {
        self.0 = moment::left(&self.0);
        &mut self.0
    }
}

/// An exchange, and what its client has got.
pub struct Rig {
    pub exchange: Left,
    pub facts: RequestFacts,
    pub is_unasked: bool,
    pub closes: bool,
    pub now: Instant,
    pub leaving_since: Option<Instant>,
    pub sent: String,
    /// Bytes of heads among what was sent last.
    pub heads: usize,
    out: Out,
}

/// What [`Heard`] said, but for the bytes.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub status: Option<u16>,
    pub asks_client: bool,
    pub next: Next,
}

impl Rig {
    /// A request that the app has; `more`: fields.
    pub fn of(line: &str, more: &str) -> Self {
        let text = format!("{line}\r\nHost: a\r\n{more}\r\n");
        let mut room = HeaderRoom::new();
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        let now = Instant::now();
        let mut exchange = Exchange::new(now);
        exchange.all_sent();
        Self {
            exchange: Left(exchange),
            facts: RequestFacts::of(&head).unwrap(),
            is_unasked: false,
            closes: false,
            now,
            leaving_since: None,
            sent: String::new(),
            heads: 0,
            out: Out::default(),
        }
    }

    pub fn get() -> Self {
        Self::of("GET / HTTP/1.1", "")
    }

    /// One whose final head has come; `fields` of it.
    pub fn answered(fields: &str) -> Self {
        let mut rig = Self::get();
        rig.hear(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).unwrap();
        rig.sent.clear();
        rig
    }

    pub fn upgraded(protocol: &str) -> Self {
        let mut rig = Self::of("GET / HTTP/1.1", &format!("Connection: upgrade\r\nUpgrade: {protocol}\r\n"));
        rig.hear(&format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\n\r\n")).unwrap();
        rig.sent.clear();
        rig
    }

    /// The app says something. None: nothing is understood with it.
    pub fn try_hear(&mut self, text: &str) -> Result<Option<Told>, Malformed> {
        let Some(bytes) = self.exchange.join(text.as_bytes()) else { return Ok(None) };
        let around = Around { facts: &self.facts, closes: self.closes, is_unasked: self.is_unasked, now: self.now };
        let facts = &self.facts;
        let write_head = |head: &ResponseHead<'_, '_>, plan: &mut ResponsePlan, out: &mut Vec<u8>| {
            rewrite::response(head, plan, facts, "today", out);
            Ok(Written::Head)
        };
        let Heard { tail, heads, status, asks_client, next } = self.exchange.hear(&bytes, &around, &mut self.out, write_head)?;
        self.heads = heads;
        self.sent.push_str(std::str::from_utf8(&self.out.bytes).unwrap());
        self.sent.push_str(std::str::from_utf8(tail).unwrap());
        Ok(Some(Told { status, asks_client, next }))
    }

    pub fn hear(&mut self, text: &str) -> Result<Told, &'static str> {
        self.try_hear(text).map(|told| told.expect("it is looked at")).map_err(|malformed| malformed.reason)
    }

    pub fn standing(&self, is_drained: bool) -> Standing {
        Standing { is_drained, leaving_since: self.leaving_since, now: self.now }
    }

    /// In how many seconds something is due.
    pub fn due(&mut self, is_drained: bool) -> f64 {
        let standing = self.standing(is_drained);
        self.exchange.due(&LIMITS, standing).saturating_duration_since(self.now).as_secs_f64()
    }

    /// So much later.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
    }
}
