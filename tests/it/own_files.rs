//! The files that rota has for itself, and the threads that look after files: disks that hang, ways that others have a say in, threads that could
//! not be started.

use std::fs;
use std::os::unix::fs::chown;
use std::os::unix::net::UnixListener;

use rustix::process::Signal;

use crate::site::Site;
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "concurrency = 4\nbind = \"unix\"\nprobation = \"1ms\"\n";
const NOBODY: u32 = 65534;

fn prepare(keys: &str) -> Site {
    let site = Site::prepare(&format!("{APP}{keys}"));
    site.release("1", "");
    site.flip("1");
    site
}

#[test]
fn a_disk_that_hangs_under_files_of_rota_s_own_keeps_no_signal_from_it() {
    let mut site = prepare("").serve();
    fs::write(site.path("panic"), "hang rota-porter").unwrap();
    fs::remove_file(site.path("run/control.sock")).unwrap();
    wait::until("that is said", secs(30), || site.log().contains("the disk with files of rota's own has not answered for 10s"));
    assert_eq!(wire::get(site.addr, "/").unwrap().status, 200);
    site.signal(Signal::TERM);
    assert_eq!(site.wait_end(secs(20)), Some(0), "{}", site.log());
    assert!(site.log().contains("files of rota's own may be left: the disk does not answer"), "{}", site.log());
}

#[test]
fn a_disk_that_answers_again_has_made_anew_what_was_removed_meanwhile() {
    let site = prepare("").serve();
    fs::write(site.path("panic"), "hang rota-porter").unwrap();
    let socket = site.path("run/control.sock");
    fs::remove_file(&socket).unwrap();
    wait::until("that is said", secs(30), || site.log().contains("has not answered for 10s"));
    fs::remove_file(site.path("panic")).unwrap();
    wait::until("the socket is there again", secs(20), || socket.exists());
    wait::until("it answers", secs(20), || site.rota(&["status"]).status == Some(0));
}

#[test]
fn a_thread_that_could_not_be_started_is_tried_again() {
    let mut site = prepare("");
    fs::write(site.path("panic"), "refuse app: look").unwrap();
    site.launch();
    site.wait_served();
    wait::until("that is said", secs(20), || {
        site.log().contains("app: a thread that watches its files: asked for by a test; tried again in 10 s")
    });
    fs::remove_file(site.path("panic")).unwrap();
    let names = || fs::read_dir(format!("/proc/{}/task", site.pid())).unwrap().map(|task| task.unwrap().path().join("comm"));
    let is_there = || names().any(|name| fs::read_to_string(name).is_ok_and(|name| name.trim_end() == "app: look"));
    wait::until("it is there", secs(60), is_there);
}

/// Rota as root removes, makes and gives away nothing on a way that another user can change.
#[test]
fn nothing_is_touched_on_a_way_that_others_have_a_say_in() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut site = prepare("");
    let theirs = site.path("theirs");
    fs::create_dir(&theirs).unwrap();
    // What a server that is gone would have left.
    drop(UnixListener::bind(theirs.join("left.sock")).unwrap());
    chown(&theirs, Some(NOBODY), None).unwrap();
    let config = fs::read_to_string(site.path("rota.toml")).unwrap();
    let at = site.path("").display().to_string();
    let listen = format!("listen = [\"{}\"", site.addr);
    for (what, config) in [
        ("server.control", config.replace("/run/control.sock\"", "/theirs/left.sock\"")),
        ("server.run_dir", config.replace("/run\"", "/theirs/run\"")),
        ("server.listen", config.replace(&format!("{listen}]"), &format!("listen = [\"unix:{at}theirs/left.sock\"]"))),
    ] {
        fs::write(site.path("rota.toml"), config).unwrap();
        site.launch();
        assert_eq!(site.wait_end(secs(20)), Some(1), "{what}: {}", site.log());
        let log = site.log();
        assert!(log.contains(what) && log.contains("theirs belongs to uid 65534"), "{what}: {log}");
        assert!(theirs.join("left.sock").exists() && !theirs.join("run").exists(), "{what}");
    }
    let beside = config.replace(&format!("{listen}]"), &format!("{listen}, \"unix:{at}theirs/left.sock\"]"));
    fs::write(site.path("rota.toml"), beside).unwrap();
    site.launch();
    site.wait_served();
    assert!(site.log().contains("theirs belongs to uid 65534"), "{}", site.log());
}
