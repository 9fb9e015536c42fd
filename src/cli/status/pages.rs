//! `rota status --watch` on a pipe: a page for each look. Shell, on the main thread.

use std::io::{self, Write};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::watch::{CLOCK, Heard, words};
use super::{Look, Trouble, text};
use crate::cli::Exit;
use crate::cli::hear::something_else;
use crate::cli::say::{Paint, columns, complain, is_unread};

/// A page for each look, until the reader goes away.
pub(super) fn print(heard: &Receiver<Heard>, look: &Look, paint: Paint) -> Exit {
    let (mut is_first, mut told) = (true, None);
    loop {
        // While there is nothing to write, writing does not tell that the reader has gone.
        if is_unread() {
            return Exit::Done;
        }
        let reply = match heard.recv_timeout(CLOCK) {
            Ok(Heard::Look(reply)) => reply,
            Ok(Heard::Key(_) | Heard::Signal(_)) | Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Exit::Done,
        };
        match reply {
            Ok(reply) => {
                told = None;
                let Some(text) = text(&reply, look, columns(), paint) else { return something_else() };
                let between = if is_first || look.json { "" } else { "\n" };
                let mut stdout = io::stdout().lock();
                match stdout.write_all(format!("{between}{text}").as_bytes()).and_then(|()| stdout.flush()) {
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Exit::Done,
                    Err(error) => return complain(&error.to_string(), Exit::Bad),
                    Ok(()) => is_first = false,
                }
            }
            Err(Trouble::Refused(message)) => return complain(&message, Exit::Bad),
            // It may come back; said once.
            Err(Trouble::NoReply(error)) => {
                let why = words(&error);
                if told.as_ref() != Some(&why) {
                    complain(&why, Exit::Done);
                    told = Some(why);
                }
            }
        }
    }
}
