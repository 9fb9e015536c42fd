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
use crate::conn::static_files;
use crate::credentials::Credentials;
use crate::errands::lookout::UNKNOWN;
use crate::ids::GroupId;
use crate::seccomp;
use crate::table::{Shared, ToMaster};

/// Connections of one app that wait for a look at the disk.
#[derive(Debug)]
pub struct Files {
    waiting: (Sender<Box<Conn>>, Receiver<Box<Conn>>),
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
        self.put(conn)
    }

    fn put(&self, conn: Box<Conn>) -> Result<(), Box<Conn>> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.waiting.0.send(conn).map_err(|conn| {
            self.count.fetch_sub(1, Ordering::Relaxed);
            conn.0
        })
    }

    /// Somebody waits, perhaps.
    pub fn has_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// There is a thread.
    pub fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Relaxed)
    }

    /// Nobody waits, and nobody is in hand who would come back.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.waiting.1.is_empty() && (self.busy.load(Ordering::Acquire) == 0 || self.is_stuck(now))
    }

    /// Those that have waited for a disk that does not answer.
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
            .collect()
    }

    /// When to look whether that is so.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        self.has_any().then(|| now + LOOK)
    }

    fn is_stuck(&self, now: Instant) -> bool {
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
    while let Ok(mut conn) = files.waiting.1.recv() {
        files.count.fetch_sub(1, Ordering::Relaxed);
        if !super::is_for(shared, group, app) {
            // Another thread comes, with the rights of another user. The sender is here as well: it takes whatever is sent.
            let _ = files.put(conn);
            return;
        }
        files.has_in_hand(true);
        let folders = shared.table.lock().folders.get(group.index()).cloned().unwrap_or_default();
        let ran = super::caught(|| static_files::run_errand(&mut conn, &folders));
        if let Err(panic) = ran {
            log::error!("{}: looking for a file panicked ({panic}); its connection is closed", shared.app(group).name);
        } else {
            give_back(shared, group, conn);
        }
        files.has_in_hand(false);
    }
}

fn give_back(shared: &Shared, group: GroupId, conn: Box<Conn>) {
    let mut state = shared.table.lock();
    let moved = match state.pool.group_mut(group).host(None) {
        Some(process) => state.move_to(conn, process),
        None => Err(conn),
    };
    drop(state);
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
const LOOK: Duration = Duration::from_secs(1);
