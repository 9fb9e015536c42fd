//! A process that is held, so that no other can be meant by its number (pidfd_open(2), Linux 5.3).

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{PidfdFlags, Signal};

use super::descent::Seen;
use super::stat::{START, Stat, as_pid};

#[derive(Debug)]
pub struct Handle {
    pub pid: u32,
    pub start: u64,
    pidfd: OwnedFd,
}

impl Handle {
    /// Of a process that was seen; None: it is gone, whoever has its number now.
    pub fn of(seen: &Seen) -> Option<Self> {
        Self::open(seen.pid, seen.start)
    }

    /// Of the process of this number that was started then.
    pub fn open(pid: u32, start: u64) -> Option<Self> {
        let pidfd = rustix::process::pidfd_open(as_pid(pid).ok()?, PidfdFlags::empty()).ok()?;
        // Looked at behind it: if it is still the one that was seen, it was so in between.
        let is_it = Stat::read(pid)?.field(START) == Some(start);
        is_it.then_some(Self { pid, start, pidfd })
    }

    /// False: it may not be signalled. One that has ended is no error.
    pub fn signal(&self, signal: Signal) -> bool {
        !matches!(rustix::process::pidfd_send_signal(&self.pidfd, signal), Err(Errno::PERM))
    }

    pub fn lives(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let polled = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        !matches!(polled.map_err(io::Error::from), Ok(1..))
    }
}
