//! `rota detach`: one process is replaced by another of the same release. The replacement is the server's: it goes on without us.

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Exit;
use super::hear::{Heard, TICK, listen, something_else};
use super::say::{Live, Paint, complain, is_live, no_reply, terminal_size};
use super::table::span;
use super::verbs::How;
use crate::control::proto::{Reply, Request, reply_line};
use crate::ids::{AppName, Number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Live,
    Plain,
    Json,
}

pub fn run(socket: &Path, app: &str, number: Number, how: How, paint: Paint) -> Exit {
    let wait = !how.no_wait;
    let look = match how.json {
        true => Look::Json,
        false if is_live() => Look::Live,
        false => Look::Plain,
    };
    match listen(socket, &Request::Detach { app: app.to_owned(), number, wait }, wait) {
        Ok(heard) => follow(&heard, io::stdout(), look, wait, paint),
        Err(exit) => exit,
    }
}

/// Tells what is heard until the process is gone, or once when nobody waits.
fn follow(heard: &Receiver<Heard>, out: impl Write, look: Look, wait: bool, paint: Paint) -> Exit {
    let mut live = Live::new(out);
    let (began, mut asked): (_, Option<String>) = (Instant::now(), None);
    loop {
        let reply = match heard.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {
                if let (Look::Live, Some(process)) = (look, &asked) {
                    let line = format!("{process}: is being replaced, {}", span(began.elapsed().as_secs_f64()));
                    live.rewrite(&line, terminal_size().1);
                }
                continue;
            }
            Ok(Heard::Interrupt) => {
                live.end_line();
                let what = asked.map_or("if it was asked for already, the process".to_owned(), |process| process);
                return complain(&format!("interrupted; {what} is replaced all the same (rota status shows it)"), Exit::Interrupted);
            }
            Ok(Heard::Reply(Ok(Some(reply)))) => reply,
            Ok(Heard::Reply(Err(error))) => {
                live.end_line();
                return no_reply(&error);
            }
            Ok(Heard::Reply(Ok(None))) | Err(RecvTimeoutError::Disconnected) => {
                live.end_line();
                return match asked {
                    Some(process) => complain(&format!("the server ended before {process} was replaced"), Exit::Stopped),
                    None => complain("the server ended the connection without an answer", Exit::Bad),
                };
            }
        };
        if look == Look::Json && !matches!(reply, Reply::Error { .. }) {
            live.say(&String::from_utf8_lossy(&reply_line(&reply)));
        }
        match reply {
            Reply::Detaching { app, number, pid } => {
                let process = name(&app, number, pid);
                match look {
                    Look::Live if wait => live.rewrite(&format!("{process}: is being replaced"), terminal_size().1),
                    Look::Live | Look::Plain => live.say(&format!("{process}: is being replaced\n")),
                    Look::Json => {}
                }
                if !wait {
                    return Exit::Done;
                }
                asked = Some(process);
            }
            Reply::Detached { app, number, pid, by } => {
                let (process, after) = (name(&app, number, pid), span(began.elapsed().as_secs_f64()));
                let Some(by) = by else {
                    live.end_line();
                    return complain(&format!("{process} is gone, and nothing serves in its place yet (rota status shows it)"), Exit::Bad);
                };
                if look != Look::Json {
                    live.say(&format!("{process}: {} in {after}: pid {by} serves in its place\n", paint.good("replaced")));
                }
                return Exit::Done;
            }
            Reply::Error { message } => {
                live.end_line();
                return complain(&message, Exit::Bad);
            }
            _ => return something_else(),
        }
    }
}

/// `blog/2 pid 4711`
fn name(app: &AppName, number: Number, pid: Option<u32>) -> String {
    let pid = pid.map(|pid| format!(" pid {pid}")).unwrap_or_default();
    format!("{app}/{number}{pid}")
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    fn told(heard: Vec<Heard>, look: Look, wait: bool) -> (String, Exit) {
        let (sender, receiver) = unbounded();
        heard.into_iter().for_each(|heard| sender.send(heard).unwrap());
        drop(sender);
        let mut out = Vec::new();
        let exit = follow(&receiver, &mut out, look, wait, Paint(false));
        (String::from_utf8(out).unwrap(), exit)
    }

    fn detaching() -> Heard {
        let app = AppName::new("blog").unwrap();
        Heard::Reply(Ok(Some(Reply::Detaching { app, number: Number(2), pid: Some(4711) })))
    }

    fn detached(by: Option<u32>) -> Heard {
        let app = AppName::new("blog").unwrap();
        Heard::Reply(Ok(Some(Reply::Detached { app, number: Number(2), pid: Some(4711), by })))
    }

    #[test]
    fn it_is_told_who_goes_and_who_serves_instead() {
        let (text, exit) = told(vec![detaching(), detached(Some(4811))], Look::Plain, true);
        let expected = "blog/2 pid 4711: is being replaced\nblog/2 pid 4711: replaced in 0.0 s: pid 4811 serves in its place\n";
        assert_eq!((text.as_str(), exit), (expected, Exit::Done));
        assert_eq!(told(vec![detaching()], Look::Plain, false).1, Exit::Done);
    }

    #[test]
    fn every_other_end_has_its_exit_status() {
        assert_eq!(told(vec![detaching(), detached(None)], Look::Plain, true).1, Exit::Bad);
        assert_eq!(told(vec![detaching(), Heard::Interrupt], Look::Plain, true).1, Exit::Interrupted);
        assert_eq!(told(vec![detaching(), Heard::Reply(Ok(None))], Look::Plain, true).1, Exit::Stopped);
        let error = Reply::Error { message: "no process serves as blog/9".to_owned() };
        assert_eq!(told(vec![Heard::Reply(Ok(Some(error)))], Look::Plain, true).1, Exit::Bad);
    }
}
