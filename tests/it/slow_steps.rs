//! A thread of rota's own that is slow, again and again: that is said, and puts off the limits of nobody.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::site::{Site, kill};
use crate::wait::{self, millis, secs};

/// The next look at the memory that is left, which precedes each start, takes this long (ms).
const SLOW: u64 = 1300;

/// A step takes its time; what the test waits for is its beginning.
fn slow_step(memory: &Path) {
    let mut file = OpenOptions::new().write(true).open(memory).unwrap();
    std::thread::sleep(millis(SLOW));
    file.write_all(b"999999999999").unwrap();
}

#[test]
fn a_process_that_does_not_end_is_killed_in_its_time_though_each_step_for_another_app_is_slow() {
    let site = Site::prepare("processes = 1\nconcurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\nstop.timeout = \"2s\"");
    site.release("1", "ignores_term");
    site.flip("1");
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let (server, app) = config.split_once("[app.app]").unwrap();
    let other = app.replace("app.app", "app.other").replace("processes = 1", "processes = 8\nhosts = \"other\"");
    fs::write(site.path("rota.toml"), format!("{server}[app.app]{app}\n[app.other]{other}")).unwrap();
    let site = site.serve();
    let serving = |status: &serde_json::Value| -> Vec<u32> {
        let processes = status["apps"][1]["processes"].as_array().unwrap();
        processes.iter().filter(|one| one["state"] == "serving").map(|one| one["pid"].as_u64().unwrap() as u32).collect()
    };
    wait::until("all serve", secs(60), || serving(&site.status()).len() == 8 && site.serving(1).len() == 1);
    let victims = serving(&site.status());
    let memory = site.path("memory");
    mknodat(CWD, &memory, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    site.release("2", "");
    site.flip("2");
    let started = || site.log().lines().filter(|line| line.contains("INFO  other/") && line.ends_with(": started")).count();
    std::thread::scope(|scope| {
        scope.spawn(|| slow_step(&memory));
        site.rota(&["restart", "app", "--no-wait"]).expect(0);
        wait::until("the old one is told to end", secs(20), || site.log().contains(": told to stop"));
    });
    // Each of these begins as soon as the one before is over.
    for (n, victim) in victims[..6].iter().enumerate() {
        kill(*victim, Signal::KILL);
        slow_step(&memory);
        wait::until("that step is over", secs(20), || started() == 9 + n);
    }
    let log = site.log();
    assert!(log.lines().any(|line| line.contains("app/1 g1 pid") && line.ends_with(": gone")), "{log}");
    assert!(log.contains("WARN  starting a process of other took 1."), "{log}");
    assert!(!log.contains("rota did not run"), "{log}");
    fs::remove_file(&memory).unwrap();
}
