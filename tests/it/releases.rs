//! What is said of a release is true: ready is what visitors get an answer from, and whatever keeps one from it is named.

use std::net::TcpListener;

use crate::ports;
use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire::{self, raw_answer};

const APP: &str = "processes = 1\nconcurrency = 8\nbind = \"unix\"\nprobation = \"200ms\"";
const TWICE: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

#[test]
fn what_visitors_would_get_502_for_is_not_ready() {
    for (answer, said) in [
        (TWICE, "(Transfer-Encoding: chunked, Transfer-Encoding: chunked)"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", "(Content-Length: 5, 5)"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n", "(at \"zz"),
        ("HTTP/2 200\r\n\r\n", "(\"HTTP/2 200\")"),
    ] {
        let target = raw_answer(&[answer], 0);
        let mut site = Site::prepare(&format!("{APP}\nready.path = {target:?}\nready.timeout = \"1s\""));
        site.release("1", "");
        site.flip("1");
        site.launch();
        let message = wait::found("its failure", secs(20), || {
            let status: serde_json::Value = serde_json::from_str(&site.rota(&["status", "--json"]).out).ok()?;
            status["apps"][0]["last_failure"]["message"].as_str().map(str::to_owned)
        });
        assert!(message.starts_with("not ready after 1 s (") && message.contains(said), "{message}");
        assert!(site.serving(1).is_empty());
    }
}

#[test]
fn a_page_that_does_not_end_is_ready_all_the_same() {
    let target = raw_answer(&["HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n", "data: 2\n\n"], 5000);
    let site = Site::start(&format!("{APP}\nready.path = {target:?}\nready.timeout = \"4s\""));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn what_is_answered_while_it_boots_is_told_at_once_and_counted() {
    // Long enough that it is seen to last; where it is long enough for that it ends as soon as it is clear that it stays so.
    let limit = wait::ample(secs(4)).min(secs(50)).as_secs();
    let site = Site::start(&format!("{APP}\nready.timeout = \"{limit}s\""));
    let said = site.deploy("2", "answers 500");
    said.expect(4);
    assert!(said.out.contains("process 1: boot, GET / answered 500\n"), "{}", said.out);
    let after = said.out.split_once("not ready after ").map(|(_, after)| after).unwrap_or_default();
    let (answered, times) = (after.split_once(" s (GET / answered 500"), after.contains(" times"));
    assert!(answered.is_some() && times && (limit > 4 || after.starts_with("4 s (GET / answered 500, ")), "{}", said.out);
    let log = site.log();
    assert_eq!(log.matches("not ready yet: GET / answered 500, ").count(), 1, "{log}");
    assert_eq!(site.serving(1).len(), 1);
}

#[test]
fn a_release_that_refuses_everybody_is_not_just_done() {
    let mut site = Site::start(APP);
    let but = "every process is replaced, but GET / is answered 404 where g1 answered 200";
    let said = site.deploy("2", "answers 404");
    said.expect(0);
    assert!(said.out.lines().last().is_some_and(|last| last.contains("app g2: done in ") && last.contains(but)), "{}", said.out);
    assert!(site.log().lines().any(|line| line.contains("WARN") && line.contains(but)), "{}", site.log());
    assert!(site.rota(&["history", "app"]).out.contains(but));
    let shown = |site: &Site| site.status()["apps"][0]["turned"].clone();
    assert_eq!(shown(&site), "GET / is answered 404 where g1 answered 200");
    // It holds over a restart of rota, and ends with a release that answers.
    site.rota(&["stop"]);
    site.wait_end(secs(20));
    site.launch();
    wait::until("it serves again", secs(20), || wire::get(site.addr, "/").is_ok_and(|reply| reply.status == 404));
    wait::until("its start has ended", secs(20), || site.status()["apps"][0]["walk"].is_null());
    assert_eq!(shown(&site), "GET / is answered 404 where g1 answered 200");
    let said = site.deploy("4", "");
    said.expect(0);
    assert!(!said.out.contains("but"), "{}", said.out);
    assert!(shown(&site).is_null());
}

#[test]
fn a_watched_release_that_refuses_everybody_never_serves() {
    let site = Site::start(&format!("{APP}\nbake = \"2s\""));
    let said = site.deploy("2", "answers 403");
    said.expect(5);
    assert!(said.out.contains("did worse than the release before it: GET / is answered 403 where g1 answered 200"), "{}", said.out);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn what_the_old_process_has_alone_is_named_with_what_helps() {
    let port = ports::free().port();
    for (behaviour, what) in [(format!("second_port {port}"), format!("port {port}")), ("locks".to_owned(), "/shared/lock".to_owned())] {
        let mut site = Site::prepare(APP);
        site.release("1", &behaviour);
        site.flip("1");
        site = site.serve();
        let old = site.serving(1)[0];
        let said = site.deploy("2", &behaviour);
        said.expect(4);
        let held = format!("{what} is held by process 1 of g1 (pid {old}); surge = 0 ends the old one before the new one is started");
        assert!(said.out.contains("before it was ready: ") && said.out.contains(&held), "{held}\n{}", said.out);
    }
}

#[test]
fn a_program_that_has_the_port_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let site = Site::start(APP);
    let said = site.deploy("2", &format!("second_port {port}"));
    said.expect(4);
    let held = format!("port {port} is held by it-");
    assert!(said.out.contains(&held) && said.out.contains(&format!("(pid {}); that has to end", std::process::id())), "{}", said.out);
}

#[test]
fn a_port_that_was_taken_in_between_is_tried_again_with_another() {
    let site = Site::start(&APP.replace("bind = \"unix\"", "bind = \"port\""));
    site.release("2", "boot_waits");
    site.flip("2");
    site.rota(&["restart", "app", "--no-wait"]).expect(0);
    let starting = wait::found("it boots", secs(20), || {
        let booting = |process: &(u64, u64, u32, String)| process.1 == 2 && process.3 == "starting" && process.2 != 0;
        site.processes().into_iter().find(booting).map(|process| process.2)
    });
    let given = wait::found("its port", secs(20), || {
        let environ = std::fs::read_to_string(format!("/proc/{starting}/environ")).ok()?;
        environ.split('\0').find_map(|variable| variable.strip_prefix("PORT=")?.parse::<u16>().ok())
    });
    // Free from the moment at which the program is executed.
    let taken = wait::found("the port is free for others", secs(20), || TcpListener::bind(("127.0.0.1", given)).ok());
    site.open("boot-2");
    wait::until("the new release serves", secs(20), || site.serving(2).len() == 1 && site.status()["apps"][0]["walk"].is_null());
    drop(taken);
    let status = site.status();
    assert!(status["apps"][0]["resists"].is_null(), "{status}");
    let log = site.log();
    let said = format!("its port {given} was taken by it-");
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&said) && line.ends_with("another is tried")), "{log}");
}
