//! Apps that break in the middle of a request: what may be sent again is, what may not is told, and an answer that was cut is never passed
//! off as whole.

use rustix::process::Signal;

use crate::bytes::pattern;
use crate::site::{Site, kill};
use crate::wait::{self, secs};
use crate::wire::{self, Trouble, Wire, kept};

const APP: &str = "processes = 2\nconcurrency = 8\nbind = \"unix\"\nprobation = \"1ms\"";

fn post(target: &str) -> String {
    format!("POST {target} HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n\r\nab")
}

/// Both processes serve, and they are the same release as before.
fn recovers(site: &Site) {
    wait::until("both processes serve again", secs(20), || site.serving(1).len() == 2);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

/// Kills a process and waits until it has ended: its sockets are closed then, whether rota knows it or not. A request that meets a process in
/// the moment of its death may be one that an app had begun on.
pub fn kill_and_see_it_dead(pid: u32) {
    kill(pid, Signal::KILL);
    wait::until("it is dead", secs(10), || {
        // Its last thread closes the descriptors; the first may be a zombie before that.
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        threads <= 1 && stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
    });
}

#[test]
fn a_get_that_the_app_dies_of_is_told_and_named() {
    let site = Site::start(APP);
    let reply = Wire::connect(site.addr).unwrap().ask(&kept("/crash?mark=crash&word=%1b")).unwrap();
    assert_eq!((reply.status, reply.keep), (502, true));
    assert_eq!(site.marks(), ["crash"], "it could end every process");
    let failure = site.status()["apps"][0]["last_failure"]["message"].as_str().unwrap().to_owned();
    assert!(failure.contains("after it was ready, while it had GET /crash?mark=crash&word=%1b (id "), "{failure}");
    let log = site.log();
    let named = |line: &&str| line.contains(": exit status 3 while it had GET /crash?mark=crash&word=%1b (id ");
    assert_eq!(log.lines().filter(named).count(), 1, "{log}");
    recovers(&site);
}

#[test]
fn an_answer_that_its_process_did_not_survive_is_named_too() {
    let site = Site::start(APP);
    let outcome = Wire::connect(site.addr).unwrap().ask(&kept("/crash-in-body"));
    assert!(matches!(outcome, Err(Trouble::Cut | Trouble::Reset)), "{outcome:?}");
    wait::until("the death is told", secs(10), || site.log().contains(": exit status 3 while it had GET /crash-in-body"));
    recovers(&site);
}

#[test]
fn a_post_that_the_app_dies_of_is_sent_once() {
    let site = Site::start(APP);
    let reply = Wire::connect(site.addr).unwrap().ask(&post("/crash?mark=crash")).unwrap();
    assert_eq!((reply.status, reply.keep), (502, true));
    assert_eq!(site.marks(), ["crash"]);
    recovers(&site);
    assert!(site.log().contains("the app's process died before its answer was whole (exit status 3); answered 502"), "{}", site.log());
}

#[test]
fn an_app_that_hangs_up_without_an_answer_is_a_502_and_no_post_is_repeated() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    // The first finds no pooled connection, the later ones do.
    for round in 1..=5 {
        assert_eq!(wire.ask(&post("/hang-up?mark=post")).unwrap().status, 502);
        assert_eq!(site.marks().len(), round, "each reached the app once");
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
    }
}

#[test]
fn an_app_that_dies_within_its_head_is_a_502() {
    let site = Site::start(APP);
    let reply = Wire::connect(site.addr).unwrap().ask(&post("/crash-in-head")).unwrap();
    assert_eq!(reply.status, 502);
    recovers(&site);
}

#[test]
fn an_answer_that_was_cut_is_cut_for_the_client_too() {
    for path in ["/crash-in-body", "/crash-in-chunk"] {
        let site = Site::start(APP);
        let outcome = Wire::connect(site.addr).unwrap().ask(&kept(path));
        assert!(matches!(outcome, Err(Trouble::Cut | Trouble::Reset)), "{path}: {outcome:?}");
        // An old client knows the end of a body by the end of the connection: it must not be a clean one, or carry fewer bytes than said.
        if path == "/crash-in-chunk" {
            recovers(&site);
            let old = wire::raw(site.addr, format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
            assert!(matches!(old, Err(Trouble::Reset)), "{path} by HTTP/1.0: {old:?}");
        }
        recovers(&site);
    }
}

#[test]
fn what_is_no_response_is_a_502() {
    let site = Site::start(APP);
    let mut wire = Wire::connect(site.addr).unwrap();
    assert_eq!(wire.ask(&kept("/garbage")).unwrap().status, 502);
    assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1", "the client's connection goes on");
}

#[test]
fn an_app_that_never_answers_is_a_504_and_its_slot_comes_back() {
    let site = Site::start(&format!("{}\ntimeouts.app = \"200ms\"", APP.replace("concurrency = 8", "concurrency = 1")));
    let mut wire = Wire::connect(site.addr).unwrap();
    for round in 1..=4 {
        assert_eq!(wire.ask(&kept("/never?mark=never")).unwrap().status, 504);
        assert_eq!(site.marks().len(), round, "it is not sent again");
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "1");
}

#[test]
fn a_process_that_was_killed_while_idle_is_replaced_and_nobody_notices() {
    let site = Site::start(APP);
    let mut wires: Vec<Wire> = (0..20).map(|_| Wire::connect(site.addr).unwrap()).collect();
    for wire in &mut wires {
        wire.ask(&kept("/")).unwrap();
    }
    let victim = site.serving(1)[0];
    kill_and_see_it_dead(victim);
    // Half of these connections are with the I/O thread of the dead process; POST too is safe, no app has seen it.
    for wire in &mut wires {
        assert_eq!(wire.ask(&post("/echo")).unwrap().status, 200);
        assert_eq!(wire.ask(&kept("/")).unwrap().text(), "1");
    }
    wait::until("it is replaced", secs(10), || site.serving(1).len() == 2 && !site.serving(1).contains(&victim));
}

#[test]
fn an_answer_that_the_app_has_finished_outlives_the_app() {
    let site = Site::start(APP);
    const BYTES: usize = 8 * 1024 * 1024;
    let mut wire = Wire::connect(site.addr).unwrap();
    wire.send(kept(&format!("/bytes?n={BYTES}")).as_bytes()).unwrap();
    // The client reads nothing; rota takes it all, so that the app has its slot back.
    wait::until("the app is done", secs(20), || {
        let status = site.status();
        let processes = status["apps"][0]["processes"].as_array().unwrap().clone();
        processes.iter().all(|process| process["sessions"] == 0)
    });
    for pid in site.serving(1) {
        kill(pid, Signal::KILL);
    }
    let reply = wire.reply(false).unwrap();
    assert_eq!(reply.body.len(), BYTES);
    assert!(reply.body == pattern(0, BYTES));
    recovers(&site);
}
