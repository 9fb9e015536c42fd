//! What the master and the porter leave to the next rota: listeners, the lock, connections that are with no app, commands that wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::listeners::{Listener, SavedListener};
use super::porter::{Door, Porter, hear_signals};
use super::{Held, Master};
use crate::config::ListenConfig;
use crate::conn::{Conn, Heads, SavedConn};
use crate::control::proto::Reply;
use crate::control::server::SavedControl;
use crate::lock_file::{LockFile, SavedLock};
use crate::signals;
use crate::socket_file::SocketFile;
use crate::upgrade::pack::{Pack, Unpack};
use crate::upgrade::standstill::{Leaves, Still};
use crate::visitor::Visitor;

/// The master's.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedMaster<'a> {
    pub listeners: Vec<SavedListener>,
    pub control: SavedControl,
    pub conns: Vec<SavedConn<'a>>,
    /// Came when nobody did anything about it any more.
    pub signals: Vec<signals::Event>,
    /// For how long rota has run.
    pub runs_for: Duration,
    pub upgrades: u32,
}

/// The porter's.
#[derive(Debug, Serialize, Deserialize)]
pub struct SavedPorter {
    /// By the number that the listener has with the master.
    pub doors: Vec<Option<SavedDoor>>,
    pub control: SocketFileText,
    pub run: SavedLock,
    pub waiting: Vec<ListenConfig>,
    pub wanted: Vec<ListenConfig>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedDoor {
    pub config: ListenConfig,
    pub file: Option<SocketFileText>,
}

/// The file of a socket, as text: read again it is another owner's, whose file it is from then on.
#[derive(Debug, Serialize, Deserialize)]
pub struct SocketFileText(serde_json::Value);

impl SocketFileText {
    fn of(file: &SocketFile) -> Result<Self, String> {
        serde_json::to_value(file).map(Self).map_err(|error| error.to_string())
    }

    pub fn restore(self) -> Result<SocketFile, String> {
        serde_json::from_value(self.0).map_err(|error| error.to_string())
    }
}

impl Porter {
    pub(super) fn stand_still(&mut self, still: Still) {
        // They wait for whoever goes on.
        let _ = signals::leave_to_others();
        still.keep(self);
        hear_signals();
    }
}

impl Leaves for Porter {
    type Saved<'a> = SavedPorter;

    fn gather(&mut self) {}

    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<SavedPorter, String> {
        let files = self.files.as_ref().ok_or("files of rota's own are being looked after")?;
        if self.wanted.is_some() {
            return Err("listeners are about to change".to_owned());
        }
        let text = |file: &Option<SocketFile>| file.as_ref().map(SocketFileText::of).transpose();
        let save = |door: &Door| Ok::<_, String>(SavedDoor { config: door.config.clone(), file: text(&door.file)? });
        Ok(SavedPorter {
            doors: files.doors.iter().map(|door| door.as_ref().map(save).transpose()).collect::<Result<_, _>>()?,
            control: SocketFileText::of(&files.control)?,
            run: files.run.save(pack),
            waiting: files.waiting.clone(),
            wanted: files.wanted.clone(),
        })
    }
}

impl SavedDoor {
    pub fn restore(self) -> Result<Door, String> {
        Ok(Door { config: self.config, file: self.file.map(SocketFileText::restore).transpose()? })
    }
}

impl SavedPorter {
    /// The lock and the file of the control socket.
    pub fn restore_own(control: SocketFileText, run: SavedLock, unpack: &mut Unpack) -> Result<(SocketFile, LockFile), String> {
        Ok((control.restore()?, run.restore(unpack)?))
    }
}

impl Master {
    pub(super) fn stand_still(&mut self, still: Still) {
        still.keep(self);
        self.take_signals();
    }

    /// What another rota had in its master's hands. `news`: for whoever asked for the upgrade.
    pub fn take_up(&mut self, conns: Vec<Box<Conn>>, signals: Vec<signals::Event>, ran: (Duration, u32), news: Reply) {
        for conn in conns {
            self.put_back(conn);
        }
        self.held_signals = signals;
        self.operations.has_run(ran.0, ran.1);
        self.news = Some(news);
    }

    /// A place among the connections of this client, however many it has.
    pub fn share_of(&mut self, visitor: Visitor) -> Arc<Heads> {
        self.clients.one_more(visitor, usize::MAX).unwrap_or_default()
    }

    /// At the beginning.
    pub(super) fn tell_news(&mut self) {
        self.take_signals();
        let Some(news) = self.news.take() else { return };
        self.control.has_upgraded(self.poll.registry(), &mut self.operations, self.desk.now, &news);
        self.control.changed(self.poll.registry(), &mut self.operations, self.desk.now);
    }

    /// Somebody was accepted for whom there is no place: he gets one.
    fn seat_at_once(&mut self) {
        let Some((socket, peer, phase)) = self.crowd.pending.take() else { return };
        let Some(share) = self.share(peer) else { return };
        let conn = Conn::new(socket, peer, phase, &self.shared.connections, share, self.desk.catalog.logs.access.clone());
        let key = self.conns.insert(Held { conn, registered: false });
        let until = self.desk.now + self.desk.catalog.server.timeouts.head;
        self.desk.deadlines.set(&mut self.conns[key].conn.deadline, key, until);
        self.todo.push_back(key);
    }
}

impl Leaves for Master {
    type Saved<'a> = SavedMaster<'a>;

    fn gather(&mut self) {
        self.take_messages();
        self.seat_at_once();
        let signals = self.signals.pending();
        self.held_signals.extend(signals);
    }

    fn save<'a>(&'a self, pack: &mut Pack<'a>) -> Result<SavedMaster<'a>, String> {
        if self.stopping.is_some() || self.operations.stop_asked > 0 {
            return Err("the server is stopping".to_owned());
        }
        if !self.closing.is_empty() {
            return Err("a listener is being closed".to_owned());
        }
        Ok(SavedMaster {
            listeners: self.listeners.iter().map(|listener| Listener::save(listener, pack)).collect(),
            control: self.control.save(pack),
            conns: self.conns.iter().map(|(_, held)| held.conn.save(pack)).collect(),
            signals: self.held_signals.clone(),
            runs_for: Instant::now().saturating_duration_since(self.operations.started()),
            upgrades: self.operations.upgrades,
        })
    }
}
