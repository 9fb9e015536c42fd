//! The I/O thread of one process: its clients, its connections to the app, its output and the probe that says whether it is ready.
//!
//! One event loop over everything that belongs to the process. It claims slots and reports what it saw; what follows from that is decided in
//! the pool and done by the restart thread. It starts and signals nothing, and acts for the app's user ([`crate::credentials`]): what it opens and
//! connects to the kernel lets it as it would let the app. A panic here costs the connections that it holds, and its process is replaced.

mod answer;
mod clients;
mod connect;
mod death;
mod fault;
mod files;
mod habit;
mod in_hand;
mod leave;
mod left;
mod messages;
pub mod output;
mod overdue;
mod probe;
mod proof;
mod room;
mod save;
mod session;
mod slots;
mod tail;
mod tunnel;
mod upload;
mod upstream;
mod verdict;

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};
use slab::Slab;

use crate::about;
use crate::config::AppConfig;
use crate::conn::desk::Desk;
use crate::conn::intake;
use crate::conn::{Conn, Heir};
use crate::credentials::{self, Credentials};
use crate::handoff::{self, Inbox, Mailbox, slept};
use crate::http::cut::Cut;
use crate::http::exchange::limits::Limits;
use crate::http::refusal::Refusal;
use crate::ids::{ProcessId, ProcessName};
use crate::last_word::watch_over;
use crate::logging::panic_text;
use crate::pool::{Claim, Exit, FailureKind, Hand};
use crate::restart::spawn::Endpoint;
use crate::seccomp;
use crate::sys::Unit;
use crate::table::{Shared, ToThread};
use death::Fate;
pub use left::SavedThread;
use output::{Pipes, Printed};
use overdue::Overdue;
use probe::Probe;
pub use save::SavedClients;
use session::Session;
use upstream::Upstreams;

/// What the thread gets from the spawn of its process.
#[derive(Debug)]
pub struct Process {
    pub id: ProcessId,
    pub name: ProcessName,
    pub unit: Arc<Unit>,
    pub endpoint: Endpoint,
    /// How many requests it takes at a time.
    pub slots: u32,
    /// None: they have ended.
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
    /// End of file: the program was executed. A message: why it was not. None: it has been read.
    pub report: Option<std::os::unix::net::UnixStream>,
    /// It was started aside of those that serve ([`crate::sys::step_back`]).
    pub aside: bool,
    /// Of the app's user. None: rota's own.
    pub credentials: Option<Credentials>,
}

/// Starts the thread. It ends after [`ToThread::Gone`].
pub fn start(shared: Arc<Shared>, process: Process) -> io::Result<Mailbox<ToThread>> {
    let poll = Poll::new()?;
    let (mailbox, inbox) = handoff::mailbox(poll.registry(), WAKER)?;
    let credentials = process.credentials.clone();
    IoThread::new(shared, process, poll, inbox)?.begin_as(credentials)?;
    Ok(mailbox)
}

/// A thread that has all that another rota has left of it, and has not begun.
pub struct TakenUp {
    pub mailbox: Mailbox<ToThread>,
    /// How many requests the process has.
    pub claims: u32,
    thread: IoThread,
    credentials: Option<Credentials>,
}

/// The thread of a process goes on with what another rota has left of it, once that is begun.
pub fn take_up(shared: &Arc<Shared>, process: Process, left: SavedThread<'_>, heir: &mut Heir<'_>) -> Result<TakenUp, String> {
    let said = |error: io::Error| error.to_string();
    let poll = Poll::new().map_err(said)?;
    let (mailbox, inbox) = handoff::mailbox(poll.registry(), WAKER).map_err(said)?;
    let credentials = process.credentials.clone();
    let mut thread = IoThread::new(shared.clone(), process, poll, inbox).map_err(said)?;
    let claims = thread.take_up(left, &mailbox, heir);
    Ok(TakenUp { mailbox, claims, thread, credentials })
}

impl TakenUp {
    pub fn begin(self) -> io::Result<()> {
        self.thread.begin_as(self.credentials)
    }
}

impl std::fmt::Debug for TakenUp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TakenUp").field("name", &self.thread.name).finish_non_exhaustive()
    }
}

/// A client connection here, and what it has with the app.
#[derive(Debug)]
struct Client {
    conn: Box<Conn>,
    /// In a box: most connections are idle, and have none.
    session: Option<Box<Session>>,
}

struct IoThread {
    shared: Arc<Shared>,
    app: Arc<AppConfig>,
    /// Of its exchanges.
    limits: Limits,
    id: ProcessId,
    name: ProcessName,
    pid: u32,
    /// The process with all that comes of it.
    unit: Arc<Unit>,
    /// Where the process was told to listen.
    endpoint: Endpoint,
    slots: u32,
    poll: Poll,
    inbox: Inbox<ToThread>,
    clients: Slab<Client>,
    upstreams: Upstreams,
    /// Connections that have got a slot and have not begun.
    granted: VecDeque<(Box<Conn>, Claim)>,
    /// Clients that can go on without an event.
    todo: VecDeque<usize>,
    /// Connections to the app with more to read than one turn takes, once each.
    more: VecDeque<usize>,
    /// Clients with more to say or to take than one turn moves.
    later: VecDeque<usize>,
    /// Clients whose connection to the app met a full backlog, or for which there was no descriptor.
    backlog: Vec<usize>,
    /// Since when there is none for a connection to the app.
    lacks_since: Option<Instant>,
    /// Clients whose answer waits in the app because there is no room for it in a file.
    lack_room: Vec<usize>,
    /// Files that answers name and somebody else looks for: the number of the question, and whose it is.
    named: Vec<(u64, usize)>,
    /// The number of the last one.
    questions: u64,
    /// Sessions whose client has been told, and the app is not done.
    overdue: Vec<Overdue>,
    fate: Fate,
    /// By when the exit of a process that refuses connections is waited for.
    end_is_due: Option<Instant>,
    /// What was seen of the children of the process, and when.
    child: Option<(Instant, Option<Exit>)>,
    /// Answers that were cut, and when: of a process that is ending, perhaps.
    cut_lately: Vec<(Instant, Hand)>,
    probe: Option<Probe>,
    pipes: Pipes,
    /// Streams with more to read than one turn takes.
    talkative: Vec<Token>,
    report: Option<probe::Report>,
    /// Reads from the app. Empty while one is under way.
    buffer: Vec<u8>,
    desk: Desk,
    draining: bool,
    /// How the process ended.
    exit: Option<Exit>,
    /// Since when the streams are leaving: the drain, or before it the end of the server.
    leaving_since: Option<Instant>,
    /// Set when the process is gone: the thread ends when it has nothing left.
    gone: bool,
    /// Messages that came while all stood still.
    held: VecDeque<ToThread>,
}

/// Counts a thread among those that run.
struct Runs(Arc<Shared>);

impl Runs {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.io_threads.fetch_add(1, Ordering::AcqRel);
        Self(shared.clone())
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        self.0.io_threads.fetch_sub(1, Ordering::AcqRel);
        // Somebody may wait for that.
        self.0.table.notify();
    }
}

impl IoThread {
    fn begin_as(mut self, credentials: Option<Credentials>) -> io::Result<()> {
        let (shared, id, name) = (self.shared.clone(), self.id, self.name.clone());
        let thread_name = format!("io {}/{}", name.app, name.number);
        let thread = std::thread::Builder::new().name(thread_name.clone()).stack_size(STACK);
        let about = shared.ledger(id.group).about.clone();
        let runs = Runs::begin(&shared);
        let work = move || {
            let _runs = runs;
            let _works = about::works_for(&about);
            let run = || {
                let assumed = credentials.map_or_else(credentials::give_up_what_was_lent, |credentials| credentials.assume());
                if let Err(error) = assumed {
                    panic!("it cannot act for the app's user: {error}");
                }
                seccomp::restrict();
                self.run();
            };
            // Everything that the thread owns is dropped with it; what it shares is behind the lock, whose poisoning is fatal by itself.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
                self.lose_all();
                drop(self);
                let what = panic_text(&*panic);
                log::error!("{name}: its I/O thread panicked ({what}); its connections are lost, the process is replaced");
                let mut state = shared.table.lock();
                state.threads.remove(&id);
                state.pool.group_mut(id.group).broken(id, FailureKind::Thread(what), Instant::now());
                drop(state);
                shared.table.notify();
            }
            true
        };
        thread.spawn(move || watch_over(&thread_name, work)).map(drop)
    }

    fn new(shared: Arc<Shared>, process: Process, poll: Poll, inbox: Inbox<ToThread>) -> io::Result<Self> {
        let desk = Desk::new(BUFFER, Some(process.id.group), &shared);
        let app = desk.catalog.app(process.id.group).clone();
        let printed = Printed::new(shared.clone(), process.id.group, process.name.clone(), process.unit.leader);
        let pipes = Pipes::new(printed, [process.stdout, process.stderr], poll.registry(), [STDOUT, STDERR])?;
        let report = process.report.map(|report| probe::Report::new(report, poll.registry(), REPORT)).transpose()?;
        Ok(Self {
            upstreams: Upstreams::new(process.endpoint.clone(), app.timeouts.pooled, process.slots),
            probe: Some(Probe::new(&app, app.default_host(), &process.endpoint, process.aside, desk.now)),
            limits: session::limits(&app, &desk.catalog.server),
            app,
            id: process.id,
            name: process.name,
            pid: process.unit.leader,
            unit: process.unit,
            endpoint: process.endpoint,
            slots: process.slots,
            poll,
            inbox,
            clients: Slab::new(),
            granted: VecDeque::new(),
            todo: VecDeque::new(),
            more: VecDeque::new(),
            later: VecDeque::new(),
            backlog: Vec::new(),
            lacks_since: None,
            lack_room: Vec::new(),
            named: Vec::new(),
            questions: 0,
            overdue: Vec::new(),
            fate: Fate::Lives,
            end_is_due: None,
            child: None,
            cut_lately: Vec::new(),
            pipes,
            talkative: Vec::new(),
            report,
            buffer: vec![0; BUFFER],
            desk,
            draining: false,
            exit: None,
            leaving_since: None,
            gone: false,
            held: VecDeque::new(),
            shared,
        })
    }

    fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !(self.gone && self.clients.is_empty() && self.granted.is_empty()) {
            let due_back = self.due_back();
            let timeout = self.desk.sleeps(due_back);
            let interrupted = slept(self.poll.poll(&mut events, timeout));
            self.inbox.after_sleep();
            if let Some(by) = self.desk.begin(interrupted) {
                self.put_off(by);
            }
            if self.desk.refresh(&self.shared) {
                self.reconfigure();
            }
            // First of all: an idle connection on which something came is of no use, and a client of the same batch must not get it.
            for event in &events {
                if let Name::Upstream(key) = Name::of(event.token()) {
                    self.upstreams.heard(key, event.is_readable() || event.is_read_closed() || event.is_error());
                }
            }
            for event in &events {
                self.event(event);
            }
            self.take_messages();
            self.pass_deadlines();
            self.give_up_files();
            self.catch_up();
        }
        self.pipes.drain();
    }

    /// The configuration is another one: what has begun goes on with it.
    fn reconfigure(&mut self) {
        self.app = self.desk.catalog.app(self.id.group).clone();
        self.limits = session::limits(&self.app, &self.desk.catalog.server);
        self.upstreams.kept_for(self.app.timeouts.pooled);
    }

    /// When to look again without an event: at once when something is left to do.
    fn due_back(&mut self) -> Option<Instant> {
        if !self.granted.is_empty()
            || !self.todo.is_empty()
            || !self.more.is_empty()
            || !self.later.is_empty()
            || !self.talkative.is_empty()
            || self.inbox.before_sleep()
        {
            return Some(self.desk.now);
        }
        let retry = (!self.backlog.is_empty()).then(|| self.desk.now + BACKLOG_RETRY);
        let room = (!self.lack_room.is_empty()).then(|| self.desk.now + ROOM_AGAIN);
        let probe = self.probe.as_ref().map(Probe::next_deadline);
        [
            self.desk.deadlines.next(),
            self.upstreams.next_deadline(),
            self.next_grace(),
            self.end_is_due,
            retry,
            room,
            probe,
            self.files_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// rota did not run for so long: what has a limit had no chance meanwhile.
    fn put_off(&mut self, by: Duration) {
        for (_, client) in &mut self.clients {
            client.conn.put_off(by);
            if let Some(session) = &mut client.session {
                session.exchange.put_off(by);
            }
        }
        self.overdue.iter_mut().for_each(|overdue| overdue.put_off(by));
        self.probe.iter_mut().for_each(|probe| probe.put_off(by, self.desk.now));
        for since in [&mut self.leaving_since, &mut self.lacks_since, &mut self.end_is_due] {
            *since = since.map(|since| since + by);
        }
    }

    /// Before the thread ends in the middle of everything.
    fn lose_all(&mut self) {
        let held = self.clients.iter_mut().map(|(_, client)| &mut client.conn);
        for request in held.chain(self.granted.iter_mut().map(|(conn, _)| conn)).filter_map(|conn| conn.request.as_mut()) {
            request.entry.cause = Some(Refusal::Cut(Cut::ThreadLost));
        }
    }

    fn event(&mut self, event: &Event) {
        match Name::of(event.token()) {
            Name::Client(key) => self.client_event(key, event),
            Name::Upstream(key) => self.upstream_event(key, event),
            Name::Special(token @ (STDOUT | STDERR)) => {
                if self.pipes.event(token) {
                    self.talkative.push(token);
                }
            }
            Name::Special(REPORT) => self.read_report(),
            // The waker: its messages are taken after the events.
            Name::Special(_) => {}
        }
    }

    fn upstream_event(&mut self, key: usize, event: &Event) {
        let Some(upstream) = self.upstreams.all.get_mut(key) else { return };
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            upstream.readable = true;
        }
        upstream.closing |= event.is_read_closed();
        match upstream.owner {
            // Idle: its end, or bytes that nobody asked for. Either way it is of no use.
            upstream::Owner::Nobody if upstream.readable => self.upstreams.ended(key, self.desk.now),
            upstream::Owner::Nobody => {}
            upstream::Owner::Client(client) => {
                if event.is_writable() {
                    self.send_request(client);
                }
                self.app_speaks(key, client);
            }
            upstream::Owner::Probe => self.probe_event(key),
            upstream::Owner::Overdue => self.hear_out(key),
        }
    }

    fn pass_deadlines(&mut self) {
        while let Some(due) = self.desk.deadlines.due(self.desk.now) {
            let key = due.token;
            let Some(client) = self.clients.get_mut(key) else { continue };
            if !self.desk.deadlines.has_passed(&mut client.conn.deadline, due, self.desk.now) {
                continue;
            }
            if client.session.is_some() {
                self.session_expired(key);
                continue;
            }
            let mut turn = self.desk.turn(&self.shared, key);
            let next = intake::expire(&mut client.conn, &mut turn);
            self.follow(key, next);
        }
        self.pass_grace();
        self.pass_end();
        self.upstreams.close_old(self.desk.now);
        self.probe_deadline();
    }

    /// What was put off so that others had their turn.
    fn catch_up(&mut self) {
        self.begin_granted();
        for _ in 0..self.todo.len() {
            let Some(key) = self.todo.pop_front() else { break };
            if self.clients.get(key).is_some_and(|client| client.session.is_none()) {
                self.advance(key);
            }
        }
        self.read_more();
        for _ in 0..self.later.len() {
            let Some(key) = self.later.pop_front() else { break };
            self.client_moved(key);
        }
        for token in std::mem::take(&mut self.talkative) {
            if self.pipes.event(token) {
                self.talkative.push(token);
            }
        }
        for key in std::mem::take(&mut self.backlog) {
            self.connect(key);
        }
        for key in std::mem::take(&mut self.lack_room) {
            self.look_for_room(key);
        }
    }
}

/// What a token names.
enum Name {
    Client(usize),
    Upstream(usize),
    Special(Token),
}

impl Name {
    fn of(token: Token) -> Self {
        match (token.0 & 3, token.0 >> 2) {
            (0, key) => Name::Client(key),
            (1, key) => Name::Upstream(key),
            _ => Name::Special(token),
        }
    }

    fn client(key: usize) -> Token {
        Token(key << 2)
    }

    fn upstream(key: usize) -> Token {
        Token(key << 2 | 1)
    }
}

const WAKER: Token = Token(2);
const STDOUT: Token = Token(2 | 1 << 2);
const STDERR: Token = Token(2 | 2 << 2);
const REPORT: Token = Token(2 | 3 << 2);
/// One read of a socket, and one write of a body (bytes).
const BUFFER: usize = 64 * 1024;
/// Events taken from the kernel at a time.
const EVENTS: usize = 512;
/// The loop is flat; the deepest frames are the parser's and the logger's.
const STACK: usize = 256 * 1024;
/// Room for an answer is looked for again after this.
const ROOM_AGAIN: Duration = Duration::from_millis(50);
/// A full backlog is asked again after this.
const BACKLOG_RETRY: Duration = Duration::from_millis(5);
