//! One client of the control socket, on the master thread: reads its request, has it carried out, tells it the replies. Never blocks.

mod requests;

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::Uid;
use rustix::net::UCred;
use serde::{Deserialize, Serialize};

use super::closes::Closes;
use super::rights::Guest;
use super::{Detached, Operator, Ticket, WalkReport};
use crate::control::proto::{Asked, Pausing, Progress, Reply, Request, WalkEnd, parse_request, reply_line, seconds};
use crate::operators::LOOKING_UP;

/// What a client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// Everything.
    Operate,
    /// What its [`Guest`] may.
    Guest,
}

/// A client and how far it is.
#[derive(Debug)]
pub struct Connection {
    pub(super) stream: UnixStream,
    pub(super) peer: UCred,
    pub(super) level: Level,
    /// Who it is, of [`Level::Guest`], once that is known.
    pub(super) guest: Option<Guest>,
    pub(super) stage: Stage,
    /// Of the request; empty once that is read.
    pub(super) input: Vec<u8>,
    /// Bytes that came after the request.
    pub(super) ignored: usize,
    /// Not yet written.
    pub(super) output: Vec<u8>,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// Its request must be there by `until`.
    Asking { until: Instant },
    /// It is looked up who it is, for at most until `until`; then the request is answered.
    Introducing { ticket: Ticket, request: Request, until: Instant },
    /// It is told about these walks until they have ended.
    Following { since: Instant, walks: Vec<Followed> },
    /// It waits until an app that is paused has nothing in hand.
    Quieting { told: Pausing },
    /// It waits until a process is gone.
    Detaching { process: Detached },
    /// It waits for the answers of other threads, at most until `until`.
    Collecting { ticket: Ticket, until: Instant },
    /// It waits until the configuration has been read, at most until `until`.
    Reloading { ticket: Ticket, dry_run: bool, wait: bool, until: Instant },
    /// It waits until another program has taken over, which tells it so.
    Upgrading { ticket: Ticket },
    /// It has heard all and goes when that is written; some of it must have been written by `until`.
    Leaving { until: Instant },
    /// It waits for the end of the server.
    Staying,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Followed {
    walk: Asked,
    told: Option<Progress>,
}

impl Connection {
    pub fn new(stream: UnixStream, peer: UCred, level: Level, now: Instant) -> Self {
        let stage = Stage::Asking { until: now + PATIENCE };
        Self { stream, peer, level, guest: None, stage, input: Vec::new(), ignored: 0, output: Vec::new() }
    }

    /// For the poll.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// `pid 4711 of uid 0`, `pid 4711 of deploy (uid 1001)`.
    pub fn who(&self) -> String {
        let (pid, uid) = (self.peer.pid.as_raw_nonzero(), self.peer.uid.as_raw());
        match &self.guest {
            Some(guest) => format!("pid {pid} of {} (uid {uid})", guest.person.name),
            None => format!("pid {pid} of uid {uid}"),
        }
    }

    pub fn uid(&self) -> Uid {
        self.peer.uid
    }

    pub fn level(&self) -> Level {
        self.level
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

    /// Tells what is new about what it follows, if anything.
    pub fn follow<O: Operator>(&mut self, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let last = match &mut self.stage {
            Stage::Following { .. } => return self.follow_walks(operator, now),
            Stage::Quieting { told } => match operator.pausing(&told.app, now) {
                Some(pausing) if pausing.sessions == told.sessions => return Ok(()),
                Some(pausing) if pausing.sessions > 0 => {
                    *told = pausing.clone();
                    self.say(&Reply::Pausing(pausing))?;
                    return self.flush(now);
                }
                Some(pausing) => Reply::Pausing(pausing),
                None => Reply::Error { message: format!("{} is not paused any more, and requests are with it", told.app) },
            },
            Stage::Detaching { process } => match operator.is_detached(process, now) {
                Some(by) => Reply::Detached { app: process.app.clone(), number: process.number, pid: process.pid, by },
                None => match operator.stays(process, now) {
                    Some(message) => Reply::Error { message },
                    None => return Ok(()),
                },
            },
            Stage::Collecting { ticket, .. } => match operator.answer(*ticket, now) {
                Some(reply) => reply,
                None => return Ok(()),
            },
            Stage::Reloading { ticket, dry_run, wait, .. } => {
                let (ticket, dry_run, wait) = (*ticket, *dry_run, *wait);
                return match operator.has_reloaded(ticket) {
                    Some(reloaded) => self.reloaded(reloaded, dry_run, wait, operator, now),
                    None => Ok(()),
                };
            }
            Stage::Upgrading { ticket } => match operator.has_not_upgraded(*ticket) {
                Some(message) => Reply::Error { message },
                None => return Ok(()),
            },
            Stage::Introducing { ticket, .. } => match operator.introduced(*ticket) {
                Some(guest) => return self.introduced(guest, operator, now),
                None => return Ok(()),
            },
            Stage::Asking { .. } | Stage::Leaving { .. } | Stage::Staying => return Ok(()),
        };
        self.last_word(&last, now)?;
        self.flush(now)
    }

    /// It is known who asks.
    fn introduced<O: Operator>(&mut self, guest: Guest, operator: &mut O, now: Instant) -> Result<(), Closes> {
        // It is another stage by the end of this, whatever comes of it.
        let Stage::Introducing { request, .. } = std::mem::replace(&mut self.stage, Stage::Leaving { until: now + PATIENCE }) else {
            return Ok(());
        };
        let may = guest.may(&request);
        self.guest = Some(guest);
        match may {
            Ok(()) => self.carry_out(request, operator, now)?,
            Err(message) => {
                log::info!("control socket: {} asked for more than it may", self.who());
                self.last_word(&Reply::Error { message }, now)?;
            }
        }
        self.flush(now)
    }

    fn follow_walks<O: Operator>(&mut self, operator: &mut O, now: Instant) -> Result<(), Closes> {
        let Stage::Following { since, walks } = &mut self.stage else { return Ok(()) };
        let mut news = Vec::new();
        walks.retain_mut(|followed| match operator.progress(&followed.walk.app, followed.walk.generation, now) {
            WalkReport::Waiting => true,
            WalkReport::Underway(progress) => {
                if followed.told.as_ref().is_none_or(|told| progress.is_news_after(told)) {
                    news.push(Reply::Progress(Box::new(progress.clone())));
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
            Stage::Asking { until }
            | Stage::Introducing { until, .. }
            | Stage::Leaving { until }
            | Stage::Collecting { until, .. }
            | Stage::Reloading { until, .. } => Some(until),
            Stage::Following { .. } | Stage::Quieting { .. } | Stage::Detaching { .. } | Stage::Upgrading { .. } | Stage::Staying => None,
        }
    }

    pub fn check_limit<O: Operator>(&mut self, operator: &mut O, now: Instant) -> Result<(), Closes> {
        match self.stage {
            Stage::Asking { until } if until <= now => Err(Closes::Silent),
            Stage::Leaving { until } if until <= now => Err(Closes::Deaf),
            Stage::Reloading { until, .. } if until <= now => {
                let message = format!("the configuration has not been read within {} s: its disk does not answer", READING.as_secs());
                self.last_word(&Reply::Error { message }, now)?;
                self.flush(now)
            }
            Stage::Introducing { until, .. } if until <= now => {
                let (uid, seconds) = (self.peer.uid.as_raw(), LOOKING_UP.as_secs());
                let message = format!("who uid {uid} is was not found out within {seconds} s: the system's list of users does not answer");
                self.last_word(&Reply::Error { message }, now)?;
                self.flush(now)
            }
            // The answers that are there by now are given.
            Stage::Collecting { until, .. } if until <= now => self.follow(operator, now),
            Stage::Asking { .. }
            | Stage::Introducing { .. }
            | Stage::Leaving { .. }
            | Stage::Following { .. }
            | Stage::Quieting { .. }
            | Stage::Detaching { .. }
            | Stage::Collecting { .. }
            | Stage::Reloading { .. }
            | Stage::Upgrading { .. }
            | Stage::Staying => Ok(()),
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
        match self.level {
            Level::Operate => self.carry_out(request, operator, now),
            Level::Guest => {
                let ticket = operator.introduce((self.peer.uid.as_raw(), self.peer.gid.as_raw()), now);
                self.stage = Stage::Introducing { ticket, request, until: now + LOOKING_UP };
                Ok(())
            }
        }
    }

    /// Another program has taken over, or could not; whoever asked for that hears it.
    pub fn has_upgraded<O: Operator>(&mut self, _: &mut O, reply: &Reply, now: Instant) -> Result<(), Closes> {
        if !matches!(self.stage, Stage::Upgrading { .. }) {
            return Ok(());
        }
        self.last_word(reply, now)?;
        self.flush(now)
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
        self.output.extend(match &self.guest {
            Some(guest) => reply_line(&guest.hears(reply.clone())),
            None => reply_line(reply),
        });
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
            Stage::Asking { .. }
            | Stage::Introducing { .. }
            | Stage::Following { .. }
            | Stage::Quieting { .. }
            | Stage::Detaching { .. }
            | Stage::Collecting { .. }
            | Stage::Reloading { .. }
            | Stage::Upgrading { .. }
            | Stage::Staying => Ok(()),
        }
    }

    /// Both directions are closed, not only the one to us.
    fn has_hung_up(&self) -> bool {
        let mut ask = [PollFd::new(&self.stream, PollFlags::empty())];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut ask, Some(&at_once)).is_ok() && ask[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }
}

/// Bytes of a request: the longest sensible one has a hundred.
pub const MAX_REQUEST: usize = 64 * 1024;
/// Bytes that may wait for a client when more comes: some hundred events.
pub const MAX_OUTPUT: usize = 256 * 1024;
/// How long other threads have to say what they were asked: a turn of an I/O thread takes milliseconds, a look of the sampler a second at
/// most.
pub const COLLECTING: Duration = Duration::from_secs(2);
/// How long the files of a configuration may take to be read: a disk that has to wake up takes some seconds.
pub const READING: Duration = Duration::from_secs(30);
/// Without a request, and without reading the last reply.
pub const PATIENCE: Duration = Duration::from_secs(10);
