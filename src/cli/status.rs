//! `rota status`: asks once and shows the answer; `page` is what it looks like.

mod page;

use std::path::Path;

use super::Exit;
use super::say::{Paint, complain, no_reply, print};
use crate::control::client::Conversation;
use crate::control::proto::{Reply, Request};

pub fn run(socket: &Path, app: Option<&str>, json: bool, paint: Paint) -> Exit {
    let request = Request::Status { app: app.map(str::to_owned) };
    let reply = Conversation::start(socket, &request).and_then(|mut conversation| conversation.next_reply());
    match reply {
        Ok(Some(Reply::Status(status))) if json => match serde_json::to_string_pretty(&status) {
            Ok(text) => print(&format!("{text}\n")),
            Err(error) => complain(&error.to_string(), Exit::Bad),
        },
        Ok(Some(Reply::Status(status))) => print(&page::render(&status, paint)),
        Ok(Some(Reply::Error { message })) => complain(&message, Exit::Bad),
        Ok(Some(Reply::Asked { .. } | Reply::Progress(_) | Reply::Ended(_) | Reply::Stopping)) => {
            complain("the server answered something else", Exit::Bad)
        }
        Ok(None) => complain("the server ended the connection without an answer", Exit::Bad),
        Err(error) => no_reply(&error),
    }
}
