//! Restarts that the disk asks for: a touched restart file, a switched symlink. That nothing happens is shown by what happens next: the
//! generation after it has the very next number.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;

use crate::site::Site;
use crate::traffic::{ALL, Load, names};
use crate::wait::{self, secs};
use crate::wire;

const APP: &str = "processes = 2\nconcurrency = 16\nbind = \"unix\"\nprobation = \"50ms\"\nqueue.max = 1000\n";
const FILE: &str = "restart_file = \"tmp/restart.txt\"\n";
const WATCH: &str = "watch = true\n";

/// Serves release 1, which has a tmp/, with these lines in the app's table.
fn start(keys: &str) -> Site {
    let site = Site::prepare(&format!("{APP}{keys}"));
    site.release("1", "");
    fs::create_dir(site.path("releases/1/tmp")).unwrap();
    site.flip("1");
    site.serve()
}

/// The file of a release, where its app does not see it: through no symlink.
fn file_of(site: &Site, release: &str) -> PathBuf {
    site.path("releases").join(release).join("tmp/restart.txt")
}

/// As touch(1): created, or the time of now.
fn touch(path: PathBuf) {
    let file = fs::File::options().create(true).append(true).open(path).unwrap();
    file.set_modified(SystemTime::now()).unwrap();
}

fn touch_current(site: &Site) {
    touch(site.path("current/tmp/restart.txt"));
}

/// Waits until all processes are of this generation, and no other has been asked for.
#[track_caller]
fn expect_generation(site: &Site, generation: u64) {
    wait::until(&format!("all of g{generation} serve"), secs(20), || {
        let processes = site.processes();
        let all = processes.len() == 2 && processes.iter().all(|(_, g, _, state)| *g == generation && state == "serving");
        all && site.status()["apps"][0]["walk"].is_null()
    });
}

/// Long enough for a restart to be asked for if it were.
fn let_it_pass() {
    std::thread::sleep(Duration::from_millis(500));
}

#[test]
fn touching_the_file_replaces_all_processes_and_nothing_fails() {
    let site = start(FILE);
    site.release("2", "boot_delay 100");
    fs::create_dir(site.path("releases/2/tmp")).unwrap();
    let small = &ALL[..4];
    let load = Load::start(site.addr, small);
    site.flip("2");
    touch_current(&site);
    let walk =
        wait::found("a walk is under way", secs(10), || Some(site.status()["apps"][0]["walk"].clone()).filter(|walk| !walk.is_null()));
    assert_eq!((&walk["trigger"], &walk["kind"]), (&"file".into(), &"restart".into()));
    expect_generation(&site, 2);
    let tally = load.stop();
    tally.expect_no_failure(&names(small));
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
    let expected = format!("app: {} was touched: rolling restart to g2", site.path("current/tmp/restart.txt").display());
    assert!(site.log().contains(&expected), "{}", site.log());
}

#[test]
fn the_directory_of_the_file_may_come_go_and_come_again() {
    let site = start(FILE);
    let tmp = site.path("releases/1/tmp");
    for generation in [2, 3] {
        fs::remove_dir_all(&tmp).unwrap();
        let_it_pass();
        fs::create_dir(&tmp).unwrap();
        let_it_pass();
        touch_current(&site);
        expect_generation(&site, generation);
    }
    // All at once, as a script does it.
    fs::remove_dir_all(&tmp).unwrap();
    fs::create_dir(&tmp).unwrap();
    touch_current(&site);
    expect_generation(&site, 4);
}

#[test]
fn a_release_that_is_removed_and_built_anew_in_its_place_is_watched_again() {
    let site = start(FILE);
    let release = site.path("releases/1");
    fs::remove_dir_all(&release).unwrap();
    let_it_pass();
    site.release("1", "");
    fs::create_dir(release.join("tmp")).unwrap();
    touch_current(&site);
    expect_generation(&site, 2);
    touch_current(&site);
    expect_generation(&site, 3);
}

#[test]
fn switching_current_restarts_to_the_new_release() {
    let site = start(WATCH);
    site.release("2", "");
    site.flip("2");
    expect_generation(&site, 2);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
    let (current, release) = (site.path("current"), site.path("releases/2"));
    let expected = format!("app: {} points to {} now: rolling restart to g2", current.display(), release.display());
    assert!(site.log().contains(&expected), "{}", site.log());
    // Not in one step, and to a release that is not there yet.
    fs::remove_file(&current).unwrap();
    let_it_pass();
    std::os::unix::fs::symlink("releases/3", &current).unwrap();
    let_it_pass();
    site.release("3", "");
    expect_generation(&site, 3);
}

#[test]
fn switching_there_and_back_restarts_nothing() {
    let site = start(WATCH);
    site.release("2", "");
    site.flip("2");
    site.flip("1");
    let_it_pass();
    site.flip("1");
    let_it_pass();
    assert_eq!(site.serving(1).len(), 2);
    site.flip("2");
    expect_generation(&site, 2);
}

#[test]
fn ten_touches_in_a_second_are_one_restart_or_two() {
    let site = start(FILE);
    for _ in 0..10 {
        touch_current(&site);
        std::thread::sleep(Duration::from_millis(100));
    }
    let asked = || site.log().matches("was touched: rolling restart").count();
    wait::until("a restart was asked for", secs(10), || asked() > 0);
    let_it_pass();
    let restarts = asked();
    assert!(restarts <= 2, "{restarts} restarts");
    expect_generation(&site, 1 + restarts as u64);
}

#[test]
fn touching_the_file_of_an_old_release_does_nothing() {
    let site = start(&format!("{FILE}{WATCH}"));
    site.release("2", "");
    fs::create_dir(site.path("releases/2/tmp")).unwrap();
    site.flip("2");
    expect_generation(&site, 2);
    touch(file_of(&site, "1"));
    let_it_pass();
    assert_eq!(site.serving(2).len(), 2);
    touch(file_of(&site, "2"));
    expect_generation(&site, 3);
}

#[test]
fn the_file_that_a_new_release_brings_with_it_does_nothing() {
    let site = start(FILE);
    touch(file_of(&site, "1"));
    expect_generation(&site, 2);
    site.release("2", "");
    fs::create_dir(site.path("releases/2/tmp")).unwrap();
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    fs::File::create(file_of(&site, "2")).unwrap().set_modified(hour_ago).unwrap();
    site.flip("2");
    let_it_pass();
    assert_eq!(site.serving(2).len(), 2);
    touch(file_of(&site, "2"));
    expect_generation(&site, 3);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn removing_the_file_does_nothing() {
    let site = start(FILE);
    touch_current(&site);
    expect_generation(&site, 2);
    fs::remove_file(file_of(&site, "1")).unwrap();
    let_it_pass();
    assert_eq!(site.serving(2).len(), 2);
    touch_current(&site);
    expect_generation(&site, 3);
}

#[test]
fn a_script_that_switches_touches_and_restarts_makes_one_restart() {
    let site = start(&format!("{FILE}{WATCH}"));
    site.release("2", "");
    fs::create_dir(site.path("releases/2/tmp")).unwrap();
    site.flip("2");
    touch_current(&site);
    site.rota(&["restart", "app"]).expect(0);
    wait::until("the change was seen", secs(10), || site.log().contains("the last restart brought that in"));
    expect_generation(&site, 2);
    assert_eq!(wire::get(site.addr, "/").unwrap().text(), "2");
}

#[test]
fn a_file_that_is_touched_while_the_server_stops_restarts_nothing() {
    let mut site = start(FILE);
    site.signal(Signal::TERM);
    wait::until("it stops", secs(10), || site.log().contains("stopping:"));
    touch_current(&site);
    assert_eq!(site.wait_end(secs(20)), Some(0));
    assert!(!site.log().contains("was touched"), "{}", site.log());
}
