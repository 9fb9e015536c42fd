//! What a waiting command hears: the server's replies, Ctrl-C, and that time passes. The main thread tells; one thread waits for replies and
//! one for Ctrl-C, so that only one writes to the terminal.

use std::io;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::Exit;
use super::say::{complain, no_reply};
use crate::control::client::{ClientError, Conversation};
use crate::control::proto::{Reply, Request};

/// What the main thread waits for.
#[derive(Debug)]
pub enum Heard {
    /// None: the server ended the connection.
    Reply(Result<Option<Reply>, ClientError>),
    Interrupt,
}

/// Asks, and lets hear what comes. `wait`: Ctrl-C is heard too; else it ends the process as always. The error has been said.
pub fn listen(socket: &Path, request: &Request, wait: bool) -> Result<Receiver<Heard>, Exit> {
    let (sender, heard) = unbounded();
    if wait {
        hear_interrupts(sender.clone()).map_err(|error| complain(&format!("Ctrl-C: {error}"), Exit::Bad))?;
    }
    let conversation = Conversation::start(socket, request).map_err(|error| no_reply(&error))?;
    hear_replies(conversation, sender);
    Ok(heard)
}

/// Asks for what has one reply. The error has been said.
pub fn ask(socket: &Path, request: &Request) -> Result<Reply, Exit> {
    match Conversation::start(socket, request).and_then(|mut conversation| conversation.next_reply()) {
        Ok(Some(Reply::Error { message })) => Err(complain(&message, Exit::Bad)),
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(complain("the server ended the connection without an answer", Exit::Bad)),
        Err(error) => Err(no_reply(&error)),
    }
}

/// What no server of this version answers.
pub fn something_else() -> Exit {
    complain("the server answered something else", Exit::Bad)
}

/// The threads end with the process, or when nobody listens any more.
fn hear_replies(mut conversation: Conversation, sender: Sender<Heard>) {
    thread::spawn(move || {
        loop {
            let reply = conversation.next_reply();
            let is_last = !matches!(reply, Ok(Some(_)));
            if sender.send(Heard::Reply(reply)).is_err() || is_last {
                return;
            }
        }
    });
}

fn hear_interrupts(sender: Sender<Heard>) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT])?;
    thread::spawn(move || signals.forever().take_while(|_| sender.send(Heard::Interrupt).is_ok()).for_each(drop));
    Ok(())
}

/// The seconds of a live line have one decimal; four times in a second is as good and calmer.
pub const TICK: Duration = Duration::from_millis(250);
