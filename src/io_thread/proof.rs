//! Whom a new TCP connection goes to. Every user of the machine may listen on a port that nobody listens on for a moment: while the app opens its
//! listener anew, when its process was killed, as long as it boots. So before the first byte of a request is written, whoever listens there is
//! compared with the listener that is known as the app's: three system calls for each new connection, none for one that is kept.

use std::io;

use super::IoThread;
use super::fault::Fault;
use crate::sys::{self, Listener};

/// What is known of a connection that no byte was written to.
#[derive(Debug)]
pub enum Proof {
    /// The listener that it came to is the app's.
    Ours,
    /// It is still being made, and may come to anybody.
    NotYet,
    Refused(io::Error),
    /// Another one listens there now, or nobody, than the one that is known.
    Another(Option<Listener>),
}

impl IoThread {
    /// Nothing may be written to the connection of a client: it waits, is opened anew, or is refused.
    pub(super) fn is_unproven(&mut self, key: usize, upstream_key: usize) -> bool {
        match self.upstreams.prove(upstream_key) {
            Proof::Ours => return false,
            Proof::NotYet => {}
            Proof::Refused(error) => self.app_failed(key, Fault::Refused(error)),
            Proof::Another(found) if self.upstreams.refused.is_none_or(|refused| Some(refused) != found) && self.knows(found) => {
                // Somebody else may have listened in between, and have got it. Whoever asks in this turn finds the new one known.
                self.upstreams.close(upstream_key);
                if let Some(session) = self.clients.get_mut(key).and_then(|client| client.session.as_mut()) {
                    session.upstream = None;
                    self.backlog.push(key);
                }
            }
            Proof::Another(found) => self.is_elsewhere(key, found),
        }
        true
    }

    fn is_elsewhere(&mut self, key: usize, found: Option<Listener>) {
        let port = self.upstreams.port().unwrap_or_default();
        let by = found.map_or_else(|| "nobody".to_owned(), |found| format!("a process of uid {}, which is not the app's,", found.uid));
        let what = format!("{by} listens on port {port}");
        if found.is_some() && self.upstreams.refused != found {
            log::error!("{} pid {}: {what}: it gets nothing that a visitor has sent", self.name, self.pid);
        }
        self.upstreams.refused = found;
        self.app_failed(key, Fault::Refused(io::Error::other(what)));
    }

    /// Whoever listens where the app is asked is the app: from here on its listener is known. False: it is not, or nobody does.
    pub(super) fn knows_listener(&mut self) -> bool {
        let found = self.upstreams.listener();
        self.knows(found)
    }

    fn knows(&mut self, found: Option<Listener>) -> bool {
        let known = found.filter(|found| self.is_of_app(*found));
        if known.is_some() {
            self.upstreams.known = known;
        }
        known.is_some()
    }

    /// By the descriptors of its processes. Where /proc does not show them all (hidepid, a container) a listener of one of their users is its.
    fn is_of_app(&self, found: Listener) -> bool {
        // A process that has just begun, and has it from its parent, may not have been in the first look.
        (0..LOOKS).any(|_| sys::owns_socket(&self.unit, found.inode).unwrap_or_else(|users| users.contains(&found.uid)))
    }
}

const LOOKS: usize = 2;
