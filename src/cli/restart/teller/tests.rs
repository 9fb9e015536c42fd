//! What is told, letter by letter.

use std::time::Duration;

use super::*;
use crate::cli::walk::tests::booting;
use crate::ids::{AppName, Generation, Number};
use crate::pool::{Exit, Failure, FailureKind, Outcome};

#[test]
fn on_a_pipe_every_change_is_a_line() {
    let replies = [
        asked(),
        Reply::Progress(Box::new(Progress { number: None, replaced: 0, phase: "resolve".to_owned(), ..booting() })),
        Reply::Progress(Box::new(booting())),
        ended(Outcome::Done, Some("g8 /srv/blog/releases/42")),
    ];
    let expected = "\
blog g8: asked for
blog g8: 0 of 4 replaced; resolve
blog g8: 2 of 4 replaced; process 3: boot
blog g8: done in 12 s: every process is replaced (g8 /srv/blog/releases/42)
";
    assert_eq!(told(Look::Plain, &replies), expected);
}

#[test]
fn on_a_terminal_one_line_is_rewritten_until_the_end() {
    let mut out = Vec::new();
    let mut teller = Teller::new(&mut out, Look::Live { width: 80 }, Paint(false));
    let now = Instant::now();
    teller.tell(&asked(), now);
    teller.tell(&Reply::Progress(Box::new(booting())), now);
    teller.tick(now + Duration::from_millis(2500));
    teller.tell(&ended(Outcome::Done, None), now);
    teller.tick(now + Duration::from_secs(9));
    teller.end_line();
    let expected = "\
\r\x1b[Kblog g8: asked for\
\r\x1b[K[######......] blog g8: 2 of 4 replaced; process 3: boot 1.2 s (6.0 s in all)\
\r\x1b[K[######......] blog g8: 2 of 4 replaced; process 3: boot 3.7 s (8.5 s in all)\
\r\x1b[Kblog g8: done in 12 s: every process is replaced
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_line_longer_than_the_terminal_is_cut_and_what_follows_begins_a_new_one() {
    let mut out = Vec::new();
    let mut teller = Teller::new(&mut out, Look::Live { width: 20 }, Paint(false));
    teller.tell(&Reply::Progress(Box::new(booting())), Instant::now());
    teller.end_line();
    teller.end_line();
    assert_eq!(String::from_utf8(out).unwrap(), "\r\x1b[Kblog g8: 2 of 4 rep\n");
}

#[test]
fn who_does_not_wait_is_told_where_to_look() {
    assert_eq!(told(Look::NoWait, &[asked()]), "blog g8: asked for; rota status shows how it goes\n");
}

#[test]
fn json_is_what_the_server_said() {
    let expected = concat!(r#"{"event":"asked","walks":[{"app":"blog","generation":8}]}"#, "\n", r#"{"event":"stopping"}"#, "\n");
    assert_eq!(told(Look::Json, &[asked(), Reply::Stopping]), expected);
}

#[test]
fn a_failure_says_what_serves_and_what_the_process_printed() {
    let outcome = Outcome::Failed { failure: failure(), at: Number(1), replaced: 0, skipped: vec![] };
    let expected = "\
blog g8: FAILED after 12 s: failed at process 1, 0 replaced: exited with status 1 after 0.42 s, before it was ready
  the old release still serves (g7 /srv/blog/releases/41)
  the last output of process 1:
  | Traceback (most recent call last):
  | ImportError: \\x1b[31mx
";
    assert_eq!(told(Look::Plain, &[ended(outcome, Some("g7 /srv/blog/releases/41"))]), expected);
}

#[test]
fn a_failure_half_way_says_that_both_serve() {
    let outcome = Outcome::Failed { failure: silent_failure(), at: Number(3), replaced: 2, skipped: vec![] };
    let expected = "\
blog g8: FAILED after 12 s: failed at process 3, 2 replaced: exited with status 1 after 0.42 s, before it was ready
  the old release still serves (g7 /srv/blog/releases/41), beside 2 of g8
";
    assert_eq!(told(Look::Plain, &[ended(outcome, Some("g7 /srv/blog/releases/41"))]), expected);
}

#[test]
fn a_walk_that_went_on_past_a_failure_says_who_is_left() {
    let outcome = Outcome::Failed { failure: silent_failure(), at: Number(2), replaced: 2, skipped: vec![Number(2), Number(4)] };
    let expected = "\
blog g8: FAILED after 12 s: 2 replaced, not replaced: 2, 4; process 2: exited with status 1 after 0.42 s, before it was ready
  the old release still serves as 2, 4; all others are new (g8 /srv/blog/releases/42)
";
    assert_eq!(told(Look::Plain, &[ended(outcome, Some("g8 /srv/blog/releases/42"))]), expected);
}

#[test]
fn a_first_start_that_failed_leaves_nothing() {
    let outcome = Outcome::Failed { failure: silent_failure(), at: Number(1), replaced: 0, skipped: vec![] };
    let text = told(Look::Plain, &[ended(outcome, None)]);
    assert!(text.ends_with("\n  nothing serves; it is tried again\n"), "{text}");
}

#[test]
fn a_rollback_is_told_while_it_runs_and_at_its_end() {
    let back = Progress { kind: "back".to_owned(), ..booting() };
    let outcome = Outcome::RolledBack { failure: silent_failure(), at: Number(3), replaced: 2 };
    let expected = "\
blog g8: rolling back, 2 of 4 back; process 3: boot
blog g8: ROLLED BACK after 12 s: failed at process 3, 2 replaced and rolled back: exited with status 1 after 0.42 s, before it was ready
  the old release serves again (g7 /srv/blog/releases/41)
";
    assert_eq!(told(Look::Plain, &[Reply::Progress(Box::new(back)), ended(outcome, Some("g7 /srv/blog/releases/41"))]), expected);
}

#[test]
fn the_time_left_is_told_when_the_last_walk_says_it() {
    let line = live_line(&Progress { left_seconds: Some(8.3), ..booting() }, 2.5, 100);
    assert_eq!(line, "[######......] blog g8: 2 of 4 replaced; process 3: boot 3.7 s (8.5 s in all, about 6 s left)");
}

#[test]
fn in_80_columns_the_time_left_goes_last() {
    let line = |width| live_line(&Progress { left_seconds: Some(8.3), ..booting() }, 2.5, width);
    assert_eq!(line(80), "[######......] blog g8: 2 of 4 replaced; process 3: boot 3.7 s (about 6 s left)");
    assert_eq!(line(75), "blog g8: 2 of 4 replaced; process 3: boot 3.7 s (about 6 s left)");
    assert_eq!(line(50), "blog g8: 2 of 4 replaced; process 3: boot 3.7 s");
}

#[test]
fn why_an_old_process_goes_first_stays_above_the_live_line_and_is_said_once() {
    let roomy = Progress { makes_room: Some("80 MiB of memory are left".to_owned()), ..booting() };
    let mut out = Vec::new();
    let mut teller = Teller::new(&mut out, Look::Live { width: 29 }, Paint(false));
    let now = Instant::now();
    teller.tell(&asked(), now);
    teller.tell(&Reply::Progress(Box::new(roomy.clone())), now);
    teller.tell(&Reply::Progress(Box::new(Progress { phase: "drain".to_owned(), ..roomy })), now);
    let expected = "\
\r\x1b[Kblog g8: asked for\
\r\x1b[Kblog g8: process 3: memory is short (80 MiB of memory are left): the old one goes first
\r\x1b[Kblog g8: 2 of 4 replaced; pr\
\r\x1b[Kblog g8: 2 of 4 replaced; pr";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn a_walk_that_was_called_off_says_so_and_what_serves() {
    let called_off = |replaced| told(Look::Plain, &[ended(Outcome::Aborted { replaced }, Some("g7 /srv/41"))]);
    assert_eq!(called_off(0), "blog g8: called off after 12 s: nothing was replaced\n  the old release serves (g7 /srv/41)\n");
    assert_eq!(called_off(2), "blog g8: called off after 12 s: 2 replaced and rolled back\n  the old release serves again (g7 /srv/41)\n");
}

#[test]
fn a_walk_that_did_not_come_to_its_end_says_why() {
    let by = Outcome::Superseded { by: Generation(9) };
    assert_eq!(told(Look::Plain, &[ended(by, Some("g7 /srv"))]), "blog g8: superseded by g9 after 12 s\n");
    assert_eq!(told(Look::Plain, &[ended(Outcome::Stopped, None)]), "blog g8: stopped after 12 s\n");
}

#[test]
fn colours_are_on_the_outcome_only() {
    let text = end_text(&end(Outcome::Done, None), Paint(true));
    assert_eq!(text, "blog g8: \x1b[32mdone\x1b[0m in 12 s: every process is replaced\n");
}

#[test]
fn a_reader_that_went_away_ends_nothing() {
    let mut full: &mut [u8] = &mut [];
    let mut teller = Teller::new(&mut full, Look::Plain, Paint(false));
    teller.tell(&asked(), Instant::now());
    teller.tell(&ended(Outcome::Done, None), Instant::now());
}

fn told(look: Look, replies: &[Reply]) -> String {
    let mut out = Vec::new();
    let mut teller = Teller::new(&mut out, look, Paint(false));
    replies.iter().for_each(|reply| teller.tell(reply, Instant::now()));
    String::from_utf8(out).unwrap()
}

fn asked() -> Reply {
    Reply::Asked { walks: vec![Asked { app: AppName::new("blog").unwrap(), generation: Generation(8) }], config: None }
}

fn ended(outcome: Outcome, serving: Option<&str>) -> Reply {
    Reply::Ended(Box::new(end(outcome, serving)))
}

fn end(outcome: Outcome, serving: Option<&str>) -> WalkEnd {
    let end = WalkEnd::new(&AppName::new("blog").unwrap(), Generation(8), &outcome, serving.map(str::to_owned));
    WalkEnd { seconds: 12.3, ..end }
}

fn failure() -> Failure {
    let output = vec!["Traceback (most recent call last):".to_owned(), "ImportError: \x1b[31mx".to_owned()];
    Failure { output, ..silent_failure() }
}

fn silent_failure() -> Failure {
    let kind = FailureKind::Exited { exit: Exit::Status(1), after: Duration::from_millis(420), in_probation: false, had: String::new() };
    Failure { kind, output: Vec::new() }
}
