//! What the thread of a process leaves to the next rota: its pipes, its clients, how far the process is, and what lies in its mailbox.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::death::Fate;
use super::output::SavedPipes;
use super::probe::SavedProbe;
use super::save::SavedClients;
use super::{Client, IoThread, Process};
use crate::conn::{Heir, SavedConn};
use crate::handoff::Mailbox;
use crate::http::cut::Cut;
use crate::ids::{ProcessId, ProcessName};
use crate::pool::{Claim, Exit};
use crate::restart::release::Release;
use crate::restart::spawn::Endpoint;
use crate::sys::Unit;
use crate::table::ToThread;
use crate::upgrade::lent::Lent;
use crate::upgrade::pack::{Pack, Place};
use crate::upgrade::standstill::Leaves;

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedThread<'a> {
    name: ProcessName,
    endpoint: Endpoint,
    slots: u32,
    pipes: SavedPipes,
    report: Option<Place>,
    probe: Option<SavedProbe>,
    /// The process has ended, as the table knows.
    has_ended: bool,
    exit: Option<Exit>,
    draining: bool,
    #[serde(with = "crate::moment::option")]
    leaving_since: Option<Instant>,
    clients: SavedClients<'a>,
    messages: Vec<SavedMessage<'a>>,
}

/// What was sent to the thread and changes something for good. Questions are asked again.
#[derive(Debug, Serialize, Deserialize)]
enum SavedMessage<'a> {
    Request(SavedConn<'a>, Lent<'a, Claim>),
    Conn(SavedConn<'a>),
    Drain,
    Cut(Cut),
    Exited(Exit, bool),
}

impl Leaves for IoThread {
    type Saved<'a> = SavedThread<'a>;

    fn gather(&mut self) {
        while let Some(message) = self.inbox.take() {
            self.held.push_back(message);
        }
    }

    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<SavedThread<'a>, String> {
        let mut messages = Vec::new();
        for message in &self.held {
            match message {
                ToThread::Request(conn, claim) => messages.push(SavedMessage::Request(conn.save(pack), Lent::Lent(claim))),
                ToThread::Conn(conn) => messages.push(SavedMessage::Conn(conn.save(pack))),
                ToThread::Drain => messages.push(SavedMessage::Drain),
                ToThread::Cut(cut) => messages.push(SavedMessage::Cut(*cut)),
                ToThread::Exited(exit, out_of_memory) => messages.push(SavedMessage::Exited(*exit, *out_of_memory)),
                ToThread::Named(..) => return Err("a file that an answer names has just been found".to_owned()),
                ToThread::Gone => return Err("its process is just gone".to_owned()),
                ToThread::CloseIdle => return Err("the server is stopping".to_owned()),
                ToThread::Tell(_)
                | ToThread::MakeRoom
                | ToThread::DropIdle(_)
                | ToThread::Count(_)
                | ToThread::GiveUp(_)
                | ToThread::StandStill(_) => {}
            }
        }
        let awaits_file = |client: &Client| client.session.as_ref().is_some_and(|one| one.question.is_some() || one.named_file.is_some());
        if self.clients.iter().any(|(_, client)| awaits_file(client)) {
            return Err("a file that an answer names is being looked for".to_owned());
        }
        if self.gone {
            return Err("its process is gone".to_owned());
        }
        Ok(SavedThread {
            name: self.name.clone(),
            endpoint: self.endpoint.clone(),
            slots: self.slots,
            pipes: self.pipes.save(pack),
            report: self.report.as_ref().map(|report| report.save(pack)),
            probe: self.probe.as_ref().map(|probe| probe.save()),
            has_ended: matches!(self.fate, Fate::Ended),
            exit: self.exit,
            draining: self.draining,
            leaving_since: self.leaving_since,
            clients: self.save_clients(pack),
            messages,
        })
    }
}

impl SavedThread<'_> {
    /// What the thread is started with. `release`: of its generation.
    pub fn process(&self, id: ProcessId, unit: std::sync::Arc<Unit>, release: &Release, heir: &mut Heir<'_>) -> Result<Process, String> {
        let mut take = |place: Option<Place>| place.map(|place| heir.unpack.take(place)).transpose();
        let [stdout, stderr] = self.pipes.places;
        Ok(Process {
            id,
            name: self.name.clone(),
            unit,
            endpoint: self.endpoint.clone(),
            slots: self.slots,
            stdout: take(stdout)?,
            stderr: take(stderr)?,
            report: take(self.report)?.map(std::os::unix::net::UnixStream::from),
            aside: false,
            credentials: release.credentials.clone(),
        })
    }

    pub fn name(&self) -> &ProcessName {
        &self.name
    }
}

impl IoThread {
    /// Goes on where another rota's thread of this process stood. `own`: where it finds what that had in its mailbox.
    pub(super) fn take_up(&mut self, left: SavedThread<'_>, own: &Mailbox<ToThread>, heir: &mut Heir<'_>) -> u32 {
        let SavedThread { pipes, probe, has_ended, exit, draining, leaving_since, clients, messages, .. } = left;
        self.pipes.take_up(pipes);
        match (&mut self.probe, probe) {
            (Some(probe), Some(left)) => probe.take_up(left),
            (probe, None) => *probe = None,
            (None, Some(_)) => {}
        }
        if has_ended {
            self.fate = Fate::Ended;
        }
        (self.exit, self.draining, self.leaving_since) = (exit, draining, leaving_since);
        self.restore_clients(clients, heir);
        let sessions = self.clients.iter().filter(|(_, client)| client.session.is_some()).count();
        let mut claims = sessions + self.granted.len() + self.overdue.len();
        for message in messages {
            match message.restore(heir) {
                Ok(message) => {
                    claims += usize::from(matches!(message, ToThread::Request(..)));
                    // Its thread takes them in its first turn.
                    let _ = own.send(message);
                }
                Err(why) => log::error!("{}: a connection on its way cannot be taken up, and is closed: {why}", self.name),
            }
        }
        u32::try_from(claims).unwrap_or(u32::MAX)
    }
}

impl SavedMessage<'_> {
    fn restore(self, heir: &mut Heir<'_>) -> Result<ToThread, String> {
        Ok(match self {
            SavedMessage::Request(conn, claim) => {
                let claim = claim.own()?;
                let group = heir.group(claim.process().group)?;
                ToThread::Request(conn.restore(heir)?, claim.in_group(group))
            }
            SavedMessage::Conn(conn) => ToThread::Conn(conn.restore(heir)?),
            SavedMessage::Drain => ToThread::Drain,
            SavedMessage::Cut(cut) => ToThread::Cut(cut),
            SavedMessage::Exited(exit, out_of_memory) => ToThread::Exited(exit, out_of_memory),
        })
    }
}
