//! One client of the control socket, on the master thread: reads its request, has it carried out, tells it the replies. Never blocks.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::UCred;

use super::{Operator, WalkReport};
use crate::control::proto::{Asked, Progress, Reply, Request, WalkEnd, parse_request, reply_line, seconds};

/// A client and how far it is.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    peer: UCred,
    stage: Stage,
    /// Of the request; empty once that is read.
    input: Vec<u8>,
    /// Bytes that came after the request.
    ignored: usize,
    /// Not yet written.
    output: Vec<u8>,
}

#[derive(Debug)]
enum Stage {
    /// Its request must be there by `until`.
    Asking { until: Instant },
    /// It is told about these walks until they have ended.
    Following { since: Instant, walks: Vec<Followed> },
    /// It has heard all and goes when that is written; some of it must have been written by `until`.
    Leaving { until: Instant },
    /// It waits for the end of the server.
    Staying,
}

#[derive(Debug)]
struct Followed {
    walk: Asked,
    told: Option<Progress>,
}

/// Why a connection ends. `Display` continues a sentence that begins with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    Answered,
    Left,
    /// Asked for nothing in time.
    Silent,
    /// Does not read.
    Deaf,
    /// Goes on sending after its request.
    Floods,
}

impl Connection {
    pub fn new(stream: UnixStream, peer: UCred, now: Instant) -> Self {
        Self { stream, peer, stage: Stage::Asking { until: now + PATIENCE }, input: Vec::new(), ignored: 0, output: Vec::new() }
    }

    /// For the poll.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// `pid 4711 of uid 0`.
    pub fn who(&self) -> String {
        format!("pid {} of uid {}", self.peer.pid.as_raw_nonzero(), self.peer.uid.as_raw())
    }

    /// Reads and writes what is possible now.
    pub fn attend<O: Operator>(&mut self, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let at_end = self.read()?;
        if matches!(self.stage, Stage::Asking { .. }) {
            match self.take_request(at_end) {
                Some(Ok(line)) => self.answer(&line, operator, now)?,
                Some(Err(message)) => self.last_word(&Reply::Error { message }, now)?,
                None if at_end => return Err(Closes::Left),
                None => {}
            }
        }
        self.flush(now)?;
        // A client that only has no more to say still listens.
        if at_end && self.has_hung_up() { Err(Closes::Left) } else { Ok(()) }
    }

    /// Tells what is new about the walks that it follows, if any.
    pub fn follow<O: Operator>(&mut self, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let Stage::Following { since, walks } = &mut self.stage else { return Ok(()) };
        let mut news = Vec::new();
        walks.retain_mut(|followed| match operator.progress(&followed.walk.app, followed.walk.generation, now) {
            WalkReport::Waiting => true,
            WalkReport::Underway(progress) => {
                if followed.told.as_ref().is_none_or(|told| progress.is_news_after(told)) {
                    news.push(Reply::Progress(progress.clone()));
                    followed.told = Some(progress);
                }
                true
            }
            WalkReport::Ended(end) => {
                let seconds = seconds(now.saturating_duration_since(*since));
                news.push(Reply::Ended(Box::new(WalkEnd { seconds, ..end })));
                false
            }
        });
        if walks.is_empty() {
            self.stage = Stage::Leaving { until: now + PATIENCE };
        }
        for reply in &news {
            self.say(reply)?;
        }
        self.flush(now)
    }

    pub fn limit(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asking { until } | Stage::Leaving { until } => Some(until),
            Stage::Following { .. } | Stage::Staying => None,
        }
    }

    pub fn check_limit(&self, now: Instant) -> Result<(), Closes> {
        match self.stage {
            Stage::Asking { until } if until <= now => Err(Closes::Silent),
            Stage::Leaving { until } if until <= now => Err(Closes::Deaf),
            Stage::Asking { .. } | Stage::Leaving { .. } | Stage::Following { .. } | Stage::Staying => Ok(()),
        }
    }

    /// Reads until there is no more or enough. True: the client says no more.
    fn read(&mut self) -> Result<bool, Closes> {
        let asking = matches!(self.stage, Stage::Asking { .. });
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(true),
                Ok(count) if asking => {
                    self.input.extend_from_slice(&buffer[..count]);
                    // More cannot be a request; that is said, and what is left need not be read.
                    if self.input.len() > MAX_REQUEST {
                        return Ok(false);
                    }
                }
                Ok(count) => {
                    self.ignored += count;
                    if self.ignored > MAX_REQUEST {
                        return Err(Closes::Floods);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(false),
                    ErrorKind::Interrupted => {}
                    _ => return Err(Closes::Left),
                },
            }
        }
    }

    /// The request, once it is there: a line, or what came before the end. The error is for the client.
    fn take_request(&mut self, at_end: bool) -> Option<Result<Vec<u8>, String>> {
        let end = match memchr::memchr(b'\n', &self.input) {
            Some(end) => end,
            None if self.input.len() > MAX_REQUEST || (at_end && !self.input.is_empty()) => self.input.len(),
            None => return None,
        };
        let mut line = std::mem::take(&mut self.input);
        line.truncate(end);
        Some(if end > MAX_REQUEST { Err(format!("a request has at most {MAX_REQUEST} bytes")) } else { Ok(line) })
    }

    fn answer<O: Operator>(&mut self, line: &[u8], operator: &mut O, now: Instant) -> Result<(), Closes> {
        let request = match parse_request(line) {
            Ok(request) => request,
            Err(message) => return self.last_word(&Reply::Error { message }, now),
        };
        match request {
            Request::Status { app } => match operator.status(app.as_deref(), now) {
                Ok(status) => self.last_word(&Reply::Status(Box::new(status)), now),
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Restart { app, wait } => match operator.restart(app.as_deref(), now) {
                Ok(walks) => self.begin(walks, wait, operator, now),
                Err(message) => self.last_word(&Reply::Error { message }, now),
            },
            Request::Stop {} => {
                log::info!("control socket: stop, asked for by {}", self.who());
                operator.stop();
                self.stage = Stage::Staying;
                self.say(&Reply::Stopping)
            }
        }
    }

    fn begin<O: Operator>(&mut self, walks: Vec<Asked>, wait: bool, operator: &mut O, now: Instant) -> Result<(), Closes> {
        for walk in &walks {
            log::info!("control socket: restart of {} to {}, asked for by {}", walk.app, walk.generation, self.who());
        }
        let asked = Reply::Asked { walks: walks.clone() };
        if !wait {
            return self.last_word(&asked, now);
        }
        self.say(&asked)?;
        let walks = walks.into_iter().map(|walk| Followed { walk, told: None }).collect();
        self.stage = Stage::Following { since: now, walks };
        self.follow(operator, now)
    }

    fn last_word(&mut self, reply: &Reply, now: Instant) -> Result<(), Closes> {
        self.stage = Stage::Leaving { until: now + PATIENCE };
        self.say(reply)
    }

    /// One reply may be as long as it is; who has left too much unread gets no other.
    fn say(&mut self, reply: &Reply) -> Result<(), Closes> {
        if self.output.len() > MAX_OUTPUT {
            return Err(Closes::Deaf);
        }
        self.output.extend(reply_line(reply));
        Ok(())
    }

    fn flush(&mut self, now: Instant) -> Result<(), Closes> {
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(count) => {
                    self.output.drain(..count);
                    if let Stage::Leaving { until } = &mut self.stage {
                        *until = now + PATIENCE;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Ok(()),
                    ErrorKind::Interrupted => {}
                    _ => return Err(Closes::Left),
                },
            }
        }
        match self.stage {
            Stage::Leaving { .. } => Err(Closes::Answered),
            Stage::Asking { .. } | Stage::Following { .. } | Stage::Staying => Ok(()),
        }
    }

    /// Both directions are closed, not only the one to us.
    fn has_hung_up(&self) -> bool {
        let mut ask = [PollFd::new(&self.stream, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ask, Some(&at_once)).is_ok() && ask[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closes::Answered => write!(f, "has its answer"),
            Closes::Left => write!(f, "left"),
            Closes::Silent => write!(f, "asked for nothing in {} s and was dropped", PATIENCE.as_secs()),
            Closes::Deaf => write!(f, "did not read its replies and was dropped"),
            Closes::Floods => write!(f, "sent more than {MAX_REQUEST} bytes after its request and was dropped"),
        }
    }
}

/// Bytes of a request: the longest sensible one has a hundred.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Bytes that may wait for a client when more comes: some hundred events.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// Without a request, and without reading the last reply.
pub const PATIENCE: Duration = Duration::from_secs(10);
