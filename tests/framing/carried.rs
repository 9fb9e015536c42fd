//! Carries an exchange as the I/O thread does: gives it what each read of the app's connection gave, and keeps what the client gets.

use std::time::Instant;

use rota::http::exchange::body::BodyReader;
use rota::http::exchange::facts::RequestFacts;
use rota::http::exchange::failure::{Failure, Then};
use rota::http::exchange::plan::{ClientBody, Kind, ResponsePlan};
use rota::http::exchange::{Around, Closed, End, Exchange, Next, Out, Written};
use rota::http::framing::RequestBody;
use rota::http::head::ResponseHead;
use rota::http::rewrite;
use rota::moment;

pub const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// What has become of one answer.
#[derive(Debug)]
pub struct Carried {
    /// What the client gets, heads and all.
    pub output: Vec<u8>,
    /// The heads among it, each with what is planned for the two connections.
    pub heads: Vec<String>,
    /// The body among it, out of its framing.
    pub body: Vec<u8>,
    /// Of the final response, or of a switch.
    pub plan: Option<ResponsePlan>,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is whole, and the app's connection may carry another request as far as the exchange knows.
    Whole { reusable: bool },
    /// Nothing of a final answer has come that can be understood.
    Bad,
    /// It broke in the middle: cut, or, where nothing of it was out, answered by rota.
    Broken(Then),
    /// An upgrade, with so many bytes of the app's behind it that were read with its head.
    Switched(usize),
}

/// `pieces`: what each read gave; behind them the connection ends, of a process that lives.
pub fn carry<'a>(facts: &RequestFacts, pieces: impl IntoIterator<Item = &'a [u8]>) -> Carried {
    let now = Instant::now();
    let mut exchange = Exchange::new(now);
    exchange.all_sent();
    let mut out = Out::default();
    let mut carried = Carried { output: Vec::new(), heads: Vec::new(), body: Vec::new(), plan: None, fate: Fate::Bad };
    let around = Around { facts, closes: false, is_unasked: false, now };
    let mut body_at = None;
    let mut pieces = pieces.into_iter();
    carried.fate = loop {
        let Some(piece) = pieces.next() else {
            break match exchange.closed(true) {
                Closed::Whole(last) => {
                    carried.output.extend_from_slice(last);
                    Fate::Whole { reusable: false }
                }
                Closed::Early | Closed::Goodbye | Closed::Tunnel => broken(&exchange),
            };
        };
        // What comes in pieces is left to the next rota between them.
        if exchange.is_heard() {
            exchange = left(&exchange, now);
        }
        let Some(bytes) = exchange.join(piece) else { continue };
        let Carried { heads, plan: planned, .. } = &mut carried;
        let write_head = |head: &ResponseHead<'_, '_>, plan: &mut ResponsePlan, out: &mut Vec<u8>| {
            let start = out.len();
            rewrite::response(head, plan, facts, DATE, out);
            heads.push(format!("{}{} {}", String::from_utf8_lossy(&out[start..]), plan.keep_client, plan.keep_app));
            if matches!(plan.kind, Kind::Final | Kind::Switch) {
                *planned = Some(*plan);
            }
            Ok(Written::Head)
        };
        let heard = match exchange.hear(&bytes, &around, &mut out, write_head) {
            Ok(heard) => heard,
            Err(_) => break broken(&exchange),
        };
        assert!(heard.heads <= out.bytes.len());
        if heard.status.is_some() {
            body_at = Some(carried.output.len() + heard.heads);
        }
        if exchange.is_tunnel() {
            carried.output.extend_from_slice(&out.bytes);
            break Fate::Switched(heard.tail.len());
        }
        carried.output.extend_from_slice(&out.bytes);
        carried.output.extend_from_slice(heard.tail);
        match heard.next {
            Next::More => {}
            Next::Ended(End::Whole) => break Fate::Whole { reusable: exchange.may_reuse(End::Whole) },
            Next::Ended(End::WithMore) => break Fate::Whole { reusable: false },
            Next::Ended(end @ (End::Left | End::Cut)) => panic!("nothing drains: {end:?}"),
            Next::Goodbye => panic!("nothing drains"),
        }
    };
    if let (Some(at), Some(plan)) = (body_at, &carried.plan) {
        carried.body = decoded(&carried.output[at..], plan.to_client, &carried.fate);
    }
    carried
}

fn left(exchange: &Exchange, now: Instant) -> Exchange {
    moment::counted_from(now, || serde_json::from_str(&serde_json::to_string(exchange).expect("it is saved")).expect("it is restored"))
}

/// An app that sends what is no answer, or ends too early.
fn broken(exchange: &Exchange) -> Fate {
    let then = exchange.after(Failure::Other, 1, true);
    assert_ne!(then, Then::Again);
    assert_eq!(then == Then::Cut, exchange.has_begun(), "cut where an answer is under way, told where none is");
    if exchange.is_head() { Fate::Bad } else { Fate::Broken(then) }
}

/// A body as a plain reader takes it out of what the client gets.
fn decoded(sent: &[u8], to_client: ClientBody, fate: &Fate) -> Vec<u8> {
    if to_client != ClientBody::Chunked {
        return sent.to_vec();
    }
    let (mut reader, mut body, mut at) = (BodyReader::for_request(&RequestBody::Chunked), Vec::new(), 0);
    while at < sent.len() {
        let (used, data) = reader.read(&sent[at..]).expect("chunks of ours are right");
        body.extend_from_slice(data);
        at += used;
        assert!(used > 0, "bytes behind the last chunk");
    }
    assert_eq!(reader.is_done(), matches!(fate, Fate::Whole { .. }), "the last chunk ends what is whole, and nothing else");
    body
}
