//! `Expect: 100-continue` in front of a large body (RFC 9110 10.1.1): the head goes to the app alone, so that a client hears of a refusal before
//! it has sent what nobody wants. Core; says when the client is told to send.
//!
//! node, gunicorn, puma and starman say 100 before the program behind them has seen the request, so that word alone is not believed at once.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::exchange::facts::RequestFacts;
use super::framing::RequestBody;

/// Of one exchange.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Expectation {
    /// The client is told to send then, unless there is an answer before.
    #[serde(with = "crate::moment::option")]
    due: Option<Instant>,
    /// The app has said 100.
    is_asked: bool,
}

/// Whether the body is worth the wait for what the app says.
pub fn is_for_app(facts: &RequestFacts) -> bool {
    facts.expects_continue
        && match facts.body {
            RequestBody::None => false,
            RequestBody::Length(length) => length > SMALL,
            RequestBody::Chunked => true,
        }
}

impl Expectation {
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// The app has the head; `limit`: how long it may take for an answer.
    pub fn head_is_out(&mut self, now: Instant, limit: Duration) {
        // An app that waits for the body must not be late with its answer for that.
        self.due.get_or_insert(now + SILENT.min(limit / 2));
    }

    /// The app has said 100.
    pub fn app_asks(&mut self, now: Instant) {
        self.is_asked = true;
        self.is_due_by(now + DOUBTED);
    }

    /// Nothing is to be asked for any more: it was, or the final answer has begun.
    pub fn end(&mut self) {
        self.due = None;
    }

    /// The app has said 100 and begins an answer that is no refusal: it reads on while it answers, as it would without rota.
    pub fn goes_on(&self, status: u16, is_whole: bool) -> bool {
        self.is_asked && !is_whole && (200..300).contains(&status)
    }

    pub fn put_off(&mut self, by: Duration) {
        self.due = self.due.map(|due| due + by);
    }

    fn is_due_by(&mut self, at: Instant) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

/// A body that is sent before a client that waits has its answer costs nobody anything (bytes).
const SMALL: u64 = 64 * 1024;
/// From an app's 100 to the refusal of the program behind it: a look into a session or a database.
const DOUBTED: Duration = Duration::from_millis(100);
/// An app that does not know of the field waits for the body without a word: what curl waits by default.
const SILENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{HeadLimits, HeaderRoom, parse_request};

    fn is_asked(version: &str, fields: &str) -> bool {
        let text = format!("PUT / HTTP/{version}\r\nHost: a\r\n{fields}\r\n\r\n");
        let limits = HeadLimits { bytes: 8192, headers: 100, target: 1000 };
        let mut room = HeaderRoom::new();
        let (head, _) = parse_request(text.as_bytes(), &limits, &mut room).unwrap().expect("whole");
        is_for_app(&RequestFacts::of(&head).unwrap())
    }

    #[test]
    fn the_app_is_asked_about_what_is_large_or_of_no_known_length() {
        for (version, fields, asked) in [
            ("1.1", "Content-Length: 65537\r\nExpect: 100-continue", true),
            ("1.1", "Content-Length: 65537\r\nExpect: 100-Continue", true),
            ("1.1", "Transfer-Encoding: chunked\r\nExpect: 100-continue", true),
            ("1.1", "Content-Length: 65536\r\nExpect: 100-continue", false),
            ("1.1", "Content-Length: 65537", false),
            ("1.1", "Expect: 100-continue", false),
            ("1.0", "Content-Length: 65537\r\nExpect: 100-continue", false),
        ] {
            assert_eq!(is_asked(version, fields), asked, "HTTP/{version} {fields:?}");
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn an_app_that_says_nothing_has_a_second_and_one_that_says_100_a_moment() {
        let now = Instant::now();
        let mut silent = Expectation::default();
        assert!(!silent.is_due(now + LONG), "it has not got the head");
        silent.head_is_out(now, LONG);
        silent.head_is_out(now + LONG, LONG);
        assert_eq!(silent.due(), Some(now + SILENT));
        silent.put_off(SILENT);
        assert_eq!([SILENT, 2 * SILENT].map(|after| silent.is_due(now + after)), [false, true]);
        let mut asks = Expectation::default();
        asks.head_is_out(now, LONG);
        asks.app_asks(now);
        asks.app_asks(now + DOUBTED);
        assert_eq!(asks.due(), Some(now + DOUBTED));
        let mut late = Expectation::default();
        late.head_is_out(now, LONG);
        late.app_asks(now + SILENT - Duration::from_millis(1));
        assert_eq!(late.due(), Some(now + SILENT));
    }

    #[test]
    fn a_short_limit_of_the_app_s_leaves_it_time_to_read() {
        let now = Instant::now();
        let mut expectation = Expectation::default();
        expectation.head_is_out(now, SILENT);
        assert_eq!(expectation.due(), Some(now + SILENT / 2));
    }

    #[test]
    fn behind_an_answer_nothing_is_asked_for() {
        let now = Instant::now();
        let mut expectation = Expectation::default();
        expectation.head_is_out(now, LONG);
        expectation.end();
        assert!(!expectation.is_due(now + LONG));
    }

    #[test]
    fn who_has_asked_and_begins_an_answer_that_is_no_refusal_goes_on_reading() {
        let mut expectation = Expectation::default();
        assert!(!expectation.goes_on(200, false), "it has not asked");
        expectation.app_asks(Instant::now());
        for (status, is_whole, goes_on) in [(200, false, true), (200, true, false), (302, false, false), (401, false, false)] {
            assert_eq!(expectation.goes_on(status, is_whole), goes_on, "{status} {is_whole}");
        }
    }
}
