//! What a rota listens on when it begins: bound by itself, or left by another one.

use std::io;

use rustix::fs::Gid;

use super::listeners::{self, Listener, SavedListener, Waiting};
use super::porter::Door;
use super::upgrade::SavedPorter;
use super::{CONTROL, CONTROL_TOKENS};
use crate::config::{Config, ListenConfig, ServerConfig};
use crate::control::server::{self, ControlServer, SavedControl};
use crate::lock_file::LockFile;
use crate::restart::release;
use crate::socket_file::SocketFile;
use crate::upgrade::pack::Unpack;

#[derive(Debug)]
pub struct Bound {
    pub(super) control: ControlServer,
    pub(super) control_file: SocketFile,
    pub(super) control_group: Option<Gid>,
    /// By their numbers.
    pub(super) listeners: Vec<Listener>,
    pub(super) doors: Vec<Option<Door>>,
    pub(super) waiting: Waiting,
    /// What a reload wants to be listened on, while something else is still open.
    pub(super) wanted: Vec<ListenConfig>,
    pub(super) run: LockFile,
}

impl Bound {
    /// Binds everything that the configuration names; each error says what could not be done.
    pub fn bind(config: &Config, run: LockFile) -> Result<Self, String> {
        let path = &config.server.control;
        let control_group = group(&config.server)?;
        let groups = release::groups(config.apps.iter().map(|app| &app.start));
        let mut control = ControlServer::bind(path, control_group, &groups, CONTROL, CONTROL_TOKENS)
            .map_err(|error| format!("server.control {}: {error}", path.display()))?;
        let control_file = control.take_file().ok_or("server.control: it has no file")?;
        let (opened, waiting) = listeners::open_all(&config.server.listen, &groups)?;
        let (listeners, doors): (Vec<_>, Vec<_>) = opened.into_iter().map(|(listener, door)| (listener, Some(door))).unzip();
        Ok(Self { control, control_file, control_group, listeners, doors, waiting, wanted: Vec::new(), run })
    }

    /// What another rota listened on. `porters`, `masters`: the descriptors of each.
    pub fn restore(
        server: &ServerConfig,
        porter: SavedPorter,
        porters: &mut Unpack,
        (control, listeners): (SavedControl, Vec<SavedListener>),
        masters: &mut Unpack,
    ) -> Result<Self, String> {
        let control_group = group(server)?;
        let listeners: Vec<Listener> = listeners.into_iter().map(|listener| listener.restore(masters)).collect::<Result<_, _>>()?;
        let control = ControlServer::restore(control, masters, CONTROL, CONTROL_TOKENS)?;
        let SavedPorter { doors, control: file, run, waiting, wanted } = porter;
        let (control_file, run) = SavedPorter::restore_own(file, run, porters)?;
        let doors = doors.into_iter().map(|door| door.map(super::upgrade::SavedDoor::restore).transpose()).collect::<Result<_, _>>()?;
        let not_yet = |config| (config, io::Error::from(io::ErrorKind::AddrNotAvailable));
        let waiting = waiting.into_iter().map(not_yet).collect();
        Ok(Self { control, control_file, control_group, listeners, doors, waiting, wanted, run })
    }
}

fn group(server: &ServerConfig) -> Result<Option<Gid>, String> {
    server.control_group.as_deref().map(server::control_group).transpose()
}
