//! /proc/PID/stat: what the kernel says of a process in one short read.

use std::fs::{self, File};
use std::io::{self, Read};

use rustix::io::Errno;
use rustix::process::Pid;

use crate::pool::Exit;

/// How a process of a session other than its leader is ending, or has ended and was not waited for yet; None: none is. A status that may not be
/// read is 0.
pub fn ending_child(session: u32) -> Option<Exit> {
    let ends = |pid: u32| {
        let stat = Stat::read(pid).filter(|_| pid != session)?;
        let ends = stat.field(SESSION) == Some(session.into()) && stat.field(FLAGS)? & EXITING != 0;
        let code = i32::try_from(stat.field(EXIT_CODE).unwrap_or(0)).unwrap_or(0);
        // As wait(2) has it.
        let signal = code & 0x7f;
        let exit = if signal == 0 { Exit::Status(code >> 8 & 0xff) } else { Exit::Signal { signal, core: code & 0x80 != 0 } };
        ends.then_some(exit)
    };
    numbers_in("/proc").into_iter().find_map(ends)
}

/// The kernel is taking a process apart, all of its threads: what it had open is closed behind this (exit(2); PF_EXITING in sched.h).
/// A process of which /proc says nothing although it is there is taken for one that lives.
pub fn is_exiting(pid: u32) -> bool {
    match Stat::read(pid) {
        Some(stat) => stat.field(FLAGS).is_some_and(|flags| flags & EXITING != 0),
        None => as_pid(pid).is_ok_and(|pid| rustix::process::test_kill_process(pid) == Err(Errno::SRCH)),
    }
}

/// When a process was started, in ticks since the machine was. None: there is none of this number.
pub fn start_of(pid: u32) -> Option<u64> {
    Stat::read(pid)?.field(START)
}

/// The process of this number that was started then is there, and no zombie.
pub fn lives(pid: u32, start: u64) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.lives() && stat.field(START) == Some(start))
}

/// The beginning of /proc/PID/stat.
#[derive(Debug)]
pub(super) struct Stat {
    text: [u8; 512],
    /// Behind the name, which may hold anything.
    from: usize,
    to: usize,
}

impl Stat {
    pub(super) fn read(pid: u32) -> Option<Self> {
        Self::open(pid).ok()?
    }

    /// Ok(None): what it says is no such line.
    pub(super) fn open(pid: u32) -> io::Result<Option<Self>> {
        // One read: the fields that are asked for are among the first 512 bytes.
        let mut text = [0; 512];
        let to = File::open(format!("/proc/{pid}/stat"))?.read(&mut text)?;
        let from = text[..to].iter().rposition(|byte| *byte == b')').map(|at| at + 1);
        Ok(from.map(|from| Self { text, from, to }))
    }

    /// It is there, and no zombie. A leader of threads may have ended and the others not: then it is there.
    pub(super) fn lives(&self) -> bool {
        let ended = matches!(self.text[self.from..self.to].trim_ascii_start().first(), Some(b'Z' | b'X'));
        !ended || self.field(THREADS).is_some_and(|threads| threads > 1)
    }

    /// Field `number`, from 1, as in proc(5); from the state on.
    pub(super) fn field(&self, number: usize) -> Option<u64> {
        str::from_utf8(&self.text[self.from..self.to]).ok()?.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    }
}

pub(super) fn numbers_in(directory: &str) -> Vec<u32> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

pub(super) fn as_pid(pid: u32) -> io::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// Fields of /proc/PID/stat (proc(5)).
pub(super) const PARENT: usize = 4;
pub(super) const GROUP: usize = 5;
pub(super) const SESSION: usize = 6;
const FLAGS: usize = 9;
/// PF_EXITING, the same on every Linux.
const EXITING: u64 = 4;
pub(super) const UTIME: usize = 14;
const THREADS: usize = 20;
pub(super) const START: usize = 22;
pub(super) const RSS: usize = 24;
const EXIT_CODE: usize = 52;
