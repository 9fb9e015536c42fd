//! Why an answer of an app does not come, or ends before it is whole: whose doing that was, and the key that did it. Core; the one place that
//! turns these causes into words.

use serde::{Deserialize, Serialize};

use super::refusal::Blame;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cut {
    AppSilent,
    AppOverdue,
    AppRefuses,
    AppClosed,
    /// It ended otherwise than well.
    AppDied,
    /// By rota, for the memory that it took.
    AppTooLarge,
    /// Of a stream or an upgraded connection: nothing moved.
    Still,
    DrainTimeout,
    DrainLongest,
    /// Between the two: its room was needed.
    DrainRoom,
    DrainUpgraded,
    /// The server ends without waiting any longer.
    Stopped,
    /// The thread of the process panicked.
    ThreadLost,
    ClientSlow,
    /// Its answer waited for it in a file.
    ClientHeldRoom,
    /// There were as many connections as may be, and its client had most of them.
    ClientCrowds,
    ClientLeft,
}

impl Cut {
    /// One sentence for the log and the access log.
    pub fn reason(self) -> &'static str {
        match self {
            Cut::AppSilent => "the app was silent for timeouts.app",
            Cut::AppOverdue => "the app was not done within request_timeout",
            Cut::AppRefuses => "the app refuses connections",
            Cut::AppClosed => "the app closed the connection before its answer was whole",
            Cut::AppDied => "the app's process died before its answer was whole",
            Cut::AppTooLarge => "the app's process was killed at memory_limit_hard",
            Cut::Still => "nothing moved for timeouts.tunnel",
            Cut::DrainTimeout => "rota ended it at drain.timeout: its process had to go",
            Cut::DrainLongest => "rota ended it at drain.longest: its process had to go",
            Cut::DrainRoom => "rota ended it before drain.longest: a newer process needed the room of its own",
            Cut::DrainUpgraded => "rota ended it at drain.upgraded: its process had to go",
            Cut::Stopped => "rota was told to stop at once",
            Cut::ThreadLost => "a fault in rota: the I/O thread of the process panicked",
            Cut::ClientSlow => "the client took nothing for timeouts.write",
            Cut::ClientHeldRoom => "the client took its answer too slowly, and others needed its room of server.spool_max",
            Cut::ClientCrowds => "limits.connections was reached, and its client had most of the connections",
            Cut::ClientLeft => "the client left",
        }
    }

    /// Who did it, or let it come to that.
    pub fn blame(self) -> Blame {
        match self {
            Cut::AppSilent | Cut::AppOverdue | Cut::AppRefuses | Cut::AppClosed | Cut::AppDied | Cut::AppTooLarge | Cut::Still => {
                Blame::App
            }
            Cut::DrainTimeout | Cut::DrainLongest | Cut::DrainRoom | Cut::DrainUpgraded | Cut::Stopped | Cut::ThreadLost => Blame::Server,
            Cut::ClientSlow | Cut::ClientHeldRoom | Cut::ClientCrowds | Cut::ClientLeft => Blame::Client,
        }
    }

    /// Of the answer in its place, where none has begun (RFC 9110 15.6.3 to 15.6.5).
    pub fn status(self) -> u16 {
        match self {
            Cut::AppSilent | Cut::AppOverdue | Cut::Still => 504,
            Cut::AppRefuses | Cut::AppClosed | Cut::AppDied | Cut::AppTooLarge => 502,
            Cut::DrainTimeout | Cut::DrainLongest | Cut::DrainRoom | Cut::DrainUpgraded | Cut::Stopped | Cut::ThreadLost => 503,
            Cut::ClientSlow | Cut::ClientHeldRoom | Cut::ClientCrowds | Cut::ClientLeft => 408,
        }
    }

    /// For a visitor: what is the matter, and what to do about it.
    pub fn said(self) -> (&'static str, &'static str) {
        match self {
            Cut::AppSilent | Cut::AppOverdue | Cut::Still => {
                ("This site takes too long to answer", "It is busy or has a problem. Please try again in a moment.")
            }
            Cut::AppRefuses | Cut::AppClosed | Cut::AppDied | Cut::AppTooLarge => {
                ("This site is having a problem", "It gave no proper answer. Please try again in a moment.")
            }
            Cut::DrainTimeout | Cut::DrainLongest | Cut::DrainRoom | Cut::DrainUpgraded => {
                ("This site has just been updated", "What you asked for took longer than that could wait. Please try again.")
            }
            Cut::Stopped | Cut::ThreadLost => ("This site is not available right now", "Please try again in a moment."),
            Cut::ClientSlow | Cut::ClientHeldRoom | Cut::ClientCrowds | Cut::ClientLeft => {
                ("The request took too long", "It did not arrive in time. Please check the connection and try again.")
            }
        }
    }

    /// One word, for programs.
    pub fn label(self) -> &'static str {
        match self {
            Cut::AppSilent => "app_silent",
            Cut::AppOverdue => "app_overdue",
            Cut::AppRefuses => "app_refuses",
            Cut::AppClosed => "app_closed",
            Cut::AppDied => "app_died",
            Cut::AppTooLarge => "app_too_large",
            Cut::Still => "still",
            Cut::DrainTimeout => "drain_timeout",
            Cut::DrainLongest => "drain_longest",
            Cut::DrainRoom => "drain_room",
            Cut::DrainUpgraded => "drain_upgraded",
            Cut::Stopped => "stopped",
            Cut::ThreadLost => "thread_lost",
            Cut::ClientSlow => "client_slow",
            Cut::ClientHeldRoom => "client_held_room",
            Cut::ClientCrowds => "client_crowds",
            Cut::ClientLeft => "client_left",
        }
    }

    /// In the order of their numbers.
    pub const ALL: [Cut; 17] = [
        Cut::AppSilent,
        Cut::AppOverdue,
        Cut::AppRefuses,
        Cut::AppClosed,
        Cut::AppDied,
        Cut::AppTooLarge,
        Cut::Still,
        Cut::DrainTimeout,
        Cut::DrainLongest,
        Cut::DrainRoom,
        Cut::DrainUpgraded,
        Cut::Stopped,
        Cut::ThreadLost,
        Cut::ClientSlow,
        Cut::ClientHeldRoom,
        Cut::ClientCrowds,
        Cut::ClientLeft,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who reads a line can tell it from every other, and finds the key that did it in the configuration.
    #[test]
    fn every_cause_has_words_of_its_own_and_names_its_key() {
        for (at, cut) in Cut::ALL.iter().enumerate() {
            assert!(Cut::ALL[at + 1..].iter().all(|other| other.reason() != cut.reason()), "{cut:?}");
        }
        for (cut, key) in [
            (Cut::AppSilent, "timeouts.app"),
            (Cut::AppOverdue, "request_timeout"),
            (Cut::AppTooLarge, "memory_limit_hard"),
            (Cut::Still, "timeouts.tunnel"),
            (Cut::DrainTimeout, "drain.timeout"),
            (Cut::DrainLongest, "drain.longest"),
            (Cut::DrainUpgraded, "drain.upgraded"),
            (Cut::ClientSlow, "timeouts.write"),
            (Cut::ClientHeldRoom, "server.spool_max"),
            (Cut::ClientCrowds, "limits.connections"),
        ] {
            assert!(cut.reason().contains(key), "{cut:?}");
        }
    }
}
