//! Whom an exchange waits for, until when, and what is due then.

use std::time::{Duration, Instant};

use super::leave::Leave;
use super::{Class, Exchange, State};

/// What an exchange may take, of the configuration of its app and of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `timeouts.app`: silence of the app.
    pub app: Duration,
    /// `timeouts.tunnel`: silence in a stream, or on an upgraded connection.
    pub tunnel: Duration,
    /// `timeouts.write`: a client that takes nothing.
    pub write: Duration,
    /// `request_timeout`: a whole answer; None: no limit.
    pub request: Option<Duration>,
    /// `drain.upgraded`: what lasts, from the beginning of the drain.
    pub upgraded: Duration,
}

/// How it stands with the client and the process when a limit is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The client has taken all that was for it.
    pub is_drained: bool,
    /// Since when what lasts is to leave.
    pub leaving_since: Option<Instant>,
    pub now: Instant,
}

/// What is due when a limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its moment to leave has come.
    Leaves,
    /// A WebSocket that we have closed was told, and does not answer.
    GoodbyeOver,
    /// The drain's time for what lasts is over.
    DrainOver(Class),
    /// The client is told to send its body: the app has not refused it.
    AskForBody,
    /// `request_timeout` is over.
    Overdue,
    /// The client does not send more of its body.
    BodyLate,
    /// The client does not take its answer.
    ClientSlow,
    /// Nobody has said anything in a stream or on an upgraded connection.
    Still,
    /// The app does not answer, or not on.
    AppSilent,
}

impl Limits {
    /// What the app has for an answer at least.
    pub fn shortest(&self) -> Duration {
        self.request.map_or(self.app, |request| request.min(self.app))
    }
}

impl Exchange {
    /// When something is due: the client's limit if something waits for it, else the app's; of a request no later than `request_timeout`, of what
    /// lasts and drains than the drain's. While more of a body is waited for the client's limit on that counts in its place.
    pub fn due(&mut self, limits: &Limits, standing: Standing) -> Instant {
        let Standing { is_drained, leaving_since, now } = standing;
        let mut at = match (is_drained, &self.state) {
            // Neither interim responses nor a head that drips win time: the slot would be held for ever.
            (true, State::Head { .. }) => self.since + limits.app,
            (false, State::Head { .. }) => (now + limits.write).min(self.since + limits.app),
            (false, State::Body { .. } | State::Tunnel(_)) => now + limits.write,
            (true, State::Body { .. } | State::Tunnel(_)) if self.class() == Class::Request => now + limits.app,
            (true, State::Body { .. } | State::Tunnel(_)) => now + limits.tunnel,
        };
        if let Some(overdue) = self.overdue_at(limits) {
            at = at.min(overdue);
        }
        if let State::Head { expectation, .. } = &self.state
            && let Some(due) = expectation.due()
        {
            at = at.min(due);
        }
        match leaving_since {
            Some(since) => self.due_in_drain(at, since + limits.upgraded, is_drained, now),
            None => at,
        }
    }

    /// What is due now that a limit of [`Exchange::due`], or the client's on its body, has passed.
    pub fn passed(&mut self, limits: &Limits, standing: Standing) -> Due {
        let Standing { is_drained, now, .. } = standing;
        if let Some(due) = self.passed_in_drain(limits, standing) {
            return due;
        }
        if let State::Head { expectation, .. } = &mut self.state
            && expectation.is_due(now)
        {
            expectation.end();
            // The app's time begins when it can have the body.
            self.since = now;
            return Due::AskForBody;
        }
        if self.overdue_at(limits).is_some_and(|at| at <= now) {
            return Due::Overdue;
        }
        match self.class() {
            _ if self.awaits_body(is_drained) => Due::BodyLate,
            _ if !is_drained => Due::ClientSlow,
            Class::Request => Due::AppSilent,
            Class::Stream | Class::EventStream | Class::WebSocket | Class::Upgraded => Due::Still,
        }
    }

    fn passed_in_drain(&self, limits: &Limits, standing: Standing) -> Option<Due> {
        let Standing { leaving_since, now, .. } = standing;
        let since = leaving_since?;
        let class = self.class();
        match (class, &self.state) {
            (Class::Request | Class::Stream, _) => None,
            _ if matches!(self.leave, Leave::At(moment) if now >= moment) => Some(Due::Leaves),
            // Nothing of it is lost when its connection is closed.
            (_, State::Tunnel(Some(websocket))) if websocket.goodbye_is_over(now) => Some(Due::GoodbyeOver),
            _ if now >= since + limits.upgraded => Some(Due::DrainOver(class)),
            _ => None,
        }
    }

    /// When it is overdue; None: never. What lasts may last.
    fn overdue_at(&self, limits: &Limits) -> Option<Instant> {
        limits.request.filter(|_| self.class() == Class::Request).map(|limit| self.since + limit)
    }

    /// It is the client that is waited for: for more of its body, and not for it to take an answer.
    pub fn awaits_body(&self, is_drained: bool) -> bool {
        self.awaits_body.is_some() && is_drained && !self.is_tunnel()
    }

    /// The client has sent all that it will send for now.
    pub fn waits_for_body(&mut self, now: Instant) {
        self.awaits_body = Some(now);
    }

    /// The client is looked at again: how long it was waited for.
    pub fn body_was_awaited(&mut self, now: Instant) -> Duration {
        self.awaits_body.take().map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The app has taken part of a body that goes to it as it comes: its time for an answer begins anew.
    pub fn body_moved(&mut self, now: Instant) {
        self.since = now;
    }

    /// The app has the head of a request whose client waits for word that it may send the body. False: it answers already.
    pub fn head_is_out(&mut self, limits: &Limits, now: Instant) -> bool {
        if let State::Head { expectation, .. } = &mut self.state {
            expectation.head_is_out(now, limits.shortest());
        }
        self.is_head()
    }
}
