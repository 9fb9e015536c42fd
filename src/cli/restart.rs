//! `rota restart`, `deploy`, `rollback` and `abort`: ask for a walk, tell how it goes and how it ended. The walk is the server's: it goes on
//! without us.

mod teller;

use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use super::Exit;
use super::hear::{Heard, TICK, listen, something_else};
use super::say::{Paint, complain, is_live, no_reply, terminal_size};
use crate::control::proto::{Asked, OutcomeKind, Reply, Request};
use teller::{Look, Teller};

/// What is asked for.
#[derive(Debug)]
pub struct Wish {
    /// Answered by [`Reply::Asked`] and what follows it.
    pub request: Request,
    /// As it says.
    pub wait: bool,
    pub json: bool,
}

pub fn run(socket: &Path, wish: &Wish, paint: Paint) -> Exit {
    let heard = match listen(socket, &wish.request, wish.wait) {
        Ok(heard) => heard,
        Err(exit) => return exit,
    };
    let look = match (wish.json, wish.wait) {
        (true, _) => Look::Json,
        (false, true) if is_live() => Look::Live { width: terminal_size().1 },
        (false, true) => Look::Plain,
        (false, false) => Look::NoWait,
    };
    // Whoever calls a walk off has what they wanted when it is.
    let aborts = matches!(wish.request, Request::Abort { .. });
    match follow(&heard, &mut Teller::new(io::stdout(), look, paint), wish.wait) {
        Exit::Aborted if aborts => Exit::Done,
        exit => exit,
    }
}

/// Tells what is heard until everything that was asked for has ended.
fn follow(heard: &Receiver<Heard>, teller: &mut Teller<impl Write>, wait: bool) -> Exit {
    let (mut open, mut exit): (Option<Vec<Asked>>, _) = (None, Exit::Done);
    loop {
        let reply = match heard.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {
                teller.resize(terminal_size().1);
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
            Reply::Asked { walks, .. } => open = Some(walks),
            Reply::Progress(_) => {}
            Reply::Plan { dry_run: true, .. } => return exit,
            Reply::Plan { .. } => {}
            Reply::Ended(end) => {
                exit = exit.or_worse(exit_of(end.outcome));
                open.iter_mut().for_each(|open| open.retain(|walk| (&walk.app, walk.generation) != (&end.app, end.generation)));
            }
            Reply::Error { message } => return complain(&message, Exit::Bad),
            _ => return something_else(),
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
        OutcomeKind::Aborted => Exit::Aborted,
    }
}

fn interrupted(open: Option<&[Asked]>) -> String {
    match open {
        Some([walk]) => format!(
            "interrupted; it goes on: {} {} (rota status {} shows it, rota abort {} calls it off)",
            walk.app, walk.generation, walk.app, walk.app
        ),
        Some(open) => format!("interrupted; they go on: {} (rota status shows them, rota abort APP calls one off)", names(open)),
        None => "interrupted; if it was asked for already, it goes on (rota status shows it)".to_owned(),
    }
}

/// The connection ended too early.
fn cut_off(open: Option<&[Asked]>) -> Exit {
    match open {
        Some(open) => complain(&format!("the server ended before this did: {}", names(open)), Exit::Stopped),
        None => complain("the server ended the connection without an answer", Exit::Bad),
    }
}

fn names(walks: &[Asked]) -> String {
    let names: Vec<String> = walks.iter().map(|walk| format!("{} {}", walk.app, walk.generation)).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::unbounded;

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
        reply(Reply::Asked {
            walks: apps.iter().map(|app| Asked { app: AppName::new(app).unwrap(), generation: Generation(8) }).collect(),
            config: None,
        })
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
            (OutcomeKind::Aborted, 8),
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
        let one = "interrupted; it goes on: blog g8 (rota status blog shows it, rota abort blog calls it off)";
        assert_eq!(interrupted(Some(&walks)), one);
        let two = [walks[0].clone(), Asked { app: AppName::new("shop").unwrap(), generation: Generation(2) }];
        let says = "interrupted; they go on: blog g8, shop g2 (rota status shows them, rota abort APP calls one off)";
        assert_eq!(interrupted(Some(&two)), says);
    }

    #[test]
    fn a_server_that_ends_first_is_told_from_one_that_says_nothing() {
        assert_eq!(told(vec![asked(&["blog"])], true).1, Exit::Stopped);
        assert_eq!(told(vec![], true).1, Exit::Bad);
        assert_eq!(told(vec![asked(&["a", "b"]), ended("a", OutcomeKind::Failed)], true).1, Exit::Failed);
        assert_eq!(told(vec![reply(Reply::Error { message: "there is no app \"x\"".to_owned() })], true).1, Exit::Bad);
    }
}
