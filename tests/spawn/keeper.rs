//! What is left when rota is killed: nothing.

use std::path::Path;

use rota::config::Bind;
use rota::restart::keeper::Keeper;
use rota::sys::{self, Look, Unit};
use rustix::process::{Pid, Signal, WaitOptions};

use crate::inside::is_alive;
use crate::roles::Parent;
use crate::stage::{ROTA, Stage};
use crate::wait::{found, secs, until};

/// The parent is killed with SIGKILL when the session of the app has `size` members.
fn nothing_is_left_of(app: &[&str], size: usize) {
    let mut parent = Parent::start("", app, "unix");
    let members = found("the app has its children", secs(20), || {
        let members = Look::now().of(&Unit::of_leader(parent.app)?);
        (members.len() == size).then(|| members.iter().map(|one| one.pid).collect::<Vec<_>>())
    });
    parent.kill();
    until("all members of the session have ended", secs(20), || !members.iter().any(|pid| is_alive(*pid)));
    until("the keeper has ended", secs(20), || !is_alive(parent.keeper));
}

#[test]
fn a_killed_rota_leaves_no_child_of_an_app() {
    nothing_is_left_of(&["sh", "-c", "sleep 1000 & sleep 1000"], 3);
}

#[test]
fn a_killed_rota_leaves_no_child_that_has_a_group_of_its_own() {
    nothing_is_left_of(&["bash", "-c", "set -m; sleep 1000 & sleep 1000"], 3);
}

#[test]
fn a_group_that_is_gone_is_not_killed() {
    let stage = Stage::new();
    let release = stage.release(&["sleep", "1000"], Bind::Unix);
    let (mut one, mut two) = (stage.start(&release), stage.start(&release));
    one.runs("sleep");
    two.runs("sleep");
    let mut keeper = Keeper::start(Path::new(ROTA), None, [one.unit(), two.unit()].into_iter()).unwrap();
    keeper.gone(one.pid()).unwrap();
    let pid = keeper.pid();
    drop(keeper);
    until("the other has ended", secs(20), || !is_alive(two.pid()));
    // So that the keeper sees its group empty.
    drop(two);
    wait_for(pid);
    assert!(is_alive(one.pid()));
}

#[test]
fn a_keeper_that_is_stuck_ends_no_app_when_another_replaces_it() {
    let stage = Stage::new();
    let mut app = stage.start(&stage.release(&["sleep", "1000"], Bind::Unix));
    app.runs("sleep");
    let mut stuck = Keeper::start(Path::new(ROTA), None, [app.unit()].into_iter()).unwrap();
    let pid = stuck.pid();
    until("the keeper waits for its pipe", secs(20), || state(pid) == Some('S'));
    sys::signal_child(pid, Signal::STOP).unwrap();
    // Its pipe holds 64 KiB.
    assert!((0..64 * 1024).any(|_| stuck.born(app.unit()).is_err()));
    let replaced = Keeper::start(Path::new(ROTA), None, [app.unit()].into_iter()).unwrap();
    drop(stuck);
    let _ = sys::signal_child(pid, Signal::CONT);
    wait_for(pid);
    assert!(is_alive(app.pid()));
    let pid = replaced.pid();
    drop(replaced);
    until("the new keeper has ended it", secs(20), || !is_alive(app.pid()));
    drop(app);
    wait_for(pid);
}

/// Letter of its state (proc(5)).
fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.chars().next()
}

fn wait_for(pid: u32) {
    rustix::process::waitpid(Pid::from_raw(pid as i32), WaitOptions::empty()).unwrap();
}
