//! What an app can do wrong, and what becomes of the request: sent again, answered by us, or cut off.

use std::io;

use super::death::Verdict;
use super::session::Session;
use super::{Client, IoThread};
use crate::http::cut::Cut;
use crate::http::exchange::failure::{Failure, Then};
use crate::http::malformed::Malformed;
use crate::http::refusal::Refusal;
use crate::pool::{Ended, Exit};

/// What an app can do wrong.
#[derive(Debug)]
pub enum Fault {
    /// Nobody listens (any more), or something that is no server: nothing of the request reached it.
    Refused(io::Error),
    /// We could not open a connection (no descriptors, no memory): nothing of the request reached it, and it is not to blame.
    Local(io::Error),
    /// It closed before the response was whole.
    Ended,
    Broken(io::Error),
    /// What it sent is no response.
    Bad(Malformed),
    /// The process ended otherwise than well in the middle of the answer. None: how is not known.
    Died(Option<Exit>),
    /// A limit has passed, or somebody ended it.
    Cut(Cut),
}

impl IoThread {
    /// The app did not answer, or not to the end. The request goes to an app again when that is safe; else the client is told, or, when part of
    /// an answer is out, cut off so that it sees that the answer is not whole.
    pub(super) fn app_failed(&mut self, key: usize, fault: Fault) {
        if let Err(fault) = self.awaits_its_end(key, fault) {
            self.settle(key, fault, Verdict::Lives);
        }
    }

    /// What follows once it is known what became of the process.
    pub(super) fn settle(&mut self, key: usize, fault: Fault, verdict: Verdict) {
        if matches!(fault, Fault::Ended | Fault::Broken(_)) {
            self.was_cut(key);
        }
        let Some(Client { conn, session }) = self.clients.get_mut(key) else { return };
        let Some(session) = session.take() else { return };
        let Session { claim, upstream, exchange, .. } = *session;
        let idled = upstream.and_then(|upstream| self.upstreams.all[upstream].idled);
        if let Some(upstream) = upstream {
            match exchange.is_sending() {
                true => self.upstreams.give_up(upstream),
                false => self.upstreams.close(upstream),
            }
        }
        let Some(request) = conn.request.as_ref() else { return };
        let closed = matches!(fault, Fault::Refused(_) | Fault::Ended | Fault::Broken(_));
        let failure = match &fault {
            Fault::Refused(_) => Failure::NeverReached,
            Fault::Ended | Fault::Broken(_) if verdict == (Verdict::Ended { suspected: true }) => Failure::Suspected,
            Fault::Ended | Fault::Broken(_) => Failure::Closed,
            Fault::Local(_) | Fault::Bad(_) | Fault::Died(_) | Fault::Cut(_) => Failure::Other,
        };
        let then = exchange.after(failure, request.tries, request.may_repeat());
        if let Some(idled) = idled.filter(|_| closed && !exchange.is_heard()) {
            self.upstreams.closed_on_request(idled);
        }
        if then == Then::Again {
            log::debug!("{} pid {}: {}: {fault}; the request is sent again", self.name, self.pid, request.line());
            self.todo.push_back(key);
            // First, so that the slot is not given to the next one that waits, which would find the same.
            if let Fault::Refused(error) = fault {
                self.refuses_connections(error);
                return self.give_back(claim, Ended::Unused);
            }
            return self.give_back(claim, Ended::AppFailed);
        }
        // The end of the process ended its connections.
        let fault = match self.exit {
            Some(exit) if closed && exit != Exit::Status(0) => Fault::Died(Some(exit)),
            Some(_) | None => fault,
        };
        let ended = match fault {
            Fault::Cut(cut) if cut != Cut::AppSilent => Ended::Cut,
            Fault::Local(_) => Ended::Unused,
            Fault::Refused(_) | Fault::Ended | Fault::Broken(_) | Fault::Bad(_) | Fault::Died(_) | Fault::Cut(_) => Ended::AppFailed,
        };
        let refusal = match &fault {
            Fault::Bad(malformed) => Refusal::BadGateway(malformed.reason),
            Fault::Local(_) => Refusal::NoDescriptor,
            Fault::Refused(_) => Refusal::Cut(Cut::AppRefuses),
            Fault::Ended | Fault::Broken(_) if verdict == Verdict::Lives => Refusal::Cut(Cut::AppClosed),
            Fault::Ended | Fault::Broken(_) => Refusal::Cut(Cut::AppDied),
            Fault::Died(_) if self.was_too_large() => Refusal::Cut(Cut::AppTooLarge),
            Fault::Died(_) => Refusal::Cut(Cut::AppDied),
            Fault::Cut(cut) => Refusal::Cut(*cut),
        };
        self.tell_client(key, then == Then::Cut, &fault, &refusal);
        self.give_back(claim, ended);
    }

    /// Answers, or, behind the beginning of another answer, cuts off. The client has no exchange any more.
    pub(super) fn tell_client(&mut self, key: usize, begun: bool, fault: &Fault, refusal: &Refusal) {
        let Some(conn) = self.clients.get_mut(key).map(|client| &mut client.conn) else { return };
        let line = conn.request.as_ref().map_or_else(String::new, |request| request.line());
        if begun {
            log::log!(
                fault.level(),
                "{} pid {}: {line}: {fault}; the client's connection is cut in the middle of the answer",
                self.name,
                self.pid
            );
            conn.socket.reset_on_close();
            if let Some(request) = conn.request.as_mut() {
                request.entry.cause = Some(*refusal);
            }
            self.clients.remove(key);
        } else {
            log::log!(fault.level(), "{} pid {}: {line}: {fault}; answered {}", self.name, self.pid, refusal.status());
            self.refuse(key, refusal);
        }
    }

    /// Its memory is why it has ended.
    fn was_too_large(&self) -> bool {
        self.shared.table.lock().pool.group(self.id.group).is_too_large(self.id)
    }

    /// Ends every exchange, for the same reason.
    pub(super) fn fail_all(&mut self, fault: impl Fn() -> Fault) {
        let attached: Vec<usize> = self.clients.iter().filter(|(_, client)| client.session.is_some()).map(|(key, _)| key).collect();
        for key in attached {
            self.app_failed(key, fault());
        }
    }
}

impl Fault {
    /// A response that no client can get is a mistake of the app's that somebody has to mend.
    fn level(&self) -> log::Level {
        match self {
            Fault::Bad(_) => log::Level::Warn,
            Fault::Refused(_) | Fault::Local(_) | Fault::Ended | Fault::Broken(_) | Fault::Died(_) | Fault::Cut(_) => log::Level::Info,
        }
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Refused(error) => write!(f, "the app refuses connections: {error}"),
            Fault::Local(error) => write!(f, "no connection to the app could be opened: {error}"),
            Fault::Ended => f.write_str(Cut::AppClosed.reason()),
            Fault::Broken(error) => write!(f, "the connection to the app broke: {error}"),
            Fault::Bad(malformed) => write!(f, "the app's answer is malformed: {malformed}"),
            Fault::Died(Some(exit)) => write!(f, "the app's process died before its answer was whole ({exit})"),
            Fault::Died(None) => f.write_str("the app's process died before its answer was whole"),
            Fault::Cut(cut) => f.write_str(cut.reason()),
        }
    }
}

/// Nobody listens at the process's address.
pub fn is_refusal(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}
