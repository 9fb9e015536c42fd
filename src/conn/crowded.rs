//! Connections that are given up with a request in hand: there are as many as there may be, and their client has most of them.

use std::collections::HashMap;

use super::{Conn, Phase};
use crate::http::accept::Form;
use crate::http::cut::Cut;
use crate::http::refusal::{Answer, Refusal};
use crate::visitor::{Shares, Visitor};

/// What a connection that is not idle is about, in the order in which they are given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Its answer is out.
    Lingers,
    /// Its request is still to come.
    Body,
    /// Its answer is still to be taken.
    Answer,
    /// Its request waits for a slot.
    Waits,
    /// Its request is with the app.
    Works,
}

/// What one event loop has of connections that are not idle, by client.
#[derive(Clone, Debug, Default)]
pub struct Holdings {
    pub shares: Shares,
    /// The least of each client's.
    pub least: HashMap<Visitor, Grade>,
}

impl Holdings {
    pub fn of<'a>(conns: impl Iterator<Item = &'a Conn>) -> Self {
        let mut holdings = Self::default();
        for (conn, grade) in conns.filter_map(|conn| conn.grade().map(|grade| (conn, grade))) {
            let visitor = conn.visitor();
            holdings.shares.add(visitor, 1);
            holdings.least.entry(visitor).and_modify(|least| *least = grade.min(*least)).or_insert(grade);
        }
        holdings
    }
}

/// What an event loop is asked to give up.
#[derive(Clone, Copy, Debug)]
pub struct GiveUp {
    pub of: Visitor,
    pub most: usize,
}

impl GiveUp {
    /// The names of those that go: those of the least grade, the oldest of them first.
    pub fn choose<'a>(&self, conns: impl Iterator<Item = (usize, &'a Conn)>) -> Vec<usize> {
        let of_client = conns.filter(|(_, conn)| conn.visitor() == self.of);
        let graded = of_client.filter_map(|(key, conn)| Some((conn.grade()?, conn.request.as_ref().map(|request| request.since), key)));
        let mut graded: Vec<_> = graded.collect();
        graded.sort_unstable();
        graded.into_iter().take(self.most).map(|(.., key)| key).collect()
    }
}

impl Conn {
    /// None: it is idle.
    fn grade(&self) -> Option<Grade> {
        let is_to_come = self.request.as_ref().is_some_and(|request| request.is_to_come());
        match self.phase {
            Phase::ProxyHeader | Phase::Head if !self.has_output() => None,
            Phase::Linger { .. } => Some(Grade::Lingers),
            Phase::Body => Some(Grade::Body),
            Phase::App if is_to_come => Some(Grade::Body),
            _ if self.has_output() => Some(Grade::Answer),
            Phase::App if self.waiting.is_some() => Some(Grade::Waits),
            Phase::ProxyHeader | Phase::Head | Phase::App | Phase::Flush { .. } => Some(Grade::Works),
        }
    }

    /// Says why the connection goes: in the access log, and to its client, if no answer has begun, as far as the socket takes it at once.
    pub fn gives_way(&mut self, date: &str) {
        let (is_lingering, has_output) = (matches!(self.phase, Phase::Linger { .. }), self.has_output());
        let Some(request) = &mut self.request else {
            if has_output {
                self.socket.reset_on_close();
            }
            return;
        };
        request.entry.cause.get_or_insert(Refusal::Cut(Cut::ClientCrowds));
        if request.entry.has_begun() || has_output || is_lingering {
            return self.socket.reset_on_close();
        }
        let refusal = Refusal::TooManyConnections;
        let answer = Answer { date, head_only: true, keep: false, request_id: None, form: Form::Plain, page: None, plight: None };
        let mut out = Vec::new();
        refusal.write(&mut out, &answer);
        request.entry.refused(out.len(), refusal.status());
        self.sent += self.socket.write(&out).unwrap_or(0) as u64;
        let _ = self.socket.shut_write();
    }
}
