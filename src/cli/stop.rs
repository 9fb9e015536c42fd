//! `rota stop`: tells the server to end, and waits until it has.

use std::path::Path;

use super::Exit;
use super::say::{complain, no_reply, print};
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request};

pub fn run(socket: &Path) -> Exit {
    let mut conversation = match Conversation::start(socket, &Request::Stop {}) {
        Ok(conversation) => conversation,
        Err(error) => return no_reply(&error),
    };
    match conversation.next_reply() {
        Ok(Some(Reply::Stopping)) => {}
        Ok(Some(Reply::Error { message })) => return complain(&message, Exit::Bad),
        Ok(Some(_)) => return complain("the server answered something else", Exit::Bad),
        Ok(None) => return complain("the server ended the connection without an answer", Exit::Bad),
        Err(error) => return no_reply(&error),
    }
    print("stopping: what is in hand is answered first\n");
    loop {
        // The end of the connection is the end of the server; nothing else is said before it.
        match conversation.next_reply() {
            Ok(None) => return print("stopped\n"),
            Ok(Some(_)) => {}
            Err(error) => return no_reply(&error),
        }
    }
}
