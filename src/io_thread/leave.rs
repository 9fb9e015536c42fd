//! How the streams of a draining process leave it, within `drain.upgraded`: each at a moment of its own, so that their clients do not all
//! come back at once, and from then on at the first place where nothing is cut: an event stream behind an event, a WebSocket between two
//! messages. What is still there at the end of the time is ended wherever it stands. Other upgraded connections have the same time and no
//! better end.

use std::time::{Duration, Instant};

use super::answer::End;
use super::exchange::{Class, Exchange, Stage};
use super::{Client, IoThread};
use crate::http::chunked;
use crate::http::cut::Cut;
use crate::http::exchange::ClientBody;

/// When a stream leaves its process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Not for now: nothing drains.
    Stay,
    /// From this moment on.
    At(Instant),
    /// As soon as nothing is cut by it.
    Now,
}

impl Exchange {
    /// When something is due: `limit` of its own, the moment to leave, the end of the wait for a goodbye, or the drain's `end`.
    pub(super) fn limit_of_drain(&mut self, limit: Instant, end: Instant, is_drained: bool, now: Instant) -> Instant {
        let moment = match self.leave {
            Leave::At(moment) => moment,
            Leave::Stay | Leave::Now => end,
        };
        match &mut self.stage {
            Stage::Head | Stage::Body { events: None, .. } => limit,
            Stage::Tunnel(Some(websocket)) if websocket.has_left() => match websocket.goodbye_until(end, is_drained, now) {
                Some(until) => until,
                None => limit.min(end),
            },
            Stage::Body { events: Some(_), .. } | Stage::Tunnel(_) => limit.min(end).min(moment),
        }
    }
}

impl IoThread {
    /// Each stream that has none gets its moment.
    pub(super) fn send_streams_away(&mut self) {
        let since = *self.leaving_since.get_or_insert(self.desk.now);
        let class_of =
            |client: &Client| client.exchange.as_ref().filter(|exchange| exchange.leave == Leave::Stay).map(|exchange| exchange.class());
        let of = |classes: &[Class]| -> Vec<usize> {
            let all = self.clients.iter().filter(|(_, client)| class_of(client).is_some_and(|class| classes.contains(&class)));
            all.map(|(key, _)| key).collect()
        };
        let (streams, others) = (of(&[Class::EventStream, Class::WebSocket]), of(&[Class::Upgraded]));
        let time = self.app.drain.upgraded;
        if !streams.is_empty() {
            log::info!("{}: {} event streams and WebSockets leave it within {time:?}", self.name, streams.len());
        }
        // drain.timeout ends everything; those who leave do so before it.
        let spread = time.min(self.app.drain.timeout);
        for (place, key) in streams.iter().enumerate() {
            if let Some(exchange) = &mut self.clients[*key].exchange {
                exchange.leave = Leave::At(since + moment(spread, place, streams.len()));
            }
        }
        for key in streams.into_iter().chain(others) {
            self.limit(key);
        }
    }

    /// An exchange that became a stream when the others were leaving already: it goes at once, there are few of them.
    pub(super) fn leave_if_late(&mut self, key: usize) {
        let Some(Client { exchange: Some(exchange), .. }) = self.clients.get(key) else { return };
        let is_stream = matches!(exchange.class(), Class::EventStream | Class::WebSocket);
        if self.leaving_since.is_some() && is_stream && exchange.leave == Leave::Stay {
            self.leave(key);
        }
    }

    /// Its moment has come: it leaves, at once if it stands at a good place.
    fn leave(&mut self, key: usize) {
        let Some(Client { exchange: Some(exchange), .. }) = self.clients.get_mut(key) else { return };
        exchange.leave = Leave::Now;
        match &exchange.stage {
            Stage::Body { events: Some(events), .. } if events.is_between() => self.end_events(key, End::Left),
            Stage::Tunnel(Some(websocket)) if websocket.may_leave() => self.say_goodbye(key),
            Stage::Head | Stage::Body { .. } | Stage::Tunnel(_) => self.limit(key),
        }
    }

    /// A deadline has passed: whether it was one of the drain's, which is then done with.
    pub(super) fn stream_expired(&mut self, key: usize) -> bool {
        let now = self.desk.now;
        let Some(since) = self.leaving_since else { return false };
        let Some(Client { exchange: Some(exchange), .. }) = self.clients.get(key) else { return false };
        let class = exchange.class();
        if matches!(class, Class::Request | Class::Stream) {
            return false;
        }
        if matches!(exchange.leave, Leave::At(moment) if now >= moment) {
            self.leave(key);
            return true;
        }
        // It was told and does not answer: nothing of it is lost when its connection is closed.
        if matches!(&exchange.stage, Stage::Tunnel(Some(websocket)) if websocket.goodbye_is_over(now)) {
            self.tunnel_ended(key);
            return true;
        }
        if now < since + self.app.drain.upgraded {
            return false;
        }
        self.end_where_it_stands(key, class);
        true
    }

    /// The time for streams is over.
    fn end_where_it_stands(&mut self, key: usize, class: Class) {
        if let Some(request) = self.clients.get_mut(key).and_then(|client| client.conn.request.as_mut()) {
            let (name, pid, line, what) = (&self.name, self.pid, request.line(), class.word());
            log::info!("{name} pid {pid}: {line}: {what} still there at the end of drain.upgraded; it is cut");
            request.entry.cause = Some(Cut::DrainUpgraded.reason());
        }
        match class {
            // Its client drops the event that is not whole (WHATWG HTML 9.2.6) and asks again from the one before.
            Class::EventStream => self.end_events(key, End::Cut),
            Class::Request | Class::Stream | Class::WebSocket | Class::Upgraded => self.cut(key, Cut::DrainUpgraded),
        }
    }

    /// Ends an event stream as its framing wants it; the client's connection goes on if it can.
    fn end_events(&mut self, key: usize, end: End) {
        let Some(Client { conn, exchange: Some(exchange) }) = self.clients.get_mut(key) else { return };
        let (Stage::Body { plan, .. }, Some(upstream)) = (&exchange.stage, exchange.upstream) else { return };
        if plan.to_client == ClientBody::Chunked && conn.send(chunked::LAST_CHUNK, &[], Some(&self.shared.spool)).is_err() {
            return self.client_left(key);
        }
        self.finish(key, upstream, end);
    }
}

/// When the one at `place` of `of` leaves, after the beginning of the drain: the first at once, the others spread evenly over `time`, the
/// last with time enough to reach a good place and to say goodbye.
fn moment(time: Duration, place: usize, of: usize) -> Duration {
    let spread = time - LAST_ONES.min(time / 4);
    let share = place as f64 / of.max(1) as f64;
    spread.mul_f64(share)
}

/// What the last to leave has at the end of a long drain.
const LAST_ONES: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_leaves_at_once_and_the_others_in_equal_steps_with_time_left_for_the_last() {
        let ten = Duration::from_secs(10);
        assert_eq!([0, 1, 2, 3].map(|place| moment(ten, place, 4)), [0, 2, 4, 6].map(Duration::from_secs));
        assert_eq!(moment(ten, 0, 1), Duration::ZERO);
        assert!(moment(ten, 9_999, 10_000) < Duration::from_secs(8));
        let second = Duration::from_secs(1);
        assert!(moment(second, 9, 10) < Duration::from_millis(750));
        assert_eq!(moment(Duration::ZERO, 3, 4), Duration::ZERO);
    }
}
