//! A request of a client's connection, from its whole head to the end of its response.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::request_body::Credit;
use super::room::{Claimant, Kind};
use super::spool::Spool;
use super::uploads::UploadShare;
use crate::access_log::Entry;
use crate::http::exchange::body::BodyReader;
use crate::http::exchange::facts::RequestFacts;
use crate::http::sticky::Sticky;
use crate::ids::{GroupId, ProcessId};
use crate::pool::Wish;
use crate::visitor::Visitor;

/// A request whose head has been read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    pub group: GroupId,
    pub facts: RequestFacts,
    /// Who asked: the peer, or whom a trusted proxy has named. None: a Unix socket.
    pub client: Option<IpAddr>,
    /// The head for the app; without framing and the empty line until `is_framed`.
    #[serde(with = "crate::bytes")]
    pub head: Vec<u8>,
    pub is_framed: bool,
    pub reader: BodyReader,
    /// The body; of one that goes to the app as it comes, what of it is on its way, framed for the app.
    #[serde(skip)]
    pub body: Spool,
    /// The body goes to the app as it comes (`buffer.request = false`, or it has a share).
    pub is_streamed: bool,
    /// Its client waits for word that it may send its body, which depends on the app: nothing of it has been read.
    pub is_unasked: bool,
    #[serde(skip)]
    pub share: Option<UploadShare>,
    /// Bytes of the body so far, without chunk framing.
    pub received: u64,
    /// For how long a body that is streamed has been waited for; the app's time is not the client's.
    pub waited: Duration,
    /// Largest body that the app takes (bytes).
    pub max_body: u64,
    /// Time since then in which rota did not run.
    pub lost: Duration,
    /// How many times it was sent to an app.
    pub tries: u8,
    /// Since its head was whole.
    #[serde(with = "crate::moment")]
    pub since: Instant,
    pub entry: Entry,
    /// None: its app has no sticky sessions.
    pub sticky: Option<Sticky>,
    /// What its body may still wait for its client.
    pub credit: Credit,
    /// What ends its body next is the least rate, before the limit on standing still would.
    pub is_slow: bool,
    /// Since when its body waits for room in a file.
    #[serde(with = "crate::moment::option")]
    pub awaits_room: Option<Instant>,
}

impl Request {
    /// Bytes of the body are still to come from the client, of one that is streamed.
    pub fn is_to_come(&self) -> bool {
        self.is_streamed && !self.reader.is_done()
    }

    /// Twice does the same as once (RFC 9110 9.2.2), and nothing of a body was passed on that is not here any more.
    pub fn may_repeat(&self) -> bool {
        self.facts.idempotent && (!self.is_streamed || self.is_unasked)
    }

    /// Method and target for the log, at most 200 bytes.
    pub fn line(&self) -> String {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let line = line.strip_suffix(b" HTTP/1.1").unwrap_or(line);
        String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned()
    }

    /// The values of the fields of this name in the head for the app.
    pub fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let lines = self.head.split(|byte| *byte == b'\n').skip(1);
        lines.filter_map(move |line| {
            let (known, value) = line.split_at_checked(name.len())?;
            let value = value.strip_prefix(b": ").filter(|_| known.eq_ignore_ascii_case(name.as_bytes()))?;
            Some(value.strip_suffix(b"\r").unwrap_or(value))
        })
    }

    /// Where it would have its slot; `home`: the process whose thread has its connection.
    pub fn wish(&self, home: Option<ProcessId>) -> Wish {
        match (self.sticky.and_then(|sticky| sticky.number), home) {
            (Some(number), _) => Wish::Number(number),
            (None, Some(home)) => Wish::Home(home),
            (None, None) => Wish::Anywhere,
        }
    }

    /// Who has the room that its body takes.
    pub fn claimant(&self) -> Claimant {
        Claimant { visitor: Visitor::of(self.client), group: Some(self.group), kind: Kind::Request }
    }

    /// As the app is told it; safe bytes.
    pub fn id(&self) -> Option<&str> {
        self.values("X-Request-Id").next().and_then(|id| std::str::from_utf8(id).ok())
    }
}
