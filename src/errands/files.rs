//! Opens and reads an app's files for its visitors where that may take a disk, with the rights of its user: one thread for each app that has files
//! to send, which sleeps otherwise. The threads of its processes do by themselves what takes none. The connections come from those and from the
//! master, and go to a process with what came of it ([`static_files::run_errand`]), or to the master. While a disk does not answer, they are the
//! app's after a while, and no others wait behind them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender};

use crate::about;
use crate::config::AppConfig;
use crate::conn::Conn;
use crate::conn::folders::Patience;
use crate::conn::static_files::{self, Came, Wanted};
use crate::credentials::Credentials;
use crate::errands::lookout::UNKNOWN;
use crate::ids::{GroupId, ProcessId};
use crate::seccomp;
use crate::table::{Shared, ToMaster, ToThread};

/// What is to be looked for on the disk.
#[derive(Debug)]
enum Job {
    /// By its errand ([`Conn::errand`]).
    Conn(Box<Conn>),
    Question(Question),
}

/// A file that an answer of the app names: the thread of the process keeps the answer, and is told by this number.
#[derive(Debug)]
pub struct Question {
    pub wanted: Wanted,
    pub process: ProcessId,
    pub number: u64,
}

/// Connections and answers of one app that wait for a look at the disk.
#[derive(Debug)]
pub struct Files {
    waiting: (Sender<Job>, Receiver<Job>),
    /// How many, or one more for a moment: each turn of an event loop looks at it.
    count: AtomicUsize,
    began: Instant,
    /// Since when the thread has had one in hand, in milliseconds after `began`, plus one; 0: it has none. Before it can do anything it is as one
    /// that does not come back.
    busy: AtomicU64,
    is_served: AtomicBool,
}

impl Default for Files {
    fn default() -> Self {
        let began = Instant::now();
        Self {
            waiting: crossbeam_channel::unbounded(),
            count: AtomicUsize::new(0),
            began: began.checked_sub(LONGEST).unwrap_or(began),
            busy: AtomicU64::new(1),
            is_served: AtomicBool::new(false),
        }
    }
}

impl Files {
    /// Err: there is no place, and what it asks for is the app's.
    pub fn take(&self, conn: Box<Conn>, now: Instant) -> Result<(), Box<Conn>> {
        // What is being sent has its place among the connections.
        if conn.file.is_none() && (self.is_stuck(now) || self.waiting.0.len() >= WAITING) {
            return Err(conn);
        }
        self.put(Job::Conn(conn));
        Ok(())
    }

    /// False: there is no place.
    pub fn ask(&self, question: Question, now: Instant) -> bool {
        let has_place = !self.is_stuck(now) && self.waiting.0.len() < WAITING;
        if has_place {
            self.put(Job::Question(question));
        }
        has_place
    }

    fn put(&self, job: Job) {
        self.count.fetch_add(1, Ordering::Relaxed);
        // The receiver is here as well: it takes whatever is sent.
        let _ = self.waiting.0.send(job);
    }

    /// Somebody waits, perhaps.
    pub fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Of those who could leave a look to the thread: without one they wait for the disk themselves.
    pub fn patience(&self) -> Patience {
        if self.is_served.load(Ordering::Relaxed) { Patience::None } else { Patience::Disk }
    }

    /// Nobody waits, and nobody is in hand who would come back.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.waiting.1.is_empty() && (self.busy.load(Ordering::Acquire) == 0 || self.is_stuck(now))
    }

    /// Those that have waited for a disk that does not answer. Who has asked a question sees that as well.
    pub fn give_up(&self, now: Instant) -> Vec<Box<Conn>> {
        if !self.has_any() || !self.is_stuck(now) {
            return Vec::new();
        }
        self.waiting
            .1
            .try_iter()
            .inspect(|_| {
                self.count.fetch_sub(1, Ordering::Relaxed);
            })
            .filter_map(|job| match job {
                Job::Conn(conn) => Some(conn),
                Job::Question(_) => None,
            })
            .collect()
    }

    /// When to look whether that is so.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.has_any().then(|| now + LOOK)
    }

    pub fn is_stuck(&self, now: Instant) -> bool {
        let busy = self.busy.load(Ordering::Acquire);
        busy != 0 && now.saturating_duration_since(self.began + Duration::from_millis(busy - 1)) >= LONGEST
    }

    fn has_in_hand(&self, one: bool) {
        let since = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1;
        self.busy.store(if one { since } else { 0 }, Ordering::Release);
    }
}

/// Starts the thread of an app that has files to send. It ends with rota.
pub fn start(shared: &Arc<Shared>, group: GroupId) -> io::Result<()> {
    let app = shared.app(group);
    if app.files.public.directory().is_none() && app.files.sendfile_root.is_none() {
        return Ok(());
    }
    let (own, ledger) = (shared.clone(), shared.ledger(group));
    if !ledger.has_files.begin() {
        return Ok(());
    }
    let of_thread = ledger.clone();
    let started = super::thread(format!("{}: files", app.name), move || {
        let _works = about::works_for(&of_thread.about);
        let _running = of_thread.has_files.hold(&own);
        let Some(user) = super::user_of(&own, group, &app) else { return };
        if let Err(error) = user.map_or(Ok(()), |user| Credentials::of(&user).assume()) {
            log::error!("{}: without a process its files are left to it: {error}", app.name);
            return std::thread::sleep(UNKNOWN);
        }
        seccomp::restrict();
        serve(&own, group, &app);
    });
    started.inspect_err(|_| ledger.has_files.take_back())
}

fn serve(shared: &Shared, group: GroupId, app: &AppConfig) {
    let ledger = shared.ledger(group);
    let files = &ledger.files;
    files.has_in_hand(false);
    files.is_served.store(true, Ordering::Relaxed);
    while let Ok(job) = files.waiting.1.recv() {
        files.count.fetch_sub(1, Ordering::Relaxed);
        if !super::is_for(shared, group, app) {
            // Another thread comes, with the rights of another user.
            return files.put(job);
        }
        files.has_in_hand(true);
        let ran = match job {
            Job::Conn(conn) => run_errand(shared, group, conn),
            Job::Question(question) => answer(shared, &question),
        };
        if let Err(panic) = ran {
            log::error!("{}: looking for a file panicked ({panic}); whoever has asked for it gets none", shared.app(group).name);
        }
        files.has_in_hand(false);
    }
}

fn run_errand(shared: &Shared, group: GroupId, mut conn: Box<Conn>) -> Result<(), String> {
    let folders = shared.table.lock().folders.get(group.index()).cloned().unwrap_or_default();
    super::caught(|| static_files::run_errand(&mut conn, &folders))?;
    give_back(shared, group, conn);
    Ok(())
}

fn answer(shared: &Shared, question: &Question) -> Result<(), String> {
    let (came, ran) = match super::caught(|| question.wanted.look()) {
        Ok(came) => (came, Ok(())),
        Err(panic) => (Came::Nothing, Err(panic)),
    };
    // A thread that is gone has nobody left who waits for it.
    let told = shared
        .table
        .lock()
        .threads
        .get(&question.process)
        .and_then(|thread| thread.send(ToThread::Named(question.number, Box::new(came))).ok());
    if let Some(wake) = told {
        wake.wake();
    }
    ran
}

fn give_back(shared: &Shared, group: GroupId, conn: Box<Conn>) {
    let moved = shared.table.lock().move_to_app(conn, group);
    match moved {
        Ok(wake) => wake.wake(),
        Err(conn) => {
            // A master that is gone takes the server with it.
            if let Ok(wake) = shared.master.send(ToMaster::Conn(conn)) {
                wake.wake();
            }
        }
    }
}

/// Requests of one app that wait; more are the app's. A page of a site that has just been started asks for a hundred at once.
const WAITING: usize = 10_000;
/// A disk that has not answered for so long is gone.
const LONGEST: Duration = Duration::from_secs(5);
pub const LOOK: Duration = Duration::from_secs(1);
