//! How rota is, for whoever decides where requests go: the health path, and the agent that balancers ask. On any thread; takes the lock for a look.

use std::sync::atomic::Ordering;

use crate::ids::GroupId;
use crate::table::Shared;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Serves,
    /// By `rota drain`: requests are served, and no more are wanted.
    Drained,
    Stopping,
    /// Of the app that was asked for.
    NoProcess,
    NoProcessOfAny,
}

impl Standing {
    /// What is wanted of the server, whatever its apps do.
    pub fn of_server(shared: &Shared) -> Self {
        match (shared.stopping.load(Ordering::Relaxed), shared.drained.load(Ordering::Relaxed)) {
            (true, _) => Self::Stopping,
            (false, true) => Self::Drained,
            (false, false) => Self::Serves,
        }
    }

    /// Of one app, or of all.
    pub fn of(shared: &Shared, app: Option<GroupId>) -> Self {
        match Self::of_server(shared) {
            Self::Serves => {}
            other => return other,
        }
        let state = shared.table.lock();
        let mut groups = state.pool.groups().filter(|group| app.is_none_or(|app| app == group.id())).peekable();
        match app {
            Some(_) if groups.any(|group| group.takes_requests()) => Self::Serves,
            Some(_) => Self::NoProcess,
            None if groups.peek().is_none() || groups.any(|group| group.takes_requests()) => Self::Serves,
            None => Self::NoProcessOfAny,
        }
    }

    /// None: requests may come. Else why they should go elsewhere.
    pub fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Serves => None,
            Self::Drained => Some("drained"),
            Self::Stopping => Some("stopping"),
            Self::NoProcess => Some("no process of the app serves"),
            Self::NoProcessOfAny => Some("no process of any app serves"),
        }
    }

    /// As HAProxy's agent-check reads it (configuration manual, 5.2): `drain` and `maint` hold until `ready`, `down` until `up`.
    pub fn agent_line(self) -> &'static str {
        match self {
            Self::Serves => "ready up\n",
            Self::Drained => "drain\n",
            Self::Stopping => "maint\n",
            Self::NoProcess | Self::NoProcessOfAny => "ready down#no process of any app serves\n",
        }
    }
}
