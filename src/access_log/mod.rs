//! The access log: one line for each request, written when it ends, however it ends.
//!
//! Whoever ends a request ([`crate::conn::Conn::end_request`]) makes its line and puts it into a bounded queue; one thread (`writer`) writes
//! what is there, many lines at a time. Neither an I/O thread nor the master waits for a disk or for whoever reads the log: a line for
//! which there is no room is dropped and counted.

mod line;
mod writer;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

use crate::config::{AccessLogConfig, Config, LogFormat};
use crate::http::refusal::Refusal;
use crate::ids::{AppName, Generation, GroupId, Number};
pub use line::Line;
use writer::{Message, Sink, Writer};

/// Which requests are logged, where and how.
#[derive(Debug)]
pub struct AccessLog {
    /// By [`GroupId`].
    apps: Vec<(AppName, Option<Output>)>,
    /// Of requests that are for no app.
    server: Option<Output>,
    /// None: nothing is logged.
    queue: Option<Queue>,
}

/// One way to log; `sink` is an index of the writer's.
#[derive(Clone, Copy, Debug)]
struct Output {
    format: LogFormat,
    sink: usize,
}

/// The way to the writer.
#[derive(Debug)]
struct Queue {
    messages: Sender<Message>,
    room: Arc<Room>,
    writer: Thread,
    has_files: bool,
}

/// What the lines on their way take, and those for which there was no room.
#[derive(Debug, Default)]
struct Room {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// What becomes of a request, noted while it goes on: a few numbers, whether it is logged or not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// The process that it was sent to last.
    pub process: Option<(Number, Generation)>,
    /// Of the head that went to the client; 0: none has.
    pub status: u16,
    /// The answer, ours or the app's, is whole as far as we are concerned.
    pub is_whole: bool,
    /// Why we refused or cut it.
    pub cause: Option<&'static str>,
    /// Bytes that its connection's socket had taken before it.
    sent_before: u64,
    /// Bytes of heads that went to the client, interim ones too.
    heads: u64,
    /// It was whole and wanted a slot.
    wanted: Option<Instant>,
    begun: Option<Instant>,
    begun_last: Option<Instant>,
    answered: Option<Instant>,
}

impl Entry {
    /// `sent`: what its connection's socket has taken so far.
    pub fn new(sent: u64) -> Self {
        Self { sent_before: sent, ..Self::default() }
    }

    pub fn wants_slot(&mut self, now: Instant) {
        self.wanted.get_or_insert(now);
    }

    pub fn begins(&mut self, number: Number, generation: Generation, now: Instant) {
        self.process = Some((number, generation));
        self.begun.get_or_insert(now);
        self.begun_last = Some(now);
    }

    /// Heads went to the client. `status`: one of them was final.
    pub fn heads_sent(&mut self, bytes: usize, status: Option<u16>) {
        self.heads += bytes as u64;
        self.status = status.unwrap_or(self.status);
    }

    /// The app's part is over.
    pub fn answered(&mut self, now: Instant) {
        self.is_whole = true;
        self.answered = Some(now);
    }

    pub fn queued(&self) -> Option<Duration> {
        Some(self.begun?.saturating_duration_since(self.wanted?))
    }

    /// How long the process had it that had it last.
    pub fn with_app(&self, now: Instant) -> Option<Duration> {
        Some(self.answered.unwrap_or(now).saturating_duration_since(self.begun_last?))
    }

    /// Bytes that are not of a head, chunk sizes counted, among those that the connection's socket has taken: nginx's `$body_bytes_sent`.
    pub fn body_sent(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.sent_before).saturating_sub(self.heads)
    }
}

impl AccessLog {
    /// Opens every file that the configuration names and starts the writer, if there is anything to write.
    pub fn open(config: &Config) -> Result<Self, String> {
        let mut sinks = Vec::new();
        let server = output(&config.server.access_log, "server.access_log", &mut sinks)?;
        let mut apps = Vec::new();
        for app in &config.apps {
            let key = format!("app {}: access_log", app.name);
            let own = app.access_log.as_ref().map(|own| output(own, &key, &mut sinks)).transpose()?;
            apps.push((app.name.clone(), own.unwrap_or(server)));
        }
        let queue = if sinks.is_empty() { None } else { Some(Queue::start(sinks).map_err(|error| format!("log thread: {error}"))?) };
        Ok(Self { apps, server, queue })
    }

    /// Whether the requests of an app are logged; of none: those that are for no app.
    pub fn is_on(&self, app: Option<GroupId>) -> bool {
        self.output(app).is_some()
    }

    pub fn app_name(&self, app: GroupId) -> &AppName {
        &self.apps[app.index()].0
    }

    pub fn write(&self, app: Option<GroupId>, line: &Line<'_>) {
        if let (Some(output), Some(queue)) = (self.output(app), &self.queue) {
            queue.push(output.sink, line.text(output.format));
        }
    }

    /// A head that was refused, or as much of it as there is. `sent`: bytes of the answer's body.
    pub fn write_refused(&self, head: &[u8], client: Option<IpAddr>, refusal: &Refusal, sent: u64) {
        if self.is_on(None) {
            self.write(None, &Line::of_refused(head, client, refusal, sent));
        }
    }

    /// Opens the files anew, after the lines so far. False: there are none.
    pub fn reopen(&self) -> bool {
        match &self.queue {
            Some(queue) if queue.has_files => queue.tell(Message::Reopen),
            Some(_) | None => false,
        }
    }

    /// Waits until the lines so far are written, but not for long.
    pub fn finish(&self) {
        let Some(queue) = &self.queue else { return };
        let (done, wait) = crossbeam_channel::bounded(1);
        if queue.tell(Message::End(done)) && wait.recv_timeout(FINISH).is_err() {
            log::warn!("access log: not everything could be written within {FINISH:?}");
        }
    }

    fn output(&self, app: Option<GroupId>) -> Option<Output> {
        app.map_or(self.server, |app| self.apps[app.index()].1)
    }
}

/// `key` names the place in the configuration. A file that is named twice is opened once.
fn output(config: &AccessLogConfig, key: &str, sinks: &mut Vec<Sink>) -> Result<Option<Output>, String> {
    let AccessLogConfig::On { format, file } = config else { return Ok(None) };
    let path = file.as_deref();
    let known = sinks.iter().position(|sink| sink.path() == path);
    let sink = match known {
        Some(sink) => sink,
        None => {
            let name = path.map_or("standard output".into(), Path::to_string_lossy);
            sinks.push(Sink::open(path).map_err(|error| format!("{key} {name}: {error}"))?);
            sinks.len() - 1
        }
    };
    Ok(Some(Output { format: *format, sink }))
}

impl Queue {
    fn start(sinks: Vec<Sink>) -> std::io::Result<Self> {
        let (messages, inbox) = crossbeam_channel::unbounded();
        let room = Arc::new(Room::default());
        let has_files = sinks.iter().any(|sink| sink.path().is_some());
        let writer = Writer::new(inbox, room.clone(), sinks);
        let thread = std::thread::Builder::new().name("rota-log".to_owned()).stack_size(STACK).spawn(move || writer.run())?;
        Ok(Self { messages, room, writer: thread.thread().clone(), has_files })
    }

    /// No system call, but for the wake of a writer that has had nothing to do, or is about to have too much.
    fn push(&self, sink: usize, text: Vec<u8>) {
        let size = text.len();
        let before = self.room.bytes.fetch_add(size, Ordering::Relaxed);
        if before + size > ROOM || self.messages.send(Message::Line { sink, text }).is_err() {
            self.room.bytes.fetch_sub(size, Ordering::Relaxed);
            self.room.dropped.fetch_add(1, Ordering::Relaxed);
        } else if before < ROOM / 2 && before + size >= ROOM / 2 {
            self.writer.unpark();
        }
    }

    fn tell(&self, message: Message) -> bool {
        let told = self.messages.send(message).is_ok();
        self.writer.unpark();
        told
    }
}

/// Bytes of lines that may wait: some seconds of a busy server, in which a disk has come to itself again.
const ROOM: usize = 4 * 1024 * 1024;
/// A disk that takes longer at the end of rota has what it has.
const FINISH: Duration = Duration::from_secs(2);
/// The deepest frames are the logger's.
const STACK: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_request_that_was_sent_twice_are_those_of_the_first_wait_and_the_last_try() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut entry = Entry::default();
        assert_eq!((entry.queued(), entry.with_app(at(9))), (None, None));
        for (wants, begins) in [(10, 15), (30, 50)] {
            entry.wants_slot(at(wants));
            entry.begins(Number(1), Generation(2), at(begins));
        }
        assert_eq!(entry.queued(), Some(Duration::from_millis(5)));
        assert_eq!(entry.with_app(at(70)), Some(Duration::from_millis(20)), "still there");
        entry.answered(at(60));
        assert_eq!(entry.with_app(at(70)), Some(Duration::from_millis(10)));
    }

    #[test]
    fn the_bytes_of_a_body_are_those_that_went_out_without_heads_and_earlier_requests() {
        let mut entry = Entry::new(100);
        entry.heads_sent(30, None);
        entry.heads_sent(20, Some(200));
        assert_eq!((entry.status, entry.body_sent(1150)), (200, 1000));
        assert_eq!(entry.body_sent(140), 0, "not even the heads went out");
    }
}
