//! Round trips, the exact lines, and what is refused.

use std::time::Duration;

use super::*;
use crate::config::Sizes;
use crate::ids::ProcessName;
use crate::pool::{BackoffView, Exit, Failure, FailureKind, GroupView, Limit, Outcome, ProcessView, ResistView, Trigger, WalkView, Worn};

fn blog() -> AppName {
    AppName::new("blog").unwrap()
}

fn failure() -> Failure {
    let kind = FailureKind::Exited { exit: Exit::Status(1), after: Duration::from_millis(420), in_probation: false, had: String::new() };
    Failure { kind, output: vec!["ImportError: no module named x".to_owned()] }
}

fn walk() -> WalkView {
    WalkView {
        generation: Generation(8),
        kind: "restart",
        trigger: Trigger::Signal,
        since: Duration::from_millis(6040),
        replaced: 2,
        of: 4,
        at: Some(Number(3)),
        phase: "boot",
        phase_for: Duration::from_millis(1200),
        answer: None,
        left: None,
        makes_room: None,
        skipped: vec![Number(1)],
    }
}

#[test]
fn requests_read_as_they_were_written() {
    for (request, line) in [
        (Request::Status { app: None }, r#"{"app":null,"do":"status","v":1}"#),
        (
            Request::Restart { app: Some("blog".to_owned()), wait: true, at_once: false },
            r#"{"app":"blog","at_once":false,"do":"restart","v":1,"wait":true}"#,
        ),
        (Request::Stop {}, r#"{"do":"stop","v":1}"#),
    ] {
        assert_eq!(request_line(&request), format!("{line}\n").into_bytes());
        assert_eq!(parse_request(line.as_bytes()), Ok(request));
    }
}

#[test]
fn what_may_be_left_out_means_all_and_not_waiting() {
    assert_eq!(parse_request(br#"{"v":1,"do":"restart"}"#), Ok(Request::Restart { app: None, wait: false, at_once: false }));
    assert_eq!(parse_request(br#"{"v":1,"do":"status"}"#), Ok(Request::Status { app: None }));
}

#[test]
fn what_is_not_understood_is_told_what_would_be() {
    for (line, why) in [
        ("", "no JSON: "),
        ("[]", "no version"),
        ("7", "no version"),
        (r#"{"do":"status"}"#, "no version"),
        (r#"{"v":2,"do":"status"}"#, "version 2 is not understood"),
        (r#"{"v":"1","do":"status"}"#, "version \"1\" is not understood"),
        (r#"{"v":1}"#, "missing field `do`"),
        (r#"{"v":1,"do":"dance"}"#, "unknown variant `dance`"),
        (r#"{"v":1,"do":"restart","app":5}"#, "expected a string"),
        (r#"{"v":1,"do":"restart","wait":"yes"}"#, "expected a boolean"),
        // A slip of the pen must not restart every app, nor stop anything.
        (r#"{"v":1,"do":"restart","ap":"blog"}"#, "unknown field `ap`"),
        (r#"{"v":1,"do":"stop","app":"blog"}"#, "unknown field `app`"),
    ] {
        let error = parse_request(line.as_bytes()).unwrap_err();
        assert!(error.contains(why), "{line}: {error}");
        assert!(error.ends_with(UNDERSTOOD), "{error}");
    }
}

#[test]
fn a_walk_reads_on_the_wire_as_documented() {
    let line = reply_line(&Reply::Progress(Box::new(Progress::new(&blog(), &walk()))));
    let expected = concat!(
        r#"{"event":"progress","app":"blog","generation":8,"kind":"restart","trigger":"signal","phase":"boot","number":3,"#,
        r#""replaced":2,"of":4,"seconds":6.04,"phase_seconds":1.2,"answer":null,"left_seconds":null,"makes_room":null,"skipped":[1]}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

#[test]
fn an_end_reads_on_the_wire_as_documented() {
    let outcome = Outcome::Failed { failure: failure(), at: Number(3), replaced: 2, skipped: vec![] };
    let end = WalkEnd { seconds: 7.5, ..WalkEnd::new(&blog(), Generation(8), &outcome, Some("g7 /srv/blog/41".to_owned())) };
    let expected = concat!(
        r#"{"event":"ended","app":"blog","generation":8,"outcome":"failed","#,
        r#""message":"failed at process 3, 2 replaced: exited with status 1 after 0.42 s, before it was ready","but":null,"#,
        r#""output":["ImportError: no module named x"],"at":3,"replaced":2,"skipped":[],"serving":"g7 /srv/blog/41","finishing":[],"not_written":null,"lost":null,"seconds":7.5}"#,
        "\n"
    );
    assert_eq!(String::from_utf8(reply_line(&Reply::Ended(Box::new(end)))).unwrap(), expected);
}

#[test]
fn each_outcome_has_its_word() {
    let rolled_back = Outcome::RolledBack { failure: failure(), at: Number(3), replaced: 2 };
    let words = [Outcome::Done, rolled_back, Outcome::Superseded { by: Generation(9) }, Outcome::Stopped]
        .map(|outcome| serde_json::to_string(&WalkEnd::new(&blog(), Generation(8), &outcome, None).outcome).unwrap());
    assert_eq!(words, [r#""done""#, r#""rolled_back""#, r#""superseded""#, r#""stopped""#]);
}

#[test]
fn every_reply_reads_as_it_was_written() {
    let asked = vec![Asked { app: blog(), generation: Generation(8) }];
    let end = WalkEnd::new(&blog(), Generation(8), &Outcome::Superseded { by: Generation(9) }, None);
    for reply in [
        Reply::Asked { walks: asked, config: None },
        Reply::Progress(Box::new(Progress::new(&blog(), &walk()))),
        Reply::Ended(Box::new(end)),
        Reply::Status(Box::new(status())),
        Reply::Stopping,
        Reply::Error { message: "no app \"x\"\nhere".to_owned() },
    ] {
        let line = reply_line(&reply);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1, "one line each");
        assert_eq!(parse_reply(&line).unwrap(), reply);
    }
}

#[test]
fn a_field_of_a_newer_server_is_passed_over() {
    assert_eq!(parse_reply(br#"{"event":"stopping","because":"so"}"#).unwrap(), Reply::Stopping);
    let line = br#"{"event":"asked","walks":[{"app":"blog","generation":8,"colour":"blue"}]}"#;
    assert_eq!(parse_reply(line).unwrap(), Reply::Asked { walks: vec![Asked { app: blog(), generation: Generation(8) }], config: None });
}

#[test]
fn time_alone_is_no_news() {
    let before = Progress::new(&blog(), &walk());
    let later = WalkView { since: Duration::from_secs(9), phase_for: Duration::from_secs(4), ..walk() };
    assert!(!Progress::new(&blog(), &later).is_news_after(&before));
    for news in [
        WalkView { phase: "probation", ..walk() },
        WalkView { at: Some(Number(4)), ..walk() },
        WalkView { replaced: 3, ..walk() },
        WalkView { answer: Some("GET / answered 500".to_owned()), ..walk() },
        WalkView { kind: "rollback", ..walk() },
        WalkView { skipped: vec![Number(1), Number(3)], ..walk() },
    ] {
        assert!(Progress::new(&blog(), &news).is_news_after(&before), "{news:?}");
    }
}

#[test]
fn the_whole_view_of_a_group_is_told() {
    let app = status().apps.remove(0);
    let expected = concat!(
        r#"{"app":"blog","root":"","generation":7,"release":"/srv/blog/7","passed_over":null,"command":null,"detected":null,"processes_wanted":4,"processes_min":2,"processes_max":6,"held":{"limit":"max_processes","seconds":2.5},"concurrency":5,"#,
        r#""processes":[{"number":3,"generation":8,"pid":4711,"release":"/srv/blog/8","state":"starting","state_seconds":1.2,"age":1.25,"#,
        r#""slots":5,"sessions":0,"processed":12,"errors":1,"last_used":0.5,"replaced":"after 1,000 requests","finishes_for":null,"cpu":null,"memory":null,"children":null}],"#,
        r#""queue":{"length":2,"max":100,"age":0.25,"refused":3,"expired":4},"#,
        r#""walk":{"app":"blog","generation":8,"kind":"restart","trigger":"signal","phase":"boot","number":3,"replaced":2,"of":4,"#,
        r#""seconds":6.04,"phase_seconds":1.2,"answer":null,"left_seconds":null,"makes_room":null,"skipped":[1]},"#,
        r#""resists":{"generation":6,"release":"/srv/blog/6","seconds":90.0,"at":1,"#,
        r#""message":"exited with status 1 after 0.42 s, before it was ready","output":["ImportError: no module named x"]},"#,
        r#""backoff":{"failures":3,"retry_in":4.0},"not_written":null,"lost":null,"removed":false,"survivors":0,"pause":null,"turned":null,"#,
        r#""last_failure":{"number":1,"generation":6,"seconds":90.0,"#,
        r#""message":"exited with status 1 after 0.42 s, before it was ready","output":["ImportError: no module named x"]}}"#,
    );
    assert_eq!(serde_json::to_string(&app).unwrap(), expected);
}

#[test]
fn a_replacement_stands_beside_the_one_that_it_replaces() {
    let mut view = view();
    let process = view.processes.remove(0);
    let named = |number, generation| ProcessName { app: blog(), number: Number(number), generation: Generation(generation) };
    // As the table has them: in the order in which they were started.
    for name in [named(2, 7), named(1, 7), named(2, 8)] {
        view.processes.push(ProcessView { name, ..process.clone() });
    }
    let processes = AppStatus::new(view, |_| None).processes;
    let order: Vec<_> = processes.iter().map(|process| (process.number.0, process.generation.0)).collect();
    assert_eq!(order, [(1, 7), (2, 7), (2, 8)]);
}

fn view() -> GroupView {
    let name = |number, generation| ProcessName { app: blog(), number: Number(number), generation: Generation(generation) };
    GroupView {
        app: blog(),
        processes_wanted: 4,
        sizes: Sizes { min: 2, max: 6, idle: Duration::from_secs(300) },
        held: Some((Limit::Processes, Duration::from_millis(2500))),
        concurrency: 5,
        good: Some(Generation(7)),
        processes: vec![ProcessView {
            name: name(3, 8),
            pid: Some(4711),
            state: "starting",
            state_for: Duration::from_millis(1200),
            age: Duration::from_millis(1250),
            slots: 5,
            sessions: 0,
            processed: 12,
            errors: 1,
            last_used: Some(Duration::from_millis(500)),
            worn: Some(Worn::Requests(1000)),
            outlasts: None,
        }],
        queue_len: 2,
        queue_max: 100,
        queue_age: Some(Duration::from_micros(250_400)),
        queue_refused: 3,
        queue_expired: 4,
        walk: Some(walk()),
        resists: Some(ResistView { generation: Generation(6), since: Duration::from_secs(90), at: Number(1), failure: failure() }),
        backoff: Some(BackoffView { failures: 3, retry_in: Duration::from_secs(4) }),
        pause: None,
        turned: None,
        last_failure: Some((name(1, 6), failure(), Duration::from_secs(90))),
    }
}

fn status() -> StatusReply {
    StatusReply {
        schema: SCHEMA,
        version: "0.1.0".to_owned(),
        pid: 1,
        uptime: 3600.5,
        listen: vec!["127.0.0.1:80".to_owned()],
        not_listening: vec![NotListening { at: "127.0.0.1:80".to_owned(), message: "Address in use".to_owned() }],
        broken: vec![Broken { app: "shop".to_owned(), message: "/etc/rota/apps.d/shop.toml: unknown key".to_owned() }],
        drained: false,
        config: Some(ConfigRead { file: "/etc/rota/rota.toml".into(), stamp: 7 }),
        config_changed: None,
        connections: 3,
        spooled: 0,
        apps: vec![AppStatus::new(view(), |generation| Some(format!("/srv/blog/{}", generation.0)))],
    }
}
