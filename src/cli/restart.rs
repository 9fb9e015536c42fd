//! `rota restart`: asks for a rolling restart, tells how it goes and how it ended. The walk is the server's: it goes on without us.
//!
//! The main thread tells; one thread waits for replies and one for Ctrl-C, so that only one writes to the terminal.

mod teller;

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use signal_hook::consts::SIGINT;
use signal_hook::iterator::Signals;

use super::Exit;
use super::say::{Paint, complain, no_reply};
use crate::control::client::{ClientError, Conversation};
use crate::control::proto::{Asked, OutcomeKind, Reply, Request};
use teller::{Look, Teller};

/// What is asked for.
#[derive(Debug)]
pub struct Wish<'a> {
    /// None: all apps.
    pub app: Option<&'a str>,
    pub wait: bool,
    pub json: bool,
}

/// What the main thread waits for.
#[derive(Debug)]
enum Heard {
    /// None: the server ended the connection.
    Reply(Result<Option<Reply>, ClientError>),
    Interrupt,
}

pub fn run(socket: &Path, wish: &Wish, paint: Paint) -> Exit {
    let (sender, heard) = unbounded();
    if wish.wait
        && let Err(error) = hear_interrupts(sender.clone())
    {
        return complain(&format!("Ctrl-C: {error}"), Exit::Bad);
    }
    let request = Request::Restart { app: wish.app.map(str::to_owned), wait: wish.wait };
    let conversation = match Conversation::start(socket, &request) {
        Ok(conversation) => conversation,
        Err(error) => return no_reply(&error),
    };
    hear_replies(conversation, sender);
    let look = match (wish.json, wish.wait) {
        (true, _) => Look::Json,
        (false, true) if io::stdout().is_terminal() => Look::Live { width: terminal_width() },
        (false, true) => Look::Plain,
        (false, false) => Look::NoWait,
    };
    follow(&heard, &mut Teller::new(io::stdout(), look, paint), wish.wait)
}

/// Tells what is heard until everything that was asked for has ended.
fn follow(heard: &Receiver<Heard>, teller: &mut Teller<impl Write>, wait: bool) -> Exit {
    let (mut open, mut exit): (Option<Vec<Asked>>, _) = (None, Exit::Done);
    loop {
        let reply = match heard.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {
                teller.tick(Instant::now());
                continue;
            }
            Ok(Heard::Interrupt) => {
                teller.end_line();
                return complain(&interrupted(open.as_deref()), Exit::Interrupted);
            }
            Ok(Heard::Reply(Err(error))) => {
                teller.end_line();
                return no_reply(&error);
            }
            Ok(Heard::Reply(Ok(None))) | Err(RecvTimeoutError::Disconnected) => {
                teller.end_line();
                return exit.or_worse(cut_off(open.as_deref()));
            }
            Ok(Heard::Reply(Ok(Some(reply)))) => reply,
        };
        teller.tell(&reply, Instant::now());
        match reply {
            Reply::Asked { walks } => open = Some(walks),
            Reply::Progress(_) => {}
            Reply::Ended(end) => {
                exit = exit.or_worse(exit_of(end.outcome));
                open.iter_mut().for_each(|open| open.retain(|walk| (&walk.app, walk.generation) != (&end.app, end.generation)));
            }
            Reply::Error { message } => return complain(&message, Exit::Bad),
            Reply::Status(_) | Reply::Stopping => return complain("the server answered something else", Exit::Bad),
        }
        if open.as_ref().is_some_and(|open| open.is_empty() || !wait) {
            return exit;
        }
    }
}

fn exit_of(outcome: OutcomeKind) -> Exit {
    match outcome {
        OutcomeKind::Done => Exit::Done,
        OutcomeKind::Failed => Exit::Failed,
        OutcomeKind::RolledBack => Exit::RolledBack,
        OutcomeKind::Superseded => Exit::Superseded,
        OutcomeKind::Stopped => Exit::Stopped,
    }
}

fn interrupted(open: Option<&[Asked]>) -> String {
    match open {
        Some(open) => format!("interrupted; the restart goes on: {} (rota status shows it)", names(open)),
        None => "interrupted; if the restart was asked for already, it goes on (rota status shows it)".to_owned(),
    }
}

/// The connection ended too early.
fn cut_off(open: Option<&[Asked]>) -> Exit {
    match open {
        Some(open) => complain(&format!("the server ended before this restart did: {}", names(open)), Exit::Stopped),
        None => complain("the server ended the connection without an answer", Exit::Bad),
    }
}

fn names(walks: &[Asked]) -> String {
    let names: Vec<String> = walks.iter().map(|walk| format!("{} {}", walk.app, walk.generation)).collect();
    names.join(", ")
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

fn terminal_width() -> usize {
    let columns = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| size.ws_col);
    // Some terminals say 0.
    if columns == 0 { 80 } else { usize::from(columns) }
}

/// The seconds of a live line have one decimal; four times in a second is as good and calmer.
const TICK: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::proto::WalkEnd;
    use crate::ids::{AppName, Generation};
    use crate::pool::Outcome;

    /// What is said on stdout, and the exit, when this is heard and then nothing more.
    fn told(heard: Vec<Heard>, wait: bool) -> (String, Exit) {
        let (sender, receiver) = unbounded();
        heard.into_iter().for_each(|heard| sender.send(heard).unwrap());
        drop(sender);
        let mut out = Vec::new();
        let exit = follow(&receiver, &mut Teller::new(&mut out, Look::Plain, Paint(false)), wait);
        (String::from_utf8(out).unwrap(), exit)
    }

    fn reply(reply: Reply) -> Heard {
        Heard::Reply(Ok(Some(reply)))
    }

    fn asked(apps: &[&str]) -> Heard {
        reply(Reply::Asked { walks: apps.iter().map(|app| Asked { app: AppName::new(app).unwrap(), generation: Generation(8) }).collect() })
    }

    fn ended(app: &str, outcome: OutcomeKind) -> Heard {
        let end = WalkEnd::new(&AppName::new(app).unwrap(), Generation(8), &Outcome::Done, None);
        reply(Reply::Ended(Box::new(WalkEnd { outcome, ..end })))
    }

    #[test]
    fn each_outcome_has_its_exit_status() {
        for (outcome, exit) in [
            (OutcomeKind::Done, 0),
            (OutcomeKind::Failed, 4),
            (OutcomeKind::RolledBack, 5),
            (OutcomeKind::Superseded, 6),
            (OutcomeKind::Stopped, 7),
        ] {
            assert_eq!(told(vec![asked(&["blog"]), ended("blog", outcome)], true).1 as u8, exit);
        }
    }

    #[test]
    fn of_several_apps_the_worst_counts_and_all_are_waited_for() {
        let ends = [ended("a", OutcomeKind::Failed), ended("b", OutcomeKind::Superseded), ended("c", OutcomeKind::Done)];
        let (text, exit) = told([asked(&["a", "b", "c"])].into_iter().chain(ends).collect(), true);
        assert_eq!(exit, Exit::Failed);
        assert!(text.contains("\nc g8: done"), "{text}");
    }

    #[test]
    fn who_does_not_wait_goes_when_it_is_asked_for() {
        assert_eq!(told(vec![asked(&["blog"])], false).1, Exit::Done);
    }

    #[test]
    fn a_server_without_apps_has_nothing_to_wait_for() {
        assert_eq!(told(vec![asked(&[])], true), (String::new(), Exit::Done));
    }

    #[test]
    fn an_interrupt_leaves_the_restart_to_the_server() {
        assert_eq!(told(vec![asked(&["blog"]), Heard::Interrupt], true).1 as u8, 130);
        let walks = [Asked { app: AppName::new("blog").unwrap(), generation: Generation(8) }];
        assert_eq!(interrupted(Some(&walks)), "interrupted; the restart goes on: blog g8 (rota status shows it)");
    }

    #[test]
    fn a_server_that_ends_first_is_told_from_one_that_says_nothing() {
        assert_eq!(told(vec![asked(&["blog"])], true).1, Exit::Stopped);
        assert_eq!(told(vec![], true).1, Exit::Bad);
        assert_eq!(told(vec![asked(&["a", "b"]), ended("a", OutcomeKind::Failed)], true).1, Exit::Failed);
        assert_eq!(told(vec![reply(Reply::Error { message: "there is no app \"x\"".to_owned() })], true).1, Exit::Bad);
    }
}
