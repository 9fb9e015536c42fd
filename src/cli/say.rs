//! How the commands speak: stdout that may go away, and colours where they are wanted.

use std::io::{self, ErrorKind, Write};

use super::Exit;
use crate::control::client::ClientError;

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub fn name(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Prints on stdout. A reader that has seen enough (`rota status | head`) is no failure; a full disk is.
pub fn print(text: &str) -> Exit {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => complain(&error.to_string(), Exit::Bad),
        Ok(()) | Err(_) => Exit::Done,
    }
}

/// Says what is wrong on stderr, whose own failure nobody could be told.
pub fn complain(what: &str, exit: Exit) -> Exit {
    // In one piece: stderr has no buffer, and others may write to it.
    let line = format!("rota: {}\n", super::table::harmless(what));
    let _ = io::stderr().write_all(line.as_bytes());
    exit
}

/// Says why there is no reply.
pub fn no_reply(error: &ClientError) -> Exit {
    let exit = match error {
        ClientError::NoServer { .. } | ClientError::Silent { .. } => Exit::NoServer,
        ClientError::Denied { .. } | ClientError::Garbled { .. } | ClientError::Io { .. } => Exit::Bad,
    };
    complain(&error.to_string(), exit)
}
