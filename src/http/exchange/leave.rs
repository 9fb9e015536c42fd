//! How what lasts leaves a draining process: from a moment on ([`Leave::At`]), at the first place where nothing is cut: an event stream behind an
//! event, a WebSocket between two messages.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Exchange, Lasts, State};

/// When a stream leaves its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Leave {
    /// Not for now: nothing drains.
    Stay,
    /// From this moment on.
    At(#[serde(with = "crate::moment")] Instant),
    /// As soon as nothing is cut by it.
    Now,
}

/// Where an exchange stands that is to leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stands {
    /// Behind an event: its stream can be ended.
    BehindEvent,
    /// Between two messages: it can be closed.
    BetweenMessages,
    /// In the middle of something, or it is none that can leave.
    InTheMiddle,
}

impl Leave {
    pub(super) fn put_off(&mut self, by: Duration) {
        if let Leave::At(moment) = self {
            *moment += by;
        }
    }
}

impl Exchange {
    /// Nobody has asked it to leave.
    pub fn stays(&self) -> bool {
        self.leave == Leave::Stay
    }

    /// It is to leave from then on.
    pub fn leaves_at(&mut self, moment: Instant) {
        self.leave = Leave::At(moment);
    }

    /// Its moment has come: where it stands. In the middle of something [`super::Next`] tells when it stands well.
    pub fn leaves_now(&mut self) -> Stands {
        self.leave = Leave::Now;
        match &self.state {
            State::Body { lasts: Lasts::Events(events), .. } if events.is_between() => Stands::BehindEvent,
            State::Tunnel(Some(websocket)) if websocket.may_leave() => Stands::BetweenMessages,
            State::Head { .. } | State::Body { .. } | State::Tunnel(_) => Stands::InTheMiddle,
        }
    }

    /// When something of the drain is due, which ends at `end`, no later than `limit`: the moment to leave, or the end of the wait for a goodbye.
    pub(super) fn due_in_drain(&mut self, limit: Instant, end: Instant, is_drained: bool, now: Instant) -> Instant {
        let moment = match self.leave {
            Leave::At(moment) => moment,
            Leave::Stay | Leave::Now => end,
        };
        match &mut self.state {
            State::Head { .. } | State::Body { lasts: Lasts::Not | Lasts::Stream, .. } => limit,
            State::Tunnel(Some(websocket)) if websocket.has_left() => match websocket.goodbye_until(end, is_drained, now) {
                Some(until) => until,
                None => limit.min(end),
            },
            State::Body { lasts: Lasts::Events(_), .. } | State::Tunnel(_) => limit.min(end).min(moment),
        }
    }
}
