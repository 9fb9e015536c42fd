//! `rota status`: asks and shows the answer, once or again and again; `page` is what it looks like, `watch` draws it.

mod brief;
mod page;
mod pages;
mod watch;

use std::path::Path;
use std::time::Duration;

use super::Exit;
use super::hear::something_else;
use super::requests;
use super::say::{Paint, columns, complain, no_reply, print};
use crate::config;
use crate::control::client::{ClientError, Conversation};
use crate::control::proto::{ConfigRead, Reply, Request, reply_line};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// None: all.
    pub app: Option<String>,
    pub json: bool,
    /// The requests that hold a drain.
    pub blocking: bool,
    /// Again and again.
    pub every: Option<Duration>,
}

pub fn run(socket: &Path, look: &Look, paint: Paint) -> Exit {
    match look.every {
        Some(every) => watch::run(socket, look, every, paint),
        None => match fetch(socket, look) {
            Ok(reply) => text(&reply, look, columns(), paint).map_or_else(something_else, |text| print(&text)),
            Err(Trouble::NoReply(error)) => no_reply(&error),
            Err(Trouble::Refused(message)) => complain(&message, Exit::Bad),
        },
    }
}

/// Why there is no page.
#[derive(Debug)]
enum Trouble {
    NoReply(ClientError),
    /// The server's words.
    Refused(String),
}

fn fetch(socket: &Path, look: &Look) -> Result<Reply, Trouble> {
    let app = look.app.clone();
    let request = if look.blocking { Request::Requests { app, draining: true } } else { Request::Status { app } };
    match Conversation::start(socket, &request).and_then(|mut conversation| conversation.next_reply()) {
        Ok(Some(Reply::Error { message })) => Err(Trouble::Refused(message)),
        Ok(Some(Reply::Status(mut status))) => {
            status.config_changed = status.config.as_ref().and_then(has_changed);
            Ok(Reply::Status(status))
        }
        Ok(Some(reply)) => Ok(reply),
        Ok(None) => Err(Trouble::Refused("the server ended the connection without an answer".to_owned())),
        Err(error) => Err(Trouble::NoReply(error)),
    }
}

/// The files are others than those that were read. None: that cannot be seen.
pub fn has_changed(read: &ConfigRead) -> Option<bool> {
    let now = config::stamp(&read.file).filter(|_| read.stamp != 0)?;
    Some(now != read.stamp)
}

/// None: that is no answer to the question.
fn text(reply: &Reply, look: &Look, columns: usize, paint: Paint) -> Option<String> {
    match reply {
        // A line for each look; alone it is for people too.
        Reply::Status(_) | Reply::Requests { .. } if look.json && look.every.is_some() => {
            Some(String::from_utf8_lossy(&reply_line(reply)).into_owned())
        }
        Reply::Requests { .. } if look.json => Some(String::from_utf8_lossy(&reply_line(reply)).into_owned()),
        Reply::Status(status) if look.json => serde_json::to_string_pretty(status).ok().map(|text| text + "\n"),
        Reply::Status(status) => Some(page::render(status, columns, paint)),
        Reply::Requests { requests, silent } => Some(requests::page(requests, silent, true, columns, paint)),
        _ => None,
    }
}
