//! How the streams of a draining process leave it, within `drain.upgraded`: each at a moment of its own, so that their clients do not all
//! come back at once, and from then on at the first place where nothing is cut: an event stream behind an event, a WebSocket between two
//! messages. What is still there at the end of the time is ended wherever it stands. Other upgraded connections have the same time and no
//! better end.

use std::time::Duration;

use super::{Client, IoThread};
use crate::http::cut::Cut;
use crate::http::exchange::leave::Stands;
use crate::http::exchange::{Class, End};
use crate::http::refusal::Refusal;

impl IoThread {
    /// Each stream that has none gets its moment.
    pub(super) fn send_streams_away(&mut self) {
        let since = *self.leaving_since.get_or_insert(self.desk.now);
        let class_of =
            |client: &Client| client.session.as_ref().filter(|session| session.exchange.stays()).map(|session| session.exchange.class());
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
            if let Some(session) = &mut self.clients[*key].session {
                session.exchange.leaves_at(since + moment(spread, place, streams.len()));
            }
        }
        for key in streams.into_iter().chain(others) {
            self.limit(key);
        }
    }

    /// An exchange that became a stream when the others were leaving already: it goes at once, there are few of them.
    pub(super) fn leave_if_late(&mut self, key: usize) {
        let Some(Client { session: Some(session), .. }) = self.clients.get(key) else { return };
        let is_stream = matches!(session.exchange.class(), Class::EventStream | Class::WebSocket);
        if self.leaving_since.is_some() && is_stream && session.exchange.stays() {
            self.leave(key);
        }
    }

    /// Its moment has come: it leaves, at once if it stands at a good place.
    pub(super) fn leave(&mut self, key: usize) {
        let Some(Client { session: Some(session), .. }) = self.clients.get_mut(key) else { return };
        match session.exchange.leaves_now() {
            Stands::BehindEvent => self.end_events(key, End::Left),
            Stands::BetweenMessages => self.say_goodbye(key),
            Stands::InTheMiddle => self.limit(key),
        }
    }

    /// The time for streams is over.
    pub(super) fn end_where_it_stands(&mut self, key: usize, class: Class) {
        if let Some(request) = self.clients.get_mut(key).and_then(|client| client.conn.request.as_mut()) {
            let (name, pid, line, what) = (&self.name, self.pid, request.line(), class.word());
            log::info!("{name} pid {pid}: {line}: {what} still there at the end of drain.upgraded; it is cut");
            request.entry.cause = Some(Refusal::Cut(Cut::DrainUpgraded));
        }
        match class {
            // Its client drops the event that is not whole (WHATWG HTML 9.2.6) and asks again from the one before.
            Class::EventStream => self.end_events(key, End::Cut),
            Class::Request | Class::Stream | Class::WebSocket | Class::Upgraded => self.cut(key, Cut::DrainUpgraded),
        }
    }

    /// Ends an event stream as its framing wants it; the client's connection goes on if it can.
    fn end_events(&mut self, key: usize, end: End) {
        let Some(Client { conn, session: Some(session) }) = self.clients.get_mut(key) else { return };
        let (last, Some(upstream)) = (session.exchange.last_bytes(), session.upstream) else { return };
        if !last.is_empty() && conn.send(last, &[], Some(&self.shared.spool)).is_err() {
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
