//! `rota pause` and `rota resume`: an app is paused while something is done that its requests must not see. The pause is the server's: it ends
//! by itself, and not with this command.

use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Exit;
use super::hear::{Heard, TICK, ask, listen, something_else};
use super::say::{Live, Paint, complain, is_live, no_reply, print, terminal_size};
use super::table::span;
use super::verbs::How;
use crate::control::proto::{Pausing, Reply, Request, reply_line};
use crate::ids::AppName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Live,
    Plain,
    Json,
}

/// `time`: for how long at most; None: as long as a request may wait in the queue.
pub fn run(socket: &Path, app: &str, time: Option<Duration>, how: How, paint: Paint) -> Exit {
    let wait = !how.no_wait;
    let request = Request::Pause { app: app.to_owned(), seconds: time.map(|time| time.as_secs_f64()), wait };
    let look = match how.json {
        true => Look::Json,
        false if is_live() => Look::Live,
        false => Look::Plain,
    };
    match listen(socket, &request, wait) {
        Ok(heard) => follow(&heard, io::stdout(), look, wait, paint, |app| left(socket, app)),
        Err(exit) => exit,
    }
}

/// How long the app stays paused, in seconds; None: it is not paused any more.
fn left(socket: &Path, app: &AppName) -> Result<Option<f64>, Exit> {
    match ask(socket, &Request::Status { app: Some(app.to_string()) })? {
        Reply::Status(status) => Ok(status.apps.first().and_then(|app| app.pause.as_ref()).map(|pause| pause.left_seconds)),
        _ => Err(something_else()),
    }
}

/// Tells what is heard until no request is with the app, or once when nobody waits. `left` is asked when the pause should have ended: the
/// server says how many requests are left when that changes, not that the time was changed.
fn follow(
    heard: &Receiver<Heard>,
    out: impl Write,
    look: Look,
    wait: bool,
    paint: Paint,
    left: impl Fn(&AppName) -> Result<Option<f64>, Exit>,
) -> Exit {
    let mut live = Live::new(out);
    let mut last: Option<(Pausing, Instant)> = None;
    loop {
        let pausing = match heard.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {
                let Some((pausing, at)) = &mut last else { continue };
                if at.elapsed().as_secs_f64() > pausing.left_seconds + GRACE {
                    match left(&pausing.app) {
                        Ok(Some(left_seconds)) => (pausing.left_seconds, *at) = (left_seconds, Instant::now()),
                        Ok(None) => {
                            live.end_line();
                            return complain(&format!("{} is not paused any more, and requests are with it", pausing.app), Exit::Bad);
                        }
                        Err(exit) => return exit,
                    }
                }
                if look == Look::Live {
                    live.rewrite(&waiting_line(pausing, at.elapsed().as_secs_f64()), terminal_size().1);
                }
                continue;
            }
            Ok(Heard::Interrupt) => {
                live.end_line();
                return complain(&interrupted(last.as_ref().map(|(pausing, at)| (pausing, at.elapsed()))), Exit::Interrupted);
            }
            Ok(Heard::Reply(Ok(Some(Reply::Pausing(pausing))))) => pausing,
            Ok(Heard::Reply(Ok(Some(reply)))) => {
                live.end_line();
                return match reply {
                    Reply::Error { message } => complain(&message, Exit::Bad),
                    _ => something_else(),
                };
            }
            Ok(Heard::Reply(Err(error))) => {
                live.end_line();
                return no_reply(&error);
            }
            Ok(Heard::Reply(Ok(None))) | Err(RecvTimeoutError::Disconnected) => {
                live.end_line();
                return match last {
                    Some((Pausing { app, .. }, _)) => complain(&format!("the server ended while {app} was paused"), Exit::Stopped),
                    None => complain("the server ended the connection without an answer", Exit::Bad),
                };
            }
        };
        let is_last = pausing.sessions == 0 || !wait;
        match look {
            Look::Json => live.say(&String::from_utf8_lossy(&reply_line(&Reply::Pausing(pausing.clone())))),
            Look::Plain | Look::Live if is_last => live.say(&held_text(&pausing, paint)),
            Look::Plain => live.say(&format!("{}\n", waiting_line(&pausing, 0.0))),
            Look::Live => live.rewrite(&waiting_line(&pausing, 0.0), terminal_size().1),
        }
        if is_last {
            return Exit::Done;
        }
        last = Some((pausing, Instant::now()));
    }
}

pub fn resume(socket: &Path, app: &str, json: bool) -> Exit {
    match ask(socket, &Request::Resume { app: app.to_owned() }) {
        Ok(reply @ Reply::Resumed { .. }) if json => print(&String::from_utf8_lossy(&reply_line(&reply))),
        Ok(Reply::Resumed { app, seconds, waiting }) => print(&format!("{app}: goes on after {}; {}\n", span(seconds), waited(waiting))),
        Ok(_) => something_else(),
        Err(exit) => exit,
    }
}

/// `blog: paused, 2 requests are with it still; the pause ends by itself in 18 s`
fn waiting_line(pausing: &Pausing, later: f64) -> String {
    let Pausing { app, sessions, left_seconds, .. } = pausing;
    let left = span((left_seconds - later).max(0.0));
    format!("{app}: paused, {} with it still; the pause ends by itself in {left}", requests(u64::from(*sessions)))
}

fn held_text(pausing: &Pausing, paint: Paint) -> String {
    let Pausing { app, sessions, waiting, left_seconds } = pausing;
    let quiet = match sessions {
        0 => "no request is with it".to_owned(),
        some => format!("{} with it still", requests(u64::from(*some))),
    };
    let waiting = if *waiting == 0 { String::new() } else { format!(", {waiting} in the queue") };
    format!("{app}: {}, {quiet}{waiting}\n  ends by itself in {}, or by: rota resume {app}\n", paint.good("paused"), span(*left_seconds))
}

fn requests(number: u64) -> String {
    if number == 1 { "1 request is".to_owned() } else { format!("{number} requests are") }
}

fn waited(waiting: usize) -> String {
    match waiting {
        0 => "no request waited".to_owned(),
        1 => "1 request that waited is served".to_owned(),
        more => format!("{more} requests that waited are served"),
    }
}

fn interrupted(last: Option<(&Pausing, Duration)>) -> String {
    match last {
        Some((Pausing { app, left_seconds, .. }, later)) => {
            let left = span((left_seconds - later.as_secs_f64()).max(0.0));
            format!("interrupted; {app} stays paused for {left} at most; rota resume {app} ends that")
        }
        None => "interrupted; if it was asked for already, the app is paused (rota status shows it)".to_owned(),
    }
}

/// Seconds that the server may take to say that the pause has ended.
const GRACE: f64 = 0.5;

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

    use super::*;

    fn told(heard: Vec<Heard>, look: Look, wait: bool) -> (String, Exit) {
        let (sender, receiver) = unbounded();
        heard.into_iter().for_each(|heard| sender.send(heard).unwrap());
        drop(sender);
        let mut out = Vec::new();
        let exit = follow(&receiver, &mut out, look, wait, Paint(false), |_| Ok(None));
        (String::from_utf8(out).unwrap(), exit)
    }

    fn pausing(sessions: u32, waiting: usize) -> Heard {
        let app = AppName::new("blog").unwrap();
        Heard::Reply(Ok(Some(Reply::Pausing(Pausing { app, sessions, waiting, left_seconds: 18.5 }))))
    }

    #[test]
    fn it_is_told_how_many_are_left_and_how_to_end_it() {
        let expected = "\
blog: paused, 2 requests are with it still; the pause ends by itself in 18 s
blog: paused, 1 request is with it still; the pause ends by itself in 18 s
blog: paused, no request is with it, 3 in the queue
  ends by itself in 18 s, or by: rota resume blog
";
        let (text, exit) = told(vec![pausing(2, 0), pausing(1, 1), pausing(0, 3)], Look::Plain, true);
        assert_eq!((text.as_str(), exit), (expected, Exit::Done));
    }

    #[test]
    fn who_does_not_wait_is_told_what_is_left() {
        let (text, exit) = told(vec![pausing(2, 0)], Look::Plain, false);
        assert_eq!(text, "blog: paused, 2 requests are with it still\n  ends by itself in 18 s, or by: rota resume blog\n");
        assert_eq!(exit, Exit::Done);
    }

    #[test]
    fn on_a_terminal_one_line_is_rewritten() {
        let (text, _) = told(vec![pausing(2, 0), pausing(0, 0)], Look::Live, true);
        assert!(text.starts_with("\r\x1b[Kblog: paused, 2 requests are with it still"), "{text:?}");
        assert!(text.contains("\r\x1b[Kblog: paused, no request is with it\n"), "{text:?}");
    }

    #[test]
    fn a_hold_that_ended_too_early_is_bad_and_an_interrupt_ends_no_hold() {
        let ended = || Heard::Reply(Ok(Some(Reply::Error { message: "blog is not paused any more".to_owned() })));
        assert_eq!(told(vec![pausing(2, 0), ended()], Look::Plain, true).1, Exit::Bad);
        assert_eq!(told(vec![pausing(2, 0), Heard::Interrupt], Look::Plain, true).1, Exit::Interrupted);
        assert_eq!(told(vec![pausing(2, 0), Heard::Reply(Ok(None))], Look::Plain, true).1, Exit::Stopped);
        assert_eq!(told(vec![], Look::Plain, true).1, Exit::Bad);
        let held = Pausing { app: AppName::new("blog").unwrap(), sessions: 2, waiting: 0, left_seconds: 18.5 };
        let says = interrupted(Some((&held, Duration::from_secs(6))));
        assert_eq!(says, "interrupted; blog stays paused for 12 s at most; rota resume blog ends that");
    }

    #[test]
    fn a_hold_whose_end_is_not_said_is_asked_for() {
        let (sender, receiver) = unbounded();
        let app = AppName::new("blog").unwrap();
        let held = Pausing { app, sessions: 2, waiting: 0, left_seconds: -1.0 };
        sender.send(Heard::Reply(Ok(Some(Reply::Pausing(held))))).unwrap();
        let asked = std::cell::Cell::new(0);
        // It was made longer once, and then ended.
        let left = |_: &AppName| {
            asked.set(asked.get() + 1);
            Ok((asked.get() == 1).then_some(-1.0))
        };
        assert_eq!(follow(&receiver, &mut Vec::new(), Look::Plain, true, Paint(false), left), Exit::Bad);
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn json_is_what_the_server_said() {
        let (text, _) = told(vec![pausing(0, 3)], Look::Json, true);
        assert_eq!(text, "{\"event\":\"pausing\",\"app\":\"blog\",\"sessions\":0,\"waiting\":3,\"left_seconds\":18.5}\n");
    }
}
