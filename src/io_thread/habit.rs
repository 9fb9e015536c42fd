//! What a process has shown of its way with connections that idle: whether a request that may be sent once only may go on one.
//!
//! An app may close a connection that idles at any moment, and of a request that meets the close nobody can say whether it was begun. A GET is
//! then sent again; a POST never is, and its visitor has a 502. So a POST goes on a connection that is fresh, which no app closes unread, unless
//! three things hold: the process was seen to hold an idle connection for [`HELD`], never to close one earlier, and this one carried an answer
//! [`AT_ONCE`] ago at most, fifty times less. A look at the socket just before ([`super::upstream::Upstreams::reuse_at_once`]) leaves the
//! microseconds up to the write. What can still close in them is no timer but a process that ends or replaces a worker of its own; seen once,
//! that process has fresh connections for the rest of its life.
//!
//! Measured (`bench/posts --peers rota,fresh,default,kept`): puma, node and starman answer 1.6 times as many POSTs so as with a fresh one each,
//! uvicorn 1.3 times.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Habit {
    /// None has idled for long.
    Unknown,
    /// It has held one for [`HELD`], and closed none earlier.
    Patient,
    /// It has closed one earlier than that.
    Hasty,
}

impl Habit {
    /// A connection that idled so long was open still.
    pub fn held(&mut self, idle: Duration) {
        if *self == Habit::Unknown && proves(idle) {
            *self = Habit::Patient;
        }
    }

    /// The app has closed one that idled so long.
    pub fn closed(&mut self, idle: Duration) {
        if !proves(idle) {
            *self = Habit::Hasty;
        }
    }

    /// Whether one that idles so long may carry a request that is not to be sent twice.
    pub fn is_safe(self, idle: Duration) -> bool {
        match self {
            Habit::Patient => idle <= AT_ONCE,
            Habit::Unknown | Habit::Hasty => false,
        }
    }
}

/// Such a time says that no timer of the app's ends a connection at once.
pub fn proves(idle: Duration) -> bool {
    idle >= HELD
}

/// Half of the shortest time for which an app server that is in use keeps one by default (starman: 1 s).
const HELD: Duration = Duration::from_millis(500);
/// Between two requests of a busy process.
const AT_ONCE: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    #[test]
    fn a_process_of_which_nothing_is_known_gets_none() {
        let mut habit = Habit::Unknown;
        assert!(!habit.is_safe(MOMENT));
        habit.held(HELD - MOMENT);
        assert!(!habit.is_safe(MOMENT));
    }

    #[test]
    fn one_that_holds_them_gets_those_that_have_just_answered() {
        let mut habit = Habit::Unknown;
        habit.held(HELD);
        assert_eq!([MOMENT, AT_ONCE, AT_ONCE + MOMENT].map(|idle| habit.is_safe(idle)), [true, true, false]);
        habit.closed(HELD);
        assert!(habit.is_safe(MOMENT), "its timer");
    }

    #[test]
    fn one_that_closed_one_early_gets_none_any_more() {
        for mut habit in [Habit::Unknown, Habit::Patient] {
            habit.closed(HELD - MOMENT);
            habit.held(HELD * 10);
            assert!(!habit.is_safe(MOMENT));
        }
    }
}
