//! One who asks at the wicket: hears the answer, and is waited for until he goes, for a moment. Never blocks.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use super::Asks;
use super::question::{Asked, Question, answer, question};
use crate::metrics::gather;
use crate::metrics::page::Form;
use crate::samples::Sample;
use crate::standing::Standing;
use crate::table::Shared;

#[derive(Debug)]
pub struct Visit {
    stream: TcpStream,
    stage: Stage,
    pub since: Instant,
    /// It goes on then, or is over.
    pub until: Instant,
    /// Bytes that may come still.
    left: usize,
}

#[derive(Debug)]
enum Stage {
    /// What came of the question.
    Asking { asks: Asks, input: Vec<u8> },
    /// It is known what is asked, and not yet what the processes take.
    Sampling { form: Form, is_head: bool },
    /// Not written yet.
    Answering { output: Vec<u8> },
    /// Our side is shut: what still comes is read out, so that no reset destroys the answer.
    Lingering,
}

impl Visit {
    pub fn new(stream: TcpStream, asks: Asks, now: Instant) -> Self {
        let time = match asks {
            Asks::Agent => LINE,
            Asks::Metrics => QUESTION,
        };
        Self { stream, stage: Stage::Asking { asks, input: Vec::new() }, since: now, until: now + time, left: MOST }
    }

    /// It waits to hear what the processes take.
    pub fn samples(&self) -> bool {
        matches!(self.stage, Stage::Sampling { .. })
    }

    /// Reads and writes what is possible now. False: it is over.
    pub fn attend(&mut self, shared: &Shared, now: Instant) -> bool {
        let Some(at_end) = self.read() else { return false };
        if let Stage::Asking { asks, input } = &self.stage {
            match question(*asks, input) {
                Asked::NotYet => {}
                Asked::Question(Question::Standing) => {
                    self.answers(Standing::of(shared, None).agent_line().as_bytes().to_vec(), now);
                }
                Asked::Question(Question::Metrics { form, is_head }) => {
                    (self.stage, self.until) = (Stage::Sampling { form, is_head }, now + SAMPLES);
                }
                Asked::Wrong(status) => self.answers(answer(status, "text/plain", &format!("{status}\n"), false), now),
            }
        }
        self.write(now) && !(at_end && matches!(self.stage, Stage::Asking { .. } | Stage::Lingering))
    }

    /// `samples`: what the processes take, by pid. None: that is not known in time.
    pub fn sampled(&mut self, samples: Option<&HashMap<u32, Sample>>, shared: &Shared, now: Instant) -> bool {
        if let Stage::Sampling { form, is_head } = self.stage {
            let text = gather::text(shared, samples, form, now);
            self.answers(answer("200 OK", form.content_type(), &text, is_head), now);
        }
        self.write(now)
    }

    fn answers(&mut self, output: Vec<u8>, now: Instant) {
        (self.stage, self.until) = (Stage::Answering { output }, now + ANSWER);
    }

    /// Some(true): the other side says no more. None: it has gone, or says too much.
    fn read(&mut self) -> Option<bool> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Some(true),
                Ok(count) => {
                    self.left = self.left.checked_sub(count)?;
                    if let Stage::Asking { input, .. } = &mut self.stage {
                        input.extend_from_slice(&buffer[..count]);
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return Some(false),
                    ErrorKind::Interrupted => {}
                    _ => return None,
                },
            }
        }
    }

    /// False: nobody takes it.
    fn write(&mut self, now: Instant) -> bool {
        let Stage::Answering { output } = &mut self.stage else { return true };
        let mut written = 0;
        while written < output.len() {
            match self.stream.write(&output[written..]) {
                Ok(0) => return false,
                Ok(count) => written += count,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        output.drain(..written);
                        return true;
                    }
                    ErrorKind::Interrupted => {}
                    _ => return false,
                },
            }
        }
        (self.stage, self.until) = (Stage::Lingering, now + LINGER);
        self.stream.shutdown(Shutdown::Write).is_ok()
    }
}

/// For a line, which fits into the socket at once.
const LINE: Duration = Duration::from_secs(2);
/// For a question to be whole, and for an answer to be taken.
const QUESTION: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(10);
/// For the sampler, as a command has it (`COLLECTING`).
const SAMPLES: Duration = Duration::from_secs(2);
/// For the other side to close, once it has its answer.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes of a question, and of what comes behind it.
const MOST: usize = 8 * 1024;
