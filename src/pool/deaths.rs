//! Requests that were in hand when their process ended: who is suspected of it, and what follows. Sent again is what cannot have been it; a
//! release is not to blame for a visitor who ended processes of another release too; and the last process that serves is not risked for a
//! request that is known to end processes.
//!
//! A process ends of its own when it exits or dies of a fault (signal 6, 11 ...). One that was told to, or that a signal from outside ended,
//! says nothing about what it had in hand.

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::*;

/// How a process ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Death {
    pub exit: Exit,
    /// Its last lines.
    pub output: Vec<String>,
    /// The kernel killed for memory lately: a signal 9 is then the process's own doing.
    pub out_of_memory: bool,
    /// What it had in hand and had not answered.
    pub hands: Vec<Hand>,
    /// It was not ready yet: what kept it from that.
    pub obstacle: Option<Obstacle>,
}

/// A request that a process had in hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hand {
    /// `GET /path?query`, printable.
    pub line: String,
    /// As the app was told it.
    pub id: Option<String>,
    /// Since when the process had it.
    #[serde(with = "crate::moment")]
    pub since: Instant,
}

/// Requests that were in hand at deaths of late.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Deadly {
    suspects: Vec<Suspect>,
    /// The process that got the last one of those that have ended others, and when.
    pub(super) risked: Option<Risked>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Risked {
    pub id: ProcessId,
    #[serde(with = "crate::moment")]
    since: Instant,
}

/// One kind of them: method and path.
#[derive(Debug, Serialize, Deserialize)]
struct Suspect {
    line: String,
    #[serde(with = "crate::moment")]
    last: Instant,
    /// Of what they ended a process, the newest last.
    generations: Vec<Generation>,
    /// Deaths that it is blamed for, since an app answered one.
    deaths: u32,
}

impl Hand {
    /// What makes it the same request as another: a query is the visitor's, the path is the code's.
    fn kind(&self) -> &str {
        kind(&self.line)
    }
}

impl std::fmt::Display for Hand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{} (id {id})", self.line),
            None => f.write_str(&self.line),
        }
    }
}

impl Death {
    pub fn new(exit: Exit, output: Vec<String>) -> Self {
        Self { exit, output, out_of_memory: false, hands: Vec::new(), obstacle: None }
    }

    fn is_own(&self) -> bool {
        match self.exit {
            Exit::Signal { signal: SIGKILL, .. } => self.out_of_memory,
            Exit::Signal { signal, .. } => !FROM_OUTSIDE.contains(&signal),
            // How a shell or npm says of what signal its child died.
            Exit::Status(status) => !FROM_OUTSIDE.contains(&(status - 128)) && status != 128 + SIGKILL,
        }
    }

    /// `GET /a (id 1), GET /b (id 2) and 3 more`, the newest first; empty: nothing.
    pub fn had(&self) -> String {
        let mut hands: Vec<&Hand> = self.hands.iter().collect();
        hands.sort_by_key(|hand| std::cmp::Reverse(hand.since));
        let named: Vec<String> = hands.iter().take(NAMED).map(ToString::to_string).collect();
        let more = self.hands.len().saturating_sub(NAMED);
        named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
    }
}

impl Deadly {
    /// `blamed`: it may have been this one.
    fn note(&mut self, kind: &str, blamed: bool, generation: Generation, now: Instant) {
        self.forget(now);
        let known = self.suspects.iter().position(|suspect| suspect.line == kind);
        let mut suspect = match known {
            Some(known) => self.suspects.remove(known),
            None => Suspect { line: kind.to_owned(), last: now, generations: Vec::new(), deaths: 0 },
        };
        suspect.last = now;
        suspect.deaths = suspect.deaths.saturating_add(u32::from(blamed));
        suspect.generations.retain(|known| *known != generation);
        suspect.generations.push(generation);
        suspect.generations.drain(..suspect.generations.len().saturating_sub(GENERATIONS));
        if self.suspects.len() == SUSPECTS {
            self.suspects.remove(0);
        }
        self.suspects.push(suspect);
    }

    fn forget(&mut self, now: Instant) {
        self.suspects.retain(|suspect| now.saturating_duration_since(suspect.last) < MEMORY);
    }

    fn find(&self, line: &str, now: Instant) -> Option<&Suspect> {
        let fresh = |suspect: &&Suspect| now.saturating_duration_since(suspect.last) < MEMORY;
        self.suspects.iter().filter(fresh).find(|suspect| suspect.line == kind(line))
    }
}

impl<W> Group<W> {
    /// The leader ended. For each request that it had in hand: whether it may be sent again, if it is one that may be sent twice.
    pub fn died(&mut self, id: ProcessId, death: Death, now: Instant) -> Vec<bool> {
        let told = |process: &Process| process.is_stopping() && !process.is_too_heavy();
        let own = self.find(id).is_some_and(|process| (death.is_own() || process.is_too_heavy()) && !told(process));
        let again = self.innocent(&death.hands, own, now);
        let generation = self.find(id).map(|process| process.generation).filter(|_| own);
        let visitors = generation.is_some_and(|generation| self.is_visitors(&death.hands, generation, now));
        if let Some(generation) = generation {
            let mut kinds: Vec<(&str, bool)> = death.hands.iter().map(Hand::kind).zip(again.iter().map(|again| !again)).collect();
            // Each once, as the one that is blamed if one of them is.
            kinds.sort_unstable_by(|one, other| one.0.cmp(other.0).then(other.1.cmp(&one.1)));
            kinds.dedup_by_key(|(kind, _)| *kind);
            kinds.into_iter().for_each(|(kind, blamed)| self.deadly.note(kind, blamed, generation, now));
        }
        let had = death.had();
        self.leader_ended(id, death, had, visitors, now);
        again
    }

    /// A child of a process that lives ended with these in hand: as [`Group::died`], but for the books, for a child is its server's business.
    pub fn child_died(&self, exit: Exit, hands: &[Hand], now: Instant) -> Vec<bool> {
        self.innocent(hands, Death::new(exit, Vec::new()).is_own(), now)
    }

    /// It is known to be ending, and its exit is not known yet: it gets nothing more.
    pub fn dying(&mut self, id: ProcessId) {
        if let Some(process) = self.find_mut(id) {
            process.dying = true;
        }
        self.checked();
    }

    /// A process was given one that ended others, and has answered.
    pub fn survived(&mut self, line: &str) {
        for suspect in self.deadly.suspects.iter_mut().filter(|suspect| suspect.line == kind(line)) {
            suspect.deaths = 0;
            self.deadly.risked = None;
        }
    }

    /// Whether there is anything to ask [`Group::may_risk`] about.
    pub fn has_suspects(&mut self, now: Instant) -> bool {
        self.deadly.forget(now);
        !self.deadly.suspects.is_empty()
    }

    /// Whether the request may be given to `id`. Err: its like have ended so many processes one after another, and there would be none left
    /// that serves, though the app has more than one.
    pub fn may_risk(&mut self, line: &str, id: ProcessId, now: Instant) -> Result<(), u32> {
        let deaths = self.deadly.find(line, now).map_or(0, |suspect| suspect.deaths);
        if deaths < KNOWN || self.wanted() < 2 {
            return Ok(());
        }
        let at_risk = self.deadly.risked.filter(|risked| now.saturating_duration_since(risked.since) < RISK).map(|risked| risked.id);
        let is_safe = |process: &Process| process.is_serving() && !process.dying && process.id != id && Some(process.id) != at_risk;
        if !self.processes.iter().any(is_safe) {
            return Err(deaths);
        }
        self.deadly.risked = Some(Risked { id, since: now });
        Ok(())
    }

    /// Nobody knows which of several it was. What came last is the likeliest, for what ends a process seldom takes long to; and what was in
    /// hand at another death. The others are sent once more: should one of them have been it, one more process ends and no third.
    fn innocent(&self, hands: &[Hand], own: bool, now: Instant) -> Vec<bool> {
        let newest = hands.iter().map(|hand| hand.since).max();
        hands.iter().map(|hand| !own || (Some(hand.since) != newest && self.deadly.find(&hand.line, now).is_none())).collect()
    }

    /// The like of it ended processes of another release too.
    fn is_visitors(&self, hands: &[Hand], generation: Generation, now: Instant) -> bool {
        let of_another = |suspect: &Suspect| suspect.generations.iter().any(|of| *of != generation);
        hands.iter().any(|hand| self.deadly.find(hand.kind(), now).is_some_and(of_another))
    }

    /// A death that would speak against the release of a walk was a visitor's doing. So many of them are not counted: of a release that each
    /// visitor ends, enough follow.
    pub(super) fn is_pardoned(&mut self, generation: Generation) -> bool {
        match self.walk.as_mut().filter(|walk| walk.target == generation) {
            Some(walk) => {
                walk.pardons = walk.pardons.saturating_add(1);
                walk.pardons <= PARDONS
            }
            None => true,
        }
    }
}

fn kind(line: &str) -> &str {
    line.split('?').next().unwrap_or_default()
}

const SIGKILL: i32 = 9;
/// HUP, INT, QUIT, TERM: somebody told it to end.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 3, 15];
/// Requests that the report of a death names.
const NAMED: usize = 3;
/// Kinds that are remembered of one app, for so long after the last death.
const SUSPECTS: usize = 16;
const MEMORY: Duration = Duration::from_secs(600);
const GENERATIONS: usize = 4;
/// Once may be chance.
const KNOWN: u32 = 2;
/// What a request that ends its process takes to do it, at most; two at a time would be two processes.
const RISK: Duration = Duration::from_secs(5);
/// Deaths of a release in one walk that visitors are to blame for.
const PARDONS: u8 = 8;
