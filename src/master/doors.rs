//! Listeners that come and go while others serve (`rota reload`): what is new is opened before what is not wanted any more is closed, and who
//! has connected to that by then is served.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use super::Master;
use super::listeners::Listener;
use super::porter::{Door, Files};
use crate::config::{Listen, ListenConfig, SocketAccess};
use crate::table::ToMaster;

impl Files {
    /// These are to be listened on, and no others.
    pub(super) fn listen_to(&mut self, wanted: &[ListenConfig], inotify: Option<&OwnedFd>) {
        self.waiting.retain(|config| wanted.contains(config));
        for config in wanted {
            let is_open = |door: &Option<Door>| door.as_ref().is_some_and(|door| door.config == *config);
            if self.doors.iter().any(is_open) || self.waiting.contains(config) {
                continue;
            }
            // The same place for others, or otherwise, is no other socket.
            let place = self.doors.iter().position(|door| door.as_ref().is_some_and(|door| door.config.at == config.at));
            match place {
                Some(number) => self.change_door(number, config),
                None => self.waiting.push(config.clone()),
            }
        }
        self.wanted = wanted.to_vec();
        self.listen_late();
        if let Some(stays) = self.doors.iter().flatten().find(|door| !self.wanted.contains(&door.config)) {
            log::error!("server.listen {}: stays open: nothing that is listened on in its place can be had yet", stays.config);
        }
        // What stood in the way is gone by then.
        self.soon = SOON_TIMES;
        if let Some(inotify) = inotify {
            self.watch(inotify);
        }
    }

    /// Closes what is not wanted any more, once something that is wanted is open; before that only what is in the way of it.
    pub(super) fn close_unwanted(&mut self) {
        if self.wanted.is_empty() {
            return;
        }
        let is_wanted = |config: &ListenConfig| self.wanted.contains(config);
        let serves = self.doors.iter().flatten().any(|door| is_wanted(&door.config));
        let port = |config: &ListenConfig| match &config.at {
            Listen::Tcp(address) => Some(address.port()),
            Listen::Unix(_) => None,
        };
        let in_the_way = |config: &ListenConfig| port(config).is_some_and(|own| self.waiting.iter().any(|other| port(other) == Some(own)));
        let goes = |door: &Door| !is_wanted(&door.config) && (serves || in_the_way(&door.config));
        let closes: Vec<usize> = (0..self.doors.len()).filter(|number| self.doors[*number].as_ref().is_some_and(goes)).collect();
        for number in closes {
            if let Some(door) = self.doors[number].take() {
                log::info!("server.listen {}: closes", door.config);
                self.tell(ToMaster::Closes(number));
            }
        }
    }

    fn change_door(&mut self, number: usize, config: &ListenConfig) {
        let Some(door) = &mut self.doors[number] else { return };
        if door.config.door != config.door
            && let Some(file) = &door.file
        {
            let SocketAccess { mode, group } = &config.door;
            if let Err(error) = super::listeners::share(file, *mode, group.as_deref()) {
                log::error!("server.listen {config}: mode and group stay as they were: {error}");
            }
        }
        door.config = config.clone();
        self.tell(ToMaster::ListensOtherwise(number, config.clone()));
    }

    /// The lowest number that no open listener has.
    pub(super) fn free_number(&self) -> usize {
        self.doors.iter().position(Option::is_none).unwrap_or(self.doors.len())
    }
}

/// A listener that takes no further connection, and those that had begun.
#[derive(Debug)]
pub(super) struct Closing {
    listener: Listener,
    at: Instant,
}

impl Master {
    /// This listener is not wanted any more.
    pub(super) fn closes(&mut self, number: usize) {
        let Some(listener) = self.listeners.get_mut(number).map(Listener::take) else { return };
        if let Some(handle) = listener.handle() {
            self.tell_porter(super::porter::ToPorter::TurnAwayFrom(handle));
        }
        self.closing.push(Closing { listener, at: self.desk.now + CLOSED_IN });
    }

    /// Accepts what had begun, and closes what is due.
    pub(super) fn close_listeners(&mut self) {
        let now = self.desk.now;
        for mut closing in std::mem::take(&mut self.closing) {
            while let Ok((socket, peer)) = closing.listener.accept() {
                if let Some(phase) = self.first_phase_at(&closing.listener.config, peer) {
                    self.accepted(socket, peer, phase);
                }
            }
            if now < closing.at {
                self.closing.push(closing);
            } else if let Err(error) = closing.listener.deregister(self.poll.registry()) {
                log::debug!("server.listen {}: epoll: {error}", closing.listener.config);
            }
        }
    }

    pub(super) fn closes_at(&self) -> Option<Instant> {
        (!self.closing.is_empty()).then(|| self.desk.now + CLOSING_LOOK)
    }

    /// Who may connect, or what connections begin with, is another.
    pub(super) fn listens_otherwise(&mut self, number: usize, config: ListenConfig) {
        if let Some(listener) = self.listeners.get_mut(number) {
            listener.config = config;
        }
    }
}

/// For the handshakes that are under way when no further one may begin.
const CLOSED_IN: Duration = Duration::from_millis(300);
/// Between two tries to listen where a listener of ours stood in the way, and how many there are.
pub(super) const SOON: Duration = Duration::from_millis(50);
const SOON_TIMES: u32 = 20;
const CLOSING_LOOK: Duration = Duration::from_millis(50);
