//! How the commands speak: stdout that may go away, colours where they are wanted, and a line that is rewritten in place.

use std::io::{self, ErrorKind, IsTerminal, Write};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Exit;
use crate::control::client::ClientError;

/// Colours, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint(pub bool);

impl Paint {
    pub fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// It passes, or somebody wanted it.
    pub fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    pub fn bad(self, text: &str) -> String {
        self.with("1;31", text)
    }

    pub fn name(self, text: &str) -> String {
        self.with("1", text)
    }

    pub fn faint(self, text: &str) -> String {
        self.with("2", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A line that is rewritten in place, and what stays above it. A reader that goes away ends nothing: the exit status is still to come.
#[derive(Debug)]
pub struct Live<W> {
    out: W,
    /// The cursor stands behind a line that is not to stay.
    in_line: bool,
}

impl<W: Write> Live<W> {
    pub fn new(out: W) -> Self {
        Self { out, in_line: false }
    }

    /// In a terminal of so many columns.
    pub fn rewrite(&mut self, line: &str, width: usize) {
        // The last column stays free: some terminals go on to the next line after it.
        let line: String = line.chars().take(width.saturating_sub(1)).collect();
        self.in_line = true;
        self.write(&format!("{CLEAR_LINE}{line}"));
    }

    /// Lines that stay, in place of the one that does not.
    pub fn say(&mut self, text: &str) {
        let clear = if std::mem::take(&mut self.in_line) { CLEAR_LINE } else { "" };
        self.write(&format!("{clear}{text}"));
    }

    /// Leaves the line as it is; what follows begins in the next.
    pub fn end_line(&mut self) {
        if std::mem::take(&mut self.in_line) {
            self.write("\n");
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }
}

/// stdout takes lines that are rewritten.
pub fn is_live() -> bool {
    io::stdout().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns that a line may have; where stdout is no terminal any number, as a program reads it and cuts for itself.
pub fn columns() -> usize {
    if io::stdout().is_terminal() { terminal_size().1 } else { usize::MAX }
}

/// Nobody can read what is written to stdout any more: its pipe has no other end.
pub fn is_unread() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
    // A time of nothing: it is only looked at.
    let looked = poll(&mut polled, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    looked.is_ok() && polled[0].revents().intersects(PollFlags::ERR | PollFlags::HUP)
}

/// Rows and columns of the terminal that stdout is.
pub fn terminal_size() -> (usize, usize) {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row.into(), size.ws_col.into()),
        // No terminal, or one that says 0.
        Ok(_) | Err(_) => (24, 80),
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
    let lines: Vec<String> = what.lines().map(super::table::harmless).collect();
    let line = format!("rota: {}\n", lines.join("\n"));
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

/// Back to the first column, and clear to the end of the line (ECMA-48, EL).
const CLEAR_LINE: &str = "\r\x1b[K";
