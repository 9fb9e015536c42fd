//! The thread that writes log files, and the only one that a slow or full disk, or a pipe that nobody reads, can hold up.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};

use super::Room;
use crate::last_word;
use crate::logging::{self, PATIENCE, PIPE_BUF};
use crate::printable::counted_past;
use crate::safe_open;

/// To the writer, in the order in which it is done.
#[derive(Debug)]
pub enum Message {
    Line {
        sink: usize,
        text: Vec<u8>,
    },
    Reopen,
    /// Says so when all before it is written.
    Flush(Sender<()>),
    /// As before, as the last one.
    End(Sender<()>),
}

#[derive(Debug)]
pub struct Writer {
    messages: Receiver<Message>,
    /// Of each sink.
    rooms: Arc<[Room]>,
    sinks: Vec<Sink>,
    /// When it was said last that lines were dropped.
    told: Option<Instant>,
}

/// A file, or standard output.
#[derive(Debug)]
pub struct Sink {
    path: Option<PathBuf>,
    /// What is in it, in words.
    what: String,
    /// [`safe_open::open_log`].
    groups: Arc<[u32]>,
    /// None: it cannot be opened, and lines are dropped until it can.
    out: Option<File>,
    /// Whether the path still names what is open was looked at then.
    looked: Instant,
    /// That it cannot be opened was said.
    told: bool,
    /// As much as is written at once: of a pipe, what it takes without waiting for more (pipe(7): PIPE_BUF).
    piece: usize,
    /// Whole lines, but for the first if `is_torn`.
    buffer: Vec<u8>,
    /// The beginning of the first line has been written: the rest of it comes before anything else, so that one record is one line.
    is_torn: bool,
    /// The last write found no room: who was not there a moment ago is not waited for again.
    is_stuck: bool,
    dropped: u64,
    /// Why lines were dropped, the last time.
    why: String,
}

impl Writer {
    pub fn new(messages: Receiver<Message>, rooms: Arc<[Room]>, sinks: Vec<Sink>) -> Self {
        Self { messages, rooms, sinks, told: None }
    }

    /// Until the end. Idle it waits for a message, which wakes it; while lines come it looks for them again and again, so that their senders
    /// need not wake it.
    pub fn run(mut self) {
        loop {
            let received = match self.until_told() {
                Some(time) => self.messages.recv_timeout(time),
                None => self.messages.recv().map_err(RecvTimeoutError::from),
            };
            let first = match received {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut came = first.is_some();
            let mut next = first;
            loop {
                last_word::fault(THREAD);
                while let Some(message) = next.take().or_else(|| self.messages.try_recv().ok()) {
                    came = true;
                    if self.take(message) {
                        return;
                    }
                }
                self.sinks.iter_mut().for_each(Sink::write);
                self.tell(false);
                if !std::mem::take(&mut came) {
                    break;
                }
                std::thread::park_timeout(GATHER);
            }
        }
    }

    /// True: that was the end.
    fn take(&mut self, message: Message) -> bool {
        match message {
            Message::Line { sink, text } => {
                self.rooms[sink].bytes.fetch_sub(text.len(), Ordering::Relaxed);
                self.sinks[sink].add(&text);
            }
            Message::Reopen => self.sinks.iter_mut().for_each(|sink| {
                // What came before belongs into the old file.
                sink.write();
                sink.reopen();
            }),
            Message::Flush(done) => {
                self.sinks.iter_mut().for_each(Sink::write);
                let _ = done.send(());
            }
            Message::End(done) => {
                self.sinks.iter_mut().for_each(Sink::write);
                self.tell(true);
                // Nobody may wait for it any more.
                let _ = done.send(());
                return true;
            }
        }
        false
    }

    /// Says what was dropped, now and then.
    fn tell(&mut self, at_once: bool) {
        if !at_once && self.until_told().is_none_or(|time| !time.is_zero()) {
            return;
        }
        for (sink, room) in self.sinks.iter_mut().zip(&*self.rooms) {
            let overflow = room.dropped.swap(0, Ordering::Relaxed);
            if overflow > 0 {
                log::warn!("{}: {} dropped: they came faster than they could be written", sink.name(), counted_past(overflow, "line"));
            }
            if sink.dropped > 0 {
                log::warn!("{}: {} dropped: {}", sink.name(), counted_past(sink.dropped, "line"), sink.why);
                sink.dropped = 0;
            }
        }
        self.told = Some(Instant::now());
    }

    /// How long until it is to be said that lines were dropped. None: none were.
    fn until_told(&self) -> Option<Duration> {
        let any = self.rooms.iter().any(|room| room.dropped.load(Ordering::Relaxed) > 0) || self.sinks.iter().any(|sink| sink.dropped > 0);
        any.then(|| self.told.map_or(Duration::ZERO, |told| TELL.saturating_sub(told.elapsed())))
    }
}

impl Sink {
    /// None: standard output.
    pub fn open(path: Option<&Path>, what: &str, groups: Arc<[u32]>) -> io::Result<Self> {
        let out = match path {
            Some(path) => safe_open::open_log(path, &groups)?,
            None => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        };
        let piece = if out.metadata()?.is_file() { usize::MAX } else { PIPE_BUF };
        Ok(Self::of(path, what, groups, Some(out), piece))
    }

    /// A file that cannot be opened now, and why.
    pub fn missing(path: &Path, what: &str, groups: Arc<[u32]>, error: &io::Error) -> Self {
        Self { why: error.to_string(), told: true, ..Self::of(Some(path), what, groups, None, usize::MAX) }
    }

    fn of(path: Option<&Path>, what: &str, groups: Arc<[u32]>, out: Option<File>, piece: usize) -> Self {
        let (path, what, buffer, why) = (path.map(Path::to_owned), what.to_owned(), Vec::new(), String::new());
        let looked = Instant::now();
        Self { path, what, groups, out, looked, told: false, piece, buffer, is_torn: false, is_stuck: false, dropped: 0, why }
    }

    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    fn name(&self) -> String {
        format!("{} {}", self.what, self.path.as_deref().unwrap_or(Path::new("on standard output")).display())
    }

    fn add(&mut self, line: &[u8]) {
        self.buffer.extend_from_slice(line);
        if self.buffer.len() >= BATCH {
            self.write();
        }
    }

    /// Writes what is there. What is not taken is dropped, but for the rest of a line that was begun.
    fn write(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if self.looked.elapsed() >= LOOK && !self.is_in_place() {
            self.reopen();
        }
        let Some(out) = &mut self.out else {
            self.dropped += memchr::memchr_iter(b'\n', &self.buffer).count() as u64;
            self.buffer.clear();
            return;
        };
        let patience = if self.is_stuck { Duration::ZERO } else { PATIENCE };
        let (taken, trouble) = logging::offer(out, &self.buffer, self.piece, patience);
        if taken > 0 {
            self.is_torn = self.buffer[taken - 1] != b'\n';
        }
        self.is_stuck = trouble.is_some();
        let left = &self.buffer[taken..];
        let keep = if self.is_torn { memchr::memchr(b'\n', left).map_or(left.len(), |end| end + 1) } else { 0 };
        if let Some(trouble) = trouble {
            self.why = trouble.to_string();
            self.dropped += memchr::memchr_iter(b'\n', &left[keep..]).count() as u64;
        }
        self.buffer.truncate(taken + keep);
        self.buffer.drain(..taken);
    }

    /// The path names the file that is open: nobody has renamed it, as logrotate does, and not told us.
    fn is_in_place(&mut self) -> bool {
        self.looked = Instant::now();
        let (Some(path), Some(out)) = (&self.path, &self.out) else { return self.path.is_none() };
        let identity = |file: &fs::Metadata| (file.dev(), file.ino());
        let (named, open) = (fs::metadata(path), out.metadata());
        match (&named, &open) {
            (Ok(named), Ok(open)) => identity(named) == identity(open),
            (Err(error), _) => error.kind() != io::ErrorKind::NotFound,
            (Ok(_), Err(_)) => true,
        }
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        let new = Self::open(Some(path), &self.what, self.groups.clone());
        self.looked = Instant::now();
        if self.is_torn {
            self.write();
        }
        match new {
            Ok(new) => {
                if std::mem::take(&mut self.told) {
                    log::info!("{}: it can be opened now", self.name());
                }
                (self.out, self.piece) = (new.out, new.piece);
                if std::mem::take(&mut self.is_torn) {
                    // Its beginning is in the old file.
                    self.buffer.clear();
                    self.dropped += 1;
                }
                self.is_stuck = false;
            }
            Err(error) if self.out.is_none() => self.why = error.to_string(),
            Err(error) => {
                if !std::mem::replace(&mut self.told, true) {
                    log::error!("{}: {error}; lines go on into the file that is open", self.name());
                }
            }
        }
    }
}

pub const THREAD: &str = "rota-log";
/// How long lines are gathered for one write: nobody who follows a log sees less than that.
const GATHER: Duration = Duration::from_millis(100);
/// More than this is written at once, however much more there is (bytes).
const BATCH: usize = 64 * 1024;
/// How often it is looked whether a file that is written to is still the one that its path names.
const LOOK: Duration = Duration::from_secs(1);
/// Between two words about lines that were dropped.
const TELL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    /// A sink that is a pipe with room for four pages.
    fn piped() -> (io::PipeReader, Sink) {
        let (reader, writer) = io::pipe().unwrap();
        rustix::pipe::fcntl_setpipe_size(&writer, 4 * PIPE_BUF).unwrap();
        let out = File::from(std::os::fd::OwnedFd::from(writer));
        (reader, Sink::of(None, "test", [].into(), Some(out), PIPE_BUF))
    }

    #[test]
    fn what_nobody_reads_is_dropped_by_whole_lines_and_counted() {
        let (mut reader, mut sink) = piped();
        let line = |number: u32| format!("{number:0>699}\n");
        for number in 0..100 {
            sink.add(line(number).as_bytes());
        }
        sink.write();
        let mut read = vec![0; 4 * PIPE_BUF];
        let first = reader.read(&mut read).unwrap();
        for number in 100..103 {
            sink.add(line(number).as_bytes());
        }
        sink.write();
        let dropped = sink.dropped;
        drop(sink);
        read.truncate(first);
        reader.read_to_end(&mut read).unwrap();
        let read = String::from_utf8(read).unwrap();
        let numbers: Vec<u32> = read.lines().map(|line| line.parse().unwrap()).collect();
        assert!(read.lines().all(|line| line.len() == 699), "each record is one line");
        assert_eq!(numbers.len() as u64 + dropped, 103);
        assert!(dropped > 50 && numbers.ends_with(&[100, 101, 102]), "{dropped} dropped, read {numbers:?}");
    }

    #[test]
    fn a_disk_that_is_full_drops_and_says_why() {
        let mut sink = Sink::open(Some(Path::new("/dev/full")), "test", [].into()).unwrap();
        sink.add(b"one\ntwo\n");
        sink.write();
        assert_eq!((sink.dropped, sink.buffer.len()), (2, 0));
        assert!(sink.why.contains("No space left"), "{}", sink.why);
    }

    #[test]
    fn a_line_that_was_begun_in_the_old_file_does_not_end_in_the_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = Sink::open(Some(&path), "test", [].into()).unwrap();
        (sink.out, sink.is_torn) = (Some(File::options().write(true).open("/dev/full").unwrap()), true);
        sink.add(b"rest\nlost\n");
        sink.reopen();
        sink.add(b"new\n");
        sink.write();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new\n");
        assert_eq!(sink.dropped, 2);
    }

    /// As if the last look had been long ago.
    fn write_later(sink: &mut Sink, line: &str) {
        sink.looked -= LOOK;
        sink.add(line.as_bytes());
        sink.write();
    }

    #[test]
    fn a_file_that_was_renamed_or_removed_is_made_anew_without_a_signal() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut sink = Sink::open(Some(&path), "test", [].into()).unwrap();
        write_later(&mut sink, "one\n");
        fs::rename(&path, dir.path().join("log.1")).unwrap();
        write_later(&mut sink, "two\n");
        fs::rename(&path, dir.path().join("log.2")).unwrap();
        fs::write(&path, "made by logrotate\n").unwrap();
        write_later(&mut sink, "three\n");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        assert_eq!(["log.1", "log.2", "log"].map(read), ["one\n", "two\n", "made by logrotate\nthree\n"]);
        assert_eq!(sink.dropped, 0);
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_opened_when_it_can() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("later/log");
        let error = Sink::open(Some(&path), "test", [].into()).unwrap_err();
        let mut sink = Sink::missing(&path, "test", [].into(), &error);
        write_later(&mut sink, "lost\n");
        assert!(sink.dropped == 1 && sink.why.contains("No such file"), "{} {}", sink.dropped, sink.why);
        fs::create_dir(dir.path().join("later")).unwrap();
        write_later(&mut sink, "kept\n");
        assert_eq!((fs::read_to_string(&path).unwrap().as_str(), sink.dropped), ("kept\n", 1));
    }
}
