//! The server over a real socket, with an operator that answers what the test tells it to.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use mio::{Events, Poll};
use tempfile::TempDir;

use super::connection::{MAX_OUTPUT, MAX_REQUEST, PATIENCE};
use super::*;
use crate::control::proto::{ConfigRead, Reply, SCHEMA, StatusReply, Traffic, parse_reply};
use crate::ids::GroupId;
use crate::metrics::page::Form;
use crate::operators::{LOOKING_UP, OperatedApp, Person, Rights};
use crate::pool::Outcome;

#[test]
fn a_status_is_answered_and_the_connection_ends() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"status","app":"blog"}"#);
    let said = world.hear_all(&mut client);
    assert_eq!(said, [Reply::Status(Box::new(status("blog")))]);
    assert_eq!(world.server.next_deadline(), None, "its place is free");
}

#[test]
fn metrics_are_given_in_the_form_that_is_asked_for() {
    let mut world = World::new();
    for (request, expected) in [("", "OpenMetrics"), (r#","prometheus":true"#, "Prometheus")] {
        let mut client = world.client();
        client.send(&format!(r#"{{"v":1,"do":"metrics"{request}}}"#));
        assert_eq!(world.hear_all(&mut client), [Reply::Metrics { text: expected.to_owned() }]);
    }
}

#[test]
fn a_drain_is_answered_by_how_it_is_then_and_so_is_a_question() {
    let mut world = World::new();
    for (request, expected) in [("drained", false), ("drain", true), ("drained", true), ("undrain", false), ("drained", false)] {
        let mut client = world.client();
        client.send(&format!(r#"{{"v":1,"do":"{request}"}}"#));
        let said = world.hear_all(&mut client);
        let [Reply::Drained { drained, traffic, .. }] = &said[..] else { panic!("{said:?}") };
        assert_eq!((*drained, traffic.requests), (expected, 2), "{request}");
    }
}

#[test]
fn a_request_in_pieces_and_one_without_line_end_are_understood() {
    let mut world = World::new();
    let mut client = world.client();
    for piece in [r#"{"v":1,"#, r#""do":"sta"#, "tus\"}"] {
        client.0.write_all(piece.as_bytes()).unwrap();
        world.turn();
    }
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(world.hear_all(&mut client), [Reply::Status(Box::new(status("all")))]);
}

#[test]
fn what_is_refused_says_why() {
    let mut world = World::new();
    for (request, why) in [
        (r#"{"v":1,"do":"restart","app":"blgo"}"#.to_owned(), "there is no app \"blgo\""),
        (r#"{"v":7,"do":"status"}"#.to_owned(), "version 7 is not understood; understood is version 1"),
        (r#"{"v":1,"do":"explode"}"#.to_owned(), "\"status\", \"restart\", \"deploy\""),
        (String::new(), "no JSON"),
        (format!("{{\"v\":1,\"do\":\"{}\"}}", "x".repeat(MAX_REQUEST)), "at most 65536 bytes"),
    ] {
        let mut client = world.client();
        client.send(&request);
        let [Reply::Error { message }] = &world.hear_all(&mut client)[..] else { panic!("no error for {request}") };
        assert!(message.contains(why), "{message}");
    }
    assert!(world.operator.asked.is_empty());
}

#[test]
fn a_restart_that_is_only_asked_for_ends_at_once() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","app":"blog"}"#);
    assert_eq!(world.hear_all(&mut client), [asked(&["blog"])]);
    assert_eq!(world.operator.asked, ["blog"]);
}

#[test]
fn a_restart_is_carried_out_even_if_nobody_waits_for_the_answer() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","app":"blog","wait":true}"#);
    drop(client);
    world.turn_until(|world| !world.operator.asked.is_empty());
    assert_eq!(world.places(), 0, "who has left follows nothing");
}

#[test]
fn a_follower_hears_each_change_once_and_goes_after_the_end() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","app":"blog","wait":true}"#);
    assert_eq!(world.hear(&mut client), asked(&["blog"]));

    let step = |phase: &str, seconds| Progress { phase: phase.to_owned(), seconds, ..progress("blog") };
    for progress in [step("spawn", 0.1), step("spawn", 0.2), step("boot", 0.3), step("boot", 0.4)] {
        world.report("blog", WalkReport::Underway(progress));
    }
    world.now += Duration::from_millis(7500);
    let end = WalkEnd::new(&name("blog"), Generation(8), &Outcome::Done, Some("g8 /srv/blog/8".to_owned()));
    world.report("blog", WalkReport::Ended(end.clone()));
    let said = world.hear_all(&mut client);
    let end = WalkEnd { seconds: 7.5, ..end };
    assert_eq!(
        said,
        [Reply::Progress(Box::new(step("spawn", 0.1))), Reply::Progress(Box::new(step("boot", 0.3))), Reply::Ended(Box::new(end))]
    );
}

#[test]
fn a_follower_of_all_apps_hears_of_each_and_goes_after_the_last() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","wait":true}"#);
    assert_eq!(world.hear(&mut client), asked(&["blog", "shop"]));
    let end = |app: &str, outcome| WalkEnd::new(&name(app), Generation(8), outcome, None);
    world.report("blog", WalkReport::Ended(end("blog", &Outcome::Done)));
    assert_eq!(world.hear(&mut client), Reply::Ended(Box::new(end("blog", &Outcome::Done))));
    world.report("shop", WalkReport::Underway(progress("shop")));
    assert_eq!(world.hear(&mut client), Reply::Progress(Box::new(progress("shop"))));
    assert_eq!(world.places(), 1);
    world.report("shop", WalkReport::Ended(end("shop", &Outcome::Stopped)));
    assert_eq!(world.hear_all(&mut client), [Reply::Ended(Box::new(end("shop", &Outcome::Stopped)))]);
}

#[test]
fn a_follower_that_has_no_more_to_say_still_listens() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","app":"blog","wait":true}"#);
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(world.hear(&mut client), asked(&["blog"]));
    world.report("blog", WalkReport::Underway(progress("blog")));
    assert_eq!(world.hear(&mut client), Reply::Progress(Box::new(progress("blog"))));
}

#[test]
fn whoever_stops_the_server_hears_its_end() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"stop"}"#);
    assert_eq!(world.hear(&mut client), Reply::Stopping);
    assert_eq!((world.operator.stops, world.places()), (1, 1));
    assert_eq!(world.server.next_deadline(), None, "it may wait as long as the drain takes");
    let World { server, .. } = world;
    drop(server);
    assert_eq!(client.0.read(&mut [0; 16]).unwrap(), 0);
}

#[test]
fn a_silent_client_is_dropped_after_its_time_and_not_before() {
    let mut world = World::new();
    let mut client = world.client();
    client.0.write_all(b"{\"v\":1").unwrap();
    world.turn_until(|world| world.places() == 1);
    assert_eq!(world.server.next_deadline(), Some(world.now + PATIENCE));
    world.now += PATIENCE - Duration::from_millis(1);
    world.tick();
    assert_eq!(world.places(), 1);
    world.now += Duration::from_millis(1);
    world.tick();
    assert_eq!(world.places(), 0);
    // A reset rather than an end: it had sent something that nobody read.
    assert!(matches!(client.0.read(&mut [0; 16]), Ok(0) | Err(_)));
}

#[test]
fn a_client_that_does_not_read_is_dropped_and_takes_a_bounded_room() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"restart","app":"blog","wait":true}"#);
    world.turn_until(|world| world.places() == 1 && !world.operator.asked.is_empty());
    let long = "x".repeat(4096);
    let (mut steps, most) = (0, 64 * (MAX_OUTPUT / 4096));
    while world.places() == 1 && steps < most {
        world.report("blog", WalkReport::Underway(Progress { phase: format!("{long}{steps}"), ..progress("blog") }));
        steps += 1;
    }
    assert!(steps > MAX_OUTPUT / 4096 && steps < most, "{steps} steps");
    drop(client);
}

#[test]
fn a_status_that_nobody_reads_is_dropped_in_time() {
    let mut world = World::new();
    world.operator.padding = 4 << 20;
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"status"}"#);
    world.turn_until(|world| world.places() == 1 && world.operator.statuses == 1);
    world.now += PATIENCE;
    world.tick();
    assert_eq!(world.places(), 0);
    drop(client);
}

#[test]
fn a_long_status_reaches_a_client_that_reads() {
    let mut world = World::new();
    world.operator.padding = 4 << 20;
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"status"}"#);
    let [Reply::Status(status)] = &world.hear_all(&mut client)[..] else { panic!("no status") };
    assert_eq!(status.version.len(), 4 << 20);
}

#[test]
fn a_client_that_sends_on_and_on_after_its_request_is_dropped() {
    let mut world = World::new();
    let mut client = world.client();
    client.send(r#"{"v":1,"do":"stop"}"#);
    assert_eq!(world.hear(&mut client), Reply::Stopping);
    for _ in 0..64 {
        if client.0.write(&[b' '; 4096]).is_err() {
            break;
        }
        world.turn();
    }
    assert_eq!(world.places(), 0);
}

#[test]
fn a_client_too_many_is_told_and_the_others_are_served() {
    let mut world = World::new();
    let mut first: Vec<Client> = (0..TOKENS - 1).map(|_| world.client()).collect();
    world.turn_until(|world| world.places() == TOKENS - 1);
    let mut last = world.client();
    let [Reply::Error { message }] = &world.hear_all(&mut last)[..] else { panic!("no error") };
    assert_eq!(message, "busy: 3 clients are connected; try again");

    first[0].send(r#"{"v":1,"do":"status"}"#);
    assert_eq!(world.hear_all(&mut first[0]).len(), 1);
    let mut next = world.client();
    next.send(r#"{"v":1,"do":"status"}"#);
    assert_eq!(world.hear_all(&mut next).len(), 1, "a place that was left is taken again");
}

#[test]
fn an_event_for_a_client_that_has_gone_does_nothing() {
    let mut world = World::new();
    for token in [FIRST - 1, FIRST, FIRST + 1, FIRST + TOKENS - 1, FIRST + TOKENS, usize::MAX] {
        world.server.event(Token(token), world.poll.registry(), &mut world.operator, world.now);
    }
    assert_eq!(world.places(), 0);
}

#[test]
fn only_root_and_the_servers_own_user_may_operate_it() {
    use rustix::process::{Gid, Uid, geteuid, getpid};
    let peer = |uid| UCred { pid: getpid(), uid, gid: Gid::ROOT };
    let other = Uid::from_raw(geteuid().as_raw() + 4242);
    for shared in [false, true] {
        assert_eq!(level(&peer(Uid::ROOT), geteuid(), shared), Some(Level::Operate));
        assert_eq!(level(&peer(geteuid()), geteuid(), shared), Some(Level::Operate));
    }
    assert_eq!((level(&peer(other), geteuid(), false), level(&peer(other), geteuid(), true)), (None, Some(Level::Guest)));
}

#[test]
fn a_shared_socket_is_for_its_group_and_for_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (path, group) = (dir.path().join("control.sock"), rustix::process::getegid());
    let _server = ControlServer::bind(&path, Some(group), &[], FIRST, TOKENS).unwrap();
    let file = fs::metadata(&path).unwrap();
    assert_eq!((file.permissions().mode() & 0o777, std::os::unix::fs::MetadataExt::gid(&file)), (0o660, group.as_raw()));
}

#[test]
fn who_may_look_is_told_what_is_and_changes_nothing() {
    let mut world = World::new();
    for (request, is_answered) in [
        (r#"{"v":1,"do":"status"}"#, true),
        (r#"{"v":1,"do":"history"}"#, true),
        (r#"{"v":1,"do":"drained"}"#, true),
        (r#"{"v":1,"do":"metrics"}"#, true),
        (r#"{"v":1,"do":"drain"}"#, false),
        (r#"{"v":1,"do":"undrain"}"#, false),
        (r#"{"v":1,"do":"restart"}"#, false),
        (r#"{"v":1,"do":"deploy","app":"blog","directory":"/x"}"#, false),
        (r#"{"v":1,"do":"rollback","app":"blog"}"#, false),
        (r#"{"v":1,"do":"abort","app":"blog"}"#, false),
        (r#"{"v":1,"do":"pause","app":"blog"}"#, false),
        (r#"{"v":1,"do":"resume","app":"blog"}"#, false),
        (r#"{"v":1,"do":"detach","app":"blog","number":1}"#, false),
        (r#"{"v":1,"do":"stop"}"#, false),
    ] {
        let mut client = world.guest(4242);
        client.send(request);
        let said = world.hear_guest(&mut client);
        let refused = matches!(&said[..], [Reply::Error { message }] if message.contains("may only look (server.control_group)"));
        assert_eq!((said.len(), refused), (1, !is_answered), "{request}: {said:?}");
    }
    assert_eq!((world.operator.asked.len(), world.operator.stops), (0, 0));
}

#[test]
fn those_who_look_leave_places_to_those_who_operate() {
    let mut world = World::new();
    let mut lookers: Vec<Client> = (0..TOKENS).map(|uid| world.guest(4242 + uid as u32)).collect();
    let mut operator = world.client();
    operator.send(r#"{"v":1,"do":"status"}"#);
    assert_eq!(world.hear_all(&mut operator), [Reply::Status(Box::new(status("all")))]);
    let last = lookers.last_mut().unwrap();
    assert!(matches!(&world.hear_all(last)[..], [Reply::Error { message }] if message.starts_with("busy: ")));
}

#[test]
fn an_operator_operates_what_is_his() {
    let mut world = World::new();
    for (request, is_done) in [
        (r#"{"v":1,"do":"restart","app":"blog"}"#, true),
        (r#"{"v":1,"do":"deploy","app":"blog","directory":"/x"}"#, true),
        (r#"{"v":1,"do":"restart","app":"shop"}"#, false),
        (r#"{"v":1,"do":"restart"}"#, false),
        (r#"{"v":1,"do":"stop"}"#, false),
    ] {
        let mut client = world.guest(4243);
        client.send(request);
        let said = world.hear_guest(&mut client);
        assert_eq!(matches!(&said[..], [Reply::Asked { .. }]), is_done, "{request}: {said:?}");
    }
    assert_eq!((world.operator.asked.join(" "), world.operator.stops), ("blog blog".to_owned(), 0));
}

#[test]
fn who_cannot_be_looked_up_is_told_so_in_time_and_nothing_is_done() {
    let mut world = World::new();
    world.operator.knows_nobody = true;
    let mut client = world.guest(4243);
    client.send(r#"{"v":1,"do":"restart","app":"blog"}"#);
    world.turn_until(|world| world.operator.stranger.is_some());
    assert_eq!(world.server.next_deadline(), Some(world.now + LOOKING_UP));
    world.now += LOOKING_UP;
    world.tick();
    let [Reply::Error { message }] = &world.hear_all(&mut client)[..] else { panic!("no error") };
    assert!(message.starts_with("who uid 4243 is was not found out within 5 s"), "{message}");
    assert!(world.operator.asked.is_empty());
}

#[test]
fn one_guest_leaves_places_to_other_guests() {
    let mut world = World::with(MANY);
    let mut flood: Vec<Client> = (0..=OF_A_GUEST).map(|_| world.guest(4243)).collect();
    let last = flood.last_mut().unwrap();
    assert!(matches!(&world.hear_all(last)[..], [Reply::Error { message }] if message.starts_with("busy: ")));
    let mut other = world.guest(4242);
    other.send(r#"{"v":1,"do":"status"}"#);
    assert_eq!(world.hear_guest(&mut other), [Reply::Status(Box::new(status("all")))]);
}

#[test]
fn the_socket_is_its_owners_and_its_directory_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run/rota/control.sock");
    let server = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn a_socket_that_a_killed_server_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    // Closing does not remove the file.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap();
}

#[test]
fn a_server_that_answers_keeps_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let server = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap();
    let error = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: another server answers there (pid {})", path.display(), std::process::id()));
    assert!(UnixStream::connect(&path).is_ok());
    drop(server);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    fs::write(&path, "precious").unwrap();
    let error = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: is there already and is no socket", path.display()));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_socket_that_is_another_servers_by_now_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    let old = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap();
    // Somebody tidied up, and another server was started.
    fs::rename(&path, dir.path().join("away")).unwrap();
    let new = ControlServer::bind(&path, None, &[], FIRST, TOKENS).unwrap();
    drop(old);
    assert!(path.exists());
    drop(new);
    assert!(!path.exists());
}

const FIRST: usize = 16;
const TOKENS: usize = 4;
/// So that guests have more places than one of them may have.
const MANY: usize = 64;

struct World {
    _dir: TempDir,
    path: PathBuf,
    poll: Poll,
    server: ControlServer,
    operator: Fake,
    now: Instant,
}

/// Knows the apps blog and shop.
#[derive(Default)]
struct Fake {
    asked: Vec<String>,
    reports: Vec<(String, WalkReport)>,
    statuses: u32,
    /// Asked for and not told yet.
    status_of: Option<String>,
    stops: u32,
    /// What came of the reload that was asked for.
    reloaded: Option<Result<Reloaded, String>>,
    /// Makes the status so long.
    padding: usize,
    /// Requests with the app.
    sessions: u32,
    is_drained: bool,
    metrics: Option<Form>,
    /// Who asked and is looked up.
    stranger: Option<u32>,
    /// Nobody is ever found.
    knows_nobody: bool,
    /// When the I/O threads have said what they have in hand.
    answers_at: Option<Instant>,
}

const STATUS: Ticket = Ticket(7);
const RELOAD: Ticket = Ticket(8);
const UPGRADE: Ticket = Ticket(10);
const METRICS: Ticket = Ticket(9);
const WHO: Ticket = Ticket(11);

impl Operator for Fake {
    fn drain(&mut self, drained: bool) -> Result<(), String> {
        self.is_drained = drained;
        Ok(())
    }

    fn ask_metrics(&mut self, form: Form, _: Instant) -> Ticket {
        self.metrics = Some(form);
        METRICS
    }

    fn drained(&mut self, _: Instant) -> Reply {
        let traffic = Traffic { requests: 2, waiting: 1, connections: 3, quiet_seconds: 0.0 };
        Reply::Drained { drained: self.is_drained, health: "/health".to_owned(), agent: None, traffic }
    }

    fn has_guests(&self) -> bool {
        false
    }

    fn introduce(&mut self, (uid, _): (u32, u32), _: Instant) -> Ticket {
        self.stranger = Some(uid);
        WHO
    }

    /// User 4242 may look, user 4243 operates the blog.
    fn introduced(&mut self, ticket: Ticket) -> Option<Guest> {
        assert_eq!(ticket, WHO);
        let uid = self.stranger.filter(|_| !self.knows_nobody)?;
        let apps = if uid == 4243 { vec![OperatedApp { name: name("blog"), is_root: false }] } else { Vec::new() };
        let person = Person { name: format!("user{uid}"), uid, groups: Vec::new() };
        Some(Guest { person, rights: Rights { looks: uid == 4242, apps } })
    }

    fn config(&self) -> ConfigRead {
        ConfigRead { file: "/etc/rota/rota.toml".into(), stamp: 7 }
    }

    fn reload(&mut self, dry_run: bool, _: Instant) -> Result<Ticket, String> {
        self.asked.push(if dry_run { "plan" } else { "reload" }.to_owned());
        Ok(RELOAD)
    }

    fn upgrade(&mut self, program: Option<PathBuf>, _: Instant) -> Result<Ticket, String> {
        self.asked.push(format!("upgrade {program:?}"));
        Ok(UPGRADE)
    }

    fn has_not_upgraded(&mut self, ticket: Ticket) -> Option<String> {
        assert_eq!(ticket, UPGRADE);
        None
    }

    fn has_reloaded(&mut self, ticket: Ticket) -> Option<Result<Reloaded, String>> {
        assert_eq!(ticket, RELOAD);
        self.reloaded.take()
    }

    fn ask_status(&mut self, app: Option<&str>, _: Instant) -> Result<Ticket, String> {
        self.statuses += 1;
        self.status_of = Some(app.unwrap_or("all").to_owned());
        Ok(STATUS)
    }

    fn walk(&mut self, wish: Wish<'_>, _: Instant) -> Result<Vec<Asked>, String> {
        let app = match wish {
            Wish::Restart { app, .. } => app,
            Wish::Deploy { app, .. } | Wish::Rollback { app } | Wish::Abort { app } => Some(app),
        };
        let apps = app.map_or(vec!["blog", "shop"], |app| vec![app]);
        if let Some(app) = apps.iter().find(|app| !["blog", "shop"].contains(app)) {
            return Err(format!("there is no app \"{app}\""));
        }
        self.asked.extend(apps.iter().map(|app| (*app).to_owned()));
        Ok(apps.into_iter().map(|app| Asked { app: name(app), generation: Generation(8) }).collect())
    }

    fn progress(&mut self, app: &AppName, generation: Generation, _: Instant) -> WalkReport {
        assert_eq!(generation, Generation(8));
        let report = self.reports.iter().rev().find(|(of, _)| of == app.as_str());
        report.map_or(WalkReport::Waiting, |(_, report)| report.clone())
    }

    fn history(&mut self, _: Option<&str>) -> Result<Vec<AppHistory>, String> {
        Ok(Vec::new())
    }

    fn pause(&mut self, app: &str, _: Option<f64>, _: Instant) -> Result<Pausing, String> {
        Ok(Pausing { app: name(app), sessions: self.sessions, waiting: 0, left_seconds: 30.0 })
    }

    fn pausing(&mut self, app: &AppName, now: Instant) -> Option<Pausing> {
        self.pause(app.as_str(), None, now).ok()
    }

    fn resume(&mut self, app: &str, _: Instant) -> Result<Reply, String> {
        Err(format!("{app} is not paused"))
    }

    fn detach(&mut self, app: &str, number: Number, now: Instant) -> Result<Detached, String> {
        let id = ProcessId { group: GroupId(0), serial: 1 };
        Ok(Detached { app: name(app), number, pid: Some(4711), id, asked: now })
    }

    fn is_detached(&mut self, _: &Detached, _: Instant) -> Option<Option<u32>> {
        (self.sessions == 0).then_some(Some(4712))
    }

    fn stays(&mut self, _: &Detached, _: Instant) -> Option<String> {
        None
    }

    fn ask_requests(&mut self, _: Option<&str>, _: bool, _: Instant) -> Result<Ticket, String> {
        Ok(Ticket(1))
    }

    fn answer(&mut self, ticket: Ticket, now: Instant) -> Option<Reply> {
        if ticket == STATUS {
            let status = status(&self.status_of.take()?);
            let version = if self.padding > 0 { "x".repeat(self.padding) } else { status.version };
            return Some(Reply::Status(Box::new(StatusReply { version, ..status })));
        }
        if let Some(form) = self.metrics.take_if(|_| ticket == METRICS) {
            return Some(Reply::Metrics { text: format!("{form:?}") });
        }
        (now >= self.answers_at?).then(|| Reply::Requests { requests: Vec::new(), silent: vec!["blog/1 g1".to_owned()] })
    }

    fn stop(&mut self) {
        self.stops += 1;
    }
}

impl World {
    fn new() -> Self {
        Self::with(TOKENS)
    }

    fn with(tokens: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let poll = Poll::new().unwrap();
        let mut server = ControlServer::bind(&path, None, &[], FIRST, tokens).unwrap();
        server.register(poll.registry()).unwrap();
        Self { _dir: dir, path, poll, server, operator: Fake::default(), now: Instant::now() }
    }

    fn client(&self) -> Client {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_nonblocking(true).unwrap();
        Client(stream, Vec::new())
    }

    /// A client as one that is neither root nor rota's own user.
    fn guest(&mut self, uid: u32) -> Client {
        let (ours, theirs) = UnixStream::pair().unwrap();
        [&ours, &theirs].iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        let stranger = UCred { uid: rustix::process::Uid::from_raw(uid), ..rustix::net::sockopt::socket_peercred(&ours).unwrap() };
        self.server.place(mio::net::UnixStream::from_std(theirs), stranger, self.poll.registry(), true, self.now);
        Client(ours, Vec::new())
    }

    /// What the master does in one turn of its loop.
    fn turn(&mut self) {
        let mut events = Events::with_capacity(16);
        self.poll.poll(&mut events, Some(Duration::from_millis(5))).unwrap();
        for event in &events {
            self.server.event(event.token(), self.poll.registry(), &mut self.operator, self.now);
        }
    }

    fn turn_until(&mut self, happened: impl Fn(&World) -> bool) {
        let limit = Instant::now() + Duration::from_secs(20);
        while !happened(self) {
            assert!(Instant::now() < limit, "did not happen");
            self.turn();
        }
    }

    fn tick(&mut self) {
        self.server.tick(self.poll.registry(), &mut self.operator, self.now);
    }

    fn report(&mut self, app: &str, report: WalkReport) {
        self.operator.reports.push((app.to_owned(), report));
        self.server.changed(self.poll.registry(), &mut self.operator, self.now);
    }

    fn places(&self) -> usize {
        self.server.places.iter().flatten().count()
    }

    fn hear(&mut self, client: &mut Client) -> Reply {
        let limit = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(line) = client.line() {
                return parse_reply(&line).unwrap();
            }
            assert!(Instant::now() < limit, "nothing was said");
            self.turn();
            assert!(!client.receive() || client.1.contains(&b'\n'), "the connection ended");
        }
    }

    /// As [`Self::hear_all`], of a client that has to be looked up.
    fn hear_guest(&mut self, client: &mut Client) -> Vec<Reply> {
        self.turn_until(|world| world.operator.stranger.is_some());
        self.server.changed(self.poll.registry(), &mut self.operator, self.now);
        self.operator.stranger = None;
        self.hear_all(client)
    }

    /// Everything until the connection ends.
    fn hear_all(&mut self, client: &mut Client) -> Vec<Reply> {
        let limit = Instant::now() + Duration::from_secs(20);
        while !client.receive() {
            assert!(Instant::now() < limit, "the connection does not end");
            self.turn();
        }
        std::iter::from_fn(|| client.line()).map(|line| parse_reply(&line).unwrap()).collect()
    }
}

/// A socket that does not block, and what came on it.
struct Client(UnixStream, Vec<u8>);

impl Client {
    fn send(&mut self, request: &str) {
        // A long one does not fit; the server does not want it all.
        let _ = self.0.write(format!("{request}\n").as_bytes()).unwrap();
    }

    /// Takes what is there. True: the end.
    fn receive(&mut self) -> bool {
        let mut buffer = [0; 65536];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(count) => self.1.extend_from_slice(&buffer[..count]),
                // What it sent was not read to its end.
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.1.iter().position(|byte| *byte == b'\n')?;
        Some(self.1.drain(..=end).collect())
    }
}

fn name(app: &str) -> AppName {
    AppName::new(app).unwrap()
}

fn asked(apps: &[&str]) -> Reply {
    Reply::Asked {
        walks: apps.iter().map(|app| Asked { app: name(app), generation: Generation(8) }).collect(),
        config: Some(ConfigRead { file: "/etc/rota/rota.toml".into(), stamp: 7 }),
    }
}

fn progress(app: &str) -> Progress {
    Progress {
        app: name(app),
        generation: Generation(8),
        kind: "restart".to_owned(),
        trigger: "command".to_owned(),
        phase: "boot".to_owned(),
        number: Some(Number(1)),
        replaced: 0,
        of: 2,
        seconds: 1.0,
        phase_seconds: 1.0,
        answer: None,
        left_seconds: None,
        makes_room: None,
        skipped: vec![],
    }
}

/// Told apart by its version.
fn status(of: &str) -> StatusReply {
    StatusReply {
        schema: SCHEMA,
        version: of.to_owned(),
        pid: 7,
        uptime: 1.0,
        listen: vec![],
        not_listening: vec![],
        broken: vec![],
        drained: false,
        config: None,
        config_changed: None,
        connections: 0,
        spooled: 0,
        apps: vec![],
    }
}
