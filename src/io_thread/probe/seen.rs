//! What the tries of the probe have seen, and when it is clear that it stays so. No I/O: answers, printed lines, processor time and the time
//! come in.
//!
//! The rule. An answer that is no HTTP for a visitor, again and again for [`MALFORMED_STAYS`], will not become better by waiting. Any other
//! that does not count as ready is given up on when it was the same (status and length) for [`STAYS`], while the process took next to no
//! processor time and printed nothing but the same lines at each try. 502, 503 and 504 say "not yet" and are waited for until `ready.timeout`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::http::malformed::Malformed;
use crate::printable::counted;

/// What one try saw.
#[derive(Clone, Debug, PartialEq)]
pub enum Saw {
    /// No answer: nobody listens, closed, not in time. A phrase.
    Nothing(String),
    Status {
        status: u16,
        length: u64,
    },
    Malformed(Malformed),
}

/// What the last tries saw.
#[derive(Debug)]
pub struct Seen {
    path: String,
    saw: Saw,
    since: Instant,
    tries: u32,
    /// When something moved in the process beside its answers to the tries.
    moved: Instant,
    /// How often a line of each kind was printed since `since`.
    kinds: HashMap<u64, u32>,
    /// Processor time of the process when it was last looked at, in ticks.
    ticks: Option<(u64, Instant)>,
    /// Sentences in the log so far.
    said: u8,
    is_said: bool,
}

impl Seen {
    pub fn new(path: &str, nothing: String, now: Instant) -> Self {
        Self {
            path: path.to_owned(),
            saw: Saw::Nothing(nothing),
            since: now,
            tries: 0,
            moved: now,
            kinds: HashMap::new(),
            ticks: None,
            said: 0,
            is_said: false,
        }
    }

    /// `printed`: the kinds of the lines that the process printed since the last try ([`crate::printable::kind_of`]).
    pub fn add(&mut self, saw: Saw, printed: &[u64], now: Instant) {
        if self.saw != saw {
            *self = Self { said: self.said, saw, ..Self::new(&self.path, String::new(), now) };
        }
        self.tries += 1;
        for kind in printed {
            if self.kinds.len() < KINDS {
                *self.kinds.entry(*kind).or_default() += 1;
            }
        }
        // A line that comes at each try is part of the answer; the last try's may still be on its way.
        let of_each_try = |kind: &u64| self.kinds.get(kind).is_some_and(|count| count + 1 >= self.tries);
        if !printed.iter().all(of_each_try) {
            self.moved = now;
        }
    }

    /// rota did not run for so long.
    pub fn put_off(&mut self, by: Duration) {
        self.since += by;
        self.moved += by;
        self.ticks = None;
    }

    /// It is worth to look at the process's time on the processor.
    pub fn wants_ticks(&self, now: Instant) -> bool {
        let counts = self.stays_for().is_some_and(|(_, by_itself)| !by_itself) && now >= self.since + SAID_AFTER;
        counts && self.ticks.is_none_or(|(_, at)| now >= at + LOOKED_FOR)
    }

    /// `ticks`: what the process and its children took so far; more than [`BUSY`] is something that moves.
    pub fn took(&mut self, ticks: u64, now: Instant) {
        if let Some((before, since)) = self.ticks.replace((ticks, now)) {
            let time = now.saturating_duration_since(since).as_secs_f64();
            if ticks.saturating_sub(before) as f64 > BUSY * time {
                self.moved = now;
            }
        }
    }

    /// It will not become ready.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        let Some((stays, by_itself)) = self.stays_for() else { return false };
        let from = if by_itself { self.since } else { self.since.max(self.moved) };
        self.tries >= TRIES && now >= from + stays
    }

    /// Between two tries: the longer it answers the same the less often it is asked.
    pub fn longest_pause(&self, now: Instant) -> Duration {
        match (&self.saw, now.saturating_duration_since(self.since).as_secs()) {
            (Saw::Nothing(_), _) | (Saw::Status { .. } | Saw::Malformed(_), 0..5) => PAUSES[0],
            (Saw::Status { .. } | Saw::Malformed(_), 5..15) => PAUSES[1],
            (Saw::Status { .. } | Saw::Malformed(_), _) => PAUSES[2],
        }
    }

    /// For the log, once for each answer that lasts: what is answered so far.
    pub fn say_once(&mut self, now: Instant) -> Option<String> {
        let lasts = !self.is_silence() && now >= self.since + SAID_AFTER;
        if !lasts || self.is_said || self.said == SENTENCES {
            return None;
        }
        self.is_said = true;
        self.said += 1;
        Some(format!(
            "{}, {} in {:.1} s",
            self.words(),
            counted(self.tries, "time"),
            now.saturating_duration_since(self.since).as_secs_f64()
        ))
    }

    /// `GET / answered 503`
    pub fn words(&self) -> String {
        match &self.saw {
            Saw::Nothing(what) => what.clone(),
            Saw::Status { status, .. } => format!("GET {} answered {status}", self.path),
            Saw::Malformed(what) => format!("GET {} was answered with what is no HTTP: {what}", self.path),
        }
    }

    /// The answer, if there was one.
    pub fn answer(&self) -> Option<String> {
        (!self.is_silence()).then(|| self.words())
    }

    /// [`Seen::words`], and how often it was so; for the failure.
    pub fn summary(&self, hopeless: bool) -> String {
        match (&self.saw, hopeless) {
            (Saw::Status { .. }, true) => format!("{} each of {} times, and nothing else moved in it", self.words(), self.tries),
            (Saw::Status { .. } | Saw::Malformed(_), _) if self.tries > 1 => format!("{}, {} times", self.words(), self.tries),
            (Saw::Nothing(_) | Saw::Status { .. } | Saw::Malformed(_), _) => self.words(),
        }
    }

    /// There was no answer.
    pub fn is_silence(&self) -> bool {
        matches!(self.saw, Saw::Nothing(_))
    }

    /// After how long it is hopeless, and whether the answer alone says so.
    fn stays_for(&self) -> Option<(Duration, bool)> {
        match &self.saw {
            Saw::Nothing(_) | Saw::Status { status: 502..=504, .. } => None,
            Saw::Status { .. } => Some((STAYS, false)),
            Saw::Malformed(_) => Some((MALFORMED_STAYS, true)),
        }
    }
}

/// Longer than apps are known to answer so while they load.
const STAYS: Duration = Duration::from_secs(25);
const MALFORMED_STAYS: Duration = Duration::from_secs(5);
const TRIES: u32 = 5;
/// An answer that lasts so long is worth a line.
const SAID_AFTER: Duration = Duration::from_secs(3);
/// Sentences of one start.
const SENTENCES: u8 = 4;
/// Ticks of 10 ms in a second: more than answers to the probe take.
const BUSY: f64 = 5.0;
const LOOKED_FOR: Duration = Duration::from_secs(1);
/// While nobody listens or an answer is new; after 5 s, and after 15 s of the same answer.
const PAUSES: [Duration; 3] = [Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];
/// Of lines that are told apart.
const KINDS: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::printable::kind_of;

    const BAD: Saw = Saw::Status { status: 500, length: 21 };

    /// So many seconds of the same answer, once a second, with what is printed and the ticks that are taken in each.
    fn after(seconds: u64, saw: &Saw, printed: impl Fn(u64) -> Vec<u64>, ticks: u64) -> (Seen, Instant) {
        let began = Instant::now();
        let mut seen = Seen::new("/", "nothing listens".to_owned(), began);
        for second in 0..=seconds {
            let now = began + Duration::from_secs(second);
            seen.add(saw.clone(), &printed(second), now);
            if seen.wants_ticks(now) {
                seen.took(second * ticks, now);
            }
        }
        (seen, began + Duration::from_secs(seconds))
    }

    fn is_hopeless(seconds: u64, saw: &Saw, printed: impl Fn(u64) -> Vec<u64>, ticks: u64) -> bool {
        let (seen, now) = after(seconds, saw, printed, ticks);
        seen.is_hopeless(now)
    }

    #[test]
    fn what_answers_500_for_20_s_while_it_loads_is_waited_for() {
        assert!(!is_hopeless(20, &BAD, |_| vec![], 0));
        assert!(is_hopeless(26, &BAD, |_| vec![], 0));
    }

    #[test]
    fn what_says_not_yet_is_waited_for() {
        for status in [502, 503, 504] {
            assert!(!is_hopeless(300, &Saw::Status { status, length: 0 }, |_| vec![], 0), "{status}");
        }
    }

    #[test]
    fn what_works_or_tells_something_new_is_waited_for() {
        assert!(!is_hopeless(60, &BAD, |_| vec![], 90), "it loads");
        assert!(!is_hopeless(60, &BAD, |second| if second % 7 == 0 { vec![second] } else { vec![] }, 0), "it says something now and then");
    }

    #[test]
    fn a_traceback_at_each_try_is_part_of_the_answer() {
        let lines = ["GET / 500 in 12ms", "Error: no such table", "    at /srv/app.js:7:1"];
        let printed = |_| lines.map(kind_of).to_vec();
        assert!(is_hopeless(26, &BAD, printed, 3));
        // What it printed at its boot arrived with the first answer.
        let boot = |second| if second == 0 { vec![1, 2, 3, kind_of(lines[0])] } else { vec![kind_of(lines[0])] };
        assert!(is_hopeless(26, &BAD, boot, 0));
    }

    #[test]
    fn another_answer_begins_anew_and_the_wait_for_it_is_said_once() {
        let (mut seen, now) = after(24, &BAD, |_| vec![], 0);
        assert_eq!(seen.say_once(now).unwrap(), "GET / answered 500, 25 times in 24.0 s");
        assert_eq!(seen.say_once(now), None);
        seen.add(Saw::Status { status: 500, length: 22 }, &[], now);
        assert!(!seen.is_hopeless(now + Duration::from_secs(10)) && seen.tries == 1);
    }

    #[test]
    fn what_is_no_http_is_given_up_on_soon() {
        let saw = Saw::Malformed(Malformed::body("bad", b""));
        assert!(!is_hopeless(4, &saw, |_| vec![7], 100) && is_hopeless(6, &saw, |_| vec![7], 100));
    }
}
