//! A connection to the app was closed before a byte of the answer: either the app hung up and lives, or the process is ending, which the
//! kernel tells some milliseconds later. What becomes of the request depends on it, so it waits for that, with its slot, for a bounded time.
//!
//! On the I/O thread, which does not block: it looks at the process once when it happens and once a moment later, and is told of the exit by
//! the restart thread.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use rustix::io::Errno;

use super::fault::{Fault, is_refusal};
use super::{Client, IoThread};
use crate::conn::Request;
use crate::http::refusal::Refusal;
use crate::pool::{Death, Exit, FailureKind, Hand, Obstacle};
use crate::printable;
use crate::sys;

/// What is known of the process.
#[derive(Debug)]
pub enum Fate {
    Lives,
    /// It is ending, or nobody listens at its address any more.
    Ending(Option<io::Error>),
    Ended,
}

/// What became of the process that closed the connection of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Lives,
    /// It ended: the request may be sent again if it is one that may be sent twice, or may not because it is suspected.
    Ended {
        suspected: bool,
    },
}

impl IoThread {
    /// A session failed with `fault`: whether that has to wait until more is known. Then it does.
    pub(super) fn awaits_its_end(&mut self, key: usize, fault: Fault) -> Result<(), Fault> {
        let Some(Client { session: Some(session), .. }) = self.clients.get_mut(key) else { return Err(fault) };
        let is_closed = matches!(fault, Fault::Ended | Fault::Broken(_)) && session.upstream.is_some();
        if !is_closed || session.exchange.is_heard() || session.closed.is_some() || matches!(self.fate, Fate::Ended) || self.gone {
            return Err(fault);
        }
        let upstream = session.upstream.take();
        session.exchange.all_sent();
        session.closed = Some(fault);
        if let Some(upstream) = upstream {
            let it = &self.upstreams.all[upstream];
            // The end that the app had sent before is read first, and that it took no more behind it.
            if it.socket.is_reset() {
                session.closed = Some(Fault::Broken(Errno::CONNRESET.into()));
            }
            if let Some(idled) = it.idled {
                self.upstreams.closed_on_request(idled);
            }
            self.upstreams.close(upstream);
        }
        self.look_at_process();
        if matches!(self.fate, Fate::Lives) {
            let child = self.ending_child();
            if let Some(session) = self.clients.get_mut(key).and_then(|client| client.session.as_mut()) {
                session.child = child;
            }
        }
        self.wait_for_verdict(key);
        Ok(())
    }

    /// The time for it is over.
    pub(super) fn verdict_is_due(&mut self, key: usize) {
        if let Fate::Lives = self.fate {
            if let Err(error) = self.upstreams.look(self.poll.registry(), super::Name::upstream)
                && is_refusal(&error)
            {
                self.is_ending(Some(error));
            }
            self.look_at_process();
            match self.fate {
                Fate::Lives => return self.child_ended(key),
                Fate::Ending(_) | Fate::Ended => return self.wait_for_verdict(key),
            }
        }
        // It does not come to its end: it is ended.
        let why = match &self.fate {
            Fate::Ending(Some(error)) => format!("it refuses connections: {error}"),
            Fate::Ending(None) | Fate::Lives | Fate::Ended => "it closed its connections and does not end".to_owned(),
        };
        self.shared.table.lock().pool.group_mut(self.id.group).broken(self.id, FailureKind::Refused(why), self.desk.now);
        self.shared.table.notify();
        self.judge(key, Verdict::Ended { suspected: true });
    }

    /// The process lives. If one of its children was ending, it ended with what it had in hand, which is judged together.
    fn child_ended(&mut self, key: usize) {
        let child = |client: &Client| client.session.as_ref().filter(|session| session.closed.is_some())?.child;
        let Some(exit) = self.clients.get(key).and_then(child).filter(|_| !self.clients[key].is_unread()) else {
            return self.judge(key, Verdict::Lives);
        };
        let of_it = |client: &Client| child(client) == Some(exit) && !client.is_unread();
        let keys: Vec<usize> = self.clients.iter().filter(|(_, client)| of_it(client)).map(|(key, _)| key).collect();
        let hands = keys.iter().filter_map(|key| self.clients[*key].hand()).collect();
        let death = Death { hands, ..Death::new(exit, Vec::new()) };
        log::info!("{} pid {}: a child of it ended ({exit}) while it had {}", self.name, self.pid, death.had());
        let again = self.shared.table.lock().pool.group(self.id.group).child_died(exit, &death.hands, self.desk.now);
        for (key, again) in keys.into_iter().zip(again) {
            self.judge(key, Verdict::Ended { suspected: !again });
        }
    }

    /// Looks through all processes of the machine, and therefore not for each of many requests that end at once.
    fn ending_child(&mut self) -> Option<Exit> {
        let known = self.child.filter(|(at, _)| self.desk.now.saturating_duration_since(*at) < LOOK_AGAIN);
        let (_, child) = *self.child.insert(known.unwrap_or_else(|| (self.desk.now, sys::ending_child(self.pid))));
        child
    }

    /// A process that refuses connections is dead or as good as dead: the pool must not choose it again. Why it is, its exit will say.
    pub(super) fn refuses_connections(&mut self, error: io::Error) {
        if let Fate::Lives = self.fate {
            self.is_ending(Some(error));
            self.end_is_due = Some(self.desk.now + REFUSES);
        }
    }

    /// Nobody waits for the exit any more.
    pub(super) fn pass_end(&mut self) {
        if self.end_is_due.take_if(|at| *at <= self.desk.now).is_none() {
            return;
        }
        if let Fate::Ending(error) = &self.fate {
            let what = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
            let kind = FailureKind::Refused(format!("it refuses connections{what}"));
            self.shared.table.lock().pool.group_mut(self.id.group).broken(self.id, kind, self.desk.now);
            self.shared.table.notify();
        }
    }

    /// The leader has ended: what it had in hand is judged together. Gives what it printed last, already told with it.
    pub(super) fn ended(&mut self, exit: Exit, out_of_memory: bool, output: Vec<String>, obstacle: Option<Obstacle>) {
        self.hear_last_words();
        self.fate = Fate::Ended;
        self.end_is_due = None;
        let waits: Vec<usize> = self.clients.iter().filter(|(_, client)| client.is_judged()).map(|(key, _)| key).collect();
        // What the app has not read to the end it has not begun on.
        let (unread, read): (Vec<usize>, Vec<usize>) = waits.into_iter().partition(|key| self.clients[*key].is_unread());
        let mut hands: Vec<Hand> = read.iter().filter_map(|key| self.clients[*key].hand()).collect();
        if hands.is_empty() {
            let lately = |(at, _): &(Instant, Hand)| self.desk.now.saturating_duration_since(*at) < END;
            hands.extend(self.cut_lately.drain(..).filter(lately).map(|(_, hand)| hand));
        }
        let death = Death { out_of_memory, hands, obstacle, ..Death::new(exit, output) };
        let had = death.had();
        let had = if had.is_empty() { had } else { format!(" while it had {had}") };
        let memory = if out_of_memory { " (the kernel was out of memory)" } else { "" };
        log::info!("{} pid {}: {exit}{memory}{had}", self.name, self.pid);
        if !death.hands.is_empty() {
            self.desk.catalog.ledger(self.id.group).has_suspects(true);
        }
        let again = self.shared.table.lock().pool.group_mut(self.id.group).died(self.id, death, self.desk.now);
        self.shared.table.notify();
        for key in unread {
            self.judge(key, Verdict::Ended { suspected: false });
        }
        for (key, again) in read.into_iter().zip(again) {
            self.judge(key, Verdict::Ended { suspected: !again });
        }
    }

    /// Before a request is given to the process: Err, its like have ended others and this is the last that serves.
    pub(super) fn is_worth_the_risk(&self, key: usize) -> Result<(), Refusal> {
        let Some(request) = self.clients.get(key).and_then(|client| client.conn.request.as_ref()) else { return Ok(()) };
        let mut state = self.shared.table.lock();
        let group = state.pool.group_mut(self.id.group);
        if !group.has_suspects(self.desk.now) {
            self.desk.catalog.ledger(self.id.group).has_suspects(false);
            return Ok(());
        }
        let line = request.line();
        let risk = group.may_risk(&printable::clean(line.as_bytes()), self.id, self.desk.now);
        drop(state);
        risk.map_err(|deaths| {
            let (name, pid) = (&self.name, self.pid);
            log::info!("{line}: its like ended {deaths} processes in a row; {name} pid {pid} is the last that serves, and does not get it");
            Refusal::BadGateway("requests like this one end the app's processes, and only one is left")
        })
    }

    /// A request of which the like have ended processes has been answered.
    pub(super) fn survives(&self, key: usize) {
        if let Some(request) = self.clients.get(key).and_then(|client| client.conn.request.as_ref()) {
            let line = printable::clean(request.line().as_bytes());
            self.shared.table.lock().pool.group_mut(self.id.group).survived(&line);
        }
    }

    /// An answer that had begun was cut by the app: should the process end, it had this in hand.
    pub(super) fn was_cut(&mut self, key: usize) {
        if let Some(hand) = self.clients.get(key).and_then(Client::hand) {
            self.cut_lately.retain(|(at, _)| self.desk.now.saturating_duration_since(*at) < END);
            if self.cut_lately.len() < CUT_LATELY {
                self.cut_lately.push((self.desk.now, hand));
            }
        }
    }

    /// What the process wrote before it ended is in the sockets, also where no event has told of it yet.
    fn hear_last_words(&mut self) {
        let asked = |client: &Client| client.session.as_ref().filter(|session| !session.exchange.is_heard())?.upstream;
        let upstreams: Vec<usize> = self.clients.iter().filter_map(|(_, client)| asked(client)).collect();
        for upstream in upstreams {
            if let Some(it) = self.upstreams.all.get_mut(upstream) {
                it.readable = true;
                self.read_app(upstream);
            }
        }
    }

    fn look_at_process(&mut self) {
        if matches!(self.fate, Fate::Lives) && sys::is_exiting(self.pid) {
            self.is_ending(None);
        }
    }

    fn is_ending(&mut self, refuses: Option<io::Error>) {
        self.fate = Fate::Ending(refuses);
        self.upstreams.close_idle();
        self.shared.table.lock().pool.group_mut(self.id.group).dying(self.id);
    }

    fn wait_for_verdict(&mut self, key: usize) {
        let time = if matches!(self.fate, Fate::Lives) { HANG_UP } else { END };
        if let Some(client) = self.clients.get_mut(key) {
            self.desk.deadlines.set(&mut client.conn.deadline, key, self.desk.now + time);
        }
    }

    fn judge(&mut self, key: usize, verdict: Verdict) {
        let closed = self.clients.get_mut(key).and_then(|client| client.session.as_mut()?.closed.take());
        if let Some(fault) = closed {
            self.settle(key, fault, verdict);
        }
    }
}

impl Client {
    fn is_judged(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.closed.is_some())
    }

    /// A reset says that bytes were left unread. Of a request without a body, or with one that was not asked for, that is the end of its head, without which nothing begins.
    fn is_unread(&self) -> bool {
        let Some(session) = &self.session else { return false };
        let reset = |error: &io::Error| matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
        let is_reset = matches!(&session.closed, Some(Fault::Broken(error)) if reset(error));
        let is_sent = self.conn.request.as_ref().is_some_and(|request| session.exchange.head_left(&request.head).is_empty());
        let has_body = |request: &Request| !request.body.is_empty() || request.is_streamed && !request.is_unasked;
        !is_sent || is_reset && self.conn.request.as_ref().is_some_and(|request| !has_body(request))
    }

    fn hand(&self) -> Option<Hand> {
        let (request, session): (&Request, _) = (self.conn.request.as_ref()?, self.session.as_ref()?);
        Some(Hand {
            line: printable::clean(request.line().as_bytes()),
            id: request.id().map(ToOwned::to_owned),
            since: session.exchange.since(),
        })
    }
}

/// An app that hangs up is given so long to end, too.
const HANG_UP: Duration = Duration::from_millis(20);
/// From the sight of a process that ends to its exit, which waits for nothing but its turn.
const END: Duration = Duration::from_secs(2);
/// A process at whose address nobody listens any more: npm and shells end soon behind their child.
const REFUSES: Duration = Duration::from_millis(500);
/// The children of a process are looked at once in so long.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// Cut answers that are remembered for so long.
const CUT_LATELY: usize = 4;
