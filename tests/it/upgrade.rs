//! `rota upgrade`: another program takes over in the same process, and nobody notices. `ROTA_UPGRADES=n`: so often under load; `ROTA_PREVIOUS`: a
//! program of the version before, to and from which is upgraded.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::site::{Said, Site, kill};
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, millis, secs};
use crate::wire::{self, Wire, kept};

fn rounds(otherwise: usize) -> usize {
    std::env::var("ROTA_UPGRADES").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// To the program that serves.
fn upgrade(site: &Site) -> Said {
    let said = site.rota(&["upgrade"]);
    if said.status == Some(1) {
        eprintln!("{}", site.log());
    }
    said
}

fn upgrade_to(site: &Site, program: &Path) -> Said {
    site.rota(&["upgrade", program.to_str().unwrap()])
}

fn pids(site: &Site) -> Vec<u32> {
    site.processes().into_iter().map(|(_, _, pid, _)| pid).collect()
}

fn lasts(said: &Said) -> f64 {
    let (_, rest) = said.out.split_once("nobody was served for ").unwrap_or_else(|| panic!("{}{}", said.out, said.err));
    rest.split_once(" ms").unwrap().0.parse().unwrap()
}

#[test]
fn twelve_kinds_of_traffic_go_on_over_upgrades_and_no_process_is_restarted() {
    let site = Site::start("processes = 2\nconcurrency = 16\nbind = \"unix\"\n");
    let (before, server) = (pids(&site), site.pid());
    let load = Load::start(site.addr, &ALL);
    let mut lasted = Vec::new();
    for _ in 0..rounds(5) {
        std::thread::sleep(millis(300));
        let said = upgrade(&site);
        lasted.push(lasts(said.expect(0)));
    }
    std::thread::sleep(millis(300));
    let tally = load.stop();
    lasted.sort_by(f64::total_cmp);
    eprintln!("{tally}\nnobody was served for (ms): median {}, longest {}", lasted[lasted.len() / 2], lasted[lasted.len() - 1]);
    tally.expect_no_failure(&names(&ALL));
    assert_eq!((pids(&site), site.pid()), (before, server));
    assert_eq!(site.log().matches(": started").count(), 2, "{}", site.log());
}

#[test]
fn requests_in_their_middle_stay_where_they_are() {
    let site = Site::start("processes = 2\nbind = \"unix\"\ntimeouts.app = \"60s\"\n");
    let addr = site.addr;
    // With the app; in the middle of a head; of a body; between two requests; of an answer that is not read.
    let held = std::thread::spawn(move || wire::get(addr, "/hold?name=gate&mark=here").unwrap());
    wait::until("it is with the app", secs(30), || site.marks().contains(&"here".to_owned()));
    let (mut head, mut body, mut idle, mut slow) = four(&site);
    head.send(b"GET /?half HTTP/1.1\r\nHost: a").unwrap();
    body.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello").unwrap();
    assert_eq!(idle.ask(&kept("/")).unwrap().status, 200);
    slow.send(b"GET /bytes?n=20000000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").unwrap();
    assert!(slow.head().unwrap().starts_with("HTTP/1.1 200"));
    for _ in 0..3 {
        upgrade(&site).expect(0);
    }
    head.send(b"\r\n\r\n").unwrap();
    assert_eq!(head.reply(false).unwrap().status, 200);
    body.send(b"world").unwrap();
    assert_eq!(body.reply(false).unwrap().status, 200);
    assert_eq!(idle.ask(&kept("/")).unwrap().status, 200);
    assert_eq!(slow.read_to_end().unwrap().len(), 20_000_000);
    site.open("gate");
    assert_eq!(held.join().unwrap().status, 200);
}

fn four(site: &Site) -> (Wire, Wire, Wire, Wire) {
    let connect = || Wire::connect(site.addr).unwrap();
    (connect(), connect(), connect(), connect())
}

#[test]
fn what_waits_in_the_queue_of_a_paused_app_waits_on() {
    let site = Site::start("queue.timeout = \"60s\"\n");
    let addr = site.addr;
    site.rota(&["pause", "app"]).expect(0);
    let waiting: Vec<_> = (0..3).map(|_| std::thread::spawn(move || wire::get(addr, "/").unwrap())).collect();
    wait::until("they wait", secs(30), || site.waiting() == 3);
    upgrade(&site).expect(0);
    assert_eq!(site.waiting(), 3);
    assert!(site.rota(&["status"]).out.contains("PAUSED"), "{}", site.rota(&["status"]).out);
    site.rota(&["resume", "app"]).expect(0);
    assert!(waiting.into_iter().all(|one| one.join().unwrap().status == 200));
}

#[test]
fn a_walk_goes_on_and_whoever_waits_for_it_hears_its_end() {
    let site = Site::start("processes = 2\nprobation = \"100ms\"\n");
    site.release("2", "boot_delay 3000");
    site.flip("2");
    let command = site.command(&["restart", "app"]).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let is_booting = || site.processes().iter().any(|(_, _, _, state)| state == "starting");
    wait::until("one boots", secs(30), is_booting);
    upgrade(&site).expect(0);
    assert!(is_booting(), "{}", site.log());
    let said = command.wait_with_output().unwrap();
    assert!(said.status.success() && String::from_utf8_lossy(&said.stdout).contains("done"), "{said:?}");
    assert_eq!(site.serving(2).len(), 2);
    let history = site.rota(&["history", "app"]).out;
    assert!(history.contains("g2") && history.contains("g1"), "{history}");
}

#[test]
fn counters_generations_and_what_is_known_stay() {
    let site = Site::start("processes = 2\nprobation = \"100ms\"\n");
    site.deploy("2", "").expect(0);
    for _ in 0..20 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    let told = |site: &Site| {
        let status = site.status();
        let app = &status["apps"][0];
        let processes = app["processes"].as_array().unwrap();
        let processed: u64 = processes.iter().map(|process| process["processed"].as_u64().unwrap()).sum();
        let generations: Vec<u64> = processes.iter().map(|process| process["generation"].as_u64().unwrap()).collect();
        (processed, generations, app["release"].clone())
    };
    let before = told(&site);
    upgrade(&site).expect(0);
    assert_eq!(told(&site), before);
    site.deploy("3", "").expect(0);
    assert_eq!(site.serving(3).len(), 2);
    assert_eq!(site.rota(&["rollback", "app"]).expect(0).status, Some(0));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn what_was_not_read_is_not_in_force_after_it_however_broken_the_files_are() {
    let site = Site::start("queue.max = 50\n");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    fs::write(site.path("rota.toml"), config.replace("queue.max = 50", "queue.max = 7")).unwrap();
    upgrade(&site).expect(0);
    assert_eq!(site.status()["apps"][0]["queue"]["max"].as_u64(), Some(50));
    assert_eq!(site.status()["config_changed"].as_bool(), Some(true));
    fs::write(site.path("rota.toml"), config.replace("queue.max", "queue.mxa")).unwrap();
    upgrade(&site).expect(0);
    fs::write(site.path("rota.toml"), config.replace("queue.max = 50", "queue.max = 7")).unwrap();
    site.rota(&["reload"]).expect(0);
    upgrade(&site).expect(0);
    assert_eq!(site.status()["apps"][0]["queue"]["max"].as_u64(), Some(7));
}

/// What they are, and what is said of them.
fn programs(site: &Site) -> Vec<(&'static str, PathBuf, &'static str)> {
    let write = |name: &str, bytes: &[u8]| {
        let path = site.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let own = fs::read(env!("CARGO_BIN_EXE_rota")).unwrap();
    let unexecutable = write("unexecutable", &own);
    fs::set_permissions(&unexecutable, fs::Permissions::from_mode(0o644)).unwrap();
    vec![
        ("none", site.path("nowhere"), "No such file"),
        ("a directory", site.path(""), "is no file"),
        ("a script", write("script", b"#!/bin/sh\nexit 0\n"), "is no program"),
        ("another program", PathBuf::from("/bin/true"), "does not say that it could take over"),
        ("one that fails", PathBuf::from("/bin/false"), "does not say that it could take over"),
        ("the beginning of one", write("beginning", &own[..own.len() / 40]), "nowhere-in-particular"),
        ("an empty file", write("empty", b""), "is no program"),
        ("one that may not be executed", unexecutable, "Permission denied"),
    ]
}

#[test]
fn a_program_that_could_not_take_over_changes_nothing() {
    let site = Site::start("processes = 2\n");
    let before = pids(&site);
    let load = Load::start(site.addr, &ALL);
    for (what, program, why) in programs(&site) {
        let said = upgrade_to(&site, &program);
        assert_eq!(said.status, Some(4), "{what}: {}{}", said.out, said.err);
        let is_said = why == "nowhere-in-particular" || said.err.contains(why);
        assert!(is_said && said.err.ends_with("nothing has changed\n"), "{what}: {}", said.err);
    }
    load.stop().expect_no_failure(&names(&ALL));
    assert_eq!(pids(&site), before);
}

#[test]
fn a_program_that_fails_when_it_is_too_late_gives_everything_back() {
    let site = Site::start("processes = 2\n");
    let (before, server) = (pids(&site), site.pid());
    let load = Load::start(site.addr, &ALL);
    std::thread::sleep(millis(300));
    fs::write(site.path("panic"), "refuse taking-over").unwrap();
    for _ in 0..3 {
        let said = upgrade(&site);
        assert_eq!(said.status, Some(4), "{}{}", said.out, said.err);
        assert!(said.err.contains("asked for by a test"), "{}", said.err);
    }
    fs::remove_file(site.path("panic")).unwrap();
    upgrade(&site).expect(0);
    load.stop().expect_no_failure(&names(&ALL));
    assert_eq!((pids(&site), site.pid()), (before, server));
}

#[test]
fn what_could_not_be_opened_again_is_found_out_before_anything_happens() {
    let site = Site::prepare("");
    site.release("1", "");
    site.flip("1");
    let logs = site.path("logs");
    fs::create_dir(&logs).unwrap();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let log = format!("[server]\naccess_log = {{ format = \"json\", file = \"{}\" }}\n", logs.join("access.log").display());
    fs::write(site.path("rota.toml"), config.replacen("[server]\n", &log, 1)).unwrap();
    let site = site.serve();
    for _ in 0..50 {
        assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    }
    let lines = |at: &Path| fs::read_to_string(at.join("access.log")).unwrap().lines().count();
    upgrade(&site).expect(0);
    assert!(lines(&logs) >= 50, "what was logged is in the file when the next one has it: {}", lines(&logs));
    fs::rename(&logs, site.path("elsewhere")).unwrap();
    let said = upgrade(&site);
    assert!(said.expect(4).err.contains("access_log"), "{}", said.err);
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    fs::rename(site.path("elsewhere"), &logs).unwrap();
    upgrade(&site).expect(0);
}

#[test]
fn files_are_sent_as_before_from_the_first_request_on() {
    let site = Site::prepare("public = \"public\"\n");
    site.release("1", "");
    fs::create_dir(site.path("releases/1/public")).unwrap();
    fs::write(site.path("releases/1/public/style.css"), "of the file").unwrap();
    site.flip("1");
    let site = site.serve();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                assert_eq!(wire::get(site.addr, "/style.css").unwrap().text(), "of the file");
                asked += 1;
            }
            asked
        });
        for _ in 0..rounds(5) {
            upgrade(&site).expect(0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        asks.join().unwrap()
    });
    assert!(asked > 5, "{asked}");
}

#[test]
fn no_signal_is_lost_and_none_ends_it() {
    let site = Site::start("");
    for round in 1..=rounds(10) {
        let wanted = site.log().matches("SIGUSR1:").count() + 1;
        std::thread::scope(|scope| {
            scope.spawn(|| upgrade(&site).expect(0).status);
            // Somewhere in it.
            std::thread::sleep(millis(20 + 7 * (round as u64 % 10)));
            site.signal(Signal::USR1);
        });
        wait::until("it is heard", secs(20), || site.log().matches("SIGUSR1:").count() >= wanted);
    }
    let mut site = site;
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(30)), Some(0));
    assert!(site.left().is_empty());
}

#[test]
fn what_ends_is_replaced_and_what_is_left_of_it_ends_with_rota() {
    let site = Site::start("processes = 2\n");
    upgrade(&site).expect(0);
    assert_eq!(wire::get(site.addr, "/child").unwrap().status, 200);
    let before = pids(&site);
    kill(before[0], Signal::KILL);
    wait::until("it is replaced", secs(60), || site.serving(1).len() == 2 && pids(&site) != before);
    upgrade(&site).expect(0);
    let mut site = site;
    site.signal(Signal::KILL);
    site.wait_end(secs(20));
    wait::until("the keeper has ended the apps", secs(30), || site.left().is_empty());
}

#[test]
fn the_file_that_stands_where_it_was_started_from_takes_over() {
    let mut site = Site::prepare("");
    site.release("1", "");
    site.flip("1");
    let program = site.own_program();
    let mut command = std::process::Command::new(&program);
    command.args(["serve", "--config"]).arg(site.path("rota.toml"));
    let log = fs::File::create(site.path("log")).unwrap();
    site.launch_by(command, log.try_clone().unwrap().into(), log.into());
    site.wait_served();
    let fresh = site.path("fresh");
    let mut file = fs::File::create(&fresh).unwrap();
    file.write_all(&fs::read(env!("CARGO_BIN_EXE_rota")).unwrap()).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    drop(file);
    fs::rename(&fresh, &program).unwrap();
    let exe = || fs::read_link(format!("/proc/{}/exe", site.pid())).unwrap();
    assert!(exe().to_str().unwrap().ends_with(" (deleted)"));
    upgrade(&site).expect(0);
    assert_eq!(exe(), program);
    let words = fs::read(format!("/proc/{}/cmdline", site.pid())).unwrap();
    assert!(words.starts_with(program.to_str().unwrap().as_bytes()), "{}", String::from_utf8_lossy(&words));
    upgrade(&site).expect(0);
}

#[test]
fn a_reload_and_an_upgrade_at_the_same_time_both_come_about_or_say_why() {
    let site = Site::start("queue.max = 50\n");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    for round in 0..6 {
        fs::write(site.path("rota.toml"), config.replace("queue.max = 50", &format!("queue.max = {}", 10 + round))).unwrap();
        std::thread::scope(|scope| {
            let reload = scope.spawn(|| site.rota(&["reload"]));
            let upgrade = scope.spawn(|| upgrade(&site));
            let (reload, upgrade) = (reload.join().unwrap(), upgrade.join().unwrap());
            assert_eq!(upgrade.status, Some(0), "{}{}", upgrade.out, upgrade.err);
            assert!(reload.status == Some(0) || reload.err.contains("upgraded"), "{}{}", reload.out, reload.err);
        });
        site.rota(&["reload"]).expect(0);
        assert_eq!(site.status()["apps"][0]["queue"]["max"].as_u64(), Some(10 + round));
    }
}

#[test]
fn upgrades_leave_nothing_behind() {
    let site = Site::start("processes = 2\n");
    let census = || {
        let count = |what: &str| fs::read_dir(format!("/proc/{}/{what}", site.pid())).unwrap().count();
        (count("fd"), count("task"))
    };
    for _ in 0..2 {
        upgrade(&site).expect(0);
    }
    wait::until("it rests", secs(20), || {
        let before = census();
        std::thread::sleep(millis(300));
        census() == before
    });
    let before = census();
    for _ in 0..rounds(10) {
        upgrade(&site).expect(0);
    }
    wait::until("as many descriptors and threads", secs(20), || census() == before);
    assert_eq!(site.left().len(), site.processes().len(), "{:?}", site.left());
}

#[test]
fn to_the_version_before_and_back() {
    let Some(previous) = std::env::var_os("ROTA_PREVIOUS").filter(|path| !path.is_empty()) else { return };
    let site = Site::start("processes = 2\n");
    let (before, own) = (pids(&site), PathBuf::from(env!("CARGO_BIN_EXE_rota")));
    let load = Load::start(site.addr, &ALL);
    for program in [Path::new(&previous), &own, Path::new(&previous), &own] {
        std::thread::sleep(millis(300));
        upgrade_to(&site, program).expect(0);
    }
    load.stop().expect_no_failure(&names(&ALL));
    assert_eq!(pids(&site), before);
}
