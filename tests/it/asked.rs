//! What the status says is so, and what a command asked for happens, also when nobody waits for it.

use std::time::Instant;

use rustix::process::Signal;

use crate::dying::kill_and_see_it_dead;
use crate::site::Site;
use crate::traffic::{ALL, Load};
use crate::wait::{self, millis, secs};
use crate::wire;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"1ms\"\nqueue.max = 1000";

#[test]
fn the_status_is_what_proc_says() {
    let site = Site::start(&APP.replace("processes = 2", "processes = 4"));
    let status = site.status();
    let processes = status["apps"][0]["processes"].as_array().unwrap();
    assert_eq!(processes.len(), 4);
    for (process, number) in processes.iter().zip(1..) {
        assert_eq!((&process["number"], &process["generation"], &process["state"]), (&number.into(), &1.into(), &"serving".into()));
        let pid = process["pid"].as_u64().unwrap();
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(cwd, site.path("releases/1").canonicalize().unwrap());
        let environ = std::fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
        let has = |variable: &str| environ.split('\0').any(|known| known == variable);
        assert!(has("ROTA_APP=app") && has(&format!("ROTA_PROCESS={number}")) && has("ROTA_GENERATION=1"), "{environ:?}");
    }
}

#[test]
fn the_status_counts_what_is_in_hand_and_what_was_done() {
    let site = Site::start("processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"");
    let process = || site.status()["apps"][0]["processes"][0].clone();
    let before = process()["processed"].as_u64().unwrap();
    (0..5).for_each(|_| assert_eq!(wire::get(site.addr, "/").unwrap().status, 200));
    wait::until("five more were done", secs(5), || process()["processed"] == before + 5);
    std::thread::scope(|scope| {
        let held = scope.spawn(|| wire::get(site.addr, "/hold?name=gate"));
        wait::until("one is in hand", secs(10), || process()["sessions"] == 1);
        site.open("gate");
        assert_eq!(held.join().unwrap().unwrap().status, 200);
    });
}

#[test]
fn a_restart_that_nobody_waits_for_happens_all_the_same() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 200");
    site.flip("2");
    site.rota(&["restart", "--no-wait"]).expect(0);
    assert!(site.serving(2).is_empty(), "it did not wait");
    wait::until("both are replaced", secs(20), || site.serving(2).len() == 2);
}

#[test]
fn a_waiting_command_that_is_killed_does_not_end_the_walk() {
    let site = Site::start(APP);
    site.release("2", "boot_delay 200");
    site.flip("2");
    let mut waiting = site.command(&["restart", "app"]).stdout(std::process::Stdio::null()).spawn().unwrap();
    wait::until("the walk is under way", secs(10), || !site.status()["apps"][0]["walk"].is_null());
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    wait::until("both are replaced", secs(20), || site.serving(2).len() == 2);
}

#[test]
fn usr2_replaces_every_process_once() {
    let site = Site::start(APP);
    let load = Load::start(site.addr, &ALL);
    site.release("2", "");
    site.flip("2");
    site.signal(Signal::USR2);
    wait::until("both are replaced", secs(20), || site.serving(2).len() == 2 && site.processes().len() == 2);
    let done = Instant::now();
    std::thread::sleep(millis(300));
    let tally = load.stop();
    tally.expect_no_failure(&[]);
    assert_eq!(tally.versions_since(done), ["2"]);
}

#[test]
fn all_processes_killed_at_once_are_replaced_and_what_comes_meanwhile_waits() {
    let site = Site::start(APP);
    let pids = site.serving(1);
    // All of them at once: what comes now waits for the first that is back.
    for pid in &pids {
        kill_and_see_it_dead(*pid);
    }
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    wait::until("both are back", secs(20), || site.serving(1).len() == 2);
}

#[test]
fn an_app_that_prints_without_end_does_not_hold_itself_up() {
    let site = Site::prepare("processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\nlog_rate = 0");
    site.release("1", "noise 20000");
    site.flip("1");
    let site = site.serve();
    wait::until("its last line is in the log", secs(20), || site.log().contains("noise 19999 of 1"));
}
