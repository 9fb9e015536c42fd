//! The connections to an app that are left to the next rota, with what is known of the app's way with them. Those of a probe are not: it begins
//! anew.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use super::{App, Owner, Upstream, Upstreams};
use crate::conn::socket::{SavedSocket, Socket};
use crate::io_thread::habit::Habit;
use crate::sys::Listener;
use crate::upgrade::pack::{Pack, Unpack};

#[derive(Debug, Serialize, Deserialize)]
pub struct SavedUpstreams<'a> {
    all: Vec<SavedUpstream<'a>>,
    idle: Vec<Idle>,
    habit: Habit,
    /// Where the process listens, on TCP, which may be elsewhere than it was told.
    at: Option<SocketAddr>,
    known: Option<Listener>,
    refused: Option<Listener>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedUpstream<'a> {
    key: usize,
    socket: SavedSocket,
    owner: Owner,
    is_proven: bool,
    closing: bool,
    wants_write: bool,
    idled: Option<Duration>,
    #[serde(with = "crate::bytes")]
    output: Cow<'a, [u8]>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Idle {
    key: usize,
    #[serde(with = "crate::moment")]
    since: Instant,
}

impl Upstream {
    fn save<'a>(&'a self, key: usize, pack: &mut Pack<'a>) -> SavedUpstream<'a> {
        let Self { socket, owner, readable: _, is_put_off: _, is_proven, closing, wants_write, idled, output } = self;
        SavedUpstream {
            key,
            socket: socket.save(pack),
            owner: *owner,
            is_proven: *is_proven,
            closing: *closing,
            wants_write: *wants_write,
            idled: *idled,
            output: Cow::Borrowed(output),
        }
    }
}

impl SavedUpstream<'_> {
    /// What has come on it the poll tells.
    fn restore(self, unpack: &mut Unpack, registry: &Registry, token: Token) -> Result<Upstream, String> {
        let Self { key: _, socket, owner, is_proven, closing, wants_write, idled, output } = self;
        let mut socket = socket.restore(unpack)?;
        let wants_write = wants_write || matches!(socket, Socket::Tcp(_));
        let interest = if wants_write { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        socket.register(registry, token, interest).map_err(|error| format!("it cannot be registered: {error}"))?;
        let output = output.into_owned();
        Ok(Upstream { socket, owner, readable: false, is_put_off: false, is_proven, closing, wants_write, idled, output })
    }
}

impl Upstreams {
    pub fn save<'a>(&'a self, pack: &mut Pack<'a>) -> SavedUpstreams<'a> {
        let Self { all, app, idle, idle_limit: _, habit, most: _, asker: _, known, refused } = self;
        let all = all.iter().filter(|(_, upstream)| upstream.owner != Owner::Probe);
        SavedUpstreams {
            all: all.map(|(key, upstream)| upstream.save(key, pack)).collect(),
            idle: idle.iter().map(|(key, since)| Idle { key: *key, since: *since }).collect(),
            habit: *habit,
            at: match app {
                App::Tcp(addr) => Some(*addr),
                App::Unix(_) => None,
            },
            known: *known,
            refused: *refused,
        }
    }

    /// Takes in what was left; gives the keys that those have now which work for somebody, by those that they had. An [`Owner::Client`] has still its
    /// old key. One that cannot be had again is closed.
    pub fn restore(
        &mut self,
        saved: SavedUpstreams<'_>,
        unpack: &mut Unpack,
        registry: &Registry,
        token: impl Fn(usize) -> Token,
    ) -> HashMap<usize, usize> {
        let SavedUpstreams { all, idle, habit, at, known, refused } = saved;
        if let Some(addr) = at {
            self.move_to(addr);
        }
        (self.habit, self.known, self.refused) = (habit, known, refused);
        let mut keys = HashMap::new();
        for saved in all {
            let (old, entry) = (saved.key, self.all.vacant_entry());
            match saved.restore(unpack, registry, token(entry.key())) {
                Ok(upstream) => {
                    keys.insert(old, entry.key());
                    entry.insert(upstream);
                }
                Err(why) => log::error!("a connection to an app cannot be taken up, and is closed: {why}"),
            }
        }
        self.idle = idle.into_iter().filter_map(|Idle { key, since }| Some((keys.remove(&key)?, since))).collect();
        keys
    }
}
