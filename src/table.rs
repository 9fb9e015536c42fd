//! What every thread agrees on: the pool table behind the program's only mutex, the configuration in force, and what never changes.
//!
//! Under the lock: a look-up and a change, never a system call, never a log line. A message to another thread is put into its mailbox
//! under the lock, so that "this process's thread is there" and "it has the connection" are one step; waking it comes after.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use crate::catalog::{App, Catalog, Ledger};
use crate::config::{AppConfig, ListenConfig};
use crate::conn::crowded::{GiveUp, Holdings};
use crate::conn::folders::AppFolders;
use crate::conn::idle::DropIdle;
use crate::conn::room::{Need, SpoolSpace};
use crate::conn::spool_place::SpoolPlace;
use crate::conn::static_files::Came;
use crate::conn::{Conn, ConnCount};
use crate::control::proto::InHand;
use crate::control::server::Ticket;
use crate::errands::Answer;
use crate::handoff::{Mailbox, Wake};
use crate::http::cut::Cut;
use crate::ids::{Generation, GroupId, ProcessId};
use crate::last_word::fatal;
use crate::master::ToPorter;
use crate::master::listeners::Listener;
use crate::operators::Person;
use crate::pool::{Claim, Exit, Pool, Settings, Trigger, WaitId};
use crate::record_writer::Todo;
use crate::records::Record;
use crate::reload::{self, Reading};
use crate::restart::release::Release;
use crate::samples::Sample;
use crate::sys::Unit;
use crate::upgrade::standstill::Still;
use crate::upgrade::trial;
use crate::watchdog::Turns;

/// What the threads share.
#[derive(Debug)]
pub struct Shared {
    pub table: Table,
    /// The configuration in force.
    catalog: ArcSwap<Catalog>,
    /// Grows when another one comes into force.
    catalog_edition: AtomicU64,
    /// Where that was read.
    pub config_path: PathBuf,
    pub read_config: reload::Read,
    /// [`crate::config::stamp`] of the files then; 0: not known.
    pub config_stamp: AtomicU64,
    pub spool: Arc<SpoolSpace>,
    pub connections: ConnCount,
    /// Grows when [`State::folders`] changes.
    pub folders_edition: AtomicU64,
    /// When rota was started, in seconds since 1970.
    pub started: u64,
    /// The server is stopping: every answer says `Connection: close`.
    pub stopping: AtomicBool,
    /// Balancers are told to go, by the health path and the agent.
    pub drained: AtomicBool,
    pub master: Mailbox<ToMaster>,
    porter: OnceLock<Mailbox<ToPorter>>,
    /// I/O threads that run, of processes that are gone too.
    pub io_threads: AtomicUsize,
    /// The master's poll watches the clients that wait in a queue.
    pub watch: mio::Registry,
    /// Tests may make an I/O thread panic by asking for `/__panic`, and the reading of a head by asking for `/__panic_head`; other threads:
    /// [`crate::last_word::fault`].
    pub fault_panic: bool,
    waits: AtomicU64,
}

/// A place that clients are to connect to and cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotListening {
    pub at: String,
    pub why: String,
}

impl NotListening {
    pub fn of((config, error): &(ListenConfig, io::Error)) -> Self {
        Self { at: config.to_string(), why: error.to_string() }
    }
}

/// The mutex and its condition variable, on which the restart thread waits.
#[derive(Debug, Default)]
pub struct Table {
    state: Mutex<State>,
    changed: Condvar,
}

/// What the mutex protects.
#[derive(Debug, Default)]
pub struct State {
    pub pool: Pool<Box<Conn>>,
    /// The I/O threads that take connections.
    pub threads: HashMap<ProcessId, Mailbox<ToThread>>,
    /// What each process is with all that comes of it, until nothing is left; the restart thread alone changes it.
    pub units: HashMap<ProcessId, Arc<Unit>>,
    /// What the kernel limits of each process's control group. None: there are no such groups.
    pub controllers: Option<Vec<String>>,
    /// Of apps where something may outlive its process: how much does.
    pub survivors: HashMap<GroupId, usize>,
    /// Number and start of orphans that have come to rota, as the sampler saw them last; the restart thread takes them.
    pub orphans: Option<Vec<(u32, u64)>>,
    /// The configuration is to be read again; the restart thread takes it out.
    pub reload: Option<reload::Asked>,
    /// It is, from when that is asked for until its answer has been heard.
    pub reloading: bool,
    /// Another program is to take over; the restart thread takes it out.
    pub upgrade: Option<trial::Asked>,
    /// The last walk of each app that came of a reload.
    pub of_reload: HashMap<GroupId, Generation>,
    /// A thread that looks after an app's files has ended.
    pub tend: bool,
    /// Set by the master on SIGCHLD.
    pub child_ended: bool,
    /// Processes that were started aside of those that serve, and need not stand there any more; the restart thread takes them out.
    pub through_boot: Vec<ProcessId>,
    pub turns: Turns,
    /// The restart thread has nothing left to do and ends.
    pub finished: bool,
    /// The server has ended, whatever is left.
    pub has_ended: bool,
    /// What the processes of each generation are started from.
    pub releases: HashMap<(GroupId, Generation), Arc<Release>>,
    /// What is written down of each app, by [`GroupId`]; the restart thread alone changes it.
    pub records: Vec<Arc<Record>>,
    /// What there is to be put on the disk.
    pub to_write: Todo,
    /// Records that could not be put on the disk: why, and when it is tried again.
    pub not_written: HashMap<GroupId, (String, Instant)>,
    /// Where rota is to listen and cannot yet; the porter alone changes it.
    pub not_listening: Vec<NotListening>,
    /// What errands tell the restart thread, which takes it out.
    pub answers: VecDeque<Answer>,
    /// Since when an app's lookout asks its disk; apps whose disk has answered are not in it.
    pub looking: HashMap<GroupId, Instant>,
    /// Private directories of each app that an errand has still to remove, while there is one ([`crate::errands::sweep`]).
    pub sweeps: HashMap<String, Vec<String>>,
    /// What files are sent from, by [`GroupId`]; the restart thread alone changes it.
    pub folders: Vec<Arc<AppFolders>>,
}

/// To the I/O thread of a process.
#[derive(Debug)]
pub enum ToThread {
    /// A connection with a whole request and its slot on this process.
    Request(Box<Conn>, Claim),
    /// A connection between requests, or whose request body is still being read.
    Conn(Box<Conn>),
    /// The process gets nothing new.
    Drain,
    /// What is in hand is cut.
    Cut(Cut),
    /// The process ended (its leader): read what it printed, then report it. True: the kernel has killed for memory lately.
    Exited(Exit, bool),
    /// The server is stopping: close what has nothing to ask, and let the streams leave.
    CloseIdle,
    /// Say what requests are in hand ([`ToMaster::InHand`]).
    Tell(Ticket),
    /// Some of those whose bodies wait in files have to leave ([`SpoolSpace`]).
    MakeRoom,
    /// There are too many connections.
    DropIdle(Arc<DropIdle>),
    /// Say whose connections are not idle ([`ToMaster::Counted`]); the question has its time.
    Count(Instant),
    /// Some of those have to go.
    GiveUp(GiveUp),
    /// Everybody is to stand still.
    StandStill(Box<Still>),
    /// What came of the look for a file that an answer names, by the number of the question.
    Named(u64, Box<Came>),
    /// Nothing is left of the process.
    Gone,
}

/// To the master.
#[derive(Debug)]
pub enum ToMaster {
    /// A connection that no process can take now.
    Conn(Box<Conn>),
    /// A socket that clients connect to, in the place of the one with this number, or behind them all.
    Listens(usize, Listener),
    /// The socket with this number is not wanted any more.
    Closes(usize),
    /// It is, and otherwise.
    ListensOtherwise(usize, ListenConfig),
    /// The control socket, made anew.
    Control(mio::net::UnixListener),
    /// The answer of a process's thread to [`ToThread::Tell`].
    InHand(Ticket, ProcessId, Vec<InHand>),
    /// The configuration was read again.
    Read(Ticket, Result<Box<Reading>, String>),
    /// Who a peer of the control socket is.
    Known(Ticket, Person),
    /// The answer of the sampler, by the pids of the leaders.
    Samples(Ticket, Arc<HashMap<u32, Sample>>),
    /// Somebody finds no room for a body in a file: others have to leave.
    MakeRoom(Need),
    /// The answer of a process's thread to [`ToThread::Count`].
    Counted(Instant, ProcessId, Box<Holdings>),
    /// Connections have gone that were asked for by [`ToThread::GiveUp`].
    GaveUp,
    /// Everybody is to stand still.
    StandStill(Still),
    /// The other program did not take over: why.
    NotUpgraded(Ticket, String),
    /// The pool changed: followers may have news, waiting connections a place.
    Changed,
}

impl Shared {
    /// `read`: how the configuration at `config_path` is read again.
    pub fn new(catalog: Catalog, config_path: &Path, read: reload::Read, master: Mailbox<ToMaster>, watch: mio::Registry) -> Self {
        let (users, groups) = catalog.users();
        let server = &catalog.server;
        let place = SpoolPlace::of_users(&server.spool_dir, &users, groups);
        let spool = SpoolSpace::new(place, server.spool_max, catalog.descriptors.files, catalog.apps().count(), Some(master.clone()));
        Self {
            table: Table::default(),
            catalog: ArcSwap::from_pointee(catalog),
            catalog_edition: AtomicU64::new(0),
            config_path: config_path.to_owned(),
            read_config: read,
            config_stamp: AtomicU64::new(0),
            spool: Arc::new(spool),
            connections: ConnCount::default(),
            folders_edition: AtomicU64::new(0),
            started: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
            stopping: AtomicBool::new(false),
            drained: AtomicBool::new(false),
            master,
            porter: OnceLock::new(),
            io_threads: AtomicUsize::new(0),
            watch,
            fault_panic: std::env::var_os("ROTA_FAULT_PANIC").is_some(),
            waits: AtomicU64::new(0),
        }
    }

    /// None: nobody has told yet who it is.
    pub fn porter(&self) -> Option<&Mailbox<ToPorter>> {
        self.porter.get()
    }

    pub fn has_porter(&self, porter: Mailbox<ToPorter>) {
        let _ = self.porter.set(porter);
    }

    /// The configuration that is in force now. An event loop has one for each of its turns.
    pub fn catalog(&self) -> Arc<Catalog> {
        self.catalog.load_full()
    }

    /// Another configuration is in force from now on. The caller has the table's lock, under which it changes the pool with it.
    pub fn set_catalog(&self, catalog: Arc<Catalog>) {
        self.catalog.store(catalog);
        // Whoever sees this sees the catalog too.
        self.catalog_edition.fetch_add(1, Ordering::Release);
    }

    /// Of the catalog that is in force, or of one before it.
    pub fn catalog_edition(&self) -> u64 {
        self.catalog_edition.load(Ordering::Acquire)
    }

    pub fn app(&self, group: GroupId) -> Arc<AppConfig> {
        self.catalog.load().app(group).clone()
    }

    pub fn ledger(&self, group: GroupId) -> Arc<Ledger> {
        self.catalog.load().ledger(group).clone()
    }

    /// A name for a connection that may have to wait, unique while rota runs.
    pub fn wait_id(&self) -> WaitId {
        WaitId(self.waits.fetch_add(1, Ordering::Relaxed))
    }

    /// This name is taken: those that follow are others.
    pub fn wait_ids_go_on(&self, after: WaitId) {
        self.waits.fetch_max(after.0 + 1, Ordering::Relaxed);
    }

    /// Tells the master that the pool changed.
    pub fn tell_master(&self) {
        if let Ok(wake) = self.master.send(ToMaster::Changed) {
            wake.wake();
        }
    }
}

impl Table {
    /// A thread that panicked with the lock held may have left half a change behind: there is no going on from that.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|_| fatal("the pool table was left half changed by a panic"))
    }

    /// Wakes the restart thread.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits for a change, at most until `deadline`.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>, deadline: Option<Instant>, now: Instant) -> MutexGuard<'a, State> {
        let poisoned = "the pool table was left half changed by a panic";
        match deadline {
            Some(at) => match self.changed.wait_timeout(state, at.saturating_duration_since(now)) {
                Ok((state, _)) => state,
                Err(_) => fatal(poisoned),
            },
            None => self.changed.wait(state).unwrap_or_else(|_| fatal(poisoned)),
        }
    }
}

impl State {
    /// An app that came with a reload starts for the first time. `group`: its number in the catalog that is in force. Gives the generation.
    pub fn add_app(&mut self, group: GroupId, app: &App, settings: Settings, now: Instant) -> Generation {
        let (record, name) = (Record::default().of_root(&app.config.start.root), app.config.name.clone());
        let first = record.generation.next();
        let added = self.pool.add(name, settings, first, now);
        debug_assert_eq!(added, group);
        self.pool.group_mut(added).is_asked_by(Trigger::Reload);
        self.records.push(Arc::new(record));
        first
    }

    /// Puts a connection with its slot into the mailbox of the slot's process.
    pub fn hand_over(&self, conn: Box<Conn>, claim: Claim) -> Result<Wake, (Box<Conn>, Claim)> {
        let Some(thread) = self.threads.get(&claim.process()) else { return Err((conn, claim)) };
        thread.send(ToThread::Request(conn, claim)).map_err(|message| {
            let ToThread::Request(conn, claim) = message else { unreachable!("the message that was sent comes back") };
            (conn, claim)
        })
    }

    /// Puts a connection without a slot into the mailbox of a process of its app.
    pub fn move_to(&self, conn: Box<Conn>, process: ProcessId) -> Result<Wake, Box<Conn>> {
        let Some(thread) = self.threads.get(&process) else { return Err(conn) };
        thread.send(ToThread::Conn(conn)).map_err(|message| {
            let ToThread::Conn(conn) = message else { unreachable!("the message that was sent comes back") };
            conn
        })
    }

    /// As [`State::move_to`], whichever process of the app there is.
    pub fn move_to_app(&mut self, conn: Box<Conn>, group: GroupId) -> Result<Wake, Box<Conn>> {
        match self.pool.group_mut(group).host(None) {
            Some(process) => self.move_to(conn, process),
            None => Err(conn),
        }
    }

    /// What the last walk of a group that got so far was resolved to, or is kept of it.
    pub fn newest_release(&self, group: GroupId) -> Option<&Arc<Release>> {
        let of_group = self.releases.iter().filter(|((of, _), _)| *of == group);
        of_group.max_by_key(|((_, generation), _)| *generation).map(|(_, release)| release)
    }

    /// The release of `generation` is the directory of the good one.
    pub fn is_in_place(&self, group: GroupId, generation: Generation) -> bool {
        let identity = |generation| self.releases.get(&(group, generation)).and_then(|release| release.identity);
        let good = self.pool.group(group).good().filter(|good| *good != generation);
        good.and_then(identity).is_some_and(|good| Some(good) == identity(generation))
    }

    /// Of these the walk that came of a reload has failed or was given up, and none has come to a good end since.
    pub fn not_reloaded(&self) -> Vec<GroupId> {
        let is_open = |(group, generation): &(&GroupId, &Generation)| {
            let group = self.pool.group(**group);
            !group.is_removed() && !group.is_walking() && group.good().is_none_or(|good| good < **generation)
        };
        self.of_reload.iter().filter(is_open).map(|(group, _)| *group).collect()
    }

    /// Why what serves could not be started anew, as a sentence; None: it could.
    pub fn say_lost(&self, group: GroupId) -> Option<String> {
        let of = self.pool.group(group);
        let good = of.good()?;
        let directory = self.releases.get(&(group, good)).map_or_else(String::new, |release| release.root.display().to_string());
        of.say_loss(&directory).or_else(|| {
            let waits = self.looking.get(&group)?.elapsed();
            let for_s = (waits >= SILENT).then_some(waits.as_secs())?;
            Some(format!(
                "the disk of {directory} or of what root names has not answered for {for_s} s: nothing is started from there until it does"
            ))
        })
    }

    /// Tells a process's thread something that is no connection.
    pub fn tell(&self, process: ProcessId, message: ToThread) -> Option<Wake> {
        self.threads.get(&process).and_then(|thread| thread.send(message).ok())
    }
}

/// A disk that has to wake up takes some seconds.
const SILENT: Duration = Duration::from_secs(20);
