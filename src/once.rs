//! What is said once: that something of a request or an answer was not passed on, the first time that it happens and no more. Whoever misses
//! it finds the line, with the key that changes it, and a client that sends it with every request fills no log.
//!
//! Nothing that is passed on comes by here. The books are bounded, take no lock and never grow; what is new behind their end is counted, and
//! the count is said when it has doubled.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::conn::Conn;
use crate::http::head::RequestHead;
use crate::http::rewrite::{self, ForwardContext, Withheld};
use crate::http::target;
use crate::ids::AppName;
use crate::printable::clean;

/// What has been said of one app.
#[derive(Debug, Default)]
pub struct Once(Said);

/// What has been said of one thing that has many.
#[derive(Debug)]
pub struct Said {
    /// Hashes of what it was said of; 0: room.
    known: Box<[AtomicU64]>,
    /// How often something came that was neither known nor had room.
    more: AtomicU64,
    /// With keys of its own: nobody outside can choose names that hide others.
    hasher: RandomState,
}

/// What a look into the book has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    New,
    Known,
    /// There is no room: so many times now.
    More(u64),
}

impl Default for Said {
    fn default() -> Self {
        Self { known: (0..ROOM).map(|_| AtomicU64::new(0)).collect(), more: AtomicU64::new(0), hasher: RandomState::new() }
    }
}

impl Said {
    /// Says `line` of a thing that is new. `of`: whose book it is, for the line that says that it is full.
    pub fn once(&self, of: &str, key: &str, level: log::Level, line: impl FnOnce() -> String) {
        match self.look_up(key) {
            Found::Known => {}
            Found::New => log::log!(level, "{} (said once)", line()),
            Found::More(more) if more.is_power_of_two() => {
                log::warn!(
                    "{of}: more than {ROOM} different things were not passed on and said; others since then: {more}; now: {}",
                    line()
                );
            }
            Found::More(_) => {}
        }
    }

    fn look_up(&self, key: &str) -> Found {
        let hash = self.hasher.hash_one(key) | 1;
        let first = (hash >> 8) as usize % ROOM;
        for slot in self.known[first..].iter().chain(&self.known[..first]) {
            match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Found::New,
                Err(known) if known == hash => return Found::Known,
                Err(_) => {}
            }
        }
        Found::More(self.more.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Once {
    fn say(&self, app: &AppName, key: &str, level: log::Level, line: impl FnOnce() -> String) {
        self.0.once(&format!("app {app}"), key, level, || format!("app {app}: {}", line()));
    }

    /// Fields of a request that are not passed on although somebody may count on them.
    pub fn withheld(&self, app: &AppName, head: &RequestHead<'_, '_>, forward: &ForwardContext<'_>) {
        let peer = Peer::of(forward.origin.peer);
        for (name, why) in rewrite::withheld(head, forward) {
            // Anybody on the network may say where he comes from, and is not believed: that is nobody's mistake.
            if why == Withheld::Untrusted && peer == Peer::Stranger {
                continue;
            }
            let name = clean(&name.as_bytes()[..name.len().min(NAME)]);
            let level = if peer == Peer::Stranger { log::Level::Info } else { log::Level::Warn };
            self.say(app, &format!("{} {peer}", name.to_ascii_lowercase()), level, || withheld(app, &name, why, &peer, forward));
        }
    }

    /// A target that goes to the app in another spelling.
    pub fn respelled(&self, app: &AppName, conn: &Conn, head: &[u8]) {
        let peer = Peer::of(conn.peer);
        self.say(app, &format!("target {peer}"), log::Level::Info, || {
            let sent = target::as_sent(head);
            let shown = clean(&sent[..sent.len().min(SHOWN)]);
            format!(
                "the target {shown:?} of {peer} goes to the app as RFC 3986 spells it: bytes of 0x80 and more as %XX, an empty path as /"
            )
        });
    }

    /// An app sends more than its answer has room for: behind its length, or a body where there is none.
    pub fn sends_more(&self, app: &AppName, line: &str) {
        self.say(app, "more", log::Level::Warn, || {
            format!("{line}: the app sent more than the answer that it announced; what is too much is dropped and its connection closed")
        });
    }
}

fn withheld(app: &AppName, name: &str, why: Withheld, peer: &Peer, forward: &ForwardContext<'_>) -> String {
    match why {
        Withheld::Underscore => format!(
            "the header {name} of {peer} is not passed on: most apps take _ in a name for -, and PHP a dot, so that it could pass for another header; \
             underscore_headers = [{name:?}] of the app lets it through"
        ),
        Withheld::Alias => {
            format!("the header {name} of {peer} is not passed on: apps take it for one that only rota may set; no key changes that")
        }
        Withheld::Untrusted => format!(
            "{name} of {peer} is not believed, and the app is told {}://{}: server.trusted_proxies does not have {peer}; if a proxy of yours is \
             there, trusted_proxies = [{:?}] in [server] believes it (an app behind one with TLS that redirects to https does so for ever until \
             then)",
            forward.origin.scheme,
            forward.origin.host.unwrap_or(app.as_str()),
            peer.key(),
        ),
        Withheld::Differs => format!(
            "{name} of {peer} is not passed on: it says something else than X-Forwarded-For, X-Forwarded-Proto or Forwarded do, or cannot be \
             read; the proxy should set it anew or remove it"
        ),
        Withheld::Never => {
            format!("the header {name} of {peer} is not passed on: only an app or a gateway may say it; no key changes that")
        }
    }
}

/// Whose it is. Those of the network are one: a line for each of them would be no help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Peer {
    Socket,
    /// Of this machine or a private network, where the proxies are.
    Near(IpAddr),
    Stranger,
}

impl Peer {
    fn of(peer: Option<IpAddr>) -> Self {
        match peer.map(|address| address.to_canonical()) {
            None => Self::Socket,
            Some(IpAddr::V4(v4)) if v4.is_loopback() || v4.is_private() || v4.is_link_local() => Self::Near(v4.into()),
            Some(IpAddr::V6(v6)) if v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local() => Self::Near(v6.into()),
            Some(_) => Self::Stranger,
        }
    }

    /// As it stands in `trusted_proxies`.
    fn key(self) -> String {
        match self {
            Self::Socket => "unix".to_owned(),
            Self::Near(_) | Self::Stranger => self.to_string(),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket => f.write_str("a Unix socket"),
            Self::Near(address) => address.fmt(f),
            Self::Stranger => f.write_str("a client"),
        }
    }
}

/// Different things that are said of one app.
const ROOM: usize = 256;
/// Bytes of a header's name, and of a target, that are shown.
const NAME: usize = 64;
const SHOWN: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_behind_the_end_of_the_book_is_counted() {
        let said = Said::default();
        let names: Vec<String> = (0..ROOM + 3).map(|i| format!("X_{i}")).collect();
        let found: Vec<Found> = names.iter().map(|name| said.look_up(name)).collect();
        assert!(found[..ROOM].iter().all(|found| *found == Found::New), "{found:?}");
        assert_eq!(found[ROOM..], [Found::More(1), Found::More(2), Found::More(3)]);
        assert_eq!(said.look_up("X_0"), Found::Known);
    }

    #[test]
    fn proxies_are_told_apart_and_the_rest_of_the_world_is_one() {
        let of = |text: &str| Peer::of(Some(text.parse().unwrap()));
        for near in ["127.0.0.1", "::1", "10.1.2.3", "172.17.0.1", "192.168.1.1", "fd00::1", "fe80::1"] {
            assert_eq!(of(near).to_string(), near);
        }
        assert_eq!(of("::ffff:127.0.0.1"), of("127.0.0.1"));
        assert_eq!(of("203.0.113.7"), of("2001:db8::1"));
        assert_eq!((Peer::of(None).key(), of("10.0.0.1").key()), ("unix".to_owned(), "10.0.0.1".to_owned()));
    }
}
