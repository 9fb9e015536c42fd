//! The end of a group: in good order, and now.

use super::*;

#[test]
fn an_idle_group_drains_and_stops_all_its_processes_at_once() {
    let mut rig = Rig::serving(SETTINGS);
    rig.pool.stop(rig.now);
    assert_eq!(rig.steps(), ["drain 1 g1", "stop leader 1 g1", "drain 2 g1", "stop leader 2 g1"]);
    rig.exits("1 g1", 0);
    rig.exits("2 g1", 0);
    assert!(!rig.pool.is_stopped());
    assert_eq!(rig.steps(), ["gone 1 g1", "gone 2 g1"]);
    assert!(rig.pool.is_stopped());
}

#[test]
fn what_waits_is_served_before_the_group_ends() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), ..SETTINGS });
    let claim = rig.claim("a");
    rig.wait("b");
    rig.pool.stop(rig.now);
    assert_eq!(rig.steps(), [""; 0]);
    let (claim, next) = rig.finish(claim).unwrap();
    assert_eq!(next, "b");
    assert!(rig.wakes_restart());
    assert_eq!(rig.steps(), ["drain 1 g1"]);
    let now = rig.now;
    assert!(matches!(rig.group().admit(Wish::Anywhere, WaitId(0).into(), "c", now), Admission::Full("c")), "nobody will ever serve it");
    assert!(rig.finish(claim).is_none());
    assert_eq!(rig.steps(), ["stop leader 1 g1"]);
}

#[test]
fn a_start_goes_on_while_it_is_all_that_the_queue_can_hope_for() {
    let mut rig = Rig::new(SETTINGS);
    rig.steps();
    rig.wait("a");
    rig.pool.stop(rig.now);
    assert_eq!(rig.steps(), ["g1: stopped"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1, grant a", "drain 1 g1"]);
}

#[test]
fn a_start_that_nobody_waits_for_is_stopped() {
    let mut rig = Rig::new(SETTINGS);
    rig.steps();
    rig.pool.stop(rig.now);
    assert_eq!(rig.steps(), ["g1: stopped", "stop leader 1 g1"]);
    rig.exits("1 g1", 143);
    assert_eq!(rig.steps(), ["gone 1 g1"]);
    assert!(rig.pool.is_stopped());
}

#[test]
fn a_start_that_fails_in_the_end_leaves_the_queue_to_be_taken_out() {
    let mut rig = Rig::new(SETTINGS);
    rig.steps();
    rig.wait("a");
    rig.pool.stop(rig.now);
    rig.exits("1 g1", 1);
    assert_eq!(rig.steps(), ["g1: stopped", "gone 1 g1"]);
    assert!(rig.pool.is_stopped());
    assert_eq!(rig.group().drain_queue(), ["a"]);
}

#[test]
fn every_walk_that_was_asked_for_is_told_that_it_stopped() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    rig.steps();
    rig.restart();
    let Some(Step::Resolve { ask: Ask { generation, .. }, .. }) = rig.pool.next_step(rig.now) else { panic!("nothing to resolve") };
    rig.restart();
    rig.pool.stop(rig.now);
    let now = rig.now;
    rig.group().resolved(generation, Ok(()), now);
    assert_eq!(rig.restart(), Generation(5));
    assert_eq!(rig.steps()[..4], ["g3: stopped", "g4: stopped", "g2: stopped", "g5: stopped"]);
}

#[test]
fn a_second_stop_cuts_and_kills() {
    let mut rig = Rig::serving(SETTINGS);
    let claim = rig.claim("a");
    rig.restart();
    rig.steps();
    rig.pool.stop(rig.now);
    rig.steps();
    rig.pool.stop_now(rig.now);
    assert_eq!(rig.steps(), ["cut 1 g1: rota was told to stop at once", "kill group 1 g1", "kill group 2 g1", "kill group 1 g2"]);
    rig.finish(claim);
    for name in ["1 g1", "2 g1", "1 g2"] {
        rig.exits(name, 137);
    }
    assert_eq!(rig.steps(), ["gone 1 g1", "gone 2 g1", "gone 1 g2"]);
    assert!(rig.pool.is_stopped());
}
