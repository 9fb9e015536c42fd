//! The wicket: what is asked of rota itself over TCP, beside the doors that clients come through. Balancers ask there how it is (`server.agent`),
//! monitors what it has counted (`server.metrics`).
//!
//! On a thread of its own, which is there once the configuration names something to be asked: whoever asks slowly, or asks a lot, holds up nobody
//! but others who ask. Visits are bounded in number and in time; of too many the oldest goes. It serves no request of a client and starts nothing.

mod question;
mod visit;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;

use crate::catalog::Catalog;
use crate::handoff::{self, Inbox, Mailbox, slept};
use crate::last_word;
use crate::samples::{Asker, Sample};
use crate::table::Shared;
use visit::Visit;

/// To the wicket.
#[derive(Debug)]
pub enum ToWicket {
    /// Another configuration is in force.
    Reloaded,
    /// The answer of the sampler: what the processes take, by pid.
    Samples(Arc<HashMap<u32, Sample>>),
}

/// What can be asked at a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// How rota is, in a line.
    Agent,
    /// What is counted, over HTTP.
    Metrics,
}

impl Asks {
    const ALL: [Asks; 2] = [Asks::Agent, Asks::Metrics];

    fn key(self) -> &'static str {
        match self {
            Asks::Agent => "server.agent",
            Asks::Metrics => "server.metrics",
        }
    }

    fn address(self, catalog: &Catalog) -> Option<SocketAddr> {
        match self {
            Asks::Agent => catalog.server.agent,
            Asks::Metrics => catalog.server.metrics,
        }
    }
}

/// Whether there is something to be asked.
pub fn is_wanted(catalog: &Catalog) -> bool {
    Asks::ALL.iter().any(|asks| asks.address(catalog).is_some())
}

/// Starts the thread, with the rights of whoever calls.
pub fn start(shared: Arc<Shared>, sampler: Sender<Asker>) -> io::Result<Mailbox<ToWicket>> {
    let poll = Poll::new()?;
    let (mailbox, inbox) = handoff::mailbox(poll.registry(), WAKER)?;
    let ports = Asks::ALL.map(|asks| Port { asks, wanted: None, open: None, try_at: None, told: false });
    let own = mailbox.clone();
    let mut wicket = Wicket { shared, sampler, own, poll, inbox, ports, visits: Slab::new() };
    last_word::start(NAME, STACK, move || {
        wicket.run();
        true
    })?;
    Ok(mailbox)
}

#[derive(Debug)]
struct Wicket {
    shared: Arc<Shared>,
    sampler: Sender<Asker>,
    /// For the sampler.
    own: Mailbox<ToWicket>,
    poll: Poll,
    inbox: Inbox<ToWicket>,
    ports: [Port; Asks::ALL.len()],
    visits: Slab<Visit>,
}

/// A place to be asked.
#[derive(Debug)]
struct Port {
    asks: Asks,
    wanted: Option<SocketAddr>,
    open: Option<mio::net::TcpListener>,
    /// What could not be opened is tried again then; what could not be accepted too.
    try_at: Option<Instant>,
    /// That it could not was said.
    told: bool,
}

impl Wicket {
    /// Until the process ends: also while it stops it is asked.
    fn run(&mut self) {
        let mut events = Events::with_capacity(64);
        self.follow(Instant::now());
        loop {
            let due = match self.inbox.before_sleep() {
                true => Some(Instant::now()),
                false => self.visits.iter().map(|(_, visit)| visit.until).chain(self.ports.iter().filter_map(|port| port.try_at)).min(),
            };
            let timeout = due.map(|at| at.saturating_duration_since(Instant::now()));
            slept(self.poll.poll(&mut events, timeout));
            self.inbox.after_sleep();
            last_word::fault(NAME);
            let now = Instant::now();
            for event in &events {
                self.event(event, now);
            }
            while let Some(message) = self.inbox.take() {
                match message {
                    ToWicket::Reloaded => self.follow(now),
                    ToWicket::Samples(samples) => {
                        let shared = &self.shared;
                        self.visits.retain(|_, visit| !visit.samples() || visit.sampled(Some(&samples), shared, now));
                    }
                }
            }
            self.pass_deadlines(now);
        }
    }

    /// Opens and closes what the configuration in force says.
    fn follow(&mut self, now: Instant) {
        let catalog = self.shared.catalog();
        for port in &mut self.ports {
            let wanted = port.asks.address(&catalog);
            if wanted != port.wanted {
                // A closed one is out of the poll.
                *port = Port { asks: port.asks, wanted, open: None, try_at: None, told: false };
                port.open(self.poll.registry(), now);
            }
        }
    }

    fn event(&mut self, event: &Event, now: Instant) {
        let Token(token) = event.token();
        if token < self.ports.len() {
            self.accept(token, now);
        } else if let Some(number) = token.checked_sub(VISITS) {
            self.attend(number, now);
        }
    }

    fn accept(&mut self, number: usize, now: Instant) {
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.ports[number].open else { return };
            match listener.accept() {
                Ok((stream, _)) => self.admit(stream, self.ports[number].asks, now),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return,
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // No descriptors, no memory: what waits raises no new event.
                    _ => {
                        self.ports[number].try_at = Some(now + PAUSE);
                        return;
                    }
                },
            }
        }
        self.ports[number].try_at = Some(now);
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream, asks: Asks, now: Instant) {
        if self.visits.len() >= VISITORS {
            let oldest = self.visits.iter().min_by_key(|(_, visit)| visit.since).map(|(number, _)| number);
            oldest.map(|number| self.visits.remove(number));
        }
        let entry = self.visits.vacant_entry();
        let number = entry.key();
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, Token(VISITS + number), interest).is_ok() {
            entry.insert(Visit::new(stream, asks, now));
            self.attend(number, now);
        }
    }

    fn attend(&mut self, number: usize, now: Instant) {
        let Some(visit) = self.visits.get_mut(number) else { return };
        let had_asked = visit.samples();
        if !visit.attend(&self.shared, now) {
            self.visits.remove(number);
        } else if visit.samples() && !had_asked {
            // A sampler that is gone says nothing in time, and the rest is told all the same.
            let _ = self.sampler.send(Asker::Wicket(self.own.clone()));
        }
    }

    fn pass_deadlines(&mut self, now: Instant) {
        let shared = &self.shared;
        self.visits.retain(|_, visit| now < visit.until || (visit.samples() && visit.sampled(None, shared, now)));
        for number in 0..self.ports.len() {
            if self.ports[number].try_at.is_some_and(|at| at <= now) {
                self.ports[number].try_at = None;
                self.ports[number].open(self.poll.registry(), now);
                self.accept(number, now);
            }
        }
    }
}

impl Port {
    /// Unless it is open, or there is nothing to be asked.
    fn open(&mut self, registry: &Registry, now: Instant) {
        let (Some(address), None) = (self.wanted, &self.open) else { return };
        match listen(address, registry, Token(self.asks as usize)) {
            Ok(listener) => {
                log::info!("{} {address}: listens", self.asks.key());
                (self.open, self.told) = (Some(listener), false);
            }
            Err(error) => {
                if !self.told {
                    log::error!("{} {address}: {error}; it is tried again every {} s", self.asks.key(), PAUSE.as_secs());
                }
                (self.try_at, self.told) = (Some(now + PAUSE), true);
            }
        }
    }
}

fn listen(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<mio::net::TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let mut listener = mio::net::TcpListener::from_std(listener);
    registry.register(&mut listener, token, Interest::READABLE)?;
    Ok(listener)
}

/// At a time. A balancer asks once in a second or two, and is gone within a millisecond.
const VISITORS: usize = 32;
/// In one turn; more waits in the backlog.
const ACCEPTS: usize = 64;
/// Before a port that could not be opened, or accepted from, is tried again.
const PAUSE: Duration = Duration::from_secs(1);
const WAKER: Token = Token(1000);
const VISITS: usize = 1001;
const NAME: &str = "rota-wicket";
const STACK: usize = 256 * 1024;
