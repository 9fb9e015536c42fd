//! A connection to the app for a request that has none: opened, or tried again for a while where the app's backlog is full or rota lacks what it
//! takes. That nothing takes connections at the app's address is the app's doing.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::fault::Fault;
use super::upstream::Owner;
use super::{Client, IoThread, Name};

impl IoThread {
    pub(super) fn attach(&mut self, key: usize, upstream: usize) {
        if let Some(session) = &mut self.clients[key].session {
            session.upstream = Some(upstream);
        }
    }

    /// Opens a connection for a client whose exchange has none.
    pub(super) fn connect(&mut self, key: usize) {
        let waits = |client: &Client| client.session.as_ref().is_some_and(|session| session.upstream.is_none() && session.closed.is_none());
        if !self.clients.get(key).is_some_and(waits) {
            return;
        }
        match self.upstreams.open(Owner::Client(key), self.poll.registry(), Name::upstream) {
            Ok(upstream) => {
                self.lacks_since = None;
                self.attach(key, upstream);
                self.send_request(key);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.backlog.push(key),
            Err(error) if is_ours(&error) => self.lacks_descriptor(key, error),
            // Whatever stands at its address, it is nothing that takes connections.
            Err(error) => self.app_failed(key, Fault::Refused(error)),
        }
    }

    /// Others that end give theirs back soon, or never: all that wait have the same time for it.
    fn lacks_descriptor(&mut self, key: usize, error: io::Error) {
        let since = *self.lacks_since.get_or_insert(self.desk.now);
        match self.desk.now.saturating_duration_since(since) < LACKS {
            true => self.backlog.push(key),
            false => self.app_failed(key, Fault::Local(error)),
        }
    }
}

/// We lack what a connection takes: descriptors, memory, ports (socket(2), connect(2), epoll_ctl(2)). Any other error of connect(2) is of what
/// the app has put at its address.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::NOSPC, Errno::ADDRNOTAVAIL, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|error| ours.contains(&error))
}

/// A descriptor for a connection to the app is asked for again for so long.
const LACKS: Duration = Duration::from_secs(1);
