//! `rota stop`: tells the server to end and waits until it has.

use std::path::Path;

use super::{Exit, no_answer};
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request};

pub fn run(socket: &Path) -> Exit {
    let mut conversation = match Conversation::start(socket, &Request::Stop) {
        Ok(conversation) => conversation,
        Err(error) => return no_answer(&error),
    };
    loop {
        match conversation.next_reply() {
            Ok(Some(Reply::Stopping)) => println!("stopping"),
            Ok(Some(Reply::Error { message })) => {
                eprintln!("rota: {message}");
                return Exit::Bad;
            }
            Ok(Some(Reply::Status(_) | Reply::Asked { .. } | Reply::Progress(_) | Reply::Ended(_))) => {}
            Ok(None) => {
                println!("stopped");
                return Exit::Done;
            }
            Err(error) => return no_answer(&error),
        }
    }
}
