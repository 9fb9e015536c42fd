//! `rota upgrade`: another program takes over, in the process of the one that serves.

use std::path::Path;

use super::Exit;
use super::hear::something_else;
use super::say::{complain, no_reply, print};
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request, Upgraded, reply_line};
use crate::printable::counted;

pub fn run(socket: &Path, program: Option<&Path>, json: bool) -> Exit {
    // The server has another working directory.
    let program = match program.map(std::path::absolute).transpose() {
        Ok(program) => program,
        Err(error) => return complain(&error.to_string(), Exit::Bad),
    };
    let mut conversation = match Conversation::start(socket, &Request::Upgrade { program }) {
        Ok(conversation) => conversation,
        Err(error) => return no_reply(&error),
    };
    let mut has_begun = false;
    loop {
        match conversation.next_reply() {
            Ok(Some(Reply::Upgrading { .. })) => has_begun = true,
            Ok(Some(Reply::Upgraded(upgraded))) => return done(upgraded, json),
            Ok(Some(Reply::Error { message })) if has_begun => {
                return complain(&format!("{message}; the one that served serves, and nothing has changed"), Exit::Failed);
            }
            Ok(Some(Reply::Error { message })) => return complain(&message, Exit::Bad),
            Ok(Some(_)) => return something_else(),
            Ok(None) => return complain("the server ended the connection without an answer: rota status says how it is", Exit::Bad),
            Err(error) => return no_reply(&error),
        }
    }
}

fn done(upgraded: Upgraded, json: bool) -> Exit {
    if json {
        return print(&String::from_utf8_lossy(&reply_line(&Reply::Upgraded(upgraded))));
    }
    let Upgraded { program, from, to, seconds, processes, connections, requests } = upgraded;
    print(&format!(
        "rota {to} serves in the place of rota {from}, from {}: nobody was served for {:.0} ms; {}, {} and {} in hand stayed\n",
        program.display(),
        seconds * 1000.0,
        counted(processes, "process"),
        counted(connections, "connection"),
        counted(requests, "request")
    ))
}
