//! The files of access logs and of what apps print, and the one thread (`writer`) that writes them, many lines at a time.
//!
//! Whoever has a line puts it into a bounded queue and goes on: neither an I/O thread nor the master waits for a disk or for whoever reads the
//! log. A line for which there is no room is dropped and counted, and each file has its own room: what one app prints costs no other a line.

mod writer;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use crossbeam_channel::Sender;

use crate::credentials::Rights;
use crate::last_word;
use crate::seccomp;
use writer::{Message, Sink, Writer};

/// Files that are open and have no writer yet.
#[derive(Debug)]
pub struct Sinks {
    sinks: Vec<Sink>,
    /// [`crate::safe_open::open_log`].
    groups: Arc<[u32]>,
}

/// One of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkId(usize);

/// The way to the writer.
#[derive(Debug)]
pub struct LogFiles {
    /// None: there is nothing to write.
    queue: Option<Queue>,
}

#[derive(Debug)]
struct Queue {
    messages: Sender<Message>,
    /// By [`SinkId`].
    rooms: Arc<[Room]>,
    writer: Thread,
    has_files: bool,
}

/// What the lines on their way to one file take, and those for which there was no room.
#[derive(Debug, Default)]
struct Room {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl Sinks {
    /// `groups`: of the apps' users.
    pub fn new(groups: Vec<u32>) -> Self {
        Self { sinks: Vec::new(), groups: groups.into() }
    }

    /// Opens a file; None: standard output. One that is named twice is opened once. `what` is how the log calls it, beside its path.
    pub fn open(&mut self, path: Option<&Path>, what: &str) -> io::Result<SinkId> {
        if let Some(known) = self.sinks.iter().position(|sink| sink.path() == path) {
            return Ok(SinkId(known));
        }
        self.sinks.push(Sink::open(path, what, self.groups.clone())?);
        Ok(SinkId(self.sinks.len() - 1))
    }

    /// As [`Self::open`]; what cannot be opened now is opened when it can, and its lines are dropped and counted meanwhile.
    pub fn open_or_wait(&mut self, path: &Path, what: &str) -> SinkId {
        self.open(Some(path), what).unwrap_or_else(|error| {
            log::error!("{what} {}: {error}; its lines are dropped until it can be opened", path.display());
            self.sinks.push(Sink::missing(path, what, self.groups.clone(), &error));
            SinkId(self.sinks.len() - 1)
        })
    }
}

impl LogFiles {
    /// Starts the writer, if there is anything to write.
    pub fn start(sinks: Sinks) -> io::Result<Self> {
        let sinks = sinks.sinks;
        if sinks.is_empty() {
            return Ok(Self { queue: None });
        }
        let (messages, inbox) = crossbeam_channel::unbounded();
        let rooms: Arc<[Room]> = sinks.iter().map(|_| Room::default()).collect();
        let has_files = sinks.iter().any(|sink| sink.path().is_some());
        let writer = Writer::new(inbox, rooms.clone(), sinks);
        let thread = last_word::start(writer::THREAD, STACK, move || {
            // Its files are root's, in directories of root's (`safe_open`).
            Rights::None.keep_or_warn();
            seccomp::restrict();
            writer.run();
            true
        })?;
        Ok(Self { queue: Some(Queue { messages, rooms, writer: thread.thread().clone(), has_files }) })
    }

    /// `text`: whole lines. No system call, but for the wake of a writer that has had nothing to do, or is about to have too much.
    pub fn push(&self, sink: SinkId, text: Vec<u8>) {
        let Some(queue) = &self.queue else { return };
        let (room, size) = (&queue.rooms[sink.0], text.len());
        let before = room.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > ROOM || queue.messages.send(Message::Line { sink: sink.0, text }).is_err() {
            room.bytes.fetch_sub(size, Ordering::Relaxed);
            room.dropped.fetch_add(1, Ordering::Relaxed);
        } else if before < ROOM / 2 && before + size >= ROOM / 2 {
            queue.writer.unpark();
        }
    }

    /// Opens the files anew, after the lines so far. False: there are none.
    pub fn reopen(&self) -> bool {
        match &self.queue {
            Some(queue) if queue.has_files => queue.tell(Message::Reopen),
            Some(_) | None => false,
        }
    }

    /// Waits until the lines so far are written, for a moment: another program goes on with the files.
    pub fn flush(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, wait) = crossbeam_channel::bounded(1);
        if queue.tell(Message::Flush(done)) && wait.recv_timeout(FLUSH).is_err() {
            log::warn!("log files: not everything could be written within {FLUSH:?}; the rest is lost");
        }
    }

    /// Waits until the lines so far are written, but not for long.
    pub fn finish(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, wait) = crossbeam_channel::bounded(1);
        if queue.tell(Message::End(done)) && wait.recv_timeout(FINISH).is_err() {
            log::warn!("log files: not everything could be written within {FINISH:?}");
        }
    }
}

impl Queue {
    fn tell(&self, message: Message) -> bool {
        let told = self.messages.send(message).is_ok();
        self.writer.unpark();
        told
    }
}

/// Bytes of lines that may wait for one file: some seconds of a busy server, in which a disk has come to itself again.
const ROOM: usize = 4 * 1024 * 1024;
/// Nobody is served meanwhile: a disk that takes longer has what it has.
const FLUSH: Duration = Duration::from_millis(100);
/// A disk that takes longer at the end of rota has what it has.
const FINISH: Duration = Duration::from_secs(2);
/// The deepest frames are the logger's.
const STACK: usize = 256 * 1024;
