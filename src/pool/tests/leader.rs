//! `leader = "exclusive"`: never two processes of number 1, whatever the first one ends by.

use super::*;

const EXCLUSIVE: Settings = Settings { leader: LeaderPolicy::Exclusive, ..SETTINGS };

#[test]
fn by_default_the_new_leader_starts_beside_the_old_one() {
    let mut rig = Rig::serving(SETTINGS);
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 1 g2"]);
}

#[test]
fn the_leader_comes_last_and_leaves_wholly_before_the_next_is_started() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "spawn 2 g2"]);
    assert_eq!(rig.swap("2 g2", "2 g1"), ["serve 2 g2, drain 2 g1", "stop leader 2 g1", "gone 2 g1", "drain 1 g1", "stop leader 1 g1"]);
    assert_eq!(rig.view().walk.unwrap().makes_room.as_deref(), Some("leader = \"exclusive\""));
    rig.leader_exits("1 g1", 0);
    assert_eq!(rig.steps(), ["stop group 1 g1"], "what it left behind may still do a leader's work");
    rig.group_empty("1 g1");
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps_for(2.0), ["serve 1 g2", "g2: every process is replaced"]);
}

#[test]
fn a_release_that_does_not_work_costs_no_leader() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.restart();
    rig.steps();
    rig.exits("2 g2", 1);
    let steps = rig.steps();
    assert!(steps.iter().all(|step| !step.contains("1 g")), "{steps:?}");
    assert_eq!(rig.table(), ["1 g1 serving", "2 g1 serving"]);
}

#[test]
fn a_leader_that_fails_in_its_turn_is_replaced_from_the_good_release() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.restart();
    rig.steps();
    rig.swap("2 g2", "2 g1");
    rig.exits("1 g1", 0);
    rig.steps();
    rig.leader_exits("1 g2", 1);
    let steps = rig.steps();
    assert!(steps.iter().all(|step| !step.contains("spawn")), "its group is not empty: {steps:?}");
    rig.group_empty("1 g2");
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn after_a_rollback_too_there_is_one_leader_at_a_time() {
    let mut rig = Rig::serving(Settings { processes: Sizes::fixed(1), on_failure: OnFailure::Rollback, ..EXCLUSIVE });
    rig.restart();
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1"], "with one process it is the leader's turn at once");
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
    rig.ready("1 g2");
    assert_eq!(rig.steps(), ["serve 1 g2"]);
    rig.group().abort().unwrap();
    assert_eq!(rig.steps(), ["drain 1 g2", "stop leader 1 g2"]);
    rig.exits("1 g2", 0);
    assert_eq!(rig.steps(), ["gone 1 g2", "spawn 1 g1"]);
}

#[test]
fn of_a_leader_that_crashed_nothing_may_be_left_either() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.leader_exits("1 g1", 137);
    assert_eq!(rig.steps(), ["stop group 1 g1"]);
    assert_eq!(rig.table(), ["1 g1 stopping", "2 g1 serving"]);
    rig.group_empty("1 g1");
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
}

#[test]
fn a_crash_of_the_leader_in_a_walk_starts_no_second_one() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.restart();
    rig.steps();
    rig.leader_exits("1 g1", 137);
    assert_eq!(rig.steps(), ["stop group 1 g1"]);
    rig.swap("2 g2", "2 g1");
    assert_eq!(rig.table(), ["1 g1 stopping", "2 g2 serving"]);
    rig.group_empty("1 g1");
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
}

#[test]
fn a_leader_that_is_recycled_leaves_first_and_the_others_need_not() {
    let mut rig = Rig::serving(EXCLUSIVE);
    rig.group().recycle(Number(1)).unwrap();
    rig.group().recycle(Number(2)).unwrap();
    assert_eq!(rig.steps(), ["drain 1 g1", "stop leader 1 g1"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g1"]);
    rig.ready("1 g1");
    assert_eq!(rig.steps(), ["serve 1 g1", "spawn 2 g1"]);
}

#[test]
fn all_at_once_too_the_leader_is_gone_first() {
    let mut rig = Rig::serving(Settings { surge: 2, ..EXCLUSIVE });
    let now = rig.now;
    rig.group().restart(Trigger::Command, Aim::AllAtOnce, now);
    assert_eq!(rig.steps(), ["resolve g2", "drain 1 g1", "stop leader 1 g1", "drain 2 g1", "stop leader 2 g1", "spawn 2 g2"]);
    rig.exits("1 g1", 0);
    assert_eq!(rig.steps(), ["gone 1 g1", "spawn 1 g2"]);
}
