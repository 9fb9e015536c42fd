//! Parts of replies: requests, pauses, histories. Core.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ids::{AppName, Generation, Number};
use crate::records::Entry;

/// What there is of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// With the apps.
    pub requests: u32,
    /// In the queues.
    pub waiting: usize,
    /// Open connections of clients, idle ones too.
    pub connections: usize,
    /// Since a request was with an app or waited; 0: one is or does.
    pub quiet_seconds: f64,
}

/// What is written down of an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AppHistory {
    pub app: AppName,
    /// The release that was accepted last.
    pub good: Option<PathBuf>,
    /// What a rollback can go to; the newest last.
    pub earlier: Vec<PathBuf>,
    /// The newest last.
    pub entries: Vec<Entry>,
}

/// An app that is paused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pausing {
    pub app: AppName,
    /// Requests that are with the app still.
    pub sessions: u32,
    /// Requests that wait.
    pub waiting: usize,
    /// Until it ends by itself.
    pub left_seconds: f64,
}

/// A request with an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InHand {
    pub app: AppName,
    pub number: Number,
    pub generation: Generation,
    /// "request", "event stream", "WebSocket" or "upgraded connection"; "overdue": its client was told that it took too long, and the app
    /// has not ended it.
    pub class: String,
    /// `GET /path`, at most 200 bytes.
    pub line: String,
    /// Address of the client; None: a Unix socket, or nobody any more.
    pub client: Option<String>,
    /// Since its head was whole.
    pub seconds: f64,
    /// Bytes of the response so far.
    pub received: u64,
    /// Bytes of it that the client has not taken yet.
    pub unsent: u64,
}
