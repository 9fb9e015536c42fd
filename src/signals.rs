//! Signals for the master: a handler only writes into a pipe that the master's poll watches. Signals coalesce: what is pending is read, never
//! counted.

use std::io;

use mio::net::UnixStream;
use nix::sys::signal::{SigSet, Signal};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::backend::SignalDelivery;
use signal_hook::iterator::exfiltrator::SignalOnly;

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// TERM, INT.
    Stop,
    /// HUP.
    Reload,
    /// USR1.
    ReopenLogs,
    /// USR2.
    RollingRestart,
    /// QUIT.
    DumpState,
    /// CHLD.
    ChildEnded,
}

#[derive(Debug)]
pub struct Signals {
    delivery: SignalDelivery<UnixStream, SignalOnly>,
}

/// For the calling thread these signals wait, until another hears them.
pub fn leave_to_others() -> io::Result<()> {
    Ok(set().thread_block()?)
}

/// The calling thread hears them, also those that have waited.
pub fn hear() -> io::Result<()> {
    Ok(set().thread_unblock()?)
}

fn set() -> SigSet {
    SIGNALS.into_iter().filter_map(|signal| Signal::try_from(signal).ok()).collect()
}

const SIGNALS: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGQUIT, SIGCHLD];

impl Signals {
    /// Takes over the signals of this process.
    pub fn new() -> io::Result<Self> {
        let (read, write) = UnixStream::pair()?;
        Ok(Self { delivery: SignalDelivery::with_pipe(read, write, SignalOnly, SIGNALS)? })
    }

    /// Readable when a signal is pending.
    pub fn source(&mut self) -> &mut UnixStream {
        self.delivery.get_read_mut()
    }

    /// What is pending, each once. It empties the pipe first, so that a signal that comes meanwhile is announced again.
    pub fn pending(&mut self) -> Vec<Event> {
        self.delivery.pending().filter_map(event).collect()
    }
}

fn event(signal: i32) -> Option<Event> {
    match signal {
        SIGTERM | SIGINT => Some(Event::Stop),
        SIGHUP => Some(Event::Reload),
        SIGUSR1 => Some(Event::ReopenLogs),
        SIGUSR2 => Some(Event::RollingRestart),
        SIGQUIT => Some(Event::DumpState),
        SIGCHLD => Some(Event::ChildEnded),
        _ => None,
    }
}
