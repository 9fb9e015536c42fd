//! One who asks at the wicket: hears the answer, and is waited for until he goes, for a moment. Never blocks.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::Asks;
use crate::standing::Standing;
use crate::table::Shared;

#[derive(Debug)]
pub struct Visit {
    stream: TcpStream,
    asks: Asks,
    pub since: Instant,
    /// It is over then, however far it is.
    pub until: Instant,
    /// Not written yet. None: the question is not whole.
    answer: Option<Vec<u8>>,
    /// Our side is shut: what still comes is read out, so that no reset destroys the answer.
    is_answered: bool,
    /// Bytes that may come still.
    left: usize,
}

impl Visit {
    pub fn new(stream: TcpStream, asks: Asks, now: Instant) -> Self {
        let time = match asks {
            Asks::Agent => LINE,
        };
        Self { stream, asks, since: now, until: now + time, answer: None, is_answered: false, left: MOST }
    }

    /// Reads and writes what is possible now. False: it is over.
    pub fn attend(&mut self, shared: &Shared, now: Instant) -> bool {
        let Some(at_end) = self.read() else { return false };
        if self.answer.is_none() {
            self.answer = self.answer_of(shared);
        }
        match self.write() {
            Some(true) if !self.is_answered => {
                self.is_answered = true;
                self.until = self.until.min(now + LINGER);
                self.stream.shutdown(Shutdown::Write).is_ok() && !at_end
            }
            Some(_) => !at_end,
            None => false,
        }
    }

    /// None: not asked yet.
    fn answer_of(&self, shared: &Shared) -> Option<Vec<u8>> {
        match self.asks {
            // What HAProxy may send before it listens (`agent-send`) is nothing to us.
            Asks::Agent => Some(Standing::of(shared, None).agent_line().as_bytes().to_vec()),
        }
    }

    /// Some(true): the other side says no more. None: it has gone, or says too much.
    fn read(&mut self) -> Option<bool> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(true),
                Ok(count) => self.left = self.left.checked_sub(count)?,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Some(false),
                    ErrorKind::Interrupted => {}
                    _ => return None,
                },
            }
        }
    }

    /// Some(true): the answer is out. None: nobody takes it.
    fn write(&mut self) -> Option<bool> {
        let Some(answer) = &mut self.answer else { return Some(false) };
        while !answer.is_empty() {
            match self.stream.write(answer) {
                Ok(0) => return None,
                Ok(count) => drop(answer.drain(..count)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Some(false),
                    ErrorKind::Interrupted => {}
                    _ => return None,
                },
            }
        }
        Some(true)
    }
}

/// For a line, which fits into the socket at once.
const LINE: Duration = Duration::from_secs(2);
/// For the other side to close, once it has its answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a question, and of what comes behind it.
const MOST: usize = 8 * 1024;
