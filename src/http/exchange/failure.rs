//! What follows when an app does not answer, or not to the end: the request goes to an app again when that is safe; else its client is told, or,
//! behind the beginning of an answer, cut off so that it sees that the answer is not whole.

use super::Exchange;

/// What the app's failure says of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing of the request has reached an app.
    NeverReached,
    /// The app closed its connection, as it may at any moment.
    Closed,
    /// As before, with its process, and requests like this one are suspected of that.
    Suspected,
    /// Anything else: what it says is no answer, or a limit has passed.
    Other,
}

/// What becomes of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It is sent again.
    Again,
    /// Its client is told.
    Tell,
    /// Part of an answer is out: its client's connection is cut.
    Cut,
}

impl Exchange {
    /// `tries`: how many times the request has been sent, with this one. `may_repeat`: twice does the same as once, and nothing of its body is
    /// gone.
    pub fn after(&self, failure: Failure, tries: u8, may_repeat: bool) -> Then {
        let most = match failure {
            Failure::NeverReached => TRIES_NEVER_REACHED,
            Failure::Closed if may_repeat => TRIES,
            Failure::Closed | Failure::Suspected | Failure::Other => 0,
        };
        match self.is_heard() {
            false if tries < most => Then::Again,
            _ if self.begun => Then::Cut,
            _ => Then::Tell,
        }
    }
}

/// How often a request is sent when the app may have begun on it (RFC 9110 9.2.2), and when it never reached one.
const TRIES: u8 = 2;
const TRIES_NEVER_REACHED: u8 = 10;
