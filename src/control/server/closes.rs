//! Why a connection of the control socket ends.

use std::fmt;

use super::connection::{MAX_REQUEST, PATIENCE};

/// `Display` continues a sentence that begins with the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closes {
    Answered,
    Left,
    /// Asked for nothing in time.
    Silent,
    /// Does not read.
    Deaf,
    /// Goes on sending after its request.
    Floods,
}

impl fmt::Display for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Closes::Answered => write!(f, "has its answer"),
            Closes::Left => write!(f, "left"),
            Closes::Silent => write!(f, "asked for nothing in {} s and was dropped", PATIENCE.as_secs()),
            Closes::Deaf => write!(f, "did not read its replies and was dropped"),
            Closes::Floods => write!(f, "sent more than {MAX_REQUEST} bytes after its request and was dropped"),
        }
    }
}
