//! The master thread: accepts connections, reads their first heads, routes them and hands them to the I/O threads; takes signals and the
//! control socket; keeps the connections that no process can take.
//!
//! One mio event loop that nothing but readiness blocks. It starts and signals no process: what is wanted goes into the pool table, and the
//! restart thread does it. It touches no path that an app could have made.

mod accept;
mod bound;
mod census;
mod clients;
mod crowd;
mod doors;
mod files;
pub mod listeners;
mod operator;
mod porter;
mod proxies;
mod queues;
mod reload;
mod signalled;
mod stopping;
pub mod supervisor;
mod turning;
pub mod upgrade;
mod watchers;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::catalog::Catalog;
use crate::config::Loaded;
use crate::conn::answering;
use crate::conn::desk::Desk;
use crate::conn::intake::{self, Next};
use crate::conn::room::Books;
use crate::conn::{Conn, Phase};
use crate::control::proto::Reply;
use crate::control::server::{self, ControlServer};
use crate::credentials::Credentials;
use crate::dispatch::{self, Place};
use crate::handoff::{self, Inbox, Mailbox, Wake, slept};
use crate::http::head;
use crate::http::refusal::Refusal;
use crate::last_word;
use crate::plight;
use crate::record_writer::Bell;
use crate::restart::release;
use crate::seccomp;
use crate::signals::{self, Signals};
use crate::table::{NotListening, Shared, ToMaster};
use crate::watchdog::Watchdog;
pub use bound::Bound;
use clients::Clients;
use crowd::Crowd;
use listeners::Listener;
pub use listeners::SavedListener;
use operator::Operations;
use porter::Opened;
pub use porter::{Porter, ToPorter};
use stopping::Stopping;
use supervisor::Supervisor;
use turning::Turning;

/// The master's own state.
#[derive(Debug)]
pub struct Master {
    shared: Arc<Shared>,
    poll: Poll,
    inbox: Inbox<ToMaster>,
    listeners: Vec<Listener>,
    closing: Vec<doors::Closing>,
    /// After an error of accept that time may mend: not before this.
    accept_after: Option<Instant>,
    /// That it failed was said; not again before this.
    failed_after: Option<Instant>,
    clients: Clients,
    /// That somebody does not speak the PROXY protocol as he should is not said again before this.
    strange_after: Option<Instant>,
    crowd: Crowd,
    turning: Turning,
    /// Who has room for bodies in files.
    room: Books,
    signals: Signals,
    /// Came while all stood still.
    held_signals: Vec<signals::Event>,
    control: ControlServer,
    porter: Mailbox<ToPorter>,
    operations: Operations,
    conns: Slab<Held>,
    desk: Desk,
    todo: VecDeque<usize>,
    /// Threads to wake when this batch of events is through.
    wakes: Vec<Wake>,
    stopping: Option<Stopping>,
    watchdog: Option<Watchdog>,
    /// What came of an upgrade, for whoever asked for it.
    news: Option<Reply>,
    supervisor: Option<Supervisor>,
}

/// A connection here. A fresh one is in no poll: its head is nearly always there already.
#[derive(Debug)]
struct Held {
    conn: Box<Conn>,
    registered: bool,
}

impl Master {
    /// `read`: how the configuration at `path` is read again. Errors say what could not be done.
    pub fn new(loaded: Loaded, path: &Path, read: crate::reload::Read, bound: Bound, records: Bell) -> Result<(Self, Porter), String> {
        let Loaded { config, sources, warnings: _ } = loaded;
        let poll = Poll::new().map_err(|error| format!("epoll: {error}"))?;
        let registry = poll.registry();
        let (mailbox, inbox) = handoff::mailbox(registry, WAKER).map_err(|error| format!("eventfd: {error}"))?;
        let mut signals = Signals::new().map_err(|error| format!("signals: {error}"))?;
        registry.register(signals.source(), SIGNALS, mio::Interest::READABLE).map_err(|error| format!("signals: {error}"))?;
        let groups = release::groups(config.apps.iter().map(|app| &app.start));
        let Bound { mut control, control_file, control_group, mut listeners, doors, waiting, wanted, run } = bound;
        control.register(registry).map_err(|error| format!("server.control {}: {error}", config.server.control.display()))?;
        for (i, listener) in listeners.iter_mut().enumerate() {
            let registered = listener.register(registry, Token(LISTENERS + i));
            registered.map_err(|error| format!("server.listen {}: {error}", listener.config))?;
        }
        for (at, error) in &waiting {
            log::warn!("server.listen {at}: {error}; it is taken when it can be had, and the others are served");
        }
        let clients = registry.try_clone().map_err(|error| format!("epoll: {error}"))?;
        let shared = Arc::new(Shared::new(Catalog::open(config, sources)?, path, read, mailbox, clients));
        shared.table.lock().not_listening = waiting.iter().map(NotListening::of).collect();
        server::admit(&control_file, control_group, &shared.catalog().operators);
        let waiting = waiting.into_iter().map(|(config, _)| config).collect();
        let opened = Opened { doors, waiting, wanted, control: control_file, control_group, run, groups, records };
        let (porter, to_porter) = Porter::new(shared.clone(), opened).map_err(|error| format!("epoll: {error}"))?;
        let desk = Desk::new(BUFFER, None, &shared);
        let master = Self {
            operations: Operations::new(shared.clone(), control_group.map(rustix::fs::Gid::as_raw))
                .map_err(|error| format!("sampler thread: {error}"))?,
            shared,
            poll,
            inbox,
            listeners,
            closing: Vec::new(),
            accept_after: None,
            failed_after: None,
            clients: Clients::default(),
            strange_after: None,
            crowd: Crowd::default(),
            turning: Turning::default(),
            room: Books::default(),
            signals,
            held_signals: Vec::new(),
            control,
            porter: to_porter,
            conns: Slab::new(),
            desk,
            todo: VecDeque::new(),
            wakes: Vec::new(),
            stopping: None,
            watchdog: Watchdog::of_environment(Instant::now()),
            news: None,
            supervisor: Supervisor::of_environment(Instant::now()),
        };
        Ok((master, porter))
    }

    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The places that clients can connect to.
    pub fn listens_on(&self) -> Vec<String> {
        self.listeners.iter().filter(|listener| listener.is_open()).map(|listener| listener.config.to_string()).collect()
    }

    /// Starts the thread, which has none of root's rights: everything is bound. It ends when everything has, and tells the porter.
    pub fn start(mut self) -> io::Result<JoinHandle<()>> {
        last_word::start(THREAD, STACK, move || {
            let _ends = Ends(self.porter.clone());
            if let Err(error) = Credentials::own().assume() {
                last_word::fatal(&format!("the master cannot go without root's rights: {error}"));
            }
            seccomp::restrict();
            self.operations.open_wicket(&self.desk.catalog);
            self.run();
            true
        })
    }

    /// Serves until the server is told to stop and everything has ended.
    fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        self.tell_news();
        loop {
            let due_back = self.due_back();
            let timeout = self.desk.sleeps(due_back);
            let interrupted = slept(self.poll.poll(&mut events, timeout));
            self.inbox.after_sleep();
            last_word::fault(THREAD);
            if let Some(by) = self.desk.begin(interrupted) {
                self.put_off(by);
            }
            self.desk.refresh(&self.shared);
            for event in &events {
                self.event(event);
            }
            self.take_messages();
            self.desk.catalog.tick_logs(self.desk.now);
            self.pass_deadlines();
            self.accept();
            self.close_listeners();
            self.catch_up();
            self.queues();
            self.give_up_files();
            self.watch_threads();
            if let Some(watchdog) = &mut self.watchdog {
                watchdog.turn(&self.shared, self.desk.now);
            }
            self.tell_supervisor();
            if self.go_on_stopping() {
                return;
            }
            for wake in self.wakes.drain(..) {
                wake.wake();
            }
        }
    }

    /// When to look again without an event.
    fn due_back(&mut self) -> Option<Instant> {
        let accept = self.accept_after.is_none() && self.listeners.iter().any(|listener| listener.ready);
        if accept || !self.todo.is_empty() || self.inbox.before_sleep() {
            return Some(self.desk.now);
        }
        let queue = self.shared.table.lock().pool.groups().filter_map(|group| group.queue_deadline()).min();
        let stopping = self.stopping.as_ref().and_then(Stopping::next_deadline);
        let watchdog = self.watchdog.as_ref().map(Watchdog::next_deadline);
        let supervisor = self.supervisor.as_ref().and_then(Supervisor::next_deadline);
        let own = [self.desk.deadlines.next(), self.accept_after, self.control.next_deadline(), supervisor];
        let late = [self.files_deadline(), self.turning.deadline(), self.closes_at(), self.desk.catalog.logs_deadline()];
        own.into_iter().chain([queue, stopping, watchdog]).chain(late).flatten().min()
    }

    /// rota did not run for so long: clients that send and requests that wait had no chance meanwhile.
    fn put_off(&mut self, by: Duration) {
        self.turning.put_off(by);
        self.conns.iter_mut().for_each(|(_, held)| held.conn.put_off(by));
        self.shared.table.lock().pool.groups_mut().for_each(|group| group.put_off_queue(by));
    }

    fn event(&mut self, event: &Event) {
        let token = event.token();
        if let Some(id) = dispatch::waiting(token) {
            if event.is_read_closed() {
                self.leaves_queue(id);
            }
        } else if token == SIGNALS {
            self.take_signals();
        } else if token == WAKER {
            // Its messages are taken after the events.
        } else if (CONTROL..CONTROL + CONTROL_TOKENS).contains(&token.0) {
            self.control.event(token, self.poll.registry(), &mut self.operations, self.desk.now);
        } else if let Some(key) = token.0.checked_sub(CONNS) {
            let Some(held) = self.conns.get_mut(key) else { return };
            held.conn.readable |= event.is_readable();
            if event.is_read_closed() {
                held.conn.readable = true;
                held.conn.closing = true;
            }
            self.advance(key);
        } else if let Some(listener) = self.listeners.get_mut(token.0 - LISTENERS) {
            listener.ready = true;
        }
    }

    fn take_messages(&mut self) {
        self.room.take_in(&self.shared.spool);
        let mut changed = false;
        while let Some(message) = self.inbox.take() {
            match message {
                ToMaster::Conn(conn) => {
                    if let Some(conn) = dispatch::unwatch(&self.shared, conn) {
                        self.put_back(conn);
                    }
                }
                ToMaster::InHand(ticket, process, requests) => {
                    self.operations.heard(ticket, process, requests);
                    changed = true;
                }
                ToMaster::Samples(ticket, samples) => {
                    self.operations.sampled(ticket, samples);
                    changed = true;
                }
                ToMaster::Known(ticket, person) => {
                    self.operations.is_known(ticket, person, self.desk.now);
                    changed = true;
                }
                ToMaster::Listens(number, listener) => self.listens(number, listener),
                ToMaster::Closes(number) => self.closes(number),
                ToMaster::ListensOtherwise(number, config) => self.listens_otherwise(number, config),
                ToMaster::Control(listener) => {
                    if let Err(error) = self.control.replace(listener, self.poll.registry()) {
                        log::error!("server.control: epoll: {error}");
                    }
                }
                ToMaster::Read(ticket, read) => {
                    self.read(ticket, read);
                    changed = true;
                }
                ToMaster::MakeRoom(need) => self.make_room(&need),
                ToMaster::Counted(asked, process, holdings) => self.counted(asked, process, *holdings),
                ToMaster::GaveUp => self.gave_up(),
                ToMaster::StandStill(still) => self.stand_still(still),
                ToMaster::NotUpgraded(ticket, why) => {
                    self.operations.not_upgraded(ticket, why);
                    changed = true;
                }
                ToMaster::Changed => changed = true,
            }
        }
        if changed {
            self.control.changed(self.poll.registry(), &mut self.operations, self.desk.now);
            if let Some(supervisor) = &mut self.supervisor {
                supervisor.is_news();
            }
        }
        self.control.tick(self.poll.registry(), &mut self.operations, self.desk.now);
    }

    /// The porter has opened something.
    fn listens(&mut self, number: usize, mut listener: Listener) {
        if self.stopping.is_some() {
            return;
        }
        if let Err(error) = listener.register(self.poll.registry(), Token(LISTENERS + number)) {
            log::error!("server.listen {}: epoll: {error}", listener.config);
        }
        if number < self.listeners.len() {
            // Whoever has connected already is served.
            while let Ok((socket, peer)) = self.listeners[number].accept() {
                if let Some(phase) = self.first_phase(number, peer) {
                    self.accepted(socket, peer, phase);
                }
            }
            self.listeners[number] = listener;
        } else {
            self.listeners.push(listener);
        }
    }

    fn tell_porter(&self, message: ToPorter) {
        if let Ok(wake) = self.porter.send(message) {
            wake.wake();
        }
    }

    fn advance(&mut self, key: usize) {
        let Some(held) = self.conns.get_mut(key) else { return };
        let mut turn = self.desk.turn(&self.shared, key);
        let next = intake::advance(&mut held.conn, &mut turn);
        self.follow(key, next);
    }

    fn refuse(&mut self, key: usize, refusal: &Refusal) {
        let Some(held) = self.conns.get_mut(key) else { return };
        let plight = plight::of(&self.shared, &held.conn, refusal, self.desk.now);
        let mut turn = self.desk.turn(&self.shared, key);
        answering::refuse(&mut held.conn, refusal, plight.as_ref(), &mut turn);
        self.todo.push_back(key);
    }

    fn follow(&mut self, key: usize, next: Next) {
        match next {
            Next::Wait | Next::Again if self.move_on(key) => {}
            Next::Wait => self.rest(key),
            Next::Again => self.todo.push_back(key),
            Next::Body => self.host(key),
            Next::Slot => self.dispatch(key),
            Next::File => self.look_elsewhere(key),
            Next::Introduced(header) => self.introduced(key, header),
            Next::Close => {
                self.conns.try_remove(key);
            }
        }
    }

    /// The connection waits for an event.
    fn rest(&mut self, key: usize) {
        let Some(held) = self.conns.get_mut(key) else { return };
        let (registry, token) = (self.poll.registry(), Token(CONNS + key));
        let asked = if !held.registered {
            held.registered = true;
            held.conn.register(registry, token)
        } else if held.conn.has_output() {
            held.conn.ask_writable(registry, token)
        } else {
            Ok(())
        };
        if asked.is_err() {
            self.conns.remove(key);
        }
    }

    fn take_out(&mut self, key: usize) -> Option<Box<Conn>> {
        let mut held = self.conns.try_remove(key)?;
        self.desk.part_with(&mut held.conn);
        if held.registered {
            held.conn.deregister(self.poll.registry()).ok()?;
        }
        Some(held.conn)
    }

    /// A whole request: to a process with a free slot, or into the queue.
    fn dispatch(&mut self, key: usize) {
        let Some(request) = self.conns.get_mut(key).and_then(|held| held.conn.request.as_mut()) else { return };
        request.entry.wants_slot(self.desk.now);
        let (group, wish) = (request.group, request.wish(None));
        let Some(conn) = self.take_out(key) else { return };
        let mut state = self.shared.table.lock();
        let conn = match state.pool.group_mut(group).claim(wish, self.desk.now) {
            Some(claim) => match state.hand_over(conn, claim) {
                Ok(wake) => return self.wakes.push(wake),
                Err((conn, claim)) => {
                    drop(state);
                    dispatch::give_back_unused(&self.shared, claim, self.desk.now);
                    conn
                }
            },
            None => {
                drop(state);
                conn
            }
        };
        match dispatch::place(&self.shared, conn, group) {
            Place::Slot(conn, claim) => {
                let handed = self.shared.table.lock().hand_over(conn, claim);
                match handed {
                    Ok(wake) => self.wakes.push(wake),
                    // The process's thread ended in this very moment: ask again in the next turn.
                    Err((conn, claim)) => {
                        dispatch::give_back_unused(&self.shared, claim, self.desk.now);
                        self.put_back(conn);
                    }
                }
            }
            Place::Queued | Place::Lost => {}
            Place::Full(conn) | Place::InPlaceOf(conn) => {
                let key = self.put_back(conn);
                self.refuse(key, &Refusal::QueueFull);
            }
        }
    }

    /// A connection whose request body is being read goes to a process's thread; with none there it stays.
    fn host(&mut self, key: usize) {
        let Some(group) = self.conns.get(key).and_then(|held| held.conn.request.as_ref()).map(|request| request.group) else { return };
        let host = self.shared.table.lock().pool.group_mut(group).host(None);
        let Some(process) = host else { return self.rest(key) };
        let Some(conn) = self.take_out(key) else { return };
        let moved = self.shared.table.lock().move_to(conn, process);
        match moved {
            Ok(wake) => self.wakes.push(wake),
            Err(conn) => {
                let key = self.put_back(conn);
                self.rest(key);
            }
        }
    }

    /// Takes in a connection that was elsewhere; it gets a turn, in which it looks what there is to read.
    fn put_back(&mut self, mut conn: Box<Conn>) -> usize {
        conn.readable = true;
        let key = self.conns.insert(Held { conn, registered: false });
        self.desk.adopt(&mut self.conns[key].conn, key);
        self.todo.push_back(key);
        key
    }

    fn pass_deadlines(&mut self) {
        while let Some(due) = self.desk.deadlines.due(self.desk.now) {
            let key = due.token;
            let Some(held) = self.conns.get_mut(key) else { continue };
            if !self.desk.deadlines.has_passed(&mut held.conn.deadline, due, self.desk.now) {
                continue;
            }
            let mut turn = self.desk.turn(&self.shared, key);
            let next = intake::expire(&mut held.conn, &mut turn);
            self.follow(key, next);
        }
    }

    fn catch_up(&mut self) {
        for _ in 0..self.todo.len() {
            let Some(key) = self.todo.pop_front() else { break };
            self.advance(key);
        }
    }

    /// Closes the connections here that have nothing to ask.
    fn close_idle(&mut self) {
        let idle = |held: &Held| matches!(held.conn.phase, Phase::ProxyHeader | Phase::Head) && !head::has_begun(&held.conn.input);
        let keys: Vec<usize> = self.conns.iter().filter(|(_, held)| idle(held)).map(|(key, _)| key).collect();
        for key in keys {
            self.conns.remove(key);
        }
    }
}

/// Tells the porter, however the thread ends.
struct Ends(Mailbox<ToPorter>);

impl Drop for Ends {
    fn drop(&mut self) {
        if let Ok(wake) = self.0.send(ToPorter::End) {
            wake.wake();
        }
    }
}

/// The deepest frames are the parsers' and the logger's.
const STACK: usize = 1024 * 1024;
/// One read of a socket (bytes).
const BUFFER: usize = 64 * 1024;
const THREAD: &str = "rota-master";
const WAKER: Token = Token(0);
const SIGNALS: Token = Token(1);
const CONTROL: usize = 16;
const CONTROL_TOKENS: usize = 64;
const LISTENERS: usize = 256;
const CONNS: usize = 1 << 20;
/// Between two words about one and the same flood.
const FULL_PAUSE: Duration = Duration::from_secs(10);
