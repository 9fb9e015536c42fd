//! `rota restart`: asks for a rolling restart, shows where it is, and says how it ended. The exit status is the worst of the apps'.

use std::io::{IsTerminal, Write};
use std::path::Path;

use super::table::span;
use super::{Exit, no_answer};
use crate::control::client::Conversation;
use crate::control::proto::{Asked, Ended, OutcomeKind, Progress, Reply, Request};

/// What the caller wants of the command.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub wait: bool,
    pub json: bool,
}

pub fn run(socket: &Path, app: Option<&str>, wish: &Wish) -> Exit {
    let request = Request::Restart { app: app.map(str::to_owned), wait: wish.wait };
    let mut conversation = match Conversation::start(socket, &request) {
        Ok(conversation) => conversation,
        Err(error) => return no_answer(&error),
    };
    if wish.wait {
        on_interrupt();
    }
    let mut teller = Teller { live: !wish.json && std::io::stdout().is_terminal(), json: wish.json };
    let (mut exit, mut open) = (Exit::Done, Vec::new());
    loop {
        let reply = match conversation.next_reply() {
            Ok(Some(reply)) => reply,
            Ok(None) => break,
            Err(error) => return no_answer(&error),
        };
        teller.json(&reply);
        match reply {
            Reply::Asked { walks } => {
                teller.asked(&walks, wish.wait);
                if wish.wait {
                    open = walks;
                }
            }
            Reply::Progress(progress) => teller.progress(&progress),
            Reply::Ended(ended) => {
                open.retain(|walk| walk.app != ended.app);
                exit = exit.max(status(ended.outcome));
                teller.ended(&ended);
            }
            Reply::Error { message } => {
                eprintln!("rota: {message}");
                return Exit::Bad;
            }
            Reply::Status(_) | Reply::Stopping => {}
        }
    }
    if !open.is_empty() {
        let apps: Vec<String> = open.iter().map(|walk| walk.app.to_string()).collect();
        eprintln!("rota: the server ended before the restart of {} did", apps.join(", "));
        return Exit::Stopped;
    }
    exit
}

fn status(outcome: OutcomeKind) -> Exit {
    match outcome {
        OutcomeKind::Done => Exit::Done,
        OutcomeKind::Failed => Exit::Failed,
        OutcomeKind::RolledBack => Exit::RolledBack,
        OutcomeKind::Superseded => Exit::Superseded,
        OutcomeKind::Stopped => Exit::Stopped,
    }
}

/// The walk is the server's: it goes on without us, and that is said.
fn on_interrupt() {
    let signals = signal_hook::iterator::Signals::new([signal_hook::consts::SIGINT]);
    let Ok(mut signals) = signals else { return };
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            eprintln!("\nrota: interrupted; the restart goes on (rota status shows it)");
            std::process::exit(130);
        }
    });
}

/// Says it on the terminal (in place), as plain lines, or as JSON.
struct Teller {
    live: bool,
    json: bool,
}

impl Teller {
    fn json(&self, reply: &Reply) {
        if self.json
            && let Ok(line) = serde_json::to_string(reply)
        {
            println!("{line}");
        }
    }

    fn asked(&self, walks: &[Asked], wait: bool) {
        if self.json {
            return;
        }
        for Asked { app, generation } in walks {
            println!("{app}: rolling restart to {generation}{}", if wait { "" } else { " asked for" });
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.json {
            return;
        }
        let line = progress_line(progress);
        if self.live {
            // Back to the start of the line, which the next line or the end overwrites.
            print!("\r\x1b[K{} {line}", bar(progress));
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }

    fn ended(&mut self, ended: &Ended) {
        if self.json {
            return;
        }
        if self.live {
            print!("\r\x1b[K");
        }
        print!("{}", end_text(ended));
        let _ = std::io::stdout().flush();
    }
}

/// `blog g8: 2 of 4 replaced; process 3: boot, 1.2 s`
fn progress_line(progress: &Progress) -> String {
    let Progress { app, generation, kind, phase, replaced, of, .. } = progress;
    let back = if kind == "rollback" { ", rolling back" } else { "" };
    let place = progress.number.map(|number| format!("process {number}: ")).unwrap_or_default();
    format!("{app} {generation}{back}: {replaced} of {of} replaced; {place}{phase}, {}", span(progress.seconds))
}

fn bar(progress: &Progress) -> String {
    let (done, of) = (usize::from(progress.replaced), usize::from(progress.of).max(1));
    let filled = WIDTH * done.min(of) / of;
    format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

fn end_text(ended: &Ended) -> String {
    let Ended { app, generation, message, .. } = ended;
    let serving = ended.serving.as_deref().unwrap_or("nothing");
    let mut text = match ended.outcome {
        OutcomeKind::Done => format!("{app} {generation}: done, {message}; {serving} serves\n"),
        OutcomeKind::Failed if ended.serving.is_none() => {
            format!("{app} {generation}: FAILED: {message}\nnothing serves; it is tried again\n")
        }
        OutcomeKind::Failed => format!("{app} {generation}: FAILED: {message}\nthe old release still serves: {serving}\n"),
        OutcomeKind::RolledBack => format!("{app} {generation}: ROLLED BACK: {message}\nthe old release serves again: {serving}\n"),
        OutcomeKind::Superseded | OutcomeKind::Stopped => format!("{app} {generation}: {message}\n"),
    };
    if !ended.output.is_empty() {
        text.push_str("the last that it printed:\n");
    }
    for line in &ended.output {
        text.push_str(&format!("  | {line}\n"));
    }
    text
}

const WIDTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AppName, Generation, Number};

    fn progress() -> Progress {
        Progress {
            app: AppName::new("blog").unwrap(),
            generation: Generation(8),
            kind: "restart".to_owned(),
            trigger: "command".to_owned(),
            phase: "boot".to_owned(),
            number: Some(Number(3)),
            replaced: 2,
            of: 4,
            seconds: 6.04,
            phase_seconds: 1.2,
            skipped: vec![],
        }
    }

    #[test]
    fn a_step_is_one_line() {
        assert_eq!(progress_line(&progress()), "blog g8: 2 of 4 replaced; process 3: boot, 6.0 s");
        let back = Progress { kind: "rollback".to_owned(), ..progress() };
        assert_eq!(progress_line(&back), "blog g8, rolling back: 2 of 4 replaced; process 3: boot, 6.0 s");
        assert_eq!(bar(&progress()), "[########........]");
    }

    #[test]
    fn a_failure_shows_what_serves_and_what_the_process_printed() {
        let ended = Ended {
            app: AppName::new("blog").unwrap(),
            generation: Generation(8),
            outcome: OutcomeKind::Failed,
            message: "failed at process 1, 0 replaced: exited with status 1".to_owned(),
            output: vec!["Traceback (most recent call last):".to_owned(), "ImportError: x".to_owned()],
            serving: Some("g7 /srv/blog/41".to_owned()),
        };
        let expected = "\
blog g8: FAILED: failed at process 1, 0 replaced: exited with status 1
the old release still serves: g7 /srv/blog/41
the last that it printed:
  | Traceback (most recent call last):
  | ImportError: x
";
        assert_eq!(end_text(&ended), expected);
    }
}
