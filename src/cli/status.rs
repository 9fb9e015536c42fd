//! `rota status`: what runs, what waits, what is being replaced, and what went wrong.

use std::fmt::Write;
use std::path::Path;

use super::table::{size, span, table};
use super::{Exit, no_answer};
use crate::control::client::Conversation;
use crate::control::proto::{AppStatus, ProcessStatus, Progress, Reply, Request, Status};

pub fn run(socket: &Path, app: Option<&str>, json: bool) -> Exit {
    let request = Request::Status { app: app.map(str::to_owned) };
    let reply = Conversation::start(socket, &request).and_then(|mut conversation| conversation.next_reply());
    match reply {
        Ok(Some(Reply::Status(status))) if json => match serde_json::to_string_pretty(&status) {
            Ok(text) => {
                println!("{text}");
                Exit::Done
            }
            Err(error) => {
                eprintln!("rota: {error}");
                Exit::Bad
            }
        },
        Ok(Some(Reply::Status(status))) => {
            print!("{}", render(&status));
            Exit::Done
        }
        Ok(Some(Reply::Error { message })) => {
            eprintln!("rota: {message}");
            Exit::Bad
        }
        Ok(Some(Reply::Asked { .. } | Reply::Progress(_) | Reply::Ended(_) | Reply::Stopping) | None) => {
            eprintln!("rota: the server gave no status");
            Exit::Bad
        }
        Err(error) => no_answer(&error),
    }
}

/// The whole page.
fn render(status: &Status) -> String {
    let mut text = format!(
        "rota {} pid {}, up {}, {} connections, listens on {}\n",
        status.version,
        status.pid,
        span(status.uptime),
        status.connections,
        status.listen.join(", ")
    );
    if status.apps.is_empty() {
        text.push_str("no apps yet\n");
    }
    for app in &status.apps {
        text.push('\n');
        // Writing to a string does not fail.
        let _ = render_app(&mut text, app);
    }
    text
}

fn render_app(text: &mut String, app: &AppStatus) -> std::fmt::Result {
    match (&app.generation, &app.release) {
        (Some(generation), Some(release)) => writeln!(text, "{}  {generation} {release}", app.app)?,
        (_, _) => writeln!(text, "{}  no release has started yet", app.app)?,
    }
    let queue = &app.queue;
    write!(text, "  queue {} of {}", queue.length, queue.max)?;
    if let Some(age) = queue.age {
        write!(text, ", the first waits {}", span(age))?;
    }
    writeln!(text, "; refused {}, too old {}", queue.refused, queue.expired)?;
    if let Some(walk) = &app.walk {
        writeln!(text, "  {}", walk_line(walk))?;
    }
    if let Some(resists) = &app.resists {
        let release = resists.release.as_deref().unwrap_or("");
        writeln!(
            text,
            "  RESISTS {} {release} for {}: process {}: {}",
            resists.generation,
            span(resists.seconds),
            resists.number,
            resists.reason
        )?;
        writeln!(text, "    the release before it serves; put it right and run: rota restart {}", app.app)?;
        output(text, &resists.output)?;
    }
    if let Some(backoff) = &app.backoff {
        writeln!(text, "  backoff: {} failed starts in a row, next try in {}", backoff.failures, span(backoff.retry_in))?;
    }
    if let Some(failure) = app.last_failure.as_ref().filter(|_| app.resists.is_none()) {
        writeln!(text, "  last failure: {}, {} ago: {}", failure.process, span(failure.seconds), failure.reason)?;
        output(text, &failure.output)?;
    }
    let rows: Vec<Vec<String>> = app.processes.iter().map(|process| row(app, process)).collect();
    if rows.is_empty() {
        return writeln!(text, "  no processes");
    }
    let heading = [">#", "gen", ">pid", "state", "sessions", ">processed", ">errors", ">cpu", ">memory", "last used"];
    text.push_str(&table(&heading, &rows, 2));
    Ok(())
}

fn row(app: &AppStatus, process: &ProcessStatus) -> Vec<String> {
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    vec![
        process.number.to_string(),
        process.generation.to_string(),
        or_none(process.pid.map(|pid| pid.to_string())),
        format!("{} {}", process.state, span(process.state_seconds)),
        format!("{}/{}", process.sessions, app.concurrency),
        process.processed.to_string(),
        process.errors.to_string(),
        or_none(process.cpu.map(|cpu| format!("{cpu:.0}%"))),
        or_none(process.memory.map(size)),
        process.last_used.map_or_else(|| "never".to_owned(), |ago| format!("{} ago", span(ago))),
    ]
}

/// `restart to g8: 2 of 4 replaced; process 3: boot for 1.2 s; 6.0 s in all`
fn walk_line(walk: &Progress) -> String {
    let place = walk.number.map(|number| format!("process {number}: ")).unwrap_or_default();
    let skipped: Vec<String> = walk.skipped.iter().map(ToString::to_string).collect();
    let skipped = if skipped.is_empty() { String::new() } else { format!("; skipped {}", skipped.join(", ")) };
    format!(
        "{} to {}: {} of {} replaced{skipped}; {place}{} for {}; {} in all",
        walk.kind,
        walk.generation,
        walk.replaced,
        walk.of,
        walk.phase,
        span(walk.phase_seconds),
        span(walk.seconds)
    )
}

/// Lines that the app printed; rota has made them harmless for a terminal when it read them.
fn output(text: &mut String, lines: &[String]) -> std::fmt::Result {
    lines.iter().try_for_each(|line| writeln!(text, "    | {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::proto::{Backoff, LastFailure, QueueStatus, Resists};
    use crate::ids::{AppName, Generation, Number};

    fn app() -> AppStatus {
        AppStatus {
            app: AppName::new("blog").unwrap(),
            generation: Some(Generation(7)),
            release: Some("/srv/blog/41".to_owned()),
            processes_wanted: 2,
            concurrency: 5,
            processes: vec![
                ProcessStatus {
                    number: Number(1),
                    generation: Generation(8),
                    pid: Some(4711),
                    state: "serving".to_owned(),
                    state_seconds: 3.2,
                    age: 4.0,
                    release: None,
                    sessions: 2,
                    processed: 31,
                    errors: 0,
                    last_used: Some(0.0),
                    cpu: Some(12.4),
                    memory: Some(69_206_016),
                },
                ProcessStatus {
                    number: Number(2),
                    generation: Generation(7),
                    pid: None,
                    state: "starting".to_owned(),
                    state_seconds: 0.1,
                    age: 0.1,
                    release: None,
                    sessions: 0,
                    processed: 0,
                    errors: 0,
                    last_used: None,
                    cpu: None,
                    memory: None,
                },
            ],
            queue: QueueStatus { length: 1, max: 100, age: Some(0.5), refused: 0, expired: 2 },
            walk: None,
            resists: None,
            backoff: None,
            last_failure: None,
        }
    }

    fn page(app: AppStatus) -> String {
        render(&Status {
            schema: 1,
            version: "0.1.0".to_owned(),
            pid: 100,
            uptime: 3700.0,
            listen: vec!["127.0.0.1:80".to_owned()],
            connections: 3,
            spooled: 0,
            apps: vec![app],
        })
    }

    #[test]
    fn a_restart_under_way_is_seen_with_each_process() {
        let walk = Progress {
            app: AppName::new("blog").unwrap(),
            generation: Generation(8),
            kind: "restart".to_owned(),
            trigger: "command".to_owned(),
            phase: "boot".to_owned(),
            number: Some(Number(2)),
            replaced: 1,
            of: 2,
            seconds: 6.0,
            phase_seconds: 1.2,
            skipped: vec![],
        };
        let expected = "\
rota 0.1.0 pid 100, up 1h 1m, 3 connections, listens on 127.0.0.1:80

blog  g7 /srv/blog/41
  queue 1 of 100, the first waits 0.5 s; refused 0, too old 2
  restart to g8: 1 of 2 replaced; process 2: boot for 1.2 s; 6.0 s in all
  #  gen   pid  state           sessions  processed  errors  cpu  memory  last used
  1  g8   4711  serving 3.2 s   2/5              31       0  12%  66 MiB  0.0 s ago
  2  g7      -  starting 0.1 s  0/5               0       0    -       -  never
";
        assert_eq!(page(AppStatus { walk: Some(walk), ..app() }), expected);
    }

    #[test]
    fn what_is_resisted_says_why_and_how_to_leave_it() {
        let resists = Resists {
            generation: Generation(8),
            release: Some("/srv/blog/42".to_owned()),
            seconds: 75.0,
            number: Number(1),
            reason: "exited with status 1 after 0.42 s, before it was ready".to_owned(),
            output: vec!["ImportError: no module named wsgi".to_owned()],
        };
        let text = page(AppStatus { resists: Some(resists), ..app() });
        let expected = "  RESISTS g8 /srv/blog/42 for 1m 15s: process 1: exited with status 1 after 0.42 s, before it was ready
    the release before it serves; put it right and run: rota restart blog
    | ImportError: no module named wsgi
";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn an_app_that_does_not_start_shows_the_next_try_and_its_output() {
        let backoff = Some(Backoff { failures: 3, retry_in: 3.4 });
        let output = vec!["boom".to_owned()];
        let last_failure =
            Some(LastFailure { process: "blog/1 g1".to_owned(), seconds: 0.6, reason: "exited with status 3".to_owned(), output });
        let text = page(AppStatus { generation: None, release: None, backoff, last_failure, processes: vec![], ..app() });
        let expected = "blog  no release has started yet
  queue 1 of 100, the first waits 0.5 s; refused 0, too old 2
  backoff: 3 failed starts in a row, next try in 3.4 s
  last failure: blog/1 g1, 0.6 s ago: exited with status 3
    | boom
  no processes
";
        assert!(text.ends_with(expected), "{text}");
    }
}
