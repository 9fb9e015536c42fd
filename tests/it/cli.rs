//! The commands of a deployment as a user gives them: what they do, what they say, and how they end.

use std::io::{Read, Write};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::traffic::{ALL, Load};
use crate::wait::{self, millis, secs};
use crate::wire;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1000";

fn serves(site: &Site) -> String {
    wire::get(site.addr, "/").unwrap().text()
}

/// `rota deploy` of a release directory that is made for it.
fn deploy(site: &Site, version: &str, behaviour: &str) -> crate::site::Said {
    site.release(version, behaviour);
    site.rota(&["deploy", "app", &directory(site, version)])
}

fn directory(site: &Site, version: &str) -> String {
    site.path("releases").join(version).display().to_string()
}

/// A command that is left to run, with what it says kept.
fn begin(site: &Site, arguments: &[&str]) -> Child {
    site.command(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Its exit status, stdout and stderr.
fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs `during` while a request is with the app for as long as that takes.
fn with_a_request_in_hand(site: &Site, during: impl FnOnce()) {
    std::thread::scope(|scope| {
        let held = scope.spawn(|| wire::get(site.addr, "/hold?name=gate&mark=held"));
        wait::until("the request is with the app", secs(10), || site.marks().contains(&"held".to_owned()));
        // Whatever goes wrong, the request ends: else the scope would wait for it for ever.
        let opens = Opens(site);
        during();
        drop(opens);
        assert_eq!(held.join().unwrap().unwrap().status, 200, "the request that was in hand");
    });
}

struct Opens<'a>(&'a Site);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.open("gate");
    }
}

#[test]
fn a_release_that_was_deployed_stays_until_root_names_something_new() {
    let site = Site::start(APP);
    let said = deploy(&site, "2", "");
    said.expect(0);
    assert!(said.out.contains("app g2: done in ") && said.out.contains(&directory(&site, "2")), "{}", said.out);
    assert_eq!(serves(&site), "2");
    let page = site.rota(&["status"]);
    assert!(page.out.contains("root names") && page.out.contains("chosen by command"), "{}", page.out);
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(serves(&site), "2", "root still names 1, which was passed over");
    site.release("3", "");
    site.flip("3");
    site.rota(&["restart", "app"]).expect(0);
    assert_eq!(serves(&site), "3");
    assert!(!site.rota(&["status"]).out.contains("root names"));
}

#[test]
fn a_directory_that_is_not_there_is_no_release() {
    let site = Site::start(APP);
    let said = site.rota(&["deploy", "app", &directory(&site, "9")]);
    said.expect(1);
    assert!(said.err.contains("releases/9: No such file or directory"), "{}", said.err);
    assert_eq!(serves(&site), "1");
}

#[test]
fn a_rollback_goes_to_the_release_before_and_the_history_says_so() {
    let site = Site::start(APP);
    deploy(&site, "2", "").expect(0);
    let history = site.rota(&["history", "app"]);
    history.expect(0);
    assert!(history.out.contains(&format!("rota rollback app goes to {}", directory(&site, "1"))), "{}", history.out);
    site.rota(&["rollback", "app"]).expect(0);
    assert_eq!(serves(&site), "1");
    deploy(&site, "3", "exit_at_boot 3").expect(4);
    assert_eq!(serves(&site), "1");

    let history = site.rota(&["history"]);
    let lines: Vec<&str> = history.expect(0).out.lines().collect();
    let walks: Vec<&&str> = lines.iter().filter(|line| line.starts_with("20")).collect();
    let kinds: Vec<&str> = walks.iter().map(|line| line.split_whitespace().find(|word| KINDS.contains(word)).unwrap()).collect();
    assert_eq!(kinds, ["deploy", "rollback", "deploy", "start"], "{}", history.out);
    assert!(walks[0].contains("failed") && walks[1].contains("serves"), "{}", history.out);
    assert!(history.out.contains("before it was ready") && history.out.contains("| ModuleNotFoundError"), "{}", history.out);

    let json: serde_json::Value = serde_json::from_str(&site.rota(&["history", "--json"]).out).unwrap();
    assert_eq!(json["apps"][0]["entries"].as_array().unwrap().len(), 4);
    assert_eq!(json["apps"][0]["entries"][3]["outcome"], "failed");
}

const KINDS: [&str; 4] = ["start", "restart", "deploy", "rollback"];

#[test]
fn a_deployment_that_is_called_off_says_so_to_both() {
    let site = Site::start(APP);
    site.release("2", "process=2 hang_at_boot");
    let deploying = begin(&site, &["deploy", "app", &directory(&site, "2")]);
    wait::until("the first is replaced", secs(20), || !site.serving(2).is_empty());
    let said = site.rota(&["abort", "app"]);
    said.expect(0);
    assert!(said.out.contains("app g2: called off after ") && said.out.contains("rolled back"), "{}", said.out);
    let (status, out, err) = end(deploying);
    assert_eq!(status, Some(8), "{out}{err}");
    assert!(out.contains("rolling back") && out.contains("the old release serves again"), "{out}");
    assert_eq!((serves(&site).as_str(), site.serving(1).len()), ("1", 2));
    let said = site.rota(&["abort", "app"]);
    said.expect(1);
    assert!(said.err.contains("nothing is under way"), "{}", said.err);
}

#[test]
fn ctrl_c_ends_a_waiting_restart_and_not_the_walk() {
    let site = Site::prepare(APP);
    site.release("1", "boot_delay 300");
    site.flip("1");
    let site = site.serve();
    let mut waiting = begin(&site, &["restart", "app"]);
    // Its first line: it knows what it waits for.
    waiting.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    kill(waiting.id(), Signal::INT);
    let (status, out, err) = end(waiting);
    assert_eq!(status, Some(130), "{out}{err}");
    assert!(err.contains("interrupted; it goes on: app g2"), "{err}");
    wait::until("both are replaced", secs(20), || site.serving(2).len() == 2);
}

#[test]
fn a_pause_waits_for_the_request_in_hand_and_those_that_come_wait_for_its_end() {
    let site = Site::start(APP);
    with_a_request_in_hand(&site, || {
        let mut pausing = begin(&site, &["pause", "app", "--for", "60s"]);
        wait::until("it is paused", secs(10), || !site.status()["apps"][0]["pause"].is_null());
        std::thread::sleep(millis(200));
        assert!(pausing.try_wait().unwrap().is_none(), "a request is with the app still");
        site.open("gate");
        let (status, out, err) = end(pausing);
        assert_eq!(status, Some(0), "{out}{err}");
        assert!(out.contains("app: paused, 1 request is with it still") && out.contains("app: paused, no request is with it"), "{out}");
        assert!(out.contains("or by: rota resume app"), "{out}");
    });
    assert!(site.rota(&["status"]).out.contains("PAUSED for "));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| wire::get(site.addr, "/?mark=waited"));
        wait::until("it waits", secs(10), || site.waiting() == 1);
        assert!(!site.marks().contains(&"waited".to_owned()), "no request reaches an app that is paused");
        let said = site.rota(&["resume", "app"]);
        said.expect(0);
        assert!(said.out.starts_with("app: goes on after ") && said.out.contains("1 request that waited is served"), "{}", said.out);
        assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    });
    let said = site.rota(&["resume", "app"]);
    said.expect(1);
    assert!(said.err.contains("app is not paused"), "{}", said.err);
}

#[test]
fn a_pause_that_ends_before_the_app_is_quiet_is_bad() {
    let site = Site::start(APP);
    with_a_request_in_hand(&site, || {
        let said = site.rota(&["pause", "app", "--for", "300ms"]);
        said.expect(1);
        assert!(said.err.contains("not paused any more"), "{}", said.err);
        let said = site.rota(&["pause", "app", "--no-wait", "--json"]);
        said.expect(0);
        let json: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        assert_eq!((&json["event"], &json["sessions"]), (&"pausing".into(), &1.into()));
    });
}

#[test]
fn a_process_is_detached_without_a_failed_request() {
    let site = Site::start(APP);
    let pid_of = |number: u64| {
        let serving = site.processes().into_iter().find(|(at, _, _, state)| *at == number && state == "serving");
        serving.map(|(_, generation, pid, _)| (generation, pid))
    };
    let (generation, before) = pid_of(2).unwrap();
    let load = Load::start(site.addr, &ALL);
    let said = site.rota(&["detach", "app", "2"]);
    said.expect(0);
    load.stop().expect_no_failure(&[]);
    let (after_generation, after) = pid_of(2).unwrap();
    assert_eq!(generation, after_generation);
    assert_ne!(before, after);
    assert!(
        said.out.contains(&format!("app/2 pid {before}: replaced in ")) && said.out.contains(&format!("pid {after} serves")),
        "{}",
        said.out
    );
    assert_eq!(serves(&site), "1");
    let said = site.rota(&["detach", "app", "9"]);
    said.expect(1);
    assert!(said.err.contains("no process serves as app/9"), "{}", said.err);
}

#[test]
fn what_holds_a_drain_is_named() {
    let site = Site::start(&format!("{APP}\ndrain.timeout = \"60s\""));
    let said = site.rota(&["status", "--blocking"]);
    assert_eq!(said.expect(0).out, "nothing drains, or nothing holds what drains\n");
    with_a_request_in_hand(&site, || {
        let said = site.rota(&["requests", "app"]);
        assert!(said.expect(0).out.contains("GET /hold?name=gate&mark=held"), "{}", said.out);
        site.rota(&["restart", "app", "--no-wait"]).expect(0);
        let blocking = || site.rota(&["status", "--blocking", "app"]);
        wait::until("its process drains", secs(20), || blocking().out.contains("GET /hold?name=gate&mark=held"));
        let page = site.rota(&["status"]);
        assert!(page.out.contains("waits for 1 request to end: rota status --blocking app"), "{}", page.out);
        let json: serde_json::Value = serde_json::from_str(&site.rota(&["status", "--blocking", "--json"]).out).unwrap();
        assert_eq!((&json["requests"][0]["generation"], &json["silent"]), (&1.into(), &serde_json::json!([])));
    });
    wait::until("the walk ends", secs(20), || site.serving(2).len() == 2 && site.processes().len() == 2);
}

#[test]
fn a_watched_status_is_a_page_for_each_look_on_a_pipe() {
    let site = Site::start(APP);
    let mut watching = begin(&site, &["status", "--watch", "--interval", "100ms"]);
    let (mut out, mut text) = (watching.stdout.take().unwrap(), String::new());
    while text.matches("rota 0.").count() < 3 {
        let mut piece = [0; 4096];
        let count = out.read(&mut piece).unwrap();
        assert!(count > 0, "it ended: {text}");
        text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
    }
    assert!(!text.contains('\x1b') && text.contains("\n\nrota 0."), "{text}");
    drop(out);
    let (status, _, err) = end(watching);
    assert_eq!(status, Some(0), "a reader that goes away has seen enough: {err}");
}

/// Without a server there is nothing to write that would tell.
#[test]
fn whoever_waits_for_something_to_print_ends_when_nobody_reads_it() {
    let site = Site::prepare(&format!("{APP}\nlog = \"DIR/app.log\"").replace("DIR", "/nowhere"));
    let log = site.path("app.log");
    std::fs::write(&log, "one\n").unwrap();
    let config = std::fs::read_to_string(site.path("rota.toml")).unwrap();
    std::fs::write(site.path("rota.toml"), config.replace("/nowhere/app.log", log.to_str().unwrap())).unwrap();
    for arguments in [&["status", "--watch"][..], &["status", "app", "--watch", "--json"], &["logs", "-f", "app"]] {
        let mut waiting = begin(&site, arguments);
        drop(waiting.stdout.take());
        wait::until("it ends", secs(20), || waiting.try_wait().unwrap().is_some());
        assert_eq!(end(waiting).0, Some(0), "{arguments:?}");
    }
}

/// In a terminal that script(1) makes: it gives back the screen as it was, and ends with q.
#[test]
fn a_watched_status_takes_the_terminal_and_gives_it_back() {
    let mut site = Site::start(APP);
    let watch = site.command(&["status", "--watch", "--interval", "100ms"]);
    let words: Vec<String> =
        std::iter::once(watch.get_program()).chain(watch.get_args()).map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut script = std::process::Command::new("timeout");
    script
        .args(["60", "script", "-qec", &format!("stty rows 30 cols 100; {}; stty -a", words.join(" ")), "/dev/null"])
        .env("TERM", "xterm");
    let mut script = script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let (mut keys, mut out) = (script.stdin.take().unwrap(), script.stdout.take().unwrap());
    let mut text = String::new();
    let mut see = |what: &str| {
        while !text.contains(what) {
            let mut piece = [0; 4096];
            let count = out.read(&mut piece).unwrap();
            assert!(
                count > 0,
                "{what} is not in what came within a minute, which ends with {:?}",
                text.get(text.len().saturating_sub(2000)..)
            );
            text.push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        // What came behind it is for the next.
        let rest = text.split_off(text.find(what).unwrap_or_default() + what.len());
        std::mem::replace(&mut text, rest)
    };
    let before = see("serving");
    assert!(before.contains("\x1b[?1049h") && before.contains("\x1b[?25l"), "{before:?}");
    see("q ends it");
    site.signal(Signal::KILL);
    site.wait_end(secs(10));
    see("no server answers");
    site.launch();
    see("every 0.1 s");
    keys.write_all(b"q").unwrap();
    let after = see("\x1b[?1049l");
    assert!(after.contains("\x1b[?25h"), "{after:?}");
    let modes = see("-echoprt");
    assert!(modes.contains(" icanon") && modes.contains(" echo "), "{modes}");
    script.wait().unwrap();
}

#[test]
fn every_help_fits_80_columns_wherever_it_goes() {
    let site = Site::prepare(APP);
    let top = site.rota(&["--help"]).out;
    let verbs = top.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let verbs: Vec<&str> = verbs
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .map(|line| line.split_whitespace().next().unwrap())
        .collect();
    // It is no command of its own.
    let verbs: Vec<&str> = verbs.into_iter().filter(|verb| *verb != "help").collect();
    assert!(verbs.len() >= 20, "{verbs:?}");
    let mut wide = Vec::new();
    for verb in &verbs {
        for help in [&["help", verb][..], &[verb, "--help"], &[verb, "-h"]] {
            let words: Vec<&str> = help.to_vec();
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_rota")).args(&words).env_remove("COLUMNS").output().unwrap();
            assert!(output.status.success(), "{words:?}");
            wide.extend(String::from_utf8(output.stdout).unwrap().lines().filter(|line| line.chars().count() > 80).map(str::to_owned));
        }
    }
    wide.extend(top.lines().filter(|line| line.chars().count() > 80).map(str::to_owned));
    assert!(wide.is_empty(), "{}", wide.join("\n"));
}

#[test]
fn the_man_page_and_the_completions_need_no_configuration() {
    let site = Site::prepare(APP);
    for (arguments, what) in [(&["man"][..], ".SS \"rota deploy\""), (&["completions", "bash"], "complete -F _rota")] {
        let said = site.rota(arguments);
        said.expect(0);
        assert!(said.out.contains(what), "{}", said.out);
    }
}
